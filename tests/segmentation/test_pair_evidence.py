"""The evidence for each pair: every column against a plain loop, and what must not matter to any."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import shapely
from drawn_pairs import GENES, Drawn, drawn, ground_of, nuclei, pairs_on, profiles_of
from evidence_loops import around_by_loop, expression_by_loop, geometry_by_loop
from scipy import sparse

from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.pretrained.evidence import (
    EXPRESSION,
    FIRST_ROUND,
    GEOMETRY,
    SECOND_ROUND,
    expression,
    first_evidence,
    geometry,
    second_evidence,
)
from tissuegraph.segmentation.pretrained.territories import TERRITORY, Territories, territory
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs


@dataclass(frozen=True)
class Known:
    """What the first round told of a drawn tile: by transcript [N], by the tile's cells [M], on the slide."""

    owner: np.ndarray
    unexplained: np.ndarray
    territories: Territories
    on_slide: float = 0.2


def known(one: Drawn, seed: int = 0) -> Known:
    """Some cells are fragments, some transcripts have no owner."""
    generator = np.random.default_rng(seed)
    m = len(one.pairs.cells)
    q = generator.random(len(one.pairs.tx))
    counted = np.ones(len(one.pairs.tokens), bool)
    return Known(
        generator.integers(-1, m, len(one.pairs.tokens)),
        generator.uniform(0.4, 1, m) * (np.arange(m) % 3 == 1),
        Territories.of(one.pairs, q, one.ground, counted),
    )


def second(one: Drawn, of: Known) -> np.ndarray:
    told = (of.territories, of.owner, of.unexplained, of.on_slide)
    return second_evidence(one.pairs, one.ground, one.profiles, *told)


def check(found: np.ndarray, expected: dict[str, list[float]], names: tuple[str, ...]) -> None:
    """Every column is that of its name."""
    assert len(set(names)) == len(names)
    assert found.shape[1] == len(names)
    for column, name in zip(found.T, names, strict=True):
        np.testing.assert_allclose(column, expected[name], atol=1e-4, err_msg=name)
        if not ("typical" in name or "on the slide" in name or name == "candidates"):
            assert np.ptp(column) > 0, name


@pytest.mark.parametrize("seed", range(2))
def test_geometry_is_that_of_a_loop(seed):
    one = drawn(seed, n=120)
    check(geometry(one.pairs, one.ground), geometry_by_loop(one.pairs, one.ground), GEOMETRY)


@pytest.mark.parametrize("seed", range(2))
def test_expression_is_that_of_a_loop(seed):
    one = drawn(seed, n=120)
    assert (one.pairs.nuclear >= 0).any()
    found = expression(one.pairs, one.ground, one.profiles)
    check(found, expression_by_loop(one, one.pairs.nuclear), EXPRESSION)


def test_the_first_round_sees_what_it_says():
    one = drawn(2, n=120)
    parts = geometry_by_loop(one.pairs, one.ground), expression_by_loop(one, one.pairs.nuclear)
    found = first_evidence(one.pairs, one.ground, one.profiles)
    assert found.dtype == np.float32
    check(found, parts[0] | parts[1] | around_by_loop(one), FIRST_ROUND)


def test_the_second_round_sees_what_it_says():
    one = drawn(3, n=120)
    of = known(one)
    away = territory(one.pairs, one.ground, of.territories)
    expected = geometry_by_loop(one.pairs, one.ground) | expression_by_loop(one, of.owner)
    expected |= around_by_loop(one) | dict(zip(TERRITORY, away.T.tolist(), strict=True))
    expected["is a fragment"] = [float(c % 3 == 1) for c in one.pairs.cell]
    expected["unexplained in the core"] = [of.unexplained[c] for c in one.pairs.cell]
    expected["unexplained on the slide"] = [math.log(0.2 + 0.01)] * len(one.pairs.tx)
    found = second(one, of)
    assert found.dtype == np.float32
    check(found, expected, SECOND_ROUND)


def test_a_transcript_is_no_evidence_for_its_own_cell_by_having_been_counted():
    outlines = shapely.box([0, 20], [0, 0], [10, 30], [10, 10])
    positions = [(5, 5), (6, 5), (25, 5)]
    tokens = np.array([0, 1, 1])
    pairs = pairs_on(positions, outlines, tokens=tokens)
    ground = ground_of(outlines, 0)
    alone = sparse.csr_matrix(np.array([[1.0, 1, 0], [0, 1, 0]]))
    profiles = replace(profiles_of(2, 0, genes=3), counts=alone)
    empty = replace(profiles, counts=sparse.csr_matrix((2, 3)))
    own_gene = EXPRESSION.index("own gene")
    own = (pairs.tx == 2) & (pairs.cell == 1)  # all that its cell holds is the transcript itself
    found = expression(pairs, ground, profiles)[own, own_gene]
    assert found == pytest.approx(expression(pairs, ground, empty)[own, own_gene])
    rival = (pairs.tx == 1) & (pairs.cell == 1)  # cell 1 does hold this gene
    with_it, without = (expression(pairs, ground, each)[rival, own_gene] for each in (profiles, empty))
    assert with_it > without


def both_rounds(one: Drawn, of: Known) -> tuple[np.ndarray, np.ndarray]:
    return first_evidence(one.pairs, one.ground, one.profiles), second(one, of)


Place = Callable[[np.ndarray], np.ndarray]


