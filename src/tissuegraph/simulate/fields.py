"""Smooth random fields over the slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers

WAVES = 12


@dataclass(frozen=True)
class Field:
    """A sum of plane waves: mean 0, variance 1, slope about 1 / scale."""

    waves: Floats
    phases: Floats

    def __call__(self, points: Floats) -> Floats:
        """Return the value at `points` (n, 2), (n,)."""
        value = np.zeros(len(points))
        for wave, phase in zip(self.waves, self.phases, strict=True):
            value += np.cos(points @ wave + phase)
        return value * np.sqrt(2 / len(self.waves))


def random_field(scale: float, rng: np.random.Generator) -> Field:
    """Draw a field that changes by about one standard deviation over `scale` um."""
    angle = rng.uniform(0, 2 * np.pi, WAVES)
    number = rng.uniform(0.6, 1.3, WAVES) / scale
    waves = number[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Field(waves, rng.uniform(0, 2 * np.pi, WAVES))


def bands(values: Floats, parts: int) -> Integers:
    """Cut points into `parts` groups of equal number by their value: coherent regions of a smooth field."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * parts // max(len(values), 1)
