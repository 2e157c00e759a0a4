"""Graphs of cells that are alike in their features: arrays in, arrays out.

Edges are [2, E] integers, (neighbour, cell), as in `graph.neighbours`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.graph.edges import MOST_EDGES, NO_EDGES, Edges

EXACT_CELLS = 30_000
"""Up to here all distances are looked at."""
MOST_DENSE = 5_000
"""Cells beyond which a graph of all pairs is refused."""
METRICS = ("euclidean", "cosine")
AT_A_TIME = 4_000_000
"""Numbers that a block of distances, or of the differences behind them, holds."""

Points = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]


def nearest_in_features(points: Points, n_neighbors: int, metric: str = "euclidean", seed: int = 0) -> Edges:
    """Join each point to its nearest others, never to itself.

    Parameters
    ----------
    points
        [N, D].
    n_neighbors
        How many; fewer where there are fewer points.
    metric
        "euclidean", or "cosine": by the angle between points, as seen from the origin.
    seed
        Of the approximate search.

    Returns
    -------
    Edges sorted by cell, then by distance. Up to `EXACT_CELLS` points the search is exact, and a tie is
    broken by order; beyond, it is nearest neighbour descent (Dong et al. 2011), on one thread, so that a seed
    gives the same bits.

    Raises
    ------
    InputError
        If `n_neighbors` is below 1, the metric is unknown, or a number is NaN or infinite.
    """
    if n_neighbors < 1:
        raise InputError(f"n_neighbors is {n_neighbors}; give a whole number of 1 or more")
    if metric not in METRICS:
        raise InputError(f"metric is {metric!r}; choose one of {', '.join(METRICS)}")
    points = finite(points)
    if len(points) < 2:
        return NO_EDGES
    if metric == "cosine":
        points = directions(points)
    number = min(int(n_neighbors), len(points) - 1)
    if len(points) > EXACT_CELLS:
        return _descend(points, number, seed)
    parts = [_nearest_of_block(points, rows, number) for rows in _rows(len(points), len(points))]
    return np.concatenate(parts, axis=1)


def finite(points: Points) -> Floats:
    """Points [N, D] in double precision.

    Raises
    ------
    InputError
        If they are no table, or a number is NaN or infinite.
    """
    table = np.asarray(points, np.float64)
    if table.ndim != 2:
        raise InputError(f"features have shape {table.shape}; give a table of one row a cell")
    bad = int((~np.isfinite(table)).any(1).sum())
    if bad:
        raise InputError(f"{bad:,} of {len(table):,} cells have features that are NaN or infinite; drop them")
    return table


def directions(points: Floats) -> Floats:
    """Points [N, D] at length 1; those at the origin stay there."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(length > 0, length, 1)


