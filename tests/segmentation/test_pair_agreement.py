"""What the second round adds: every column against a plain loop, and what must not matter to any."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from drawn_pairs import Drawn, drawn, ground_of, nuclei, pairs_on, profiles_of

from tissuegraph.segmentation.pretrained.agreement import (
    AGREEMENT,
    SECOND_ROUND,
    TERRITORY,
    Territories,
    agreement,
    second_evidence,
    sure_owner,
    territory,
)
from tissuegraph.segmentation.pretrained.evidence import expression
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs

SEEDS = range(3)


def opinion(pairs: TilePairs, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random probabilities of pairs and none that sum to one for every transcript, some very sure."""
    generator = np.random.default_rng(seed)
    weight, none = (
        np.exp(3 * generator.normal(size=len(pairs.tx))),
        np.exp(generator.normal(size=len(pairs.tokens))),
    )
    total = none + np.bincount(pairs.tx, weight, len(pairs.tokens))
    return weight / total[pairs.tx], none / total


def agreement_by_loop(pairs: TilePairs, q: np.ndarray, q_none: np.ndarray) -> np.ndarray:
    thought = {(i, c): q[p] for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True))}
    rows = []
    for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True)):
        near = pairs.neighbours[pairs.first_neighbour[i] : pairs.first_neighbour[i + 1]]
        same = [thought.get((j, c), 0.0) for j in near]
        none = [q_none[j] for j in near]
        means = [sum(one) / max(len(one), 1) for one in (same[:6], same[:15], same, none[:10], none)]
        rows.append([*means, math.log((q[p] + 1e-4) / (1 - q[p] + 1e-4))])
    return np.array(rows)


def territories_by_loop(one: Drawn, q: np.ndarray, counted: np.ndarray) -> np.ndarray:
    sums = np.zeros((len(one.ground.centres), 6))
    for p, (i, c) in enumerate(zip(one.pairs.tx, one.pairs.cell, strict=True)):
        if counted[i] and q[p] > 0.3:
            number = one.pairs.cells[c]
            x, y = one.pairs.positions[i] - one.ground.centres[number]
            sums[number] += q[p] * np.array([1, x, y, x * x, y * y, x * y])
    return sums


def territory_by_loop(one: Drawn, territories: Territories) -> np.ndarray:
    """Cells as weighted points, plus eight points that make a disc of 1.1 radii of the nucleus."""
    rows = []
    for i, c in zip(one.pairs.tx, one.pairs.cell, strict=True):
        number = one.pairs.cells[c]
        weight, x, y, xx, yy, xy = territories.sums[number]
        total = weight + 8
        middle = np.array([x, y]) / total
        spread = 8 * 1.1**2 * one.ground.areas[number] / math.pi
        second = np.array([[xx + spread, xy], [xy, yy + spread]]) / total
        covariance = second - np.outer(middle, middle)
        away = one.pairs.positions[i] - one.ground.centres[number] - middle
        far = math.sqrt(away @ np.linalg.inv(covariance) @ away)
        rows.append([far, math.log(np.linalg.det(covariance)), math.log(total)])
    return np.array(rows)


def check_columns(found: np.ndarray, expected: np.ndarray, names: tuple[str, ...], atol: float) -> None:
    assert found.shape == expected.shape == (len(found), len(names))
    for column, name in enumerate(names):
        np.testing.assert_allclose(found[:, column], expected[:, column], atol=atol, err_msg=name)
        assert np.ptp(found[:, column]) > 0, name


@pytest.mark.parametrize("seed", SEEDS)
def test_agreement_is_that_of_a_loop(seed):
    pairs = drawn(seed).pairs
    q, q_none = opinion(pairs, seed)
    expected = agreement_by_loop(pairs, q, q_none)
    check_columns(agreement(pairs, q, q_none), expected, AGREEMENT, 1e-12)


def test_neighbours_that_all_agree_agree_fully():
    pairs = pairs_on([(5, 5), (6, 5), (5, 6)], shapely.box([0], [0], [10], [10]))
    found = agreement(pairs, np.ones(3), np.zeros(3))
    assert found[:, :3].tolist() == [[1, 1, 1]] * 3
    assert found[:, 3:5].tolist() == [[0, 0]] * 3
    assert found[:, 5] == pytest.approx(math.log(1.0001 / 1e-4))


