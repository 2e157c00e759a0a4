"""Two omics of the same cells: encoders that tell tissue from shuffled tissue, and a cell from another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import prelu

from tissuegraph.nn.hop_graph import Hops
from tissuegraph.nn.infomax import Corruption, infomax_loss
from tissuegraph.nn.sparse import aggregate

LAYERS = 2
"""How far a cell hears."""
SLOPE = 0.25
"""Of PReLU, at first."""
FAINT = 0.1
"""Share of random weights that is added where components pass at first."""


@dataclass
class JointCorruption:
    """Two omics of some cells, each with an order in which its features are handed out wrongly."""

    views: tuple[Corruption, Corruption]
    """The core cells of both are the same, in the same order."""
    partners: Tensor
    """[core cells] whose second omics cell i is wrongly shown with."""

    def to(self, device: torch.device | str) -> JointCorruption:
        """Move all to a device."""
        one, other = self.views
        return JointCorruption((one.to(device), other.to(device)), self.partners.to(device))


class PassingEncoder(nn.Module):
    """`Z = C prelu(C X W0 + b) W1`, which at first is the leading features, averaged over neighbours twice.

    Each leading feature has a pair of hidden units u and -u, of which `prelu(u) - prelu(-u)` makes u again,
    and little random weight is added. `C` has the weights of a graph convolution.
    """

    def __init__(self, inputs: int, dimensions: int) -> None:
        super().__init__()
        hidden = 2 * dimensions
        first = torch.randn(inputs, hidden) * FAINT * math.sqrt(2 / (inputs + hidden))
        last = torch.randn(hidden, dimensions) * FAINT * math.sqrt(2 / (hidden + dimensions))
        one = torch.arange(min(inputs, dimensions))
        for unit, sign in ((2 * one, 1.0), (2 * one + 1, -1.0)):
            first[one, unit] += sign * math.sqrt(0.5)
            last[unit, one] += sign * math.sqrt(0.5) / (1 + SLOPE)
        self.first, self.last = nn.Parameter(first), nn.Parameter(last)
        self.bias, self.slope = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.full((hidden,), SLOPE))

    def forward(self, x: Tensor, hops: Hops) -> Tensor:
        """Embed: x [n, F] -> [core cells, D]."""
        near, far = hops.layers
        hidden = prelu(aggregate(near.weights, x @ self.first, near.pattern) + self.bias, self.slope)
        return aggregate(far.weights, hidden @ self.last, far.pattern)


class Joint(nn.Module):
    """An encoder for each of two omics, and what is asked of them.

    With `z_i` the embedding of cell i in one omics, `f(z) = (prelu(z), prelu(-z))` and the summary
    `s = sigmoid(mean_i f(z_i))`, an omics has the loss of Deep Graph Infomax, on `f(z_i)^T W s`. Between the
    omics, cell i must know itself from another, j: `softplus(-a_ii) + softplus(a_ij)` with
    `a_ij = f(z_i)^T V f(z'_j)`. The loss is the sum of the three.
    """

    def __init__(self, inputs: Sequence[int], dimensions: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(PassingEncoder(number, dimensions) for number in inputs)
        wide = 2 * dimensions
        limit = 1 / math.sqrt(wide)
        self.weights = nn.ParameterList(torch.empty(wide, wide).uniform_(-limit, limit) for _ in inputs)
        self.between = nn.Parameter(torch.empty(wide, wide).uniform_(-limit, limit))

    def forward(self, batch: JointCorruption) -> tuple[list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
        """Logits of true and of shuffled cells in each omics, and of true and of wrong pairs of omics."""
        within, embedded = [], []
        for encoder, weight, view in zip(self.encoders, self.weights, batch.views, strict=True):
            true = _bent(encoder(view.rows, view.hops))
            shuffled = _bent(encoder(view.rows[view.order], view.hops))
            asked = weight @ torch.sigmoid(true.mean(0))
            within.append((true @ asked, shuffled @ asked))
            embedded.append(true)
        one, other = embedded[0] @ self.between, embedded[1]
        return within, ((one * other).sum(1), (one * other[batch.partners]).sum(1))

    def embed(self, rows: Sequence[Tensor], hops: Sequence[Hops]) -> Tensor:
        """Embeddings of both omics side by side, [N, 2 D]."""
        parts = [encoder(*view) for encoder, *view in zip(self.encoders, rows, hops, strict=True)]
        return torch.cat(parts, dim=1)


def _bent(embedding: Tensor) -> Tensor:
    """Each number and its negative, bent: a linear question then also asks how large it is."""
    return prelu(torch.cat([embedding, -embedding], dim=1), embedding.new_tensor(SLOPE))


class LitJoint(L.LightningModule):
    """How both encoders are trained: Adam on the sum of the losses; validation is on fixed corruptions."""

    def __init__(self, network: Joint, learning_rate: float) -> None:
        super().__init__()
        self.network, self.learning_rate = network, learning_rate

    def training_step(self, batch: JointCorruption) -> Tensor:
        """Loss of a batch."""
        loss = self._losses(batch).sum()
        self.log("train_loss", loss, batch_size=len(batch.partners), prog_bar=True)
        return loss

    def validation_step(self, batch: JointCorruption) -> None:
        """Losses on corruptions that training does not see."""
        losses, number = self._losses(batch), len(batch.partners)
        self.log("val_loss", losses.sum(), batch_size=number, prog_bar=True, sync_dist=True)
        self.log("val_loss_between", losses[-1], batch_size=number, sync_dist=True)

    def _losses(self, batch: JointCorruption) -> Tensor:
        """Within the first omics, the second, and between them."""
        within, between = self.network(batch)
        return torch.stack([infomax_loss(*logits) for logits in (*within, between)])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at the learning rate that was asked for."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
