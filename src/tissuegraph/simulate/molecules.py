"""Where the simulated transcripts lie, and what a vendor makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.stars import Stars

MIN_QV, MAX_QV = 20.0, 40.0


@dataclass(frozen=True)
class Molecules:
    """Transcripts of a part of the slide.

    Attributes
    ----------
    cell
        (n,): the cell that made it, -1 for background and controls.
    feature
        (n,): number of the gene; controls follow the panel.
    points
        (n, 2), float32, um.
    """

    cell: Integers
    feature: Integers
    points: Floats

    def take(self, index: Integers) -> Molecules:
        """Return some of the transcripts."""
        return Molecules(self.cell[index], self.feature[index], self.points[index])


def place_transcripts(
    outlines: Stars, cell: Integers, params: TissueParams, rng: np.random.Generator
) -> Floats:
    """Draw a place in its cell for each transcript, and let some drift away, (n, 2) float32."""
    points = outlines.sample(cell, rng)
    drifts = rng.random(len(cell)) < params.spill
    way = params.spill_distance * rng.gamma(2, 0.5, len(cell)) * drifts
    angle = rng.uniform(0, 2 * np.pi, len(cell))
    points += way[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points.astype(np.float32)


def join(parts: list[Molecules], rng: np.random.Generator) -> Molecules:
    """Put parts together in random order: the order of rows must not tell the truth."""
    whole = Molecules(
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.feature for part in parts]),
        np.concatenate([part.points for part in parts]),
    )
    return whole.take(rng.permutation(len(whole.cell)))


def scatter(features: Integers, extent: tuple[float, float], rng: np.random.Generator) -> Molecules:
    """Draw a place anywhere on the slide for molecules that no cell made."""
    points = rng.uniform(*extent, (len(features), 2)).astype(np.float32)
    return Molecules(np.full(len(features), -1), features, points)


def draw_quality(number: int, params: TissueParams, rng: np.random.Generator) -> Floats:
    """Draw qv, float32: below 20 for the share `low_quality`, else up to 40, most of it at the top."""
    bad = rng.random(number) < params.low_quality
    good = MAX_QV - np.minimum(rng.exponential(6, number), MAX_QV - MIN_QV)
    # 19.99 stays below 20 in float32
    return np.where(bad, rng.uniform(1, 19.99, number), good).astype(np.float32)


@dataclass(frozen=True)
class Vendor:
    """What the vendor drew: seen nuclei and the cells grown from them."""

    nuclei: Stars
    cells: Stars
    tree: cKDTree

    def assign(self, points: Floats, tried: int = 4) -> tuple[Integers, Bools]:
        """Return the vendor's cell of each point (-1 for none), and whether it lies in its nucleus."""
        chosen = np.full(len(points), -1)
        if len(self.cells) == 0:
            return chosen, np.zeros(len(points), dtype=bool)
        reach = float(self.cells.radii.max())
        tried = min(tried, len(self.cells))
        found = self.tree.query(points, k=np.arange(1, tried + 1), distance_upper_bound=reach)
        near = np.asarray(found[1])
        for rank in range(tried):
            open_rows = np.flatnonzero((chosen < 0) & (near[:, rank] < len(self.cells)))
            candidate = near[open_rows, rank]
            hit = self.cells.contains(candidate, points[open_rows])
            chosen[open_rows[hit]] = candidate[hit]
        inside = np.zeros(len(points), dtype=bool)
        rows = np.flatnonzero(chosen >= 0)
        inside[rows] = self.nuclei.contains(chosen[rows], points[rows])
        return chosen, inside
