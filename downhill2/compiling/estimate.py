"""How long a compiled graph takes, roughly, by the sizes in it: never by a clock, so that runs repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pytensor.graph.basic import Constant
from pytensor.scalar.basic import Composite
from pytensor.tensor import blas
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot

from .plan import aliased_input, is_tensor

PRODUCTS = (Dot, *(getattr(blas, name) for name in ("BatchedDot",) if hasattr(blas, name)))

CALL = 0.2
"""Seconds that a call with many updates should take: what waits for its end, a signal say, waits no longer."""

NODE, BYTE, PRODUCT, ELEMENT = 2e-8, 3e-11, 1e-11, 2e-11
"""Seconds for a node, a byte, a multiplication and addition of a product, an operation on an element of a loop."""

Shape = tuple[int, ...]

# Each run asks, and a run may be short.
ESTIMATES: WeakKeyDictionary[Any, dict[tuple[Shape, ...], int]] = WeakKeyDictionary()


def updates_in_a_call(fgraph: Any, shapes: Sequence[Shape]) -> int:
    """Return how many runs of a graph take about as long as a call should: at least one.

    Parameters
    ----------
    fgraph : FunctionGraph
    shapes : sequence of tuple of int
        Shapes of its inputs, () for what is no array.
    """
    known, key = ESTIMATES.setdefault(fgraph, {}), tuple(shapes)
    if key not in known:
        known[key] = max(1, int(CALL / seconds(fgraph, shapes)))
    return known[key]


def seconds(fgraph: Any, shapes: Sequence[Shape]) -> float:
    """Return how long one run of a graph takes on about two cores, within a factor of a few."""
    known: dict[Any, Shape] = dict(zip(fgraph.inputs, shapes, strict=True))
    unknown = max((n for shape in shapes for n in shape), default=1)
    total = NODE
    for node in fgraph.toposort():
        for v in node.inputs:
            known.setdefault(v, np.shape(v.data) if isinstance(v, Constant) else ())
        inputs = [known[v] for v in node.inputs]
        known.update((v, _shape(node, v, inputs, unknown)) for v in node.outputs)
        total += NODE + _work(node, known)
    return total


def _shape(node: Any, variable: Any, inputs: Sequence[Shape], unknown: int) -> Shape:
    """Return the shape of an output; a size that cannot be told is taken for the one that is `unknown`."""
    fixed = variable.type.shape if is_tensor(variable) else ()
    if None not in fixed:
        return tuple(fixed)
    if isinstance(node.op, Elemwise):
        # no np.broadcast_shapes: of the sizes that meet, one may be known and another guessed
        return tuple(max(sizes) for sizes in zip(*inputs, strict=True))
    if isinstance(node.op, DimShuffle):
        return tuple(1 if axis == "x" else inputs[0][axis] for axis in node.op.new_order)
    if isinstance(node.op, CAReduce):
        return tuple(n for axis, n in enumerate(inputs[0]) if axis not in node.op.axis)
    if isinstance(node.op, PRODUCTS):
        return (*inputs[0][:-1], *inputs[1][-1:])
    return tuple(unknown if n is None else n for n in fixed)


def _work(node: Any, known: Mapping[Any, Shape]) -> float:
    """Return the seconds of a node's arithmetic or memory traffic."""
    if isinstance(node.op, PRODUCTS):
        x, y = (known[v] for v in node.inputs)
        return PRODUCT * prod(x) * y[-1]
    if isinstance(node.op, Elemwise):
        scalar, touched = node.op.scalar_op, (*node.inputs, *node.outputs)
        operations = len(scalar.fgraph.apply_nodes) if isinstance(scalar, Composite) else 1
        loop = ELEMENT * operations * prod(known[node.outputs[0]])
        return loop + BYTE * sum(_bytes(v, known) for v in touched)
    aliased = {x for v in node.outputs for x in (v, aliased_input(node, v)) if aliased_input(node, v) is not None}
    return BYTE * sum(_bytes(v, known) for v in {*node.inputs, *node.outputs} - aliased)


def _bytes(variable: Any, known: Mapping[Any, Shape]) -> int:
    return np.dtype(variable.dtype).itemsize * prod(known[variable]) if is_tensor(variable) else 0
