"""Compiled functions, and what drives them batch by batch: updates of an epoch, an evaluation, the best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import get_default_mode

from .. import config
from .loop import Tally

Compiled = Callable[..., Sequence[Any]]


def compiled(feed: Any, outputs: Sequence[Any], updates: Mapping[Any, Any]) -> Compiled:
    """Compile a function of the batches of a feed.

    Parameters
    ----------
    feed : Feed
        Its `inputs` are what a batch consists of, its `givens` what stands for the inputs of the loss.
    outputs : sequence of scalar TensorVariable
    updates : mapping of shared variable to expression
    """
    function: Compiled = pytensor.function(
        feed.inputs,
        list(outputs),
        updates=dict(updates),
        givens=feed.givens,
        mode=mode(),
        on_unused_input="ignore",
        trust_input=True,  # a feed yields only what the function takes
    )
    return function


def mode() -> Any:
    """Return PyTensor's default mode; where its linker is Numba's, the mode that generates one function of a graph."""
    default = get_default_mode()
    if not config.generated or not type(default.linker).__module__.startswith("pytensor.link.numba"):
        return default
    from ..compiling import fast_mode  # imports Numba

    return fast_mode(default, products=config.products)


class Steps:
    """Drives the compiled step through the epochs of a feed: what the loop calls.

    Parameters
    ----------
    function : callable
        Returns the compiled step: a batch in; out the monitors before the update, and last whether it was made, for
        it is held back where something is not finite. Asked at the beginning of each stretch of updates, as
        hyperparameters may have changed that shape it.
    names : sequence of str
        The names of the monitors; the loss comes first.
    feed : Feed
        Where batches come from.

    Attributes
    ----------
    latest : tuple of arrays
        The batch of the latest update that met something that is not finite.
    loss : float
        Its loss, before the update.
    """

    def __init__(self, function: Callable[[], Compiled], names: Sequence[str], feed: Any) -> None:
        self._function, self._names, self._feed = function, list(names), feed
        self._batches: Iterator[tuple[tuple[Any, ...], float]] | None = None
        self._position = 0
        self.latest: tuple[Any, ...] = ()
        self.loss = np.nan

    def __call__(self, tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        """Add at most `most` updates of the present epoch to a tally, fewer if ``halt()`` says so after one."""
        if self._batches is None:
            self._position = self._feed.done
            self._batches = self._feed.train()
        try:
            self._run(self._batches, tally, most, halt)
        finally:
            self._position += tally.updates + tally.bad
        if self._position == self._feed.length:
            tally.end = True
        if tally.end:
            if not self._position:
                raise ValueError(f"{self._feed.name} must have at least one batch an epoch, got none")
            self._batches = None

    def _run(self, batches: Iterator[Any], tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        function, names = self._function(), self._names
        if tally.losses is not None:
            function = _noting(function, tally.losses)
        totals = [tally.sums.get(name, 0.0) for name in names]
        made, rows, last = 0, tally.rows, len(names)
        places = range(last)
        try:
            for arrays, weight in batches:
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
                del tally.losses[made:]  # the one that was held back


def _noting(function: Compiled, losses: list[float]) -> Compiled:
    """Return a function that also appends the loss; a wrapper, so that who does not want it pays nothing."""

    def noting(*arrays: Any) -> Sequence[Any]:
        values = function(*arrays)
        losses.append(float(values[0]))
        return values

    return noting


def averages(function: Compiled, names: Sequence[str], feed: Any) -> dict[str, float]:
    """Evaluate one epoch of a feed in stored order and return the monitors' averages, weighted by rows."""
    totals, rows = [0.0] * len(names), 0.0
    for arrays, weight in feed.stored():
        rows += weight
        for i, value in enumerate(function(*arrays)):
            totals[i] += weight * float(value)
    if not rows:
        raise ValueError(f"{feed.name} must have at least one batch with a positive weight, got none")
    return {name: total / rows for name, total in zip(names, totals, strict=True)}


class Best:
    """Copies of the best values that were evaluated.

    Parameters
    ----------
    present : callable
        Returns the values that are evaluated now: one array per parameter, which may be the parameter's own.
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
