"""One run of a fit: the loop, and all that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from .. import climate
from ..data.dataset import Feed
from ..keeping.history import History
from ..loop.plateau import ReduceOnPlateau
from ..loop.run import Monitors, Pair, Record, Run
from ..loop.signals import Signals
from ..loop.stopping import Progress
from ..loop.work import Work, changed
from ..stepping.accumulating import AccumulatedSteps
from ..stepping.nonfinite import Faults
from ..stepping.one_by_one import Steps, averages
from ..symbolic import graph
from ..symbolic.graph import Variable
from . import callbacks
from .archive import Archive
from .fit import Fit
from .settings import Settings

if TYPE_CHECKING:
    from ..reporting.progress import Display

logger = climate.get_logger("downhill2")


def drive(fit: Fit, feed: Feed, check: str = "gradients", count: int | None = None) -> Steps | AccumulatedSteps:
    """Compile the training step and return what makes updates: of a batch each, or of several.

    `check` is as for a `Guard`, `count` how many updates to make in a call, as for `Steps`.
    """
    current, monitors = fit.current(feed, check), list(fit.monitors)
    return AccumulatedSteps(current, monitors, feed) if fit.accumulates else Steps(current, monitors, feed, count)


class Session:
    """Puts a run together, and is its `Work`: updates, validations, faults, checkpoints, history and callbacks.

    Parameters
    ----------
    fit : Fit
    settings : Settings
    monitors : mapping of str to scalar TensorVariable
        What validations report.
    train, valid : Feed
    history : History
        Takes the records.
    owner : Optimizer
        What callbacks are given.
    watched : bool
        Whether the caller sees the variables after each epoch.
    display : Display, optional
        What shows the run.
    """

    def __init__(
        self,
        fit: Fit,
        settings: Settings,
        monitors: Mapping[str, Variable],
        train: Any,
        valid: Any,
        history: History,
        owner: Any,
        watched: bool,
        display: Display | None = None,
    ) -> None:
        self._watched = watched or bool(settings.callbacks)
        self._fit, self._settings, self._monitors = fit, settings, dict(monitors)
        self._train, self._valid, self._history, self._owner = train, valid, history, owner
        self._faults = Faults(settings.guard, fit, train, self._go_back)
        self._best, self._display, self._doubted = fit.no_best(), display, False
        self._epochs = graph.cell(fit.rule.context.epochs)
        self._archive = archive = Archive(fit, settings, train, self._best, history, self._monitors.values())
        self.every = None if settings.saving.directory is None else settings.saving.every()
        self.recorded, self.save, self.release = archive.recorded, archive.save, archive.release
        # not before: a run that is refused leaves those of the one before
        fit.best, fit.data, fit.noted = self._best, train.signature(), settings.noted(train)
        fit.busy = nullcontext if display is None else display.busy

    def run(self) -> Run:
        """Compile what is needed and return the loop."""
        try:
            return self._run()
        except BaseException:
            self.release()
            raise

    def _run(self) -> Run:
        settings, display = self._settings, self._display
        self.step = drive(self._fit, self._train, settings.guard.check, settings.calls.count)
        if settings.limits.validate_every:
            self._fit.evaluation(self._valid, self._monitors)
        work = self._settled()
        if display is not None:
            work = display.watched(work)
        run = Run(settings.limits, work, self._archive.progress, signals=Signals(settings.on_signal))
        if display is not None:
            display.follow(run.progress, self._train, self._fit.rule.hyper["accumulate"])
        return run

    def _settled(self) -> Work:
        """Return this work; what looks at variables finds arrays of NumPy in them, wherever updates are made."""

        def settled(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                self._fit.settle()
                return method(*args)

            return call

        looking = ["keep", "restore", "fault", "save", "finish"]
        if self._watched:
            looking.append("report")
        return changed(self, **{name: settled(getattr(self, name)) for name in looking})

    # -- what the loop asks for

    def validate(self, progress: Progress) -> Monitors:
        """Evaluate the monitors on the validation data."""
        function = self._fit.evaluation(self._valid, self._monitors)
        return averages(function, list(self._monitors), self._valid, lambda: self._doubt(progress))

    def tick(self) -> None:
        """Count the epoch that is over."""
        epochs = self._epochs[0]
        epochs[()] = epochs.item() + 1  # in its place and by no ufunc: either would cost more than the rest of a tick

    def hyper(self) -> dict[str, float]:
        """Return the hyperparameters as they are now; also what the rate was multiplied by, if that may change."""
        numbers, context = self._fit.rule.hyper.present_numbers(), self._fit.rule.context
        if self._settings.limits.reduce_on_plateau is not None:
            numbers["rate_factor"] = float(context.rate_factor.get_value())
        return numbers

    def reduce(self, plan: ReduceOnPlateau) -> float | None:
        """Reduce the learning rate; return the new one, None if the change would be too small."""
        factor, numbers = self._fit.rule.context.rate_factor, self._fit.rule.hyper.present_numbers()
        rate = numbers.get("learning_rate", 1.0) * float(factor.get_value())  # 1: one that depends on data
        ratio = plan.ratio(rate)
        if ratio == 1:
            return None
        factor.set_value(factor.get_value() * ratio)
        return rate * ratio

    def keep(self, progress: Progress) -> None:
        """Copy the present parameters over those of the best so far."""
        self._best.keep(progress.validation)
        self._archive.improve()

    def restore(self) -> None:
        """Put the best parameters back."""
        self._fit.restore(self._best)

    def fault(self, progress: Progress) -> str | None:
        """Act on the latest update, which met something that is not finite, as the guard says."""
        return self._faults.meet(progress, self.step.latest, self.step.loss, progress.events.append)

    def report(self, record: Record) -> None:
        """Add a record to the history and its files, log it, and call the callbacks with it."""
        self._history.append(record)
        self._archive.append(record)
        if logger.isEnabledFor(climate.INFO):
            self._log(record)
        callbacks.call(self._settings.callbacks, self._owner, record)

    def finish(self, progress: Progress, pair: Pair | None) -> None:
        """Close what the run has opened, and the callbacks."""
        # who keeps or copies the optimizer does not keep what showed its run, or read for it, threads among it
        self._fit.busy, self._display = nullcontext, None
        if pair is not None and progress.events:  # of a save that failed after the last record
            self._tell_late(progress)
        self._archive.close(progress, pair)
        self.step.close()
        callbacks.close(self._settings.callbacks, self._owner, whole=pair is not None)

    # -- how it does that

    def _doubt(self, progress: Progress) -> None:
        """Have the record tell that the validation loss is not finite, and where the data is not; the log, once."""
        event = f"validation loss is not finite; {self._valid.fault() or 'all inputs are finite'}"
        progress.events.append(event)
        if not self._doubted:
            logger.warning("%s; it is never the best, and counts against patience", event)
        self._doubted = True

    def _go_back(self, factor: float) -> str | None:
        """Return to the best parameters or a checkpoint's, with fresh state and a rate times `factor`; say which."""
        if self._best.values:
            self._fit.restore(self._best)
        elif not self._archive.recover():
            return None
        context = self._fit.rule.context
        context.store.reset()
        context.rate_factor.set_value(context.rate_factor.get_value() * factor)
        return "the best parameters" if self._best.values else "the parameters of the latest checkpoint"

    def _tell_late(self, progress: Progress) -> None:
        """Put what no record has told of into one of its own; callbacks have seen their last."""
        p, events = progress, tuple(progress.events)
        stands = p.epoch, p.updates, p.seconds
        record = Record(*stands, {}, dict(p.validation), False, False, self.hyper(), 0.0, events)
        self._history.append(record)
        self._archive.append(record)
        p.events = []

    def _log(self, record: Record) -> None:
        name = type(self._fit.rule).__name__
        if record.train:
            logger.info(climate.epoch_line(name, record.epoch, record.train))
        if record.validated:
            line = climate.validation_line(name, record.epoch, record.valid, record.improved)
            logger.info(line, extra={"improved": record.improved})
