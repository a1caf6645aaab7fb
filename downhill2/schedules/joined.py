"""Schedules one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .schedule import Numbers, Schedule, Scheduled, scheduled
from .sequences import finite, increasing, one_more, positive, sequence
from .shapes import fraction, of, where


@dataclass(frozen=True)
class Join(Schedule):
    """One schedule after the other; each counts from the boundary at which it begins.

    Equal to ``optax.join_schedules`` and ``torch.optim.lr_scheduler.SequentialLR``. `per` says what the boundaries
    count.
    """

    schedules: Sequence[Scheduled]
    boundaries: Sequence[float]

    def check(self) -> None:
        increasing(self, "boundaries")
        one_more("schedules", sequence("schedules", self.schedules), self.boundaries)
        parts = tuple(scheduled("schedules", s, self.per) for s in self.schedules)
        object.__setattr__(self, "schedules", parts)

    @property
    def _parts(self) -> tuple[Schedule, ...]:
        return self.schedules  # type: ignore[return-value]

    @property
    def clocks(self) -> frozenset[str]:
        return frozenset({self.per}).union(*(s.clocks for s in self._parts))

    def at(self, update: Numbers, epoch: Numbers) -> Numbers:
        begins = (0, *self.boundaries)
        t = epoch if self.per == "epoch" else update
        out = self._parts[0].at(update, epoch)
        for begin, schedule in zip(begins[1:], self._parts[1:], strict=True):
            # no schedule sees a time before its turn: it might take the root of a negative number
            since = of(t).maximum(t - begin, 0)
            value = schedule.at(update, since) if self.per == "epoch" else schedule.at(since, epoch)
            out = where(t >= begin, value, out)
        return out


@dataclass(frozen=True)
class WarmUp(Schedule):
    """From `start` on a straight line of `length` to where a schedule begins, and then that schedule.

    The schedule counts from the end of the line. Equal to ``optax.warmup_cosine_decay_schedule(start, peak, length,
    decay_steps)`` with ``Cosine(peak, decay_steps - length)``.
    """

    schedule: Scheduled
    length: float
    start: float = 0.0

    def check(self) -> None:
        positive(self, "length")
        finite(self, "start")
        object.__setattr__(self, "schedule", scheduled("schedule", self.schedule, self.per))

    @property
    def _after(self) -> Schedule:
        return self.schedule  # type: ignore[return-value]

    @property
    def clocks(self) -> frozenset[str]:
        return self._after.clocks | {self.per}

    def at(self, update: Numbers, epoch: Numbers) -> Numbers:
        t = epoch if self.per == "epoch" else update
        since = of(t).maximum(t - self.length, 0)
        schedule = self._after
        value = schedule.at(update, since) if self.per == "epoch" else schedule.at(since, epoch)
        # until the end of the line, the value is the one that the schedule begins with
        return self.start + (value - self.start) * fraction(t, self.length)
