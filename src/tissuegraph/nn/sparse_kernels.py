"""Loops over rows of sparse matrices: products with tables, dots along edges, attention and its gradient.

Every kernel is serial, lets go of the GIL and writes only the rows `[first, last)` it is given, so that any
thread may run any part with the same result. Rows of a table are read in vectors of as many numbers as the
tuple `lanes` is long, which LLVM keeps in registers (see `row_vectors`).
"""

from __future__ import annotations

import math
from functools import partial

from tissuegraph import parallel
from tissuegraph.nn.row_vectors import load, store, total, zeros

# sums keep their order: where they may be reordered, LLVM decides at run time, by where the arrays lie,
# between a loop of vectors and one of numbers, and the last bits change from call to call
compiled = partial(parallel.compiled, fastmath={"contract"})


@compiled
def panel_product(lanes, pointer, columns, values, panels, out, panel, first, last):  # type: ignore[no-untyped-def]
    """`out[i, panel] = sum_k values[k] panels[panel, columns[k]]`: one panel of the table fits the cache."""
    for i in range(first, last):
        row = zeros(lanes, panels)
        for k in range(pointer[i], pointer[i + 1]):
            row = row + load(lanes, panels, panel, columns[k]) * values[k]
        store(lanes, out, i, panel, row)


@compiled
def row_product(lanes, pointer, columns, values, table, out, first, last):  # type: ignore[no-untyped-def]
    """`out[i, p] = sum_k values[k] table[columns[k], p]`, for short rows of columns that are near."""
    for i in range(first, last):
        for p in range(table.shape[1]):
            row = zeros(lanes, table)
            for k in range(pointer[i], pointer[i + 1]):
                row = row + load(lanes, table, columns[k], p) * values[k]
            store(lanes, out, i, p, row)


@compiled
def edge_dots(lanes, pointer, columns, left, right, out, first, last):  # type: ignore[no-untyped-def]
    """`out[k] = left[i] . right[columns[k]]` for every edge of row i."""
    for i in range(first, last):
        for k in range(pointer[i], pointer[i + 1]):
            out[k] = 0
        for p in range(left.shape[1]):
            here = load(lanes, left, i, p)
            for k in range(pointer[i], pointer[i + 1]):
                out[k] += total(here * load(lanes, right, columns[k], p))


@compiled
def attention(pointer, columns, weights, receivers, senders, gates, shares, first, last):  # type: ignore[no-untyped-def]
    """`gates[k] = sigmoid(receivers[i] + senders[j])`; shares go with `weights[k] exp(gates[k])`."""
    one = receivers.dtype.type(1)
    for i in range(first, last):
        whole = one - one
        for k in range(pointer[i], pointer[i + 1]):
            gates[k] = one / (one + math.exp(-(receivers[i] + senders[columns[k]])))
            shares[k] = weights[k] * math.exp(gates[k])
            whole += shares[k]
        for k in range(pointer[i], pointer[i + 1]):
            shares[k] /= whole


@compiled
def attention_gradient(pointer, gates, shares, grad, slopes, receivers, first, last):  # type: ignore[no-untyped-def]
    """Gradient of what the sigmoid takes, by edge (`slopes`) and summed over each row (`receivers`)."""
    for i in range(first, last):
        mean = receivers.dtype.type(0)
        for k in range(pointer[i], pointer[i + 1]):
            mean += shares[k] * grad[k]
        along = receivers.dtype.type(0)
        for k in range(pointer[i], pointer[i + 1]):
            slopes[k] = shares[k] * (grad[k] - mean) * gates[k] * (1 - gates[k])
            along += slopes[k]
        receivers[i] = along


@compiled
def row_sums(pointer, order, values, out, first, last):  # type: ignore[no-untyped-def]
    """`out[i] = sum_k values[order[k]]`."""
    for i in range(first, last):
        along = out.dtype.type(0)
        for k in range(pointer[i], pointer[i + 1]):
            along += values[order[k]]
        out[i] = along
