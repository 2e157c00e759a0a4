"""Where training starts: not at random, but at what co-expression in nuclei already tells.

A network with random weights maps all transcripts to nearly the same point, and spends most of its
steps on undoing that. So the genes start at their coordinates from correspondence analysis, the last
layer is whitened on a batch (its outputs have mean zero and unit covariance), and the scale and bias of
the pair score start at the logistic regression of the labels on the cosines.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.segger import BELONGS, TX

SMALLEST_SHARE = 1e-4
"""Of the largest eigenvalue; smaller ones are raised to it before whitening."""
NEWTON_STEPS = 20
WHITENING_ROUNDS = 3
"""The attention changes with the layer that is whitened, so one round does not suffice."""


@torch.no_grad()
def warm_start(network: LitSegger, gene_vectors: Tensor, batch: HeteroData) -> None:
    """Set the first embedding, the last layer and the pair score before training.

    gene_vectors [genes, K]; batch is a batch of training tiles.
    """
    set_gene_embedding(network, gene_vectors)
    for _ in range(WHITENING_ROUNDS):
        whiten_last_layer(network, batch)
    fit_score(network, batch)


@torch.no_grad()
def set_gene_embedding(network: LitSegger, gene_vectors: Tensor) -> None:
    """Start genes at known coordinates [genes, K], scaled to mean square one.

    The leading columns are taken; columns beyond K, and tokens beyond the genes, stay random.
    """
    model: Any = network.model
    table = model.input[TX].emb.weight
    scale = gene_vectors.pow(2).mean(0).sqrt().clamp(min=1e-6)
    width = min(gene_vectors.shape[1], table.shape[1])
    table[: len(gene_vectors), :width] = (gene_vectors / scale)[:, :width]


@torch.no_grad()
def whiten_last_layer(network: LitSegger, batch: HeteroData) -> None:
    """Turn and scale the last layer so that transcripts' outputs, before the norm, are white."""
    outputs = _last_outputs(network, batch)
    mean = outputs.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(outputs.T).reshape(len(mean), len(mean)))
    values = values.clamp(min=max(SMALLEST_SHARE * float(values.max()), 1e-12))
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    model: Any = network.model
    for conv in model.last_conv.values():
        by_head = conv.lin_l.weight.view(conv.heads, len(mean), -1)
        conv.lin_l.weight.copy_(torch.einsum("od,hdi->hoi", whiten, by_head).reshape_as(conv.lin_l.weight))
        conv.lin_l.bias.copy_((conv.lin_l.bias.view(conv.heads, -1) @ whiten.T).reshape(-1))
        conv.bias.copy_(whiten @ conv.bias)
    for residual in model.last_residual.values():
        residual.weight.copy_(whiten @ residual.weight)
        residual.bias.copy_(whiten @ (residual.bias - mean))


def _last_outputs(network: LitSegger, batch: HeteroData) -> Tensor:
    """Transcripts' embedding before the norm, [N, D]."""
    parts: list[Tensor] = []
    model: Any = network.model
    layers = (model.last_conv["tx__neighbors__tx"], model.last_residual[TX])
    hooks = [layer.register_forward_hook(lambda _, __, output: parts.append(output)) for layer in layers]
    network(batch, batch[BELONGS].edge_label_index)
    for hook in hooks:
        hook.remove()
    return parts[0] + parts[1]


@torch.no_grad()
def fit_score(network: LitSegger, batch: HeteroData) -> None:
    """Fit scale and bias to a batch: logistic regression in one variable, by Newton's method."""
    label = batch[BELONGS].edge_label
    if len(label) == 0 or label.min() == label.max():
        return
    network.score.log_scale.zero_()
    network.score.bias.zero_()
    cosine = network(batch, batch[BELONGS].edge_label_index).double()
    design = torch.stack([cosine, torch.ones_like(cosine)], 1)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(design @ weights)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + 1e-3 * torch.eye(2, dtype=torch.float64)
        weights = weights + torch.linalg.solve(hessian, design.T @ (label.double() - p))
    network.score.log_scale.copy_(weights[0].clamp(min=1.0).log())
    network.score.bias.copy_(weights[1])
