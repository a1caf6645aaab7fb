"""The status of a run while it is on, in numbers and in words."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .words import clock_time, counted, duration

if TYPE_CHECKING:
    from ..loop.run import Record, Tally
    from ..loop.stopping import Limits, Progress

WINDOW = 5.0
"""Seconds over which updates are counted for their speed."""


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    name : str
        The algorithm.
    seconds : float
        Since the run was called.
    phase : str
        What the run does other than updates; empty during updates.
    waiting : float
        Seconds since it began.
    epoch, updates : int
        Epochs finished, updates made.
    epochs : int or None
        Their limit.
    made, total : int and int or None
        Updates made in the present epoch, and updates that an epoch has.
    speed : float
        Updates per second, of late; of the whole run when it is over.
    fraction : float or None
        How much is done of what the limits allow, at most 1; None without such limits.
    left : float or None
        Seconds until a limit ends the run; None if that is not known.
    numbers : dict of str to str
        The latest values by name.
    stopped : str or None
        Why the run ended.
    """

    name: str
    seconds: float = 0.0
    phase: str = ""
    waiting: float = 0.0
    epoch: int = 0
    updates: int = 0
    epochs: int | None = None
    made: int = 0
    total: int | None = None
    speed: float = 0.0
    fraction: float | None = None
    left: float | None = None
    numbers: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None

    @property
    def of_run(self) -> str:
        """The whole run in words."""
        epochs = counted(self.epoch, "epoch") if self.epochs is None else f"{self.epoch:,} of {self.epochs:,} epochs"
        left = "" if self.left is None else f"  {clock_time(self.left)} left"
        return f"{epochs}  {clock_time(self.seconds)}{left}"

    @property
    def of_epoch(self) -> str:
        """The present epoch in words, or what the run waits for."""
        if self.phase:
            return f"{self.phase}  {clock_time(self.waiting)}"
        total = "" if self.total is None else f" of {self.total:,}"
        return f"{self.made:,}{total} updates  {self.rate}"

    @property
    def rate(self) -> str:
        """The speed in words."""
        return f"{self.speed:,.0f}/s" if self.speed >= 10 else f"{self.speed:.2g}/s"

    @property
    def values(self) -> list[str]:
        """The latest values in words."""
        return [f"{name} {value}" for name, value in self.numbers.items()]

    @property
    def end(self) -> list[str]:
        """The run that is over in words."""
        done = f"{counted(self.updates, 'update')} in {counted(self.epoch, 'epoch')}"
        return [f"{self.name} stopped: {self.stopped}", done, duration(self.seconds), self.rate]

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.stopped is not None:
            return "  ".join([*self.end, *self.values])
        now = f"{self.phase}  {clock_time(self.waiting)}" if self.phase else self.rate
        return "  ".join([self.name, self.of_run, counted(self.updates, "update"), now, *self.values])


@dataclass(frozen=True)
class Look:
    """What was seen between two updates: one object, so that its readers get numbers of one moment."""

    updates: int
    loss: float
    hyper: dict[str, float]


