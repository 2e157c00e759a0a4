"""Networks that are each trained without a part of the labelled cells, and judged on it."""

from __future__ import annotations

import logging
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from tissuegraph.cells.annotate_params import AnnotateParams
from tissuegraph.cells.annotation.logistic import best_strength, fit_logistic, logits_of
from tissuegraph.graph.hops import around
from tissuegraph.nn.lit_types import LitTypes
from tissuegraph.nn.type_classifier import TypeClassifier
from tissuegraph.parallel import one_thread
from tissuegraph.training import trainer

FOLDS_AT_MOST = ((20_000, 2), (5_000, 3))
"""With more labelled cells than these, so many networks do."""

SMALL = 30_000
"""Cells up to which one thread is as fast as several, and much faster where another process wants a core."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """What was fitted, and what it says of labelled cells that it has not seen.

    Attributes
    ----------
    networks
        One a fold; none where the method is "logistic".
    logistic
        Weights [T, D] and biases [T] of the regression on all labelled cells.
    held_out, logistic_held_out
        [L, T] logits of each labelled cell by what was fitted without it.
    fold
        [L] part of each labelled cell.
    history
        How each training went.
    """

    networks: tuple[TypeClassifier, ...]
    logistic: tuple[Floats, Floats]
    held_out: npt.NDArray[np.float64]
    logistic_held_out: npt.NDArray[np.float64]
    fold: Codes
    history: list[dict[str, Any]]


def cut_in_folds(y: Codes, n_folds: int, generator: np.random.Generator) -> Codes:
    """A fold for each labelled cell, [L]; every type is spread over all of them as evenly as it can be."""
    n_folds = min(n_folds, next((folds for many, folds in FOLDS_AT_MOST if len(y) > many), n_folds))
    fold = np.empty(len(y), np.int64)
    start = 0
    for kind in np.unique(y):
        rows = generator.permutation(np.flatnonzero(y == kind))
        fold[rows] = (start + np.arange(len(rows))) % n_folds
        start += len(rows)
    return fold


def crossfit(
    x: Floats,
    graph: sparse.csr_matrix | None,
    labelled: Codes,
    y: Codes,
    n_types: int,
    method: str,
    params: AnnotateParams,
    seed: int,
) -> Fitted:
    """Fit a logistic regression and, upon it, a network for every fold.

    Parameters
    ----------
    x
        [N, D] features of all cells.
    graph
        [N, N], row i has the neighbours that cell i listens to; None for "logistic".
    labelled, y
        [L] numbers of the labelled cells, and their types.
    """
    with one_thread() if len(x) <= SMALL else nullcontext():
        return _crossfit(x, graph, labelled, y, n_types, method, params, seed)


def _crossfit(
    x: Floats,
    graph: sparse.csr_matrix | None,
    labelled: Codes,
    y: Codes,
    n_types: int,
    method: str,
    params: AnnotateParams,
    seed: int,
) -> Fitted:
    balanced = params.class_weights == "balanced"
    fold = cut_in_folds(y, params.folds, np.random.default_rng([seed, 0]))
    mine = x[labelled]
    strength = best_strength(mine, y, fold, n_types, balanced=balanced)
    held_out, by_logistic = np.zeros((len(y), n_types)), np.zeros((len(y), n_types))
    networks, history = [], []
    for held in np.unique(fold):
        out = fold == held
        base = fit_logistic(mine[~out], y[~out], n_types, strength, balanced=balanced)
        by_logistic[out] = logits_of(mine[out], *base)
        if method == "logistic" or graph is None:
            continue
        parts = [(labelled[part], y[part]) for part in (~out, out)]
        network, told = _train(x, graph, parts, base, method, params, seed + int(held))
        held_out[out] = predict([network], x, graph, labelled[out])
        networks.append(network)
        history.append(told)
    logistic = fit_logistic(mine, y, n_types, strength, balanced=balanced)
    return Fitted(
        tuple(networks), logistic, held_out if networks else by_logistic, by_logistic, fold, history
    )


def predict(
    networks: list[TypeClassifier] | tuple[TypeClassifier, ...],
    x: Floats,
    graph: sparse.csr_matrix,
    cells: Codes,
    at_a_time: int = 50_000,
) -> npt.NDArray[np.float64]:
    """Mean logits [n, T] of some cells, block by block; each block with the neighbours that are heard."""
    out = np.empty((len(cells), networks[0].out.out_features))
    for start in range(0, len(cells), at_a_time):
        some = slice(start, start + at_a_time)
        batch = _batch(x, graph, cells[some], None, len(networks[0].convolutions))
        with torch.no_grad():
            logits = [
                network.eval()(batch.x, batch.edge_index)[: len(cells[some])].log_softmax(1)
                for network in networks
            ]
        out[some] = torch.stack(logits).mean(0).numpy()
    return out


def _train(
    x: Floats,
    graph: sparse.csr_matrix,
    parts: list[tuple[Codes, Codes]],
    base: tuple[Floats, Floats],
    method: str,
    params: AnnotateParams,
    seed: int,
) -> tuple[TypeClassifier, dict[str, Any]]:
    """Train one network on the first part, until it is no better on the second."""
    L.seed_everything(seed, workers=True, verbose=False)
    network = new_network(base, method, params)
    sizes = np.bincount(parts[0][1], minlength=len(base[1]))
    weight = np.where(sizes, sizes.sum() / np.maximum(sizes, 1) / (sizes > 0).sum(), 0)
    if params.class_weights != "balanced":
        weight = np.ones(len(sizes))
    lit = LitTypes(
        network, torch.tensor(weight, dtype=torch.float32), params.learning_rate, params.weight_decay
    )
    order = torch.Generator().manual_seed(seed)
    loaders: list[DataLoader] = []
    for cells, types in parts:
        step = params.batch_cells
        mixed = np.random.default_rng(seed).permutation(len(cells))
        rows = [mixed[start : start + step] for start in range(0, len(cells), step)]
        batches = [_batch(x, graph, cells[some], types[some], params.layers) for some in rows]
        loaders.append(_loader(batches, order if not loaders else None))
    with tempfile.TemporaryDirectory(prefix="tissuegraph-") as folder:
        history = trainer.fit(lit, loaders[0], loaders[1], Path(folder), params)
    return network, history


def _loader(batches: list[Data], order: torch.Generator | None) -> DataLoader:
    """Batches as they are, in another order every time where a generator is given."""
    data: Any = batches
    return DataLoader(data, batch_size=None, shuffle=order is not None, generator=order)


def new_network(base: tuple[Floats, Floats], method: str, params: AnnotateParams) -> TypeClassifier:
    """An untrained network upon a logistic regression."""
    return TypeClassifier(
        torch.from_numpy(base[0]),
        torch.from_numpy(base[1]),
        method,
        hidden=params.hidden,
        heads=params.heads,
        layers=params.layers,
        dropout=params.dropout,
    )


def _batch(x: Floats, graph: sparse.csr_matrix, cells: Codes, y: Codes | None, hops: int) -> Data:
    """Cells first, then those that they hear; labels are those of the first."""
    nodes, edges = around(graph, cells, hops)
    batch = Data(x=torch.from_numpy(x[nodes]), edge_index=torch.from_numpy(edges))
    if y is not None:
        batch.y = torch.from_numpy(y)
    return batch
