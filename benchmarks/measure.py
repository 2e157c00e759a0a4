"""Run a command in a process of its own, and measure its time and memory."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SECONDS_BETWEEN_SAMPLES = 0.25


def run_measured(command: list[str], log: Path) -> dict[str, float]:
    """Run a command; return its wall time and CPU time in seconds, and its peak memory in GB.

    Memory is the sum of the proportional set sizes (PSS) of the process tree, sampled every quarter of a
    second (Linux).
    """
    peak, started, cpu_before = 0, time.perf_counter(), cpu_of_children()
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        while True:
            try:
                process.wait(SECONDS_BETWEEN_SAMPLES)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, sum(map(memory_of, process_tree(process.pid))))
    seconds = time.perf_counter() - started
    if process.returncode:
        said = log.read_text().strip().rpartition("\n")[2]
        raise RuntimeError(f"ended with {process.returncode}: {said}")
    return {"seconds": seconds, "CPU s": cpu_of_children() - cpu_before, "GB": peak / 1e9}


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def process_tree(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(children).split():
            yield from process_tree(int(child))


def memory_of(pid: int) -> int:
    """Return the proportional set size of a process in bytes, 0 once it has ended."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""
