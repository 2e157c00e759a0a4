"""Biased random walks over a graph (node2vec): arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.graph.draws import GOLDEN, begun, unit
from tissuegraph.parallel import compiled, over_chunks

MOST_TRIES = 16
"""Proposals that may be refused before the step is drawn from all neighbours, weighed one by one."""

Walks = npt.NDArray[np.int32]


@dataclass(frozen=True)
class WalkGraph:
    """Neighbours of every node, in ascending order, as the walks read them.

    Attributes
    ----------
    pointer, neighbours
        [N + 1] and [E]: those of node i are `neighbours[pointer[i]:pointer[i + 1]]`.
    sums
        [E] weights, summed up within a node's neighbours; empty where all weigh the same.
    """

    pointer: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    sums: npt.NDArray[np.float64]

    @property
    def strengths(self) -> npt.NDArray[np.float64]:
        """[N] sum of the weights of each node's edges, up to a factor that all share."""
        degrees = np.diff(self.pointer)
        if not len(self.sums):
            return degrees.astype(np.float64)
        return np.where(degrees > 0, self.sums[self.pointer[1:] - 1], 0.0)


def walk_graph(adjacency: sparse.csr_matrix, *, directed: bool = False) -> WalkGraph:
    """Prepare a graph for walks.

    Parameters
    ----------
    adjacency
        [N, N] positive weights; the diagonal is left out.
    directed
        Go from a node only to the neighbours in its row. Otherwise an edge is open both ways; of two
        weights the larger counts.
    """
    graph = sparse.csr_matrix(adjacency, dtype=np.float64, copy=True)
    graph.sum_duplicates()
    graph.setdiag(0)
    graph.eliminate_zeros()
    if not directed:
        graph = sparse.csr_matrix(graph.maximum(graph.T))
    graph.sort_indices()
    sums = np.empty(0)
    if graph.nnz and graph.data.min() != graph.data.max():
        sums = np.empty(graph.nnz)
        _sum_up(graph.indptr, graph.data, sums)
    return WalkGraph(graph.indptr.astype(np.int64), graph.indices.astype(np.int32), sums)


def random_walks(
    graph: WalkGraph,
    starts: npt.NDArray[np.int64],
    length: int,
    *,
    p: float = 1.0,
    q: float = 1.0,
    seed: int = 0,
    first: int = 0,
) -> Walks:
    """Walk from each start, with the second-order bias of node2vec.

    From t to v, the next node x is drawn with probability in proportion to `a(t, x) w(v, x)`, where `a` is
    `1 / p` if x is t, 1 if x is a neighbour of t, and `1 / q` otherwise (Grover and Leskovec 2016). The first
    step is drawn by the weights alone. A step is proposed by the weights and refused with the right
    probability, which takes no table of pairs of edges.

    Parameters
    ----------
    starts
        [n] nodes.
    length
        Nodes of a walk, the start among them.
    p, q
        Above 0. A large p keeps walks from going back, a large q keeps them near.
    seed, first
        Walk i depends on the graph, its start, the seed and the number `first + i` only, so that it does not
        matter how many threads there are, nor how many walks are made at a time.

    Returns
    -------
    [n, length]; -1 after a node without neighbours.
    """
    walks = np.full((len(starts), length), -1, np.int32)
    key = np.uint64(seed)
    bias = (1.0 / p, 1.0 / q)
    arrays = (graph.pointer, graph.neighbours, graph.sums, np.ascontiguousarray(starts, np.int64))
    over_chunks(lambda i, j: _walk(i, j, *arrays, *bias, MOST_TRIES, key, first, walks), len(starts))
    return walks


@compiled
def _sum_up(pointer, weights, sums):  # type: ignore[no-untyped-def]
    for i in range(len(pointer) - 1):
        total = 0.0
        for e in range(pointer[i], pointer[i + 1]):
            total += weights[e]
            sums[e] = total


@compiled
def _proposed(pointer, sums, v, chance):  # type: ignore[no-untyped-def]
    """Place of a neighbour of v drawn by its weight, for a chance in [0, 1)."""
    low, high = pointer[v], pointer[v + 1]
    if len(sums) == 0:
        return min(low + np.int64(chance * (high - low)), high - 1)
    wanted = chance * sums[high - 1]
    last = high - 1
    while low < last:  # the first place whose sum is above what is wanted
        middle = (low + last) >> 1
        if sums[middle] > wanted:
            last = middle
        else:
            low = middle + 1
    return low


@compiled
def _joined(pointer, neighbours, t, x):  # type: ignore[no-untyped-def]
    """Whether x is a neighbour of t."""
    low, high = pointer[t], pointer[t + 1]
    while low < high:
        middle = (low + high) >> 1
        if neighbours[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low < pointer[t + 1] and neighbours[low] == x


@compiled
def _bias(pointer, neighbours, t, x, back, away):  # type: ignore[no-untyped-def]
    if x == t:
        return back
    return 1.0 if _joined(pointer, neighbours, t, x) else away


@compiled
def _weighed(pointer, neighbours, sums, t, v, back, away, chance):  # type: ignore[no-untyped-def]
    """Draw from all neighbours of v, each by its weight and bias."""
    for drawing in range(2):
        total = 0.0
        for e in range(pointer[v], pointer[v + 1]):
            before = sums[e - 1] if len(sums) and e > pointer[v] else 0.0
            weight = sums[e] - before if len(sums) else 1.0
            total += weight * _bias(pointer, neighbours, t, neighbours[e], back, away)
            if drawing and total > chance:
                return e
        chance *= total
    return pointer[v + 1] - 1


@compiled
def _walk(  # type: ignore[no-untyped-def]
    first, end, pointer, neighbours, sums, starts, back, away, most_tries, key, offset, walks
):
    """Fill some of the walks."""
    plain = back == 1.0 and away == 1.0
    most = max(back, away, 1.0)
    for i in range(first, end):
        state = begun(key, offset + i)
        v, t = starts[i], np.int64(-1)
        walks[i, 0] = v
        for step in range(1, walks.shape[1]):
            if pointer[v] == pointer[v + 1]:
                break
            place, found = pointer[v], False
            for _ in range(most_tries):
                state += GOLDEN
                place = _proposed(pointer, sums, v, unit(state))
                if plain or t < 0:
                    found = True
                else:
                    state += GOLDEN
                    x = neighbours[place]
                    found = unit(state) * most < _bias(pointer, neighbours, t, x, back, away)
                if found:
                    break
            if not found:
                state += GOLDEN
                place = _weighed(pointer, neighbours, sums, t, v, back, away, unit(state))
            t, v = v, np.int64(neighbours[place])
            walks[i, step] = v
