"""Memory asked for ahead of its use."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def prefetch(typing_context, array, row):  # noqa: ANN001, ANN201 - the form that numba asks for
    """Start to load the beginning of ``array[row]`` into the cache, and do not wait for it."""

    def generate(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, view.strides)[0]
        address = builder.add(builder.ptrtoint(view.data, stride.type), builder.mul(arguments[1], stride))
        pointer = builder.inttoptr(address, cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(3), number(1)])  # to read, into every cache, data
        return context.get_dummy_value()

    return types.void(array, row), generate
