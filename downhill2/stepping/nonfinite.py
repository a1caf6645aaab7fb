"""Updates that are not finite, or whose settings are out of range: how they are held back and reported."""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from ..checks import choice, conform, integer, number
from ..loop import reasons
from ..loop.stopping import Progress
from ..symbolic import graph
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyperparameters, fed
from ..symbolic.layout import Layout, Values
from ..symbolic.problem import Problem
from .needs import Arrays, BatchSource, Expressions, Fed

logger = logging.getLogger("downhill2")

POLICIES = ("raise", "stop", "skip", "rollback")
CHECKS = ("gradients", "all")


class NonFiniteError(ArithmeticError):
    """A training update met a number that is not finite, or a hyperparameter out of its range, and the run stopped.

    The update was held back or undone.

    Attributes
    ----------
    update : int
        The number of the update in its run, from 1.
    monitor : str
        What was at fault: ``'loss'``, ``"gradient of 'W'"``, ``"new value of 'W.adam.v'"`` or
        ``"hyperparameter 'learning_rate'"``.
    where : str
        The first parameter, state, variable of `updates=` or input (with its row) with a value that is not finite, or
        that there is none; for a hyperparameter, its value and its origin.
    batch : str
        The rows of the batch, if it has any, and the largest finite gradient.
    outcome : str
        How parameters, state and variables of `updates=` that were not finite were set; empty if all were finite.
    """

    def __init__(
        self, update: int, monitor: str, where: str, batch: str = "", outcome: str = "", fault: str = "not finite"
    ) -> None:
        details = f"{batch and f' ({batch})'}{outcome and f'; {outcome}'}"
        super().__init__(f"{monitor} is {fault} at update {update}; {where}{details}")
        self.update, self.monitor, self.where, self.batch, self.outcome = update, monitor, where, batch, outcome


@dataclass(frozen=True)
class Guard:
    """What is checked at every update, and what happens when it is not finite.

    Parameters
    ----------
    on_nonfinite : {'raise', 'stop', 'skip', 'rollback'}
        Raise `NonFiniteError`; end the run; leave the update out and go on; or go back to the best parameters with
        fresh state and a smaller rate.
    check : {'gradients', 'all'}
        What must be finite, or else the update is held back: its loss, its gradients and the new values of the caller's
        `updates=`, or also all new values of parameters and state.
    nonfinite_limit : int
        How many updates in a row may be left out, or how often a run may go back; the next fault raises.
    rollback_factor : float
        Factor of the rate at each rollback, in (0, 1].

    Notes
    -----
    An update with finite loss and gradients may still write or read a parameter or state that is not finite: a square
    overflows, memory fails. With ``check='gradients'`` such an update is found after it is made, and undone: under
    every policy the parameters become the best ones, or, without a best, those of the latest checkpoint, and state
    starts afresh. If there is neither, `NonFiniteError` says so, and they stay as they are.

    An update is also held back if a hyperparameter is not finite or leaves its range: a schedule, a function, a shared
    variable or an expression may return NaN, or a rate below 0. Leaving updates out or going back would not change it,
    so `NonFiniteError` names it under every policy except ``'stop'``. A hyperparameter that is computed from the batch
    is treated like a gradient. A value below its range by rounding alone is allowed.

    A variable that the caller's `updates=` change (a running mean, say) never gets a value that is not finite: the
    whole update is held back. If such a value was set from outside, the next update fails, and under every policy the
    variable then gets the value that it had when the run was called. Variables that only have a `default_update` are
    not checked.

    For a step of Adam on a network 784-512-512-10 with batches of 128, on one thread, the check of loss and gradients
    costs 2 to 3 % of the time: it reads each gradient once. The check of new values costs nothing measurable: it is
    part of the loop that writes them. With ``check='all'`` all new values must be known before the first is written,
    and pass through memory once more: 19 to 20 % in all, and memory for a copy of parameters and state.
    """

    on_nonfinite: str = "raise"
    check: str = "gradients"
    nonfinite_limit: int = 10
    rollback_factor: float = 0.5

    def __post_init__(self) -> None:
        conform(self, "on_nonfinite", choice, POLICIES)
        conform(self, "check", choice, CHECKS)
        conform(self, "nonfinite_limit", integer, 0)
        conform(self, "rollback_factor", number, above=0, at_most=1)


