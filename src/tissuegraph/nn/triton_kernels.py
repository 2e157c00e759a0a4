"""The walks of `attention_kernels` on a GPU, in Triton: one program a node and head.

A program takes `BLOCK` neighbours at a time, with a running softmax forth and two walks back: by target,
then by source. Nothing is added atomically, so that two runs are bit-equal. Of every edge nothing is written
but, where it is asked for, the gradient of its own features.

Channels and edge features are padded to powers of two, as Triton wants them; padding is zero.
"""

from __future__ import annotations

import triton
import triton.language as tl


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
