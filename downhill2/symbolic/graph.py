"""Functions on graphs: walk them, make and set shared variables, cast, read values."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.graph.basic import Variable as _Variable
from pytensor.graph.op import Op
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import toposort
from pytensor.scalar import Cast, float64
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.random.type import RandomType

Variable: TypeAlias = Any  # PyTensor's graph variables carry no static types that mypy can use

FLOATS = ("float16", "float32", "float64")

LARGE = 2**20
"""The bytes from which a new value overwrites the old one in place."""


def is_variable(x: object) -> bool:
    """Whether `x` is a node of a PyTensor graph."""
    return isinstance(x, _Variable)


def is_shared(x: object) -> bool:
    """Whether `x` is a shared variable, of any type."""
    return isinstance(x, SharedVariable)


def is_tensor(x: object) -> bool:
    """Whether `x` is a dense tensor: has a dtype and a static shape, and is not sparse."""
    return is_variable(x) and isinstance(x.type, pt.TensorType)  # type: ignore[attr-defined]


def is_generator(x: object) -> bool:
    """Whether `x` is a random generator."""
    return is_variable(x) and isinstance(x.type, RandomType)  # type: ignore[attr-defined]


def is_number(x: Variable) -> bool:
    """Whether every dimension of tensor `x` is known to be 1, so that it broadcasts against other tensors."""
    return all(s == 1 for s in x.type.shape)


def describe(x: Variable) -> str:
    """Name, shape and dtype of a tensor, for messages and logs: ``W (784, 10) float32``."""
    shape = ", ".join("?" if s is None else str(s) for s in x.type.shape)
    return f"{x.name or 'unnamed'} ({shape}{',' if x.type.ndim == 1 else ''}) {x.type.dtype}"


def leaves(outputs: Iterable[Variable]) -> list[Variable]:
    """Return what `outputs` are computed from: depth first, left to right, first seen first.

    PyTensor's own walkers go from right to left: in ``(x - y)**2`` they find y before x.
    """
    found, seen = [], set()
    stack = list(outputs)[::-1]
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        if v.owner is None:
            found.append(v)
        else:
            stack.extend(v.owner.inputs[::-1])
    return found


def explicit_inputs(outputs: Iterable[Variable]) -> list[Variable]:
    """Return the leaves that a caller has to supply: neither constants nor shared variables."""
    return [v for v in leaves(outputs) if not isinstance(v, Constant | SharedVariable)]


def shared_inputs(outputs: Iterable[Variable]) -> list[Variable]:
    """Return the shared variables among the leaves of `outputs`."""
    return [v for v in leaves(outputs) if is_shared(v)]


def replaced(outputs: Sequence[Variable], mapping: Mapping[Variable, Variable]) -> list[Variable]:
    """Return `outputs` with every key of `mapping` replaced by its value, wherever it occurs."""
    if not mapping or not outputs:
        return list(outputs)
    return list(graph_replace(list(outputs), dict(mapping), strict=False))


def labels(variables: Sequence[Variable]) -> list[str]:
    """Return a unique name for each variable: its own, ``W#2`` for a second W, ``unnamed0`` for the nameless."""
    out: list[str] = []
    nameless = 0
    for v in variables:
        name = v.name
        if name is None:
            name, nameless = f"unnamed{nameless}", nameless + 1
        count, label = 1, name
        while label in out:
            count += 1
            label = f"{name}#{count}"
        out.append(label)
    return out


def shared_scalar(value: float, name: str, dtype: str = "float64") -> Variable:
    """Make a shared number; a NumPy array, since PyTensor refuses ``shape=()`` for Python scalars."""
    return pytensor.shared(np.array(value, dtype), name=name, shape=())


def shared_like(value: np.ndarray | np.random.Generator, name: str, shape: Sequence[int | None]) -> Variable:
    """Make a shared variable that owns a copy of `value`, with static `shape`, which a generator does not have."""
    if isinstance(value, np.random.Generator):
        return pt.random.shared_rng(value, name=name)
    return pytensor.shared(np.array(value), name=name, shape=tuple(shape), borrow=True)


def assign(values: Mapping[Variable, Any]) -> None:
    """Set shared variables to copies of new values, which may share memory with the variables.

    A large value overwrites the old one in place: ``set_value`` would make a second array, and compiled functions keep
    the first one until they are called again.
    """
    pairs = {v: (v.get_value(borrow=True), x) for v, x in values.items()}
    for v, (old, new) in pairs.items():
        others = (array for w, pair in pairs.items() if w is not v for array in pair)
        if _replaceable(old, new) and not any(np.may_share_memory(old, array) for array in others):
            np.copyto(old, new)
        else:
            v.set_value(new)


def _replaceable(old: object, new: object) -> bool:
    """Whether a new value is large, and can overwrite the old one in place."""
    if type(old) is not np.ndarray or not isinstance(new, np.ndarray) or old.dtype != new.dtype:
        return False
    return bool(old.shape == new.shape and old.nbytes >= LARGE and old.flags.carray)


def work_dtype(dtype: str) -> str:
    """Return the dtype in which a parameter of `dtype` is updated: half precision is too coarse for state."""
    return "float32" if dtype == "float16" else dtype


