"""Deep Graph Infomax: an embedding of cells that tells the tissue from one whose cells were shuffled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from tissuegraph.nn.encoders import Encoder
from tissuegraph.nn.hop_graph import Hops


@dataclass
class Corruption:
    """Cells with their neighbours, and an order in which their features are handed out wrongly."""

    rows: Tensor
    """[n, F] features."""
    order: Tensor
    """[n] cell i of the corrupted graph has the features of cell `order[i]`."""
    hops: Hops

    def to(self, device: torch.device | str) -> Corruption:
        """Move all to a device."""
        return Corruption(self.rows.to(device), self.order.to(device), self.hops.to(device))


class Infomax(nn.Module):
    """An encoder and a discriminator that asks whether a cell belongs to the graph.

    With `h_i` the embedding of cell i, `h'_i` the same where features are shuffled among cells, and the
    summary `s = sigmoid(mean_i h_i)`, the loss is

    `mean_i softplus(-h_i^T W s) + mean_i softplus(h'_i^T W s)`,

    the binary cross-entropy of telling `h` from `h'`.

    References
    ----------
    Velickovic et al. 2019, Deep Graph Infomax.
    """

    def __init__(self, encoder: Encoder, dimensions: int) -> None:
        super().__init__()
        self.encoder = encoder
        limit = 1 / math.sqrt(dimensions)
        self.weight = nn.Parameter(torch.empty(dimensions, dimensions).uniform_(-limit, limit))

    def forward(self, batch: Corruption) -> tuple[Tensor, Tensor]:
        """Logits [core cells] of the cells as they are, and of the shuffled ones."""
        true = self.encoder(batch.rows, batch.hops)
        shuffled = self.encoder(batch.rows[batch.order], batch.hops)
        asked = self.weight @ torch.sigmoid(true.mean(0))
        return true @ asked, shuffled @ asked


def infomax_loss(true: Tensor, shuffled: Tensor) -> Tensor:
    """Binary cross-entropy of both, each a mean over cells."""
    return softplus(-true).mean() + softplus(shuffled).mean()


class LitInfomax(L.LightningModule):
    """How it is trained: Adam on the loss of corruptions that are new in every step.

    On validation the corruptions are always the same; logged are `val_loss` and `val_accuracy`, the share of
    cells, true and shuffled, that are told right.
    """

    def __init__(self, network: Infomax, learning_rate: float) -> None:
        super().__init__()
        self.network, self.learning_rate = network, learning_rate

    def training_step(self, batch: Corruption) -> Tensor:
        """Loss of a batch."""
        loss = infomax_loss(*self.network(batch))
        self.log("train_loss", loss, batch_size=batch.hops.num_core, prog_bar=True)
        return loss

    def validation_step(self, batch: Corruption) -> None:
        """Loss and accuracy on a corruption that training does not see."""
        true, shuffled = self.network(batch)
        right = ((true > 0).float().mean() + (shuffled < 0).float().mean()) / 2
        number = batch.hops.num_core
        self.log("val_loss", infomax_loss(true, shuffled), batch_size=number, prog_bar=True, sync_dist=True)
        self.log("val_accuracy", right, batch_size=number, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at the learning rate that was asked for."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
