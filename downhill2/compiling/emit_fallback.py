"""Nodes without loops of their own: PyTensor's Numba kernel is called with arrays over the same memory."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Constant

from . import private
from .plan import is_tensor
from .program import Program, emits
from .values import Memory, Value, dense_strides


@emits(object)
def call_kernel(program: Program, node: Any) -> None:
    """Call PyTensor's kernel of any node."""
    kernel, key = private.kernel_of(node, program.storage_map)
    program.fallbacks.append(str(node.op))
    name = program.main.new("kernel")
    program.scope[name] = kernel
    program.keys.append((name, key))
    changed = {i for inputs in (node.op.destroy_map or {}).values() for i in inputs}
    for i in changed:
        program.writable(program.value(node.inputs[i]))
    arguments = ", ".join(_argument(program, variable) for variable in node.inputs)
    results = [program.main.new("a") for _ in node.outputs]
    program.main.put(f"{', '.join(results)}{' = ' if results else ''}{name}({arguments})")
    for variable, result in zip(node.outputs, results, strict=True):
        program.define(variable, _result(program, variable, result))


def _argument(program: Program, variable: Any) -> str:
    """Return the expression of an input as the kernel takes it."""
    if isinstance(variable, Constant) and not is_tensor(variable):
        name = program.main.new("constant")
        program.scope[name], key = private.constant(variable)
        program.keys.append((name, key))
        return name
    value = program.value(variable)
    if not is_tensor(variable):
        return value.name or program.number(value)
    value = program.dense(value)
    assert value.storage is not None, "what is in memory has storage"
    # the kernel may return a view of its input
    value.storage.users.add(None)
    array = program.tool("borrowed", value.dtype, len(value.shape))
    return f"{array}({', '.join(map(str, (value.pointer, *value.shape)))})"


def _result(program: Program, variable: Any, name: str) -> Value:
    """Return what is known about an output of a kernel."""
    main = program.main
    if not is_tensor(variable):
        dtype = getattr(variable.type, "dtype", "")
        return Value(dtype, name=None if dtype else name, scalar=name if dtype else None)
    array = main.let(f"in_c_order({name})", "a")
    shape = tuple(
        main.let(f"{array}.shape[{axis}]", "d") if size is None else size
        for axis, size in enumerate(variable.type.shape)
    )
    storage = Memory("kernel", owner=array)
    return Value(variable.dtype, shape, dense_strides(shape), pointer=main.let(f"data({array})", "p"), storage=storage)
