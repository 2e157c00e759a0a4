"""Which cell each pixel belongs to: cells compete by how dense they are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from tissuegraph.parallel import compiled
from tissuegraph.segmentation.outlines.density import PIXEL, density, pixels

PAD = 4.0
"""um that an outline can reach beyond the box of its nucleus and its transcripts, strays left out."""
LEVEL = 0.4
"""Share of a cell's mean density at which it ends; an edge of a uniform cell, smoothed, is at a half."""
HELD_SHARE = 0.9
"""Share of its transcripts that a cell holds, well inside, before it competes."""
AROUND = 1.1
"""um that the hull is grown by, so that its corners are well inside too."""
HULL, NUCLEUS = 1e-6, 1e6
"""Strength in the hull, which any density beats, and in the nucleus, which beats any density."""


@dataclass(frozen=True)
class Cell:
    """A cell before it competes.

    points [n, 2] um; kept [n], all but strays; nucleus: may be empty; first [2] and shape: the pixels
    among which it is drawn.
    """

    points: np.ndarray
    kept: np.ndarray
    nucleus: shapely.Geometry
    first: np.ndarray
    shape: tuple[int, int]

    @property
    def crop(self) -> tuple[slice, slice]:
        """The cell's pixels in a raster that starts at pixel (0, 0)."""
        (i, j), (width, height) = self.first, self.shape
        return slice(i, i + width), slice(j, j + height)


def cell_before(points: np.ndarray, kept: np.ndarray, nucleus: shapely.Geometry) -> Cell:
    """Find the pixels of a cell of at least one transcript."""
    corners = np.vstack([points[kept], shapely.get_coordinates(nucleus)])
    first, last = pixels(corners.min(0) - PAD), pixels(corners.max(0) + PAD)
    width, height = last - first + 1
    return Cell(points, kept, nucleus, first, (int(width), int(height)))


