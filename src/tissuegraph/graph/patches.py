"""A graph cut into patches of connected nodes, for training on a part at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.parallel import compiled

Nodes = npt.NDArray[np.int64]


def connected_patches(adjacency: sparse.csr_matrix, most_nodes: int) -> list[Nodes]:
    """Cut a graph into patches of at most so many nodes, each grown from a node by its nearest in the graph.

    Edges are open both ways. What is left between patches is small: nodes that no patch reached become
    patches of their own, and these are joined, whether connected or not, as long as they fit.

    Parameters
    ----------
    adjacency
        [N, N].

    Returns
    -------
    Patches in ascending order of their nodes; every node is in one.
    """
    both = sparse.csr_matrix(adjacency + adjacency.T)
    order, patch = np.empty(both.shape[0], np.int64), np.empty(both.shape[0], np.int64)
    _grow(both.indptr, both.indices, most_nodes, order, patch)
    parts = np.split(order, np.flatnonzero(np.diff(patch)) + 1)
    return [np.sort(part) for part in _joined(parts, most_nodes)]


def _joined(parts: list[Nodes], most_nodes: int) -> list[Nodes]:
    """Join patches that follow each other while they fit."""
    done: list[Nodes] = []
    for part in parts:
        if done and len(done[-1]) + len(part) <= most_nodes:
            done[-1] = np.concatenate([done[-1], part])
        else:
            done.append(part)
    return done


@compiled
def _grow(pointer, neighbours, most, order, patch):  # type: ignore[no-untyped-def]
    """Fill `order` with the nodes patch by patch, breadth first, and `patch` with the patch of each."""
    reached = np.zeros(len(order), np.bool_)
    done, number = 0, 0
    for start in range(len(order)):
        if reached[start]:
            continue
        first = head = done
        order[done] = start
        reached[start] = True
        done += 1
        while head < done and done - first < most:
            for e in range(pointer[order[head]], pointer[order[head] + 1]):
                other = neighbours[e]
                if not reached[other] and done - first < most:
                    order[done] = other
                    reached[other] = True
                    done += 1
            head += 1
        patch[first:done] = number
        number += 1
