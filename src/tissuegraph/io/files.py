"""Find and open the tables of a bundle; what is wrong with them is said in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from tissuegraph.errors import InputError, OutputError
from tissuegraph.io.csv import csv_to_parquet

SUFFIXES = (".parquet", ".csv.gz", ".csv")  # parquet first: it needs no conversion


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the libraries raise while `path` is read into one sentence for the user.

    Raises
    ------
    InputError
        When the file is missing, may not be read, or is not what its name says.
    OutputError
        When the temporary folder has no space left for a converted csv.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"no such file or folder: {path}; check the path") from error
    except PermissionError as error:
        raise InputError(f"no permission to read {path}; ask its owner for it or try 'chmod +r'") from error
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            message = f"no space left to convert {path.name}; set TMPDIR to a folder on a larger disk"
            raise OutputError(message) from error
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(
            f"cannot read {path} ({reason}); it may be cut short or damaged: copy or download it again"
        ) from error


def find_table(folder: Path, stem: str) -> Path | None:
    """Return `folder/stem` as .parquet, .csv.gz or .csv, the first of them that is there, else None."""
    for suffix in SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def open_table(path: Path, csv_types: Mapping[str, pa.DataType]) -> tuple[Path, pl.Schema]:
    """Return the parquet file that holds the table, and its columns; no row is loaded.

    A csv is converted once, with the types of `csv_types`, to a temporary parquet.
    """
    with reading(path):
        parquet = path if path.suffix == ".parquet" else csv_to_parquet(path, csv_types)
        return parquet, pl.scan_parquet(parquet, glob=False).collect_schema()


def count_rows(parquet: Path) -> int:
    """Return the number of rows, from the file's footer."""
    with reading(parquet):
        return int(pl.scan_parquet(parquet, glob=False).select(pl.len()).collect().item())


def require_columns(
    path: Path, schema: pl.Schema, needed: Collection[str], numeric: Collection[str], advice: str
) -> None:
    """Raise an InputError that ends in `advice` unless `needed` are there and `numeric` hold numbers."""
    missing = [name for name in needed if name not in schema]
    if missing:
        found, expected = ", ".join(schema) or "none", ", ".join(needed)
        raise InputError(
            f"no column '{missing[0]}' in {path.name}; found: {found}; expected: {expected}; {advice}"
        )
    for name in numeric:
        if name in schema and not schema[name].is_numeric():
            raise InputError(
                f"column '{name}' of {path.name} holds {_kind(schema[name])}, not numbers; {advice}"
            )


def _kind(dtype: pl.DataType) -> str:
    return "text" if dtype in (pl.String, pl.Categorical, pl.Enum) else f"{dtype} values"
