"""Where simulated cells lie, and along which axes they are drawn out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.fields import Field, random_field
from tissuegraph.simulate.params import TissueParams

# A step of packing takes a cell this share of its way out of each neighbour.
PACKING_STEPS, STEP = 40, 0.3
# Room that a cell has, over its mean area: what is left between the outlines.
ROOM = 1.23
# Cells whose neighbours are held at a time.
CHUNK = 512


@dataclass(frozen=True)
class Ellipses:
    """What the cells would be without neighbours.

    Attributes
    ----------
    centres
        (n, 2), um.
    radii
        (n,), um: radius of the circle of the same area.
    angles
        (n,), radians: direction of the long axis.
    aspects
        (n,): long over short axis.
    """

    centres: Floats
    radii: Floats
    angles: Floats
    aspects: Floats

    def forms(self) -> Floats:
        """Return the quadratic form (xx, xy, yy) in which each ellipse is the unit circle, (n, 3)."""
        along, across = 1 / (self.radii**2 * self.aspects), self.aspects / self.radii**2
        cos, sin = np.cos(self.angles), np.sin(self.angles)
        return np.stack(
            [
                along * cos**2 + across * sin**2,
                (along - across) * cos * sin,
                along * sin**2 + across * cos**2,
            ],
            axis=1,
        )


def slide_extent(params: TissueParams) -> tuple[float, float]:
    """Return where the square that holds the centres begins and ends on either axis, um.

    It begins far enough from zero for the outlines to stay positive.
    """
    margin = 2.5 * np.sqrt(params.cell_area / np.pi * params.elongation)
    side = np.sqrt(params.cells * params.cell_area * ROOM)
    return float(margin), float(margin + side)


def place_cells(params: TissueParams, rng: np.random.Generator) -> Ellipses:
    """Draw sizes and axes, and move the cells apart until they lie as evenly as their axes allow."""
    low, high = slide_extent(params)
    turning = random_field(params.direction_scale, rng)
    scatter = params.size_variation
    areas = params.cell_area * rng.lognormal(-0.5 * scatter**2, scatter, params.cells)
    start = Ellipses(
        centres=in_order(rng.uniform(low, high, (params.cells, 2))),
        radii=np.sqrt(areas / np.pi),
        angles=rng.normal(0, 0.15, params.cells),
        aspects=np.maximum(params.elongation * rng.lognormal(0, 0.12, params.cells), 0.8),
    )
    return pack(start, turning, (low, high))


def in_order(points: Floats, tile: float = 200.0) -> Floats:
    """Sort points so that neighbours on the slide stand near each other in memory and in the files."""
    column, row = np.floor(points / tile).astype(np.int64).T
    return points[np.lexsort((points[:, 0], column, row))]


def pack(cells: Ellipses, turning: Field, extent: tuple[float, float]) -> Ellipses:
    """Push overlapping ellipses apart, for a fixed number of steps.

    `cells.angles` are the cells' own deviations; the field `turning` is added where the cell lies.
    """
    centres = cells.centres
    for _ in range(PACKING_STEPS):
        now = replace(cells, centres=centres, angles=cells.angles + turning(centres))
        forms, near = now.forms(), neighbours(now)
        moves = [push(centres, forms, part, near[part]) for part in chunks(len(centres))]
        centres = reflect(centres + np.concatenate(moves), *extent)
    return replace(cells, centres=centres, angles=cells.angles + turning(centres))


def reflect(points: Floats, low: float, high: float) -> Floats:
    """Mirror what lies outside; clipping would let cells fall onto each other in a corner."""
    return np.clip(high - np.abs(high - low - np.abs(points - low)), low, high)


def push(centres: Floats, forms: Floats, part: slice, near: Integers) -> Floats:
    """Return the move, in um, that takes each cell of `part` out of its neighbours, (n, 2)."""
    offset = centres[part, None] - centres[near]
    # the two radii along the line between the centres, in units of its length: above 1, they overlap
    reach = 1 / np.sqrt(quadratic(forms[part, None], offset) + 1e-9)
    reach += 1 / np.sqrt(quadratic(forms[near], offset) + 1e-9)
    overlap = np.clip(reach - 1, 0, 1)
    return STEP * (overlap[..., None] * offset).sum(axis=1)


def quadratic(form: Floats, offset: Floats) -> Floats:
    """Return the squared length of `offset` (..., 2) in the metric `form` (..., 3)."""
    x, y = offset[..., 0], offset[..., 1]
    return form[..., 0] * x**2 + 2 * form[..., 1] * x * y + form[..., 2] * y**2


def neighbours(cells: Ellipses) -> Integers:
    """Return the cells that may touch each cell: its nearest centres, more of them for long cells, (n, k)."""
    wanted = 8 + round(6 * float(np.median(cells.aspects)))
    count = min(wanted, len(cells.centres) - 1)
    if count == 0:
        return np.empty((len(cells.centres), 0), dtype=np.int64)
    return np.asarray(cKDTree(cells.centres).query(cells.centres, k=count + 1)[1])[:, 1:]


def chunks(number: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut `range(number)` into slices of at most `size`."""
    for start in range(0, number, size):
        yield slice(start, min(start + size, number))
