"""A layout for graphs without positions: cells that are joined pull at each other, all others push."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import breadth_first_order, connected_components, laplacian
from scipy.sparse.linalg import eigsh

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

ROUNDS = 100
"""Of forces; from the spectral start more change little."""
DENSE = 100
"""Cells up to which all eigenvectors are looked at."""
SHIFT = -0.01
JITTER = 0.02
"""Cells that the start puts in one place must be told apart; as a share of its width."""
ROOM = 1.0
"""Between components, as a multiple of the distance between cells."""


def spring_layout(edges: sparse.csr_matrix, seed: int) -> Floats:
    """Lay out the cells of a graph, [n, 2]; the components stand beside each other, the largest first.

    Fruchterman and Reingold (1991), in igraph, from eigenvectors of the Laplacian: from a random start graphs
    of a thousand cells end up folded.

    Parameters
    ----------
    edges
        Weights, [n, n]: each pair of cells once, above the diagonal.
    seed
        The same seed gives the same layout.
    """
    rng = np.random.default_rng(seed)
    members = _components(edges)
    parts = [_pulled(edges[cells][:, cells], rng) for cells in members]
    at = np.empty((edges.shape[0], 2))
    corners = _shelves([np.ptp(part, axis=0) for part in parts])
    for cells, part, corner in zip(members, parts, corners, strict=True):
        at[cells] = part - part.min(0) + corner
    return at


def part_around(edges: sparse.csr_matrix, number: int, seed: int) -> Cells:
    """Return so many cells of a graph, in order: those that one of them reaches in the fewest steps.

    `edges` are as in `spring_layout`. The cell lies in the largest component; where that has too few cells,
    others follow.
    """
    both = edges + edges.T
    component = connected_components(both, directed=False)[1]
    found: list[npt.NDArray[np.integer]] = []
    left = number
    seen = np.zeros(component.max() + 1, bool)
    starts = np.random.default_rng(seed).permutation(len(component))
    for start in starts[np.argsort(-np.bincount(component)[component[starts]], kind="stable")]:
        if left <= 0:
            break
        if not seen[component[start]]:
            seen[component[start]] = True
            found.append(breadth_first_order(both, start, directed=False, return_predecessors=False)[:left])
            left -= len(found[-1])
    return np.sort(np.concatenate(found)).astype(np.int64)


def _components(edges: sparse.csr_matrix) -> list[Cells]:
    component = connected_components(edges, directed=False)[1]
    order = np.argsort(component, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(component))[:-1])
    return sorted(members, key=len, reverse=True)


def _pulled(edges: sparse.csr_matrix, rng: np.random.Generator) -> Floats:
    """Lay out one component; its cells are one apart, about."""
    number = edges.shape[0]
    if number < 3:
        return np.stack([np.arange(number), np.zeros(number)], 1).astype(float)
    import igraph

    pairs = edges.tocoo()
    graph = igraph.Graph(number, list(zip(pairs.row.tolist(), pairs.col.tolist(), strict=True)))
    start = _spectral(edges + edges.T)
    start = np.sqrt(number) * (start + rng.normal(0, JITTER, start.shape))
    igraph.set_random_number_generator(random.Random(int(rng.integers(2**32))))
    try:
        layout = graph.layout_fruchterman_reingold(
            weights=(pairs.data / pairs.data.mean()).tolist(), seed=start.tolist(), niter=ROUNDS, grid=False,
            start_temp=float(np.sqrt(number)) / 20,
        )  # fmt: skip
    finally:
        igraph.set_random_number_generator(random)
    at = np.array(layout.coords)
    return at * np.sqrt(number / max(float(np.ptp(at, axis=0).prod()), 1e-9))


def _spectral(weights: sparse.csr_matrix) -> Floats:
    """The second and third eigenvector of the normalised Laplacian, scaled to reach one."""
    lap: Any = laplacian(weights.astype(np.float64), normed=True)
    if weights.shape[0] <= DENSE:
        vectors = eigh(lap.toarray(), subset_by_index=[1, 2])[1]
    else:
        vectors = eigsh(lap, 3, sigma=SHIFT, v0=np.ones(weights.shape[0]))[1][:, 1:]
    return vectors / np.abs(vectors).max(0)


def _shelves(sizes: list[Floats]) -> list[Floats]:
    """Put boxes of these sizes, each [2], in rows; return the corner of each."""
    width = max(np.sqrt(sum((size + ROOM).prod() for size in sizes)), max(size[0] for size in sizes) + ROOM)
    corners, x, y, high = [], 0.0, 0.0, 0.0
    for size in sizes:
        if x + size[0] + ROOM > width + 1e-9:
            x, y, high = 0.0, y + high + ROOM, 0.0
        corners.append(np.array([x, y]))
        x, high = x + size[0] + ROOM, max(high, size[1])
    return corners
