"""How many clusters: the number at which halves of the cells agree, and what agreement chance alone gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def curve(
    points: Floats,
    generator: Generator,
    noise: Floats | None = None,
    *,
    numbers: Sequence[int] | None = None,
    fit: Fit | None = None,
) -> Curve:
    """Return the agreement of what was fitted to disjoint halves of the cells.

    Both label all cells, and the adjusted Rand index of the two is the agreement (Lange et al. 2004).

    Parameters
    ----------
    points
        [N, d].
    noise
        Covariance [d, d] of noise, for mixtures.
    numbers
        Of clusters; by default from 4 to 20. Those beyond a quarter of the cells are left out.
    fit
        What is fitted; by default a mixture.
    """
    numbers = range(FEWEST, MOST + 1) if numbers is None else numbers
    numbers = [k for k in numbers if k <= len(points) // 4]
    agreement = np.zeros((len(numbers), ROUNDS))
    for turn in range(ROUNDS):
        cells = points[generator.permutation(len(points))[:MOST_CELLS]]
        agreement[:, turn] = _agreement(cells, numbers, generator, fit or mixtures(noise))
    return _curve(numbers, agreement)


def chance_curve(points: Floats, generator: Generator, *, numbers: Sequence[int], fit: Fit) -> Curve:
    """Return the agreement where there are no clusters: in Gaussians of the covariance of the points.

    Halves of a long cloud agree on where to cut it, though it is one; so agreement means something only
    beyond this (Dudoit and Fridlyand 2002, whose reference is a box; Liu et al. 2008 take a Gaussian).
    """
    numbers = [k for k in numbers if k <= len(points) // 4]
    centre = points.mean(0)
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True).reshape(points.shape[1], -1))
    turn = axes * np.sqrt(np.maximum(variances, 0))
    agreement = np.zeros((len(numbers), ROUNDS))
    for turned in range(ROUNDS):
        drawn = generator.normal(size=(min(len(points), MOST_CELLS), points.shape[1]))
        agreement[:, turned] = _agreement(centre + drawn @ turn.T, numbers, generator, fit)
    return _curve(numbers, agreement)


def mixtures(noise: Floats | None = None) -> Fit:
    """Return how a mixture is fitted to a half."""

    def fit(half: Floats) -> Classifier:
        return lambda k, cells, generator: fit_mixture(
            half, k, generator, n_starts=STARTS, noise=noise
        ).predict(cells)

    return fit


def _agreement(cells: Floats, numbers: Sequence[int], generator: Generator, fit: Fit) -> Floats:
    """Return the agreement of the two halves, [numbers]."""
    classifiers = [fit(half) for half in (cells[::2], cells[1::2])]
    return np.array(
        [adjusted_rand_score(*[classify(k, cells, generator) for classify in classifiers]) for k in numbers]
    )


def _curve(numbers: list[int], agreement: Floats) -> Curve:
    errors = agreement.std(1, ddof=1) / np.sqrt(ROUNDS)
    return Curve(numbers, agreement.mean(1).tolist(), errors.tolist())