class Meter:
    """Follows a run, and says in any thread where it stands.

    Parameters
    ----------
    name : str
        The algorithm.
    limits : Limits
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._limits, self._clock = name, limits, clock
        self._called = clock()
        self._progress: Progress | None = None
        self._phase: tuple[str, float] | None = ("preparing", self._called)
        self._look: Look | None = None
        self._record: Record | None = None
        self._best_epoch: int | None = None
        self._total: int | None = None
        self._epoch = self._base = 0
        self._first: tuple[float, float | None, int] | None = None
        self._counts: deque[tuple[float, int]] = deque()

    # -- called by the run

    def follow(self, progress: Progress, total: int | None = None, done: int = 0) -> None:
        """Take the place where the run keeps its numbers.

        `total` is the number of updates in an epoch, if it is known; `done` the number in the present epoch when the
        run was saved, if it goes on from a checkpoint.
        """
        self._progress, self._total = progress, total
        self._epoch, self._base = progress.epoch, progress.updates - done

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Say what is going on while the body runs."""
        before, self._phase = self._phase, (what, self._clock())
        try:
            yield
        finally:
            self._phase = before

    def begin(self) -> None:
        """Note that updates begin: the time before is not part of their speed."""
        self._phase = None
        if self._first is None and self._progress is not None:
            self._first = self._clock(), self._fraction(self._progress.updates), self._progress.updates

    def look(self, tally: Tally, hyper: dict[str, float]) -> None:
        """Take in a stretch of updates that was just made."""
        if self._progress is not None:
            loss = tally.sums.get("loss", math.nan) / tally.rows if tally.rows else math.nan
            self._look = Look(self._progress.updates + tally.updates, loss, hyper)

    def record(self, record: Record) -> None:
        """Take in an epoch, or a validation."""
        self._record = record
        if record.train and self._progress is not None:
            # only now: the display shows an epoch until its validation has ended
            self._epoch, self._base = self._progress.epoch, record.updates
        if record.improved:
            self._best_epoch = record.epoch

    # -- called by displays

    def status(self) -> Status:
        """Return where the run stands."""
        now, p, phase = self._clock(), self._progress, self._phase
        seconds = now - self._called
        waiting = {"phase": phase[0], "waiting": now - phase[1]} if phase else {}
        if p is None:
            return Status(self._name, seconds, **waiting, epochs=self._limits.max_epochs)  # type: ignore[arg-type]
        updates = self._updates(p)
        fraction, stopped = self._fraction(updates), p.stopped
        return Status(
            self._name,
            seconds,
            **waiting,  # type: ignore[arg-type]
            epoch=self._epoch,
            updates=updates,
            epochs=self._limits.max_epochs,
            made=max(0, updates - self._base),
            total=self._total,
            speed=self._speed(now, updates) if stopped is None else self._average(now, updates),
            fraction=fraction,
            left=self._left(now, fraction),
            numbers=self._numbers(p),
            stopped=stopped,
        )

    def _updates(self, p: Progress) -> int:
        return max(p.updates, self._look.updates if self._look else 0)

    def _fraction(self, updates: int) -> float | None:
        limits, p = self._limits, self._progress
        parts = []
        if limits.max_updates:
            parts.append(updates / limits.max_updates)
        if limits.max_epochs and p is not None:
            of_epoch = (updates - self._base) / self._total if self._total else 0.0
            parts.append((self._epoch + min(max(of_epoch, 0.0), 1.0)) / limits.max_epochs)
        if limits.max_seconds and p is not None:
            parts.append(p.seconds / limits.max_seconds)
        return min(1.0, max(parts)) if parts else None

    def _left(self, now: float, fraction: float | None) -> float | None:
        if self._first is None or self._first[1] is None or fraction is None or fraction <= self._first[1]:
            return None
        return (now - self._first[0]) * (1 - fraction) / (fraction - self._first[1])

    def _speed(self, now: float, updates: int) -> float:
        counts = self._counts
        counts.append((now, updates))
        while len(counts) > 2 and now - counts[1][0] >= WINDOW:
            counts.popleft()
        (then, before), span = counts[0], now - counts[0][0]
        return (updates - before) / (now - then) if span > 0 else 0.0

    def _average(self, now: float, updates: int) -> float:
        if self._first is None or now <= self._first[0]:
            return 0.0
        return (updates - self._first[2]) / (now - self._first[0])

    def _numbers(self, p: Progress) -> dict[str, str]:
        """Return the known numbers: losses, the rate and how many validations may still fail."""
        look, record, limits = self._look, self._record, self._limits
        newer = look is not None and (record is None or not record.train or look.updates > record.updates)
        loss = look.loss if newer and look else record.train.get("loss", math.nan) if record else math.nan
        hyper = look.hyper if newer and look else record.hyper if record else {}
        out = {} if math.isnan(loss) else {"loss": f"{loss:.5g}"}
        if "loss" in p.validation:
            out["valid"] = f"{p.validation['loss']:.5g}"
        if p.best is not None:
            found = "" if self._best_epoch is None else f" in epoch {self._best_epoch:,}"
            out["best"] = f"{p.best:.5g}{found}"
        if "learning_rate" in hyper:
            out["rate"] = f"{hyper['learning_rate'] * hyper.get('rate_factor', 1.0):.3g}"
        if limits.patience is not None and limits.validate_every is not None:
            out["patience"] = f"{max(0, limits.patience - p.failures)} of {limits.patience} left"
        return out
