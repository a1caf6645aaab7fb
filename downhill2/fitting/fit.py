"""A rule on a problem: update expressions, compiled functions, the best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from .. import climate, config
from ..compiling import DeviceStep, PackedFunction, PackedStorage, backends, uncollected, worth_packing
from ..data.dataset import Dataset
from ..stepping import nonfinite as faults
from ..stepping.halves import Halves, halves
from ..stepping.needs import Backend, Fed
from ..stepping.one_by_one import Best, Compiled, averages, compiled, mode
from ..symbolic import graph, pipeline, synonyms
from ..symbolic.accumulation import Accumulate
from ..symbolic.graph import Variable
from ..symbolic.layout import Layout
from ..symbolic.problem import Pairs, Problem, check_loss, check_updates, find_params
from ..symbolic.rule import Rule
from ..symbolic.sharpness import SAM

logger = climate.get_logger("downhill2")

ON_DEVICE = (DeviceStep, Halves)
"""Steps that may hold values on a device."""


class Fit:
    """A rule on a problem: update expressions, compiled functions, and runs over data.

    Parameters
    ----------
    problem : Problem
    rule : Rule
    reported : mapping of str to str, optional
        Monitors that report the present value of a hyperparameter, with its name.
    backend : str, Mode or None
        What compiles functions; see `compiling.backends`.
    """

    def __init__(
        self, problem: Problem, rule: Rule, reported: Mapping[str, str] | None = None, backend: Backend = None
    ) -> None:
        self.problem, self.rule, self._reported, self.backend = problem, rule, reported or {}, backend
        self.layout = Layout(problem.params, problem.names)
        self.best = self.no_best()
        self.given: dict[str, float] = {}  # hyperparameters that the caller had set for the latest run
        self.left: dict[str, float] = {}  # the same after that run
        self.data: dict[str, Any] = {}  # the signature of its training data
        self.noted: dict[str, Any] = {}  # its settings, for trackers
        self.busy: Callable[[str], AbstractContextManager[Any]] = nullcontext  # shows what takes time, while it does
        self._functions: dict[tuple[Any, ...], Compiled] = {}
        self._packs: dict[tuple[Variable, ...], Any] = {}
        self._apart: dict[Variable, Variable] = {}  # the copies of generators that evaluations draw from
        self._optional: set[str] | None = None
        self._changed: tuple[tuple[Any, ...], Set[Variable]] = (), frozenset()

    def __call__(self, *args: object, **kwargs: object) -> None:
        """Raise TypeError: `opt.fit(train)` is how other packages begin a run."""
        raise TypeError(f"fit must not be called{synonyms.method('fit')}")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or a pickle: without compiled functions, without a display."""
        self.settle()
        return {
            **vars(self),
            "_functions": {},
            "_packs": {},
            "_apart": {},
            "_changed": ((), frozenset()),
            "_optional": None,
            "busy": nullcontext,
        }

    # -- expressions

    def updates(self, gate: Variable | None = None, layout: Layout | None = None) -> dict[Variable, Variable]:
        """Return the new value of every variable under the present hyperparameters."""
        layout = layout or self.layout
        new = pipeline.update(self.rule, self.source().measured, layout, gate)
        return new | Accumulate(self.rule.context).emptied(self.moving) if self.accumulates else new

    def changed(self) -> Set[Variable]:
        """Return the variables that updates change under the present hyperparameters; create the state among them.

        It is kept, as a resumed run needs it three times, and a large model takes seconds to build its updates.
        """
        key = self._known()
        if self._changed[0] != key:
            found = self.updates().keys()
            self._changed = self._known(), found
        return self._changed[1]

    def _known(self) -> tuple[Any, ...]:
        return (*self.rule.hyper.structure(), *self.rule.context.store.variables.values())

    @uncollected()
    def alone(self) -> dict[Variable, Variable]:
        """Return the updates for a function that the caller compiles."""
        if self.accumulates:
            k = self.rule.hyper["accumulate"]
            raise ValueError(
                f"accumulate must be 1 for updates without a run, which knows the rows of batches, got {k}"
            )
        return self.updates() | self.drawn([self.problem.loss])

    def drawn(self, outputs: Iterable[Variable]) -> dict[Variable, Variable]:
        """Return the updates of generators that expressions or hyperparameters use, without those of the caller."""
        found = self.problem.advanced([*outputs, *self.rule.hyper.symbols().values()])
        return {v: new for v, new in found.items() if v not in self.problem.updates}

    @property
    def accumulates(self) -> bool:
        """Whether each update is computed from several batches."""
        return bool(self.rule.hyper["accumulate"] > 1)

    def source(self) -> Problem:
        """Return the problem whose gradients updates use: as it is, of several batches, or elsewhere (`sam`)."""
        problem, context = self.problem, self.rule.context
        if self.accumulates:
            return problem.derived(Accumulate(context).measured(problem.params, self.moving), {})
        if self.rule.hyper.present("sam"):
            return problem.derived(SAM(context).measure(problem.measured), problem.updates)
        return problem

    def check(self) -> None:
        """Raise ValueError for settings that make no sense together or for these parameters."""
        pipeline.check(self.rule, self.layout)

    def guarded(self, check: str, layout: Layout) -> tuple[dict[Variable, Variable], Variable]:
        """Return all updates of a training step, and whether loss, gradients and new values are finite.

        The step is held back if loss, gradients or, with ``check='all'``, new values are not finite.
        """
        problem = self.source()
        # without frozen parameters, whose gradients are not needed
        moving = pipeline.moving(self.rule, layout)
        gate = faults.gate(problem, moving, self.rule.hyper, self.updates(layout=layout) if check == "all" else None)
        own = self.updates(gate, layout)
        sound = gate if check == "all" else gate & faults.finite_values(problem, own)
        clock = self.rule.context.clock
        own[clock] = pt.switch(sound, clock + 1, clock)
        return own | self.given_updates(gate, own, problem.updates), sound

    def given_updates(
        self, gate: Variable, own: Mapping[Variable, Variable], given: Mapping[Variable, Variable]
    ) -> dict[Variable, Variable]:
        """Return the changes of the caller's variables, which happen if the gate is open; raise if one is in `own`."""
        state = {*self.rule.context.store.variables.values()}
        for v in given:
            if v in own or v in state:
                raise ValueError(f"updates must not change {v.name!r}; it is state of {type(self.rule).__name__}")
        return {
            v: pt.switch(gate, graph.cast(new, v.type.dtype), v) if graph.is_tensor(v) else new
            for v, new in given.items()
        }

    @property
    def moving(self) -> Layout:
        """The parameters that updates change."""
        return pipeline.moving(self.rule, self.layout)

    def evaluated(self) -> dict[Variable, Variable]:
        """Return the expressions to evaluate in place of parameters, where they differ."""
        return pipeline.evaluated(self.rule, self.layout)

    @property
    def monitors(self) -> dict[str, Variable]:
        """What is reported, the loss first."""
        return self.problem.monitors | {n: self.rule.hyper.variable(of) for n, of in self._reported.items()}

    # -- compiled functions, each compiled at first need and then reused

    def step(self, feed: Fed, check: str = "gradients") -> Compiled:
        """Return the function for one update from a batch: it returns the monitors before, and if all is finite."""
        key = ("step", check, *self.rule.hyper.structure(), *self._key(feed))
        if key not in self._functions:
            self.check()
            self._log_compilation()
            with self.busy("compiling the training step"), uncollected():
                self._functions[key] = halves(self, feed, check) if self.accumulates else self._step(feed, check)
        return renewed(self._functions[key])

    def _step(self, feed: Fed, check: str) -> Compiled:
        problem, storage = self.problem, PackedStorage(self._packs)
        # groups read the same state in parts and as a whole: it cannot be one vector for both
        packs = config.packed and pipeline.is_whole(self.rule, self.layout)
        packed = worth_packing(problem.params, mode(self.backend).linker) if packs else []
        updates, sound = self.guarded(check, Layout(problem.params, problem.names, packed, store=storage))
        outputs = [*self.monitors.values(), sound]
        updates |= self.drawn([*self.monitors.values(), *problem.updates.values()])
        used = {*graph.shared_inputs([*outputs, *updates.values()])}
        function = compiled(feed, outputs, updates, storage.parts(used), self.backend)
        return PackedFunction(function, storage) if packed else function

    def current(self, feed: Fed, check: str) -> Callable[[], Compiled]:
        """Return a function that returns the step for the present hyperparameters, and finds it fast."""
        return _Current(self, feed, check)

    def evaluation(self, feed: Fed, monitors: Mapping[str, Variable]) -> Compiled:
        """Return the function that computes monitors of a batch; it draws from copies of the present generators."""
        evaluated = self.evaluated()
        structure = self.rule.hyper.structure() if evaluated else ()
        key = ("evaluation", *monitors.values(), *structure, *self._key(feed))
        if key not in self._functions:
            logger.info("compiling the evaluation")
            with self.busy("compiling the evaluation"), uncollected():
                self._functions[key] = self._evaluation(feed, monitors, evaluated)
        if self._apart:
            self.settle()
            graph.assign({copy: v.get_value(borrow=True) for v, copy in self._apart.items()})
        return renewed(self._functions[key])

    def _evaluation(
        self, feed: Fed, monitors: Mapping[str, Variable], evaluated: Mapping[Variable, Variable]
    ) -> Compiled:
        new = self.problem.advanced(monitors.values())
        for v in new:
            self._apart.setdefault(v, graph.shared_like(np.random.default_rng(0), v.name, ()))
        outputs = graph.replaced([*monitors.values(), *new.values()], evaluated)
        count, apart = len(monitors), {v: self._apart[v] for v in new}
        advance = dict(zip(apart.values(), outputs[count:], strict=True))
        return compiled(feed, outputs[:count], advance, apart, self.backend)

    def magnitudes(self, feed: Fed) -> Compiled:
        """Return the function that computes the largest magnitude in each gradient of a batch; slow, ready soon."""
        key = ("magnitudes", *self._key(feed))
        if key not in self._functions:
            # joined to a 0, as a parameter may have no elements
            largest = [pt.max(pt.join(0, [0.0], pt.abs(g).ravel())) for g in self.problem.measured.grads]
            self._functions[key] = faults.inspection(feed, largest)
        return self._functions[key]

    def _key(self, feed: Fed) -> tuple[Any, ...]:
        switches = config.generated, config.products, config.parallel, config.packed
        return (*feed.inputs, *feed.givens.items(), *backends.key(self.backend), *switches)

    def _log_compilation(self) -> None:
        hyper = self.rule.hyper
        now = {n for n in hyper.optional if hyper.present(n)}
        changed = sorted(now ^ self._optional) if self._optional is not None else []
        again = "" if self._optional is None else f" again, because of {', '.join(changed) or 'new settings'}"
        self._optional = now
        logger.info("compiling the training step%s", again)

    @contextmanager
    def undone_on_error(self, backend: Backend) -> Iterator[None]:
        """Take another backend, unless None; if the body raises, restore the former one and the former display."""
        before = self.backend, self.busy
        self.backend = self.backend if backend is None else backend
        try:
            yield
        except BaseException:
            self.backend, self.busy = before
            raise

    # -- values

    def evaluate(self, dataset: Dataset, monitors: Mapping[str, Variable]) -> dict[str, float]:
        """Return the averages of monitors over a dataset."""
        feed = dataset.bind(self.problem.inputs)
        try:
            return averages(self.evaluation(feed, monitors), list(monitors), feed)
        finally:
            self.settle()  # the copies of generators were moved

    def settle(self) -> None:
        """Copy values from a device back: all shared variables then hold arrays of NumPy."""
        for function in self._functions.values():
            if isinstance(function, ON_DEVICE):
                function.settle()

    def no_best(self) -> Best:
        """Return an empty `Best` for a run."""
        return Best(self._present)

    def restore(self, best: Best) -> None:
        """Set the parameters, and state that follows them, to the best values."""
        graph.assign(dict(zip(self.problem.params, best.values, strict=True)))
        pipeline.follow(self.rule, self.layout)
        if self.accumulates:  # the sums belong to other parameters
            Accumulate(self.rule.context).clear(self.moving)

    def _present(self) -> Sequence[np.ndarray]:
        evaluated = self.evaluated()
        if not evaluated:
            return [p.get_value(borrow=True) for p in self.problem.params]
        key = ("evaluated", *self.rule.hyper.structure())
        if key not in self._functions:
            # on the Python linker: it is called once per improvement, which is not worth a compilation
            mode = pytensor.compile.mode.Mode("py", "fast_compile")
            outputs = [evaluated.get(p, p) for p in self.problem.params]
            self._functions[key] = pytensor.function([], outputs, mode=mode)
        return self._functions[key]()


