"""Why no embedding is learnt by making its norms small: all cells end at one point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tissuegraph as tg


def spreads_of_norm_loss(adata, steps: int = 700) -> np.ndarray:
    """How far the output of a GCN layer spreads while it learns to make its mean norm small, [steps]."""
    layers = pytest.importorskip("torch_geometric.nn")
    data = tg.to_pyg(adata, "spatial")
    torch.manual_seed(0)
    layer = layers.GCNConv(adata.n_vars, 8)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    slower = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.993)
    spreads = []
    for _ in range(steps):
        embedded = layer(data.x, data.edge_index)
        spreads.append(float(embedded.detach().std(0).mean()))
        optimizer.zero_grad()
        embedded.norm(dim=1).mean().backward()
        optimizer.step()
        slower.step()
    return np.array(spreads)


def test_a_network_that_minimises_norms_ends_at_a_point_and_infomax_does_not():
    adata = tg.simulate.omics(200, 30, separation=5.0, spatial="tissue", seed=0)
    tg.spatial_neighbors(adata)
    spreads = spreads_of_norm_loss(adata)
    assert spreads[0] > 0.5
    assert spreads[-1] < 0.01 * spreads[0]
    tg.infomax(adata, tg.InfomaxParams(epochs=10, dimensions=8, accelerator="cpu"))
    assert adata.obsm["X_infomax"].std(0).mean() > 0.3
