"""Segger: GATv2 layers that embed transcripts and boundaries into one space."""

# Without `from __future__ import annotations`: `to_hetero` copies the annotations of `forward`, and as
# mere strings they cannot be pickled, so that no worker could be sent a network.
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import to_hetero
from torch_geometric.typing import Metadata

from tissuegraph.nn.attention import FusedGATv2Conv

BOUNDARY_FEATURES = ("log_area", "elongation", "solidity", "circularity")
"""What a boundary node carries, in this order: see `graph.hetero.boundary_features`."""

TX, BD = "tx", "bd"
NEIGHBORS = (TX, "neighbors", TX)
BELONGS = (TX, "belongs", BD)
METADATA: Metadata = ([TX, BD], [NEIGHBORS, BELONGS])


class NodeInput(nn.Module):
    """First embedding of a node: a token through a table, features through a linear layer.

    The choice lives in a module of its own because torch.fx, which `to_hetero` uses, cannot trace an
    `if` on a tensor.
    """

    def __init__(self, num_tx_tokens: int, num_features: int, channels: int) -> None:
        super().__init__()
        self.emb: nn.Module = nn.Embedding(num_tx_tokens, channels)
        self.lin: nn.Module = nn.Linear(num_features, channels)

    def reset_parameters(self) -> None:
        """Draw the weights anew; `to_hetero` calls it on every copy that it makes."""
        for part in (self.emb, self.lin):
            if isinstance(part, nn.Embedding | nn.Linear):
                part.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Embed tokens (int, [N]) or features (float, [N, F]) as [N, channels]."""
        return self.lin(x) if x.is_floating_point() else self.emb(x)


class Segger(nn.Module):
    """Graph attention over transcripts and boundaries, written for one node type.

    Every layer is `h' = ReLU(sum_j alpha_ij W h_j + W_res h)`, with GATv2 attention `alpha`; the last
    one has no ReLU, and its output is divided by its L2 norm. `to_hetero(model, METADATA, aggr=...)`
    gives every node and edge type its own weights.

    Parameters
    ----------
    num_tx_tokens
        Size of the gene panel.
    init_emb
        Width of the first embedding.
    hidden_channels
        Width of the layers between, all heads together; divisible by `heads`.
    num_mid_layers
        Layers between the first and the last.
    out_channels
        Width of the result; the last layer averages its heads.
    heads
        Attention heads.
    aggr
        How the attention-weighted messages of a node's neighbours are put together: "sum" (GATv2 as
        published), "mean" or "max".
    num_features
        Features of a boundary node.

    Raises
    ------
    ValueError
        If `hidden_channels` is not divisible by `heads`.

    References
    ----------
    Brody et al. 2022 (GATv2); Heidari et al. 2025 (segger).
    """

    def __init__(
        self,
        num_tx_tokens: int,
        init_emb: int = 8,
        hidden_channels: int = 64,
        num_mid_layers: int = 1,
        out_channels: int = 16,
        heads: int = 4,
        *,
        aggr: str = "sum",
        num_features: int = len(BOUNDARY_FEATURES),
    ) -> None:
        super().__init__()
        if hidden_channels % heads:
            message = f"hidden_channels ({hidden_channels}) must be a multiple of heads ({heads})"
            raise ValueError(message)
        widths = [init_emb] + [hidden_channels] * (num_mid_layers + 1)
        per_head = hidden_channels // heads
        options = {"heads": heads, "add_self_loops": False, "aggr": aggr}
        self.input = NodeInput(num_tx_tokens, num_features, init_emb)
        self.convs = nn.ModuleList(FusedGATv2Conv((w, w), per_head, **options) for w in widths[:-1])
        self.residuals = nn.ModuleList(nn.Linear(w, hidden_channels) for w in widths[:-1])
        self.last_conv = FusedGATv2Conv((widths[-1],) * 2, out_channels, concat=False, **options)
        self.last_residual = nn.Linear(widths[-1], out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed nodes: x tokens [N] or features [N, F], edge_index [2, E] -> [N, out_channels]."""
        x = self.input(x)
        for conv, residual in zip(self.convs, self.residuals, strict=True):
            x = F.relu(conv(x, edge_index) + residual(x))
        x = self.last_conv(x, edge_index) + self.last_residual(x)
        return F.normalize(x, dim=-1)


def heterogeneous(model: Segger, aggr: str = "sum") -> nn.Module:
    """Give every node and edge type its own weights, and drop the inputs that no type uses.

    Transcripts have tokens, boundaries have features; the other half of each copy would be a
    parameter without gradient, which distributed training refuses.
    """
    hetero: Any = to_hetero(model, METADATA, aggr=aggr)
    hetero.input[TX].lin = nn.Identity()
    hetero.input[BD].emb = nn.Identity()
    _start_alike(hetero)
    return hetero


def _start_alike(hetero: Any) -> None:
    """Let both edge types start from the same weights, and boundary features from none.

    A boundary then starts as the mean of its transcripts, seen through the same maps as a transcript's
    own surroundings: the two are alike where the genes are alike, before anything is learnt.
    """
    for layer in [*hetero.convs, hetero.last_conv]:
        layer["__".join(BELONGS)].load_state_dict(layer["__".join(NEIGHBORS)].state_dict())
    for layer in [*hetero.residuals, hetero.last_residual]:
        layer[BD].load_state_dict(layer[TX].state_dict())
    nn.init.zeros_(hetero.input[BD].lin.weight)
    nn.init.zeros_(hetero.input[BD].lin.bias)


class PairScore(nn.Module):
    """Logit of a (transcript, boundary) pair: `scale * <h_tx, h_bd> + bias`, both learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, h_tx: Tensor, h_bd: Tensor, pairs: Tensor) -> Tensor:
        """Score pairs [2, P] of rows of h_tx [N, D] and h_bd [M, D] as logits [P]."""
        similarity = (h_tx[pairs[0]] * h_bd[pairs[1]]).sum(-1)
        return self.log_scale.exp() * similarity + self.bias
