"""Compiled functions and their drivers: updates of an epoch, evaluations, the best values so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytensor

from .. import config
from ..compiling import DeviceStep, Many, backends, direct, many_updates, without_half
from ..loop.run import Tally
from ..symbolic.graph import Variable
from .needs import Backend, BatchSource, Compiled, Fed, StretchSource

__all__ = ["Best", "Compiled", "Many", "Steps", "averages", "compiled", "mode", "together"]


def compiled(
    feed: Fed,
    outputs: Sequence[Variable],
    updates: Mapping[Variable, Variable],
    givens: Mapping[Variable, Variable] | None = None,
    backend: Backend = None,
) -> Compiled:
    """Compile a function of the batches of a feed.

    Parameters
    ----------
    feed : Fed
        Has `inputs`, the parts of a batch, and `givens`, the expressions in place of inputs of the loss.
    outputs : sequence of scalar TensorVariable
    updates : mapping of shared variable to expression
    givens : mapping of shared variable to expression, optional
        More expressions in place of variables.
    backend : str, Mode or None
        What compiles it; see `compiling.backends`.

    Raises
    ------
    TypeError
        If a shared variable is float16, and the backend has no such dtype.
    ValueError
        If the backend lacks an operation.
    """
    chosen, updates, givens = mode(backend), dict(updates), {**feed.givens, **(givens or {})}
    if backends.is_numba(chosen):
        outputs, updates, givens = without_half([*outputs], updates, givens)
    with backends.explained(backend):
        function = pytensor.function(
            feed.inputs,
            list(outputs),
            updates=updates,
            givens=givens,
            mode=chosen,
            on_unused_input="ignore",
            trust_input=True,  # a feed yields only what the function takes
        )
    result: Compiled = DeviceStep(function) if backends.on_device(chosen) else function
    return result


def mode(backend: Backend = None) -> Any:
    """Return the PyTensor mode in which a backend compiles under the present switches."""
    switches = {"generated": config.generated, "products": config.products, "parallel": config.parallel}
    return backends.mode(backend, **switches)


class Steps:
    """Drives the compiled step through the epochs of a feed; the loop calls it.

    Parameters
    ----------
    function : callable
        Returns the compiled step, which takes a batch and returns the monitors before the update, and last whether the
        update was made: it is held back if something is not finite. Called at the beginning of each series of updates,
        as hyperparameters that shape the step may have changed.
    names : sequence of str
        The names of the monitors; the loss comes first.
    feed : Feed
        Where batches come from.
    per_call : int, optional
        How many updates to make in one call at most, for data in memory. Default: an estimate from sizes.

    Attributes
    ----------
    latest : tuple of arrays
        The batch of the latest update that was not finite.
    loss : float
        Its loss, before the update.
    """

    def __init__(
        self, function: Callable[[], Compiled], names: Sequence[str], feed: BatchSource, per_call: int | None = None
    ) -> None:
        self._function, self._names, self._feed, self._per_call = function, list(names), feed, per_call
        self._ways: tuple[Compiled, Compiled, Many | None] | None = None
        self._batches: Generator[tuple[tuple[Any, ...], float]] | None = None
        self._position: int | None = None
        self.latest: tuple[Any, ...] = ()
        self.loss = np.nan

    def __call__(self, tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        """Add at most `most` updates of the present epoch to a tally, fewer if ``halt()`` says so after one call."""
        if self._position is None:
            self._position = self._feed.begin()
        function = self._function()
        if self._ways is None or self._ways[0] is not function:
            self._ways = self._ways_of(function)
        _, one, many = self._ways
        try:
            if many is None:
                self._make_each(one, tally, most, halt)
            else:
                self._make_many(many, tally, most, halt)
        finally:
            self._position += tally.updates + tally.bad
        if self._position == self._feed.length:
            tally.end = True
        if tally.end:
            if not self._position:
                raise ValueError(f"{self._feed.name} must have at least one batch an epoch, got none")
            self._batches = self._position = None

    def close(self) -> None:
        """Stop reading batches ahead; the position of the feed is then that of the updates."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _ways_of(self, function: Compiled) -> tuple[Compiled, Compiled, Many | None]:
        """Return a function, its form for one update in a call, and its form for many, None if there is none."""
        sources = None if self._per_call == 1 else self._feed.sources
        many = None if sources is None else together(function, sources, self._feed.size, self._per_call)
        return function, direct(function), many

    def _make_each(self, function: Compiled, tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        self._batches = self._batches or self._feed.rest()
        function = function if tally.losses is None else _noting(function, tally.losses)
        names = self._names
        totals = [tally.sums.get(name, 0.0) for name in names]
        made, rows, last = 0, tally.rows, len(names)
        places = range(last)
        try:
            for arrays, weight in self._batches:
                values = function(*arrays)
                if not values[last]:
                    tally.bad, self.latest, self.loss = True, arrays, float(values[0])
                    return
                made += 1
                rows += weight
                for i in places:
                    totals[i] += weight * float(values[i])
                if made == most or halt():
                    return
            tally.end = True
        finally:
            tally.updates, tally.rows, tally.sums = made, rows, dict(zip(names, totals, strict=True))
            if tally.losses is not None:
                del tally.losses[made:]  # the loss of the update that was held back

    def _make_many(self, many: Many, tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        self._batches = None
        totals = np.array([*(tally.sums.get(name, 0.0) for name in self._names), tally.rows])
        feed = cast(StretchSource, self._feed)  # it has sources
        left = feed.length - (self._position or 0)
        most = left if most is None else min(most, left)
        try:
            while tally.updates < most and not tally.bad:
                self._make_stretch(many, feed, min(many.most, most - tally.updates), tally, totals)
                if halt():
                    return
        finally:
            *sums, tally.rows = totals.tolist()
            tally.sums = dict(zip(self._names, sums, strict=True))

    def _make_stretch(self, many: Many, feed: StretchSource, most: int, tally: Tally, totals: np.ndarray) -> None:
        stretch = feed.stretch(most)
        losses = np.empty(len(stretch))
        try:
            many(stretch, totals, losses)
        finally:
            made, tried = many.made, min(many.made + 1, len(stretch))
            feed.move(stretch, tried)
            tally.updates += made
            if tally.losses is not None:
                tally.losses += losses[:made].tolist()
        if made < tried:
            tally.bad, self.latest, self.loss = True, feed.latest(), float(losses[made])


def together(function: Compiled, sources: Sequence[object], size: int, count: int | None = None) -> Many | None:
    """Return the form of a compiled step for many updates in one call, None if there is none.

    Parameters
    ----------
    function, sources, size, count
        The step, and the arguments of the method ``many`` that `Many` describes.
    """
    if not config.many:
        return None
    if hasattr(function, "many"):
        own: Many | None = function.many(sources, size, count)
        return own
    made: Many | None = many_updates(function, sources, size, count)
    return made


def _noting(function: Compiled, losses: list[float]) -> Compiled:
    """Return a function that also appends the loss; a wrapper, so that it costs nothing where it is not wanted."""

    def noting(*arrays: object) -> Sequence[Any]:
        values = function(*arrays)
        losses.append(float(values[0]))
        return values

    return noting


def averages(
    function: Compiled, names: Sequence[str], feed: BatchSource, doubt: Callable[[], object] | None = None
) -> dict[str, float]:
    """Evaluate one epoch of a feed in stored order and return the monitors' averages, weighted by rows.

    `doubt` is called once, after the first batch with which the average of the loss is not finite.
    """
    totals, rows = [0.0] * len(names), 0.0
    for arrays, weight in feed.stored():
        rows += weight
        for i, value in enumerate(function(*arrays)):
            totals[i] += weight * float(value)
        if doubt is not None and not math.isfinite(totals[0]):
            doubt()
            doubt = None
    if not rows:
        raise ValueError(f"{feed.name} must have at least one batch with a positive weight, got none")
    return {name: total / rows for name, total in zip(names, totals, strict=True)}


class Best:
    """Copies of the best values that were evaluated.

    Parameters
    ----------
    present : callable
        Returns the values to evaluate now: one array per parameter, possibly its own memory.
    """

    def __init__(self, present: Callable[[], Sequence[np.ndarray]]) -> None:
        self._present = present
        self.monitors: dict[str, float] = {}
        self.values: list[np.ndarray] = []

    def keep(self, monitors: Mapping[str, float]) -> None:
        """Copy the present values, over the copies of the best so far."""
        present = self._present()
        if self.values:
            for copy, value in zip(self.values, present, strict=True):
                np.copyto(copy, value)
        else:
            self.values = [np.array(v) for v in present]
        self.monitors = dict(monitors)
