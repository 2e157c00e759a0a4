"""Walks of node2vec against the formula of the paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from tissuegraph import parallel
from tissuegraph.graph import walks as module
from tissuegraph.graph.draws import Lottery
from tissuegraph.graph.walks import random_walks, walk_graph

#   0 --- 1
#   | \ / |      and 4 hangs on 3; weights are all different
#   | / \ |
#   2 --- 3 --- 4
EDGES = {(0, 1): 1.0, (0, 2): 2.0, (0, 3): 0.5, (1, 2): 1.5, (1, 3): 3.0, (2, 3): 0.7, (3, 4): 1.2}


def drawn(weighted=True):
    table = np.zeros((5, 5))
    for (i, j), weight in EDGES.items():
        table[i, j] = table[j, i] = weight if weighted else 1.0
    return table


def transitions(table, p, q):
    """Chance of x after t and v by the formula, [t, v, x]."""
    n = len(table)
    chances = np.zeros((n, n, n))
    for t in range(n):
        for v in np.flatnonzero(table[t]):
            for x in np.flatnonzero(table[v]):
                bias = 1 / p if x == t else 1.0 if table[t, x] else 1 / q
                chances[t, v, x] = bias * table[v, x]
            chances[t, v] /= chances[t, v].sum()
    return chances


def check_frequencies(counted, expected):
    """Compare counts of outcomes with their chances (chi-square, as one of some hundred tests)."""
    possible = expected > 0
    assert counted[~possible].sum() == 0
    if possible.sum() == 1:  # nothing to compare
        return
    assert stats.chisquare(counted[possible], expected[possible] * counted.sum()).pvalue > 1e-5


@pytest.mark.parametrize("tries", [0, 16])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "q"), [(1, 1), (0.25, 4), (4, 0.25), (50, 3)])
def test_steps_are_as_frequent_as_the_formula_says(monkeypatch, p, q, weighted, tries):
    monkeypatch.setattr(module, "MOST_TRIES", tries)
    table = drawn(weighted)
    graph = walk_graph(sparse.csr_matrix(table))
    found = random_walks(graph, np.tile(np.arange(5), 4000), 12, p=p, q=q, seed=3)
    assert (found >= 0).all()
    first = np.zeros((5, 5))
    np.add.at(first, (found[:, 0], found[:, 1]), 1)
    for v in range(5):
        check_frequencies(first[v], table[v] / table[v].sum())
    counted = np.zeros((5, 5, 5))
    np.add.at(counted, (found[:, :-2], found[:, 1:-1], found[:, 2:]), 1)
    expected = transitions(table, p, q)
    for t, v in zip(*np.nonzero(table), strict=True):
        check_frequencies(counted[t, v], expected[t, v])


def test_an_edge_is_open_both_ways_unless_directed():
    table = sparse.csr_matrix(([1.0, 3.0, 2.0, 9.0], ([0, 1, 1, 2], [1, 0, 2, 2])), shape=(3, 3))
    both = walk_graph(table)
    assert both.pointer.tolist() == [0, 1, 3, 4]
    assert both.neighbours.tolist() == [1, 0, 2, 1]
    assert both.strengths.tolist() == [3, 5, 2]
    one_way = random_walks(walk_graph(table, directed=True), np.array([2, 1] * 50), 4)
    assert (one_way[::2] == [2, -1, -1, -1]).all()
    ended = one_way[1::2][one_way[1::2, 1] == 2]
    assert len(ended)
    assert (ended == [1, 2, -1, -1]).all()


def test_a_node_without_neighbours_goes_nowhere():
    found = random_walks(walk_graph(sparse.csr_matrix((3, 3))), np.arange(3), 5)
    assert found.tolist() == [[i, -1, -1, -1, -1] for i in range(3)]
    assert walk_graph(sparse.csr_matrix((3, 3))).strengths.tolist() == [0, 0, 0]


def random_graph(n, seed):
    table = sparse.random(n, n, 0.1, random_state=np.random.default_rng(seed), format="csr")
    return sparse.csr_matrix(table)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0.1, 10), st.floats(0.1, 10))
def test_walks_follow_edges_and_do_not_depend_on_the_blocks(n, seed, p, q):
    table = random_graph(n, seed)
    graph = walk_graph(table)
    starts = np.random.default_rng(seed).integers(0, n, 30)
    whole = random_walks(graph, starts, 6, p=p, q=q, seed=seed)
    parts = [random_walks(graph, starts[i : i + 7], 6, p=p, q=q, seed=seed, first=i) for i in range(0, 30, 7)]
    assert np.array_equal(whole, np.concatenate(parts))
    joined = (table + table.T).toarray() > 0
    np.fill_diagonal(joined, False)
    here, there = whole[:, :-1], whole[:, 1:]
    on = there >= 0
    assert joined[here[on], there[on]].all()
    assert not joined[here[(here >= 0) & ~on]].any()
    assert (whole[:, 0] == starts).all()


def test_the_same_walks_on_any_number_of_threads(monkeypatch):
    graph, starts = walk_graph(random_graph(50, 1)), np.tile(np.arange(50), 20)
    monkeypatch.setattr(parallel, "CHUNK", 64)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(parallel, "cores", lambda threads=threads: threads)
        found.append(random_walks(graph, starts, 8, p=0.5, q=2, seed=4))
    assert np.array_equal(*found)
    other = random_walks(graph, starts, 8, p=0.5, q=2, seed=5)
    assert not np.array_equal(found[0], other)


def test_a_lottery_draws_by_weight():
    weights = np.array([0.0, 1.0, 5.0, 0.2, 3.0, 0.0, 1.0])
    drawn = Lottery(weights.copy()).draw(5000, 4, key=1)
    check_frequencies(np.bincount(drawn.ravel(), minlength=7), weights / weights.sum())
    again = Lottery(weights.copy()).draw(100, 4, key=1, first=900)
    assert np.array_equal(again, drawn[900:1000])
    assert (Lottery(np.array([2.0])).draw(3, 2, key=0) == 0).all()
