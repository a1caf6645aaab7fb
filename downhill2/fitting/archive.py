"""Checkpoints and history of a run on disk, and how a later run goes on from them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import climate
from ..data.dataset import Feed
from ..keeping.checkpoint import RESULT, CheckpointError, Directory, Tensors, check, holds_run, read, write
from ..keeping.history import History
from ..keeping.journal import Journal
from ..keeping.lock import DirectoryLock
from ..keeping.past import Past
from ..loop.run import Pair, Record
from ..loop.stopping import Progress, reason
from ..stepping.one_by_one import Best
from ..symbolic import graph
from ..symbolic.graph import Variable
from .fit import Fit
from .settings import Settings
from .snapshot import Snapshot

logger = climate.get_logger("downhill2")


class Archive:
    """The checkpoints and the history of one run.

    Parameters
    ----------
    fit : Fit
    settings : Settings
        Where to write, whether to go on, and the limits, which may be reached already.
    feed : Feed
        The training data, whose position is saved too.
    best : Best
        The best so far, saved beside the present values.
    history : History
        From then on it holds only the records of the run that goes on.
    validated : iterable of variables
        What validations compute.

    Attributes
    ----------
    progress : Progress or None
        Where the run stands when it goes on; None: it begins.
    recorded : pair of dict or None
        The last pair, if the run has made no update since.

    Raises
    ------
    ValueError
        If there is an unexpected run, or no run where one was expected; if another run writes there; if a file to be
        written holds something else.
    CheckpointError
        If the checkpoint cannot be read, or is of something else. Nothing is changed then.
    """

    def __init__(
        self, fit: Fit, settings: Settings, feed: Feed, best: Best, history: History, validated: Iterable[Variable]
    ) -> None:
        saving = settings.saving
        self._fit, self._saving, self._limits = fit, saving, settings.limits
        self._feed, self._best, self._history = feed, best, history
        self._snapshot = Snapshot(fit, validated)
        self._given = self._numbers_given()
        self._directory: Directory | None = None
        self._lock: DirectoryLock | None = None
        self._journal = Journal()
        self._improved = self._saved = False
        self._attempts = self._failures = 0
        self._failure = ""  # why the latest save failed
        self.progress: Progress | None = None
        self.recorded: Pair | None = None
        try:
            self._begin(saving.directory)
        except BaseException:
            self.release()
            raise

    def _numbers_given(self) -> dict[str, float]:
        """Return the hyperparameters that the caller has set, without the changes that earlier runs made to them."""
        given, left = self._fit.given, self._fit.left
        numbers = self._fit.rule.hyper.numbers()
        return {n: given[n] if n in given and v == left.get(n) else v for n, v in numbers.items()}

    # -- going on

    def _begin(self, path: Path | None) -> None:
        there = path is not None and self._enter(path)
        self._journal.share(self._saving.shared_history)
        if self._directory is None:
            return
        self._snapshot.warn()
        found = self._directory.latest() if there else None
        self._saved = found is not None
        if found is None:
            self._begin_anew(self._directory)
        else:
            with self._fit.rule.context.store.undone_on_error():
                begin = self._begin_with if self._saving.resume == "params" else self._go_on
                begin(self._directory, *found[1:])
        self._directory.tidy()

    def _enter(self, path: Path) -> bool:
        """Make the directory this run's own; return whether there is a run to go on with."""
        self._check_resume(path)
        check(self._snapshot.tensors(), self._snapshot.meta())  # raises now, and not at the first save after an hour
        self._directory = Directory(path, self._saving.keep)
        try:
            self._lock = DirectoryLock(path)
        except OSError as error:
            raise CheckpointError(f"cannot keep checkpoints in {path}: {error.strerror or error}") from error
        return self._check_resume(path)  # again, as a run may have ended there meanwhile

    def _begin_anew(self, directory: Directory) -> None:
        """Begin where there is no checkpoint, after the records of a run that left none."""
        _ending(directory)  # raises if the file does not belong to a run
        self._journal.open(directory.history)
        if self._journal.begin:
            logger.warning("%s has the history of a run, and no checkpoint: the run begins anew", directory.path)
        (directory.path / RESULT).unlink(missing_ok=True)  # it belongs to a run whose checkpoints were removed

    def _check_resume(self, path: Path) -> bool:
        """Return whether there is a run to go on with; raise if `resume` expects something else."""
        resume, there = self._saving.resume, holds_run(path)
        if there and not resume:
            raise ValueError(
                f"checkpoint must name a directory without a run, got {path}; resume='auto' goes on with it"
            )
        if not there and resume in (True, "params"):
            raise ValueError(f"checkpoint must name a directory with a run to resume, got {path}")
        return there

    def _begin_with(self, directory: Directory, tensors: Tensors, meta: Mapping[str, object]) -> None:
        """Begin a run with the parameters of another one, and replace that; after an error the other one stays."""
        with contextlib.suppress(CheckpointError):
            _ending(directory)  # raises if the file does not belong to a run
        params = self._fit.problem.params
        before = [p.get_value() for p in params]
        self._snapshot.apply_params(tensors, meta)
        try:
            self._fit.changed()  # creates the state, which may start at the parameters
            self._journal.open(directory.history)
            # at once, so that after a kill at any moment the directory holds one run with its own history
            self._write(directory, Progress())
        except BaseException:
            graph.assign(dict(zip(params, before, strict=True)))
            raise
        (directory.path / RESULT).unlink(missing_ok=True)

    def _go_on(self, directory: Directory, tensors: Tensors, meta: dict[str, Any]) -> None:
        """Set everything to the values in a checkpoint; change nothing if a part of it does not fit."""
        self._fit.changed()  # creates the state that is compared and set
        self._snapshot.check(tensors, meta)
        progress = _progress(meta)
        result = self._result(directory, progress)
        past = Past(directory.history, meta.get("begin", 0), (result or meta)["history"])
        self._restore_position(meta)
        if result is None:
            (directory.path / RESULT).unlink(missing_ok=True)  # the history will differ from that of the result
        self._journal.go_on(past)
        self._history.replace(past.records)
        self._snapshot.restore(tensors, {**meta, "hyper": self._numbers(meta)})
        self._best.values, self._best.monitors = self._snapshot.best_values(tensors), dict(meta["best_monitors"])
        if progress.sums and not progress.ended and not self._feed.done:
            progress.sums, progress.rows = {}, 0.0  # the epoch has to begin again
        self.progress = progress
        if result is not None:
            self._take(result)
        elif past.whole and not progress.is_open:
            self.recorded = next(((r.train, r.valid) for r in reversed(past.records) if r.train), None)

    def _result(self, directory: Directory, progress: Progress) -> dict[str, Any] | None:
        """Return the result of the run if it ended at this point, and if the present limits end it here too."""
        try:
            result = _ending(directory)
        except CheckpointError:
            return None
        length = directory.history.stat().st_size if directory.history.exists() else 0
        if result is None or result["history"] > length:
            return None
        end = Progress(**result["progress"])
        ends = all(reason(p, self._limits) for p in (progress, end))
        return result if ends and end.updates == progress.updates else None

    def _take(self, result: Mapping[str, Any]) -> None:
        context = self._fit.rule.context
        context.epochs.set_value(np.int64(result["epochs"]))
        context.rate_factor.set_value(result["rate_factor"])
        self.progress = progress = Progress(**result["progress"])
        self.recorded = result["pair"][0], result["pair"][1]
        if result["improved"]:
            self._best.keep(progress.validation)
            self._improved = True

    def recover(self) -> bool:
        """Set the parameters to those of the latest checkpoint; return whether there were finite ones."""
        try:
            found = self._directory and self._directory.latest()
        except CheckpointError as error:
            logger.error("%s", error)
            return False
        if not found or not all(np.isfinite(t).all() for n, t in found[1].items() if n.startswith("params.")):
            return False
        self._snapshot.apply_params(*found[1:])
        return True

    def _restore_position(self, meta: Mapping[str, Any]) -> None:
        now, then = self._feed.signature(), meta["data"]
        if now != then:
            changed = ", ".join(f"{n} {then.get(n)!r}, got {now[n]!r}" for n in now if now[n] != then.get(n))
            raise CheckpointError(
                f"the checkpoint is of other training data: {changed}; resume='params' takes the parameters alone"
            )
        try:
            self._feed.restore(meta["position"])
        except ValueError as error:
            raise CheckpointError(f"the checkpoint is of other training data: {error}") from error

    def _numbers(self, meta: Mapping[str, Any]) -> dict[str, float]:
        """Return the hyperparameters to go on with: those of the checkpoint, or what the caller has set since."""
        changed = {n: v for n, v in self._given.items() if v != meta["given"].get(n)}
        for name, value in changed.items():
            logger.info("%s is %g, as it is given now, and not as in the checkpoint", name, value)
        return {**meta["hyper"], **changed}

    # -- what the loop calls

    def save(self, progress: Progress) -> str | None:
        """Write a checkpoint, if there is a directory; return why that was not possible, None otherwise."""
        return None if self._directory is None else self._save(self._directory, progress)

    def improve(self) -> None:
        """Take note that the next checkpoint is the best."""
        self._improved = True

    def append(self, record: Record) -> None:
        """Add a record to the history's files."""
        self._journal.append(record)

    def _save(self, directory: Directory, progress: Progress) -> str | None:
        """Write a checkpoint, or return why that failed; log the first failure, and let the run go on."""
        self._attempts += 1
        try:
            self._write(directory, progress)
        except (CheckpointError, OSError) as error:
            logger.log(logging.INFO if self._failures else logging.ERROR, "%s; the run goes on", error)
            self._failures += 1
            self._failure = str(error)
            return self._failure if self._saved else f"{error}; the run has no checkpoint yet"
        self._saved = True
        return None

    def _write(self, directory: Directory, progress: Progress) -> None:
        self._check_ours(directory)
        tensors = {**self._snapshot.tensors(), **self._snapshot.best_tensors(self._best)}
        directory.save(progress.updates, tensors, self._meta(progress), best=self._improved)
        self._improved = False

    def _check_ours(self, directory: Directory) -> None:
        if self._lock is not None and self._lock.lost:
            raise CheckpointError(f"cannot write in {directory.path}: it was removed, and another run has it now")

    def _meta(self, progress: Progress) -> dict[str, Any]:
        return {
            **self._snapshot.meta(),
            "given": self._given,
            "progress": dataclasses.asdict(progress),
            "best_monitors": self._best.monitors,
            "data": self._feed.signature(),
            "position": self._feed.state(),
            "begin": self._journal.begin,
            "history": self._journal.sync(),
        }

    def close(self, progress: Progress, pair: Pair | None) -> None:
        """Close the history; save how the run ended, so that a call with the same limits returns that at once."""
        self._fit.given, self._fit.left = self._given, self._fit.rule.hyper.numbers()
        end = self._journal.close()
        if self._directory is not None and pair is not None and self._saved:
            try:
                self._check_ours(self._directory)
                write(self._directory.path / RESULT, {}, {**self._result_of(progress, pair), "history": end})
            except CheckpointError as error:
                logger.error("%s; the run has ended all the same", error)
        self._tell_failures()

    def _tell_failures(self) -> None:
        if self._failures:
            logger.warning(
                "%d of %d checkpoints of the run could not be written%s; why the last one: %s",
                *(self._failures, self._attempts),
                *("" if self._saved else ", and there is none to go on from", self._failure),
            )

    def release(self) -> None:
        """Let other runs write here; it may be called again."""
        self._journal.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _result_of(self, progress: Progress, pair: Pair) -> dict[str, Any]:
        context = self._fit.rule.context
        return {
            "epochs": int(context.epochs.get_value()),
            "rate_factor": float(context.rate_factor.get_value()),
            "progress": dataclasses.asdict(dataclasses.replace(progress, stopped=None)),
            "pair": pair,
            "improved": self._improved,
        }


def _ending(directory: Directory) -> dict[str, Any] | None:
    """Return how the run of a directory ended, None if it has not; raise if another file is in its place.

    Raises
    ------
    ValueError
        If the file does not belong to a run.
    CheckpointError
        If it cannot be read.
    """
    path = directory.path / RESULT
    if not path.exists():
        return None
    _, result = read(path)
    if "pair" not in result:
        raise ValueError(
            f"checkpoint must name a directory where {RESULT} is that of a run, got {directory.path}; move that file, "
            "or name another directory"
        )
    return result


def _progress(meta: Mapping[str, Any]) -> Progress:
    """Return where the run of a checkpoint stood."""
    try:
        return Progress(**meta["progress"])
    except KeyError as error:
        raise CheckpointError("the checkpoint is of no run; opt.load sets an optimizer to it") from error
    except TypeError as error:
        raise CheckpointError(f"the checkpoint is of another version of downhill2: {error}") from error
