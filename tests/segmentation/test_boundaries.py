"""Outlines of cells: valid, around their transcripts, for every cell however small."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.segmentation.boundaries import cell_outlines


def share_inside(outline: shapely.Geometry, points: np.ndarray) -> float:
    return float(np.mean([outline.intersects(shapely.Point(point)) for point in points]))


def check(outlines: np.ndarray, positions: np.ndarray, cell: np.ndarray, nuclei: np.ndarray) -> None:
    assert len(outlines) == len(nuclei)
    for number, outline in enumerate(outlines):
        assert outline.geom_type == "Polygon"
        assert outline.is_valid
        assert outline.area > 0
        own = positions[cell == number]
        assert len(own) == 0 or share_inside(outline, own) >= 0.9


@st.composite
def slides(draw):
    """Nuclei, and cells of all kinds: empty, single, collinear, piled up, thin, with strays."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    nuclei = toy.random_outlines(draw(st.integers(0, 10**6)), draw(st.integers(1, 6)), 50.0)
    positions, cell = [], []
    for number, nucleus in enumerate(nuclei):
        kind = draw(st.sampled_from(["none", "one", "line", "pile", "cloud", "strays"]))
        n = {"none": 0, "one": 1}.get(kind, draw(st.integers(1, 40)))
        spread = {"line": (6, 0), "pile": (0, 0), "strays": (3, 3)}.get(kind, (5, 2))
        own = generator.normal(nucleus.centroid.coords[0], spread, (n, 2))
        if kind == "strays" and n:
            own[:: max(n // 2, 1)] += generator.uniform(-200, 200, 2)
        positions.append(own)
        cell += [number] * n
    order = generator.permutation(len(cell))
    return np.vstack(positions)[order], np.array(cell, np.int64)[order], nuclei


@settings(max_examples=60, deadline=None)
@given(slides(), st.sampled_from([np.float32, np.float64]))
def test_outlines_are_valid_and_hold_their_transcripts(slide, dtype):
    positions, cell, nuclei = slide
    positions = positions.astype(dtype)
    check(cell_outlines(positions, cell, nuclei), positions, cell, nuclei)


@settings(max_examples=20, deadline=None)
@given(slides(), st.integers(0, 100))
def test_the_order_of_transcripts_does_not_matter(slide, seed):
    positions, cell, nuclei = slide
    order = np.random.default_rng(seed).permutation(len(cell))
    one, other = cell_outlines(positions, cell, nuclei), cell_outlines(positions[order], cell[order], nuclei)
    assert shapely.equals(one, other).all()


def test_outlines_hold_the_nucleus():
    outlines = cell_outlines(toy.positions(), toy.OWNER, toy.nuclei())
    check(outlines, toy.positions(), toy.OWNER, toy.nuclei())
    assert shapely.covers(outlines, toy.nuclei()).all()
    assert shapely.covers(shapely.buffer(toy.cells(), 0.1), outlines).all()


def test_one_stray_transcript_draws_no_spike():
    positions = np.vstack([np.random.default_rng(0).uniform(0, 10, (60, 2)), [[80.0, 5.0]]])
    (outline,) = cell_outlines(positions, np.zeros(61, np.int64), toy.nuclei()[:1])
    assert outline.bounds[2] < 11


def test_a_bent_cell_is_not_made_convex():
    angle = np.linspace(0, np.pi, 200)
    positions = 20 * np.column_stack([np.cos(angle), np.sin(angle)])
    nucleus = np.array([toy.ellipse((20, 0), 2, 2)])
    (outline,) = cell_outlines(positions, np.zeros(200, np.int64), nucleus)
    assert outline.area < 0.97 * outline.convex_hull.area


@pytest.mark.parametrize("cells", [0, 2])
def test_without_transcripts_the_nucleus_is_the_cell(cells):
    nuclei = toy.nuclei()[:cells]
    outlines = cell_outlines(np.empty((0, 2)), np.empty(0, np.int64), nuclei)
    assert len(outlines) == cells
    assert shapely.area(outlines) == pytest.approx(shapely.area(nuclei), rel=0.1)
