"""Cuts: every position in one core, sizes and sides as asked."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph import keys
from tissuegraph.tiles.plan import Histogram, Tile, grown, plan_tiles, tile_of, transcript_histogram

EXTENT = (-5.0, 10.0, 95.0, 60.0)


def histogram_of(points: np.ndarray, extent=EXTENT) -> Histogram:
    x, y = np.asarray(points, np.float32).reshape(-1, 2).T
    return transcript_histogram(pl.LazyFrame({keys.X: x, keys.Y: y}), extent)


def cores_holding(points: np.ndarray, tiles) -> np.ndarray:
    """For each point the tiles that hold it, [N, tiles], by the definition of bounds."""
    x, y = np.asarray(points, np.float64).T
    inside = [(t.core[0] <= x) & (x < t.core[2]) & (t.core[1] <= y) & (y < t.core[3]) for t in tiles]
    return np.stack(inside, 1)


def box_of(tile, histogram: Histogram) -> tuple[int, int, int, int]:
    """A core as bins: first and end along x, first and end along y."""
    nx, ny = histogram.counts.shape
    (x0, y0, x1, y1), x, y = tile.core, histogram.x_edges, histogram.y_edges
    i0, j0 = (0 if math.isinf(low) else int(np.searchsorted(e, low)) for low, e in ((x0, x), (y0, y)))
    i1 = nx if math.isinf(x1) else int(np.searchsorted(x, x1))
    j1 = ny if math.isinf(y1) else int(np.searchsorted(y, y1))
    return i0, i1, j0, j1


@st.composite
def slides(draw) -> np.ndarray:
    """Points everywhere, in a clump, on one spot, and far outside."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    counts = [draw(st.integers(least, most)) for least, most in ((1, 150), (0, 150), (0, 60), (0, 3))]
    spread = generator.uniform(EXTENT[:2], EXTENT[2:], (counts[0], 2))
    clump = generator.normal((20, 30), 0.5, (counts[1], 2))
    spot = np.tile([70.125, 40.25], (counts[2], 1))
    far = generator.choice([-1e6, -400, 1e3, 3e7], (counts[3], 2))
    return np.vstack([spread, clump, spot, far]).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(slides(), st.integers(1, 80), st.sampled_from([0.0, 3.0, 30.0]))
def test_cores_partition_the_plane(points, max_transcripts, min_side):
    tiles = plan_tiles(histogram_of(points), max_transcripts=max_transcripts, min_side=min_side)
    cuts = np.array([[t.core[a], t.core[b]] for t in tiles for a, b in ((0, 1), (2, 3), (0, 3))])
    corners = np.clip(cuts, -1e30, 1e30)
    everywhere = np.vstack([points, corners, np.nextafter(corners, -np.inf), np.nextafter(corners, np.inf)])
    holding = cores_holding(everywhere, tiles)
    assert (holding.sum(1) == 1).all()
    assert np.array_equal(tile_of(*everywhere.T, tiles), holding.argmax(1))
    assert [tile.index for tile in tiles] == list(range(len(tiles)))


@settings(max_examples=30, deadline=None)
@given(slides(), st.integers(1, 80), st.sampled_from([0.0, 0.05, 3.0, 30.0]))
def test_tiles_are_small_unless_that_makes_them_too_narrow(points, max_transcripts, min_side):
    histogram = histogram_of(points)
    tiles = plan_tiles(histogram, max_transcripts=max_transcripts, min_side=min_side)
    bin_side = histogram.x_edges[1] - histogram.x_edges[0]
    narrowest = max(math.ceil(min_side / bin_side), 1)
    total = 0
    for tile in tiles:
        i0, i1, j0, j1 = box_of(tile, histogram)
        sides, count = (i1 - i0, j1 - j0), histogram.counts[i0:i1, j0:j1].sum()
        total += count
        assert count <= max_transcripts or max(sides) < 2 * narrowest
        assert all(
            side >= min(narrowest, whole) for side, whole in zip(sides, histogram.counts.shape, strict=True)
        )
    assert total == len(points)


def test_a_slide_that_is_small_enough_is_not_cut():
    tiles = plan_tiles(histogram_of([[3, 20]]), max_transcripts=1, min_side=0.0)
    assert [tile.core for tile in tiles] == [(-math.inf, -math.inf, math.inf, math.inf)]


@pytest.mark.parametrize("min_side", [0.0, 5.0])
@pytest.mark.parametrize("spot", [(50, 30), (-5, 10), (95, 60), (1e9, -1e9)])
def test_transcripts_on_one_spot_stay_together(spot, min_side):
    points = np.tile(spot, (100, 1))
    tiles = plan_tiles(histogram_of(points), max_transcripts=10, min_side=min_side)
    assert len(set(tile_of(*points.T.astype(np.float32), tiles))) == 1
    assert len(tiles) < 100


def test_tiles_hold_about_as_many_transcripts_as_asked():
    points = np.random.default_rng(0).uniform(EXTENT[:2], EXTENT[2:], (20_000, 2))
    tiles = plan_tiles(histogram_of(points), max_transcripts=1000, min_side=0.0)
    counts = np.bincount(tile_of(*points.T.astype(np.float32), tiles), minlength=len(tiles))
    assert len(tiles) == 22
    assert counts.min() > 850


def test_the_plan_does_not_depend_on_the_order():
    points = np.random.default_rng(1).normal(40, 30, (500, 2))
    plans = [
        plan_tiles(histogram_of(order), max_transcripts=30, min_side=1) for order in (points, points[::-1])
    ]
    assert plans[0] == plans[1]


def test_what_lies_outside_counts_at_the_rim():
    histogram = histogram_of([[-1e9, 20], [1e9, 20], [3, 1e9], [3, 20]])
    assert histogram.counts.sum() == 4
    assert histogram.counts[0].sum() == 1
    assert histogram.counts[-1].sum() == 1
    assert histogram.counts[:, -1].sum() == 1


@pytest.mark.parametrize("extent", [(3.0, 20.0, 3.0, 20.0), (0.0, 0.0, 1e5, 1e-3)])
def test_flat_extents_have_bins_too(extent):
    histogram = histogram_of([[3, 20], [4, 21]], extent)
    assert histogram.counts.sum() == 2
    assert len(plan_tiles(histogram, max_transcripts=1, min_side=0.0)) >= 1


def test_grown_adds_on_every_side():
    assert grown((0, 1, 2, 3), 10) == (-10, -9, 12, 13)
    assert grown((-math.inf, 0, math.inf, 1), 5) == (-math.inf, -5, math.inf, 6)


@settings(max_examples=20, deadline=None)
@given(slides(), st.integers(1, 10))
def test_there_are_no_more_tiles_than_allowed(points, most):
    histogram = histogram_of(points)
    tiles = plan_tiles(histogram, max_transcripts=1, min_side=0.0, max_tiles=most)
    assert len(tiles) <= most
    free = plan_tiles(histogram, max_transcripts=1, min_side=0.0)
    assert len(tiles) > most // 4 or len(free) <= most
    if len(free) <= most:
        assert tiles == free


def test_a_position_outside_all_tiles_has_none():
    tiles = [Tile(3, (0.0, 0.0, 1.0, 2.0)), Tile(5, (2.0, 1.0, 3.0, 2.0))]
    x, y = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]), np.array([0.0, 1.9, 1.0, 1.0, 1.0, 0.5, 1.5])
    assert tile_of(x, y, tiles).tolist() == [3, 3, -1, -1, 5, -1, -1]
    assert tile_of(x, y, []).tolist() == [-1] * 7
