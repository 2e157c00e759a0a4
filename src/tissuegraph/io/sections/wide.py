"""Wide text tables of counts, read line by line: tens of thousands of columns, mostly zeros."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from scipy import sparse

from tissuegraph.errors import InputError


@dataclass(frozen=True)
class Wide:
    """Numbers [rows, columns] with names."""

    values: sparse.csr_matrix
    rows: list[str]
    columns: list[str]


def open_text(path: Path) -> IO[str]:
    """Open a text file, packed by gzip or not."""
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def separator(line: str) -> str | None:
    """Return what parts the fields of a line: tab, comma, or None for any white space."""
    return next((mark for mark in ("\t", ",", ";") if mark in line), None)


def fields(line: str, mark: str | None) -> list[str]:
    """Return the fields of a line without quotes."""
    return [field.strip().strip('"') for field in line.rstrip("\r\n").split(mark)]


def read_wide(path: Path) -> Wide:
    """Read a table whose first line names the columns and whose first field names the row.

    The first line may lack a name for the column of names, as R writes it.
    """
    with open_text(path) as file:
        header = _skip_comments(file)
        mark = separator(header)
        rows, parts = _rows(file, mark, path)
        names = fields(header, mark)
    width = parts[0][2] if parts else len(names) - 1
    if len(names) not in (width, width + 1):
        raise InputError(
            f"the first line of {path} names {len(names)} columns, but its rows have {width} numbers; "
            "expected a table with one column a bead"
        )
    columns = names[len(names) - width :]
    starts = np.cumsum([0] + [len(place) for place, _, _ in parts])
    empty = (np.empty(0, np.int64), np.empty(0), 0)
    places, values = (np.concatenate([part[i] for part in [*parts, empty]]) for i in (0, 1))
    return Wide(sparse.csr_matrix((values, places, starts), (len(rows), width)), rows, columns)


def _skip_comments(lines: Iterator[str]) -> str:
    return next((line for line in lines if not line.startswith("#")), "")


def _rows(
    lines: Iterator[str], mark: str | None, path: Path
) -> tuple[list[str], Sequence[tuple[np.ndarray, np.ndarray, int]]]:
    names, parts, width = [], [], -1
    for line in lines:
        if not line.strip():
            continue
        name, _, rest = line.lstrip().partition(mark or " ")
        try:
            values = np.array(rest.split(mark), dtype=np.float64)
        except ValueError as error:
            raise InputError(
                f"row '{name}' of {path} holds no plain numbers ({error}); expected counts"
            ) from error
        if width not in (-1, len(values)):
            raise InputError(
                f"row '{name}' of {path} has {len(values)} numbers, others {width}; it may be cut short: "
                "copy it again"
            )
        width = len(values)
        place = np.flatnonzero(values)
        names.append(name.strip().strip('"'))
        parts.append((place, values[place], width))
    return names, parts
