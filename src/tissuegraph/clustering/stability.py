"""How many domains: the number at which halves of the tissue agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from tissuegraph.clustering.mixture import fit_mixture

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Generator = np.random.Generator
Classifier = Callable[[int, Floats, Generator], Labels]
"""Gives cells [N, d] one of so many labels, [N]."""
Fit = Callable[[Floats], Classifier]
"""Takes one half of the cells and returns how it would label any."""

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


def curve(points: Floats, generator: Generator, noise: Floats | None = None) -> Curve:
    """Return the agreement of mixtures that were fitted to disjoint halves of the cells.

    Both label all cells, and the adjusted Rand index of the two is the agreement (Lange et al. 2004).
    """
    numbers = [k for k in range(FEWEST, MOST + 1) if k <= len(points) // 4]
    agreement = np.zeros((len(numbers), ROUNDS))
    for turn in range(ROUNDS):
        cells = points[generator.permutation(len(points))[:MOST_CELLS]]
        pairs = labels_of_halves(cells, numbers, generator, mixtures(noise))
        agreement[:, turn] = [adjusted_rand_score(*pair) for pair in pairs]
    errors = agreement.std(1, ddof=1) / np.sqrt(ROUNDS)
    return Curve(numbers, agreement.mean(1).tolist(), errors.tolist())


def labels_of_halves(
    cells: Floats, numbers: Sequence[int], generator: Generator, fit: Fit
) -> Iterator[tuple[Labels, Labels]]:
    """Yield, for each number of clusters, the labels [N] that either half of the cells gives to all."""
    first, second = fit(cells[::2]), fit(cells[1::2])
    for number in numbers:
        yield first(number, cells, generator), second(number, cells, generator)


def mixtures(noise: Floats | None = None) -> Fit:
    """Return how a mixture is fitted to a half."""

    def fit(half: Floats) -> Classifier:
        def classify(number: int, cells: Floats, generator: Generator) -> Labels:
            return fit_mixture(half, number, generator, n_starts=STARTS, noise=noise).predict(cells)

        return classify

    return fit
