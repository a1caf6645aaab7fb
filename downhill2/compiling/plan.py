"""Memory of generated functions: who reads a variable last, what ends as an output, blocks of the workspace."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

from pytensor.graph.basic import Constant
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.type import TensorType

ALIGNMENT = 64


def is_tensor(variable: Any) -> bool:
    """Whether a variable is a dense array."""
    return isinstance(variable.type, TensorType)


def last_reads(nodes: Sequence[Any], outputs: Sequence[Any]) -> list[list[Any]]:
    """Return for each node the variables that nothing after it reads."""
    last: dict[Any, int] = {}
    for position, node in enumerate(nodes):
        for variable in (*node.inputs, *node.outputs):
            last[variable] = position
    dying: list[list[Any]] = [[] for _ in nodes]
    kept = set(outputs)
    for variable, position in last.items():
        if variable not in kept and not isinstance(variable, Constant):
            dying[position].append(variable)
    return dying


def aliased_input(node: Any, variable: Any) -> Any | None:
    """Return the input in whose memory PyTensor puts an output of the node, None if it is new memory."""
    index = node.outputs.index(variable)
    maps = {**(node.op.view_map or {}), **(node.op.destroy_map or {})}
    return node.inputs[maps[index][0]] if maps.get(index) else None


def landings(inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[Any, Any]:
    """Return which new variables may be computed right where an output will lie: ``{variable: output}``.

    An output may be a view of a variable, or the variable changed in place: no copy if the memory is the output's.
    """
    result: dict[Any, Any] = {}
    for output in outputs:
        variable = output
        while variable.owner is not None and (source := aliased_input(variable.owner, variable)) is not None:
            variable = source
        known = variable.owner is not None and is_tensor(output)
        if known and variable not in inputs and _same_room(variable, output):
            result.setdefault(variable, output)
    return result


def readers(nodes: Sequence[Any], outputs: Sequence[Any]) -> dict[Any, list[Any]]:
    """Return the nodes that read each variable, None for the caller of the function."""
    result: dict[Any, list[Any]] = {output: [None] for output in outputs}
    for node in nodes:
        for variable in dict.fromkeys(node.inputs):
            result.setdefault(variable, []).append(node)
    return result


def only_reduced(nodes: Sequence[Any], outputs: Sequence[Any], recomputed: Collection[Any] = ()) -> dict[Any, Any]:
    """Return the variables that nothing reads but one reduction to a single number: ``{variable: that node}``.

    Who computes a variable again does not read it.
    """
    result = {}
    for variable, known in readers(nodes, outputs).items():
        left = [node for node in known if variable not in recomputed or is_full_reduction(node)]
        if len(left) == 1 and left[0] is not None and is_full_reduction(left[0]):
            result[variable] = left[0]
    return result


def is_full_reduction(node: Any) -> bool:
    """Whether a node reduces a tensor to a single number."""
    return isinstance(node.op, CAReduce) and node.outputs[0].type.ndim == 0


def _same_room(variable: Any, output: Any) -> bool:
    if None in (*variable.type.shape, *output.type.shape):
        return bool(variable.type == output.type)
    return bool(prod(variable.type.shape) == prod(output.type.shape)) and variable.dtype == output.dtype


class Workspace:
    """Blocks of one buffer, and rooms for sizes known only at run time; used again when what lay there is dead."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []
        self._rooms: dict[str, list[int]] = {}

    def take(self, nbytes: int) -> tuple[int, int]:
        """Return ``(offset, size)`` of a block of at least so many bytes."""
        nbytes = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
        # a small tensor in a large block would keep the next large one from it
        fitting = [block for block in self._free if nbytes <= block[1] <= 4 * nbytes]
        if fitting:
            best = min(fitting, key=lambda block: block[1])
            self._free.remove(best)
            return best
        self.size += nbytes
        return self.size - nbytes, nbytes

    def give_back(self, block: tuple[int, int]) -> None:
        """Let a block be taken again."""
        self._free.append(block)

    def take_room(self, nbytes: str) -> int | None:
        """Return a free room that was used for just this size, None if there is none."""
        free = self._rooms.get(nbytes)
        return free.pop() if free else None

    def give_room(self, nbytes: str, index: int) -> None:
        """Let a room be taken again."""
        self._rooms.setdefault(nbytes, []).append(index)
