"""What the second round adds: what neighbours thought in the first, and where the cells then lay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.evidence import EXPRESSION, Ground, expression
from tissuegraph.segmentation.pretrained.params import SURE
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Indices, TilePairs

AGREEMENT = (
    "6 neighbours agree", "15 neighbours agree", "all neighbours agree",
    "10 neighbours belong to none", "all neighbours belong to none", "own logit",
)  # fmt: skip
TERRITORY = ("distance from the cell's middle in its standard deviations", "log area", "log transcripts")
SECOND_ROUND = (*AGREEMENT, *TERRITORY, *(f"{name}, second profile" for name in EXPRESSION))
"""Names of the features that are added to those of the first round, in order."""
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
    def of(cls, pairs: TilePairs, q: Floats, ground: Ground, counted: npt.NDArray[np.bool_]) -> Territories:
        """Sum over the transcripts that are `counted` [N]; the sums of tiles can be added."""
        used = np.flatnonzero(counted[pairs.tx] & (q > LISTENED))
        cell = pairs.cells[pairs.cell[used]]
        x, y = (pairs.positions[pairs.tx[used]] - ground.centres[cell]).T
        parts = (np.ones(len(used)), x, y, x * x, y * y, x * y)
        size = len(ground.centres)
        return cls(np.column_stack([np.bincount(cell, q[used] * part, size) for part in parts]))


def second_evidence(
    pairs: TilePairs,
    q: Floats,
    q_none: Floats,
    ground: Ground,
    profiles: CellProfiles,
    territories: Territories,
) -> npt.NDArray[np.float32]:
    """Features that the second round adds to those of the first, [P, len(SECOND_ROUND)].

    q [P] and q_none [N] are the probabilities after the first round; profiles those of the cells after it.
    """
    return np.concatenate(
        [
            agreement(pairs, q, q_none),
            territory(pairs, ground, territories),
            expression(pairs, ground, profiles, owner=sure_owner(pairs, q)),
        ],
        1,
        dtype=np.float32,
    )


def agreement(pairs: TilePairs, q: Floats, q_none: Floats) -> Floats:
    """Mean probability that neighbours give the same cell, and none, and the own logit, [P, 6]."""
    result = np.zeros((len(pairs.tx), 6))
    lists = (pairs.first, pairs.cell, pairs.neighbours, pairs.first_neighbour)
    over_chunks(lambda i, j: _agree(i, j, *lists, q, q_none, result), len(pairs.tokens))
    result[:, 5] = np.log((q + 1e-4) / (1 - q + 1e-4))
    return result


def territory(pairs: TilePairs, ground: Ground, territories: Territories) -> Floats:
    """Mahalanobis distance from the cell's middle, its area and its transcripts, [P, 3]."""
    weight, x, y, xx, yy, xy = territories.sums.T
    total = weight + PRIOR_TRANSCRIPTS
    prior = PRIOR_TRANSCRIPTS * PRIOR_WIDTH**2 * ground.areas / np.pi
    middle = np.column_stack([x, y]) / total[:, None]
    var_x = (xx + prior) / total - middle[:, 0] ** 2
    var_y = (yy + prior) / total - middle[:, 1] ** 2
    covariance = xy / total - middle[:, 0] * middle[:, 1]
    determinant = np.maximum(var_x * var_y - covariance**2, 1e-6)
    chosen = pairs.cells[pairs.cell]
    dx, dy = (pairs.positions[pairs.tx] - (ground.centres + middle)[chosen]).T
    squared = var_y[chosen] * dx**2 - 2 * covariance[chosen] * dx * dy + var_x[chosen] * dy**2
    far = np.sqrt(np.maximum(squared, 0) / determinant[chosen])
    return np.column_stack([far, np.log(determinant)[chosen], np.log(total)[chosen]])


def sure_owner(pairs: TilePairs, q: Floats) -> Indices:
    """The cell, as its number in the tile, that each transcript is sure to belong to, -1 = none, [N]."""
    owner = np.full(len(pairs.tokens), -1, np.int64)
    sure = q > SURE
    owner[pairs.tx[sure]] = pairs.cell[sure]
    return owner


@compiled
def _agree(begin, end, first, cell, neighbours, first_neighbour, q, q_none, out):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        total_none, near_none = 0.0, 0.0
        degree = max(first_neighbour[i + 1] - first_neighbour[i], 1)
        for rank in range(first_neighbour[i + 1] - first_neighbour[i]):
            total_none += q_none[neighbours[first_neighbour[i] + rank]]
            if rank < 10:
                near_none = total_none / (rank + 1)
        for p in range(first[i], first[i + 1]):
            total = 0.0
            for rank in range(first_neighbour[i + 1] - first_neighbour[i]):
                j = neighbours[first_neighbour[i] + rank]
                for r in range(first[j], first[j + 1]):
                    if cell[r] == cell[p]:
                        total += q[r]
                        break
                if rank < 6:
                    out[p, 0] = total / (rank + 1)
                if rank < 15:
                    out[p, 1] = total / (rank + 1)
            out[p, 2] = total / degree
            out[p, 3] = near_none
            out[p, 4] = total_none / degree
