"""How long each stage of a run takes, and how much memory: said while it runs, kept in run.json."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tissuegraph import keys
from tissuegraph.memory import forget_peak, give_back, measured, peak_memory_mb
from tissuegraph.trace import MAIN, Trace, began, current_trace, traced_items

log = logging.getLogger(__name__)
Item = TypeVar("Item")

START_UP, OTHER, WHOLE = "start-up", "other", "whole"
"""Rows beside the stages: what came before the first one, what lies between them, and everything."""

HEADINGS = ("stage", "seconds", "transcripts/s", "peak memory")


class Stages:
    """Seconds, transcripts per second and peak memory by stage, in the order in which they ran.

    They count from the start of the process where the command line was called, else from here.

    Parameters
    ----------
    profile
        Whether to record a trace, too.

    Attributes
    ----------
    records
        By stage: `seconds`, `peak_memory_mb` and, once `transcripts` is known and the run finished,
        `transcripts_per_second`.
    transcripts
        Transcripts of the slide, which every rate refers to.
    """

    def __init__(self, *, profile: bool = False) -> None:
        self.records: dict[str, dict[str, float]] = {}
        self.transcripts: int | None = None
        self.trace = Trace() if profile else None
        self._began = began()
        self._peak_between = 0.0
        forget_peak()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a stage and log a line when it is done."""
        self._begin(name)
        started = time.perf_counter()
        with measured() as peak:
            yield
            self._record(name, started, peak.mb)
        give_back()
        forget_peak()
        if self.trace is not None:
            self.trace.add(name, started)
            self.trace.stage = ""
        log.info("%s: %.1f s, at most %.0f MB", name, *self.records[name].values())

    def finish(self) -> dict[str, dict[str, float]]:
        """Add the rates, and rows of what lies between the stages and of the whole; returns the records."""
        self._peak_between = max(self._peak_between, peak_memory_mb())
        whole = time.perf_counter() - self._began
        between = whole - sum(record["seconds"] for record in self.records.values())
        most = max(self._peak_between, *(record["peak_memory_mb"] for record in self.records.values()))
        self.records[OTHER] = {"seconds": round(max(between, 0), 2), "peak_memory_mb": self._peak_between}
        self.records[WHOLE] = {"seconds": round(whole, 2), "peak_memory_mb": most}
        for record in self.records.values() if self.transcripts else ():
            rate = (self.transcripts or 0) / max(record["seconds"], 0.01)
            record["transcripts_per_second"] = round(rate)
        return self.records

    def write_trace(self, folder: Path) -> None:
        """Write `trace.json`, if a trace was recorded."""
        if self.trace is not None:
            self.trace.write(folder / keys.TRACE_FILE)

    def show(self) -> None:
        """Show where the time went: a table on a terminal, else in the log."""
        rows = [_row(name, record) for name, record in self.records.items()]
        if sys.stderr.isatty():
            _print_table(rows)
        else:
            log.info("where the time went:\n%s", plain_table(rows))

    def _begin(self, name: str) -> None:
        if START_UP not in self.records:
            self._record(START_UP, self._began, peak_memory_mb())
            if self.trace is not None:
                self.trace.add(START_UP, self._began, MAIN)
        else:
            self._peak_between = max(self._peak_between, peak_memory_mb())
        if self.trace is not None:
            self.trace.stage = name

    def _record(self, name: str, started: float, peak: float) -> None:
        seconds = round(time.perf_counter() - started, 2)
        self.records[name] = {"seconds": seconds, "peak_memory_mb": peak}


def _row(name: str, record: dict[str, float]) -> tuple[str, str, str, str]:
    rate = record.get("transcripts_per_second")
    says_nothing = rate is None or name in (START_UP, OTHER)
    return (
        name,
        f"{record['seconds']:.1f}",
        "" if says_nothing else f"{rate:,.0f}",
        f"{record['peak_memory_mb']:,.0f} MB",
    )


def plain_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of text: the first column to the left, numbers to the right."""
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="where the time went")
    for column, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == WHOLE else None)
    Console(stderr=True).print(table)


Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Shows how far a loop over items is: items, what is being done, and how many they are."""


def no_progress(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:  # noqa: ARG001
    """Show nothing."""
    return items


def with_progress(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:
    """Show a progress bar on a terminal, nothing elsewhere; in a profile each turn of the loop is a span."""
    if current_trace() is not None:
        items = traced_items(items, description)
    if not sys.stderr.isatty():
        return items
    from rich.progress import track

    return track(items, description, total, transient=True)
