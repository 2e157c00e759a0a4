"""Cells as sets of transcripts, adjusted Rand index and calibration, against a plain reference."""

from __future__ import annotations

import numpy as np
import plain
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation import (
    KINDS,
    adjusted_rand,
    expected_calibration_error,
    kinds_of_transcripts,
    match_one_to_one,
    overlaps,
    reliability,
    score_cells,
)

codes = st.integers(-1, 4)
assignments = st.lists(st.tuples(codes, codes), min_size=1, max_size=50)


def columns(rows, *first):
    return np.array([*first, *rows], dtype=np.int64).T


def test_cells_by_hand():
    #           a a a a | b b b b | c c | background
    true = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, -1]
    assigned = [7, 7, 7, -1, 5, 5, 7, 7, 5, -1, 5]
    #      iou: a and 7: 3 / 6; b and 5: 2 / 6, b and 7: 2 / 7; c and 5: 1 / 5; none is above a half
    scores = score_cells(np.array(true), np.array(assigned))
    assert scores.iou == pytest.approx((3 / 6 + 2 / 6 + 1 / 5) / 3)
    assert scores.cell_f1 == 0
    assigned[6] = 5  # now 7 is 3 of a and 1 of b, 5 is 3 of b, one of c and one of the background
    scores = score_cells(np.array(true), np.array(assigned))
    assert scores.iou == pytest.approx((3 / 5 + 3 / 6 + 1 / 6) / 3)
    assert scores.cell_f1 == 2 * 1 / (3 + 2)


def test_two_halves_of_a_cell_find_none():
    scores = score_cells(np.zeros(4, int), np.array([0, 0, 1, 1]))
    assert (scores.iou, scores.cell_f1) == (0.5, 0)


def test_the_toy_cells_cut_at_the_nucleus():
    scores = score_cells(toy.OWNER, np.where(toy.NUCLEAR, toy.OWNER, -1))
    assert (scores.iou, scores.cell_f1) == (0.5, 0)  # half of each cell lies in its nucleus
    assert adjusted_rand(toy.OWNER, toy.OWNER) == 1


@settings(max_examples=150, deadline=None)
@given(assignments)
def test_cells_equal_the_plain_reference(rows):
    true, assigned = columns(rows, (0, 0))
    scores = score_cells(true, assigned)
    assert (scores.iou, scores.cell_f1) == pytest.approx(plain.cells(true.tolist(), assigned.tolist()))


@settings(max_examples=150, deadline=None)
@given(assignments)
def test_adjusted_rand_equals_the_plain_reference(rows):
    first, second = columns(rows)
    wanted = plain.adjusted_rand(first.tolist(), second.tolist())
    assert adjusted_rand(first, second) == pytest.approx(wanted, abs=1e-12)
    assert adjusted_rand(second, first) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(assignments, st.permutations(range(5)), st.permutations(range(5)), st.randoms(use_true_random=False))
def test_names_and_order_change_nothing(rows, true_names, assigned_names, random):
    true, assigned = columns(rows, (0, 0))
    wanted = score_cells(true, assigned), adjusted_rand(true, assigned)
    order = list(range(len(true)))
    random.shuffle(order)
    true, assigned = (
        np.array([*true_names, -1])[true][order],
        np.array([*assigned_names, -1])[assigned][order],
    )
    scores = score_cells(true, assigned)
    assert (scores.iou, scores.cell_f1) == pytest.approx((wanted[0].iou, wanted[0].cell_f1))
    assert adjusted_rand(true, assigned) == pytest.approx(wanted[1])


def test_without_true_cells_there_is_nothing_to_find():
    with pytest.raises(InputError, match="no transcript belongs to a true cell"):
        score_cells(np.array([-1, -1]), np.array([0, -1]))


def test_leaving_all_out_is_no_agreement():
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.full(4, -1)) == 0
    assert score_cells(np.array([0, 0, 1, 1]), np.full(4, -1)).cell_f1 == 0


def test_cells_are_matched_once_the_largest_overlap_first():
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 1, 1])
    pairs = overlaps(first, second)
    assert pairs.count.tolist() == [2, 1, 1, 1, 1]  # 0-0, 0-1, 1-0, 1-1, 2-1
    assert pairs.pair_of_item.tolist() == [0, 0, 1, 2, 3, 4]
    size = np.array([3, 3, 3, 3, 2])
    # 0-0 first; 1-1 and 2-1 are equally large, but 2-1 has fewer transcripts in all
    assert match_one_to_one(pairs, size).tolist() == [True, False, False, False, True]
    # were they equal in that too, the one that comes first in the table
    assert match_one_to_one(pairs, np.ones(5, int)).tolist() == [True, False, False, True, False]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([1, 2, 8, 16]),
)
def test_calibration_equals_the_plain_reference(items, bins):
    probability, correct = zip(*items, strict=True)
    error = expected_calibration_error(probability, correct, bins=bins, min_items=1)
    assert error == pytest.approx(plain.calibration_error(probability, correct, bins), abs=1e-12)
    curve = reliability(probability, correct, bins=bins)
    assert curve.items.sum() == len(items)
    assert float(curve.promised @ curve.items) == pytest.approx(sum(probability))
    assert float(curve.true @ curve.items) == pytest.approx(sum(correct))


def test_reliability_by_hand():
    curve = reliability([0.1, 0.3, 0.3, 1.0], [False, True, False, True], bins=4)
    assert curve.promised == pytest.approx([0.1, 0.3, 1.0])  # the third quarter has none
    assert curve.true.tolist() == [0, 0.5, 1]
    assert curve.items.tolist() == [1, 2, 1]


def test_kinds_by_hand():
    cell = np.array([0, 0, 1, 1, 2, -1, 0, 1, 2, 0, -1])
    inside = np.array([0, -1, 0, -1, -1, 0, 0, 0, 1, -1, -1])
    gene = np.array([3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])  # gene 3 once of eleven, 0 and 2 never
    found = kinds_of_transcripts(cell, inside, gene, np.array([True, True, False]))
    assert tuple(found) == KINDS
    members = {kind: np.flatnonzero(member).tolist() for kind, member in found.items()}
    # transcript 8 lies in the nucleus of another cell, but was given to one without
    wanted = {"nuclear": [0, 2, 6, 7], "cytoplasmic": [1, 3, 9], "rare genes": [0], "fragments": [4, 8]}
    assert members == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 2), st.integers(0, 20)), min_size=1, max_size=80)
)
def test_each_assigned_transcript_is_of_one_place_and_rare_genes_are_few(rows):
    cell, inside, gene = columns(rows)
    found = kinds_of_transcripts(cell, inside, gene, np.arange(5) < 3)
    placed = sum(found[kind].astype(int) for kind in ("nuclear", "cytoplasmic", "fragments"))
    assert placed.tolist() == (cell >= 0).astype(int).tolist()
    rare, others = (set(gene[member].tolist()) for member in (found["rare genes"], cell >= 0))
    counts = np.bincount(gene)
    assert sum(counts[one] for one in rare) <= len(rows) / 10
    assert all(counts[one] <= counts[other] for one in rare for other in others - rare)
