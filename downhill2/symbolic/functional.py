"""Rules and transforms from functions: default values of their arguments declare what a class would."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from ..checks import shown
from .graph import Variable
from .hyper import Hyper, Setting, declared
from .rule import Rule
from .state import State

Direction: TypeAlias = tuple[Variable, Mapping[str, Variable]]

Function: TypeAlias = Callable[..., Variable | Direction]
"""Takes a parameter, its gradient and more; returns a direction, or a direction and new states."""

PASSED = ("t", "rate", "loss", "global_norm")


def members(f: Function, kinds: tuple[type, ...] = (State, Hyper, Setting)) -> dict[str, Any]:
    """Return the body of the class of rules whose direction is ``f(param, grad, ...)``.

    Parameters
    ----------
    f : callable
        Returns the direction, or the direction and a dict with the new value of each state. The default
        values of its further arguments declare states, hyperparameters and settings. Arguments without default may be
        ``t, rate, loss, global_norm``, a rule's attributes of that name. A function that takes `rate` returns the step.
    kinds : tuple of type
        What it may declare.

    Raises
    ------
    TypeError
        If `f` is no function, or has other arguments.
    """
    if not callable(f):
        raise TypeError(f"a rule must be a function of a parameter and its gradient, got {shown(f)}")
    arguments = list(inspect.signature(f).parameters.values())
    if len(arguments) < 2:
        raise TypeError(f"{_name(f)} must take a parameter and its gradient, got {inspect.signature(f)}")
    defaults = {a.name: a.default for a in arguments[2:] if isinstance(a.default, State | Hyper | Setting)}
    given = [a.name for a in arguments[2:] if a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    for name in given:
        if name not in PASSED:
            raise TypeError(f"{_name(f)} must take {', '.join(PASSED)} or what it declares by default, got {name!r}")
    for name, d in defaults.items():
        if not isinstance(d, kinds):
            raise TypeError(f"{_name(f)} must declare states only; of hyperparameters give variables, got {name!r}")
    return {
        "direction": _direction(f, [n for n, d in defaults.items() if not isinstance(d, State)] + given),
        "scope": "tensor",
        "owns_rate": "rate" in given,
        "needs": tuple(n for n in given if n in ("loss", "global_norm")),
        "__doc__": f.__doc__,
        "__module__": f.__module__,
        **defaults,
    }


def _direction(f: Function, names: list[str]) -> Function:
    def direction(self: Rule, param: Variable, grad: Variable, **state: Variable) -> Direction:
        out = f(param, grad, **state, **{n: getattr(self, n) for n in names})
        return out if isinstance(out, tuple) else (out, {})

    return direction


def _name(f: Function) -> str:
    return getattr(f, "__name__", type(f).__name__)


@lru_cache
def transform(f: Function) -> type[Rule]:
    """Return the class of rules that transform gradients by ``f(param, grad, ...)``."""
    return type(_name(f), (Rule,), members(f, (State,)))


class Transforms(Setting):
    """The setting `transforms`: functions of a parameter and its gradient so far, which return the gradient."""

    def __init__(self) -> None:
        super().__init__(())

    def check(self, name: str, value: object) -> tuple[Function, ...]:
        """Return a tuple of functions, or raise an error that names what is wrong."""
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} must be a sequence of functions, got {shown(value)}")
        names = [_name(f) for f in value if declared(transform(f), State)]
        if twice := [n for n in names if names.count(n) > 1]:
            raise ValueError(f"{name} with state must have names of their own, got {twice[0]!r} twice")
        return tuple(value)

    def plain(self, value: Any) -> list[str]:
        """Return a value as a checkpoint has it."""
        return [_name(f) for f in value]


class Functions(Rule):
    """The stage `transforms`: each function of the caller is a rule of its own, made by `transform`."""

    transforms = Transforms()
