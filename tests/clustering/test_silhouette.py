"""Silhouettes beside those of sklearn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from tissuegraph.clustering import silhouette
from tissuegraph.clustering.silhouette import silhouettes


def groups(n: int, k: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every label is there, some of one cell only."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), generator.integers(0, max(1, k - 1), n - k)])
    return generator.normal(0, 2, (k, d))[labels] + generator.normal(size=(n, d)), labels


@settings(max_examples=25)
@given(st.integers(12, 60), st.integers(2, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_they_are_those_of_sklearn(n, k, d, seed):
    points, labels = groups(n, k, d, seed)
    found, measured = silhouettes(points, labels, np.random.default_rng(0))
    assert measured == n
    np.testing.assert_allclose(found, silhouette_samples(points, labels), atol=1e-9)


def test_of_many_cells_a_sample_of_each_cluster_is_measured(monkeypatch):
    points, labels = groups(3000, 5, 4, 0)
    whole = silhouettes(points, labels, np.random.default_rng(0))[0]
    monkeypatch.setattr(silhouette, "MOST_CELLS", 600)
    monkeypatch.setattr(silhouette, "BLOCK", 700)
    found, measured = silhouettes(points, labels, np.random.default_rng(0))
    assert 590 <= measured <= 600
    assert abs(found - whole).mean() < 0.03
    assert found.mean() == pytest.approx(whole.mean(), abs=0.01)


def test_one_cluster_has_none():
    found, _ = silhouettes(np.eye(4), np.zeros(4, np.int64), np.random.default_rng(0))
    assert np.isnan(found).all()


def test_cells_at_one_place_are_no_crash():
    found, _ = silhouettes(np.ones((6, 2)), np.array([0, 0, 0, 1, 1, 1]), np.random.default_rng(0))
    assert (found == 0).all()
