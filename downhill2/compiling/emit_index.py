"""Indexing: slices are views, integer vectors are loops; and what adds to or replaces elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.graph.basic import Constant
from pytensor.tensor import subtensor
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)

from . import private, scalars
from .program import Program, emits
from .source import Kernel, stored
from .values import Dim, Unsupported, Value, merge_axes, offset, times, total

FULL = slice(None, None, None)
take_rows, add_to_rows = private.optional(subtensor, "AdvancedSubtensor1", "AdvancedIncSubtensor1")


@emits(Subtensor)
def view_of_part(program: Program, node: Any) -> None:
    """Return the part at integers and slices, a view."""
    x, output = program.value(node.inputs[0]), node.outputs[0]
    entries = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    known = [int(entry.data) for entry in entries if isinstance(entry, Constant)]
    if x.items is not None and len(known) == 1 and -len(x.items) <= known[0] < len(x.items):
        program.scalar(output, scalars.cast((x.items[known[0]], x.dtype), output.dtype))
        return
    program.define(output, located(program, program.in_memory(x), entries))


def located(program: Program, x: Value, entries: Sequence[Any]) -> Value:
    """Return the view of a value at integers and slices."""
    shape: list[Dim] = []
    strides: list[Dim] = []
    begins: list[Dim] = []
    for axis, size in enumerate(x.shape):
        entry = entries[axis] if axis < len(entries) else FULL
        if isinstance(entry, slice):
            begin, length, step = normalized(program, entry, size)
            shape.append(length)
            strides.append(times(x.strides[axis], step))
        else:
            begin = wrapped(program, program.integer(entry), size)
        begins.append(begin)
    return program.view(x, shape, strides, offset([str(begin) for begin in begins], x.strides))


def wrapped(program: Program, index: Dim, size: Dim) -> Dim:
    """Return an index counted from the front; one that is out of bounds raises when the function runs."""
    if isinstance(index, int) and isinstance(size, int) and -size <= index < size:
        return index % size
    index = program.main.let(str(index), "d") if isinstance(index, int) else index
    front = program.main.let(f"{index} + {size} if {index} < 0 else {index}", "d")
    program.main.fail_if(f"({front} < 0) | ({front} >= {size})", "IndexError", "index out of bounds")
    return front


def normalized(program: Program, entry: slice, size: Dim) -> tuple[Dim, Dim, int]:
    """Return begin, length and step of a slice, cut to the size as Python does."""
    if entry.step is not None and not isinstance(entry.step, Constant):
        raise Unsupported("a slice with a step that is not constant")
    step = 1 if entry.step is None or entry.step.data is None else int(entry.step.data)
    start, stop = (bound(program, value) for value in (entry.start, entry.stop))
    if not isinstance(size, str) and not isinstance(start, str) and not isinstance(stop, str):
        begin, end, _ = slice(start, stop, step).indices(size)
        return begin, len(range(begin, end, step)), step
    if start is None and stop is None and step == 1:
        return 0, size, 1
    let = program.main.let
    low, high = (0, f"{size}") if step > 0 else (-1, f"{size} - 1")
    ends = []
    for value, default in ((start, low if step > 0 else high), (stop, high if step > 0 else low)):
        place = f"({value} + {size} if {value} < 0 else {value})"
        ends.append(let(str(default) if value is None else f"min(max({place}, {low}), {high})", "d"))
    near, far = ends if step > 0 else ends[::-1]
    return ends[0], let(f"max(({far} - {near} + {abs(step) - 1}) // {abs(step)}, 0)", "d"), step


def bound(program: Program, variable: Any) -> Dim | None:
    """Return an end of a slice."""
    if variable is None or getattr(variable, "data", 0) is None:
        return None
    return program.integer(variable)


def changed_copy(program: Program, node: Any) -> Value:
    """Return the memory of the result: the first input itself where that is allowed, else a copy."""
    output, x = node.outputs[0], program.in_memory(program.value(node.inputs[0]))
    if node.op.inplace and program.writable(x):
        program.define(output, program.view(x, x.shape, x.strides))
    else:
        program.copy(x, program.allocate(output, x.shape))
    return program.value(output)


def apart(program: Program, value: Value, target: Value) -> Value:
    """Return a value that shares no memory with the target."""
    value = program.in_memory(value)
    if value.storage is not target.storage:
        return value
    room = program.temporary(value.dtype, value.shape)
    program.copy(value, room)
    return room


def refuse(node: Any) -> None:
    """Raise Unsupported for combinations that NumPy refuses or defines otherwise."""
    adds = not node.op.set_instead_of_inc
    if adds and (node.outputs[0].dtype == "bool" or getattr(node.op, "ignore_duplicates", False)):
        raise Unsupported(str(node.op))


@emits(IncSubtensor)
def change_part(program: Program, node: Any) -> None:
    """Add to, or replace, the part at integers and slices."""
    refuse(node)
    entries = indices_from_subtensor(node.inputs[2:], node.op.idx_list)
    target = changed_copy(program, node)
    part = located(program, target, entries)
    y = apart(program, program.value(node.inputs[1]), target)
    repeated = spread(program, node.inputs[1], y, part.shape)
    kernel = Kernel()
    sizes, (steps, others) = merge_axes(part.shape, [part.strides, repeated])
    steps, others = kernel.sizes(steps), kernel.sizes(others)
    with kernel.loops(kernel.sizes(sizes)) as indices:
        place = f"{kernel.pointer(part)}[{offset(indices, steps)}]"
        change(kernel, node, place, kernel.load(y, indices, others))
    program.add(kernel)


def change(kernel: Kernel, node: Any, place: str, element: str) -> None:
    """Write the statement that changes one element."""
    dtype = node.outputs[0].dtype
    new = scalars.cast((element, node.inputs[1].dtype), dtype)
    if not node.op.set_instead_of_inc:
        new = f"{dtype}({place} + {new})"
    kernel.put(f"{place} = {stored(new, dtype)}")


def spread(program: Program, variable: Any, y: Value, shape: Sequence[Dim]) -> list[Dim]:
    """Return the strides of a value repeated to a shape; also a size that turns out to be 1 is repeated."""
    new = len(shape) - len(y.shape)
    steps: list[Dim] = [0] * new
    for axis, (size, step) in enumerate(zip(y.shape, y.strides, strict=True)):
        if variable.type.broadcastable[axis]:
            steps.append(0)
        elif isinstance(size, int) or size == shape[new + axis]:
            program.same([size, shape[new + axis]], "assignment")
            steps.append(step)
        else:
            wrong = f"({size} != 1) & ({size} != {shape[new + axis]})"
            program.main.fail_if(wrong, "ValueError", "assignment: dimensions do not agree")
            steps.append(program.main.let(f"0 if {size} == 1 else {step}", "d"))
    return steps


def repeated_to(program: Program, sizes: Sequence[Dim]) -> Dim:
    """Return the size to which all of these are repeated; unknown ones may turn out to be 1."""
    first, *others = dict.fromkeys(sizes) or [1]
    for size in others:
        if isinstance(first, int) or isinstance(size, int):
            first = first if isinstance(first, int) else size
        else:
            first = program.main.let(f"{size} if {first} == 1 else {first}", "d")
    return first


class Gather:
    """The elements of a value at integer arrays: where each lies, and how the result is laid out.

    Parameters
    ----------
    program : Program
    x : Value
        What is indexed.
    entries
        One slice or integer array per axis; missing ones are full slices.
    """

    def __init__(self, program: Program, x: Value, entries: Sequence[Any]) -> None:
        entries = [*entries, *[FULL] * (len(x.shape) - len(entries))]
        self.axes = [axis for axis, entry in enumerate(entries) if not isinstance(entry, slice)]
        self.variables = [entries[axis] for axis in self.axes]
        if any("int" not in variable.dtype for variable in self.variables):
            raise Unsupported("boolean masks")
        self.x = located(program, x, [entry if isinstance(entry, slice) else FULL for entry in entries])
        self.indices = [program.in_memory(program.value(variable)) for variable in self.variables]
        self.rest = [axis for axis in range(len(entries)) if axis not in self.axes]
        self.sizes = self._common_sizes(program)
        self.steps = [
            spread(program, variable, value, self.sizes)
            for variable, value in zip(self.variables, self.indices, strict=True)
        ]
        together = self.axes == list(range(self.axes[0], self.axes[0] + len(self.axes)))
        # NumPy puts the indexed axes first when slices stand between them
        self.first = self.axes[0] if together else 0

    def _common_sizes(self, program: Program) -> list[Dim]:
        ndim = max(variable.type.ndim for variable in self.variables)
        sizes: list[Dim] = []
        for axis in range(-ndim, 0):
            here = [
                value.shape[axis]
                for variable, value in zip(self.variables, self.indices, strict=True)
                if variable.type.ndim >= -axis and not variable.type.broadcastable[axis]
            ]
            sizes.append(repeated_to(program, here))
        return sizes

    def arranged(self, of_indices: Sequence[Any], of_rest: Sequence[Any]) -> list[Any]:
        """Return what belongs to the axes of the result, in their order."""
        return [*of_rest[: self.first], *of_indices, *of_rest[self.first :]]

    @property
    def shape(self) -> list[Dim]:
        """Shape of the result."""
        return self.arranged(self.sizes, [self.x.shape[axis] for axis in self.rest])

    def parted(self, strides: Sequence[Dim]) -> tuple[list[Dim], list[Dim]]:
        """Return the strides of an array of the result's shape along the indexed axes and along the others."""
        last = self.first + len(self.sizes)
        return list(strides[self.first : last]), [*strides[: self.first], *strides[last:]]

    def loops(self, kernel: Kernel, other: Value, strides: Sequence[Dim], body: Any) -> None:
        """Write the loops; ``body(element of x, element of the other array)`` writes what happens."""
        outer, inner = self.parted(strides)
        steps = kernel.sizes(outer)
        with kernel.loops(kernel.sizes(self.sizes)) as indices:
            start = kernel.let(self._start(kernel, indices))
            place = kernel.let(offset(indices, steps))
            own = [self.x.strides[axis] for axis in self.rest]
            sizes, (own, inner) = merge_axes([self.x.shape[axis] for axis in self.rest], [own, inner])
            own, inner = kernel.sizes(own), kernel.sizes(inner)
            with kernel.loops(kernel.sizes(sizes)) as rest:
                mine = f"{kernel.pointer(self.x)}[{total(start, offset(rest, own))}]"
                body(mine, f"{kernel.pointer(other)}[{total(place, offset(rest, inner))}]")

    def _start(self, kernel: Kernel, indices: Sequence[str]) -> str:
        """Write the checks of one index per indexed axis, and return where their element lies."""
        terms = []
        for axis, value, steps in zip(self.axes, self.indices, self.steps, strict=True):
            index = kernel.let(f"int64({kernel.load(value, indices, kernel.sizes(steps))})")
            size = kernel.take(str(self.x.shape[axis]), "n")
            front = kernel.let(f"select({index} < 0, {index} + {size}, {index})")
            kernel.fail_if(f"({front} < 0) | ({front} >= {size})", "IndexError", "index out of bounds")
            terms.append(str(times(front, kernel.size(self.x.strides[axis]))))
        return " + ".join(terms)


