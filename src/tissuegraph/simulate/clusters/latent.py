"""The latent factors of cells, what they tell of the types, and the features that show them."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

from tissuegraph.simulate.arrays import Floats, Integers

DRAWS, BLOCK = 100_000, 10_000
"""Cells on which the accuracy of the best guess is measured, and how many of them at a time."""
ENTRIES_AT_A_TIME = 2_000_000
NO_SPREAD = 1e-9
"""Stands for a spread of 0, where the nearest centre is the only one that is possible."""


def posterior(points: Floats, centres: Floats, shares: Floats, spread: float) -> Floats:
    """Probability [N, T] of each type given the latent factors [N, L]: Bayes' rule for normal clouds.

    `p(k | z) ~ share_k exp(-|z - c_k|^2 / 2 spread^2)`, with centres [T, L] and shares [T].
    """
    with np.errstate(divide="ignore"):
        prior = np.log(shares)
    logits = prior - cdist(points, centres, "sqeuclidean") / (2 * max(spread, NO_SPREAD) ** 2)
    logits -= logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    return logits / logits.sum(1, keepdims=True)


def bayes_accuracy(centres: Floats, shares: Floats, spread: float, rng: np.random.Generator) -> float:
    """How often the most probable type is the right one: the mean of its probability over many draws.

    For two types of equal share at distance D it is `Phi(D / (2 spread))`.
    """
    centres = centres[:, centres.any(0)] if centres.any() else np.zeros((len(shares), 1))
    total = 0.0
    for start in range(0, DRAWS, BLOCK):
        size = min(BLOCK, DRAWS - start)
        types = rng.choice(len(shares), size, p=shares)
        points = centres[types] + rng.normal(0, spread, (size, centres.shape[1]))
        total += float(posterior(points, centres, shares, spread).max(1).sum())
    return total / DRAWS


def draw_loadings(factors: int, features: int, rng: np.random.Generator) -> Floats:
    """What each feature shows of the factors, [factors, features]: a random turn.

    Loadings are as long as 1 on average over the features. With as many features as factors or more, rows are
    orthogonal and of one length, `sqrt(features / factors)`, so distances keep their proportions; with fewer,
    columns are orthogonal and of length 1.
    """
    turn, sign = np.linalg.qr(rng.normal(size=(max(factors, features), min(factors, features))))
    turn = turn * np.sign(np.diag(sign))
    return np.sqrt(features / factors) * turn.T if features >= factors else turn


def seen_in_features(centres: Floats, loadings: Floats, spread: float, noise: float) -> tuple[Floats, float]:
    """Centres and spread as a cell's features show them to who knows the loadings."""
    factors, features = loadings.shape
    if features >= factors:  # a turn back averages the noise
        return centres, float(np.sqrt(spread**2 + noise**2 * factors / features))
    return centres @ loadings, float(np.hypot(spread, noise))


def draw_features(latent: Floats, loadings: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Real-valued features [N, F], f32: what the loadings show of the latent factors [N, L], and noise."""
    features = (latent @ loadings).astype(np.float32)
    for part in _blocks(features.shape):
        features[part] += np.float32(noise) * rng.standard_normal(features[part].shape, np.float32)
    return features


def draw_counts(
    features: Floats, mean: float, depth_variation: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Poisson counts [N, F]: totals are log-normal around `mean`, a cell's shares are softmax(features).

    As the features hold normal noise, counts are Poisson-log-normal.
    """
    level = rng.normal(-(depth_variation**2) / 2, depth_variation, len(features))
    totals = mean * np.exp(level)[:, None]
    parts = []
    for part in _blocks(features.shape):
        rates = features[part].astype(np.float64)
        rates = np.exp(rates - rates.max(1, keepdims=True))
        rates *= totals[part] / rates.sum(1, keepdims=True)
        parts.append(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    return sparse.vstack(parts, format="csr")


def draw_types(n_samples: int, shares: Floats, rng: np.random.Generator) -> Integers:
    """The type of each cell, [N]."""
    return rng.choice(len(shares), n_samples, p=shares)


def _blocks(shape: tuple[int, ...]) -> list[slice]:
    size = max(1, ENTRIES_AT_A_TIME // shape[1])
    return [slice(start, start + size) for start in range(0, shape[0], size)]
