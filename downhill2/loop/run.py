"""The loop: epochs of updates, validations and limits. It knows numbers and callables only."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from .plateau import ReduceOnPlateau
from .records import Monitors, Record, Tally
from .saving import Every
from .signals import Signals
from .stopping import Limits, Progress, improved, reason

__all__ = ["Limits", "Monitors", "Pair", "Progress", "Record", "Run", "Tally"]

Pair = tuple[Monitors, Monitors]

_log = logging.getLogger("downhill2")


class Run:
    """One run of the loop.

    Parameters
    ----------
    limits : Limits
        When to validate and when to stop.
    step : callable
        ``step(tally, n, halt)`` makes at most `n` updates of the present epoch (None: all that are left of it) and
        adds them to a `Tally`, those before an exception too. It begins a new epoch when the last one is over, and
        returns early when ``halt()``, which it asks after each update (or chunk of updates), is true.
    validate : callable
        Returns the monitors, with `loss`, of the present parameters on the validation data.
    keep, restore : callable
        Remember the present parameters as the best; put the best back. When `keep` is called, their monitors
        are in ``progress.validation``.
    fault : callable
        Takes the `Progress` at an update that a `Tally` calls bad. Raises, returns why the run is to end, or returns
        None to go on without that update.
    report : callable
        Takes each `Record`.
    hyper : callable, optional
        Returns the hyperparameters for a `Record`.
    reduce : callable, optional
        Reduces the learning rate as its argument, a `ReduceOnPlateau`, says; returns the new one, None if it stays.
    tick : callable, optional
        Counts the epoch that is over.
    save : callable, optional
        Takes the `Progress` when the run is to be saved: as `every` says, and at its end, not after an exception; a
        run that had not ended would go on there. Returns why it could not save, for the next record, or None.
    every : Every, optional
        How often to save. Default: at the end only.
    finish : callable, optional
        Takes the `Progress` when the run is over and the best is restored, and the last pair of monitors; None for
        them if it was cut short by a signal, an exception or its caller.
    release : callable, optional
        Called last, however the run ends; also before that, by who drops a run that never began.
    progress : Progress, optional
        Where to go on. Default: a beginning.
    recorded : pair of dict, optional
        The last pair of a run that has made no update since. If its limits end it there, it ends at once.
    signals : Signals, optional
        What listens for signals while the run is on. Default: one that lets it return after a signal.
    clock : callable, optional
        Returns seconds.

    Attributes
    ----------
    progress : Progress
        Where the run stands; ``progress.stopped`` says why it ended.
    signals : Signals
    """

    def __init__(
        self,
        limits: Limits,
        *,
        step: Callable[[Tally, int | None, Callable[[], bool]], None],
        validate: Callable[[], Monitors],
        keep: Callable[[], None],
        restore: Callable[[], None],
        fault: Callable[[Progress], str | None],
        report: Callable[[Record], None],
        hyper: Callable[[], dict[str, float]] = dict,
        reduce: Callable[[ReduceOnPlateau], float | None] | None = None,
        tick: Callable[[], None] | None = None,
        save: Callable[[Progress], str | None] | None = None,
        every: Every | None = None,
        finish: Callable[[Progress, Pair | None], None] | None = None,
        release: Callable[[], None] | None = None,
        progress: Progress | None = None,
        recorded: Pair | None = None,
        signals: Signals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.progress = Progress() if progress is None else progress
        self.signals = Signals() if signals is None else signals
        self._step, self._validate = step, validate
        self._keep, self._restore = keep, restore
        self._fault, self._report, self._hyper = fault, report, hyper
        self._reduce, self._tick = reduce, tick
        self._save, self._every, self._finish = save, (save and every) or Every(), finish
        self.release = release or (lambda: None)
        self._pair = recorded
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

    def note(self, event: str) -> None:
        """Have the next record tell of an event."""
        self.progress.events.append(event)

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
            What `fault` returned, or what one of the callables raised.
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
            self._end("closed" if closed else f"exception: {type(error).__name__}")
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
        self._report(record)
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
            if self._save is not None and self._is_save_due(before):
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
            if self._tick is not None:
                self._tick()
        return train, rate

    def _advance(self) -> bool:
        """Make the longest stretch of updates that no boundary cuts; return whether the epoch is over."""
        p, plateau, begun = self.progress, self.limits.plateau, self._clock()
        tally = Tally(p.sums, p.rows, losses=None if plateau is None else [])
        try:
            self._step(tally, self._most(), self._halt)
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
            self._asked = self._fault(self.progress) or self._asked
        except BaseException:
            self._why = "non-finite"
            raise

    def _save_once(self, noted: bool = False) -> None:
        """Save, unless that was done at this very point; have the next record tell of it, or that it failed.

        `noted` is whether of a success too: not of one at an end, which a run that goes on has not had.
        """
        p = self.progress
        if self._save is None or self._saved == (p.updates, p.epoch):
            return
        before, event = p.events, f"checkpoint after update {p.updates}"
        # in the checkpoint too: who goes on from there knows that it was written
        p.events = [*before, event] if noted else before
        with self.signals.held():
            failure = self._save(p)
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
        p.validation, p.validated_at = self._validate(), p.updates
        loss = p.validation["loss"]
        p.meet(loss)
        p.judge(loss, self.limits.min_improvement)
        if not improved(loss, p.best):
            return False
        with self.signals.held():
            self._keep()
            p.best = loss
        return True

    def _look_at(self, train: Monitors) -> None:
        """Reduce the learning rate if the monitor that decides on it has a value, and is on a plateau."""
        p, plan = self.progress, self.limits.reduce_on_plateau
        if plan is None or self._reduce is None:
            return
        group, _, name = plan.monitor.partition(".")
        value = (train if group == "train" else p.validation).get(name)
        if value is not None and plan.due(p.reduced, value):
            rate = self._reduce(plan)
            if rate is not None:
                self.note(f"learning rate reduced to {rate:g} after update {p.updates}")

    def _report_validation(self) -> None:
        better = self._judge()
        self._look_at({})
        self._report(self._record(self.progress.epoch, {}, validated=True, improved=better))

    def _record(self, epoch: int, train: Monitors, validated: bool, improved: bool, rate: float = 0.0) -> Record:
        p, valid, events = self.progress, dict(self.progress.validation), tuple(self.progress.events)
        p.events = []
        return Record(epoch, p.updates, p.seconds, train, valid, validated, improved, self._hyper(), rate, events)

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
                    self._restore()
        finally:
            p.stopped = self.signals.asked or self._why or how
        fate = f"the best (loss {p.best:.6g}) are restored" if restored else "the last stay"
        _log.info("stopped after %d updates: %s; of the parameters, %s", p.updates, p.stopped, fate)
        if self._finish is not None:
            whole = how is None and self.signals.asked is None
            self._finish(p, (self._pair or ({}, dict(p.validation))) if whole else None)


def _least(most: int | None, count: int) -> int:
    return count if most is None else min(most, count)
