"""Marker genes, and the type of each cell, from a reference or from the slide's own nuclei.

Never from the segmentation that is to be judged: it would choose the markers that suit it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation.codes import NONE, Codes

MARKER_FOLD = 4.0
"""A marker's share in its own type, over that in the second type."""
MIN_MARKER_COUNTS = 20
"""Transcripts of a gene in the nuclei of a group below which its fold is noise."""
MIN_TRANSCRIPTS = 10
"""Transcripts that a nucleus needs for a type of its own."""
MOST_GROUPS = 20
MOST_NUCLEI = 20_000
"""The centres of the groups are found on no more nuclei than this, drawn at random."""
AXES = 15
DECIMALS = 9
"""Of the nuclei's coordinates: what differs by less is rounding."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Markers:
    """What tells the types apart.

    Attributes
    ----------
    types
        (T,): names.
    profiles
        [T, G]: share of each gene in a type; rows sum to 1.
    type_of_gene
        (G,): the type that a gene marks, -1 for a gene that marks none.
    """

    types: list[str]
    profiles: Floats
    type_of_gene: Codes

    @property
    def genes(self) -> Codes:
        """The genes that are markers, (M,)."""
        return np.flatnonzero(self.type_of_gene >= 0)

    @property
    def n_pairs(self) -> int:
        """How many pairs of markers of different types there are."""
        of_type = np.bincount(self.type_of_gene[self.genes], minlength=len(self.types))
        return int(of_type.sum() ** 2 - (of_type**2).sum()) // 2


def markers_of_profiles(
    profiles: Floats, types: list[str], *, fold: float = MARKER_FOLD, is_known: npt.ArrayLike = True
) -> Markers:
    """Find the genes whose share in one type is over `fold` times that in the second.

    Parameters
    ----------
    profiles
        [T, G], expression of each type on any linear scale; a gene that the profiles lack is NaN.
    types
        (T,), names, no two alike.
    fold
        How many times the second type's share.
    is_known
        (G,), genes that may be markers.

    Raises
    ------
    InputError
        If there are fewer than two types, a type expresses none of the genes or a value is negative.
    """
    shares = np.nan_to_num(np.asarray(profiles, np.float64))
    total = shares.sum(1, keepdims=True)
    if len(shares) < 2:
        raise InputError(f"{len(shares)} cell type; markers need two or more to tell apart.")
    if (shares < 0).any():
        raise InputError("the profiles hold negative values, as if scaled or centred; give counts or means.")
    if not (total > 0).all():
        silent = types[int(np.argmin(total))]
        raise InputError(f"type {silent!r} expresses none of the slide's genes; leave it out.")
    shares = shares / total
    second, first = np.sort(shares, axis=0)[-2:]
    is_marker = (first > fold * second) & np.broadcast_to(is_known, first.shape)
    return Markers(types, shares, np.where(is_marker, shares.argmax(0), NONE).astype(np.int64))


def types_by_profiles(counts: sparse.csr_matrix, markers: Markers) -> Codes:
    """Give each nucleus the type under which its counts are likeliest.

    `argmax_t sum_g n_g log p_tg`, the multinomial likelihood. The profiles are mixed with 1% of their mean,
    so that no gene is impossible.

    Returns
    -------
    (nuclei,), -1 for one with fewer than `MIN_TRANSCRIPTS`.
    """
    smooth = 0.99 * markers.profiles + 0.01 * markers.profiles.mean(0) + 1e-9
    likeliest = np.asarray(counts @ np.log(smooth).T).argmax(1)
    enough = np.asarray(counts.sum(1)).ravel() >= MIN_TRANSCRIPTS
    return np.where(enough, likeliest, NONE).astype(np.int64)


def markers_of_nuclei(
    counts: sparse.csr_matrix, *, fold: float = MARKER_FOLD, seed: int = 0
) -> tuple[Markers, Codes]:
    """Group the nuclei by what they express, and find the genes that mark the groups.

    k-means of the nuclei's correspondence-analysis coordinates, for 2 groups and more; the number of groups
    that gives the most pairs of markers of different groups is taken. Too few groups hide markers in mixed
    profiles; too many cut a type in two, which then share its markers.

    Parameters
    ----------
    counts
        [nuclei, genes], transcripts inside nuclei.

    Returns
    -------
    The markers, and the group of each nucleus, -1 for one with fewer than `MIN_TRANSCRIPTS`.

    Raises
    ------
    InputError
        If no grouping of the nuclei has a marker.
    """
    enough = np.flatnonzero(np.asarray(counts.sum(1)).ravel() >= MIN_TRANSCRIPTS)
    chosen = counts[enough]
    best, best_groups = None, np.zeros(0, np.int64)
    coordinates = _coordinates(chosen) if len(enough) > 2 else np.zeros((0, 1))
    # nuclei that are alike cannot be told apart, so there are no more groups than different nuclei
    different = len(np.unique(coordinates.round(DECIMALS), axis=0))
    sample = np.sort(np.random.default_rng(seed).permutation(len(enough))[:MOST_NUCLEI])
    for k in range(2, min(MOST_GROUPS, len(enough) // 10, different) + 1):
        # one thread: the same result on any machine, and never a hundred times slower beside other work
        with threadpool_limits(1):
            means = KMeans(k, n_init=4, random_state=seed).fit(coordinates[sample])
            groups = means.predict(coordinates)
        found = _markers_of_groups(chosen, groups, k, fold)
        if best is None or found.n_pairs > best.n_pairs:
            best, best_groups = found, groups
    if best is None or best.n_pairs == 0:
        raise InputError(
            f"{len(enough):,} nuclei with {MIN_TRANSCRIPTS} transcripts or more show no marker genes; "
            "give profiles of the cell types with --reference."
        )
    types = np.full(counts.shape[0], NONE, np.int64)
    types[enough] = best_groups
    return best, types


def _markers_of_groups(counts: sparse.csr_matrix, groups: Codes, k: int, fold: float) -> Markers:
    member = sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))), (k, len(groups)))
    totals = (member @ counts).toarray()
    is_known = totals.max(0) >= MIN_MARKER_COUNTS
    return markers_of_profiles(totals, [f"group {i + 1}" for i in range(k)], fold=fold, is_known=is_known)


def _coordinates(counts: sparse.csr_matrix) -> Floats:
    """Correspondence analysis: coordinates of the rows on the leading axes (Greenacre 1984)."""
    rows = np.asarray(counts.sum(1)).ravel()
    columns = np.asarray(counts.sum(0)).ravel().astype(np.float64)
    counts, columns = counts[:, columns > 0], columns[columns > 0]
    scaled = sparse.diags(rows**-0.5) @ counts @ sparse.diags(columns**-0.5)
    rank = min(AXES, min(scaled.shape) - 1)
    left, singular = _leading(scaled, rank + 1)
    return left[:, 1:] * singular[1:] / np.sqrt(rows / rows.sum())[:, None]


def _leading(matrix: sparse.csr_matrix, rank: int) -> tuple[Floats, Floats]:
    if min(matrix.shape) <= max(64, rank):
        left, singular, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
        return np.asarray(left[:, :rank], np.float64), np.asarray(singular[:rank], np.float64)
    left, singular, _ = sparse.linalg.svds(matrix, k=rank, v0=np.ones(min(matrix.shape)))
    order = np.argsort(-singular)
    return np.asarray(left[:, order], np.float64), np.asarray(singular[order], np.float64)
