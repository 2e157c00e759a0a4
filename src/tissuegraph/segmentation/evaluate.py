"""Score a finished run against the truth, beside the vendor and the nearest nucleus."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
import shapely
from rich.console import Console
from rich.table import Table

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.io import read_xenium
from tissuegraph.metrics.segmentation import (
    CALIBRATION_ITEMS,
    Scores,
    expected_calibration_error,
    is_right,
    score_assignment,
)
from tissuegraph.sample import Sample
from tissuegraph.segmentation.nearest import (
    DEFAULT_DISTANCE,
    ORACLE_DISTANCES,
    best_distance,
    nearest_nucleus,
    take_ids,
)

MIN_QV = 20
"""Scores cover transcripts of at least this quality, whatever the run itself kept."""

OURS = "tissuegraph"
VENDOR = "vendor"
TRUE_OUTLINES = "true outlines (upper bound)"


@dataclass(frozen=True)
class _Truth:
    """The true cell of each transcript, which cells had a nucleus, and their outlines where known."""

    transcripts: pl.DataFrame
    seen_cells: pl.Series
    outlines: gpd.GeoDataFrame | None


def evaluate(out: Path, truth: Path, *, bundle: Path | None = None) -> dict[str, Scores]:
    """Score a run and its baselines on the same transcripts: quality of 20 or more, no controls.

    Parameters
    ----------
    out
        Folder of a finished run.
    truth
        `truth.parquet` of a simulated slide (`transcript_id`, `true_cell_id`), beside it
        `truth_cells.parquet` (`cell_id`, `has_nucleus` and, where known, `geometry`).
    bundle
        The slide that the run read; by default the one named in the run's `run.json`.

    Returns
    -------
    Scores by name: tissuegraph; vendor, if the bundle has cells; nearest nucleus at its best distance, an
    oracle; nearest nucleus at 5 um; the true outlines, if known.

    Raises
    ------
    InputError
        If the run is missing or not finished, or the bundle or the truth is missing, broken or of
        another slide.
    """
    out, truth = Path(out), Path(truth)
    run = _read_run(out)
    known = _read_truth(truth)
    sample = read_xenium(bundle or _source_of(run, out))
    table = _joined(_read_assignment(out), sample, known.transcripts, truth)
    true_cell, seen = table[keys.TRUE_CELL_ID], known.seen_cells
    scores = {OURS: _score_run(table, seen)}
    if table[keys.CELL_ID].null_count() < len(table):
        scores[VENDOR] = score_assignment(true_cell, table[keys.CELL_ID], seen)
    scores |= _score_nearest(table, sample.nuclei, seen)
    if known.outlines is not None:
        inside = _contained(table, known.outlines)
        scores[TRUE_OUTLINES] = score_assignment(true_cell, inside, seen)
    return scores


def print_scores(scores: dict[str, Scores], console: Console | None = None) -> None:
    """Print the scores that `evaluate` returns as a table, one row an assignment."""
    count = max((score.n_transcripts for score in scores.values()), default=0)
    table = Table(title=f"{count:,} transcripts with qv >= {MIN_QV} that are not controls")
    table.add_column("assignment", overflow="fold")
    for name in ("F1", "precision", "recall", "unseen", "assigned", "ECE"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        shares = (score.f1, score.precision, score.recall, score.unseen, score.share_assigned)
        cells = [*shares, score.calibration_error]
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in cells))
    (console or Console()).print(table)


def _read_run(out: Path) -> dict[str, Any]:
    missing = [name for name in (keys.TRANSCRIPTS_FILE, keys.RUN_FILE) if not (out / name).is_file()]
    if missing:
        raise InputError(
            f"no {' and no '.join(missing)} in {out}, so no run was finished there; "
            "give the output folder of `tissuegraph segment` or `tissuegraph predict`."
        )
    try:
        run = json.loads((out / keys.RUN_FILE).read_text())
    except ValueError as error:
        raise InputError(
            f"{out / keys.RUN_FILE} is not valid JSON ({error}); run the segmentation again."
        ) from error
    return run if isinstance(run, dict) else {}


def _source_of(run: dict[str, Any], out: Path) -> Path:
    source = run.get("source")
    if not source or not Path(source).exists():
        raise InputError(
            f"{out / keys.RUN_FILE} names {source or 'no bundle'} as its source, which is not there; "
            "say where the bundle lies with --bundle."
        )
    return Path(source)


def _read_assignment(out: Path) -> pl.DataFrame:
    needed = [keys.ROW, keys.ASSIGNED_CELL_ID, keys.ASSIGNMENT_PROBABILITY]
    return _read_columns(out / keys.TRANSCRIPTS_FILE, needed)


def _read_truth(path: Path) -> _Truth:
    transcripts = _read_columns(path, [keys.TRANSCRIPT_ID, keys.TRUE_CELL_ID])
    repeated = len(transcripts) - transcripts[keys.TRANSCRIPT_ID].n_unique()
    if repeated:
        raise InputError(
            f"{repeated:,} rows of {path} repeat a transcript_id; a truth needs one row for each transcript."
        )
    transcripts = transcripts.with_columns(pl.col(keys.TRUE_CELL_ID).cast(pl.String))
    cells_path = path.parent / keys.TRUTH_CELLS_FILE
    cells = _read_columns(cells_path, [keys.CELL_ID, keys.HAS_NUCLEUS])
    cells = cells.with_columns(pl.col(keys.CELL_ID).cast(pl.String))
    seen_cells = cells.filter(pl.col(keys.HAS_NUCLEUS).cast(pl.Boolean))[keys.CELL_ID]
    return _Truth(transcripts, seen_cells, _read_outlines(cells_path, cells[keys.CELL_ID]))


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


def _joined(assignment: pl.DataFrame, sample: Sample, truth: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Put the transcripts that count side by side with their assigned and true cells."""
    transcripts = sample.scan().select(
        keys.ROW, keys.TRANSCRIPT_ID, keys.X, keys.Y, keys.QV, keys.CELL_ID, keys.IS_CONTROL
    )
    everything = transcripts.collect()
    if len(everything) != len(assignment):
        raise InputError(
            f"the run has {len(assignment):,} transcripts and {sample.source} has {len(everything):,}; "
            "give the bundle that the run read with --bundle."
        )
    counts = (pl.col(keys.QV).fill_null(MIN_QV) >= MIN_QV) & ~pl.col(keys.IS_CONTROL)
    has_position = pl.col(keys.X).is_finite() & pl.col(keys.Y).is_finite()
    scored = everything.filter(counts & has_position)
    assignment = assignment.with_columns(
        pl.col(keys.ROW).cast(pl.UInt64), pl.col(keys.ASSIGNED_CELL_ID).cast(pl.String)
    )
    scored = scored.join(assignment, on=keys.ROW, how="left", maintain_order="left")
    return _with_truth(scored, truth, path)


