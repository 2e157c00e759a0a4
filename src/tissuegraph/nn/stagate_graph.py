"""The neighbour graph that STAGATE attends over, whole or cut into blocks with their two-hop surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from tissuegraph.nn.sparse import Pattern


@dataclass
class AttentionGraph:
    """Who listens to whom, in the order: core cells, their neighbours, the neighbours of those.

    Attributes
    ----------
    pattern
        [cells with a hidden state, all cells] neighbours, itself among them. In a whole graph both are N.
    weights
        [E] factor of every edge before the softmax; one each is the paper's model.
    pruned_weights
        [E] the same with zeros between cells of different types, or None.
    num_core
        How many cells are reconstructed.
    """

    pattern: Pattern
    weights: Tensor
    pruned_weights: Tensor | None
    num_core: int

    @cached_property
    def decoder(self) -> Pattern:
        """[core cells, cells with a hidden state] the edges along which the decoder listens."""
        return self.pattern.head(self.num_core, self.pattern.num_rows)

    def to(self, device: torch.device) -> None:
        """Move the weights; the pattern follows where it is asked for."""
        self.weights = self.weights.to(device)
        if self.pruned_weights is not None:
            self.pruned_weights = self.pruned_weights.to(device)


class CellGraph:
    """The graph of all cells, each with itself as a neighbour.

    Parameters
    ----------
    adjacency
        [N, N] positive weight of every edge; row i lists the cells that cell i listens to. The diagonal is
        replaced by ones.
    types
        [N] number of the type of each cell, -1 where unknown, for cell-type-aware attention.
    """

    def __init__(self, adjacency: sparse.csr_matrix, types: NDArray[np.int64] | None = None) -> None:
        graph = sparse.csr_matrix(adjacency, dtype=np.float32, copy=True)
        graph.sum_duplicates()
        graph.setdiag(0)
        graph.eliminate_zeros()
        graph = sparse.csr_matrix(graph + sparse.identity(graph.shape[0], np.float32, "csr"))
        graph.sort_indices()
        self.adjacency = graph
        self.num_cells = graph.shape[0]
        self.pruned: NDArray[np.float32] | None = None
        if types is not None:
            rows = np.repeat(np.arange(self.num_cells), np.diff(graph.indptr))
            same = (types[rows] == types[graph.indices]) & (types[rows] >= 0)
            self.pruned = np.where(same | (rows == graph.indices), graph.data, np.float32(0))

    def mean(self, alpha: float) -> sparse.csr_matrix:
        """[N, N] averages over a cell and its neighbours, a share `alpha` of it within the cell's type."""
        kinds = [(1.0, self.adjacency)]
        if alpha and self.pruned is not None:
            edges = self.adjacency
            same = sparse.csr_matrix((self.pruned, edges.indices, edges.indptr), edges.shape)
            kinds = [(1 - alpha, edges), (alpha, same)]
        rows = [sparse.diags(share / np.asarray(kind.sum(1)).ravel()) @ kind for share, kind in kinds]
        return sparse.csr_matrix(sum(rows[1:], rows[0]))

    def whole(self, dtype: torch.dtype = torch.float32) -> AttentionGraph:
        """All cells at once."""
        pattern = Pattern(self.adjacency.indptr, self.adjacency.indices, self.num_cells)
        return self._with_weights(pattern, slice(None), self.num_cells, dtype)

    def around(
        self, core: NDArray[np.int64], dtype: torch.dtype = torch.float32
    ) -> tuple[NDArray[np.int64], AttentionGraph]:
        """Cut out some cells and all that can matter to their reconstruction.

        Returns
        -------
        The cells, core first, and the graph between them.
        """
        inner = np.concatenate([core, self._beyond(core)])
        cells = np.concatenate([inner, self._beyond(inner)])
        places = np.full(self.num_cells, -1, np.int32)
        places[cells] = np.arange(len(cells), dtype=np.int32)
        pointer = np.concatenate([[0], np.cumsum(np.diff(self.adjacency.indptr)[inner])])
        edges = self.edges_of(inner)
        pattern = Pattern(pointer, places[self.adjacency.indices[edges]], len(cells))
        return cells, self._with_weights(pattern, edges, len(core), dtype)

    def edges_of(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in `adjacency.data` of the edges of some cells, cell by cell."""
        starts, lengths = self.adjacency.indptr[cells], np.diff(self.adjacency.indptr)[cells]
        ends = np.cumsum(lengths)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)

    def _beyond(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Neighbours of some cells that are not among them, in ascending order."""
        near = np.zeros(self.num_cells, bool)
        near[self.adjacency[cells].indices] = True
        near[cells] = False
        return np.flatnonzero(near)

    def _with_weights(
        self, pattern: Pattern, edges: NDArray[np.int64] | slice, num_core: int, dtype: torch.dtype
    ) -> AttentionGraph:
        weights = torch.from_numpy(self.adjacency.data[edges]).to(dtype)
        pruned = None if self.pruned is None else torch.from_numpy(self.pruned[edges]).to(dtype)
        return AttentionGraph(pattern, weights, pruned, num_core)


def patches(positions: NDArray[np.float64], most_cells: int) -> list[NDArray[np.int64]]:
    """Cut cells at positions [N, D] into compact patches of at most so many, halving the longer side."""
    done: list[NDArray[np.int64]] = []
    waiting = [np.arange(len(positions))]
    while waiting:
        cells = waiting.pop()
        if len(cells) <= most_cells:
            done.append(cells)
            continue
        here = positions[cells]
        axis = int(np.argmax(np.ptp(here, axis=0)))
        order = np.argsort(here[:, axis], kind="stable")
        waiting += [np.sort(cells[order[: len(cells) // 2]]), np.sort(cells[order[len(cells) // 2 :]])]
    return done


def mixed_batches(
    parts: list[NDArray[np.int64]], batch_cells: int, generator: torch.Generator
) -> Iterator[NDArray[np.int64]]:
    """Draw patches in random order and join them to batches of about so many cells."""
    order = torch.randperm(len(parts), generator=generator).tolist()
    number = max(1, round(sum(map(len, parts)) / batch_cells))
    for batch in np.array_split(np.array(order), min(number, len(order))):
        yield np.concatenate([parts[part] for part in batch])
