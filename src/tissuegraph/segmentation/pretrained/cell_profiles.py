"""What each cell is expected to express, from few counts: its own, and those of cells like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tissuegraph.segmentation.gene_vectors import gene_vectors

AXES = 15
MOST_TYPES = 16
CELLS_A_TYPE = 25
"""Cells that a type needs on average."""
MIN_COUNTS = 8
"""Transcripts that a cell needs to help define the types."""
MOST_CELLS = 20_000
"""Cells that the types are defined by, at most: more do not change them."""
PRIOR = 30.0
"""Transcripts that the type's profile counts for, beside the cell's own."""
SMOOTHING = 50.0
"""Transcripts of the slide's mean profile that are added to each type."""
TEMPERING = 0.7
"""Power of the likelihood: counts vary more than a multinomial does."""
ROUNDS = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellProfiles:
    """Profiles of cells and of the types that they belong to.

    Attributes
    ----------
    counts
        [M, G], what each cell is known to hold.
    types
        [K, G], shares of the genes; rows sum to 1.
    membership
        [M, K], how far each cell belongs to each type; rows sum to 1.
    mean
        [G], shares of the genes on the slide.
    """

    counts: sparse.csr_matrix
    types: Floats
    membership: Floats
    mean: Floats

    def log_ratios(self, cells: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], ...]:
        """Log of each gene's share in some cells over that on the slide, [cells, G], twice.

        `log((n_g + PRIOR t_g) / (n + PRIOR) / mean_g)` with the cell's counts n and its type's profile t; the
        second time with one transcript of the gene less, for a transcript that is itself among the counts.
        """
        own = self.counts[cells].astype(np.float32).toarray()
        membership, types = self.membership[cells].astype(np.float32), self.types.astype(np.float32)
        expected = PRIOR * (membership @ types)
        depth = np.asarray(self.counts[cells].sum(1), np.float32)
        mean = self.mean.astype(np.float32)
        with_all = np.log((own + expected) / ((depth + PRIOR) * mean))
        own = np.maximum(own - 1, 0)
        return with_all, np.log((own + expected) / ((np.maximum(depth - 1, 0) + PRIOR) * mean))

    @property
    def type_ratios(self) -> npt.NDArray[np.float32]:
        """Log of each gene's share in a type over that on the slide, [K, G]."""
        return np.log(self.types / self.mean).astype(np.float32)


def find_profiles(counts: sparse.csr_matrix, *, seed: int = 0) -> CellProfiles:
    """Find types among cells, and how far each cell belongs to each.

    k-means of the cells' coordinates (the mean of their genes' correspondence-analysis coordinates), then
    some rounds of a multinomial mixture.

    Parameters
    ----------
    counts
        [M, G], transcripts known to be each cell's, such as those in its nucleus.
    """
    counts = counts.astype(np.float64)
    depth = np.asarray(counts.sum(1)).ravel()
    mean = np.asarray(counts.sum(0)).ravel() + 1
    mean = mean / mean.sum()
    chosen = np.flatnonzero(depth >= MIN_COUNTS)
    if len(chosen) > MOST_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_CELLS, replace=False))
    n_types = int(np.clip(len(chosen) // CELLS_A_TYPE, 1, MOST_TYPES))
    known = counts[chosen]
    membership = np.eye(n_types)[_groups(known, n_types, seed)]
    for _ in range(ROUNDS):
        types, shares = _profiles_of_types(known, membership, mean)
        membership = _membership(known, types, shares)
    return CellProfiles(counts.tocsr(), types, _membership(counts, types, shares), mean)


def _groups(counts: sparse.csr_matrix, n_types: int, seed: int) -> npt.NDArray[np.int64]:
    if n_types == 1:
        return np.zeros(counts.shape[0], np.int64)
    vectors = gene_vectors(counts, AXES).astype(np.float64)
    coordinates = (counts @ vectors) / np.asarray(counts.sum(1))
    n_types = min(n_types, len(np.unique(coordinates, axis=0)))  # with one gene all cells are alike
    with threadpool_limits(1):  # the same sums whatever the number of threads
        return KMeans(n_types, n_init=3, random_state=seed).fit_predict(coordinates).astype(np.int64)


def _profiles_of_types(counts: sparse.csr_matrix, membership: Floats, mean: Floats) -> tuple[Floats, Floats]:
    """Return the types' profiles [K, G] and their shares of the cells [K]."""
    totals = (counts.T @ membership).T + SMOOTHING * mean
    shares = membership.sum(0) + 1
    return totals / totals.sum(1, keepdims=True), shares / shares.sum()


def _membership(counts: sparse.csr_matrix, types: Floats, shares: Floats) -> Floats:
    logits = TEMPERING * (counts @ np.log(types).T) + np.log(shares)
    weight = np.exp(logits - logits.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)
