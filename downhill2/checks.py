"""Checks of arguments: numbers, integers, flags, choices, texts and paths.

Each function takes the name of an argument and its value. It returns the value in its plain form, or raises a TypeError
for a wrong kind, a ValueError for a wrong value; the message begins with the name.

A number is one of Python or NumPy, an array without dimensions, a Fraction or a Decimal; not a bool, and not a text.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite, isinf, isnan
from numbers import Integral, Real
from pathlib import Path
from typing import TypeVar

import numpy as np

__all__ = [
    "LARGEST",
    "Range",
    "choice",
    "conform",
    "flag",
    "integer",
    "kind_of",
    "number",
    "path",
    "real",
    "shown",
    "text",
]

T = TypeVar("T")

LARGEST = 2**63 - 1
"""The largest integer that counters, and files, hold."""

LONGEST = 200
"""The most characters of a value in a message."""

_short = reprlib.Repr()
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _short.maxfrozenset = 10
_short.maxstring = _short.maxother = _short.maxlong = LONGEST
_short.maxlevel = 4


def shown(value: object) -> str:
    """Return a value as a message shows it: its `repr` in one line, cut where it is long."""
    try:
        found = " ".join(map(str.strip, _short.repr(value).splitlines()))
    except Exception:  # an integer with more digits than Python writes, or a `repr` that raises
        return f"a value of type {type(value).__name__} that cannot be shown"
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 3]}..."


def kind_of(value: object) -> str:
    """Return a value of a wrong kind as a message shows it: with its type if `repr` does not show it."""
    found, kind = shown(value), type(value)
    tells = kind.__module__ in ("builtins", "numpy") or kind.__name__ in found
    return found if tells else f"{found} of type {kind.__name__}"


@dataclass(frozen=True)
class Range:
    """The numbers that are allowed. NaN never is; infinities are if `infinite` is true."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    infinite: bool = False

    def __contains__(self, number: float) -> bool:
        return (
            (isfinite(number) or (self.infinite and not isnan(number)))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )

    def __str__(self) -> str:
        low = self.at_least if self.above is None else self.above
        if self.below is not None or self.at_most is not None:
            high, end = (self.at_most, "]") if self.below is None else (self.below, ")")
            return f"in {'[' if self.above is None else '('}{low or 0:g}, {high:g}{end}"
        if low is None:
            return "a number, not NaN" if self.infinite else "finite"
        if self.above is not None:
            return f"above {low:g}" if low else "positive"
        return f"at least {low:g}"

    def check(self, name: str, number: float) -> float:
        """Return a number, or raise an error that calls it `name`."""
        if number not in self:
            raise ValueError(f"{name} must be {self}, got {number!r}")
        return number


def real(name: str, value: object) -> float:
    """Return any number, NaN and infinities too."""
    if type(value) is float:  # quick, for it runs at every epoch
        return value
    plain = _plain(value, "iuf")
    if isinstance(plain, bool) or not isinstance(plain, Real | Decimal):
        raise TypeError(f"{name} must be a number, got {kind_of(value)}")
    try:
        return float(plain)
    except (OverflowError, ValueError):  # 10**400; the signalling NaN of a Decimal
        raise ValueError(f"{name} must be a number that float64 holds, got {shown(value)}") from None


def number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    infinite: bool = False,
) -> float:
    """Return a number in a `Range`: any finite one by default."""
    found, allowed = real(name, value), Range(at_least, above, below, at_most, infinite)
    if found not in allowed:
        finite = "finite and " if isinf(found) and str(allowed) != "finite" and not allowed.infinite else ""
        raise ValueError(f"{name} must be {finite}{allowed}, got {shown(value)}")
    return found


def integer(name: str, value: object, at_least: int = -LARGEST, at_most: float = LARGEST) -> int:
    """Return an integer that counters hold, or a larger one if `at_most` allows it."""
    if type(value) is int and at_least <= value <= at_most:  # as above
        return value
    plain = _plain(value, "iu")
    if isinstance(plain, bool) or not isinstance(plain, Integral):
        raise TypeError(f"{name} must be an integer, got {kind_of(value)}")
    found = int(plain)
    if found < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {shown(value)}")
    if found > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {shown(value)}")
    return found


def flag(name: str, value: object) -> bool:
    """Return True or False."""
    plain = _plain(value, "b")
    if not isinstance(plain, bool):
        raise TypeError(f"{name} must be True or False, got {kind_of(value)}")
    return plain


def text(name: str, value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {kind_of(value)}")
    return value


def choice(name: str, value: object, allowed: Sequence[T]) -> T:
    """Return the allowed value that `value` equals, type included."""
    plain = value.item() if isinstance(value, np.bool_ | np.integer | np.str_) else value
    for option in allowed:
        # types too, since 1 == True, and == of an array is no bool
        if plain is option or (type(plain) is type(option) and plain == option):
            return option
    *others, last = map(repr, allowed)
    either = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"{name} must be {either}, got {shown(value)}")


def path(name: str, value: object) -> Path:
    """Return a path; the home directory replaces a ``~`` at its beginning."""
    if not isinstance(value, str | os.PathLike) or isinstance(found := os.fspath(value), bytes):
        raise TypeError(f"{name} must be a path, got {kind_of(value)}")
    if not found or "\0" in found:
        raise ValueError(f"{name} must name a file or directory, got {shown(value)}")
    try:
        return Path(found).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{name} must begin with the home of a user who exists, got {shown(value)}; a name begins so: './~...'"
        ) from None


def conform(
    instance: object,
    name: str,
    check: Callable[..., object],
    *how: object,
    none: str = "",
    of: str = "",
    **within: object,
) -> None:
    """Check an attribute of a dataclass, which may be frozen, and set it to its plain form.

    None is allowed if `none` says what it means. `of` stands before the name in messages.
    """
    value = getattr(instance, name)
    if value is None and none:
        return
    try:
        plain = check(f"{of}{name}", value, *how, **within)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; None means {none}") if none else error from None
    object.__setattr__(instance, name, plain)


def _plain(value: object, kinds: str) -> object:
    """Return a NumPy number, or an array without dimensions, as a Python number; None if it has another kind."""
    if isinstance(value, np.generic | np.ndarray):
        return value.item() if value.ndim == 0 and value.dtype.kind in kinds else None
    return value
