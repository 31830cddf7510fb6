"""Numbers side by side in the processor's registers: what compiled code adds for many resamples in one instruction.

In a compiled function `load` takes numbers that lie in a row; `+ - * /` work on all of them at once, and `store` writes
them back. A compiler that is shown a loop over an array of sums has to write each sum to memory after every image.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
# numba says nothing of the types of what its extensions are made with

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_KINDS = {
    types.uint8: ir.IntType(8),
    types.uint16: ir.IntType(16),
    types.int16: ir.IntType(16),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.float64: ir.DoubleType(),
}


class Lanes(types.Type):
    """The type of n numbers of one kind."""

    def __init__(self, kind: Any, n: int) -> None:
        self.kind, self.n = kind, n
        super().__init__(name=f"Lanes({kind}, {n})")

    @property
    def is_real(self) -> bool:
        """Whether they are fractions."""
        return self.kind in types.real_domain

    @property
    def vector(self) -> ir.Type:
        """What LLVM calls them."""
        return ir.VectorType(_KINDS[self.kind], self.n)


@register_model(Lanes)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)


def _works_on_lanes(symbol: Callable[..., Any], of_whole: str, of_real: str) -> None:
    """Let an operator take two lots of numbers of one kind."""

    @infer_global(symbol)
    class _OfLanes(AbstractTemplate):
        def generic(self, args: Any, _kws: Any) -> Any:
            one, other = args
            return signature(one, one, one) if isinstance(one, Lanes) and one == other else None

    @lower_builtin(symbol, Lanes, Lanes)
    def _build(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if sig.return_type.is_real:
            return getattr(builder, of_real)(*args, flags=("contract",))
        return getattr(builder, of_whole)(*args)


_works_on_lanes(operator.add, "add", "fadd")
_works_on_lanes(operator.sub, "sub", "fsub")
_works_on_lanes(operator.mul, "mul", "fmul")
_works_on_lanes(operator.truediv, "sdiv", "fdiv")


def _check_in_a_row(array: Any) -> None:
    """Refuse to compile for an array whose numbers do not lie in a row, as those of a transposed one."""
    if array.layout != "C":
        raise TypingError(f"lanes are of arrays whose numbers lie in a row, not of {array}")


def _load(_context: Any, rows: Any, row: Any, first: Any, n: Any) -> Any:
    _check_in_a_row(rows)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        step = builder.extract_value(array.strides, 0)
        at = builder.gep(
            builder.bitcast(array.data, ir.IntType(8).as_pointer()),
            [builder.mul(step, builder.zext(args[1], step.type))],
        )
        at = builder.gep(builder.bitcast(at, array.data.type), [args[2]])
        return builder.load(builder.bitcast(at, sig.return_type.vector.as_pointer()), align=1)

    return Lanes(rows.dtype, n.literal_value)(rows, types.uint32, types.int64, n), build


def _store(_context: Any, out: Any, first: Any, lanes: Any) -> Any:
    _check_in_a_row(out)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        at = builder.gep(array.data, [args[1]])
        builder.store(args[2], builder.bitcast(at, sig.args[2].vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, lanes), build


def _spread(_context: Any, number: Any, kind: Any, n: Any) -> Any:
    lanes = Lanes(kind.dtype, n.literal_value)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = context.cast(builder, args[0], sig.args[0], lanes.kind)
        first = builder.insert_element(ir.Constant(lanes.vector, ir.Undefined), one, ir.IntType(32)(0))
        every = ir.Constant(ir.VectorType(ir.IntType(32), lanes.n), None)
        return builder.shuffle_vector(first, first, every)

    return lanes(number, kind, n), build


def _cast(_context: Any, lanes: Any, kind: Any) -> Any:
    to = Lanes(kind.dtype, lanes.n)

    def build(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if to.is_real and not lanes.is_real:  # by 32 bits, for which processors have an instruction
            middle = Lanes(types.int32, lanes.n) if lanes.kind.bitwidth < 32 else lanes
            return builder.sitofp(_widened(builder, args[0], lanes, middle), to.vector)
        return _widened(builder, args[0], lanes, to)

    return to(lanes, kind), build


def _widened(builder: Any, numbers: Any, one: Lanes, to: Lanes) -> Any:
    if one == to:
        return numbers
    return (builder.sext if one.kind.signed else builder.zext)(numbers, to.vector)


def _chosen(_context: Any, number: Any, yes: Any, no: Any) -> Any:
    def build(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(_not_negative(builder, args[0], sig.args[0]), args[1], args[2])

    return yes(number, yes, no), build


def _how_many(_context: Any, lanes: Any) -> Any:
    def build(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(_not_negative(builder, args[0], lanes), ir.IntType(lanes.n))
        return builder.zext(builder.ctpop(bits), ir.IntType(64)) if lanes.n < 64 else builder.ctpop(bits)

    return types.int64(lanes), build


def _absolute(_context: Any, lanes: Any) -> Any:
    def build(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        bits = ir.VectorType(ir.IntType(64), lanes.n)
        without_sign = ir.Constant(bits, [2**63 - 1] * lanes.n)
        return builder.bitcast(builder.and_(builder.bitcast(args[0], bits), without_sign), lanes.vector)

    return lanes(lanes), build


def _not_negative(builder: Any, numbers: Any, lanes: Lanes) -> Any:
    return builder.icmp_signed(">=", numbers, ir.Constant(lanes.vector, None))


load: Any = intrinsic(prefer_literal=True)(_load)
"""`load(rows, row, first, n)`: the n numbers of a row (uint32) of a two-dimensional array from `first` on."""
store: Any = intrinsic(_store)
"""`store(out, first, lanes)`: write to an array of one dimension from `first` on."""
spread: Any = intrinsic(prefer_literal=True)(_spread)
"""`spread(number, kind, n)`: one number in all n lanes."""
cast: Any = intrinsic(_cast)
"""`cast(lanes, kind)`: the same numbers as a wider kind of whole numbers, or as float64."""
where_not_negative: Any = intrinsic(_chosen)
"""`where_not_negative(lanes, yes, no)`: of each lane what stands in `yes` or in `no`; of whole numbers."""
n_not_negative: Any = intrinsic(_how_many)
"""`n_not_negative(lanes)`: how many whole numbers are 0 or more."""
absolute: Any = intrinsic(_absolute)
"""`absolute(lanes)`: the sizes of fractions."""
