"""Operations that only say where elements are, or move them: views, shapes, fills, joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.compile.ops import DeepCopyOp, ViewOp
from pytensor.graph.basic import Constant
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import ScalarOp
from pytensor.tensor.basic import (
    Alloc,
    AllocEmpty,
    ARange,
    ExtractDiag,
    Eye,
    Join,
    MakeVector,
    ScalarFromTensor,
    Split,
    TensorFromScalar,
)
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape

from . import scalars
from .program import Program, emits
from .source import Kernel, stored
from .values import Dim, Unsupported, Value, dense_strides, offset, times


@emits(DimShuffle)
def dimshuffle(program: Program, node: Any) -> None:
    """Permute, add and drop axes: new strides over the same memory."""
    x, order = program.value(node.inputs[0]), node.op.new_order
    for axis in node.op.drop:
        if x.shape[axis] != 1:
            program.same([x.shape[axis], 1], "squeeze")
    shape = [1 if axis == "x" else x.shape[axis] for axis in order]
    strides: list[Dim] = [0 if axis == "x" else x.strides[axis] for axis in order]
    if x.pointer is None and x.items is None:
        program.scalar(node.outputs[0], program.number(x))
        return
    program.define(node.outputs[0], program.view(program.in_memory(x), shape, strides))


def reshaped(program: Program, node: Any, shape: Sequence[Dim]) -> None:
    """Let the output be the elements of the first input, in C order, in another shape."""
    x, output = program.value(node.inputs[0]), node.outputs[0]
    shape = [size if known is None else known for size, known in zip(shape, output.type.shape, strict=True)]
    if all(size == 1 for size in shape) and x.pointer is None and x.items is None:
        program.scalar(output, program.number(x))
        return
    program.define(output, program.view(program.dense(x), shape, dense_strides(shape)))


@emits(Reshape)
def reshape(program: Program, node: Any) -> None:
    """Reshape to a vector of sizes, of which one may be -1."""
    x, output = program.value(node.inputs[0]), node.outputs[0]
    wanted = program.integers(node.inputs[1], output.type.ndim)
    if None not in output.type.shape:
        program.same([x.size, times(*output.type.shape)], "reshape")
        reshaped(program, node, output.type.shape)
        return
    main = program.main
    given = [size if known is None else known for size, known in zip(wanted, output.type.shape, strict=True)]
    product = main.let(" * ".join(map(str, given)), "d")
    negative = " | ".join(f"({size} < 0)" for size in given if not isinstance(size, int) or size < 0) or "False"
    # the one -1 stands for what the others leave
    rest = main.let(f"{x.size} // max(-({product}), 1) if {negative} else -1", "d")
    shape = [
        size if isinstance(size, int) and size >= 0 else main.let(f"{rest} if {size} < 0 else {size}", "d")
        for size in given
    ]
    main.fail_if(f"{times(*shape)} != {x.size}", "ValueError", "reshape: the number of elements changes")
    reshaped(program, node, shape)


@emits(JoinDims)
def join_dims(program: Program, node: Any) -> None:
    """Make one axis of several."""
    x, first, count = program.value(node.inputs[0]), node.op.start_axis, node.op.n_axes
    joined = times(*x.shape[first : first + count])
    if not isinstance(joined, int):
        joined = program.main.let(joined, "d")
    reshaped(program, node, [*x.shape[:first], joined, *x.shape[first + count :]])


@emits(SplitDims)
def split_dims(program: Program, node: Any) -> None:
    """Make several axes of one."""
    x, axis = program.value(node.inputs[0]), node.op.axis
    sizes = program.integers(node.inputs[1], node.outputs[0].type.ndim - len(x.shape) + 1)
    program.same([x.shape[axis], times(*sizes)], "split_dims")
    reshaped(program, node, [*x.shape[:axis], *sizes, *x.shape[axis + 1 :]])


@emits(ViewOp)
def same_value(program: Program, node: Any) -> None:
    """Let the output be the first input."""
    program.define(node.outputs[0], program.value(node.inputs[0]))


@emits(ExtractDiag)
def diagonal(program: Program, node: Any) -> None:
    """Return a diagonal of a matrix: a view, or a copy where PyTensor counts on one."""
    op, output = node.op, node.outputs[0]
    x = program.in_memory(program.value(node.inputs[0]))
    # the one stride of the diagonal hides the signs of two
    x = x if x.forward else program.dense(x)
    if len(x.shape) != 2 or (op.axis1, op.axis2) != (0, 1):
        raise Unsupported("diagonals of stacked matrices")
    down, right = max(-op.offset, 0), max(op.offset, 0)
    (rows, columns), length = x.shape, output.type.shape[0]
    if length is None:
        length = program.main.let(f"max(min({rows} - {down}, {columns} - {right}), 0)", "d")
    step = program.main.let(f"{x.strides[0]} + {x.strides[1]}", "d")
    part = program.view(x, [length], [step], offset([str(down), str(right)], x.strides))
    if op.view:
        program.define(output, part)
    else:
        program.copy(part, program.allocate(output, [length]))


@emits(SpecifyShape)
def specify_shape(program: Program, node: Any) -> None:
    """Check sizes."""
    x, *sizes = node.inputs
    value = program.value(x)
    for have, size in zip(value.shape, sizes, strict=True):
        if getattr(size, "data", 0) is not None:
            program.same([have, program.integer(size)], "specify_shape")
    program.define(node.outputs[0], value)


@emits(CheckAndRaise)
def check(program: Program, node: Any) -> None:
    """Raise if a condition does not hold, else pass the value on."""
    op = node.op
    if op.exc_type not in (AssertionError, ValueError, TypeError, IndexError, NotImplementedError):
        raise Unsupported(f"{op} raising {op.exc_type}")
    for condition in node.inputs[1:]:
        number = scalars.cast((program.number(program.value(condition)), condition.dtype), "bool")
        program.main.fail_if(f"not {number}", op.exc_type.__name__, op.msg)
    same_value(program, node)


@emits(DeepCopyOp)
def deep_copy(program: Program, node: Any) -> None:
    """Copy a tensor to memory of its own."""
    x, output = program.value(node.inputs[0]), node.outputs[0]
    if x.pointer is None and x.items is None:
        program.scalar(output, program.number(x))
        return
    x = program.in_memory(x)
    program.copy(x, program.allocate(output, x.shape))


@emits(ScalarOp)
def scalar_op(program: Program, node: Any) -> None:
    """Compute on bare numbers."""
    operands = [(program.number(program.value(variable)), variable.dtype) for variable in node.inputs]
    dtypes = [variable.dtype for variable in node.outputs]
    results = scalars.write(program.main, node.op, operands, dtypes)
    for variable, result in zip(node.outputs, results, strict=True):
        program.scalar(variable, scalars.cast(result, variable.dtype))


@emits(ScalarFromTensor, TensorFromScalar)
def same_number(program: Program, node: Any) -> None:
    """Take the number out of a 0-d tensor, or make it one."""
    program.scalar(node.outputs[0], program.number(program.value(node.inputs[0])))


@emits(Shape_i)
def size_along(program: Program, node: Any) -> None:
    """Return one size."""
    program.scalar(node.outputs[0], str(program.value(node.inputs[0]).shape[node.op.i]))


def vector_of(program: Program, variable: Any, items: Sequence[str]) -> None:
    """Say that a variable is the vector of these numbers; it goes to memory only if somebody wants it there."""
    program.define(variable, Value(variable.dtype, (len(items),), (1,), items=tuple(items)))


@emits(Shape)
def shape_of(program: Program, node: Any) -> None:
    """Return all sizes."""
    vector_of(program, node.outputs[0], [str(size) for size in program.value(node.inputs[0]).shape])


@emits(MakeVector)
def make_vector(program: Program, node: Any) -> None:
    """Join numbers to a vector."""
    output = node.outputs[0]
    operands = [(program.number(program.value(variable)), variable.dtype) for variable in node.inputs]
    vector_of(program, output, [program.main.let(scalars.cast(o, output.dtype)) for o in operands])


def checked_sizes(program: Program, variables: Sequence[Any], static: Sequence[int | None]) -> list[Dim]:
    """Return the sizes of an array to be made."""
    sizes: list[Dim] = []
    for variable, known in zip(variables, static, strict=True):
        sizes.append(program.integer(variable) if known is None else known)
        refuse_negative(program, sizes[-1:])
    return sizes


def refuse_negative(program: Program, sizes: Sequence[Dim]) -> None:
    """Raise ValueError if a size that is known only at run time is negative."""
    for size in sizes:
        if not isinstance(size, int):
            program.main.fail_if(f"{size} < 0", "ValueError", "negative dimensions are not allowed")


@emits(Alloc)
def alloc(program: Program, node: Any) -> None:
    """Repeat a value over a new array."""
    fill, *sizes = node.inputs
    output = node.outputs[0]
    shape = checked_sizes(program, sizes, output.type.shape)
    value, new = program.value(fill), output.type.ndim - fill.type.ndim
    for axis, size in enumerate(value.shape):
        if not fill.type.broadcastable[axis]:
            program.same([size, shape[new + axis]], "alloc")
    if all(fill.type.broadcastable):
        number = program.number(value)
        fill_with(program, program.allocate(output, shape), number)
        return
    repeated = fill.type.broadcastable
    steps = [0 if repeat else step for repeat, step in zip(repeated, value.strides, strict=True)]
    source = program.view(program.in_memory(value), shape, [*[0] * new, *steps])
    program.copy(source, program.allocate(output, shape))


def fill_with(program: Program, target: Value, number: str) -> None:
    """Set all elements of a dense array."""
    kernel = Kernel()
    element = kernel.number(number, target.dtype)
    kernel.fill(kernel.pointer(target), kernel.size(target.size), stored(element, target.dtype))
    program.add(kernel)


@emits(AllocEmpty)
def alloc_empty(program: Program, node: Any) -> None:
    """Make an array whose elements are never read."""
    program.allocate(node.outputs[0], checked_sizes(program, node.inputs, node.outputs[0].type.shape))


@emits(ARange)
def arange(program: Program, node: Any) -> None:
    """Count from a start by a constant step."""
    start, stop, step = node.inputs
    output = node.outputs[0]
    whole = all(variable.dtype.startswith("int") for variable in (output, start, stop))
    if not whole or not isinstance(step, Constant) or int(step.data) <= 0:
        raise Unsupported("arange of such numbers")
    by, first = int(step.data), program.integer(start)
    size: Dim | None = output.type.shape[0]
    if size is None:
        size = program.main.let(f"max(({program.integer(stop)} - {first} + {by - 1}) // {by}, 0)", "d")
    target = program.allocate(output, [size])
    kernel = Kernel()
    begin, step_by, into = kernel.take(str(first), "n"), kernel.take(str(by), "n"), kernel.pointer(target)
    with kernel.loops([kernel.size(size)]) as [index]:
        element = scalars.cast((f"({begin} + {index} * {step_by})", "int64"), output.dtype)
        kernel.put(f"{into}[{index}] = {element}")
    program.add(kernel)


@emits(Eye)
def eye(program: Program, node: Any) -> None:
    """Make a matrix with ones on a diagonal."""
    output, diagonal = node.outputs[0], program.integer(node.inputs[2])
    rows, columns = checked_sizes(program, node.inputs[:2], output.type.shape)
    target = program.allocate(output, [rows, columns])
    fill_with(program, target, scalars.literal(0, output.dtype))
    kernel = Kernel()
    height, width, shift = (kernel.take(str(size), "n") for size in (rows, columns, diagonal))
    into = kernel.pointer(target)
    one = stored(scalars.literal(1, output.dtype), output.dtype)
    row = kernel.new("i")
    kernel.put(f"for {row} in range(max(0, -{shift}), min({height}, {width} - {shift})):")
    with kernel.indented():
        kernel.put(f"{into}[{row} * {width} + {row} + {shift}] = {one}")
    program.add(kernel)


def constant_axis(variable: Any, ndim: int) -> int:
    """Return an axis that is known now, counted from the front."""
    if not isinstance(variable, Constant):
        raise Unsupported("an axis that is not constant")
    return int(variable.data) % ndim


@emits(Join)
def join(program: Program, node: Any) -> None:
    """Copy arrays one behind the other along an axis."""
    output = node.outputs[0]
    tensors = node.inputs
    if hasattr(node.op, "axis"):
        axis = node.op.axis
    else:
        axis, tensors = constant_axis(tensors[0], output.type.ndim), tensors[1:]
    values = [program.value(tensor) for tensor in tensors]
    if any(tensor.dtype != output.dtype for tensor in tensors):
        raise Unsupported("join of several dtypes")
    if all(value.items is not None or value.scalar is not None for value in values) and output.type.ndim == 1:
        vector_of(program, output, [i for value in values for i in value.items or (program.number(value),)])
        return
    shape: list[Dim] = [
        program.same([value.shape[k] for value in values], "join") if k != axis else 0 for k in range(output.type.ndim)
    ]
    ends = running_sums(program, [value.shape[axis] for value in values])
    shape[axis] = ends[-1]
    target = program.allocate(output, shape)
    for value, start in zip(values, ends, strict=False):
        program.copy(program.in_memory(value), part_of(program, target, axis, start, value.shape[axis]))


def running_sums(program: Program, sizes: Sequence[Dim]) -> list[Dim]:
    """Return 0, the first size, the sum of the first two, and so on."""
    ends: list[Dim] = [0]
    for size in sizes:
        last = ends[-1]
        known = isinstance(last, int) and isinstance(size, int)
        ends.append(int(last) + int(size) if known else program.main.let(f"{last} + {size}", "d"))
    return ends


def part_of(program: Program, value: Value, axis: int, start: Dim, size: Dim) -> Value:
    """Return the elements from ``start`` on along an axis."""
    shape = [*value.shape[:axis], size, *value.shape[axis + 1 :]]
    return program.view(value, shape, value.strides, str(times(start, value.strides[axis])))


@emits(Split)
def split(program: Program, node: Any) -> None:
    """Return views of consecutive parts."""
    x, *between, sizes = node.inputs
    value = program.in_memory(program.value(x))
    # PyTensor 3.3 has the axis in the Op, 3.0 among the inputs
    along = constant_axis(between[0], x.type.ndim) if between else node.op.axis
    lengths = program.integers(sizes, len(node.outputs))
    ends = running_sums(program, lengths)
    program.same([value.shape[along], ends[-1]], "split")
    for output, start, length in zip(node.outputs, ends, lengths, strict=False):
        if not isinstance(length, int):
            program.main.fail_if(f"{length} < 0", "ValueError", "split: sizes must not be negative")
        program.define(output, part_of(program, value, along, start, length))
