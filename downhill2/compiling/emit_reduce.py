"""Reductions, cumulative operations, argmax, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.extra_ops import CumOp
from pytensor.tensor.math import Argmax
from pytensor.tensor.special import LogSoftmax, Softmax

from . import scalars
from .program import Program, emits
from .source import Block, Kernel, stored
from .values import FLOATS, Dim, Unsupported, Value, merge_axes, offset, total

NEUTRAL = {"Add": 0, "Mul": 1, "AND": -1, "OR": 0, "XOR": 0}


def neutral(op: Any, dtype: str) -> str:
    """Return the value that changes nothing."""
    name = scalars.SYNONYMS.get(type(op).__name__, type(op).__name__)
    if name in ("Maximum", "Minimum"):
        sign = -1 if name == "Maximum" else 1
        if dtype in FLOATS:
            return scalars.literal(sign * np.inf, dtype)
        limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return scalars.literal(limits[sign > 0], dtype)
    if name not in NEUTRAL:
        raise Unsupported(f"reduction by {op}")
    ones = name == "AND" and dtype.startswith("uint")
    return scalars.literal(np.iinfo(dtype).max if ones else NEUTRAL[name], dtype)


@emits(CAReduce)
def reduce(program: Program, node: Any) -> None:
    """Reduce over some axes, in loops ordered by which axis lies closest in memory."""
    op, variable, output = node.op, node.inputs[0], node.outputs[0]
    if program.known(output):  # the loop that computes the elements has folded them
        return
    axes = tuple(range(variable.type.ndim)) if op.axis is None else op.axis
    fold = Fold.of(node)
    x = program.value(variable)
    if not fold.defined_when_empty and not getattr(op, "initial", False):
        refuse_empty(program, [x.shape[axis] for axis in axes])
    if all(size == 1 for size in x.shape):
        number = program.main.let(scalars.cast((program.number(x), x.dtype), fold.accumulator))
        program.scalar(output, scalars.cast((number, fold.accumulator), output.dtype))
        return
    x = program.in_memory(x)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    if not kept:
        to_number(program, fold, x, output)
    elif innermost(x) in axes:
        row_by_row(program, fold, x, kept, output)
    else:
        side_by_side(program, fold, x, kept, output)


def refuse_empty(program: Program, sizes: Sequence[Dim]) -> None:
    """Raise where there is no element to choose from."""
    for size in sizes:
        if size == 0 or not isinstance(size, int):
            message = "zero-size array to reduction operation which has no identity"
            program.main.fail_if(f"{size} == 0", "ValueError", message)


class Fold:
    """One step of a reduction: total and element to new total.

    Parameters
    ----------
    op : ScalarOp
        Combines two numbers.
    dtype
        Of the elements.
    accumulator
        Of the total.
    """

    def __init__(self, op: Any, dtype: str, accumulator: str) -> None:
        self.op, self.dtype, self.accumulator = op, dtype, accumulator
        self.start = neutral(op, accumulator)
        scalars.write(Kernel(), op, [("x", accumulator), ("y", dtype)], [accumulator])

    @classmethod
    def of(cls, node: Any) -> Fold:
        """Return the step of a CAReduce."""
        dtype = node.outputs[0].dtype
        return cls(node.op.scalar_op, node.inputs[0].dtype, getattr(node.op, "acc_dtype", None) or dtype)

    @property
    def defined_when_empty(self) -> bool:
        """Whether no elements have a total, as with sums."""
        return type(self.op).__name__ in NEUTRAL

    def into(self, kernel: Block, total: str, element: str) -> None:
        """Write the statement that adds an element to the total."""
        operands = [(read_again(total, self.accumulator), self.accumulator), (element, self.dtype)]
        [(result, _)] = scalars.write(kernel, self.op, operands, [self.accumulator])
        kernel.put(f"{total} = {stored(result, self.accumulator) if '[' in total else result}")


def read_again(total: str, dtype: str) -> str:
    """Return the expression that reads a total, which is a name or an element in memory."""
    return f"({total} != 0)" if dtype == "bool" and "[" in total else total


def innermost(x: Value) -> int:
    """Return the axis along which neighbours lie next to each other."""
    axes = [k for k, (size, step) in enumerate(zip(x.shape, x.strides, strict=True)) if size != 1 and step == 1]
    return axes[0] if axes else max(k for k, size in enumerate(x.shape) if size != 1)


def loops_along(
    kernel: Kernel, x: Value, axes: Sequence[int], other: Sequence[Dim]
) -> tuple[list[Dim], list[Dim], list[Dim]]:
    """Return sizes of loops along axes of x, and the strides of x and of another array there."""
    own = [x.strides[axis] for axis in axes]
    sizes, (steps, others) = merge_axes([x.shape[axis] for axis in axes], [own, other])
    return kernel.sizes(sizes), kernel.sizes(steps), kernel.sizes(others)


def fold_rest(
    kernel: Kernel, fold: Fold, x: Value, kept: Sequence[int], at: tuple[Sequence[str], Sequence[Dim]]
) -> str:
    """Write the loops over all axes that are not kept, and return the name of their total."""
    indices, steps = at
    axes = [axis for axis in range(len(x.shape)) if axis not in kept]
    sizes, own, _ = loops_along(kernel, x, axes, [x.strides[axis] for axis in axes])
    result = kernel.new("r")
    kernel.put(f"{result} = {fold.start}")
    with kernel.loops(sizes) as inside:
        fold.into(kernel, result, kernel.load(x, [*indices, *inside], [*steps, *own]))
    return result


def to_number(program: Program, fold: Fold, x: Value, output: Any) -> None:
    """Reduce over all axes."""
    kernel, name = Kernel(), program.main.new("s")
    kernel.give(fold_rest(kernel, fold, x, [], ([], [])), name)
    program.add(kernel)
    program.scalar(output, scalars.cast((name, fold.accumulator), output.dtype))


def row_by_row(program: Program, fold: Fold, x: Value, kept: Sequence[int], output: Any) -> None:
    """Reduce each row before the next: the elements of a row are neighbours."""
    target = program.allocate(output, [x.shape[axis] for axis in kept])
    kernel = Kernel()
    sizes, steps, places = loops_along(kernel, x, kept, target.strides)
    with kernel.loops(sizes) as indices:
        total = fold_rest(kernel, fold, x, kept, (indices, steps))
        kernel.store(target, indices, places, scalars.cast((total, fold.accumulator), output.dtype))
    program.add(kernel)


def side_by_side(program: Program, fold: Fold, x: Value, kept: Sequence[int], output: Any) -> None:
    """Reduce many columns at once: the elements of a column are far apart, columns are neighbours."""
    shape = [x.shape[axis] for axis in kept]
    target = program.allocate(output, shape)
    # totals of another dtype than the result are kept apart until they are complete
    totals = target if fold.accumulator == output.dtype else program.temporary(fold.accumulator, shape)
    kernel = Kernel()
    sizes, steps, places = loops_along(kernel, x, kept, target.strides)
    axes = [axis for axis in range(len(x.shape)) if axis not in kept]
    folded, own, _ = loops_along(kernel, x, axes, [x.strides[axis] for axis in axes])
    into = kernel.pointer(totals)
    with kernel.loops(sizes[:-1]) as outside:
        start = kernel.let(offset(outside, places[:-1]))
        with kernel.loops(sizes[-1:]) as first:
            kernel.put(f"{into}[{total(start, first[0])}] = {stored(fold.start, fold.accumulator)}")
        with kernel.loops(folded) as between, kernel.loops(sizes[-1:]) as inside:
            element = kernel.load(x, [*outside, *between, *inside], [*steps[:-1], *own, steps[-1]])
            fold.into(kernel, f"{into}[{total(start, inside[0])}]", element)
    program.add(kernel)
    if totals is not target:
        convert(program, totals, target)


def convert(program: Program, source: Value, target: Value) -> None:
    """Copy a dense array into another of the same shape and another dtype."""
    kernel = Kernel()
    with kernel.loops([kernel.size(target.size)]) as index:
        element = kernel.load(source, index, [1])
        kernel.store(target, index, [1], scalars.cast((element, source.dtype), target.dtype))
    program.add(kernel)


@emits(CumOp)
def cumulative(program: Program, node: Any) -> None:
    """Write running sums and products."""
    output, axis = node.outputs[0], node.op.axis
    x = program.in_memory(program.value(node.inputs[0]))
    if output.dtype == "bool":
        raise Unsupported("cumulative operations on booleans")
    target = program.allocate(output, x.shape)
    sign, start = ("*", 1) if node.op.mode == "mul" else ("+", 0)
    kernel = Kernel()
    others = [k for k in range(len(x.shape)) if k != axis]
    sizes, steps, places = loops_along(kernel, x, others, [target.strides[k] for k in others])
    length, step, place = (kernel.size(i) for i in (x.shape[axis], x.strides[axis], target.strides[axis]))
    total = kernel.new("r")
    with kernel.loops(sizes) as outside:
        kernel.put(f"{total} = {scalars.literal(start, output.dtype)}")
        with kernel.loops([length]) as along:
            element = kernel.load(x, [*outside, *along], [*steps, step])
            element = scalars.cast((element, x.dtype), output.dtype)
            kernel.put(f"{total} = {output.dtype}({total} {sign} {element})")
            kernel.store(target, [*outside, *along], [*places, place], total)
    program.add(kernel)


@emits(Argmax)
def argmax(program: Program, node: Any) -> None:
    """Write the index of the first largest element; NaN is larger than anything."""
    output, ndim = node.outputs[0], node.inputs[0].type.ndim
    axes = list(range(ndim)) if node.op.axis is None else list(node.op.axis)
    x = program.in_memory(program.value(node.inputs[0]))
    refuse_empty(program, [x.shape[axis] for axis in axes])
    kept = [axis for axis in range(ndim) if axis not in axes]
    if len(axes) > 1:
        if kept:
            raise Unsupported("argmax over several of more axes")
        x = program.dense(x)
        x, axes = program.view(x, [x.size], [1]), [0]
    target = program.allocate(output, [x.shape[axis] for axis in kept])
    kernel = Kernel()
    sizes, steps, places = loops_along(kernel, x, kept, target.strides)
    length, step = (kernel.size(i) for i in (x.shape[axes[0]], x.strides[axes[0]])) if axes else (1, 0)
    best, where = kernel.new("b"), kernel.new("w")
    with kernel.loops(sizes) as outside:
        kernel.put(f"{best} = {kernel.load(x, outside, steps)}")
        kernel.put(f"{where} = 0")
        with kernel.loops([length]) as [index]:
            element = kernel.let(kernel.load(x, [*outside, index], [*steps, step]))
            kernel.put(f"if {element} > {best} or ({element} != {element} and {best} == {best}):")
            kernel.put(f"    {best} = {element}")
            kernel.put(f"    {where} = {index}")
        kernel.store(target, outside, places, where)
    program.add(kernel)


@emits(Softmax, LogSoftmax)
def softmax(program: Program, node: Any) -> None:
    """Write softmax or its logarithm along one axis, or over all."""
    output, ndim = node.outputs[0], node.inputs[0].type.ndim
    axes = list(range(ndim)) if node.op.axis is None else [axis % ndim for axis in node.op.axis]
    x = program.in_memory(program.value(node.inputs[0]))
    if 1 < len(axes) < ndim or output.dtype not in FLOATS or not axes:
        raise Unsupported("softmax over several of more axes")
    target = program.allocate(output, x.shape)
    flat = target
    if len(axes) > 1:
        x, flat, axes = _flat(program, program.dense(x)), _flat(program, target), [0]
    kernel = Kernel()
    others = [k for k in range(len(x.shape)) if k != axes[0]]
    sizes, steps, places = loops_along(kernel, x, others, [flat.strides[k] for k in others])
    length, step, place = (kernel.size(i[axes[0]]) for i in (x.shape, x.strides, flat.strides))
    with kernel.loops(sizes) as outside:
        _softmax_row(
            kernel,
            isinstance(node.op, LogSoftmax),
            length,
            lambda i: kernel.load(x, [*outside, i], [*steps, step]),
            lambda i: f"{kernel.pointer(flat)}[{offset([*outside, i], [*places, place])}]",
            x.dtype,
        )
    program.add(kernel)


def _flat(program: Program, value: Value) -> Value:
    return program.view(value, [value.size], [1])


def _softmax_row(kernel: Kernel, logarithm: bool, length: Dim, element: Any, target: Any, dtype: str) -> None:
    """Write three passes: the largest element, the sum of exponentials, the result."""
    largest, total = kernel.new("m"), kernel.new("r")
    kernel.put(f"{largest} = {scalars.literal(-np.inf, dtype)}")
    with kernel.loops([length]) as [i]:
        x = kernel.let(element(i))
        kernel.put(f"{largest} = select(({x} > {largest}) | ({x} != {x}), {x}, {largest})")
    kernel.put(f"{total} = {dtype}(0)")
    with kernel.loops([length]) as [i]:
        power = kernel.let(f"exp({element(i)} - {largest})")
        if not logarithm:
            kernel.put(f"{target(i)} = {power}")
        kernel.put(f"{total} = {total} + {power}")
    if logarithm:
        total = kernel.let(f"log({total})")
    with kernel.loops([length]) as [i]:
        result = f"({element(i)} - {largest}) - {total}" if logarithm else f"{target(i)} / {total}"
        kernel.put(f"{target(i)} = {result}")
