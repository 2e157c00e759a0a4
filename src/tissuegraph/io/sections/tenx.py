"""Count matrices of 10x Genomics: the HDF5 file, or the folder with matrix.mtx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import polars as pl
from scipy import io, sparse

from tissuegraph.errors import InputError
from tissuegraph.io.files import reading

GENE_EXPRESSION = "Gene Expression"


@dataclass(frozen=True)
class Matrix:
    """Counts [barcodes, genes] with names; `dropped`: how many features are no genes (antibodies, guides)."""

    counts: sparse.csr_matrix
    barcodes: list[str]
    gene_ids: list[str]
    genes: list[str]
    dropped: int


def find_matrix(folder: Path) -> Path:
    """Return the matrix of a Space Ranger folder: filtered before raw, the HDF5 file before the folder.

    Raises
    ------
    InputError
        Where there is none.
    """
    for kind in ("filtered_feature_bc_matrix", "raw_feature_bc_matrix"):
        files = sorted(folder.glob(f"*{kind}.h5"))
        if files:
            return files[0]
        if _part(folder / kind, "matrix.mtx"):
            return folder / kind
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise InputError(
        f"no filtered_feature_bc_matrix.h5 and no folder filtered_feature_bc_matrix in {folder}; found: "
        f"{found}; give the folder that Space Ranger calls outs"
    )


def read_matrix(path: Path) -> Matrix:
    """Read a matrix and keep its genes."""
    with reading(path):
        everything, kinds = _read_folder(path) if path.is_dir() else _read_h5(path)
    is_gene = np.array([kind == GENE_EXPRESSION for kind in kinds], bool)
    if is_gene.all():
        return everything
    if not is_gene.any():
        kinds_found = ", ".join(sorted(set(kinds)))
        raise InputError(
            f"{path} has no feature of type '{GENE_EXPRESSION}'; found: {kinds_found}; give that of genes"
        )
    genes = np.flatnonzero(is_gene)
    return Matrix(
        everything.counts[:, genes],
        everything.barcodes,
        [everything.gene_ids[i] for i in genes],
        [everything.genes[i] for i in genes],
        int((~is_gene).sum()),
    )


def _read_h5(path: Path) -> tuple[Matrix, list[str]]:
    with h5py.File(path) as file:
        if "matrix/features/name" not in file:
            found = ", ".join(file) or "nothing"
            raise InputError(
                f"{path} has no group 'matrix' with features, as of Space Ranger; found: {found}"
            )
        group = file["matrix"]
        n_genes, n_barcodes = (int(side) for side in group["shape"][:])
        # 10x stores genes x barcodes by column, which is barcodes x genes by row
        counts = sparse.csr_matrix(
            (group["data"][:], group["indices"][:], group["indptr"][:]), (n_barcodes, n_genes)
        )
        features = {name: _texts(group["features"][name]) for name in ("id", "name")}
        kinds = _texts(group["features"]["feature_type"]) if "feature_type" in group["features"] else None
        matrix = Matrix(counts, _texts(group["barcodes"]), features["id"], features["name"], 0)
    return matrix, kinds or [GENE_EXPRESSION] * n_genes


def _texts(values: h5py.Dataset) -> list[str]:
    return [str(text) for text in values.asstr()[:]]


def _read_folder(folder: Path) -> tuple[Matrix, list[str]]:
    paths = {}
    for names in (("matrix.mtx",), ("barcodes.tsv",), ("features.tsv", "genes.tsv")):
        found = [path for name in names if (path := _part(folder, name))]
        if not found:
            raise InputError(f"no {names[0]} or {names[0]}.gz in {folder}; copy the whole folder again")
        paths[names[0]] = found[0]
    counts = sparse.csr_matrix(io.mmread(paths["matrix.mtx"]).T)
    barcodes = _columns(paths["barcodes.tsv"])[0]
    features = _columns(paths["features.tsv"])
    if counts.shape != (len(barcodes), len(features[0])):
        raise InputError(
            f"{paths['matrix.mtx']} is {counts.shape[1]} x {counts.shape[0]}, but there are "
            f"{len(features[0])} features and {len(barcodes)} barcodes; copy the whole folder again"
        )
    kinds = features[2] if len(features) > 2 else [GENE_EXPRESSION] * len(features[0])
    return Matrix(counts, barcodes, features[0], features[min(1, len(features) - 1)], 0), kinds


def _part(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _columns(path: Path) -> list[list[str]]:
    table = pl.read_csv(path, separator="\t", has_header=False, infer_schema=False, quote_char=None)
    return [column.fill_null("").to_list() for column in table.get_columns()]
