"""Schedules of one formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytensor.tensor as pt

from ..checks import choice, conform, flag, number
from ..symbolic import graph
from .schedule import Numbers, Single
from .sequences import each, finite, increasing, one_more, positive


def of(x: Numbers) -> ModuleType:
    """Return the module whose functions take `x`."""
    return pt if graph.is_variable(x) else np


def fraction(t: Numbers, length: float) -> Numbers:
    """Return how far `t` has gone on the way to `length`, at most 1."""
    return of(t).minimum(t, length) / length


def half_cosine(fraction: Numbers) -> Numbers:
    """Return half a cosine wave, from 1 down to 0."""
    return (1 + of(fraction).cos(math.pi * fraction)) / 2


def where(condition: Numbers, a: Numbers | float, b: Numbers | float) -> Numbers:
    return of(condition).where(condition, a, b)


@dataclass(frozen=True)
class Polynomial(Single):
    """``end + (start - end) (1 - t/length)**power``, and then `end`.

    Equal to ``optax.polynomial_schedule`` and, with ``end=0``, to ``torch.optim.lr_scheduler.PolynomialLR``.
    """

    start: float
    end: float
    length: float
    power: float = 1.0

    def check(self) -> None:
        finite(self, "start", "end")
        positive(self, "length", "power")

    def value(self, t: Numbers) -> Numbers:
        return self.end + (self.start - self.end) * (1 - fraction(t, self.length)) ** self.power


@dataclass(frozen=True)
class Linear(Single):
    """From `start` to `end` on a straight line of `length`, and then `end`.

    Equal to ``optax.linear_schedule`` and ``torch.optim.lr_scheduler.LinearLR``, whose factors multiply the rate.
    """

    start: float
    end: float
    length: float

    def check(self) -> None:
        finite(self, "start", "end")
        positive(self, "length")

    def value(self, t: Numbers) -> Numbers:
        return self.start + (self.end - self.start) * fraction(t, self.length)


@dataclass(frozen=True)
class Step(Single):
    """``start * factor**n`` after `n` times `every`. Equal to ``torch.optim.lr_scheduler.StepLR``."""

    start: float
    every: float
    factor: float = 0.1

    def check(self) -> None:
        finite(self, "start")
        positive(self, "every", "factor")

    def value(self, t: Numbers) -> Numbers:
        return self.start * self.factor ** of(t).floor(t / self.every)


@dataclass(frozen=True)
class MultiStep(Single):
    """`start` times `factor` for each of the `boundaries` that is reached.

    Equal to ``torch.optim.lr_scheduler.MultiStepLR``, and to ``optax.piecewise_constant_schedule`` of equal factors.
    """

    start: float
    boundaries: Sequence[float]
    factor: float = 0.1

    def check(self) -> None:
        finite(self, "start")
        positive(self, "factor")
        increasing(self, "boundaries", strictly=False)

    def value(self, t: Numbers) -> Numbers:
        return self.start * self.factor ** sum(where(t >= b, 1.0, 0.0) for b in self.boundaries)


@dataclass(frozen=True)
class Piecewise(Single):
    """One of the `values` up to each of the `boundaries`, and the last one from the last boundary on.

    At a boundary the next value begins, as in torch and optax; Keras' ``PiecewiseConstantDecay`` keeps the old one
    for that update.
    """

    values: Sequence[float]
    boundaries: Sequence[float]

    def check(self) -> None:
        increasing(self, "boundaries")
        conform(self, "values", each)
        one_more("values", self.values, self.boundaries)

    def value(self, t: Numbers) -> Numbers:
        out = self.values[0] + 0 * t
        for value, boundary in zip(self.values[1:], self.boundaries, strict=True):
            out = where(t >= boundary, value, out)
        return out


@dataclass(frozen=True)
class Exponential(Single):
    """``start * factor**(t / every)``; with `staircase` in steps, and never beyond `end`.

    Equal to ``optax.exponential_decay``, and with ``every=1`` to ``torch.optim.lr_scheduler.ExponentialLR``.
    """

    start: float
    factor: float
    every: float = 1.0
    staircase: bool = False
    end: float | None = None

    def check(self) -> None:
        finite(self, "start")
        conform(self, "end", number, none="no limit")
        positive(self, "factor", "every")
        conform(self, "staircase", flag)

    def value(self, t: Numbers) -> Numbers:
        n = t / self.every
        out = self.start * self.factor ** (of(t).floor(n) if self.staircase else n)
        if self.end is None:
            return out
        falls = (self.factor < 1) == (self.start > 0)
        return of(t).maximum(out, self.end) if falls else of(t).minimum(out, self.end)


@dataclass(frozen=True)
class InverseTime(Single):
    """``start / (1 + decay * t / every)``; with `staircase` in steps. Equal to Keras' ``InverseTimeDecay``."""

    start: float
    decay: float
    every: float = 1.0
    staircase: bool = False

    def check(self) -> None:
        finite(self, "start")
        positive(self, "decay", "every")
        conform(self, "staircase", flag)

    def value(self, t: Numbers) -> Numbers:
        n = t / self.every
        return self.start / (1 + self.decay * (of(t).floor(n) if self.staircase else n))


