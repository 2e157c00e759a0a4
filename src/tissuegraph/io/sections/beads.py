"""Slide-seq, and Stereo-seq as published with STAGATE: a table of positions and a wide table of counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.errors import InputError
from tissuegraph.io.files import reading
from tissuegraph.io.sections.assemble import match, section
from tissuegraph.io.sections.tenx import read_matrix
from tissuegraph.io.sections.wide import Wide, fields, open_text, read_wide, separator

POSITION_NAMES = ("*BeadLocations*", "*bead_locations*", "*position*")
COUNT_NAMES = ("*MappedDGE*", "*digital_expression*", "*RNA_counts*", "*counts*", "*expression*")
ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
BARCODE_COLUMNS = ("barcodes", "barcode", "bead", "bead_id", "cell", "cell_id", "label", "spot", "")
X_COLUMNS = ("xcoord", "x", "x_coord", "xcoords", "spatial_x")
Y_COLUMNS = ("ycoord", "y", "y_coord", "ycoords", "spatial_y")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Positions:
    """Beads with their place [N, 2]; without names where the table has none."""

    names: list[str] | None
    spatial: npt.NDArray[np.float64]


def find_beads(folder: Path) -> tuple[Path, Path] | None:
    """Return the table of positions and the counts (a table, or a folder with matrix.mtx), or None."""
    positions = _first(folder, POSITION_NAMES)
    counts = _first(folder, COUNT_NAMES)
    matrices = sorted(
        path.parent for name in ("matrix.mtx", "matrix.mtx.gz") for path in folder.glob(f"*/{name}")
    )
    if positions is None or not (counts or matrices):
        return None
    return positions, counts or matrices[0]


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    for name in names:
        paths = sorted([*folder.glob(name), *folder.glob(f"*/{name}")])
        found = [path for path in paths if path.is_file() and path.name.endswith(ENDINGS)]
        if found:
            return found[0]
    return None


def read_beads(folder: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read beads that have both a place and counts; places stay in the table's unit."""
    found = find_beads(folder)
    if found is None:
        there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise InputError(
            f"no table of beads (BeadLocationsForR.csv) with one of counts (MappedDGEForR.csv) in {folder}; "
            f"found: {there}; put both there"
        )
    where, counts = found
    log.info("positions from %s, counts from %s", where.name, counts.name)
    with reading(where):
        positions = _read_positions(where)
    with reading(counts):
        table = _read_counts(counts)
    table, names = _orient(table, positions, where)
    rows = match(names, positions.names or names, "bead", where.name)
    kept = np.flatnonzero(rows >= 0)
    adata = section(
        table.values[kept], [table.rows[i] for i in kept], table.columns, positions.spatial[rows[kept]]
    )
    return adata, {"unit": "as given", "beads_without_position": len(rows) - len(kept)}


def _read_counts(path: Path) -> Wide:
    if path.is_dir():
        matrix = read_matrix(path)
        return Wide(matrix.counts, matrix.barcodes, matrix.genes)
    table = read_wide(path)
    return Wide(table.values.T.tocsr(), table.columns, table.rows)


def _orient(table: Wide, positions: Positions, where: Path) -> tuple[Wide, list[str]]:
    """Return counts with a row a bead, and the beads as the table of positions calls them."""
    turned = Wide(table.values.T.tocsr(), table.columns, table.rows)
    if positions.names is None:
        for candidate in (table, turned):
            if len(candidate.rows) == len(positions.spatial):
                return candidate, candidate.rows
        raise InputError(
            f"{where} names no beads and has {len(positions.spatial):,} rows, but the counts have "
            f"{len(table.rows):,} beads; give a table with a column of barcodes"
        )
    known = set(positions.names)
    for candidate in (table, turned):
        # the counts published with STAGATE call bead 12 "Spot_12"
        for names in (candidate.rows, [name.removeprefix("Spot_") for name in candidate.rows]):
            if not known.isdisjoint(names):
                return candidate, names
    return table, table.rows


def _read_positions(path: Path) -> Positions:
    with open_text(path) as file:
        first = file.readline()
    mark = separator(first)
    header = [field.lower() for field in fields(first, mark)]
    x, y = _column(header, X_COLUMNS), _column(header, Y_COLUMNS)
    if x is None or y is None:
        return _read_bare(path, first, mark)
    table = pl.read_csv(path, separator=mark or " ", infer_schema=False)
    if len(table.columns) == len(header) + 1:  # R names no column of row names
        x, y, header = x + 1, y + 1, ["", *header]
    name = _column(header, BARCODE_COLUMNS)
    spatial = np.stack([_numbers(table.to_series(i), path) for i in (x, y)], 1)
    return Positions(None if name is None else table.to_series(name).fill_null("").to_list(), spatial)


def _read_bare(path: Path, first: str, mark: str | None) -> Positions:
    """Read a table without header: barcode, x, y, or the distance to a barcode, x, y."""
    parts = fields(first, mark)
    if len(parts) < 3 or not all(_is_number(part) for part in parts[1:3]):
        raise InputError(
            f"no columns for x and y in {path}; found: {', '.join(parts)}; expected: barcodes, xcoord, ycoord"
        )
    table = pl.read_csv(path, separator=mark or " ", has_header=False, infer_schema=False)
    spatial = np.stack([_numbers(table.to_series(i), path) for i in (1, 2)], 1)
    return Positions(None if _is_number(parts[0]) else table.to_series(0).to_list(), spatial)


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(column: pl.Series, path: Path) -> npt.NDArray[np.float64]:
    values = column.str.strip_chars().cast(pl.Float64, strict=False)
    if values.null_count():
        bad = column.filter(values.is_null())[0]
        raise InputError(f"a position in {path} is '{bad}', no number; mend or leave out that row")
    return values.to_numpy()
