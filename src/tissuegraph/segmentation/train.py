"""Train a model on the tiles of a slide."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch_geometric.loader import DataLoader

from tissuegraph.errors import InputError, ModelError
from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.params import SeggerParams
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset, nuclear_counts
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.params import TrainParams
from tissuegraph.segmentation.warm_start import warm_start
from tissuegraph.training import trainer
from tissuegraph.training.machine import check_machine

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
    check_machine(params.accelerator, params.devices)
    train_tiles = SpatialTranscriptomicsDataset(train_dir)
    val_tiles = SpatialTranscriptomicsDataset(val_dir)
    tokens = check_panel(train_tiles, val_tiles, num_tx_tokens)
    check_hops(train_tiles, segger)
    L.seed_everything(seed, workers=True, verbose=False)
    vectors = gene_vectors(nuclear_counts(train_tiles))
    network = LitSegger(tokens, segger, params.learning_rate)
    first_batch = next(iter(DataLoader(train_tiles, params.batch_size_train)))
    warm_start(network, torch.from_numpy(vectors), first_batch)
    order = torch.Generator().manual_seed(seed)
    history = trainer.fit(
        network,
        DataLoader(train_tiles, params.batch_size_train, shuffle=True, generator=order),
        DataLoader(val_tiles, params.batch_size_val),
        root,
        params,
    )
    history["tiles"] = {"train": len(train_tiles), "val": len(val_tiles)}
    history["transcripts"] = sum(int(tile["tx"].num_nodes) for tile in train_tiles)
    return network, vectors, history


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
