"""Sections in each vendor's layout: the counts, names and places that were written come back."""

from __future__ import annotations

import gzip
import json
import logging
import sys
from pathlib import Path

import anndata as ad
import folders
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

import tissuegraph as tg
from tissuegraph.errors import InputError, MachineError

SHARED = Path(__file__).resolve().parents[4] / "shared/data"


def notes(adata: ad.AnnData) -> dict:
    return adata.uns["tissuegraph"]["section"]


def assert_counts(adata: ad.AnnData, expected: np.ndarray) -> None:
    assert sparse.issparse(adata.X)
    assert np.issubdtype(adata.X.dtype, np.integer)
    assert np.array_equal(adata.X.toarray(), expected)
    assert np.array_equal(adata.layers["counts"].toarray(), expected)
    assert adata.layers["counts"] is not adata.X


# ---- Visium


@pytest.mark.parametrize(
    "positions", ["tissue_positions_list.csv", "tissue_positions.csv", "tissue_positions.parquet"]
)
@pytest.mark.parametrize("matrix", ["h5", "folder"])
def test_visium_of_old_and_new_space_ranger(tmp_path, positions, matrix):
    spots, values = folders.write_visium(tmp_path / "outs", positions=positions, matrix=matrix)
    adata = tg.read_section(tmp_path / "outs")
    assert list(adata.obs_names) == spots["barcode"].to_list()
    assert list(adata.var_names) == ["EPCAM", "CD3E", "KRT8", "CD3E-1"]
    assert list(adata.var["gene_ids"]) == folders.GENE_IDS
    assert_counts(adata, values)
    pixels = spots.select("pxl_col_in_fullres", "pxl_row_in_fullres").to_numpy()
    assert np.allclose(adata.obsm["spatial"], pixels * folders.UM_PER_PIXEL, rtol=1e-3)
    assert notes(adata)["platform"] == "visium"
    assert notes(adata)["unit"] == "um"
    assert notes(adata)["values"] == "counts"
    assert (np.diff(adata.obsp["spatial_connectivities"].indptr) == 6).all()


def test_visium_is_found_from_the_folder_above_and_from_its_files(tmp_path):
    folders.write_visium(tmp_path / "outs")
    paths = (".", "outs", "outs/filtered_feature_bc_matrix.h5", "outs/spatial/tissue_positions.csv")
    assert {notes(tg.read_section(tmp_path / path))["platform"] for path in paths} == {"visium"}


def test_the_scale_of_visium_is_that_of_its_lattice_though_the_image_is_turned(tmp_path):
    folders.write_visium(tmp_path, factors={"spot_diameter_fullres": 177.0})
    path = tmp_path / "spatial/tissue_positions.csv"
    table = pl.read_csv(path)
    row, column = (table[f"pxl_{name}_in_fullres"].to_numpy() for name in ("row", "col"))
    turned = np.stack([0.6 * row - 0.8 * column + 3000, 0.8 * row + 0.6 * column], 1)
    table.with_columns(pxl_row_in_fullres=turned[:, 0], pxl_col_in_fullres=turned[:, 1]).write_csv(path)
    adata = tg.read_section(tmp_path)
    assert notes(adata)["um_per_pixel"] == pytest.approx(folders.UM_PER_PIXEL, rel=1e-3)
    assert notes(adata)["scale_from"] == "spots 100 um apart"
    assert adata.obsp["spatial_distances"].data.min() == pytest.approx(100, abs=2)


def test_positions_stay_in_pixels_where_nothing_tells_the_scale(tmp_path, caplog):
    folders.write_visium(tmp_path, factors={})
    path = tmp_path / "spatial/tissue_positions.csv"
    pl.read_csv(path).with_columns(array_row=0, array_col=0).write_csv(path)
    adata = tg.read_section(tmp_path)
    assert notes(adata)["unit"] == "pixel"
    assert "positions stay in pixels" in caplog.text
    assert adata.obsm["spatial"].min() == 500


def test_features_that_are_no_genes_are_left_out_and_counted(tmp_path):
    _, values = folders.write_visium(tmp_path, antibody=True)
    adata = tg.read_section(tmp_path)
    assert_counts(adata, values)
    assert notes(adata)["features_left_out"] == 1


