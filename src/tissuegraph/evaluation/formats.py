"""How our own runs and other tools write their segmentations; the rest of the package need not know.

The formats were read from the sources of the tools:
Baysor 0.5 to 0.7 (github.com/kharchenkolab/Baysor: `get_segmentation_df`, `polygons_to_geojson`),
proseg 1 to 3 (github.com/dcjones/proseg: `transcript_metadata_schema`, `write_cell_multipolygons`),
segger (github.com/dpeerlab/segger: `ISTSegmentationWriter`, `segger export`; EliHei2/segger_dev: `segment`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io import columns
from tissuegraph.io.files import SUFFIXES, open_table, reading

# "None": segger_dev casts missing ids to text.
UNASSIGNED = ("", "UNASSIGNED", "-1", "nan", "NaN", "None")
_NO_PROSEG_CELL = str(2**32 - 1)
_BAYSOR_NOISE = "0"

# What a folder given as a segmentation may hold; the last one is proseg's spatialdata.
_TABLES = (
    keys.TRANSCRIPTS_FILE,
    "segmentation.csv",
    *(f"transcript-metadata{suffix}" for suffix in SUFFIXES),
    "segger_segmentation.parquet",
    "segger_transcripts.parquet",
    "points/transcripts/points.parquet/part.0.parquet",
)

# The more a name says, the earlier: tools pass the vendor's `cell_id` through beside their own.
_CELL_COLUMNS = (
    keys.ASSIGNED_CELL_ID,
    "segger_cell_id",
    "cell",
    "assignment",
    keys.CELL_ID,
    keys.TRUE_CELL_ID,
)
_PROBABILITY_COLUMNS = (keys.ASSIGNMENT_PROBABILITY, "assignment_confidence", "probability")

_CSV_TYPES = {
    **dict.fromkeys((keys.ROW, "row_index", keys.TRANSCRIPT_ID, "molecule_id"), pa.uint64()),
    **dict.fromkeys((*_PROBABILITY_COLUMNS, "segger_similarity", "similarity_threshold"), pa.float64()),
}

# What a whole number looks like that went through a float and may have lost digits there.
_FLOAT_TEXT = r"^(\d\.\d+e\+\d+|\d{16,}\.0+)$"
_FLOAT_EXACT = 2**53


@dataclass(frozen=True)
class Format:
    """Where a table says which cell a transcript belongs to.

    Attributes
    ----------
    tool
        "tissuegraph", "baysor", "proseg", "segger", or None for any other table.
    cell, confidence
        The column of the cell's id, and of how sure the tool is (None: it does not say).
    is_probability
        Whether the confidence is meant as the probability that the assignment is right.
    unassigned
        What stands in `cell` for no cell, besides null.
    left_out
        An expression that is true where the tool gives a cell, but does not count the transcript to it.
    polygons
        Files that may hold the cells' outlines, the best first.
    """

    tool: str | None
    cell: str
    confidence: str | None
    is_probability: bool = True
    unassigned: tuple[str, ...] = UNASSIGNED
    left_out: pl.Expr | None = None
    polygons: tuple[Path, ...] = ()


def find_source(path: Path) -> Path:
    """Return the table that `path` names: itself, or the one in a run's folder.

    Raises
    ------
    InputError
        When there is no such file, the folder holds no segmentation or several, or it is no table.
    """
    with reading(path):
        path.stat()
        is_parts = path.suffix == ".parquet" and path.is_dir()  # dask writes a folder of part files
        found = [path / name for name in _TABLES if (path / name).exists()] if path.is_dir() else [path]
    if is_parts:
        return path
    if len(found) != 1:
        there = f"several ({', '.join(str(file.relative_to(path)) for file in found)})" if found else "none"
        raise InputError(
            f"expected one segmentation in {path}, found {there}; "
            f"name the file itself, or a folder with one of {', '.join(_TABLES)}"
        )
    if not found[0].name.endswith(SUFFIXES):
        raise InputError(
            f"{path} is no table that can be read; expected a name that ends in {', '.join(SUFFIXES)}: "
            "give the file that says which cell each transcript belongs to"
        )
    return found[0]


def open_source(source: Path) -> tuple[pl.LazyFrame, pl.Schema]:
    """Return the table of `source` lazily, and its columns; a csv is converted once."""
    if not source.is_dir():
        parquet, schema = open_table(source, _CSV_TYPES)
        return pl.scan_parquet(parquet, glob=False), schema
    with reading(source):
        parts = pl.scan_parquet(source / "*.parquet")
        return parts, parts.collect_schema()


def recognise(schema: pl.Schema, source: Path, cell_column: str | None = None) -> Format:
    """Tell by its columns which tool wrote a table.

    Raises
    ------
    InputError
        When no column names the cell, `cell_column` is not there, or a confidence is not a number.
    """
    found = _recognise_tool(schema, source)
    if found is None or cell_column not in (None, found.cell):
        # What a tool says of its own cells does not hold for those of another column.
        confidence = _first(_PROBABILITY_COLUMNS, schema) if found is None else None
        found = Format(None, cell_column or _first(_CELL_COLUMNS, schema) or "", confidence)
    if found.cell not in schema:
        wanted = f"'{cell_column}'" if cell_column else f"one of {', '.join(_CELL_COLUMNS)}"
        raise InputError(
            f"no column of {source.name} names the cell; found: {', '.join(schema) or 'none'}; "
            f"expected {wanted}: say which it is with --cell-column"
        )
    if found.confidence is not None and not schema[found.confidence].is_numeric():
        raise InputError(
            f"column '{found.confidence}' of {source.name} holds {schema[found.confidence]} values, expected "
            "numbers from 0 to 1; mend or rename it"
        )
    return found


def _recognise_tool(schema: pl.Schema, source: Path) -> Format | None:
    folder = source.parent
    if {keys.ROW, keys.ASSIGNED_CELL_ID} <= schema.keys():
        confidence = _first([keys.ASSIGNMENT_PROBABILITY], schema)
        outlines = (folder / keys.BOUNDARIES_FILE,)
        return Format("tissuegraph", keys.ASSIGNED_CELL_ID, confidence, polygons=outlines)
    if "segger_cell_id" in schema:
        return _segger(schema, folder)
    if {"assignment", "observed_x"} <= schema.keys():
        return _proseg(schema, folder)
    if "cell" in schema and ("molecule_id" in schema or "is_noise" in schema):
        return _baysor(schema, source)
    return None


def _segger(schema: pl.Schema, folder: Path) -> Format:
    """Below its gene's threshold a transcript has a cell in the file, but not in segger's counts."""
    left_out = None
    if {"segger_similarity", "similarity_threshold"} <= schema.keys():
        left_out = ~(pl.col("segger_similarity") >= pl.col("similarity_threshold")).fill_null(False)
    confidence = _first(["segger_similarity", "score"], schema)
    outlines = (folder / keys.BOUNDARIES_FILE,)
    return Format(
        "segger", "segger_cell_id", confidence, is_probability=False, left_out=left_out, polygons=outlines
    )


def _proseg(schema: pl.Schema, folder: Path) -> Format:
    """`assignment` was the winner over all samples, background among them, up to version 2.

    Since version 3, which has no `probability`, it says in whose volume a transcript lies, and
    `background` that it is not counted there.
    """
    left_out = None
    if "probability" not in schema and "background" in schema:
        left_out = columns.flag("background", schema["background"]).fill_null(False)
    outlines = [folder / f"cell-polygons.geojson{suffix}" for suffix in (".gz", "")]
    if folder.name == "points.parquet":
        outlines.append(folder.parents[2] / "shapes/cell_boundaries/shapes.parquet")
    return Format(
        "proseg",
        "assignment",
        _first(["probability"], schema),
        unassigned=(*UNASSIGNED, _NO_PROSEG_CELL),
        left_out=left_out,
        polygons=tuple(outlines),
    )


def _baysor(schema: pl.Schema, source: Path) -> Format:
    """Baysor's table, or that of proseg-to-baysor, which must not bear Baysor's name."""
    is_own = "molecule_id" in schema or "assignment_confidence" in schema
    left_out = None
    if "is_noise" in schema:
        left_out = columns.flag("is_noise", schema["is_noise"]).fill_null(False)
    stem = table_stem(source)
    names = (
        f"{stem}_polygons_2d.json",
        f"{stem}_polygons.json",
        f"{stem.replace('transcript-metadata', 'cell-polygons')}.geojson",
    )
    return Format(
        "baysor" if is_own else None,
        "cell",
        _first(["assignment_confidence"], schema),
        unassigned=(*UNASSIGNED, _BAYSOR_NOISE),
        left_out=left_out,
        polygons=tuple(source.parent / name for name in names),
    )


def table_stem(source: Path) -> str:
    """Return the file's name without .parquet, .csv or .csv.gz."""
    return next((source.name.removesuffix(end) for end in SUFFIXES if source.name.endswith(end)), source.name)


def plain_text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return ids as text; "12.0", which pandas makes of 12 beside a missing value, as "12"."""
    value = columns.text(name, dtype)
    return value if dtype.is_numeric() else value.str.replace(r"^(-?\d+)\.0+$", "$1")


def refuse_lost_digits(values: pl.Series, source: Path) -> None:
    """Raise an InputError where ids went through a float too narrow for them: two may have become one."""
    if values.dtype.is_float():
        is_lost = bool((values.fill_nan(None).abs() > _FLOAT_EXACT).any())
    else:
        written = values.str.extract(_FLOAT_TEXT) if values.dtype == pl.String else values.clear()
        is_lost = bool((written.cast(pl.Float64, strict=False) > _FLOAT_EXACT).any())
    if is_lost:
        raise InputError(
            f"column '{values.name}' of {source.name} holds ids as decimal numbers, which keep no more than "
            "15 digits, and some have more; expected whole numbers or text: write the table again from "
            "the tool's own output"
        )


def _first(names: Iterable[str], schema: pl.Schema) -> str | None:
    return next((name for name in names if name in schema), None)
