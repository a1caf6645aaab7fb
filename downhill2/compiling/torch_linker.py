"""From a PyTensor graph to calls of PyTorch, one for each node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.compile.mode import PYTORCH, Mode
from pytensor.link.pytorch.linker import PytorchLinker
from pytensor.link.utils import fgraph_to_python
from pytensor.scalar.basic import Mod, Pow
from pytensor.tensor.basic import ScalarFromTensor
from pytensor.tensor.elemwise import Elemwise

from .sizes import sizes

Function = Callable[..., Any]

NAMES = {Pow: "pow", Mod: "remainder"}
"""What PyTorch calls operations that PyTensor looks for by NumPy's names."""


class TorchLinker(PytorchLinker):  # type: ignore[misc]  # PyTensor has no annotations
    """Runs a graph by PyTorch, node by node; functions take and return NumPy arrays.

    PyTensor's own linker hands the graph to ``torch.compile``, which takes about a minute for a training step: sizes
    that are tensors cut the graph in pieces, each compiled apart. Node by node the first step comes at once, and
    no C++ compiler is needed.
    """

    def fgraph_convert(self, fgraph: Any, order: Any = None, **kwargs: Any) -> Function:
        """Return the graph as a function of tensors of PyTorch."""
        function: Function = fgraph_to_python(
            fgraph, converted, type_conversion_fn=tensor, order=order, conversion_func=converted
        )
        return function

    def jit_compile(self, function: Function) -> Function:
        """Return the function of arrays that PyTensor calls."""
        return lambda *values: tuple(map(array, function(*map(tensor, values))))


def torch_mode(base: Any = PYTORCH) -> Mode:
    """Return the mode of the linker above; `base` is the mode whose rewrites it takes."""
    return Mode(TorchLinker(), base.provided_optimizer)


def tensor(value: Any, **kwargs: Any) -> Any:
    """Return a value as PyTorch takes it."""
    from pytensor.link.pytorch.dispatch import pytorch_typify

    # PyTorch warns of arrays that are not writable, as constants are
    return pytorch_typify(value.copy() if isinstance(value, np.ndarray) and not value.flags.writeable else value)


def array(value: Any) -> np.ndarray:
    """Return a result as NumPy's; a copy, as it may be the memory of an input. A size comes as a number."""
    return np.array(value.numpy() if hasattr(value, "numpy") else value)


def converted(op: Any, node: Any = None, **kwargs: Any) -> Function:
    """Return the function of PyTorch's tensors that does what a node does, in its dtypes."""
    import torch

    return sizes(node, _typed(node, _chosen(op, node, kwargs)), torch.is_tensor)


def _chosen(op: Any, node: Any, kwargs: dict[str, Any]) -> Function:
    import torch
    from pytensor.link.pytorch.dispatch import pytorch_funcify

    if isinstance(op, Elemwise) and type(op.scalar_op) in NAMES:
        return getattr(torch, NAMES[type(op.scalar_op)])  # type: ignore[no-any-return]
    try:
        function: Function = pytorch_funcify(op, node=node, **kwargs)
    except AttributeError as error:  # it looks for other names of NumPy's, too
        raise NotImplementedError(f"No PyTorch conversion for the given `Op`: {op}") from error
    return function


def _typed(node: Any, function: Function) -> Function:
    """Return a function whose results are of the dtypes of a node's outputs."""
    import torch

    wanted = [_dtype(v) for v in node.outputs]
    # sizes come as Python's numbers, which only functions of sizes take
    taken = [_dtype(v) for v in node.inputs] if isinstance(node.op, Elemwise | ScalarFromTensor) else []

    def typed(*args: Any) -> Any:
        if taken:
            args = tuple(torch.as_tensor(x, dtype=d) for x, d in zip(args, taken, strict=True))
        results = function(*args)
        if len(wanted) == 1:
            return _cast(results, wanted[0])
        return tuple(_cast(x, d) for x, d in zip(results, wanted, strict=True))

    return typed


def _dtype(variable: Any) -> Any:
    import torch

    return getattr(torch, variable.type.dtype, None) if hasattr(variable.type, "dtype") else None


def _cast(x: Any, dtype: Any) -> Any:
    return x if dtype is None or not hasattr(x, "to") or x.dtype == dtype else x.to(dtype)
