"""TypeClassifier: a logistic regression on a cell, corrected by what its neighbours say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from tissuegraph.nn.attention import FusedGATv2Conv
from tissuegraph.nn.neighbour_lists import NeighbourLists

METHODS = ("gat", "gcn")


class TypeClassifier(nn.Module):
    """Logits of types, `l_i = W x_i + b + V h_i`.

    `W` and `b` are those of a logistic regression and stay as they are. What neighbours add begins at zero
    (`V = 0`): with `h_j^0 = [ReLU(A x_j), softmax(W x_j + b)]`, a layer is

        h_i <- ELU(sum_j alpha_ij U h_j),  from the second on  h_i <- h_i + ELU(sum_j alpha_ij U h_j),

    over the neighbours and the cell itself. `alpha` is GATv2's attention ("gat"; Brody et al. 2022) or the
    normalised adjacency ("gcn"; Kipf and Welling 2017).

    Parameters
    ----------
    weight, bias
        [T, D] and [T], the logistic regression.
    method
        "gat" or "gcn".
    hidden
        Numbers of a cell in the hidden layers, of all heads together.
    heads, layers
        Heads of the attention, and how many neighbours away a cell is heard.
    dropout
        Of the features and the last hidden layer, in training.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        method: str = "gat",
        *,
        hidden: int = 32,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        types, features = weight.shape
        self.dropout = dropout
        self.own = nn.Linear(features, types)
        self.own.weight.data.copy_(weight)
        self.own.bias.data.copy_(bias)
        self.own.requires_grad_(False)
        self.lift = nn.Linear(features, hidden)
        sizes = [hidden + types, *[hidden] * (layers - 1)]
        self.convolutions = nn.ModuleList(_layer(method, size, hidden, heads) for size in sizes)
        self.out = nn.Linear(hidden, types)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, edge_index: Tensor | NeighbourLists) -> Tensor:
        """Logits [N, T] of cells with features x [N, D], and edges (neighbour, cell)."""
        own = self.own(x)
        seen = F.dropout(x, self.dropout, self.training)
        h = torch.cat([F.relu(self.lift(seen)), F.softmax(own, dim=1)], dim=1)
        for number, layer in enumerate(self.convolutions):
            told = F.elu(layer(h, edge_index))
            h = told if number == 0 else h + told
        return own + self.out(F.dropout(h, self.dropout, self.training))

    def attention(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Edges [2, E], with those to itself, and the first layer's attention [E], mean over heads."""
        layer = self.convolutions[0]
        h = torch.cat([F.relu(self.lift(x)), F.softmax(self.own(x), dim=1)], dim=1)
        _, (edges, weights) = layer(h, edge_index, return_attention_weights=True)
        return edges, weights.mean(dim=1)


def _layer(method: str, size: int, hidden: int, heads: int) -> nn.Module:
    if method == "gcn":
        return GCNConv(size, hidden)
    return FusedGATv2Conv(size, hidden // heads, heads)
