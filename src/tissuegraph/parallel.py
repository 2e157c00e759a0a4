"""Kernels that release the interpreter, and threads for them: as many as this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from numba import njit

CHUNK = 20_000
"""Items a thread takes at a time."""


def cores() -> int:
    """Cores this process may use, which in a container is fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_chunks(kernel: Callable[[int, int], None], n: int, threads: int | None = None) -> None:
    """Call `kernel(first, end)` for ranges that cover 0 to n; each writes only what is its own."""
    ranges = [(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
    with ThreadPoolExecutor(threads or cores()) as pool:
        list(pool.map(lambda bounds: kernel(*bounds), ranges))


def compiled(function: Callable[..., Any], fastmath: set[str] | bool = False) -> Callable[..., Any]:
    """Compile on first call, and keep the machine code on disk where a folder can be written."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder to write to
        return njit(**options)(function)


def all_jobs(kernel: Callable[..., None], jobs: Sequence[tuple[Any, ...]], workers: int) -> None:
    """Call `kernel(*job)` for every job, on threads that stay for the next call."""
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            kernel(*job)
        return
    pool = _pool(os.getpid(), workers)
    for done in [pool.submit(kernel, *job) for job in jobs]:
        done.result()


@lru_cache(maxsize=1)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:  # noqa: ARG001
    """One pool a process: the threads of a parent are gone after a fork."""
    return ThreadPoolExecutor(workers, thread_name_prefix="kernels")
