"""Curves of histories as arrays, smoothed curves, and medians over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...keeping.history import History, beginnings, trained

Array = NDArray[np.float64]
Runs = dict[str, list[History]]

CLOCKS = {"epoch": "epoch", "updates": "updates", "seconds": "time (s)"}
"""What can be on the horizontal axis, and its label."""


class Series(NamedTuple):
    """Points of a curve: places and values."""

    x: Array
    y: Array


class Band(NamedTuple):
    """Several curves as one: the median, the lowest and the highest at each place."""

    x: Array
    middle: Array
    low: Array
    high: Array


def grouped(history: Any) -> Runs:
    """Return a list of runs for each name; the name of runs without one is empty.

    Raises
    ------
    TypeError, ValueError
        If they are no histories, or one of them has no records.
    """
    named = history if isinstance(history, Mapping) else {"": history}
    runs = {str(name): [given] if isinstance(given, History) else given for name, given in named.items()}
    if not runs:
        raise ValueError(f"history must have runs, got {history!r}")
    for name, given in runs.items():
        _check(f"history[{name!r}]" if isinstance(history, Mapping) else "history", given)
    return {name: list(given) for name, given in runs.items()}


def _check(where: str, given: object) -> None:
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(h, History) for h in given):
        raise TypeError(f"{where} must be a History or a list of them, got {given!r}")
    if not given:
        raise ValueError(f"{where} must have runs, got none")
    if not all(len(h) for h in given):
        raise ValueError(f"{where} must have records, got an empty history; run minimize or iterate first")


def monitors(history: History) -> list[str]:
    """Return the names of the monitors that a history has, in training or validation."""
    names = [c.partition(".")[2] for c in history.columns if c.startswith(("train.", "valid."))]
    return list(dict.fromkeys(names))


def check_monitor(history: History, monitor: object) -> None:
    """Raise unless the history has a monitor of that name."""
    if not isinstance(monitor, str):
        raise TypeError(f"monitor must be a str, got {monitor!r}")
    if monitor not in (known := monitors(history)):
        raise ValueError(f"monitor must be one of {', '.join(map(repr, known)) or 'none'}, got {monitor!r}")


def check_clock(clock: object) -> None:
    """Raise ValueError unless it can be on the horizontal axis."""
    if clock not in CLOCKS:
        raise ValueError(f"x must be one of {', '.join(map(repr, CLOCKS))}, got {clock!r}")


class Curves:
    """One history as curves; its runs follow one another.

    Parameters
    ----------
    history : History
    clock : {'epoch', 'updates', 'seconds'}

    Attributes
    ----------
    clock : array
        The place of each record.
    begun : list of float
        Where the second run begins, the third ...
    """

    def __init__(self, history: History, clock: str) -> None:
        self._history, here = history, history[clock].astype(float)
        self._trained = trained(history)
        starts = beginnings(history)
        offsets = np.zeros(len(here))
        for i in starts:
            offsets[i:] += here[i - 1]
        self.clock: Array = here + offsets
        self.begun = [float(offsets[i]) for i in starts]
        self._first_of_latest = starts[-1] if starts else 0

    def train(self, monitor: str) -> Series:
        """Return averages over epochs, of the epochs that had updates."""
        return self._series(f"train.{monitor}", self._trained)

    def valid(self, monitor: str) -> Series:
        """Return validations, where there were any."""
        return self._series(f"valid.{monitor}", self._history["validated"])

    def rate(self) -> Series:
        """Return the learning rate at the end of each epoch, times its factor."""
        everywhere = np.ones(len(self._history), dtype=bool)
        rate = self._series("hyper.learning_rate", everywhere)
        if "hyper.rate_factor" not in self._history.columns:
            return rate
        return Series(rate.x, rate.y * np.nan_to_num(self._history["hyper.rate_factor"], nan=1.0))

    def best(self, monitor: str) -> tuple[float, float] | None:
        """Return place and value of the best validation of the latest run."""
        improved = np.flatnonzero(self._history["improved"])
        if f"valid.{monitor}" not in self._history.columns or not (improved >= self._first_of_latest).any():
            return None
        i = improved[-1]
        return float(self.clock[i]), float(self._history[f"valid.{monitor}"][i])

    def _series(self, column: str, where: NDArray[np.bool_]) -> Series:
        if column not in self._history.columns:
            return Series(np.array([]), np.array([]))
        return Series(self.clock[where], self._history[column][where])


def smoothed(y: Array, weight: float) -> Array:
    """Return the exponential moving average, corrected for its start; `weight` is that of the past.

    Values that are not finite stay as they are, and are left out of the average.
    """
    out, mean, norm = y.copy(), 0.0, 0.0
    for i in np.flatnonzero(np.isfinite(y)):
        mean, norm = weight * mean + (1 - weight) * y[i], weight * norm + 1 - weight
        out[i] = mean / norm
    return out


def band(series: Sequence[Series]) -> Band:
    """Return the median and the range of several curves at all their places.

    Between its points a curve is straight; after its end it keeps its last value, before its start it is left out.
    """
    series = [s for s in series if s.x.size]
    if len(series) < 2:  # one curve alone keeps its gaps
        x, y = series[0] if series else (np.array([]),) * 2
        return Band(x, y, y, y)
    x = np.unique(np.concatenate([s.x for s in series]))
    ys = np.array([np.interp(x, s.x, s.y, left=np.nan) for s in series])
    # only places with a number, as NumPy warns of columns without any
    x, ys = x[(known := np.isfinite(ys).any(axis=0))], ys[:, known]
    ys = np.where(np.isfinite(ys), ys, np.nan)
    return Band(x, np.nanmedian(ys, axis=0), np.nanmin(ys, axis=0), np.nanmax(ys, axis=0))


def outcome(history: History, monitor: str) -> float:
    """Return the monitor at the best validation of the latest run; without one, in the last epoch's training."""
    curves = Curves(history, "epoch")
    found = curves.best(monitor)
    if found:
        return found[1]
    last = curves.valid(monitor) if f"valid.{monitor}" in history.columns else curves.train(monitor)
    return float(last.y[-1]) if last.y.size else np.nan
