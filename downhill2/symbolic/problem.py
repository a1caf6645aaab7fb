"""What is minimized: a loss with its parameters, inputs, monitors and updates, found and checked."""

from __future__ import annotations

import copy
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.type import Type

from ..checks import kind_of, shown
from . import draws, graph
from .formulas import sum_of_squares
from .graph import Variable
from .hyper import Hyperparameters, nearest
from .measure import Measured

logger = logging.getLogger("downhill2")

T = TypeVar("T")

Pairs = Mapping[Any, Variable] | Iterable[tuple[Any, Variable]]


class Problem:
    """A loss, checked, with what it is computed from.

    Parameters
    ----------
    loss : scalar TensorVariable of a floating-point dtype
    params : sequence of shared variables, optional
        What to change; by default every floating-point shared variable of the loss, in graph order, that no
        update changes and that is no hyperparameter.
    inputs : sequence of variables, optional
        The variables that receive the data, in its order; by default the explicit inputs of loss and monitors,
        in graph order.
    updates : dict or sequence of pairs
        New values of other shared variables, set with every training update.
    monitors : dict or sequence of pairs
        Named scalar expressions to report beside the loss.
    monitor_gradients : bool
        Whether to report the squared Euclidean norm of each parameter's gradient, as ``grad(name)``.
    exclude : iterable of variables
        Shared variables that are no parameters.
    """

    def __init__(
        self,
        loss: Variable,
        params: Sequence[Variable] | None = None,
        inputs: Sequence[Variable] | None = None,
        updates: Pairs = (),
        monitors: Pairs = (),
        monitor_gradients: bool = False,
        exclude: Iterable[Variable] = (),
    ) -> None:
        self.loss = check_loss("loss", loss)
        self.updates = check_updates(updates)
        found = find_params(loss, {*exclude, *self.updates}) if params is None else params
        self.params = check_params(found)
        self.names = graph.labels(self.params)
        self._check_params()
        self.measured = Measured(loss, self.params)
        self.monitors = {"loss": self.loss, **check_monitors("monitors", monitors)}
        if monitor_gradients:
            self._monitor_gradients()
        self.advanced([*self.monitors.values(), *self.updates.values()])  # raises if a generator cannot advance
        self.inputs = self._find_inputs() if inputs is None else self._check_inputs(inputs)
        self._log()

    def set_params(self, name: str, values: Iterable[object]) -> None:
        """Set the parameters to one array each, or raise an error that calls them `name`."""
        arrays = [np.asarray(v) for v in listed(name, values, "a sequence of arrays")]
        shapes = [p.get_value(borrow=True).shape for p in self.params]
        if [a.shape for a in arrays] != shapes:
            raise ValueError(f"{name} must be arrays of shapes {shapes}, got {[a.shape for a in arrays]}")
        for array in arrays:
            if not np.can_cast(array.dtype, "float16", "same_kind"):
                raise TypeError(f"{name} must be arrays of real numbers, got {array.dtype}")
        pairs = zip(self.params, arrays, strict=True)
        graph.assign({p: array.astype(p.type.dtype, copy=False) for p, array in pairs})

    def advanced(self, outputs: Iterable[Variable]) -> dict[Variable, Variable]:
        """Return the next value of each generator that expressions draw from; ValueError if there is no single one."""
        return draws.advanced(outputs, self.updates, self.measured.grads)

    def derived(self, measured: Measured, updates: Mapping[Variable, Variable]) -> Problem:
        """Return the same problem with loss and gradients that come from elsewhere, and other `updates`."""
        new = copy.copy(self)
        new.loss, new.measured, new.updates = measured.loss, measured, dict(updates)
        return new

    def _check_params(self) -> None:
        reached = set(graph.leaves([self.loss]))
        for p, name in zip(self.params, self.names, strict=True):
            if p not in reached:
                raise ValueError(
                    f"the loss does not depend on parameter {name!r}; leave it out of params or use it in the loss"
                )
            if p in self.updates:
                raise ValueError(f"updates must not change parameter {name!r}; the optimizer does")

    def _monitor_gradients(self) -> None:
        for name, g in zip(self.names, self.measured.grads, strict=True):
            key = f"grad({name})"
            if key in self.monitors:
                raise ValueError(f"monitors must have unique names, got {shown(key)} twice")
            self.monitors[key] = sum_of_squares(g)

    def _find_inputs(self) -> list[Variable]:
        return graph.explicit_inputs([*self.monitors.values(), *self.updates.values()])

    def _check_inputs(self, given: Sequence[Variable]) -> list[Variable]:
        inputs = listed("inputs", given, "a sequence of symbolic inputs")
        for x in inputs:
            if not graph.is_variable(x) or x.owner is not None or graph.is_shared(x):
                raise TypeError(f"inputs must be symbolic inputs such as pt.matrix('x'), got {shown(x)}")
        missing = [v for v in self._find_inputs() if v not in inputs]
        if missing:
            raise ValueError(f"inputs must have every input of the loss, got none for {missing[0]}")
        return inputs

    def _log(self) -> None:
        logger.info("params: %s", ", ".join(graph.describe(p) for p in self.params))
        logger.info("inputs: %s", ", ".join(str(x) for x in self.inputs) or "none")


