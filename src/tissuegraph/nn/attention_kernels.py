"""Loops over neighbour lists that `attention.FusedGATv2Conv` runs instead of writing messages to memory.

Every kernel is serial, lets go of the GIL and writes only the rows `[first, last)` that it is given, so
that any thread may run any part. With the score `s_ij = att . leaky_relu(x_l[j] + x_r[i] + e_ij W)`,
`alpha_ij = exp(s_ij - peak_i) / sum_k exp(s_ik - peak_i)`, `out_i = sum_j alpha_ij x_l[j]` and `g` the
gradient of `out`, the gradient of `s_ij` is `alpha_ij (g_i . x_l[j] - g_i . out_i)`: backwards, too, every
edge is on its own once three numbers of its target are known.

The channels of a head are one value, see `row_vectors`.
"""

from __future__ import annotations

import numpy as np

from tissuegraph.nn.row_vectors import compiled, exp, load, prefetch, store, tilt, total, zeros

CACHE_LINE_BYTES = 64
MOST_AHEAD = 64
"""Rows that are asked for early; more would push each other out of the cache."""

PEAK, SCALE, ALONG = 0, 1, 2
"""What is known of a target and head: highest score, one over the sum, `g . out`."""


@compiled
def ask_ahead(table, neighbours, begin, count):  # type: ignore[no-untyped-def]
    """Ask for the rows of the next neighbours: a random row of a large table takes long to come."""
    width = table.shape[1] * table.shape[2]
    for edge in range(begin, min(begin + min(count, MOST_AHEAD), len(neighbours))):
        for offset in range(0, width, CACHE_LINE_BYTES // table.itemsize):
            prefetch(table, neighbours[edge] * width + offset)


@compiled
def scratch(table, pointer, first, last):  # type: ignore[no-untyped-def]
    """Room for one number a head and neighbour, for the longest list among `[first, last)`."""
    most = 0
    for row in range(first, last):
        most = max(most, pointer[row + 1] - pointer[row])
    return np.empty(most * table.shape[1], table.dtype)


@compiled
def joined(lanes, features, v, edges, weight, edge, h):  # type: ignore[no-untyped-def]
    """Add what the features of an edge make of `v`: `v + edges[edge] @ weight[:, h]`."""
    for d in range(len(features)):
        v = v + load(lanes, weight, d, h) * edges[edge, d]
    return v


@compiled
def forward(  # type: ignore[no-untyped-def]
    lanes, features, pointer, neighbours, x_l, x_r, att, edges, weight, slope, out, norm, first, last
):
    """Write `out` [M, heads, channels] and `norm` [M, 2, heads] of some targets.

    `lanes` is a tuple with as many items as a head has channels, `features` one with as many as an edge has
    features: the compiler knows their lengths.
    """
    zero, one, lowest = x_l.dtype.type(0), x_l.dtype.type(1), x_l.dtype.type(-np.inf)
    shares = scratch(x_l, pointer, first, last)
    for i in range(first, last):
        begin, end = pointer[i], pointer[i + 1]
        degree = end - begin
        ask_ahead(x_l, neighbours, end, degree)
        for h in range(x_l.shape[1]):
            here, a = load(lanes, x_r, i, h), load(lanes, att, 0, h)
            score = shares[h * degree : (h + 1) * degree]
            peak = lowest
            for k in range(degree):
                v = load(lanes, x_l, neighbours[begin + k], h) + here
                v = joined(lanes, features, v, edges, weight, begin + k, h)
                score[k] = total(tilt(v, slope) * v * a)
                peak = max(peak, score[k])
            for k in range(degree):
                score[k] -= peak
            norm[i, PEAK, h] = peak
        for k in range(x_l.shape[1] * degree):
            shares[k] = exp(shares[k])
        for h in range(x_l.shape[1]):
            result, mass = zeros(lanes, x_l), zero
            for k in range(degree):
                share = shares[h * degree + k]
                result = result + load(lanes, x_l, neighbours[begin + k], h) * share
                mass += share
            norm[i, SCALE, h] = one / mass if degree else zero
            store(lanes, out, i, h, result * norm[i, SCALE, h])


@compiled
def backward_targets(  # type: ignore[no-untyped-def]
    lanes,
    features,
    pointer,
    neighbours,
    x_l,
    x_r,
    att,
    edges,
    weight,
    slope,
    norm,
    grad,
    known,
    grad_r,
    grad_edges,
    grad_att,
    grad_weight,
    first,
    last,
):
    """Write `known` [M, 3, heads] and `grad_r` of some targets, and what their edges say to the rest.

    Their share is added to `grad_att` and `grad_weight` (yet to be multiplied by `att`), and `grad_edges` is
    written, if it has room.
    """
    alphas, along = scratch(x_l, pointer, first, last), scratch(x_l, pointer, first, last)
    share, share_weight, zero = np.empty_like(att), np.empty_like(weight), x_l.dtype.type(0)
    for i in range(first, last):
        begin, end = pointer[i], pointer[i + 1]
        degree = end - begin
        ask_ahead(x_l, neighbours, end, degree)
        for h in range(x_l.shape[1]):
            here, a, g = load(lanes, x_r, i, h), load(lanes, att, 0, h), load(lanes, grad, i, h)
            for k in range(degree):
                x = load(lanes, x_l, neighbours[begin + k], h)
                v = joined(lanes, features, x + here, edges, weight, begin + k, h)
                alphas[h * degree + k] = total(tilt(v, slope) * v * a) - norm[i, PEAK, h]
                along[h * degree + k] = total(x * g)
        for k in range(x_l.shape[1] * degree):
            alphas[k] = exp(alphas[k])
        for h in range(x_l.shape[1]):
            alpha, gain = alphas[h * degree : (h + 1) * degree], along[h * degree : (h + 1) * degree]
            mean = zero
            for k in range(degree):
                alpha[k] *= norm[i, SCALE, h]
                mean += alpha[k] * gain[k]
            known[i, PEAK, h], known[i, SCALE, h] = norm[i, PEAK, h], norm[i, SCALE, h]
            known[i, ALONG, h] = mean
            here, of_r, of_att = load(lanes, x_r, i, h), zeros(lanes, x_l), zeros(lanes, x_l)
            a = load(lanes, att, 0, h)
            for d in range(len(features)):
                store(lanes, share_weight, d, h, zeros(lanes, x_l))
            for k in range(degree):
                v = load(lanes, x_l, neighbours[begin + k], h) + here
                v = joined(lanes, features, v, edges, weight, begin + k, h)
                side = tilt(v, slope) * (alpha[k] * (gain[k] - mean))
                of_r = of_r + side
                of_att = of_att + side * v
                for d in range(len(features)):
                    told = load(lanes, share_weight, d, h) + side * edges[begin + k, d]
                    store(lanes, share_weight, d, h, told)
                    if len(grad_edges):
                        grad_edges[begin + k, d] += total(side * a * load(lanes, weight, d, h))
            store(lanes, grad_r, i, h, of_r * a)
            store(lanes, share, 0, h, of_att)
        for h in range(x_l.shape[1]):
            for c in range(x_l.shape[2]):
                grad_att[h, c] += share[0, h, c]
                for d in range(len(features)):
                    grad_weight[d, h, c] += share_weight[d, h, c]


@compiled
def backward_sources(  # type: ignore[no-untyped-def]
    lanes,
    features,
    pointer,
    neighbours,
    order,
    x_l,
    x_r,
    att,
    edges,
    weight,
    slope,
    grad,
    known,
    grad_l,
    first,
    last,
):
    """Write `grad_l` of some sources; `neighbours` are the targets that hear them.

    `order` has the number of each edge, if edges have features.
    """
    alpha, along = scratch(x_l, pointer, first, last), scratch(x_l, pointer, first, last)
    for j in range(first, last):
        begin, end = pointer[j], pointer[j + 1]
        degree = end - begin
        for table in (x_r, grad, known):
            ask_ahead(table, neighbours, end, degree)
        for h in range(x_l.shape[1]):
            here, a = load(lanes, x_l, j, h), load(lanes, att, 0, h)
            for k in range(degree):
                i = neighbours[begin + k]
                v = load(lanes, x_r, i, h) + here
                if len(features):
                    v = joined(lanes, features, v, edges, weight, order[begin + k], h)
                alpha[h * degree + k] = total(tilt(v, slope) * v * a) - known[i, PEAK, h]
                along[h * degree + k] = total(load(lanes, grad, i, h) * here) - known[i, ALONG, h]
        for k in range(x_l.shape[1] * degree):
            alpha[k] = exp(alpha[k])
        for h in range(x_l.shape[1]):
            here = load(lanes, x_l, j, h)
            direct, through = zeros(lanes, x_l), zeros(lanes, x_l)
            for k in range(degree):
                i = neighbours[begin + k]
                share = alpha[h * degree + k] * known[i, SCALE, h]
                direct = direct + load(lanes, grad, i, h) * share
                v = load(lanes, x_r, i, h) + here
                if len(features):
                    v = joined(lanes, features, v, edges, weight, order[begin + k], h)
                through = through + tilt(v, slope) * (share * along[h * degree + k])
            store(lanes, grad_l, j, h, direct + through * load(lanes, att, 0, h))
