"""Asking the memory for what a kernel will read, so that it does not wait for it."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

FETCH = "llvm.prefetch.p0"


def _fetch_row(_context: Any, rows: Any, row: Any) -> Any:
    """Have a row (uint32) of a two-dimensional array brought into the cache; nothing is returned."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        step = builder.extract_value(array.strides, 0)
        first = builder.bitcast(array.data, ir.IntType(8).as_pointer())
        at = builder.gep(first, [builder.mul(step, builder.zext(arguments[1], step.type))])
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [at.type, word, word, word])
        known = builder.module.globals
        fetch = known[FETCH] if FETCH in known else ir.Function(builder.module, kind, FETCH)
        builder.call(fetch, [at, word(0), word(3), word(1)])  # to read, often, data
        return context.get_dummy_value()

    return types.void(rows, row), build


fetch_row: Any = intrinsic(_fetch_row)
"""`fetch_row(rows, row)` in a compiled function; it changes no result, only how long one waits for it."""
