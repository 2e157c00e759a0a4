"""A tissue in four layers, as the tests of what comes after the domains need it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import tissuegraph as tg

DEPTHS = {"L1": 6, "L2": 8, "L3": 10, "L4": 6}  # rows of each layer
COLUMNS = 22
NAMES = list(DEPTHS)


def layered(seed: int = 0) -> ad.AnnData:
    """Layers on a square lattice, in `obs["domain"]`; raw counts in X, an embedding that follows depth.

    L1 L1 L1 ...   genes: marker_L1 .. marker_L4 are high in one layer, `gradient` rises along every row,
    L1 L1 L1 ...   `shuffled` has the same counts in other cells, `rare` is in three cells,
    L2 L2 L2 ...   noise_0 .. noise_9 are the same everywhere, and `house` fills every cell.
    """
    generator = np.random.default_rng(seed)
    layer = np.repeat(np.repeat(NAMES, list(DEPTHS.values())), COLUMNS)
    n = len(layer)
    row, column = np.divmod(np.arange(n), COLUMNS)
    gradient = generator.poisson(1 + 6 * column / COLUMNS)
    rare = np.zeros(n, int)
    rare[[5, 300, 600]] = 2
    counts = {f"marker_{name}": generator.poisson(np.where(layer == name, 5, 1)) for name in NAMES}
    counts |= {"gradient": gradient, "shuffled": generator.permutation(gradient), "rare": rare}
    counts |= {f"noise_{i}": generator.poisson(2, n) for i in range(10)}
    counts["house"] = generator.poisson(400, n)
    table = pd.DataFrame(counts, index=[f"c{i:04d}" for i in range(n)])
    adata = ad.AnnData(
        sparse.csr_matrix(table.to_numpy(np.float32)),
        obs=pd.DataFrame({"domain": pd.Categorical(layer, NAMES)}, table.index),
        var=pd.DataFrame(index=table.columns),
    )
    depth = row / row.max()
    path = np.stack([10 * depth, 3 * np.sin(4 * depth), 3 * np.cos(4 * depth), *np.zeros((3, n))], 1)
    adata.obsm["X_stagate"] = (path + generator.normal(0, 0.4, path.shape)).astype(np.float32)
    adata.obsm["spatial"] = np.stack([column, row], 1).astype(float)
    tg.spatial_neighbors(adata)
    return adata


def unlabel(adata: ad.AnnData, every: int = 7) -> np.ndarray:
    """Take the label of every so many cells; returns which have one still."""
    known = np.arange(adata.n_obs) % every > 0
    adata.obs["domain"] = adata.obs["domain"].where(known)
    return known
