"""How much nearer a cell lies to its own cluster than to the next: Rousseeuw's silhouette."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

MOST_CELLS = 5_000
"""Cells to which distances are measured; of more, as many of each cluster as fit."""
BLOCK = 4_000
"""Cells whose distances are in memory at a time."""


def silhouettes(points: Floats, labels: Labels, generator: np.random.Generator) -> tuple[Floats, int]:
    """Return the silhouette of each cell, [N], and to how many cells distances were measured.

    `(b - a) / max(a, b)`, where `a` is the mean distance to the others of the own cluster and `b` the
    smallest mean distance to another (Rousseeuw 1987). It is 0 for a cell that is alone in its cluster, and
    NaN where there is only one. Up to 5,000 cells it is sklearn's `silhouette_samples`; of more, the means
    are over a sample of each cluster.

    Parameters
    ----------
    points
        [N, d].
    labels
        [N], from 0, each of some cell.
    """
    number = int(labels.max(initial=0)) + 1
    sample = _sample(labels, generator)
    if number < 2:
        return np.full(len(points), np.nan), len(sample)
    found = np.empty(len(points))
    member = np.zeros((len(sample), number))
    member[np.arange(len(sample)), labels[sample]] = 1
    counted, sampled = member.sum(0), np.zeros(len(points), bool)
    sampled[sample] = True
    for start in range(0, len(points), BLOCK):
        part = slice(start, start + BLOCK)
        own, rows = labels[part], np.arange(len(labels[part]))
        sums = cdist(points[part], points[sample]) @ member
        others = counted[own] - sampled[part]  # a cell is no neighbour of itself
        within = sums[rows, own] / np.maximum(others, 1)
        means = sums / counted
        means[rows, own] = np.inf
        between = means.min(1)
        scale = np.maximum(within, between)
        found[part] = np.where(others > 0, (between - within) / np.where(scale > 0, scale, 1), 0)
    return found, len(sample)


def _sample(labels: Labels, generator: np.random.Generator) -> Labels:
    """Return the cells that are measured: all, or as many of each cluster, in order."""
    if len(labels) <= MOST_CELLS:
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    most = _share(sizes)
    parts = [np.flatnonzero(labels == label) for label in range(len(sizes))]
    drawn = [part if len(part) <= most else generator.choice(part, most, replace=False) for part in parts]
    return np.sort(np.concatenate(drawn))


def _share(sizes: Labels) -> int:
    """Return how many cells of a cluster, at most, keep the sum within bounds; small ones are whole."""
    low, high = 1, MOST_CELLS
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(sizes, middle).sum() <= MOST_CELLS:
            low = middle
        else:
            high = middle - 1
    return low
