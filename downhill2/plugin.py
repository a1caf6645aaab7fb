"""Algorithms as functions of a loss, or of gradients, which other packages take as optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .optimizer import build
from .symbolic import graph, pipeline
from .symbolic.algorithm import Algorithm, algorithm
from .symbolic.graph import Variable
from .symbolic.layout import Layout
from .symbolic.measure import Measured
from .symbolic.problem import check_params
from .symbolic.stages import averages

NEEDS = {"loss": "the value of the loss", "hvp": "Hessian-vector products", "points": "the loss at other points"}
SETTINGS = {"sam": "the gradient at another point", "accumulate": "the rows of each batch"}


class Updates(dict[Variable, Variable]):
    """New values by variable, as `pytensor.function` takes them.

    Attributes
    ----------
    evaluated : dict of shared variable to expression
        What to use in place of each parameter, as `Optimizer.get_evaluated` returns it.
    """

    def __init__(self, new: Mapping[Variable, Variable], evaluated: Mapping[Variable, Variable]) -> None:
        super().__init__(new)
        self.evaluated = dict(evaluated)


def updates(
    loss_or_grads: Variable | Sequence[Variable] | None = None,
    params: Sequence[Variable] | None = None,
    algo: str | type[Algorithm] = "adam",
    **hyper: Any,
) -> Any:
    """Return the update expressions of an algorithm for a loss, or for gradients.

    Without either, return this function with `algo` and settings filled in, which other packages take as their
    optimizer: ``pm.fit(obj_optimizer=downhill2.updates(algo="adam", learning_rate=0.01))``.

    Parameters
    ----------
    loss_or_grads : scalar TensorVariable, or sequence of TensorVariable, optional
        What to minimize, or its gradient with respect to each parameter.
    params : sequence of shared variables, optional
        What to change. With a loss, by default every floating-point shared variable in it.
    algo : str or subclass of Optimizer
        The algorithm. Default ``'adam'``.
    **hyper
        Hyperparameters, `preset` and `groups`, as for `Optimizer`.

    Returns
    -------
    Updates, a dict of shared variable to expression
        The new value of every parameter, state variable, clock and generator that a loss draws from, each once, for
        ``pytensor.function(updates=...)``. Each call has state of its own. The caller advances the generators
        that gradients draw from, as PyMC does.

        Its attribute ``evaluated`` maps parameters to what to use in their place, where that is an average: with
        ``ema=``, ``swa=``, ``lookahead=``, ASGD and the Schedule-Free algorithms. It is empty otherwise.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments. With gradients, also for an algorithm or a setting that needs more than gradients. With
        neither loss nor gradients, also for one that has an average: the package that calls for updates later could
        not reach it.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> step = pytensor.function([], [], updates=downhill2.updates([2 * w], [w], algo="sgd", learning_rate=0.25))
    >>> step()
    []
    >>> w.get_value()
    array([ 2., -1.])
    """
    if loss_or_grads is None:
        if params is not None:
            raise TypeError("loss_or_grads must be a loss or gradients where params are given, got None")
        _check_point(algorithm(algo)(**hyper))  # raise errors here, before the other package calls
        return partial(updates, algo=algo, **hyper)
    if graph.is_variable(loss_or_grads):
        opt = build(algo, loss_or_grads, params, **hyper)
        return Updates(dict(opt.get_updates()), opt.get_evaluated())
    return _of_gradients(loss_or_grads, params, algorithm(algo)(**hyper))


def _of_gradients(grads: Sequence[Variable], params: Sequence[Variable] | None, rule: Algorithm) -> Updates:
    if isinstance(grads, str) or not isinstance(grads, Sequence):
        raise TypeError(f"loss_or_grads must be a loss or a sequence of gradients, got {grads!r}")
    if params is None:
        raise TypeError("params must be given with gradients, one for each, got None")
    params = check_params(params)
    names = graph.labels(params)
    layout = Layout(params, names)
    rule.bind(params, names)
    _check_needs(rule, layout)
    pipeline.check(rule, layout)
    new = pipeline.update(rule, Measured.of(None, params, _checked(grads, params, names)), layout)
    return Updates(new, pipeline.evaluated(rule, layout))


def _checked(grads: Sequence[Variable], params: Sequence[Variable], names: Sequence[str]) -> list[Variable]:
    """Return gradients in the dtypes in which parameters are updated, or raise an error for anything else."""
    if len(grads) != len(params):
        raise ValueError(f"loss_or_grads must have a gradient for each of {len(params)} params, got {len(grads)}")
    for g, p, name in zip(grads, params, names, strict=True):
        if not graph.is_tensor(g) or g.type.dtype not in graph.FLOATS:
            raise TypeError(f"gradient of {name!r} must be a tensor of a floating-point dtype, got {g!r}")
        if g.type.ndim != p.type.ndim:
            raise ValueError(f"gradient of {name!r} must have {p.type.ndim} dimensions, got {g.type.ndim}")
    return [graph.cast(g, graph.work_dtype(p.type.dtype)) for g, p in zip(grads, params, strict=True)]


def _check_needs(rule: Algorithm, layout: Layout) -> None:
    """Raise ValueError if gradients alone cannot serve an algorithm or a setting."""
    for part, _ in rule.parts(layout):
        for need in part.needs:
            if need in NEEDS:
                name = type(part).__name__.lower()
                raise ValueError(f"algo must do with gradients, got {name!r}, which needs {NEEDS[need]}; give the loss")
    for setting, need in SETTINGS.items():
        on = rule.hyper[setting]
        if on and on != 1:
            raise ValueError(f"{setting} must be left out where gradients are given, got {on!r}; it needs {need}")


def _check_point(rule: Algorithm) -> None:
    """Raise ValueError if an average is to be used in place of the parameters."""
    settings = [type(stage).__name__.lower() for stage in averages(rule)]
    algos = [type(part).__name__.lower() for part in rule.groups or [rule] if hasattr(part, "evaluated")]
    found = [*(f"{n}={rule.hyper[n]!r}" for n in settings), *(f"algo={n!r}" for n in algos)]
    if found:
        raise ValueError(
            "updates for another package must be of an algorithm whose point to use is the parameters, "
            f"got {found[0]}, which is about an average; give the package a function of gradients and parameters that "
            "calls downhill2.updates and keeps what it returns, and use the `evaluated` of that"
        )
