"""Graphs of cells that are alike: against loops over all pairs, ties and points at one place included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from tissuegraph.errors import InputError
from tissuegraph.graph import expression
from tissuegraph.graph.expression import (
    cosine_edges,
    gaussian_weights,
    nearest_in_features,
    shared_neighbour_edges,
)


@st.composite
def tables(draw) -> np.ndarray:
    """Points, often on few places and far from the origin."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(2, 40)), draw(st.integers(1, 6))
    points = rng.integers(0, draw(st.sampled_from([2, 5, 1000])), shape).astype(float)
    return points * draw(st.sampled_from([1.0, 2.0**-10])) + draw(st.sampled_from([0, 512]))


def edge_set(edges: np.ndarray) -> set[tuple[int, int]]:
    pairs = set(map(tuple, edges.T.tolist()))
    assert len(pairs) == edges.shape[1]
    assert edges.dtype == np.int64
    return pairs


def nearest_by_loop(points: np.ndarray, k: int) -> list[list[int]]:
    distance = cdist(points, points, "sqeuclidean")
    return [
        sorted(set(range(len(points))) - {i}, key=lambda j: (distance[i, j], j))[:k]
        for i in range(len(points))
    ]


@settings(max_examples=80, deadline=None)
@given(tables(), st.integers(1, 8), st.sampled_from([7, 100, 10**6]))
def test_the_nearest_are_those_of_a_loop_and_ties_go_by_order(points, k, at_a_time):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expression, "AT_A_TIME", at_a_time)
        edges = nearest_in_features(points, k)
    expected = nearest_by_loop(points, k)
    assert edges[1].tolist() == [cell for cell, near in enumerate(expected) for _ in near]
    assert edges[0].tolist() == [other for near in expected for other in near]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["euclidean", "cosine"]))
def test_permuted_points_give_permuted_neighbours(seed, metric):
    rng = np.random.default_rng(seed)
    points, order = rng.normal(size=(50, 12)), rng.permutation(50)
    one, other = nearest_in_features(points, 5, metric), nearest_in_features(points[order], 5, metric)
    assert edge_set(one) == edge_set(order[other])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_are_those_of_sklearn(metric):
    points = np.random.default_rng(0).normal(3, 1, size=(700, 30)).astype(np.float32)
    edges = nearest_in_features(points, 10, metric)
    expected = NearestNeighbors(n_neighbors=10, metric=metric).fit(points.astype(float)).kneighbors()[1]
    assert np.array_equal(edges[0].reshape(700, 10), expected)


def test_points_that_single_precision_cannot_part():
    """Far from the origin and from each other, with neighbours much nearer than the rounding."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1e5, (40, 3)).repeat(5, 0) + rng.normal(0, 1e-4, (200, 3))
    edges = nearest_in_features(points, 4)
    assert (edges[0] // 5 == edges[1] // 5).all()
    assert edges[0].tolist() == np.concatenate(nearest_by_loop(points, 4)).tolist()


@pytest.mark.slow
def test_beyond_thirty_thousand_cells_most_neighbours_are_found_and_a_seed_gives_the_same(monkeypatch):
    points = np.random.default_rng(0).normal(size=(3000, 10))
    exact = edge_set(nearest_in_features(points, 10))
    monkeypatch.setattr(expression, "EXACT_CELLS", 1000)
    one, again = (nearest_in_features(points, 10, seed=1) for _ in range(2))
    assert np.array_equal(one, again)
    assert (one[0] != one[1]).all()
    assert (np.bincount(one[1]) == 10).all()
    assert len(edge_set(one) & exact) / len(exact) > 0.95


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([-1.0, 0.1, 0.71, 0.999]), st.sampled_from([40, 10**6]))
def test_cosine_edges_are_those_of_a_loop_and_nobody_is_alone(points, threshold, at_a_time):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expression, "AT_A_TIME", at_a_time)
        found = edge_set(cosine_edges(points, threshold))
    length = np.linalg.norm(points, axis=1)
    cosine = points @ points.T / np.where(length > 0, length, 1)[:, None] / np.where(length > 0, length, 1)
    np.fill_diagonal(cosine, -2)
    surely = set(zip(*np.nonzero(cosine >= threshold + 1e-6), strict=True))
    perhaps = set(zip(*np.nonzero(cosine >= threshold - 1e-6), strict=True))
    assert surely <= found
    for neighbour, cell in found - perhaps:
        assert cosine[cell].max() < threshold + 1e-6
        assert cosine[cell, neighbour] == pytest.approx(cosine[cell].max(), abs=1e-6)
    assert {cell for _, cell in found} == set(range(len(points)))


def test_gaussian_weights_are_the_formula():
    points = np.random.default_rng(0).normal(size=(60, 4))
    expected = np.exp(-(cdist(points, points) ** 2) / (2 * 1.5**2))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(gaussian_weights(points, 1.5), expected, rtol=1e-5, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(1, 6), st.sampled_from([0.1, 1 / 3, 1.0]))
def test_shared_neighbours_are_those_of_a_loop(points, k, at_least):
    lists = [{i, *near} for i, near in enumerate(nearest_by_loop(points, k))]
    expected = {
        (j, i): len(lists[i] & lists[j]) / len(lists[i] | lists[j])
        for i in range(len(points))
        for j in range(len(points))
        if i != j
    }
    expected = {pair: weight for pair, weight in expected.items() if weight >= at_least}
    edges, weights = shared_neighbour_edges(points, k, at_least)
    assert edge_set(edges) == set(expected)
    for pair, weight in zip(edges.T.tolist(), weights, strict=True):
        assert weight == pytest.approx(expected[tuple(pair)], rel=1e-6)


def test_few_cells_have_few_neighbours():
    assert nearest_in_features(np.zeros((1, 3)), 5).shape == (2, 0)
    assert cosine_edges(np.zeros((1, 3)), 0.5).shape == (2, 0)
    assert shared_neighbour_edges(np.zeros((1, 3)), 5, 0.1)[0].shape == (2, 0)
    assert nearest_in_features(np.zeros((3, 2)), 5).tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nearest_in_features(np.zeros((3, 2)), 0), "n_neighbors is 0"),
        (lambda: nearest_in_features(np.zeros((3, 2)), 1, "hamming"), "'hamming'; choose one of euclidean"),
        (lambda: nearest_in_features(np.full((3, 2), np.nan), 1), "3 of 3 cells have features that are NaN"),
        (lambda: nearest_in_features(np.zeros(3), 1), r"shape \(3,\)"),
        (lambda: cosine_edges(np.zeros((3, 2)), 1.5), "threshold is 1.5"),
        (lambda: gaussian_weights(np.zeros((3, 2)), 0), "width is 0"),
        (lambda: gaussian_weights(np.zeros((5001, 2)), 1), "5,001 cells would be too large.*method='knn'"),
        (lambda: shared_neighbour_edges(np.zeros((3, 2)), 1, 0), "at_least is 0"),
    ],
)
def test_what_makes_no_graph(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_cosine_that_joins_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(expression, "MOST_EDGES", 100)
    with pytest.raises(InputError, match="joins more than 100 pairs of 30 cells; raise the threshold"):
        cosine_edges(np.ones((30, 2)), 0.5)
