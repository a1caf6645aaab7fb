"""How random generators advance: each is followed through a graph, from draw to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.scan.op import Scan

from . import graph
from .graph import Variable


def advanced(
    outputs: Iterable[Variable], given: Mapping[Variable, Variable], grads: Iterable[Variable] = ()
) -> dict[Variable, Variable]:
    """Return the next value of each shared generator that expressions draw from.

    It is the value in `given`, or else the generator after its last draw. Generators with a `default_update` are left
    out: PyTensor advances them in every function. The graphs of `grads` are not searched: they repeat a loss's draws.

    Raises
    ------
    ValueError
        If a generator that is not in `given` has no single next value.
    """
    outputs = list(outputs)
    found = [v for v in graph.shared_inputs(outputs) if graph.is_generator(v) and v.default_update is None]
    draws = Draws(outputs, grads) if any(v not in given for v in found) else None
    return {v: given[v] if draws is None or v in given else v.type.filter_variable(draws.last(v)) for v in found}


class Draws:
    """The draws of expressions; a copy, as a clone of a graph holds it, is the same draw as its original."""

    def __init__(self, outputs: Sequence[Variable], blockers: Iterable[Variable] = ()) -> None:
        self._same: dict[Variable, Variable] = {}
        self._takers: dict[Variable, list[tuple[Apply, int]]] = {}
        made: dict[tuple[object, ...], Apply] = {}
        for node in toposort(outputs, blockers=list(blockers)):
            inputs = [self._same.get(i, i) for i in node.inputs]
            key = (node.op, _origin(node), *(i.signature() if isinstance(i, Constant) else i for i in inputs))
            first = made.setdefault(key, node)
            if first is not node:
                self._same.update(zip(node.outputs, first.outputs, strict=True))
                continue
            for place, i in enumerate(inputs):
                if graph.is_generator(i):
                    self._takers.setdefault(i, []).append((node, place))

    def last(self, generator: Variable) -> Variable:
        """Return a generator as it is after its last draw."""
        name, v = generator.name or str(generator), generator
        while takers := self._takers.get(v):
            if len(takers) > 1:
                raise ValueError(
                    f"each draw must begin where the one before ended, got {len(takers)} draws from one state of the "
                    f"generator {name!r}; write rng_1, a = rng.normal(); rng_2, b = rng_1.normal(), or say by "
                    "updates={rng: rng_1} which draw counts"
                )
            v = _after(*takers[0]) or _refuse(name, takers[0][0].op)
        return v

    def hands_on(self, generator: Variable, output: Variable) -> bool:
        """Whether an output is a generator as it is after its last draw."""
        return self.last(generator) is self._same.get(output, output)


def _origin(node: Apply) -> int | None:
    """Return what a draw has in common with its copies, and with no other draw; None for what draws nothing.

    Two calls of the caller that compute the same are two draws. PyTensor notes with each result where it was written,
    and a copy takes that very note over.
    """
    if not any(map(graph.is_generator, node.inputs)):
        return None
    return id(getattr(node.outputs[0].tag, "trace", node))


def _after(node: Apply, place: int) -> Variable | None:
    """Return the generator that a node returns for its input at a place; None if it returns none."""
    op = node.op
    if isinstance(op, Scan):
        maps = op.get_oinp_iinp_iout_oout_mappings()
        taken, left = (maps[f"inner_{end}_from_outer_inp"][place] for end in ("inp", "out"))
        inner = op.inner_inputs[taken[0]]
        handed_on = left and Draws(op.inner_outputs).hands_on(inner, op.inner_outputs[left[0]])
        return node.outputs[maps["outer_out_from_outer_inp"][place]] if handed_on else None
    if isinstance(op, OpFromGraph):
        inside = Draws(op.inner_outputs)
        pairs = zip(node.outputs, op.inner_outputs, strict=True)
        return next((o for o, x in pairs if inside.hands_on(op.inner_inputs[place], x)), None)
    taken, left = ([v for v in vs if graph.is_generator(v)] for vs in (node.inputs, node.outputs))
    return left[0] if len(taken) == len(left) == 1 else None


def _refuse(name: str, op: Op) -> NoReturn:
    raise ValueError(
        f"what draws must hand on the generator after its last draw, got {op} without the next value of {name!r}; "
        "in a scan carry it: outputs_info=[..., rng], and return ..., rng_t"
    )
