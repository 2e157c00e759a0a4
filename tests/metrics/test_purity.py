"""Purity without a truth, against plain loops over cells and genes, and where it is known by construction."""

from __future__ import annotations

import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tissuegraph.metrics.segmentation import (
    Markers,
    contamination,
    marker_purity,
    mutually_exclusive_coexpression,
    nucleus_correlation,
    relative_coexpression,
    sensitivity,
    spurious_coexpression,
)

TYPE_OF_GENE = [0, 0, 1, 1, -1, 2]
MARKERS = Markers(list("ABCD"), np.full((4, 6), 1 / 6), np.array(TYPE_OF_GENE))  # D has no marker


def tissue(seed, cells=60, rate=1.0):
    """Random nuclei, of which some are empty or without a type, and cells that hold more or less of them."""
    generator = np.random.default_rng(seed)
    nuclear = generator.poisson(rate * generator.uniform(0, 1.5, (cells, 1)), (cells, 6))
    kept = generator.binomial(nuclear, generator.choice([0, 0.8, 1], (cells, 1)))
    counts = kept + generator.poisson(rate, (cells, 6)) * generator.integers(0, 2, (cells, 1))
    types = generator.integers(-1, 4, cells)
    centres = generator.uniform(0, 60, (cells, 2))
    centres[generator.uniform(size=cells) < 0.1] = np.nan
    types[np.isnan(centres[:, 0])] = -1
    return sparse.csr_matrix(counts), sparse.csr_matrix(nuclear), types, centres


def listed(matrix):
    return matrix.toarray().tolist()


def equal(found, wanted):
    assert (found is None) == (wanted is None)
    if found is not None:
        assert type(found) is float
        assert found == pytest.approx(wanted, abs=1e-12)


def test_mecr_by_hand():
    #           a  b: markers of two types; c marks nothing
    counts = [[1, 0, 5], [2, 3, 0], [0, 1, 0], [0, 0, 9], [4, 1, 1]]
    markers = Markers(["A", "B"], np.full((2, 3), 1 / 3), np.array([0, 1, -1]))
    found = mutually_exclusive_coexpression(sparse.csr_matrix(counts), markers, min_cells=3)
    assert found == 2 / 4  # both in cells 1 and 4, either in all but cell 3
    assert mutually_exclusive_coexpression(sparse.csr_matrix(counts), markers, min_cells=4) is None
    half = mutually_exclusive_coexpression(sparse.csr_matrix(counts), markers, kept=0.5, min_cells=0)
    # shown a: 1/2, 3/4, 0, 0, 15/16; b: 0, 7/8, 1/2, 0, 1/2
    both = 3 / 4 * 7 / 8 + 15 / 16 / 2
    assert half == pytest.approx(both / (1 / 2 + 3 / 4 + 15 / 16 + 7 / 8 + 1 / 2 + 1 / 2 - both))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([0, 5, 30]))
