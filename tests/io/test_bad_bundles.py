"""Whatever is wrong with a bundle: one sentence, naming the file and the next step, no library's error."""

from __future__ import annotations

import os
import re
from pathlib import Path

import polars as pl
import pytest
from bundles import SUFFIXES, square, transcripts, vertex_table, write_bundle

from tissuegraph.errors import InputError, OutputError
from tissuegraph.io import csv, read_xenium


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read_xenium(path)
    message = str(caught.value)
    assert "\n" not in message
    assert not re.search(r"Traceback|polars|pyarrow|Error\b", message)
    return message


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundle")


def test_a_folder_that_is_not_there(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "transcripts.parquet" in message


def test_a_file_of_unknown_kind(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    message = refusal(tmp_path / "notes.txt")
    assert "notes.txt" in message
    assert "experiment.xenium" in message


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    message = refusal(tmp_path)
    assert "transcripts.parquet, transcripts.csv.gz, transcripts.csv" in message
    assert "found: nothing" in message


def test_another_folder_says_what_was_found(tmp_path):
    for name in ("matrix.mtx", "genes.tsv"):
        (tmp_path / name).touch()
    assert "found: genes.tsv, matrix.mtx;" in refusal(tmp_path)


def test_the_parent_of_a_bundle_says_where_it_is(bundle):
    assert f"did you mean {bundle}?" in refusal(bundle.parent)


@pytest.mark.parametrize("table", ["transcripts", "nucleus_boundaries", "cell_boundaries"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_parquet_that_is_cut_short(bundle, table, share):
    path = bundle / f"{table}.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refusal(bundle)
    assert str(path) in message
    assert "again" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_noise(tmp_path, suffix):
    folder = write_bundle(tmp_path / "bundle", suffix=suffix)
    (folder / f"transcripts{suffix}").write_bytes(bytes(range(256)) * 20)
    refusal(folder)


def test_a_csv_gz_that_is_cut_short(tmp_path):
    folder = write_bundle(tmp_path / "bundle", suffix=".csv.gz")
    path = folder / "transcripts.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "cut short" in refusal(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(tmp_path, suffix):
    folder = write_bundle(tmp_path / "bundle", tx=transcripts().head(0), suffix=suffix)
    assert "no transcripts" in refusal(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_columns_name_those_that_are_there(tmp_path, suffix):
    tx = transcripts().select(target="feature_name", x="x_location", y="y_location")
    message = refusal(write_bundle(tmp_path / "bundle", tx=tx, suffix=suffix))
    assert message.startswith(f"no column 'feature_name' in transcripts{suffix}; found: target, x, y;")
    assert "expected: feature_name, x_location, y_location" in message


@pytest.mark.parametrize("column", ["cell_id", "vertex_x", "vertex_y"])
@pytest.mark.parametrize("table", ["nucleus_boundaries", "cell_boundaries"])
def test_missing_columns_of_outlines(bundle, table, column):
    path = bundle / f"{table}.parquet"
    pl.read_parquet(path).drop(column).write_parquet(path)
    assert f"no column '{column}' in {table}.parquet" in refusal(bundle)


@pytest.mark.parametrize("column", ["x_location", "y_location", "qv"])
def test_text_for_numbers(tmp_path, column):
    tx = transcripts().with_columns(pl.lit("left").alias(column))
    message = refusal(write_bundle(tmp_path / "parquet", tx=tx))
    assert f"column '{column}' of transcripts.parquet holds text" in message
    message = refusal(write_bundle(tmp_path / "csv", tx=tx, suffix=".csv"))
    assert f"column '{column}' of transcripts.csv holds 'left', which is no number" in message


def test_text_for_coordinates_of_outlines(tmp_path):
    nuclei = vertex_table([("a", square(0, 0, 4))]).with_columns(vertex_x=pl.lit("left"))
    assert "'vertex_x' of nucleus_boundaries.parquet" in refusal(write_bundle(tmp_path / "b", nuclei=nuclei))


def test_a_column_that_stands_twice(tmp_path):
    folder = write_bundle(tmp_path / "bundle", suffix=".csv")
    (folder / "transcripts.csv").write_text("feature_name,x_location,x_location\nA,1,2\n")
    assert "'x_location' stands twice" in refusal(folder)


def test_no_permission(bundle, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(pl, "scan_parquet", refuse)
        assert "no permission to read" in refusal(bundle)
    monkeypatch.setattr(Path, "is_dir", refuse)
    assert "no permission to read" in refusal(bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_no_permission_for_real(bundle):
    (bundle / "transcripts.parquet").chmod(0)
    assert "no permission to read" in refusal(bundle)


def test_no_space_for_a_converted_csv(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv, "_write", refuse)
    with pytest.raises(OutputError, match="TMPDIR"):
        read_xenium(write_bundle(tmp_path / "bundle", suffix=".csv"))


def broken_nuclei(n_all: int, n_bad: int) -> pl.DataFrame:
    """Squares, of which every bad one crosses itself, has two vertices, or has a NaN."""
    kinds = [
        lambda x: [(x, 0), (x + 4, 4), (x + 4, 0), (x, 4), (x, 0)],
        lambda x: [(x, 0), (x + 4, 0)],
        lambda x: [(x, 0), (x + 4, float("nan")), (x + 4, 4), (x, 0)],
    ]
    bad = [(f"bad{i}", kinds[i % 3](10.0 * i)) for i in range(n_bad)]
    good = [(f"good{i}", square(10.0 * i, 20, 4)) for i in range(n_all - n_bad)]
    return vertex_table(bad + good)


@pytest.mark.parametrize(("n_all", "n_bad"), [(50, 2), (300, 3), (3, 1)])
def test_a_few_bad_outlines_are_mended_and_counted(tmp_path, n_all, n_bad):
    sample = read_xenium(write_bundle(tmp_path / "bundle", nuclei=broken_nuclei(n_all, n_bad)))
    left_out = n_bad - 1
    assert sample.repairs.get("nucleus outlines left out", 0) == left_out
    assert sample.repairs["nucleus outlines repaired"] == 1
    assert len(sample.nuclei) == n_all - left_out
    assert sample.nuclei.is_valid.all()
    assert sample.nuclei.area["bad0"] == pytest.approx(8)


@pytest.mark.parametrize(("n_all", "n_bad"), [(50, 3), (300, 4), (1, 1), (2, 2)])
def test_many_bad_outlines_are_an_error(tmp_path, n_all, n_bad):
    nuclei = broken_nuclei(n_all + 1, n_bad + 1).filter(pl.col("cell_id") != "bad0")  # bad0 can be mended
    message = refusal(write_bundle(tmp_path / "bundle", nuclei=nuclei))
    assert f"{n_bad} of {n_all} nucleus outlines in nucleus_boundaries.parquet" in message
    assert "bad1" in message
    assert "mend them" in message


def test_bad_vendor_cells_may_be_taken_away(tmp_path):
    folder = write_bundle(tmp_path / "bundle", cells=broken_nuclei(5, 5))
    assert "take cell_boundaries.parquet away" in refusal(folder)
    (folder / "cell_boundaries.parquet").unlink()
    assert read_xenium(folder).cells is None
