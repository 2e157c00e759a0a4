"""Workers: results in order, on as many cores as may be used; memory that is used again."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import torch

from tissuegraph import parallel
from tissuegraph.parallel import cores, in_order, over_chunks, scratch


def test_results_come_in_the_order_of_the_items():
    def slow_first(number: int) -> int:
        threading.Event().wait(0.05 if number == 0 else 0.0)
        return number**2

    assert list(in_order(slow_first, range(20))) == [n**2 for n in range(20)]
    assert list(in_order(slow_first, [])) == []


def test_a_worker_computes_on_one_thread_and_leaves_the_others_as_they_were():
    before = torch.get_num_threads()
    assert set(in_order(lambda _: (cores(), torch.get_num_threads()), range(4))) == {(1, 1)}
    assert torch.get_num_threads() == before
    assert cores() >= 1


def test_few_results_wait_at_a_time(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    started = []
    results = in_order(started.append, range(50))
    next(results)
    assert len(started) <= 2 + parallel.AHEAD
    results.close()


def test_what_goes_wrong_in_a_worker_is_raised():
    def fail(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    found = in_order(fail, range(10))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(found)


@pytest.mark.parametrize(
    ("quota", "slurm", "expected"),
    [("max 100000", "", 8), ("250000 100000", "", 3), ("50000 100000", "", 1), ("max 100000", "2", 2)],
)
def test_cores_are_those_that_may_be_used(tmp_path, monkeypatch, quota, slurm, expected):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(parallel, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv(parallel.SLURM_CORES, slurm)
    assert cores() == expected


def test_the_quota_of_an_older_control_group_counts(tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", 300_000), ("period", 100_000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    monkeypatch.setattr(parallel, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv(parallel.SLURM_CORES, raising=False)
    assert cores() == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_cover_everything_once(threads):
    seen = np.zeros(2 * parallel.CHUNK + 7, int)

    def add(first: int, end: int) -> None:
        seen[first:end] += 1

    over_chunks(add, len(seen), threads)
    assert (seen == 1).all()


def test_scratch_memory_is_used_again_by_the_thread_that_asked():
    one = scratch("test", (4, 3), np.float32)
    one[:] = 1
    again = scratch("test", (2, 3), np.float32)
    assert (again == 1).all()
    assert again.shape == (2, 3)
    assert np.shares_memory(one, again)
    assert not np.shares_memory(one, scratch("other", (4, 3), np.float32))
    others: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: others.append(scratch("test", (4, 3), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(one, others[0])
