"""Where the cells lay after the first round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph.segmentation.pretrained.ground import Ground
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Floats32, TilePairs

TERRITORY = ("distance from the cell's middle in its standard deviations", "log area", "log transcripts")
LISTENED = 0.3
"""Probability from which on a transcript helps to tell where its cell lies."""
PRIOR_TRANSCRIPTS = 8.0
"""Transcripts that a cell's own prior counts for: a disc about twice as wide as its nucleus."""
PRIOR_WIDTH = 1.1
"""Standard deviation of that disc, in radii of the nucleus."""


@dataclass(frozen=True)
class Territories:
    """Where the cells of a slide lay after the first round.

    Attributes
    ----------
    sums
        [M, 6]: of the weights, and of weight times x, y, xx, yy, xy, um from the centre of the nucleus.
    """

    sums: Floats

    @classmethod
    def of(cls, pairs: TilePairs, q: Floats32, ground: Ground, counted: npt.NDArray[np.bool_]) -> Territories:
        """Those of a tile alone, from the transcripts that are `counted` [N]."""
        sums = np.zeros((len(ground.centres), 6))
        sums[pairs.cells] = moments_of(pairs, q, ground, counted)
        return cls(sums)


def moments_of(pairs: TilePairs, q: Floats32, ground: Ground, counted: npt.NDArray[np.bool_]) -> Floats:
    """The sums over a tile's transcripts that are `counted` [N], of its cells, [len(pairs.cells), 6]."""
    used = np.flatnonzero(counted[pairs.tx] & (q > LISTENED))
    cell, weight = pairs.cell[used], q[used].astype(np.float64)
    x, y = (pairs.positions[pairs.tx[used]] - ground.centres[pairs.cells[cell]]).T
    parts = (np.ones(len(used)), x, y, x * x, y * y, x * y)
    size = len(pairs.cells)
    return np.column_stack([np.bincount(cell, weight * part, size) for part in parts])


def territory(pairs: TilePairs, ground: Ground, territories: Territories) -> Floats:
    """Mahalanobis distance from the cell's middle, its area and its transcripts, [P, 3]."""
    weight, x, y, xx, yy, xy = territories.sums[pairs.cells].T
    total = weight + PRIOR_TRANSCRIPTS
    prior = PRIOR_TRANSCRIPTS * PRIOR_WIDTH**2 * ground.areas[pairs.cells] / np.pi
    middle = np.column_stack([x, y]) / total[:, None]
    var_x = (xx + prior) / total - middle[:, 0] ** 2
    var_y = (yy + prior) / total - middle[:, 1] ** 2
    covariance = xy / total - middle[:, 0] * middle[:, 1]
    determinant = np.maximum(var_x * var_y - covariance**2, 1e-6)
    chosen = pairs.cell
    dx, dy = (pairs.positions[pairs.tx] - (ground.centres[pairs.cells] + middle)[chosen]).T
    squared = var_y[chosen] * dx**2 - 2 * covariance[chosen] * dx * dy + var_x[chosen] * dy**2
    far = np.sqrt(np.maximum(squared, 0) / determinant[chosen])
    return np.column_stack([far, np.log(determinant)[chosen], np.log(total)[chosen]])
