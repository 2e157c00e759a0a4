"""The tissue's axis: found where there is one, not where there is none, and the same however cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph import keys
from tissuegraph.segmentation.axes import MARGIN, TensorGrid, find_axes, mean_density, stretching
from tissuegraph.tiles.plan import Histogram, plan_tiles
from tissuegraph.tiles.store import TILE_COLUMNS, write_store
from tissuegraph.tiles.survey import survey

EXTENT = (0.0, 0.0, 120.0, 90.0)
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
DENSITY = 1.0
MIDDLE = np.array([[60.0, 45.0], [50.0, 40.0]])


def scattered(seed: int) -> np.ndarray:
    """Positions, one a square micrometre, [N, 2]."""
    generator = np.random.default_rng(seed)
    return generator.uniform(EXTENT[:2], EXTENT[2:], (int(DENSITY * 120 * 90), 2))


def stripes(positions: np.ndarray, angle: float, width: float = 6.0, seed: int = 0) -> np.ndarray:
    """Which of two cell types lies at each position: stripes along `angle`, one in five misread, [N]."""
    across = -np.sin(angle) * positions[:, 0] + np.cos(angle) * positions[:, 1]
    misread = np.random.default_rng(seed).random(len(positions)) < 0.2
    return (np.floor(across / width).astype(int) % 2) ^ misread


def vectors_of(kinds: np.ndarray) -> np.ndarray:
    return np.array([[1.0, 0.3], [-1.0, 0.3]])[kinds]


def grid_of(positions: np.ndarray, vectors: np.ndarray, cores=(EVERYWHERE,)) -> TensorGrid:
    """Sum over tiles, each of which sees its core and `MARGIN` around it."""
    grid = TensorGrid.over(EXTENT)
    for x0, y0, x1, y1 in cores:
        x, y = positions.T
        seen = (x >= x0 - MARGIN) & (x < x1 + MARGIN) & (y >= y0 - MARGIN) & (y < y1 + MARGIN)
        grid.add(grid.told(positions[seen], vectors[seen], (x0, y0, x1, y1), DENSITY))
    return grid


def between(one: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Angle between two axes, which have no head, in radians."""
    return np.abs((one - other + np.pi / 2) % np.pi - np.pi / 2)


@pytest.mark.parametrize("degrees", [0, 20, 45, 80, 90, 115, 160])
def test_stripes_show_their_direction(degrees):
    positions = scattered(degrees)
    angle, ratio = grid_of(positions, vectors_of(stripes(positions, np.radians(degrees)))).axes_at(MIDDLE)
    assert np.degrees(between(angle, np.radians(degrees))).max() < 4
    assert ratio.min() > 1.15


@pytest.mark.parametrize("seed", range(4))
def test_noise_has_no_direction(seed):
    kinds = np.random.default_rng(seed).integers(0, 2, len(scattered(seed)))
    _, ratio = grid_of(scattered(seed), vectors_of(kinds)).axes_at(MIDDLE)
    assert ratio.min() >= 1
    assert ratio.max() < 1.1


def test_round_cells_have_no_direction():
    positions = scattered(7)
    checks = stripes(positions, 0, 8.0) ^ stripes(positions, np.pi / 2, 8.0, seed=1)
    _, ratio = grid_of(positions, vectors_of(checks)).axes_at(MIDDLE)
    assert ratio.max() < 1.1


@settings(max_examples=12, deadline=None)
@given(st.floats(-5, 125), st.floats(-5, 95), st.integers(0, 100))
def test_tiles_add_up_to_the_slide(x, y, seed):
    positions = scattered(seed)
    vectors = vectors_of(stripes(positions, 0.7))
    cores = [(-np.inf, -np.inf, x, np.inf), (x, -np.inf, np.inf, y), (x, y, np.inf, np.inf)]
    whole, parts = grid_of(positions, vectors), grid_of(positions, vectors, cores)
    assert np.abs(whole.sums).max() > 1e-3
    assert parts.sums == pytest.approx(whole.sums, abs=1e-9)


