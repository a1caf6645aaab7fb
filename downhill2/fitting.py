"""One call of `iterate` or `minimize`: its settings, its data, its compiled functions and its loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from . import climate
from .dataset import Dataset
from .running.functions import Best, Compiled, Steps, averages, compiled
from .running.loop import Limits, Record, Run
from .symbolic import graph, pipeline
from .symbolic.graph import Variable
from .symbolic.layout import Layout, Values
from .symbolic.problem import Pairs, Problem, check_loss, check_monitors, check_updates, find_params
from .symbolic.rule import Rule

logger = climate.get_logger("downhill2")


class NonFiniteError(ArithmeticError):
    """A training update met a loss that is not finite; it was held back, and the run stopped.

    Attributes
    ----------
    update : int
        The number of the update, from 1.
    monitor : str
        The monitor that was not finite.
    where : str
        The first input or parameter that holds a value that is not finite, or that none does.
    """

    def __init__(self, update: int, monitor: str, where: str) -> None:
        super().__init__(f"{monitor} is not finite at update {update}; {where}")
        self.update, self.monitor, self.where = update, monitor, where


@dataclasses.dataclass(frozen=True)
class Feeding:
    """How data that is not yet a Dataset becomes one."""

    batch_size: int = 32
    train_batches: int | None = None
    valid_batches: int | None = None
    rng: Any = None
    shuffle: Any = "rows"
    drop_last: bool = False

    def dataset(self, data: Any, name: str) -> Dataset:
        """Return `data` as a Dataset for training or, by the name of ``'valid'``, for evaluation."""
        if isinstance(data, Dataset):
            return data
        if name == "valid":
            return Dataset(data, name, self.batch_size, self.valid_batches, shuffle=False)
        how = {"shuffle": self.shuffle, "drop_last": self.drop_last}
        return Dataset(data, name, self.batch_size, self.train_batches, rng=self.rng, **how)

    def datasets(self, train: Any, valid: Any) -> tuple[Dataset, Dataset]:
        """Return training and validation data; without validation data, the training data serves as both."""
        data = self.dataset(train, "train")
        # data-free losses are validated by valid_batches evaluations, not by as many as an epoch has updates
        same = valid is None and train is not None and self.valid_batches is None
        return data, data if same else self.dataset(train if valid is None else valid, "valid")


RUN_SETTINGS = (
    *(f.name for kind in (Limits, Feeding) for f in dataclasses.fields(kind)),
    "valid_loss",
    "valid_monitors",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a call of `iterate` says of the run: all but the data and hyperparameters."""

    limits: Limits
    feeding: Feeding
    valid_loss: Variable
    valid_monitors: Pairs | None

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> Settings:
        """Take settings out of a call's keywords, which leaves the hyperparameters."""
        limits, feeding = (
            {f.name: given.pop(f.name) for f in dataclasses.fields(kind) if f.name in given}
            for kind in (Limits, Feeding)
        )
        valid = given.pop("valid_loss", None), given.pop("valid_monitors", None)
        return cls(Limits(**limits), Feeding(**feeding), *valid)

    def check_end(self) -> None:
        """Raise ValueError if nothing can end the run."""
        if self.limits.endless:
            raise ValueError(
                "minimize must have an end, got validate_every=None and no limit; "
                "give max_updates, max_epochs, max_seconds or target"
            )

    def monitors(self, problem: Problem) -> dict[str, Variable]:
        """Return what validations report, the loss first."""
        out = dict(problem.monitors)
        if self.valid_monitors is not None:
            out = {"loss": problem.loss, **check_monitors("valid_monitors", self.valid_monitors)}
        if self.valid_loss is not None:
            out["loss"] = check_loss("valid_loss", self.valid_loss)
        for v in graph.explicit_inputs(out.values()):
            if v not in problem.inputs:
                raise ValueError(f"valid_loss and valid_monitors must use the inputs of the loss, got {v} too")
        return out


