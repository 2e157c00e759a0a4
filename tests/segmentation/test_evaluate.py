"""Scores of a run and its baselines on a slide drawn by hand."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import shapely
from rich.console import Console

from tissuegraph.errors import InputError
from tissuegraph.segmentation.evaluate import OURS, TRUE_OUTLINES, VENDOR, evaluate, print_scores
from tissuegraph.segmentation.nearest import best_distance, nearest_nucleus

# Along y = 2; nuclei A at x = 0..4 and B at x = 20..24, none for u; one background transcript at 13.5.
#
#      A  A   A     A        .        B    B  B             u  u
#    [ 1  2 ] 6    10       13.5     18  [21 22 ]            40 41   (3: a control and one of low quality)
#
X = [1, 2, 6, 10, 13.5, 18, 21, 22, 40, 41, 3, 3]
TRUE = [*"AAAA", None, *"BBB", *"uu", "A", "A"]
OURS_ASSIGNED = [*"AAA", None, "B", *"BBB", "new-1", "new-1", None, None]
VENDOR_ASSIGNED = [*"AA", None, None, None, None, *"BB", "B", "B", "A", "A"]
NEAREST = "nearest nucleus, 5 um"
ORACLE = "nearest nucleus, best distance (oracle: 6 um)"


def write_bundle(folder, copies):
    folder.mkdir()
    n = len(X) * copies
    pl.DataFrame(
        {
            "transcript_id": np.arange(n, dtype=np.uint64) + 2**54,
            "cell_id": [cell or "UNASSIGNED" for cell in VENDOR_ASSIGNED] * copies,
            "overlaps_nucleus": np.zeros(n, np.uint8),
            "feature_name": ([*["ACTB"] * 11, "NegControlProbe_00042"]) * copies,
            "x_location": np.tile(np.float32(X), copies),
            "y_location": np.full(n, 2, np.float32),
            "z_location": np.zeros(n, np.float32),
            "qv": np.tile(np.float32([*[30] * 10, 5, 40]), copies),
        }
    ).write_parquet(folder / "transcripts.parquet")
    corners = [("A", 0, 0), ("A", 4, 0), ("A", 4, 4), ("A", 0, 4), ("A", 0, 0)]
    corners += [("B", x + 20, y) for _, x, y in corners]
    outlines = pl.DataFrame(corners, schema=["cell_id", "vertex_x", "vertex_y"], orient="row")
    outlines = outlines.cast({"vertex_x": pl.Float32, "vertex_y": pl.Float32})
    outlines.write_parquet(folder / "nucleus_boundaries.parquet")


def write_truth(folder, copies):
    ids = np.arange(len(X) * copies, dtype=np.uint64) + 2**54
    truth = pl.DataFrame({"transcript_id": ids, "true_cell_id": TRUE * copies})
    truth.write_parquet(folder / "truth.parquet")
    geometry = [shapely.box(-1, 0, 11, 4), shapely.box(17, 0, 26, 4), shapely.box(39, 0, 42, 4)]
    cells = {"cell_id": list("ABu"), "has_nucleus": [True, True, False]}
    gpd.GeoDataFrame(cells, geometry=geometry).to_parquet(folder / "truth_cells.parquet")


def write_out(folder, bundle, copies):
    folder.mkdir()
    bundle_columns = pl.read_parquet(bundle / "transcripts.parquet")
    assigned = pl.Series("assigned_cell_id", OURS_ASSIGNED * copies)
    bundle_columns.with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt64).alias("row"),
        assigned,
        pl.when(assigned.is_not_null()).then(pl.lit(0.9)).alias("assignment_probability"),
        pl.Series("dropped_because", [*[None] * 10, "low quality", "control"] * copies),
    ).write_parquet(folder / "transcripts.parquet")
    (folder / "run.json").write_text(json.dumps({"source": str(bundle)}))


@pytest.fixture
def slide(tmp_path):
    def write(copies=1):
        write_bundle(tmp_path / "bundle", copies)
        write_truth(tmp_path, copies)
        write_out(tmp_path / "out", tmp_path / "bundle", copies)
        return tmp_path

    return write


def test_scores_by_hand(slide):
    folder = slide()
    scores = evaluate(folder / "out", folder / "truth.parquet")
    assert list(scores) == [OURS, VENDOR, ORACLE, NEAREST, TRUE_OUTLINES]
    assert {score.n_transcripts for score in scores.values()} == {10}
    ours = scores[OURS]
    assert (ours.precision, ours.recall, ours.unseen) == (8 / 9, 6 / 7, 1)
    assert ours.share_assigned == 0.9
    assert ours.calibration_error is None
    assert (scores[VENDOR].precision, scores[VENDOR].recall, scores[VENDOR].unseen) == (4 / 6, 4 / 7, 0)
    assert (scores[ORACLE].precision, scores[ORACLE].recall, scores[ORACLE].unseen) == (1, 1, 0)
    assert (scores[NEAREST].precision, scores[NEAREST].recall) == (1, 6 / 7)
    assert (scores[TRUE_OUTLINES].f1, scores[TRUE_OUTLINES].unseen) == (1, 1)


def test_calibration_is_measured_where_enough_is_assigned(slide):
    folder = slide(copies=1_200)
    ours = evaluate(folder / "out", folder / "truth.parquet")[OURS]
    assert ours.calibration_error == pytest.approx(0.9 - 8 / 9)


def test_the_order_of_the_rows_plays_no_role(slide):
    folder = slide()
    wanted = evaluate(folder / "out", folder / "truth.parquet")
    for name in ("out/transcripts.parquet", "truth.parquet"):
        pl.read_parquet(folder / name).reverse().write_parquet(folder / name)
    assert evaluate(folder / "out", folder / "truth.parquet") == wanted


def test_ids_as_text_meet_ids_as_numbers(slide):
    folder = slide()
    wanted = evaluate(folder / "out", folder / "truth.parquet")
    truth = pl.read_parquet(folder / "truth.parquet")
    truth.with_columns(pl.col("transcript_id").cast(pl.String)).write_parquet(folder / "truth.parquet")
    assert evaluate(folder / "out", folder / "truth.parquet") == wanted


def test_a_bundle_that_moved(slide):
    folder = slide()
    wanted = evaluate(folder / "out", folder / "truth.parquet")
    (folder / "bundle").rename(folder / "moved")
    with pytest.raises(InputError, match="--bundle"):
        evaluate(folder / "out", folder / "truth.parquet")
    assert evaluate(folder / "out", folder / "truth.parquet", bundle=folder / "moved") == wanted


def test_without_true_outlines_and_vendor_cells(slide):
    folder = slide()
    cells = pl.read_parquet(folder / "truth_cells.parquet", columns=["cell_id", "has_nucleus"])
    cells.write_parquet(folder / "truth_cells.parquet")
    bundle = folder / "bundle" / "transcripts.parquet"
    pl.read_parquet(bundle).with_columns(pl.lit("UNASSIGNED").alias("cell_id")).write_parquet(bundle)
    assert list(evaluate(folder / "out", folder / "truth.parquet")) == [OURS, ORACLE, NEAREST]


def edit(path, change):
    change(pl.read_parquet(path)).write_parquet(path)


def of_another_slide(table):
    return table.with_columns(pl.col("transcript_id") + 7)


def not_wkb(table):
    return table.with_columns(geometry=pl.lit("POINT (0 0)"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "out/run.json").unlink(), "no run.json"),
        (lambda f: (f / "out/transcripts.parquet").unlink(), "no transcripts.parquet"),
        (lambda f: (f / "out/run.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "out/run.json").write_text("{}"), "names no bundle"),
        (lambda f: (f / "truth.parquet").unlink(), "there is no .*truth.parquet"),
        (lambda f: (f / "truth.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda f: (f / "truth_cells.parquet").unlink(), "there is no .*truth_cells.parquet"),
        (
            lambda f: edit(f / "truth.parquet", lambda t: t.drop("true_cell_id")),
            "no column true_cell_id .*found",
        ),
        (lambda f: edit(f / "truth.parquet", of_another_slide), "7 of the 10 transcripts"),
        (lambda f: edit(f / "truth.parquet", lambda t: pl.concat([t, t[:3]])), "3 rows of .* repeat"),
        (lambda f: edit(f / "out/transcripts.parquet", lambda t: t[:5]), "the run has 5 transcripts"),
        (lambda f: edit(f / "out/transcripts.parquet", lambda t: t.drop("row")), "no column row"),
        (lambda f: edit(f / "truth_cells.parquet", not_wkb), "GeoParquet"),
    ],
)
def test_refuses_in_one_sentence(slide, spoil, message):
    folder = slide()
    spoil(folder)
    with pytest.raises(InputError, match=message) as refusal:
        evaluate(folder / "out", folder / "truth.parquet")
    assert "\n" not in str(refusal.value)


def test_prints_every_row(slide):
    folder = slide()
    scores = evaluate(folder / "out", folder / "truth.parquet")
    console = Console(width=120, record=True, file=io.StringIO())
    print_scores(scores | {OURS: replace(scores[OURS], calibration_error=0.0214)}, console)
    text = console.export_text()
    assert all(name in text for name in scores)
    assert "10 transcripts" in text
    assert "0.021" in text
    assert "-" in text.splitlines()[-3]


def test_nearest_nucleus_takes_the_first_pair_within_reach():
    pairs = np.array([0, 0, 2, 3]), np.array([5, 1, 1, 2]), np.float32([-1, 2, 5, 5.1])
    assert nearest_nucleus(5, *pairs, max_distance=5).tolist() == [5, -1, 1, -1, -1]
    assert nearest_nucleus(5, *pairs, max_distance=0).tolist() == [5, -1, -1, -1, -1]


def test_the_oracle_prefers_the_shortest_of_equals():
    pairs = np.array([0, 1]), np.array([0, 0]), np.float32([0, 3.2])
    given = {"nucleus_id": ["A"], "true_cell": ["A", "A"], "seen_cells": ["A"]}
    oracle = best_distance(*pairs, **given)
    assert (oracle.distance, oracle.scores.f1) == (3.5, 1)
    assert best_distance(*pairs, **given, distances=[0, 1, 2]).distance == 0
    with pytest.raises(InputError, match="no distance"):
        best_distance(*pairs, **given, distances=[])
