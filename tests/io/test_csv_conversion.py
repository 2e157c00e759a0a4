from __future__ import annotations

import os
import subprocess
import sys

import polars as pl
import pyarrow as pa
import pytest

from tissuegraph.errors import InputError
from tissuegraph.io import csv
from tissuegraph.io.csv import csv_to_parquet


def converted(tmp_path, content: str, types: dict[str, pa.DataType] | None = None) -> pl.DataFrame:
    path = tmp_path / "table.csv"
    path.write_text(content)
    return pl.read_parquet(csv_to_parquet(path, types or {}))


def test_columns_without_a_type_stay_text(tmp_path):
    table = converted(tmp_path, "id,other\n007,1.0\n-1,NA\n,\n")
    assert table.to_dict(as_series=False) == {"id": ["007", "-1", ""], "other": ["1.0", "NA", ""]}


def test_whole_numbers_become_integers(tmp_path):
    table = converted(tmp_path, f"id\n{2**60 + 1}\n0\n", {"id": pa.uint64()})
    assert table["id"].to_list() == [2**60 + 1, 0]
    assert table.schema["id"] == pl.UInt64


@pytest.mark.parametrize("value", ["007", "a-1", "1.0", "-1", str(2**65), ""])
def test_ids_that_would_be_mangled_stay_text(tmp_path, value):
    table = converted(tmp_path, f'id,x\n12,1\n"{value}",2\n', {"id": pa.uint64()})
    assert table["id"].to_list() == ["12", value]


def test_text_ids_far_down_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 1 << 16)
    numbers = [str(i) for i in range(300_000)]  # more than the first block
    table = converted(
        tmp_path, "\n".join(["id,x", *(f"{i},1" for i in numbers), "a-1,1"]), {"id": pa.uint64()}
    )
    assert table["id"].to_list() == [*numbers, "a-1"]


def test_flags_may_be_digits_or_words(tmp_path):
    table = converted(tmp_path, "flag,x\n1,0\nTrue,0\nfalse,0\n0,0\n,0\n", {"flag": pa.bool_()})
    assert table["flag"].to_list() == [True, True, False, False, None]


def test_a_file_is_converted_once_until_it_changes(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a\n1\n")
    first = csv_to_parquet(path, {})
    assert csv_to_parquet(path, {}) == first
    path.write_text("a\n1\n2\n")
    assert pl.read_parquet(csv_to_parquet(path, {})).height == 2


def test_the_temporary_parquet_goes_with_the_process(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a\n1\n")
    code = (
        "import sys; from pathlib import Path; from tissuegraph.io.csv import csv_to_parquet;"
        "parquet = csv_to_parquet(Path(sys.argv[1]), {}); print(parquet.stat().st_size, parquet)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert str(tmp_path) in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_failed_conversion_leaves_nothing(tmp_path):
    workspace = csv._workspace()
    before = set(workspace.iterdir())
    with pytest.raises(InputError, match="'left'"):
        converted(tmp_path, "x\nleft\n", {"x": pa.float64()})
    assert set(workspace.iterdir()) == before