class Fit:
    """A rule on a problem: update expressions, compiled functions, and runs over data.

    Parameters
    ----------
    problem : Problem
    rule : Rule
    """

    def __init__(self, problem: Problem, rule: Rule) -> None:
        self.problem, self.rule = problem, rule
        self.layout = Layout(problem.params, problem.names)
        self.best = self.forget()
        self._functions: dict[tuple[Any, ...], Compiled] = {}
        self._optional: set[str] | None = None

    # -- expressions

    def updates(self, gate: Variable | None = None) -> dict[Variable, Variable]:
        """Return the new value of every variable under the present hyperparameters."""
        return pipeline.update(self.rule, self.problem.measured, self.layout, gate)

    def guarded(self) -> dict[Variable, Variable]:
        """Return all updates of a training step, held back where the loss is not finite."""
        gate = graph.finite(self.problem.loss)
        own = self.updates(gate)
        for v, new in self.problem.updates.items():
            if v in own:
                raise ValueError(f"updates must not change {v.name!r}; it is state of {type(self.rule).__name__}")
            own[v] = pt.switch(gate, graph.cast(new, v.type.dtype), v) if graph.is_tensor(v) else new
        return own

    def evaluated(self) -> dict[Variable, Variable]:
        """Return what to evaluate in place of parameters, where that is not the parameter itself."""
        params = self.problem.params
        return self.rule.evaluations(self.layout, Values(dict(zip(params, params, strict=True))))

    # -- compiled functions, each compiled at first need and then reused

    def step(self, feed: Any) -> Compiled:
        """Return the function that makes one update from a batch and returns the monitors before it."""
        key = ("step", *self.rule.hyper.structure(), *_key(feed))
        if key not in self._functions:
            self._log_compilation()
            self._functions[key] = compiled(feed, list(self.problem.monitors.values()), self.guarded())
        return self._functions[key]

    def evaluation(self, feed: Any, monitors: Mapping[str, Variable]) -> Compiled:
        """Return the function that computes monitors of a batch."""
        evaluated = self.evaluated()
        structure = self.rule.hyper.structure() if evaluated else ()
        key = ("evaluation", *monitors.values(), *structure, *_key(feed))
        if key not in self._functions:
            logger.info("compiling the evaluation")
            self._functions[key] = compiled(feed, graph.replaced(list(monitors.values()), evaluated), {})
        return self._functions[key]

    def _log_compilation(self) -> None:
        hyper = self.rule.hyper
        now = {n for n in hyper.optional if hyper.present(n)}
        changed = sorted(now ^ self._optional) if self._optional is not None else []
        again = "" if self._optional is None else f" again, because of {', '.join(changed) or 'new settings'}"
        self._optional = now
        logger.info("compiling the training step%s", again)

    # -- runs

    def evaluate(self, dataset: Dataset) -> dict[str, float]:
        """Return the averages of the monitors over a dataset."""
        feed, monitors = dataset.bind(self.problem.inputs), self.problem.monitors
        return averages(self.evaluation(feed, monitors), list(monitors), feed)

    def begin(self, limits: Limits, monitors: Mapping[str, Variable], train: Any, valid: Any) -> Run:
        """Compile, and put a run together.

        Parameters
        ----------
        limits : Limits
        monitors : mapping of str to scalar TensorVariable
            What validations report.
        train, valid : Feed
        """
        best = self.forget()
        step = _Current(self, train)
        if limits.validate_every:
            self.evaluation(valid, monitors)
        run = Run(
            limits,
            step=Steps(step, list(self.problem.monitors), train),
            validate=lambda: averages(self.evaluation(valid, monitors), list(monitors), valid),
            keep=lambda: best.keep(run.progress.validation),
            restore=lambda: self.restore(best),
            fault=lambda: self._fault(run, train),
            report=self._report,
        )
        return run

    def forget(self) -> Best:
        """Begin without a best; a run that is still on keeps its own."""
        self.best = Best(self._present)
        return self.best

    def restore(self, best: Best) -> None:
        """Set the parameters, and state that stands for them, to the best values."""
        for param, value in zip(self.problem.params, best.values, strict=True):
            param.set_value(value)
        self.rule.follow(self.layout)

    def _present(self) -> Sequence[np.ndarray]:
        evaluated = self.evaluated()
        if not evaluated:
            return [p.get_value(borrow=True) for p in self.problem.params]
        # on the Python linker: what is called once an improvement is not worth a compilation
        mode = pytensor.compile.mode.Mode("py", "fast_compile")
        values: Sequence[np.ndarray] = pytensor.function([], [evaluated[p] for p in self.problem.params], mode=mode)()
        return values

    def _fault(self, run: Run, feed: Any) -> NonFiniteError:
        found = feed.fault() or next(
            (
                f"parameter {name!r} holds a value that is not finite"
                for name, p in zip(self.problem.names, self.problem.params, strict=True)
                if not np.isfinite(p.get_value(borrow=True)).all()
            ),
            "all inputs and parameters are finite; lower learning_rate or clip gradients",
        )
        return NonFiniteError(run.progress.updates + 1, "loss", found)

    def _report(self, record: Record) -> None:
        if not logger.isEnabledFor(climate.INFO):
            return
        name = type(self.rule).__name__
        if record.train:
            logger.info(climate.epoch_line(name, record.epoch, record.train))
        if record.validated:
            line = climate.validation_line(name, record.epoch, record.valid, record.improved)
            logger.info(line, extra={"improved": record.improved})


class _Current:
    """The compiled step under the present hyperparameters; looked up again only when their structure changed."""

    def __init__(self, fit: Fit, feed: Any) -> None:
        self._fit, self._feed, self._hyper = fit, feed, fit.rule.hyper
        self._function, self._version = fit.step(feed), self._hyper.version

    def __call__(self) -> Compiled:
        if self._version != self._hyper.version:
            self._function, self._version = self._fit.step(self._feed), self._hyper.version
        return self._function


def _key(feed: Any) -> tuple[Any, ...]:
    return (*feed.inputs, *feed.givens.items(), pytensor.config.mode, pytensor.config.linker)


def params_beside_data(
    loss: Variable, data: Sequence[Any], updates: Pairs, hyper: Mapping[str, Any]
) -> list[Variable] | None:
    """Return the parameters of a loss when arrays of the data are shared variables too; None when none are."""
    found = [v for d in data for v in _shared(d)]
    if not found:
        return None
    given = graph.shared_inputs([v for v in hyper.values() if graph.is_variable(v)])
    return find_params(check_loss("loss", loss), {*found, *given, *check_updates(updates)})


def _shared(data: Any) -> list[Variable]:
    arrays = data.shared if isinstance(data, Dataset) else data if isinstance(data, list | tuple) else [data]
    return [v for v in arrays if graph.is_shared(v)]
