"""The part of a graph that some nodes hear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

Codes = npt.NDArray[np.int64]


def around(graph: sparse.csr_matrix, nodes: Codes, hops: int) -> tuple[Codes, Codes]:
    """Return the nodes that are heard over some hops, and the edges over which they are.

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
    Numbers [m] of nodes, the given ones first, and edges [2, E] (neighbour, node) between places in
    that list: all that end at a node fewer than `hops` away.
    """
    found = np.asarray(nodes, np.int64)
    place = np.full(graph.shape[0], -1, np.int64)
    place[found] = np.arange(len(found))
    ends: list[Codes] = []
    starts: list[Codes] = []
    first = 0
    for _ in range(hops):
        ring = found[first:]
        rows = graph[ring]
        heard = rows.indices.astype(np.int64)
        new = np.unique(heard[place[heard] < 0])
        place[new] = len(found) + np.arange(len(new))
        ends.append(np.repeat(first + np.arange(len(ring)), np.diff(rows.indptr)))
        first = len(found)
        found = np.concatenate([found, new])
        starts.append(place[heard])
    if not ends:
        return found, np.empty((2, 0), np.int64)
    return found, np.stack([np.concatenate(starts), np.concatenate(ends)])
