"""The files of a run, made from the tiles' results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from scipy import sparse

from tissuegraph import keys
from tissuegraph.io.files import reading
from tissuegraph.sample import Sample
from tissuegraph.segmentation.boundaries import cell_outlines
from tissuegraph.segmentation.outlines.windows import windows
from tissuegraph.tiles.survey import Survey, drop_reason

BATCH_ROWS = 500_000


def write_transcripts(
    sample: Sample, survey: Survey, results: pl.LazyFrame, unknown: tuple[str, ...], min_qv: float, path: Path
) -> dict[str, int]:
    """Write every row of the source with its cell, probability and, if dropped, why.

    Returns the account: how many transcripts were given, assigned, unassigned, and dropped for which
    reason.
    """
    with reading(sample.transcripts_path):
        source = pq.ParquetFile(sample.transcripts_path)
    boundary, probability = _by_row(results, source.metadata.num_rows, path.parent)
    ids = pl.Series(keys.ASSIGNED_CELL_ID, survey.boundary_ids.astype(str), pl.String)
    account: dict[str, int] = {"transcripts": 0, "assigned": 0, "unassigned": 0}
    writer = None
    row = 0
    for batch in _batches(source, sample.transcripts_path):
        rows = slice(row, row + len(batch))
        added = _added_columns(batch, sample, ids, boundary[rows], probability[rows], unknown, min_qv)
        added = added.with_columns(pl.Series(keys.ROW, np.arange(rows.start, rows.stop), pl.UInt64))
        _count(account, added)
        table = _beside(pa.Table.from_batches([batch]), added)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        row += len(batch)
    if writer is not None:
        writer.close()
    return account


def _batches(source: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    """Read the source; what is wrong with it is the source's fault, not that of the file being written."""
    with reading(path):
        batches = source.iter_batches(BATCH_ROWS)
        batch = next(batches, None)
    while batch is not None:
        yield batch
        with reading(path):
            batch = next(batches, None)


ADDED = (keys.ROW, keys.ASSIGNED_CELL_ID, keys.ASSIGNMENT_PROBABILITY, keys.DROPPED_BECAUSE)


def _beside(table: pa.Table, added: pl.DataFrame) -> pa.Table:
    """The source's columns as they were, and ours; one that bears a name of ours is told apart."""
    ours = added.select(ADDED).to_arrow()
    ours = ours.cast(
        pa.schema([(f.name, pa.string() if f.type == pa.large_string() else f.type) for f in ours.schema])
    )
    table = table.rename_columns(_told_apart(table.column_names))
    for name in ADDED:
        table = table.append_column(name, ours[name])
    return table.replace_schema_metadata(None)


def _told_apart(names: list[str]) -> list[str]:
    """Add "_in_source" to every name that is one of ours, as often as it takes."""
    told = []
    for given in names:
        name = given
        while name in ADDED or (name != given and name in names):
            name += "_in_source"
        told.append(name)
    return told


