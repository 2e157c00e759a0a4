"""The channels of a node and head as one value in numba, a `Row`, which LLVM keeps in vector registers.

Left to itself it must assume that the tables overlap, and loops over channels take twice as long.
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
