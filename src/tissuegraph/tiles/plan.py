"""Where to cut: a k-d split on a streamed two-dimensional histogram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
import polars as pl

from tissuegraph import keys

HISTOGRAM_BINS = 1024
"""Bins along the longer side of the slide; cuts lie on their edges."""

FILLED = 0.95
"""Share of the most that a tile may hold which cuts aim at, as they can only lie on edges of bins."""
GROWTH = 1.25
"""By how much tiles are made larger at a time where there would be too many."""

Bounds = tuple[float, float, float, float]
"""x0, y0, x1, y1 in um; a position belongs to it if x0 <= x < x1 and y0 <= y < y1."""


@dataclass(frozen=True)
class Tile:
    """One piece of the slide: `core` is its own ground, and every position lies in one core.

    The cores at the rim of the slide reach to infinity, so that a stray transcript has a tile too.
    """

    index: int
    core: Bounds

    def __str__(self) -> str:
        """What a trace calls it."""
        return f"tile {self.index}"


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


def plan_tiles(
    histogram: Histogram, *, max_transcripts: int, min_side: float, max_tiles: int | None = None
) -> list[Tile]:
    """Cut the slide in two along its longer side, and the parts again, until tiles are small enough.

    The cut shares out the tiles that are needed, so that nearly all hold nearly as much as they may. A tile
    is cut while it has more than `max_transcripts` and both parts keep a side of `min_side` um. Where that
    gives more than `max_tiles`, tiles are larger.
    """
    nx, ny = histogram.counts.shape
    boxes = _split(histogram, (0, nx, 0, ny), max_transcripts, min_side)
    most = float(max_transcripts)
    while max_tiles is not None and len(boxes) > max(max_tiles, 1):
        most *= GROWTH
        boxes = _split(histogram, (0, nx, 0, ny), int(most), min_side)
    return [Tile(index, _core(histogram, box)) for index, box in enumerate(boxes)]


Box = tuple[int, int, int, int]
"""Bins first_x, end_x, first_y, end_y."""


def _split(histogram: Histogram, box: Box, max_transcripts: int, min_side: float) -> list[Box]:
    i0, i1, j0, j1 = box
    counts = histogram.counts[i0:i1, j0:j1]
    if counts.sum() <= max_transcripts:
        return [box]
    along_x = counts.shape[0] >= counts.shape[1]
    needed = ceil(counts.sum() / (FILLED * max_transcripts))
    share = (needed // 2) / needed
    cut = _cut(counts.sum(1 if along_x else 0), share, min_side, histogram.x_edges)
    if cut is None:
        return [box]
    first = (i0, i0 + cut, j0, j1) if along_x else (i0, i1, j0, j0 + cut)
    second = (i0 + cut, i1, j0, j1) if along_x else (i0, i1, j0 + cut, j1)
    halves = (_split(histogram, half, max_transcripts, min_side) for half in (first, second))
    return [box for boxes in halves for box in boxes]


def _cut(profile: np.ndarray, share: float, min_side: float, edges: np.ndarray) -> int | None:
    """Bin to cut before, so that about a share lies before it and `min_side` is left on both sides."""
    margin = max(int(np.ceil(min_side / (edges[1] - edges[0]))), 1)
    if len(profile) < 2 * margin:
        return None
    running = np.cumsum(profile)
    wanted = share * running[-1]
    cut = int(np.searchsorted(running, wanted)) + 1
    before, after = running[max(cut - 2, 0)], running[cut - 1]
    if 0 < before < wanted and wanted - before < after - wanted:
        cut -= 1
    return int(np.clip(cut, margin, len(profile) - margin))


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
    return tile_finder(tiles)(x, y)


def tile_finder(tiles: list[Tile]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what gives the index of the tile whose core holds each position x, y [N], -1 for none.

    All cuts together divide the slide into a grid, so it takes as long for many tiles as for few.
    """
    cores = np.array([tile.core for tile in tiles], float).reshape(-1, 4)
    x_cuts, y_cuts = (np.unique(cuts[np.isfinite(cuts)]) for cuts in (cores[:, ::2], cores[:, 1::2]))
    grid = np.full((len(x_cuts) + 1, len(y_cuts) + 1), -1, np.int32)
    for tile in tiles:
        x0, y0, x1, y1 = tile.core
        columns = slice(np.searchsorted(x_cuts, x0, "right"), np.searchsorted(x_cuts, x1) + 1)
        rows = slice(np.searchsorted(y_cuts, y0, "right"), np.searchsorted(y_cuts, y1) + 1)
        grid[columns, rows] = tile.index
    return lambda x, y: grid[np.searchsorted(x_cuts, x, "right"), np.searchsorted(y_cuts, y, "right")]


def grown(bounds: Bounds, margin: float) -> Bounds:
    """Bounds with `margin` um more on every side."""
    x0, y0, x1, y1 = bounds
    return (x0 - margin, y0 - margin, x1 + margin, y1 + margin)
