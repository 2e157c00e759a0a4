"""Cell types for cell-type-aware attention: a column of obs, or a coarse clustering of the expression."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph.clustering.communities import communities_at
from tissuegraph.domains.params import StagateParams
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


def cell_types(
    adata: AnnData, params: StagateParams, scores: npt.NDArray[np.float32], seed: int
) -> npt.NDArray[np.int64]:
    """Number the type of each cell, [N], -1 where it is unknown.

    Parameters
    ----------
    adata, params
        Cells, and where their types are found.
    scores
        [N, K] principal components, clustered where no column is named.
    seed
        Of the clustering.
    """
    if params.pre_labels is None:
        return cluster(scores, params.pre_resolution, seed)
    if params.pre_labels not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"no column '{params.pre_labels}' in obs for pre_labels; found: {found}")
    return pd.factorize(adata.obs[params.pre_labels])[0].astype(np.int64)


def cluster(scores: npt.NDArray[np.float32], resolution: float, seed: int) -> npt.NDArray[np.int64]:
    """Leiden clusters [N] of the graph of nearest neighbours in components [N, K]."""
    labels = communities_at(scores.astype(np.float64), resolution, "leiden", seed)
    log.info("clustered at resolution %g: %d types", resolution, labels.max() + 1)
    return labels
