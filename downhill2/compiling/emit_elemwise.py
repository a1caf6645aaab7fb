"""Elementwise operations: one loop nest per node, or per part of a node whose parts share no array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytensor.tensor.elemwise import Elemwise

from . import scalars
from .emit_reduce import Fold
from .parallel import Split
from .program import Program, emits
from .recompute import Recipe, recipe
from .source import Block, Kernel, stored
from .values import Dim, Unsupported, Value, merge_axes, offset, times


@emits(Elemwise)
def elemwise(program: Program, node: Any) -> None:
    """Write an Elemwise, in place where PyTensor found that it may be."""
    dry_run(node)
    shape = common_shape(program, node)
    again = {i: program.recipes[variable] for i, variable in enumerate(node.inputs) if variable in program.recipes}
    values = {i: program.value(variable) for i, variable in enumerate(node.inputs) if i not in again}
    if all(size == 1 for size in shape) and not again:
        _single(program, node, values)
        return
    folds = _folds(program, node)
    _leave_out(program, node, values, folds)
    for part in _independent_parts(node, again):
        made = [position for position in part if position in folds or node.outputs[position] not in program.recipes]
        if made:
            _Loops(program, node, values, again, shape, made, folds).write()


def dry_run(node: Any) -> None:
    """Raise Unsupported if the scalar operation has no rule, before anything is written."""
    operands = [("x", variable.dtype) for variable in node.inputs]
    scalars.write(Block(), node.op.scalar_op, operands, [variable.dtype for variable in node.outputs])


def _folds(program: Program, node: Any) -> dict[int, Fold]:
    """Return the outputs of which only a total is needed, a number: they are never written to memory."""
    folds: dict[int, Fold] = {}
    for position, variable in enumerate(node.outputs):
        if variable in program.only_reduced:
            try:
                fold = Fold.of(program.only_reduced[variable])
            except Unsupported:
                continue
            if fold.defined_when_empty:
                folds[position] = fold
    return folds


def _leave_out(program: Program, node: Any, values: Mapping[int, Value], folds: dict[int, Fold]) -> None:
    """Note how outputs are computed that need not be in memory, unless a reduction must read them there."""

    def number(variable: Any) -> scalars.Operand:
        value = values[node.inputs.index(variable)]
        return program.number(value), value.dtype

    for position, variable in enumerate(node.outputs):
        if variable in program.recomputable and (position in folds or variable not in program.only_reduced):
            program.recipes[variable] = recipe(node, position, number)


def common_shape(program: Program, node: Any) -> tuple[Dim, ...]:
    """Return the shape of the result; only dimensions that are 1 by type are repeated."""
    shape: list[Dim] = []
    for axis in range(node.outputs[0].type.ndim):
        read = [variable for variable in node.inputs if variable not in program.recipes]
        long = [variable for variable in read if not variable.type.broadcastable[axis]]
        sizes = [program.value(variable).shape[axis] for variable in long]
        shape.append(program.same(sizes, f"elementwise operation, axis {axis}") if sizes else 1)
    return tuple(shape)


def _single(program: Program, node: Any, values: Mapping[int, Value]) -> None:
    """Write the operation on tensors of one element as plain statements."""
    operands = [(program.number(value), value.dtype) for value in values.values()]
    dtypes = [variable.dtype for variable in node.outputs]
    results = scalars.write(program.main, node.op.scalar_op, operands, dtypes)
    for position, (variable, result) in enumerate(zip(node.outputs, results, strict=True)):
        number = scalars.cast(result, variable.dtype)
        program.scalar(variable, number)
        source = node.op.inplace_pattern.get(position)
        if source is not None and program.writable(values[source]):
            target, new = values[source], program.value(variable)
            program.main.put(f"{target.pointer}[0] = {stored(str(new.scalar), variable.dtype)}")
            program.define(variable, program.view(target, new.shape, new.strides))
            program.value(variable).scalar = new.scalar


def _independent_parts(node: Any, again: Mapping[int, Recipe]) -> list[list[int]]:
    """Return the outputs in groups that share no array.

    PyTensor fuses all updates of one shape into one node: for a hundred equal tensors, one loop over four hundred
    arrays. Here each group gets a loop of its own, and equal loops are compiled once.
    """
    graph = scalars.inner_graph(node.op.scalar_op)
    if graph is None:
        return [list(range(len(node.outputs)))]
    arrays = {i for i, variable in enumerate(node.inputs) if not all(variable.type.broadcastable)}
    groups: list[tuple[list[int], set[int]]] = []
    for position, output in enumerate(graph.outputs):
        nodes = scalars.needed_nodes([output])
        read = {*(i for n in nodes for i in n.inputs), output}
        touched = {i for i in arrays if graph.inputs[i] in read}
        touched |= {i for out, i in node.op.inplace_pattern.items() if out == position} & arrays
        touched |= _read_for(node, touched, again)
        joined = [group for group in groups if group[1] & touched]
        groups = [group for group in groups if not group[1] & touched]
        outputs = sorted([position, *(i for group in joined for i in group[0])])
        groups.append((outputs, touched.union(*(group[1] for group in joined))))
    return [outputs for outputs, _ in groups]


def _read_for(node: Any, used: Iterable[int], again: Mapping[int, Recipe]) -> set[int]:
    """Return the inputs from which those among the used ones are computed that are not read."""
    return {node.inputs.index(variable) for i in used if i in again for variable in again[i].arrays.values()}


class _Loops:
    """The loop nest of some outputs of one Elemwise."""

    def __init__(
        self,
        program: Program,
        node: Any,
        values: Mapping[int, Value],
        again: Mapping[int, Recipe],
        shape: Sequence[Dim],
        part: Sequence[int],
        folds: dict[int, Fold],
    ) -> None:
        self.program, self.node, self.shape, self.part = program, node, shape, part
        self.folds = {position: fold for position, fold in folds.items() if position in part}
        self.kernel = Kernel()
        used = self._used_inputs()
        self.again = {i: again[i] for i in used if i in again}
        used = sorted({*used, *_read_for(node, used, again)} - {*again})
        repeated = [all(variable.type.broadcastable) for variable in node.inputs]
        self.numbers = {i: program.number(values[i]) for i in used if repeated[i]}
        self.arrays = {i: program.in_memory(values[i]) for i in used if not repeated[i]}
        self.targets = {position: self._target(position) for position in part if position not in folds}
        self.operands: dict[int, scalars.Operand] = {
            i: (self.kernel.number(number, values[i].dtype), values[i].dtype) for i, number in self.numbers.items()
        }

    def write(self) -> None:
        """Write loads, the operation and stores, and append the loops to the program."""
        kernel = self.kernel
        strides = [self._strides(i, value) for i, value in self.arrays.items()]
        shape, merged = merge_axes(self.shape, [*strides, *(target.strides for target in self.targets.values())])
        loops, steps = kernel.sizes(shape), [kernel.sizes(operand) for operand in merged]
        totals = {position: kernel.new("r") for position in self.folds}
        for position, total in totals.items():
            kernel.put(f"{total} = {self.folds[position].start}")
        indices: list[str] = []
        self._load(indices, steps)
        for size in loops:
            indices.append(kernel.open(size))
            self._load(indices, steps)
        self._store(indices, steps, totals)
        if self.program.elements(times(*shape)) >= (self.program.parallel_from or math.inf):
            self._split(loops, steps)
        self._finish(totals)

    def _store(self, indices: Sequence[str], steps: Sequence[Sequence[Dim]], totals: dict[int, str]) -> None:
        """Write the operation, and what becomes of its results."""
        kernel = self.kernel
        self._compute_again()
        results = dict(zip(self.part, self._results(), strict=True))
        for (position, target), own in zip(self.targets.items(), steps[len(self.arrays) :], strict=True):
            element = stored(scalars.cast(results[position], target.dtype), target.dtype)
            kernel.put(f"{kernel.pointer(target)}[{offset(indices, own)}] = {element}")
        for position, fold in self.folds.items():
            fold.into(kernel, totals[position], scalars.cast(results[position], fold.dtype))

    def _split(self, loops: Sequence[Dim], steps: Sequence[Sequence[Dim]]) -> None:
        """Let several threads run the loop, if that changes nothing: it is one loop, and totals are of booleans."""
        folds = list(self.folds.values())
        if all(step == [1] for step in steps) and all(fold.accumulator == "bool" for fold in folds):
            self.kernel.split = Split.of(self.program, self.kernel, str(loops[0]), folds)

    def _finish(self, totals: dict[int, str]) -> None:
        """Append the loops to the program, and say what their totals are."""
        names = {position: self.program.main.new("s") for position in totals}
        for position, total in totals.items():
            self.kernel.give(total, names[position])
        self.program.add(self.kernel)
        for position, name in names.items():
            reduced = self.program.only_reduced[self.node.outputs[position]].outputs[0]
            self.program.scalar(reduced, scalars.cast((name, self.folds[position].accumulator), reduced.dtype))

    def _load(self, indices: Sequence[str], steps: Sequence[Sequence[Dim]]) -> None:
        """Read the arrays that no loop further inside moves along."""
        depth = len(indices)
        for (i, value), own in zip(self.arrays.items(), steps, strict=False):
            if i not in self.operands and all(step == 0 for step in own[depth:]):
                element = self.kernel.load(value, indices, own[:depth])
                self.operands[i] = (self.kernel.let(element), value.dtype)

    def _compute_again(self) -> None:
        known = {variable: self.operands[i] for i, variable in enumerate(self.node.inputs) if i in self.operands}
        for i, how in self.again.items():
            numbers = {k: (self.kernel.number(*number), number[1]) for k, number in how.numbers.items()}
            result = replace(how, numbers=numbers).write(self.kernel, known)
            dtype = self.node.inputs[i].dtype
            self.operands[i] = self.kernel.let(scalars.cast(result, dtype)), dtype

    def _results(self) -> list[scalars.Operand]:
        op = self.node.op.scalar_op
        graph = scalars.inner_graph(op)
        operands = [self.operands.get(i, ("", "")) for i in range(len(self.node.inputs))]
        if graph is not None:
            return scalars.write_graph(self.kernel, graph, operands, self.part)
        return scalars.write(self.kernel, op, operands, [variable.dtype for variable in self.node.outputs])

    def _used_inputs(self) -> list[int]:
        """Return the inputs that these outputs depend on."""
        graph = scalars.inner_graph(self.node.op.scalar_op)
        if graph is None:
            return list(range(len(self.node.inputs)))
        outputs = [graph.outputs[position] for position in self.part]
        read = {*outputs, *(i for node in scalars.needed_nodes(outputs) for i in node.inputs)}
        return [i for i, variable in enumerate(graph.inputs) if variable in read]

    def _target(self, position: int) -> Value:
        """Return the memory of an output."""
        variable, source = self.node.outputs[position], self.node.op.inplace_pattern.get(position)
        old = None if source is None or source in self.again else self.program.value(self.node.inputs[source])
        if old is None or not self.program.writable(old):
            return self.program.allocate(variable, self.shape)
        new = self.program.view(old, self.shape, old.strides)
        self.program.define(variable, new)
        return new

    def _strides(self, i: int, value: Value) -> list[Dim]:
        """Return the strides of an input along the axes of the result, 0 where it is repeated."""
        repeated = self.node.inputs[i].type.broadcastable
        return [0 if repeat else stride for repeat, stride in zip(repeated, value.strides, strict=True)]
