"""Arrays on disk: what is let go of leaves the memory, not the file."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tissuegraph.memory import let_go
from tissuegraph.segmentation.outputs import on_disk, open_in_pieces
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


def test_a_source_that_was_read_is_not_held(tmp_path):
    values = pa.array(np.random.default_rng(0).random(4_000_000))
    pq.write_table(pa.table({"x": values}), tmp_path / "source.parquet", row_group_size=100_000)
    before, most = pa.total_allocated_bytes(), 0
    for _ in open_in_pieces(tmp_path / "source.parquet").iter_batches(100_000):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < values.nbytes / 4
