"""Transcripts counted: by cell, by gene, and what a cell's own type leads one to expect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.metrics.segmentation.codes import Codes

ROUNDING = 1e-12
"""A variance below it is none."""

Floats = npt.NDArray[np.float64]


def count_matrix(cell: Codes, gene: Codes, n_cells: int, n_genes: int) -> sparse.csr_matrix:
    """Count the transcripts of each cell and gene.

    Parameters
    ----------
    cell, gene
        Codes, shape (N,), none = -1; a transcript that lacks either is not counted.

    Returns
    -------
    int64 [n_cells, n_genes], canonical.
    """
    counted = (cell >= 0) & (gene >= 0)
    ones = np.ones(int(counted.sum()), np.int64)
    matrix = sparse.coo_matrix((ones, (cell[counted], gene[counted])), shape=(n_cells, n_genes))
    return matrix.tocsr()


def share_assigned_by_gene(cell: Codes, gene: Codes, n_genes: int) -> Floats:
    """Return the share of each gene's transcripts that are in a cell, (n_genes,); NaN for a gene not seen."""
    total = np.bincount(gene[gene >= 0], minlength=n_genes)
    assigned = np.bincount(gene[(gene >= 0) & (cell >= 0)], minlength=n_genes)
    return np.where(total > 0, assigned / np.maximum(total, 1), np.nan)


def nucleus_correlation(
    nuclear: sparse.csr_matrix, outside: sparse.csr_matrix, *, min_transcripts: int = 10
) -> float | None:
    """Mean correlation of what a cell holds in its nucleus and outside it.

    For each cell, Pearson's r over genes of `log(1 + n)`, `n` being the nuclear and the other counts.
    It grows with the counts, so compare at equal shares assigned.

    Parameters
    ----------
    nuclear, outside
        [cells, genes], transcripts assigned to the cell, in its own nucleus and elsewhere.
    min_transcripts
        A cell needs as many in either part.

    Returns
    -------
    None where no cell has enough in both parts.
    """
    enough = (_totals(nuclear) >= min_transcripts) & (_totals(outside) >= min_transcripts)
    if not enough.any():
        return None
    r = _row_correlation(nuclear[enough].log1p(), outside[enough].log1p())
    return float(r.mean())


def _row_correlation(first: sparse.csr_matrix, second: sparse.csr_matrix) -> Floats:
    n = first.shape[1]
    covariance = _totals(first.multiply(second)) / n - _totals(first) * _totals(second) / n**2
    variance = [_totals(one.multiply(one)) / n - (_totals(one) / n) ** 2 for one in (first, second)]
    varies = np.minimum(*variance) > ROUNDING
    return np.where(varies, covariance / np.sqrt(np.where(varies, variance[0] * variance[1], 1)), 0.0)


def _totals(matrix: sparse.csr_matrix) -> Floats:
    return np.asarray(matrix.sum(1), np.float64).ravel()
