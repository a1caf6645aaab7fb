"""Reduce the learning rate when a monitor has ceased to improve: decisions on numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..checks import choice, conform, integer, kind_of, number, shown

__all__ = ["ReduceOnPlateau", "Reduced"]


@dataclass
class Reduced:
    """What a `ReduceOnPlateau` decides from.

    Attributes
    ----------
    best : float or None
        The best value of the monitor; None before the first.
    failures : int
        Values in a row that were no better.
    rest : int
        How many more values are not counted after a reduction.
    """

    best: float | None = None
    failures: int = 0
    rest: int = 0


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply the learning rate when a monitor has not improved for some validations; checked when made.

    It acts on a factor of the rate, and so on the value of any schedule. Decisions are those of
    ``torch.optim.lr_scheduler.ReduceLROnPlateau``, but for a monitor below 0 with a relative threshold, where torch
    takes a value for better that is worse.

    Parameters
    ----------
    monitor : str
        What to look at after each validation: ``'valid.loss'``, ``'train.loss'`` or another monitor, by the name of
        its column in the history. In a run that never validates, training monitors are looked at after each epoch.
        Default ``'valid.loss'``.
    factor : float
        What the rate is multiplied by, in (0, 1). Default 0.1.
    patience : int
        Values in a row that may be no better; the next one reduces the rate. Default 10.
    threshold : float
        What an improvement must exceed, at least 0. Default 1e-4.
    threshold_mode : {'relative', 'absolute'}
        Whether it is a fraction of the magnitude of the best value, or a difference. Default ``'relative'``.
    mode : {'min', 'max'}
        Whether the monitor is to fall or to rise. Default ``'min'``.
    cooldown : int
        Values after a reduction that are not counted. Default 0.
    min_learning_rate : float
        Rate below which it is not reduced, at least 0. Default 0.
    min_change : float
        Smallest reduction of the rate that is made, at least 0. Default 1e-8.
    """

    monitor: str = "valid.loss"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "relative"
    mode: str = "min"
    cooldown: int = 0
    min_learning_rate: float = 0.0
    min_change: float = 1e-8

    def __post_init__(self) -> None:
        if not isinstance(self.monitor, str) or self.monitor.partition(".")[0] not in ("train", "valid"):
            raise ValueError(f"monitor must be 'valid.loss', 'train.loss' or alike, got {shown(self.monitor)}")
        conform(self, "mode", choice, ("min", "max"))
        conform(self, "threshold_mode", choice, ("relative", "absolute"))
        conform(self, "factor", number, above=0, below=1)
        for name in ("threshold", "min_learning_rate", "min_change"):
            conform(self, name, number, at_least=0)
        for name in ("patience", "cooldown"):
            conform(self, name, integer, 0)

    @classmethod
    def given(cls, given: object) -> ReduceOnPlateau | None:
        """Return what ``reduce_on_plateau=`` means: None and False nothing, True the defaults, or options."""
        if given is None or isinstance(given, cls):
            return given
        if isinstance(given, bool):
            return cls() if given else None
        if not isinstance(given, Mapping):
            raise TypeError(
                f"reduce_on_plateau must be True, False, a ReduceOnPlateau or its options, got {kind_of(given)}"
            )
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise TypeError(f"reduce_on_plateau has no option {name!r}; it has {', '.join(known)}")
        return cls(**given)

    def improved(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best by more than the threshold."""
        sign = 1.0 if self.mode == "max" else -1.0
        margin, best = sign * self.threshold, -sign * math.inf if best is None else best
        if self.threshold_mode == "relative":
            return sign * value > sign * best * (1 + math.copysign(1.0, best) * margin)
        return sign * value > sign * (best + margin)

    def due(self, state: Reduced, value: float) -> bool:
        """Take in a value of the monitor; return whether the rate is to be reduced."""
        if self.improved(value, state.best):
            state.best, state.failures = value, 0
        else:
            state.failures += 1
        if state.rest > 0:
            state.rest, state.failures = state.rest - 1, 0
        if state.failures <= self.patience:
            return False
        state.rest, state.failures = self.cooldown, 0
        return True

    def ratio(self, rate: float) -> float:
        """Return what to multiply a rate by: 1 if the change would be too small."""
        reduced = max(rate * self.factor, self.min_learning_rate)
        return reduced / rate if rate - reduced > self.min_change else 1.0
