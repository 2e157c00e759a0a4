"""The Lightning trainer that every network of ours is trained with, and what its checkpoints tell."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from tissuegraph.trace import current_trace
from tissuegraph.training.machine import check_machine
from tissuegraph.training.params import Training


def fit(
    network: L.LightningModule, train: Iterable[Any], val: Iterable[Any], root: Path, params: Training
) -> dict[str, Any]:
    """Train a network that logs `val_loss`, and leave it, on the CPU, as it was when that was lowest.

    Parameters
    ----------
    network, train, val
        What is trained, and the loaders of its batches.
    root
        Where Lightning's own files go (checkpoints, metrics.csv).
    params
        How long, and on what machine.

    Returns
    -------
    `epochs`, `steps`, `stopped_because`, `best_val_loss`, `seconds`, and the last of what else was logged on
    validation.
    """
    accelerator = check_machine(params.accelerator, params.devices)
    best = ModelCheckpoint(
        dirpath=root / "checkpoints",
        filename="best",
        monitor="val_loss",
        save_last=True,
        enable_version_counter=False,
    )
    stop = EarlyStopping(monitor="val_loss", patience=params.patience)
    started = time.perf_counter()
    with _quiet():
        trainer = _trainer(root, params, accelerator, [best, stop, EpochSpans()])
        trainer.fit(network, train, val)
    state = _load(Path(best.best_model_path))
    network.load_state_dict(state["state_dict"])
    network.cpu().eval()
    # of several processes only the files tell; the last file may be older than the last epoch
    last = _load(root / "checkpoints" / f"{best.CHECKPOINT_NAME_LAST}{best.FILE_EXTENSION}")
    epochs = int(trainer.current_epoch) or int(last["epoch"]) + 1
    because = "all epochs done" if epochs >= params.epochs else stopped_because(last, params)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {
        "epochs": epochs,
        "steps": int(trainer.global_step or state["global_step"]),
        "stopped_because": because,
        "best_val_loss": best_score(state),
        **{name: value for name, value in logged.items() if name.startswith("val_") and name != "val_loss"},
        "seconds": round(time.perf_counter() - started, 2),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning says nothing below a warning: what devices there are says the machine check."""
    heard = logging.getLogger("lightning.pytorch")
    level = heard.level
    heard.setLevel(logging.WARNING)
    try:
        yield
    finally:
        heard.setLevel(level)


def stopped_because(last: dict[str, Any], params: Training) -> str:
    """Why training ended, as its last checkpoint tells: with several processes only the file does."""
    if int(last["epoch"]) + 1 >= params.epochs:
        return "all epochs done"
    scores = [part["current_score"] for part in last["callbacks"].values() if "current_score" in part]
    if any(score is not None and not torch.isfinite(score) for score in scores):
        return "validation loss is no number"
    return "validation loss is flat"


def _load(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True, map_location="cpu")


def best_score(state: dict[str, Any]) -> float | None:
    """Best validation loss, as the checkpoint has it: with several processes only the file tells."""
    scores = [part["best_model_score"] for part in state["callbacks"].values() if "best_model_score" in part]
    return float(scores[0]) if scores and scores[0] is not None else None


class EpochSpans(Callback):
    """Puts the epochs into the trace of the run, where one is recorded."""

    def on_train_epoch_start(self, *_: object) -> None:
        """Look at the clock."""
        self.begin = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Write the epoch down."""
        trace = current_trace()
        if trace is not None:
            trace.add(f"epoch {trainer.current_epoch}", self.begin)


def _trainer(root: Path, params: Training, accelerator: str, callbacks: list[Callback]) -> L.Trainer:
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
