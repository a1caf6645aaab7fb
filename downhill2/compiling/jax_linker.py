"""From a PyTensor graph to a function of JAX arrays that keeps the dtypes of the graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.compile.mode import JAX, Mode
from pytensor.graph.basic import Constant
from pytensor.link.jax.linker import JAXLinker
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.basic import ARange
from pytensor.tensor.shape import Reshape

from .jax_values import double_precision
from .sizes import sizes

logger = logging.getLogger("downhill2")

Function = Callable[..., Any]

# PyTensor's own check of broadcasting; JAX makes the same one when it traces.
BROADCAST = "Could not broadcast dimensions"


class DeviceLinker(JAXLinker):  # type: ignore[misc]  # PyTensor has no annotations
    """Compiles a whole graph with JAX: its shared variables hold arrays of JAX from the first call on.

    PyTensor's own linker lets JAX widen float32 to float64 here and there, keeps a copy of every shared value, and
    works on copies of random generators. This one converts the same graph otherwise:

    - every result is of the dtype that the graph says;
    - what depends on shapes alone is computed while JAX traces, so that it may be a shape, or a bound of ``arange``;
    - random generators are state like any other.
    """

    def fgraph_convert(self, fgraph: Any, order: Any = None, **kwargs: Any) -> Function:
        """Return the graph as a function of JAX arrays."""
        from pytensor.link.utils import fgraph_to_python

        with double_precision():
            function: Function = fgraph_to_python(
                fgraph, converted, type_conversion_fn=constant, order=order, fgraph_name="step"
            )
        return function

    def create_thunk_inputs(self, storage_map: Any) -> list[list[Any]]:
        """Return the cells that hold the values of the inputs."""
        self.cells = [storage_map[v] for v in self.fgraph.inputs]
        return self.cells

    def jit_compile(self, function: Function) -> Any:
        """Return what PyTensor calls."""
        from .jax_step import DeviceFunction

        return DeviceFunction(function, self.fgraph, self.cells)


def device_mode(base: Any = JAX) -> Mode:
    """Return the mode of the linker above; `base` is the mode whose rewrites it takes."""
    # XLA fuses better than Composite, inside which dtypes are out of our sight
    return Mode(DeviceLinker(), base.provided_optimizer.excluding("fusion"))


def converted(op: Any, node: Any = None, **kwargs: Any) -> Function:
    """Return the function of JAX arrays that does what a node does, in its dtypes."""
    from pytensor.link.jax.dispatch.shape import JAXShapeTuple

    if isinstance(op, JAXShapeTuple):  # it computes nothing that could be typed
        return _pytensors(op, node, kwargs)
    return sizes(node, _typed(node, _chosen(op, node, kwargs)), _is_array)


def _is_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array)


def constant(value: Any, **kwargs: Any) -> Any:
    """Return a constant of the graph as a function of JAX arrays takes it.

    Real numbers keep their dtype, which a Python number would not have.
    """
    from pytensor.link.jax.dispatch import jax_typify

    is_real = isinstance(value, np.ndarray) and not value.ndim and value.dtype.kind == "f"
    return value if is_real else jax_typify(value, **kwargs)


def _chosen(op: Any, node: Any, kwargs: dict[str, Any]) -> Function:
    import jax.numpy as jnp

    if isinstance(op, ARange):  # PyTensor's takes its bounds in int8, too narrow for more than 127 rows
        return lambda start, stop, step: jnp.arange(int(start), int(stop), int(step), dtype=op.dtype)
    if isinstance(op, Reshape):
        wanted = node.inputs[1]
        if isinstance(wanted, Constant):  # an array of JAX by now, whose elements are no numbers while JAX traces
            fixed = tuple(map(int, wanted.data))
            return lambda x, shape: jnp.reshape(x, fixed)
        return lambda x, shape: jnp.reshape(x, tuple(map(int, shape)))
    if isinstance(op, CheckAndRaise):
        if BROADCAST not in op.msg:
            logger.warning("the JAX backend leaves out the check %r", op.msg)
        return lambda x, *conditions: x
    return _pytensors(op, node, kwargs)


def _pytensors(op: Any, node: Any, kwargs: dict[str, Any]) -> Function:
    from pytensor.link.jax.dispatch import jax_funcify

    function: Function = jax_funcify(op, node=node, **kwargs)
    return function


def _typed(node: Any, function: Function) -> Function:
    """Return a function whose results are of the dtypes of a node's outputs; what is no array of JAX stays."""
    dtypes = [getattr(o.type, "dtype", None) for o in node.outputs]
    if len(dtypes) == 1:
        return lambda *args: _cast(function(*args), dtypes[0])
    return lambda *args: tuple(_cast(x, d) for x, d in zip(function(*args), dtypes, strict=True))


def _cast(x: Any, dtype: str | None) -> Any:
    # a weak type, a Python number's, would widen with what it meets, and compile the step anew when it comes back
    fits = dtype is None or not hasattr(x, "weak_type") or (x.dtype == dtype and not x.weak_type)
    return x if fits else x.astype(dtype)
