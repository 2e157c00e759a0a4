"""How many domains: the number at which halves of the tissue agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from tissuegraph.clustering.mixture import fit_mixture

Floats = npt.NDArray[np.float64]

FEWEST, MOST = 4, 20
ROUNDS = 5
MOST_CELLS = 3_000
"""Cells looked at; agreement needs no more."""
STARTS = 6


@dataclass(frozen=True)
class Curve:
    """The agreement, by number of domains: mean over rounds, and its standard error."""

    numbers: list[int]
    agreement: list[float]
    errors: list[float]

    def best(self) -> int:
        """Return the number with the highest agreement."""
        return self.numbers[int(np.argmax(self.agreement))]


def curve(points: Floats, generator: np.random.Generator, noise: Floats | None = None) -> Curve:
    """Return the agreement of mixtures that were fitted to disjoint halves of the cells.

    Both label all cells, and the adjusted Rand index of the two is the agreement (Lange et al. 2004).
    """
    numbers = [k for k in range(FEWEST, MOST + 1) if k <= len(points) // 4]
    agreement = np.zeros((len(numbers), ROUNDS))
    for turn in range(ROUNDS):
        cells = points[generator.permutation(len(points))[:MOST_CELLS]]
        halves = cells[::2], cells[1::2]
        for i, k in enumerate(numbers):
            labels = [
                fit_mixture(half, k, generator, n_starts=STARTS, noise=noise).predict(cells)
                for half in halves
            ]
            agreement[i, turn] = adjusted_rand_score(*labels)
    errors = agreement.std(1, ddof=1) / np.sqrt(ROUNDS)
    return Curve(numbers, agreement.mean(1).tolist(), errors.tolist())
