"""The part of a graph that some nodes hear is enough to compute what they hear."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tissuegraph.graph.hops import around


def messages(graph: sparse.csr_matrix, x: np.ndarray, hops: int) -> np.ndarray:
    for _ in range(hops):
        x = np.tanh(x + graph @ x)
    return x


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6), st.integers(0, 3), st.floats(0, 0.4))
def test_a_part_says_the_same_as_the_whole(n, seed, hops, density):
    rng = np.random.default_rng(seed)
    graph = sparse.random(n, n, density, "csr", random_state=seed)
    nodes = rng.permutation(n)[: rng.integers(1, n + 1)]
    found, edges = around(graph, nodes, hops)
    assert len(np.unique(found)) == len(found)
    np.testing.assert_array_equal(found[: len(nodes)], nodes)
    weight = np.asarray(graph[found[edges[1]], found[edges[0]]]).ravel() if edges.size else []
    part = sparse.csr_matrix((weight, (edges[1], edges[0])), (len(found), len(found)))
    x = rng.normal(size=(n, 2))
    np.testing.assert_allclose(messages(part, x[found], hops)[: len(nodes)], messages(graph, x, hops)[nodes])


def test_nobody_is_heard_over_no_hop():
    found, edges = around(sparse.csr_matrix(np.ones((3, 3))), np.array([2, 0]), 0)
    np.testing.assert_array_equal(found, [2, 0])
    assert edges.shape == (2, 0)
