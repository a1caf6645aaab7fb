"""The loop: epochs of updates, validations and limits. It knows numbers and callables only."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .signals import Signals
from .stopping import Limits, Progress, improved, reason

__all__ = ["Limits", "Progress", "Record", "Run", "Tally"]

Monitors = dict[str, float]
Pair = tuple[Monitors, Monitors]

_log = logging.getLogger("downhill2")


@dataclass
class Tally:
    """What a stretch of updates adds to: what an epoch has summed up so far goes in, and on.

    Sums go on where the last stretch left them, and not from zero, so that averages do not depend on how an epoch
    is cut into stretches, to the last bit.

    Attributes
    ----------
    sums : dict of str to float
        For each monitor, `loss` first, the sum over the epoch's updates of weight times value.
    rows : float
        The weight of the sums: rows, or the sum of their weights.
    updates : int
        Updates made in this stretch.
    end : bool
        Whether the epoch is over.
    bad : bool
        Whether the last update met a loss that is not finite. It was held back and counts nowhere above.
    """

    sums: Monitors
    rows: float
    updates: int = 0
    end: bool = False
    bad: bool = False


@dataclass(frozen=True)
class Record:
    """What people see of an epoch.

    Attributes
    ----------
    epoch : int
        The epoch, from 1; 0 for the validation before the first update.
    updates : int
        Updates made since the run began.
    seconds : float
        From the run's beginning to the last update.
    train : dict of str to float
        Averages of the monitors over the epoch's updates. Empty for a validation that stands alone: before
        the first update, and after the caller has closed the run.
    valid : dict of str to float
        Monitors of the latest validation; empty if there was none.
    validated : bool
        Whether that validation is of this record.
    improved : bool
        Whether it gave a new best.
    """

    epoch: int
    updates: int
    seconds: float
    train: Monitors
    valid: Monitors
    validated: bool
    improved: bool


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
        Returns the exception to raise for the update that a `Tally` calls bad.
    report : callable
        Takes each `Record`.
    progress : Progress, optional
        Where to go on. Default: a beginning.
    clock : callable, optional
        Returns seconds.

    Attributes
    ----------
    progress : Progress
        Where the run stands; ``progress.stopped`` says why it ended.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        step: Callable[[Tally, int | None, Callable[[], bool]], None],
        validate: Callable[[], Monitors],
        keep: Callable[[], None],
        restore: Callable[[], None],
        fault: Callable[[], Exception],
        report: Callable[[Record], None],
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.progress = Progress() if progress is None else progress
        self._step, self._validate = step, validate
        self._keep, self._restore = keep, restore
        self._fault, self._report = fault, report
        self._clock = clock
        self._signals = Signals()
        self._why: str | None = None
        self._begun = False
        self._origin = 0.0
        self._deadline = math.inf

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
                self._validate_what_is_left()
                raise
        except BaseException as error:
            closed = isinstance(error, GeneratorExit)
            self._end("closed" if closed else f"exception: {type(error).__name__}")
            raise
        self._end(None)

    def drain(self) -> Pair:
        """Run to the end, with the signal handlers set once and not around each epoch.

        Returns
        -------
        train_monitors, valid_monitors : dict of str to float
            The last pair; when there was no update, ``{}`` and the latest validation.
        """
        pair: Pair | None = None
        with self._signals.standing():
            for pair in self.iterate():  # noqa: B007  (the last one is what is wanted)
                pass
        return pair or ({}, dict(self.progress.validation))

    def _turn(self) -> Record | None:
        """Run one epoch; None when the run is over."""
        with self._signals.standing():
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
        if limits.validate_every is not None and p.validated_at < 0:
            self._report_validation()
        self._why = self._reason()

    def _epoch(self) -> Record:
        """Run to the end of the epoch, or of the run."""
        p, every = self.progress, self.limits.validate_every
        epoch = p.epoch + 1
        train = self._train()
        due = self._reason() is not None or (p.epoch == epoch and every is not None and epoch % every == 0)
        validated = due and self._needs_validation()
        record = self._record(epoch, train, validated, improved=validated and self._judge())
        self._report(record)
        self._why = self._reason()
        return record

    def _train(self) -> Monitors:
        """Make the epoch's updates, or those up to a limit, and return their averages."""
        p = self.progress
        while not (end := self._advance()) and self._reason() is None:
            pass
        train = {name: total / p.rows if p.rows else math.nan for name, total in p.sums.items()}
        if self.limits.validate_every is None:
            p.loss = train["loss"]
        if end:
            p.epoch, p.sums, p.rows = p.epoch + 1, {}, 0.0
        return train

    def _advance(self) -> bool:
        """Make the longest stretch of updates that no boundary cuts; return whether the epoch is over."""
        p, most = self.progress, self.limits.max_updates
        tally = Tally(p.sums, p.rows)
        try:
            self._step(tally, None if most is None else most - p.updates, self._halt)
        finally:
            p.sums, p.rows, p.updates = tally.sums, tally.rows, p.updates + tally.updates
        if tally.bad:
            self._why = "non-finite"
            raise self._fault()
        p.seconds = self._clock() - self._origin
        return tally.end

    def _halt(self) -> bool:
        return self._signals.asked is not None or self._clock() >= self._deadline

    def _reason(self) -> str | None:
        return self._signals.asked or reason(self.progress, self.limits)

    def _needs_validation(self) -> bool:
        """Whether the present parameters are still to be judged; after a signal they are not."""
        p = self.progress
        judged = p.validated_at == p.updates
        return not judged and self.limits.validate_every is not None and self._signals.asked is None

    def _judge(self) -> bool:
        """Validate the present parameters and keep them if they are the best."""
        p = self.progress
        p.validation, p.validated_at = self._validate(), p.updates
        p.loss = p.validation["loss"]
        if not improved(p.loss, p.best, self.limits.min_improvement):
            p.failures += 1
            return False
        with self._signals.held():
            self._keep()
            p.best, p.failures = p.loss, 0
        return True

    def _report_validation(self) -> None:
        self._report(self._record(self.progress.epoch, {}, validated=True, improved=self._judge()))

    def _record(self, epoch: int, train: Monitors, validated: bool, improved: bool) -> Record:
        p = self.progress
        return Record(epoch, p.updates, p.seconds, train, dict(p.validation), validated, improved)

    def _validate_what_is_left(self) -> None:
        """Let the parameters of the last epoch take part in the choice of the best."""
        with self._signals.standing():
            if self._needs_validation():
                self._report_validation()

    def _end(self, how: str | None) -> None:
        """Put the best back and say why the run is over."""
        p = self.progress
        # Before an update is validated, the best is the start: to restore it would undo all progress.
        restored = self.limits.restore_best and p.best is not None and p.validated_at > 0
        try:
            if restored:
                with self._signals.standing(), self._signals.held():
                    self._restore()
        finally:
            p.stopped = self._signals.asked or self._why or how
        fate = f"the best (loss {p.best:.6g}) are restored" if restored else "the last stay"
        _log.info("stopped after %d updates: %s; of the parameters, %s", p.updates, p.stopped, fate)
