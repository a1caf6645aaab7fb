"""Where variables stand in an expression, whatever they are called and in whichever order its terms were written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pytensor.graph.basic import Constant
from pytensor.graph.traversal import toposort

from .graph import Variable, is_generator, is_shared

UNORDERED = ("Add", "Mul", "Maximum", "Minimum", "AND", "OR", "XOR")
"""Scalar operations whose arguments may change places, also with those of another within them."""


def places(output: Variable, variables: Sequence[Variable]) -> list[str]:
    """Return what tells the place of each variable in an expression from that of others.

    It is made of the operations between the variable and `output`, and of what else these are applied to, where one
    shared variable is like any other of its type. Equal places mean that the variables may change places; the same
    place in two expressions, that there the same is made of them.
    """
    nodes = list(toposort([output]))
    made: dict[Variable, str] = {}
    for node in nodes:
        beside = _beside(node, made)
        made.update((out, _digest([_operation(node), i, *beside])) for i, out in enumerate(node.outputs))
    uses: dict[Variable, list[str]] = {output: ["output"]}
    for node in reversed(nodes):
        if not uses.keys() & {*node.outputs}:
            continue  # a sum within a sum, whose terms are those of the other
        around = [_digest(sorted(uses.get(out, []))) for out in node.outputs]
        beside = _beside(node, made)
        for i, v in enumerate(_arguments(node)):
            position = "any" if _unordered(node) else i
            uses.setdefault(v, []).append(_digest([_operation(node), position, *around, *beside]))
    return [_digest(sorted(uses.get(v, []))) for v in variables]


def _arguments(node: Any) -> list[Variable]:
    """Return what a node is applied to: the terms of all, where terms of a sum are sums."""
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


def _beside(node: Any, made: dict[Variable, str]) -> list[str]:
    """Return what a node is applied to, in its order if that counts."""
    inputs = [_made(v, made) for v in _arguments(node)]
    return sorted(inputs) if _unordered(node) else inputs


def _made(v: Variable, made: dict[Variable, str]) -> str:
    if v not in made:
        known = v.data.tobytes().hex() if isinstance(v, Constant) and hasattr(v.data, "tobytes") else ""
        name = None if is_shared(v) else v.name
        kind = "generator" if is_generator(v) else str(v.type)
        made[v] = _digest([kind, is_shared(v), name, known])
    return made[v]


def _operation(node: Any) -> str:
    return f"{type(node.op).__name__} {node.op}"


def _unordered(node: Any) -> str:
    """Return the name of an operation whose arguments may change places; of another, nothing."""
    name = type(getattr(node.op, "scalar_op", None)).__name__
    return name if name in UNORDERED else ""


def _digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:16]
