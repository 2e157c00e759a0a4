"""What the network is given of an AnnData: normalised expression of genes, and who is near whom."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.io.sections.assemble import is_whole

if TYPE_CHECKING:
    from anndata import AnnData

Matrix = sparse.csr_matrix | npt.NDArray[np.float32]
TARGET_COUNTS = 1e4

log = logging.getLogger(__name__)


def modelled_genes(adata: AnnData) -> npt.NDArray[np.str_]:
    """The genes that are modelled: the highly variable ones where they are marked, else all."""
    names = adata.var_names.to_numpy().astype(str)
    if "highly_variable" not in adata.var:
        return names
    chosen = names[adata.var["highly_variable"].to_numpy(bool)]
    if not len(chosen):
        raise InputError("var['highly_variable'] marks no gene; mark some, or drop the column to use all")
    return chosen


def expression(
    adata: AnnData, genes: Sequence[str] | npt.NDArray[np.str_], layer: str | None, *, normalize: bool
) -> Matrix:
    """Read normalised expression [N, len(genes)] in single precision, without changing the AnnData.

    Parameters
    ----------
    adata
        Cells with expression that is normalised and log-transformed, or raw counts with `normalize`.
    genes
        Names of the genes, in the order of the columns.
    layer
        Which layer; None for `X`.
    normalize
        Scale the counts of each cell to 10,000 and take `log(1 + x)`.

    Raises
    ------
    InputError
        For raw counts without `normalize`, numbers that are none, genes or a layer that are not there.
    """
    if layer is not None and layer not in adata.layers:
        found = ", ".join(adata.layers.keys()) or "none"
        raise InputError(f"no layer '{layer}'; found: {found}")
    whole: Any = adata.X if layer is None else adata.layers[layer]
    name = "X" if layer is None else f"layers['{layer}']"
    if whole is None or not adata.n_obs:
        raise InputError(f"{name} is empty; give cells with expression")
    matrix: Any = np.asarray(whole) if isinstance(whole, np.ndarray) else sparse.csr_matrix(whole)
    _check_numbers(_values(matrix), name, normalize=normalize)
    totals = np.asarray(matrix.sum(axis=1), np.float64).ravel() if normalize else None
    places = adata.var_names.get_indexer(list(genes))
    if (places < 0).any():
        missing = [gene for gene, place in zip(genes, places, strict=True) if place < 0]
        raise InputError(
            f"{len(missing)} of the {len(genes)} genes of the model are missing, such as {missing[0]}; "
            "give a section of the same panel"
        )
    same = len(places) == matrix.shape[1] and (places == np.arange(len(places))).all()
    return _prepared(matrix if same else matrix[:, places], totals)


def _prepared(given: Any, totals: npt.NDArray[np.float64] | None) -> Matrix:
    """Single precision, and normalised where the totals of cells [N] are given."""
    matrix: Any = given
    if totals is not None:
        # empty cells stay empty
        factors = TARGET_COUNTS / np.where(totals > 0, totals, 1)
        if isinstance(matrix, np.ndarray):
            matrix = np.log1p(matrix * factors[:, None])
        else:
            matrix = sparse.csr_matrix(sparse.diags(factors) @ matrix)
            matrix.data = np.log1p(matrix.data)
    if isinstance(matrix, np.ndarray):
        return np.ascontiguousarray(matrix, np.float32)
    csr = sparse.csr_matrix(matrix.astype(np.float32, copy=False))
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _values(matrix: Any) -> npt.NDArray[Any]:
    return matrix.ravel() if isinstance(matrix, np.ndarray) else matrix.data


def _check_numbers(values: npt.NDArray[Any], name: str, *, normalize: bool) -> None:
    """Refuse NaN, infinity, raw counts without `normalize`, and anything else with it."""
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"{name} has {bad} values that are NaN or infinite; drop or fill them")
    counts = bool(
        values.size and values.min() >= 0 and values.max() > 0 and (values == np.rint(values)).all()
    )
    if counts and not normalize:
        raise InputError(
            f"{name} holds whole numbers, so raw counts; normalise and log-transform them, pass "
            "normalize=True, or name a normalised layer"
        )
    if normalize and not counts:
        raise InputError(f"{name} holds no raw counts, which normalize=True expects; pass normalize=False")


def log_expression(
    adata: AnnData, layer: str | None, genes: Sequence[str] | npt.NDArray[np.str_] | None = None
) -> Matrix:
    """Read normalised expression [N, G], normalising a copy where there are raw counts.

    Parameters
    ----------
    layer
        Which layer; None for `X`.
    genes
        Names of the genes, in the order of the columns; None for all. Counts are scaled by all of a cell.

    Raises
    ------
    InputError
        As `expression`, or where two genes have one name.
    """
    twice = adata.var_names[adata.var_names.duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} names of genes stand twice, such as {twice[0]}; call adata.var_names_make_unique()"
        )
    whole: Any = adata.X if layer is None else adata.layers.get(layer)
    counts = whole is not None and is_whole(_values(whole) if isinstance(whole, np.ndarray) else whole.data)
    if counts:
        log.info("raw counts; a copy is scaled to %g a cell and log-transformed", TARGET_COUNTS)
    return expression(adata, adata.var_names.to_numpy() if genes is None else genes, layer, normalize=counts)