def _rows(n: int, width: int) -> Iterator[slice]:
    """Cut n rows of some width into blocks of bounded size."""
    size = max(1, AT_A_TIME // max(width, 1))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _nearest_of_block(points: Floats, rows: slice, number: int) -> Edges:
    """The exact neighbours of some points: found in single precision, settled in double.

    The squared distance `|a|^2 - 2 ab + |b|^2` is wrong by up to some roundings of `|a|^2` in single
    precision, so all that could be among the nearest are measured once more.
    """
    centred = (points - points.mean(0)).astype(np.float32)
    length = np.einsum("nd,nd->n", centred, centred)
    squares = centred[rows] @ (-2 * centred.T)
    squares += length[rows, None]
    squares += length
    here = np.arange(rows.start, rows.stop)
    squares[here - rows.start, here] = np.inf
    last = np.partition(squares, number - 1, axis=1)[:, number - 1]
    rounding = (points.shape[1] + 8) * np.finfo(np.float32).eps
    limit = last + 8 * rounding * (length[rows] + np.maximum(last, 0)) + np.finfo(np.float32).tiny
    row, column = np.nonzero(squares <= limit[:, None])
    distance = lengths(points, np.stack([column, here[row]]))
    order = np.lexsort((column, distance, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(here)))[row]
    kept = rank < number
    return np.stack([column[kept], here[row[kept]]]).astype(np.int64)


def _descend(points: Floats, number: int, seed: int) -> Edges:
    from pynndescent import NNDescent  # compiles for a minute

    search = NNDescent(points.astype(np.float32), n_neighbors=number + 1, random_state=seed, n_jobs=1)
    found = search.neighbor_graph[0]
    others = (found >= 0) & (found != np.arange(len(points))[:, None])
    kept = others & (np.cumsum(others, axis=1) <= number)
    cell, place = np.nonzero(kept)
    return np.stack([found[cell, place], cell]).astype(np.int64)


def lengths(points: Floats, edges: Edges) -> Floats:
    """Return the length of each edge, some at a time."""
    found = np.empty(edges.shape[1])
    for part in _rows(edges.shape[1], points.shape[1]):
        apart = points[edges[0, part]] - points[edges[1, part]]
        found[part] = np.sqrt(np.einsum("ed,ed->e", apart, apart))
    return found


def cosine_distances(points: Floats, edges: Edges) -> Floats:
    """Return one minus the cosine of each edge; 1 for points at the origin."""
    turned, found = directions(points), np.empty(edges.shape[1])
    for part in _rows(edges.shape[1], points.shape[1]):
        found[part] = 1 - np.einsum("ed,ed->e", turned[edges[0, part]], turned[edges[1, part]])
    return np.clip(found, 0, 2)


def cosine_edges(points: Points, threshold: float) -> Edges:
    """Join points whose cosine is at least the threshold, both ways; who has none listens to the nearest.

    Parameters
    ----------
    points
        [N, D]. One at the origin has cosine 0 with any other.
    threshold
        From -1 to 1.

    Raises
    ------
    InputError
        If the threshold is no cosine, or so low that the graph would fill the memory.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; a cosine lies between -1 and 1")
    points = finite(points)
    turned, n, found = directions(points).astype(np.float32), len(points), 0
    parts = [NO_EDGES]
    for rows in _rows(n, n):
        # the other half is the same, to the bit
        row, column = np.nonzero(np.triu(turned[rows] @ turned[rows.start :].T >= threshold, 1))
        pairs = np.stack([column, row]) + rows.start
        found += 2 * pairs.shape[1]
        if found > MOST_EDGES:
            raise InputError(
                f"a cosine of {threshold:g} joins more than {MOST_EDGES:,} pairs of {n:,} cells; raise the "
                "threshold, or take method='knn'"
            )
        parts += [pairs, pairs[::-1]]
    edges = np.concatenate(parts, axis=1)
    return np.concatenate([edges, _nearest_of_the_lonely(points, edges)], axis=1)


def _nearest_of_the_lonely(points: Floats, edges: Edges) -> Edges:
    lonely = np.bincount(edges[1], minlength=len(points)) == 0
    if not lonely.any():
        return NO_EDGES
    nearest = nearest_in_features(points, 1, "cosine")
    return nearest[:, lonely[nearest[1]]]


def gaussian_weights(points: Points, width: float) -> npt.NDArray[np.float32]:
    """Weights [N, N] of all pairs, `exp(-d^2 / 2 width^2)` of their Euclidean distance d; none to itself.

    Raises
    ------
    InputError
        If the width is not above 0, or there are more than 5,000 cells.
    """
    points = finite(points)
    if not 0 < width < np.inf:
        raise InputError(f"width is {width}; give a finite number above 0")
    if len(points) > MOST_DENSE:
        raise InputError(
            f"a graph of all pairs of {len(points):,} cells would be too large; it is for {MOST_DENSE:,} or "
            "fewer: take method='knn'"
        )
    weights = np.empty((len(points), len(points)), np.float32)
    for rows in _rows(len(points), len(points) * max(points.shape[1], 1)):
        squares = ((points[rows, None] - points[None]) ** 2).sum(2)
        weights[rows] = np.exp(-squares / (2 * width**2))
    np.fill_diagonal(weights, 0)
    return weights


def shared_neighbour_edges(
    points: Points, n_neighbors: int, at_least: float, metric: str = "euclidean", seed: int = 0
) -> tuple[Edges, npt.NDArray[np.float32]]:
    """Join points that share neighbours, both ways (Jarvis and Patrick 1973).

    Parameters
    ----------
    points
        [N, D].
    n_neighbors, metric, seed
        As in `nearest_in_features`.
    at_least
        Smallest weight that is kept, above 0 and up to 1.

    Returns
    -------
    Edges, and their weights [E]: the Jaccard index `|A n B| / |A u B|` of the neighbour lists, to each of
    which the point itself belongs.
    """
    if not 0 < at_least <= 1:
        raise InputError(f"at_least is {at_least}; a Jaccard index lies above 0 and up to 1")
    found, n = nearest_in_features(points, n_neighbors, metric, seed), len(points)
    cells = np.arange(n)
    place = np.concatenate([found[1], cells]), np.concatenate([found[0], cells])
    lists = sparse.csr_matrix((np.ones(len(place[0]), np.float32), place), (n, n))
    size, turned = np.diff(lists.indptr), lists.T.tocsr()
    parts, weights = [NO_EDGES], [np.empty(0, np.float32)]
    for rows in _rows(n, (n_neighbors + 1) ** 2):
        shared = (lists[rows] @ turned).tocoo()
        row, column = shared.row + rows.start, shared.col
        jaccard = (shared.data / (size[row] + size[column] - shared.data)).astype(np.float32)
        kept = (jaccard >= np.float32(at_least)) & (row != column)
        parts.append(np.stack([column[kept], row[kept]]).astype(np.int64))
        weights.append(jaccard[kept])
    return np.concatenate(parts, axis=1), np.concatenate(weights)
