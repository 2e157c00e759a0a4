"""LitTypes: how a TypeClassifier is trained."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from tissuegraph.nn.type_classifier import TypeClassifier


class LitTypes(L.LightningModule):
    """The loss of a classifier: weighted cross-entropy of the labelled cells, which stand first in a batch.

    Parameters
    ----------
    network
        What is trained.
    class_weight
        [T] weight of a cell of each type.
    learning_rate, weight_decay
        Of AdamW.
    """

    def __init__(
        self, network: TypeClassifier, class_weight: Tensor, learning_rate: float, weight_decay: float
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("class_weight", class_weight)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def _loss(self, batch: Data) -> Tensor:
        logits = self.network(batch.x, batch.edge_index)[: len(batch.y)]
        return F.cross_entropy(logits, batch.y, weight=self.class_weight)

    def training_step(self, batch: Data) -> Tensor:
        """Loss of a batch of labelled cells and those around them."""
        loss = self._loss(batch)
        self.log("train_loss", loss, batch_size=len(batch.y), prog_bar=True)
        return loss

    def validation_step(self, batch: Data) -> None:
        """Loss of labelled cells that are held out."""
        self.log("val_loss", self._loss(batch), batch_size=len(batch.y), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over what is not fixed."""
        free = [value for value in self.parameters() if value.requires_grad]
        return torch.optim.AdamW(free, lr=self.learning_rate, weight_decay=self.weight_decay)
