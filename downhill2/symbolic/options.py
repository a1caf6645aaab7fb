"""Settings with options: a number that switches a wrapper on, and more numbers for it.

``gradient_noise=0.01`` and ``gradient_noise=dict(eta=0.01, gamma=0.55)`` set the same hyperparameter; the second also
sets ``gradient_noise_gamma``, a hyperparameter like any other, which may also be set under that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from ..checks import integer
from .declared import Hyper, Setting

Declared = TypeVar("Declared", Hyper, Setting)


class Count(Setting):
    """A structural integer of at least `least`."""

    def __init__(self, default: int, least: int = 1) -> None:
        super().__init__(default)
        self.least = least

    def check(self, name: str, value: object) -> int:
        """Return `value`, or raise an error that names it."""
        return integer(name, value, self.least)


def switch(d: Declared, option: str, on: float) -> Declared:
    """Declare the switch of a wrapper, off at 0: `option` is its key in a dict of options, `on` its value for True."""
    d.option, d.on = option, on
    return d


def option(d: Declared, of: str) -> Declared:
    """Declare an option of the wrapper that the setting `of` switches on; its name must begin with `of`."""
    d.of = of
    return d


def expanded(declared: Mapping[str, Hyper | Setting], given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield names and values with True, False and dicts of options replaced by what they mean."""
    for name, value in given.items():
        d = declared.get(name)
        if d is None or not d.option:
            yield name, value
        elif isinstance(value, Mapping):
            yield from _options(declared, d, value)
        else:
            yield name, (d.on if value else 0) if isinstance(value, bool) else value


def _options(
    declared: Mapping[str, Hyper | Setting], d: Hyper | Setting, given: Mapping[str, object]
) -> Iterator[tuple[str, object]]:
    prefix = f"{d.symbol}_"
    known = [d.option, *(n.removeprefix(prefix) for n, other in declared.items() if other.of == d.symbol)]
    for key in given:
        if key not in known:
            raise TypeError(f"{d.symbol} must be a number or a dict with some of {known}, got {key!r} in it")
    yield d.symbol, given.get(d.option, d.on)
    yield from ((prefix + key, value) for key, value in given.items() if key != d.option)
