"""The trace: spans by thread, in a form that Perfetto and chrome://tracing open."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tissuegraph.parallel import in_order
from tissuegraph.trace import MAIN, Trace, current_trace, traced, traced_items, tracing


@dataclass(frozen=True)
class Piece:
    number: int

    def __str__(self) -> str:
        return f"piece {self.number}"


def events(trace: Trace, folder: Path) -> list[dict]:
    trace.write(folder / "trace.json")
    return json.loads((folder / "trace.json").read_text())["traceEvents"]


def spans(trace: Trace, folder: Path) -> list[dict]:
    return [event for event in events(trace, folder) if event["ph"] == "X"]


def test_workers_record_their_items_in_lanes_of_their_own(tmp_path):
    trace, pieces = Trace(), [Piece(n) for n in range(6)]
    with tracing(trace), trace.span("everything"):
        trace.stage = "adding"
        assert list(in_order(lambda piece: piece.number + 1, pieces)) == [1, 2, 3, 4, 5, 6]
    written = events(trace, tmp_path)
    lanes = {event["tid"]: event["args"]["name"] for event in written if event["ph"] == "M"}
    done = [event for event in written if event["ph"] == "X"]
    assert lanes[0] == MAIN
    assert {event["name"] for event in done} == {"everything", *map(str, pieces)}
    inner = [event for event in done if event["name"] != "everything"]
    assert all(lanes[event["tid"]].startswith("worker") for event in inner)
    assert {event["cat"] for event in inner} == {"adding"}
    whole = next(event for event in done if event["name"] == "everything")
    assert all(whole["ts"] <= event["ts"] for event in inner)
    assert all(event["ts"] + event["dur"] <= whole["ts"] + whole["dur"] + 1 for event in inner)
    assert min(event["ts"] for event in done) == 0


def test_spans_of_one_lane_do_not_overlap(tmp_path):
    trace = Trace()
    with tracing(trace):
        list(in_order(lambda _: time.sleep(0.002), range(20)))
    by_lane: dict[int, list[dict]] = {}
    for event in spans(trace, tmp_path):
        by_lane.setdefault(event["tid"], []).append(event)
    for lane in by_lane.values():
        ends = [event["ts"] + event["dur"] for event in lane]
        assert all(end <= event["ts"] + 1 for end, event in zip(ends, lane[1:], strict=False))


def test_a_call_that_fails_is_recorded(tmp_path):
    trace = Trace()

    def fail(item: str) -> None:
        raise ValueError(item)

    with tracing(trace), pytest.raises(ValueError, match="broken"):
        traced(fail)("broken")
    assert [event["name"] for event in spans(trace, tmp_path)] == ["broken"]


def test_turns_of_a_loop_are_spans(tmp_path):
    trace = Trace()
    with tracing(trace):
        assert [item * 2 for item in traced_items([3, 4], "doubling")] == [6, 8]
    assert [event["name"] for event in spans(trace, tmp_path)] == ["doubling, 0", "doubling, 1"]


def test_without_a_trace_nothing_is_wrapped():
    assert current_trace() is None
    assert traced(abs) is abs
    with tracing(None):
        assert traced(abs) is abs


def test_memory_is_counted_along(tmp_path):
    trace = Trace()
    with trace.span("something"):
        pass
    counters = [event for event in events(trace, tmp_path) if event["ph"] == "C"]
    assert len(counters) == 1
    assert counters[0]["args"]["MB"] >= 0


def test_an_empty_trace_is_written(tmp_path):
    assert events(Trace(), tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_command_counts_from_the_start_of_its_process():
    code = (
        "import time; time.sleep(0.3); from tissuegraph import trace; now = time.perf_counter();"
        "print(now - trace.began()); trace.count_from_process_start(); print(now - trace.began())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before <= 0
    assert 0.25 < after < 60
