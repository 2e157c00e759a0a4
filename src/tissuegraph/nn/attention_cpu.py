"""Attention over neighbour lists in main memory: `attention_kernels` as a differentiable function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tissuegraph.nn import attention_kernels as kernels
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.parallel import all_jobs


def _in_chunks(kernel: Callable[..., None], bounds: list[tuple[int, int]]) -> None:
    """Call `kernel(chunk, first, last)` for every range, on as many threads as torch uses.

    These are Python threads, as numba's own can neither be forked nor be called by two threads at once.
    """
    jobs = [(chunk, first, last) for chunk, (first, last) in enumerate(bounds)]
    all_jobs(kernel, jobs, torch.get_num_threads())


class Attend(Function):
    """`out_i = sum_j softmax_j(att . leaky_relu(x_l[j] + x_r[i] + e_ij W)) x_l[j]`, [M, heads * channels].

    Features `e` [E, D] stand in the order of the lists, `W` is [D, heads, channels]; D may be 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_l: Tensor,
        x_r: Tensor,
        att: Tensor,
        edges: Tensor,
        weight: Tensor,
        slope: float,
        lists: NeighbourLists,
    ) -> Tensor:
        """Walk by target."""
        saved = [part.contiguous() for part in (x_l, x_r, att, edges, weight)]
        num_targets, heads, channels = x_r.shape
        out = x_r.new_empty(num_targets, heads * channels)
        norm = x_r.new_empty(num_targets, 2, heads)
        ctx.save_for_backward(*saved, norm)
        # The kernels are compiled for numbers of channels and features: the lengths of these tuples.
        ctx.lanes = (0,) * channels, (0,) * len(weight)
        ctx.lists, ctx.slope = lists, norm.numpy().dtype.type(slope)
        tables = [table.numpy() for table in saved]
        results = out.numpy().reshape(x_r.shape), norm.numpy()
        walk = (*ctx.lanes, lists.pointer, lists.neighbours, *tables, ctx.slope, *results)
        _in_chunks(lambda _, *rows: kernels.forward(*walk, *rows), lists.bounds)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """Walk by target, then by source."""
        *tables, norm = (saved.numpy() for saved in ctx.saved_tensors)
        x_l, x_r, att, edges, weight = tables
        grad = grad_out.contiguous().numpy().reshape(x_r.shape)
        grad_l, grad_r = np.empty_like(x_l), np.empty_like(x_r)
        grad_edges = np.zeros_like(edges if ctx.needs_input_grad[3] else edges[:0])
        known = np.empty((len(x_r), 3, x_r.shape[1]), x_r.dtype)

        lists = ctx.lists
        # Sums over all edges: one part a chunk, in double precision, added in order.
        of_att, of_weight = (np.zeros((len(lists.bounds), *of.shape)) for of in (att[0], weight))
        walk = (*ctx.lanes, lists.pointer, lists.neighbours, *tables, ctx.slope, norm)
        results = grad, known, grad_r, grad_edges

        def by_target(chunk: int, *rows: int) -> None:
            kernels.backward_targets(*walk, *results, of_att[chunk], of_weight[chunk], *rows)

        _in_chunks(by_target, lists.bounds)
        order = lists.order if len(weight) else lists.neighbours[:0].astype(np.int64)
        turned = lists.transposed
        back = (*ctx.lanes, turned.pointer, turned.neighbours, order, *tables, ctx.slope, grad, known, grad_l)
        _in_chunks(lambda _, *rows: kernels.backward_sources(*back, *rows), turned.bounds)
        grad_att = of_att.sum(0, keepdims=True).astype(att.dtype)
        grad_weight = (of_weight.sum(0) * att).astype(att.dtype)
        grads = (torch.from_numpy(part) for part in (grad_l, grad_r, grad_att, grad_edges, grad_weight))
        return *grads, None, None
