"""Marker genes and types, by hand and where they were planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation import (
    Markers,
    adjusted_rand,
    count_matrix,
    markers_of_nuclei,
    markers_of_profiles,
    share_assigned_by_gene,
    types_by_profiles,
)

#  genes        g0  g1  g2   g3   g4
PROFILES = [[50.0, 10, 8.0, 0, 32], [5.0, 5, 2.0, 3, 5]]  # sums 100 and 20


def planted(seed=0, cells=400, markers=4, shared=8, depth=40.0):
    """Nuclei of three types with `markers` genes each, which others express at a twentieth."""
    generator = np.random.default_rng(seed)
    types = generator.integers(0, 3, cells)
    rates = np.ones((3, 3 * markers + shared))
    rates[:, : 3 * markers] = 0.05
    for kind in range(3):
        rates[kind, kind * markers : (kind + 1) * markers] = 1
    rates *= depth / rates.sum(1, keepdims=True)
    return sparse.csr_matrix(generator.poisson(rates[types])), types


def test_markers_by_hand():
    found = markers_of_profiles(PROFILES, ["A", "B"])
    # shares: A .5 .1 .08 0 .32; B .25 .25 .1 .15 .25: g3 alone is over four times that of the other
    assert found.profiles == pytest.approx(
        np.array([[0.5, 0.1, 0.08, 0, 0.32], [0.25, 0.25, 0.1, 0.15, 0.25]])
    )
    assert found.type_of_gene.tolist() == [-1, -1, -1, 1, -1]
    assert found.genes.tolist() == [3]
    assert found.n_pairs == 0
    found = markers_of_profiles(PROFILES, ["A", "B"], fold=1.9)
    assert found.type_of_gene.tolist() == [0, 1, -1, 1, -1]
    assert found.n_pairs == 2


def test_a_fold_of_exactly_four_marks_nothing():
    assert markers_of_profiles([[4.0, 1, 3], [1.0, 4, 3]], ["A", "B"]).genes.tolist() == []
    assert markers_of_profiles([[4.1, 1, 2.9], [1.0, 4, 3]], ["A", "B"]).genes.tolist() == [0]


def test_the_second_type_is_the_second_of_all():
    found = markers_of_profiles([[8.0, 2], [1.0, 9], [4.0, 6]], list("ABC"), fold=1.6)
    assert found.type_of_gene.tolist() == [0, -1]  # .8 against .4; .9 against .6


def test_the_scale_of_a_profile_plays_no_role():
    profiles = np.array([[8.0, 1, 1], [1.0, 8, 1], [2.0, 2, 6]])
    wanted = markers_of_profiles(profiles, list("ABC"), fold=3)
    found = markers_of_profiles(profiles * [[1], [1e4], [1e-3]], list("ABC"), fold=3)
    assert found.type_of_gene.tolist() == wanted.type_of_gene.tolist() == [0, 1, 2]
    assert found.n_pairs == 3


def test_what_the_profiles_lack_marks_nothing():
    found = markers_of_profiles([[np.nan, 9, 1], [np.nan, 1, 9]], ["A", "B"])
    assert found.type_of_gene.tolist() == [-1, 0, 1]
    found = markers_of_profiles([[9.0, 1], [1.0, 9]], ["A", "B"], is_known=[False, True])
    assert found.type_of_gene.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ([[1.0, 2.0]], "1 cell type; markers need two"),
        (np.zeros((0, 2)), "0 cell type; markers need two"),
        ([[1.0, 2.0], [0.0, 0.0]], "type 'B' expresses none"),
        ([[1.0, 2.0], [np.nan, np.nan]], "type 'B' expresses none"),
        ([[1.0, 2.0], [3.0, -1.0]], "negative"),
    ],
)
def test_profiles_that_cannot_be_used(profiles, message):
    with pytest.raises(InputError, match=message):
        markers_of_profiles(profiles, ["A", "B"])


def test_types_by_hand():
    markers = markers_of_profiles([[8.0, 1, 1], [1.0, 8, 1]], ["A", "B"])
    counts = [[9, 1, 0], [1, 9, 0], [4, 5, 0], [5, 4, 20], [5, 4, 0], [0, 0, 0]]
    assert types_by_profiles(sparse.csr_matrix(counts), markers).tolist() == [0, 1, -1, 0, -1, -1]


def test_types_are_the_likeliest():
    counts, types = planted()
    rates = np.vstack([counts[types == kind].sum(0) for kind in range(3)])
    markers = markers_of_profiles(np.asarray(rates), list("ABC"))
    found = types_by_profiles(counts, markers)
    profiles = 0.99 * markers.profiles + 0.01 * markers.profiles.mean(0)
    for cell in range(0, 400, 40):
        likelihood = [
            sum(n * np.log(p) for n, p in zip(counts[cell].toarray()[0], profile, strict=True))
            for profile in profiles
        ]
        assert found[cell] == np.argmax(likelihood)
    assert (found == types).mean() > 0.99


def test_planted_groups_and_markers_are_found():
    counts, types = planted()
    markers, groups = markers_of_nuclei(counts)
    assert len(markers.types) == 3
    assert markers.types == ["group 1", "group 2", "group 3"]
    assert adjusted_rand(types, groups) > 0.98
    assert markers.genes.tolist() == list(range(12))
    assert markers.profiles.sum(1) == pytest.approx(np.ones(3))
    for kind in range(3):
        own = np.bincount(groups[types == kind]).argmax()
        assert markers.type_of_gene[4 * kind : 4 * kind + 4].tolist() == [own] * 4


def test_the_same_seed_finds_the_same_and_the_order_of_nuclei_hardly_matters():
    counts, _ = planted(seed=1)
    markers, groups = markers_of_nuclei(counts, seed=5)
    again, same = markers_of_nuclei(counts.copy(), seed=5)
    assert (same == groups).all()
    assert (again.type_of_gene == markers.type_of_gene).all()
    order = np.random.default_rng(0).permutation(counts.shape[0])
    other, shuffled = markers_of_nuclei(counts[order], seed=5)
    assert other.genes.tolist() == markers.genes.tolist()
    assert adjusted_rand(shuffled, groups[order]) > 0.98


def test_nuclei_with_too_little_have_no_type():
    counts, _ = planted()
    counts = sparse.vstack([counts, sparse.csr_matrix([[9, *[0] * 19], [0] * 20])]).tocsr()
    _, groups = markers_of_nuclei(counts)
    assert groups[-2:].tolist() == [-1, -1]
    assert (groups[:-2] >= 0).all()


def test_a_rare_gene_is_no_marker():
    counts, types = planted()
    rare = np.zeros((400, 1), int)
    rare[np.flatnonzero(types == 0)[:19]] = 1  # only in type 0, but 19 times
    markers, _ = markers_of_nuclei(sparse.hstack([counts, sparse.csr_matrix(rare)]).tocsr())
    assert 20 not in markers.genes
    rare[np.flatnonzero(types == 0)[19]] = 1
    markers, _ = markers_of_nuclei(sparse.hstack([counts, sparse.csr_matrix(rare)]).tocsr())
    assert 20 in markers.genes


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "counts",
    [
        np.full((40, 1), 20),
        np.column_stack([np.full(40, 20), np.zeros((40, 3), int)]),
        np.full((60, 5), 7),
        np.zeros((60, 5), int),
        np.zeros((0, 5), int),
        np.zeros((5, 0), int),
        np.full((19, 2), 10),
        np.random.default_rng(0).poisson(20, (100, 6)),
    ],
    ids=["one gene", "one expressed", "alike", "empty", "none", "no genes", "too few", "one type"],
)
def test_nuclei_without_markers_say_so(counts):
    with pytest.raises(InputError, match="no marker genes; give profiles"):
        markers_of_nuclei(sparse.csr_matrix(counts))


@pytest.mark.filterwarnings("error")
def test_nuclei_of_two_kinds_that_are_otherwise_alike():
    counts = np.repeat([[30, 1, 9, 1], [1, 30, 1, 9]], [30, 50], axis=0)
    markers, groups = markers_of_nuclei(sparse.csr_matrix(counts))
    assert sorted(np.bincount(groups)) == [30, 50]
    assert len(markers.genes) == 4


def test_counts_by_hand():
    cell, gene = np.array([0, 0, 2, -1, 0, 2, 1]), np.array([1, 1, 0, 0, -1, 2, 2])
    counts = count_matrix(cell, gene, 4, 3)
    assert counts.toarray().tolist() == [[0, 2, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]]
    assert counts.has_canonical_format
    assert counts.dtype == np.int64
    assert share_assigned_by_gene(cell, gene, 4)[:3].tolist() == [0.5, 1, 1]
    assert np.isnan(share_assigned_by_gene(cell, gene, 4)[3])


def test_markers_know_their_pairs():
    markers = Markers(list("ABC"), np.zeros((3, 7)), np.array([0, 0, 1, -1, 1, 1, 2]))
    assert markers.n_pairs == 2 * 3 + 2 * 1 + 3 * 1