def test_all_equal_the_plain_loops(seed, rate, min_cells):
    counts, nuclear, types, centres = tissue(seed, rate=rate)
    cells, inside = listed(counts), listed(nuclear)
    for kept in (1.0, 0.3, np.random.default_rng(seed).uniform(size=60)):
        found = mutually_exclusive_coexpression(counts, MARKERS, kept=kept, min_cells=min_cells)
        kept = kept if np.isscalar(kept) else list(kept)
        equal(found, plain.mecr(cells, TYPE_OF_GENE, kept, min_cells))
        found = relative_coexpression(counts, MARKERS, kept=kept, min_cells=min_cells)
        equal(found, plain.relative(cells, TYPE_OF_GENE, kept, min_cells))
    found = spurious_coexpression(counts, nuclear, MARKERS, min_cells=min_cells)
    equal(found, plain.spurious(cells, inside, TYPE_OF_GENE, min_cells))
    equal(marker_purity(counts, types, MARKERS), plain.purity(cells, types, TYPE_OF_GENE))
    equal(sensitivity(counts, types, MARKERS), plain.sensitivity(cells, types, TYPE_OF_GENE))
    found = contamination(counts, nuclear, types, centres, MARKERS)
    equal(found, plain.contamination(cells, inside, types, centres, TYPE_OF_GENE, 4))
    equal(nucleus_correlation(nuclear, counts), plain.nucleus_correlation(inside, cells))
    equal(
        nucleus_correlation(nuclear, counts, min_transcripts=1),
        plain.nucleus_correlation(inside, cells, min_transcripts=1),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_cells_and_genes_plays_no_role(seed, random):
    counts, nuclear, types, centres = tissue(seed)
    cells, genes = list(range(60)), list(range(6))
    random.shuffle(cells)
    random.shuffle(genes)
    markers = Markers(MARKERS.types, MARKERS.profiles, MARKERS.type_of_gene[genes])

    def all_of(counts, nuclear, types, centres, markers):
        return [
            mutually_exclusive_coexpression(counts, markers, kept=0.7, min_cells=5),
            relative_coexpression(counts, markers, kept=0.7, min_cells=5),
            spurious_coexpression(counts, nuclear, markers, min_cells=5),
            marker_purity(counts, types, markers),
            sensitivity(counts, types, markers),
            contamination(counts, nuclear, types, centres, markers),
            nucleus_correlation(nuclear, counts, min_transcripts=2),
        ]

    wanted = all_of(counts, nuclear, types, centres, MARKERS)
    shuffled = [one[cells][:, genes] for one in (counts, nuclear)]
    found = all_of(*shuffled, types[cells], centres[cells], markers)
    assert found == pytest.approx(wanted)


def test_thinning_is_what_chance_would_do():
    generator = np.random.default_rng(2)
    counts = generator.poisson(1.2, (300, 6))
    kept = generator.uniform(0.2, 0.9, (300, 1))
    drawn = [
        mutually_exclusive_coexpression(sparse.csr_matrix(generator.binomial(counts, kept)), MARKERS)
        for _ in range(300)
    ]
    expected = mutually_exclusive_coexpression(sparse.csr_matrix(counts), MARKERS, kept=kept[:, 0])
    # a ratio of sums: its mean differs from the ratio of means by about one in the number of cells
    assert expected == pytest.approx(np.mean(drawn), abs=0.002)
    assert np.std(drawn) > 0.005


def test_random_handfuls_co_express_as_chance_has_it():
    generator = np.random.default_rng(4)
    depth = generator.integers(5, 60, (3000, 1))
    handfuls = sparse.csr_matrix(generator.poisson(depth * np.array([0.03, 0.01, 0.02, 0.04, 0.85, 0.05])))
    assert relative_coexpression(handfuls, MARKERS) == pytest.approx(1, abs=0.04)
    assert relative_coexpression(handfuls, MARKERS, kept=0.5) == pytest.approx(1, abs=0.06)
    apart = np.zeros((300, 6), int)
    apart[np.arange(300), np.tile([0, 1, 2, 3, 5], 60)] = 5
    assert relative_coexpression(sparse.csr_matrix(apart), MARKERS) == 0


def test_keeping_nothing_leaves_nothing_to_judge():
    counts, nuclear, types, centres = tissue(0, rate=3.0)
    assert mutually_exclusive_coexpression(counts, MARKERS, kept=0.0) is None
    empty = sparse.csr_matrix(counts.shape, dtype=np.int64)
    assert mutually_exclusive_coexpression(empty, MARKERS) is None
    assert relative_coexpression(empty, MARKERS) is None
    assert spurious_coexpression(empty, nuclear, MARKERS) is None
    assert marker_purity(empty, types, MARKERS) is None
    assert sensitivity(empty, types, MARKERS) == 0
    assert contamination(empty, nuclear, types, centres, MARKERS) is None
    assert nucleus_correlation(empty, empty) is None


def test_without_known_types_there_is_no_purity():
    counts, nuclear, _, centres = tissue(0)
    unknown = np.full(60, -1)
    assert marker_purity(counts, unknown, MARKERS) is None
    assert sensitivity(counts, unknown, MARKERS) is None
    assert contamination(counts, nuclear, unknown, centres, MARKERS) is None
    assert sensitivity(counts, np.full(60, 3), MARKERS) is None  # a type without markers


def test_purity_and_sensitivity_by_hand():
    counts = sparse.csr_matrix(
        [[3, 0, 1, 0, 9, 0], [0, 0, 1, 1, 0, 2], [0, 0, 0, 0, 5, 0], [9, 9, 0, 0, 0, 0]]
    )
    types = np.array([0, 1, 0, -1])
    assert marker_purity(counts, types, MARKERS) == (3 / 4 + 2 / 4) / 2  # the third shows no marker
    assert sensitivity(counts, types, MARKERS) == (1 / 2 + 2 / 2 + 0) / 3


def test_nucleus_correlation_by_hand():
    nuclear, same = sparse.csr_matrix([[20, 0, 5], [10, 0, 0]]), sparse.csr_matrix([[20, 0, 5], [0, 10, 0]])
    assert nucleus_correlation(nuclear, same) == pytest.approx((1 - 1 / 2) / 2)
    assert nucleus_correlation(nuclear[:1], nuclear[:1]) == pytest.approx(1)
    even = sparse.csr_matrix([[7, 7, 7]])  # of a constant nothing can be said
    assert nucleus_correlation(even, nuclear[:1]) == 0


def neighbours(swapped, seed=0, pairs=400, depth=400, clean=0.0):
    """Two types side by side; of each cell's transcripts a share comes from the neighbour of the other type.

    In either type, a fifth of the transcripts are of its markers. The nuclei are clean. A share `clean` of
    the cells has no neighbour.
    """
    generator = np.random.default_rng(seed)
    rates = np.array([[0.1, 0.1, 0, 0, 0.8], [0, 0, 0.1, 0.1, 0.8]])
    types = np.tile([0, 1], pairs)
    nuclear = generator.poisson(100 * rates[types])
    own = generator.poisson((1 - swapped) * depth * rates[types])
    foreign = generator.poisson(swapped * depth * rates[1 - types])
    alone = np.repeat(generator.uniform(size=pairs) < clean, 2)
    foreign[alone], own[alone] = 0, generator.poisson(depth * rates[types[alone]])
    centres = np.column_stack([np.repeat(np.arange(pairs) * 100.0, 2), np.zeros(2 * pairs)])
    centres[1::2, 0] += np.where(alone[1::2], 50, 10)
    markers = Markers(["A", "B"], rates, np.array([0, 0, 1, 1, -1]))
    share = foreign.sum() / (own + foreign).sum()
    counts = sparse.csr_matrix(own + foreign), sparse.csr_matrix(nuclear)
    return (*counts, types, centres, markers), share


@pytest.mark.parametrize("swapped", [0.0, 0.03, 0.1, 0.3])
def test_contamination_is_the_share_that_was_swapped(swapped):
    slide, share = neighbours(swapped)
    assert contamination(*slide) == pytest.approx(share, abs=0.004, rel=0.02)
    assert share == pytest.approx(swapped, abs=0.004)


def test_contamination_counts_cells_without_foreign_neighbours_too():
    slide, share = neighbours(0.2, clean=0.5)
    assert share < 0.15
    assert contamination(*slide) == pytest.approx(share, abs=0.005)


def test_contamination_adds_up_over_types():
    """A between B and C, a tenth from each."""
    rates = np.array([[0.2, 0, 0, 0.8], [0, 0.2, 0, 0.8], [0, 0, 0.2, 0.8]])
    types = np.tile([1, 0, 2], 300)
    nuclear = np.random.default_rng(0).poisson(1000 * rates[types])
    counts = 1000 * rates[types]
    counts[types == 0] = 800 * rates[0] + 100 * rates[1] + 100 * rates[2]
    centres = np.column_stack([np.arange(900) * 10.0 + np.repeat(np.arange(300) * 100.0, 3), np.zeros(900)])
    markers = Markers(list("ABC"), rates, np.array([0, 1, 2, -1]))
    found = contamination(
        sparse.csr_matrix(counts.round().astype(int)), sparse.csr_matrix(nuclear), types, centres, markers
    )
    assert found == pytest.approx(0.2 / 3, abs=0.002)


def test_what_cells_express_themselves_is_no_contamination():
    """A third of the markers of B are expressed by A too, in nucleus and cell alike."""
    (counts, nuclear, types, centres, markers), _ = neighbours(0.0)
    leak = np.zeros((800, 5), int)
    leak[types == 0, 2:4] = 1
    counts, nuclear = counts + 4 * sparse.csr_matrix(13 * leak), nuclear + sparse.csr_matrix(13 * leak)
    assert contamination(counts, nuclear, types, centres, markers) == pytest.approx(0, abs=0.01)


def test_cells_that_are_their_nuclei_are_pure():
    _, nuclear, types, centres = tissue(3, cells=200, rate=2.0)
    assert contamination(nuclear, nuclear, types, centres, MARKERS) == 0
    assert spurious_coexpression(nuclear, nuclear, MARKERS) == 0


def test_cells_deeper_than_their_nuclei_are_not_spurious():
    generator = np.random.default_rng(0)
    types = generator.integers(0, 3, 1500)
    rate = np.where(np.array(TYPE_OF_GENE) == types[:, None], 1, 0.03) * generator.gamma(1, 1, (1500, 1))
    rate[:, 4] = 20  # the gene that marks nothing makes most of the depth, as on a slide
    nuclear = sparse.csr_matrix(generator.poisson(rate))
    counts = nuclear + sparse.csr_matrix(generator.poisson(3 * rate))
    assert spurious_coexpression(counts, nuclear, MARKERS) == pytest.approx(0, abs=0.01)
    shallow = mutually_exclusive_coexpression(nuclear, MARKERS)
    assert mutually_exclusive_coexpression(counts, MARKERS) > shallow + 0.05  # which is what depth alone does
    mixed = counts + counts[generator.permutation(1500)]
    assert spurious_coexpression(mixed, nuclear, MARKERS) > 0.04


def test_types_that_are_not_near_do_not_contaminate():
    slide, _ = neighbours(0.1)
    assert contamination(*slide, distance=9.0) is None
    assert contamination(*slide, distance=10.0) is not None
    (counts, nuclear, _, centres, markers) = slide
    assert contamination(counts, nuclear, np.zeros(800, int), centres, markers) is None
    nowhere = np.full_like(centres, np.nan)
    assert contamination(counts, nuclear, np.tile([0, 1], 400), nowhere, markers) is None


def test_markers_that_their_own_type_hardly_expresses_say_too_little():
    (counts, nuclear, types, centres, _), _ = neighbours(0.1)
    markers = Markers(["A", "B"], np.full((2, 5), 0.2), np.array([0, -1, -1, -1, -1]))
    seen = contamination(counts, nuclear, types, centres, markers)
    assert seen is not None
    diluted = nuclear + sparse.csr_matrix(np.outer(types == 0, [0, 0, 0, 0, 900]))
    assert contamination(counts, diluted, types, centres, markers) is None
