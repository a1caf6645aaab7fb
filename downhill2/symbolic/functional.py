"""Rules and transforms by function: what a class would declare stands as default values of the function's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..checks import shown
from .graph import Variable
from .hyper import Hyper, Setting, declared
from .rule import Rule
from .state import State

GIVEN = ("t", "rate", "loss", "global_norm")


def members(f: Callable[..., Any], kinds: tuple[type, ...] = (State, Hyper, Setting)) -> dict[str, Any]:
    """Return the body of the class of rules whose direction is ``f(param, grad, ...)``.

    Parameters
    ----------
    f : callable
        Returns the direction, or the direction and a dict with the new value of each state. Its arguments beyond two
        are states, hyperparameters and settings, declared as their default values, and without default any of
        ``t, rate, loss, global_norm``: what a rule knows by these names. One that takes `rate` has it in its direction.
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
        if name not in GIVEN:
            raise TypeError(f"{_name(f)} must take {', '.join(GIVEN)} or what it declares by default, got {name!r}")
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


def _direction(f: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    def direction(self: Rule, param: Variable, grad: Variable, **state: Variable) -> Any:
        out = f(param, grad, **state, **{n: getattr(self, n) for n in names})
        return out if isinstance(out, tuple) else (out, {})

    return direction


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)


@lru_cache
def transform(f: Callable[..., Any]) -> type[Rule]:
    """Return the class of rules that transform gradients by ``f(param, grad, ...)``."""
    return type(_name(f), (Rule,), members(f, (State,)))


class Transforms(Setting):
    """The setting `transforms`: functions of a parameter and its gradient so far, which return the gradient."""

    def __init__(self) -> None:
        super().__init__(())

    def check(self, name: str, value: Any) -> Any:
        """Return a tuple of functions, or raise an error that names what is wrong."""
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} must be a sequence of functions, got {shown(value)}")
        names = [_name(f) for f in value if declared(transform(f), State)]
        if twice := [n for n in names if names.count(n) > 1]:
            raise ValueError(f"{name} with state must have names of their own, got {twice[0]!r} twice")
        return tuple(value)

    def plain(self, value: Any) -> Any:
        """Return what a checkpoint has for a value."""
        return [_name(f) for f in value]


class Functions(Rule):
    """The stage `transforms`: each function of the caller is a rule of its own, made by `transform`."""

    transforms = Transforms()
