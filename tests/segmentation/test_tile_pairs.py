"""Candidate pairs and neighbours of a tile, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from drawn_pairs import drawn, nuclei, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.segmentation.pretrained.params import (
    CANDIDATES,
    MAX_DISTANCE,
    NEIGHBOUR_DISTANCE,
    NEIGHBOURS,
    NUCLEAR_DISTANCE,
)
from tissuegraph.segmentation.pretrained.rounds import most_likely
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs, ahead, pairs_heard, tile_pairs

NOTHING = np.empty(0, object)


def signed(outline: shapely.Polygon, x: float, y: float) -> float:
    point = shapely.Point(x, y)
    distance = outline.exterior.distance(point)
    return -distance if outline.contains(point) else distance


@pytest.mark.parametrize("seed", range(3))
def test_candidates_are_the_nearest_nuclei_in_order(seed):
    outlines = nuclei(seed, 20, 60.0)
    positions = np.random.default_rng(seed).uniform(-30, 90, (80, 2))
    pairs = pairs_on(positions, outlines)
    assert (np.diff(pairs.tx) >= 0).all()
    for i, (x, y) in enumerate(positions):
        own = slice(pairs.first[i], pairs.first[i + 1])
        assert (pairs.tx[own] == i).all()
        every = sorted((signed(outline, x, y), c) for c, outline in enumerate(outlines))
        expected = [(d, c) for d, c in every if d <= MAX_DISTANCE][:CANDIDATES]
        assert pairs.cell[own].tolist() == [c for _, c in expected]
        assert pairs.distance[own] == pytest.approx([d for d, _ in expected], abs=1e-5)
    assert pairs.first[-1] == len(pairs.tx)
    assert set(np.diff(pairs.first)) >= {0, CANDIDATES}


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_the_nearest_transcripts_in_order(seed):
    pairs = drawn(seed).pairs
    for i, (x, y) in enumerate(pairs.positions):
        apart = [math.hypot(x - a, y - b) for a, b in pairs.positions]
        every = sorted((d, j) for j, d in enumerate(apart) if j != i and d <= NEIGHBOUR_DISTANCE)[:NEIGHBOURS]
        own = pairs.neighbours[pairs.first_neighbour[i] : pairs.first_neighbour[i + 1]]
        assert own.tolist() == [j for _, j in every]
        tenth = every[9][0] if len(every) > 9 else NEIGHBOUR_DISTANCE
        assert pairs.reach[i] == pytest.approx(tenth)
    degree = np.diff(pairs.first_neighbour)
    assert degree.max() == NEIGHBOURS
    assert degree.min() < NEIGHBOURS
    assert pairs.first_neighbour[-1] == len(pairs.neighbours)


def test_reach_is_that_of_the_tenth_or_the_farthest():
    ten = np.array([(float(x), 0.0) for x in (0, 1, 2, 3, 4, 5, 6, 6.5, 7, 7.5)])
    assert pairs_on(ten, NOTHING).reach[0] == NEIGHBOUR_DISTANCE  # nine others
    eleven = np.vstack([ten, [(7.75, 0.0)]])
    assert pairs_on(eleven, NOTHING).reach[0] == 7.75


@pytest.mark.parametrize("seed", range(3))
def test_nuclear_is_the_nearest_nucleus_if_it_is_near(seed):
    pairs = drawn(seed).pairs
    expected = []
    for i in range(len(pairs.tokens)):
        own = range(pairs.first[i], pairs.first[i + 1])
        near = min(own, key=lambda p: pairs.distance[p], default=None)
        is_near = near is not None and pairs.distance[near] <= NUCLEAR_DISTANCE
        expected.append(pairs.cell[near] if is_near else -1)
    assert pairs.nuclear.tolist() == expected
    assert {-1} < set(expected)


def test_nuclear_is_a_number_of_the_tile_not_of_the_slide():
    outlines = shapely.box([0, 20], [0, 0], [10, 30], [10, 10])
    pairs = pairs_on([(5, 5), (25, 5), (15, 5), (15, 100)], outlines, cells=np.array([70, 90]))
    assert pairs.nuclear.tolist() == [0, 1, -1, -1]
    assert pairs.cells[pairs.nuclear[:2]].tolist() == [70, 90]


def test_the_rim_of_a_nucleus_counts_for_it():
    outlines = shapely.box([0], [0], [10], [10])
    pairs = pairs_on([(11.0, 5), (11.01, 5), (10.5, 10.5)], outlines)
    assert pairs.nuclear.tolist() == [0, -1, 0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("n", range(5))
def test_ahead_is_the_distance_from_the_best_rival(n, sign):
    values = np.random.default_rng(n).normal(size=(n + 2, 2)).round(0)  # with ties
    found = np.zeros((n + 2, 1))
    ahead(values, 1, n + 1, 1, sign, 1.5, found, 0)
    for p in range(1, n + 1):
        rivals = [sign * values[q, 1] for q in range(1, n + 1) if q != p]
        lead = sign * values[p, 1] - max(rivals, default=-math.inf)
        assert found[p, 0] == max(-1.5, min(1.5, lead))
    assert found[[0, -1], 0].tolist() == [0, 0]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_tile_without_nuclei_has_no_pairs(n):
    pairs = pairs_on(np.arange(2.0 * n).reshape(n, 2), NOTHING)
    assert pairs.first.tolist() == [0] * (n + 1)
    assert pairs.nuclear.tolist() == [-1] * n
    cell, probability = most_likely(pairs, np.empty(0), 0.0)
    assert (cell.tolist(), probability.tolist()) == ([-1] * n, [0.0] * n)


def test_a_tile_without_transcripts_is_empty():
    pairs = pairs_on(np.empty((0, 2)), nuclei(0, 3, 20.0))
    assert pairs.first.tolist() == pairs.first_neighbour.tolist() == [0]
    assert len(pairs.tx) == len(pairs.neighbours) == len(pairs.reach) == len(pairs.nuclear) == 0


def test_one_transcript_has_candidates_and_no_neighbours():
    pairs = pairs_on([(5, 5)], shapely.box([0, 20], [0, 0], [10, 30], [10, 10]))
    assert pairs.cell.tolist() == [0, 1]
    assert pairs.distance.tolist() == [-5, 15]
    assert pairs.first_neighbour.tolist() == [0, 0]
    assert pairs.reach.tolist() == [NEIGHBOUR_DISTANCE]
    assert pairs.nuclear.tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]), max_size=3), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.3, 0.5, 0.95]),
)
def test_most_likely_is_the_first_of_the_best_that_are_likely_enough(shares, least):
    positions = [(100.0 * i, 0.0) for i in range(len(shares))]
    boxes = [
        shapely.box(x + 1 + 2 * c, 0, x + 2 + 2 * c, 1)
        for (x, _), one in zip(positions, shares, strict=True)
        for c in range(len(one))
    ]
    cells = 10 + np.arange(len(boxes))
    pairs = pairs_on(positions, np.array(boxes, object), cells=cells)
    cell, probability = most_likely(pairs, np.array([q for one in shares for q in one]), least)
    start = 10
    for i, one in enumerate(shares):
        best = max(one, default=-1.0)
        if one and best >= least:
            assert cell[i] == start + one.index(best)  # of equal ones the nearest
            assert probability[i] == best
        else:
            assert (cell[i], probability[i]) == (-1, 0)
        start += len(one)


def heard_by_loop(pairs: TilePairs, k: int) -> list[list[int]]:
    """For each pair, those of the nearest neighbours with the same cell, nearest first."""
    number = {(i, c): p for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True))}
    result = []
    for i, c in number:
        near = pairs.neighbours[pairs.first_neighbour[i] : pairs.first_neighbour[i + 1]][:k]
        result.append([number[j, c] for j in near if (j, c) in number])
    return result


def heard(pairs: TilePairs, k: int) -> list[list[int]]:
    lists = pairs_heard(pairs, k)
    assert lists.num_others == len(lists.pointer) - 1 == len(pairs.tx)
    assert (lists.neighbours.dtype, lists.pointer.dtype) == (np.int32, np.int64)
    ends = zip(lists.pointer[:-1], lists.pointer[1:], strict=True)
    return [lists.neighbours[first:end].tolist() for first, end in ends]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 25)), max_size=30),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 25)), max_size=8),
    st.integers(0, 30),
)
def test_pairs_hear_those_of_their_neighbours_with_the_same_cell(positions, corners, k):
    outlines = np.array([shapely.box(x, y, x + 3, y + 2) for x, y in corners], object)
    pairs = pairs_on(np.array(positions, float), outlines, cells=5 + 2 * np.arange(len(outlines)))
    found = heard(pairs, k)
    assert found == heard_by_loop(pairs, k)
    for p, others in enumerate(found):
        assert p not in others
        assert len(set(others)) == len(others) <= k
        assert (pairs.cell[others] == pairs.cell[p]).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("k", [1, 20, 1000])
def test_pairs_of_a_dense_tile_hear_as_many_as_a_loop(seed, k):
    pairs = drawn(seed).pairs
    found = heard(pairs, k)
    assert found == heard_by_loop(pairs, k)
    degree = {len(others) for others in found}
    assert max(degree) > min(k, 20) / 2
    if k > 20:
        assert found == heard(pairs, NEIGHBOURS)


def test_who_has_no_neighbours_hears_nobody():
    boxes = shapely.box([0, 4], [0, 0], [3, 7], [5, 5])
    pairs = pairs_on([(2, 2), (50, 2), (5, 2)], boxes)
    assert pairs.tx.tolist() == [0, 0, 2, 2]  # the second has no candidate
    assert pairs.cell.tolist() == [0, 1, 1, 0]
    assert heard(pairs, 5) == [[3], [2], [1], [0]]
    assert heard(pairs, 0) == [[]] * 4
    assert heard(pairs_on([(2, 2)], boxes), 5) == [[], []]
    assert heard(pairs_on([(50, 2), (51, 2)], boxes), 5) == []


def test_transcripts_that_are_not_asked_for_are_there_without_pairs():
    one = drawn(0)
    cells, outlines = one.pairs.cells, one.ground.outlines[one.pairs.cells]
    asked = one.pairs.positions[:, 0] < 12
    rows = np.arange(len(asked), dtype=np.uint64)
    part = tile_pairs(rows, one.pairs.tokens, one.pairs.positions, cells, outlines, asked)
    assert part.nuclear.tolist() == one.pairs.nuclear.tolist()
    for i in range(len(asked)):
        for first, values in (("first", "cell"), ("first", "distance"), ("first_neighbour", "neighbours")):
            ours, whole = (
                getattr(pairs, values)[getattr(pairs, first)[i] : getattr(pairs, first)[i + 1]].tolist()
                for pairs in (part, one.pairs)
            )
            assert ours == (whole if asked[i] else [])