def test_of_a_raw_matrix_only_spots_in_the_tissue_are_kept(tmp_path):
    folders.write_visium(tmp_path)
    (tmp_path / "filtered_feature_bc_matrix.h5").unlink()
    everything = folders.lattice(8, 8)
    folders.write_10x_h5(
        tmp_path / "raw_feature_bc_matrix.h5", folders.counts(64), everything["barcode"].to_list()
    )
    adata = tg.read_section(tmp_path)
    inside = everything["in_tissue"].to_numpy() == 1
    assert_counts(adata, folders.counts(64)[inside])
    assert notes(adata)["spots_left_out"] == (~inside).sum()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "filtered_feature_bc_matrix.h5").unlink(),
            r"no filtered_feature_bc_matrix.h5 and .* found: spatial; give the folder",
        ),
        (
            lambda folder: (folder / "filtered_feature_bc_matrix.h5").write_bytes(b"broken"),
            r"cannot read .*filtered_feature_bc_matrix.h5 .*damaged",
        ),
        (
            lambda folder: (folder / "spatial/tissue_positions.csv").write_text("barcode,row\na,1\n"),
            r"no column 'in_tissue' in .*tissue_positions.csv; found: barcode, row; expected: barcode",
        ),
        (
            lambda folder: (folder / "spatial/scalefactors_json.json").write_text("{"),
            r"scalefactors_json.json is no JSON",
        ),
        (
            lambda folder: folders.write_10x_h5(
                folder / "filtered_feature_bc_matrix.h5", folders.counts(2), ["other-1", "more-1"]
            ),
            r"none of the 2 spots with counts, such as 'other-1', has a position in tissue_pos",
        ),
    ],
)
def test_what_is_wrong_with_visium_is_said(tmp_path, spoil, message):
    folders.write_visium(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        tg.read_section(tmp_path)


# ---- Visium HD


def test_visium_hd_bins(tmp_path):
    folders.write_visium_hd(tmp_path)
    adata = tg.read_section(tmp_path)
    assert adata.n_obs == 12 * 12
    assert notes(adata)["platform"] == "visium-hd"
    assert notes(adata)["bin_um"] == 8
    assert adata.obsm["spatial"].min(0) == pytest.approx([200 * 0.25 + 4, 100 * 0.25 + 4])
    assert sorted({*adata.obsp["spatial_distances"].data.round(3)})[0] == 8
    assert adata.uns["spatial_neighbors"]["params"]["n_neighbors"] == 8
    assert tg.read_section(tmp_path, bin_size=16).n_obs == 6 * 6
    straight = tg.read_section(tmp_path / "binned_outputs/square_002um", graph=False)
    assert notes(straight)["bin_um"] == 2
    assert "spatial_connectivities" not in straight.obsp


def test_a_bin_size_that_is_not_there_is_said(tmp_path):
    folders.write_visium_hd(tmp_path, sizes=(2, 16))
    with pytest.raises(InputError, match=r"no square_008um in .*; found: square_002um, square_016um; choose"):
        tg.read_section(tmp_path)
    with pytest.raises(InputError, match=r"holds no bins of 8 um"):
        tg.read_section(tmp_path / "binned_outputs/square_016um", bin_size=8)


# ---- Slide-seq and other beads


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_slide_seq(tmp_path, packed, turned):
    folders.write_slide_seq(tmp_path, packed=packed, turned=turned)
    adata = tg.read_section(tmp_path)
    assert list(adata.obs_names) == folders.BEADS[:-2]
    assert list(adata.var_names) == ["EPCAM", "CD3E", "KRT8", "ACTB"]
    assert_counts(adata, folders.BEAD_COUNTS.T[:-2])
    assert np.allclose(adata.obsm["spatial"], folders.BEAD_PLACES[:-2])
    assert notes(adata)["platform"] == "slide-seq"
    assert notes(adata)["unit"] == "as given"
    assert notes(adata)["beads_without_position"] == 2


def test_slide_seq_in_the_folders_of_its_pipeline(tmp_path):
    """Puck.digital_expression.txt, and positions without a header or names, in the order of the counts."""
    places = "\n".join(f"0\t{x}\t{y}" for x, y in folders.BEAD_PLACES)
    (tmp_path / "barcode_matching").mkdir()
    (tmp_path / "barcode_matching/Puck_matched_bead_locations.txt").write_text(places + "\n")
    table = folders.wide_table(folders.BEAD_COUNTS, ["A", "B", "C", "D"], folders.BEADS, "\t")
    packed = gzip.compress(b"#DGE\tVERSION:1.1\n" + table.encode())
    (tmp_path / "Puck.digital_expression.txt.gz").write_bytes(packed)
    adata = tg.read_section(tmp_path)
    assert_counts(adata, folders.BEAD_COUNTS.T)
    assert np.allclose(adata.obsm["spatial"], folders.BEAD_PLACES)


def test_bead_tables_of_stereo_seq_as_published_with_stagate(tmp_path):
    places = "\n".join(f"{x}\t{y}\t{i}" for i, (x, y) in enumerate(folders.BEAD_PLACES))
    (tmp_path / "position.tsv").write_text("x\ty\tlabel\n" + places + "\n")
    beads = [f"Spot_{i}" for i in range(12)]
    table = folders.wide_table(folders.BEAD_COUNTS, ["A", "B", "C", "D"], beads, "\t", corner="")
    (tmp_path / "RNA_counts.tsv.gz").write_bytes(gzip.compress(table.encode()))
    adata = tg.read_section(tmp_path)
    assert list(adata.obs_names) == beads
    assert_counts(adata, folders.BEAD_COUNTS.T)
    assert np.allclose(adata.obsm["spatial"], folders.BEAD_PLACES)


def test_slide_seq_with_counts_as_a_matrix_folder(tmp_path):
    folders.write_slide_seq(tmp_path)
    (tmp_path / "MappedDGEForR.csv").unlink()
    folders.write_10x_folder(tmp_path / "matched.digital_expression", folders.BEAD_COUNTS.T, folders.BEADS)
    assert_counts(tg.read_section(tmp_path), folders.BEAD_COUNTS.T[:-2])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "BeadLocationsForR.csv",
            "barcodes,left,up\nACGT00,1,2\n",
            r"no columns for x and y in .*found: barcodes",
        ),
        ("BeadLocationsForR.csv", "barcodes,x,y\nACGT00,1,NA?\n", r"a position in .* is 'NA\?', no number"),
        (
            "BeadLocationsForR.csv",
            "barcodes,x,y\nTTTT,1,2\n",
            r"none of the .* beads .* has a position in Bead",
        ),
        (
            "BeadLocationsForR.csv",
            "barcodes,x,y\nACGT00,1,2\nACGT00,1,2\n",
            r"'ACGT00' stands twice among the beads",
        ),
        ("MappedDGEForR.csv", "GENE,ACGT00,ACGT01\nA,1,2\nB,1\n", r"row 'B' of .* has 1 numbers, others 2"),
        ("MappedDGEForR.csv", "GENE,ACGT00\nA,many\n", r"row 'A' of .* holds no plain numbers"),
        (
            "MappedDGEForR.csv",
            "GENE,ACGT00,X,Y\nA,1\n",
            r"the first line of .* names 4 columns, but its rows have 1",
        ),
    ],
)
def test_what_is_wrong_with_beads_is_said(tmp_path, name, text, message):
    folders.write_slide_seq(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        tg.read_section(tmp_path)


# ---- Stereo-seq

BINNED = {(19, 39): [0, 1, 0], (20, 40): [3, 5, 0], (21, 40): [3, 0, 0], (21, 41): [0, 0, 4]}


def assert_bins(adata: ad.AnnData) -> None:
    assert list(adata.var_names) == ["Actb", "Gfap", "Mbp"]
    found = {
        (int(x), int(y)): row
        for (x, y), row in zip(adata.obsm["spatial"] / 25, adata.X.toarray().tolist(), strict=True)
    }
    assert found == BINNED
    assert np.allclose(adata.obsm["spatial"] % 25, 12.5)
    assert np.issubdtype(adata.X.dtype, np.integer)
    assert notes(adata)["bin_um"] == 25
    assert notes(adata)["platform"] == "stereo-seq"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chip.gem", folders.gem()),
        ("chip.gem.gz", folders.gem(count="MIDCounts")),
        ("chip.gem.gz", folders.gem(names=True)),
        ("chip_bin1.tsv", folders.gem(header="", count="UMICount")),
        ("chip.tissue.gem", folders.gem(cells=True)),
        ("chip.gem", folders.gem(cells=True).replace("CellID", "label").replace("\t0\n", "\tnone\n")),
    ],
)
def test_gem_tables(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert_bins(tg.read_section(path))
    assert_bins(tg.read_section(tmp_path))


@pytest.mark.parametrize("new", [False, True])
def test_gef_files(tmp_path, new):
    folders.write_gef(tmp_path / "chip.gef", new=new)
    adata = tg.read_section(tmp_path / "chip.gef")
    assert_bins(adata)
    assert tg.read_section(tmp_path / "chip.gef", bin_size=100).n_obs == 2


def test_gem_by_cell(tmp_path):
    (tmp_path / "chip.gem").write_text(folders.gem(cells=True))
    adata = tg.read_section(tmp_path / "chip.gem", bin_size="cell")
    assert list(adata.obs_names) == ["1", "2"]
    assert_counts(adata, np.array([[3, 0, 0], [3, 0, 4]]))
    assert np.allclose(adata.obsm["spatial"], [[500.25, 1012.25], [537.25, 1024.75]])
    (tmp_path / "chip.gem").write_text(folders.gem())
    with pytest.raises(InputError, match=r"has no column of cells \(CellID\)"):
        tg.read_section(tmp_path / "chip.gem", bin_size="cell")


def test_gef_of_cells(tmp_path):
    folders.write_cell_gef(tmp_path / "chip.cellbin.gef")
    adata = tg.read_section(tmp_path / "chip.cellbin.gef")
    assert list(adata.obs_names) == ["11", "12"]
    assert_counts(adata, np.array([[3, 0, 0], [3, 0, 4]]))
    assert np.allclose(adata.obsm["spatial"], [[500, 1012], [537.5, 1025]])
    with pytest.raises(InputError, match=r"holds cells, not spots"):
        tg.read_section(tmp_path / "chip.cellbin.gef", bin_size=20)


@pytest.mark.parametrize(
    ("text", "bin_size", "message"),
    [
        (folders.gem().replace("MIDCount", "n"), None, r"no column 'MIDCount' in .*; found: geneID, x, y, n"),
        (
            folders.gem().replace("BinSize=1", "BinSize=20"),
            50,
            r"bin_size is 50, but .* has bins of 20 spots",
        ),
        (folders.gem(), 0, r"bin_size is 0"),
        (folders.gem().replace("1049", "here"), None, r"cannot read .*chip.gem"),
        (folders.gem().split("Actb")[0], None, r"holds 0 cells and 0 genes"),
    ],
)
def test_what_is_wrong_with_gem_is_said(tmp_path, text, bin_size, message):
    (tmp_path / "chip.gem").write_text(text)
    with pytest.raises(InputError, match=message):
        tg.read_section(tmp_path / "chip.gem", bin_size=bin_size)


def test_a_gef_without_its_groups_is_said(tmp_path):
    with h5py.File(tmp_path / "chip.gef", "w") as file:
        file.create_group("stat")
    with pytest.raises(InputError, match=r"no group 'geneExp' or 'cellBin' in .*; found: stat"):
        tg.read_section(tmp_path / "chip.gef")


# ---- AnnData, SpatialData


def table(n: int = 40) -> ad.AnnData:
    adata = ad.AnnData(
        sparse.csr_matrix(folders.counts(n)), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)])
    )
    adata.obsm["spatial"] = np.random.default_rng(0).random((n, 2)) * 100
    return adata


