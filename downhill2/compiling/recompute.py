"""Elements that a loop computes again rather than reads: cheap ones, of arrays that it reads anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytensor.tensor.elemwise import Elemwise

from . import scalars
from .plan import is_full_reduction, readers
from .source import Block

CHEAP = ("Add", "Sub", "Mul", "Sqr", "Neg")

MOST = 3
"""Cheap operations that cost less than an element written to memory and read again."""


@dataclass
class Recipe:
    """How the elements of a variable are computed.

    Parameters
    ----------
    graph : FunctionGraph
        The inner graph of the Composite that has it among its outputs.
    position : int
        Which of them it is.
    numbers : dict of int to operand
        The Composite's inputs that are numbers.
    arrays : dict of int to variable
        Its inputs that are arrays.
    """

    graph: Any
    position: int
    numbers: dict[int, scalars.Operand]
    arrays: dict[int, Any]

    def write(self, block: Block, operands: Mapping[Any, scalars.Operand]) -> scalars.Operand:
        """Write the computation of one element from those of the arrays."""
        given = {**self.numbers, **{i: operands[v] for i, v in self.arrays.items()}}
        every = [given.get(i, ("", "")) for i in range(len(self.graph.inputs))]
        [result] = scalars.write_graph(block, self.graph, every, [self.position])
        return result


def recipe(node: Any, position: int, number: Callable[[Any], scalars.Operand]) -> Recipe:
    """Return the recipe of an output of a Composite; `number` returns the operand of an input that is a number."""
    graph, used = scalars.inner_graph(node.op.scalar_op), _inputs(node, position)
    numbers = {i: number(v) for i, v in used.items() if all(v.type.broadcastable)}
    return Recipe(graph, position, numbers, {i: v for i, v in used.items() if i not in numbers})


def recomputable(nodes: Sequence[Any], outputs: Sequence[Any]) -> set[Any]:
    """Return variables that need not be in memory: cheap to compute from what all their readers read as well.

    Besides those, one reduction to a single number may read each: it is part of the loop that first computes them.
    """
    found: set[Any] = set()
    known = readers(nodes, outputs)
    for node in nodes:
        for position, variable in enumerate(node.outputs):
            arrays = _arrays(node, position)
            if arrays and not arrays & found and _serve(arrays, known.get(variable, [])):
                found.add(variable)
    return found


def _arrays(node: Any, position: int) -> set[Any]:
    """Return the arrays from which an output is cheaply computed, element by element; none if it is not."""
    graph = scalars.inner_graph(node.op.scalar_op) if isinstance(node.op, Elemwise) else None
    if graph is None:
        return set()
    needed = scalars.needed_nodes([graph.outputs[position]])
    if len(needed) > MOST or any(type(n.op).__name__ not in CHEAP or len(n.inputs) > 2 for n in needed):
        return set()
    arrays = {v for v in _inputs(node, position).values() if not all(v.type.broadcastable)}
    pattern = node.outputs[position].type.broadcastable
    return arrays if all(v.type.broadcastable == pattern for v in arrays) else set()


def _inputs(node: Any, position: int) -> dict[int, Any]:
    """Return the inputs of a Composite that one of its outputs depends on."""
    graph = node.op.scalar_op.fgraph
    output = graph.outputs[position]
    read = {output, *(v for n in scalars.needed_nodes([output]) for v in n.inputs)}
    return {i: node.inputs[i] for i, v in enumerate(graph.inputs) if v in read}


def _serve(arrays: set[Any], known: Sequence[Any]) -> bool:
    """Whether the readers of a variable can do with arrays that they read, too."""
    others = [node for node in known if node is None or not is_full_reduction(node)]
    if not others or len(known) - len(others) > 1:
        return False
    return all(node is not None and isinstance(node.op, Elemwise) and arrays <= {*node.inputs} for node in others)
