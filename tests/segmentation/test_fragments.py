"""Cells without a nucleus: where transcripts that no nucleus explains are densest."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.segmentation.pretrained.fragments import (
    APART,
    FEWEST,
    LEAST_DEPTH,
    LEAST_SHARE,
    NAME,
    UNEXPLAINED,
    Fragments,
    Sizes,
    find_fragments,
    in_cores,
    sizes_of,
    with_fragments,
)
from tissuegraph.shapes import PackedOutlines
from tissuegraph.tiles.plan import Histogram
from tissuegraph.tiles.survey import Survey

SIZES = Sizes(radius=2.03, depth=40.0)  # no two places of a grid are exactly as far apart as a radius


def by_loop(
    positions: np.ndarray, q_none: np.ndarray, mine: np.ndarray, sizes: Sizes
) -> list[tuple[float, float, float]]:
    """Middle and share of each fragment, in order of where they start."""
    at = positions.tolist()
    unexplained = [i for i, q in enumerate(q_none) if q > UNEXPLAINED]

    def within(place: list[float], distance: float, among) -> list[int]:
        return [j for j in among if math.dist(place, at[j]) <= distance]

    held = {i: len(within(at[i], sizes.core, unexplained)) for i in unexplained}
    found = []
    for i in unexplained:
        if not mine[i] or held[i] < FEWEST or held[i] < LEAST_DEPTH * sizes.depth:
            continue
        rivals = within(at[i], APART * sizes.radius, unexplained)
        if min(rivals, key=lambda j: (-held[j], j)) != i:
            continue
        core = within(at[i], sizes.core, unexplained)
        middle = [math.fsum(at[j][axis] for j in core) / len(core) for axis in (0, 1)]
        around = within(middle, sizes.core, range(len(at)))
        share = math.fsum(q_none[j] for j in around) / len(around)
        if share >= LEAST_SHARE:
            found.append((*middle, share))
    return found


def rows(found: Fragments) -> np.ndarray:
    """Middle and share of each, [F, 3]."""
    assert found.middles.shape == (len(found.unexplained), 2)
    return np.column_stack([found.middles, found.unexplained])


def same_set(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    order, other_order = (np.lexsort(each.round(6).T) for each in (one, other))
    np.testing.assert_allclose(one[order], other[other_order], atol=1e-9)


def everywhere(n: int) -> np.ndarray:
    return np.ones(n, bool)


def disc(generator: np.random.Generator, n: int, centre, radius: float) -> np.ndarray:
    """`n` places in a disc, evenly."""
    angle, away = generator.uniform(0, 2 * np.pi, n), radius * np.sqrt(generator.random(n))
    return np.asarray(centre) + np.column_stack([np.cos(angle), np.sin(angle)]) * away[:, None]


def tissue(seed: int, n: int = 900, side: float = 70.0) -> tuple[np.ndarray, np.ndarray]:
    """Explained transcripts everywhere, and between them unexplained ones in clumps of any size."""
    generator = np.random.default_rng(seed)
    clumps = [disc(generator, generator.integers(3, 60), generator.uniform(0, side, 2), 4) for _ in range(14)]
    background = generator.uniform(0, side, (n // 2, 2))
    positions = np.concatenate([background, *clumps])
    q_none = np.concatenate(
        [generator.beta(1, 4, len(background)), generator.beta(9, 1, sum(map(len, clumps)))]
    )
    order = generator.permutation(len(positions))
    return positions[order], q_none[order]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120), st.sampled_from([0.0, 30.0, 60.0]))
def test_fragments_on_a_grid_are_those_of_a_loop(seed, n, depth):
    """A grid has many equal counts, so that the first of them must win."""
    generator = np.random.default_rng(seed)
    positions = generator.integers(0, (16, 11), (n, 2)).astype(float)
    # numbers of which no mean is the least share itself, but for rounding
    q_none = generator.choice([0.0, UNEXPLAINED, 0.8123, 0.9871, 1.0], n)
    mine = generator.random(n) < 0.8
    sizes = Sizes(SIZES.radius, depth)
    found = rows(find_fragments(positions, q_none, mine, sizes))
    np.testing.assert_allclose(found, np.reshape(by_loop(positions, q_none, mine, sizes), (-1, 3)), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_fragments_of_a_tissue_are_those_of_a_loop(seed):
    positions, q_none = tissue(seed)
    mine = positions[:, 0] < 50
    found = rows(find_fragments(positions, q_none, mine, SIZES))
    np.testing.assert_allclose(found, by_loop(positions, q_none, mine, SIZES), atol=1e-9)
    assert 3 < len(found) < 20


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shift", [(13.0, -700.0), (60_000.0, 20_000.0)])
def test_where_the_slide_lies_does_not_matter(seed, shift):
    positions, q_none = tissue(seed)
    before = rows(find_fragments(positions, q_none, everywhere(len(q_none)), SIZES))
    after = rows(find_fragments(positions + shift, q_none, everywhere(len(q_none)), SIZES))
    np.testing.assert_allclose(after, before + np.array([*shift, 0.0]), atol=1e-6)


def stars() -> tuple[np.ndarray, np.ndarray]:
    """Rings about a transcript that alone has all of its own in reach: there is one that has most."""
    generator = np.random.default_rng(0)
    parts, opinions = [], []
    for number, centre in enumerate([(0, 0), (30, 0), (0, 40), (33, 41)]):
        n = 9 + 4 * number
        angle = 2 * np.pi * np.arange(n) / n
        ring = 0.95 * SIZES.core * np.column_stack([np.cos(angle), np.sin(angle)])
        parts += [centre + ring * generator.uniform(0.97, 1, (n, 1)), np.array([centre])]
        opinions.append(generator.uniform(0.8, 1, n + 1))
    return np.concatenate(parts).astype(float), np.concatenate(opinions)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_transcripts_does_not_matter_where_no_two_have_as_many(seed):
    positions, q_none = stars()
    before = rows(find_fragments(positions, q_none, everywhere(len(q_none)), SIZES))
    assert len(before) == 4
    order = np.random.default_rng(seed).permutation(len(q_none))
    after = find_fragments(positions[order], q_none[order], everywhere(len(q_none)), SIZES)
    same_set(rows(after), before)


def test_nothing_is_found_where_everything_is_explained():
    positions, q_none = tissue(0)
    for opinion in (0 * q_none, np.full(len(q_none), UNEXPLAINED), np.minimum(q_none, 0.4)):
        assert len(rows(find_fragments(positions, opinion, everywhere(len(opinion)), SIZES))) == 0
    assert len(rows(find_fragments(positions, q_none, ~everywhere(len(q_none)), SIZES))) == 0
    nobody = find_fragments(np.empty((0, 2)), np.empty(0), np.empty(0, bool), SIZES)
    assert rows(nobody).shape == (0, 3)


@pytest.mark.parametrize("n", [20, 100, 800])
@pytest.mark.parametrize("seed", range(3))
def test_a_dense_blob_is_found_once(seed, n):
    generator = np.random.default_rng(seed)
    blob, around = disc(generator, n, (20, 30), SIZES.radius), generator.uniform(0, 60, (400, 2))
    positions = np.concatenate([blob, around])
    q_none = np.where(np.arange(n + 400) < n, 0.9, 0.1)
    found = find_fragments(positions, q_none, everywhere(n + 400), SIZES)
    assert len(rows(found)) == 1
    assert math.dist(found.middles[0], (20, 30)) < SIZES.radius / 2
    assert LEAST_SHARE < found.unexplained[0] < 0.9
    assert in_cores(blob, found.middles, SIZES).max() == 0


@pytest.mark.parametrize("seed", range(3))
def test_two_blobs_apart_are_found_twice(seed):
    generator = np.random.default_rng(seed)
    centres = np.array([(0, 0), (SIZES.reach + 2 * SIZES.radius, 0)])
    positions = np.concatenate([disc(generator, 60, centre, SIZES.radius) for centre in centres])
    found = find_fragments(positions, np.full(120, 0.9), everywhere(120), SIZES)
    assert found.unexplained == pytest.approx([0.9, 0.9])
    assert len(found.middles) == 2
    nearest = found.middles[np.argsort(found.middles[:, 0])]
    assert np.abs(nearest - centres).max() < SIZES.radius / 2


def test_a_core_needs_transcripts_and_most_of_what_is_there():
    generator = np.random.default_rng(0)
    least = max(FEWEST, math.ceil(LEAST_DEPTH * SIZES.depth))
    blob, q_none = disc(generator, least, (0, 0), SIZES.core / 2), np.full(least, 0.9)
    assert len(rows(find_fragments(blob, q_none, everywhere(least), SIZES))) == 1
    assert len(rows(find_fragments(blob[1:], q_none[1:], everywhere(least - 1), SIZES))) == 0
    most = int(least * (1 - LEAST_SHARE) / LEAST_SHARE)
    for explained, number in ((most, 1), (most + 1, 0)):
        positions = np.concatenate([blob, disc(generator, explained, (0, 0), SIZES.core / 2)])
        opinion = (np.arange(len(positions)) < least).astype(float)
        assert len(rows(find_fragments(positions, opinion, everywhere(len(opinion)), SIZES))) == number


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cuts", [(1, 2), (3, 3), (9, 5)])
def test_however_the_plane_is_cut_the_same_fragments_are_found(seed, cuts):
    """Bit by bit: a tile knows its own transcripts and those within reach of its sides."""
    positions, q_none = tissue(seed)
    whole = find_fragments(positions, q_none, everywhere(len(q_none)), SIZES)
    sides = (pairwise(np.linspace(-5, 76, count + 1)) for count in cuts)
    parts = []
    for low, high in (np.transpose(tile) for tile in product(*sides)):
        seen = ((positions >= low - SIZES.reach) & (positions <= high + SIZES.reach)).all(1)
        mine = ((positions >= low) & (positions < high)).all(1)
        parts.append(find_fragments(positions[seen], q_none[seen], mine[seen], SIZES))
    assert len(whole.middles) > 3
    for found in (Fragments.joined(parts), Fragments.joined(parts[::-1])):
        assert (rows(found) == rows(Fragments.joined([whole]))).all()  # and in the same order


def test_no_parts_make_no_fragments():
    assert rows(Fragments.joined([])).shape == rows(Fragments.none()).shape == (0, 3)
    one = Fragments(np.array([[1.0, 2]]), np.array([0.5]))
    assert rows(Fragments.joined([one, Fragments.none(), one])).tolist() == [[1, 2, 0.5]] * 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 6))
def test_in_cores_is_that_of_a_loop(seed, n, m):
    generator = np.random.default_rng(seed)
    positions, middles = generator.uniform(0, 20, (n, 2)), generator.uniform(0, 20, (m, 2))
    expected = []
    for place in positions:
        nearest = min(range(m), key=lambda f: math.dist(place, middles[f]), default=-1)
        near = m and math.dist(place, middles[nearest]) <= SIZES.core
        expected.append(nearest if near else -1)
    found = in_cores(positions, middles, SIZES)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_sizes_are_those_of_the_typical_nucleus():
    found = sizes_of(np.pi * np.array([1.0, 9, 16, 25, 400]), np.array([0.0, 7, 3, 5, 100]))
    assert (found.radius, found.depth) == (pytest.approx(4), 5)
    assert found.core == pytest.approx(4 * SIZES.core / SIZES.radius)
    assert found.reach == pytest.approx(found.core + 4 * APART)


def surveyed(*ids: str) -> Survey:
    """A survey with nuclei of these names."""
    histogram = Histogram(np.ones((1, 1)), np.array([0.0, 1]), np.array([0.0, 1]))
    outlines = toy.random_outlines(0, len(ids), 30.0)
    return Survey(("a", "b"), {"kept": 3}, np.array(ids, object), PackedOutlines(outlines), histogram)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fragments_stand_after_the_nuclei(n):
    before = surveyed("n1", "n2", "n3", "n4")
    outlines, histogram = before.outlines, before.histogram
    middles = np.random.default_rng(0).uniform(0, 30, (n, 2))
    after = with_fragments(before, middles, SIZES)
    assert after.boundary_ids.tolist() == ["n1", "n2", "n3", "n4", *(f"{NAME}{i + 1}" for i in range(n))]
    assert shapely.equals(after.outlines[:4], outlines).all()
    discs = after.outlines[4:]
    assert shapely.get_coordinates(shapely.centroid(discs)) == pytest.approx(middles, abs=1e-6)
    assert shapely.area(discs) == pytest.approx(np.pi * SIZES.radius**2, rel=0.05)
    assert (after.genes, after.counts, after.histogram) == (before.genes, before.counts, histogram)
    assert len(before.outlines) == len(before.boundary_ids) == 4
    everything = (-100.0, -100.0, 200.0, 200.0)
    assert after.outlines_in(everything).tolist() == list(range(4 + n))


def test_a_nucleus_may_bear_the_name_of_a_fragment():
    middles = np.ones((2, 2))
    after = with_fragments(surveyed("a", f"{NAME}1"), middles, SIZES)
    assert after.boundary_ids.tolist() == ["a", f"{NAME}1", f"other-{NAME}1", f"other-{NAME}2"]
    again = with_fragments(surveyed(*after.boundary_ids), middles, SIZES).boundary_ids
    assert len(set(again)) == len(again) == 6
