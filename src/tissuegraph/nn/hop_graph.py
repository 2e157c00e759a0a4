"""The neighbour graph that layers of an encoder listen along, whole or around some cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from tissuegraph.graph.hops import rings
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.nn.sparse import Pattern


class Hop:
    """Who hears whom in one layer.

    Attributes
    ----------
    pattern
        [cells after the layer, cells before it] neighbours, itself among them; cells that are left after it
        are the first of those before it.
    weights
        [E] normalised weights of the edges.
    """

    def __init__(self, pattern: Pattern, weights: Tensor) -> None:
        self.pattern, self.weights = pattern, weights

    @cached_property
    def lists(self) -> NeighbourLists:
        """The same for attention, which knows no weights."""
        return NeighbourLists(self.pattern.pointer, self.pattern.columns, self.pattern.num_columns)


@dataclass
class Hops:
    """The layers' edges, in the order of the layers."""

    layers: list[Hop]

    @property
    def num_core(self) -> int:
        """How many cells come out at the end."""
        return self.layers[-1].pattern.num_rows

    def to(self, device: torch.device | str) -> Hops:
        """Move the weights; patterns and lists follow where they are asked for."""
        for hop in self.layers:
            hop.weights = hop.weights.to(device)
        return self


class HopGraph:
    """A graph of cells in which each hears its neighbours and itself.

    Weights are those of a graph convolution: `w_ij / sqrt(d_i d_j)`, with a weight of one to itself and
    `d_i = sum_j w_ij` (Kipf and Welling 2017).

    Parameters
    ----------
    adjacency
        [N, N] positive weights; row i lists the cells that cell i hears. The diagonal is replaced by ones.
    """

    def __init__(self, adjacency: sparse.csr_matrix) -> None:
        graph = sparse.csr_matrix(adjacency, dtype=np.float64, copy=True)
        graph.sum_duplicates()
        graph.setdiag(0)
        graph.eliminate_zeros()
        graph = sparse.csr_matrix(graph + sparse.identity(graph.shape[0], np.float64, "csr"))
        graph.sort_indices()
        roots = np.sqrt(np.asarray(graph.sum(1)).ravel())
        rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
        graph.data /= roots[rows] * roots[graph.indices]
        self.edges = graph.astype(np.float32)

    def __len__(self) -> int:
        return int(self.edges.shape[0])

    def whole(self, num_layers: int) -> Hops:
        """All cells at once."""
        pattern = Pattern(self.edges.indptr, self.edges.indices, len(self))
        return Hops([Hop(pattern, torch.from_numpy(self.edges.data))] * num_layers)

    def around(self, core: NDArray[np.int64], num_layers: int) -> tuple[NDArray[np.int64], Hops]:
        """Cut out some cells and all that can matter to them.

        Returns
        -------
        The cells, core first, then their neighbours, then the neighbours of those; and their edges.
        """
        cells, sizes = rings(self.edges, core, num_layers)
        places = np.full(len(self), -1, np.int32)
        places[cells] = np.arange(len(cells), dtype=np.int32)
        lengths = np.diff(self.edges.indptr)[cells[: sizes[-2]]]
        pointer = np.concatenate([[0], np.cumsum(lengths)])
        edges = np.arange(pointer[-1]) + np.repeat(
            self.edges.indptr[cells[: sizes[-2]]] - pointer[:-1], lengths
        )
        columns, weights = places[self.edges.indices[edges]], torch.from_numpy(self.edges.data[edges])
        layers = []
        for rows, others in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
            end = pointer[rows]
            layers.append(Hop(Pattern(pointer[: rows + 1], columns[:end], others), weights[:end]))
        return cells, Hops(layers)
