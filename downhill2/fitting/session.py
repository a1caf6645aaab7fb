"""One run of a fit: the loop, and all that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import climate
from ..running.functions import Steps, averages
from ..running.history import History
from ..running.loop import Record, Run
from ..running.plateau import ReduceOnPlateau
from ..running.stopping import Progress
from ..running.windows import Windows
from ..symbolic.graph import Variable
from .archive import Archive
from .faults import Faults
from .fit import Fit
from .settings import Settings

logger = climate.get_logger("downhill2")


class Session:
    """Puts a run together: updates, validations, faults, checkpoints, history, console and callbacks.

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
    ) -> None:
        self._watched = watched or bool(settings.callbacks)
        self._fit, self._settings, self._monitors = fit, settings, dict(monitors)
        self._train, self._valid, self._history, self._owner = train, valid, history, owner
        self._faults = Faults(settings.guard, fit, train, self._go_back)
        self._best = fit.no_best()
        self._archive = Archive(fit, settings, train, self._best, history, self._monitors.values())
        fit.best = self._best  # not before: a run that is refused leaves that of the one before

    def run(self) -> Run:
        """Compile what is needed and return the loop."""
        fit, archive, settings, steps = self._fit, self._archive, self._settings, self._steps()
        if settings.limits.validate_every:
            fit.evaluation(self._valid, self._monitors)
        run = Run(
            settings.limits,
            step=steps,
            validate=self._validate,
            keep=self._settled(lambda: self._keep(run.progress)),
            restore=self._settled(lambda: fit.restore(self._best)),
            fault=self._settled(lambda progress: self._faults.meet(progress, steps.latest, steps.loss, run.note)),
            report=self._report,
            hyper=self._numbers,
            reduce=self._reduce,
            tick=self._tick,
            save=archive.saver and self._settled(archive.saver),
            every=settings.saving.every(),
            finish=self._settled(archive.close),
            progress=archive.progress,
            recorded=archive.recorded,
        )
        return run

    def _steps(self) -> Steps | Windows:
        """Return what makes updates: of a batch each, or of several."""
        fit, settings = self._fit, self._settings
        current, monitors = fit.current(self._train, settings.guard.check), list(fit.monitors)
        if fit.accumulates:
            return Windows(current, monitors, self._train)
        return Steps(current, monitors, self._train, settings.calls.count)

    def _settled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that finds arrays of NumPy in all variables, wherever updates are made."""

        def settled(*args: Any) -> Any:
            self._fit.settle()
            return function(*args)

        return settled

    def _validate(self) -> dict[str, float]:
        return averages(self._fit.evaluation(self._valid, self._monitors), list(self._monitors), self._valid)

    def _tick(self) -> None:
        epochs = self._fit.rule.context.epochs.get_value(borrow=True)
        epochs += 1  # in its place, as a new value costs more than the rest of an epoch's end

    def _numbers(self) -> dict[str, float]:
        """Return the hyperparameters as they are now; also what the rate was multiplied by, if that may change."""
        numbers, context = self._fit.rule.hyper.present_numbers(), self._fit.rule.context
        if self._settings.limits.reduce_on_plateau is not None:
            numbers["rate_factor"] = float(context.rate_factor.get_value())
        return numbers

    def _reduce(self, plan: ReduceOnPlateau) -> float | None:
        """Reduce the learning rate; return the new one, None if the change would be too small."""
        factor, numbers = self._fit.rule.context.rate_factor, self._fit.rule.hyper.present_numbers()
        rate = numbers.get("learning_rate", 1.0) * float(factor.get_value())  # 1: one that depends on data
        ratio = plan.ratio(rate)
        if ratio == 1:
            return None
        factor.set_value(factor.get_value() * ratio)
        return rate * ratio

    def _keep(self, progress: Progress) -> None:
        self._best.keep(progress.validation)
        self._archive.improve()

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

    def _report(self, record: Record) -> None:
        if self._watched:
            self._fit.settle()
        self._history.append(record)
        self._archive.append(record)
        self._log(record)
        for callback in self._settings.callbacks:
            callback(self._owner, record)

    def _log(self, record: Record) -> None:
        if not logger.isEnabledFor(climate.INFO):
            return
        name = type(self._fit.rule).__name__
        if record.train:
            logger.info(climate.epoch_line(name, record.epoch, record.train))
        if record.validated:
            line = climate.validation_line(name, record.epoch, record.valid, record.improved)
            logger.info(line, extra={"improved": record.improved})
