"""Tables of vertices to one valid outline a cell; bad rings are repaired or left out, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.shapes import measured

# A polygon in a hundred may be bad, and two in any slide, however small.
MAX_BAD_FRACTION = 0.01
MAX_BAD_ALWAYS = 2
MIN_AREA_UM2 = 1e-6
CELLS_A_GROUP = 20_000
"""Cells that are written at a time."""

_LABEL, _X, _Y, _OWNER = "label", "x", "y", "owner"
_GEOMETRY = "geometry"


def outlines_from_vertices(
    vertices: pl.DataFrame, source: Path, noun: str, advice: str
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Return one outline a cell, and what had to be mended.

    Parameters
    ----------
    vertices
        One row a vertex, um, in the order in which they are drawn: `cell_id` (str), `x`, `y` and,
        where a cell may have several rings, `label`. Without it a ring ends where it returns to its
        first vertex, and what follows under the same id is the next ring.
    source, noun, advice
        The file, "nucleus" or "cell", and the next step, for messages.

    Returns
    -------
    A GeoDataFrame indexed by `cell_id`, unique, in order of first appearance, with a Polygon or, for a
    cell of several rings, a MultiPolygon (overlapping rings are merged); and counts such as
    {"nucleus outlines repaired": 1}, without zeros.

    Raises
    ------
    InputError
        When more than one outline in a hundred (and more than two) is broken, or all are.
    """
    owned = vertices.filter(pl.col(keys.CELL_ID).is_not_null())
    cell_ids, owner_of_group, group = _group(owned)
    xy = owned.select(pl.col(_X, _Y).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    if (np.diff(group) < 0).any():  # the rows of a ring lie apart
        order = np.argsort(group, kind="stable")
        xy, group = xy[order], group[order]
    xy, ring, group_of_ring = split_rings(xy, group)
    owner = owner_of_group[group_of_ring]
    shapes, repaired = polygons_from_rings(xy, ring, len(owner))
    left_out = shapely.is_missing(shapes)
    _refuse_if_too_many(left_out, repaired, cell_ids[owner], source, noun, advice)
    geometry = merge_rings(shapes, owner, len(cell_ids))
    there = ~shapely.is_missing(geometry)
    index = pd.Index(cell_ids[there], name=keys.CELL_ID)
    counts = {
        f"{noun} outlines left out": int(left_out.sum()),
        f"{noun} outlines repaired": int(repaired.sum()),
        f"{noun} vertices without a cell": len(vertices) - len(owned),
    }
    outlines = gpd.GeoDataFrame(geometry=geometry[there], index=index)
    return outlines, {name: count for name, count in counts.items() if count}


def _group(vertices: pl.DataFrame) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells by first appearance, the cell of each group, and the group of each row.

    A group is what bears one cell id and one label.
    """
    names = [name for name in (keys.CELL_ID, _LABEL) if name in vertices.columns]
    column = vertices.select(names)
    changes = column.select(pl.any_horizontal(pl.col(names).ne_missing(pl.col(names).shift())))
    start = np.flatnonzero(changes.to_series().to_numpy())
    runs = column[start]
    groups = runs.unique(maintain_order=True).with_row_index("group")
    code = runs.join(groups, on=names, how="left", nulls_equal=True, maintain_order="left")["group"]
    cells = groups.select(pl.col(keys.CELL_ID).unique(maintain_order=True)).with_row_index(_OWNER)
    owner = groups.join(cells, on=keys.CELL_ID, how="left", maintain_order="left")[_OWNER]
    lengths = np.diff(start, append=len(vertices))
    group = np.repeat(code.to_numpy().astype(np.int64), lengths)
    return cells[keys.CELL_ID].to_numpy(), owner.to_numpy().astype(np.int64), group


def split_rings(
    xy: NDArray[np.float64], group: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut each group of vertices where it returns to its first vertex.

    Parameters
    ----------
    xy
        (n, 2), um.
    group
        (n,), ascending without gaps.

    Returns
    -------
    The vertices without repetitions and closing ones, the ring of each of them, and the group of each
    ring; every group has at least one ring.
    """
    first = _differs_from_previous(group)
    new = first.copy()
    new[1:] |= (xy[1:] != xy[:-1]).any(axis=1)
    xy, group, first = xy[new], group[new], first[new]
    start = np.flatnonzero(first)
    end = np.append(start, len(group))[1:]
    closing = (xy == xy[start[group]]).all(axis=1) & ~first
    inner = closing.copy()
    inner[end - 1] = False
    for number in np.unique(group[inner]):  # several closed rings under one label
        part = slice(start[number], end[number])
        closing[part] = _closing_vertices(xy[part])
    first[1:] |= closing[:-1]
    ring = np.cumsum(first) - 1
    return xy[~closing], ring[~closing], group[first]


def _differs_from_previous(values: NDArray) -> NDArray[np.bool_]:
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def _closing_vertices(xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    closing = np.zeros(len(xy), bool)
    begin = 0
    for position in range(1, len(xy)):
        if position > begin and (xy[position] == xy[begin]).all():
            closing[position] = True
            begin = position + 1
    return closing


def polygons_from_rings(
    xy: NDArray[np.float64], ring: NDArray[np.int64], n_rings: int
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return a valid polygon for each ring, None where there is none to be had, and which were repaired.

    A ring needs three vertices, all of them finite, and an area. One that crosses itself is made valid;
    its polygonal parts are kept.
    """
    shapes = np.full(n_rings, None, dtype=object)
    usable = np.bincount(ring, minlength=n_rings) >= 3
    usable[ring[~np.isfinite(xy).all(axis=1)]] = False
    kept = usable[ring]
    number = np.cumsum(usable) - 1
    shapes[usable] = shapely.polygons(shapely.linearrings(xy[kept], indices=number[ring[kept]]))
    broken = usable & ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    good = shapely.area(shapes) > MIN_AREA_UM2
    shapes[~good] = None
    return shapes, broken & good


def merge_rings(shapes: NDArray, owner: NDArray[np.int64], n_cells: int) -> NDArray:
    """Return one geometry a cell: its only polygon, a MultiPolygon of several, or None."""
    parts, ring = shapely.get_parts(shapes, return_index=True)
    owner = owner[ring]
    order = np.argsort(owner, kind="stable")
    parts, owner = parts[order], owner[order]
    count = np.bincount(owner, minlength=n_cells)
    merged = np.full(n_cells, None, dtype=object)
    alone = count[owner] == 1
    merged[owner[alone]] = parts[alone]
    several = np.flatnonzero(count > 1)
    merged[several] = shapely.multipolygons(parts[~alone], indices=np.searchsorted(several, owner[~alone]))
    overlapping = several[~shapely.is_valid(merged[several])]
    merged[overlapping] = shapely.union_all(merged[overlapping][:, None], axis=1)
    return merged


def _refuse_if_too_many(
    left_out: NDArray[np.bool_],
    repaired: NDArray[np.bool_],
    cell_ids: NDArray,
    source: Path,
    noun: str,
    advice: str,
) -> None:
    bad = left_out | repaired
    n_bad, n_all = int(bad.sum()), len(bad)
    allowed = max(MAX_BAD_ALWAYS, MAX_BAD_FRACTION * n_all)
    if n_all == 0 or (n_bad <= allowed and not left_out.all()):
        return
    first = ", ".join(cell_ids[bad][:3])
    raise InputError(
        f"{n_bad:,} of {n_all:,} {noun} outlines in {source.name} are broken "
        f"({int(left_out.sum()):,} with fewer than three vertices, missing coordinates or no area, "
        f"{int(repaired.sum()):,} that cross themselves), first of cells {first}; "
        f"no more than one in a hundred may be: {advice}"
    )


def write_outlines(path: Path, cell_ids: NDArray[np.object_], outlines: NDArray[np.object_]) -> None:
    """Write the polygons of cells, given as WKB, um, as GeoParquet 1.1: `cell_id` and `geometry`."""
    column: dict[str, Any] = {"encoding": "WKB", "crs": None, "geometry_types": ["Polygon"]}
    if len(outlines):
        boxes = measured(lambda some: shapely.bounds(shapely.from_wkb(some)), outlines)
        column["bbox"] = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
    geo = {"version": "1.1.0", "primary_column": _GEOMETRY, "columns": {_GEOMETRY: column}}
    as_wkb = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": "{}"}
    fields = [pa.field(keys.CELL_ID, pa.string()), pa.field(_GEOMETRY, pa.binary(), metadata=as_wkb)]
    with pq.ParquetWriter(path, pa.schema(fields, metadata={"geo": json.dumps(geo)})) as writer:
        for first in range(0, len(outlines), CELLS_A_GROUP):
            some = slice(first, first + CELLS_A_GROUP)
            columns = [pa.array(cell_ids[some], pa.string()), pa.array(outlines[some], pa.binary())]
            writer.write_table(pa.Table.from_arrays(columns, schema=writer.schema))
