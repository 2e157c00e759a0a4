"""When what ran: a trace that ui.perfetto.dev and chrome://tracing open, and since when a command runs."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

MAIN = "main"
LONGEST_NAME = 60
OLDEST_START = 600.0
"""Seconds of age beyond which a process that has just begun a command was misread."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_current: ContextVar[Trace | None] = ContextVar("trace", default=None)
_began: ContextVar[float | None] = ContextVar("began", default=None)


class Trace:
    """Spans of time by thread, in Chrome's trace event format.

    Attributes
    ----------
    stage
        The stage that runs: the category of the spans that end in it.
    """

    def __init__(self) -> None:
        self.stage = ""
        self._spans: list[tuple[str, str, str, float, float]] = []
        self._memory: list[tuple[float, float]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record how long what is inside takes, in the lane of the thread that runs it."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, begin)

    def add(self, name: str, begin: float, lane: str | None = None) -> None:
        """Record a span from `begin` (of `time.perf_counter`) to now."""
        end = time.perf_counter()
        # threads may append at once: a list's append is atomic
        self._spans.append((name, self.stage or name, lane or _lane(), begin, end))
        self._memory.append((end, resident_mb()))

    def write(self, path: Path) -> None:
        """Write the trace as JSON; times count from its earliest span."""
        lanes = sorted({span[2] for span in self._spans}, key=lambda lane: (lane != MAIN, lane))
        number = {lane: n for n, lane in enumerate(lanes)}
        zero = min((span[3] for span in self._spans), default=0.0)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number[lane], "args": {"name": lane}}
            for lane in lanes
        ]
        for name, stage, lane, begin, end in sorted(self._spans, key=lambda span: span[3]):
            times = {"ts": _microseconds(begin - zero), "dur": _microseconds(end - begin)}
            events.append({"ph": "X", "name": name, "cat": stage, "pid": 1, "tid": number[lane], **times})
        for at, megabytes in sorted(self._memory):
            counter = {"ph": "C", "name": "memory", "pid": 1, "args": {"MB": megabytes}}
            events.append({**counter, "ts": _microseconds(at - zero)})
        path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n")


@contextmanager
def tracing(trace: Trace | None) -> Iterator[None]:
    """Let what runs inside record its spans in `trace`; None records nothing."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


def current_trace() -> Trace | None:
    """Return the trace that is being recorded, if any."""
    return _current.get()


def traced(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Return `function` with each call as a span, named after its item, where a trace is recorded."""
    trace = _current.get()
    if trace is None:
        return function

    def call(item: Item) -> Result:
        with trace.span(str(item)[:LONGEST_NAME]):
            return function(item)

    return call


def traced_items(items: Iterable[Item], description: str) -> Iterator[Item]:
    """Yield items; what the loop over them does with each is a span of the trace that is recorded."""
    trace = _current.get()
    for number, item in enumerate(items):
        begin = time.perf_counter()
        yield item
        if trace is not None:
            trace.add(f"{description}, {number}", begin)


def count_from_process_start() -> None:
    """Let the command that follows count its time from the start of this process, with its imports."""
    _began.set(_process_start())


def began() -> float:
    """Since when a command runs, in seconds of `time.perf_counter`: now, or what was set before."""
    since = _began.get()
    return time.perf_counter() if since is None else since


def _process_start() -> float:
    """When this process was started; where the system does not tell, now."""
    now = time.perf_counter()
    try:
        # the 22nd field; the second one, a name in brackets, may hold spaces
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return now
    return now - age if 0 <= age < OLDEST_START else now


def resident_mb() -> float:
    """Resident memory of this process, MB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1024**2, 1)


def _lane() -> str:
    thread = threading.current_thread()
    return MAIN if thread is threading.main_thread() else thread.name


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 1)