@emits(AdvancedSubtensor, take_rows)
def gather(program: Program, node: Any) -> None:
    """Copy the elements at integer arrays."""
    output = node.outputs[0]
    entries = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    found = Gather(program, program.in_memory(program.value(node.inputs[0])), entries)
    target = program.allocate(output, found.shape)
    kernel = Kernel()
    found.loops(kernel, target, target.strides, lambda mine, other: kernel.put(f"{other} = {mine}"))
    program.add(kernel)


@emits(AdvancedIncSubtensor, add_to_rows)
def scatter(program: Program, node: Any) -> None:
    """Add to, or replace, the elements at integer arrays."""
    refuse(node)
    entries = indices_from_subtensor(node.inputs[2:], node.op.idx_list)
    if any("int" not in getattr(entry, "dtype", "int") for entry in entries):
        raise Unsupported("boolean masks")
    target = changed_copy(program, node)
    found = Gather(program, target, entries)
    y = apart(program, program.value(node.inputs[1]), target)
    steps = spread(program, node.inputs[1], y, found.shape)
    kernel = Kernel()

    def body(mine: str, other: str) -> None:
        change(kernel, node, mine, f"({other} != 0)" if y.dtype == "bool" else other)

    found.loops(kernel, y, steps, body)
    program.add(kernel)
