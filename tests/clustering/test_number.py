"""How many clusters: of known groups, nested groups, and clouds without any."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from tissuegraph.clustering.communities import Communities, find_communities
from tissuegraph.clustering.number import stability
from tissuegraph.clustering.partition import k_means, partition, partition_at

NUMBERS = (2, 3, 5, 6, 7)
NAMES = ("agreement", "agreement_by_chance")
OURS = ("leiden", "louvain", "kmeans", "gmm")


def nested(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Six groups in three pairs: the two of a pair are nearer to each other than to the others."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 6, n)
    centres = 8 * np.eye(8)[np.arange(6) // 2] + 5 * np.eye(8)[3 + np.arange(6) % 2]
    return centres[labels] + generator.normal(size=(n, 8)), labels


def cloud(power: float, n: int = 200, d: int = 10, seed: int = 0) -> np.ndarray:
    """One Gaussian; the larger the power, the longer it is."""
    return np.random.default_rng(seed).normal(size=(n, d)) / np.arange(1, d + 1) ** power


@pytest.mark.parametrize("method", OURS)
def test_of_nested_groups_the_finest_that_are_reliable_are_found(method):
    points, truth = nested()
    found = stability(points, NUMBERS, method, 0)
    assert found.best() == 6
    assert found.stable[NUMBERS.index(6)]
    assert adjusted_rand_score(truth, partition(points, 6, method, 0)) > 0.9


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_cloud_has_no_clusters(method, power):
    found = stability(cloud(power), [2, 3, 5], method, 0)
    assert found.best() == 1
    assert not found.stable.any()


def test_halves_of_a_long_cloud_agree_as_chance_has_it():
    """Why agreement alone says nothing: it is high, and higher than what is called reliable elsewhere."""
    clouds = [stability(cloud(1.5, d=5, seed=seed), [2], "kmeans", seed) for seed in range(12)]
    found, chance = (np.array([getattr(one, name).mean() for one in clouds]) for name in NAMES)
    assert (found > 0.8).sum() > 2
    assert abs(found.mean() - chance.mean()) < 0.1
    assert not any(one.stable.any() for one in clouds)


def test_the_same_seed_gives_the_same_curve_and_another_a_similar_one():
    """Of pairs, and of all six; of five, which pair stays whole is chance."""
    points = nested()[0]
    first, again, other = (stability(points, [3, 6], "kmeans", seed) for seed in (0, 0, 1))
    assert np.array_equal(first.agreement, again.agreement)
    assert not np.array_equal(first.bits_by_chance, other.bits_by_chance)
    assert first.agreement.mean(0) == pytest.approx(other.agreement.mean(0), abs=0.02)


def test_numbers_beyond_a_quarter_of_the_cells_are_left_out():
    found = stability(nested(12)[0], [2, 3, 4], "kmeans", 0)
    assert found.numbers == [2, 3]
    assert stability(nested(12)[0], [4], "kmeans", 0).best() == 1


def test_points_without_extent_are_one_cluster():
    assert stability(np.ones((40, 3)), [2, 3], "gmm", 0).best() == 1


def test_k_means_is_that_of_sklearn():
    points = nested()[0]
    theirs = KMeans(6, n_init=24, random_state=3).fit(points)
    assert adjusted_rand_score(k_means(points, 6, 3), theirs.labels_) == 1


def test_communities_that_were_found_for_one_number_serve_the_next():
    points = nested()[0]
    kept = Communities(points, "leiden", 0)
    for wanted in (9, 4, 6, 2):
        assert len(np.unique(kept.find(wanted))) == wanted
    tries = len(kept.found)
    kept.find(6)
    assert len(kept.found) == tries
    assert adjusted_rand_score(kept.find(6), find_communities(points, 6, "leiden", 0)) > 0.9


@pytest.mark.parametrize("method", OURS)
def test_of_many_points_a_sample_decides(method, monkeypatch):
    monkeypatch.setattr("tissuegraph.clustering.partition.SAMPLE", 300)
    points, truth = nested(1500)
    assert adjusted_rand_score(truth, partition(points, 6, method, 0)) > 0.9
    if method in ("leiden", "louvain"):
        assert adjusted_rand_score(truth, partition_at(points, 1.0, method, 0)) > 0.6


def test_what_is_kept_has_a_value_for_each_number():
    record = stability(nested()[0], NUMBERS, "kmeans", 0).record()
    assert {len(values) for values in record.values()} == {len(NUMBERS)}
