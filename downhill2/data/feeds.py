"""Batches of rows: a pass over them, and epochs."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from .cursor import Cursor
from .readahead import Pause, ReadGuard, answers
from .sources import Batch, Column, Read, Rows, first_nonfinite
from .stretches import Index, Source, Stretch, Which

Way = Literal["gather", "window"]  # a method of Column


class Feed(abc.ABC):
    """A Dataset connected to the inputs of a loss: batches for compiled functions.

    Every array is C-contiguous, writable, aligned and of the input's dtype (a SciPy CSR matrix for a sparse input). A
    batch must be used before the next one is taken: its arrays are written again, or are views of the data.

    Attributes
    ----------
    name : str
        Name of the Dataset.
    inputs : list of Variable
        What a compiled function takes for each batch.
    givens : dict of Variable to Variable
        What the function has in place of inputs of the loss.
    length : int or None
        Batches per epoch, None if only the end of the data shows it.
    sources : tuple of Source or None
        What batches are made from, one source for each input, if all data is in memory; :meth:`stretch` needs them.
    size : int
        Rows per batch, except in a short last one; 0 if there are no sources.
    """

    sources: tuple[Source, ...] | None = None
    size = 0

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        givens: dict[Variable, Variable],
        length: int | None,
        cursor: Cursor,
    ) -> None:
        self.name, self.inputs, self.givens, self.length = name, list(inputs), givens, length
        self._cursor = cursor

    def train(self) -> Generator[Batch]:
        """Batches of the next epoch with their weights, or of the rest of the epoch that was restored.

        An epoch that is left before its end is over: the next one goes on with the remaining rows.
        """
        return self._epoch(self.begin())

    def begin(self) -> int:
        """Begin the next epoch, or continue the restored one; return how many of its batches are done."""
        cursor = self._cursor
        cursor.done, cursor.resume = cursor.resume, 0
        return cursor.done

    def rest(self) -> Generator[Batch]:
        """Batches of the present epoch that are not done yet."""
        return self._epoch(self._cursor.done)

    @abc.abstractmethod
    def stored(self) -> Iterator[Batch]:
        """Batches of one epoch in stored order; moves neither the generator nor the position."""

    @abc.abstractmethod
    def fault(self) -> str | None:
        """Return where the first value of the latest batch is that is not finite; None if all are finite."""

    def rows(self) -> str:
        """Return the rows of the latest batch in words; an empty text if batches are not rows of stored data."""
        return ""

    @property
    def seed(self) -> int | None:
        """The seed of the order of rows, if it is known."""
        return self._cursor.seed

    def signature(self) -> dict[str, Any]:
        """Return what distinguishes this data and its batches from other data; for JSON."""
        return {"batches": self._cursor.batches, "batches an epoch": self.length}

    @property
    def done(self) -> int:
        """How many batches are already done in the epoch that the next call of :meth:`train` continues."""
        return self._cursor.resume

    def state(self) -> dict[str, Any]:
        """Return the position in the data, for JSON."""
        state = self._cursor.state()
        return state | {"done": 0} if state["done"] == self.length else state

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the position that :meth:`state` returned: :meth:`train` then yields the batches after it.

        Raises
        ------
        ValueError
            If the state is of other data, another batch size or another kind of generator.
        """
        self._cursor.restore(state)

    @abc.abstractmethod
    def _epoch(self, done: int) -> Generator[Batch]:
        """Yield the batches of an epoch after the first `done` ones."""


