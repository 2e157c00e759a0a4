"""Small sections in the exact layout of each vendor; what they hold is known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
from scipy import io, sparse

GENES = ["EPCAM", "CD3E", "KRT8", "CD3E"]  # one symbol stands for two genes, as it does in Ensembl
GENE_IDS = ["ENSG01", "ENSG02", "ENSG03", "ENSG04"]
UM_PER_PIXEL = 0.5


def counts(n: int) -> np.ndarray:
    """Counts [n, 4 genes]; spot i has i + 1 of the first."""
    table = np.random.default_rng(0).poisson(1.0, (n, 4))
    table[:, 0] = np.arange(n) + 1
    return table


def write_10x_h5(path: Path, table: np.ndarray, barcodes: list[str], *, antibody: bool = False) -> None:
    """Write the HDF5 matrix as Space Ranger does: genes x barcodes by column, texts of fixed width."""
    names, ids, kinds = [*GENES], [*GENE_IDS], ["Gene Expression"] * 4
    if antibody:
        table = np.column_stack([table, np.full(len(table), 7)])
        names, ids, kinds = [*names, "CD45"], [*ids, "CD45"], [*kinds, "Antibody Capture"]
    matrix = sparse.csc_matrix(table.T)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, "S")
        group["data"], group["indices"], group["indptr"] = (
            matrix.data.astype("i4"),
            matrix.indices,
            matrix.indptr,
        )
        group["shape"] = np.array(matrix.shape, "i4")
        features = group.create_group("features")
        features["_all_tag_keys"] = np.array(["genome"], "S")
        for name, values in (("id", ids), ("name", names), ("feature_type", kinds)):
            features[name] = np.array(values, "S")
        features["genome"] = np.array(["GRCh38"] * len(ids), "S")


def write_10x_folder(folder: Path, table: np.ndarray, barcodes: list[str]) -> None:
    folder.mkdir(parents=True)
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        io.mmwrite(file, sparse.coo_matrix(table.T))
    features = "".join(f"{i}\t{name}\tGene Expression\n" for i, name in zip(GENE_IDS, GENES, strict=True))
    (folder / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress("".join(f"{b}\n" for b in barcodes).encode()))


def lattice(rows: int, columns: int) -> pl.DataFrame:
    """Positions on a Visium slide: even rows have even columns; every fifth spot lies off the tissue."""
    row, half = (part.ravel() for part in np.divmod(np.arange(rows * columns), columns))
    column = 2 * half + row % 2
    n = len(row)
    return pl.DataFrame(
        {
            "barcode": [f"AAAC{i:04d}-1" for i in range(n)],
            "in_tissue": [int(i % 5 != 4) for i in range(n)],
            "array_row": row,
            "array_col": column,
            "pxl_row_in_fullres": np.rint(1000 + row * 100 * np.sqrt(0.75) / UM_PER_PIXEL).astype(int),
            "pxl_col_in_fullres": np.rint(500 + column * 50 / UM_PER_PIXEL).astype(int),
        }
    )


def write_visium(
    folder: Path,
    *,
    positions: str = "tissue_positions.csv",
    matrix: str = "h5",
    factors: dict[str, float] | None = None,
    rows: int = 8,
    antibody: bool = False,
) -> tuple[pl.DataFrame, np.ndarray]:
    """Write outs/ of Space Ranger; returns the positions and counts of the spots in the tissue."""
    table = lattice(rows, 8)
    inside = table.filter(pl.col("in_tissue") == 1)
    # Space Ranger lists the spots of the matrix by barcode, the positions in another order
    (folder / "spatial").mkdir(parents=True)
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    target = folder / "spatial" / positions
    if target.suffix == ".parquet":
        shuffled.write_parquet(target)
    else:
        shuffled.write_csv(target, include_header=positions != "tissue_positions_list.csv")
    given = (
        {"spot_diameter_fullres": 65 / UM_PER_PIXEL, "tissue_hires_scalef": 0.1}
        if factors is None
        else factors
    )
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(given))
    values, barcodes = counts(len(inside)), inside["barcode"].to_list()
    if matrix == "h5":
        write_10x_h5(folder / "filtered_feature_bc_matrix.h5", values, barcodes, antibody=antibody)
    else:
        write_10x_folder(folder / "filtered_feature_bc_matrix", values, barcodes)
    return inside, values


def write_visium_hd(folder: Path, sizes: tuple[int, ...] = (2, 8, 16)) -> None:
    """Write binned_outputs of Space Ranger 3: squares of a 96 um wide tissue, all in it."""
    for size in sizes:
        side = 96 // size
        row, column = np.divmod(np.arange(side * side), side)
        barcodes = [f"s_{size:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)]
        place = folder / "binned_outputs" / f"square_{size:03d}um"
        write_10x_h5(place / "filtered_feature_bc_matrix.h5", counts(side * side), barcodes)
        (place / "spatial").mkdir()
        pl.DataFrame(
            {
                "barcode": barcodes,
                "in_tissue": np.ones(side * side, np.int64),
                "array_row": row,
                "array_col": column,
                "pxl_row_in_fullres": 100 + (row + 0.5) * size / 0.25,
                "pxl_col_in_fullres": 200 + (column + 0.5) * size / 0.25,
            }
        ).write_parquet(place / "spatial" / "tissue_positions.parquet")
        factors = {
            "microns_per_pixel": 0.25,
            "bin_size_um": float(size),
            "spot_diameter_fullres": size / 0.25,
        }
        (place / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))


BEADS = [f"ACGT{i:02d}" for i in range(12)]
BEAD_COUNTS = counts(12).T  # genes x beads
BEAD_PLACES = np.random.default_rng(1).random((12, 2)) * 1000


def wide_table(
    table: np.ndarray, rows: list[str], columns: list[str], mark: str = ",", corner: str = "GENE"
) -> str:
    lines = [mark.join([corner, *columns])]
    lines += [mark.join([name, *map(str, values)]) for name, values in zip(rows, table, strict=True)]
    return "\n".join(lines) + "\n"


def write_slide_seq(folder: Path, *, packed: bool = False, turned: bool = False) -> None:
    """Write the two tables that the Slide-seq pipeline makes for R; two beads have no position."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"{bead},{x},{y}" for bead, (x, y) in zip(BEADS, BEAD_PLACES, strict=True)][:-2]
    locations = "\n".join(["barcodes,xcoord,ycoord", *reversed(places)]) + "\n"
    genes = ["EPCAM", "CD3E", "KRT8", "ACTB"]
    table = wide_table(BEAD_COUNTS.T, BEADS, genes) if turned else wide_table(BEAD_COUNTS, genes, BEADS)
    for name, text in (("BeadLocationsForR.csv", locations), ("MappedDGEForR.csv", table)):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())


