"""Half precision for a compiler that has none: what is float16 in a graph is computed in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, toposort
from pytensor.scalar import Cast, float32
from pytensor.tensor.elemwise import CAReduce, Elemwise

HALF, SINGLE = "float16", "float32"

to_single = Elemwise(Cast(float32))


def check_shared(variables: Sequence[Any]) -> None:
    """Raise TypeError for the first shared variable of half precision, which no compiled function could write."""
    for v in variables:
        if isinstance(v, SharedVariable) and _is_half(v):
            shape = v.get_value(borrow=True).shape
            raise TypeError(
                f"shared variables must be float32 or float64 for Numba, which compiles no float16, got {v.name!r} of "
                f"shape {shape}; make it from value.astype('float32'), or give backend='c'"
            )


def without_half(
    outputs: list[Any], updates: Mapping[Any, Any], givens: Mapping[Any, Any]
) -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
    """Return what a function is made from, free of float16; inputs that are left have givens in their place.

    Raises
    ------
    TypeError
        If a shared variable is float16, or an operation makes it.
    """
    graph = [*outputs, *updates.values()]
    graph = list(graph_replace(graph, dict(givens), strict=False)) if givens else graph
    known = [*updates, *ancestors(graph)]
    if not any(map(_is_half, known)):
        return outputs, dict(updates), dict(givens)
    check_shared(known)
    graph = in_single(graph)
    return graph[: len(outputs)], dict(zip(updates, graph[len(outputs) :], strict=True)), {}


def in_single(outputs: Sequence[Any]) -> list[Any]:
    """Return a graph that computes in float32 what this one computes in float16, without rounding in between.

    Raises
    ------
    TypeError
        For an operation that makes float16 of anything else, such as a draw of random numbers in that dtype.
    """
    memo: dict[Any, Any] = {}
    for node in toposort(outputs):
        inputs = [_single(memo.get(i, i)) for i in node.inputs]
        if any(map(_is_half, node.outputs)) or any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            memo.update(zip(node.outputs, _made_again(node, inputs), strict=True))
    return [_single(memo.get(o, o)) for o in outputs]


def _made_again(node: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the outputs of an operation on inputs that are not float16 any more."""
    op = node.op
    if isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast) and _is_half(node.outputs[0]):
        return [inputs[0] if inputs[0].type.dtype == SINGLE else to_single(inputs[0])]
    if isinstance(op, CAReduce) and HALF in (getattr(op, "dtype", None), getattr(op, "acc_dtype", None)):
        op = type(op)(axis=op.axis, dtype=SINGLE, acc_dtype=SINGLE)
    new: list[Any] = op.make_node(*inputs).outputs
    if any(map(_is_half, new)):
        raise TypeError(
            f"operations must make float32 or float64 for Numba, which compiles no float16, got {op}; give it another "
            "dtype, or give backend='c'"
        )
    return new


def _single(x: Any) -> Any:
    return pt.constant(x.data.astype(SINGLE), name=x.name) if isinstance(x, Constant) and _is_half(x) else x


def _is_half(x: Any) -> bool:
    return getattr(x.type, "dtype", None) == HALF
