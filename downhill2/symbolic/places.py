"""Where variables stand in an expression, independent of their names and of the order of its terms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from pytensor.graph.basic import Apply, Constant
from pytensor.graph.traversal import toposort

from .graph import Variable, is_generator, is_shared

UNORDERED = ("Add", "Mul", "Maximum", "Minimum", "AND", "OR", "XOR")
"""Scalar operations whose arguments may change places, also with those of the same operation inside."""


def places(output: Variable, variables: Sequence[Variable]) -> list[str]:
    """Return a text for each variable that identifies its place in an expression.

    It covers the operations between the variable and `output`, and their other arguments, where all shared variables of
    a type are alike. Variables with equal places may be exchanged. Equal places in two expressions mean that both use
    the variables in the same way.
    """
    nodes = list(toposort([output]))
    made: dict[Variable, str] = {}
    for node in nodes:
        beside = _beside(node, made)
        made.update((out, _digest([_operation(node), i, *beside])) for i, out in enumerate(node.outputs))
    uses: dict[Variable, list[str]] = {output: ["output"]}
    for node in reversed(nodes):
        if not uses.keys() & {*node.outputs}:
            continue  # a sum within a sum: its terms count for the outer one
        around = [_digest(sorted(uses.get(out, []))) for out in node.outputs]
        beside = _beside(node, made)
        for i, v in enumerate(_arguments(node)):
            position = "any" if _unordered(node) else i
            uses.setdefault(v, []).append(_digest([_operation(node), position, *around, *beside]))
    return [_digest(sorted(uses.get(v, []))) for v in variables]


def _arguments(node: Apply) -> list[Variable]:
    """Return the inputs of a node; where terms of a sum are sums, the terms of all."""
    kind = _unordered(node)
    if not kind:
        return list(node.inputs)
    found = []
    waiting = list(node.inputs)
    while waiting:
        v = waiting.pop()
        if v.owner is not None and _unordered(v.owner) == kind:
            waiting += v.owner.inputs
        else:
            found.append(v)
    return found


def _beside(node: Apply, made: dict[Variable, str]) -> list[str]:
    """Return digests of the arguments of a node, in order if the order matters."""
    inputs = [_made(v, made) for v in _arguments(node)]
    return sorted(inputs) if _unordered(node) else inputs


def _made(v: Variable, made: dict[Variable, str]) -> str:
    if v not in made:
        known = v.data.tobytes().hex() if isinstance(v, Constant) and hasattr(v.data, "tobytes") else ""
        name = None if is_shared(v) else v.name
        kind = "generator" if is_generator(v) else str(v.type)
        made[v] = _digest([kind, is_shared(v), name, known])
    return made[v]


def _operation(node: Apply) -> str:
    return f"{type(node.op).__name__} {node.op}"


def _unordered(node: Apply) -> str:
    """Return the name of an operation whose arguments may change places; of another, an empty text."""
    name = type(getattr(node.op, "scalar_op", None)).__name__
    return name if name in UNORDERED else ""


def _digest(parts: Iterable[object]) -> str:
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:16]
