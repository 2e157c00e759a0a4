"""Arrays on disk: what is let go of leaves the memory, not the file."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from tissuegraph.segmentation.outputs import let_go, on_disk
from tissuegraph.trace import resident_mb


def test_an_array_starts_with_its_value_and_leaves_no_file(tmp_path):
    array = on_disk(tmp_path / "array.tmp", np.int32(-1), 1_200_000)
    assert array.shape == (1_200_000,)
    assert (array == -1).all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system cannot")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_what_is_let_go_leaves_the_memory_and_keeps_its_values(tmp_path):
    array = on_disk(tmp_path / "array.tmp", np.float32(0), 20_000_000)
    array[::1000] = 7
    before = resident_mb()
    let_go(array)
    assert resident_mb() < before - 50
    assert (array[::1000] == 7).all()
    assert array[1] == 0


def test_an_array_in_memory_stays_as_it_is():
    array = np.arange(5)
    let_go(array, array[1:])
    assert array.tolist() == [0, 1, 2, 3, 4]