def _with_truth(scored: pl.DataFrame, truth: pl.DataFrame, path: Path) -> pl.DataFrame:
    if scored.schema[keys.TRANSCRIPT_ID] != truth.schema[keys.TRANSCRIPT_ID]:
        as_text = pl.col(keys.TRANSCRIPT_ID).cast(pl.String)
        scored, truth = scored.with_columns(as_text), truth.with_columns(as_text)
    unknown = len(scored.join(truth, on=keys.TRANSCRIPT_ID, how="anti"))
    if unknown:
        raise InputError(
            f"{unknown:,} of the {len(scored):,} transcripts of the run are not in {path}, as if it were the "
            "truth of another slide; give the truth that was written with the bundle."
        )
    return scored.join(truth, on=keys.TRANSCRIPT_ID, how="left", maintain_order="left")


def _score_run(table: pl.DataFrame, seen_cells: pl.Series) -> Scores:
    """Score our own assignment, with its calibration if enough is assigned to measure it."""
    true_cell, assigned = table[keys.TRUE_CELL_ID], table[keys.ASSIGNED_CELL_ID]
    scores = score_assignment(true_cell, assigned, seen_cells)
    probability = table[keys.ASSIGNMENT_PROBABILITY]
    promised = (assigned.is_not_null() & probability.is_not_null()).to_numpy()
    if promised.sum() < CALIBRATION_ITEMS:
        return scores
    right = is_right(true_cell, assigned, seen_cells)
    error = expected_calibration_error(probability.to_numpy()[promised], right[promised])
    return replace(scores, calibration_error=error)


def _score_nearest(
    table: pl.DataFrame, nuclei: gpd.GeoDataFrame | None, seen_cells: pl.Series
) -> dict[str, Scores]:
    if nuclei is None or len(nuclei) == 0:
        raise InputError(
            "the bundle has no nuclei, so there is no nearest nucleus to compare with; "
            "give one with nucleus_boundaries.parquet."
        )
    ids, true_cell = nuclei.index.to_numpy(dtype=object), table[keys.TRUE_CELL_ID]
    pairs = _nearest_pairs(table, nuclei, float(ORACLE_DISTANCES.max()))
    oracle = best_distance(*pairs, nucleus_id=ids, true_cell=true_cell, seen_cells=seen_cells)
    plain = take_ids(ids, nearest_nucleus(len(table), *pairs, max_distance=DEFAULT_DISTANCE))
    return {
        f"nearest nucleus, best distance (oracle: {oracle.distance:g} um)": oracle.scores,
        f"nearest nucleus, {DEFAULT_DISTANCE:g} um": score_assignment(true_cell, plain, seen_cells),
    }


def _contained(table: pl.DataFrame, outlines: gpd.GeoDataFrame) -> npt.NDArray[np.object_]:
    """Return the cell whose outline holds each transcript (the deepest, where two do), or None."""
    pairs = _nearest_pairs(table, outlines, 0.0)
    return take_ids(
        outlines.index.to_numpy(dtype=object), nearest_nucleus(len(table), *pairs, max_distance=0.0)
    )


def _nearest_pairs(table: pl.DataFrame, outlines: gpd.GeoDataFrame, max_distance: float) -> Any:
    x, y = table[keys.X].to_numpy(), table[keys.Y].to_numpy()
    return candidate_pairs(x, y, outlines.geometry.to_numpy(), k=1, max_distance=max_distance)
