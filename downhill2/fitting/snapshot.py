"""All that the rest of a run depends on, as arrays and JSON; restored only after it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np

from .. import checks, climate
from ..keeping.checkpoint import CheckpointError
from ..keeping.generators import Differences, compare_names, generator_from, generator_state
from ..stepping.one_by_one import Best
from ..symbolic import graph
from ..symbolic.graph import Variable
from ..symbolic.places import places
from ..symbolic.problem import Problem
from .fit import Fit

logger = climate.get_logger("downhill2")

Tensors = Mapping[str, np.ndarray]

_warned: WeakSet[Problem] = WeakSet()


class Snapshot:
    """The variables of a rule on a problem, under their names in a checkpoint.

    ``params.W`` is a parameter, ``state.W.adam.m`` the rule's state, ``updates.count`` a variable that the caller's
    updates, or a `default_update`, change, ``valid.count`` one that only validations change, ``hyper.scale`` one that
    a symbolic hyperparameter is computed from and a callback may change, ``best.W`` the best value of a parameter.
    Parameters without a name are called ``unnamed0``, ``unnamed1`` in the order of the parameters, the second of two
    called W is ``W#2``.

    Parameters
    ----------
    fit : Fit
        The state of its rule must exist.
    validated : iterable of variables
        What validations compute.
    """

    def __init__(self, fit: Fit, validated: Iterable[Variable] = ()) -> None:
        self._fit, self._problem, self._rule = fit, fit.problem, fit.rule
        self._validated = list(validated)

    def variables(self) -> dict[str, Variable]:
        """Return every shared variable that a run changes, by name."""
        problem, store = self._problem, self._rule.context.store
        numbers = self._rule.hyper.symbols().values()
        trained = _moving([*problem.monitors.values(), *problem.updates.values(), *numbers])
        loose = dict.fromkeys([*problem.updates, *trained])
        validated = [v for v in _moving(self._validated) if v not in loose]
        context = self._rule.context
        elsewhere = {*problem.params, *store.variables.values(), *loose, *validated, *numbers}
        elsewhere |= {context.clock, context.epochs, context.rate_factor}
        given = [v for v in graph.shared_inputs(numbers) if graph.is_tensor(v) and v not in elsewhere]
        return {
            **{f"params.{n}": p for n, p in zip(problem.names, problem.params, strict=True)},
            **{f"state.{n}": v for n, v in store.variables.items()},
            **{f"updates.{n}": v for n, v in zip(graph.labels([*loose]), loose, strict=True)},
            **{f"valid.{n}": v for n, v in zip(graph.labels(validated), validated, strict=True)},
            **{f"hyper.{n}": v for n, v in zip(graph.labels(given), given, strict=True)},
        }

    @cached_property
    def alike(self) -> dict[str, Variable]:
        """The tensors by name that only their order distinguishes: one name or none, one shape and dtype."""
        found: dict[Any, dict[str, Variable]] = {}
        for n, v in self.variables().items():
            if not n.startswith("state.") and not graph.is_generator(v):
                found.setdefault((n.partition(".")[0], v.name, _kind(v)), {})[n] = v
        return {n: v for same in found.values() if len(same) > 1 for n, v in same.items()}

    @cached_property
    def _places(self) -> dict[str, str]:
        alike = self.alike
        return dict(zip(alike, places(self._problem.loss, [*alike.values()]), strict=True)) if alike else {}

    def warn(self) -> None:
        """Log, once for a problem, which variables a file matches by their order."""
        if self.alike and self._problem not in _warned:
            _warned.add(self._problem)
            logger.warning(
                "%s have no name of their own and one shape: files tell them apart by their order in the loss alone; "
                "name them, pytensor.shared(..., name='W')",
                ", ".join(self.alike),
            )

    # -- out

    def tensors(self) -> dict[str, np.ndarray]:
        """Return all tensors by name: no copies, as a checkpoint is written before anything changes."""
        # another backend may leave its own kind of array in a variable
        named = self.variables().items()
        return {n: np.asarray(v.get_value(borrow=True)) for n, v in named if not graph.is_generator(v)}

    def meta(self) -> dict[str, Any]:
        """Return what is not a tensor: the algorithm, its clock and numbers, and random generators."""
        hyper, context = self._rule.hyper, self._rule.context
        generators = {n: v.get_value() for n, v in self.variables().items() if graph.is_generator(v)}
        return {
            "algorithm": type(self._rule).__name__.lower(),
            "updates": int(context.clock.get_value()),
            "epochs": int(context.epochs.get_value()),
            "rate_factor": float(context.rate_factor.get_value()),
            "hyper": hyper.numbers(),
            "settings": hyper.settings(),
            "groups": self._groups(),
            "places": self._places,
            "generators": {n: generator_state(g) for n, g in generators.items()},
        }

    def _groups(self) -> list[list[str]]:
        """Return the algorithm and the names of the parameters of each group."""
        names = dict(zip(self._problem.params, self._problem.names, strict=True))
        return [[type(rule).__name__.lower(), *(names[p] for p in params)] for rule, params in self._rule.members]

    # -- in

    def differences(self, tensors: Tensors, meta: Mapping[str, Any]) -> Differences:
        """Return how names, shapes and dtypes differ from those of this snapshot's tensors.

        State that the checkpoint lacks counts only if its hyperparameters need it.
        """
        found = {n: t for n, t in tensors.items() if not n.startswith("best.")}
        idle = self._idle({*found, *meta["generators"]}, meta["hyper"])
        variables = {n: v for n, v in self.variables().items() if not graph.is_generator(v)}
        expected = {n: _kind(v) for n, v in variables.items() if n in found or v not in idle}
        return compare_names(expected, found)

    def _idle(self, found: Set[str], numbers: Mapping[str, float]) -> set[Variable]:
        """Return the state that no update changes under these hyperparameters; create it if it was found."""
        hyper, store = self._rule.hyper, self._rule.context.store
        now, before = hyper.numbers(), {*store.variables}
        try:
            if any(n.startswith("state.") for n in found - self.variables().keys()):
                # state of options that were on and now are off; 0.5 is in the range of each
                hyper.set_numbers({n: 0.5 for n in hyper.optional if not hyper.present(n)})
                self._fit.changed()
                store.discard(n for n in store.variables.keys() - before if f"state.{n}" not in found)
            hyper.set_numbers(numbers)
            return {*store.variables.values()} - self._fit.changed()
        finally:
            hyper.set_numbers(now)

    def check(self, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Raise CheckpointError unless everything that `apply` sets is there and fits."""
        own = self.meta()
        if lacking := [n for n in own if n not in meta and n != "places"]:
            raise CheckpointError(f"the checkpoint is of no optimizer: it has no {lacking[0]!r}")
        if meta["algorithm"] != own["algorithm"]:
            raise CheckpointError(f"the checkpoint is of {meta['algorithm']}, got {own['algorithm']}")
        if meta["groups"] != own["groups"]:
            raise CheckpointError(f"the checkpoint is of other groups, {meta['groups']}, got {own['groups']}")
        if meta["settings"] != own["settings"]:
            changed = [n for n in own["settings"] if own["settings"][n] != meta["settings"].get(n)]
            raise CheckpointError(f"the checkpoint is of other settings of {', '.join(changed)}")
        if found := self.differences(tensors, meta):
            raise CheckpointError(f"the checkpoint is of another model: {found}")
        self._check_order(meta)
        if set(meta["generators"]) != set(own["generators"]):
            raise CheckpointError(
                f"the checkpoint has the generators {sorted(meta['generators'])}, got {sorted(own['generators'])}"
            )
        try:
            _generators(meta)
        except ValueError as error:
            raise CheckpointError(f"the checkpoint has a random generator that is none: {error}") from error
        try:
            _clocks(meta)
        except (OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint has clocks that are none: {error}") from error

    def _check_order(self, meta: Mapping[str, Any]) -> None:
        """Raise CheckpointError if variables that only their order distinguishes have changed places for certain."""
        if moved := self._moved(meta):
            raise CheckpointError(
                f"the checkpoint has {', '.join(moved)} in another order: where one of them stood in the loss, another "
                "stands now; name them, or put the terms of the loss back in their order"
            )

    def _moved(self, meta: Mapping[str, Any]) -> list[str]:
        """Return the names of variables that only their order tells apart, where certainly others stand now."""
        then, now = meta.get("places") or {}, self._places
        moved = [n for n in now if n in then and then[n] != now[n]]
        return moved if sorted(then.values()) == sorted(now.values()) else []

    def _with_state(self, moved: Iterable[str], found: Iterable[str]) -> tuple[str, ...]:
        """Return names of variables and of the state of those that are parameters, as far as they were found."""
        owners = {n.removeprefix("params.") for n in moved if n.startswith("params.")}
        # state is called by its owner, rule and symbol
        state = (n for n in found if n.startswith("state.") and n[6:].rsplit(".", 2)[0] in owners)
        return (*moved, *state)

    def apply_params(self, tensors: Tensors, meta: Mapping[str, object]) -> None:
        """Set the parameters alone.

        Raises
        ------
        CheckpointError
            If the checkpoint does not have them all.
        """
        params = {f"params.{n}": p for n, p in zip(self._problem.names, self._problem.params, strict=True)}
        found = {n: t for n, t in tensors.items() if n.startswith("params.")}
        if differences := compare_names({n: _kind(p) for n, p in params.items()}, found):
            raise CheckpointError(f"the checkpoint is of another model: {differences}")
        self._check_order(meta)
        graph.assign({p: found[name] for name, p in params.items()})

    def restore(self, tensors: Tensors, meta: Mapping[str, object]) -> None:
        """Set every variable to the value in a checked checkpoint; reset the state that it does not have."""
        self._rule.context.store.reset()
        self.apply(tensors, meta)

    def apply(self, tensors: Tensors, meta: Mapping[str, Any]) -> Differences:
        """Set variables to the values in a checkpoint; return those that it lacks, or that do not fit."""
        generators, (updates, epochs, factor) = _generators(meta), _clocks(meta)
        found, variables = {**tensors, **generators}, self.variables()
        moved = self._with_state(self._moved(meta), found)
        differences = replace(self.differences(tensors, meta), moved=moved)
        wrong = {*differences.unexpected, *differences.shapes, *differences.dtypes, *moved}
        graph.assign({v: found[n] for n, v in variables.items() if n in found and n not in wrong})
        self._rule.context.clock.set_value(updates)
        self._rule.context.epochs.set_value(epochs)
        self._rule.context.rate_factor.set_value(factor)
        self._rule.hyper.set_numbers(meta["hyper"])
        return differences

    def best_tensors(self, best: Best) -> dict[str, np.ndarray]:
        """Return the best values by name; none if there is no best yet."""
        return {f"best.{n}": v for n, v in zip(self._problem.names, best.values, strict=False)}

    def best_values(self, tensors: Tensors) -> list[np.ndarray]:
        """Return the best values that a checkpoint holds, in the order of the parameters; none if it has none."""
        return [tensors[f"best.{n}"] for n in self._problem.names if f"best.{n}" in tensors]


def _generators(meta: Mapping[str, Any]) -> dict[str, np.random.Generator]:
    return {n: generator_from(state) for n, state in meta["generators"].items()}


def _clocks(meta: Mapping[str, object]) -> tuple[np.int64, np.int64, float]:
    updates, epochs = (np.int64(checks.integer(name, meta[name], 0)) for name in ("updates", "epochs"))
    return updates, epochs, checks.number("rate_factor", meta["rate_factor"], at_least=0)


def _moving(used: Iterable[Variable]) -> list[Variable]:
    """Return the shared variables of expressions that change when these are computed, or draw random numbers."""
    found = graph.shared_inputs(used)
    for v in found:  # the list grows: variables of an update may have an update themselves
        if v.default_update is not None:
            found += [u for u in graph.shared_inputs([v.default_update]) if u not in found]
    return [v for v in found if graph.is_generator(v) or v.default_update is not None]


def _kind(v: Variable) -> tuple[tuple[int, ...], str]:
    value = v.get_value(borrow=True)
    return value.shape, value.dtype
