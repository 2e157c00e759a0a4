"""Simple rules on the five toy cells, and the oracle."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import shapely
import toy

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.evaluation.rules import (
    BEST_DISTANCE,
    NUCLEI_ONLY,
    RULES,
    VORONOI,
    best_distance,
    nearest_name,
    simple_rules,
)
from tissuegraph.evaluation.slide import FARTHEST, centres, nearest_nuclei, read_slide


def toy_slide(folder, *more):
    table = pl.concat([toy.transcripts(), *more])
    ids = pl.int_range(pl.len(), dtype=pl.UInt64).alias(keys.TRANSCRIPT_ID)
    table = table.with_columns(ids, pl.lit(None, pl.String).alias(keys.CELL_ID))
    return read_slide(toy.sample(folder, table))


def test_the_toy_cells(tmp_path):
    slide = toy_slide(tmp_path)
    assert slide.genes == list(toy.GENES)
    assert slide.gene.tolist() == toy.tokens().tolist()
    assert slide.inside.tolist() == np.where(toy.NUCLEAR, toy.OWNER, -1).tolist()
    assert centres(slide).tolist() == (toy.CORNERS + 5).tolist()
    rules = simple_rules(slide)
    assert tuple(rules) == RULES
    assert rules[NUCLEI_ONLY].tolist() == slide.inside.tolist()
    # the outer transcripts lie 2.6 to 2.9 um from their nucleus, by the corners of a square
    for reach in (1, 2):
        assert rules[nearest_name(reach)].tolist() == slide.inside.tolist()
    for rule in (nearest_name(3), nearest_name(5), nearest_name(8), VORONOI):
        assert rules[rule].tolist() == toy.OWNER.tolist()


def test_distances_are_signed_and_bounded(tmp_path):
    more = toy.transcripts()[:4].with_columns(
        x=pl.Series([5, 3, -3, 200], dtype=pl.Float32), y=pl.lit(5.0, pl.Float32)
    )
    slide = toy_slide(tmp_path, more)
    assert slide.distance[40:].tolist() == [-2, 0, 6, np.inf]
    assert slide.nearest[40:].tolist() == [0, 0, 0, -1]
    assert slide.inside[40:].tolist() == [0, 0, -1, -1]  # on the outline is inside
    assert simple_rules(slide)[nearest_name(8)][40:].tolist() == [0, 0, 0, -1]
    assert simple_rules(slide)[VORONOI][40:].tolist() == [0, 0, 0, 2]  # however far


def test_a_transcript_on_an_outline_is_inside():
    box = np.array([shapely.box(0, 0, 4, 4)])
    nearest, distance = nearest_nuclei(np.float32([(4, 2), (4.5, 2), (4 + FARTHEST, 2), (25, 2)]), box)
    assert nearest.tolist() == [0, 0, 0, -1]
    assert distance.tolist() == [0, 0.5, FARTHEST, np.inf]
    nearest, _ = nearest_nuclei(np.float32([(4, 2), (4.5, 2)]), box, farthest=0.0)
    assert nearest.tolist() == [0, -1]


def test_the_oracle_takes_the_best_and_of_equals_the_shortest(tmp_path):
    slide = toy_slide(tmp_path)
    seen = np.ones(5, bool)
    name, cell = best_distance(slide, toy.OWNER, seen)
    assert name == f"{BEST_DISTANCE} (oracle: 3 um)"
    assert cell.tolist() == toy.OWNER.tolist()
    name, cell = best_distance(slide, np.where(toy.NUCLEAR, toy.OWNER, -1), seen)
    assert name == f"{BEST_DISTANCE} (oracle: 0 um)"
    assert cell.tolist() == slide.inside.tolist()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({keys.QV: pl.Series([19.9, 20, None, np.nan] * 10, dtype=pl.Float32)}, [1, 2]),
        ({keys.IS_CONTROL: pl.Series([True, False, False, None] * 10)}, [1, 2]),
        ({keys.X: pl.Series([np.nan, 4, 4, np.inf] * 10, dtype=pl.Float32)}, [1, 2]),
        ({keys.GENE: pl.Series([None, "A1", "A2", None] * 10)}, [1, 2]),
    ],
    ids=["quality", "controls", "place", "name"],
)
def test_what_is_judged(tmp_path, change, left):
    table = toy.transcripts().with_columns(**change)
    ids = pl.int_range(pl.len(), dtype=pl.UInt64).alias(keys.TRANSCRIPT_ID)
    table = table.with_columns(ids, pl.lit(None, pl.String).alias(keys.CELL_ID))
    judged = read_slide(toy.sample(tmp_path, table)).judged
    wanted = [4 * i + row for i in range(10) for row in left]
    if keys.QV in change:  # NaN is above all numbers
        judged = [row for row in judged if row % 4 != 3]
    assert list(judged) == wanted


def test_a_slide_without_nuclei_has_no_rules(tmp_path):
    with pytest.raises(InputError, match="has no nuclei"):
        read_slide(toy.sample(tmp_path, toy.transcripts(), np.zeros(0, object)))
