"""Kernels that release the interpreter, and threads for them: as many as this process may use."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tissuegraph.memory import give_back
from tissuegraph.trace import traced

CHUNK = 20_000
"""Items a thread takes at a time."""
AHEAD = 1
"""Results a worker may be ahead of the one that is waited for: bounds the memory."""

GIVEN_BACK_EVERY = 4
"""Results after which freed memory goes back to the system: pieces of it pile up from tile to tile."""

CGROUP = Path("/sys/fs/cgroup")
SLURM_CORES = "SLURM_CPUS_PER_TASK"

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()


def cores() -> int:
    """Cores that this process may use, and 1 inside a worker of `in_order`.

    The fewest of: those that the process is bound to, the quota of its control group (as containers have),
    and what SLURM gave the task.
    """
    if getattr(_here, "is_worker", False):
        return 1
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [bound, *_quota(), *_of_slurm()]
    return max(min(limits), 1)


def _quota() -> list[int]:
    """Cores that the control group may use (version 2, then 1), if it says so."""
    try:
        if (CGROUP / "cpu.max").exists():
            quota, period = (CGROUP / "cpu.max").read_text().split()
        else:
            folder = CGROUP / "cpu"
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [math.ceil(int(quota) / int(period))] if int(quota) > 0 else []
    except (OSError, ValueError):  # "max": no limit
        return []


def _of_slurm() -> list[int]:
    given = os.environ.get(SLURM_CORES, "")
    return [int(given)] if given.isdigit() and int(given) > 0 else []


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` of every item, in their order, while workers are busy with the next ones.

    There is a worker thread for each core; what it calls runs on one thread, so that a result has the same
    bits however many there are. Few results wait at a time.
    """
    workers, function = cores(), traced(function)
    with one_thread(), ThreadPoolExecutor(workers, "worker", _become_worker) as pool:
        waiting: deque[Any] = deque()
        done = 0
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers + AHEAD:
                    yield waiting.popleft().result()
                    done += 1
                    if done % GIVEN_BACK_EVERY == 0:
                        give_back()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _become_worker() -> None:
    import torch

    _here.is_worker = True
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the libraries below to one thread: in workers, and where tables are so small that threads wait."""
    import torch  # takes seconds, and the command line must answer at once

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def over_chunks(kernel: Callable[[int, int], None], n: int, threads: int | None = None) -> None:
    """Call `kernel(first, end)` for ranges that cover 0 to n; each writes only what is its own."""
    ranges = [(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
    threads = threads or cores()
    if threads == 1 or len(ranges) == 1:
        for bounds in ranges:
            kernel(*bounds)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda bounds: kernel(*bounds), ranges))


def scratch(name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """An array of any content, in memory that this thread uses again when it asks for the same name.

    To ask the system for some hundred megabytes for every tile takes longer than to fill them.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    rooms = _here.__dict__.setdefault("rooms", {})
    if name not in rooms or len(rooms[name]) < size:
        rooms[name] = np.empty(size, np.uint8)
    return np.asarray(rooms[name][:size].view(dtype).reshape(shape))


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
