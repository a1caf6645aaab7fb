"""Optuna: trials without promise end early."""

from __future__ import annotations

from typing import Any

from ... import extras
from ...loop import reasons
from ...loop.run import Record
from ..reported import Reported
from .tracker import Tracker

GROUPS = ("train", "valid")


class Optuna(Tracker):
    """Report a monitor to a trial of Optuna after each epoch, and end the run when its pruner says so.

    The pruned run ends as any other, with its last validation, its checkpoint and the best parameters put back; then
    `minimize`, or the loop over `iterate`, raises ``optuna.TrialPruned``, which Optuna expects of an objective. Ctrl-C
    ends the study: the run ends, and raises KeyboardInterrupt, unless it has ``on_signal='stop'``.

    Parameters
    ----------
    trial : optuna.Trial
        Of a study with one objective.
    monitor : str
        What to report: ``'valid.loss'``, at the epochs that have a validation, or another monitor of ``valid`` or
        ``train``. Default ``'valid.loss'``.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    TypeError
        If `trial` is no trial.
    ValueError
        If the study has several objectives, or `monitor` does not begin with ``'train.'`` or ``'valid.'``; in the run,
        at the first record without the monitor.

    Examples
    --------
    ::

        def objective(trial):
            rate = trial.suggest_float("learning_rate", 1e-4, 1, log=True)
            pruning = downhill2.trackers.Optuna(trial)
            opt.minimize(train, valid, learning_rate=rate, validate_every=1, callbacks=[pruning])
            return opt.best_monitors["loss"]
    """

    on_signal = "raise"  # a study has many runs

    def __init__(self, trial: Any, monitor: str = "valid.loss") -> None:
        self._optuna = extras.need("optuna", "optuna")
        if not isinstance(trial, self._optuna.trial.BaseTrial):
            raise TypeError(f"trial must be a trial of Optuna, got {trial!r}")
        study = getattr(trial, "study", None)  # a FixedTrial has none
        if study is not None and len(study.directions) > 1:
            raise ValueError(f"trial must be of a study with one objective, got {len(study.directions)}")
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a str, got {monitor!r}")
        self._group, _, self._name = monitor.partition(".")
        if self._group not in GROUPS or not self._name:
            raise ValueError(f"monitor must be 'valid.<name>' or 'train.<name>', got {monitor!r}")
        self._trial, self.monitor = trial, monitor
        self._pruned: str | None = None
        self._epoch = 0

    def __call__(self, opt: Reported, record: Record) -> None:
        """Report a record of `opt`."""
        values = getattr(record, self._group)
        if values and self._name not in values:
            known = ", ".join(f"'{self._group}.{name}'" for name in values)
            raise ValueError(f"monitor must be one of {known}, got {self.monitor!r}")
        super().__call__(opt, record)

    def begin(self, opt: Reported, record: Record) -> None:
        """Find the epoch of the last report: a trial with several runs, or with a resumed one, has reports already."""
        self._pruned = None
        study = getattr(self._trial, "study", None)
        trials = study.get_trials(deepcopy=False) if study is not None else []
        reported = trials[self._trial.number].intermediate_values if trials else {}
        self._epoch = max(reported, default=0)

    def write(self, opt: Reported, record: Record) -> None:
        """Report a value that is new, and ask whether to go on."""
        values = getattr(record, self._group)
        is_new = record.validated if self._group == "valid" else bool(values)
        if not is_new or record.epoch <= self._epoch:
            return
        self._epoch = record.epoch
        self._trial.report(values[self._name], record.epoch)
        if self._trial.should_prune():
            self._pruned = f"pruned at epoch {record.epoch}"
            opt.stop(self._pruned)

    def close(self, opt: Reported) -> None:
        """Raise ``optuna.TrialPruned`` if the run was ended for that."""
        super().close(opt)
        pruned, self._pruned = self._pruned, None
        if pruned is not None and opt.stopped == reasons.CALLBACK.of(pruned):
            raise self._optuna.TrialPruned(f"the trial was {pruned} by its {self.monitor!r}")
