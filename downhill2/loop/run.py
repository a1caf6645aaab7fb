"""The loop: epochs of updates, validations and limits. It knows numbers and its work only."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import reasons
from .records import Monitors, Pair, Record, Tally
from .saving import Every
from .signals import Signals
from .stopping import Limits, Progress, improved, reason
from .work import Work

__all__ = ["Limits", "Monitors", "Pair", "Progress", "Record", "Run", "Tally"]

_log = logging.getLogger("downhill2")


class Run:
    """One run of the loop.

    Parameters
    ----------
    limits : Limits
        When to validate and when to stop.
    work : Work
        What the run does.
    progress : Progress, optional
        Where to go on. Default: a beginning.
    clock : callable, optional
        Returns seconds.
    signals : Signals, optional
        What listens for signals while the run is on. Default: one that lets it return after a signal.

    Attributes
    ----------
    progress : Progress
        Where the run stands; ``progress.stopped`` says why it ended.
    signals : Signals
    """

    def __init__(
        self,
        limits: Limits,
        work: Work,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
        signals: Signals | None = None,
    ) -> None:
        self.limits = limits
        self.progress = Progress() if progress is None else progress
        self.signals = Signals() if signals is None else signals
        self.release = work.release  # not a method: who calls it later need not keep the run
        self._work, self._every, self._pair = work, work.every or Every(), work.recorded
        self._clock = clock
        self._asked: str | None = None  # by a caller or a fault
        self._why: str | None = None
        self._begun = False
        self._origin = 0.0
        self._deadline = self._alarm = self._wake = math.inf
        self._saved = None if progress is None else (progress.updates, progress.epoch)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: where the run stands, and nothing that would make it go on."""
        data = (Limits, Progress, Every, str, int, float)
        return {name: value if isinstance(value, data) else None for name, value in vars(self).items()}

    def stop(self, why: str) -> None:
        """End the run at the next boundary, and say why."""
        self._asked = self._asked or why

    def iterate(self) -> Iterator[Pair]:
        """Run, epoch by epoch.

        Nothing refers to the generator but its caller, so that dropping it (the `break` of a `for`) closes it
        at once. Signals are handled while it runs, not while its caller does.

        Yields
        ------
        train_monitors, valid_monitors : dict of str to float
            The epoch's averages, and the latest validation. When a limit ends the run, that validation is of
            the last parameters.

        Raises
        ------
        Exception
            What the work raised.
        KeyboardInterrupt
            At a second signal.
        """
        try:
            try:
                while (record := self._turn()) is not None:
                    yield record.train, record.valid
            except GeneratorExit:
                self._close()
                raise
        except BaseException as error:
            closed = isinstance(error, GeneratorExit)
            self._end(reasons.CLOSED.text if closed else reasons.EXCEPTION.of(type(error).__name__))
            raise
        else:
            self._end(None)
        finally:
            self.release()

    def drain(self) -> Pair:
        """Run to the end, with the signal handlers set once and not around each epoch.

        Returns
        -------
        train_monitors, valid_monitors : dict of str to float
            The last pair; when there was no update, ``{}`` and the latest validation.
        """
        pair: Pair | None = None
        with self.signals.standing():
            for pair in self.iterate():  # noqa: B007  (the last one is what is wanted)
                pass
        return pair or self._pair or ({}, dict(self.progress.validation))

    def _turn(self) -> Record | None:
        """Run one epoch; None when the run is over."""
        with self.signals:  # `standing`, at every epoch
            if not self._begun:
                self._begin()
            if self._why is None:
                return self._epoch()
        return None

    def _begin(self) -> None:
        p, limits = self.progress, self.limits
        self._begun, self._origin = True, self._clock() - p.seconds
        if limits.max_seconds is not None:
            self._deadline = self._origin + limits.max_seconds
        self._set_alarm()
        if limits.validate_every is not None and p.validated_at < 0:
            self._report_validation()
        # a run that was saved at its end, and killed before its last record, still has that to make
        if self._pair is not None or not p.is_open:
            self._why = self._reason()

    def _epoch(self) -> Record:
        """Run to the end of the epoch, or of the run."""
        p, every = self.progress, self.limits.validate_every
        epoch = p.epoch + 1
        why = self._make_updates()
        train, rate = self._end_epoch()
        due = why is not None or (p.epoch == epoch and every is not None and epoch % every == 0)
        validated = due and self._needs_validation()
        saved = p.epoch == epoch and self._every.epochs is not None and epoch % self._every.epochs == 0
        better = validated and self._judge()
        if validated or every is None:
            self._look_at(train)
        record = self._record(epoch, train, validated, better, rate)
        self._work.report(record)
        self._why = self._reason()
        self._pair = record.train, record.valid
        if saved and self._why is None:
            self._save_once(noted=True)
        return record

    def _make_updates(self) -> str | None:
        """Make the epoch's updates, with the saves that are due on the way; return the reason to end, if any."""
        p = self.progress
        why = self._reason() if p.is_open else None  # of a run that goes on
        while not p.ended and why is None:
            before, p.ended = p.updates, self._advance()
            if self._work.every is not None and self._is_save_due(before):
                self._save_once(noted=True)
            why = self._reason()
        if why is not None:
            # before what only the end brings: a last validation, and the record of an epoch that was cut
            self._save_once()
        return why

    def _is_save_due(self, before: int) -> bool:
        """Whether to save in the midst of an epoch, after updates that began with this many."""
        p, every = self.progress, self._every
        if every.updates:
            return p.updates % every.updates == 0 < p.updates - before
        return every.seconds is not None and self._clock() >= self._alarm

    def _end_epoch(self) -> tuple[Monitors, float]:
        """Return the epoch's averages and its rows per second, and begin the next if it is over."""
        p = self.progress
        train = {name: total / p.rows if p.rows else math.nan for name, total in p.sums.items()}
        rate = p.rows / p.stepping if p.stepping else 0.0
        if self.limits.validate_every is None:
            p.meet(train["loss"])
        if p.ended:
            p.epoch, p.sums, p.rows, p.stepping, p.ended = p.epoch + 1, {}, 0.0, 0.0, False
            self._work.tick()
        return train, rate

    def _advance(self) -> bool:
        """Make the longest stretch of updates that no boundary cuts; return whether the epoch is over."""
        p, plateau, begun = self.progress, self.limits.plateau, self._clock()
        tally = Tally(p.sums, p.rows, losses=None if plateau is None else [])
        try:
            self._work.step(tally, self._most(), self._halt)
        finally:
            p.sums, p.rows, p.updates = tally.sums, tally.rows, p.updates + tally.updates
            if plateau is not None:
                plateau.add(p.blocks, tally.losses or ())
        if tally.updates:
            p.faults = 0
        if tally.bad:
            self._meet_fault()
        now = self._clock()
        p.seconds, p.stepping = now - self._origin, p.stepping + (now - begun)
        return tally.end

    def _meet_fault(self) -> None:
        self.progress.faults += 1
        try:
            self._asked = self._work.fault(self.progress) or self._asked
        except BaseException:
            self._why = reasons.NON_FINITE.text
            raise

    def _save_once(self, noted: bool = False) -> None:
        """Save, unless that was done at this very point; have the next record tell of it, or that it failed.

        `noted` is whether of a success too: not of one at an end, which a run that goes on has not had.
        """
        p = self.progress
        if self._saved == (p.updates, p.epoch):
            return
        before, event = p.events, f"checkpoint after update {p.updates}"
        # in the checkpoint too: who goes on from there knows that it was written
        p.events = [*before, event] if noted else before
        with self.signals.held():
            failure = self._work.save(p)
            if failure is not None:
                p.events = [*before, f"{event} failed: {failure}"]
        self._saved = p.updates, p.epoch
        self._set_alarm()

    def _save_last(self) -> None:
        """Save at the end, unless a save since the last update stands for it: what came after that comes again."""
        if self._saved is None or self._saved[0] != self.progress.updates:
            self._save_once()

    def _set_alarm(self) -> None:
        if self._every.seconds:
            self._alarm = self._clock() + self._every.seconds
        self._wake = min(self._deadline, self._alarm)

    def _most(self) -> int | None:
        """Return how many updates may be made before there is something to decide."""
        p, limits = self.progress, self.limits
        most = None if limits.max_updates is None else limits.max_updates - p.updates
        if limits.plateau is not None:
            most = _least(most, limits.plateau.left(p.blocks))
        if self._every.updates is not None:
            most = _least(most, self._every.updates - p.updates % self._every.updates)
        return most

    def _halt(self) -> bool:
        return self.signals.asked is not None or self._clock() >= self._wake

    def _reason(self) -> str | None:
        return self.signals.asked or self._asked or reason(self.progress, self.limits)

    def _needs_validation(self) -> bool:
        """Whether the present parameters are still to be judged; after a signal they are not."""
        p = self.progress
        judged = p.validated_at == p.updates
        return not judged and self.limits.validate_every is not None and self.signals.asked is None

    def _judge(self) -> bool:
        """Validate the present parameters and keep them if they are the best."""
        p = self.progress
        p.validation, p.validated_at = self._work.validate(p), p.updates
        loss = p.validation["loss"]
        p.meet(loss)
        p.judge(loss, self.limits.min_improvement)
        if not improved(loss, p.best):
            return False
        with self.signals.held():
            self._work.keep(p)
            p.best = loss
        return True

    def _look_at(self, train: Monitors) -> None:
        """Reduce the learning rate if the monitor that decides on it has a value, and is on a plateau."""
        p, plan = self.progress, self.limits.reduce_on_plateau
        if plan is None:
            return
        group, _, name = plan.monitor.partition(".")
        value = (train if group == "train" else p.validation).get(name)
        if value is not None and plan.due(p.reduced, value):
            rate = self._work.reduce(plan)
            if rate is not None:
                p.events.append(f"learning rate reduced to {rate:g} after update {p.updates}")

    def _report_validation(self) -> None:
        better = self._judge()
        self._look_at({})
        self._work.report(self._record(self.progress.epoch, {}, validated=True, improved=better))

    def _record(self, epoch: int, train: Monitors, validated: bool, improved: bool, rate: float = 0.0) -> Record:
        p, valid, events = self.progress, dict(self.progress.validation), tuple(self.progress.events)
        p.events = []
        return Record(epoch, p.updates, p.seconds, train, valid, validated, improved, self._work.hyper(), rate, events)

    def _close(self) -> None:
        """Save, then let the parameters of the last epoch take part in the choice of the best."""
        with self.signals.standing():
            self._save_last()
            if self._needs_validation():
                self._report_validation()

    def _end(self, how: str | None) -> None:
        """Put the best back and say why the run is over."""
        p = self.progress
        # Before an update is validated, the best is the start: to restore it would undo all progress.
        restored = self.limits.restore_best and p.best is not None and p.validated_at > 0
        if how is None:
            with self.signals.standing():
                self._save_last()
        try:
            if restored:
                with self.signals.standing(), self.signals.held():
                    self._work.restore()
        finally:
            p.stopped = self.signals.asked or self._why or how
        fate = f"the best (loss {p.best:.6g}) are restored" if restored else "the last stay"
        _log.info("stopped after %d updates: %s; of the parameters, %s", p.updates, p.stopped, fate)
        whole = how is None and self.signals.asked is None
        self._work.finish(p, (self._pair or ({}, dict(p.validation))) if whole else None)


def _least(most: int | None, count: int) -> int:
    return count if most is None else min(most, count)
