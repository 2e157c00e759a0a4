"""FusedGATv2Conv: PyG's `GATv2Conv` without messages in memory."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATv2Conv

from tissuegraph.nn import attention_kernels as kernels
from tissuegraph.nn.neighbour_lists import NeighbourLists, lists_of
from tissuegraph.parallel import all_jobs

MAX_CHANNELS = 128
"""Channels of a head beyond which a row no longer fits the registers, and PyG's code runs."""


def _in_chunks(kernel: Callable[..., None], bounds: list[tuple[int, int]]) -> None:
    """Call `kernel(chunk, first, last)` for every range, on as many threads as torch uses.

    These are Python threads, as numba's own can neither be forked nor be called by two threads at once.
    """
    jobs = [(chunk, first, last) for chunk, (first, last) in enumerate(bounds)]
    all_jobs(kernel, jobs, torch.get_num_threads())


class _Attend(Function):
    """`out_i = sum_j softmax_j(att . leaky_relu(x_l[j] + x_r[i])) x_l[j]`, [M, heads * channels]."""

    @staticmethod
    def forward(
        ctx: Any, x_l: Tensor, x_r: Tensor, att: Tensor, slope: float, lists: NeighbourLists
    ) -> Tensor:
        x_l, x_r, att = (part.contiguous() for part in (x_l, x_r, att))
        num_targets, heads, channels = x_r.shape
        out = x_r.new_empty(num_targets, heads * channels)
        norm = x_r.new_empty(num_targets, 2, heads)
        ctx.save_for_backward(x_l, x_r, att, norm)
        # The kernels are compiled for a number of channels, which is the length of this tuple.
        ctx.lists, ctx.lanes, ctx.slope = lists, (0,) * channels, norm.numpy().dtype.type(slope)
        tables = [table.numpy() for table in (x_l, x_r, att)]
        results = out.numpy().reshape(x_r.shape), norm.numpy()
        walk = (ctx.lanes, lists.pointer, lists.neighbours, *tables, ctx.slope, *results)
        _in_chunks(lambda _, *rows: kernels.forward(*walk, *rows), lists.bounds)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        *tables, norm = (saved.numpy() for saved in ctx.saved_tensors)
        x_l, x_r, att = tables
        grad = grad_out.contiguous().numpy().reshape(x_r.shape)
        grad_l, grad_r = np.empty_like(x_l), np.empty_like(x_r)
        known = np.empty((len(x_r), 3, x_r.shape[1]), x_r.dtype)

        lists = ctx.lists
        # A sum over all edges: one part a chunk, in double precision, added in order.
        parts = np.zeros((len(lists.bounds), *att.shape[1:]))
        walk = (ctx.lanes, lists.pointer, lists.neighbours, *tables, ctx.slope, norm, grad, known, grad_r)
        _in_chunks(lambda chunk, *rows: kernels.backward_targets(*walk, parts[chunk], *rows), lists.bounds)

        lists = lists.transposed
        back = (ctx.lanes, lists.pointer, lists.neighbours, *tables, ctx.slope, grad, known, grad_l)
        _in_chunks(lambda _, *rows: kernels.backward_sources(*back, *rows), lists.bounds)
        grad_att = parts.sum(0, keepdims=True).astype(att.dtype)
        return *(torch.from_numpy(part) for part in (grad_l, grad_r, grad_att)), None, None


class FusedGATv2Conv(GATv2Conv):
    """PyG's `GATv2Conv`, several times faster on the CPU: same arguments, parameters and results.

    It walks the neighbours of each target, forth and, for the gradient, back, and writes no message to
    memory. What the walk does not cover runs as PyG's own code: other devices, edge features, dropout in
    training, aggregations other than the sum, returned weights, hooks, explanations, compilation. Not
    covered, and an error, are second derivatives.

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
        """Attend: x [N, F] or ([N, F], [M, F']) and edge_index [2, E] -> [M, heads * channels].

        The edges may also come as `NeighbourLists`, which nothing is sorted or copied for. They are taken as
        they are, and the order of returned weights is theirs: `add_self_loops` adds none to them.
        """
        pair = (x, x) if isinstance(x, Tensor) else x
        lists = None
        if isinstance(edge_index, NeighbourLists):
            if (edge_index.num_others, len(edge_index.pointer) - 1) != (len(pair[0]), len(pair[1])):
                message = f"the lists join other nodes than the {len(pair[0])} and {len(pair[1])} given"
                raise IndexError(message)
            if edge_attr is None and return_attention_weights is None and self._fits_lists(*pair):
                lists = edge_index
            else:
                as_listed = copy(self)  # the same parameters
                as_listed.add_self_loops = False
                return as_listed.forward(x, edge_index.edge_index, edge_attr, return_attention_weights)
        elif edge_attr is None and return_attention_weights is None and self._fits(*pair, edge_index):
            lists = lists_of(edge_index, len(pair[0]), len(pair[1]), loops=self.add_self_loops)
        if lists is None:
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        x_l = self._project(self.lin_l, pair[0])
        x_r = x_l if self.share_weights and isinstance(x, Tensor) else self._project(self.lin_r, pair[1])
        out = _Attend.apply(x_l, x_r, self.att, self.negative_slope, lists)
        if not self.concat:
            out = out.view(-1, self.heads, self.out_channels).mean(dim=1)
        if self.res is not None:
            out += self.res(pair[1])
        if self.bias is not None:
            out += self.bias
        return out

    def _project(self, linear: nn.Module, x: Tensor) -> Tensor:
        return linear(x).to(self.att.dtype).view(-1, self.heads, self.out_channels)

    def _fits(self, x_l: Tensor, x_r: Tensor, edge_index: Tensor) -> bool:
        """Say whether the kernels cover this call."""
        return self._fits_lists(x_l, x_r) and _is_edge_list(edge_index, len(x_l), len(x_r))

    def _fits_lists(self, x_l: Tensor, x_r: Tensor) -> bool:
        return (
            not (torch.compiler.is_compiling() or torch.jit.is_tracing())
            and self.aggr in ("add", "sum")
            and self.flow == "source_to_target"
            and not (self.dropout and self.training)
            and not self.explain
            and not self._hooked()
            and self.out_channels <= MAX_CHANNELS
            and self.att.dtype in (torch.float32, torch.float64)
            and all(_is_plain(x) for x in (x_l, x_r, self.att))
            and x_l.dim() == x_r.dim() == 2
        )

    def _hooked(self) -> bool:
        """Say whether someone listens to the steps of message passing."""
        steps = ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
        return any(getattr(self, f"_{step}_forward{when}_hooks") for step in steps for when in ("", "_pre"))


def _is_plain(x: Any) -> bool:
    """Say whether this is a dense tensor in main memory, and no subclass with a life of its own."""
    return type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and x.layout == torch.strided


def _is_edge_list(edge_index: Any, num_sources: int, num_targets: int) -> bool:
    """Say whether these are edges [2, E] between that many nodes, as far as they say how many."""
    if isinstance(edge_index, EdgeIndex):
        sizes = zip(edge_index.sparse_size(), (num_sources, num_targets), strict=True)
        if any(said not in (None, seen) for said, seen in sizes):
            return False
        edge_index = edge_index.as_tensor()
    return (
        _is_plain(edge_index)
        and edge_index.dim() == 2 == len(edge_index)
        and edge_index.dtype in (torch.int64, torch.int32)
    )
