"""Hyperparameters: declared on a rule, checked when given, live while a run lasts."""

from __future__ import annotations

import contextlib
import difflib
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import graph
from .graph import Variable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name that is closest to `name`, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


class Setting:
    """A structural choice: a plain Python value that shapes the graph.

    Parameters
    ----------
    default : object
        The value when none is given.
    options : type or sequence, optional
        The kind that a value must have, or the values that are allowed; by default the kind of `default`.
    """

    def __init__(self, default: Any, options: type | tuple[Any, ...] | None = None) -> None:
        self.default = default
        self.options = type(default) if options is None else options
        self.symbol = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.symbol = name

    def __get__(self, rule: Any, owner: type | None = None) -> Any:
        return self if rule is None else rule.hyper[self.symbol]

    def __set__(self, rule: Any, value: Any) -> None:
        rule.hyper.assign(rule.hyper.parse({self.symbol: value}))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.symbol,)

    def check(self, name: str, value: Any) -> Any:
        """Return `value`, or raise an error that names it."""
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(self.options, tuple):
            if value not in self.options:
                allowed = " or ".join(repr(o) for o in self.options)
                raise ValueError(f"{name} must be {allowed}, got {value!r}")
        elif not isinstance(value, self.options) or (isinstance(value, bool) and self.options is not bool):
            raise TypeError(f"{name} must be of type {self.options.__name__}, got {value!r}")
        return value


