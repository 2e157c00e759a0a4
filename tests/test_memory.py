"""How a process holds its memory; peaks are tested with the stages that they belong to."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tissuegraph import memory

IN_THREADS = """
import ctypes, re, threading
from tissuegraph.memory import hold_little
if {shared}: hold_little()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
begun = threading.Barrier(8)
def hold():
    begun.wait()
    kept = [libc.malloc(4000) for _ in range(50)]
    begun.wait()
    for one in kept: libc.free(one)
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"{path}", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs glibc, whose heaps these are"
)
def test_threads_hold_little(tmp_path, monkeypatch):
    heaps = []
    for shared in (False, True):
        path = tmp_path / f"{shared}.xml"
        code = IN_THREADS.format(shared=shared, path=path)
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        heaps.append(path.read_text().count("<heap nr"))
    assert heaps[1] < heaps[0]


def test_without_glibc_nothing_happens(monkeypatch):
    def none(_: object) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", none)
    memory.hold_little()
    memory.give_back()
