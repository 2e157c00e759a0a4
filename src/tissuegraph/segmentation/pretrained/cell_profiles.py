"""What each cell is expected to express, from few counts: its own, and those of cells like it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tissuegraph.errors import InputError
from tissuegraph.io.profiles import ReferenceProfiles
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
CELLS_AT_A_TIME = 20_000
"""Cells whose counts are turned to double precision at a time."""

REFERENCE_PRIOR = 2000.0
"""Transcripts that a reference's profile of a type counts for, beside those of the slide's cells."""
FIRM = 1e9
"""The same, where the slide has no say."""
FLOOR = 0.05
"""Share of the slide's mean in a reference's profile: a gene that a reference missed is not impossible."""
EFFICIENCY_PRIOR = 10.0
"""Transcripts of a gene that are added to what is seen and to what is expected of it."""
FOLD_PRIOR = 2.0
"""The same, for a gene of a type of which the reference says nothing."""
MOST_FREE_TYPES = 4
"""Types that a reference may lack."""
UNLIKE = 0.2
"""Nats a transcript by which the slide's cells must differ from all of a reference's types to be another."""

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
    membership: npt.NDArray[np.float32]
    mean: Floats

    @cached_property
    def depth(self) -> Floats:
        """Transcripts known to be each cell's, [M]."""
        return np.asarray(self.counts.sum(1, dtype=np.float64)).ravel()

    @cached_property
    def typical_depth(self) -> float:
        """Median over the cells."""
        return float(np.median(self.depth))

    def log_ratios(self, cells: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], ...]:
        """Log of each gene's share in some cells over that on the slide, [cells, G], twice.

        `log((n_g + PRIOR t_g) / (n + PRIOR) / mean_g)` with the cell's counts n and its type's profile t; the
        second time with one transcript of the gene less, for a transcript that is itself among the counts.
        """
        own = self.counts[cells].astype(np.float32)
        expected = PRIOR * (self.membership[cells].astype(np.float32) @ self.types.astype(np.float32))
        depth = np.asarray(own.sum(1), np.float32)
        base = -np.log(self.mean.astype(np.float32))
        seen = expected + own.toarray()
        ratios = np.log(seen) + base - np.log(depth + PRIOR)
        entries = own.tocoo()
        cell, gene = entries.row, entries.col
        seen[cell, gene] = np.maximum(seen[cell, gene] - 1, expected[cell, gene])
        without = ratios + (np.log(depth + PRIOR) - np.log(np.maximum(depth - 1, 0) + PRIOR))
        without[cell, gene] += np.log(seen[cell, gene]) - np.log(expected[cell, gene] + entries.data)
        return ratios, without

    @property
    def type_ratios(self) -> npt.NDArray[np.float32]:
        """Log of each gene's share in a type over that on the slide, [K, G]."""
        return np.log(self.types / self.mean).astype(np.float32)


