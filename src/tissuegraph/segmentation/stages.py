"""How long each stage of a run takes, and how much memory: said while it runs, kept in run.json."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import track

log = logging.getLogger(__name__)
Item = TypeVar("Item")


class Stages:
    """Seconds and peak memory by stage, in the order in which they ran."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a stage and log a line when it is done."""
        forget_peak()
        started = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - started, 2)
        self.records[name] = {"seconds": seconds, "peak_memory_mb": peak_memory_mb()}
        log.info("%s: %.1f s, at most %.0f MB", name, seconds, self.records[name]["peak_memory_mb"])


def forget_peak() -> None:
    """Let the kernel count the peak of this process's memory anew, where it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Peak resident memory of this process since the last `forget_peak`, MB."""
    try:
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Shows how far a loop over items is: items, what is being done, and how many they are."""


def no_progress(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:  # noqa: ARG001
    """Show nothing."""
    return items


def with_progress(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:
    """Show a progress bar on a terminal, nothing elsewhere."""
    return track(items, description, total, transient=True) if sys.stderr.isatty() else items
