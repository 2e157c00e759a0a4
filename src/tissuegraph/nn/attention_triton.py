"""Attention over neighbour lists on a GPU: `triton_kernels` as a differentiable function."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tissuegraph.nn import triton_kernels as kernels
from tissuegraph.nn.device_lists import DeviceLists

MOST_NEIGHBOURS = 16
"""Neighbours that a program looks at together, at most."""
TILE = 4096
"""Numbers that they may be, features by channels by neighbours."""
NUMBERS_A_WARP = 512
MOST_WARPS = 8
MOST_PARTS, FEWEST_PARTS = 8192, 64
"""Parts of a sum over all edges, each of which some targets share."""
NUMBERS_OF_PARTS = 2**22
"""Numbers in all parts, beyond which there are fewer of them."""


def _sizes(x: Tensor, weight: Tensor, slope: float) -> dict[str, Any]:
    """What a kernel is compiled for: x [N, heads, channels], weight [features, heads, channels]."""
    _, heads, channels = x.shape
    width, parts = triton.next_power_of_2(channels), triton.next_power_of_2(max(len(weight), 1))
    block = max(1, min(MOST_NEIGHBOURS, TILE // (width * parts)))
    warps = block * width * parts // NUMBERS_A_WARP
    return {
        "SLOPE": slope,
        "HEADS": heads,
        "CHANNELS": channels,
        "WIDTH": width,
        "FEATURES": len(weight),
        "PARTS": parts,
        "BLOCK": block,
        "num_warps": max(1, min(MOST_WARPS, warps)),
    }


def _rows_a_part(num_targets: int, size: int) -> int:
    """How many targets share a part of that many numbers: the shape alone decides, so that sums repeat."""
    parts = max(FEWEST_PARTS, min(MOST_PARTS, NUMBERS_OF_PARTS // max(size, 1)))
    return max(1, -(-num_targets // parts))


def _launch(kernel: Any, programs: int, x: Tensor, *arguments: Any, **sizes: Any) -> None:
    """Run a kernel for every program and head, on the device of `x` [N, heads, channels]."""
    here = torch.cuda.device(x.device) if x.is_cuda else nullcontext()
    if programs and x.shape[1]:
        with here:
            kernel[(programs, x.shape[1])](*arguments, **sizes)


class Attend(Function):
    """What `attention_cpu.Attend` computes, for tensors on a GPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x_l: Tensor,
        x_r: Tensor,
        att: Tensor,
        edges: Tensor,
        weight: Tensor,
        slope: float,
        lists: DeviceLists,
    ) -> Tensor:
        """Walk by target."""
        tables = [part.contiguous() for part in (x_l, x_r, att, edges, weight)]
        num_targets, heads, channels = x_r.shape
        out = x_r.new_empty(num_targets, heads * channels)
        norm = x_r.new_empty(num_targets, 2, heads)
        ctx.sizes, ctx.lists = _sizes(x_r, weight, slope), lists
        ctx.save_for_backward(*tables, norm)
        walk = lists.pointer, lists.neighbours, *tables, out, norm
        _launch(kernels.forward, num_targets, tables[1], *walk, **ctx.sizes)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """Walk by target, then by source."""
        *tables, norm = ctx.saved_tensors
        x_l, x_r, att, edges, weight = tables
        lists, grad, num_targets = ctx.lists, grad_out.contiguous(), len(x_r)
        rows = _rows_a_part(num_targets, max(len(weight), 1) * att.numel())
        num_parts = -(-num_targets // rows)
        grad_l, grad_r = torch.empty_like(x_l), torch.empty_like(x_r)
        along = x_r.new_empty(num_targets, x_r.shape[1])
        of_att = att.new_empty(num_parts, *att.shape[1:], dtype=torch.float64)
        of_weight = weight.new_empty(num_parts, *weight.shape, dtype=torch.float64)
        asked = bool(ctx.needs_input_grad[3])
        of_edges = edges.new_empty(len(edges) if asked else 0, x_r.shape[1], edges.shape[1])

        walk = lists.pointer, lists.neighbours, *tables, norm, grad, along, grad_r
        sums = of_att, of_weight, of_edges, num_targets, rows
        _launch(kernels.backward_targets, num_parts, x_r, *walk, *sums, **ctx.sizes, OF_EDGES=asked)
        turned = lists.transposed
        back = turned.pointer, turned.neighbours, turned.places, *tables, norm, grad, along, grad_l
        _launch(kernels.backward_sources, len(x_l), x_r, *back, **ctx.sizes)
        grad_att = of_att.sum(0, keepdim=True).to(att.dtype)
        grad_weight = (of_weight.sum(0) * att).to(att.dtype)
        return grad_l, grad_r, grad_att, of_edges.sum(1) if asked else None, grad_weight, None, None
