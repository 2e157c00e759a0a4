"""Neighbour graphs over positions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tissuegraph.parallel import compiled, over_chunks

A_SQUARE = 8.0
"""Positions that a square of the grid holds on average."""
SPARE = 1.15
"""How much farther than to the last one's k-th neighbour is looked at first."""

Indices = npt.NDArray[np.int64]


def nearest_neighbours(positions: np.ndarray, k: int, max_distance: float) -> Indices:
    """Join each position to its k nearest others within a distance.

    Ties are broken by order, so positions kept in one order (by `row`, say) give the same edges
    whatever else is cut away, as long as everything within `max_distance` is there.

    Parameters
    ----------
    positions
        [N, 2] or [N, 3], um.
    k
        Neighbours a position, at most.
    max_distance
        um.

    Returns
    -------
    Edges [2, E], (neighbour, position), sorted by position, then by distance.
    """
    first, neighbours = nearest_lists(positions, k, max_distance)
    return np.stack([neighbours.astype(np.int64), np.repeat(np.arange(len(positions)), np.diff(first))])


def nearest_lists(
    positions: np.ndarray, k: int, max_distance: float, asked: npt.NDArray[np.bool_] | None = None
) -> tuple[Indices, npt.NDArray[np.int32]]:
    """As `nearest_neighbours`, but as lists: those of position i are `neighbours[first[i]:first[i + 1]]`.

    With `asked` [N] the lists of the others are empty.
    """
    positions = np.ascontiguousarray(positions, np.float64)
    n = len(positions)
    asked = np.ones(n, np.bool_) if asked is None else asked
    found, count = np.empty((n, k), np.int32), np.zeros(n + 1, np.int64)
    if n > 1:
        apart = float(np.linalg.norm(np.ptp(positions, axis=0)))  # no two are farther apart
        max_distance = min(max_distance, apart * (1 + 1e-9) + 1e-9)
        members, *grid = _grid(positions, max_distance)
        places, limits = positions[members], (k, float(max_distance))
        over_chunks(lambda i, j: _nearest(i, j, places, members, asked, *grid, *limits, found, count), n)
    first = np.cumsum(count)
    if first[-1] == n * k:
        return first, found.ravel()
    return first, found[np.arange(k) < count[1:, None]]


def _grid(positions: np.ndarray, max_distance: float) -> tuple[Indices, Indices, np.ndarray, float, int, int]:
    """Sort positions into squares: members, where each square's start, corner, side, columns and rows."""
    corner, span = positions[:, :2].min(0), np.ptp(positions[:, :2], 0)
    side = max(_typical_side(positions, corner, span), 1e-9)
    side = min(side, max(max_distance, 1e-9))
    # however far apart some lie, there are never many more squares than positions
    side = max(side, math.sqrt(span[0]) * math.sqrt(span[1] / (4 * len(positions))))
    side = max(side, float(span.max()) / (1000 + 4 * len(positions)))
    columns, rows = (math.floor(extent / side) + 1 for extent in span)
    place = np.floor((positions[:, :2] - corner) / side).astype(np.int64)
    square = place[:, 0] + columns * place[:, 1]
    first = np.concatenate([[0], np.cumsum(np.bincount(square, minlength=columns * rows))])
    return np.argsort(square, kind="stable"), first, corner, side, columns, rows


def _typical_side(positions: np.ndarray, corner: np.ndarray, span: np.ndarray) -> float:
    """Side of a square that holds `A_SQUARE` positions where most of them are."""
    coarse = math.sqrt(max(span[0] * span[1], 1e-12) * 64 / len(positions))
    if coarse <= 0 or not math.isfinite(coarse):
        return 1.0
    place = np.floor((positions[:, :2] - corner) / coarse).astype(np.int64)
    occupied = len(np.unique(place[:, 0] + (place[:, 0].max() + 1) * place[:, 1]))
    return coarse * math.sqrt(A_SQUARE * occupied / len(positions))


