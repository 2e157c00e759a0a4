"""What the genes of a panel have to do with each other: their leading axes over nuclei."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import svds

N_AXES = 8
SMALLEST_SHARE = 1e-6
"""Of the first singular value; what is smaller is rounding."""
DENSE = 64
"""Nuclei or genes up to which LAPACK is used; where the rank is low, ARPACK starts over at random."""
PSEUDOCOUNT = 5.0
"""Added to every gene, so that a gene seen twice does not outweigh all others."""


def gene_vectors(counts: sparse.csr_matrix, k: int = N_AXES) -> npt.NDArray[np.float32]:
    """Correspondence analysis of nuclei by genes.

    The left-out first axis of `D_r^-1/2 N D_c^-1/2` (N the counts, D_r and D_c their row and column
    sums) is the trivial one; the next k right singular vectors, divided by the square root of the
    genes' shares, are the standard coordinates of the genes: genes of one cell type point one way.

    Parameters
    ----------
    counts
        [nuclei, genes], transcripts inside nuclei.
    k
        Axes.

    Returns
    -------
    [genes, k], each axis with mean square one over transcripts and a sign fixed by its largest entry;
    axes that the data cannot give are zero.

    References
    ----------
    Greenacre 1984, Theory and Applications of Correspondence Analysis.
    """
    n_genes = counts.shape[1]
    counts = counts[np.asarray(counts.sum(1)).ravel() > 0].astype(np.float64)
    result = np.zeros((n_genes, k), np.float32)
    rank = min(k + 1, min(counts.shape) - 1)
    if rank < 2:
        return result
    rows = np.asarray(counts.sum(1)).ravel()
    columns = np.asarray(counts.sum(0)).ravel() + PSEUDOCOUNT
    scaled = sparse.diags(rows**-0.5) @ counts @ sparse.diags(columns**-0.5)
    singular, axes = _leading_axes(scaled, rank)
    axes = axes[1:] * (singular[1:, None] > SMALLEST_SHARE * singular[0])
    coordinates = (axes / np.sqrt(columns / columns.sum())).T
    signs = np.sign(coordinates[np.abs(coordinates).argmax(0), np.arange(coordinates.shape[1])])
    result[:, : rank - 1] = coordinates * signs
    return result


def _leading_axes(
    matrix: sparse.csr_matrix, rank: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the largest singular values [rank], descending, and their right singular vectors."""
    if min(matrix.shape) <= DENSE:
        _, singular, axes = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        _, singular, axes = svds(matrix, k=rank, v0=np.ones(min(matrix.shape)), solver="arpack")
    order = np.argsort(-singular)[:rank]
    return singular[order], axes[order]
