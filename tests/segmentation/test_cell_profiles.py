"""What cells are expected to express: by hand on tiny counts, and planted types that must be found."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from drawn_pairs import profiles_of
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from tissuegraph.errors import InputError
from tissuegraph.io.profiles import ReferenceProfiles
from tissuegraph.segmentation.pretrained.cell_profiles import (
    CELLS_A_TYPE,
    MOST_FREE_TYPES,
    MOST_TYPES,
    PRIOR,
    CellProfiles,
    find_profiles,
)


def planted(seed: int, cells: int = 300, genes: int = 40, depth: float = 40, types: int = 4):
    """Counts [cells, genes] of types whose profiles differ, and the type of each cell."""
    generator = np.random.default_rng(seed)
    profile = generator.gamma(1, 1, genes) * np.exp(1.3 * generator.normal(size=(types, genes)))
    profile /= profile.sum(1, keepdims=True)
    kind = generator.integers(0, types, cells)
    counts = generator.poisson(generator.gamma(8, depth / 8, (cells, 1)) * profile[kind])
    return sparse.csr_matrix(counts.astype(float)), kind, profile


def check_shares(profiles: CellProfiles, cells: int, genes: int) -> None:
    assert profiles.membership.shape == (cells, len(profiles.types))
    assert profiles.types.shape[1] == genes
    for shares in (profiles.types, profiles.membership, profiles.mean[None]):
        assert np.isfinite(shares).all()
        assert (shares >= 0).all()
        assert shares.sum(1) == pytest.approx(1)
    assert (profiles.types > 0).all()
    assert (profiles.mean > 0).all()


def test_log_ratios_by_hand():
    profiles = CellProfiles(
        counts=sparse.csr_matrix(np.array([[3.0, 1, 0], [0, 0, 0], [0, 1, 0]])),
        types=np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]),
        membership=np.array([[0.75, 0.25], [0.0, 1.0], [1.0, 0.0]]),
        mean=np.array([0.25, 0.25, 0.5]),
    )
    full, without = profiles.log_ratios(np.array([2, 0, 1]))
    assert full.shape == without.shape == (3, 3)
    assert full.dtype == without.dtype == np.float32
    # cell 2, one transcript, of the first type: (n_g + 30 t_g) / (1 + 30) / mean_g
    assert full[0] == pytest.approx(np.log([15 / 31 / 0.25, 10 / 31 / 0.25, 6 / 31 / 0.5]))
    # without that transcript nothing is known of the cell but its type
    assert without[0, 1] == pytest.approx(math.log(9 / 30 / 0.25))
    # cell 0, four transcripts, between the types: 30 (.75 x .5 + .25 x .1) = 12, and 7.5 and 10.5
    assert full[1] == pytest.approx(np.log([15 / 34 / 0.25, 8.5 / 34 / 0.25, 10.5 / 34 / 0.5]))
    assert without[1, :2] == pytest.approx(np.log([14 / 33 / 0.25, 7.5 / 33 / 0.25]))
    # cell 1, none: only its type, and nothing to leave out
    assert full[2] == pytest.approx(np.log([0.4, 0.4, 1.6]))
    assert without[2] == pytest.approx(full[2])
    assert profiles.type_ratios == pytest.approx(np.log([[2, 1.2, 0.4], [0.4, 0.4, 1.6]]))


@pytest.mark.parametrize("seed", range(3))
def test_log_ratios_are_those_of_a_loop_and_of_counts_with_one_less(seed):
    profiles = profiles_of(12, seed)
    counts = profiles.counts.toarray()
    cells = np.array([0, 3, 3, 11, 7])
    full, without = profiles.log_ratios(cells)
    for row, c in enumerate(cells):
        for g in range(counts.shape[1]):
            share = sum(profiles.membership[c, k] * profiles.types[k, g] for k in range(len(profiles.types)))

            def ratio(own: float, depth: float, share=share, g=g) -> float:
                return math.log((own + PRIOR * share) / (depth + PRIOR) / profiles.mean[g])

            assert full[row, g] == pytest.approx(ratio(counts[c, g], counts[c].sum()), abs=1e-5)
            if counts[c, g]:
                expected = ratio(counts[c, g] - 1, counts[c].sum() - 1)
                assert without[row, g] == pytest.approx(expected, abs=1e-5)


def test_shares_of_a_cell_sum_to_one():
    profiles = profiles_of(30, 4)
    full, _ = profiles.log_ratios(np.arange(30))
    assert (np.exp(full.astype(float)) * profiles.mean).sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_planted_types_are_found(seed):
    counts, kind, profile = planted(seed)
    found = find_profiles(counts)
    check_shares(found, *counts.shape)
    best = found.membership.argmax(1)
    pure = sum(np.bincount(kind[best == k]).max() for k in np.unique(best))  # types may be cut in two
    assert pure / len(kind) > 0.93
    expected = found.membership @ found.types
    alike = np.array([[np.corrcoef(one, other)[0, 1] for other in profile] for one in expected])
    assert (alike.argmax(1) == kind).mean() > 0.93


def test_the_types_of_two_halves_of_a_slide_agree():
    counts, kind, _ = planted(1, cells=100, types=4)
    assert len(find_profiles(counts).types) == 100 // CELLS_A_TYPE == 4
    assert adjusted_rand_score(kind, find_profiles(counts).membership.argmax(1)) > 0.8


def test_the_number_of_types_grows_with_the_cells_and_has_an_end():
    for cells, expected in ((10, 1), (60, 2), (1000, MOST_TYPES)):
        assert len(find_profiles(planted(0, cells=cells)[0]).types) == expected


def test_the_same_seed_gives_the_same_bits():
    counts = planted(5)[0]
    one, other = find_profiles(counts, seed=3), find_profiles(counts.copy(), seed=3)
    for name in ("types", "membership", "mean"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_renaming_genes_renames_the_profiles_and_no_more():
    counts = planted(6)[0]
    order = np.random.default_rng(0).permutation(counts.shape[1])
    one, other = find_profiles(counts), find_profiles(counts[:, order])
    assert other.membership == pytest.approx(one.membership, abs=1e-6)
    assert other.types == pytest.approx(one.types[:, order], abs=1e-8)
    assert other.mean == pytest.approx(one.mean[order])


def test_shallow_cells_get_a_type_but_define_none(monkeypatch):
    counts, kind, _ = planted(2)
    shallow = np.zeros((50, counts.shape[1]))
    shallow[np.arange(50), np.random.default_rng(0).integers(0, counts.shape[1], 50)] = 7
    both = sparse.vstack([counts, sparse.csr_matrix(shallow)]).tocsr()
    found = find_profiles(both)
    check_shares(found, *both.shape)
    best = found.membership[: len(kind)].argmax(1)
    assert sum(np.bincount(kind[best == k]).max() for k in np.unique(best)) / len(kind) > 0.9
    few = find_profiles(sparse.csr_matrix(shallow))
    assert few.membership.tolist() == [[1.0]] * 50  # no cell is deep enough, so there is one type
    assert few.types[0] == pytest.approx(few.mean)


def test_only_so_many_cells_define_the_types(monkeypatch):
    counts, kind, _ = planted(3)
    monkeypatch.setattr("tissuegraph.segmentation.pretrained.cell_profiles.MOST_CELLS", 150)
    found, again = find_profiles(counts, seed=1), find_profiles(counts, seed=1)
    assert len(found.types) == 150 // CELLS_A_TYPE
    assert found.membership.tobytes() == again.membership.tobytes()
    best = found.membership.argmax(1)
    assert sum(np.bincount(kind[best == k]).max() for k in np.unique(best)) / len(kind) > 0.9


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((5, 3)),
        np.zeros((1, 3)),
        np.full((1, 3), 20.0),
        np.full((60, 1), 20.0),
        np.full((60, 4), 20.0),
        np.eye(60) * 20,
        np.vstack([np.zeros((30, 4)), np.full((60, 4), 9.0)]),
        np.zeros((0, 3)),
    ],
    ids=["no counts", "one cell without", "one cell", "one gene", "all alike", "a gene each", "half", "none"],
)
def test_odd_counts_give_finite_profiles_without_a_warning(counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_profiles(sparse.csr_matrix(counts))
        check_shares(found, *counts.shape)
        for ratios in (*found.log_ratios(np.arange(len(counts))), found.type_ratios):
            assert np.isfinite(ratios).all()


def test_a_gene_without_counts_speaks_for_no_cell():
    counts = planted(4)[0].toarray()
    counts[:, 7] = 0
    full, without = find_profiles(sparse.csr_matrix(counts)).log_ratios(np.arange(len(counts)))
    assert full[:, 7].max() <= 0
    assert np.isfinite(full).all()
    assert np.isfinite(without).all()


def reference_of(profile: np.ndarray) -> ReferenceProfiles:
    return ReferenceProfiles(tuple(f"type {number}" for number in range(len(profile))), np.array(profile))


def divergence(true: np.ndarray, found: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of what is expected of the cells from the truth."""
    return float((true * np.log(true / found)).sum(1).mean())


