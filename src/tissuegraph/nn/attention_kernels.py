"""Loops over neighbour lists that `attention.FusedGATv2Conv` runs instead of writing messages to memory.

Every kernel is serial, lets go of the GIL and writes only the rows `[first, last)` that it is given, so
that any thread may run any part. With the score `s_ij = att . leaky_relu(x_l[j] + x_r[i])`,
`alpha_ij = exp(s_ij - peak_i) / sum_k exp(s_ik - peak_i)`, `out_i = sum_j alpha_ij x_l[j]` and `g` the
gradient of `out`, the gradient of `s_ij` is `alpha_ij (g_i . x_l[j] - g_i . out_i)`: backwards, too, every
edge is on its own once three numbers of its target are known.

The channels of a head are one value, a `Row`, which LLVM keeps in vector registers. Left to itself it must
assume that the tables overlap, and the loops take twice as long.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, overload, register_model, type_callable

from tissuegraph import parallel

FAST = ("reassoc", "contract", "nsz", "arcp")
"""Sums may be reordered, which lets them use vector registers; NaN and infinity keep their meaning."""

CACHE_LINE_BYTES = 64
MOST_AHEAD = 64
"""Rows that are asked for early; more would push each other out of the cache."""

PEAK, SCALE, ALONG = 0, 1, 2
"""What is known of a target and head: highest score, one over the sum, `g . out`."""


compiled = partial(parallel.compiled, fastmath=set(FAST))


class Row(types.Type):
    """The channels of one node and head, as one vector."""

    def __init__(self, dtype: types.Float, channels: int) -> None:
        self.dtype, self.channels = dtype, channels
        super().__init__(f"Row({dtype}, {channels})")


@register_model(Row)
class RowModel(models.PrimitiveModel):
    """A row is an LLVM vector."""

    def __init__(self, manager: Any, row: Row) -> None:
        number = manager.lookup(row.dtype).get_value_type()
        super().__init__(manager, row, ir.VectorType(number, row.channels))


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """Repeat a number in all places of a vector."""
    if isinstance(value.type, ir.VectorType):
        return value
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.IntType(32)(0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, undefined, places)


def _register(symbol: Callable[..., Any], instruction: str) -> None:
    """Let a row be combined with a row or a number of its own type."""

    @type_callable(symbol)
    def find_type(_context: Any) -> Any:
        return lambda a, b: a if isinstance(a, Row) and b in (a, a.dtype) else None

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        both = (_spread(builder, value, vector) for value in arguments)
        return getattr(builder, instruction)(*both, flags=FAST)

    lower_builtin(symbol, Row, Row)(lower)
    lower_builtin(symbol, Row, types.Float)(lower)


_register(operator.add, "fadd")
_register(operator.mul, "fmul")


@intrinsic
def tilt(_context: Any, row: Any, slope: Any) -> Any:
    """Slope of leaky ReLU at each value: 1 above zero, `slope` elsewhere."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, low = arguments[0], _spread(builder, arguments[1], arguments[0].type)
        zeros, ones = (ir.Constant(value.type, [number] * value.type.count) for number in (0.0, 1.0))
        return builder.select(builder.fcmp_ordered(">", value, zeros), ones, low)

    return row(row, slope), generate


@intrinsic
def total(_context: Any, row: Any) -> Any:
    """Sum of a row."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vector = arguments[0].type
        number = vector.element
        name = f"llvm.vector.reduce.fadd.v{vector.count}{number.intrinsic_name}"
        kind = ir.FunctionType(number, [number, vector])
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [ir.Constant(number, -0.0), arguments[0]], fastmath=FAST)

    return row.dtype(row), generate


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, int]:
    """Address and alignment of `table[i, h, :]`; arguments are lanes, table, i, h."""
    lanes, kind = signature.args[:2]
    table = context.make_array(kind)(context, builder, arguments[1])
    heads = builder.extract_value(table.shape, 1)
    place = builder.add(builder.mul(arguments[2], heads), arguments[3])
    start = builder.gep(table.data, [builder.mul(place, place.type(lanes.count))])
    vector = ir.VectorType(context.get_value_type(kind.dtype), lanes.count)
    return builder.bitcast(start, vector.as_pointer()), kind.dtype.bitwidth // 8


@intrinsic
def zeros(_context: Any, lanes: Any, table: Any) -> Any:
    """Row of zeros of the table's type."""

    def generate(context: Any, _builder: Any, signature: Any, _arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(signature.return_type), [0.0] * lanes.count)

    return Row(table.dtype, lanes.count)(lanes, table), generate


@intrinsic
def load(_context: Any, lanes: Any, table: Any, _i: Any, _h: Any) -> Any:
    """Row `table[i, h, :]` of a contiguous table whose last axis is as long as `lanes`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, align = _address(context, builder, signature, arguments)
        return builder.load(address, align=align, typ=context.get_value_type(signature.return_type))

    return Row(table.dtype, lanes.count)(lanes, table, types.intp, types.intp), generate


@intrinsic
def store(_context: Any, lanes: Any, table: Any, _i: Any, _h: Any, row: Any) -> Any:
    """Write a row to `table[i, h, :]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, align = _address(context, builder, signature, arguments)
        builder.store(arguments[4], address, align=align)
        return context.get_dummy_value()

    return types.void(lanes, table, types.intp, types.intp, row), generate


@intrinsic
def prefetch(_context: Any, table: Any, _place: Any) -> Any:
    """Ask for the cache line of `table.ravel()[place]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        read, keep, as_data = number(0), number(3), number(1)
        builder.call(hint, [address, read, keep, as_data])
        return context.get_dummy_value()

    return types.void(table, types.intp), generate


@intrinsic
def _power_of_two(_context: Any, _shifted: Any) -> Any:
    """2^n of a float32 that holds `n + 1.5 * 2^23`: its low bits, moved to the exponent."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        bits = builder.add(builder.bitcast(arguments[0], number), number(127))
        return builder.bitcast(builder.shl(bits, number(23)), ir.FloatType())

    return types.float32(types.float32), generate


def exp(x: float) -> float:
    """`exp(x)` for `x <= 0`."""
    return math.exp(x)


LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
SHIFT, ONE, LOWEST = np.float32(1.5 * 2**23), np.float32(1), np.float32(-86)
C2, C3, C4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
C5, C6, C7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)


@overload(exp, jit_options={"fastmath": {"contract"}})
def _exp(x):  # type: ignore[no-untyped-def]
    """In float32 a polynomial without branches (Cephes `expf`), which LLVM turns into vector code."""

    def exact(x):  # type: ignore[no-untyped-def]
        return math.exp(x)

    def vectorised(x):  # type: ignore[no-untyped-def]
        x = LOWEST if x < LOWEST else x
        shifted = x * LOG2_E + SHIFT  # the sum rounds to a whole number
        whole = shifted - SHIFT
        r = x - whole * LN2_HIGH - whole * LN2_LOW
        series = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
        return (series * r * r + r + ONE) * _power_of_two(shifted)

    return vectorised if x == types.float32 else exact


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