def find_params(loss: Variable, exclude: Container[Variable] = ()) -> list[Variable]:
    """Return the floating-point shared variables of a loss in graph order, without those to exclude."""
    found = [v for v in graph.shared_inputs([loss]) if _is_float(v) and v not in exclude]
    if not found:
        raise ValueError(
            "the loss has no parameters: no floating-point shared variable enters it; "
            "make parameters with pytensor.shared"
        )
    return found


def check_params(params: Iterable[Variable]) -> list[Variable]:
    """Return parameters as a list, or raise an error if one is no parameter."""
    out = listed("params", params, "a sequence of shared variables")
    if not out:
        raise ValueError("params must have at least one shared variable, got none")
    for p in out:
        if not (graph.is_shared(p) and graph.is_tensor(p)):
            raise TypeError(f"params must be shared tensors, got {shown(p)} of type {type(p).__name__}")
        if not _is_float(p):
            raise TypeError(f"params must be of a floating-point dtype, got {graph.describe(p)}")
    if len(set(out)) < len(out):
        raise ValueError(f"params must be different variables, got {[p.name for p in out]}")
    return out


def check_loss(name: str, loss: Variable) -> Variable:
    """Return `loss` if it is a scalar floating-point expression, or raise an error that calls it `name`."""
    if not graph.is_tensor(loss):
        gradients = "; for gradients, as PyMC gives them, write downhill2.updates(algo=...)"
        hint = gradients if isinstance(loss, list | tuple) else ""
        raise TypeError(f"{name} must be a PyTensor expression, got {shown(loss)} of type {type(loss).__name__}{hint}")
    if loss.type.ndim:
        kind = {1: "a vector", 2: "a matrix"}.get(loss.type.ndim, "a tensor")
        shape = graph.describe(loss).partition("(")[2].partition(")")[0]
        raise ValueError(f"{name} must be a scalar, got {kind} with shape ({shape}); take its mean or sum")
    if loss.type.dtype not in graph.FLOATS:
        raise TypeError(f"{name} must be of a floating-point dtype, got {loss.type.dtype}")
    return loss


def monitored(monitors: Pairs, hyper: Hyperparameters) -> tuple[list[tuple[Any, Variable]], dict[str, str]]:
    """Replace names of hyperparameters by their scalars; return these monitors, and which name each reports."""
    pairs, numbers = _pairs("monitors", monitors), hyper.numeric()
    reported = {key: x for key, x in pairs if isinstance(x, str) and isinstance(key, str)}
    for key, name in reported.items():
        if name not in numbers:
            hint = nearest(name, numbers)
            raise ValueError(
                f"monitors must be expressions or name a hyperparameter, got {shown(name)} for {shown(key)}{hint}"
            )
    return [(k, hyper.variable(x) if k in reported else x) for k, x in pairs], reported


def check_monitors(name: str, monitors: Pairs) -> dict[str, Variable]:
    """Return named scalar expressions as a dict, or raise an error that names the one that is wrong."""
    out: dict[str, Variable] = {}
    for key, x in _pairs(name, monitors):
        if not isinstance(key, str):
            raise TypeError(f"{name} must be named by strings, got {shown(key)}")
        if key == "loss":
            raise ValueError(f"{name} must not be called 'loss', which is always reported")
        if key in out:
            raise ValueError(f"{name} must have unique names, got {shown(key)} twice")
        if not graph.is_tensor(x):
            raise TypeError(f"{name} must be PyTensor expressions, got {shown(x)} for {shown(key)}")
        if x.type.ndim:
            raise ValueError(f"{name} must be scalars, got {x.type} for {shown(key)}; take its mean or sum")
        out[key] = x
    return out


def check_updates(updates: Pairs) -> dict[Variable, Variable]:
    out: dict[Variable, Variable] = {}
    for variable, new in _pairs("updates", updates):
        if not graph.is_shared(variable):
            raise TypeError(f"updates must change shared variables, got {shown(variable)}")
        if variable in out:
            raise ValueError(f"updates must change each variable once, got {variable.name!r} twice")
        if not graph.is_variable(new):
            new = pt.as_tensor_variable(new)
        if not _takes(variable.type, new.type):
            raise TypeError(f"updates must keep the type of {variable.name!r}, {variable.type}, got {new.type}")
        out[variable] = new
    return out


def _takes(old: Type, new: Type) -> bool:
    """Whether a variable of type `old` takes values of type `new`, which may be cast within their kind."""
    if isinstance(old, pt.TensorType) and isinstance(new, pt.TensorType):
        return old.ndim == new.ndim and bool(np.can_cast(new.dtype, old.dtype, "same_kind"))
    return bool(old.is_super(new))


def listed(name: str, given: Iterable[T], wanted: str) -> list[T]:
    """Return the items of a sequence, or raise an error that says what is `wanted`."""
    try:
        if not graph.is_variable(given) and not isinstance(given, str):
            return list(iter(given))
    except TypeError:  # an array without dimensions seems to be iterable
        pass
    raise TypeError(f"{name} must be {wanted}, got {kind_of(given)}")


def _pairs(name: str, given: Pairs) -> list[tuple[Any, Variable]]:
    items = given.items() if isinstance(given, Mapping) else given
    pairs = listed(name, items, "a dict or a sequence of pairs")
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"{name} must be a dict or a sequence of pairs, got {shown(pair)} in it")
    return [(k, v) for k, v in pairs]


def _is_float(v: Variable) -> bool:
    return graph.is_tensor(v) and v.type.dtype in graph.FLOATS
