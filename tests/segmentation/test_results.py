"""The tiles' results on disk: all of them, in order, in few files."""

from __future__ import annotations

import polars as pl
import pytest

from tissuegraph.segmentation import results
from tissuegraph.segmentation.results import write_results


@pytest.mark.parametrize(("tiles", "files"), [(0, 0), (1, 1), (7, 7), (8, 4), (20, 7)])
def test_many_tiles_share_files_in_their_order(tmp_path, monkeypatch, tiles, files):
    monkeypatch.setattr(results, "MOST_FILES", 7)
    tables = [pl.DataFrame({"row": [n, n]}, schema={"row": pl.UInt64}) for n in range(tiles)]
    write_results(iter(tables), tiles, tmp_path)
    written = sorted(tmp_path.iterdir())
    assert len(written) == files
    rows = [row for file in written for row in pl.read_parquet(file)["row"]]
    assert rows == [n for n in range(tiles) for _ in range(2)]


def test_a_tile_that_fails_leaves_no_half_file(tmp_path):
    def tables():
        yield pl.DataFrame({"row": [1]})
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_results(tables(), 2, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["results_0000.parquet"]
