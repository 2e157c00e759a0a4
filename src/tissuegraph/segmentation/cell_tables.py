"""The cells of a run and their outlines, made from the tiles' results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import shapely
from scipy import sparse

from tissuegraph import keys
from tissuegraph.parallel import in_order
from tissuegraph.segmentation.boundaries import cell_outlines
from tissuegraph.segmentation.outlines.windows import windows
from tissuegraph.segmentation.params import SMALL_CELL
from tissuegraph.segmentation.settle import Legend
from tissuegraph.tiles.survey import Survey


def write_cells(legend: Legend, results: pl.LazyFrame, folder: Path, uns: dict[str, Any]) -> dict[str, Any]:
    """Write `cells.h5ad` and `cell_boundaries.parquet`; returns a summary.

    A nucleus or a fragment to which no transcript was assigned gives no cell.
    """
    survey = legend.survey
    assigned = results.filter(pl.col("boundary") >= 0)
    per_cell = (
        assigned.group_by("boundary")
        .agg(
            pl.len().alias("n_transcripts"),
            pl.col("gene").n_unique().alias("n_genes"),
            pl.col("probability").cast(pl.Float64).sort_by(keys.ROW).mean(),
        )
        .sort("boundary")
        .collect(engine="streaming")
    )
    numbers = per_cell["boundary"].to_numpy()
    outlines, centres = _outlines(assigned, per_cell, survey)
    obs = _obs(legend, per_cell, outlines)
    counts = _count_matrix(assigned, numbers, legend.genes, survey.genes)
    cells = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(survey.genes, dtype=object)))
    cells.layers[keys.LAYER_COUNTS] = counts
    cells.obsm[keys.OBSM_SPATIAL] = centres
    cells.uns[keys.UNS_RUN] = uns
    cells.write_h5ad(folder / keys.CELLS_FILE, compression="gzip")
    shapes = gpd.GeoDataFrame({keys.CELL_ID: obs[keys.CELL_ID].to_numpy()}, geometry=list(outlines))
    shapes.to_parquet(folder / keys.BOUNDARIES_FILE)
    return _summary(legend, obs)


def _obs(legend: Legend, per_cell: pl.DataFrame, outlines: np.ndarray) -> pd.DataFrame:
    numbers = per_cell["boundary"].to_numpy()
    ids, has_nucleus = legend.survey.boundary_ids[numbers].astype(str), ~legend.is_fragment[numbers]
    n_transcripts = per_cell["n_transcripts"].to_numpy().astype(np.int64)
    return pd.DataFrame(
        {
            keys.CELL_ID: ids,
            "n_transcripts": n_transcripts,
            "n_genes": per_cell["n_genes"].to_numpy().astype(np.int64),
            "area_um2": shapely.area(outlines),
            "nucleus_area_um2": np.where(has_nucleus, shapely.area(legend.survey.outlines[numbers]), np.nan),
            "mean_probability": per_cell["probability"].to_numpy(),
            keys.HAS_NUCLEUS: has_nucleus,
            keys.IS_SMALL: n_transcripts < SMALL_CELL,
        },
        index=pd.Index(ids),
    )


def _summary(legend: Legend, obs: pd.DataFrame) -> dict[str, Any]:
    with_nucleus = int(obs[keys.HAS_NUCLEUS].sum())
    return {
        "cells": len(obs),
        "cells_without_nucleus": len(obs) - with_nucleus,
        "small_cells": int(obs[keys.IS_SMALL].sum()),
        "nuclei_without_transcripts": legend.n_nuclei - with_nucleus,
        "fragments_found": int(legend.is_fragment.sum()),
        "median_transcripts_per_cell": float(obs["n_transcripts"].median()) if len(obs) else 0.0,
        "median_genes_per_cell": float(obs["n_genes"].median()) if len(obs) else 0.0,
        "median_area_um2": round(float(obs["area_um2"].median()), 2) if len(obs) else 0.0,
    }


def _count_matrix(
    assigned: pl.LazyFrame, numbers: np.ndarray, genes: tuple[str, ...], panel: tuple[str, ...]
) -> sparse.csr_matrix:
    """Cells by genes of the slide's panel, int32 csr."""
    found = assigned.group_by("boundary", "gene").agg(pl.len()).sort("boundary", "gene")
    entries = found.collect(engine="streaming")
    cell = np.searchsorted(numbers, entries["boundary"].to_numpy())
    column_of = {gene: column for column, gene in enumerate(panel)}
    column = np.array([column_of.get(gene, -1) for gene in genes])[entries["gene"].to_numpy()]
    values = entries["len"].to_numpy().astype(np.int32)
    matrix = sparse.csr_matrix((values, (cell, column)), shape=(len(numbers), len(panel)))
    matrix.sort_indices()
    return matrix


def _outlines(
    assigned: pl.LazyFrame, per_cell: pl.DataFrame, survey: Survey
) -> tuple[np.ndarray, np.ndarray]:
    """Outline [M] and mean position [M, 2] of the cells of a table, ascending; a window at a time."""
    numbers = per_cell["boundary"].to_numpy()
    nuclei = survey.outlines[numbers]
    boxes = _boxes(assigned, numbers, nuclei)
    outlines, centres = np.empty(len(numbers), object), np.empty((len(numbers), 2))
    parts = list(windows(boxes, per_cell["n_transcripts"].to_numpy()))
    jobs = ((*_members(assigned, numbers[near], boxes[near]), nuclei[near]) for _, near in parts)
    for (own, near), (shapes, middles) in zip(parts, in_order(lambda job: _drawn(*job), jobs), strict=True):
        mine = np.isin(near, own)
        outlines[own], centres[own] = shapes[mine], middles[mine]
    return outlines, centres


def _drawn(positions: np.ndarray, cell: np.ndarray, nuclei: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outline [M] and mean position [M, 2] of some cells, given their transcripts' [N, 2] and cells [N]."""
    sums = np.stack([np.bincount(cell, positions[:, axis], len(nuclei)) for axis in (0, 1)], 1)
    counts = np.bincount(cell, minlength=len(nuclei))
    return cell_outlines(positions, cell, nuclei), sums / counts[:, None]


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