@compiled
def _nearest(  # type: ignore[no-untyped-def]
    begin, end, places, members, asked, first, corner, side, columns, rows, k, max_distance, found, count
):
    """Fill `found` and `count` of some positions, by their number among the sorted `places`.

    All within a radius are collected and sorted; the radius grows until there are enough. It starts from the
    previous position's, which lies near.
    """
    room = 4 * k + 64
    distance, index = np.empty(room), np.empty(room, np.int64)
    spare_distance, spare_index, starts = np.empty(room), np.empty(room, np.int64), np.empty(66, np.int64)
    radius = min(side, max_distance)
    for s in range(begin, end):
        i, here = members[s], places[s]
        if not asked[i]:
            continue
        x, y = here[0] - corner[0], here[1] - corner[1]
        while True:
            n = 0
            left, right = max(int((x - radius) / side), 0), min(int((x + radius) / side), columns - 1)
            low, high = max(int((y - radius) / side), 0), min(int((y + radius) / side), rows - 1)
            wide = radius * radius * (1 + 1e-12)
            for row in range(low, high + 1):
                start, stop = first[row * columns + left], first[row * columns + right + 1]
                if n + stop - start > len(index):
                    room = 2 * (n + stop - start)
                    distance, index = _longer(distance, room), _longer(index, room)
                    spare_distance, spare_index = np.empty(room), np.empty(room, np.int64)
                for m in range(start, stop):
                    squared = 0.0
                    for axis in range(places.shape[1]):
                        squared += (places[m, axis] - here[axis]) ** 2
                    distance[n], index[n] = squared, m
                    n += squared <= wide
            n = _measured(distance, index, n, members, i, radius)
            if n >= k or radius >= max_distance:
                break
            radius = min(1.5 * radius + side / 16, max_distance)
        _sort(distance, index, n, radius, spare_distance, spare_index, starts)
        kept = min(n, k)
        for e in range(kept):
            found[i, e] = index[e]
        count[i + 1] = kept
        if kept == k:
            radius = min(SPARE * distance[k - 1] + 1e-9, max_distance)


@compiled
def _longer(values, room):  # type: ignore[no-untyped-def]
    longer = np.empty(room, values.dtype)
    longer[: len(values)] = values
    return longer


@compiled
def _measured(distance, index, n, members, i, radius):  # type: ignore[no-untyped-def]
    """Turn squares into distances and places into numbers; keep those within the radius, without i."""
    kept = 0
    for e in range(n):
        apart, j = math.sqrt(distance[e]), members[index[e]]
        distance[kept], index[kept] = apart, j
        kept += (apart <= radius) & (j != i)
    return kept


@compiled
def _sort(distance, index, n, radius, spare_distance, spare_index, starts):  # type: ignore[no-untyped-def]
    """Sort the first n by distance, then index, in place: by rings of equal area first."""
    scale = 64 / max(radius * radius, 1e-300)
    starts[:] = 0
    for e in range(n):
        spare_distance[e], spare_index[e] = distance[e], index[e]
        starts[min(int(distance[e] * distance[e] * scale), 64) + 1] += 1
    for ring in range(65):
        starts[ring + 1] += starts[ring]
    for e in range(n):
        ring = min(int(spare_distance[e] * spare_distance[e] * scale), 64)
        place = starts[ring]
        distance[place], index[place] = spare_distance[e], spare_index[e]
        starts[ring] += 1
    for e in range(1, n):
        d, m, place = distance[e], index[e], e
        while place > 0 and (distance[place - 1] > d or (distance[place - 1] == d and index[place - 1] > m)):
            distance[place], index[place] = distance[place - 1], index[place - 1]
            place -= 1
        distance[place], index[place] = d, m


def nearest_of(edges: Indices, k: int) -> Indices:
    """Keep the first k edges of each position, [2, E'], of edges that `nearest_neighbours` gave."""
    starts = np.flatnonzero(np.diff(edges[1], prepend=-1))
    rank = np.arange(edges.shape[1]) - np.repeat(starts, np.diff(np.append(starts, edges.shape[1])))
    return edges[:, rank < k]
