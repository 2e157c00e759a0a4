"""The evidence for each pair: every column against a plain loop, and what must not matter to any."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from drawn_pairs import GENES, Drawn, drawn, ground_of, nuclei, pairs_on, profiles_of
from scipy import sparse
from shapely import affinity

from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.pretrained.evidence import (
    EXPRESSION,
    FIRST_ROUND,
    GEOMETRY,
    Ground,
    expression,
    first_evidence,
    geometry,
)
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs

SEEDS = range(2)


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def clip(value: float, most: float) -> float:
    return max(-most, min(most, value))


def signed(outline: shapely.Polygon, point: shapely.Point) -> float:
    distance = outline.exterior.distance(point)
    return -distance if outline.contains(point) else distance


def stretched(outline: shapely.Polygon, point: shapely.Point, angle: float, ratio: float, power: float):
    """Turn the axis to x, then shrink along x and stretch along y."""
    stretch = min(max(ratio**power, 1.0), 4.0)
    both = [
        affinity.scale(
            affinity.rotate(one, -angle, origin=(0, 0), use_radians=True),
            1 / math.sqrt(stretch),
            math.sqrt(stretch),
            origin=(0, 0),
        )
        for one in (outline, point)
    ]
    return signed(*both)


def over_rivals(values: dict[int, float], tx: np.ndarray) -> dict[int, float]:
    """How far the value of each pair is above the best other of its transcript."""
    return {
        p: value - max((values[q] for q in values if q != p and tx[q] == tx[p]), default=-math.inf)
        for p, value in values.items()
    }


def geometry_by_loop(pairs: TilePairs, ground: Ground) -> np.ndarray:
    distances: list[dict[int, float]] = [{}, {}, {}]
    for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True)):
        number, point = pairs.cells[c], shapely.Point(pairs.positions[i])
        outline, axes = ground.outlines[number], ground.axes
        distances[0][p] = signed(outline, point)
        for column, power in ((1, 4.5), (2, 9.0)):
            axis = (axes.angle[number], axes.ratio[number])
            distances[column][p] = stretched(outline, point, *axis, power)
    leads = [over_rivals({p: -d for p, d in one.items()}, pairs.tx) for one in distances]
    rows = []
    for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True)):
        number = pairs.cells[c]
        outline = ground.outlines[number]
        offset = math.dist(pairs.positions[i], (outline.centroid.x, outline.centroid.y))
        rows.append(
            [
                *(one[p] for one in distances),
                *(clip(one[p], 20) for one in leads),
                offset / math.sqrt(outline.area / math.pi),
                math.log(outline.area / 40),
                math.log(ground.spacing[number] / 10),
                math.log(ground.axes.ratio[number]),
                (pairs.tx == i).sum() / 8,
            ]
        )
    return np.array(rows)


def expression_by_loop(one: Drawn, owner: np.ndarray | None = None) -> np.ndarray:
    pairs, profiles = one.pairs, one.profiles
    owner = pairs.nuclear if owner is None else owner
    counts, types = profiles.counts.toarray(), profiles.types

    @functools.cache
    def ratio(c: int, j: int) -> float:
        """Evidence of transcript j for cell c, without j itself."""
        number, gene = pairs.cells[c], pairs.tokens[j]
        itself = float(owner[j] == c)
        own, depth = max(counts[number, gene] - itself, 0), max(counts[number].sum() - itself, 0)
        share = sum(m * t for m, t in zip(profiles.membership[number], types[:, gene], strict=True))
        return math.log((own + 30 * share) / (depth + 30) / profiles.mean[gene])

    columns: list[dict[int, float]] = [{} for _ in range(7)]
    rest = {}
    for p, (i, c) in enumerate(zip(pairs.tx, pairs.cell, strict=True)):
        near = pairs.neighbours[pairs.first_neighbour[i] : pairs.first_neighbour[i + 1]].tolist()
        values = [ratio(c, j) for j in near]
        outline = one.ground.outlines[pairs.cells[c]]
        toward = np.array([outline.centroid.x, outline.centroid.y]) - pairs.positions[i]
        cosines = []
        for j in near:
            way = pairs.positions[j] - pairs.positions[i]
            cosines.append(way @ toward / (np.linalg.norm(way) * np.linalg.norm(toward)))
        to = [v for v, cosine in zip(values, cosines, strict=True) if cosine > 0.4]
        away = [v for v, cosine in zip(values, cosines, strict=True) if cosine < -0.4]
        found = (
            ratio(c, i), mean(values[:6]), mean(values[:15]), mean(values),
            sum(to) / (len(to) + 3), sum(away) / (len(away) + 3),
            sum(owner[j] == c for j in near[:12]) / 12,
        )  # fmt: skip
        for column, value in zip(columns, found, strict=True):
            column[p] = value
        by_type = [
            mean(math.log(types[k, pairs.tokens[j]] / profiles.mean[pairs.tokens[j]]) for j in near[:25])
            for k in range(len(types))
        ]
        own_type = sum(m * t for m, t in zip(profiles.membership[pairs.cells[c]], by_type, strict=True))
        depth = counts[pairs.cells[c]].sum()
        rest[p] = (max(by_type) - own_type, max(by_type) - mean(values), math.log1p(depth))
    leads = [over_rivals(columns[column], pairs.tx) for column in (0, 2, 3)]
    return np.array(
        [
            [*(one[p] for one in columns), *(clip(one[p], 6) for one in leads), *rest[p]]
            for p in range(len(pairs.tx))
        ]
    )


def check_columns(found: np.ndarray, expected: np.ndarray, names: tuple[str, ...], atol: float) -> None:
    assert found.shape == expected.shape == (len(found), len(names))
    for column, name in enumerate(names):
        np.testing.assert_allclose(found[:, column], expected[:, column], atol=atol, err_msg=name)
        if name not in ("candidates",):
            assert np.ptp(found[:, column]) > 0, name


@pytest.mark.parametrize("seed", SEEDS)
def test_geometry_is_that_of_a_loop(seed):
    one = drawn(seed)
    expected = geometry_by_loop(one.pairs, one.ground)
    check_columns(geometry(one.pairs, one.ground), expected, GEOMETRY, 1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_expression_is_that_of_a_loop(seed):
    one = drawn(seed)
    assert (one.pairs.nuclear >= 0).any()
    found = expression(one.pairs, one.ground, one.profiles)
    check_columns(found, expression_by_loop(one), EXPRESSION, 1e-4)


def test_expression_with_other_owners_is_that_of_a_loop():
    one = drawn(3)
    owner = np.random.default_rng(0).integers(-1, len(one.pairs.cells), len(one.pairs.tokens))
    found = expression(one.pairs, one.ground, one.profiles, owner=owner)
    check_columns(found, expression_by_loop(one, owner), EXPRESSION, 1e-4)
    assert np.abs(found - expression(one.pairs, one.ground, one.profiles)).max() > 0.01


def test_the_first_round_sees_both_and_the_surroundings():
    one = drawn(0)
    found = first_evidence(one.pairs, one.ground, one.profiles)
    assert found.dtype == np.float32
    assert found.shape == (len(one.pairs.tx), len(FIRST_ROUND))
    assert len(set(FIRST_ROUND)) == len(FIRST_ROUND)
    first, second = geometry(one.pairs, one.ground), expression(one.pairs, one.ground, one.profiles)
    assert found[:, : len(GEOMETRY)] == pytest.approx(first, abs=1e-5)
    assert found[:, len(GEOMETRY) : -4] == pytest.approx(second, abs=1e-5)
    depths = one.profiles.counts.toarray().sum(1)
    slide = [math.log1p(np.median(depths)), math.log(np.median(one.ground.spacing) / 10), math.log(2.5 + 0.3)]
    for row, i in zip(found, one.pairs.tx, strict=True):
        assert row[-4:] == pytest.approx([math.log(one.pairs.reach[i] + 0.3), *slide], abs=1e-5)


def test_a_transcript_is_no_evidence_for_its_own_cell_by_having_been_counted():
    outlines = shapely.box([0, 20], [0, 0], [10, 30], [10, 10])
    positions = [(5, 5), (6, 5), (25, 5)]
    tokens = np.array([0, 1, 1])
    pairs = pairs_on(positions, outlines, tokens=tokens)
    ground = ground_of(outlines, 0)
    alone = sparse.csr_matrix(np.array([[1.0, 1, 0], [0, 1, 0]]))
    profiles = replace(profiles_of(2, 0, genes=3), counts=alone)
    empty = replace(profiles, counts=sparse.csr_matrix((2, 3)))
    own = (pairs.tx == 2) & (pairs.cell == 1)  # all that its cell holds is the transcript itself
    found = expression(pairs, ground, profiles)[own, 0]
    assert found == pytest.approx(expression(pairs, ground, empty)[own, 0])
    rival = (pairs.tx == 1) & (pairs.cell == 1)  # cell 1 does hold this gene
    assert expression(pairs, ground, profiles)[rival, 0] > expression(pairs, ground, empty)[rival, 0]


def moved(one: Drawn, place, turn: float = 0.0) -> Drawn:
    """The same slide elsewhere: `place` maps positions, the axes turn by `turn` radians."""
    outlines = shapely.transform(one.ground.outlines, place)
    pairs = pairs_on(
        place(one.pairs.positions), outlines[one.pairs.cells], tokens=one.pairs.tokens, cells=one.pairs.cells
    )
    axes = LocalAxes(one.ground.axes.angle + turn, one.ground.axes.ratio)
    centres = place(one.ground.centres)
    ground = replace(one.ground, outlines=outlines, centres=centres, areas=shapely.area(outlines), axes=axes)
    return Drawn(pairs, ground, one.profiles)


def same_evidence(one: Drawn, other: Drawn, atol: float = 1e-4) -> None:
    assert other.pairs.tx.tolist() == one.pairs.tx.tolist()
    assert other.pairs.cell.tolist() == one.pairs.cell.tolist()
    before = first_evidence(one.pairs, one.ground, one.profiles)
    after = first_evidence(other.pairs, other.ground, other.profiles)
    np.testing.assert_allclose(after, before, atol=atol)


@pytest.mark.parametrize("shift", [(1000.0, -300.0), (50_000.0, 20_000.0)])
def test_where_the_slide_lies_does_not_matter(shift):
    one = drawn(1)
    same_evidence(one, moved(one, lambda at: at + np.array(shift)))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_how_the_slide_is_turned_does_not_matter(quarters):
    one = drawn(2)
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    turned = moved(one, lambda at: at @ np.array([[cos, sin], [-sin, cos]]), quarters * np.pi / 2)
    same_evidence(one, turned)
    wrong = replace(turned, ground=replace(turned.ground, axes=one.ground.axes))
    if quarters != 2:  # an axis has no head
        with pytest.raises(AssertionError):
            same_evidence(one, wrong)


def test_no_gene_is_known():
    one = drawn(3)
    order = np.random.default_rng(0).permutation(GENES)  # new number of each gene
    back = np.argsort(order)
    profiles = replace(
        one.profiles,
        counts=one.profiles.counts[:, back],
        types=one.profiles.types[:, back],
        mean=one.profiles.mean[back],
    )
    other = Drawn(replace(one.pairs, tokens=order[one.pairs.tokens]), one.ground, profiles)
    same_evidence(one, other, 1e-5)


def test_the_order_of_nuclei_does_not_matter():
    one = drawn(4)
    m = len(one.ground.outlines)
    order = np.random.default_rng(0).permutation(m)  # new number of each nucleus
    back = np.argsort(order)
    ground = replace(
        one.ground,
        outlines=one.ground.outlines[back],
        centres=one.ground.centres[back],
        areas=one.ground.areas[back],
        spacing=one.ground.spacing[back],
        axes=LocalAxes(one.ground.axes.angle[back], one.ground.axes.ratio[back]),
    )
    profiles = replace(
        one.profiles, counts=one.profiles.counts[back], membership=one.profiles.membership[back]
    )
    cells = np.sort(order[one.pairs.cells])
    pairs = pairs_on(one.pairs.positions, ground.outlines[cells], tokens=one.pairs.tokens, cells=cells)
    before = first_evidence(one.pairs, one.ground, one.profiles)
    after = first_evidence(pairs, ground, profiles)
    assert pairs.tx.tolist() == one.pairs.tx.tolist()
    of_before = {(i, order[one.pairs.cells[c]]): p for p, (i, c) in enumerate(_tx_cell(one.pairs))}
    for p, (i, c) in enumerate(_tx_cell(pairs)):
        assert after[p] == pytest.approx(before[of_before[i, cells[c]]], abs=1e-5)


def _tx_cell(pairs: TilePairs) -> list[tuple[int, int]]:
    return list(zip(pairs.tx.tolist(), pairs.cell.tolist(), strict=True))


def test_the_order_of_transcripts_does_not_matter():
    one = drawn(5)
    order = np.random.default_rng(0).permutation(len(one.pairs.tokens))
    outlines = one.ground.outlines[one.pairs.cells]
    pairs = pairs_on(
        one.pairs.positions[order], outlines, tokens=one.pairs.tokens[order], cells=one.pairs.cells
    )
    before = first_evidence(one.pairs, one.ground, one.profiles)
    after = first_evidence(pairs, one.ground, one.profiles)
    place = np.concatenate([np.flatnonzero(one.pairs.tx == i) for i in order])
    np.testing.assert_allclose(after, before[place], atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 20])
@pytest.mark.parametrize("m", [0, 1, 6])
def test_little_to_see_gives_finite_evidence(n, m):
    outlines = nuclei(0, 6, 20.0)
    positions = np.random.default_rng(0).uniform(0, 20, (n, 2))
    pairs = pairs_on(positions, outlines[:m], cells=np.arange(m))
    found = first_evidence(pairs, ground_of(outlines, 0), profiles_of(6, 0))
    assert found.shape == (len(pairs.tx), len(FIRST_ROUND))
    assert np.isfinite(found).all()


def test_coinciding_transcripts_in_the_middle_of_a_nucleus_give_finite_evidence():
    outlines = nuclei(0, 1, 20.0)
    centre = shapely.get_coordinates(shapely.centroid(outlines))
    pairs = pairs_on(np.repeat(centre, 30, 0), outlines)
    found = first_evidence(pairs, ground_of(outlines, 0), profiles_of(1, 0))
    assert np.isfinite(found).all()
    towards, away = (FIRST_ROUND.index(name) for name in ("towards the centre", "away from it"))
    assert (found[:, [towards, away]] == 0).all()