def test_any_h5ad_with_positions_stays_as_it_is(tmp_path):
    given = table()
    given.obs["section"] = ["a", "b"] * 20
    given.X = given.X.astype(np.float32) / 3
    given.var_names = folders.GENES
    given.uns["mine"] = 1
    given.write_h5ad(tmp_path / "given.h5ad")
    adata = tg.read_section(tmp_path / "given.h5ad")
    assert np.array_equal(adata.X.toarray(), given.X.toarray())
    assert list(adata.var_names) == ["EPCAM", "CD3E", "KRT8", "CD3E-1"]
    assert adata.uns["mine"] == 1
    assert notes(adata)["values"] == "no counts"
    rows, columns = adata.obsp["spatial_connectivities"].nonzero()
    assert (adata.obs["section"].to_numpy()[rows] == adata.obs["section"].to_numpy()[columns]).all()


def test_cells_of_segment_are_in_micrometres(tmp_path):
    given = table()
    given.uns["tissuegraph"] = {"command": "segment"}
    given.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "run.json").write_text("{}")
    adata = tg.read_section(tmp_path)
    assert notes(adata)["unit"] == "um"
    assert adata.uns["tissuegraph"]["command"] == "segment"


def test_what_was_read_can_be_written_and_read_again(tmp_path):
    folders.write_visium(tmp_path / "outs")
    first = tg.read_section(tmp_path / "outs")
    first.write_h5ad(tmp_path / "first.h5ad")
    again = tg.read_section(tmp_path / "first.h5ad")
    assert np.array_equal(first.X.toarray(), again.X.toarray())
    assert notes(again)["platform"] == "visium"
    assert notes(again)["unit"] == "um"


