"""Which genes are worth modelling."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd

from tissuegraph.features.expression import expression
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns

if TYPE_CHECKING:
    from anndata import AnnData

VARIABLE = "highly_variable"
VARIABLE_GENES = 5_000
"""Genes that are marked."""
FEW_GENES = 1_000
"""A panel of so many genes was chosen already: all are used."""

log = logging.getLogger(__name__)


def mark_variable_genes(
    adata: AnnData,
    n_genes: int = VARIABLE_GENES,
    *,
    layer: str | None = None,
    normalize: bool = False,
    section_key: SectionKey = "auto",
) -> None:
    """Mark the most variable genes in `var["highly_variable"]`, where there are more than 1,000 genes.

    Scanpy's dispersion within bins of the mean, section by section where there are several; genes that are
    variable in more sections come first. A column that is there already, and a small panel, stay as they are.

    Parameters
    ----------
    n_genes
        How many are marked.
    layer, normalize
        Where the expression stands and whether it is raw counts, as in `tg.stagate`.
    section_key
        Column(s) of `obs` that tell sections.
    """
    if VARIABLE in adata.var or adata.n_vars <= FEW_GENES:
        return
    import scanpy  # takes seconds

    names = adata.var_names.to_numpy().astype(str)
    matrix = expression(adata, names, layer, normalize=normalize)
    sections = section_codes(adata, section_columns(adata, section_key))
    work = ad.AnnData(matrix, obs=pd.DataFrame({"section": pd.Categorical(sections)}, adata.obs_names))
    batch = "section" if sections.any() else None
    scanpy.pp.highly_variable_genes(work, n_top_genes=min(n_genes, adata.n_vars), batch_key=batch)
    adata.var[VARIABLE] = work.var[VARIABLE].to_numpy(bool)
    log.info("%s of %s genes are variable", f"{adata.var[VARIABLE].sum():,}", f"{adata.n_vars:,}")