def cast(x: Variable, dtype: str) -> Variable:
    """Cast, unless there is nothing to cast."""
    return x if x.type.dtype == dtype else x.astype(dtype)


def widened(x: Variable) -> Variable:
    """Return `x` in float64; `narrow` keeps it so, even where it narrows `x` itself."""
    return Elemwise(Cast(float64))(x)


def narrow(outputs: Sequence[Variable], known: Iterable[Variable]) -> list[Variable]:
    """Rebuild the graph between `known` and `outputs` so that no scalar widens a tensor.

    Hyperparameters, clocks and what is computed from them are float64 numbers. Where one meets a tensor it is
    cast to the tensor's dtype there, so that rules never mention dtypes and float32 tensors stay float32:
    casting only the end of the graph would run the whole update in float64, at half the speed.

    Equal computations are merged: PyTensor would merge them node by node, and search the whole graph each time.
    """
    memo: dict[Variable, Variable] = {}
    made: dict[tuple[Any, ...], list[Variable]] = {}
    narrow_number = functools.cache(_narrow_number)
    small: set[Variable] = set()  # computed from float32 tensors, in any dtype: a mask, for example
    for node in toposort(outputs, blockers=list(known)):
        inputs, op, new = [memo.get(i, i) for i in node.inputs], node.op, node.outputs
        tensors = [i for i in inputs if is_tensor(i) and not is_number(i)]
        of_small = any(i.type.dtype == "float32" or i in small for i in tensors)
        narrower = of_small and not any(i.type.dtype == "float64" for i in tensors)
        if narrower and isinstance(op, Elemwise):
            inputs, op = [narrow_number(i) for i in inputs], Elemwise(op.scalar_op)
        key = (op, *(i.signature() if isinstance(i, Constant) else i for i in inputs))
        if _is_cast(op) and inputs[0].type.dtype == node.outputs[0].type.dtype:
            new = inputs  # the cast was written for a wider input
        elif key in made:
            new = made[key]
        elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            new = _applied(op, inputs, narrower)
        memo.update(zip(node.outputs, new, strict=True))
        made[key] = new
        if of_small:
            small.update(new)
    return [memo.get(o, o) for o in outputs]


def _applied(op: Op, inputs: Sequence[Variable], narrower: bool) -> list[Variable]:
    """Return the outputs of an operation on inputs, in float32 if they are to be narrower."""
    new: list[Variable] = op.make_node(*inputs).outputs
    if isinstance(op, Elemwise) or not narrower:
        return new
    return [cast(o, "float32") if _is_wide(o) else o for o in new]  # a sum keeps the dtype that it was made with


def _narrow_number(x: Variable) -> Variable:
    # int8 and int16 never widen float32, and constants like the 2 of x**2 must stay visible to rewrites
    return cast(x, "float32") if is_number(x) and x.type.dtype in ("float64", "int32", "int64") else x


def _is_cast(op: Op) -> bool:
    return isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast)


def _is_wide(x: Variable) -> bool:
    return is_tensor(x) and x.type.dtype == "float64" and not is_number(x)


def finite(x: Variable) -> Variable:
    """Whether every element of `x` is finite: a symbolic boolean."""
    return pt.all(pt.isfinite(x)) if x.type.ndim else pt.isfinite(x)


def all_finite(xs: Iterable[Variable]) -> Variable:
    """Whether every element of every tensor is finite: a symbolic boolean."""
    return functools.reduce(operator.and_, map(finite, xs))


def evaluate(x: Variable) -> float:
    """Return the present value of a symbolic scalar without inputs, on the Python linker: nothing compiles."""
    if is_shared(x):
        return float(x.get_value(borrow=True))
    return reader({"": x})()[""]


def cell(variable: Variable) -> list[Any]:
    """Return the list of one element in which a shared variable keeps its value."""
    found: list[Any] = variable.container.storage
    return found


def reader(variables: Mapping[str, Variable]) -> Callable[[], dict[str, float]]:
    """Return a function that reads symbolic scalars without inputs by name; it is quick when called again."""
    cells: dict[str, list[Any]] = {n: cell(v) if is_shared(v) else [None] for n, v in variables.items()}
    others = [n for n, v in variables.items() if not is_shared(v)]
    mode = pytensor.compile.mode.Mode("py", "fast_compile")
    compute = pytensor.function([], [variables[n] for n in others], mode=mode) if others else None

    def read() -> dict[str, float]:
        if compute is not None:
            for n, value in zip(others, compute(), strict=True):
                cells[n][0] = value
        return {n: float(cell[0]) for n, cell in cells.items()}

    return read


def gated(new: dict[Variable, Variable], known: list[Variable], gate: Variable | None) -> dict[Variable, Variable]:
    """Return new values in the dtypes of their variables, computed no wider; where a gate is false, the old ones.

    Random generators advance in both cases. `known` are expressions whose dtypes stay as they are.
    """
    tensors = {v: e for v, e in new.items() if is_tensor(v)}
    narrowed = narrow(list(tensors.values()), known)
    out = dict(new)
    for v, e in zip(tensors, narrowed, strict=True):
        e = v.type.filter_variable(cast(e, v.type.dtype))
        out[v] = e if gate is None else pt.switch(gate, e, v)
    return out
