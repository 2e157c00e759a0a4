"""The cells of a run and their outlines, made from the tiles' results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import shapely

from tissuegraph import keys
from tissuegraph.io.outlines import write_outlines
from tissuegraph.parallel import in_order
from tissuegraph.segmentation.boundaries import cell_outlines
from tissuegraph.segmentation.outlines.windows import windows
from tissuegraph.segmentation.params import SMALL_CELL
from tissuegraph.segmentation.pretrained.cell_counts import CellCounts, total
from tissuegraph.segmentation.score import in_panel
from tissuegraph.segmentation.settle import Legend
from tissuegraph.shapes import measured
from tissuegraph.tiles.survey import Survey


def write_cells(legend: Legend, results: pl.LazyFrame, folder: Path, uns: dict[str, Any]) -> dict[str, Any]:
    """Write `cells.h5ad` and `cell_boundaries.parquet`; returns a summary.

    A nucleus or a fragment to which no transcript was assigned gives no cell.
    """
    survey, assigned = legend.survey, results.filter(pl.col("boundary") >= 0)
    spans = _spans(assigned)
    numbers = spans["boundary"].to_numpy()
    cells = _drawn_cells(assigned, spans, survey)
    obs = _obs(legend, spans, cells)
    counts = total(cells.counts, (len(numbers), len(legend.genes)))
    cells.counts.clear()
    counts = in_panel(counts.astype(np.int32), legend.genes, survey.genes)
    table = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(survey.genes, dtype=object)))
    table.layers[keys.LAYER_COUNTS] = counts
    table.obsm[keys.OBSM_SPATIAL] = cells.centres
    table.uns[keys.UNS_RUN] = uns
    table.write_h5ad(folder / keys.CELLS_FILE, compression="gzip")
    write_outlines(folder / keys.BOUNDARIES_FILE, obs[keys.CELL_ID].to_numpy(), cells.outlines)
    return _summary(legend, obs)


@dataclass(frozen=True)
class _Cells:
    """What the windows say of the cells [M]: outlines as WKB, centres [M, 2]; parts of counts by gene."""

    outlines: np.ndarray
    areas: np.ndarray
    centres: np.ndarray
    n_genes: np.ndarray
    mean_probability: np.ndarray
    counts: list[CellCounts]


def _obs(legend: Legend, spans: pl.DataFrame, cells: _Cells) -> pd.DataFrame:
    numbers = spans["boundary"].to_numpy()
    ids, has_nucleus = legend.survey.boundary_ids[numbers].astype(str), ~legend.is_fragment[numbers]
    n_transcripts = spans["n_transcripts"].to_numpy().astype(np.int64)
    nuclear = measured(shapely.area, legend.survey.outlines)[numbers]
    return pd.DataFrame(
        {
            keys.CELL_ID: ids,
            "n_transcripts": n_transcripts,
            "n_genes": cells.n_genes,
            "area_um2": cells.areas,
            "nucleus_area_um2": np.where(has_nucleus, nuclear, np.nan),
            "mean_probability": cells.mean_probability,
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


def _spans(assigned: pl.LazyFrame) -> pl.DataFrame:
    """How many transcripts each cell has, and from where to where they lie; by number of the cell."""
    x, y = pl.col(keys.X), pl.col(keys.Y)
    ends = (x.min().alias("x0"), y.min().alias("y0"), x.max().alias("x1"), y.max().alias("y1"))
    spans = assigned.group_by("boundary").agg(pl.len().alias("n_transcripts"), *ends)
    return spans.sort("boundary").collect(engine="streaming")


def _drawn_cells(assigned: pl.LazyFrame, spans: pl.DataFrame, survey: Survey) -> _Cells:
    """Draw the cells of a table and count in them, a window at a time."""
    numbers, n = spans["boundary"].to_numpy(), len(spans)
    boxes = _boxes(spans, survey.boxes[numbers])
    cells = _Cells(np.empty(n, object), np.empty(n), np.empty((n, 2)), np.empty(n, np.int64), np.empty(n), [])
    parts = list(windows(boxes, spans["n_transcripts"].to_numpy()))
    jobs = (
        (_members(assigned, numbers[near], boxes[near]), survey.outlines[numbers[near]]) for _, near in parts
    )
    for (own, near), drawn in zip(parts, in_order(lambda job: _drawn(*job), jobs), strict=True):
        mine = np.isin(near, own)
        for name in ("outlines", "areas", "centres", "n_genes", "mean_probability"):
            getattr(cells, name)[own] = getattr(drawn, name)[mine]
        cells.counts.extend(part.only(mine, near) for part in drawn.counts)
    return cells


def _drawn(members: pl.DataFrame, nuclei: np.ndarray) -> _Cells:
    """Draw some cells and count in them, given all their transcripts."""
    positions = members.select(keys.X, keys.Y).to_numpy().astype(np.float64)
    cell, size = members["boundary"].to_numpy(), len(nuclei)
    number = np.bincount(cell, minlength=size)
    weights = (*positions.T, members["probability"].to_numpy())
    means = [np.bincount(cell, weight, size) / number for weight in weights]
    counts = CellCounts.of(cell, members["gene"].to_numpy())
    outlines = cell_outlines(positions, cell, nuclei)
    return _Cells(
        outlines=shapely.to_wkb(outlines),
        areas=shapely.area(outlines),
        centres=np.stack(means[:2], 1),
        n_genes=np.bincount(counts.cell, minlength=size),
        mean_probability=means[2],
        counts=[counts],
    )


def _boxes(spans: pl.DataFrame, boxes: np.ndarray) -> np.ndarray:
    """Boxes of nuclei [M, 4], x and y from and to, widened to the cells' transcripts."""
    found = spans.select("x0", "y0", "x1", "y1").to_numpy()
    low, high = np.fmin(boxes[:, :2], found[:, :2]), np.fmax(boxes[:, 2:], found[:, 2:])
    return np.concatenate([low, high], 1)


def _members(assigned: pl.LazyFrame, numbers: np.ndarray, boxes: np.ndarray) -> pl.DataFrame:
    """All transcripts of some cells, in the order of the source; "boundary" is which of the cells, [N]."""
    # A range lets files that lie elsewhere be skipped; a little wider, as positions are 32 bits.
    low, high = boxes[:, :2].min(0) - 1, boxes[:, 2:].max(0) + 1
    within = pl.col(keys.X).is_between(low[0], high[0]) & pl.col(keys.Y).is_between(low[1], high[1])
    wanted = pl.DataFrame({"boundary": numbers, "cell": np.arange(len(numbers))})
    return (
        assigned.filter(within)
        .join(wanted.lazy(), on="boundary")
        .select(keys.ROW, keys.X, keys.Y, "gene", "probability", boundary="cell")
        .collect(engine="streaming")
        .sort(keys.ROW)
    )
