"""What a platform writes, cast to the canonical type: one lazy polars expression a kind of column."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

_TRUE, _FALSE = ["true", "t", "yes", "1"], ["false", "f", "no", "0"]


def text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as text; ids of any width survive, as no whole number passes through a float."""
    column = pl.col(name)
    if dtype.is_float():  # what pandas makes of integers beside a missing value
        column = column.cast(pl.Int64, strict=False)
    return column.cast(pl.String)


def cell_id(name: str, dtype: pl.DataType, unassigned: Collection[str]) -> pl.Expr:
    """Return the column as text, null where it holds one of `unassigned`."""
    column = text(name, dtype)
    return pl.when(~column.is_in(list(unassigned))).then(column)


def number(name: str) -> pl.Expr:
    """Return the column as f32, null where it is missing, NaN or infinite."""
    column = pl.col(name).cast(pl.Float32, strict=False)
    return pl.when(column.is_finite()).then(column)


def flag(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as bool, whether it is written as bool, as 0 and 1, or as text; else null."""
    if dtype == pl.Boolean:
        return pl.col(name)
    if dtype.is_numeric():
        return pl.col(name).cast(pl.Int64, strict=False) != 0
    word = text(name, dtype).str.to_lowercase()
    return pl.when(word.is_in([*_TRUE, *_FALSE])).then(word.is_in(_TRUE))
