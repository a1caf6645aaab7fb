"""When a run is to end: its limits, and what they say of its progress. Numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real


def _check_integer(name: str, value: object, least: int, none_means: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer or None, got {value!r}; None means {none_means}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}; None means {none_means}")


def _check_number(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not float(value) >= least:  # also refuses NaN
        condition = "a number, not NaN" if least == -math.inf else f"at least {least:g}"
        raise ValueError(f"{name} must be {condition}, got {value!r}")


@dataclass(frozen=True)
class Limits:
    """When to validate and when to stop; checked when made.

    Parameters
    ----------
    patience : int or None
        Validations in a row that may fail to improve the best; the next one stops the run. None: no early
        stopping.
    validate_every : int or None
        Epochs from one validation to the next, at least 1. None: the run never validates, so that nothing is
        restored and `patience` has no effect.
    min_improvement : float
        What an improvement must exceed, as a fraction of the magnitude of the best loss; at least 0.
    max_updates, max_epochs : int or None
        Updates and whole epochs to run at most.
    max_seconds : float or None
        Wall-clock seconds after which no further update is begun; the time between two epochs, which belongs
        to the caller, counts.
    target : float or None
        Stop when the validation loss is not above this; in a run that never validates, the training loss of
        an epoch.
    restore_best : bool
        Whether the parameters with the lowest validation loss are put back at the end.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If an argument is out of its range.
    """

    patience: int | None = 5
    validate_every: int | None = 10
    min_improvement: float = 0.0
    max_updates: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None
    target: float | None = None
    restore_best: bool = True

    def __post_init__(self) -> None:
        _check_integer("patience", self.patience, 0, "no early stopping")
        _check_integer("validate_every", self.validate_every, 1, "no validation at all")
        _check_integer("max_updates", self.max_updates, 0, "no limit")
        _check_integer("max_epochs", self.max_epochs, 0, "no limit")
        _check_number("min_improvement", self.min_improvement, 0.0)
        if self.max_seconds is not None:
            _check_number("max_seconds", self.max_seconds, 0.0)
        if self.target is not None:
            _check_number("target", self.target, -math.inf)
        if not isinstance(self.restore_best, bool):
            raise TypeError(f"restore_best must be True or False, got {self.restore_best!r}")

    @property
    def endless(self) -> bool:
        """Whether neither a validation nor a limit can end the run."""
        ends = (self.validate_every, self.max_updates, self.max_epochs, self.max_seconds, self.target)
        return all(end is None for end in ends)


@dataclass
class Progress:
    """Where a run stands: all that its decisions are made from, and nothing that JSON cannot hold.

    Attributes
    ----------
    updates, epoch : int
        Updates made, epochs finished.
    seconds : float
        Since the run began, at the latest look at the clock.
    sums : dict of str to float
        Weighted sums of the monitors over the unfinished epoch.
    rows : float
        The weight of these sums.
    loss : float or None
        What a target is compared with: the latest validation's loss, or, in a run that never validates, the
        latest epoch's training loss.
    best : float or None
        The lowest validation loss that counted as an improvement; None before there is one.
    failures : int
        Validations in a row that did not improve on it.
    validation : dict of str to float
        Monitors of the latest validation.
    validated_at : int
        Updates made when they were taken; -1 before the first validation.
    stopped : str or None
        Why the run ended; None while it runs.
    """

    updates: int = 0
    epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    rows: float = 0.0
    loss: float | None = None
    best: float | None = None
    failures: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    validated_at: int = -1
    stopped: str | None = None


def improved(loss: float, best: float | None, min_improvement: float) -> bool:
    """Whether a validation loss is a new best.

    Parameters
    ----------
    loss : float
        The new loss. One that is not finite never is a new best.
    best : float or None
        The best loss so far. None: any finite loss improves on it.
    min_improvement : float
        What the improvement must exceed, as a fraction of the magnitude of `best`.
    """
    if not math.isfinite(loss):
        return False
    return best is None or best - loss > min_improvement * abs(best)


def reason(progress: Progress, limits: Limits) -> str | None:
    """Why the run is to end here, or None to go on.

    A target that is reached is named before a limit, and a limit before patience: so a last validation, made
    because of a limit, does not hide the limit behind its failure.
    """
    reached = (
        (
            "target",
            limits.target is not None and progress.loss is not None and progress.loss <= limits.target,
        ),
        ("max_updates", limits.max_updates is not None and progress.updates >= limits.max_updates),
        ("max_epochs", limits.max_epochs is not None and progress.epoch >= limits.max_epochs),
        ("max_seconds", limits.max_seconds is not None and progress.seconds >= limits.max_seconds),
        ("patience", limits.patience is not None and progress.failures > limits.patience),
    )
    return next((name for name, is_reached in reached if is_reached), None)
