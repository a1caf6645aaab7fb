"""What is checked of the arguments of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..checks import conform, kind_of, number, shown


def finite(schedule: Any, *names: str) -> None:
    for name in names:
        conform(schedule, name, number)


def positive(schedule: Any, *names: str) -> None:
    for name in names:
        conform(schedule, name, number, above=0)


def increasing(schedule: Any, name: str, strictly: bool = True) -> None:
    conform(schedule, name, each, above=0)
    values = getattr(schedule, name)
    for a, b in pairwise(values):
        if b < a or (strictly and b == a):
            raise ValueError(f"{name} must increase, got {shown(values)}")


def each(name: str, values: Any, **within: Any) -> tuple[float, ...]:
    """Return a sequence of numbers."""
    return tuple(number(name, value, **within) for value in sequence(name, values))


def sequence(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence, got {kind_of(values)}")
    return values


def one_more(name: str, values: Sequence[Any], boundaries: Sequence[Any]) -> None:
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"{name} must be one more than boundaries, {len(boundaries) + 1}, got {len(values)}")