class Hyper:
    """A number that scales something: a live scalar of the update graph, never a literal.

    The class attribute is the symbol that the equation uses, and one name under which callers may give it.

    Parameters
    ----------
    default : float
        The value when none is given.
    keyword : str, optional
        A second name under which callers may give it.
    halflife : float, optional
        For a decay factor in [0, 1): its default as a half-life, in updates. Callers then may give the
        half-life itself as `keyword` (``<symbol>_halflife`` unless told otherwise); gamma = 2**(-1/halflife).
    at_least, above, below : float, optional
        The range of allowed values.
    off : bool
        Whether the number 0 means that what it scales is absent from the graph.
    former : sequence of str
        Names that still work, with a DeprecationWarning.
    """

    def __init__(
        self,
        default: float | None = None,
        keyword: str | None = None,
        *,
        halflife: float | None = None,
        at_least: float | None = None,
        above: float | None = None,
        below: float | None = None,
        off: bool = False,
        former: tuple[str, ...] = (),
    ) -> None:
        if halflife is not None:
            default, at_least, below = 0.5 ** (1 / halflife), 0.0, 1.0
        self.default, self.keyword, self.halflife = default, keyword, halflife
        self.at_least, self.above, self.below = at_least, above, below
        self.off, self.former = off, former
        self.symbol = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.symbol = name
        if self.halflife is not None and self.keyword is None:
            self.keyword = f"{name}_halflife"

    def __get__(self, rule: Any, owner: type | None = None) -> Any:
        return self if rule is None else rule.hyper.variable(self.symbol)

    def __set__(self, rule: Any, value: Any) -> None:
        rule.hyper.set_live(self.symbol, value)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.symbol, *([self.keyword] if self.keyword else []), *self.former)

    def condition(self) -> str:
        """Return the range in words."""
        if self.below is not None:
            return f"in {'(' if self.above is not None else '['}{self.at_least or self.above or 0:g}, {self.below:g})"
        if self.above is not None:
            return "positive" if self.above == 0 else f"above {self.above:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else "finite"

    def check(self, name: str, value: float) -> float:
        """Return `value`, or raise an error that names it."""
        allowed = (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not allowed:
            raise ValueError(f"{name} must be {self.condition()}, got {value!r}")
        return value

    def from_halflife(self, name: str, value: Any) -> Any:
        """Turn a half-life, a number or symbolic, into the decay factor."""
        if isinstance(value, numbers.Real) and not 0 < float(value) < math.inf:
            raise ValueError(f"{name} must be positive, got {value!r}")
        return 0.5 ** (1 / value)


@dataclass(frozen=True)
class Given:
    """A checked value: a number, or the symbolic scalar that stands for it and where that came from."""

    number: float | None = None
    variable: Variable = None
    source: object = None


class Hyperparameters(Mapping[str, Any]):
    """The values of one optimizer's hyperparameters by name: ``hyper['learning_rate']`` reads a float.

    Parameters
    ----------
    owner : type
        The class that declares them.
    count : symbolic scalar
        The number of updates made so far: what schedules are functions of.
    """

    def __init__(self, owner: type, count: Variable) -> None:
        self.owner, self.count = owner, count
        self.declared = declared(owner, Hyper | Setting)
        self._settings = {n: d.default for n, d in self.declared.items() if isinstance(d, Setting)}
        self._numbers: dict[str, Variable] = {}
        self._given: dict[str, Given] = {}
        self.version = 0
        self._live: dict[str, Callable[[bool], Any]] | None = None  # how numbers are read, once for each structure
        self.assign({n: Given(d.default) for n, d in self.declared.items() if isinstance(d, Hyper)})

    def __iter__(self) -> Iterator[str]:
        return iter(self.declared)

    def __len__(self) -> int:
        return len(self.declared)

    def __getitem__(self, name: str) -> Any:
        if name in self._settings:
            return self._settings[name]
        if name not in self._given:
            raise KeyError(f"{self.owner.__name__} has no hyperparameter {name!r}{nearest(name, self)}")
        return graph.evaluate(self.variable(name))

    def __repr__(self) -> str:
        return repr(dict(self))

    def variable(self, name: str) -> Variable:
        """Return the symbolic scalar, float64 unless the caller gave one of another dtype."""
        given = self._given[name]
        return self._numbers[name] if given.variable is None else given.variable

    def present(self, name: str) -> bool:
        """Whether what `name` scales is in the graph: everything but the number 0 where that means absent."""
        given = self._given[name]
        return not (self.declared[name].off and given.number == 0)

    def settings(self) -> dict[str, Any]:
        """Return the structural choices by name."""
        return dict(self._settings)

    def numbers(self) -> dict[str, float]:
        """Return the numbers that are set and not computed: own ones, and those of a caller's shared variables."""
        return {n: self[n] for n, g in self._given.items() if g.variable is None or graph.is_shared(g.variable)}

    def present_numbers(self) -> dict[str, float]:
        """Return of these numbers the ones that are in the graph; quick, for it is asked at every epoch."""
        if self._live is None:
            live = {n: self.variable(n) for n in self._given if self.present(n)}
            self._live = {n: v.get_value for n, v in live.items() if graph.is_shared(v)}
        return {n: float(get_value(True)) for n, get_value in self._live.items()}

    def set_numbers(self, numbers: Mapping[str, float]) -> None:
        """Set what `numbers` returned, but for what was a number then and is none now, or the reverse."""
        for name in self.numbers():
            if name in numbers:
                self.set_live(name, numbers[name])

    @property
    def optional(self) -> list[str]:
        """Names of the numbers for which 0 means absent."""
        return [n for n, d in self.declared.items() if isinstance(d, Hyper) and d.off]

    def structure(self) -> tuple[Any, ...]:
        """Return what of the present values shapes the graph: equal structures share compiled functions."""
        symbols = tuple((n, g.variable, self.present(n)) for n, g in self._given.items())
        return (*self._settings.items(), *symbols)

    def symbols(self, parsed: Mapping[str, Any] | None = None) -> dict[str, Variable]:
        """Return the symbolic values that were given from outside, as they would be with `parsed` assigned."""
        given = {**self._given, **(parsed or {})}
        return {n: given[n].variable for n in self._given if given[n].variable is not None}

    # -- giving values

    def parse(self, given: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
        """Check values by any of their names, changing nothing; what comes back is for `assign`.

        Raises
        ------
        TypeError
            For an unknown name (`also` names the settings of a run), a wrong kind, or one hyperparameter
            given under two names.
        ValueError
            For a number out of range.
        """
        names = {n: d for d in self.declared.values() for n in d.names}
        out: dict[str, Any] = {}
        for name, value in given.items():
            if name not in names:
                hint = "; give it to iterate or minimize" if name in also else nearest(name, [*names, *also])
                raise TypeError(f"{self.owner.__name__} has no hyperparameter {name!r}{hint}")
            d = names[name]
            if d.symbol in out:
                first = next(n for n in given if n in d.names)
                raise TypeError(f"{first} and {name} are the same hyperparameter; give one of them")
            if name in getattr(d, "former", ()):
                warnings.warn(f"{name} is now called {d.symbol}", DeprecationWarning, stacklevel=_level_of_caller())
            out[d.symbol] = self._checked(d, name, value)
        return out

    def _checked(self, d: Hyper | Setting, name: str, value: Any) -> Any:
        if isinstance(d, Setting):
            return d.check(name, value)
        old = self._given.get(d.symbol)
        if old is not None and old.source is not None and old.source is value:
            return old  # the same schedule or variable again: the same graph, nothing to compile
        scheduled = callable(value) and not graph.is_variable(value)
        return self._symbolic(d, name, value(self.count) if scheduled else value, value)

    def _symbolic(self, d: Hyper, name: str, value: Any, source: object) -> Given:
        if graph.is_variable(value):
            if not graph.is_tensor(value) or value.type.ndim:
                raise TypeError(f"{name} must be a scalar, got {value.type}")
            if graph.is_shared(value):
                self._number(d, name, float(value.get_value(borrow=True)))
            return Given(None, d.from_halflife(name, value) if _is_halflife(d, name) else value, source)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            kinds = "a number, a shared variable, a symbolic scalar or a function of the update count"
            raise TypeError(f"{name} must be {kinds}, got {value!r}")
        return Given(self._number(d, name, value))

    def _number(self, d: Hyper, name: str, value: Any) -> float:
        number = d.from_halflife(name, value) if _is_halflife(d, name) else value
        return d.check(name, float(number))

    def assign(self, parsed: Mapping[str, Any]) -> None:
        """Make checked values the present ones; `version` counts the changes of structure."""
        before = self.structure()
        for name, value in parsed.items():
            if isinstance(self.declared[name], Setting):
                self._settings[name] = value
                continue
            self._given[name] = value
            if value.number is None:
                continue
            if name in self._numbers:
                self._numbers[name].set_value(value.number)
            else:
                self._numbers[name] = graph.shared_scalar(value.number, name)
        if self.structure() != before:
            self.version, self._live = self.version + 1, None

    @contextlib.contextmanager
    def tried(self, parsed: Mapping[str, Any]) -> Iterator[None]:
        """Assign checked values, and take them back if the body raises."""
        before = {**self._settings, **self._given}
        self.assign(parsed)
        try:
            yield
        except BaseException:
            self.assign(before)
            raise

    def set_live(self, name: str, value: Any) -> None:
        """Set a hyperparameter between calls: ``opt.learning_rate = 0.01``.

        Raises
        ------
        ValueError
            If a schedule or a symbolic expression drives it: there is no number to set.
        """
        given = self._given[name]
        if given.variable is None:
            self.assign(self.parse({name: value}))
        elif graph.is_shared(given.variable):
            given.variable.set_value(self.declared[name].check(name, float(value)))
        else:
            driver = "a schedule" if isinstance(given.source, Callable) else "a symbolic expression"  # type: ignore[arg-type]
            raise ValueError(
                f"{name} is driven by {driver}, so {value!r} cannot be set; "
                f"give {name}= to get_updates, iterate or minimize to replace it"
            )


def _level_of_caller() -> int:
    """Return the `stacklevel` by which a warning names the first line outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == __name__.partition(".")[0]:
        level, frame = level + 1, frame.f_back
    return level


def _is_halflife(d: Hyper, name: str) -> bool:
    return d.halflife is not None and name == d.keyword


def declared(cls: type, kind: Any) -> dict[str, Any]:
    """Return the class attributes of a kind, base classes first, in the order of their declaration."""
    names = dict.fromkeys(n for c in reversed(cls.__mro__) for n in vars(c))
    found = {n: getattr(cls, n, None) for n in names}
    return {n: v for n, v in found.items() if isinstance(v, kind)}
