"""FusedGATv2Conv: PyG's `GATv2Conv` without messages in memory."""

from __future__ import annotations

import logging
from copy import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATv2Conv
from torch_geometric.nn.dense import Linear
from torch_geometric.utils import add_self_loops, remove_self_loops

from tissuegraph.nn import attention_cpu
from tissuegraph.nn.device_lists import DeviceLists, device_lists_of
from tissuegraph.nn.neighbour_lists import NeighbourLists, lists_of

MAX_CHANNELS = 128
"""Channels of a head beyond which a row no longer fits the registers, and PyG's code runs."""
MAX_FEATURES = 16
"""Features of an edge beyond which projecting them once, as PyG does, costs less."""

log = logging.getLogger(__name__)


def _in_main_memory(device: torch.device) -> bool:
    return device.type == "cpu"


def _walk_on(device: torch.device) -> Any:
    """The function that attends there, or None."""
    if _in_main_memory(device):
        return attention_cpu.Attend
    return _on_gpu() if device.type == "cuda" else None


@cache
def _on_gpu() -> Any:
    """What attends on a GPU; None, which is said once, without triton."""
    try:
        from tissuegraph.nn.attention_triton import Attend
    except ImportError:
        log.warning("no module triton: attention on the GPU runs as PyG's, with its memory; install triton")
        return None
    return Attend


