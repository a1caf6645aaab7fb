"""The primitive operations of generated functions, written straight to LLVM.

Generated source works on bare addresses. Numba's own functions on arrays carry layers (reference counts,
strides, shape tuples, error texts) that take most of a first compile; these carry none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from . import memory, private
from .blas import symbol
from .private import intrinsic

PLAIN = (
    *("address", "data", "entry", "in_threads", "in_c_order", "keep", "select", "shifted"),
    *("rounded_ceil", "rounded_floor", "rounded_rint", "rounded_trunc"),
)
"""Intrinsics that generated source calls by these names; others are made for types (see :meth:`Program.tool`)."""

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def element_type(dtype: str) -> Any:
    """Return Numba's type of an element in memory; a boolean is a byte there."""
    return types.uint8 if dtype == "bool" else numba.from_dtype(np.dtype(dtype))


@intrinsic
def select(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` or ``no`` without a branch, so that loops can be vectorised."""
    kind = types.unliteral(yes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return kind(types.boolean, kind, kind), generate


def fixed(signature: Any, generate: Callable[..., Any]) -> Any:
    """Return an intrinsic of one fixed signature."""
    names = ", ".join(["typing", *(f"a{i}" for i in range(len(signature.args)))])
    scope: dict[str, Any] = {"signature": signature, "generate": generate}
    # Numba counts the parameters of an intrinsic by its Python signature
    exec(f"def written({names}):\n    return signature, generate", scope)
    return intrinsic(scope["written"])


def _rounding(name: str) -> Any:
    @intrinsic
    def rounded(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            function = builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type])
            return builder.call(function, args)

        return x(x), generate

    return rounded


rounded_floor, rounded_ceil, rounded_trunc, rounded_rint = map(_rounding, ("floor", "ceil", "trunc", "rint"))


@intrinsic
def entry(typing: Any, table: Any, index: Any) -> Any:
    """Return an integer of the table whose address is given."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(builder.inttoptr(args[0], I64.as_pointer()), [args[1]]))

    return types.intp(types.intp, types.intp), generate


@cache
def array(dtype: str) -> Any:
    """Return the intrinsic ``(table, index) -> pointer`` to the array whose address stands in the table."""
    element = element_type(dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = builder.load(builder.gep(builder.inttoptr(args[0], I64.as_pointer()), [args[1]]))
        return builder.inttoptr(address, context.get_data_type(element).as_pointer())

    return fixed(types.CPointer(element)(types.intp, types.intp), generate)


@cache
def argument(dtype: str) -> Any:
    """Return the intrinsic ``(table, record, k) -> pointer`` for what a record tells from its k-th integer on.

    That is where an address stands in the table, and how many bytes to add.
    """
    element = element_type(dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, record, k = args
        place = builder.gep(builder.inttoptr(record, I64.as_pointer()), [k])
        shift = builder.load(builder.gep(place, [ir.Constant(I64, 1)]))
        address = builder.add(builder.load(_told(builder, *args)), shift)
        return builder.inttoptr(address, context.get_data_type(element).as_pointer())

    return fixed(types.CPointer(element)(*[types.intp] * 3), generate)


@cache
def told(dtype: str) -> Any:
    """Return the intrinsic ``(table, record, k) -> pointer`` to the place in the table that a record tells."""
    element = element_type(dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_told(builder, *args), context.get_data_type(element).as_pointer())

    return fixed(types.CPointer(element)(*[types.intp] * 3), generate)


def _told(builder: Any, table: Any, record: Any, k: Any) -> Any:
    index = builder.load(builder.gep(builder.inttoptr(record, I64.as_pointer()), [k]))
    return builder.gep(builder.inttoptr(table, I64.as_pointer()), [index])


@intrinsic
def address(typing: Any, pointer: Any) -> Any:
    """Return the address that a pointer holds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], I64)

    return types.intp(pointer), generate


@intrinsic
def in_threads(typing: Any, function: Any, threads: Any, data: Any) -> Any:
    """Call ``function(first, count, data)`` in several threads, which share as many blocks as there are threads."""
    found = function.get_call_type(typing, (types.intp,) * 3, {})

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        private.in_threads(context, builder, function.dispatcher.overloads[found.args], *args[1:])
        return context.get_dummy_value()

    return types.none(function, types.intp, types.intp), generate


@cache
def block(dtype: str) -> Any:
    """Return the intrinsic ``(workspace, offset in bytes) -> pointer``."""
    element = element_type(dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(builder.add(*args), context.get_data_type(element).as_pointer())

    return fixed(types.CPointer(element)(types.intp, types.intp), generate)


@cache
def room(dtype: str) -> Any:
    """Return the intrinsic ``(table, index, bytes) -> pointer`` to memory of at least so many bytes.

    Its address stands in the table at the index, what it holds after that, then the pointer. It is kept from call to
    call and only grows: in the long run nothing is allocated.
    """
    element = element_type(dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, index, nbytes = args
        first = builder.gep(builder.inttoptr(table, I64.as_pointer()), [index])
        second, third = (builder.gep(first, [ir.Constant(I64, k)]) for k in (1, 2))
        with builder.if_then(builder.icmp_signed(">", nbytes, builder.load(second)), likely=False):
            kind = ir.FunctionType(I64, [I64, I64])
            resize = cgutils.get_or_insert_function(builder.module, kind, memory.RESIZE)
            whole = builder.add(nbytes, ir.Constant(I64, memory.GAP))
            address = builder.call(resize, [builder.load(first), whole])
            with builder.if_then(builder.icmp_signed("==", address, ir.Constant(I64, 0)), likely=False):
                context.call_conv.return_user_exc(builder, MemoryError, ("an array does not fit into memory",))
            builder.store(address, first)
            builder.store(nbytes, second)
        start = builder.add(builder.load(first), ir.Constant(I64, memory.GAP))
        builder.store(start, third)
        return builder.inttoptr(start, context.get_data_type(element).as_pointer())

    return fixed(types.CPointer(element)(*[types.intp] * 3), generate)


@intrinsic
def shifted(typing: Any, pointer: Any, elements: Any) -> Any:
    """Return the pointer moved on by a number of elements."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), generate


@intrinsic
def data(typing: Any, array: Any) -> Any:
    """Return the pointer to the first element of an array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(element_type(str(array.dtype)))(array), generate


@cache
def empty(dtype: str, ndim: int) -> Any:
    """Return the intrinsic ``(*shape) -> new C-ordered array``."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return private.new_array(context, builder, array, args)

    return fixed(array(*[types.intp] * ndim), generate)


@cache
def borrowed(dtype: str, ndim: int) -> Any:
    """Return the intrinsic ``(pointer, *shape) -> C-ordered array`` over memory that it does not own."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C")
    itemsize = np.dtype(dtype).itemsize

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = context.make_array(array)(context, builder)
        strides: list[Any] = []
        step = context.get_constant(types.intp, itemsize)
        for size in reversed(args[1:]):
            strides.insert(0, step)
            step = builder.mul(step, size)
        start = builder.bitcast(args[0], result.data.type)
        size = context.get_constant(types.intp, itemsize)
        private.fill_array(context, result, start, args[1:], strides, size)
        return result._getvalue()

    return fixed(array(types.CPointer(element_type(dtype)), *[types.intp] * ndim), generate)


@intrinsic
def in_c_order(typing: Any, array: Any) -> Any:
    """Return the array itself if it is C-ordered by type, else a copy that is."""
    if array.layout == "C":

        def same(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return private.borrowed_reference(context, builder, signature.return_type, args[0])

        return array(array), same

    def copy(x: Any) -> Any:
        return x.copy()  # pragma: no cover  # Numba compiles it, Python never runs it

    def copied(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.compile_internal(builder, copy, signature, args)

    return types.Array(array.dtype, array.ndim, "C")(array), copied


@intrinsic
def keep(typing: Any, array: Any) -> Any:
    """Hold an array until here: its memory is used through bare addresses."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.none(array), generate


def _reference(builder: Any, value: Any, kind: Any) -> Any:
    """Return the address of a stack slot that holds the value, as Fortran wants its arguments."""
    slot = cgutils.alloca_once(builder, kind)
    builder.store(value, slot)
    return builder.ptrtoint(slot, I64)


def _integer(builder: Any, value: Any) -> Any:
    return _reference(builder, builder.trunc(value, I32), I32)


def _leading(builder: Any, value: Any) -> Any:
    """Return a leading dimension: BLAS wants at least 1, also for empty matrices."""
    one = ir.Constant(I64, 1)
    return _integer(builder, builder.select(builder.icmp_signed("<", value, one), one, value))


def _call(builder: Any, name: str, args: list[Any]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I64] * len(args))
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _flag(builder: Any, transposed: Any) -> Any:
    """Return the address of "N" or, for 1, "T"."""
    letter = builder.select(
        builder.trunc(transposed, ir.IntType(1)), ir.Constant(I8, ord("T")), ir.Constant(I8, ord("N"))
    )
    return _reference(builder, letter, I8)


def _one_and_zero(builder: Any, dtype: str) -> list[Any]:
    real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    return [_reference(builder, ir.Constant(real, number), real) for number in (1, 0)]


@cache
def gemm(dtype: str) -> Any:
    """Return the intrinsic of BLAS ``?gemm``: C = op(A) op(B), column-major; a flag of 1 transposes."""
    size, pointer = types.intp, types.CPointer(element_type(dtype))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ta, tb, m, n, k, a, lda, b, ldb, c, ldc = args
        one, zero = _one_and_zero(builder, dtype)
        flags = [_flag(builder, x) for x in (ta, tb)]
        sizes = [_integer(builder, x) for x in (m, n, k)]
        a, b, c = (builder.ptrtoint(x, I64) for x in (a, b, c))
        lda, ldb, ldc = (_leading(builder, x) for x in (lda, ldb, ldc))
        _call(builder, symbol("gemm", dtype), [*flags, *sizes, one, a, lda, b, ldb, zero, c, ldc])
        return context.get_dummy_value()

    return fixed(types.none(*[size] * 5, pointer, size, pointer, size, pointer, size), generate)


@cache
def gemv(dtype: str) -> Any:
    """Return the intrinsic of BLAS ``?gemv``: y = op(A) x, column-major; a flag of 1 transposes."""
    size, pointer = types.intp, types.CPointer(element_type(dtype))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ta, m, n, a, lda, x, step, y = args
        one, zero = _one_and_zero(builder, dtype)
        flag, m, n, unit = _flag(builder, ta), *(_integer(builder, i) for i in (m, n, ir.Constant(I64, 1)))
        a, x, y = (builder.ptrtoint(i, I64) for i in (a, x, y))
        lda, step = (_leading(builder, i) for i in (lda, step))
        _call(builder, symbol("gemv", dtype), [flag, m, n, one, a, lda, x, step, zero, y, unit])
        return context.get_dummy_value()

    return fixed(types.none(*[size] * 3, pointer, size, pointer, size, pointer), generate)