# Molecules of Stereo-seq: gene, x, y in spots of the chip, count, cell
MOLECULES = [
    ("Actb", 1000, 2000, 2, 1),
    ("Actb", 1001, 2049, 1, 1),
    ("Gfap", 1049, 2049, 5, 0),
    ("Actb", 1050, 2000, 3, 2),
    ("Mbp", 1099, 2099, 4, 2),
    ("Gfap", 999, 1999, 1, 0),
]
GEM_HEADER = (
    "#FileFormat=GEMv0.1\n#SortedBy=None\n#BinType=Bin\n#BinSize=1\n#Omics=Transcriptomics\n"
    "#Stereo-seqChip=SS200000135TL_D1\n#OffsetX=0\n#OffsetY=0\n"
)


def gem(
    *, header: str = GEM_HEADER, count: str = "MIDCount", cells: bool = False, names: bool = False
) -> str:
    """A GEM table, with the header that SAW writes or without it."""
    columns = ["geneID", *(["geneName"] if names else []), "x", "y", count, *(["CellID"] if cells else [])]
    lines = ["\t".join(columns)]
    for gene, x, y, value, cell in MOLECULES:
        first = [f"ENS{gene}", gene] if names else [gene]
        lines.append("\t".join(map(str, [*first, x, y, value, *([cell] if cells else [])])))
    return header + "\n".join(lines) + "\n"


def write_gef(path: Path, *, new: bool = False) -> None:
    """Write geneExp/bin1 and bin50 as geftools does, the newer with geneID and geneName."""
    genes = sorted({row[0] for row in MOLECULES})
    ordered = sorted(MOLECULES, key=lambda row: row[0])
    number = [sum(row[0] == gene for row in ordered) for gene in genes]
    text = [("geneID", "S64"), ("geneName", "S64")] if new else [("gene", "S32")]
    gene_type = np.dtype([*text, ("offset", "u4"), ("count", "u4")])
    names = [(f"ENS{gene}", gene) if new else (gene,) for gene in genes]
    offsets = np.cumsum([0, *number[:-1]])
    rows = [(*name, offset, n) for name, offset, n in zip(names, offsets, number, strict=True)]
    with h5py.File(path, "w") as file:
        file.attrs["version"] = np.array([4], "u4")
        for bin_name in ("bin1", "bin50"):
            group = file.create_group(f"geneExp/{bin_name}")
            group["gene"] = np.array(rows, gene_type)
            records = [(x, y, value) for _, x, y, value, _ in ordered]
            group["expression"] = np.array(records, [("x", "u4"), ("y", "u4"), ("count", "u1")])
            for name, value in (("minX", 999), ("minY", 1999), ("resolution", 500)):
                group["expression"].attrs[name] = np.array([value], "u4")


def write_cell_gef(path: Path) -> None:
    """Write cellBin as geftools does: two cells of three genes."""
    cell_type = [
        ("id", "u4"),
        ("x", "i4"),
        ("y", "i4"),
        ("offset", "u4"),
        ("geneCount", "u2"),
        ("expCount", "u2"),
    ]
    with h5py.File(path, "w") as file:
        file.attrs["resolution"] = np.array([500], "u4")
        group = file.create_group("cellBin")
        group["cell"] = np.array([(11, 1000, 2024, 0, 1, 3), (12, 1075, 2050, 1, 2, 7)], cell_type)
        group["cellExp"] = np.array([(0, 3), (0, 3), (2, 4)], [("geneID", "u4"), ("count", "u2")])
        group["gene"] = np.array(
            [("Actb", 0), ("Gfap", 0), ("Mbp", 0)], [("geneName", "S32"), ("offset", "u4")]
        )
