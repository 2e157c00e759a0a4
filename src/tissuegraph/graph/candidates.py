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
from tissuegraph.graph.sides import side_table, signed_to
from tissuegraph.parallel import compiled, cores

CHUNK = 100_000
"""Points a thread measures at a time: bounds the memory of the result before it is trimmed."""

SLACK = 1e-6
"""Micrometres by which a box may err, so that rounding never hides an outline."""

POLYGONS = (-1, int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON))

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


class _Outlines(NamedTuple):
    """The sides of all outlines: those of outline i are `sides[:, first[i]:first[i + 1]]`, a `side_table`."""

    sides: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]


class _Grid(NamedTuple):
    """Outlines by square: square s holds `members[first[s]:first[s + 1]]`, with their boxes [4, ...]."""

    members: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
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
    if len(points) == 0 or flat.sides.shape[1] == 0:
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
    sides = side_table(np.hstack([corners[:-1], corners[1:]])[joined])
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
    by_square = np.ascontiguousarray(boxes[members].T)
    return _Grid(members, by_square, first, float(left), float(bottom), side, columns, rows)


def _starts(owner: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return the offsets of groups of the given owners, shape (size + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=size))]).astype(np.int64)


@compiled
def _nearest(points, outlines, grid, k, max_distance):  # type: ignore[no-untyped-def]
    """Return distances and outlines, both (N, k), nearest first; -1 where there is no outline."""
    distances = np.full((len(points), k), np.inf)
    indices = np.full((len(points), k), -1, np.int64)
    room = np.empty(np.diff(outlines.first).max())
    most = np.diff(grid.first).max()
    apart, near = np.empty((2, most)), np.empty(most, np.int64)
    for p in range(len(points)):
        px, py = points[p, 0], points[p, 1]
        column = math.floor((px - grid.left) / grid.side)
        row = math.floor((py - grid.bottom) / grid.side)
        if not (0 <= column < grid.columns and 0 <= row < grid.rows):
            continue
        limit = max_distance
        n = _by_box(px, py, grid, int(column) + grid.columns * int(row), limit, apart, near)
        for m in range(n):
            # a box is never farther than its outline; inside it nothing can be said
            if apart[1, m] > (max(limit, 0.0) + SLACK) ** 2:
                break
            start, stop = outlines.first[near[m]], outlines.first[near[m] + 1]
            distance = signed_to(px, py, outlines.sides, start, stop, room)
            if distance <= limit:
                _insert(distances[p], indices[p], distance, near[m])
                limit = min(limit, distances[p, k - 1])
    return distances, indices


@compiled
def _by_box(px, py, grid, square, max_distance, apart, near):  # type: ignore[no-untyped-def]
    """Sort the outlines of a square by how near their boxes are, as far as they are near enough.

    Written are their squared distances, `apart[1]`, and their numbers, `near`. Returns how many there are.
    """
    first, last, most = grid.first[square], grid.first[square + 1], (max_distance + SLACK) ** 2
    x0, y0, x1, y1 = (
        grid.boxes[0, first:last],
        grid.boxes[1, first:last],
        grid.boxes[2, first:last],
        grid.boxes[3, first:last],
    )
    found, squared = apart[0], apart[1]
    for m in range(last - first):
        dx, dy = max(x0[m] - px, px - x1[m]), max(y0[m] - py, py - y1[m])
        dx, dy = dx if dx > 0.0 else 0.0, dy if dy > 0.0 else 0.0
        found[m] = dx * dx + dy * dy
    n = 0
    for m in range(last - first):
        if found[m] > most:
            continue
        place = n
        while place > 0 and squared[place - 1] > found[m]:
            squared[place], near[place] = squared[place - 1], near[place - 1]
            place -= 1
        squared[place], near[place] = found[m], grid.members[first + m]
        n += 1
    return n


@compiled
def _insert(distances, indices, distance, outline):  # type: ignore[no-untyped-def]
    """Put an outline among the nearest, if it is one of them; of equal ones the first stands first."""
    rank = len(distances)
    while rank > 0 and (
        distances[rank - 1] > distance or (distances[rank - 1] == distance and indices[rank - 1] > outline)
    ):
        if rank < len(distances):
            distances[rank], indices[rank] = distances[rank - 1], indices[rank - 1]
        rank -= 1
    if rank < len(distances):
        distances[rank], indices[rank] = distance, outline


@compiled
def _measure_pairs(points, outlines, tx_index, boundary_index):  # type: ignore[no-untyped-def]
    distances = np.empty(len(tx_index))
    room = np.empty(max(np.diff(outlines.first).max(), 1)) if len(tx_index) else np.empty(0)
    for i in range(len(tx_index)):
        outline = boundary_index[i]
        px, py = points[tx_index[i], 0], points[tx_index[i], 1]
        start, stop = outlines.first[outline], outlines.first[outline + 1]
        distances[i] = signed_to(px, py, outlines.sides, start, stop, room)
    return distances