def test_an_h5ad_without_positions_is_said(tmp_path):
    given = table()
    given.obsm["X_umap"] = given.obsm.pop("spatial")
    given.write_h5ad(tmp_path / "given.h5ad")
    with pytest.raises(InputError, match=r"no positions in obsm\['spatial'\] of .*; found in obsm: X_umap"):
        tg.read_section(tmp_path / "given.h5ad")


def test_files_that_are_no_anndata_are_said(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["a"] = [1]
    with pytest.raises(InputError, match=r"other.h5ad is HDF5 but no AnnData"):
        tg.read_section(tmp_path / "other.h5ad")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(InputError, match=r"cannot read .*text.h5ad"):
        tg.read_section(tmp_path / "text.h5ad")


def test_an_anndata_zarr(tmp_path):
    given = table()
    given.write_zarr(tmp_path / "given.zarr")
    adata = tg.read_section(tmp_path / "given.zarr")
    assert np.array_equal(adata.X.toarray(), given.X.toarray())
    assert notes(adata)["platform"] == "zarr"


def test_spatialdata_that_is_not_installed_is_named(tmp_path, monkeypatch):
    (tmp_path / "sample.zarr").mkdir()
    (tmp_path / "sample.zarr/zarr.json").write_text(json.dumps({"attributes": {}}))
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(MachineError, match=r"pip install spatialdata"):
        tg.read_section(tmp_path / "sample.zarr")


def test_tables_of_spatialdata(tmp_path):
    spatialdata = pytest.importorskip("spatialdata")
    tables = {
        name: spatialdata.models.TableModel.parse(table(n)) for name, n in (("cells", 40), ("bins", 30))
    }
    spatialdata.SpatialData(tables=tables).write(tmp_path / "sample.zarr")
    assert tg.read_section(tmp_path / "sample.zarr", table="bins").n_obs == 30
    with pytest.raises(InputError, match=r"has the tables: .*; choose one of them by table"):
        tg.read_section(tmp_path / "sample.zarr")


# ---- finding the platform


def test_nothing_known_is_said(tmp_path):
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(
        InputError, match=r"no section in .*; found: notes.md; expected a Space Ranger folder"
    ):
        tg.read_section(tmp_path)
    with pytest.raises(InputError, match=r"no such file or folder"):
        tg.read_section(tmp_path / "absent")
    with pytest.raises(InputError, match=r"platform is 'xenium'; expected one of: visium"):
        tg.read_section(tmp_path, platform="xenium")


def test_several_sections_in_one_folder_are_named(tmp_path):
    for name in ("a.gem", "b.gem"):
        (tmp_path / name).write_text(folders.gem())
    with pytest.raises(InputError, match=r"holds several sections: a.gem, b.gem; give the path of one"):
        tg.read_section(tmp_path)


def test_a_bin_size_where_there_are_no_bins_is_said(tmp_path):
    folders.write_visium(tmp_path)
    with pytest.raises(InputError, match=r"bin_size is for Visium HD and Stereo-seq, but .* is visium"):
        tg.read_section(tmp_path, bin_size=8)


def test_what_was_found_is_said(tmp_path, caplog):
    folders.write_visium(tmp_path)
    with caplog.at_level(logging.INFO):
        tg.read_section(tmp_path)
    assert "visium, 52 cells x 4 genes, positions in um, X holds counts" in caplog.text
    assert "visium: 6 nearest neighbours" in caplog.text


# ---- real sections


@pytest.mark.parametrize(("name", "spots"), [("151673", 3639), ("151674", 3673)])
def test_cortex_by_visium(name, spots):
    path = SHARED / "dlpfc" / f"{name}.h5ad"
    if not path.is_file():
        pytest.skip("the sections of human cortex are not beside the project")
    adata = tg.read_section(path)
    assert adata.n_obs == spots
    assert notes(adata)["values"] == "counts"
    assert adata.uns["spatial_neighbors"]["params"]["n_neighbors"] == 6


def test_three_sections_by_starmap_stay_apart():
    path = SHARED / "starmap_mpfc/starmap_mpfc.h5ad"
    if not path.is_file():
        pytest.skip("the sections of mouse cortex are not beside the project")
    adata = tg.read_section(path)
    rows, columns = adata.obsp["spatial_connectivities"].nonzero()
    section = adata.obs["section"].to_numpy()
    assert (section[rows] == section[columns]).all()
    assert list(adata.uns["spatial_neighbors"]["params"]["section_key"]) == ["section"]
