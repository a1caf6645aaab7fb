"""Trackers that write to the stores of other packages, each of which is an extra."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any

from ... import checks, extras
from ...jsonable import scalar_or_text
from ...loop import reasons
from ...loop.run import Record
from ..reported import Reported
from .tracker import MonitorSeries, Tracker, checked_config, configuration, undone, written_before


class TensorBoard(Tracker):
    """Write event files that TensorBoard shows: a curve for each monitor over updates, and the run's settings.

    Parameters
    ----------
    logdir : str or path
        Directory of this run. Each run should have its own; a resumed run goes on in that of the run before, whose
        points from after the checkpoint are hidden.
    config : mapping, optional
        What else to show among the settings of the run.
    flush_seconds : float
        Seconds between writes to the operating system. Default 10.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    TypeError
        If `logdir` is no path, or `config` no mapping with names.

    Examples
    --------
    ::

        tracker = downhill2.trackers.TensorBoard("runs/adam")
        opt.minimize(train, valid, callbacks=[tracker])
    """

    def __init__(
        self, logdir: str | os.PathLike[str], config: Mapping[str, object] | None = None, flush_seconds: float = 10
    ) -> None:
        self._board = extras.need("tensorboardX", "tensorboard")
        self.logdir, self._config = os.fspath(checks.path("logdir", logdir)), checked_config(config)
        self._flush = checks.number("flush_seconds", flush_seconds, at_least=0)
        self._writer: Any = None
        self._series = MonitorSeries()

    def begin(self, opt: Reported, record: Record) -> None:
        """Begin an event file, with the settings."""
        before = written_before(opt.history)
        purge = before[-1].updates + 1 if before else None
        self._series = series = MonitorSeries()
        # files are read in the order of their names, which have only seconds from tensorboardX
        later = {"filename_suffix": f".{time.time_ns()}", "flush_secs": self._flush}
        self._writer = self._board.SummaryWriter(self.logdir, purge_step=purge, **later)
        with undone(self._writer.close):
            config = {
                name: scalar_or_text(value) for name, value in {**configuration(opt, record), **self._config}.items()
            }
            metrics = {series.name(f"{group}/{name}"): 0 for group in ("best", "valid") for name in record.valid}
            for summary in self._board.summary.hparams(config, metrics):
                self._writer.file_writer.add_summary(summary)

    def write(self, opt: Reported, record: Record) -> None:
        """Write a point of each curve."""
        self._add(self._series.values(record), record.updates)

    def end(self, opt: Reported) -> None:
        """Write the best monitors and why the run ended."""
        last = opt.history[-1].updates
        with contextlib.closing(self._writer):
            self._add(self._series.best(opt), last)
            self._writer.add_text("stopped", str(opt.stopped), last)

    def _add(self, values: Mapping[str, float], updates: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, updates)


class MLflow(Tracker):
    """Write a run of MLflow: monitors as metrics over updates, settings as parameters.

    Metrics are sent together, every `flush_seconds` and at the end: a kill loses those since then. Inside
    ``with mlflow.start_run():``, without `uri` and `run_id`, they go to that run, which stays open.

    Parameters
    ----------
    experiment : str
        Name of the experiment, made if there is none. Default ``'downhill2'``.
    uri : str, optional
        The store: ``'sqlite:///mlflow.db'``, a server's address. Default: ``MLFLOW_TRACKING_URI``, or MLflow's own.
    run_name : str, optional
        Name of the run. Default: MLflow makes one up.
    run_id : str, optional
        A run to go on with, when training is resumed: points that it has are not written again.
    config : mapping, optional
        What else to note among the parameters of the run.
    flush_seconds : float
        How often metrics are sent. Default 5.

    Attributes
    ----------
    run_id : str or None
        The latest run's.

    Raises
    ------
    ImportError
        If MLflow is not installed.
    TypeError
        If `config` is no mapping with names.

    Examples
    --------
    ::

        tracker = downhill2.trackers.MLflow("digits", uri="sqlite:///mlflow.db")
        opt.minimize(train, valid, callbacks=[tracker])
    """

    def __init__(
        self,
        experiment: str = "downhill2",
        uri: str | None = None,
        run_name: str | None = None,
        run_id: str | None = None,
        config: Mapping[str, object] | None = None,
        flush_seconds: float = 5,
    ) -> None:
        self._mlflow = extras.need("mlflow", "mlflow")
        self._experiment, self._uri = checks.text("experiment", experiment), uri
        self._name, self._given = run_name, run_id
        self._config, self._every = checked_config(config), checks.number("flush_seconds", flush_seconds, at_least=0)
        self.run_id = run_id
        self._client: Any = None
        self._own = True
        self._series = MonitorSeries()
        self._waiting: list[Any] = []
        self._sent = 0.0
        self._last = -1  # the update of the last point in the store

    def begin(self, opt: Reported, record: Record) -> None:
        """Begin a run, or go on with one, and note its settings."""
        self._series, self._waiting, self._sent, self._last = MonitorSeries(), [], time.monotonic(), -1
        active = None if self._given or self._uri else self._mlflow.active_run()
        self._own = active is None
        self._client = client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        if active is not None:
            self.run_id = active.info.run_id
        elif self._given is not None:
            client.update_run(self._given, status="RUNNING")
        else:
            self.run_id = client.create_run(self._experiment_id(), run_name=self._name).info.run_id
        with undone(lambda: self._terminate("FAILED")):
            if self._given is not None:
                points = client.get_metric_history(self._given, "epoch")
                self._last = max((point.step for point in points), default=-1)
            self._note(configuration(opt, record) | self._config)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        name: str = found.experiment_id if found else self._client.create_experiment(self._experiment)
        return name

    def _note(self, config: Mapping[str, object]) -> None:
        """Note parameters that the run does not have yet; existing ones cannot be changed."""
        param, known = self._mlflow.entities.Param, self._client.get_run(self.run_id).data.params
        named = {self._series.name(name): str(value) for name, value in config.items()}
        new = [param(name, value) for name, value in named.items() if name not in known]
        for start in range(0, len(new), 100):  # as many as MLflow takes at once
            self._client.log_batch(self.run_id, params=new[start : start + 100])

    def write(self, opt: Reported, record: Record) -> None:
        """Collect the numbers of a record; send what is collected every `flush_seconds`."""
        if record.updates > self._last:
            self._take(self._series.values(record), record.updates)
        if time.monotonic() - self._sent >= self._every:
            self._send()

    def _take(self, values: Mapping[str, float], updates: int) -> None:
        now, metric = int(1000 * time.time()), self._mlflow.entities.Metric
        self._waiting += [metric(name, value, now, updates) for name, value in values.items()]

    def _send(self) -> None:
        for start in range(0, len(self._waiting), 1000):  # as many as MLflow takes at once
            self._client.log_batch(self.run_id, metrics=self._waiting[start : start + 1000])
        self._waiting, self._sent = [], time.monotonic()

    def end(self, opt: Reported) -> None:
        """Send the rest, the best monitors and why the run ended."""
        try:
            self._take(self._series.best(opt), opt.history[-1].updates)
            self._send()
            self._client.set_tag(self.run_id, "stopped", str(opt.stopped))
        finally:
            self._terminate(reasons.read(str(opt.stopped)).outcome.upper())

    def _terminate(self, status: str) -> None:
        """End the run, unless the caller began it."""
        if self._own:
            self._client.set_terminated(self.run_id, status)


class WandB(Tracker):
    """Write a run of Weights & Biases: monitors over updates, settings as its config.

    Without a network or an account runs are kept in files, which ``wandb sync`` sends later. While a run of
    ``wandb.init()`` is open, records go to that one, which stays open.

    Parameters
    ----------
    project : str
        Name of the project. Default ``'downhill2'``.
    name : str, optional
        Name of the run. Default: made up.
    mode : {'online', 'offline', 'disabled'}, optional
        Default: ``WANDB_MODE``; without that, ``'online'`` for users who have logged in, else ``'offline'``.
    id : str, optional
        A run to go on with, when training is resumed: points that it has are not written again.
    dir : str or path, optional
        Where to keep files. Default: ``wandb`` in the working directory.
    config : mapping, optional
        What else to note in the config of the run.
    **settings
        Other arguments of ``wandb.init``: ``entity``, ``group``, ``tags`` ...

    Raises
    ------
    ImportError
        If wandb is not installed.
    TypeError
        If `config` is no mapping with names.

    Examples
    --------
    ::

        tracker = downhill2.trackers.WandB("digits", mode="offline")
        opt.minimize(train, valid, callbacks=[tracker])
    """

    def __init__(
        self,
        project: str = "downhill2",
        name: str | None = None,
        mode: str | None = None,
        id: str | None = None,
        dir: str | os.PathLike[str] | None = None,
        config: Mapping[str, object] | None = None,
        **settings: Any,
    ) -> None:
        self._wandb = extras.need("wandb", "wandb")
        self._config = checked_config(config)
        self._mode = None if mode is None else checks.choice("mode", mode, ("online", "offline", "disabled"))
        resume, folder = None if id is None else "allow", None if dir is None else os.fspath(checks.path("dir", dir))
        self._settings = {
            "project": checks.text("project", project),
            "name": name,
            "id": id,
            "dir": folder,
            "resume": resume,
            **settings,
        }
        self._run: Any = None
        self._own = True
        self._series = MonitorSeries()

    def begin(self, opt: Reported, record: Record) -> None:
        """Begin a run, or go on with one, and note its settings."""
        self._series = MonitorSeries()
        self._own = self._wandb.run is None
        self._run = self._wandb.init(mode=self._chosen_mode(), **self._settings) if self._own else self._wandb.run
        with undone(lambda: self._finish(1)):
            self._run.config.update(configuration(opt, record) | self._config, allow_val_change=True)

    def _chosen_mode(self) -> str | None:
        if self._mode or os.environ.get("WANDB_MODE"):
            return self._mode
        return "online" if self._wandb.login(prompt=False, verify=False) else "offline"

    def write(self, opt: Reported, record: Record) -> None:
        """Write the numbers of a record, unless the run has them."""
        if record.updates >= self._run.starting_step:
            self._run.log(self._series.values(record), step=record.updates)

    def end(self, opt: Reported) -> None:
        """Note the best monitors and why the run ended."""
        try:
            self._run.summary.update({**self._series.best(opt), "stopped": opt.stopped})
        finally:
            self._finish(int(reasons.read(str(opt.stopped)).outcome == "failed"))

    def _finish(self, code: int) -> None:
        """End the run, unless the caller began it."""
        if self._own:
            self._run.finish(exit_code=code)
