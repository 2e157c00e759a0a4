"""The graph of the nearest in many dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.graph import alike as module
from tissuegraph.graph.alike import alike


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_each_point_is_joined_to_its_nearest_both_ways(n, k, seed):
    points = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    apart = ((points[:, None] - points[None]) ** 2).sum(2) + np.diag(np.full(n, np.inf))
    nearest = np.zeros((n, n), bool)
    np.put_along_axis(nearest, apart.argsort(1)[:, : min(k, n - 1)], True, axis=1)
    found = alike(points, k, seed=0).toarray()
    assert np.array_equal(found > 0, nearest | nearest.T)
    assert set(np.unique(found)) <= {0, 1}


@pytest.mark.slow
def test_the_approximate_search_finds_nearly_the_same(monkeypatch):
    points = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    exact = alike(points, 8, seed=0)
    monkeypatch.setattr(module, "EXACT_POINTS", 100)
    one, again = (alike(points, 8, seed=3) for _ in range(2))
    assert (one != again).nnz == 0
    assert one.minimum(exact).sum() > 0.95 * exact.sum()
    assert one.diagonal().sum() == 0


def test_points_that_coincide_are_joined():
    found = alike(np.zeros((4, 2), np.float32), 3, seed=0)
    assert found.diagonal().sum() == 0
    assert np.diff(found.indptr).min() >= 2
