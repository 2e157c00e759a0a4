"""Which transcript of the slide each entry of another tool's table means."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import polars as pl

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.evaluation.formats import plain_text, refuse_lost_digits

# How a transcript is named: by its row in the slide from 0, by its id, by its row from 1.
_ROW_COLUMNS = (keys.ROW, "row_index")
_MOLECULE = "molecule_id"
_TRANSCRIPT_COLUMNS = (*_ROW_COLUMNS, keys.TRANSCRIPT_ID, _MOLECULE)

_LEAST_SHARE_FOUND = 0.5
_SAME_PLACE_UM = 0.1  # a csv may round; neighbouring rows of a slide lie much farther apart
PLACE = (keys.X, keys.Y)


def naming_columns(schema: pl.Schema, source: Path, given: str | None) -> list[str]:
    """Return the columns that may name the transcript, the first to be tried first.

    Raises
    ------
    InputError
        When there is none, or `given` is not there.
    """
    found = [name for name in ([given] if given else _TRANSCRIPT_COLUMNS) if name in schema]
    if not found:
        wanted = f"'{given}'" if given else f"one of {', '.join(_TRANSCRIPT_COLUMNS)}"
        raise InputError(
            f"no column of {source.name} names the transcript; found: {', '.join(schema) or 'none'}; "
            f"expected {wanted}: say which it is with --transcript-column"
        )
    return found


def find_rows(table: pl.DataFrame, naming: list[str], transcripts: pl.DataFrame, source: Path) -> pl.Series:
    """Return the slide's row of each entry, null where it has none, by the first column that fits.

    Parameters
    ----------
    table
        The segmentation, one row an entry: the columns of `naming` and, where it has them,
        `transcript_id`, `x` and `y`, which tell whether rows are those of this slide.
    naming
        Columns that may name the transcript, from `naming_columns`.
    transcripts
        The slide: `row` (0 to n-1), `transcript_id`, `x`, `y` (um).
    source
        The table's file, for messages.

    Returns
    -------
    (len(table),) Int64.

    Raises
    ------
    InputError
        When the last of the columns does not fit: a transcript has no name or that of another, or the
        names are another slide's.
    """
    *doubtful, last = naming
    for column in doubtful:
        with suppress(InputError):
            return _rows_by(column, table, transcripts, source)
    return _rows_by(last, table, transcripts, source)


def _rows_by(column: str, table: pl.DataFrame, transcripts: pl.DataFrame, source: Path) -> pl.Series:
    named = _keys_of(table[column], source)
    if column in _ROW_COLUMNS:
        rows = _rows_by_number(named, 0, len(transcripts), source)
        _refuse_other_ids(rows, table, transcripts, source)
        return rows
    if column == _MOLECULE:
        rows = _rows_by_number(named, 1, len(transcripts), source)
        _refuse_other_places(rows, table, transcripts, source)
        return rows
    return _rows_by_id(named, transcripts, source)


def _keys_of(values: pl.Series, source: Path) -> pl.Series:
    """Return what names each transcript, as integers or text, each with a name of its own."""
    refuse_lost_digits(values, source)
    values = _plain(values)
    if values.null_count():
        raise InputError(
            f"{values.null_count():,} rows of {source.name} have no {values.name}; expected one in each: "
            "leave those rows out, or name another column with --transcript-column"
        )
    repeated = len(values) - values.n_unique()
    if repeated:
        first = values.filter(values.is_duplicated())[0]
        raise InputError(
            f"{repeated:,} rows of {source.name} repeat a {values.name}, first {first}; expected one row for "
            "each transcript: leave the others out, or name another column with --transcript-column"
        )
    return values


def _rows_by_number(numbers: pl.Series, first: int, n_rows: int, source: Path) -> pl.Series:
    """Read the row in the slide from a number that counts from `first`."""
    rows = numbers.cast(pl.Int64, strict=False) - first
    outside = ~rows.is_between(0, n_rows - 1).fill_null(False)
    if outside.any():
        raise InputError(
            f"{numbers.name} {numbers.filter(outside)[0]} of {source.name} is no row of the slide, which has "
            f"{n_rows:,} transcripts, as if it were another slide's; give the segmentation of this slide, or "
            "name another column with --transcript-column"
        )
    return rows


def _rows_by_id(named: pl.Series, transcripts: pl.DataFrame, source: Path) -> pl.Series:
    column = named.name
    named, slide = _alike(named, transcripts[keys.TRANSCRIPT_ID])
    if slide.null_count() or slide.n_unique() < len(slide):
        raise InputError(
            f"the slide's transcript_id is missing or repeated, so {column} of {source.name} cannot tell "
            "its transcripts apart; give a table with a column 'row', the row in the slide from 0"
        )
    index = pl.DataFrame({"key": slide, "found": transcripts[keys.ROW].cast(pl.Int64)})
    rows = named.alias("key").to_frame().join(index, on="key", how="left", maintain_order="left")["found"]
    n_found = len(rows) - rows.null_count()
    if n_found < _LEAST_SHARE_FOUND * len(rows):
        raise InputError(
            f"only {n_found:,} of the {len(rows):,} transcripts of {source.name} are in the slide by their "
            f"{column}, as if it were another slide's; give the segmentation of this slide, or name "
            "another column with --transcript-column"
        )
    return rows


def _plain(ids: pl.Series) -> pl.Series:
    if ids.dtype.is_integer():
        return ids
    return ids.to_frame().select(plain_text(ids.name, ids.dtype)).to_series()


def _alike(named: pl.Series, slide: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return both ids as integers of the slide's type, where they are integers, else as text."""
    named, slide = _plain(named), _plain(slide)
    if named.dtype.is_integer() and slide.dtype.is_integer():
        return named.cast(slide.dtype, strict=False), slide
    return named.cast(pl.String), slide.cast(pl.String)


def _refuse_other_ids(rows: pl.Series, table: pl.DataFrame, transcripts: pl.DataFrame, source: Path) -> None:
    """Rows of any slide look alike: where the table has the transcripts' ids too, they must agree."""
    if keys.TRANSCRIPT_ID not in table.columns:
        return
    named, slide = _alike(table[keys.TRANSCRIPT_ID], transcripts[keys.TRANSCRIPT_ID].gather(rows))
    n_others = int((named != slide).sum())
    if n_others:
        raise InputError(
            f"{n_others:,} of the {len(rows):,} rows of {source.name} have another transcript_id than that "
            "row of the slide, as if it were another slide's; give the segmentation of this slide, or name "
            "another column with --transcript-column"
        )


def _refuse_other_places(
    rows: pl.Series, table: pl.DataFrame, transcripts: pl.DataFrame, source: Path
) -> None:
    """Baysor counts the rows of its own input, which need not be the slide: the coordinates tell."""
    n_near = 0
    if set(PLACE) <= set(table.columns):
        there = [table[axis].cast(pl.Float64, strict=False) for axis in PLACE]
        here = [transcripts[axis].cast(pl.Float64).gather(rows) for axis in PLACE]
        far = [(a - b).abs() > _SAME_PLACE_UM for a, b in zip(there, here, strict=True)]
        n_near = int((~(far[0] | far[1])).fill_null(False).sum())
    if n_near < len(rows):
        raise InputError(
            f"{source.name} names transcripts by {_MOLECULE}, the row in Baysor's input from 1, but only "
            f"{n_near:,} of its {len(rows):,} rows lie where the slide has them; expected all: keep the "
            "column 'row' or 'transcript_id' of the slide in Baysor's input, which it passes on"
        )
