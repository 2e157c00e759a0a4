"""Corruptions of a tissue, of all cells at once or of patches, for Deep Graph Infomax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tissuegraph.graph.patches import connected_patches
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Corruption

PATCHES_A_BATCH = 8
"""Patches, drawn from anywhere, that make a batch: one place would pull the weights its own way."""
MIN_STEPS = 10
"""Steps of an epoch, at least; of a small graph each is a new corruption of the whole."""
VALIDATIONS = 4
"""Corruptions that the loss on validation is a mean of."""


@dataclass(frozen=True)
class Batches:
    """How many cells a step sees.

    Attributes
    ----------
    num_layers
        How far a cell hears.
    batch_cells
        None for all at once.
    """

    num_layers: int
    batch_cells: int | None


class Corruptions(Dataset[Corruption]):
    """Corrupted tissue, new each time that it is asked for, or always the same.

    Parameters
    ----------
    rows
        [N, F] features.
    graph
        Neighbours of the N cells.
    batches
        Cells a step, and how far they hear.
    seed
        What is drawn depends on the seed, the number that is asked for, and, unless `fixed`, on how often it
        was asked for.
    """

    def __init__(
        self, rows: Tensor, graph: HopGraph, batches: Batches, seed: int, *, fixed: bool = False
    ) -> None:
        self.rows, self.graph, self.seed, self.fixed = rows, graph, seed, fixed
        self.num_layers = batches.num_layers
        self.patches: list[NDArray[np.int64]] | None = None
        cells = batches.batch_cells
        steps = MIN_STEPS
        if cells is not None and cells < len(graph):
            self.patches = connected_patches(graph.edges, max(1, cells // PATCHES_A_BATCH))
            steps = max(MIN_STEPS, round(len(graph) / cells))
        else:
            self.whole = graph.whole(self.num_layers)
        self.asked = np.zeros(VALIDATIONS if fixed else steps, np.int64)

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, number: int) -> Corruption:
        rng = np.random.default_rng([self.seed, int(self.fixed), number, self.asked[number]])
        self.asked[number] += not self.fixed
        if self.patches is None:
            rows, hops = self.rows, self.whole
        else:
            few = min(PATCHES_A_BATCH, len(self.patches))
            chosen = rng.choice(len(self.patches), few, replace=False)
            core = np.concatenate([self.patches[patch] for patch in chosen])
            cells, hops = self.graph.around(core, self.num_layers)
            rows = self.rows[torch.from_numpy(cells)]
        return Corruption(rows, torch.from_numpy(rng.permutation(len(rows))), hops)


def loaders(
    rows: Tensor, graph: HopGraph, batches: Batches, seed: int
) -> tuple[DataLoader[Corruption], DataLoader[Corruption]]:
    """The batches of training and of validation."""
    generator = torch.Generator().manual_seed(seed)
    train = Corruptions(rows, graph, batches, seed)
    val = Corruptions(rows, graph, batches, seed, fixed=True)
    return (
        DataLoader(train, batch_size=None, generator=generator),
        DataLoader(val, batch_size=None, generator=generator),
    )
