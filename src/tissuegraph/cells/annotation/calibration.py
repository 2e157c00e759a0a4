"""From logits to probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tissuegraph.cells.annotation.logistic import log_softmax

PRIOR = 1.0
"""Strength of the pull of the biases towards zero, in cells."""
COLDEST, HOTTEST = 0.05, 20.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Probabilities are `softmax(logits / temperature + bias)` (vector scaling with one scale)."""

    temperature: float
    bias: Floats
    """[T]; brings back how frequent the types are, which balanced training has levelled."""

    def apply(self, logits: Floats) -> Floats:
        """Probabilities [N, T]."""
        return np.exp(log_softmax(logits / self.temperature + self.bias))


def calibrate(logits: Floats, y: npt.NDArray[np.int64]) -> Calibration:
    """Find the likeliest temperature and biases on cells that were held out.

    Parameters
    ----------
    logits
        [N, T] of held-out cells.
    y
        [N] their types.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks.
    """
    n, types = logits.shape
    one_hot = np.eye(types)[y]

    def loss(free: Floats) -> tuple[float, Floats]:
        heat, bias = np.exp(free[0]), free[1:]
        log_p = log_softmax(logits * heat + bias)
        wrong = np.exp(log_p) - one_hot
        value = -(log_p * one_hot).sum() + PRIOR * (bias**2).sum() / 2
        slope = np.concatenate([[(wrong * logits).sum() * heat], wrong.sum(0) + PRIOR * bias])
        return value / n, slope / n

    bounds = [(-np.log(HOTTEST), -np.log(COLDEST)), *[(-20.0, 20.0)] * types]
    found = minimize(loss, np.zeros(types + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(np.exp(-found[0])), found[1:] - found[1:].mean())


def calibrated_apart(logits: Floats, y: npt.NDArray[np.int64], fold: npt.NDArray[np.int64]) -> Floats:
    """Probabilities [N, T] of held-out cells, each calibrated on the other folds [N] alone."""
    out = np.empty_like(logits)
    for held in np.unique(fold):
        own = fold == held
        out[own] = calibrate(logits[~own], y[~own]).apply(logits[own])
    return out
