"""What the spatial neighbours say: what of an embedding is noise, and labels by majority."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def neighbour_noise(embedding: Floats, averaged: Floats, graph: sparse.csr_matrix) -> Floats:
    """Return the covariance [d, d] of what a cell does not share with its neighbours: what is noise.

    It is that of the embedding minus its mean over the neighbours, as neighbours mostly belong to one domain,
    in the scale of the averaged embedding: where `C` is the covariance of that, the trace of `C^-1 N` is d.
    """
    degree = np.asarray(graph.sum(1)).ravel()
    apart = (embedding - (graph @ embedding) / np.where(degree > 0, degree, 1)[:, None])[degree > 0]
    centred = averaged - averaged.mean(0)
    covariance = centred.T @ centred / len(centred)
    width = len(covariance)
    # a ridge for directions in which nothing varies
    covariance += (1e-9 * np.trace(covariance) / width or 1.0) * np.eye(width)
    noise = apart.T @ apart
    return noise * width / (np.trace(np.linalg.solve(covariance, noise)) or 1.0)


def refine_labels(labels: Labels, graph: sparse.csr_matrix) -> Labels:
    """Return labels in which a cell follows its surroundings where more than half of them agree.

    The surroundings are the cell, its neighbours and theirs, each counted by the walks of two steps that
    reach it, so near cells count for more.
    """
    one_hot = np.zeros((len(labels), int(labels.max(initial=0)) + 1), np.float32)
    one_hot[np.arange(len(labels)), labels] = 1
    votes = one_hot
    for _ in range(2):
        votes = votes + graph @ votes
    agreed = votes.max(1) > votes.sum(1) / 2
    return np.where(agreed, votes.argmax(1), labels)
