"""Stereo-seq: molecules by spot of the chip (GEM tables, GEF files), joined into square bins or cells."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.io.files import reading
from tissuegraph.io.sections.assemble import section
from tissuegraph.io.sections.wide import open_text

GEM_ENDINGS = (".gem", ".gem.gz")
GEF_ENDING = ".gef"
COUNT_COLUMNS = ("MIDCount", "MIDCounts", "UMICount", "UMICounts", "MIDcounts", "count")
CELL_COLUMNS = ("CellID", "cell", "cell_id", "label")
GENE_COLUMNS = ("geneName", "geneID", "gene", "geneid")
DEFAULT_BIN = 50
BIN_NEIGHBORS = 8
PITCH = 0.5
"""Distance between neighbouring spots of a chip, um."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Records:
    """A count of a gene at a spot, by record; x and y in spots of the chip."""

    gene: npt.NDArray[np.int64]
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    genes: list[str]
    pitch: float
    bin_size: int
    """Spots a side that the file has joined already."""
    cell: npt.NDArray[np.int64] | None = None
    """The cell's number, 0 outside cells."""


def read_stereoseq(path: Path, bin_size: int | str | None) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read bins of `bin_size` spots a side (50, 25 um), or "cell": the cells of a cell-bin file or column."""
    is_gef = path.name.endswith(GEF_ENDING)
    with reading(path):
        if is_gef and _has_cells(path):
            if isinstance(bin_size, int):
                raise InputError(
                    f"{path} holds cells, not spots; leave bin_size out, or give the *.tissue.gef"
                )
            return _read_cell_bins(path)
        records = _read_gef(path) if is_gef else _read_gem(path, with_cells=bin_size == "cell")
    if bin_size == "cell":
        return _join_cells(records, path)
    size = max(DEFAULT_BIN, records.bin_size) if bin_size is None else bin_size
    if not isinstance(size, int) or size < 1 or size % records.bin_size:
        raise InputError(
            f"bin_size is {size!r}, but {path} has bins of {records.bin_size} spots; give a multiple of it, "
            "or 'cell'"
        )
    return _join_bins(records, size)


def _join_bins(records: Records, size: int) -> tuple[ad.AnnData, dict[str, Any]]:
    # a corner at a multiple of the size: bins of two sections of one chip fall together
    x, y = records.x // size, records.y // size
    width = int(x.max(initial=0) - x.min(initial=0)) + 1
    key, members = np.unique((y - y.min(initial=0)) * width + x - x.min(initial=0), return_inverse=True)
    corner = np.stack([key % width + x.min(initial=0), key // width + y.min(initial=0)], 1)
    counts = _count(members, len(key), records)
    names = [f"{column}_{row}" for column, row in corner * size]
    adata = section(counts, names, records.genes, (corner + 0.5) * size * records.pitch)
    notes = {"unit": "um", "um_per_spot": records.pitch, "bin_um": size * records.pitch}
    return adata, notes | {"n_neighbors": BIN_NEIGHBORS}


def _join_cells(records: Records, path: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    if records.cell is None:
        raise InputError(f"{path} has no column of cells (CellID); give bin_size as a number of spots")
    inside = np.flatnonzero(records.cell > 0)
    ids, members = np.unique(records.cell[inside], return_inverse=True)
    weights = np.bincount(members, minlength=len(ids))
    centre = [np.bincount(members, part[inside], len(ids)) / weights for part in (records.x, records.y)]
    counts = _count(members, len(ids), records, inside)
    adata = section(counts, [str(i) for i in ids], records.genes, np.stack(centre, 1) * records.pitch)
    return adata, {
        "unit": "um",
        "um_per_spot": records.pitch,
        "records_outside_cells": len(records.x) - len(inside),
    }


def _count(
    members: npt.NDArray[np.int64],
    n: int,
    records: Records,
    chosen: npt.NDArray[np.int64] | slice = slice(None),
) -> sparse.csr_matrix:
    place = (members, records.gene[chosen])
    return sparse.csr_matrix((records.count[chosen], place), (n, len(records.genes)))


def _read_gem(path: Path, *, with_cells: bool) -> Records:
    with open_text(path) as file:
        comments, header = [], ""
        for header in file:
            if not header.startswith("#"):
                break
            comments.append(header.strip("#\n\r ").split("=", 1))
    settings = {parts[0]: parts[1] for parts in comments if len(parts) == 2}
    names = header.rstrip("\r\n").split("\t")
    gene, count = _one_of(names, GENE_COLUMNS, path), _one_of(names, COUNT_COLUMNS, path)
    cell = next((name for name in CELL_COLUMNS if with_cells and name in names), None)
    for name in ("x", "y"):
        _one_of(names, (name,), path)
    types = dict.fromkeys([*"xy", count, *([cell] if cell else [])], pl.Int64)
    table = pl.read_csv(
        path,
        separator="\t",
        comment_prefix="#",
        columns=[gene, *types],
        schema_overrides={gene: pl.String, **types},
        quote_char=None,
    )
    if table.null_count().sum_horizontal().item():
        raise InputError(f"{path} has rows without a value; it may be cut short: copy or download it again")
    genes = table[gene].unique().sort()
    code = table[gene].cast(pl.Enum(genes)).to_physical().to_numpy().astype(np.int64)
    x, y, counts = (table[name].to_numpy() for name in ("x", "y", count))
    cells = table[cell].to_numpy() if cell else None
    return Records(code, x, y, counts, genes.to_list(), PITCH, int(settings.get("BinSize", 1)), cells)


def _one_of(names: list[str], wanted: tuple[str, ...], path: Path) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise InputError(
            f"no column '{wanted[0]}' in {path}; found: {', '.join(names)}; expected a GEM table: geneID, "
            "x, y, MIDCount"
        )
    return found


def _has_cells(path: Path) -> bool:
    with h5py.File(path) as file:
        return "cellBin" in file


def _read_gef(path: Path) -> Records:
    with h5py.File(path) as file:
        there = sorted(file["geneExp"], key=lambda name: int(name[3:])) if "geneExp" in file else []
        if not there:
            raise InputError(
                f"no group 'geneExp' or 'cellBin' in {path}; found: {', '.join(file)}; expected a GEF file"
            )
        group = file["geneExp"][there[0]]
        expression, gene = group["expression"], group["gene"][:]
        nanometres = int(np.ravel(expression.attrs.get("resolution", file.attrs.get("resolution", 0)))[0])
        spots = expression[:]
    names = _texts(gene[_one_of(list(gene.dtype.names), GENE_COLUMNS, path)])
    counts = gene["count"].astype(np.int64)
    order = np.argsort(gene["offset"], kind="stable")
    if counts.sum() != len(spots):
        raise InputError(
            f"{path} lists {counts.sum():,} records by gene but holds {len(spots):,}; copy it again"
        )
    x, y, values = (spots[name].astype(np.int64) for name in ("x", "y", "count"))
    pitch = nanometres / 1000 if nanometres else PITCH
    return Records(np.repeat(order, counts[order]), x, y, values, names, pitch, int(there[0][3:]))


def _read_cell_bins(path: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    with h5py.File(path) as file:
        group = file["cellBin"]
        cells, gene, expression = (group[name][:] for name in ("cell", "gene", "cellExp"))
        nanometres = int(np.ravel(file.attrs.get("resolution", 0))[0])
    pitch = nanometres / 1000 if nanometres else PITCH
    owner = np.repeat(np.arange(len(cells)), cells["geneCount"])
    if len(owner) != len(expression):
        raise InputError(
            f"{path} lists {len(owner):,} counts by cell but holds {len(expression):,}; copy it again"
        )
    place = (owner, expression["geneID"].astype(np.int64))
    counts = sparse.csr_matrix((expression["count"].astype(np.int64), place), (len(cells), len(gene)))
    names = _texts(gene[_one_of(list(gene.dtype.names), GENE_COLUMNS, path)])
    centre = np.stack([cells["x"], cells["y"]], 1) * pitch
    return section(counts, [str(i) for i in cells["id"]], names, centre), {"unit": "um", "um_per_spot": pitch}


def _texts(values: npt.NDArray[Any]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
