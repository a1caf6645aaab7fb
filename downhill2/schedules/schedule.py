"""Schedules are functions of clocks; here are their base classes, constants, functions and products."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ..checks import choice, conform, kind_of, number
from ..symbolic import graph
from ..symbolic.graph import Variable
from .sequences import finite, sequence

PER = ("update", "epoch")

Numbers: TypeAlias = Variable | np.ndarray
"""A symbolic scalar, or an array of float64."""


@dataclass(frozen=True)
class Schedule(ABC):
    """A function of a clock; equal when all of its arguments are.

    The product of two schedules, and of a schedule and a number, is a schedule.

    Parameters
    ----------
    per : {'update', 'epoch'}
        What is counted, from 0: updates or epochs made so far. All lengths are in this unit. Default ``'update'``.
    """

    per: str = field(default="update", kw_only=True)

    def __post_init__(self) -> None:
        conform(self, "per", choice, PER)
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raise an error for arguments that are wrong."""

    @abstractmethod
    def at(self, update: Numbers, epoch: Numbers) -> Numbers:
        """Return the value after so many updates and epochs: symbolic scalars, or arrays of float64."""

    @property
    def clocks(self) -> frozenset[str]:
        """What the schedule counts, updates, epochs or both."""
        return frozenset({self.per})

    def __call__(self, t: Numbers | float, epoch: Numbers | float | None = None) -> Numbers:
        """Return the value after `t` updates, or epochs.

        Parameters
        ----------
        t : number, array or symbolic scalar
        epoch : the same, optional
            Epochs, for a schedule that counts both; then `t` is updates.

        Raises
        ------
        ValueError
            If the schedule counts both, and `epoch` is None.
        """
        if epoch is None and len(self.clocks) > 1:
            raise ValueError("epoch must be given for a schedule that counts updates and epochs, got None")
        clocks = [t, t if epoch is None else epoch]
        if any(graph.is_variable(x) for x in clocks):
            return self.at(*clocks)
        update, epoch = np.broadcast_arrays(*(np.asarray(x, "float64") for x in clocks))
        return np.broadcast_to(np.asarray(self.at(update, epoch), "float64"), update.shape)[()]

    def __mul__(self, other: Scheduled) -> Product:
        return Product((self, other))

    __rmul__ = __mul__


Scheduled = Schedule | float | Callable[[Numbers], Numbers]


@dataclass(frozen=True)
class Single(Schedule):
    """A function of one clock."""

    @abstractmethod
    def value(self, t: Numbers) -> Numbers:
        """Return the value at a count: both are symbolic scalars, or arrays of float64."""

    def at(self, update: Numbers, epoch: Numbers) -> Numbers:
        """Return the value after so many updates and epochs."""
        return self.value(epoch if self.per == "epoch" else update)


@dataclass(frozen=True)
class Constant(Single):
    """Always the same value."""

    start: float

    def check(self) -> None:
        finite(self, "start")

    @property
    def clocks(self) -> frozenset[str]:
        return frozenset()

    def value(self, t: Numbers) -> Numbers:
        return self.start + 0 * t


@dataclass(frozen=True)
class Function(Single):
    """Your own function: ``Function(lambda n: 0.1 / (n + 1), per='epoch')``.

    It takes a symbolic scalar and returns one; to show its values, it must take arrays too.
    """

    function: Callable[[Numbers], Numbers]

    def check(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function must be a function of a count, got {kind_of(self.function)}")

    def value(self, t: Numbers) -> Numbers:
        return self.function(t)


@dataclass(frozen=True)
class Product(Schedule):
    """The product of schedules: ``Step(0.1, 30, per='epoch') * WarmUp(1.0, 500)``."""

    factors: Sequence[Scheduled]

    def check(self) -> None:
        object.__setattr__(self, "factors", tuple(scheduled("factors", f) for f in sequence("factors", self.factors)))

    @property
    def clocks(self) -> frozenset[str]:
        return frozenset().union(*(s.clocks for s in self.factors))  # type: ignore[union-attr]

    def at(self, update: Numbers, epoch: Numbers) -> Numbers:
        return math.prod(s.at(update, epoch) for s in self.factors)  # type: ignore[union-attr,misc]


def scheduled(name: str, x: Scheduled, per: str = "update") -> Schedule:
    """Return a schedule, a number or a function as a schedule."""
    if isinstance(x, Schedule):
        return x
    if callable(x) and not graph.is_variable(x):
        return Function(x, per=per)
    try:
        return Constant(number(name, x))
    except TypeError:
        raise TypeError(f"{name} must be a schedule, a number or a function, got {kind_of(x)}") from None
