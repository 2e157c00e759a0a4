"""What grows on the lattice, and the outlines that are traced around it, against shapely and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as pieces

from tissuegraph.simulate.grown.growth import grow, spread
from tissuegraph.simulate.grown.lattice import Lattice
from tissuegraph.simulate.grown.rings import Rings, trace
from tissuegraph.simulate.grown.seeds import Seeds, apart

LATTICE = Lattice(pixel=0.5, side=60, extent=(2.0, 28.0))


def some_seeds(number: int, rng: np.random.Generator, area: float = 30.0) -> Seeds:
    return Seeds(
        pixels=rng.choice(np.flatnonzero(LATTICE.inner()), number, replace=False),
        areas=area * rng.lognormal(0, 0.6, number),
        angles=rng.uniform(0, np.pi, number),
        aspects=rng.uniform(1, 4, number),
        bends=rng.normal(0, 0.7, number),
    )


def grown(number: int, seed: int, rough: float = 0.7) -> tuple[Seeds, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = some_seeds(number, rng)
    resistance = rng.lognormal(0, rough, LATTICE.side**2).astype(np.float32)
    return seeds, grow(LATTICE, seeds, LATTICE.inner(), resistance)


def outlines(number: int, seed: int) -> tuple[Rings, np.ndarray]:
    rings = trace(LATTICE, grown(number, seed)[1], number)
    vertices, rows = rings.closed_rings(slice(0, number))
    return rings, shapely.polygons(shapely.linearrings(vertices.astype(float), indices=rows))


@given(st.integers(1, 25), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_cell_is_one_piece_without_holes_and_no_larger_than_it_wants(number: int, seed: int) -> None:
    seeds, labels = grown(number, seed)
    assert (labels[seeds.pixels] == np.arange(number)).all()
    sizes = np.bincount(labels[labels >= 0], minlength=number)
    assert (sizes <= np.maximum(np.round(seeds.areas / 0.25), 1)).all()
    square = labels.reshape(60, 60)
    assert (square[[0, -1]] == -1).all()
    assert (square[:, [0, -1]] == -1).all()
    for cell in range(number):
        assert pieces(square == cell)[1] == 1
        assert pieces(square != cell, np.ones((3, 3)))[1] == 1
        # two pixels of a cell never meet at nothing but a corner
        own = square == cell
        corner = own[:-1, :-1] & own[1:, 1:] & ~own[1:, :-1] & ~own[:-1, 1:]
        corner |= ~own[:-1, :-1] & ~own[1:, 1:] & own[1:, :-1] & own[:-1, 1:]
        assert not corner.any()


@given(st.integers(1, 25), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_outlines_are_valid_counterclockwise_and_do_not_overlap(number: int, seed: int) -> None:
    rings, shapes = outlines(number, seed)
    assert shapely.is_valid(shapes).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    areas = shapely.area(shapes)
    assert np.allclose(rings.areas(), areas, rtol=1e-5)
    assert np.allclose(rings.centroids(), shapely.get_coordinates(shapely.centroid(shapes)), atol=1e-4)
    assert shapely.area(shapely.union_all(shapes)) == pytest.approx(areas.sum(), rel=1e-9)


@given(st.integers(1, 25), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_points_are_found_in_the_outline_that_holds_them(number: int, seed: int) -> None:
    rings, shapes = outlines(number, seed)
    points = np.random.default_rng(seed).uniform(-2, 32, (500, 2)).astype(np.float32)
    held = shapely.contains(shapes[:, None], shapely.points(points.astype(float)))
    expected = np.where(held.any(axis=0), held.argmax(axis=0), -1)
    assert (rings.locate(points) == expected).all()


def test_a_part_of_the_rings_is_that_part() -> None:
    rings, shapes = outlines(12, 5)
    for part in (slice(0, 5), slice(5, 10), slice(10, 20), slice(12, 20)):
        vertices, rows = rings.closed_rings(part)
        found = shapely.polygons(shapely.linearrings(vertices.astype(float), indices=rows))
        assert len(rows) == len(vertices)
        assert (found == shapes[part]).all()


def test_a_long_way_is_smooth_and_a_single_pixel_stays_a_square() -> None:
    labels = np.full((60, 60), -1, dtype=np.int32)
    for row in range(5, 55):
        labels[row, 5 : row + 1] = 0  # a staircase
    labels[10, 40] = 1
    rings = trace(LATTICE, labels.ravel(), 2)
    assert rings.areas()[1] < 0.25
    slope = rings.vertices[: rings.ends[1]]
    along = slope[(np.abs(slope[:, 0] - slope[:, 1]) < 1) & (slope[:, 0] > 5) & (slope[:, 0] < 25)]
    assert np.ptp(along[:, 0] - along[:, 1]) < 1e-5


def test_without_noise_or_neighbours_a_cell_has_the_shape_it_wants() -> None:
    lattice = Lattice(pixel=0.25, side=200, extent=(5.0, 45.0))
    middle = np.array([100 * 200 + 100])
    one = np.ones(1)
    seeds = Seeds(middle, 150 * one, 0.5 * one, 3 * one, 0 * one)
    labels = grow(lattice, seeds, lattice.inner(), np.ones(200**2, dtype=np.float32))
    points = lattice.centres_of(np.flatnonzero(labels == 0))
    size, axis = np.linalg.eigh(np.cov(points.T))
    assert len(points) == 150 / 0.25**2
    assert np.sqrt(size[1] / size[0]) == pytest.approx(3, rel=0.1)
    assert np.arctan(axis[1, 1] / axis[0, 1]) == pytest.approx(0.5, abs=0.08)


def test_nothing_grows_out_of_its_room() -> None:
    rng = np.random.default_rng(1)
    _, cells = grown(12, 1)
    first = np.array([np.flatnonzero(cells == cell)[0] for cell in range(12)])
    inner = Seeds(first, np.full(12, 15.0), np.zeros(12), np.ones(12), np.zeros(12))
    nuclei = grow(LATTICE, inner, cells, rng.lognormal(0, 0.3, 3600).astype(np.float32))
    assert set(np.unique(nuclei)) == set(range(-1, 12))
    assert (cells[nuclei >= 0] == nuclei[nuclei >= 0]).all()


def test_what_spreads_does_so_evenly_and_meets_midway() -> None:
    labels = np.full(3600, -1, dtype=np.int32)
    square = labels.reshape(60, 60)
    square[20:25, 20:25], square[30:33, 40:44] = 0, 1
    after = spread(LATTICE, labels, LATTICE.inner(), np.array([6.0, 6.0])).reshape(60, 60)
    away = np.stack([distance_transform_edt(square != cell) for cell in (0, 1)])
    expected = np.where(away.min(axis=0) <= 12, away.argmin(axis=0), -1)
    clear = np.abs(away[0] - away[1]) > 1
    assert (after == expected)[clear].mean() > 0.99
    assert (after >= 0).sum() == pytest.approx((expected >= 0).sum(), rel=0.01)


def test_seeds_on_one_pixel_are_set_apart() -> None:
    pixels = apart(np.array([4, 4, 4, 9]), np.arange(5), np.random.default_rng(0))
    assert len(set(pixels)) == 4
    assert pixels[0] == 4
    assert pixels[3] == 9
