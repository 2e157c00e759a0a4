"""What every reader of a section ends with: counts, names and positions become one AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata.utils import make_index_unique
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError

LARGEST_INT32 = 2**31 - 1


def section(
    counts: sparse.csr_matrix,
    cells: Sequence[str],
    genes: Sequence[str],
    spatial: npt.ArrayLike,
    *,
    obs: dict[str, Any] | None = None,
    var: dict[str, Any] | None = None,
) -> ad.AnnData:
    """Return an AnnData of integer counts [cells, genes], in `X` and in `layers["counts"]`.

    Names that stand twice get a number, as everywhere in scanpy.
    """
    matrix = integer_counts(counts)
    adata = ad.AnnData(
        matrix,
        obs=pd.DataFrame(obs or {}, index=unique(cells)),
        var=pd.DataFrame(var or {}, index=unique(genes)),
    )
    adata.layers[keys.LAYER_COUNTS] = matrix.copy()
    adata.obsm[keys.OBSM_SPATIAL] = np.asarray(spatial, np.float64)
    return adata


def unique(names: Sequence[str]) -> pd.Index:
    """Return the names as text, each once: a second "A" becomes "A-1"."""
    return make_index_unique(pd.Index([str(name) for name in names], dtype=object))


def integer_counts(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with 32-bit integers where it holds whole numbers, else as it is, zeros left out."""
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if is_whole(matrix.data) and matrix.data.max(initial=0) <= LARGEST_INT32:
        return matrix.astype(np.int32)
    return matrix


def is_whole(values: npt.NDArray[Any]) -> bool:
    """Tell whether all values are whole numbers that are not negative: counts."""
    if not np.issubdtype(values.dtype, np.floating):
        return bool(values.size == 0 or values.min() >= 0)
    return bool(np.all(np.isfinite(values)) and np.all(values == np.floor(values)) and np.all(values >= 0))


def match(wanted: Sequence[str], given: Sequence[str], what: str, where: str) -> npt.NDArray[np.int64]:
    """Return the row of `given` for each name that is wanted, -1 where there is none.

    Raises
    ------
    InputError
        Where no name is found at all, or a name is given twice.
    """
    index = pd.Index(given)
    if not index.is_unique:
        raise InputError(
            f"'{index[index.duplicated()][0]}' stands twice among the {what}s of {where}; keep one of them"
        )
    rows = index.get_indexer(pd.Index(wanted))
    if len(rows) and (rows < 0).all():
        raise InputError(
            f"none of the {len(rows):,} {what}s with counts, such as '{wanted[0]}', has a position in "
            f"{where}, which lists such as '{index[0] if len(index) else ''}'; take both files from one run"
        )
    return rows