def test_without_neighbours_nobody_agrees():
    pairs = pairs_on([(5, 5)], shapely.box([0], [0], [10], [10]))
    found = agreement(pairs, np.array([0.5]), np.array([0.5]))
    assert found.tolist() == [[0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_territories_are_those_of_a_loop(seed):
    one = drawn(seed)
    q, _ = opinion(one.pairs, seed)
    counted = np.random.default_rng(seed).random(len(one.pairs.tokens)) < 0.7
    found = Territories.of(one.pairs, q, one.ground, counted)
    assert found.sums == pytest.approx(territories_by_loop(one, q, counted))
    elsewhere = np.setdiff1d(np.arange(len(one.ground.centres)), one.pairs.cells)
    assert (found.sums[elsewhere] == 0).all()
    expected = territory_by_loop(one, found)
    check_columns(territory(one.pairs, one.ground, found), expected, TERRITORY, 1e-9)


def test_territories_of_parts_sum_to_that_of_the_whole():
    one = drawn(1)
    q, _ = opinion(one.pairs)
    part = np.random.default_rng(0).integers(0, 3, len(one.pairs.tokens))
    parts = [Territories.of(one.pairs, q, one.ground, part == number).sums for number in range(3)]
    whole = Territories.of(one.pairs, q, one.ground, part >= 0).sums
    assert whole[:, 0].sum() > 50
    assert sum(parts) == pytest.approx(whole)


def test_a_cell_that_nothing_is_known_of_is_a_disc_about_its_nucleus():
    outlines = np.array([shapely.Point(7, 3).buffer(4, quad_segs=200)])
    pairs = pairs_on([(7 + 4.4, 3), (7, 3 - 8.8)], outlines)
    found = territory(pairs, ground_of(outlines, 0), Territories(np.zeros((1, 6))))
    assert found[:, 0] == pytest.approx([1, 2], rel=1e-3)
    assert found[:, 1] == pytest.approx(math.log(4.4**4), rel=1e-3)
    assert found[:, 2] == pytest.approx(math.log(8))


def test_many_transcripts_on_a_line_give_a_finite_distance():
    outlines = np.array([shapely.Point(0, 0).buffer(0.01)])
    positions = np.column_stack([np.linspace(0, 15, 400), np.zeros(400)])
    pairs = pairs_on(positions, outlines)
    ground = ground_of(outlines, 0)
    sums = Territories.of(pairs, np.ones(len(pairs.tx)), ground, np.ones(400, bool))
    assert np.isfinite(territory(pairs, ground, sums)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_sure_owner_is_that_of_a_loop(seed):
    pairs = drawn(seed).pairs
    q, _ = opinion(pairs, seed)
    expected = [
        next((pairs.cell[p] for p in np.flatnonzero(pairs.tx == i) if q[p] > 0.7), -1)
        for i in range(len(pairs.tokens))
    ]
    assert sure_owner(pairs, q).tolist() == expected
    assert -1 in expected
    assert max(expected) >= 0


def test_the_second_round_sees_all_of_it():
    one = drawn(0)
    q, q_none = opinion(one.pairs)
    counted = np.ones(len(one.pairs.tokens), bool)
    known = Territories.of(one.pairs, q, one.ground, counted)
    later = profiles_of(len(one.ground.outlines), 9)
    found = second_evidence(one.pairs, q, q_none, one.ground, later, known)
    assert found.dtype == np.float32
    assert found.shape == (len(one.pairs.tx), len(SECOND_ROUND))
    assert len(set(SECOND_ROUND)) == len(SECOND_ROUND)
    parts = (
        agreement(one.pairs, q, q_none),
        territory(one.pairs, one.ground, known),
        expression(one.pairs, one.ground, later, owner=sure_owner(one.pairs, q)),
    )
    assert found == pytest.approx(np.concatenate(parts, 1), abs=1e-4)


def moved(one: Drawn, place) -> Drawn:
    """The same slide elsewhere."""
    outlines = shapely.transform(one.ground.outlines, place)
    cells = one.pairs.cells
    pairs = pairs_on(place(one.pairs.positions), outlines[cells], tokens=one.pairs.tokens, cells=cells)
    centres = place(one.ground.centres)
    return Drawn(pairs, replace(one.ground, outlines=outlines, centres=centres), one.profiles)


@pytest.mark.parametrize(
    "place",
    [
        lambda at: at + np.array([40_000.0, -700.0]),
        lambda at: at @ np.array([[0.0, 1], [-1, 0]]),
        lambda at: at @ np.array([[1.0, 0], [0, -1]]),
    ],
    ids=["moved", "turned", "mirrored"],
)
def test_where_the_slide_lies_and_how_it_is_turned_does_not_matter(place):
    one = drawn(1)
    other = moved(one, place)
    assert other.pairs.cell.tolist() == one.pairs.cell.tolist()
    q, q_none = opinion(one.pairs)
    counted = np.ones(len(one.pairs.tokens), bool)
    found = [
        second_evidence(
            each.pairs,
            q,
            q_none,
            each.ground,
            one.profiles,
            Territories.of(each.pairs, q, each.ground, counted),
        )
        for each in (one, other)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 4), (1, 0), (1, 1), (20, 0), (20, 4)])
def test_little_to_see_gives_finite_evidence(n, m):
    outlines = nuclei(0, 6, 20.0)
    pairs = pairs_on(np.random.default_rng(0).uniform(0, 20, (n, 2)), outlines[:m], cells=np.arange(m))
    ground, profiles = ground_of(outlines, 0), profiles_of(6, 0)
    q, q_none = opinion(pairs)
    known = Territories.of(pairs, q, ground, np.ones(n, bool))
    found = second_evidence(pairs, q, q_none, ground, profiles, known)
    assert found.shape == (len(pairs.tx), len(SECOND_ROUND))
    assert np.isfinite(found).all()