class FusedGATv2Conv(GATv2Conv):
    """PyG's `GATv2Conv` without messages in memory: same arguments, parameters and results.

    It walks the neighbours of each target, forth and, for the gradient, back, on the CPU and, with triton, on
    a GPU. What the walk does not cover runs as PyG's own code: other devices, more than `MAX_CHANNELS`
    channels or `MAX_FEATURES` edge features, dropout in training, aggregations other than the sum, returned
    weights, hooks, explanations, compilation. Not covered, and an error, are second derivatives.

    Two runs are bit-equal, whatever the number of threads. Under mixed precision the walk is in the
    precision of the parameters.

    References
    ----------
    Brody et al. 2022 (GATv2); Dao et al. 2022 (a softmax that is computed again for the gradient).
    """

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | NeighbourLists,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        """Attend: x [N, F] or ([N, F], [M, F']), edge_index [2, E], edge_attr [E, D] -> [M, heads * C].

        The edges may also come as `NeighbourLists`, which nothing is sorted or copied for. They are taken as
        they are, and the order of returned weights is theirs: `add_self_loops` adds none to them.
        """
        pair = (x, x) if isinstance(x, Tensor) else x
        fits = not return_attention_weights and self._fits(*pair, edge_attr)
        if isinstance(edge_index, NeighbourLists):
            _check_sizes(edge_index, *pair)
            if not fits or (edge_attr is not None and len(edge_attr) != len(edge_index.neighbours)):
                as_listed = copy(self)  # the same parameters
                as_listed.add_self_loops = False
                edges = edge_index.edge_index.to(pair[0].device)
                return as_listed.forward(x, edges, edge_attr, return_attention_weights)
            device = pair[0].device
            return self._attend(
                x, edge_index if _in_main_memory(device) else edge_index.on(device), edge_attr
            )
        lists = self._lists(*pair, edge_index, edge_attr) if fits else None
        if lists is None:
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        if edge_attr is not None:
            edge_attr = self._sorted(edge_attr, edge_index, lists.places, min(map(len, pair)))
        return self._attend(x, lists, edge_attr)

    def _attend(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        lists: NeighbourLists | DeviceLists,
        edge_attr: Tensor | None,
    ) -> Tensor:
        """What `forward` gives; edge_attr [E, D] in the order of the lists."""
        pair = (x, x) if isinstance(x, Tensor) else x
        x_l = self._project(self.lin_l, pair[0])
        x_r = x_l if self.share_weights and isinstance(x, Tensor) else self._project(self.lin_r, pair[1])
        edges, weight = self.att.new_empty(0, 0), self.att.new_empty(0, self.heads, self.out_channels)
        if edge_attr is not None:
            edges = edge_attr if edge_attr.dim() == 2 else edge_attr[:, None]
            weight = self.lin_edge.weight.T.view(-1, self.heads, self.out_channels)
        walk = _walk_on(self.att.device)
        out = walk.apply(x_l, x_r, self.att, edges, weight, self.negative_slope, lists)
        if not self.concat:
            out = out.view(-1, self.heads, self.out_channels).mean(dim=1)
        if self.res is not None:
            out += self.res(pair[1])
        if self.bias is not None:
            out += self.bias
        return out

    def _project(self, linear: nn.Module, x: Tensor) -> Tensor:
        return linear(x).to(self.att.dtype).view(-1, self.heads, self.out_channels)

    def _lists(
        self, x_l: Tensor, x_r: Tensor, edge_index: Tensor, edge_attr: Tensor | None
    ) -> NeighbourLists | DeviceLists | None:
        """Sort the edges, if they are edges of these nodes and as many as have features."""
        sizes = len(x_l), len(x_r)
        if not _is_edge_list(edge_index, *sizes, x_l.device):
            return None
        if edge_attr is not None and len(edge_attr) != edge_index.shape[1]:
            return None
        if _in_main_memory(x_l.device):
            features = edge_attr is not None
            return lists_of(edge_index, *sizes, loops=self.add_self_loops, places=features)
        return device_lists_of(edge_index, *sizes, loops=self.add_self_loops)

    def _sorted(self, edge_attr: Tensor, edge_index: Tensor, places: Any, num_nodes: int) -> Tensor:
        """Features of the edges in the order of their lists, after PyG's of self-loops."""
        if self.add_self_loops:
            edges = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
            edges, edge_attr = remove_self_loops(edges, edge_attr)
            fill = self.fill_value
            _, edge_attr = add_self_loops(edges, edge_attr, fill_value=fill, num_nodes=num_nodes)
        return edge_attr[torch.as_tensor(places, device=edge_attr.device)]

    def _fits(self, x_l: Tensor, x_r: Tensor, edge_attr: Tensor | None) -> bool:
        """Say whether the kernels cover this call, but for its edges."""
        return (
            not (torch.compiler.is_compiling() or torch.jit.is_tracing())
            and self.aggr in ("add", "sum")
            and self.flow == "source_to_target"
            and not (self.dropout and self.training)
            and not self.explain
            and not self._hooked()
            and self.out_channels <= MAX_CHANNELS
            and self.att.dtype in (torch.float32, torch.float64)
            and all(_is_plain(x, self.att.device) for x in (x_l, x_r, self.att))
            and x_l.dim() == x_r.dim() == 2
            and (edge_attr is None or self._fits_edges(edge_attr))
            and _walk_on(self.att.device) is not None
        )

    def _fits_edges(self, edge_attr: Tensor) -> bool:
        """Say whether these are [E, D] or [E] features of edges that the kernels take."""
        linear: Any = self.lin_edge
        return (
            type(linear) is Linear
            and all(_is_plain(part, self.att.device) for part in (edge_attr, linear.weight))
            and edge_attr.dtype == self.att.dtype
            and edge_attr.dim() in (1, 2)
            and linear.in_channels == (edge_attr.shape[1] if edge_attr.dim() == 2 else 1)
            and 0 < linear.in_channels <= MAX_FEATURES
        )

    def _hooked(self) -> bool:
        """Say whether someone listens to the steps of message passing."""
        steps = ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
        return any(getattr(self, f"_{step}_forward{when}_hooks") for step in steps for when in ("", "_pre"))


def _check_sizes(lists: NeighbourLists, x_l: Tensor, x_r: Tensor) -> None:
    """Raise an IndexError where the lists are those of other nodes."""
    if (lists.num_others, len(lists.pointer) - 1) != (len(x_l), len(x_r)):
        message = f"the lists join other nodes than the {len(x_l)} and {len(x_r)} given"
        raise IndexError(message)


def _is_plain(x: Any, device: torch.device) -> bool:
    """Say whether this is a dense tensor on that device, and no subclass with a life of its own."""
    return type(x) in (Tensor, nn.Parameter) and x.device == device and x.layout == torch.strided


def _is_edge_list(edge_index: Any, num_sources: int, num_targets: int, device: torch.device) -> bool:
    """Say whether these are edges [2, E] between that many nodes, as far as they say how many."""
    if isinstance(edge_index, EdgeIndex):
        sizes = zip(edge_index.sparse_size(), (num_sources, num_targets), strict=True)
        if any(said not in (None, seen) for said, seen in sizes):
            return False
        edge_index = edge_index.as_tensor()
    return (
        _is_plain(edge_index, device)
        and edge_index.dim() == 2 == len(edge_index)
        and edge_index.dtype in (torch.int64, torch.int32)
    )
