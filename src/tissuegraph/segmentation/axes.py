"""The direction along which cells are elongated, found from expression alone.

Inside a cell expression changes little, across its border it changes much. So where cells are
elongated, expression changes less along them than across: the structure tensor of the expression field
(the gradients' outer products, averaged over the surroundings) has its small eigenvalue along the cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.ndimage import gaussian_filter, map_coordinates

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.parallel import in_order
from tissuegraph.segmentation.stages import Progress, no_progress
from tissuegraph.segmentation.tile_graphs import gene_tokens
from tissuegraph.shapes import centroids, measured
from tissuegraph.tiles.plan import Bounds, Tile, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import MARGIN as SURVEY_MARGIN
from tissuegraph.tiles.survey import Survey

PIXEL = 1.5
"""um; the field is drawn on a grid that starts at zero, whatever the tile."""
BLUR = 2.0
"""um; standard deviation of the field's own blur."""
SURROUNDINGS = 30.0
"""um; standard deviation of the average over the surroundings."""
BLOCK = 10.0
"""um; side of the blocks in which tensors are summed."""
MOST_BLOCKS = 5e7
"""Of 100 um2: 50 cm2, and 1.2 GB."""
WINDOW = 600.0
"""um; side of the squares that are drawn at a time, a multiple of PIXEL and BLOCK: bounds the memory."""
TRUNCATE = 3.0
MARGIN = TRUNCATE * BLUR + 3 * PIXEL
"""um around a tile that its own blocks depend on."""
DENSITY_FLOOR = 0.8
"""Share of the slide's mean density below which the field fades instead of being divided by noise."""


@dataclass(frozen=True)
class LocalAxes:
    """The tissue's axis at every nucleus: angle [M] in radians from x, ratio [M] of 1 or more."""

    angle: np.ndarray
    ratio: np.ndarray


Told = tuple[tuple[slice, slice], np.ndarray]
"""Some blocks of a grid, and what is to be added to them."""


@dataclass
class TensorGrid:
    """Structure tensors by block: sums [nx, ny, 3] of xx, yy, xy; block (0, 0) starts at `origin`."""

    sums: np.ndarray
    origin: tuple[int, int]

    @classmethod
    def over(cls, extent: Bounds) -> TensorGrid:
        """An empty grid over an extent in um."""
        low = np.floor(np.array(extent[:2]) / BLOCK).astype(int)
        high = np.floor(np.array(extent[2:]) / BLOCK).astype(int) + 1
        if np.prod(high - low, dtype=float) > MOST_BLOCKS:
            width, height = (high - low) * BLOCK
            message = (
                f"the nucleus outlines span {width:,.0f} x {height:,.0f} um, more than any slide; "
                "check that they are in um, and leave out what lies far away"
            )
            raise InputError(message)
        return cls(np.zeros((*(high - low), 3)), (int(low[0]), int(low[1])))

    def add(self, told: list[Told]) -> None:
        """Add what a tile has told."""
        for blocks, sums in told:
            self.sums[blocks] += sums

    def told(self, positions: np.ndarray, vectors: np.ndarray, core: Bounds, density: float) -> list[Told]:
        """What the transcripts of a tile (core and `MARGIN` around it) say of the core's blocks.

        positions [N, 2] um, vectors [N, K] of their genes, density in transcripts per um2.
        """
        ground = _intersection(core, self._extent())
        if ground is None:
            return []
        near = [(window, _inside(positions, grown(window, MARGIN))) for window in _windows(positions, ground)]
        return [self._told_by(positions[mine], vectors[mine], window, density) for window, mine in near]

    def _told_by(self, positions: np.ndarray, vectors: np.ndarray, core: Bounds, density: float) -> Told:
        first, shape = _pixels(grown(core, MARGIN))
        pixel = np.floor(positions / PIXEL).astype(np.int64) - first
        there = ((pixel >= 0) & (pixel < shape)).all(1)
        flat = pixel[there] @ np.array([shape[1], 1])
        tensor = _structure_tensor(flat, vectors[there], tuple(shape), density)
        centre = [(first[a] + np.arange(shape[a]) + 0.5) * PIXEL for a in (0, 1)]
        own = [(centre[a] >= core[a]) & (centre[a] < core[a + 2]) for a in (0, 1)]
        block = [np.floor(centre[a] / BLOCK).astype(int) - self.origin[a] for a in (0, 1)]
        own = [own[a] & (block[a] >= 0) & (block[a] < self.sums.shape[a]) for a in (0, 1)]
        block = [block[a][own[a]] for a in (0, 1)]
        if len(block[0]) == 0 or len(block[1]) == 0:
            return np.s_[:0, :0], np.zeros((0, 0, 3))
        begin, end = ([int(some[i]) + (i < 0) for some in block] for i in (0, -1))
        sums = np.zeros((end[0] - begin[0], end[1] - begin[1], 3))
        np.add.at(sums, np.ix_(block[0] - begin[0], block[1] - begin[1]), tensor[np.ix_(own[0], own[1])])
        return np.s_[begin[0] : end[0], begin[1] : end[1]], sums

    def _extent(self) -> Bounds:
        x0, y0 = (BLOCK * start for start in self.origin)
        return (x0, y0, x0 + BLOCK * self.sums.shape[0], y0 + BLOCK * self.sums.shape[1])

    def axes_at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction along which expression changes least, and how much less, at points [M, 2] um.

        Returns the angle [M] (radians from x) and the ratio [M] (square root of the large over the
        small eigenvalue, 1 where no direction stands out).
        """
        smooth = [gaussian_filter(self.sums[..., i], SURROUNDINGS / BLOCK, mode="nearest") for i in range(3)]
        at = (points / BLOCK - np.array(self.origin) - 0.5).T
        xx, yy, xy = (map_coordinates(part, at, order=1, mode="nearest") for part in smooth)
        difference = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
        large, small = xx + yy + difference, xx + yy - difference
        ratio = np.sqrt(np.divide(large, small, out=np.ones_like(large), where=small > 1e-9 * large))
        return 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2, np.maximum(ratio, 1.0)


def _pixels(bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    first = np.floor(np.array(bounds[:2]) / PIXEL).astype(np.int64)
    return first, np.floor(np.array(bounds[2:]) / PIXEL).astype(np.int64) + 1 - first


def _structure_tensor(
    flat: np.ndarray, vectors: np.ndarray, shape: tuple[int, int], density: float
) -> np.ndarray:
    """Sum over axes of the gradients' products, [nx, ny, 3] (xx, yy, xy), of the mean gene vector."""

    def blurred(weights: np.ndarray | None) -> np.ndarray:
        image = np.bincount(flat, weights, shape[0] * shape[1]).reshape(shape)
        return gaussian_filter(image, BLUR / PIXEL, truncate=TRUNCATE, mode="constant")

    amount = blurred(None) + DENSITY_FLOOR * density * PIXEL**2
    tensor = np.zeros((*shape, 3))
    for axis in range(vectors.shape[1]):
        dx, dy = np.gradient(blurred(vectors[:, axis].astype(np.float64)) / amount)
        tensor += np.stack([dx * dx, dy * dy, dx * dy], -1)
    return tensor


