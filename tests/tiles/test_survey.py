"""One look at a slide: what is dropped and why, and which slides are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.tiles.survey import drop_reason, kept_transcripts, survey

MIN_QV = 20.0


def changed(rows: dict[int, dict[str, object]], times: int = 1) -> pl.DataFrame:
    """The toy's transcripts, `times` over, with some values of some rows replaced."""
    table = pl.concat([toy.transcripts()] * times).with_row_index("at")
    for at, values in rows.items():
        new = [
            pl.when(pl.col("at") == at).then(pl.lit(value, table[name].dtype)).otherwise(name).alias(name)
            for name, value in values.items()
        ]
        table = table.with_columns(new)
    return table.drop("at")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, None),
        ({keys.QV: 19.9}, keys.LOW_QUALITY),
        ({keys.QV: 20.0}, None),
        ({keys.QV: None}, None),
        ({keys.X: None}, keys.NO_POSITION),
        ({keys.Y: float("nan")}, keys.NO_POSITION),
        ({keys.X: float("inf")}, keys.NO_POSITION),
        ({keys.IS_CONTROL: True}, keys.CONTROL),
        ({keys.IS_CONTROL: True, keys.X: None, keys.QV: 1.0}, keys.CONTROL),
        ({keys.X: None, keys.QV: 1.0}, keys.NO_POSITION),
    ],
)
def test_why_a_transcript_is_dropped(values, reason):
    table = changed({0: values})
    assert table.select(drop_reason(MIN_QV).alias("why"))["why"].to_list() == [reason] + [None] * 39


def test_counts_add_up(tmp_path):
    rows = {
        0: {keys.X: None},
        7: {keys.QV: 3.0},
        8: {keys.QV: 4.0},
        90: {keys.IS_CONTROL: True, keys.GENE: "BLANK"},
    }
    sample = toy.sample(tmp_path, changed(rows, times=5))
    found = survey(sample, MIN_QV)
    assert found.counts == {"kept": 196, keys.NO_POSITION: 1, keys.LOW_QUALITY: 2, keys.CONTROL: 1}
    assert kept_transcripts(sample, MIN_QV).collect().height == 196
    assert found.histogram.counts.sum() == 196


def test_the_panel_is_sorted_and_knows_no_controls(tmp_path):
    rows = {0: {keys.GENE: "Z", keys.QV: 1.0}, 1: {keys.GENE: "BLANK_1", keys.IS_CONTROL: True}}
    found = survey(toy.sample(tmp_path, changed(rows)), MIN_QV)
    assert found.genes == ("A1", "A2", "B1", "B2", "Z")
    assert found.boundary_ids.tolist() == list(toy.CELLS)


def test_a_few_without_position_are_dropped_and_many_refused(tmp_path):
    one_in_hundred = changed({0: {keys.X: None}}, times=5)[:100]
    assert survey(toy.sample(tmp_path, one_in_hundred), MIN_QV).counts[keys.NO_POSITION] == 1
    two_in_hundred = changed({0: {keys.X: None}, 1: {keys.Y: float("nan")}}, times=5)[:100]
    with pytest.raises(InputError, match=r"2 of 100 transcripts .* have no position .* 1%"):
        survey(toy.sample(tmp_path, two_in_hundred), MIN_QV)


@pytest.mark.parametrize("none", ["missing", "empty"])
def test_a_slide_without_nuclei_is_refused(tmp_path, none):
    sample = toy.sample(tmp_path)
    nuclei = None if none == "missing" else sample.nuclei.iloc[:0]
    with pytest.raises(InputError, match="no nucleus outlines"):
        survey(dataclasses.replace(sample, nuclei=nuclei), MIN_QV)


def test_a_slide_of_which_nothing_is_left_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no transcript .*40 low quality.*lower --min-qv .now 90"):
        survey(toy.sample(tmp_path), 90.0)
    with pytest.raises(InputError, match="the table is empty"):
        survey(toy.sample(tmp_path, toy.transcripts().clear()), MIN_QV)


@settings(max_examples=40, deadline=None)
@given(*[st.floats(-40, 40)] * 2, *[st.floats(0, 40)] * 2)
def test_outlines_in_bounds_are_those_whose_box_touches(tmp_path_factory, x0, y0, width, height):
    found = survey(toy.sample(tmp_path_factory.mktemp("slide")), MIN_QV)
    box = shapely.box(x0, y0, x0 + width, y0 + height)
    if width and height:
        expected = np.flatnonzero(shapely.intersects(shapely.envelope(toy.nuclei()), box))
        assert found.outlines_in(box.bounds).tolist() == expected.tolist()
