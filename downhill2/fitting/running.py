"""Runs of an optimizer: to train, evaluate, stop and begin anew."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, climate
from ..data.dataset import Feed
from ..keeping.history import History
from ..loop import reasons
from ..loop.run import Limits, Pair, Run
from ..symbolic import graph
from ..symbolic.algorithm import Algorithm
from ..symbolic.graph import Variable
from ..symbolic.problem import Pairs
from .fit import Fit
from .persistence import Persistent
from .session import Session
from .settings import BESIDE_RUN, Feeding, Settings, evaluated_monitors

logger = climate.get_logger("downhill2")

if TYPE_CHECKING:
    from ..reporting.progress import Display


class Runs(Persistent):
    """The part of `Optimizer` that makes runs.

    Attributes
    ----------
    rule : Algorithm
    fit : Fit
    history : History
        Records of all runs.
    """

    rule: Algorithm
    fit: Fit
    history: History
    _run: Run | None
    _on: Run | None  # the run that is on

    @property
    def stopped(self) -> str | None:
        """Why the latest run ended; None before the first one, and while one runs."""
        return self._run.progress.stopped if self._run else None

    @property
    def best_monitors(self) -> dict[str, float]:
        """The validation monitors of the best parameters; empty before the first validation."""
        return dict(self.fit.best.monitors)

    @property
    def limits(self) -> Limits:
        """The limits of the latest run."""
        return self._run.limits if self._run else Limits()

    @property
    def patience(self) -> int | None:
        """Validations in a row that may fail to improve by `min_improvement`."""
        return self.limits.patience

    @property
    def validate_every(self) -> int | None:
        """Epochs from one validation to the next."""
        return self.limits.validate_every

    @property
    def min_improvement(self) -> float:
        """What an improvement must exceed to count for `patience`, as a fraction of the loss that it improves on."""
        return self.limits.min_improvement

    def iterate(
        self, train: object = None, valid: object = None, max_updates: int | None = None, **settings: Any
    ) -> Iterator[Pair]:
        """Run, epoch by epoch, as a generator.

        The best parameters are put back when the run ends, however it ends: a limit, a signal, an exception,
        the `break` of a `for`. The caller must close the generator, best by `contextlib.closing`.

        Parameters
        ----------
        train : Dataset, or what a Dataset takes; None
            Training data, with one array per input. None: the loss needs no data.
        valid : the same; None
            Validation data. Default: the training data.
        max_updates : int, optional
            Updates to make at most.
        max_epochs : int, optional
            Epochs to run at most.
        max_seconds : float, optional
            Seconds after which no update begins.
        target : float, optional
            Validation loss at or below which to stop.
        patience : int or None
            Validations in a row that may fail to improve by `min_improvement`; the next one stops the run. None: no
            early stopping. Default 5.
        validate_every : int or None
            Epochs from one validation to the next; there is one before the first update and one at the end.
            None: no validation, and nothing is restored. Default 10.
        min_improvement : float
            What an improvement must exceed to count for `patience`, as a fraction of the magnitude of the loss that it
            improves on. The parameters of the lowest loss are kept, however little it improved. Default 0.
        restore_best : bool
            Whether the parameters of the lowest validation loss are put back at the end. Default True.
        valid_loss : scalar TensorVariable, optional
            What to validate in place of the loss (without dropout, say).
        valid_monitors : dict or sequence of (str, scalar expression) pairs, optional
            What to report of validations in place of the monitors.
        batch_size, train_batches, valid_batches, rng, shuffle, drop_last
            How data that is not yet a `Dataset` becomes one: rows per batch (32), batches per epoch and per validation
            (all), the seed or generator that shuffles (drawn and logged), ``'rows'``, ``'batches'`` or False
            (``'rows'``), and whether a short last batch is left out (False).
        plateau : bool or dict, optional
            Stop when the training loss no longer falls by more than its noise; `downhill2.loop.stopping.Plateau`.
        reduce_on_plateau : ReduceOnPlateau, dict of its options, or bool
            Multiply the learning rate when a monitor has ceased to improve; `downhill2.schedules.ReduceOnPlateau`.
        diverged : float, optional
            Stop when the loss is above this many times the lowest.
        on_nonfinite, check, nonfinite_limit, rollback_factor
            The policy for updates that are not finite: ``'raise'``, ``'stop'``, ``'skip'`` or ``'rollback'``; see
            `downhill2.stepping.nonfinite.Guard`. Default: `NonFiniteError`.
        checkpoint : path, optional
            Directory to save the run in, with its history in ``history.jsonl``; for one run at a time.
        checkpoint_every : int or str
            How often: epochs, or ``'100 updates'``, ``'30 s'``, ``'10 min'``. Default 1.
        keep : int
            How many of the newest checkpoints stay, besides the best. Default 2.
        resume : bool, 'auto' or 'params'
            Go on with the run in `checkpoint`, to the bit: True, there must be one; ``'auto'``, if there is one;
            ``'params'``, with its parameters only. Limits count from that run's start. Default False: there is none.
        history : path, optional
            File of JSON lines to append each epoch's record to; new, or of records. Runs may share it, one at a time.
        backend : {'numba', 'c', 'jax', 'pytorch'}, PyTensor mode or its name, optional
            What compiles functions from now on. Default: as before.
        callbacks : sequence of callables
            Called as ``f(opt, record)`` after each epoch and validation; may call ``opt.stop('why')``. One that has a
            method ``close(opt)`` is closed when the run is over, however it ended. `downhill2.trackers` has ready ones.
        updates_per_call : int or 'auto'
            How many updates to make in one compiled call, where there is no data or arrays in memory; the numbers are
            the same to the bit. A signal, `max_seconds` and a time in `checkpoint_every` wait for the end of a call.
            Default ``'auto'``: as many as take about 0.2 s by an estimate from sizes, if one takes less than 1 ms.
        on_signal : {'auto', 'stop', 'raise'}
            What follows when a signal has ended the run, which is then saved and has its best parameters back.
            ``'auto'``: SIGTERM, and each signal that the program handles itself, is passed on; Ctrl-C and SIGUSR1 end
            this run, and the program goes on. ``'raise'``: the same, but KeyboardInterrupt is raised, for runs in a
            loop. ``'stop'``: the program goes on after SIGTERM too. A second signal raises KeyboardInterrupt at once.
            Default ``'auto'``, or the attribute ``on_signal`` of a callback.
        progress : bool, optional
            Show the run while it is on, and while functions are compiled: bars in a terminal, one output in a
            notebook, else a line now and then on standard error. Needs rich. Default: `minimize` does in an
            interactive terminal and in a notebook, if rich is there; `iterate` does not.
        **settings
            Hyperparameters to set first.

        Yields
        ------
        train_monitors, valid_monitors : dict of str to float
            Averages over the updates of the epoch, and the latest validation; ``'loss'`` comes first.

        Raises
        ------
        TypeError, ValueError
            For wrong arguments; at the call, before anything is compiled or changed.
        NonFiniteError
            When a loss, a gradient or a new value is not finite, unless `on_nonfinite` says otherwise.
        RuntimeError
            If a run of this optimizer is on.
        """
        run, display = self._begin(train, valid, max_updates, settings)
        pairs = self._going(run, display)
        weakref.finalize(pairs, run.release)  # a generator that never begins runs no code at its end
        return pairs

    def minimize(
        self, train: object = None, valid: object = None, max_updates: int | None = None, **settings: Any
    ) -> Pair:
        """Run to the end.

        Parameters
        ----------
        train, valid, max_updates, **settings
            As for `iterate`.

        Returns
        -------
        train_monitors, valid_monitors : dict of str to float
            The last pair that `iterate` would have yielded.

        Raises
        ------
        TypeError, ValueError
            As `iterate`; also if nothing could ever end the run.
        NonFiniteError
            As `iterate`.
        """
        run, display = self._begin(train, valid, max_updates, settings, must_end=True)
        with self._alone(run), display or nullcontext():
            return run.drain()

    def evaluate(
        self, dataset: object, batch_size: int = 32, loss: Variable = None, monitors: Pairs | None = None
    ) -> dict[str, float]:
        """Evaluate the loss and the monitors on data.

        Random numbers are drawn anew for each batch, from copies of the generators: training goes on as if nothing had
        been evaluated.

        Parameters
        ----------
        dataset : Dataset, or what a Dataset takes
        batch_size : int
            Rows per batch of what is not yet a Dataset.
        loss : scalar TensorVariable, optional
            What to evaluate in place of the loss: the `valid_loss` of a run, say. It must use no inputs
            but those of the loss.
        monitors : dict or sequence of (str, scalar expression) pairs, optional
            What to evaluate in place of the monitors; likewise.

        Returns
        -------
        dict of str to float
            Averages over the rows, ``'loss'`` first.

        Raises
        ------
        TypeError, ValueError
            If `loss` is no scalar expression, or a monitor is not or has no name, or they use other inputs.
        """
        chosen = evaluated_monitors(self.fit.problem, self.fit.monitors, loss, monitors)
        averages: dict[str, float] = self.fit.evaluate(Feeding(batch_size).dataset(dataset, "valid"), chosen)
        return averages

    def set_params(self, targets: str | Sequence[object] = "best") -> None:
        """Set the parameters.

        Parameters
        ----------
        targets : 'best' or sequence of arrays
            The best parameters of the latest run, or one array per parameter.

        Raises
        ------
        ValueError
            If there is no best yet, or the arrays do not fit.
        """
        if isinstance(targets, str) and targets == "best":
            if not self.fit.best.values:
                raise ValueError("targets must be arrays while there are no best parameters, got 'best'")
            self.fit.restore(self.fit.best)
            return
        self.fit.problem.set_params("targets", targets)

    def stop(self, why: str) -> None:
        """End the run that is on at its next boundary; for callbacks. `stopped` is then ``'callback: <why>'``."""
        checks.text("why", why)
        if self._run is not None:
            self._run.stop(reasons.CALLBACK.of(why))

    def reset(self) -> None:
        """Start anew: state, clock and best as after `build`. Parameters and hyperparameters stay."""
        self.rule.context.store.reset()
        self.rule.context.clock.set_value(0)
        self.rule.context.epochs.set_value(0)
        self.rule.context.rate_factor.set_value(1.0)
        self._run = None
        self.history = History()
        self.fit.best = self.fit.no_best()

    def _begin(
        self, train: object, valid: object, max_updates: int | None, given: dict[str, Any], must_end: bool = False
    ) -> tuple[Run, Display | None]:
        """Check everything, then set hyperparameters and compile; return the run, and what shows it."""
        self._check_idle()
        fit, rest = self.fit, {"max_updates": max_updates, **given}
        settings = Settings.taken_from(rest)
        if must_end:
            settings.check_end()
        settings.monitors(fit.problem, fit.monitors)
        parsed = self.rule.hyper.parse(rest, BESIDE_RUN)
        dataset, valid_dataset = settings.feeding.datasets(train, valid)
        data = dataset.bind(fit.problem.inputs)
        valid_data = data if valid_dataset is dataset else valid_dataset.bind(fit.problem.inputs)
        settings.calls.check(data)
        self._check_reach(parsed)
        with self.rule.hyper.undone_on_error(parsed), fit.undone_on_error(settings.backend):
            self._look_ahead(settings, data)
            fit.check()
            monitors = settings.monitors(fit.problem, fit.monitors)  # again, as hyperparameters have changed
            display = self._display(settings, must_end)
            session = Session(fit, settings, monitors, data, valid_data, self.history, self, not must_end, display)
            with display or nullcontext():
                self._run = session.run()
        return self._run, display

    def _going(self, run: Run, display: Display | None) -> Iterator[Pair]:
        with self._alone(run), display or nullcontext():
            yield from run.iterate()

    @contextmanager
    def _alone(self, run: Run) -> Iterator[None]:
        """Let no other run of this optimizer begin during the body; then pass on the signals that came."""
        self._check_idle()
        if run is not self._run:
            raise RuntimeError(
                "an iterator must begin before the next call of iterate, minimize or reset, got one that did not; "
                "make it anew"
            )
        with run.signals.passed_on():
            self._on = run
            try:
                yield
            finally:
                self._on = None

    def _check_idle(self) -> None:
        """Raise RuntimeError while a run is on."""
        if self._on is not None:
            raise RuntimeError(
                f"{type(self.rule).__name__} must make one run at a time, got another after "
                f"{self._on.progress.updates} updates of one; leave its loop, or close its iterator; in a callback, "
                "call opt.stop and return"
            )

    def _look_ahead(self, settings: Settings, data: Feed) -> None:
        """Raise if a schedule leaves the range of its hyperparameter before the limits end the run."""
        per_epoch = None if data.length is None else math.ceil(data.length / self.rule.hyper["accumulate"])
        updates, epochs = _reach(settings.limits, per_epoch)
        if settings.saving.resume not in (True, "auto"):  # limits of a run that goes on count from its start
            updates += self.rule.context.clock.get_value()
            epochs += self.rule.context.epochs.get_value()
        self.rule.hyper.check_schedules(updates, epochs)
        _log_if_epochs_are_meant(settings.limits, per_epoch)

    def _display(self, settings: Settings, must_end: bool) -> Display | None:
        """Return what shows the run, None for nothing; by default only `minimize` shows its run."""
        wanted = settings.progress
        if wanted is False or (wanted is None and not must_end):
            return None
        from ..reporting import progress

        return progress.display(wanted, type(self.rule).__name__, settings.limits, self.rule.hyper.present_numbers)

    def _check_reach(self, parsed: Mapping[str, object]) -> None:
        """Raise if a hyperparameter depends on an input that a run cannot feed."""
        for name, variable in self.rule.hyper.symbols(parsed).items():
            for v in graph.explicit_inputs([variable]):
                if v not in self.fit.problem.inputs:
                    raise ValueError(f"{name} must depend on shared variables or inputs of the loss, got {v}")


def _log_if_epochs_are_meant(limits: Limits, per_epoch: int | None) -> None:
    """Log that `max_updates` counts updates, if it ends the run before its first validation, as in old scripts."""
    most, every = limits.max_updates, limits.validate_every
    if per_epoch is None or per_epoch == 1 or most is None or limits.max_epochs is not None or every is None:
        return
    if most < every * per_epoch:
        logger.info(
            "max_updates=%d counts updates, of which an epoch has %d; where it counted epochs, as in downhill, write "
            "max_epochs=%d",
            *(most, per_epoch, most),
        )


def _reach(limits: Limits, per_epoch: int | None, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return updates and epochs made before `most` of the updates that limits allow, the first and the last included.

    Only the first, if no limit counts updates, or the number of updates in an epoch is not known.
    """
    if per_epoch is None:
        return np.zeros(1, int), np.zeros(1, int)
    of_epochs = None if limits.max_epochs is None else limits.max_epochs * per_epoch
    count = min((n for n in (limits.max_updates, of_epochs) if n is not None), default=1)
    count = min(count, 2**53)  # float64 does not hold each larger number
    updates = np.unique(np.linspace(0, max(0, count - 1), most).astype(int))
    return updates, updates // per_epoch
