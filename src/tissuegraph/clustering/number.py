"""How many clusters, and whether there are any: what halves of the cells agree on beyond chance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from tissuegraph.clustering.communities import Communities
from tissuegraph.clustering.partition import k_means, vote
from tissuegraph.clustering.stability import (
    MOST_CELLS,
    ROUNDS,
    STARTS,
    Classifier,
    Fit,
    Generator,
    labels_of_halves,
    mixtures,
)

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEWEST_BEYOND = 0.15
"""Agreement beyond that of chance that clusters must have to be called stable,"""
DEVIATIONS = 3.0
"""and how many standard deviations of it, as chance has it."""
SAME_BITS = 0.03
"""Information by which numbers of clusters do not differ."""
FEWEST_FITTED = 4
"""Numbers through which a parabola is laid; fewer would only be repeated."""
TRIES = 8
"""Resolutions that are tried for a number of communities; the closest are then joined."""


@dataclass(frozen=True)
class Stability:
    """By number of clusters, what halves agree on: adjusted Rand index and bits, each [rounds, numbers]."""

    numbers: list[int]
    agreement: Floats
    bits: Floats
    agreement_by_chance: Floats
    """The same where there are no clusters."""
    bits_by_chance: Floats

    @property
    def stable(self) -> npt.NDArray[np.bool_]:
        """Which numbers are found more reliably than in a cloud without clusters."""
        beyond = self.agreement.mean(0) - self.agreement_by_chance.mean(0)
        # every round of chance is another cloud, and the cells are as one of them
        spread = self.agreement_by_chance.std(0, ddof=1) * np.sqrt(1 + 1 / ROUNDS)
        return beyond >= np.maximum(FEWEST_BEYOND, DEVIATIONS * np.hypot(spread, _error(self.agreement)))

    def best(self) -> int:
        """Return the smallest stable number on which halves agree in most bits beyond chance, or 1.

        The bits of chance grow evenly with the number; a parabola takes out what the clouds drawn add to it.
        """
        if not self.stable.any():
            return 1
        beyond = self.bits - _even(self.numbers, self.bits_by_chance.mean(0))
        bits = np.where(self.stable, beyond.mean(0), -np.inf)
        top = int(bits.argmax())
        # a round cuts the same halves for all numbers, so what they have in common is no error
        error = _error(beyond - beyond[:, [top]])
        return self.numbers[int((bits >= bits[top] - np.maximum(SAME_BITS, error)).argmax())]

    def record(self) -> dict[str, Any]:
        """What is kept of it, by number."""
        found = {"n_clusters": np.array(self.numbers), "stable": self.stable}
        for name in ("agreement", "bits", "agreement_by_chance", "bits_by_chance"):
            found[name] = getattr(self, name).mean(0)
        return found | {"standard_error": _error(self.agreement)}


def stability(points: Floats, numbers: Sequence[int], method: str, seed: int) -> Stability:
    """Return how reliably so many clusters are found, beside what is found where there are none.

    Clusters of one half of the cells are carried over to all, and so are those of the other (Lange et al.
    2004). How much the two agree is measured by their adjusted Rand index, and by their mutual information:
    the index is highest for few coarse groups, though they may hold finer ones that are as reliable; the
    information grows with each cluster that is found again. As halves of a long cloud without clusters
    agree on where to cut it, what counts is the agreement beyond that in Gaussians of the same covariance: a
    reference as in Clest (Dudoit and Fridlyand 2002), with the cloud of SigClust (Liu et al. 2008).

    Parameters
    ----------
    points
        [N, d].
    numbers
        Of clusters, 2 or more; those beyond a quarter of the cells are left out.
    method
        As in `partition`; our own mixture stands in for "mclust".
    """
    numbers = [k for k in numbers if k <= len(points) // 4]
    fit, generator = _fit(method, seed), np.random.default_rng([seed, 1])
    centre, turn = points.mean(0), _root_of_covariance(points)
    measured = np.zeros((4, ROUNDS, len(numbers)))
    for number in range(ROUNDS if numbers else 0):
        cells = points[generator.permutation(len(points))[:MOST_CELLS]]
        measured[:2, number] = _measure(cells, numbers, generator, fit)
        cloud = centre + generator.normal(size=cells.shape) @ turn
        measured[2:, number] = _measure(cloud, numbers, generator, fit)
    return Stability(numbers, *measured)


def _measure(cells: Floats, numbers: Sequence[int], generator: Generator, fit: Fit) -> Floats:
    """Agreement and bits of the two halves, [2, numbers]."""
    pairs = labels_of_halves(cells, numbers, generator, fit)
    found = [(adjusted_rand_score(*pair), mutual_info_score(*pair) / np.log(2)) for pair in pairs]
    return np.array(found).T


def _error(rounds: Floats) -> Floats:
    return rounds.std(0, ddof=1) / np.sqrt(len(rounds))


def _even(numbers: Sequence[int], bits: Floats) -> Floats:
    """Return the parabola in log k that is nearest to the bits, [numbers]."""
    if len(numbers) < FEWEST_FITTED:
        return bits
    at = np.log(numbers)
    return np.asarray(np.polyval(np.polyfit(at, bits, 2), at), np.float64)


def _root_of_covariance(points: Floats) -> Floats:
    """Return [d, d] that turns independent standard normals into a Gaussian of the points' covariance."""
    centred = points - points.mean(0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(points))
    return (axes * np.sqrt(np.maximum(variances, 0))).T


def _fit(method: str, seed: int) -> Fit:
    """Return how a half of the cells is clustered."""
    if method in ("gmm", "mclust"):
        return mixtures()
    if method == "kmeans":
        return _k_means
    return lambda half: _communities(half, method, seed)


def _k_means(half: Floats) -> Classifier:
    def classify(number: int, cells: Floats, generator: Generator) -> Labels:
        labels = k_means(half, number, int(generator.integers(2**31)), STARTS)
        centres = np.stack([half[labels == label].mean(0) for label in np.unique(labels)])
        return ((centres**2).sum(1) - 2 * cells @ centres.T).argmin(1)

    return classify


def _communities(half: Floats, method: str, seed: int) -> Classifier:
    found = Communities(half, method, seed)

    def classify(number: int, cells: Floats, _: Generator) -> Labels:
        return vote(cells, half, found.find(number, TRIES, logging.DEBUG))

    return classify
