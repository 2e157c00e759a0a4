"""The true outlines of simulated cells."""

from __future__ import annotations

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.cells import Ellipses, chunks, neighbours, quadratic
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.stars import Stars, directions

RAYS = 48
# An outline ends here, relative to the cell's own ellipse, where no neighbour stops it earlier.
REACH = 1.25
# Standard deviation over mean absolute value of a normal number.
SPREAD_OF_MEAN = float(np.sqrt(np.pi / 2))


def draw_outlines(cells: Ellipses, params: TissueParams, rng: np.random.Generator) -> Stars:
    """Return the true outlines: each cell takes the places that are nearer to it than to any other.

    Nearer in the cell's own metric. An outline ends at `REACH` where nothing stops it, strays from
    that shape by random harmonics, and leaves an uneven gap to its neighbours. No two overlap.
    """
    near, unit = neighbours(cells), directions(RAYS)
    forms = cells.forms()
    radii = np.empty((len(cells.centres), RAYS), dtype=np.float32)
    for part in chunks(len(radii)):
        own = quadratic(forms[part, None], unit)
        limit = border(cells, forms, part, near[part], own)
        shape = harmonics(len(own), params.irregularity, rng)
        left = np.abs(harmonics(len(own), params.gap, rng) - 1) * SPREAD_OF_MEAN
        free = REACH * np.maximum(shape, 0.3) / np.sqrt(own)
        radii[part] = np.minimum(limit, free) * np.maximum(1 - left, 0.3)
    return Stars(cells.centres, radii)


def border(cells: Ellipses, forms: Floats, part: slice, near: Integers, own: Floats) -> Floats:
    """Return how far each ray goes until another cell is nearer, inf if never, (n, rays).

    On the ray at length t the squared distance to the own cell is `own` t^2, to a neighbour
    a t^2 + 2 b t + c: the border is the smallest positive root of their difference.
    """
    unit = directions(own.shape[1])
    offset = (cells.centres[part, None] - cells.centres[near])[:, :, None]
    form = forms[near][:, :, None]
    lead = quadratic(form, unit) - own[:, None]
    x, y = offset[..., 0], offset[..., 1]
    pull_x = form[..., 0] * x + form[..., 1] * y
    pull_y = form[..., 1] * x + form[..., 2] * y
    half = pull_x * unit[:, 0] + pull_y * unit[:, 1]
    rest = quadratic(form, offset)
    root = half**2 - lead * rest
    divisor = np.sqrt(np.maximum(root, 0)) - half
    meets = (root >= 0) & (divisor > 0)
    lengths = np.where(meets, rest / np.where(meets, divisor, 1), np.inf)
    return lengths.min(axis=1, initial=np.inf)


def harmonics(number: int, spread: float, rng: np.random.Generator) -> Floats:
    """Return random closed curves about 1 with standard deviation `spread`, (number, RAYS)."""
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    curve = np.ones((number, RAYS))
    orders = range(2, 7)
    for order in orders:
        phase = rng.uniform(0, 2 * np.pi, (number, 1))
        size = spread * rng.standard_normal((number, 1)) * np.sqrt(2 / len(orders))
        curve += size * np.cos(order * angle + phase)
    return curve