class Faults:
    """What a run does about updates that are not finite.

    Parameters
    ----------
    guard : Guard
    fit : Fit
    feed : Feed
        Where the batches come from.
    go_back : callable
        Goes back to finite parameters, with fresh state and a rate times its argument; returns a name of these
        parameters, None if there are none.
    """

    def __init__(
        self, guard: Guard, fit: Expressions, feed: BatchSource, go_back: Callable[[float], str | None]
    ) -> None:
        self._guard, self._fit, self._feed, self._go_back = guard, fit, feed, go_back
        self._start = {v: v.get_value() for v in fit.problem.updates if _is_float(v)}
        self._told = False

    def meet(self, progress: Progress, arrays: Arrays, loss: float, note: Callable[[str], None]) -> str | None:
        """Handle an update from these arrays, with this loss; return why the run is to end, None to go on.

        `note` takes the event for the next record.
        """
        policy, broken = self._guard.on_nonfinite, self._broken()
        with np.errstate(all="ignore"):  # the error says better what NumPy would warn of
            numbers = self._numbers(arrays)
            found = self._of_number(numbers) or self._found(arrays, loss, broken)
        restarted = self._restart(broken)
        rolls, undo = policy == "rollback", len(broken) > len(restarted)
        count = progress.rollbacks + 1 if rolls or undo else progress.faults
        ends = policy in ("raise", "stop") or count > self._guard.nonfinite_limit or self._stay(numbers)
        factor = self._guard.rollback_factor if rolls and not ends else 1.0
        returns = undo or (rolls and not ends)
        target = self._go_back(factor) if returns else None
        lost = returns and target is None
        outcome = "; ".join([*([_outcome(target)] if returns else []), *restarted])
        error = NonFiniteError(progress.updates + 1, *found, outcome, _fault(numbers))
        if policy != "stop" and (ends or lost):
            raise error
        progress.rollbacks += returns
        level = logging.INFO if self._told and not ends else logging.WARNING  # each is also an event of the history
        logger.log(level, "%s; %s", error, "stopping" if ends else f"going on{_rate(factor)}")
        self._told = True
        told = f"{_event(policy, target)} after update {progress.updates}{_rate(factor)}"
        why = numbers and ": " + ", ".join(f"{n} is {x}" for n, x in numbers.items())
        note(", ".join([f"{told}{why or ''}", *restarted]))
        return reasons.NON_FINITE.text if ends else None

    def _variables(self) -> dict[str, tuple[str, Variable]]:
        """Return all variables of floating point by name, with their kind; state first, as it is often the cause."""
        problem, state = self._fit.problem, self._fit.rule.context.store.variables
        kinds = [*(("parameter", p) for p in problem.params), *(("variable", v) for v in problem.updates)]
        named = dict(zip(graph.labels([v for _, v in kinds]), kinds, strict=True))
        named = {**{n: ("state", v) for n, v in state.items()}, **named}
        return {n: (kind, v) for n, (kind, v) in named.items() if _is_float(v)}

    def _broken(self) -> dict[str, str]:
        """Return the names of variables that are not finite, with their kinds."""
        return {n: kind for n, (kind, v) in self._variables().items() if not _holds_finite(v)}

    def _numbers(self, arrays: Arrays) -> dict[str, float]:
        """Return the hyperparameters that are not finite, or out of range, as they are for this batch."""
        variables, allowed = self._fit.rule.hyper.present_variables(), self._fit.rule.hyper.allowed()
        values = inspection(self._feed, [*variables.values(), *allowed.values()])(*arrays)
        found = zip(variables, values[: len(variables)], values[len(variables) :], strict=True)
        return {n: float(x) for n, x, good in found if not good}

    def _of_number(self, numbers: Mapping[str, float]) -> tuple[str, str, str] | None:
        """Return what `_found` returns for the first hyperparameter at fault; None if there is none."""
        for name, value in numbers.items():
            made, hyper = int(self._fit.rule.context.clock.get_value()), self._fit.rule.hyper
            condition = f"it must be {hyper.numeric()[name].condition()}"
            where = f"after {made:,} updates it is {value}, from {hyper.driver(name)}; "
            where += condition if np.isfinite(value) else "give it a finite value"
            return f"hyperparameter {name!r}", where, self._feed.rows() if self._depend_on_data([name]) else ""
        return None

    def _depend_on_data(self, names: Iterable[str]) -> bool:
        return all(fed(self._fit.rule.hyper.variable(n)) for n in names)

    def _stay(self, numbers: Mapping[str, float]) -> bool:
        """Whether there are hyperparameters at fault, and another batch would not change that."""
        return bool(numbers) and not self._depend_on_data(numbers)

    def _restart(self, broken: Mapping[str, str]) -> list[str]:
        """Set broken variables of the caller to their values at the start; return a text for each."""
        variables, names = self._variables(), [n for n, kind in broken.items() if kind == "variable"]
        for name in names:
            variable = variables[name][1]
            variable.set_value(self._start[variable])
        return [f"{name!r} back to its start" for name in names]

    def _found(self, arrays: Arrays, loss: float, broken: Mapping[str, str]) -> tuple[str, str, str]:
        """Return what is not finite, its origin, and what is known of the batch."""
        names = self._fit.problem.names
        sizes = dict(zip(names, self._fit.magnitudes(self._feed)(*arrays), strict=True))
        finite = {n: float(s) for n, s in sizes.items() if np.isfinite(s)}
        largest = max(finite, key=finite.__getitem__, default=None)
        told = "no gradient is finite" if largest is None else f"largest gradient {finite[largest]:.3g}, of {largest!r}"
        batch = "; ".join(filter(None, (self._feed.rows(), told)))
        return self._monitor(arrays, loss, broken, [n for n in names if n not in finite]), self._where(broken), batch

    def _monitor(self, arrays: Arrays, loss: float, broken: Mapping[str, str], grads: Sequence[str]) -> str:
        if not np.isfinite(loss):
            return "loss"
        for name in broken:
            return f"new value of {name!r}"
        for name in grads:
            return f"gradient of {name!r}"
        new, are_finite = self._new_values
        for name, is_finite in zip(new, are_finite(*arrays), strict=True):
            if not is_finite:
                return f"new value of {name!r}"
        return "a gradient"  # it came from random numbers, and now others are drawn

    def _where(self, broken: Mapping[str, str]) -> str:
        # broken variables first: input that is not finite is held back and breaks nothing
        for name, kind in broken.items():
            return f"{kind} {name!r} holds a value that is not finite"
        return self._feed.fault() or "all inputs and parameters are finite; lower learning_rate or clip gradients"

    @cached_property
    def _new_values(self) -> tuple[list[str], Callable[..., list[np.ndarray]]]:
        """Names of variables whose updates are held back, and the function that says which new values are finite."""
        own = self._fit.updates() if self._guard.check == "all" else {}
        new = {**_given(self._fit.problem), **own}
        known = {n: new[v] for n, (_, v) in self._variables().items() if v in new}
        return list(known), inspection(self._feed, [graph.finite(e) for e in known.values()])


