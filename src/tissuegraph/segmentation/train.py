"""Train a model on the tiles of a slide."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from scipy import sparse
from torch_geometric.loader import DataLoader

from tissuegraph import keys
from tissuegraph.errors import InputError, ModelError
from tissuegraph.nn.lit import LitSegger, SeggerParams
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.machine import check_machine
from tissuegraph.segmentation.model import SegmentationModel


@dataclass(frozen=True)
class TrainParams:
    """How the network is trained, and on what."""

    batch_size_train: int = 4
    """Tiles a training step."""
    batch_size_val: int = 4
    """Tiles a validation step."""
    epochs: int = 30
    """Passes over the training tiles, at most."""
    patience: int = 4
    """Epochs without a better validation loss before training stops."""
    learning_rate: float = 3e-3
    """Of Adam."""
    accelerator: str = "auto"
    """auto, cpu, gpu, cuda or mps."""
    strategy: str = "auto"
    """Lightning's: auto, ddp, ddp_spawn, ..."""
    devices: str = "auto"
    """How many devices, or auto (on the CPU: one process)."""
    precision: str = "auto"
    """Lightning's; auto is 32-true on the CPU and 16-mixed on a GPU."""


def fit(
    train_dir: Path,
    val_dir: Path,
    root: Path,
    *,
    segger: SeggerParams,
    params: TrainParams,
    num_tx_tokens: int | None,
    seed: int,
    progress: bool,
) -> tuple[LitSegger, SpatialTranscriptomicsDataset, dict[str, Any]]:
    """Fit the network and return it at its best validation loss, the tiles, and what happened.

    Lightning's own files (checkpoints, metrics.csv) go to `root`.
    """
    accelerator = check_machine(params.accelerator, params.devices)
    train_tiles = SpatialTranscriptomicsDataset(train_dir)
    val_tiles = SpatialTranscriptomicsDataset(val_dir)
    tokens = check_panel(train_tiles, val_tiles, num_tx_tokens)
    L.seed_everything(seed, workers=True, verbose=False)
    vectors = gene_vectors(nuclear_counts(train_tiles))
    network = LitSegger(tokens, segger, params.learning_rate)
    network.start_from(torch.from_numpy(vectors))
    best = ModelCheckpoint(dirpath=root / "checkpoints", filename="best", monitor="val_loss", enable_version_counter=False)
    stop = EarlyStopping(monitor="val_loss", patience=params.patience)
    trainer = _trainer(root, params, accelerator, [best, stop], progress)
    started = time.perf_counter()
    order = torch.Generator().manual_seed(seed)
    trainer.fit(
        network,
        DataLoader(train_tiles, params.batch_size_train, shuffle=True, generator=order),
        DataLoader(val_tiles, params.batch_size_val),
    )
    state = torch.load(best.best_model_path, weights_only=True, map_location="cpu")
    network.load_state_dict(state["state_dict"])
    network.cpu().eval()
    history = {
        "epochs": int(trainer.current_epoch),
        "steps": int(trainer.global_step),
        "stopped_because": "validation loss is flat" if stop.stopped_epoch else "all epochs done",
        "best_val_loss": float(best.best_model_score or float("nan")),
        "seconds": round(time.perf_counter() - started, 2),
    }
    return network, train_tiles, history


def nuclear_counts(tiles: SpatialTranscriptomicsDataset) -> sparse.csr_matrix:
    """Count the genes of the transcripts that message passing may use, [nuclei, genes]."""
    cells, genes, offset = [], [], 0
    for tile in tiles:
        tx, bd = tile["tx", "belongs", "bd"].edge_index.numpy()
        cells.append(bd + offset)
        genes.append(tile["tx"].x.numpy()[tx])
        offset += tile["bd"].num_nodes
    cell, gene = np.concatenate(cells), np.concatenate(genes)
    return sparse.csr_matrix((np.ones(len(cell)), (cell, gene)), shape=(offset, len(tiles.genes)))


def check_panel(
    train_tiles: SpatialTranscriptomicsDataset,
    val_tiles: SpatialTranscriptomicsDataset,
    num_tx_tokens: int | None,
) -> int:
    """Number of gene tokens: the panel's size unless a larger one is asked for.

    Raises
    ------
    ModelError
        If it is smaller than the panel, or the two splits have different panels.
    """
    if train_tiles.genes != val_tiles.genes:
        message = (
            f"train_dir has {len(train_tiles.genes)} genes and val_dir {len(val_tiles.genes)}, not the same "
            "panel; take both from one `tissuegraph dataset`"
        )
        raise InputError(message)
    panel = len(train_tiles.genes)
    if num_tx_tokens is not None and num_tx_tokens < panel:
        message = (
            f"num_tx_tokens is {num_tx_tokens}, but the panel has {panel} genes; "
            f"type --num-tx-tokens {panel} or leave it out"
        )
        raise ModelError(message)
    return num_tx_tokens or panel


def _trainer(
    root: Path, params: TrainParams, accelerator: str, callbacks: list[Callback], progress: bool
) -> L.Trainer:
    precision = params.precision
    if precision == "auto":
        precision = "16-mixed" if accelerator == "cuda" else "32-true"
    devices: int | str = params.devices if params.devices == "auto" else int(params.devices)
    if devices == "auto" and accelerator == "cpu":
        devices = 1
    return L.Trainer(
        accelerator=accelerator,
        strategy=params.strategy,
        devices=devices,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=params.epochs,
        callbacks=callbacks,
        logger=CSVLogger(root, name="", version=""),
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        deterministic=accelerator == "cpu" or "warn",
    )
