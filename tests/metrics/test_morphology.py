"""Shapes of cells drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tissuegraph.metrics.segmentation import Morphology, morphology, outline_iou
from tissuegraph.shapes import aspect_ratio, solidity

SQUARE, RECTANGLE = shapely.box(0, 0, 4, 4), shapely.box(10, 0, 18, 2)
#   +--+
#   |  |        an L: three of four squares of 2 um
#   |  +--+
#   |     |
#   +-----+
CONCAVE = shapely.Polygon([(20, 0), (24, 0), (24, 2), (22, 2), (22, 4), (20, 4)])


def test_shapes_by_hand():
    shapes = np.array([SQUARE, RECTANGLE, CONCAVE, shapely.MultiPolygon([SQUARE, shapely.box(4, 0, 8, 4)])])
    assert aspect_ratio(shapes) == pytest.approx([1, 4, 1, 2])
    assert solidity(shapes) == pytest.approx([1, 1, 12 / 14, 1])
    turned = np.array(
        [shapely.affinity.rotate(RECTANGLE, 30), toy.ellipse((0, 0), 6, 2, angle=1.0, corners=64)]
    )
    assert aspect_ratio(turned) == pytest.approx([4, 3], rel=0.01)


def test_polygons_by_hand():
    cell = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, -1])
    positions = np.array(
        [(1, 1), (4, 4), (5, 1), (11, 1), (19, 1), (21, 1), (23, 3), (23, 1), (21, 3), (1, 1)], np.float32
    )
    outlines = np.array(
        [SQUARE, RECTANGLE, CONCAVE, shapely.box(0, 0, 99, 1)]
    )  # of the last nothing is assigned
    found = morphology(cell, positions, outlines)
    assert found.area == 16  # 16, 16 and 12
    assert found.elongation == pytest.approx(1)
    assert found.solidity == 1
    assert found.outside == pytest.approx(3 / 9)  # (4, 4) lies on the border


def test_cells_without_a_polygon_are_left_out():
    cell, positions = np.array([0, 0, 1, 2]), np.array([(1, 1), (9, 9), (1, 1), (50, 50)], float)
    found = morphology(cell, positions, np.array([None, SQUARE, None], object))
    assert found == Morphology(16, 1, 1, 0)
    assert morphology(cell, positions, np.full(3, None, object)) == Morphology(None, None, None, None)


def test_hulls_of_transcripts():
    # cell 0 spans a rectangle, 1 a triangle, 2 a line, 3 has two transcripts, 4 one
    cell = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, -1])
    x = [0, 6, 6, 0, 3, 20, 24, 20, 30, 31, 32, 40, 41, 50, 60]
    y = [0, 0, 2, 2, 1, 0, 0, 4, 0, 1, 2, 0, 0, 0, 60]
    positions = np.column_stack([x, y]).astype(np.float32)
    found = morphology(cell, positions)
    assert found.area == pytest.approx((12 + 8) / 2)
    # the triangle's smallest rectangle is 4 x 4 or 5.7 x 2.8
    assert found.elongation in (pytest.approx((3 + 2) / 2), pytest.approx((3 + 1) / 2))
    assert (found.solidity, found.outside) == (None, None)
    order = np.random.default_rng(0).permutation(15)
    assert morphology(cell[order], positions[order]) == found


def test_the_toy_cells():
    found = morphology(toy.OWNER, toy.positions(), toy.cells())
    assert found == Morphology(100, 1, 1, 0)
    found = morphology(toy.OWNER, toy.positions(), toy.nuclei())
    assert (found.area, found.outside) == (16, 0.5)


@pytest.mark.parametrize("outlines", [None, np.array([SQUARE]), np.zeros(0, object)])
def test_nothing_assigned_has_no_shape(outlines):
    assert morphology(np.full(3, -1), np.zeros((3, 2)), outlines) == Morphology(None, None, None, None)


places = arrays.arrays(np.float32, (12, 2), elements=st.integers(0, 6).map(np.float32))


@settings(max_examples=60, deadline=None)
@given(places, st.lists(st.integers(-1, 3), min_size=12, max_size=12))
def test_hulls_are_those_of_each_cell_alone(positions, cells):
    cell = np.array(cells)
    hulls = [
        shapely.convex_hull(shapely.MultiPoint(positions[cell == one].astype(float))) for one in range(4)
    ]
    areas = [hull.area for hull in hulls if hull.area > 0]
    found = morphology(cell, positions)
    if areas:
        assert found.area == pytest.approx(np.median(areas))
        assert found.elongation >= 1 - 1e-9
    else:
        assert found == Morphology(None, None, None, None)


def test_outline_iou_by_hand():
    shifted = shapely.affinity.translate(SQUARE, 2)
    given = np.array([SQUARE, shifted, RECTANGLE, None, SQUARE, shapely.Polygon()])
    true = np.array([SQUARE, SQUARE, SQUARE, SQUARE, None, shapely.Polygon()])
    expected = [1, 8 / 24, 0, np.nan, np.nan, np.nan]
    assert outline_iou(given, true) == pytest.approx(expected, nan_ok=True)
    assert outline_iou(true, given) == pytest.approx(expected, nan_ok=True)
    assert outline_iou(given[:0], true[:0]).shape == (0,)
