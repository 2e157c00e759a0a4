"""Neighbour graphs over positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

SPARE = 2
"""Neighbours asked for beyond k, so that ties at the k-th distance are broken by order, not by the tree."""


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
    asked = min(k + 1 + SPARE, n)
    tree = cKDTree(positions)
    distance, neighbour = tree.query(
        positions, k=asked, distance_upper_bound=np.nextafter(max_distance, np.inf)
    )
    own = neighbour == np.arange(n)[:, None]
    distance = np.where(own | (neighbour == n), np.inf, distance)
    order = np.lexsort((neighbour, distance), axis=1)[:, :k]
    distance = np.take_along_axis(distance, order, 1)
    neighbour = np.take_along_axis(neighbour, order, 1)
    found = np.isfinite(distance)
    target = np.broadcast_to(np.arange(n)[:, None], neighbour.shape)
    return np.stack([neighbour[found], target[found]]).astype(np.int64)
