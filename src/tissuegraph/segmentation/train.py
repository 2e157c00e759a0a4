"""Train a model on the tiles of a slide."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch_geometric.loader import DataLoader

from tissuegraph.errors import InputError, ModelError
from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.params import SeggerParams
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset, nuclear_counts
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.machine import check_machine
from tissuegraph.segmentation.params import TrainParams
from tissuegraph.segmentation.warm_start import warm_start
from tissuegraph.trace import current_trace

log = logging.getLogger(__name__)


def fit(
    train_dir: Path,
    val_dir: Path,
    root: Path,
    *,
    segger: SeggerParams,
    params: TrainParams,
    num_tx_tokens: int | None,
    seed: int,
) -> tuple[LitSegger, np.ndarray, dict[str, Any]]:
    """Fit the network; return it at its best validation loss, the gene vectors, and what happened.

    Lightning's own files (checkpoints, metrics.csv) go to `root`.
    """
    accelerator = check_machine(params.accelerator, params.devices)
    train_tiles = SpatialTranscriptomicsDataset(train_dir)
    val_tiles = SpatialTranscriptomicsDataset(val_dir)
    tokens = check_panel(train_tiles, val_tiles, num_tx_tokens)
    check_hops(train_tiles, segger)
    L.seed_everything(seed, workers=True, verbose=False)
    vectors = gene_vectors(nuclear_counts(train_tiles))
    network = LitSegger(tokens, segger, params.learning_rate)
    first_batch = next(iter(DataLoader(train_tiles, params.batch_size_train)))
    warm_start(network, torch.from_numpy(vectors), first_batch)
    best = ModelCheckpoint(
        dirpath=root / "checkpoints",
        filename="best",
        monitor="val_loss",
        save_last=True,
        enable_version_counter=False,
    )
    stop = EarlyStopping(monitor="val_loss", patience=params.patience)
    trainer = _trainer(root, params, accelerator, [best, stop, _EpochSpans()])
    started = time.perf_counter()
    order = torch.Generator().manual_seed(seed)
    trainer.fit(
        network,
        DataLoader(train_tiles, params.batch_size_train, shuffle=True, generator=order),
        DataLoader(val_tiles, params.batch_size_val),
    )
    state = _load(Path(best.best_model_path))
    network.load_state_dict(state["state_dict"])
    network.cpu().eval()
    history = {
        "epochs": int(trainer.current_epoch),
        "steps": int(trainer.global_step or state["global_step"]),
        "stopped_because": stopped_because(_load(Path(best.last_model_path)), params),
        "tiles": {"train": len(train_tiles), "val": len(val_tiles)},
        "transcripts": sum(int(tile["tx"].num_nodes) for tile in train_tiles),
        "best_val_loss": best_score(state),
        "val_auroc": float(trainer.callback_metrics["val_auroc"]),
        "val_f1": float(trainer.callback_metrics["val_f1"]),
        "seconds": round(time.perf_counter() - started, 2),
    }
    return network, vectors, history


def stopped_because(last: dict[str, Any], params: TrainParams) -> str:
    """Why training ended, as its last checkpoint tells: with several processes only the file does."""
    if int(last["epoch"]) + 1 >= params.epochs:
        return "all epochs done"
    scores = [part["current_score"] for part in last["callbacks"].values() if "current_score" in part]
    if any(score is not None and not torch.isfinite(score) for score in scores):
        return "validation loss is no number"
    return "validation loss is flat"


def _load(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True, map_location="cpu")


class _EpochSpans(Callback):
    """Puts the epochs into the trace of the run, where one is recorded."""

    def on_train_epoch_start(self, *_: object) -> None:
        self.begin = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, *_: object) -> None:
        trace = current_trace()
        if trace is not None:
            trace.add(f"epoch {trainer.current_epoch}", self.begin)


def best_score(state: dict[str, Any]) -> float | None:
    """Best validation loss, as the checkpoint has it: with several processes only the file tells."""
    scores = [part["best_model_score"] for part in state["callbacks"].values() if "best_model_score" in part]
    return float(scores[0]) if scores and scores[0] is not None else None


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


def check_hops(tiles: SpatialTranscriptomicsDataset, segger: SeggerParams) -> None:
    """Say so where a network looks farther than the tiles reach: it then sees less than in prediction."""
    if segger.hops > tiles.hops:
        log.warning(
            "a network with mid_layers %d looks %d neighbours far, the tiles reach %d; "
            "for exact training make them with `tissuegraph dataset --hops %d`",
            segger.mid_layers,
            segger.hops,
            tiles.hops,
            segger.hops,
        )


def _trainer(root: Path, params: TrainParams, accelerator: str, callbacks: list[Callback]) -> L.Trainer:
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
        precision=precision,
        max_epochs=params.epochs,
        callbacks=callbacks,
        logger=CSVLogger(root, name="", version=""),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        deterministic=accelerator == "cpu" or "warn",
    )