def misfit(found: CellProfiles, profile: np.ndarray, kind: np.ndarray) -> float:
    return divergence(profile[kind], found.membership @ found.types)


def other_platform(profile: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same types, seen by a platform with other efficiencies, in counts that are no shares."""
    return 1e4 * profile * np.exp(np.random.default_rng(seed).normal(0, 0.8, profile.shape[1]))


@pytest.mark.parametrize("seed", range(3))
def test_a_reference_helps_where_counts_are_few(seed):
    counts, kind, profile = planted(seed, cells=250, depth=12, types=6)
    found = find_profiles(counts, reference=reference_of(other_platform(profile)))
    check_shares(found, *counts.shape)
    assert len(found.types) == 6
    assert misfit(found, profile, kind) < 0.7 * misfit(find_profiles(counts), profile, kind)
    assert (found.membership.argmax(1) == kind).mean() > 0.8


def test_the_efficiency_of_a_platform_is_found():
    counts, kind, profile = planted(0, cells=400, depth=60)
    same = find_profiles(counts, reference=reference_of(profile))
    other = find_profiles(counts, reference=reference_of(other_platform(profile)))
    assert misfit(same, profile, kind) < 0.03
    assert misfit(other, profile, kind) < 0.04
    assert (other.membership.argmax(1) == same.membership.argmax(1)).mean() > 0.98


def test_the_scale_of_a_reference_and_of_each_of_its_types_plays_no_role():
    counts, _, profile = planted(1)
    one = find_profiles(counts, reference=reference_of(profile))
    other = find_profiles(counts, reference=reference_of(profile * [[1.0], [7], [1e5], [1e-4]]))
    assert other.types == pytest.approx(one.types)
    assert other.membership == pytest.approx(one.membership)


def test_genes_that_the_reference_lacks_come_from_the_slide():
    counts, kind, profile = planted(2, cells=400, depth=40)
    part = profile.copy()
    part[:, ::3] = np.nan
    part[1, 1:9] = np.nan  # a table may miss a value, too
    part[:, 4] = 0  # never seen at all, which on the slide it is
    found = find_profiles(counts, reference=reference_of(part))
    check_shares(found, *counts.shape)
    assert (found.membership.argmax(1) == kind).mean() > 0.93
    assert misfit(found, profile, kind) < 0.06
    unknown = np.log(found.types[:, ::3] / found.mean[::3]).ravel()
    assert np.corrcoef(unknown, np.log(profile[:, ::3] / found.mean[::3]).ravel())[0, 1] > 0.9


def test_a_gene_that_no_one_saw_speaks_for_no_type():
    counts, _, profile = planted(3)
    counts = counts.toarray()
    counts[:, 5] = 0
    profile[:, 5] = np.nan
    found = find_profiles(sparse.csr_matrix(counts), reference=reference_of(profile))
    assert np.abs(found.type_ratios[:, 5]).max() < 0.7  # a fold of two at most, for so little was expected


def test_types_that_are_not_on_the_slide_are_left_out():
    counts, kind, profile = planted(4, types=4)
    more = np.random.default_rng(9).gamma(1, 1, (12, profile.shape[1])) ** 2
    found = find_profiles(counts, reference=reference_of(np.vstack([profile, more])))
    assert 4 <= len(found.types) <= 8
    assert (found.membership.argmax(1) == kind).mean() > 0.95


def test_types_that_the_reference_lacks_are_found_beside_it():
    counts, kind, profile = planted(5, cells=400, depth=60, types=5)
    whole = find_profiles(counts, reference=reference_of(profile))
    assert len(whole.types) == 5
    found = find_profiles(counts, reference=reference_of(profile[:3]))
    assert 5 <= len(found.types) <= 3 + MOST_FREE_TYPES
    assert misfit(found, profile, kind) < 0.1
    known = kind < 3
    assert (found.membership.argmax(1) == kind)[known].mean() > 0.95
    assert (found.membership.argmax(1) >= 3)[~known].mean() > 0.95


def test_the_same_reference_gives_the_same_bits():
    counts, _, profile = planted(6)
    one, other = (find_profiles(counts.copy(), reference=reference_of(profile[:3])) for _ in range(2))
    for name in ("types", "membership", "mean"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@pytest.mark.parametrize("cells", [np.zeros((0, 4)), np.zeros((3, 4)), np.full((60, 4), 9.0), np.eye(4) * 90])
@pytest.mark.parametrize(
    "profile",
    [
        [[1.0, 2, 3, 4]],
        [[1.0, 0, 0, 0], [0, 1, 0, 0]],
        [[np.nan, 1, 1, 1], [1, np.nan, np.nan, np.nan], [0, 0, 0, np.nan]],
        [[np.nan, np.nan, 5, 0], [np.nan] * 4],
    ],
    ids=["one type", "one gene each", "hardly known", "nothing known of one"],
)
def test_odd_references_give_finite_profiles_without_a_warning(cells, profile):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_profiles(sparse.csr_matrix(cells), reference=reference_of(np.array(profile)))
        check_shares(found, *cells.shape)
        for ratios in (*found.log_ratios(np.arange(len(cells))), found.type_ratios):
            assert np.isfinite(ratios).all()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\), expected \(2, 4\)"),
        (np.zeros((2, 4)), "expresses none"),
        (np.full((2, 4), np.nan), "expresses none"),
        (np.zeros((0, 4)), "expresses none"),
    ],
)
def test_a_reference_that_says_nothing_is_refused(profile, message):
    with pytest.raises(InputError, match=message):
        find_profiles(sparse.csr_matrix(np.ones((5, 4))), reference=reference_of(profile))
