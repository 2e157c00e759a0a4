"""Cells of a tool's own names become cells of the slide."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import shapely
import toy
from test_rules import toy_slide

from tissuegraph.evaluation.assignments import Assignment
from tissuegraph.evaluation.cells import CellNames, judged_part, method_of, slide_names

NAMES = np.array([*toy.CELLS, None], object)


def named(cells):
    return pl.Series([None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def renamed(cells, slide):
    """What each transcript's cell is called on the slide."""
    names = slide_names(named(cells), slide, "tool")
    assert names["cell"].to_list() == sorted({str(cell) for cell in cells if cell is not None})
    book = dict(names.iter_rows())
    return [None if cell is None else book[str(cell)] for cell in cells]


def test_names_of_the_slide_are_kept(tmp_path):
    slide = toy_slide(tmp_path)
    cells = [*NAMES[toy.OWNER]]
    cells[-1] = "new-1"
    assert renamed(cells, slide) == cells


def test_names_of_its_own_are_those_of_the_nuclei(tmp_path):
    slide = toy_slide(tmp_path)
    own = np.array([17, 3, 4, 0, 99], object)
    assert renamed(own[toy.OWNER], slide) == [*NAMES[toy.OWNER]]
    # one that bears the name of another nucleus is no exception
    other = np.roll(np.array(toy.CELLS, object), 1)
    assert renamed(other[toy.OWNER], slide) == [*NAMES[toy.OWNER]]


def test_a_nucleus_is_given_once_to_the_cell_that_holds_most_of_it(tmp_path):
    slide = toy_slide(tmp_path)
    cells = np.array([f"k{i}" for i in toy.OWNER], object)
    cells[:8] = ["x", "x", "x", "y", "y", "y", "y", "y"]  # x has three of a's nucleus, y one
    cells[8:16] = "k3"  # b and d are one cell, which has as much of either: b comes first
    found = renamed(cells, slide)
    assert found[:8] == ["a"] * 3 + ["tool:y"] * 5
    assert found[8:16] == ["b"] * 8
    assert found[24:32] == ["b"] * 8


@pytest.mark.parametrize(
    "cells", [[None] * 40, [None] * 4 + ["q"] * 4 + [None] * 32], ids=["none", "outside"]
)
def test_cells_that_touch_no_nucleus_keep_their_names(tmp_path, cells):
    assert renamed(cells, toy_slide(tmp_path)) == cells


def test_the_judged_part_is_renamed_throughout(tmp_path):
    slide = toy_slide(tmp_path)
    own = np.array(["4", "3", "2", "1", "0"], object)
    outlines = gpd.GeoDataFrame(geometry=[*toy.cells(), shapely.box(0, 0, 1, 1)], index=[*own, "never met"])
    given = Assignment("tool", named(own[toy.OWNER]), np.arange(40.0), outlines, is_probability=False)
    found = judged_part(given, slide)
    assert found.cell.to_list() == [*NAMES[toy.OWNER]]
    assert sorted(found.outlines.index) == list(toy.CELLS)
    assert found.outlines.geometry["a"].equals(toy.cells()[0])
    names = CellNames.of(slide.nucleus_ids, [found.cell, pl.Series(["u", None, "a"])])
    assert names.ids.to_list() == [*toy.CELLS, "u"]
    assert len(names) == 6
    method = method_of(found, names)
    assert method.cell.tolist() == toy.OWNER.tolist()
    assert method.outlines[:5].tolist() == toy.cells().tolist()
    assert method.outlines[5] is None
    assert method.confidence.tolist() == list(range(40))
    assert names.codes(pl.Series(["u", None, "e", "stranger"])).tolist() == [5, -1, 4, -1]


def test_only_judged_rows_are_kept(tmp_path):
    bad = toy.transcripts()[:2].with_columns(qv=pl.lit(3.0, pl.Float32))
    slide = toy_slide(tmp_path, bad)
    given = Assignment("tool", named([*NAMES[toy.OWNER], "a", None]), None, None, is_probability=False)
    assert judged_part(given, slide).cell.to_list() == [*NAMES[toy.OWNER]]
