"""Where cells are seeded, how large they want to be, and along which axes they grow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from tissuegraph.parallel import compiled
from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.fields import random_field
from tissuegraph.simulate.grown.lattice import Lattice
from tissuegraph.simulate.grown.params import GrownTissueParams

# Places that are tried for a cell, of which the freest is taken.
TRIED = 32
# A place is free enough if the cell and its neighbours fit at this share of their size.
FREE = 0.85
# Area of a small cell over the mean area, and how round it is: the power of the tissue's aspect.
SMALL_AREA, SMALL_ASPECT = 0.4, 0.25
# Cells in a crowd grow less long than they would alone: power of the aspect that makes up for it.
STRAIGHTER = 1.3
# How much the logarithm of the aspect changes over the slide, relative to what is asked for.
STRETCH = 0.35
# How far long axes are bent at their ends, in short radii: standard deviation.
BEND = 0.5
# Wanted over mean area: neighbours stop some cells early.
WANTED = 1.08
# Times its area that what has no limit may fill.
UNLIMITED = 1000.0


@dataclass(frozen=True)
class Seeds:
    """What is decided of the cells before they grow, in the order of the files.

    Attributes
    ----------
    pixels
        (n,): where each is seeded.
    areas
        (n,), um2: at which it stops growing.
    angles
        (n,), radians: direction of the long axis.
    aspects
        (n,): long over short axis.
    bends
        (n,): how far the long axis is bent at its ends, in short radii.
    """

    pixels: Integers
    areas: Floats
    angles: Floats
    aspects: Floats
    bends: Floats

    def take(self, index: Integers | Bools) -> Seeds:
        """Return some of the seeds."""
        return Seeds(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    def without_limit(self) -> Seeds:
        """Return seeds that grow round, for as long as there is room."""
        ones = np.ones(len(self.pixels))
        return Seeds(self.pixels, UNLIMITED * self.areas, 0 * ones, ones, 0 * ones)


def sow(lattice: Lattice, room: Bools, params: GrownTissueParams, rng: np.random.Generator) -> Seeds:
    """Draw sizes and axes, and seed the larger cells first, each where there is most room."""
    small = rng.random(params.cells) < params.small_cells
    areas = draw_areas(small, params, rng)
    order = np.argsort(-areas, kind="stable")
    small, areas = small[order], areas[order]
    tried = candidates(lattice, room, params, rng)
    turning = random_field(params.direction_scale, rng)
    stretch = random_field(2 * params.direction_scale, rng)
    power = np.where(small, SMALL_ASPECT, 1.0)[:, None]
    flat = lattice.centres_of(tried.ravel())
    angles = turning(flat).reshape(tried.shape) + rng.normal(0, 0.15, (params.cells, 1))
    more = stretch(flat).reshape(tried.shape)
    typical = STRAIGHTER * np.log(params.elongation) * np.maximum(1 + STRETCH * (more - np.median(more)), 0)
    aspects = np.exp(typical * power + 0.1 * rng.standard_normal((params.cells, 1)))
    points = flat.reshape(*tried.shape, 2)
    reach = np.sqrt(areas[:, None] / np.pi * aspects)
    best = settle(points, tried, forms(areas[:, None], angles, aspects), float(reach.max()), FREE)
    rows = np.arange(params.cells)
    bends = rng.normal(0, BEND, params.cells)
    pixels = apart(tried[rows, best], np.flatnonzero(room), rng)
    chosen = Seeds(pixels, areas, angles[rows, best], aspects[rows, best], bends)
    return in_file_order(chosen, lattice)


def draw_areas(small: Bools, params: GrownTissueParams, rng: np.random.Generator) -> Floats:
    """Draw the areas that the cells want, um2; on average a little more than the mean that is asked for."""
    share = params.small_cells
    middle = (1 - share * SMALL_AREA) / (1 - share) if share < 1 else 1.0
    spread = np.where(small, 0.15, params.size_variation)
    relative = np.where(small, SMALL_AREA if share < 1 else 1.0, middle)
    relative = relative * np.exp(spread * rng.standard_normal(len(small)) - 0.5 * spread**2)
    return params.cell_area * WANTED * relative


def candidates(
    lattice: Lattice, room: Bools, params: GrownTissueParams, rng: np.random.Generator
) -> Integers:
    """Draw pixels where each cell may be seeded, more of them where the tissue is dense, (n, TRIED)."""
    low, high = (int(edge / lattice.pixel) for edge in lattice.extent)
    inner = np.zeros((lattice.side, lattice.side), dtype=bool)
    inner[low : high + 1, low : high + 1] = True
    free = np.flatnonzero(inner.ravel() & room)
    scale = 8 * float(np.sqrt(params.cell_area))
    density = np.exp(params.density_variation * random_field(scale, rng)(lattice.centres_of(free)))
    cumulative = np.cumsum(density)
    drawn = np.searchsorted(cumulative, rng.random((params.cells, TRIED)) * cumulative[-1], side="right")
    return free[np.minimum(drawn, len(free) - 1)]


def forms(areas: Floats, angles: Floats, aspects: Floats) -> Floats:
    """Return the quadratic form (xx, xy, yy) in which each ellipse is the unit circle, (..., 3)."""
    along, across = np.pi / (areas * aspects), np.pi * aspects / areas
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack(
        [along * cos**2 + across * sin**2, (along - across) * cos * sin, along * sin**2 + across * cos**2],
        axis=-1,
    )


@compiled
def settle(points: Floats, pixels: Integers, metric: Floats, reach: float, free: float) -> Integers:
    """Choose a candidate for each cell in turn: the first that is free, else the freest, (n,).

    How free: the factor on all sizes at which the cell would touch the first of those seeded already.
    """
    cells, tried = pixels.shape
    bucket = 2.0 * reach
    low = points.reshape(-1, 2)[:, 0].min(), points.reshape(-1, 2)[:, 1].min()
    wide = int((points.reshape(-1, 2)[:, 0].max() - low[0]) / bucket) + 3
    high = int((points.reshape(-1, 2)[:, 1].max() - low[1]) / bucket) + 3
    first = np.full(wide * high, -1, dtype=np.int64)
    following = np.full(cells, -1, dtype=np.int64)
    chosen = np.zeros(cells, dtype=np.int64)
    for cell in range(cells):
        most = -1.0
        for attempt in range(tried):
            x, y = points[cell, attempt]
            column, row = int((x - low[0]) / bucket) + 1, int((y - low[1]) / bucket) + 1
            least = 10.0
            for place in range(9):
                other = first[(row + place // 3 - 1) * wide + column + place % 3 - 1]
                while other >= 0 and least > most:
                    spot = chosen[other]
                    dx, dy = x - points[other, spot, 0], y - points[other, spot, 1]
                    own, its = metric[cell, attempt], metric[other, spot]
                    one = np.sqrt(own[0] * dx * dx + 2 * own[1] * dx * dy + own[2] * dy * dy)
                    two = np.sqrt(its[0] * dx * dx + 2 * its[1] * dx * dy + its[2] * dy * dy)
                    least = min(least, one * two / (one + two + 1e-12))
                    other = following[other]
            if least > most:
                most, chosen[cell] = least, attempt
            if most >= free:
                break
        x, y = points[cell, chosen[cell]]
        box = (int((y - low[1]) / bucket) + 1) * wide + int((x - low[0]) / bucket) + 1
        following[cell] = first[box]
        first[box] = cell
    return chosen


def apart(pixels: Integers, free: Integers, rng: np.random.Generator) -> Integers:
    """Move seeds that share a pixel to another, anywhere: on a crowded little slide."""
    pixels = pixels.copy()
    while True:
        again = np.ones(len(pixels), dtype=bool)
        again[np.unique(pixels, return_index=True)[1]] = False
        if not again.any():
            return pixels
        pixels[again] = rng.choice(free, int(again.sum()))


def in_file_order(seeds: Seeds, lattice: Lattice, tile: float = 200.0) -> Seeds:
    """Sort cells so that neighbours on the slide stand near each other in memory and in the files."""
    points = lattice.centres_of(seeds.pixels)
    column, row = np.floor(points / tile).astype(np.int64).T
    return seeds.take(np.lexsort((points[:, 0], column, row)))
