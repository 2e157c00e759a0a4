"""Edges sorted by the node that hears them, in the memory of a GPU."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex
from torch_geometric.utils import add_self_loops, remove_self_loops


class DeviceLists:
    """The neighbours of every row in CSR form, as `NeighbourLists` has them in main memory.

    Attributes
    ----------
    pointer
        [rows + 1] int64, start of each row's neighbours.
    neighbours
        [E] int32, numbers of the neighbours.
    places
        [E] number of each edge in the edges that were sorted; None where nothing was.
    """

    def __init__(
        self, pointer: Tensor, neighbours: Tensor, num_others: int, places: Tensor | None = None
    ) -> None:
        self.pointer, self.neighbours, self.num_others = pointer, neighbours, num_others
        self.places = places

    @cached_property
    def transposed(self) -> DeviceLists:
        """The same edges, by neighbour; `places` are numbers in these lists."""
        rows = torch.arange(len(self.pointer) - 1, dtype=torch.int32, device=self.pointer.device)
        degrees, size = self.pointer.diff(), len(self.neighbours)
        rows = torch.repeat_interleave(rows, degrees, output_size=size)
        return sort_by(self.neighbours, rows, self.num_others, len(self.pointer) - 1)


def sort_by(rows: Tensor, neighbours: Tensor, num_rows: int, num_others: int) -> DeviceLists:
    """Sort edges [E], [E] by row, stably."""
    ordered, places = torch.sort(rows, stable=True)
    starts = torch.arange(num_rows + 1, dtype=rows.dtype, device=rows.device)
    pointer = torch.searchsorted(ordered, starts)
    return DeviceLists(pointer, neighbours[places].int(), num_others, places)


_known_lists: Any = WeakTensorKeyDictionary()
"""A copy of the edges and their lists for as long as the edge tensor lives: it may change in place."""


def device_lists_of(
    edge_index: Tensor, num_sources: int, num_targets: int, *, loops: bool
) -> DeviceLists | None:
    """Sort edges by target, or find them sorted; see `neighbour_lists.lists_of`."""
    edges = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
    key = (num_sources, num_targets, loops)
    known_key, seen, lists = _known_lists.get(edge_index, (None, None, None))
    if known_key == key and torch.equal(seen, edges):
        return lists
    sizes = edges.new_tensor([[num_sources], [num_targets]])
    if not bool(((edges >= 0) & (edges < sizes)).all()):
        return None
    seen = edges.clone()
    if loops:
        edges, _ = remove_self_loops(edges)
        edges, _ = add_self_loops(edges, num_nodes=min(num_sources, num_targets))
    lists = sort_by(edges[1], edges[0], num_targets, num_sources)
    _known_lists[edge_index] = (key, seen, lists)
    return lists
