"""Read which cell a segmentation gives each transcript of a slide, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
from numpy.typing import NDArray

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.evaluation.formats import (
    Format,
    find_source,
    open_source,
    plain_text,
    recognise,
    refuse_lost_digits,
    table_stem,
)
from tissuegraph.evaluation.matching import PLACE, find_rows, naming_columns
from tissuegraph.evaluation.polygons import read_polygons
from tissuegraph.io.files import reading

_CELL, _CONFIDENCE = "__cell", "__confidence"


@dataclass(frozen=True)
class Assignment:
    """Which cell a method gives each transcript of a slide.

    Attributes
    ----------
    name
        What tables and figures call the method.
    cell
        (n,) String: the cell's id, null where there is none, for each row of the slide, in its order.
    confidence
        (n,) how sure the method is; NaN where it does not say, or gives no cell; None if it never says.
    outlines
        The cells' polygons (um), indexed by the cell's id; None if there are none.
    is_probability
        Whether `confidence` is meant as the probability that the cell is right (ours, Baysor's
        `assignment_confidence`, proseg's `probability`), and not as a mere score (segger's similarity).
    """

    name: str
    cell: pl.Series
    confidence: NDArray[np.float64] | None
    outlines: gpd.GeoDataFrame | None
    is_probability: bool


def read_assignment(
    path: Path,
    transcripts: pl.DataFrame,
    *,
    name: str | None = None,
    transcript_column: str | None = None,
    cell_column: str | None = None,
) -> Assignment:
    """Read a segmentation of a slide; transcripts that it leaves out are unassigned.

    Parameters
    ----------
    path
        A table of transcripts and their cells (.parquet, .csv, .csv.gz), or the folder of a run with one:
        of ours, Baysor, proseg or segger, which are told by their columns, or any other.
    transcripts
        The slide in canonical columns, all of its rows: `row` is 0 to n-1.
    name
        By default the tool's, for any other table the file's.
    transcript_column
        The column that names the transcript, by default the first that fits of `row` and `row_index`
        (the row in the slide, from 0), `transcript_id` (the slide's) and `molecule_id` (the row from 1, if
        the coordinates agree). A column of another name holds the slide's `transcript_id`.
    cell_column
        The column that names the cell, by default the tool's own.

    Raises
    ------
    InputError
        When the file is missing or no table, lacks a column, names a transcript twice or not at all, or is
        of another slide.
    """
    path = Path(path)
    source = find_source(path)
    lazy, schema = open_source(source)
    layout = recognise(schema, source, cell_column)
    naming = naming_columns(schema, source, transcript_column)
    table = _read_table(lazy, schema, layout, naming, source)
    rows = find_rows(table, naming, transcripts, source)
    entry = _entry_of_each_row(rows, len(transcripts))
    cell = table[_CELL].gather(entry).alias(keys.ASSIGNED_CELL_ID)
    confidence = _confidence(table[_CONFIDENCE].gather(entry), cell)
    bare_name = path.resolve().name if source.parent == path else table_stem(source)
    return Assignment(
        name=name or layout.tool or bare_name,
        cell=cell,
        confidence=confidence,
        outlines=read_polygons(layout.polygons, cell),
        is_probability=confidence is not None and layout.is_probability and _within_one(confidence),
    )


def _read_table(
    lazy: pl.LazyFrame, schema: pl.Schema, layout: Format, naming: list[str], source: Path
) -> pl.DataFrame:
    """Return the cell (null: none) and the confidence of each entry, beside what may name its transcript."""
    with reading(source):
        refuse_lost_digits(lazy.select(layout.cell).collect().to_series(), source)
        cell = plain_text(layout.cell, schema[layout.cell])
        is_none = cell.is_in(list(layout.unassigned))
        if layout.left_out is not None:
            is_none = is_none | layout.left_out
        confidence = pl.lit(None) if layout.confidence is None else pl.col(layout.confidence)
        table = lazy.select(
            pl.when(~is_none).then(cell).alias(_CELL),
            confidence.cast(pl.Float64).alias(_CONFIDENCE),
            *(name for name in schema if name in {*naming, keys.TRANSCRIPT_ID, *PLACE}),
        ).collect()
    if len(table) == 0:
        raise InputError(f"{source} holds no transcripts; give the segmentation of the slide")
    return table


def _entry_of_each_row(rows: pl.Series, n_rows: int) -> pl.Series:
    """Return the table's entry of each row of the slide, null where it has none."""
    found = rows.is_not_null()
    entry = np.full(n_rows, -1)
    entry[rows.filter(found).to_numpy()] = np.flatnonzero(found.to_numpy())
    return pl.Series(entry).replace(-1, None)


def _confidence(values: pl.Series, cell: pl.Series) -> NDArray[np.float64] | None:
    confidence = values.fill_null(float("nan")).to_numpy().copy()
    confidence[cell.is_null().to_numpy()] = np.nan
    return None if np.isnan(confidence).all() else confidence


def _within_one(confidence: NDArray[np.float64]) -> bool:
    return bool(((confidence >= 0) & (confidence <= 1) | np.isnan(confidence)).all())
