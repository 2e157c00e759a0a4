"""The truth of a simulated slide: the true cell of each transcript, and which cells had a nucleus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import polars as pl
import pyarrow.parquet as pq
import shapely

from tissuegraph import keys
from tissuegraph.errors import InputError


@dataclass(frozen=True)
class Truth:
    """What is known of the slide.

    Attributes
    ----------
    cell
        String (N,): the true cell of each judged transcript, null = background.
    seen_cells
        The cells whose nucleus was seen.
    outlines
        Their true outlines, indexed by cell; None where not known.
    """

    cell: pl.Series
    seen_cells: pl.Series
    outlines: gpd.GeoDataFrame | None


def read_truth(path: Path, transcripts: pl.DataFrame) -> Truth:
    """Read `truth.parquet`, and `truth_cells.parquet` beside it, for the given transcripts.

    Raises
    ------
    InputError
        If a file is missing or broken, a transcript is repeated or not in the truth.
    """
    truth = _read_columns(path, [keys.TRANSCRIPT_ID, keys.TRUE_CELL_ID])
    repeated = len(truth) - truth[keys.TRANSCRIPT_ID].n_unique()
    if repeated:
        raise InputError(
            f"{repeated:,} rows of {path} repeat a transcript_id; a truth needs one row for each transcript."
        )
    truth = truth.with_columns(pl.col(keys.TRUE_CELL_ID).cast(pl.String))
    cells_path = path.parent / keys.TRUTH_CELLS_FILE
    cells = _read_columns(cells_path, [keys.CELL_ID, keys.HAS_NUCLEUS])
    cells = cells.with_columns(pl.col(keys.CELL_ID).cast(pl.String))
    seen = cells.filter(pl.col(keys.HAS_NUCLEUS).cast(pl.Boolean))[keys.CELL_ID]
    return Truth(_join(transcripts, truth, path), seen, _read_outlines(cells_path, cells[keys.CELL_ID]))


def _join(transcripts: pl.DataFrame, truth: pl.DataFrame, path: Path) -> pl.Series:
    ids = transcripts.select(keys.TRANSCRIPT_ID)
    if ids.schema != truth.select(keys.TRANSCRIPT_ID).schema:
        as_text = pl.col(keys.TRANSCRIPT_ID).cast(pl.String)
        ids, truth = ids.with_columns(as_text), truth.with_columns(as_text)
    unknown = len(ids.join(truth, on=keys.TRANSCRIPT_ID, how="anti"))
    if unknown:
        raise InputError(
            f"{unknown:,} of the {len(ids):,} transcripts of the slide are not in {path}, as if it were the "
            "truth of another slide; give the truth that was written with the bundle."
        )
    joined = ids.join(truth, on=keys.TRANSCRIPT_ID, how="left", maintain_order="left")
    return joined[keys.TRUE_CELL_ID]


def _read_outlines(path: Path, cell_id: pl.Series) -> gpd.GeoDataFrame | None:
    if "geometry" not in pq.read_schema(path).names:
        return None
    try:
        outlines = shapely.from_wkb(pl.read_parquet(path, columns=["geometry"])["geometry"].to_numpy())
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise InputError(
            f"the geometry in {path} is not WKB, as GeoParquet has it; write it anew."
        ) from error
    return gpd.GeoDataFrame(geometry=outlines, index=cell_id.to_numpy())


def _read_columns(path: Path, columns: list[str]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"there is no {path}; expected a parquet file with {', '.join(columns)}.")
    try:
        found = pq.read_schema(path).names
        missing = [name for name in columns if name not in found]
        if missing:
            raise InputError(
                f"no column {', '.join(missing)} in {path}; found: {', '.join(found)}; "
                "give the file that has it."
            )
        return pl.read_parquet(path, columns=columns)
    except (pl.exceptions.ComputeError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read as parquet ({reason}); write or copy it anew.") from error