def test_a_slide_far_from_zero_gives_the_same():
    positions = scattered(1)
    vectors = vectors_of(stripes(positions, 0.7))
    shift = np.array([-3000.0, 60_000.0])  # whole pixels and blocks
    grid = TensorGrid.over(tuple(np.add(EXTENT, np.tile(shift, 2))))
    grid.add(grid.told(positions + shift, vectors, EVERYWHERE, DENSITY))
    assert grid.sums == pytest.approx(grid_of(positions, vectors).sums, abs=1e-9)
    here, there = grid_of(positions, vectors).axes_at(MIDDLE), grid.axes_at(MIDDLE + shift)
    assert there == (pytest.approx(here[0]), pytest.approx(here[1]))


def test_what_lies_outside_the_grid_is_left_out():
    grid = TensorGrid.over(EXTENT)
    grid.add(grid.told(np.array([[1e6, 1e6]]), np.ones((1, 2)), (1e5, 1e5, np.inf, np.inf), DENSITY))
    grid.add(grid.told(np.empty((0, 2)), np.empty((0, 2)), EVERYWHERE, DENSITY))
    assert (grid.sums == 0).all()
    angle, ratio = grid.axes_at(MIDDLE)
    assert np.isfinite(angle).all()
    assert (ratio == 1).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(-7, 7), st.floats(1, 4))
def test_stretching_keeps_areas_and_shrinks_along_the_axis(angle, stretch):
    (matrix,) = stretching(np.array([angle]), np.array([stretch]))
    assert np.linalg.det(matrix) == pytest.approx(1)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-np.sin(angle), np.cos(angle)])
    assert matrix @ along == pytest.approx([stretch**-0.5, 0])
    assert matrix @ across == pytest.approx([0, stretch**0.5])


def test_the_mean_density_is_that_of_the_ground_that_has_any(tmp_path):
    found = survey(toy.sample(tmp_path), 0.0)
    coarse = Histogram(np.array([[4, 0], [2, 3]]), np.array([0.0, 10, 20]), np.array([5.0, 15, 25]))
    fine = np.zeros((4, 4), np.int64)
    fine[0, 1], fine[2, 0], fine[3, 3] = 4, 2, 3
    halves = Histogram(fine, np.arange(0.0, 25, 5), np.arange(5.0, 30, 5))
    for histogram in (coarse, halves):
        assert mean_density(dataclasses.replace(found, histogram=histogram)) == pytest.approx(9 / 300)


def test_axes_at_nuclei_are_those_of_the_slide_however_it_is_cut(tmp_path):
    positions = scattered(3).astype(np.float32)
    kinds = stripes(positions.astype(float), 0.5)
    columns = {keys.X: positions[:, 0], keys.Y: positions[:, 1], keys.GENE: [f"g{kind}" for kind in kinds]}
    rest = {keys.Z: 0.0, keys.QV: 30.0, keys.IS_CONTROL: False}
    table = pl.DataFrame(columns).with_columns(**{name: pl.lit(value) for name, value in rest.items()})
    sample = toy.sample(tmp_path, table, toy.random_outlines(0, 12, 90.0))
    found = survey(sample, 0.0)
    axes = []
    for size in (10**6, 900):
        tiles = plan_tiles(found.histogram, max_transcripts=size, min_side=0.0)
        store = write_store(sample.scan().select(TILE_COLUMNS), tiles, tmp_path / f"tiles{size}")
        axes.append(find_axes(store, found, found.genes, vectors_of(np.array([0, 1]))))
    assert len(tiles) > 8
    assert between(axes[0].angle, axes[1].angle).max() < 1e-9
    assert axes[1].ratio == pytest.approx(axes[0].ratio, abs=1e-9)
    assert np.degrees(np.median(between(axes[0].angle, 0.5))) < 5
