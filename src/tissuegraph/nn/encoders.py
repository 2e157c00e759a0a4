"""Encoders of cells by their features and those of their neighbours: graph convolution, graph attention."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from tissuegraph.nn.attention import FusedGATv2Conv
from tissuegraph.nn.hop_graph import Hop, Hops
from tissuegraph.nn.sparse import aggregate


class GcnLayer(nn.Module):
    """`C X W^T + b`, where C has the normalised weights of the edges (Kipf and Welling 2017)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        limit = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, hop: Hop) -> Tensor:
        """Average over neighbours: x [n, F] -> [rows of the pattern, D]."""
        return aggregate(hop.weights, x @ self.weight.T, hop.pattern) + self.bias


class GatLayer(nn.Module):
    """GATv2 (Brody et al. 2022), its heads side by side; the weights of the edges play no part."""

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.conv = FusedGATv2Conv(inputs, outputs // heads, heads, add_self_loops=False)

    def forward(self, x: Tensor, hop: Hop) -> Tensor:
        """Attend to neighbours: x [n, F] -> [rows of the pattern, D]."""
        return self.conv((x, x[: hop.pattern.num_rows]), hop.lists)


class Encoder(nn.Module):
    """Layers of one kind, each followed by a PReLU with a slope for every dimension.

    Parameters
    ----------
    kind
        "gcn" or "gat".
    dims
        Numbers of features, of hidden dimensions, and of dimensions that come out.
    heads
        Of attention; each dimension but the first is a multiple of it.
    """

    def __init__(self, kind: str, dims: tuple[int, ...], heads: int = 1) -> None:
        super().__init__()
        pairs = list(pairwise(dims))
        self.layers = nn.ModuleList(
            GcnLayer(*pair) if kind == "gcn" else GatLayer(*pair, heads) for pair in pairs
        )
        self.bends = nn.ModuleList(nn.PReLU(outputs) for _, outputs in pairs)

    def forward(self, x: Tensor, hops: Hops) -> Tensor:
        """Embed: x [n, F] -> [core cells, D]."""
        for layer, bend, hop in zip(self.layers, self.bends, hops.layers, strict=True):
            x = bend(layer(x, hop))
        return x
