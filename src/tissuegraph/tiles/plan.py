"""Where to cut: a k-d split on a streamed two-dimensional histogram."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import polars as pl

from tissuegraph import keys

HISTOGRAM_BINS = 1024
"""Bins along the longer side of the slide; cuts lie on their edges."""

Bounds = tuple[float, float, float, float]
"""x0, y0, x1, y1 in um; a position belongs to it if x0 <= x < x1 and y0 <= y < y1."""


@dataclass(frozen=True)
class Tile:
    """One piece of the slide: `core` is its own ground, and every position lies in one core.

    The cores at the rim of the slide reach to infinity, so that a stray transcript has a tile too.
    """

    index: int
    core: Bounds


@dataclass(frozen=True)
class Histogram:
    """Transcripts a bin: counts [nx, ny], and the bins' edges in um, [nx + 1] and [ny + 1]."""

    counts: np.ndarray
    x_edges: np.ndarray
    y_edges: np.ndarray


def transcript_histogram(transcripts: pl.LazyFrame, extent: Bounds) -> Histogram:
    """Count transcripts by position in one streaming pass; those outside `extent` count at its rim."""
    x0, y0, x1, y1 = extent
    side = max(x1 - x0, y1 - y0, 1.0) / HISTOGRAM_BINS
    nx, ny = (max(int(np.ceil((high - low) / side)), 1) for low, high in ((x0, x1), (y0, y1)))
    x_bin = ((pl.col(keys.X).cast(pl.Float64) - x0) / side).floor().clip(0, nx - 1).cast(pl.Int32)
    y_bin = ((pl.col(keys.Y).cast(pl.Float64) - y0) / side).floor().clip(0, ny - 1).cast(pl.Int32)
    bins = transcripts.group_by((x_bin * ny + y_bin).alias("bin")).agg(pl.len()).collect(engine="streaming")
    counts = np.zeros(nx * ny, np.int64)
    counts[bins["bin"].to_numpy()] = bins["len"].to_numpy()
    return Histogram(counts.reshape(nx, ny), x0 + side * np.arange(nx + 1), y0 + side * np.arange(ny + 1))


def plan_tiles(histogram: Histogram, *, max_transcripts: int, min_side: float) -> list[Tile]:
    """Halve the slide at its transcripts' median, along the longer side, until tiles are small enough.

    A tile is cut while it has more than `max_transcripts` and both halves keep a side of `min_side` um.
    """
    nx, ny = histogram.counts.shape
    boxes = _split(histogram, (0, nx, 0, ny), max_transcripts, min_side)
    return [Tile(index, _core(histogram, box)) for index, box in enumerate(boxes)]


Box = tuple[int, int, int, int]
"""Bins first_x, end_x, first_y, end_y."""


def _split(histogram: Histogram, box: Box, max_transcripts: int, min_side: float) -> list[Box]:
    i0, i1, j0, j1 = box
    counts = histogram.counts[i0:i1, j0:j1]
    if counts.sum() <= max_transcripts:
        return [box]
    along_x = counts.shape[0] >= counts.shape[1]
    cut = _median_cut(counts.sum(1 if along_x else 0), min_side, histogram.x_edges)
    if cut is None:
        return [box]
    first = (i0, i0 + cut, j0, j1) if along_x else (i0, i1, j0, j0 + cut)
    second = (i0 + cut, i1, j0, j1) if along_x else (i0, i1, j0 + cut, j1)
    halves = (_split(histogram, half, max_transcripts, min_side) for half in (first, second))
    return [box for boxes in halves for box in boxes]


def _median_cut(profile: np.ndarray, min_side: float, edges: np.ndarray) -> int | None:
    """Bin to cut before, the one nearest to the median that leaves `min_side` on both sides."""
    margin = max(int(np.ceil(min_side / (edges[1] - edges[0]))), 1)
    if len(profile) < 2 * margin:
        return None
    running = np.cumsum(profile)
    median = int(np.searchsorted(running, running[-1] / 2)) + 1
    return int(np.clip(median, margin, len(profile) - margin))


def _core(histogram: Histogram, box: Box) -> Bounds:
    i0, i1, j0, j1 = box
    nx, ny = histogram.counts.shape
    return (
        -inf if i0 == 0 else float(histogram.x_edges[i0]),
        -inf if j0 == 0 else float(histogram.y_edges[j0]),
        inf if i1 == nx else float(histogram.x_edges[i1]),
        inf if j1 == ny else float(histogram.y_edges[j1]),
    )


def tile_of(x: np.ndarray, y: np.ndarray, tiles: list[Tile]) -> np.ndarray:
    """Index of the tile whose core holds each position, [N]."""
    result = np.full(len(x), -1, np.int32)
    for tile in tiles:
        x0, y0, x1, y1 = tile.core
        result[(x >= x0) & (x < x1) & (y >= y0) & (y < y1)] = tile.index
    return result


def grown(bounds: Bounds, margin: float) -> Bounds:
    """Bounds with `margin` um more on every side."""
    x0, y0, x1, y1 = bounds
    return (x0 - margin, y0 - margin, x1 + margin, y1 + margin)