def _by_row(results: pl.LazyFrame, n_rows: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boundary (-1 = none) and probability of every row of the source, as arrays on disk."""
    boundary = on_disk(folder / "boundary.tmp", np.int32(-1), n_rows)
    probability = on_disk(folder / "probability.tmp", np.float32(0), n_rows)
    for part in results.select(keys.ROW, "boundary", "probability").collect_batches():
        rows = part[keys.ROW].to_numpy().astype(np.int64)
        boundary[rows] = part["boundary"].to_numpy()
        probability[rows] = part["probability"].to_numpy()
    return boundary, probability


def on_disk(path: Path, value: np.generic, n: int) -> np.ndarray:
    """An array [n] in a file without a name, which is gone when the array is let go.

    The file is written, not only made that long: a disk that fills up under a mapped file kills the process.
    """
    with path.open("wb") as file:
        for start in range(0, n, BATCH_ROWS):
            file.write(np.full(min(BATCH_ROWS, n - start), value).tobytes())
    array = np.memmap(path, value.dtype, "r+")
    path.unlink()
    return array


def _added_columns(
    batch: pa.RecordBatch,
    sample: Sample,
    ids: pl.Series,
    boundary: np.ndarray,
    probability: np.ndarray,
    unknown: tuple[str, ...],
    min_qv: float,
) -> pl.DataFrame:
    frame = pl.DataFrame(batch)
    canonical = frame.select(
        **{name: sample.columns[name] for name in (keys.GENE, keys.X, keys.Y, keys.QV, keys.IS_CONTROL)}
    )
    reason = canonical.select(drop_reason(min_qv).alias(keys.DROPPED_BECAUSE), pl.col(keys.GENE))
    if unknown:
        missing = pl.col(keys.DROPPED_BECAUSE).is_null() & pl.col(keys.GENE).is_in(list(unknown))
        named = pl.when(missing).then(pl.lit(keys.UNKNOWN_GENE)).otherwise(pl.col(keys.DROPPED_BECAUSE))
        reason = reason.with_columns(named.alias(keys.DROPPED_BECAUSE))
    assigned = boundary >= 0
    chosen = ids.gather(np.where(assigned, boundary, 0))
    return reason.select(keys.DROPPED_BECAUSE).with_columns(
        pl.when(pl.Series(assigned)).then(chosen).otherwise(None).alias(keys.ASSIGNED_CELL_ID),
        pl.when(pl.Series(assigned))
        .then(pl.Series(np.asarray(probability)))
        .otherwise(None)
        .alias(keys.ASSIGNMENT_PROBABILITY),
    )


def _count(account: dict[str, int], added: pl.DataFrame) -> None:
    assigned = len(added) - added[keys.ASSIGNED_CELL_ID].null_count()
    dropped = added.group_by(keys.DROPPED_BECAUSE).len().drop_nulls()
    account["transcripts"] += len(added)
    account["assigned"] += assigned
    account["unassigned"] += len(added) - assigned - int(dropped["len"].sum())
    for reason, count in sorted(dropped.iter_rows()):
        account[f"dropped: {reason}"] = account.get(f"dropped: {reason}", 0) + count


def account_by_gene(path: Path, sample: Sample) -> pl.DataFrame:
    """Count, gene by gene, what of the run's transcripts was assigned, unassigned and dropped."""
    gene = sample.columns[keys.GENE].alias(keys.GENE)
    assigned = pl.col(keys.ASSIGNED_CELL_ID).is_not_null()
    dropped = pl.col(keys.DROPPED_BECAUSE).is_not_null()
    return (
        pl.scan_parquet(path, glob=False)
        .select(gene, assigned.alias("assigned"), dropped.alias("dropped"))
        .group_by(keys.GENE)
        .agg(
            pl.len().alias("transcripts"),
            pl.col("assigned").sum(),
            (~pl.col("assigned") & ~pl.col("dropped")).sum().alias("unassigned"),
            pl.col("dropped").sum(),
        )
        .sort(keys.GENE)
        .collect(engine="streaming")
    )


def write_cells(
    survey: Survey, results: pl.LazyFrame, genes: tuple[str, ...], folder: Path, uns: dict[str, Any]
) -> dict[str, Any]:
    """Write `cells.h5ad` and `cell_boundaries.parquet`; returns a summary.

    `genes` names the results' gene numbers. A nucleus to which no transcript was assigned gives no cell.
    """
    assigned = results.filter(pl.col("boundary") >= 0)
    per_cell = (
        assigned.group_by("boundary")
        .agg(
            pl.len().alias("n_transcripts"),
            pl.col("gene").n_unique().alias("n_genes"),
            pl.col("probability").cast(pl.Float64).sort_by(keys.ROW).mean(),
        )
        .sort("boundary")
        .collect()
    )
    numbers = per_cell["boundary"].to_numpy()
    outlines, centres = _outlines(assigned, numbers, survey)
    obs = pd.DataFrame(
        {
            keys.CELL_ID: survey.boundary_ids[numbers].astype(str),
            "n_transcripts": per_cell["n_transcripts"].to_numpy().astype(np.int64),
            "n_genes": per_cell["n_genes"].to_numpy().astype(np.int64),
            "area_um2": shapely.area(outlines),
            "nucleus_area_um2": shapely.area(survey.outlines[numbers]),
            "mean_probability": per_cell["probability"].to_numpy(),
        },
        index=pd.Index(survey.boundary_ids[numbers].astype(str)),
    )
    counts = _count_matrix(assigned, numbers, genes, survey.genes)
    cells = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(survey.genes, dtype=object)))
    cells.layers[keys.LAYER_COUNTS] = counts.copy()
    cells.obsm[keys.OBSM_SPATIAL] = centres
    cells.uns[keys.UNS_RUN] = uns
    cells.write_h5ad(folder / keys.CELLS_FILE, compression="gzip")
    shapes = gpd.GeoDataFrame({keys.CELL_ID: obs[keys.CELL_ID].to_numpy()}, geometry=list(outlines))
    shapes.to_parquet(folder / keys.BOUNDARIES_FILE)
    return _summary(survey, obs)


