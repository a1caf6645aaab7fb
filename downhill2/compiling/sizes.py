"""What depends on shapes alone, in a graph that calls another library: computed by NumPy, so that it may be a shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.graph.basic import Constant
from pytensor.tensor.basic import Alloc, AllocEmpty, ARange

Function = Callable[..., Any]


def sizes(node: Any, function: Function, is_array: Callable[[Any], bool]) -> Function:
    """Return a function that computes a node in Python while all that it is made from are numbers.

    The shapes of a library's arrays are Python's numbers. Were what is computed from them an array of the library, it
    could not be a shape in turn, nor a bound of ``arange``.

    Parameters
    ----------
    node : Apply
    function : callable
        Computes it otherwise.
    is_array : callable
        Whether a value is an array of the library.
    """
    if not _makes_sizes(node):
        return function
    constants = {k: v.data for k, v in enumerate(node.inputs) if isinstance(v, Constant)}
    dtypes = [v.type.dtype for v in node.inputs]

    def computed(*args: Any) -> Any:
        values = [constants.get(k, x) for k, x in enumerate(args)]
        if any(map(is_array, values)):
            return function(*args)
        results: list[list[Any]] = [[None]]
        node.op.perform(node, [np.asarray(x, d) for x, d in zip(values, dtypes, strict=True)], results)
        return results[0][0] if np.ndim(results[0][0]) else results[0][0].item()

    return computed


def _makes_sizes(node: Any) -> bool:
    """Whether a node may make a size, or a few, out of others."""
    if not node.inputs or len(node.outputs) > 1 or isinstance(node.op, ARange | Alloc | AllocEmpty):
        return False
    kinds = [getattr(v.type, "dtype", "none") for v in (*node.inputs, *node.outputs)]
    few = getattr(node.outputs[0].type, "ndim", 0) <= 1
    return few and all(kind.startswith(("int", "uint", "bool")) for kind in kinds)
