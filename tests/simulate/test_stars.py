"""Star-shaped outlines against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tissuegraph.simulate.cells import Ellipses, neighbours
from tissuegraph.simulate.fields import bands, random_field
from tissuegraph.simulate.nuclei import grow_nuclei
from tissuegraph.simulate.outlines import draw_outlines
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.stars import Stars

RADII = hnp.arrays(np.float64, (3, 16), elements=st.floats(0.5, 10))
CENTRES = np.array([[0.0, 0.0], [50.0, 7.0], [-20.0, 90.0]])


@given(RADII)
@settings(max_examples=30, deadline=None)
def test_areas_centroids_and_containment_are_those_of_the_polygon(radii: np.ndarray) -> None:
    stars = Stars(CENTRES, radii)
    shapes = shapely.polygons(stars.rings())
    assert np.allclose(stars.areas(), shapely.area(shapes))
    assert np.allclose(stars.centroids(), shapely.get_coordinates(shapely.centroid(shapes)))
    points = CENTRES[:, None] + np.random.default_rng(0).uniform(-10, 10, (3, 200, 2))
    which = np.broadcast_to(np.arange(3)[:, None], (3, 200))
    clear = shapely.distance(shapely.boundary(shapes)[:, None], shapely.points(points)) > 1e-9
    inside = shapely.contains(shapes[:, None], shapely.points(points))
    assert (stars.contains(which, points) == inside)[clear].all()


@given(RADII)
@settings(max_examples=20, deadline=None)
def test_samples_fall_inside_their_outline(radii: np.ndarray) -> None:
    stars = Stars(CENTRES, radii)
    which = np.array([2, 0, 2, 2, 1] * 40)
    points = stars.sample(which, np.random.default_rng(1))
    shapes = shapely.buffer(shapely.polygons(stars.rings()), 1e-6)
    assert shapely.contains(shapes[which], shapely.points(points)).all()


def test_samples_are_uniform() -> None:
    radii = np.linspace(1, 4, 16)[None]
    stars = Stars(np.zeros((1, 2)), radii)
    points = stars.sample(np.zeros(40_000, dtype=int), np.random.default_rng(2))
    half = Stars(np.zeros((1, 2)), radii / 2)
    assert half.contains(np.zeros(40_000, dtype=int), points).mean() == pytest.approx(0.25, abs=0.01)
    assert np.allclose(points.mean(axis=0), stars.centroids()[0], atol=0.05)


def test_outlines_meet_where_two_cells_are_equally_near() -> None:
    cells = Ellipses(np.array([[0.0, 0.0], [8.0, 0.0]]), np.full(2, 5.0), np.zeros(2), np.ones(2))
    params = TissueParams(irregularity=0, gap=0)
    outlines = draw_outlines(cells, params, np.random.default_rng(0))
    assert neighbours(cells).tolist() == [[1], [0]]
    assert outlines.radii[0, 0] == pytest.approx(4)  # towards the other: the middle
    assert outlines.radii[0, 24] == pytest.approx(6.25)  # away from it: as far as a cell reaches
    assert np.allclose(outlines.radii[0], np.roll(outlines.radii[1], 24))


def test_grown_nuclei_stop_at_five_and_at_the_middle() -> None:
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    cells = grow_nuclei(Stars(centres, np.full((2, 24), 3.0)))
    assert cells.radii[0, 0] == pytest.approx(5, abs=0.05)
    assert cells.radii[0, 12] == pytest.approx(8, abs=0.05)


@given(st.integers(1, 60), st.integers(1, 12))
def test_bands_are_of_equal_number_and_ordered(number: int, parts: int) -> None:
    values = random_field(30.0, np.random.default_rng(number))(np.arange(2.0 * number).reshape(-1, 2))
    band = bands(values, parts)
    sizes = np.bincount(band, minlength=parts)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(band[np.argsort(values, kind="stable")]) >= 0).all()


def test_a_field_has_unit_variance_and_the_slope_asked_for() -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 20_000, (20_000, 2))
    field = random_field(100.0, rng)
    steps = [field(points + step) - field(points) for step in np.eye(2)]
    assert field(points).std() == pytest.approx(1, rel=0.1)
    assert np.sqrt(np.square(steps).sum(axis=0).mean()) == pytest.approx(0.01, rel=0.3)
