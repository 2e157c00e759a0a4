"""What kind of numbers an AnnData holds, and how they are brought to one scale."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.features.expression import Matrix
from tissuegraph.io.sections.assemble import is_whole

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS, LOGGED, SCALED = "counts", "logged", "scaled"
USUAL_TOTAL = 1e4
ALIKE_TOTALS = 0.05
"""Spread of the cells' totals, relative to their mean, up to which they were scaled to one."""
MOST_LOGGED = 30.0
"""Beyond it no logarithm of a count lies."""
DEEPER = 1.5
"""How many times deeper a reference is before it is thinned."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Numbers:
    """Expression of cells, [N, G], and what kind of numbers it is."""

    matrix: Matrix
    kind: str

    @property
    def totals(self) -> npt.NDArray[np.float64]:
        """Sum of each cell, [N]."""
        return np.asarray(self.matrix.sum(axis=1), np.float64).ravel()


@dataclass(frozen=True)
class Scale:
    """How numbers become features: counts are scaled to a total and logged, all else is taken as it is."""

    kind: str
    total: float
    """To which counts are scaled: where logged values came from, or the median of the cells."""

    def apply(self, numbers: Numbers, what: str = "the cells") -> Matrix:
        """Features [N, G] in single precision.

        Raises
        ------
        InputError
            If the numbers cannot be brought to this scale.
        """
        if numbers.kind == COUNTS and self.kind != SCALED:
            return _logged(numbers, self.total)
        if numbers.kind != self.kind:
            raise InputError(
                f"{what} hold {numbers.kind} expression, where {self.kind} is expected; "
                f"give counts in X or layers['{keys.LAYER_COUNTS}']"
            )
        return numbers.matrix


def read_numbers(adata: AnnData, columns: npt.NDArray[np.int64], layer: str | None, what: str) -> Numbers:
    """Read some columns: `layers["counts"]` where it is there and no layer is named, else `X`.

    Raises
    ------
    InputError
        If the layer is missing, empty or not finite.
    """
    if layer is None and keys.LAYER_COUNTS in adata.layers:
        layer = keys.LAYER_COUNTS
    if layer is not None and layer not in adata.layers:
        raise InputError(f"{what} have no layer '{layer}'; found: {', '.join(adata.layers) or 'none'}")
    given: Any = adata.X if layer is None else adata.layers[layer]
    if given is None or not adata.n_obs:
        raise InputError(f"{what} are none, or without expression; give cells with X")
    # views and backed files hand over copies here
    table = (
        given[:, columns] if len(columns) != given.shape[1] or (columns[1:] < columns[:-1]).any() else given
    )
    matrix: Any = np.asarray(table) if isinstance(table, np.ndarray) else sparse.csr_matrix(table)
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(f"{what} have {bad:,} values that are NaN or infinite; drop or fill them")
    kind = _kind(values)
    single = matrix.astype(np.float32, copy=False)
    return Numbers(np.ascontiguousarray(single) if isinstance(single, np.ndarray) else single, kind)


def _kind(values: npt.NDArray[Any]) -> str:
    if is_whole(values) and values.size and values.max() > 0:
        return COUNTS
    logged = values.size and values.min() >= 0 and values.max() <= MOST_LOGGED
    return LOGGED if logged else SCALED


def common_scale(query: Numbers, reference: Numbers) -> Scale:
    """The scale on which both can be compared.

    Raises
    ------
    InputError
        If one is centred or scaled and the other is not.
    """
    kinds = {query.kind, reference.kind}
    if kinds == {COUNTS}:
        return Scale(COUNTS, max(1.0, float(np.median(query.totals))))
    if SCALED in kinds and len(kinds) > 1:
        raise InputError(
            f"the query holds {query.kind} expression and the reference {reference.kind}; give counts in X "
            f"or layers['{keys.LAYER_COUNTS}'] of both"
        )
    if len(kinds) == 1:
        return Scale(query.kind, USUAL_TOTAL)
    logged, other = (query, "reference") if query.kind == LOGGED else (reference, "query")
    total = _total_before_logs(logged)
    log.warning("the %s holds counts and the other logged values; its counts are scaled to %g", other, total)
    return Scale(LOGGED, total)


def _total_before_logs(numbers: Numbers) -> float:
    """To what the cells were scaled before they were logged, where it shows."""
    matrix: Any = numbers.matrix
    raised = np.expm1(matrix) if isinstance(matrix, np.ndarray) else matrix.expm1()
    totals = np.asarray(raised.sum(axis=1), np.float64).ravel()
    alike = totals.std() < ALIKE_TOTALS * totals.mean()
    return float(np.median(totals)) if alike else USUAL_TOTAL


def thinned(reference: Numbers, query: Numbers, generator: np.random.Generator) -> Numbers:
    """The reference as if it had been counted as shallowly as the query: each molecule is kept with a chance.

    A classifier that has seen deep cells only takes the zeros of shallow ones for absence.
    """
    if {query.kind, reference.kind} != {COUNTS}:
        return reference
    theirs, ours = float(np.median(reference.totals)), float(np.median(query.totals))
    if not 0 < ours < theirs / DEEPER:
        return reference
    log.info("the reference has %.3g counts a cell, the query %.3g: it is thinned to that", theirs, ours)
    counts = sparse.csr_matrix(reference.matrix)
    kept = counts.copy()
    kept.data = generator.binomial(counts.data.astype(np.int64), ours / theirs).astype(np.float32)
    kept.eliminate_zeros()
    return Numbers(kept, COUNTS)


def _logged(counts: Numbers, total: float) -> Matrix:
    """`log(1 + total * share)`; a cell without counts stays empty."""
    sums = counts.totals
    factors = (total / np.where(sums > 0, sums, 1)).astype(np.float32)
    matrix: Any = counts.matrix
    if isinstance(matrix, np.ndarray):
        return np.log1p(matrix * factors[:, None])
    scaled = matrix.copy()
    scaled.data = np.log1p(scaled.data * np.repeat(factors, np.diff(scaled.indptr)))
    return scaled