def _summary(survey: Survey, obs: pd.DataFrame) -> dict[str, Any]:
    return {
        "cells": len(obs),
        "nuclei_without_transcripts": len(survey.outlines) - len(obs),
        "median_transcripts_per_cell": float(obs["n_transcripts"].median()) if len(obs) else 0.0,
        "median_genes_per_cell": float(obs["n_genes"].median()) if len(obs) else 0.0,
        "median_area_um2": round(float(obs["area_um2"].median()), 2) if len(obs) else 0.0,
    }


def _count_matrix(
    assigned: pl.LazyFrame, numbers: np.ndarray, genes: tuple[str, ...], panel: tuple[str, ...]
) -> sparse.csr_matrix:
    """Cells by genes of the slide's panel, int32 csr."""
    entries = assigned.group_by("boundary", "gene").agg(pl.len()).sort("boundary", "gene").collect()
    cell = np.searchsorted(numbers, entries["boundary"].to_numpy())
    column_of = {gene: column for column, gene in enumerate(panel)}
    column = np.array([column_of.get(gene, -1) for gene in genes])[entries["gene"].to_numpy()]
    values = entries["len"].to_numpy().astype(np.int32)
    matrix = sparse.csr_matrix((values, (cell, column)), shape=(len(numbers), len(panel)))
    matrix.sort_indices()
    return matrix


def _outlines(assigned: pl.LazyFrame, numbers: np.ndarray, survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Outline [M] and mean position [M, 2] of the cells `numbers` [M], ascending; a window at a time."""
    nuclei = survey.outlines[numbers]
    boxes = _boxes(assigned, numbers, nuclei)
    outlines, centres = np.empty(len(numbers), object), np.empty((len(numbers), 2))
    for own, near in windows(boxes):
        positions, cell = _members(assigned, numbers[near], boxes[near])
        mine = np.isin(near, own)
        outlines[own] = cell_outlines(positions, cell, nuclei[near])[mine]
        sums = np.stack([np.bincount(cell, positions[:, axis], len(near)) for axis in (0, 1)], 1)
        centres[own] = (sums / np.bincount(cell, minlength=len(near))[:, None])[mine]
    return outlines, centres


def _boxes(assigned: pl.LazyFrame, numbers: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Where the nucleus and the transcripts of each cell lie: x, y from and x, y to, [M, 4]."""
    x, y = pl.col(keys.X), pl.col(keys.Y)
    ends = (x.min().alias("x0"), y.min().alias("y0"), x.max().alias("x1"), y.max().alias("y1"))
    spans = assigned.group_by("boundary").agg(*ends).sort("boundary").collect(engine="streaming")
    boxes = shapely.bounds(nuclei)
    cell = np.searchsorted(numbers, spans["boundary"].to_numpy())
    found = spans.select("x0", "y0", "x1", "y1").to_numpy()
    boxes[cell, :2] = np.fmin(boxes[cell, :2], found[:, :2])
    boxes[cell, 2:] = np.fmax(boxes[cell, 2:], found[:, 2:])
    return boxes


def _members(assigned: pl.LazyFrame, numbers: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 2] of all transcripts of some cells, and which of the cells each is of, [N]."""
    # A range lets files that lie elsewhere be skipped; a little wider, as positions are 32 bits.
    low, high = boxes[:, :2].min(0) - 1, boxes[:, 2:].max(0) + 1
    within = pl.col(keys.X).is_between(low[0], high[0]) & pl.col(keys.Y).is_between(low[1], high[1])
    points = (
        assigned.filter(within)
        .filter(pl.col("boundary").is_in(numbers.tolist()))
        .select(keys.ROW, keys.X, keys.Y, "boundary")
        .collect(engine="streaming")
        .sort(keys.ROW)
    )
    positions = points.select(keys.X, keys.Y).to_numpy().astype(np.float64)
    return positions, np.searchsorted(numbers, points["boundary"].to_numpy())
