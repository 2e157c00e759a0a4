"""A logistic regression of cell types: the simple method beside every other, and where networks start."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of the penalty, of which the likeliest on held-out cells is taken."""
MOST_CELLS = 3_000
"""Cells on which they are compared."""
ITERATIONS = 500
NEVER = -12.0
"""Logit of a type that was not seen in training."""
LEAST = -10.0
"""Log probability below which a held-out cell counts no worse."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def fit_logistic(
    x: Floats, y: Codes, n_types: int, strength: float, *, balanced: bool
) -> tuple[Floats, Floats]:
    """Weights [T, D] and biases [T] of the penalised regression of y [N] on x [N, D]."""
    weight, bias = np.zeros((n_types, x.shape[1]), np.float32), np.full(n_types, NEVER, np.float32)
    seen = np.unique(y)
    if len(seen) == 1:
        bias[seen] = 0
        return weight, bias
    model = LogisticRegression(C=strength, max_iter=ITERATIONS, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    rows, first = model.coef_, model.intercept_
    if len(seen) == 2:
        rows, first = np.concatenate([-rows, rows]) / 2, np.concatenate([-first, first]) / 2
    weight[seen], bias[seen] = rows, first
    return weight, bias


def best_strength(x: Floats, y: Codes, fold: Codes, n_types: int, *, balanced: bool) -> float:
    """The strength at which cells that a fold [N] holds out are likeliest, balanced over types if asked."""
    if len(y) > MOST_CELLS:
        some = np.sort(np.random.default_rng(0).choice(len(y), MOST_CELLS, replace=False))
        x, y, fold = x[some], y[some], fold[some]
    sizes = np.bincount(y, minlength=n_types)
    weight = 1 / sizes[y] if balanced else np.ones(len(y))
    scores = []
    for strength in STRENGTHS:
        log_probability = np.full(len(y), LEAST)
        for held in np.unique(fold):
            out = fold == held
            known = out & np.isin(y, y[~out])
            if not known.any():
                continue
            logits = logits_of(
                x[known], *fit_logistic(x[~out], y[~out], n_types, strength, balanced=balanced)
            )
            log_probability[known] = log_softmax(logits)[np.arange(known.sum()), y[known]]
        scores.append(np.average(np.maximum(log_probability, LEAST), weights=weight))
    return STRENGTHS[int(np.argmax(scores))]


def logits_of(x: Floats, weight: Floats, bias: Floats) -> npt.NDArray[np.float64]:
    """Logits [N, T]."""
    return (x @ weight.T + bias).astype(np.float64)


def log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log probabilities [N, T]."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
