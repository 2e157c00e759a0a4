"""Expression and neighbours of a tissue, handed to STAGATE whole or block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from tissuegraph.nn.row_chunks import own_threads
from tissuegraph.nn.sparse import SparseRows
from tissuegraph.nn.stagate import Stagate
from tissuegraph.nn.stagate_graph import AttentionGraph, CellGraph, mixed_batches, patches

PATCHES_A_BATCH = 8
"""Patches, drawn from anywhere, that make a batch: one place would pull the weights its own way."""
MIN_PATCH_CELLS = 128


@dataclass
class Batch:
    """Cells that are reconstructed in one step, and what surrounds them."""

    rows: SparseRows | Tensor
    """[n_2, G]."""
    squared_norms: Tensor
    """[n_0]."""
    graph: AttentionGraph
    targets: Tensor | None = None
    """[n_0, G] what is to be reconstructed instead of the cells themselves."""


class Tissue:
    """All cells: what is known of each, and who is near whom.

    Parameters
    ----------
    matrix
        [N, G] expression or components, single precision.
    graph
        Neighbours of the N cells.
    positions
        [N, D] by which patches are cut; None cuts by the order of the cells.
    device
        Where the network is.
    smooth_target
        How often the input is averaged over neighbours before it is to be reconstructed; dense input only.
    alpha
        Share of that average that is over neighbours of the same type.
    """

    def __init__(
        self,
        matrix: sparse.csr_matrix | NDArray[np.float32],
        graph: CellGraph,
        positions: NDArray[np.float64] | None = None,
        device: torch.device | str = "cpu",
        smooth_target: int = 0,
        alpha: float = 0.0,
    ) -> None:
        self.matrix, self.graph, self.device = matrix, graph, torch.device(device)
        self.targets: NDArray[np.float32] | None = None
        if smooth_target:
            mean = graph.mean(alpha)
            self.targets = np.asarray(matrix)
            for _ in range(smooth_target):
                self.targets = (mean @ self.targets).astype(np.float32)
        self.positions = np.arange(len(self))[:, None].astype(float) if positions is None else positions

    def __len__(self) -> int:
        return self.graph.num_cells

    def whole(self) -> Batch:
        """All cells at once."""
        return self._batch(self.matrix, self.graph.whole(), slice(None), slice(None))

    def around(self, core: NDArray[np.int64]) -> Batch:
        """Some cells with two hops of neighbours around them."""
        cells, graph = self.graph.around(core)
        return self._batch(self.matrix[cells], graph, slice(len(core)), core)

    def blocks(self, batch_cells: int | None) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Compact blocks that together hold every cell once; one of all cells for None."""
        if batch_cells is None or batch_cells >= len(self):
            yield np.arange(len(self)), self.whole()
            return
        for core in patches(self.positions, batch_cells):
            yield core, self.around(core)

    def passes(
        self, epochs: int, batch_cells: int | None, generator: torch.Generator
    ) -> Iterator[Iterator[Batch]]:
        """For every pass the batches, made anew of patches that are drawn from anywhere."""
        if batch_cells is None or batch_cells >= len(self):
            batch = self.whole()
            for _ in range(epochs):
                yield iter((batch,))
            return
        parts = patches(self.positions, max(MIN_PATCH_CELLS, math.ceil(batch_cells / PATCHES_A_BATCH)))
        for _ in range(epochs):
            yield (self.around(core) for core in mixed_batches(parts, batch_cells, generator))

    def _batch(
        self,
        matrix: sparse.csr_matrix | NDArray[np.float32],
        graph: AttentionGraph,
        core: slice,
        cells: slice | NDArray[np.int64],
    ) -> Batch:
        graph.to(self.device)
        if isinstance(matrix, np.ndarray):
            # a copy, as torch aligns its memory: the last bits of a product depend on where its factors lie
            rows = torch.tensor(matrix, device=self.device)
            targets = None if self.targets is None else torch.tensor(self.targets[cells], device=self.device)
            squared_norms = (rows[core] if targets is None else targets).double().square().sum(1).float()
            return Batch(rows, squared_norms, graph, targets)
        sparse_rows = SparseRows(matrix).to(self.device)
        return Batch(sparse_rows, sparse_rows.squared_norms()[core], graph)


@dataclass
class Outcome:
    """What a network makes of a tissue."""

    embedding: NDArray[np.float32]
    """[N, L]."""
    attention: list[sparse.csr_matrix] = field(default_factory=list)
    """[N, N] of every kind, if asked for; rows sum to one."""


@torch.no_grad()
def apply(
    network: Stagate,
    tissue: Tissue,
    batch_cells: int | None,
    *,
    attention: bool = False,
    guessed: Callable[[NDArray[np.int64], NDArray[np.float32]], None] | None = None,
) -> Outcome:
    """Embed a tissue block by block, which gives what the whole at once would give.

    Parameters
    ----------
    network, tissue
        A trained network, and cells.
    batch_cells
        Most cells in a block; None for all at once.
    attention
        Whether attention is wanted.
    guessed
        Called with the cells and the reconstruction [n, G] of every block, if that is wanted.
    """
    edges = tissue.graph.adjacency
    kinds = 1 + (network.pruned_attention is not None)
    weights = [np.zeros(edges.nnz, np.float32) for _ in range(kinds if attention else 0)]
    embedding = np.empty((len(tissue), network.weight1.shape[1]), np.float32)
    with own_threads():
        for core, batch in tissue.blocks(batch_cells):
            encoded = network.encode(network.project(batch.rows), batch.graph)
            embedding[core] = encoded.embedding[: len(core)].cpu().numpy()
            for whole, part in zip(weights, encoded.parts, strict=False):
                places = tissue.graph.edges_of(core)
                whole[places] = part[: len(places)].cpu().numpy()
            if guessed:
                guessed(core, network.reconstruct(encoded, batch.graph).cpu().numpy())
    # copies, as dropping zeros moves the indices too
    found = [
        sparse.csr_matrix((kind, edges.indices, edges.indptr), edges.shape, copy=True) for kind in weights
    ]
    for matrix in found:
        matrix.eliminate_zeros()
    return Outcome(embedding, found)
