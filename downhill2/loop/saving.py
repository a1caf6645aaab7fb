"""When a run is saved: every so many epochs, updates or seconds. Numbers only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..checks import LARGEST, integer, kind_of, shown

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
        if not isinstance(given, str):
            try:
                return cls(epochs=integer(name, given, 1))
            except TypeError:
                forms = "a number of epochs or a string such as '100 updates'"
                raise TypeError(f"{name} must be {forms}, got {kind_of(given)}") from None
        match = _FORM.fullmatch(given)
        if match is None or match[2] not in {**_UNITS, **_SECONDS}:
            raise ValueError(f"{name} must be like '5 epochs', '100 updates', '30 s' or '10 min', got {shown(given)}")
        number, unit = float(match[1]), match[2]
        if not 0 < number <= LARGEST:
            raise ValueError(f"{name} must be positive, and at most {LARGEST}, got {shown(given)}")
        if unit in _SECONDS:
            return cls(seconds=number * _SECONDS[unit])
        if number != int(number):
            raise ValueError(f"{name} must be a whole number of {_UNITS[unit]}, got {shown(given)}")
        return cls(**{_UNITS[unit]: int(number)})
