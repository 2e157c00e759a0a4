"""Neighbour graphs over positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tissuegraph.parallel import compiled, cores

SPARE = 2
"""Neighbours asked for beyond k, so that ties at the k-th distance are broken by order, not by the tree."""
MANY = 64
"""Neighbours beyond which an insertion sort no longer pays."""
MOST_ASKED = 4_000_000
"""Neighbours asked for at a time where ties go on and on; bounds the memory."""


def nearest_neighbours(positions: np.ndarray, k: int, max_distance: float) -> npt.NDArray[np.int64]:
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
    n = len(positions)
    if n < 2:
        return np.empty((2, 0), np.int64)
    tree = cKDTree(positions)
    neighbour, distance = _nearest(tree, np.arange(n), k, min(k + 1 + SPARE, n), max_distance)
    found = np.isfinite(distance)
    target = np.broadcast_to(np.arange(n)[:, None], neighbour.shape)
    return np.stack([neighbour[found], target[found]]).astype(np.int64)


def _nearest(
    tree: cKDTree, rows: npt.NDArray[np.int64], k: int, asked: int, max_distance: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the k nearest others of some positions [R] and their distances, infinite where there is none.

    The tree is asked for more than k, and for more again where a tie goes on beyond what was asked for.
    """
    limit = np.nextafter(max_distance, np.inf)
    answer = tree.query(tree.data[rows], k=asked, distance_upper_bound=limit, workers=cores())
    distance, neighbour = np.asarray(answer[0]), np.asarray(answer[1])
    last = distance[:, -1].copy()
    distance[(neighbour == rows[:, None]) | (neighbour == tree.n)] = np.inf
    if asked > MANY:
        order = np.lexsort((neighbour, distance), axis=1)
        distance, neighbour = (np.take_along_axis(part, order, 1) for part in (distance, neighbour))
    else:
        _sort_rows(distance, neighbour)
    distance, neighbour = distance[:, :k], neighbour[:, :k]
    tied = np.flatnonzero(np.isfinite(last) & (last <= distance[:, -1]))
    if len(tied) and asked < tree.n:
        more = min(2 * asked, tree.n)
        for part in np.array_split(tied, 1 + len(tied) * more // MOST_ASKED):
            neighbour[part], distance[part] = _nearest(tree, rows[part], k, more, max_distance)
    return neighbour, distance


@compiled
def _sort_rows(distance, neighbour):  # type: ignore[no-untyped-def]
    """Sort each row by distance, then neighbour, in place; the rows are nearly sorted."""
    for i in range(len(distance)):
        for j in range(1, distance.shape[1]):
            d, m = distance[i, j], neighbour[i, j]
            k = j - 1
            while k >= 0 and (distance[i, k] > d or (distance[i, k] == d and neighbour[i, k] > m)):
                distance[i, k + 1], neighbour[i, k + 1] = distance[i, k], neighbour[i, k]
                k -= 1
            distance[i, k + 1], neighbour[i, k + 1] = d, m


def nearest_of(edges: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Keep the first k edges of each position, [2, E'], of edges that `nearest_neighbours` gave."""
    starts = np.flatnonzero(np.diff(edges[1], prepend=-1))
    rank = np.arange(edges.shape[1]) - np.repeat(starts, np.diff(np.append(starts, edges.shape[1])))
    return edges[:, rank < k]
