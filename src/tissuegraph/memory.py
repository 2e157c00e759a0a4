"""Peak memory of this process and of those that it has started."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.2
"""The kernel keeps this process's own peak; other processes are looked at so often."""

PROC = Path("/proc")
M_ARENA_MAX = -8
"""glibc's number of the most heaps; other libraries take no notice."""


class Peak:
    """The most memory since it was made: what the kernel counted, or what was seen of all processes."""

    def __init__(self) -> None:
        self._seen = 0.0
        forget_peak()

    def look(self) -> None:
        """See how much this process and those that it started hold now."""
        started = sum(map(_private_mb, descendants(os.getpid())))
        if started:
            self._seen = max(self._seen, _resident_mb(os.getpid()) + started)

    @property
    def mb(self) -> float:
        """Megabytes."""
        return round(max(self._seen, peak_memory_mb()), 1)


@contextmanager
def measured() -> Iterator[Peak]:
    """Measure the memory of what is inside."""
    peak, done = Peak(), threading.Event()

    def look_again() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            peak.look()

    watcher = threading.Thread(target=look_again, name="memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def give_back() -> None:
    """Return freed memory to the system: Arrow's and, where it can (glibc), the C library's.

    Both else keep most of it.
    """
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


def let_go(*mapped: Any) -> None:
    """Let the pages of mapped files, or of arrays in them, leave the process's memory, not the files.

    What lies in memory is left as it is.
    """
    for one in mapped:
        pages = getattr(one, "base", one)
        if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def hold_little() -> None:
    """Let a process hold little more memory than it uses; it is for one that is ours, the command line's.

    Threads take small pieces from few heaps, not each from its own (glibc): what one frees in its own heap
    is of use to no other. And polars, if it is not loaded yet, gives back at once what it freed (jemalloc).
    """
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:100,muzzy_decay_ms:0")
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, max((os.cpu_count() or 1) // 4, 1))
    except (OSError, AttributeError, TypeError):
        return


def forget_peak() -> None:
    """Let the kernel count the peak of this process's memory anew, where it can."""
    try:
        (PROC / "self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Peak resident memory of this process since the last `forget_peak`, MB."""
    try:
        status = (PROC / "self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def descendants(pid: int) -> Iterator[int]:
    """Processes that `pid` has started, and theirs; none where the system does not tell."""
    for task in PROC.glob(f"{pid}/task/*/children"):
        for child in _fields(task):
            yield int(child)
            yield from descendants(int(child))


def _private_mb(pid: int) -> float:
    """Memory of a process that it shares with no file or other process, MB."""
    fields = _fields(PROC / f"{pid}/statm")
    return _megabytes(int(fields[1]) - int(fields[2])) if len(fields) > 2 else 0.0


def _resident_mb(pid: int) -> float:
    fields = _fields(PROC / f"{pid}/statm")
    return _megabytes(int(fields[1])) if len(fields) > 1 else 0.0


def _megabytes(pages: int) -> float:
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def _fields(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # the process has ended
        return []
