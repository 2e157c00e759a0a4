"""Which outlines a transcript could belong to: its nearest ones, with the signed distance to each.

A uniform grid over the outlines' boxes finds the few that can be near; a serial kernel measures them.
Every point is judged for itself and in float64, so a slide gives the same pairs however it is cut.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from tissuegraph.errors import InputError
from tissuegraph.parallel import compiled, cores

CHUNK = 100_000
"""Points a thread measures at a time: bounds the memory of the result before it is trimmed."""

SLACK = 1e-6
"""Micrometres by which a box may err, so that rounding never hides an outline."""

POLYGONS = (-1, int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON))

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


class _Outlines(NamedTuple):
    """The sides of all outlines: those of outline i are `sides[first[i]:first[i + 1]]`, as ax, ay, bx, by."""

    sides: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]


class _Grid(NamedTuple):
    """Outlines by square: square s holds `members[first[s]:first[s + 1]]`, ascending."""

    members: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    left: float
    bottom: float
    side: float
    columns: int
    rows: int


def candidate_pairs(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    outlines: npt.ArrayLike,
    *,
    k: int,
    max_distance: float,
    threads: int | None = None,
) -> Pairs:
    """Pair each point with its up to `k` nearest outlines within `max_distance`.

    Nearest means smallest signed distance; where two are equal, the outline that comes first. The pairs
    of a point depend on no other point, and on no outline beyond `max_distance`.

    Parameters
    ----------
    x, y
        Positions in um, shape (N,), finite.
    outlines
        Valid Polygons or MultiPolygons, shape (B,). A missing or empty one is nobody's candidate.
    k
        At most this many pairs a point.
    max_distance
        In um, from the outline. A point inside an outline is always near enough.
    threads
        How many threads measure; by default one for each core this process may use. The result is the same.

    Returns
    -------
    tx_index, boundary_index
        int64, shape (P,): positions in `x` and in `outlines`, sorted by point, then by rank.
    distance
        float32, shape (P,), um: to the outline; inside it, minus the distance to its border.

    Raises
    ------
    InputError
        If `k` or `max_distance` is out of range, the positions do not match, or an outline is no polygon.
    """
    if k < 1 or not (0 <= max_distance < math.inf):
        raise InputError(
            f"k is {k} and max_distance is {max_distance}; k must be 1 or more, and max_distance "
            "a finite number of micrometres that is not negative."
        )
    points = _points(x, y)
    flat = flatten(outlines)
    if len(points) == 0 or len(flat.sides) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    grid = _grid(flat.boxes, max_distance + SLACK)

    def measure(start: int) -> Pairs:
        distance, index = _nearest(points[start : start + CHUNK], flat, grid, k, float(max_distance))
        found = index >= 0
        tx_index = np.repeat(np.arange(start, start + len(index)), found.sum(axis=1))
        return tx_index, index[found], distance[found].astype(np.float32)

    with ThreadPoolExecutor(threads or cores()) as pool:
        chunks = list(pool.map(measure, range(0, len(points), CHUNK)))
    tx_index, boundary_index, distance = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return tx_index, boundary_index, distance


def signed_distance(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    outlines: npt.ArrayLike,
    tx_index: npt.ArrayLike,
    boundary_index: npt.ArrayLike,
) -> npt.NDArray[np.float32]:
    """Measure given pairs as `candidate_pairs` does: float32, shape (P,), um, negative inside.

    `x`, `y` (um, shape (N,)) and `outlines` (shape (B,)) are as there; the pairs are positions in them.
    The distance to a missing or empty outline is infinite.

    Raises
    ------
    InputError
        If the positions do not match or an outline is no polygon.
    """
    pairs = np.asarray(tx_index, np.int64), np.asarray(boundary_index, np.int64)
    return _measure_pairs(_points(x, y), flatten(outlines), *pairs).astype(np.float32)


def _points(x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"x has shape {x.shape} and y {y.shape}; give two arrays of one length.")
    return np.column_stack([x, y])


def flatten(outlines: npt.ArrayLike) -> _Outlines:
    """Take all rings of all parts apart: with the even-odd rule, holes and islands need no more."""
    geometries: npt.NDArray[Any] = np.asarray(outlines, dtype=object)
    kinds = shapely.get_type_id(geometries)
    if not np.isin(kinds, POLYGONS).all():
        odd = int(np.flatnonzero(~np.isin(kinds, POLYGONS))[0])
        raise InputError(
            f"outline {odd} is a {geometries[odd].geom_type}; only Polygons and MultiPolygons bound a cell."
        )
    parts, outline_of_part = shapely.get_parts(geometries, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    corners, ring_of_corner = shapely.get_coordinates(rings, return_index=True)
    joined = ring_of_corner[1:] == ring_of_corner[:-1]
    sides = np.ascontiguousarray(np.hstack([corners[:-1], corners[1:]])[joined])
    owner = outline_of_part[part_of_ring[ring_of_corner[1:][joined]]]
    return _Outlines(sides, _starts(owner, len(geometries)), shapely.bounds(geometries).reshape(-1, 4))


def _grid(boxes: npt.NDArray[np.float64], reach: float) -> _Grid:
    """List, for each square of a uniform grid, the outlines whose grown box touches it."""
    known = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    low, high = boxes[known, :2] - reach, boxes[known, 2:] + reach
    (left, bottom), extent = low.min(axis=0), high.max(axis=0) - low.min(axis=0)
    # about half a box, but never many more squares than outlines, however far they lie apart
    side = max(float((high - low).mean()) / 2, math.sqrt(extent[0]) * math.sqrt(extent[1] / (4 * len(known))))
    side = max(side, float(extent.max()) / (1000 + 4 * len(known)))
    columns, rows = (int(np.floor(size / side)) + 1 for size in extent)
    # divided and rounded as the kernel does it, so that no point ends in another square
    first_square = np.floor((low - [left, bottom]) / side).astype(np.int64)
    spans = np.floor((high - [left, bottom]) / side).astype(np.int64) - first_square + 1
    counts = spans.prod(axis=1)
    outline = np.repeat(np.arange(len(known)), counts)
    nth = np.arange(len(outline)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = first_square[outline, 0] + nth % spans[outline, 0]
    square = column + columns * (first_square[outline, 1] + nth // spans[outline, 0])
    members = known[outline[np.argsort(square, kind="stable")]]
    first = _starts(square, columns * rows)
    return _Grid(members, first, float(left), float(bottom), side, columns, rows)


def _starts(owner: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return the offsets of groups of the given owners, shape (size + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=size))]).astype(np.int64)


@compiled
def signed_to(px, py, sides, start, stop):  # type: ignore[no-untyped-def]
    """Return the distance of a point to the nearest side, negative inside (even-odd rule)."""
    nearest = np.inf
    inside = False
    for s in range(start, stop):
        ax, ay, bx, by = sides[s, 0], sides[s, 1], sides[s, 2], sides[s, 3]
        dx, dy = bx - ax, by - ay
        qx, qy = px - ax, py - ay
        along = qx * dx + qy * dy
        length = dx * dx + dy * dy
        if along > 0.0 and length > 0.0:
            share = min(along / length, 1.0)
            # from the end itself, so that a corner is equally far from both of its sides
            qx = px - bx if share == 1.0 else qx - share * dx
            qy = py - by if share == 1.0 else qy - share * dy
        nearest = min(nearest, qx * qx + qy * qy)
        if (ay > py) != (by > py) and px < dx * (py - ay) / dy + ax:
            inside = not inside
    distance = math.sqrt(nearest)
    return -distance if inside and distance > 0.0 else distance


@compiled
def _box_distance(px, py, box):  # type: ignore[no-untyped-def]
    dx = max(box[0] - px, px - box[2], 0.0)
    dy = max(box[1] - py, py - box[3], 0.0)
    return math.sqrt(dx * dx + dy * dy)


@compiled
def _nearest(points, outlines, grid, k, max_distance):  # type: ignore[no-untyped-def]
    """Return distances and outlines, both (N, k), nearest first; -1 where there is no outline."""
    distances = np.full((len(points), k), np.inf)
    indices = np.full((len(points), k), -1, np.int64)
    for p in range(len(points)):
        px, py = points[p, 0], points[p, 1]
        column = math.floor((px - grid.left) / grid.side)
        row = math.floor((py - grid.bottom) / grid.side)
        if not (0 <= column < grid.columns and 0 <= row < grid.rows):
            continue
        square = int(column) + grid.columns * int(row)
        limit = max_distance
        for m in range(grid.first[square], grid.first[square + 1]):
            outline = grid.members[m]
            # a box is never farther than its outline; inside it nothing can be said
            if _box_distance(px, py, outlines.boxes[outline]) > max(limit, 0.0) + SLACK:
                continue
            first = outlines.first[outline]
            distance = signed_to(px, py, outlines.sides, first, outlines.first[outline + 1])
            if distance > limit or distance >= distances[p, k - 1]:
                continue  # members ascend, so an equal one that came first stays first
            rank = k - 1
            while rank > 0 and distances[p, rank - 1] > distance:
                distances[p, rank] = distances[p, rank - 1]
                indices[p, rank] = indices[p, rank - 1]
                rank -= 1
            distances[p, rank] = distance
            indices[p, rank] = outline
            limit = min(limit, distances[p, k - 1])
    return distances, indices


@compiled
def _measure_pairs(points, outlines, tx_index, boundary_index):  # type: ignore[no-untyped-def]
    distances = np.empty(len(tx_index))
    for i in range(len(tx_index)):
        outline = boundary_index[i]
        px, py = points[tx_index[i], 0], points[tx_index[i], 1]
        start, stop = outlines.first[outline], outlines.first[outline + 1]
        distances[i] = signed_to(px, py, outlines.sides, start, stop)
    return distances
