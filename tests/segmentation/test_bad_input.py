"""What goes wrong in front of the keyboard: one sentence, status 2, and nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from tissuegraph.cli import main

QUICK = ["--epochs", "1", "--max-tiles", "3", "--tile-transcripts", "300"]
ROW = pl.int_range(pl.len())


@pytest.fixture
def segment(tmp_path, corner, capsys):
    """Run `tissuegraph segment` on a corner with some columns changed; return status and what it said."""

    def segment(transcripts=None, nuclei=None, *words: str, harm=None) -> tuple[int, str]:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        transcripts = corner["transcripts"] if transcripts is None else transcripts
        nuclei = corner["nuclei"] if nuclei is None else nuclei
        transcripts.write_parquet(folder / "transcripts.parquet")
        nuclei.write_parquet(folder / "nucleus_boundaries.parquet")
        if harm is not None:
            harm(folder)
        status = main(["segment", str(folder), "-o", str(tmp_path / "out"), *QUICK, *words])
        return status, capsys.readouterr().err

    return segment


@pytest.fixture
def refused(tmp_path, segment):
    """Run and see that the user gets one sentence and no files; return the sentence."""

    def refused(*args, **settings) -> str:
        before = {path.name for path in tmp_path.iterdir()} | {"in"}
        status, said = segment(*args, **settings)
        lines = [line for line in said.splitlines() if "tissuegraph: error:" in line]
        assert status == 2, said
        assert len(lines) == 1
        assert said.splitlines()[-1] == lines[0]
        assert "Traceback" not in said
        assert {path.name for path in tmp_path.iterdir()} == before
        return lines[0]

    return refused


@pytest.fixture
def account(tmp_path, segment):
    """Run, see that it succeeds, and return `run.json`."""

    def account(*args, **settings) -> dict:
        status, said = segment(*args, **settings)
        assert status == 0, said
        card = json.loads((tmp_path / "out/run.json").read_text())
        parts = dict(card["account"])
        assert parts.pop("transcripts") == sum(parts.values())
        return card

    return account


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def cut_short(name: str):
    def cut(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut


def break_column(name: str, column: str):
    """Overwrite what a column holds; the footer stays intact."""

    def overwrite(folder: Path) -> None:
        path = folder / name
        group = pq.read_metadata(path).row_group(0)
        chunks = [group.column(i) for i in range(group.num_columns)]
        chunk = next(chunk for chunk in chunks if chunk.path_in_schema == column)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content = bytearray(path.read_bytes())
        content[start + 20 : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size - 20)
        path.write_bytes(content)

    return overwrite


def test_a_missing_bundle(tmp_path, capsys):
    assert main(["segment", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_bundle(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    assert "no transcripts in" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["transcripts.parquet", "nucleus_boundaries.parquet"])
def test_a_file_that_was_cut_short(refused, name):
    said = refused(harm=cut_short(name))
    assert f"{name} (" in said
    assert "download it again" in said


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("transcripts.parquet", "x_location"),
        ("transcripts.parquet", "feature_name"),
        ("transcripts.parquet", "transcript_id"),
        ("nucleus_boundaries.parquet", "vertex_x"),
    ],
)
def test_a_file_with_an_intact_footer_and_a_broken_body(refused, name, column):
    said = refused(harm=break_column(name, column))
    assert "cannot read" in said
    assert f"{name} (" in said
    assert "download it again" in said


@pytest.mark.parametrize("column", ["x_location", "feature_name"])
def test_a_missing_column(corner, refused, column):
    assert f"no column '{column}' in transcripts.parquet" in refused(corner["transcripts"].drop(column))


def test_no_file_of_nuclei(refused):
    assert "no nucleus outlines" in refused(harm=remove("nucleus_boundaries.parquet"))


def test_a_file_without_nuclei(corner, refused):
    assert "no nucleus outlines" in refused(nuclei=corner["nuclei"].head(0))


def test_a_single_nucleus(corner, refused):
    first = corner["nuclei"].filter(pl.col("cell_id") == corner["nuclei"]["cell_id"][0])
    assert "fewer than train, val and test need" in refused(nuclei=first)


def test_hardly_a_transcript(corner, refused):
    assert "too few to learn from" in refused(corner["transcripts"].head(60))


def test_a_name_that_no_folder_can_have(corner, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    corner["transcripts"].write_parquet(tmp_path / "in/transcripts.parquet")
    for out in ("x" * 300, "in/transcripts.parquet/out"):
        assert main(["segment", str(tmp_path / "in"), "-o", str(tmp_path / out)]) == 2
        assert "choose another folder" in capsys.readouterr().err


def test_nothing_of_quality(corner, refused):
    assert "lower --min-qv" in refused(corner["transcripts"].with_columns(qv=pl.lit(3, pl.Float32)))


def test_transcripts_in_pixels_far_from_the_nuclei(corner, refused):
    moved = pl.col("x_location", "y_location") / 0.2125 + 2000
    assert "check that both are in micrometres" in refused(corner["transcripts"].with_columns(moved))


def test_many_transcripts_without_a_position(corner, refused):
    nan = pl.when(ROW < 100).then(np.nan).otherwise(pl.col("x_location")).alias("x_location")
    assert "have no position" in refused(corner["transcripts"].with_columns(nan))


def test_a_few_transcripts_without_a_position_are_dropped_and_counted(corner, account):
    x, y = pl.col("x_location"), pl.col("y_location")
    kept = corner["transcripts"].with_columns(
        x_location=pl.when(ROW < 3).then(np.nan).when(ROW < 5).then(None).otherwise(x),
        y_location=pl.when(ROW == 5).then(np.inf).otherwise(y),
        qv=pl.lit(40.0),
        feature_name=pl.lit("GENE00001") + (ROW % 7).cast(pl.String),
    )
    assert account(kept)["account"]["dropped: no position"] == 6


def test_transcripts_far_outside_cost_no_memory(corner, account):
    there = pl.col("x_location", "y_location")
    far = there + pl.when(ROW == 5).then(1e7).when(ROW == 6).then(-1e7).otherwise(0).cast(pl.Float32)
    card = account(corner["transcripts"].with_columns(far))
    assert card["account"]["transcripts"] == len(corner["transcripts"])
    assert max(stage["peak_memory_mb"] for stage in card["stages"].values()) < 2500


def test_repeated_transcript_ids_are_fine(corner, account, tmp_path):
    account(corner["transcripts"].with_columns(transcript_id=pl.lit(7, pl.UInt64)))
    assert pl.read_parquet(tmp_path / "out/transcripts.parquet")["transcript_id"].n_unique() == 1


def spoil(nuclei: pl.DataFrame, n: int, how: str) -> pl.DataFrame:
    """Make the first `n` outlines polygons of two vertices, or such that cross themselves."""
    nth = pl.int_range(pl.len()).over("cell_id")
    chosen = pl.col("cell_id").is_in(nuclei["cell_id"].unique(maintain_order=True)[:n].to_list())
    if how == "two vertices":
        return nuclei.filter(~chosen | (nth < 2))
    bow = [
        getattr(pl.col(name), part)().over("cell_id").alias(f"{name}_{part}")
        for name in ("vertex_x", "vertex_y")
        for part in ("min", "max")
    ]
    wide = nuclei.with_columns(bow, nth=nth, chosen=chosen).filter(~chosen | (nth < 4))
    x, y = (
        pl.when(~pl.col("chosen")).then(name)
        .when(pl.col("nth").is_in(high)).then(f"{name}_max").otherwise(f"{name}_min")
        for name, high in (("vertex_x", [1, 2]), ("vertex_y", [1, 3]))
    )  # fmt: skip
    return wide.with_columns(vertex_x=x, vertex_y=y).select(nuclei.columns)


@pytest.mark.parametrize(
    ("how", "counted"),
    [("two vertices", "nucleus outlines left out"), ("crossing", "nucleus outlines repaired")],
)
def test_a_few_bad_outlines_are_mended_and_counted(corner, account, how, counted):
    assert account(nuclei=spoil(corner["nuclei"], 2, how))["repairs"] == {counted: 2}


@pytest.mark.parametrize("how", ["two vertices", "crossing"])
def test_many_bad_outlines(corner, refused, how):
    said = refused(nuclei=spoil(corner["nuclei"], 20, how))
    assert "outlines in nucleus_boundaries.parquet are broken" in said


def test_an_output_that_exists_is_replaced_only_if_it_is_a_run(tmp_path, refused, account):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert "pass --overwrite" in refused()
    assert "is no run" in refused(None, None, "--overwrite")
    (out / "run.json").write_text('{"speed": 12}')  # somebody else's
    assert "is no run" in refused(None, None, "--overwrite")
    assert (out / "thesis.txt").read_text() == "mine"
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    account()
    written = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert "exists already" in refused()
    assert written == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    account(None, None, "--overwrite", "--seed", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert json.loads((out / "run.json").read_text())["seed"] == 1


def test_a_failed_replacement_keeps_the_old_run(corner, tmp_path, refused, account):
    account()
    before = (tmp_path / "out/run.json").read_bytes()
    refused(None, corner["nuclei"].head(0), "--overwrite")
    assert (tmp_path / "out/run.json").read_bytes() == before


def test_what_a_killed_run_left_is_started_over(tmp_path, account):
    left = tmp_path / ".out.unfinished/.work/results"
    left.mkdir(parents=True)
    (left / "tile_0.parquet").write_bytes(b"half")
    account()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "seed is -1"),
        (["--patience", "0"], "patience is 0"),
        (["--genes", "some"], "choose strict, intersect or borrow"),
        (["--heads", "3"], "must be a multiple of heads"),
        (["--precision", "64"], "precision is '64'; choose one of"),
        (["--strategy", "fast"], "strategy is 'fast'; choose one of"),
        (["--accelerator", "abacus"], "unknown accelerator 'abacus'; choose one of"),
        (["--devices", "4000"], "type --devices"),
        (["--k-tx", "0"], "k_tx is 0"),
        (["--min-probability", "2"], "min_probability is 2"),
        (["--min-precision", "0.4"], "min_precision is 0.4"),
        (["--min-precision", "0.9", "--min-probability", "0.5"], "give one of them"),
        (["--min-transcripts", "-1"], "min_transcripts is -1"),
        (["--val-share", "0.8", "--test-share", "0.8"], "leave at least 0.1"),
    ],
)
def test_a_value_that_cannot_be(refused, words, said):
    assert said in refused(None, None, *words)


LIMITED = """
import resource, signal, sys
from tissuegraph.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def run_limited(folder: Path, bytes_a_file: int) -> subprocess.CompletedProcess:
    words = ["segment", str(folder / "in"), "-o", str(folder / "out"), *QUICK]
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(bytes_a_file), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_CACHING": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("bytes_a_file", [5_000, 60_000])
def test_files_that_may_not_grow(corner, tmp_path, bytes_a_file):
    (tmp_path / "in").mkdir()
    corner["transcripts"].write_parquet(tmp_path / "in/transcripts.parquet")
    corner["nuclei"].write_parquet(tmp_path / "in/nucleus_boundaries.parquet")
    done = run_limited(tmp_path, bytes_a_file)
    assert done.returncode == 2, done.stderr
    assert "No space left on device; free some" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of so many kB at `tmp_path/disk`; skip where one may not."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(kilobytes: int) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
        try:
            mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError:
            mounted = False
        if not mounted:
            pytest.skip("no permission to mount a small disk")
        return disk

    yield mount
    subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, check=False)


# The first is full when the tiles are cut, the second in the training data, the third at the end.
@pytest.mark.parametrize("kilobytes", [60, 300, 800])
def test_no_space_left(corner, tmp_path, small_disk, capsys, kilobytes):
    (tmp_path / "in").mkdir()
    corner["transcripts"].write_parquet(tmp_path / "in/transcripts.parquet")
    corner["nuclei"].write_parquet(tmp_path / "in/nucleus_boundaries.parquet")
    disk = small_disk(kilobytes)
    status = main(["segment", str(tmp_path / "in"), "-o", str(disk / "out"), *QUICK])
    said = capsys.readouterr().err
    assert status == 2, said
    assert "No space left on device; free some" in said.splitlines()[-1]
    assert not list(disk.iterdir())
