"""Corruptions of a tissue, of all cells at once or of patches, for Deep Graph Infomax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tissuegraph.graph.patches import connected_patches
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Corruption
from tissuegraph.nn.joint import JointCorruption

PATCHES_A_BATCH = 8
"""Patches, drawn from anywhere, that make a batch: one place would pull the weights its own way."""
MIN_STEPS = 10
"""Steps of an epoch, at least; of a small graph each is a new corruption of the whole."""
VALIDATIONS = 4
"""Corruptions that the loss on validation is a mean of."""


@dataclass(frozen=True)
class View:
    """Features of cells, and the graph that they are heard along."""

    rows: Tensor
    """[N, F]."""
    graph: HopGraph


@dataclass(frozen=True)
class Batches:
    """How much of a tissue a step sees."""

    num_layers: int
    """How far a cell hears."""
    batch_cells: int | None
    """None for all at once."""


class Corruptions(Dataset[Any]):
    """Corrupted tissue, new each time that it is asked for, or always the same.

    Parameters
    ----------
    views
        One, or two of the same cells; patches are those of the first graph.
    batches
        Cells a step, and how far they hear.
    seed
        What is drawn depends on the seed, the number that is asked for, and, unless `fixed`, on how often it
        was asked for.
    """

    def __init__(self, views: Sequence[View], batches: Batches, seed: int, *, fixed: bool = False) -> None:
        self.views, self.seed, self.fixed = list(views), seed, fixed
        self.num_layers, cells = batches.num_layers, batches.batch_cells
        graph = self.views[0].graph
        self.patches: list[NDArray[np.int64]] | None = None
        steps = MIN_STEPS
        if cells is not None and cells < len(graph):
            self.patches = connected_patches(graph.edges, max(1, cells // PATCHES_A_BATCH))
            steps = max(MIN_STEPS, round(len(graph) / cells))
        else:
            self.whole = [view.graph.whole(self.num_layers) for view in self.views]
        self.asked = np.zeros(VALIDATIONS if fixed else steps, np.int64)

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, number: int) -> Corruption | JointCorruption:
        rng = np.random.default_rng([self.seed, int(self.fixed), number, self.asked[number]])
        self.asked[number] += not self.fixed
        core = self._core(rng)
        drawn = [self._corrupted(number, core, rng) for number in range(len(self.views))]
        if len(drawn) == 1:
            return drawn[0]
        partners = torch.from_numpy(rng.permutation(drawn[0].hops.num_core))
        return JointCorruption((drawn[0], drawn[1]), partners)

    def _core(self, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """The cells that a step is about; None for all."""
        if self.patches is None:
            return None
        few = min(PATCHES_A_BATCH, len(self.patches))
        return np.concatenate([self.patches[i] for i in rng.choice(len(self.patches), few, replace=False)])

    def _corrupted(self, view: int, core: NDArray[np.int64] | None, rng: np.random.Generator) -> Corruption:
        rows = self.views[view].rows
        if core is None:
            hops = self.whole[view]
        else:
            cells, hops = self.views[view].graph.around(core, self.num_layers)
            rows = rows[torch.from_numpy(cells)]
        return Corruption(rows, torch.from_numpy(rng.permutation(len(rows))), hops)


def loaders(views: Sequence[View], batches: Batches, seed: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The batches of training and of validation."""
    generator = torch.Generator().manual_seed(seed)
    train = Corruptions(views, batches, seed)
    val = Corruptions(views, batches, seed, fixed=True)
    return (
        DataLoader(train, batch_size=None, generator=generator),
        DataLoader(val, batch_size=None, generator=generator),
    )
