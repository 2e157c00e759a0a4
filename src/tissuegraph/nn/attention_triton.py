"""The walks of `attention_kernels` on a GPU, in Triton: one program a node and head.

A program takes `BLOCK` neighbours at a time, with a running softmax forth and two walks back: by target,
then by source. Nothing is added atomically, so that two runs are bit-equal. Of every edge nothing is written
but, where it is asked for, the gradient of its own features.

Channels and edge features are padded to powers of two, as Triton wants them; padding is zero.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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


@triton.jit
def _row(table, node, head, HEADS: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """`table[node, head, :]`."""
    lanes = tl.arange(0, WIDTH)
    return tl.load(table + (node * HEADS + head) * CHANNELS + lanes, mask=lanes < CHANNELS, other=0.0)


@triton.jit
def _rows(  # type: ignore[no-untyped-def]
    table, nodes, valid, head, HEADS: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr
):
    """`table[nodes, head, :]`, zero where a node is not valid."""
    lanes = tl.arange(0, WIDTH)
    places = (nodes[:, None] * HEADS + head) * CHANNELS + lanes[None, :]
    return tl.load(table + places, mask=valid[:, None] & (lanes < CHANNELS)[None, :], other=0.0)


@triton.jit
def _store(table, node, head, row, HEADS: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write `table[node, head, :]`."""
    lanes = tl.arange(0, WIDTH)
    tl.store(table + (node * HEADS + head) * CHANNELS + lanes, row, mask=lanes < CHANNELS)


