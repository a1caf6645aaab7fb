"""The values of hyperparameters: checked when they are set, live during a run."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import checks
from . import graph, synonyms
from .declared import Hyper, Setting, declared, nearest
from .graph import Variable
from .options import expanded
from .presets import preset

__all__ = ["Assigned", "Hyper", "Hyperparameters", "Parsed", "Setting", "declared", "nearest"]

ROUNDING = 1e-12
"""How far below 0 rounding may take a schedule that ends at 0, as a fraction of its largest value."""


@dataclass(frozen=True)
class Assigned:
    """A checked value: a number; or a symbolic scalar, with what the caller wrote for it and the keyword."""

    number: float | None = None
    variable: Variable = None
    source: object = None
    name: str = ""


class Parsed(dict[str, Any]):
    """Checked values by symbol: those that a caller set, and those of the preset named with them.

    Attributes
    ----------
    explicit : collection of str
        Those that the caller set; no preset changes them later.
    preset : str or None
        The preset that was named.
    """

    def __init__(self, values: Mapping[str, Any], explicit: Collection[str], preset: str | None) -> None:
        super().__init__(values)
        self.explicit, self.preset = frozenset(explicit), preset


class Hyperparameters(Mapping[str, Any]):
    """The values of one optimizer's hyperparameters by name: ``hyper['learning_rate']`` reads a float.

    Parameters
    ----------
    owner : type
        The class that declares them.
    count : symbolic scalar
        The number of updates made so far: the argument of schedules.
    epochs : symbolic scalar, optional
        The number of epochs made so far: the argument of schedules with ``per='epoch'``.

    Attributes
    ----------
    preset : str or None
        The preset that was named last.
    explicit : frozenset of str
        Symbols of the values that callers set, not a preset.
    groups : dict of str to Hyperparameters
        Those of parameter groups; ``hyper['group0.learning_rate']`` reads one.
    parent : Hyperparameters or None
        A group takes the values that it does not set from here.
    """

    def __init__(self, owner: type, count: Variable, epochs: Variable = None) -> None:
        self.owner, self.count, self.epochs = owner, count, epochs
        self.declared = declared(owner, Hyper | Setting)
        self.preset: str | None = None
        self.explicit: frozenset[str] = frozenset()
        self.groups: dict[str, Hyperparameters] = {}
        self.parent: Hyperparameters | None = None
        self._settings: dict[str, Any] = {}
        self._numbers: dict[str, Variable] = {}
        self._assigned: dict[str, Assigned] = {}
        self._version = 0
        self._live: tuple[int, Callable[[], dict[str, float]]] | None = None  # reads the numbers of a version
        self._place(self._defaults())
        self._version = 0

    def _defaults(self) -> dict[str, Any]:
        return {n: d.default if isinstance(d, Setting) else Assigned(d.default) for n, d in self.declared.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy or a pickle, without the compiled function."""
        return {**vars(self), "_live": None}

    # -- reading

    def __iter__(self) -> Iterator[str]:
        yield from self.declared
        for name, group in self.groups.items():
            yield from (f"{name}.{n}" for n in group.own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Any:
        hyper, symbol = self._at(name)
        if symbol in hyper._settings:
            return hyper._settings[symbol]
        if symbol not in hyper._assigned:
            raise KeyError(synonyms.keyword(self.owner.__name__, name, list(self), {}))
        return graph.evaluate(hyper.variable(symbol))

    def __repr__(self) -> str:
        return repr(dict(self))

    def _at(self, name: str) -> tuple[Hyperparameters, str]:
        """Return where the value of `name` is, and its symbol there."""
        group, _, symbol = name.rpartition(".")
        hyper = self.groups.get(group) if group else self
        if hyper is None:
            return self, name
        inherited = hyper.parent is not None and symbol not in hyper.own
        return (hyper.parent if inherited else hyper), symbol  # type: ignore[return-value]

    @property
    def own(self) -> list[str]:
        """Symbols of the values that are not the parent's."""
        if self.parent is None or self.preset is not None:
            return list(self.declared)
        return [n for n in self.declared if n in self.explicit]

    def variable(self, name: str) -> Variable:
        """Return the symbolic scalar, float64 unless the caller set one of another dtype."""
        hyper, symbol = self._at(name)
        given = hyper._assigned[symbol]
        return hyper._numbers[symbol] if given.variable is None else given.variable

    def present(self, name: str) -> bool:
        """Whether what `name` scales is in the graph: it is unless the number is the one declared as `off`."""
        hyper, symbol = self._at(name)
        d = hyper.declared[symbol]
        if isinstance(d, Setting):
            return bool(hyper._settings[symbol])
        if d.of and not hyper.present(d.of):
            return False
        return d.off is None or hyper._assigned[symbol].number != d.off

    def numeric(self) -> dict[str, Hyper]:
        """Return the declarations of all numbers by name, without those that a group takes from here."""
        return {n: d for n in self if isinstance(d := self._declaration(n), Hyper)}

    def _declaration(self, name: str) -> Hyper | Setting:
        hyper, symbol = self._at(name)
        found: Hyper | Setting = hyper.declared[symbol]
        return found

    def settings(self) -> dict[str, Any]:
        """Return the structural choices by name, as a checkpoint has them."""
        return {n: d.plain(self[n]) for n in self if isinstance(d := self._declaration(n), Setting)}

    def numbers(self) -> dict[str, float]:
        """Return the numbers that are set and not computed: own ones, and those of a caller's shared variables."""
        return {n: self[n] for n in self.numeric() if graph.is_shared(self.variable(n))}

    def present_numbers(self) -> dict[str, float]:
        """Return the present values of numbers that are in the graph; quick, for it runs at every epoch.

        A number that depends on data has no value of its own, and is left out.
        """
        if self._live is None or self._live[0] != self.version:
            live = {n: v for n, v in self.present_variables().items() if not fed(v)}
            self._live = self.version, graph.reader(live)
        return self._live[1]()

    def present_variables(self) -> dict[str, Variable]:
        """Return the symbolic scalars of the numbers that are in the graph."""
        return {n: self.variable(n) for n in self.numeric() if self.present(n)}

    def allowed(self) -> dict[str, Variable]:
        """Return for each number that is in the graph whether it is in its range: a symbolic boolean."""
        declared = self.numeric()
        return {n: declared[n].holds(v) for n, v in self.present_variables().items()}

    def driver(self, name: str) -> str:
        """Return in words where the value of `name` comes from."""
        hyper, symbol = self._at(name)
        given = hyper._assigned[symbol]
        if given.variable is None:
            return "a number"
        if graph.is_shared(given.variable):
            return f"the shared variable {given.variable.name!r}"
        if not isinstance(given.source, Callable):  # type: ignore[arg-type]
            return "a symbolic expression"
        return "a schedule"

    def set_numbers(self, numbers: Mapping[str, float]) -> None:
        """Set what `numbers` returned, except what was a number then and is none now, or the reverse."""
        for name in self.numbers():
            if name in numbers:
                hyper, symbol = self._at(name)
                hyper._set(symbol, numbers[name])

    @property
    def optional(self) -> list[str]:
        """Names of the numbers for which one value means absent."""
        return [n for n, d in self.numeric().items() if d.off is not None]

    @property
    def version(self) -> int:
        """Counts the changes of structure."""
        if not self.groups:  # quick, for it is read at every epoch
            return self._version
        return self._version + sum(group.version for group in self.groups.values())

    def chosen(self) -> dict[str, Any]:
        """Return what callers set, by keyword: numbers as they are now, all else as it was set."""
        given = {n: g.source if g.number is None else g.number for n, g in self._assigned.items()} | self._settings
        return {d.names[0]: given[n] for n, d in self.declared.items() if n in self.explicit}

    def structure(self) -> tuple[object, ...]:
        """Return the present values that shape the graph: equal structures share compiled functions."""
        own = self.own
        symbols = [(n, g.variable, self.present(n)) for n, g in self._assigned.items() if n in own]
        settings = [(n, v) for n, v in self._settings.items() if n in own]
        return (*settings, *symbols, *(group.structure() for group in self.groups.values()))

    def symbols(self, parsed: Mapping[str, Any] | None = None) -> dict[str, Variable]:
        """Return the symbolic values that callers set, as they would be with `parsed` assigned."""
        given = {n: {**self._assigned, **(parsed or {})}[n] for n in self._assigned if n in self.own}
        of_groups = [(f"{g}.{n}", v) for g, group in self.groups.items() for n, v in group.symbols().items()]
        return {n: g.variable for n, g in given.items() if g.variable is not None} | dict(of_groups)

    def check_schedules(self, updates: np.ndarray, epochs: np.ndarray) -> None:
        """Raise ValueError if a schedule leaves the range of its hyperparameter at these numbers of updates and epochs.

        Only those of `downhill2.schedules` are checked: functions and expressions may take symbols alone.
        """
        for name in self.numeric():
            hyper, symbol = self._at(name)
            values = _sampled(hyper._assigned[symbol].source, updates, epochs)
            if values is not None:
                hyper._check_scheduled(symbol, name.removesuffix(symbol), values, updates)

    def _check_scheduled(self, symbol: str, group: str, values: np.ndarray, updates: np.ndarray) -> None:
        """Raise ValueError if one of a schedule's values, after these numbers of updates, is out of range."""
        for i in (np.argmin(values), np.argmax(values)):  # both find a NaN
            value = float(values[i])
            try:
                if not -ROUNDING * values.max() < value < 0:
                    self._number(self.declared[symbol], self._assigned[symbol].name, value)
            except ValueError as error:
                where = f"where {updates[i]:,} updates are made; change its schedule, or the limits of the run"
                raise ValueError(f"{group}{error} {where}") from None

    def recount(self, count: Variable, epochs: Variable) -> None:
        """Make schedules use other clocks."""
        clocks = {self.count: count, self.epochs: epochs}
        for name, given in self._assigned.items():
            if given.variable is not None:
                [variable] = graph.replaced([given.variable], clocks)
                self._assigned[name] = replace(given, variable=variable)
        self.count, self.epochs = count, epochs
        self._version += 1

    # -- setting values

    def parse(self, given: Mapping[str, object], elsewhere: Mapping[str, str] = MappingProxyType({})) -> Parsed:
        """Check values under any of their names and return them for `assign`; nothing changes yet.

        `elsewhere` has the keywords of other functions: see `synonyms.keyword`.

        Raises
        ------
        TypeError
            For an unknown name, a wrong kind, or one hyperparameter under two names.
        ValueError
            For a number out of range, or a preset that the algorithm does not have.
        """
        explicit = self._read({n: v for n, v in given.items() if n != "preset"}, elsewhere)
        name: Any = given.get("preset")
        values: dict[str, Any] = {}
        if name is not None:
            of_preset = self._defaults() | self._read(preset(self.owner, name))
            values = {n: v for n, v in of_preset.items() if n not in self.explicit}
        return Parsed(values | explicit, explicit, name)

    def _read(self, given: Mapping[str, object], elsewhere: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
        names = {n: d for d in self.declared.values() for n in d.names}
        out: dict[str, Any] = {}
        pairs = list(expanded(names, given))
        for name, value in pairs:
            if name not in names:
                raise TypeError(synonyms.keyword(self.owner.__name__, name, names, elsewhere))
            d = names[name]
            if d.symbol in out:
                first = next(n for n, _ in pairs if n in d.names)
                raise TypeError(f"{first} and {name} are the same hyperparameter; give one of them")
            if name in getattr(d, "former", ()):
                warnings.warn(f"{name} is now called {d.symbol}", DeprecationWarning, stacklevel=_level_of_caller())
            out[d.symbol] = self._checked(d, name, value)
        return out

    def _checked(self, d: Hyper | Setting, name: str, value: object) -> object:
        if isinstance(d, Setting):
            return d.check(name, value)
        old = self._assigned.get(d.symbol)
        if (
            old is not None
            and old.source is not None
            and _is_same(old.source, value)
            and _is_halflife(d, old.name) == _is_halflife(d, name)
        ):
            return old  # the same graph, nothing to compile
        if callable(value) and not graph.is_variable(value):
            return self._symbolic(d, name, self._scheduled(name, value), value)
        return self._symbolic(d, name, value, value)

    def _scheduled(self, name: str, schedule: Callable[..., Variable]) -> Variable:
        if isinstance(schedule, type):
            raise TypeError(f"{name} must be a schedule, got the class {schedule.__name__}; call it to make one")
        at = getattr(schedule, "at", None)  # `downhill2.schedules` have it; any other function counts updates
        try:
            return schedule(self.count) if at is None else at(self.count, self.epochs)
        except Exception as error:
            error.add_note(
                f"raised by the schedule of {name}, a function of a symbolic count: use pytensor.tensor in it"
            )
            raise

    def _symbolic(self, d: Hyper, name: str, value: Variable, source: object) -> Assigned:
        if graph.is_variable(value):
            if not graph.is_tensor(value) or value.type.ndim or np.dtype(value.type.dtype).kind not in "iuf":
                raise TypeError(f"{name} must be a scalar, got {value.type}; a real number, not a bool")
            if graph.is_shared(value):
                self._number(d, name, float(value.get_value(borrow=True)))
            return Assigned(None, d.from_halflife(name, value) if _is_halflife(d, name) else value, source, name)
        try:
            number = checks.real(name, value)
        except TypeError as error:
            kinds = "a number, a shared variable, a symbolic scalar or a function of the update count"
            raise TypeError(f"{name} must be {kinds}, got {checks.kind_of(value)}") from error
        return Assigned(self._number(d, name, number))

    def _number(self, d: Hyper, name: str, value: float) -> float:
        return d.check(name, d.from_halflife(name, value) if _is_halflife(d, name) else value)

    def assign(self, parsed: Parsed) -> None:
        """Make checked values the present ones; `version` counts the changes of structure."""
        before = self.structure()
        self.explicit |= parsed.explicit
        self.preset = parsed.preset or self.preset
        self._place(parsed, before)

    def _place(self, values: Mapping[str, Any], before: tuple[object, ...] = ()) -> None:
        for name, value in values.items():
            if isinstance(self.declared[name], Setting):
                self._settings[name] = value
                continue
            self._assigned[name] = value
            if value.number is None:
                continue
            if name in self._numbers:
                self._numbers[name].set_value(value.number)
            else:
                self._numbers[name] = graph.shared_scalar(value.number, name)
        self._version += self.structure() != before

    @contextlib.contextmanager
    def undone_on_error(self, parsed: Parsed) -> Iterator[None]:
        """Assign checked values, and take them back if the body raises."""
        before, marks = {**self._settings, **self._assigned}, (self.explicit, self.preset)
        self.assign(parsed)
        try:
            yield
        except BaseException:
            now = self.structure()
            self.explicit, self.preset = marks
            self._place(before, now)
            raise

    def set_live(self, name: str, value: object) -> None:
        """Set a hyperparameter or a setting between calls: ``opt.learning_rate = 0.01``.

        Raises
        ------
        ValueError
            If a schedule or a symbolic expression drives it: there is no number to set.
        """
        given = self._assigned.get(name)
        if given is None or given.variable is None or name not in self.own:
            self.assign(self.parse({name: value}))
        elif graph.is_shared(given.variable):
            given.variable.set_value(self.declared[name].check(name, checks.real(name, value)))
        else:
            raise ValueError(
                f"{name} is driven by {self.driver(name)}, so {value!r} cannot be set; "
                f"give {name}= to get_updates, iterate or minimize to replace it"
            )

    def _set(self, name: str, value: float) -> None:
        """Set a number or a caller's shared variable; a preset may still change it if it could before."""
        given = self._assigned[name]
        number = self.declared[name].check(name, checks.real(name, value))
        if given.variable is None:
            self._place({name: Assigned(number)}, self.structure())
        else:
            given.variable.set_value(number)


def _is_same(a: object, b: object) -> bool:
    """Whether two values are the same variable or function, or equal schedules."""
    return a is b or (hasattr(a, "at") and type(a) is type(b) and bool(a == b))


def _sampled(schedule: object, updates: np.ndarray, epochs: np.ndarray) -> np.ndarray | None:
    """Return the values of a schedule; None for something else, or if its function takes no arrays."""
    if not (callable(schedule) and hasattr(schedule, "at")):
        return None
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        values: np.ndarray = schedule(updates, epochs)
        return values
    return None


def fed(variable: Variable) -> bool:
    """Whether a value depends on data."""
    return bool(graph.explicit_inputs([variable]))


def _level_of_caller() -> int:
    """Return the `stacklevel` by which a warning names the first line outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == __name__.partition(".")[0]:
        level, frame = level + 1, frame.f_back
    return level


def _is_halflife(d: Hyper, name: str) -> bool:
    return d.halflife is not None and name == d.keyword
