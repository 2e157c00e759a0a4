"""Cells as integers, and which cells of two assignments share transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.errors import InputError

NONE = -1
"""The code of a transcript without a cell."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """Cells as integers: one true and one assigned code a transcript (-1 = none); `is_seen` is by code."""

    true_cell: Codes
    assigned_cell: Codes
    is_seen: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlaps:
    """The pairs of cells of two assignments that share transcripts.

    Attributes
    ----------
    first, second, count
        (P,): the two cells of each pair and the transcripts that they share.
    row
        (P,): the first transcript that they share, which settles ties whatever the cells are called.
    pair_of_item
        (N,): the pair of each transcript.
    """

    first: Codes
    second: Codes
    count: Codes
    row: Codes
    pair_of_item: Codes


def encode(true_cell: Any, assigned_cell: Any, seen_cells: Any) -> Encoded:
    """Turn ids into the codes 0..C-1, shared by the three columns. Raises as `score_assignment` does."""
    columns = [_as_column(values) for values in (true_cell, assigned_cell, seen_cells)]
    n_true, n_assigned = len(columns[0]), len(columns[1])
    if n_true != n_assigned:
        raise InputError(
            f"{n_true:,} true cells and {n_assigned:,} assigned ones; give one of each a transcript."
        )
    if n_true == 0:
        raise InputError("there are no transcripts to score; give at least one.")
    known = [column for column in columns if column.null_count() < len(column)]
    if len({column.dtype == pl.String for column in known}) > 1:
        raise InputError("some cells are strings and some integers; give both columns and seen_cells alike.")
    kind = known[0].dtype if known else pl.Int64
    everything = pl.concat([column.cast(kind) for column in columns])
    codes = _dense(everything)
    is_seen = np.zeros(codes.max() + 1, bool)
    seen = codes[2 * n_true :]
    is_seen[seen[seen >= 0]] = True
    return Encoded(codes[:n_true], codes[n_true : 2 * n_true], is_seen)


def overlaps(first: Codes, second: Codes) -> Overlaps:
    """Count the transcripts that each pair of cells shares; both codes are 0 or more, shape (N,)."""
    size = np.int64(second.max(initial=-1) + 1)
    pair, row, pair_of_item, count = np.unique(
        first * size + second, return_index=True, return_inverse=True, return_counts=True
    )
    return Overlaps(pair // max(size, 1), pair % max(size, 1), count, row, pair_of_item)


def match_one_to_one(pairs: Overlaps, size: Codes) -> npt.NDArray[np.bool_]:
    """Match cells to cells, largest overlap first; tell which pairs are matched, bool, (P,).

    Of equal overlaps, the pair with fewer transcripts in all (`size`, (P,)) comes first, as it fits better,
    then the one that comes first in the table: ids play no role.
    """
    taken_first, taken_second = set[int](), set[int]()
    is_match = np.zeros(len(pairs.first), bool)
    for best in np.lexsort((pairs.row, size, -pairs.count)).tolist():
        one, other = int(pairs.first[best]), int(pairs.second[best])
        if one not in taken_first and other not in taken_second:
            taken_first.add(one)
            taken_second.add(other)
            is_match[best] = True
    return is_match


def _as_column(values: Any) -> pl.Series:
    """Return cells as strings or integers with nulls, whatever the container."""
    if type(values).__module__.startswith("pandas"):
        values = values.to_numpy(dtype=object, na_value=None)
    if isinstance(values, set | frozenset):
        values = list(values)
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.copy()
        values[values != values] = None  # NaN, which pandas writes for "none"
        values = values.tolist()  # polars guesses the type of an object array by its first item alone
    try:
        column = pl.Series(values)
    except TypeError as error:
        raise InputError("some cells are strings and some are not; give them all alike.") from error
    if column.dtype.is_integer():
        codes = column.cast(pl.Int64)
        return codes.set(codes < 0, None)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    raise InputError(f"cells are of type {column.dtype}; give strings (none = null) or integers (none = -1).")


def _dense(column: pl.Series) -> Codes:
    """Number the distinct values, -1 where there is none."""
    if column.dtype == pl.String:
        column = column.cast(pl.Categorical).to_physical()
    _, codes = np.unique(column.cast(pl.Int64).fill_null(NONE).to_numpy(), return_inverse=True)
    return codes.astype(np.int64) - int(column.null_count() > 0)
