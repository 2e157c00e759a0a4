"""Genes that mark a domain."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels, note
from tissuegraph.errors import InputError
from tissuegraph.features.expression import Matrix, log_expression

if TYPE_CHECKING:
    from anndata import AnnData

REST = "rest"
# names of scanpy, names of ours
COLUMNS = {
    "group": "domain",
    "names": "gene",
    "scores": "score",
    "logfoldchanges": "log2_fold_change",
    "pvals": "p_value",
    "pvals_adj": "p_adjusted",
}

log = logging.getLogger(__name__)


def domain_markers(
    adata: AnnData,
    domain_key: str = keys.DOMAIN,
    *,
    layer: str | None = None,
    reference: str = REST,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Rank the genes of each domain by Wilcoxon's rank-sum test, against all other labelled cells.

    Parameters
    ----------
    domain_key
        Column of `obs`. Cells without a label are left out; a domain of one cell is compared with nothing,
        but its cell is among the others.
    layer
        Expression other than `X`. Raw counts are normalised to 10,000 a cell and log-transformed on a copy.
    reference
        A domain to compare with, instead of the rest.
    key_added
        The table is written to `uns["tissuegraph"][key_added]`, by default "<domain_key>_markers".

    Returns
    -------
    A row for each domain and gene, the highest score first: `domain`, `gene`, `score` (z of the rank sum,
    corrected for ties), `log2_fold_change` (of mean expression), `p_value` (two-sided), `p_adjusted`
    (Benjamini and Hochberg 1995, within the domain), `share_inside` and `share_outside`, the cells that
    express it in the domain and in what it is compared with.

    Raises
    ------
    InputError
        Where the column is missing, fewer than two domains are there, or expression is not usable.

    Notes
    -----
    Domains that were found in the same expression make these p values smaller than they should be: read them
    as an order.
    """
    labels = domain_labels(adata, domain_key, fewest=2)
    known = labels.codes >= 0
    if not known.all():
        log.info("%d cells without a domain are left out", int((~known).sum()))
    matrix = log_expression(adata, layer)[known]
    table = _rank(matrix, adata.var_names, labels[known].remove_unused_categories(), reference)
    note(adata, key_added or f"{domain_key}_markers", table)
    return table


def _rank(matrix: Matrix, genes: pd.Index, labels: pd.Categorical, reference: str) -> pd.DataFrame:
    import scanpy  # takes seconds

    sizes = pd.Series(labels).value_counts(sort=False)
    groups = [name for name in sizes.index if sizes[name] > 1 and name != reference]
    single = [name for name in sizes.index if sizes[name] == 1]
    if single:
        log.warning("domains of one cell have no markers: %s", ", ".join(single))
    if reference != REST and sizes.get(reference, 0) < 2:
        raise InputError(
            f"the reference {reference!r} is no domain of two cells or more; found: {', '.join(sizes.index)}"
        )
    if not groups:
        raise InputError("no domain has two cells or more; give larger ones")
    work = ad.AnnData(matrix, obs=pd.DataFrame({"domain": labels}, pd.RangeIndex(len(labels)).astype(str)))
    work.var_names = genes
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # genes that are the same in all cells, for which scanpy has a score of 0; and its frames by column
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        scanpy.tl.rank_genes_groups(
            work, "domain", groups=groups, reference=reference, method="wilcoxon", tie_correct=True, pts=True
        )
    found = work.uns["rank_genes_groups"]
    table = scanpy.get.rank_genes_groups_df(work, None)
    if "group" not in table:  # scanpy leaves it out where there is one
        table.insert(0, "group", groups[0])
    table["group"] = pd.Categorical(table["group"].astype(str), groups)
    table = table[[*COLUMNS]].rename(columns=COLUMNS)
    table["share_inside"], table["share_outside"] = _shares(found, table, reference)
    return table


def _shares(found: Any, table: pd.DataFrame, reference: str) -> tuple[Any, Any]:
    """For each row, the share of cells that express the gene, in the domain and outside."""
    inside = found["pts"].stack()
    rows = pd.MultiIndex.from_arrays([table["gene"], table["domain"].astype(str)])
    if reference == REST:
        outside = found["pts_rest"].stack().reindex(rows)
    else:
        outside = inside.reindex(pd.MultiIndex.from_product([table["gene"], [reference]]))
    return inside.reindex(rows).to_numpy(), outside.to_numpy()
