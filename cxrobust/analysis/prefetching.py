"""Asking the memory for what a kernel will read, so that it does not wait for it."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def fetch_row(_context: Any, rows: Any, row: Any) -> Any:
    """Have a row of a two-dimensional array brought into the cache; nothing is returned, and no result changes.

    Parameters
    ----------
    rows
        An array, in a compiled function.
    row
        uint32, a row that there is.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        step, _ = cgutils.unpack_tuple(builder, array.strides, 2)
        first = builder.bitcast(array.data, ir.IntType(8).as_pointer())
        at = builder.gep(first, [builder.mul(step, builder.zext(arguments[1], step.type))])
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [at.type, word, word, word])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [at, word(0), word(3), word(1)])  # to read, often, data
        return context.get_dummy_value()

    return types.void(rows, row), build