def find_profiles(
    counts: sparse.csr_matrix, *, seed: int = 0, reference: ReferenceProfiles | None = None
) -> CellProfiles:
    """Find types among cells, or take those of a reference, and how far each cell belongs to each.

    k-means of the cells' coordinates (the mean of their genes' correspondence-analysis coordinates), then
    some rounds of a multinomial mixture. With a reference the mixture starts from its profiles and stays near
    them; see `_types_of_reference`.

    Parameters
    ----------
    counts
        [M, G], transcripts known to be each cell's, such as those in its nucleus.
    reference
        Profiles of cell types over the same genes. A gene or a type may be missing, or not be on the slide.

    Raises
    ------
    InputError
        If the reference is of other genes, or expresses none of them.
    """
    depth = np.asarray(counts.sum(1, dtype=np.float64)).ravel()
    mean = np.asarray(counts.sum(0, dtype=np.float64)).ravel() + 1
    mean = mean / mean.sum()
    chosen = np.flatnonzero(depth >= MIN_COUNTS)
    if len(chosen) > MOST_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_CELLS, replace=False))
    n_types = int(np.clip(len(chosen) // CELLS_A_TYPE, 1, MOST_TYPES))
    known = counts[chosen].astype(np.float64)
    membership = np.eye(n_types)[_groups(known, n_types, seed)]
    for _ in range(ROUNDS):
        types, shares = _profiles_of_types(known, membership, mean)
        membership = _membership(known, types, shares)
    if reference is not None:
        types, shares = _types_of_reference(known, membership, mean, reference)
    parts = [
        _membership(counts[first : first + CELLS_AT_A_TIME].astype(np.float64), types, shares).astype(
            np.float32
        )
        for first in range(0, counts.shape[0], CELLS_AT_A_TIME)
    ]
    memberships = np.concatenate([np.empty((0, len(types)), np.float32), *parts])
    return CellProfiles(_in_two_bytes(counts.tocsr()), types, memberships, mean)


def _in_two_bytes(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same counts, 2 bytes each where they fit: those of a large slide are kept for long."""
    narrow = counts.astype(np.uint16)
    return narrow if np.array_equal(narrow.data, counts.data) else counts


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


def _types_of_reference(
    counts: sparse.csr_matrix, groups: Floats, mean: Floats, reference: ReferenceProfiles
) -> tuple[Floats, Floats]:
    """Profiles [K, G] and shares [K] of a reference's types on the slide, and of types that it lacks.

    Groups [M, K'] of the slide's cells that are unlike all of the reference's types become types beside them.
    Types that no cell belongs to are left out.
    """
    anchor = _Anchor.of(reference, len(mean))
    nothing = np.zeros_like(anchor.shares)
    types = _profiles_near(anchor, nothing, np.ones(len(mean)), mean, FIRM)
    membership = _membership(counts, types, np.ones(len(types)))
    types, _, membership = _rounds_with(anchor, counts, membership, mean, FIRM)
    others = groups[:, _unlike(counts, groups, types)]
    membership = np.column_stack([membership * (1 - others.sum(1, keepdims=True)), others])
    anchor = anchor.beside_free(others.shape[1])
    types, shares, membership = _rounds_with(anchor, counts, membership, mean, REFERENCE_PRIOR)
    there = membership.sum(0) >= 1
    return (types[there], shares[there] / shares[there].sum()) if there.any() else (types, shares)


@dataclass(frozen=True)
class _Anchor:
    """What is known of types before the slide is seen.

    `shares` [K, G] are of the genes that are `known` [K, G], 0 elsewhere; rows sum to 1, or to 0 where the
    slide alone says what a type is.
    """

    shares: Floats
    known: npt.NDArray[np.bool_]

    @staticmethod
    def of(reference: ReferenceProfiles, n_genes: int) -> _Anchor:
        if reference.profiles.shape != (len(reference.types), n_genes):
            raise InputError(
                f"the reference's profiles have shape {reference.profiles.shape}, expected "
                f"({len(reference.types)}, {n_genes}); read them for the slide's genes."
            )
        profiles = np.nan_to_num(reference.profiles)
        known = np.isfinite(reference.profiles) & profiles.any(0)  # never seen at all: perhaps not measured
        expressing = profiles.any(1)
        if not expressing.any():
            raise InputError("the reference expresses none of the slide's genes; give one of this tissue.")
        return _Anchor(_normal(profiles[expressing]), known[expressing])

    def beside_free(self, number: int) -> _Anchor:
        """The same, and some types of which nothing is known."""
        none = np.zeros((number, self.shares.shape[1]))
        return _Anchor(np.vstack([self.shares, none]), np.vstack([self.known, none > 0]))


def _rounds_with(
    anchor: _Anchor, counts: sparse.csr_matrix, membership: Floats, mean: Floats, prior: float
) -> tuple[Floats, Floats, Floats]:
    """Rounds of the mixture near the anchor: profiles [K, G], shares [K] and membership [M, K].

    Platforms detect a gene better or worse than others do: `efficiency` [G] is how often it is seen over how
    often the mixture of types predicts it, shrunk towards 1, the mean.
    """
    efficiency = np.ones(len(mean))
    for _ in range(ROUNDS):
        totals = (counts.T @ membership).T
        seen = np.where(anchor.known, totals, 0)
        weight = seen.sum(1, keepdims=True) / np.maximum(anchor.shares @ efficiency, 1e-300)[:, None]
        predicted = (weight * anchor.shares).sum(0)
        efficiency = (seen.sum(0) + EFFICIENCY_PRIOR) / (predicted + EFFICIENCY_PRIOR)
        types = _profiles_near(anchor, totals, efficiency, mean, prior)
        shares = _normal(membership.sum(0) + 1)
        membership = _membership(counts, types, shares)
    return types, shares, membership


def _profiles_near(anchor: _Anchor, totals: Floats, efficiency: Floats, mean: Floats, prior: float) -> Floats:
    """Profiles [K, G] of types from what their cells hold [K, G] and what is known before.

    Where the anchor does not know a gene, its share is the slide's times a fold, `(seen + a) / (expected +
    a)`: a gene that is rare everywhere is not taken to be absent. The other genes share the rest, as in the
    anchor's and the cells' counts together.
    """
    expected = totals.sum(1, keepdims=True) * mean
    alone = _normal(mean * (totals + FOLD_PRIOR) / (expected + FOLD_PRIOR))
    free = np.where(anchor.known, 0, alone)
    floor = _normal(np.where(anchor.known, mean, 0))
    before = (1 - FLOOR) * _normal(anchor.shares * efficiency) + FLOOR * floor
    near = _normal(np.where(anchor.known, totals, 0) + prior * before)
    return _normal(free + (1 - free.sum(1, keepdims=True)) * near)


def _unlike(counts: sparse.csr_matrix, groups: Floats, types: Floats) -> npt.NDArray[np.int64]:
    """The groups [M, K'] whose cells none of the types [K, G] explains, the clearest ones, by number.

    The Kullback-Leibler divergence of a group from the nearest type, less (G - 1) / n: twice what n
    transcripts of that very type would show by chance, as the groups were chosen to differ.
    """
    totals = (counts.T @ groups).T
    profiles = _normal(totals)
    entropy = (profiles * np.log(np.maximum(profiles, 1e-300))).sum(1)
    gap = entropy - (profiles @ np.log(types).T).max(1)
    gap -= (counts.shape[1] - 1) / np.maximum(totals.sum(1), 1)
    clearest = np.argsort(-gap, kind="stable")[:MOST_FREE_TYPES]
    return clearest[gap[clearest] > UNLIKE]


def _normal(rows: Floats) -> Floats:
    """Rows that sum to 1, or stay 0."""
    return rows / np.maximum(rows.sum(-1, keepdims=True), 1e-300)
