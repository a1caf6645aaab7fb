"""The driver of updates that are computed from several batches each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, cast

import numpy as np

from ..loop.run import Tally
from .halves import Halves
from .needs import BatchSource, Compiled


class AccumulatedSteps:
    """Drives the two halves of an update through the epochs of a feed; the loop calls it in place of `Steps`.

    The batches of one update may span several calls or runs: the number of those done is state. An update takes fewer
    batches at the end of an epoch. A batch that is not finite is left out, and another one takes its place.

    Parameters
    ----------
    halves : callable
        Returns the compiled halves, a `Halves`. Called at the beginning of each series of updates.
    names : sequence of str
        The names of the monitors; the loss comes first.
    feed : Feed
        Where batches come from.

    Attributes
    ----------
    latest : tuple of arrays
        The latest batch that was not finite, or before an update that was not.
    loss : float
        Its loss, or the mean loss of the batches of the update.
    """

    def __init__(self, halves: Callable[[], Compiled], names: Sequence[str], feed: BatchSource) -> None:
        self._halves, self._names, self._feed = halves, list(names), feed
        self._batches: Generator[tuple[tuple[Any, ...], float]] | None = None
        self._position = self._pending = 0
        self.latest: tuple[Any, ...] = ()
        self.loss = np.nan

    def __call__(self, tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
        """Add at most `most` updates of the present epoch to a tally, fewer if ``halt()`` says so after a batch."""
        if self._batches is None:
            self._position = self._feed.done
            self._batches = self._feed.train()
        halves = cast(Halves, self._halves())
        if not hasattr(halves, "pending"):
            raise ValueError("accumulate must stay above 1 in a run that began so, got 1; begin another run")
        self._pending = halves.pending()
        tally.sums = {name: tally.sums.get(name, 0.0) for name in self._names}
        self._run(halves, self._batches, tally, most, halt)
        if self._position == self._feed.length and not self._pending:
            tally.end = True
        if tally.end:
            if not self._position:
                raise ValueError(f"{self._feed.name} must have at least one batch an epoch, got none")
            self._batches = None

    def close(self) -> None:
        """As `Steps.close`."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _run(
        self,
        halves: Halves,
        batches: Iterator[tuple[tuple[Any, ...], float]],
        tally: Tally,
        most: int | None,
        halt: Callable[[], bool],
    ) -> None:
        for arrays, weight in batches:
            self._add(halves, arrays, weight, tally)
            due = self._pending >= halves.size or (self._pending and self._position == self._feed.length)
            if not tally.bad and due:
                self._apply(halves, tally)
            if tally.bad or tally.updates == most or halt():
                return
        tally.end = True
        if self._pending:
            self._apply(halves, tally)

    def _add(self, halves: Halves, arrays: tuple[object, ...], weight: float, tally: Tally) -> None:
        self.latest = arrays
        *values, batches, sound = halves.add(*arrays, np.asarray(weight))
        self._position += 1
        self._pending = int(batches)
        if not sound:
            tally.bad, self.loss = True, float(values[0])
            return
        tally.rows += weight
        for name, value in zip(self._names, values, strict=True):
            tally.sums[name] += weight * float(value)

    def _apply(self, halves: Halves, tally: Tally) -> None:
        loss, sound = halves.apply()
        self._pending = 0
        if not sound:
            tally.bad, self.loss = True, float(loss)
            return
        tally.updates += 1
        if tally.losses is not None:
            tally.losses.append(float(loss))