@triton.jit
def _told(edges, places, valid, FEATURES: tl.constexpr, PARTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Features of edges, `edges[places, :]`."""
    parts = tl.arange(0, PARTS)
    mask = valid[:, None] & (parts < FEATURES)[None, :]
    return tl.load(edges + places[:, None] * FEATURES + parts[None, :], mask=mask, other=0.0)


@triton.jit
def _weights(  # type: ignore[no-untyped-def]
    weight,
    head,
    FEATURES: tl.constexpr,
    PARTS: tl.constexpr,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """`weight[:, head, :]`."""
    parts = tl.arange(0, PARTS)
    return _rows(weight, parts, parts < FEATURES, head, HEADS, CHANNELS, WIDTH)


@triton.jit
def _through(told, w):  # type: ignore[no-untyped-def]
    """`told @ w`, in the precision of both (`tl.dot` would take tensor cores and round)."""
    return tl.sum(told[:, :, None] * w[None, :, :], axis=1)


@triton.jit
def _tilt(v, SLOPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Slope of leaky ReLU at each value."""
    return tl.where(v > 0, tl.full(v.shape, 1.0, v.dtype), tl.full(v.shape, SLOPE, v.dtype))


@triton.jit
def _neighbours(neighbours, start, end, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The next neighbours, the numbers of their edges, and which of them there are."""
    edges = start + tl.arange(0, BLOCK)
    valid = edges < end
    return tl.load(neighbours + edges, mask=valid, other=0).to(tl.int64), edges, valid


@triton.jit
def forward(  # type: ignore[no-untyped-def]
    pointer,
    neighbours,
    x_l,
    x_r,
    att,
    edges,
    weight,
    out,
    norm,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    FEATURES: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write `out` [M, heads, channels] and `norm` [M, 2, heads]: highest score, one over the sum."""
    i, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin, end = tl.load(pointer + i), tl.load(pointer + i + 1)
    here, a = _row(x_r, i, h, HEADS, CHANNELS, WIDTH), _row(att, 0, h, HEADS, CHANNELS, WIDTH)
    if FEATURES:
        w = _weights(weight, h, FEATURES, PARTS, HEADS, CHANNELS, WIDTH)
    peak, mass = tl.full((), float("-inf"), here.dtype), tl.full((), 0.0, here.dtype)
    result = tl.zeros((WIDTH,), here.dtype)
    for start in range(begin, end, BLOCK):
        nodes, places, valid = _neighbours(neighbours, start, end, BLOCK)
        x = _rows(x_l, nodes, valid, h, HEADS, CHANNELS, WIDTH)
        v = x + here[None, :]
        if FEATURES:
            v += _through(_told(edges, places, valid, FEATURES, PARTS), w)
        score = tl.sum(_tilt(v, SLOPE) * v * a[None, :], axis=1)
        score = tl.where(valid, score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, axis=0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # else -inf - -inf
        share = tl.where(valid, tl.exp(score - base), 0.0)
        kept = tl.exp(peak - base)
        mass = mass * kept + tl.sum(share, axis=0)
        result = result * kept + tl.sum(share[:, None] * x, axis=0)
        peak = higher
    scale = tl.where(end > begin, 1.0 / tl.where(end > begin, mass, 1.0), 0.0)
    tl.store(norm + (2 * i) * HEADS + h, peak)
    tl.store(norm + (2 * i + 1) * HEADS + h, scale)
    _store(out, i, h, result * scale, HEADS, CHANNELS, WIDTH)


@triton.jit
def backward_targets(  # type: ignore[no-untyped-def]
    pointer,
    neighbours,
    x_l,
    x_r,
    att,
    edges,
    weight,
    norm,
    grad,
    along,
    grad_r,
    of_att,
    of_weight,
    of_edges,
    num_targets,
    rows,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    FEATURES: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    OF_EDGES: tl.constexpr,
):
    """Write `along` [M, heads] (`g . out`), `grad_r`, and parts of the sums over edges for `rows` targets.

    `of_att` is [parts, heads, channels], `of_weight` [parts, features, heads, channels], both yet to be
    multiplied (the latter by `att`), and `of_edges` [E, heads, features].
    """
    part, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    a = _row(att, 0, h, HEADS, CHANNELS, WIDTH)
    all_att = tl.zeros((WIDTH,), tl.float64)
    if FEATURES:
        w = _weights(weight, h, FEATURES, PARTS, HEADS, CHANNELS, WIDTH)
        all_weight = tl.zeros((PARTS, WIDTH), tl.float64)
    for i in range(part * rows, tl.minimum((part + 1) * rows, num_targets)):
        begin, end = tl.load(pointer + i), tl.load(pointer + i + 1)
        here, g = _row(x_r, i, h, HEADS, CHANNELS, WIDTH), _row(grad, i, h, HEADS, CHANNELS, WIDTH)
        peak, scale = tl.load(norm + (2 * i) * HEADS + h), tl.load(norm + (2 * i + 1) * HEADS + h)
        mean = tl.full((), 0.0, here.dtype)
        for start in range(begin, end, BLOCK):
            nodes, places, valid = _neighbours(neighbours, start, end, BLOCK)
            x = _rows(x_l, nodes, valid, h, HEADS, CHANNELS, WIDTH)
            v = x + here[None, :]
            if FEATURES:
                v += _through(_told(edges, places, valid, FEATURES, PARTS), w)
            score = tl.sum(_tilt(v, SLOPE) * v * a[None, :], axis=1)
            alpha = tl.where(valid, tl.exp(tl.where(valid, score - peak, 0.0)) * scale, 0.0)
            mean += tl.sum(alpha * tl.sum(x * g[None, :], axis=1), axis=0)
        row_r, row_att = tl.zeros((WIDTH,), here.dtype), tl.zeros((WIDTH,), here.dtype)
        if FEATURES:
            row_weight = tl.zeros((PARTS, WIDTH), here.dtype)
        for start in range(begin, end, BLOCK):
            nodes, places, valid = _neighbours(neighbours, start, end, BLOCK)
            x = _rows(x_l, nodes, valid, h, HEADS, CHANNELS, WIDTH)
            v = x + here[None, :]
            if FEATURES:
                told = _told(edges, places, valid, FEATURES, PARTS)
                v += _through(told, w)
            score = tl.sum(_tilt(v, SLOPE) * v * a[None, :], axis=1)
            alpha = tl.where(valid, tl.exp(tl.where(valid, score - peak, 0.0)) * scale, 0.0)
            gain = tl.sum(x * g[None, :], axis=1) - mean
            side = _tilt(v, SLOPE) * (alpha * gain)[:, None]
            row_r += tl.sum(side, axis=0)
            row_att += tl.sum(side * v, axis=0)
            if FEATURES:
                row_weight += tl.sum(told[:, :, None] * side[:, None, :], axis=0)
                if OF_EDGES:
                    parts = tl.arange(0, PARTS)
                    back = tl.sum((side * a[None, :])[:, None, :] * w[None, :, :], axis=2)
                    where = ((places * HEADS + h) * FEATURES)[:, None] + parts[None, :]
                    tl.store(of_edges + where, back, mask=valid[:, None] & (parts < FEATURES)[None, :])
        tl.store(along + i * HEADS + h, mean)
        _store(grad_r, i, h, row_r * a, HEADS, CHANNELS, WIDTH)
        all_att += row_att.to(tl.float64)
        if FEATURES:
            all_weight += row_weight.to(tl.float64)
    _store(of_att, part, h, all_att, HEADS, CHANNELS, WIDTH)
    if FEATURES:
        parts, lanes = tl.arange(0, PARTS), tl.arange(0, WIDTH)
        where = ((part * FEATURES + parts)[:, None] * HEADS + h) * CHANNELS + lanes[None, :]
        mask = (parts < FEATURES)[:, None] & (lanes < CHANNELS)[None, :]
        tl.store(of_weight + where, all_weight, mask=mask)


@triton.jit
def backward_sources(  # type: ignore[no-untyped-def]
    pointer,
    neighbours,
    order,
    x_l,
    x_r,
    att,
    edges,
    weight,
    norm,
    grad,
    along,
    grad_l,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    FEATURES: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write `grad_l`; `neighbours` are the targets that hear a source, `order` the numbers of the edges."""
    j, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin, end = tl.load(pointer + j), tl.load(pointer + j + 1)
    here, a = _row(x_l, j, h, HEADS, CHANNELS, WIDTH), _row(att, 0, h, HEADS, CHANNELS, WIDTH)
    if FEATURES:
        w = _weights(weight, h, FEATURES, PARTS, HEADS, CHANNELS, WIDTH)
    direct, through = tl.zeros((WIDTH,), here.dtype), tl.zeros((WIDTH,), here.dtype)
    for start in range(begin, end, BLOCK):
        nodes, places, valid = _neighbours(neighbours, start, end, BLOCK)
        v = _rows(x_r, nodes, valid, h, HEADS, CHANNELS, WIDTH) + here[None, :]
        if FEATURES:
            turned = tl.load(order + places, mask=valid, other=0)
            v += _through(_told(edges, turned, valid, FEATURES, PARTS), w)
        g = _rows(grad, nodes, valid, h, HEADS, CHANNELS, WIDTH)
        peak = tl.load(norm + (2 * nodes) * HEADS + h, mask=valid, other=0.0)
        scale = tl.load(norm + (2 * nodes + 1) * HEADS + h, mask=valid, other=0.0)
        mean = tl.load(along + nodes * HEADS + h, mask=valid, other=0.0)
        score = tl.sum(_tilt(v, SLOPE) * v * a[None, :], axis=1)
        share = tl.where(valid, tl.exp(tl.where(valid, score - peak, 0.0)) * scale, 0.0)
        gain = tl.sum(g * here[None, :], axis=1) - mean
        direct += tl.sum(g * share[:, None], axis=0)
        through += tl.sum(_tilt(v, SLOPE) * (share * gain)[:, None], axis=0)
    _store(grad_l, j, h, direct + through * a, HEADS, CHANNELS, WIDTH)


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
        _launch(forward, num_targets, tables[1], *walk, **ctx.sizes)
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
        _launch(backward_targets, num_parts, x_r, *walk, *sums, **ctx.sizes, OF_EDGES=asked)
        turned = lists.transposed
        back = turned.pointer, turned.neighbours, turned.places, *tables, norm, grad, along, grad_l
        _launch(backward_sources, len(x_l), x_r, *back, **ctx.sizes)
        grad_att = of_att.sum(0, keepdim=True).to(att.dtype)
        grad_weight = (of_weight.sum(0) * att).to(att.dtype)
        return grad_l, grad_r, grad_att, of_edges.sum(1) if asked else None, grad_weight, None, None
