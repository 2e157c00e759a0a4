"""The part of a graph that some nodes hear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

Codes = npt.NDArray[np.int64]


def rings(graph: sparse.csr_matrix, nodes: Codes, hops: int) -> tuple[Codes, list[int]]:
    """Return the nodes that are heard over some hops, and how many there are after 0, 1, ... of them.

    Parameters
    ----------
    graph
        [N, N]; row i has the neighbours that node i listens to.
    nodes
        [n] numbers of nodes, each once.
    hops
        How many neighbours away is heard.

    Returns
    -------
    Numbers of nodes: the given ones, then those one hop away in ascending order, and so on; and sizes,
    [hops + 1].
    """
    found, sizes = np.asarray(nodes, np.int64), [0, len(nodes)]
    known = np.zeros(graph.shape[0], bool)
    known[found] = True
    for _ in range(hops):
        near = np.zeros(graph.shape[0], bool)
        near[graph[found[sizes[-2] :]].indices] = True
        new = np.flatnonzero(near & ~known)
        known[new] = True
        found = np.concatenate([found, new])
        sizes.append(len(found))
    return found, sizes[1:]


def around(graph: sparse.csr_matrix, nodes: Codes, hops: int) -> tuple[Codes, Codes]:
    """Return the nodes that are heard over some hops, and the edges over which they are.

    Parameters
    ----------
    graph, nodes, hops
        As of `rings`.

    Returns
    -------
    Numbers [m] of nodes, the given ones first, and edges [2, E] (neighbour, node) between places in
    that list: all that end at a node fewer than `hops` away.
    """
    found, sizes = rings(graph, nodes, hops)
    if not hops:
        return found, np.empty((2, 0), np.int64)
    place = np.full(graph.shape[0], -1, np.int64)
    place[found] = np.arange(len(found))
    rows = graph[found[: sizes[-2]]]
    ends = np.repeat(np.arange(sizes[-2]), np.diff(rows.indptr))
    return found, np.stack([place[rows.indices], ends])
