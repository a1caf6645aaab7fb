"""Where variables stand in an expression, whatever they are called and in whichever order its terms were written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pytensor.graph.basic import Constant
from pytensor.graph.traversal import toposort

from .graph import Variable, is_generator, is_shared

UNORDERED = ("Add", "Mul", "Maximum", "Minimum", "AND", "OR", "XOR", "EQ", "NEQ")
"""Scalar operations whose arguments may change places."""


def places(output: Variable, variables: Sequence[Variable]) -> list[str]:
    """Return what tells the place of each variable in an expression from that of others.

    It is made of the operations between the variable and `output`, and of what else these are applied to, where one
    shared variable is like any other of its type. Equal places mean that the variables may change places; the same
    place in two expressions, that there the same is made of them.
    """
    nodes = list(toposort([output]))
    made: dict[Variable, str] = {}
    for node in nodes:
        inputs = [_made(v, made) for v in node.inputs]
        for i, out in enumerate(node.outputs):
            made[out] = _digest([_operation(node), i, *(sorted(inputs) if _is_unordered(node) else inputs)])
    uses: dict[Variable, list[str]] = {output: ["output"]}
    for node in reversed(nodes):
        around = [_digest(sorted(uses.get(out, []))) for out in node.outputs]
        inputs = [_made(v, made) for v in node.inputs]
        beside = sorted(inputs) if _is_unordered(node) else inputs
        for i, v in enumerate(node.inputs):
            position = "any" if _is_unordered(node) else i
            uses.setdefault(v, []).append(_digest([_operation(node), position, *around, *beside]))
    return [_digest(sorted(uses.get(v, []))) for v in variables]


def _made(v: Variable, made: dict[Variable, str]) -> str:
    if v not in made:
        known = v.data.tobytes().hex() if isinstance(v, Constant) and hasattr(v.data, "tobytes") else ""
        name = None if is_shared(v) else v.name
        kind = "generator" if is_generator(v) else str(v.type)
        made[v] = _digest([kind, is_shared(v), name, known])
    return made[v]


def _operation(node: Any) -> str:
    return f"{type(node.op).__name__} {node.op}"


def _is_unordered(node: Any) -> bool:
    return type(getattr(node.op, "scalar_op", None)).__name__ in UNORDERED


def _digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:16]