def territories(cells: list[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Give each pixel to the cell that is strongest there, and each cell one connected territory.

    Where two are exactly as strong, the first of `cells` has the pixel.

    Returns
    -------
    labels [w, h], number of the cell, -1 = none, with a rim of -1, two pixels wide where x and y end; and the
    number of their first pixel on the slide [2].
    """
    first = np.min([one.first for one in cells], 0) - 1
    last = np.max([one.first + one.shape for one in cells], 0)
    best = np.zeros(last - first + 2, np.float32)
    labels = np.full(best.shape, -1, np.int32)
    moved = [Cell(one.points, one.kept, one.nucleus, one.first - first, one.shape) for one in cells]
    cores = []
    for number, (one, local) in enumerate(zip(cells, moved, strict=True)):
        core = inside(one.nucleus, one.first, one.shape)
        cores.append(core)
        power = strength(one, core).astype(np.float32)
        wins = power > best[local.crop]
        best[local.crop][wins] = power[wins]
        labels[local.crop][wins] = number
    for number, (one, local) in enumerate(zip(cells, moved, strict=True)):
        mine = labels[local.crop] == number
        labels[local.crop][mine & ~main_part(mine, cores[number], one)] = -1
    return labels, first


def strength(one: Cell, core: np.ndarray) -> np.ndarray:
    """How strong a cell is at its pixels, 0 outside its largest possible territory, [w, h].

    The density over the mean density at its transcripts, so that a cell of few transcripts holds its
    ground against one of many. The territory ends at `LEVEL`, or lower, where `HELD_SHARE` of the
    transcripts ask for it, and is in one piece: if need be, by the hull of nearly all transcripts.
    """
    field = density(one.points, one.kept, one.first, one.shape)
    mean = _values_at(field, one)[one.kept].mean()
    within = np.sort(_least_around(field, one))
    level = np.clip(within[len(within) - int(np.ceil(HELD_SHARE * len(within)))] / mean, HULL, LEVEL)
    ground = (
        field / mean >= level
    ) | core  # divided as above: the last transcript held is at the level itself
    part = main_part(ground, core, one)
    power = np.where(part, field / mean * LEVEL / level, 0.0)
    if _least_around(part, one).mean() < HELD_SHARE or (core & ~part).any():
        power = np.maximum(power, HULL * hull(one))
    return power + NUCLEUS * core


def _least_around(raster: np.ndarray, one: Cell) -> np.ndarray:
    """The least value in the four pixels nearest to each transcript, 0 outside, [n].

    What lies between four pixels of a cell is half a pixel from all others: it stays inside when borders
    are smoothed.
    """
    four = np.minimum(
        np.minimum(raster[1:, 1:], raster[:-1, :-1]), np.minimum(raster[1:, :-1], raster[:-1, 1:])
    )
    return _looked_up(four, pixels(one.points - PIXEL / 2) - one.first)


def hull(one: Cell) -> np.ndarray:
    """Whether each pixel lies in the hull of the nucleus and the kept transcripts, or near it, [w, h]."""
    corners = np.vstack([one.points[one.kept], shapely.get_coordinates(one.nucleus)])
    around = shapely.buffer(shapely.convex_hull(shapely.multipoints(corners)), AROUND, quad_segs=4)
    return inside(around, one.first, one.shape)


def inside(polygon: shapely.Geometry, first: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether the centre of each pixel lies in a polygon, [w, h]; at least one does, unless it is empty."""
    found = np.zeros(shape, bool)
    if shapely.is_empty(polygon):
        return found
    low, high = pixels(np.array(polygon.bounds).reshape(2, 2)) - first
    i, j = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
    x, y = (np.stack([i, j]) + first[:, None, None] + 0.5) * PIXEL
    found[low[0] : high[0] + 1, low[1] : high[1] + 1] = shapely.contains_xy(polygon, x, y)
    if not found.any():
        middle = pixels(shapely.get_coordinates(shapely.point_on_surface(polygon)))[0] - first
        found[tuple(middle)] = True
    return found


def main_part(ground: np.ndarray, core: np.ndarray, one: Cell) -> np.ndarray:
    """The connected part of `ground` with the nucleus, or else with most transcripts, [w, h]."""
    parts, n_parts = connected(ground)
    if n_parts < 2:
        return ground
    weight = np.bincount(parts.ravel(), minlength=n_parts + 1) / parts.size
    weight += np.bincount(_values_at(parts, one), minlength=n_parts + 1)
    weight += len(one.points) * np.bincount(parts[core], minlength=n_parts + 1)
    return parts == 1 + np.argmax(weight[1:])


@compiled
def connected(ground: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the parts of `ground` whose pixels are connected by their sides, from 1, 0 elsewhere, [w, h].

    As `scipy.ndimage.label`, which takes longer to start than these few pixels take.
    """
    parts = np.zeros(ground.shape, np.int32)
    waiting = np.empty((ground.size, 2), np.int64)
    n_parts = 0
    for i in range(ground.shape[0]):
        for j in range(ground.shape[1]):
            if not ground[i, j] or parts[i, j]:
                continue
            n_parts += 1
            parts[i, j] = n_parts
            waiting[0, 0], waiting[0, 1], n = i, j, 1
            while n > 0:
                n -= 1
                x, y = waiting[n, 0], waiting[n, 1]
                for u, v in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
                    within = 0 <= u < ground.shape[0] and 0 <= v < ground.shape[1]
                    if within and ground[u, v] and not parts[u, v]:
                        parts[u, v] = n_parts
                        waiting[n, 0], waiting[n, 1] = u, v
                        n += 1
    return parts, n_parts


def _values_at(raster: np.ndarray, one: Cell) -> np.ndarray:
    """The values of a cell's raster at its transcripts, 0 outside, [n]."""
    return _looked_up(raster, pixels(one.points) - one.first)


def _looked_up(raster: np.ndarray, at: np.ndarray) -> np.ndarray:
    within = ((at >= 0) & (at < raster.shape)).all(1)
    values = np.zeros(len(at), raster.dtype)
    values[within] = raster[tuple(at[within].T)]
    return values