class PassFeed(Feed):
    """A feed whose batches are known beforehand: a pass has each of them once."""

    length: int

    def _epoch(self, done: int) -> Generator[Batch]:
        cursor, length = self._cursor, self.length
        while done < length:
            if cursor.used >= cursor.batches:
                cursor.begin()
            stop = min(cursor.batches, cursor.used + length - done)
            for batch in self._stretch(cursor.used, stop):
                cursor.used += 1
                cursor.done = done = done + 1
                yield batch

    def stretch(self, most: int) -> Stretch:
        """Return at most `most` next batches of the present epoch, all of one length, out of ``sources``."""
        return self._joined(self._cursor.coming(min(most, self.length - self._cursor.done)))

    def move(self, stretch: Stretch, count: int) -> None:
        """Move on by the first `count` batches of a stretch; the last of them is then the latest batch."""
        if count:
            self._cursor.move(count)
            self._met(stretch, count - 1)

    def stored(self) -> Iterator[Batch]:
        """Batches of one epoch in stored order; moves neither the generator nor the position."""
        return self._numbered(range(min(self.length, self._cursor.batches)))

    @abc.abstractmethod
    def latest(self) -> tuple[Any, ...]:
        """Return the arrays of the latest batch."""

    @abc.abstractmethod
    def _joined(self, places: Index) -> Stretch:
        """Return the batches at these positions of the pass, up to the first one of another length."""

    @abc.abstractmethod
    def _met(self, stretch: Stretch, batch: int) -> None:
        """Note which batch is the latest."""

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches ``start`` to ``stop`` of the present pass."""
        return self._numbered(self._cursor.numbers(start, stop), start)

    @abc.abstractmethod
    def _numbered(self, numbers: Iterable[int], position: int = 0) -> Iterator[Batch]:
        """Yield the batches with these numbers in stored order; the first one is number ``position`` of its pass."""


class Readers(dict[int, list[Read]]):
    """The readers of columns for each length of a batch: made at the first such batch, as a reader may own a buffer."""

    def __init__(self, make: Callable[[int], list[Read]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, length: int) -> list[Read]:
        self[length] = readers = self._make(length)
        return readers


def once(read: Read) -> Read:
    """Return a reader of a batch of all rows that reads once and keeps the batch, which is as large as the data."""
    kept: list[Any] = []

    def again(rows: Which) -> Any:
        if not kept:
            kept.append(read(rows))
        return kept[0]

    return again


class Transit(NamedTuple):
    """How batches are read: ``prefetch`` of them ahead, each up to ``retries`` times again after an error."""

    owner: str
    prefetch: int = 0
    retries: int = 0

    def __bool__(self) -> bool:
        return bool(self.prefetch or self.retries)

    def guard(self) -> ReadGuard:
        """Return what reads a batch."""
        return ReadGuard(self.owner, self.retries)


class RowFeed(PassFeed):
    """Batches of rows.

    Parameters
    ----------
    name, inputs, givens, length, cursor
        As :class:`Feed` has them.
    rows : sequence of Rows
        The data, for :meth:`fault`.
    labels : sequence of str
        Their names in a fault.
    columns : callable
        Returns new columns, which make the arrays of a batch. No two threads may share them.
    size : int
        Rows per batch.
    weights : array of shape (rows,), optional
        A batch weighs the sum of its rows' weights; by default, their number.
    transit : Transit
        How batches are read.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        givens: dict[Variable, Variable],
        length: int,
        cursor: Cursor,
        *,
        rows: Sequence[Rows],
        labels: Sequence[str],
        columns: Callable[[], Sequence[Column]],
        size: int,
        weights: NDArray[np.float64] | None,
        transit: Transit,
    ) -> None:
        super().__init__(name, inputs, givens, length, cursor)
        self._rows, self._labels, self.size, self._weights = rows, labels, size, weights
        self._count, self._columns, self._transit = len(rows[0]), columns, transit
        made = columns()
        self._readers = self._made(made)
        sources = tuple([column.source for column in made if column.source])
        self.sources = sources if len(sources) == len(made) and not transit else None
        self._latest: Any = slice(0, 0)

    def fault(self) -> str | None:
        """Return the input and the row of the first value in the latest batch that is not finite."""
        chosen = self._latest
        for label, rows in zip(self._labels, self._rows, strict=True):
            row = first_nonfinite(rows.read(chosen), rows.axis)
            if row is not None:
                return f"{label}, row {chosen.start + row if isinstance(chosen, slice) else chosen[row]}"
        return None

    def signature(self) -> dict[str, Any]:
        """Return what distinguishes this data and its batches from other data; for JSON."""
        return super().signature() | {"rows": self._count, "rows a batch": self.size}

    def rows(self) -> str:
        """Return the rows of the latest batch in words."""
        chosen = self._latest
        if isinstance(chosen, slice):
            return f"rows {chosen.start} to {chosen.stop - 1}"
        first, more = ", ".join(map(str, chosen[:5])), len(chosen) - 5
        return f"rows {first} and {more} more" if more > 0 else f"rows {first}"

    def latest(self) -> tuple[Any, ...]:
        """Return the arrays of the latest batch."""
        chosen = self._latest
        if isinstance(chosen, slice):
            readers = self._readers["window"][chosen.stop - chosen.start]
        else:
            readers = self._readers["gather"][len(chosen)]
        return tuple([read(chosen) for read in readers])

    def _joined(self, places: Index) -> Stretch:
        order = self._cursor.order
        return self._at((order[places] if self._cursor.shuffled else places) * self.size)

    def _at(self, starts: Index, order: Index | None = None) -> Stretch:
        """Return batches that begin at these places, in stored order or in another order of the rows."""
        lengths = np.minimum(self.size, self._count - starts)
        size = int(lengths[0])
        starts = starts[: np.logical_and.accumulate(lengths == size).sum()]
        stretch = Stretch(self.sources or (), size, starts, order, np.full(len(starts), float(size)))
        return stretch if self._weights is None else stretch.weighted(self._weights)

    def _met(self, stretch: Stretch, batch: int) -> None:
        self._latest = stretch.rows(batch)

    def _numbered(self, numbers: Iterable[int], position: int = 0) -> Iterator[Batch]:
        if not self._transit:
            return self._windows(numbers)
        size, count = self.size, self._count
        chosen = (slice(number * size, min(number * size + size, count)) for number in numbers)
        return self._in_transit("window", chosen, position)

    def _windows(self, numbers: Iterable[int]) -> Iterator[Batch]:
        count, size, readers, weights = self._count, self.size, self._readers["window"], self._weights
        for number in numbers:
            first = number * size
            last = min(first + size, count)
            self._latest = rows = slice(first, last)
            weight = float(last - first if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[last - first]]), weight

    def _in_transit(self, way: Way, chosen: Iterable[Which], position: int) -> Iterator[Batch]:
        """Yield batches of chosen rows; the first one is number ``position`` of its pass."""
        guard, ahead, weights = self._transit.guard(), self._transit.prefetch, self._weights

        def fetched(request: tuple[int, Readers, Which], pause: Pause) -> tuple[Any, Batch]:
            number, readers, rows = request
            length = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
            arrays = guard(lambda: tuple([read(rows) for read in readers[length]]), number, pause)
            return rows, (arrays, float(length if weights is None else weights[rows].sum()))

        if ahead:
            columns = self._columns()
            ring = [self._made(columns)[way] for _ in range(ahead + 1)]  # one set is in use while the others are filled
        else:
            ring = [self._readers[way]]
        requests = zip(itertools.count(position), itertools.cycle(ring), chosen)
        with contextlib.closing(answers(fetched, requests, ahead)) as found:
            for self._latest, batch in found:
                yield batch

    def _made(self, columns: Sequence[Column]) -> dict[Way, Readers]:
        keep: Callable[[Read], Read] = once if self.size == self._count else lambda read: read
        return {
            "gather": Readers(lambda length: [column.gather(length) for column in columns]),
            "window": Readers(lambda length: [keep(column.window(length)) for column in columns]),
        }


class ShuffledFeed(RowFeed):
    """Batches of rows, in another order of the rows each pass."""

    def _joined(self, places: Index) -> Stretch:
        return self._at(places * self.size, self._cursor.order)

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        if not self._transit:
            return self._gathers(start, stop)
        order, size = self._cursor.order, self.size
        chosen = (order[first : first + size] for first in range(start * size, stop * size, size))
        return self._in_transit("gather", chosen, start)

    def _gathers(self, start: int, stop: int) -> Iterator[Batch]:
        order, size, readers, weights = self._cursor.order, self.size, self._readers["gather"], self._weights
        for first in range(start * size, stop * size, size):
            self._latest = rows = order[first : first + size]
            length = len(rows)
            weight = float(length if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[length]]), weight
