"""LitSegger: how Segger is trained."""

from __future__ import annotations

from dataclasses import asdict

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torchmetrics.classification import BinaryAUROC, BinaryF1Score

from tissuegraph.nn.params import SeggerParams
from tissuegraph.nn.segger import BD, BELONGS, NEIGHBORS, TX, PairScore, Segger, heterogeneous


class LitSegger(L.LightningModule):
    """Segger, its pair score, its loss and its figures on validation.

    The loss is the binary cross-entropy of candidate pairs of held-out nuclear transcripts: 1 for the
    nucleus that holds the transcript, 0 for the nuclei that compete for it.

    Parameters
    ----------
    num_tx_tokens
        Size of the gene panel.
    params
        The network.
    learning_rate
        Of Adam.
    """

    def __init__(
        self, num_tx_tokens: int, params: SeggerParams | None = None, learning_rate: float = 3e-3
    ) -> None:
        super().__init__()
        params = params or SeggerParams()
        self.save_hyperparameters(
            {"num_tx_tokens": num_tx_tokens, **asdict(params), "learning_rate": learning_rate}
        )
        self.learning_rate = learning_rate
        network = Segger(
            num_tx_tokens,
            params.init_emb,
            params.hidden_channels,
            params.mid_layers,
            params.out_channels,
            params.heads,
            aggr=params.aggr,
        )
        self.model: nn.Module = heterogeneous(network, params.aggr)
        self.score = PairScore()
        self.val_auroc = BinaryAUROC()
        self.val_f1 = BinaryF1Score()

    def forward(self, data: HeteroData, pairs: Tensor) -> Tensor:
        """Logits [P] of pairs [2, P] (transcript, boundary) of a tile or a batch of tiles."""
        edges = {kind: data[kind].edge_index for kind in (NEIGHBORS, BELONGS)}
        h = self.model({TX: data[TX].x, BD: data[BD].x}, edges)
        return self.score(h[TX], h[BD], pairs)

    def _loss(self, batch: HeteroData) -> tuple[Tensor, Tensor, Tensor]:
        pairs = batch[BELONGS]
        logits = self(batch, pairs.edge_label_index)
        if len(logits) == 0:  # nothing to learn from; a mean over nothing would turn all weights to NaN
            return logits.sum(), logits, pairs.edge_label
        return F.binary_cross_entropy_with_logits(logits, pairs.edge_label), logits, pairs.edge_label

    def training_step(self, batch: HeteroData) -> Tensor:
        """Loss of a batch of tiles."""
        loss, _, label = self._loss(batch)
        self.log("train_loss", loss, batch_size=max(len(label), 1), prog_bar=True)
        return loss

    def validation_step(self, batch: HeteroData) -> None:
        """Loss, AUROC and F1 of held-out pairs."""
        loss, logits, label = self._loss(batch)
        self.log("val_loss", loss, batch_size=max(len(label), 1), prog_bar=True, sync_dist=True)
        if len(label) == 0:
            return
        self.val_auroc.update(logits, label.long())
        self.val_f1.update(logits, label.long())
        self.log("val_auroc", self.val_auroc, batch_size=len(label), prog_bar=True)
        self.log("val_f1", self.val_f1, batch_size=len(label), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at the learning rate that was asked for."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
