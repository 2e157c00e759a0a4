"""Where the time and the memory of a run go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tissuegraph.memory import Peak, descendants, measured
from tissuegraph.segmentation.stages import HEADINGS, OTHER, START_UP, WHOLE, Stages, plain_table
from tissuegraph.trace import resident_mb

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
MB = 2**20


def run_of(**seconds: float) -> Stages:
    stages = Stages()
    for name, duration in seconds.items():
        with stages(name):
            time.sleep(duration)
    stages.transcripts = 1000
    stages.finish()
    return stages


def test_rows_stand_in_order_and_add_up():
    stages = run_of(first=0.05, second=0.02)
    assert list(stages.records) == [START_UP, "first", "second", OTHER, WHOLE]
    seconds = [record["seconds"] for record in stages.records.values()]
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.03)
    assert stages.records["first"]["seconds"] >= 0.04


def test_every_row_has_the_same_figures():
    for record in run_of(first=0.01).records.values():
        assert record.keys() == {"seconds", "peak_memory_mb", "transcripts_per_second"}
        assert record["peak_memory_mb"] > 0


def test_rates_are_those_of_the_slide():
    records = run_of(first=0.05).records
    assert records["first"]["transcripts_per_second"] == round(1000 / records["first"]["seconds"])
    assert records[WHOLE]["transcripts_per_second"] <= records["first"]["transcripts_per_second"]


def test_without_transcripts_there_are_no_rates():
    stages = Stages()
    with stages("only"):
        pass
    assert "transcripts_per_second" not in stages.finish()[WHOLE]
    stages.show()


@needs_proc
def test_the_peak_of_a_stage_is_its_own():
    stages = Stages()
    with stages("small"):
        pass
    with stages("large"):
        held = np.ones(100 * MB, np.uint8)
        del held
    with stages("small again"):
        pass
    records = stages.finish()
    peak = {name: record["peak_memory_mb"] for name, record in records.items()}
    assert peak["large"] > peak["small"] + 80
    assert peak["small again"] < peak["large"] - 50
    assert peak[WHOLE] == max(peak.values())


@needs_proc
def test_what_lies_between_stages_is_not_forgotten():
    stages = Stages()
    with stages("first"):
        pass
    held = np.ones(100 * MB, np.uint8)
    del held
    with stages("second"):
        pass
    records = stages.finish()
    assert records[OTHER]["peak_memory_mb"] > records["second"]["peak_memory_mb"] + 50
    assert records[WHOLE]["peak_memory_mb"] == records[OTHER]["peak_memory_mb"]


@needs_proc
def test_processes_that_a_stage_starts_count():
    code = "held = bytearray(120 * 2**20); print('held', flush=True); input()"
    with measured() as peak:
        before = resident_mb()
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            assert child.pid in set(descendants(os.getpid()))
            peak.look()
            child.communicate("\n")
    assert peak.mb > before + 100


def test_a_stage_that_fails_stops_looking():
    with pytest.raises(RuntimeError, match="broken"), measured():
        raise RuntimeError("broken")
    assert Peak().mb > 0


def test_the_plain_table_is_aligned():
    lines = plain_table(
        [("a", "1.0", "", "1,000 MB"), ("a longer name", "20.0", "50,000", "7 MB")]
    ).splitlines()
    assert len({len(line.rstrip()) for line in lines}) == 1
    assert all(heading in lines[0] for heading in HEADINGS)
    assert lines[2].startswith("a longer name  ")


def test_without_a_terminal_the_table_is_logged(caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    stages = run_of(first=0.01)
    with caplog.at_level("INFO", logger="tissuegraph"):
        stages.show()
    assert "transcripts/s" in caplog.text
    assert all(name in caplog.text for name in stages.records)


def test_on_a_terminal_the_table_is_printed(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    run_of(first=0.01).show()
    said = capsys.readouterr()
    assert said.out == ""
    assert "peak memory" in said.err
    assert "whole" in said.err
