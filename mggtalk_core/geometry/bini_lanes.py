"""Vectors of one cache line for compiled loops: what the compiler does not find by itself is spelled out.

Numba's arrays may overlap as far as the compiler knows. It therefore tests for that before every short run of cells,
and loads each neighbour anew where a shift of what is in the registers would do. Here a loop loads, shifts, adds and
stores whole lines; on processors with narrower registers a line takes several of them, with the same result. Everything
in this file works inside compiled functions only, and becomes part of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import Signature
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LINE = 64
"""Bytes of a vector: what a processor fetches at once."""
FUSED = ("contract", "nsz")
"""A product and a sum may be rounded once."""
INDEX = ir.IntType(32)
Typed = tuple[Signature, Callable[..., Any]]


class Lanes(types.Type):
    """The numbers of one line."""

    def __init__(self, scalar: types.Float) -> None:
        """Take as many numbers as a line holds."""
        self.scalar, self.count = scalar, LINE * 8 // scalar.bitwidth
        super().__init__(name=f"Lanes({scalar})")

    def vector(self) -> ir.VectorType:
        """Return the compiler's type."""
        return ir.VectorType(ir.DoubleType() if self.scalar == types.float64 else ir.FloatType(), self.count)

    def choice(self, lanes: range) -> ir.Constant:
        """Return which lanes of two vectors, side by side, make up a new one."""
        return ir.Constant(ir.VectorType(INDEX, self.count), list(lanes))


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Lanes live in the processor's vector registers."""

    def __init__(self, manager: Any, lanes: Lanes) -> None:
        """Tell the compiler's type."""
        super().__init__(manager, lanes, lanes.vector())


def _address(context: Any, builder: ir.IRBuilder, array: types.Array, value: ir.Value, index: ir.Value) -> ir.Value:
    first = builder.gep(context.make_array(array)(context, builder, value).data, [index])
    return builder.bitcast(first, ir.PointerType(Lanes(array.dtype).vector()))


@intrinsic
def load(_context: Any, array: types.Array, index: types.Integer) -> Typed:
    """Return the line that begins at any ``index``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        return builder.load(_address(context, builder, array, *values), align=array.dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.uint64), generate


@intrinsic
def store(_context: Any, array: types.Array, index: types.Integer, value: Lanes) -> Typed:
    """Write a line that begins at any ``index``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        address = _address(context, builder, array, *values[:2])
        builder.store(values[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.uint64, value), generate


@intrinsic
def spread(_context: Any, number: types.Float) -> Typed:
    """Return a line of one and the same number."""
    lanes = Lanes(number)

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        alone = builder.insert_element(ir.Constant(lanes.vector(), ir.Undefined), values[0], INDEX(0))
        return builder.shuffle_vector(alone, alone, ir.Constant(ir.VectorType(INDEX, lanes.count), [0] * lanes.count))

    return lanes(number), generate


@intrinsic
def before(_context: Any, previous: Lanes, this: Lanes) -> Typed:
    """Return for every number of ``this`` line the one before it; ``previous`` is the line before."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        return builder.shuffle_vector(*values, this.choice(range(this.count - 1, 2 * this.count - 1)))

    return this(previous, this), generate


@intrinsic
def after(_context: Any, this: Lanes, following: Lanes) -> Typed:
    """Return for every number of ``this`` line the one after it; ``following`` is the line after."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        return builder.shuffle_vector(*values, this.choice(range(1, this.count + 1)))

    return this(this, following), generate


@intrinsic
def limited(_context: Any, lanes: Lanes, most: Lanes) -> Typed:
    """Return the numbers, those beyond plus or minus ``most`` replaced by it."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        value, high = values
        low = builder.fneg(high)
        value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
        return builder.select(builder.fcmp_ordered(">", value, low), value, low)

    return lanes(lanes, most), generate


@intrinsic
def total(_context: Any, lanes: Lanes) -> Typed:
    """Return the sum of a line, from first to last, in float64."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Signature, values: list[ir.Value]) -> ir.Value:
        found = ir.DoubleType()(0.0)
        for lane in range(lanes.count):
            number = builder.extract_element(values[0], INDEX(lane))
            if lanes.scalar != types.float64:
                number = builder.fpext(number, ir.DoubleType())
            found = builder.fadd(found, number)
        return found

    return types.float64(lanes), generate


def _arithmetic(symbol: Callable[[Any, Any], Any], name: str) -> None:
    """Let two lines be combined by an operator, number by number."""

    @type_callable(symbol)
    def result(_context: Any) -> Callable[[types.Type, types.Type], types.Type | None]:
        return lambda left, right: left if isinstance(left, Lanes) and left == right else None

    @lower_builtin(symbol, Lanes, Lanes)
    def combine(_context: Any, builder: ir.IRBuilder, _signature: Signature, values: list[ir.Value]) -> ir.Value:
        return getattr(builder, name)(*values, flags=FUSED)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")
