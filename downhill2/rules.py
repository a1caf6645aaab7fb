"""Algorithms from functions, without a class."""

from __future__ import annotations

from functools import partial
from typing import Any

from .symbolic.algorithm import Algorithm, AlgorithmType
from .symbolic.functional import Function, members

SCOPES = ("element", "tensor", "all")


def rule(f: Function | None = None, *, name: str | None = None, scope: str = "tensor") -> Any:
    """Make an algorithm from a function; also a decorator, with or without arguments.

    Parameters
    ----------
    f : callable
        ``f(param, grad, ...)`` returns the direction, which is multiplied by the learning rate and subtracted; or the
        direction and a dict with the new value of each state. State, hyperparameters and settings are declared as
        default values of further arguments (`Zeros`, `Hyper`, `Setting` ...), and passed under their names. Arguments
        without default may be ``t`` (the number of the update, from 1), ``loss``, ``global_norm`` and ``rate``; a
        function that takes `rate` returns the step itself.
    name : str, optional
        The name of the algorithm. Default: the name of the function.
    scope : {'element', 'tensor', 'all'}
        What it sees as its parameter: see `Optimizer.scope`. An equation that treats each element alike may declare
        ``'element'``, and then runs on many small parameters at once. Default ``'tensor'``: one parameter at a time.

    Returns
    -------
    subclass of Optimizer
        Registered under its name; it has momentum, clipping and all that every algorithm has.

    Raises
    ------
    TypeError
        If `f` is no function, or has arguments that it may not have.
    ValueError
        If `name` or `scope` is not a valid one.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> @downhill2.rule
    ... def heavyball(param, grad, v=downhill2.Zeros(), mu=downhill2.Hyper(0.9, at_least=0, below=1)):
    ...     v_t = mu * v + grad
    ...     return v_t, dict(v=v_t)
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> train, valid = heavyball((w**2).sum(), learning_rate=0.05, mu=0.5).minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """
    if f is None:
        return partial(rule, name=name, scope=scope)
    body = members(f)
    name = getattr(f, "__name__", "") if name is None else name
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be an identifier, got {name!r}; give name= for a function without")
    if scope not in SCOPES:
        raise ValueError(f"scope must be {' or '.join(map(repr, SCOPES))}, got {scope!r}")
    return AlgorithmType(name, (Algorithm,), {**body, "scope": scope})
