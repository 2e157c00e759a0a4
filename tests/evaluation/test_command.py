"""`tissuegraph evaluate`: what is typed, what is shown, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest

from tissuegraph.cli import main


@pytest.fixture
def at_slide(hand, monkeypatch):
    """Run from the folder of the hand-drawn slide, with files of a few faults beside it."""
    monkeypatch.chdir(hand)
    pl.DataFrame({"ACTB": [1.0, 2.0], "kind": ["A", "B"]}).write_csv("kinds.csv")
    pl.DataFrame({"Actb": [1.0, 2.0], "cell_type": ["A", "B"]}).write_csv("mouse.csv")
    pl.DataFrame({"row": [0, 1], "tool_cell": ["A", "B"]}).write_csv("odd.csv")
    pl.DataFrame({"row": [0, 99], "cell": ["A", "B"]}).write_csv("larger.csv")
    (hand / "broken.parquet").write_bytes(b"PAR1")
    (hand / "empty").mkdir()
    shutil.copytree(hand / "out", hand / "again/out")
    shutil.copytree(hand / "bundle", hand / "other")
    return hand


def run(line, capsys):
    status = main(line.split())
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_with_a_truth(at_slide, capsys):
    status, out, err = run("evaluate out --truth truth.parquet", capsys)
    assert status == 0
    assert "Traceback" not in err
    for shown in (
        "with the truth",
        "tissuegraph",
        "vendor",
        "nearest nucleus, 5 um",
        "oracle: 6 um",
        "0.889",
    ):
        assert shown in out
    assert "10 transcripts with qv >= 20" in out


def test_several_with_names_a_bundle_and_a_folder(at_slide, capsys):
    line = "evaluate first=out second=again/out odd=odd.csv bundle --truth truth.parquet -o scores/deep"
    status, out, _ = run(f"{line} --cell_column tool_cell --seed 3", capsys)
    assert status == 0
    for name in ("first", "second", "odd"):
        assert name in out
    found = json.loads((at_slide / "scores/deep/evaluation.json").read_text())["segmentations"]
    assert list(found)[:4] == ["first", "second", "odd", "vendor"]
    assert found["first"] == found["second"]
    assert found["odd"]["share_assigned"] == 0.2
    assert (at_slide / "scores/deep/evaluation.png").is_file()


def test_a_slide_without_markers_is_a_warning(at_slide, capsys):
    status, out, _ = run("evaluate bundle", capsys)
    assert status == 0
    assert "MECR" not in out
    assert "agreement with the vendor is no accuracy" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate", "no slide is named"),
        ("evaluate nowhere", "there is no nowhere"),
        ("evaluate odd.csv", "no slide is named"),
        ("evaluate nowhere --bundle bundle", "nowhere"),
        ("evaluate out --bundle nowhere", "no such folder"),
        ("evaluate out --bundle empty", "no transcripts in"),
        ("evaluate bundle other", "both slides"),
        ("evaluate other --bundle bundle", "both slides"),
        ("evaluate empty", "no run.json in empty"),
        ("evaluate empty --bundle bundle", "expected one segmentation in empty"),
        ("evaluate out again/out", "give names, as in NAME=PATH"),
        ("evaluate a=out a=again/out", "two segmentations are called"),
        ("evaluate Voronoi=out", "as a row of the table is"),
        ("evaluate odd.csv --bundle bundle", "tool_cell"),
        ("evaluate odd.csv --bundle bundle --cell_column cell_type", "cell_type"),
        ("evaluate larger.csv --bundle bundle", "no row of the slide"),
        ("evaluate broken.parquet --bundle bundle", "broken.parquet"),
        ("evaluate out --truth nowhere.parquet", "there is no nowhere.parquet"),
        ("evaluate out --truth broken.parquet", "cannot be read"),
        ("evaluate out --truth out/transcripts.parquet", "no column true_cell_id"),
        ("evaluate out --reference nowhere.csv", "there is no nowhere.csv"),
        ("evaluate out --reference broken.parquet", "cannot be read"),
        ("evaluate out --reference kinds.csv", "--label"),
        ("evaluate out --reference kinds.csv --label sort", "no column 'sort'"),
        ("evaluate out --reference mouse.csv", "same species"),
        ("evaluate out --reference out", "there is no out"),
        ("evaluate out --equal-share 0", "equal_share is 0"),
        ("evaluate out --equal-share 1.5", "equal_share is 1.5"),
        ("evaluate out --equal-share most", "most"),
        ("evaluate out -o bundle", "exists already"),
        ("evaluate out -o bundle --overwrite", "is no evaluation"),
        ("evaluate out -o kinds.csv/scores", "cannot write"),
        ("evaluate out --thruth truth.parquet", "Did you mean --truth?"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_and_status_2(at_slide, capsys, line, said):
    before = sorted(at_slide.rglob("*"))
    status, out, err = run(line, capsys)
    assert (status, out) == (2, "")
    *logged, sentence = err.splitlines()
    assert sentence.startswith("tissuegraph: error: ")
    assert said in sentence
    assert not any("Traceback" in one or "error" in one for one in logged)
    assert sorted(at_slide.rglob("*")) == before
