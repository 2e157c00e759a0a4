"""Edges sorted by the node that hears them, once for all layers of a network."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex
from torch_geometric.utils import add_self_loops, remove_self_loops

from tissuegraph.nn.device_lists import DeviceLists
from tissuegraph.nn.row_vectors import compiled

MAX_CHUNKS = 64
ITEMS_A_CHUNK = 4096


class NeighbourLists:
    """The neighbours of every row in CSR form, cut into chunks that the graph alone decides.

    Attributes
    ----------
    pointer
        [rows + 1] start of each row's neighbours.
    neighbours
        [E] numbers of the neighbours.
    bounds
        Ranges `[first, last)` of rows of about equal work; the result does not depend on how many threads
        share them.
    places
        [E] number of each edge in the edges that were sorted, if it was asked for.
    """

    def __init__(
        self,
        pointer: NDArray[np.int64],
        neighbours: NDArray[np.int32],
        num_others: int,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.pointer, self.neighbours, self.num_others = pointer, neighbours, num_others
        self.places = places
        self._elsewhere: dict[torch.device, DeviceLists] = {}
        num_rows = len(pointer) - 1
        work = pointer + np.arange(num_rows + 1)
        count = min(MAX_CHUNKS, 1 + int(work[-1]) // ITEMS_A_CHUNK)
        cuts = np.searchsorted(work, np.linspace(0, work[-1], count + 1)[1:-1]).tolist()
        self.bounds: list[tuple[int, int]] = list(zip([0, *cuts], [*cuts, num_rows], strict=True))

    @cached_property
    def transposed(self) -> NeighbourLists:
        """The same edges, by neighbour; only a gradient asks for it."""
        pointer, neighbours = _transpose(self.pointer, self.neighbours, self.num_others)
        return NeighbourLists(pointer, neighbours, len(self.pointer) - 1)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Number in these lists of each edge of `transposed`; only edges with features ask for it."""
        return _transposed_order(self.pointer, self.neighbours, self.transposed.pointer)

    def on(self, device: torch.device) -> DeviceLists:
        """The same in the memory of a GPU, copied once."""
        if device not in self._elsewhere:
            pointer, neighbours = (
                torch.from_numpy(part).to(device) for part in (self.pointer, self.neighbours)
            )
            self._elsewhere[device] = DeviceLists(pointer, neighbours, self.num_others)
        return self._elsewhere[device]

    @property
    def edge_index(self) -> Tensor:
        """The same edges as [2, E]: neighbour, row."""
        rows = np.repeat(np.arange(len(self.pointer) - 1), np.diff(self.pointer))
        return torch.from_numpy(np.stack([self.neighbours.astype(np.int64), rows]))


_known_lists: Any = WeakTensorKeyDictionary()
"""Lists of an edge tensor for as long as it lives; the layers of a network share one edge tensor."""


def lists_of(
    edge_index: Tensor, num_sources: int, num_targets: int, *, loops: bool, places: bool = False
) -> NeighbourLists | None:
    """Sort edges by target, or find them sorted.

    Parameters
    ----------
    edge_index
        [2, E] source and target of each edge, in any order.
    num_sources, num_targets
        How many nodes there are.
    loops
        Whether every node also hears itself, once.
    places
        Whether the lists shall know where each edge came from.

    Returns
    -------
    The sources of each target, or None where an edge joins a node that is not there.
    """
    edges = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
    sources, targets = (row.contiguous().numpy() for row in edges.long())
    # A tensor can change unseen by torch (through numpy), so that its content must be the key.
    key = (_fingerprint(sources, targets), len(sources), num_sources, num_targets, loops, places)
    known_key, lists = _known_lists.get(edge_index, (None, None))
    if known_key == key:
        return lists
    if not _within(sources, targets, num_sources, num_targets):
        return None
    if loops:
        edges, _ = remove_self_loops(edges)
        edges, _ = add_self_loops(edges, num_nodes=min(num_sources, num_targets))
        sources, targets = (row.contiguous().numpy() for row in edges.long())
    pointer, neighbours = _sort(targets, sources, num_targets)
    lists = NeighbourLists(pointer, neighbours, num_sources, _places(targets, pointer) if places else None)
    _known_lists[edge_index] = (key, lists)
    return lists


@compiled
def _fingerprint(sources, targets):  # type: ignore[no-untyped-def]
    """Hash edges [E], [E] in their order into 64 bits (multiply and shift, as in splitmix)."""
    result = np.uint64(0)
    for edge in range(len(sources)):
        word = (np.uint64(sources[edge]) << np.uint64(32)) + np.uint64(targets[edge])
        word = (word ^ (np.uint64(edge) * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
        result += word ^ (word >> np.uint64(32))
    return result


@compiled
def _within(sources, targets, num_sources, num_targets):  # type: ignore[no-untyped-def]
    """Say whether every edge joins nodes that exist."""
    right = True
    for edge in range(len(sources)):
        right &= 0 <= sources[edge] < num_sources
        right &= 0 <= targets[edge] < num_targets
    return right


@compiled
def _sort(rows, neighbours, num_rows):  # type: ignore[no-untyped-def]
    """Sort edges [E], [E] by row, stably: where each row starts [num_rows + 1], and its neighbours [E]."""
    pointer = np.zeros(num_rows + 1, np.int64)
    for row in rows:
        pointer[row + 1] += 1
    for row in range(num_rows):
        pointer[row + 1] += pointer[row]
    place = pointer.copy()
    ordered = np.empty(len(rows), np.int32)
    for edge in range(len(rows)):
        ordered[place[rows[edge]]] = neighbours[edge]
        place[rows[edge]] += 1
    return pointer, ordered


@compiled
def _places(rows, pointer):  # type: ignore[no-untyped-def]
    """Where each edge that `_sort` sorted by `rows` came from, [E]."""
    place = pointer.copy()
    result = np.empty(len(rows), np.int64)
    for edge in range(len(rows)):
        result[place[rows[edge]]] = edge
        place[rows[edge]] += 1
    return result


@compiled
def _transposed_order(pointer, neighbours, turned):  # type: ignore[no-untyped-def]
    """Number of each edge of the transposed lists, which start at `turned`, [E]."""
    place = turned.copy()
    result = np.empty(len(neighbours), np.int64)
    for edge in range(pointer[-1]):
        result[place[neighbours[edge]]] = edge
        place[neighbours[edge]] += 1
    return result


@compiled
def _transpose(pointer, neighbours, num_others):  # type: ignore[no-untyped-def]
    """Sort the edges of CSR lists by neighbour."""
    turned = np.zeros(num_others + 1, np.int64)
    for other in neighbours:
        turned[other + 1] += 1
    for other in range(num_others):
        turned[other + 1] += turned[other]
    place = turned.copy()
    ordered = np.empty(len(neighbours), np.int32)
    for row in range(len(pointer) - 1):
        for edge in range(pointer[row], pointer[row + 1]):
            ordered[place[neighbours[edge]]] = row
            place[neighbours[edge]] += 1
    return turned, ordered
