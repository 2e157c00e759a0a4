"""A run judged with its truth, on the slide drawn by hand."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from slides import OURS, X, edit, write_hand

import tissuegraph as tg
from tissuegraph.errors import InputError, OutputError
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR
from tissuegraph.evaluation.rules import NUCLEI_ONLY, RULES, VORONOI, nearest_name

RUN = "tissuegraph"
ORACLE = "nearest nucleus, best distance (oracle: 6 um)"


def scores(figures):
    return figures.precision, figures.recall, figures.unseen


def test_scores_by_hand(hand):
    found = tg.evaluate(hand / "out", hand / "truth.parquet")
    assert list(found) == [RUN, VENDOR, *RULES, ORACLE, TRUE_OUTLINES]
    assert {figures.n_transcripts for figures in found.values()} == {10}
    assert scores(found[RUN]) == (8 / 9, 6 / 7, 1)
    assert found[RUN].f1 == pytest.approx(2 * (8 / 9) * (6 / 7) / (8 / 9 + 6 / 7))
    assert found[RUN].share_assigned == 0.9
    assert found[RUN].cell_iou == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    assert found[RUN].cell_f1 == 1
    assert found[RUN].calibration_error is None
    assert scores(found[VENDOR]) == (4 / 6, 4 / 7, 0)
    assert scores(found[NUCLEI_ONLY]) == (1, 4 / 7, 0)
    assert scores(found[nearest_name(2)]) == (1, 6 / 7, 0)
    assert scores(found[nearest_name(8)]) == (7 / 8, 1, 0)  # 13.5 is nearer to B
    assert scores(found[VORONOI]) == (7 / 10, 1, 0)
    assert scores(found[ORACLE]) == (1, 1, 0)
    assert (found[TRUE_OUTLINES].f1, found[TRUE_OUTLINES].unseen) == (1, 1)
    assert found[TRUE_OUTLINES].outside == 0
    assert found[VENDOR].vendor_agreement == 1
    assert (found[RUN].n_cells, found[RUN].transcripts_per_cell, found[RUN].genes_per_cell) == (3, 3, 1)


def test_a_run_is_calibrated_where_enough_is_assigned(tmp_path):
    folder = write_hand(tmp_path, copies=1_200)
    found = tg.evaluate(folder / "out", folder / "truth.parquet")
    assert found[RUN].calibration_error == pytest.approx(0.9 - 8 / 9)
    curve = found.reliability[RUN]
    assert (curve.promised.tolist(), curve.true.tolist()) == ([pytest.approx(0.9)], [pytest.approx(8 / 9)])
    assert curve.items.tolist() == [9 * 1_200]
    assert list(found.reliability) == [RUN]


def test_the_truth_itself_scores_one(hand):
    found = tg.evaluate({"truth": hand / "truth.parquet"}, hand / "truth.parquet", bundle=hand / "bundle")
    figures = found["truth"]
    assert scores(figures) == (1, 1, 1)
    assert (figures.f1, figures.adjusted_rand, figures.cell_iou, figures.cell_f1) == (1, 1, 1, 1)


def test_the_order_of_the_rows_plays_no_role(hand):
    wanted = tg.evaluate(hand / "out", hand / "truth.parquet")
    for name in ("out/transcripts.parquet", "truth.parquet", "truth_cells.parquet"):
        edit(hand / name, pl.DataFrame.reverse)
    assert tg.evaluate(hand / "out", hand / "truth.parquet") == wanted
    # the run's rows are numbers of the slide's, so both are turned around
    edit(hand / "bundle/transcripts.parquet", pl.DataFrame.reverse)
    edit(hand / "out/transcripts.parquet", lambda table: table.with_columns(len(X) - 1 - pl.col("row")))
    found = tg.evaluate(hand / "out", hand / "truth.parquet")
    assert {name: scores(figures) for name, figures in found.items()} == {
        name: scores(figures) for name, figures in wanted.items()
    }


def test_ids_as_text_meet_ids_as_numbers(hand):
    wanted = tg.evaluate(hand / "out", hand / "truth.parquet")
    edit(hand / "truth.parquet", lambda table: table.with_columns(pl.col("transcript_id").cast(pl.String)))
    assert tg.evaluate(hand / "out", hand / "truth.parquet") == wanted


def test_a_bundle_that_moved(hand):
    wanted = tg.evaluate(hand / "out", hand / "truth.parquet")
    (hand / "bundle").rename(hand / "moved")
    with pytest.raises(InputError, match="--bundle"):
        tg.evaluate(hand / "out", hand / "truth.parquet")
    assert tg.evaluate(hand / "out", hand / "truth.parquet", bundle=hand / "moved") == wanted
    assert tg.evaluate([hand / "out", hand / "moved"], hand / "truth.parquet") == wanted


def test_without_true_outlines_and_vendor_cells(hand):
    edit(hand / "truth_cells.parquet", lambda table: table.select("cell_id", "has_nucleus"))
    edit(hand / "bundle/transcripts.parquet", lambda table: table.with_columns(cell_id=pl.lit("UNASSIGNED")))
    found = tg.evaluate(hand / "out", hand / "truth.parquet")
    assert list(found) == [RUN, *RULES, ORACLE]
    assert {figures.vendor_agreement for figures in found.values()} == {None}


def test_without_a_truth(hand, caplog):
    found = tg.evaluate(hand / "out")
    assert list(found) == [RUN, VENDOR, *RULES]
    assert {figures.f1 for figures in found.values()} == {None}
    # two nuclei of one gene have no markers
    assert "no purity is measured" in caplog.text
    assert found.markers is None
    assert (found.marker_source, found.reliability) == ("none", {})
    assert found[RUN].share_assigned == 0.9
    assert {figures.mecr for figures in found.values()} == {None}


def test_shares_by_gene(hand):
    edit(
        hand / "bundle/transcripts.parquet",
        lambda table: table.with_columns(feature_name=pl.Series([*["G1", "G2"] * 5, "G1", "BLANK_1"])),
    )
    found = tg.evaluate(hand / "out")
    assert found.genes == ["G1", "G2"]
    assert found.share_by_gene[RUN] == {"G1": 1, "G2": 0.8}  # the fourth of the ten is unassigned
    assert found.share_by_gene[VORONOI] == {"G1": 1, "G2": 1}


def test_several_side_by_side(hand):
    shutil.copytree(hand / "out", hand / "again/out")
    edit(
        hand / "again/out/transcripts.parquet",
        lambda table: table.with_columns(assigned_cell_id=pl.lit(None, pl.String)),
    )
    found = tg.evaluate([hand / "out", f"nothing={hand / 'again/out'}"], hand / "truth.parquet")
    assert list(found)[:3] == [RUN, "nothing", VENDOR]
    assert found[RUN] == tg.evaluate(hand / "out", hand / "truth.parquet")[RUN]
    nothing = found["nothing"]
    assert scores(nothing) == (0, 0, 0)
    assert (nothing.share_assigned, nothing.n_cells, nothing.f1, nothing.cell_iou) == (0, 0, 0, 0)
    assert nothing.transcripts_per_cell is None
    assert found.equal_share == 0.6  # the vendor's; what assigns nothing is not compared


def test_runs_of_one_folder_name(hand):
    shutil.copytree(hand / "out", hand / "again/out")
    with pytest.raises(InputError, match=r"two segmentations are called 'tissuegraph \(out\)'"):
        tg.evaluate([hand / "out", hand / "again/out"])
    shutil.copytree(hand / "out", hand / "other")
    found = tg.evaluate([hand / "out", hand / "other"])
    assert list(found)[:2] == ["tissuegraph (out)", "tissuegraph (other)"]
    found = tg.evaluate({"first": hand / "out", "second": hand / "again/out"})
    assert list(found)[:2] == ["first", "second"]


@pytest.mark.parametrize("name", [VENDOR, VORONOI, NUCLEI_ONLY, TRUE_OUTLINES, nearest_name(5)])
def test_no_segmentation_takes_the_name_of_another_row(hand, name):
    with pytest.raises(InputError, match="as a row of the table is"):
        tg.evaluate({name: hand / "out"})


def test_a_bundle_alone_is_judged(hand):
    found = tg.evaluate(hand / "bundle", hand / "truth.parquet")
    assert list(found) == [VENDOR, *RULES, ORACLE, TRUE_OUTLINES]
    assert tg.evaluate(bundle=hand / "bundle", truth=hand / "truth.parquet") == found
    assert tg.evaluate([hand / "bundle"], hand / "truth.parquet", bundle=hand / "bundle") == found


def test_two_slides_are_one_too_many(hand):
    shutil.copytree(hand / "bundle", hand / "other")
    for arguments in ([hand / "bundle", hand / "other"], None), ([hand / "other"], hand / "bundle"):
        with pytest.raises(InputError, match="both slides"):
            tg.evaluate(arguments[0], bundle=arguments[1])


def test_one_cell_for_all(hand):
    table = pl.DataFrame({"row": np.arange(12, dtype=np.uint64), "cell": ["everything"] * 12})
    table.write_parquet(hand / "one.parquet")
    found = tg.evaluate(hand / "one.parquet", hand / "truth.parquet", bundle=hand / "bundle")["one"]
    # it is given the name of A, which has as many transcripts in its nucleus as B, but comes first
    assert (found.precision, found.recall) == (4 / 10, 4 / 7)
    assert (found.n_cells, found.adjusted_rand, found.cell_f1) == (1, pytest.approx(0), 0)
    assert found.cell_iou == pytest.approx((4 + 3 + 2) / 10 / 3)


def test_ids_of_a_tools_own_are_those_of_the_nuclei_it_holds(hand):
    own = {"A": 7, "B": 0, "new-1": 3, None: None}
    table = pl.DataFrame({"row": np.arange(12, dtype=np.uint64), "cell": [own[cell] for cell in OURS]})
    table.write_parquet(hand / "own.parquet")
    found = tg.evaluate([hand / "out", hand / "own.parquet"], hand / "truth.parquet")
    assert found["own"] == found[RUN]


def of_another_slide(table):
    return table.with_columns(pl.col("transcript_id") + 7)


def of_low_quality(table):
    return table.with_columns(qv=pl.lit(3.0))


def not_wkb(table):
    return table.with_columns(geometry=pl.lit("POINT (0 0)"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "out/run.json").unlink(), "no run.json"),
        (lambda f: (f / "out/transcripts.parquet").unlink(), "expected one segmentation"),
        (lambda f: (f / "out/run.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "out/run.json").write_text("{}"), "names no bundle"),
        (lambda f: (f / "out/run.json").write_text("[]"), "not valid JSON of a run"),
        (lambda f: shutil.rmtree(f / "bundle"), "not there; say where the bundle lies"),
        (lambda f: (f / "bundle/nucleus_boundaries.parquet").unlink(), "has no nuclei"),
        (
            lambda f: edit(f / "bundle/transcripts.parquet", of_low_quality),
            "none of the 12",
        ),
        (lambda f: (f / "truth.parquet").unlink(), "there is no .*truth.parquet"),
        (lambda f: (f / "truth.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda f: (f / "truth_cells.parquet").unlink(), "there is no .*truth_cells.parquet"),
        (
            lambda f: edit(f / "truth.parquet", lambda t: t[:, :1]),
            "no column true_cell_id .*found",
        ),
        (lambda f: edit(f / "truth.parquet", of_another_slide), "7 of the 10 transcripts"),
        (lambda f: edit(f / "truth.parquet", lambda t: pl.concat([t, t[:3]])), "3 rows of .* repeat"),
        (lambda f: edit(f / "truth_cells.parquet", not_wkb), "GeoParquet"),
        (
            lambda f: edit(f / "truth_cells.parquet", lambda t: t.with_columns(has_nucleus=False)),
            "none of the 10 transcripts belongs to a cell whose nucleus was seen",
        ),
    ],
)
def test_refuses_in_one_sentence(hand, spoil, message):
    spoil(hand)
    with pytest.raises(InputError, match=message) as refusal:
        tg.evaluate(hand / "out", hand / "truth.parquet")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_an_equal_share_that_is_none(hand, share):
    with pytest.raises(InputError, match="equal_share is"):
        tg.evaluate(hand / "out", equal_share=share)


def test_no_slide_at_all(hand):
    with pytest.raises(InputError, match="no slide is named"):
        tg.evaluate()
    with pytest.raises(InputError, match="no slide is named"):
        tg.evaluate(hand / "truth.parquet")


def test_a_finished_evaluation_is_not_replaced(hand):
    tg.evaluate(hand / "out", out=hand / "scores")
    with pytest.raises(OutputError, match="--overwrite"):
        tg.evaluate(hand / "out", out=hand / "scores")
    tg.evaluate(hand / "out", out=hand / "scores", overwrite=True)
    with pytest.raises(OutputError, match="is no evaluation"):
        tg.evaluate(hand / "out", out=hand / "bundle", overwrite=True)
    assert sorted(path.name for path in (hand / "scores").iterdir()) == ["evaluation.json", "evaluation.png"]