class _Current:
    """The compiled step under the present hyperparameters; looked up again only when their structure changed."""

    def __init__(self, fit: Fit, feed: Fed, check: str) -> None:
        self._fit, self._feed, self._check, self._hyper = fit, feed, check, fit.rule.hyper
        self._function, self._version = fit.step(feed, check), self._hyper.version

    def __call__(self) -> Compiled:
        if self._version != self._hyper.version:
            self._function, self._version = self._fit.step(self._feed, self._check), self._hyper.version
        return renewed(self._function)


def renewed(function: Compiled) -> Compiled:
    """Return a function, renewed so that it sees what others wrote into arrays since its last call."""
    if isinstance(function, ON_DEVICE):
        function.renew()
    return function


def params_beside_data(
    loss: Variable, data: Sequence[object], updates: Pairs, hyper: Mapping[str, object]
) -> list[Variable] | None:
    """Return the parameters of a loss if the data has shared variables too; None if it has none."""
    found = [v for d in data for v in _shared(d)]
    if not found:
        return None
    given = graph.shared_inputs([v for v in hyper.values() if graph.is_variable(v)])
    return find_params(check_loss("loss", loss), {*found, *given, *check_updates(updates)})


def _shared(data: object) -> list[Variable]:
    arrays = data.shared if isinstance(data, Dataset) else data if isinstance(data, list | tuple) else [data]
    return [v for v in arrays if graph.is_shared(v)]
