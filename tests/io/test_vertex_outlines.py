from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shapely
from bundles import square, vertex_table
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.io.outlines import outlines_from_vertices


def read(table: pl.DataFrame):
    names = {"vertex_x": "x", "vertex_y": "y", "label_id": "label"}
    return outlines_from_vertices(
        table.rename(names, strict=False), Path("b.parquet"), "nucleus", "mend them"
    )


@st.composite
def stars(draw):
    """A star-shaped, hence simple, ring around the origin."""
    n = draw(st.integers(3, 12))
    radii = np.array(draw(st.lists(st.floats(1, 20), min_size=n, max_size=n)))
    angles = np.arange(n) / n * 2 * np.pi
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


@st.composite
def cells_of_stars(draw):
    """Cells of one to three rings, each ring at a place of its own."""
    cells = draw(st.lists(st.lists(stars(), min_size=1, max_size=3), min_size=1, max_size=6))
    places = iter(range(100, 10_000, 100))
    return [[ring + np.array([next(places), 0]) for ring in rings] for rings in cells]


def as_vertices(cells, *, labelled: bool, closed: bool, stuttering: bool) -> pl.DataFrame:
    rows = []
    labels = iter(range(1_000))
    for number, rings in enumerate(cells):
        for ring in rings:
            must_close = len(rings) > 1 and not labelled
            vertices = [*ring, ring[0]] if closed or must_close else list(ring)
            label = next(labels)
            times = 2 if stuttering else 1
            rows += [(f"c{number}", label, x, y) for x, y in vertices for _ in range(times)]
    table = pl.DataFrame(rows, schema=["cell_id", "label_id", "vertex_x", "vertex_y"], orient="row")
    return table if labelled else table.drop("label_id")


@settings(deadline=None, max_examples=100)
@given(cells_of_stars(), st.booleans(), st.booleans(), st.booleans())
def test_stars_come_back_with_their_areas(cells, labelled, closed, stuttering):
    outlines, repairs = read(as_vertices(cells, labelled=labelled, closed=closed, stuttering=stuttering))
    expected = [sum(shapely.Polygon(ring).area for ring in rings) for rings in cells]
    assert repairs == {}
    assert list(outlines.index) == [f"c{i}" for i in range(len(cells))]
    np.testing.assert_allclose(outlines.area, expected)
    parts = [len(rings) for rings in cells]
    assert shapely.get_num_geometries(outlines.geometry.to_numpy()).tolist() == parts
    assert outlines.geom_type.tolist() == ["Polygon" if n == 1 else "MultiPolygon" for n in parts]
    assert outlines.is_valid.all()


@settings(deadline=None, max_examples=50)
@given(cells_of_stars(), st.booleans(), st.randoms(use_true_random=False))
def test_rings_whose_rows_are_interleaved(cells, closed, random):
    """Rows of different rings in any mixture, as long as each ring's own rows keep their order."""
    table = as_vertices(cells, labelled=True, closed=closed, stuttering=False)
    labels = table["label_id"].to_list()
    rows = {label: iter(np.flatnonzero(np.array(labels) == label).tolist()) for label in labels}
    random.shuffle(labels)
    mixed = table[[next(rows[label]) for label in labels]]
    outlines, _ = read(mixed)
    assert list(outlines.index) == mixed["cell_id"].unique(maintain_order=True).to_list()
    expected = read(table)[0].area
    np.testing.assert_allclose(outlines.area[expected.index], expected)


coordinate = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan")])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=12))
def test_whatever_the_vertices_an_outline_is_valid_or_left_out(vertices):
    good = [(f"good{i}", square(10.0 * i + 50, 0, 4)) for i in range(600)]  # so that no few are too many
    outlines, repairs = read(vertex_table([("odd", vertices), *good]))
    assert outlines.is_valid.all()
    assert set(outlines.geom_type) <= {"Polygon", "MultiPolygon"}
    assert (outlines.area > 0).all()
    assert len(outlines) == 600 + ("odd" in outlines.index)
    if "odd" not in outlines.index:
        assert repairs["nucleus outlines left out"] >= 1


def test_overlapping_nuclei_of_one_cell_are_merged():
    table = vertex_table([("a", square(0, 0, 4)), ("a", square(2, 0, 4)), ("b", square(20, 0, 4))])
    outlines, repairs = read(table)
    assert outlines.area.tolist() == [24.0, 16.0]
    assert outlines.is_valid.all()
    assert repairs == {}


def test_rings_of_one_cell_that_lie_apart_in_the_table():
    table = vertex_table([("a", square(0, 0, 4)), ("b", square(20, 0, 4)), ("a", square(40, 0, 4))])
    outlines, _ = read(table)
    assert list(outlines.index) == ["a", "b"]
    assert outlines.geom_type.tolist() == ["MultiPolygon", "Polygon"]


def test_a_label_alone_separates_open_rings():
    table = vertex_table([("a", square(0, 0, 4)[:-1]), ("a", square(20, 0, 4)[:-1])])
    outlines, _ = read(table.with_columns(label_id=pl.Series([1] * 4 + [2] * 4)))
    assert outlines.geom_type.tolist() == ["MultiPolygon"]
    assert outlines.area.tolist() == [32.0]


def test_nuclei_without_a_cell_are_left_out_and_counted():
    table = vertex_table([("a", square(0, 0, 4)), (None, square(20, 0, 4)), ("b", square(40, 0, 4))])
    outlines, repairs = read(table)
    assert list(outlines.index) == ["a", "b"]
    assert repairs == {"nucleus vertices without a cell": 5}


def test_a_cell_keeps_its_sound_ring_when_another_is_bad():
    table = vertex_table(
        [("a", square(0, 0, 4)), ("b", square(20, 0, 4)), ("b", [(30, 0), (31, 0), (30, 0)])]
    )
    outlines, repairs = read(table)
    assert outlines.area.tolist() == [16.0, 16.0]
    assert repairs == {"nucleus outlines left out": 1}


def test_a_ring_without_area_is_left_out():
    line = [(30, 0), (31, 0), (32, 0), (30, 0)]
    outlines, repairs = read(vertex_table([("a", square(0, 0, 4)), ("line", line)]))
    assert list(outlines.index) == ["a"]
    assert repairs == {"nucleus outlines left out": 1}


@pytest.mark.parametrize("dtype", [pl.String, pl.Null])
def test_no_vertices_give_no_outlines(dtype):
    outlines, repairs = read(vertex_table([]).cast({"cell_id": dtype}))
    assert len(outlines) == 0
    assert outlines.index.name == "cell_id"
    assert repairs == {}
