"""Packed outlines are the outlines."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph import shapes
from tissuegraph.shapes import PackedOutlines, centroids, measured


def some_outlines(seed: int, n: int) -> np.ndarray:
    """Polygons, one of two parts, one with a hole, an empty one and a missing one among them."""
    outlines = toy.random_outlines(seed, max(n, 1), 90.0)[:n]
    box = shapely.box(0, 0, 5, 5)
    odd = [shapely.union(box, shapely.box(9, 9, 10, 10)), box.difference(shapely.box(1, 1, 2, 2))]
    return np.array([*odd, *outlines, shapely.Polygon(), None], object)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    both_missing = shapely.is_missing(one) & shapely.is_missing(other)
    return len(one) == len(other) and bool((shapely.equals_exact(one, other, 0) | both_missing).all())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20), st.data())
def test_packed_outlines_are_the_same_to_the_bit(seed, n, data):
    outlines = some_outlines(seed, n)
    packed = PackedOutlines(outlines)
    assert len(packed) == len(outlines)
    assert same(np.asarray(packed), outlines)
    numbers = np.array(data.draw(st.lists(st.integers(0, len(outlines) - 1))), np.int64)
    assert same(packed[numbers], outlines[numbers])
    mask = np.arange(len(outlines)) % 2 == 0
    assert same(packed[mask], outlines[mask])
    assert same(packed[1:3], outlines[1:3])
    assert packed[0].equals_exact(outlines[0], 0)
    assert same(np.asarray(packed.beside(outlines[2:])), np.concatenate([outlines, outlines[2:]]))
    assert same(np.asarray(packed.beside(outlines[:2])), np.concatenate([outlines, outlines[:2]]))
    assert same(np.asarray(packed), outlines)


def test_nothing_packed_is_nothing():
    packed = PackedOutlines(np.empty(0, object))
    assert len(packed) == 0
    assert np.asarray(packed).shape == (0,)
    assert measured(shapely.bounds, packed).shape == (0, 4)
    assert same(np.asarray(packed.beside(toy.nuclei())), toy.nuclei())


def test_packed_outlines_leave_no_file(tmp_path):
    packed = PackedOutlines(toy.nuclei(), tmp_path)
    assert same(packed[:], toy.nuclei())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", [3, 1000])
def test_measured_in_blocks_is_measured_at_once(block, monkeypatch):
    monkeypatch.setattr(shapes, "BLOCK", block)
    outlines = toy.random_outlines(1, 10, 90.0)
    for packed in (outlines, PackedOutlines(outlines)):
        assert np.array_equal(measured(shapely.area, packed), shapely.area(outlines))
        expected = shapely.get_coordinates(shapely.centroid(outlines))
        assert np.array_equal(measured(centroids, packed), expected)
