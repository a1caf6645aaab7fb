"""How hyperparameters and settings are declared on a rule: names, defaults, ranges."""

from __future__ import annotations

import copy
import difflib
import functools
import math
import operator
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Protocol, Self, TypeVar, overload

import numpy as np
import pytensor.tensor as pt

from ..checks import Range, choice, flag, integer, kind_of, number
from . import graph
from .graph import Variable

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name that is closest to `name`, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


CHECKS: dict[type, Callable[[str, object], object]] = {bool: flag, int: integer, float: number}
"""The checks of settings by kind; a setting of another kind is checked by `isinstance` alone."""


class Live(Protocol):
    """The present values of what a rule declares."""

    def __getitem__(self, name: str) -> Any: ...

    def variable(self, name: str) -> Variable: ...

    def set_live(self, name: str, value: object) -> None: ...


class Declaring(Protocol):
    """A rule, as its declarations see it."""

    @property
    def hyper(self) -> Live: ...


class Setting:
    """A structural choice: a plain Python value that shapes the graph.

    Parameters
    ----------
    default : object
        The value if the caller sets none.
    options : type or sequence, optional
        The kind that a value must have, or the values that are allowed; by default the kind of `default`.
    """

    option, on, of = "", 0.0, ""  # see the module `options`

    def __init__(self, default: Any, options: type | tuple[object, ...] | None = None) -> None:
        self.default = default
        self.options = type(default) if options is None else options
        self.symbol = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.symbol = name

    @overload
    def __get__(self, rule: None, owner: type) -> Self: ...

    @overload
    def __get__(self, rule: Declaring, owner: type | None = None) -> Any: ...

    def __get__(self, rule: Declaring | None, owner: type | None = None) -> Any:
        return self if rule is None else rule.hyper[self.symbol]

    def __set__(self, rule: Declaring, value: object) -> None:
        rule.hyper.set_live(self.symbol, value)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.symbol,)

    def check(self, name: str, value: object) -> object:
        """Return `value`, or raise an error that names it."""
        if isinstance(self.options, tuple):
            return choice(name, value, self.options)
        if self.options in CHECKS:
            return CHECKS[self.options](name, value)
        if not isinstance(value, self.options):
            raise TypeError(f"{name} must be of type {self.options.__name__}, got {kind_of(value)}")
        return value

    def plain(self, value: Any) -> object:
        """Return a value as a checkpoint has it, in terms of JSON."""
        return value


class Hyper:
    """A number that scales something: a live scalar of the update graph, never a literal.

    The name of the class attribute is the symbol in the equation, and a keyword for callers.

    Parameters
    ----------
    default : float
        The value if the caller sets none.
    keyword : str, optional
        A second keyword for callers.
    halflife : float, optional
        For a decay factor in [0, 1): its default as a half-life, in updates. Callers may then set the
        half-life itself as `keyword` (by default ``<symbol>_halflife``); gamma = 2**(-1/halflife).
    at_least, above, below : float, optional
        The range of allowed values.
    off : bool or float
        The number at which the graph leaves out what it scales; True means 0. Default False: no number.
    former : sequence of str
        Names that still work, with a DeprecationWarning.
    """

    option, on, of = "", 0.0, ""  # see the module `options`

    def __init__(
        self,
        default: float | None = None,
        keyword: str | None = None,
        *,
        halflife: float | None = None,
        at_least: float | None = None,
        above: float | None = None,
        below: float | None = None,
        off: bool | float = False,
        former: tuple[str, ...] = (),
    ) -> None:
        if halflife is not None:
            default, at_least, below = 0.5 ** (1 / halflife), 0.0, 1.0
        self.default, self.keyword, self.halflife = default, keyword, halflife
        self.range = Range(at_least=at_least, above=above, below=below)
        self.off: float | None = None if off is False else 0.0 if off is True else off
        self.former = former
        self.symbol = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.symbol = name
        if self.halflife is not None and self.keyword is None:
            self.keyword = f"{name}_halflife"

    @overload
    def __get__(self, rule: None, owner: type) -> Self: ...

    @overload
    def __get__(self, rule: Declaring, owner: type | None = None) -> Variable: ...

    def __get__(self, rule: Declaring | None, owner: type | None = None) -> Variable:
        return self if rule is None else rule.hyper.variable(self.symbol)

    def __set__(self, rule: Declaring, value: object) -> None:
        rule.hyper.set_live(self.symbol, value)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.symbol, *([self.keyword] if self.keyword else []), *self.former)

    def condition(self) -> str:
        """Return the range in words."""
        return str(self.range)

    def check(self, name: str, value: float) -> float:
        """Return `value`, or raise an error that names it."""
        return self.range.check(name, value)

    def holds(self, variable: Variable) -> Variable:
        """Return whether a value is finite and in the range, but for rounding below it: a symbolic boolean."""
        bounds, dtype = self.range, variable.type.dtype
        slack = max(1e-12, 8 * float(np.finfo(dtype).eps)) if dtype in graph.FLOATS else 0.0
        allowed = [pt.isfinite(variable)]
        if bounds.at_least is not None:  # a schedule that ends at the bound may come to lie just below it
            allowed.append(variable >= np.float64(bounds.at_least - slack))
        if bounds.above is not None:
            allowed.append(variable > np.float64(bounds.above))
        if bounds.below is not None:
            allowed.append(variable < np.float64(bounds.below))
        if bounds.at_most is not None:
            allowed.append(variable <= np.float64(bounds.at_most))
        return functools.reduce(operator.and_, allowed)

    def from_halflife(self, name: str, value: Variable | float) -> Variable:
        """Turn a half-life, a number or symbolic, into the decay factor."""
        if isinstance(value, float):
            Range(above=0).check(name, value)
        return 0.5 ** (1 / value)


@overload
def declared(cls: type, kind: type[T]) -> dict[str, T]: ...


@overload
def declared(cls: type, kind: UnionType) -> dict[str, Any]: ...


def declared(cls: type, kind: type | UnionType) -> dict[str, Any]:
    """Return the class attributes of a kind, base classes first, in the order of their declaration."""
    names = dict.fromkeys(n for c in reversed(cls.__mro__) for n in vars(c))
    found = {n: getattr(cls, n, None) for n in names}
    return {n: v for n, v in found.items() if isinstance(v, kind)}


def Decay(default: float) -> Hyper:
    """Declare a decay factor in [0, 1) by its default; callers may set its half-life as ``<symbol>_halflife``."""
    halflife = Hyper(halflife=-1 / math.log2(default))
    return with_default(halflife, default)


D = TypeVar("D", Hyper, Setting)


def with_default(declaration: D, default: Any) -> D:
    """Return a declaration like another, with a default of its own."""
    changed = copy.copy(declaration)
    changed.default = default
    return changed
