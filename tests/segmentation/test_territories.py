"""Where the cells lay after the first round: sums and distances against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from drawn_pairs import Drawn, drawn, ground_of, pairs_on

from tissuegraph.segmentation.pretrained.territories import (
    LISTENED,
    PRIOR_TRANSCRIPTS,
    PRIOR_WIDTH,
    TERRITORY,
    Territories,
    territory,
)
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs

AWAY = TERRITORY.index("distance from the cell's middle in its standard deviations")


def opinion(pairs: TilePairs, seed: int = 0) -> np.ndarray:
    """Random probabilities [P] that leave something to none, some very sure."""
    generator = np.random.default_rng(seed)
    weight = np.exp(3 * generator.normal(size=len(pairs.tx)))
    none = np.exp(generator.normal(size=len(pairs.tokens)))
    return weight / (none + np.bincount(pairs.tx, weight, len(pairs.tokens)))[pairs.tx]


def territories_by_loop(one: Drawn, q: np.ndarray, counted: np.ndarray) -> np.ndarray:
    sums = np.zeros((len(one.ground.centres), 6))
    for p, (i, c) in enumerate(zip(one.pairs.tx, one.pairs.cell, strict=True)):
        if counted[i] and q[p] > LISTENED:
            number = one.pairs.cells[c]
            x, y = one.pairs.positions[i] - one.ground.centres[number]
            sums[number] += q[p] * np.array([1, x, y, x * x, y * y, x * y])
    return sums


def territory_by_loop(one: Drawn, territories: Territories) -> dict[str, list[float]]:
    """Cells as weighted points, beside some that make a disc about the nucleus."""
    columns: dict[str, list[float]] = {name: [] for name in TERRITORY}
    for i, c in zip(one.pairs.tx, one.pairs.cell, strict=True):
        number = one.pairs.cells[c]
        weight, x, y, xx, yy, xy = territories.sums[number]
        total = weight + PRIOR_TRANSCRIPTS
        middle = np.array([x, y]) / total
        spread = PRIOR_TRANSCRIPTS * PRIOR_WIDTH**2 * one.ground.areas[number] / math.pi
        second = np.array([[xx + spread, xy], [xy, yy + spread]]) / total
        covariance = second - np.outer(middle, middle)
        away = one.pairs.positions[i] - one.ground.centres[number] - middle
        found = {
            "distance from the cell's middle in its standard deviations": math.sqrt(
                away @ np.linalg.inv(covariance) @ away
            ),
            "log area": math.log(np.linalg.det(covariance)),
            "log transcripts": math.log(total),
        }
        for name, column in columns.items():
            column.append(found[name])
    return columns


@pytest.mark.parametrize("seed", range(3))
def test_territories_are_those_of_a_loop(seed):
    one = drawn(seed)
    q = opinion(one.pairs, seed)
    counted = np.random.default_rng(seed).random(len(one.pairs.tokens)) < 0.7
    found = Territories.of(one.pairs, q, one.ground, counted)
    assert found.sums == pytest.approx(territories_by_loop(one, q, counted))
    elsewhere = np.setdiff1d(np.arange(len(one.ground.centres)), one.pairs.cells)
    assert (found.sums[elsewhere] == 0).all()
    away, expected = territory(one.pairs, one.ground, found), territory_by_loop(one, found)
    assert away.shape == (len(one.pairs.tx), len(TERRITORY))
    for column, name in enumerate(TERRITORY):
        np.testing.assert_allclose(away[:, column], expected[name], atol=1e-9, err_msg=name)
        assert np.ptp(away[:, column]) > 0, name


def test_territories_of_parts_sum_to_that_of_the_whole():
    one = drawn(1)
    q = opinion(one.pairs)
    part = np.random.default_rng(0).integers(0, 3, len(one.pairs.tokens))
    parts = [Territories.of(one.pairs, q, one.ground, part == number).sums for number in range(3)]
    whole = Territories.of(one.pairs, q, one.ground, part >= 0).sums
    assert whole[:, 0].sum() > 50
    assert sum(parts) == pytest.approx(whole)


def test_a_cell_that_nothing_is_known_of_is_a_disc_about_its_nucleus():
    outlines = np.array([shapely.Point(7, 3).buffer(4, quad_segs=200)])
    width = 4 * PRIOR_WIDTH
    pairs = pairs_on([(7 + width, 3), (7, 3 - 2 * width)], outlines)
    found = territory(pairs, ground_of(outlines, 0), Territories(np.zeros((1, 6))))
    assert found[:, AWAY] == pytest.approx([1, 2], rel=1e-3)
    assert found[:, TERRITORY.index("log area")] == pytest.approx(math.log(width**4), rel=1e-3)
    assert found[:, TERRITORY.index("log transcripts")] == pytest.approx(math.log(PRIOR_TRANSCRIPTS))


def test_many_transcripts_on_a_line_give_a_finite_distance():
    outlines = np.array([shapely.Point(0, 0).buffer(0.01)])
    positions = np.column_stack([np.linspace(0, 15, 400), np.zeros(400)])
    pairs = pairs_on(positions, outlines)
    ground = ground_of(outlines, 0)
    sums = Territories.of(pairs, np.ones(len(pairs.tx)), ground, np.ones(400, bool))
    assert np.isfinite(territory(pairs, ground, sums)).all()


def test_what_lies_on_one_side_moves_the_middle_there():
    outlines = np.array([shapely.Point(0, 0).buffer(3)])
    positions = np.column_stack([np.linspace(4, 8, 60), np.zeros(60)])
    pairs = pairs_on([*positions, (6, 0), (-6, 0)], outlines)
    ground = ground_of(outlines, 0)
    known = Territories.of(pairs, np.ones(len(pairs.tx)), ground, np.arange(62) < 60)
    toward, away = territory(pairs, ground, known)[-2:, AWAY]
    assert toward < 1 < 3 < away


@pytest.mark.parametrize(
    "turn",
    [lambda at: at @ np.array([[0.0, 1], [-1, 0]]), lambda at: at + np.array([40_000.0, -700.0])],
    ids=["turned", "moved"],
)
def test_where_the_slide_lies_and_how_it_is_turned_does_not_matter(turn):
    one = drawn(1)
    cells, q = one.pairs.cells, opinion(one.pairs)
    counted = np.ones(len(one.pairs.tokens), bool)
    outlines = shapely.transform(one.ground.outlines, turn)
    pairs = pairs_on(turn(one.pairs.positions), outlines[cells], tokens=one.pairs.tokens, cells=cells)
    assert pairs.cell.tolist() == one.pairs.cell.tolist()
    before, after = (
        territory(at, ground, Territories.of(at, q, ground, counted))
        for at, ground in ((one.pairs, one.ground), (pairs, ground_of(outlines, 1)))
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