def _windows(positions: np.ndarray, ground: Bounds) -> Iterator[Bounds]:
    """Parts of the ground, none wider than `WINDOW`, on which positions [N, 2] say something."""
    seen = positions[_inside(positions, grown(ground, MARGIN))]
    offsets = [np.array([x, y]) for x in (-MARGIN, MARGIN) for y in (-MARGIN, MARGIN)]
    squares = [np.floor((seen + offset) / WINDOW).astype(np.int64) for offset in offsets]
    numbers = np.unique(np.concatenate([square @ np.array([2**32, 1]) for square in squares]))
    for row, column in zip((numbers + 2**31) >> 32, (numbers + 2**31) % 2**32 - 2**31, strict=True):
        x, y = float(row * WINDOW), float(column * WINDOW)
        window = _intersection(ground, (x, y, x + WINDOW, y + WINDOW))
        if window is not None:
            yield window


def _inside(positions: np.ndarray, bounds: Bounds) -> np.ndarray:
    x, y = positions.T
    return (x >= bounds[0]) & (x < bounds[2]) & (y >= bounds[1]) & (y < bounds[3])


def _intersection(a: Bounds, b: Bounds) -> Bounds | None:
    box = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return box if box[0] < box[2] and box[1] < box[3] else None


def stretching(angle: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Linear maps [M, 2, 2] that shrink along the axis and stretch across it, by sqrt(stretch) each."""
    cos, sin = np.cos(angle), np.sin(angle)
    along = np.stack([cos, sin], -1) / np.sqrt(stretch)[:, None]
    across = np.stack([-sin, cos], -1) * np.sqrt(stretch)[:, None]
    return np.stack([along, across], 1)


def find_axes(
    store: TileStore,
    survey: Survey,
    genes: tuple[str, ...],
    vectors: np.ndarray,
    progress: Progress = no_progress,
) -> LocalAxes:
    """Find the tissue's axis at every nucleus: a map over tiles, and one small sum.

    vectors [genes, K] are those of `gene_vectors`; transcripts of other genes are left out.
    """
    extent = (*np.nanmin(survey.boxes[:, :2], 0), *np.nanmax(survey.boxes[:, 2:], 0))
    grid = TensorGrid.over(grown(extent, SURVEY_MARGIN))
    density = mean_density(survey)

    def told(tile: Tile) -> list[Told]:
        table = store.read(grown(tile.core, MARGIN)).filter(pl.col(keys.GENE).is_in(list(genes)))
        positions = table.select(keys.X, keys.Y).to_numpy().astype(np.float64)
        return grid.told(positions, vectors[gene_tokens(table[keys.GENE], genes)], tile.core, density)

    for one in progress(in_order(told, store.tiles), "finding the tissue's axes", len(store.tiles)):
        grid.add(one)
    return LocalAxes(*grid.axes_at(measured(centroids, survey.outlines)))


def mean_density(survey: Survey) -> float:
    """Transcripts per um2 over the squares, of `BLOCK` um or one bin, that have any."""
    x, y = survey.histogram.x_edges, survey.histogram.y_edges
    step = max(int(np.ceil(BLOCK / (x[1] - x[0]))), 1)
    rows = np.add.reduceat(survey.histogram.counts, np.arange(0, len(x) - 1, step), axis=0)
    squares = np.add.reduceat(rows, np.arange(0, len(y) - 1, step), axis=1)
    ground = np.count_nonzero(squares) * (step * (x[1] - x[0])) ** 2
    return float(squares.sum() / max(ground, 1e-9))
