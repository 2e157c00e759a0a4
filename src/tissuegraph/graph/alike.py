"""Which points lie near each other in many dimensions: the graph of expression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

EXACT_POINTS = 50_000
"""Up to here all distances are looked at: compiling the search for approximate neighbours takes a minute."""


def alike(points: npt.NDArray[np.floating], n_neighbors: int, seed: int) -> sparse.csr_matrix:
    """Join each point to its nearest others, both ways.

    Parameters
    ----------
    points
        [N, d].
    n_neighbors
        Neighbours a point; all others where there are fewer.
    seed
        Of the approximate search among more than 50,000 points (nearest neighbour descent, one thread).

    Returns
    -------
    [N, N] ones, symmetric.
    """
    shape = (len(points), len(points))
    number = min(n_neighbors, len(points) - 1)
    if number < 1:
        return sparse.csr_matrix(np.zeros(shape, np.float32))
    points = np.ascontiguousarray(points, np.float32)
    if len(points) > EXACT_POINTS:
        nearest = _by_descent(points, number, seed)
    else:
        nearest = _by_all_distances(points, number)
    rows = np.repeat(np.arange(len(points)), number)
    graph = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, nearest.ravel())), shape)
    graph.setdiag(0)
    graph.eliminate_zeros()
    return sparse.csr_matrix(graph.maximum(graph.T))


def _by_all_distances(points: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors

    found: npt.NDArray[np.int64] = (
        NearestNeighbors(n_neighbors=number).fit(points).kneighbors(return_distance=False)
    )
    return found


def _by_descent(points: npt.NDArray[np.float32], number: int, seed: int) -> npt.NDArray[np.int64]:
    from pynndescent import NNDescent

    # the first neighbour of a point is nearly always itself
    search = NNDescent(points, n_neighbors=number + 1, random_state=seed, n_jobs=1)
    found: npt.NDArray[np.int64] = search.neighbor_graph[0][:, 1:].astype(np.int64)
    return found
