"""Functions that rules written for downhill import from its module ``util``."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt

from .symbolic import graph
from .symbolic.graph import Variable

__all__ = ["as_float", "find_inputs_and_params", "shared_like"]


def shared_like(param: Variable, suffix: str, init: float | np.ndarray = 0) -> Variable:
    """Make a shared variable of the shape and dtype of another, named after it with a suffix.

    Parameters
    ----------
    param : shared variable
    suffix : str
    init : float or array
        The first value of its elements. Default 0.

    Returns
    -------
    shared variable
    """
    like = param.get_value(borrow=True)
    value = np.array(np.broadcast_to(init, like.shape), like.dtype)
    return pytensor.shared(value, name=f"{param.name}_{suffix}", shape=param.type.shape)


def as_float(x: Variable | float | np.ndarray) -> Variable:
    """Return a number, an array or an expression as an expression of PyTensor's ``floatX``."""
    return pt.cast(pt.as_tensor_variable(x), pytensor.config.floatX)


def find_inputs_and_params(node: Variable) -> tuple[list[Variable], list[Variable]]:
    """Return the explicit inputs of an expression and its shared variables, each in graph order."""
    return graph.explicit_inputs([node]), graph.shared_inputs([node])
