"""Nearest neighbours against a loop over all pairs; ties are broken by order, however many there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.graph.neighbours import nearest_neighbours, nearest_of


def by_loop(positions: np.ndarray, k: int, max_distance: float) -> np.ndarray:
    edges = []
    for i, here in enumerate(positions):
        distance = np.sqrt(((positions - here) ** 2).sum(1))
        near = sorted((d, j) for j, d in enumerate(distance) if j != i and d <= max_distance)
        edges += [(j, i) for _, j in near[:k]]
    return np.array(edges, np.int64).reshape(-1, 2).T


@st.composite
def clouds(draw) -> np.ndarray:
    """Points on a coarse grid, so that distances tie and points coincide; some far outside."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, side = draw(st.integers(0, 80)), draw(st.sampled_from([1, 6, 40]))
    positions = generator.integers(0, side, (n, draw(st.sampled_from([2, 3])))) / 4
    return np.where(generator.random((n, 1)) < 0.05, positions + 1e4, positions)


# 1.25 is a distance between grid points (3, 4, 5), so that some lie on the limit itself
distances = st.sampled_from([0.25, 1.25, 3.0, 1e6, np.inf])


@settings(max_examples=100, deadline=None)
@given(clouds(), st.integers(1, 12), distances)
def test_edges_are_those_of_a_loop(positions, k, max_distance):
    assert np.array_equal(nearest_neighbours(positions, k, max_distance), by_loop(positions, k, max_distance))


@settings(max_examples=50, deadline=None)
@given(clouds(), st.integers(1, 12), st.sampled_from([0.25, 1.25, 3.0]), st.floats(0, 10))
def test_cutting_away_what_is_far_changes_nothing(positions, k, max_distance, core):
    kept = np.flatnonzero((positions <= core + max_distance).all(1))
    whole, part = (
        nearest_neighbours(positions, k, max_distance),
        nearest_neighbours(positions[kept], k, max_distance),
    )
    inside = (positions <= core).all(1)
    assert np.array_equal(kept[part][:, inside[kept[part[1]]]], whole[:, inside[whole[1]]])


@settings(max_examples=30, deadline=None)
@given(clouds(), st.integers(1, 12), st.integers(0, 5), distances)
def test_fewer_neighbours_are_the_nearest_of_more(positions, k, more, max_distance):
    edges = nearest_neighbours(positions, k + more, max_distance)
    assert np.array_equal(nearest_of(edges, k), nearest_neighbours(positions, k, max_distance))


def test_random_positions():
    positions = np.random.default_rng(0).uniform(0, 20, (300, 2))
    assert np.array_equal(nearest_neighbours(positions, 6, 2.0), by_loop(positions, 6, 2.0))


def test_a_pile_of_coincident_points_is_joined_by_order():
    positions = np.vstack([np.zeros((40, 2)), [[5.0, 5.0]]])
    edges = nearest_neighbours(positions, 3, 1.0)
    for i in range(40):
        assert edges[0, edges[1] == i].tolist() == [j for j in range(5) if j != i][:3]
    assert 40 not in edges


def test_fewer_than_two_have_no_neighbours():
    for n in (0, 1):
        edges = nearest_neighbours(np.zeros((n, 2)), 3, 1.0)
        assert edges.shape == (2, 0)
        assert edges.dtype == np.int64


def test_k_beyond_the_points_joins_all():
    edges = nearest_neighbours(np.array([[0.0, 0], [1, 0], [3, 0]]), 10, 100.0)
    assert edges.tolist() == [[1, 2, 0, 2, 1, 0], [0, 0, 1, 1, 2, 2]]
