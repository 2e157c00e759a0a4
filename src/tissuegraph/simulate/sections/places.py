"""Where the cells of simulated sections lie, and which domain that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.fields import Field, random_field
from tissuegraph.simulate.sections.params import SectionParams

JITTER = 0.22
"""How far a cell of an irregular lattice is off its place, in distances of neighbours."""
WIDTH_EVENNESS = 12.0
"""Of the layers; infinite for layers of equal width."""
STEP = 1e-3
"""For slopes, in distances of neighbours."""


@dataclass(frozen=True)
class Places:
    """The cells of all sections, sample by sample and section by section.

    Attributes
    ----------
    positions
        (n, 3), as measured, in um.
    true
        (n, 3), before sections were shifted.
    sample, section
        (n,), numbers from 0; sections count within their sample.
    depth
        (n,), from 0 in the first layer to 1 in the last: the share of the sample's cells before it.
    layer
        (n,), numbers from 0.
    thin, rare
        (n,), whether the cell lies in the thin structure, or else in the rare domain.
    """

    positions: Floats
    true: Floats
    sample: Integers
    section: Integers
    depth: Floats
    layer: Integers
    thin: Bools
    rare: Bools


def draw_places(params: SectionParams, rng: np.random.Generator) -> Places:
    """Draw cells, and cut the tissue into domains."""
    ends = np.cumsum(rng.dirichlet(np.full(params.domains, WIDTH_EVENNESS)))[:-1]
    return _joined([_sample(number, ends, params, rng) for number in range(params.samples)])


def _sample(number: int, ends: Floats, params: SectionParams, rng: np.random.Generator) -> Places:
    extent = params.spacing * np.sqrt(params.cells)
    outline = rng.normal(0, 0.06, (2, 4))
    parts = [_lattice(outline, params, rng) for _ in range(params.sections)]
    section = np.repeat(np.arange(params.sections), params.cells)
    true = np.column_stack([np.concatenate(parts), section * params.section_distance])
    height = _Height(extent, params, rng)
    level = height(true)
    depth = (np.argsort(np.argsort(level, kind="stable"), kind="stable") + 0.5) / len(level)
    layer = np.searchsorted(ends, depth, side="right")
    thin = height.near(true, level, _level_at(level, ends), params)
    rare = _patches(true[:, :2], section, layer, thin, params, rng)
    shift = np.column_stack([rng.normal(0, params.shift, (params.sections, 2)), np.zeros(params.sections)])
    side_by_side = np.array([number * 1.5 * extent, 0, 0])
    sample = np.full(len(true), number)
    return Places(true + shift[section] + side_by_side, true, sample, section, depth, layer, thin, rare)


def _lattice(outline: Floats, params: SectionParams, rng: np.random.Generator) -> Floats:
    """The cells of a section, (cells, 2), within an outline of four harmonics, row by row."""
    side = int(np.ceil(1.5 * np.sqrt(params.cells))) + 4
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(int(side / 0.8))))
    points = np.stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)], 1)
    points -= points.mean(0)
    if params.lattice == "irregular":
        points += rng.normal(0, JITTER, points.shape)
    angle = np.arctan2(points[:, 1], points[:, 0])
    turns = angle[:, None] * np.arange(2, 6)
    radius = 1 + np.cos(turns) @ outline[0] + np.sin(turns) @ outline[1]
    distance = np.hypot(*points.T) / np.maximum(radius, 0.3)
    inside = np.sort(np.argsort(distance, kind="stable")[: params.cells])
    return points[inside] * params.spacing


class _Height:
    """How far up a point lies once the layers are bent straight, in um."""

    def __init__(self, extent: float, params: SectionParams, rng: np.random.Generator) -> None:
        flat = random_field(extent / 2, rng)
        upright = rng.uniform(-1, 1, len(flat.waves)) * 2 / extent
        self.field = Field(np.column_stack([flat.waves, upright]), flat.phases)
        self.bend, self.step = params.curvature * extent / 2, STEP * params.spacing
        turn = rng.uniform(0, 2 * np.pi)
        self.axis = np.array([np.cos(turn), np.sin(turn), 0])

    def __call__(self, points: Floats) -> Floats:
        return points @ self.axis + self.bend * self.field(points)

    def near(self, points: Floats, level: Floats, middle: float | None, params: SectionParams) -> Bools:
        """Whether points lie in the thin structure along a level."""
        if not params.thin_width or middle is None:
            return np.zeros(len(points), bool)
        slopes = [(self(points + step) - level) / self.step for step in np.eye(3)[:2] * self.step]
        distance = abs(level - middle) / np.hypot(*slopes)
        return distance <= params.thin_width * params.spacing / 2


def _level_at(level: Floats, ends: Floats) -> float | None:
    """The level of the border between the middle layers; None where there is one layer only."""
    return float(np.quantile(level, ends[len(ends) // 2])) if len(ends) else None


def _patches(
    points: Floats,
    section: Integers,
    layer: Integers,
    thin: Bools,
    params: SectionParams,
    rng: np.random.Generator,
) -> Bools:
    """Whether cells lie in a patch of the rare domain; the patches go through all sections of a sample."""
    rare = np.zeros(len(points), bool)
    if not params.rare_share:
        return rare
    free = np.flatnonzero(~thin & (layer > 0) & (layer < params.domains - 1))
    free = free if len(free) else np.arange(len(points))
    centres = points[rng.choice(free, params.rare_patches)]
    distance = np.min(np.hypot(*(points[:, None] - centres).transpose(2, 0, 1)), axis=1)
    distance[thin] = np.inf
    wanted = round(params.rare_share * params.cells)
    for number in range(params.sections):
        here = np.flatnonzero(section == number)
        rare[here[np.argsort(distance[here], kind="stable")[:wanted]]] = True
    return rare


def _joined(parts: list[Places]) -> Places:
    return Places(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
