"""What is checked of the arguments of schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Real
from typing import Any


def finite(**values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value!r}")


def positive(**values: Any) -> None:
    finite(**values)
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value!r}")


def increasing(name: str, values: Sequence[Any], strictly: bool = True) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence of numbers, got {values!r}")
    for value in values:
        positive(**{name: value})
    for a, b in pairwise(values):
        if b < a or (strictly and b == a):
            raise ValueError(f"{name} must increase, got {values!r}")


def one_more(name: str, values: Sequence[Any], boundaries: Sequence[Any]) -> None:
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"{name} must be one more than boundaries, {len(boundaries) + 1}, got {len(values)}")