@dataclass(frozen=True)
class Cosine(Single):
    """From `start` to `end` along half a cosine wave of `length`, and then `end`.

    Equal to ``optax.cosine_decay_schedule``, whose `alpha` is ``end / start``, and within its length to
    ``torch.optim.lr_scheduler.CosineAnnealingLR``, which then goes up again, as `CosineWave` does. arXiv:1608.03983,
    eq. (5).
    """

    start: float
    length: float
    end: float = 0.0

    def check(self) -> None:
        finite(self, "start", "end")
        positive(self, "length")

    def value(self, t: Numbers) -> Numbers:
        return self.end + (self.start - self.end) * half_cosine(fraction(t, self.length))


@dataclass(frozen=True)
class CosineWave(Single):
    """From `start` to `end` along half a cosine wave of `length`, back to `start` along the other, again and again.

    Equal to ``torch.optim.lr_scheduler.CosineAnnealingLR``, whose `T_max` is `length`. `Cosine` stays at `end`, and
    `CosineRestarts` jumps back to `start`.
    """

    start: float
    length: float
    end: float = 0.0

    def check(self) -> None:
        finite(self, "start", "end")
        positive(self, "length")

    def value(self, t: Numbers) -> Numbers:
        return self.end + (self.start - self.end) * half_cosine(t / self.length)


@dataclass(frozen=True)
class CosineRestarts(Single):
    """Half waves from `start` to `end`, again and again; each is `longer` times as long as the one before.

    Each begins `lower` times as high. Equal to ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``, and with
    ``end=0`` to Keras' ``CosineDecayRestarts``. arXiv:1608.03983.
    """

    start: float
    length: float
    longer: float = 1.0
    end: float = 0.0
    lower: float = 1.0

    def check(self) -> None:
        finite(self, "start", "end")
        positive(self, "length", "lower")
        conform(self, "longer", number, at_least=1)

    def value(self, t: Numbers) -> Numbers:
        # a tiny excess, so that rounding does not put a restart one update late
        waves, q = t / self.length, self.longer
        n = waves if q == 1 else of(t).log(waves * (q - 1) + 1) / math.log(q)
        n = of(t).floor(n + 1e-12)
        begun = n if q == 1 else (q**n - 1) / (q - 1)
        top = self.start * self.lower**n
        return self.end + (top - self.end) * half_cosine((waves - begun) / q**n)


@dataclass(frozen=True)
class OneCycle(Single):
    """Up from `start` to `peak`, and down to `end` at `length`: super-convergence.

    Parameters
    ----------
    peak : float
    length : float
    rises : float
        When the peak is reached. Default three tenths of `length`, rounded down.
    start : float
        Default ``peak / 25``.
    end : float
        Default ``start / 10_000``.
    shape : {'cosine', 'linear'}

    Notes
    -----
    Equal to ``optax.cosine_onecycle_schedule(length, peak)``; to ``torch.optim.lr_scheduler.OneCycleLR(max_lr=peak,
    total_steps=n)`` with ``length=n - 1, rises=0.3 * n - 1``; with ``shape='linear'`` to torch's
    ``anneal_strategy='linear'``. arXiv:1708.07120.
    """

    peak: float
    length: float
    rises: float | None = None
    start: float | None = None
    end: float | None = None
    shape: str = "cosine"

    def check(self) -> None:
        positive(self, "length")
        finite(self, "peak")
        for name in ("start", "end"):
            conform(self, name, number, none="the default")
        conform(self, "shape", choice, ("cosine", "linear"))
        conform(self, "rises", number, above=0, none="the default")
        if not 0 < self._rises < self.length:
            raise ValueError(f"rises must be between 0 and length, {self.length!r}, got {self._rises!r}")

    @property
    def _rises(self) -> float:
        return math.floor(0.3 * self.length) if self.rises is None else self.rises

    def value(self, t: Numbers) -> Numbers:
        start = self.peak / 25 if self.start is None else self.start
        end = start / 1e4 if self.end is None else self.end
        rise = fraction(t, self._rises)
        fall = fraction(of(t).maximum(t - self._rises, 0), self.length - self._rises)
        if self.shape == "cosine":
            rise, fall = 1 - half_cosine(rise), 1 - half_cosine(fall)
        up = start + (self.peak - start) * rise
        return where(t < self._rises, up, self.peak + (end - self.peak) * fall)


@dataclass(frozen=True)
class Cyclic(Single):
    """Between `low` and `high` on straight lines, `rises` up and `falls` down, again and again.

    Each cycle is `lower` times as high above `low` as the one before it, and each unit of the clock makes it `fade`
    times as high. Equal to ``torch.optim.lr_scheduler.CyclicLR``: ``mode='triangular2'`` is ``lower=0.5``, and
    ``mode='exp_range', gamma=g`` is ``fade=g``. arXiv:1506.01186.
    """

    low: float
    high: float
    rises: float
    falls: float | None = None
    lower: float = 1.0
    fade: float = 1.0

    def check(self) -> None:
        finite(self, "low", "high")
        positive(self, "rises", "lower", "fade")
        conform(self, "falls", number, above=0, none="as long as it rises")

    def value(self, t: Numbers) -> Numbers:
        falls = self.rises if self.falls is None else self.falls
        cycles = t / (self.rises + falls)
        n = of(t).floor(cycles)
        here = (cycles - n) * (self.rises + falls)
        height = where(here <= self.rises, here / self.rises, 1 - (here - self.rises) / falls)
        return self.low + (self.high - self.low) * self.lower**n * self.fade**t * height