def moved(one: Drawn, place: Place, turn: float = 0.0) -> Drawn:
    """The same slide elsewhere: `place` maps positions, the axes turn by `turn` radians."""
    outlines, cells = shapely.transform(one.ground.outlines, place), one.pairs.cells
    pairs = pairs_on(place(one.pairs.positions), outlines[cells], tokens=one.pairs.tokens, cells=cells)
    assert pairs.tx.tolist() == one.pairs.tx.tolist()
    assert pairs.cell.tolist() == one.pairs.cell.tolist()
    axes = LocalAxes(one.ground.axes.angle + turn, one.ground.axes.ratio)
    ground = replace(one.ground, outlines=outlines, centres=place(one.ground.centres), axes=axes)
    return Drawn(pairs, ground, one.profiles)


def same_evidence(one: Drawn, other: Drawn, atol: float = 1e-4) -> None:
    for before, after in zip(both_rounds(one, known(one)), both_rounds(other, known(other)), strict=True):
        np.testing.assert_allclose(after, before, atol=atol)


@pytest.mark.parametrize("shift", [(1000.0, -300.0), (50_000.0, 20_000.0)])
def test_where_the_slide_lies_does_not_matter(shift):
    one = drawn(1)
    same_evidence(one, moved(one, lambda at: at + np.array(shift)))


def quarter_turns(quarters: int) -> Place:
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    return lambda at: at @ np.array([[cos, sin], [-sin, cos]])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_how_the_slide_is_turned_does_not_matter(quarters):
    one = drawn(2)
    turned = moved(one, quarter_turns(quarters), quarters * np.pi / 2)
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


def reordered(one: Drawn, order: np.ndarray) -> Drawn:
    """The slide with other numbers of its nuclei: that of `n` becomes `order[n]`."""
    ground, profiles, back = one.ground, one.profiles, np.argsort(order)
    ground = replace(
        ground,
        outlines=ground.outlines[back],
        centres=ground.centres[back],
        areas=ground.areas[back],
        spacing=ground.spacing[back],
        axes=LocalAxes(ground.axes.angle[back], ground.axes.ratio[back]),
    )
    profiles = replace(profiles, counts=profiles.counts[back], membership=profiles.membership[back])
    cells = np.sort(order[one.pairs.cells])
    pairs = pairs_on(one.pairs.positions, ground.outlines[cells], tokens=one.pairs.tokens, cells=cells)
    return Drawn(pairs, ground, profiles)


def test_the_order_of_nuclei_does_not_matter():
    one, of = drawn(4), known(drawn(4))
    order = np.random.default_rng(0).permutation(len(one.ground.outlines))
    other = reordered(one, order)
    old = np.argsort(order)[other.pairs.cells]  # the slide's old number of each of the tile's cells
    new_place = np.searchsorted(other.pairs.cells, order[one.pairs.cells])
    told = Known(
        np.append(new_place, -1)[of.owner],
        of.unexplained[np.searchsorted(one.pairs.cells, old)],
        Territories(of.territories.sums[np.argsort(order)]),
    )
    place = {pair: p for p, pair in enumerate(_tx_cell(one.pairs, one.pairs.cells))}
    found = [place[pair] for pair in _tx_cell(other.pairs, old)]
    assert sorted(found) == list(range(len(place)))
    for before, after in zip(both_rounds(one, of), both_rounds(other, told), strict=True):
        np.testing.assert_allclose(after, before[found], atol=1e-5)


def _tx_cell(pairs: TilePairs, names: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(pairs.tx.tolist(), names[pairs.cell].tolist(), strict=True))


def test_the_order_of_transcripts_does_not_matter():
    one, of = drawn(5), known(drawn(5))
    order = np.random.default_rng(0).permutation(len(one.pairs.tokens))
    outlines, cells = one.ground.outlines[one.pairs.cells], one.pairs.cells
    pairs = pairs_on(one.pairs.positions[order], outlines, tokens=one.pairs.tokens[order], cells=cells)
    place = np.concatenate([np.flatnonzero(one.pairs.tx == i) for i in order])
    after = both_rounds(replace(one, pairs=pairs), replace(of, owner=of.owner[order]))
    for before, now in zip(both_rounds(one, of), after, strict=True):
        np.testing.assert_allclose(now, before[place], atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 20])
@pytest.mark.parametrize("m", [0, 1, 6])
def test_little_to_see_gives_finite_evidence(n, m):
    outlines = nuclei(0, 6, 20.0)
    positions = np.random.default_rng(0).uniform(0, 20, (n, 2))
    pairs = pairs_on(positions, outlines[:m], cells=np.arange(m))
    one = Drawn(pairs, ground_of(outlines, 0), profiles_of(6, 0))
    of = Known(pairs.nuclear, np.zeros(m), Territories(np.zeros((6, 6))))
    for found, names in zip(both_rounds(one, of), (FIRST_ROUND, SECOND_ROUND), strict=True):
        assert found.shape == (len(pairs.tx), len(names))
        assert np.isfinite(found).all()


def test_coinciding_transcripts_in_the_middle_of_a_nucleus_give_finite_evidence():
    outlines = nuclei(0, 1, 20.0)
    centre = shapely.get_coordinates(shapely.centroid(outlines))
    pairs = pairs_on(np.repeat(centre, 30, 0), outlines)
    found = first_evidence(pairs, ground_of(outlines, 0), profiles_of(1, 0))
    assert np.isfinite(found).all()
    towards, away = (FIRST_ROUND.index(name) for name in ("towards the centre", "away from it"))
    assert (found[:, [towards, away]] == 0).all()
