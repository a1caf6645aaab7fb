"""The order in which batches come: a pass over them, epochs of a pass, and the place where training stands."""

from __future__ import annotations

import abc
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from .sources import Batch, Column, Index, Read, Reader, Rows, first_nonfinite

log = logging.getLogger("downhill2")

END = object()


class Cursor:
    """Where training stands in the data: the order of the present pass, and how much of pass and epoch is done.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the order of a pass when the pass begins.
    count : int
        How many rows, or batches, are put in a random order; 0: none are.
    batches : int
        Batches per pass.
    note : str, optional
        Logged when an order is drawn for the first time.
    """

    def __init__(self, rng: np.random.Generator, count: int, batches: int, note: str = "") -> None:
        self.rng, self.count, self.batches, self.note = rng, count, batches, note
        self.order: Index = np.arange(0)
        self.used = batches  # of this pass: before the first it is used up
        self.done = 0  # of this epoch
        self.resume = 0  # of the epoch that the next call of train() takes up
        self._start: Any = None  # the generator's state before it drew the order

    def begin(self) -> None:
        """Begin a pass."""
        self.used = 0
        if self.count:
            if self.note:
                log.info(self.note)
            self.note = ""
            self._start = self.rng.bit_generator.state
            self.order = self.rng.permutation(self.count)

    def numbers(self, start: int, stop: int) -> Sequence[int]:
        """Which batches come ``start``-th to ``stop``-th, where batches are put in order."""
        return self.order[start:stop].tolist() if self.count else range(start, stop)

    def state(self) -> dict[str, Any]:
        """The place, as JSON takes it."""
        begun = self._start is not None
        state = {
            "batches": self.batches,
            "used": self.used if begun or not self.count else 0,
            "done": self.done,
        }
        generator = self._start if begun else self.rng.bit_generator.state
        return state | {"generator": as_lists(generator) if self.count else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the place that :meth:`state` told."""
        generator = state["generator"]
        if state["batches"] != self.batches or (generator is None) == bool(self.count):
            raise ValueError(
                f"state must be of the same data, batch size and shuffling: a pass has {self.batches} batches, "
                f"got a state with {state['batches']}; make the Dataset as it was made then"
            )
        if self.count:
            self.rng.bit_generator.state = as_arrays(generator, self.rng.bit_generator.state)
            self.note = ""
            self.begin()
        self.used, self.done, self.resume = state["used"], state["done"], state["done"]


def as_lists(state: Any) -> Any:
    """A generator's state with lists in place of arrays, for JSON."""
    if isinstance(state, dict):
        return {key: as_lists(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def as_arrays(state: Any, like: Any) -> Any:
    """The inverse of :func:`as_lists`, for a generator whose state looks ``like`` this."""
    if isinstance(like, dict):
        if not isinstance(state, dict) or state.keys() != like.keys():
            raise ValueError(f"state must be of a {like.get('bit_generator')} generator, got {state!r}")
        return {key: as_arrays(state[key], like[key]) for key in like}
    return np.array(state, like.dtype) if isinstance(like, np.ndarray) else state


class Feed(abc.ABC):
    """A Dataset met with the inputs of a loss: batches for compiled functions.

    Every array is C-contiguous, writable, aligned and of the input's dtype (a SciPy CSR matrix for a sparse input). A
    batch is to be used before the next is asked for: its arrays are written again, or are views of the data.

    Attributes
    ----------
    name : str
        Name of the Dataset.
    inputs : list of Variable
        What a compiled function takes for each batch.
    givens : dict of Variable to Variable
        What the function puts in place of inputs of the loss.
    length : int or None
        Batches per epoch, None where only the data's end tells.
    """

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

    def train(self) -> Iterator[Batch]:
        """Batches of the next epoch with their weights, or of the rest of the epoch that was restored.

        An epoch that is left before its end is over: the next goes on with the rows that it left.
        """
        cursor = self._cursor
        done, cursor.resume = cursor.resume, 0
        cursor.done = done
        return self._epoch(done)

    @abc.abstractmethod
    def stored(self) -> Iterator[Batch]:
        """Batches of one epoch in stored order; moves neither the generator nor the position."""

    @abc.abstractmethod
    def fault(self) -> str | None:
        """Where the latest batch holds its first value that is not finite, None if all are finite."""

    def state(self) -> dict[str, Any]:
        """The position in the data, for JSON."""
        state = self._cursor.state()
        return state | {"done": 0} if state["done"] == self.length else state

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the position that :meth:`state` told: :meth:`train` then yields what was to come there.

        Raises
        ------
        ValueError
            If the state is of other data, another batch size or another kind of generator.
        """
        self._cursor.restore(state)

    @abc.abstractmethod
    def _epoch(self, done: int) -> Iterator[Batch]:
        """Batches of an epoch of which some are done."""


class PassFeed(Feed):
    """A feed that knows its batches: a pass has each once."""

    length: int

    def _epoch(self, done: int) -> Iterator[Batch]:
        cursor, length = self._cursor, self.length
        while done < length:
            if cursor.used >= cursor.batches:
                cursor.begin()
            stop = min(cursor.batches, cursor.used + length - done)
            for batch in self._stretch(cursor.used, stop):
                cursor.used += 1
                cursor.done = done = done + 1
                yield batch

    def stored(self) -> Iterator[Batch]:
        """Batches of one epoch in stored order; moves neither the generator nor the position."""
        return self._numbered(range(min(self.length, self._cursor.batches)))

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches ``start`` to ``stop`` of the present pass."""
        return self._numbered(self._cursor.numbers(start, stop))

    @abc.abstractmethod
    def _numbered(self, numbers: Iterable[int]) -> Iterator[Batch]:
        """Batches of these numbers in stored order."""


class Readers(dict[int, list[Read]]):
    """How columns are read, for each length of a batch: made when such a batch is met, as a reader may own a buffer."""

    def __init__(self, make: Callable[[int], list[Read]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, length: int) -> list[Read]:
        self[length] = readers = self._make(length)
        return readers


def once(read: Read) -> Read:
    """Read a batch that holds all rows once and keep it: its buffer is as large as the data anyhow."""
    kept: list[Any] = []

    def again(rows: Any) -> Any:
        if not kept:
            kept.append(read(rows))
        return kept[0]

    return again


class RowFeed(PassFeed):
    """Batches of rows.

    Parameters
    ----------
    name, inputs, givens, length, cursor
        As :class:`Feed` has them.
    rows : sequence of Rows
        The data, for :meth:`fault`.
    labels : sequence of str
        What a fault calls them.
    columns : sequence of Column
        How the arrays of a batch are made.
    size : int
        Rows per batch.
    weights : array of shape (rows,), optional
        A batch weighs the sum of its rows' weights; by default, their number.
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
        columns: Sequence[Column],
        size: int,
        weights: NDArray[np.float64] | None,
    ) -> None:
        super().__init__(name, inputs, givens, length, cursor)
        self._rows, self._labels, self._size, self._weights = rows, labels, size, weights
        self._count = count = len(rows[0])
        self._gathers = Readers(lambda length: [column.gather(length) for column in columns])
        keep: Callable[[Read], Read] = once if size == count else lambda read: read
        self._windows = Readers(lambda length: [keep(column.window(length)) for column in columns])
        self._latest: Any = slice(0, 0)

    def fault(self) -> str | None:
        """Input and row of the first value in the latest batch that is not finite."""
        chosen = self._latest
        for label, rows in zip(self._labels, self._rows, strict=True):
            row = first_nonfinite(rows.read(chosen), rows.axis)
            if row is not None:
                return f"{label}, row {chosen.start + row if isinstance(chosen, slice) else chosen[row]}"
        return None

    def _numbered(self, numbers: Iterable[int]) -> Iterator[Batch]:
        count, size, readers, weights = self._count, self._size, self._windows, self._weights
        for number in numbers:
            first = number * size
            last = min(first + size, count)
            self._latest = rows = slice(first, last)
            weight = float(last - first if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[last - first]]), weight


class ShuffledFeed(RowFeed):
    """Batches of rows, in another order of the rows each pass."""

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        order, size, readers, weights = self._cursor.order, self._size, self._gathers, self._weights
        for first in range(start * size, stop * size, size):
            self._latest = rows = order[first : first + size]
            length = len(rows)
            weight = float(length if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[length]]), weight


class ListFeed(PassFeed):
    """Batches of a list."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        length: int,
        cursor: Cursor,
        *,
        batches: Sequence[Any],
        reader: Reader,
    ) -> None:
        super().__init__(name, inputs, {}, length, cursor)
        self._batches = [reader(batch, number) for number, batch in enumerate(batches)]
        self._reader = reader
        self._latest: Sequence[Any] = ()

    def fault(self) -> str | None:
        """Input and row of the first value in the latest batch that is not finite."""
        return self._reader.fault(self._latest) if self._latest else None

    def _numbered(self, numbers: Iterable[int]) -> Iterator[Batch]:
        batches = self._batches
        for number in numbers:
            batch = batches[number]
            self._latest = batch[0]
            yield batch


class Stream:
    """Batches that are made as they are asked for.

    Parameters
    ----------
    make : callable
        Returns an iterable of the batches of a pass.
    owner : str
        Name of the Dataset, for messages.
    replays : bool
        Whether a pass has the same batches each time; what a callable returns is new each time.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], owner: str, replays: bool) -> None:
        self._make, self._owner, self.replays = make, owner, replays
        self._peeked: list[tuple[Any, Iterator[Any]]] = []
        self.training: Iterator[Any] | None = None

    def peek(self) -> Any:
        """The first batch of the pass that the next call of :meth:`open` returns."""
        if not self._peeked:
            batches = iter(self._make())
            first = next(batches, END)
            if first is END:
                raise ValueError(
                    f"{self._owner} must yield at least one batch each time it is iterated, got none; "
                    "give a generator function, or Dataset.from_batches"
                )
            self._peeked.append((first, batches))
        return self._peeked[0][0]

    def open(self) -> Iterator[Any]:
        """A pass from its start."""
        self.peek()
        first, batches = self._peeked.pop()
        return itertools.chain([first], batches)


class StreamFeed(Feed):
    """Batches of a callable, generator function or iterable.

    ``limit`` is the number of batches after which an epoch ends; None: it ends with the pass.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        length: int | None,
        cursor: Cursor,
        *,
        limit: int | None,
        stream: Stream,
        reader: Reader,
    ) -> None:
        super().__init__(name, inputs, {}, length, cursor)
        self._limit, self._stream, self._reader = limit, stream, reader
        self._latest: Sequence[Any] = ()
        reader(stream.peek(), 0)  # a wrong batch shows before anything is compiled

    def stored(self) -> Iterator[Batch]:
        """Batches of one epoch from the start of the data; the position for training stays."""
        for number, batch in enumerate(itertools.islice(self._stream.open(), self._limit)):
            yield self._read(batch, number)

    def fault(self) -> str | None:
        """Input and row of the first value in the latest batch that is not finite."""
        return self._reader.fault(self._latest) if self._latest else None

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the position that :meth:`state` told, over again through what comes before it; see :class:`Feed`."""
        super().restore(state)
        if self._stream.replays:
            self._stream.training = self._stream.open()
            for _ in itertools.islice(self._stream.training, state["used"]):
                pass

    def _epoch(self, done: int) -> Iterator[Batch]:
        cursor, stream, limit = self._cursor, self._stream, self._limit
        if limit is None and not done:
            stream.training = None
        while limit is None or done < limit:
            if stream.training is None:
                stream.training, cursor.used = stream.open(), 0
            for batch in itertools.islice(stream.training, None if limit is None else limit - done):
                cursor.used += 1
                cursor.done = done = done + 1
                yield self._read(batch, cursor.used - 1)
            if limit is None or done < limit:
                stream.training = None
            if limit is None:
                cursor.done = 0
                return

    def _read(self, batch: Any, number: int) -> Batch:
        read = self._reader(batch, number)
        self._latest = read[0]
        return read
