"""When a run is saved: every so many epochs, updates or seconds. Numbers only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral

_UNITS = {"epoch": "epochs", "epochs": "epochs", "update": "updates", "updates": "updates"}
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


@dataclass(frozen=True)
class Every:
    """An interval of a run: one of its fields is set.

    Attributes
    ----------
    epochs, updates : int or None
    seconds : float or None
    """

    epochs: int | None = None
    updates: int | None = None
    seconds: float | None = None

    @classmethod
    def parsed(cls, name: str, given: object) -> Every:
        """Read a number of epochs, or a string such as ``'100 updates'``, ``'30 s'``, ``'10 min'``.

        Raises
        ------
        TypeError, ValueError
            If `given` is neither, or not positive; the message calls it `name`.
        """
        if isinstance(given, Integral) and not isinstance(given, bool):
            return cls._positive(name, given, float(given), "epochs")
        if not isinstance(given, str):
            raise TypeError(f"{name} must be a number of epochs or a string such as '100 updates', got {given!r}")
        match = _FORM.fullmatch(given)
        if match is None or match[2] not in {**_UNITS, **_SECONDS}:
            raise ValueError(f"{name} must be like '5 epochs', '100 updates', '30 s' or '10 min', got {given!r}")
        number, unit = float(match[1]), match[2]
        if unit in _SECONDS:
            return cls._positive(name, given, number * _SECONDS[unit], "seconds")
        return cls._positive(name, given, number, _UNITS[unit])

    @classmethod
    def _positive(cls, name: str, given: object, number: float, unit: str) -> Every:
        if unit != "seconds" and number != int(number):
            raise ValueError(f"{name} must be a whole number of {unit}, got {given!r}")
        if number <= 0:
            raise ValueError(f"{name} must be positive, got {given!r}")
        return cls(**{unit: number if unit == "seconds" else int(number)})  # type: ignore[arg-type]
