"""Matrix products: one call of BLAS each, transposes as flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.tensor import blas
from pytensor.tensor.math import Dot

from . import private
from .program import Program, emits
from .source import Kernel
from .values import FLOATS, Dim, Unsupported, Value, offset

[batched_dot] = private.optional(blas, "BatchedDot")


def orientation(matrix: Value) -> tuple[int, Dim] | None:
    """Return how BLAS can read a matrix: (1 if transposed, distance of its rows or columns); None if it can't."""
    (rows, columns), (down, right) = matrix.shape[-2:], matrix.strides[-2:]
    if right == 1 or columns == 1:
        return 0, columns if rows == 1 else down
    if down == 1 or rows == 1:
        return 1, right
    return None


def readable(program: Program, value: Value) -> Value:
    """Return a matrix (or a stack of them) that BLAS can read, copied if need be."""
    value = program.in_memory(value)
    return value if value.forward and orientation(value) is not None else program.dense(value)


@emits(Dot)
def dot(program: Program, node: Any) -> None:
    """Write the product of two matrices; one of them may be a single row or column."""
    (x, y), output = check_kinds(program, node), node.outputs[0]
    if y.type.shape[1] == 1:
        column = program.in_memory(program.value(y))
        vector = program.view(column, column.shape[:1], column.strides[:1])
        matrix_vector(program, program.value(x), vector, output)
    elif x.type.shape[0] == 1:
        row, matrix = (program.in_memory(program.value(variable)) for variable in (x, y))
        vector = program.view(row, row.shape[1:], row.strides[1:])
        flipped = program.view(matrix, matrix.shape[::-1], matrix.strides[::-1])
        matrix_vector(program, flipped, vector, output)
    else:
        matrices(program, x, y, output)


def check_kinds(program: Program, node: Any) -> tuple[Any, Any]:
    """Return the operands if BLAS has their dtype."""
    x, y = node.inputs
    if not program.products or x.dtype != y.dtype or x.dtype not in FLOATS:
        raise Unsupported(f"products of {x.dtype} and {y.dtype}")
    return x, y


def matrix_vector(program: Program, matrix: Value, vector: Value, output: Any) -> None:
    """Write ``matrix @ vector`` with ``gemv``."""
    matrix = readable(program, matrix)
    vector = vector if vector.forward else program.dense(vector)
    program.same([matrix.shape[1], vector.shape[0]], "dot")
    one_column = output.type.shape[1] == 1
    target = program.allocate(output, [matrix.shape[0], 1] if one_column else [1, matrix.shape[0]])
    (rows, columns), (flipped, distance) = matrix.shape, _oriented(matrix)
    # BLAS counts columns first: a matrix with rows one after another is to it the transpose
    height, width = (rows, columns) if flipped else (columns, rows)
    gemv = program.tool("gemv", matrix.dtype)
    # reference BLAS leaves the result alone when there is nothing to add up
    if columns == 0 or not isinstance(columns, int):
        program.main.fill(str(target.pointer), rows, f"{target.dtype}(0)")
    program.main.put(
        f"{gemv}({1 - flipped}, {height}, {width}, {matrix.pointer}, {distance}, "
        f"{vector.pointer}, {vector.strides[0]}, {target.pointer})"
    )


def _oriented(matrix: Value) -> tuple[int, Dim]:
    found = orientation(matrix)
    assert found is not None, "matrices are made readable first"
    return found


def matrices(program: Program, left: Any, right: Any, output: Any) -> None:
    """Write the product of two matrices, or of stacks of matrices, with ``gemm``."""
    x, y = (readable(program, program.value(variable)) for variable in (left, right))
    (rows, inside), (inside_too, columns) = x.shape[-2:], y.shape[-2:]
    program.same([inside, inside_too], "dot")
    stack: list[Dim] = []
    for axis in range(output.type.ndim - 2):
        long = [v.shape[axis] for variable, v in ((left, x), (right, y)) if not variable.type.broadcastable[axis]]
        stack.append(program.same(long, "matmul") if long else 1)
    target = program.allocate(output, [*stack, rows, columns])
    kernel = Kernel()
    with kernel.loops(kernel.sizes(stack)) as at:
        a, b, c = (_start(kernel, variable, v, at) for variable, v in ((left, x), (right, y), (output, target)))
        (ta, lda), (tb, ldb) = _oriented(x), _oriented(y)
        # C = A B in rows is C' = B' A' in columns, as BLAS counts
        flips = [kernel.take(str(flag), "n") for flag in (tb, ta)]
        m, n, k, da, db, dc = (kernel.size(size) for size in (columns, rows, inside, lda, ldb, columns))
        gemm = program.tool("gemm", x.dtype)
        kernel.put(f"{gemm}({', '.join(flips)}, {m}, {n}, {k}, {b}, {db}, {a}, {da}, {c}, {dc})")
    program.add(kernel)


def _start(kernel: Kernel, variable: Any, value: Value, at: Sequence[str]) -> str:
    """Return the pointer to one matrix of a stack."""
    repeated = variable.type.broadcastable
    steps = [0 if repeated[axis] else kernel.size(value.strides[axis]) for axis in range(len(at))]
    pointer, start = kernel.pointer(value), offset(at, steps)
    return pointer if start == "0" else f"shifted({pointer}, {start})"


@emits(batched_dot)
def batched(program: Program, node: Any) -> None:
    """Write products of two stacks of equal length."""
    x, y = check_kinds(program, node)
    matrices(program, x, y, node.outputs[0])
