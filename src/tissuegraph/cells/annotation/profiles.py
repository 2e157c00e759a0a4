"""Training cells that are drawn from average profiles, as deep as the cells that are to be annotated."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tissuegraph import keys
from tissuegraph.cells.annotation.genes import share_genes
from tissuegraph.cells.annotation.numbers import COUNTS, read_numbers
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

CELLS_A_TYPE = 300
FEWEST_COUNTS = 5
"""Counts below which a cell has no part in the fit to the slide."""
ROUNDS = 5
SHRINK = 50.0
"""Counts with which a gene's efficiency is held at one."""
DISPERSION = 0.3
"""Squared coefficient of variation of a gene among cells of a type."""
FLOOR = 1e-3
"""Share of a profile that is spread evenly, so that no gene is impossible."""
MOST_CELLS = 20_000

Floats = npt.NDArray[np.float64]

log = logging.getLogger(__name__)


def cells_from_profiles(
    query: AnnData, profiles: pd.DataFrame, labels: str, layer: str | None, seed: int
) -> AnnData:
    """Draw cells of each type, with counts like those of the query.

    How well the query's platform sees each gene is estimated first: cells are given to the profile that makes
    their counts likeliest, a gene's efficiency is what is seen of it over what the profiles promise, and both
    in turn. A cell of type k with n counts then has `Poisson(n p_kg e_g u)` of gene g, with u of mean one and
    gamma distributed.

    Parameters
    ----------
    query
        Cells with counts.
    profiles
        [profiles, genes] on a linear scale; the index names the types, and may name one more than once.

    Raises
    ------
    InputError
        If the query holds no counts, or the profiles negative or missing values.
    """
    from anndata import AnnData as NewAnnData

    table = NewAnnData(np.asarray(profiles, np.float64), var=pd.DataFrame(index=profiles.columns.astype(str)))
    genes = share_genes(query, table)
    numbers = read_numbers(query, genes.query, layer, "the query")
    if numbers.kind != COUNTS:
        raise InputError(
            f"the query holds {numbers.kind} expression, and average profiles need counts; give them in X or "
            f"layers['{keys.LAYER_COUNTS}']"
        )
    shares = _shares(np.asarray(table.X)[:, genes.reference])
    generator = np.random.default_rng([seed, 3])
    counts = sparse.csr_matrix(numbers.matrix)
    totals = numbers.totals
    deep = np.flatnonzero(totals >= min(FEWEST_COUNTS, np.median(totals)))
    some = deep if len(deep) <= MOST_CELLS else generator.choice(deep, MOST_CELLS, replace=False)
    efficiency = _efficiency(counts[some], shares)
    seen = shares * efficiency
    seen /= seen.sum(1, keepdims=True)
    names = profiles.index.astype(str).to_numpy()
    rows = np.concatenate(
        [generator.choice(np.flatnonzero(names == name), CELLS_A_TYPE) for name in np.unique(names)]
    )
    depth = generator.choice(totals[deep], len(rows))
    spread = generator.gamma(1 / DISPERSION, DISPERSION, size=(len(rows), len(genes.names)))
    drawn = sparse.csr_matrix(generator.poisson(seen[rows] * depth[:, None] * spread).astype(np.float32))
    return NewAnnData(
        drawn, obs=pd.DataFrame({labels: names[rows]}, index=[f"drawn{i}" for i in range(len(rows))]),
        var=pd.DataFrame(index=list(genes.names)),
    )  # fmt: skip


def _shares(profiles: Floats) -> Floats:
    """Share of each gene in each profile."""
    if not np.isfinite(profiles).all() or (profiles < 0).any():
        raise InputError("the profiles hold negative or missing values; give means of counts or of shares")
    sums = profiles.sum(1, keepdims=True)
    if (sums == 0).any():
        raise InputError("a profile is zero for all genes that are shared; leave it out")
    return (1 - FLOOR) * profiles / sums + FLOOR / profiles.shape[1]


def _efficiency(counts: sparse.csr_matrix, shares: Floats) -> Floats:
    """How well each gene is seen, [G], relative to the profiles."""
    efficiency = np.ones(shares.shape[1])
    observed = np.asarray(counts.sum(0)).ravel()
    totals = np.asarray(counts.sum(1)).ravel()
    for _ in range(ROUNDS):
        seen = shares * efficiency
        seen /= seen.sum(1, keepdims=True)
        score = counts @ np.log(seen).T
        score -= score.max(1, keepdims=True)
        member = np.exp(score)
        member /= member.sum(1, keepdims=True)
        promised = (member * totals[:, None]).sum(0) @ seen
        efficiency *= (observed + SHRINK) / (promised + SHRINK)
    return efficiency
