"""Cell types for cell-type-aware attention: a column of obs, or a coarse clustering of the expression."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph.domains.params import StagateParams
from tissuegraph.errors import InputError, MachineError

if TYPE_CHECKING:
    from anndata import AnnData

N_NEIGHBORS = 15

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
    try:
        import scanpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
        from anndata import AnnData
    except ImportError as error:
        message = "clustering for alpha needs scanpy, which is not installed; install it or name pre_labels"
        raise MachineError(message) from error
    table = AnnData(obs=pd.DataFrame(index=np.arange(len(scores)).astype(str)), obsm={"X_pca": scores})
    near = min(N_NEIGHBORS, max(2, len(scores) - 1))
    scanpy.pp.neighbors(table, n_neighbors=near, use_rep="X_pca", random_state=seed)
    scanpy.tl.leiden(table, resolution, flavor="igraph", n_iterations=-1, directed=False, random_state=seed)
    labels = table.obs["leiden"].cat.codes.to_numpy(np.int64)
    log.info("clustered at resolution %g: %d types", resolution, labels.max() + 1)
    return labels