def _fault(numbers: Mapping[str, float]) -> str:
    return "out of range" if numbers and np.isfinite(next(iter(numbers.values()))) else "not finite"


def _outcome(target: str | None) -> str:
    if target is None:
        return "there are no best parameters and no checkpoint to go back to"
    return f"back to {target}, with fresh state"


def _event(policy: str, target: str | None) -> str:
    if policy == "stop":
        return "stopped at a fault"
    if target is None:
        return "skipped an update"
    return "rolled back" if policy == "rollback" else f"went back to {target}"


def _rate(factor: float) -> str:
    return "" if factor == 1 else f", rate times {factor:g}"


def inspection(feed: Fed, outputs: Sequence[Variable]) -> Callable[..., list[np.ndarray]]:
    """Return a function that computes expressions of a batch on the Python linker, which compiles nothing."""
    function: Callable[..., list[np.ndarray]] = pytensor.function(
        feed.inputs,
        list(outputs),
        givens=feed.givens,
        mode=pytensor.compile.mode.Mode("py", "fast_compile"),
        on_unused_input="ignore",
    )
    return function


def gate(
    problem: Problem,
    layout: Layout,
    hyper: Hyperparameters | None = None,
    new: Mapping[Variable, Variable] | None = None,
) -> Variable:
    """Return whether all that an update is computed from is finite, and also `new` values: a symbolic boolean.

    That is the loss, every gradient and the new values of the caller's own variables; hyperparameters are in range.
    """
    present = [] if hyper is None else hyper.allowed().values()
    grads = Values(dict(zip(problem.params, problem.measured.grads, strict=True)))
    joined = [grads.read(bundle) for bundle in layout.bundles("element")]
    measured = graph.all_finite([problem.loss, *joined, *_given(problem).values()])
    measured = functools.reduce(operator.and_, present, measured)
    return measured if new is None else measured & finite_values(problem, new)


def finite_values(problem: Problem, new: Mapping[Variable, Variable]) -> Variable:
    """Return whether the new values of parameters and state are finite: a symbolic boolean.

    The values of a parameter and of its state are checked together, element by element, so that the check becomes part
    of the loop that computes them, and only one byte for each element is read again.
    """
    owners = dict(zip(problem.params, problem.names, strict=True))
    together: dict[Any, list[Variable]] = {}
    for v, e in new.items():
        if _is_float(v):
            # the name of state is owner, rule and symbol
            owner = owners[v] if v in owners else str(v.name).rsplit(".", 2)[0]
            key = owner, v.type.shape, v.get_value(borrow=True).shape
            together.setdefault(key, []).append(pt.isfinite(e))
    return functools.reduce(operator.and_, (pt.all(functools.reduce(operator.and_, xs)) for xs in together.values()))


def _given(problem: Problem) -> dict[Variable, Variable]:
    """Return the new values of floating point in the caller's updates, in the dtype of their variables."""
    return {v: graph.cast(e, v.type.dtype) for v, e in problem.updates.items() if _is_float(v)}


def _holds_finite(v: Variable) -> bool:
    return bool(np.isfinite(v.get_value(borrow=True)).all())


def _is_float(v: Variable) -> bool:
    return graph.is_tensor(v) and v.type.dtype in graph.FLOATS
