"""Checks of the arguments of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from ..checks import conform, kind_of, number, shown

T = TypeVar("T")


def finite(schedule: object, *names: str) -> None:
    for name in names:
        conform(schedule, name, number)


def positive(schedule: object, *names: str) -> None:
    for name in names:
        conform(schedule, name, number, above=0)


def increasing(schedule: object, name: str, strictly: bool = True) -> None:
    conform(schedule, name, each, above=0)
    values = getattr(schedule, name)
    for a, b in pairwise(values):
        if b < a or (strictly and b == a):
            raise ValueError(f"{name} must increase, got {shown(values)}")


def each(name: str, values: Sequence[object], above: float | None = None) -> tuple[float, ...]:
    """Return a sequence of numbers."""
    return tuple(number(name, value, above=above) for value in sequence(name, values))


def sequence(name: str, values: Sequence[T]) -> Sequence[T]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence, got {kind_of(values)}")
    return values


def one_more(name: str, values: Sequence[object], boundaries: Sequence[object]) -> None:
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"{name} must be one more than boundaries, {len(boundaries) + 1}, got {len(values)}")
