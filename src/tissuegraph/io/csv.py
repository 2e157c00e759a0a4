"""csv(.gz) to parquet, once and in batches: a csv.gz cannot be scanned lazily."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from tissuegraph.errors import InputError

_BLOCK_BYTES = 32 << 20  # about 400,000 transcripts; each block becomes a row group
_WHOLE_NUMBER = "^(0|[1-9][0-9]{0,18})$"  # is the same text again after a trip through 64 bits
_BAD_VALUE = re.compile(r"In CSV column #(\d+): .*invalid value '(.*)'")

_log = logging.getLogger(__name__)


def csv_to_parquet(source: Path, types: Mapping[str, pa.DataType]) -> Path:
    """Convert a csv or csv.gz, in bounded memory, to a parquet that lives as long as this process.

    The same unchanged file is converted once. A column named in `types` gets that type, but for an
    integer column that does not hold plain whole numbers ("007", "a-1"), which stays text, as do the
    columns that are not named.

    Raises
    ------
    InputError
        When a value does not fit its column's type, or two columns bear the same name.
    OSError, pyarrow.ArrowInvalid
        When the file cannot be read at all.
    """
    status = source.stat()
    return _convert(source.absolute(), tuple(types.items()), status.st_size, status.st_mtime_ns)


@functools.cache
def _convert(source: Path, types: tuple[tuple[str, pa.DataType], ...], *state: int) -> Path:  # noqa: ARG001
    # `state` only tells one content of the file from another.
    _log.info("converting %s to parquet", source)
    chosen = _choose_types(source, dict(types))
    handle, name = tempfile.mkstemp(suffix=".parquet", dir=_workspace())
    os.close(handle)
    target = Path(name)
    try:
        while (column := _write(source, chosen, target)) is not None:
            chosen[column] = pa.string()
    except BaseException:
        target.unlink()
        raise
    return target


def _choose_types(source: Path, types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return a type for each column of the file; integers only where the first block bears them out."""
    integers = {name: pa.string() for name, kind in types.items() if pa.types.is_integer(kind)}
    options = pa.csv.ConvertOptions(column_types=integers)
    with pa.csv.open_csv(source, convert_options=options) as reader:
        names = reader.schema.names
        block = next(iter(reader), None)
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"column '{min(repeated)}' stands twice in {source.name}; rename one of the two")
    chosen = {name: types.get(name, pa.string()) for name in names}
    for name in integers.keys() & chosen.keys():
        if block is not None and not _all_whole(block.column(name)):
            chosen[name] = pa.string()
    return chosen


def _all_whole(values: pa.Array) -> bool:
    return bool(pa.compute.all(pa.compute.match_substring_regex(values, _WHOLE_NUMBER)).as_py())


def _write(source: Path, types: Mapping[str, pa.DataType], target: Path) -> str | None:
    """Write `target` and return None, or return the integer column that turned out to hold text."""
    options = pa.csv.ConvertOptions(column_types=types)
    blocks = pa.csv.ReadOptions(block_size=_BLOCK_BYTES)
    try:
        with (
            pa.csv.open_csv(source, read_options=blocks, convert_options=options) as reader,
            pa.parquet.ParquetWriter(target, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except pa.ArrowInvalid as error:
        bad = _BAD_VALUE.search(str(error))
        if bad is None:
            raise
        column, value = list(types)[int(bad[1])], bad[2]
        if pa.types.is_integer(types[column]):
            return column
        raise InputError(
            f"column '{column}' of {source.name} holds '{value}', which is no {_noun(types[column])}; "
            "mend or leave out that row"
        ) from error
    return None


def _noun(kind: pa.DataType) -> str:
    return "number" if pa.types.is_floating(kind) else "flag (0 or 1, true or false)"


@functools.cache
def _workspace() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tissuegraph-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child must not take its parent's files away
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
