"""Batches of rows: the order in which they come, a pass over them, epochs, and the place where training stands."""

from __future__ import annotations

import abc
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from .readahead import Guard, Pause, answers
from .sources import Batch, Column, Index, Read, Rows, first_nonfinite

log = logging.getLogger("downhill2")

Way = Literal["gather", "window"]  # of a Column


class Order:
    """A random order of rows or batches.

    Parameters
    ----------
    count : int
        How many there are.
    edges : array of shape (blocks + 1,), optional
        Where blocks of neighbours begin, and ``count``.
    mixed : int, optional
        How many blocks are mixed with each other.

    Notes
    -----
    Blocks are put in order and go through a window of ``mixed`` of them, one in and one out at each step. The rows of a
    block are dealt out to the steps that it takes part in; the rows of a step come in any order.
    """

    def __init__(self, count: int, edges: Index | None = None, mixed: int = 1) -> None:
        self._count, self._edges, self._mixed = count, edges, mixed
        self.label = str(count) if edges is None else f"{count} in {len(edges) - 1} blocks, {mixed} mixed"

    def drawn(self, rng: np.random.Generator) -> Index:
        """An order of all, drawn anew."""
        edges, mixed = self._edges, self._mixed
        if edges is None:
            return rng.permutation(self._count)
        blocks = rng.permutation(len(edges) - 1).tolist()
        steps: list[list[Index]] = [[] for _ in range(max(1, len(blocks) - mixed + 1))]
        for place, block in enumerate(blocks):
            rows = rng.permutation(np.arange(edges[block], edges[block + 1]))
            taking_part = steps[max(0, place - mixed + 1) : place + 1] or steps[-1:]
            for step, part in zip(taking_part, np.array_split(rows, len(taking_part)), strict=True):
                step.append(part)
        return np.concatenate([rng.permutation(np.concatenate(step)) for step in steps])


class Cursor:
    """Where training stands in the data: the order of the present pass, and how much of pass and epoch is done.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the order of a pass when the pass begins.
    shuffled : Order or None
        The random order of the rows, or batches, if they are put in one.
    batches : int
        Batches per pass.
    note : str, optional
        Logged when an order is drawn for the first time.
    """

    def __init__(self, rng: np.random.Generator, shuffled: Order | None, batches: int, note: str = "") -> None:
        self.rng, self.shuffled, self.batches, self.note = rng, shuffled, batches, note
        self.order: Index = np.arange(0)
        self.used = batches  # of this pass: before the first it is used up
        self.done = 0  # of this epoch
        self.resume = 0  # of the epoch that the next call of train() takes up
        self._start: Any = None  # the generator's state before it drew the order

    def begin(self) -> None:
        """Begin a pass."""
        self.used = 0
        if self.shuffled:
            if self.note:
                log.info(self.note)
            self.note = ""
            self._start = self.rng.bit_generator.state
            self.order = self.shuffled.drawn(self.rng)

    def numbers(self, start: int, stop: int) -> Sequence[int]:
        """Which batches come ``start``-th to ``stop``-th, where batches are put in order."""
        return self.order[start:stop].tolist() if self.shuffled else range(start, stop)

    def state(self) -> dict[str, Any]:
        """The place, as JSON takes it."""
        begun = self._start is not None
        state = {
            "batches": self.batches,
            "used": self.used if begun or not self.shuffled else 0,
            "done": self.done,
        }
        if not self.shuffled:
            return state | {"generator": None}
        generator = self._start if begun else self.rng.bit_generator.state
        return state | {"generator": as_lists(generator), "order": self.shuffled.label}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the place that :meth:`state` told."""
        generator, order = state["generator"], state.get("order")
        label = self.shuffled and self.shuffled.label
        if (state["batches"], order) != (self.batches, label):
            raise ValueError(
                "state must be of the same data, batch size and shuffling: a pass has "
                f"{self.batches} batches in the random order {label}, "
                f"got a state with {state['batches']} in the order {order}; make the Dataset as it was made then"
            )
        if self.shuffled:
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

    def rows(self) -> str:
        """The rows of the latest batch in words; nothing where batches have no rows of stored data."""
        return ""

    def signature(self) -> dict[str, Any]:
        """What tells this data, cut into batches like this, from other data; for JSON."""
        return {"batches": self._cursor.batches, "batches an epoch": self.length}

    @property
    def done(self) -> int:
        """How many batches of the epoch that the next call of :meth:`train` takes up are done already."""
        return self._cursor.resume

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
        return self._numbered(self._cursor.numbers(start, stop), start)

    @abc.abstractmethod
    def _numbered(self, numbers: Iterable[int], position: int = 0) -> Iterator[Batch]:
        """Batches of these numbers in stored order, the first of which is the ``position``-th of its pass."""


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


class Transit(NamedTuple):
    """How batches come from where the data is: ``prefetch`` ahead, and read up to ``retries`` times again."""

    owner: str
    prefetch: int = 0
    retries: int = 0

    def __bool__(self) -> bool:
        return bool(self.prefetch or self.retries)

    def guard(self) -> Guard:
        """What reads a batch."""
        return Guard(self.owner, self.retries)


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
    columns : callable
        Returns new columns: how the arrays of a batch are made. What one thread uses, no other may.
    size : int
        Rows per batch.
    weights : array of shape (rows,), optional
        A batch weighs the sum of its rows' weights; by default, their number.
    transit : Transit
        How batches come from where the data is.
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
        self._rows, self._labels, self._size, self._weights = rows, labels, size, weights
        self._count, self._columns, self._transit = len(rows[0]), columns, transit
        self._readers = self._made(columns())
        self._latest: Any = slice(0, 0)

    def fault(self) -> str | None:
        """Input and row of the first value in the latest batch that is not finite."""
        chosen = self._latest
        for label, rows in zip(self._labels, self._rows, strict=True):
            row = first_nonfinite(rows.read(chosen), rows.axis)
            if row is not None:
                return f"{label}, row {chosen.start + row if isinstance(chosen, slice) else chosen[row]}"
        return None

    def signature(self) -> dict[str, Any]:
        """What tells this data, cut into batches like this, from other data; for JSON."""
        return super().signature() | {"rows": self._count, "rows a batch": self._size}

    def rows(self) -> str:
        """The rows of the latest batch in words."""
        chosen = self._latest
        if isinstance(chosen, slice):
            return f"rows {chosen.start} to {chosen.stop - 1}"
        first, more = ", ".join(map(str, chosen[:5])), len(chosen) - 5
        return f"rows {first} and {more} more" if more > 0 else f"rows {first}"

    def _numbered(self, numbers: Iterable[int], position: int = 0) -> Iterator[Batch]:
        if not self._transit:
            return self._windows(numbers)
        size, count = self._size, self._count
        chosen = (slice(number * size, min(number * size + size, count)) for number in numbers)
        return self._in_transit("window", chosen, position)

    def _windows(self, numbers: Iterable[int]) -> Iterator[Batch]:
        count, size, readers, weights = self._count, self._size, self._readers["window"], self._weights
        for number in numbers:
            first = number * size
            last = min(first + size, count)
            self._latest = rows = slice(first, last)
            weight = float(last - first if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[last - first]]), weight

    def _in_transit(self, way: Way, chosen: Iterable[Any], position: int) -> Iterator[Batch]:
        """Batches of chosen rows, the first of which is the ``position``-th of its pass."""
        guard, ahead, weights = self._transit.guard(), self._transit.prefetch, self._weights

        def fetched(request: tuple[int, Readers, Any], pause: Pause) -> tuple[Any, Batch]:
            number, readers, rows = request
            length = rows.stop - rows.start if way == "window" else len(rows)
            arrays = guard(lambda: tuple([read(rows) for read in readers[length]]), number, pause)
            return rows, (arrays, float(length if weights is None else weights[rows].sum()))

        if ahead:
            columns = self._columns()
            ring = [self._made(columns)[way] for _ in range(ahead + 1)]  # one is in use while the others are filled
        else:
            ring = [self._readers[way]]
        requests = zip(itertools.count(position), itertools.cycle(ring), chosen)
        with contextlib.closing(answers(fetched, requests, ahead)) as found:
            for self._latest, batch in found:
                yield batch

    def _made(self, columns: Sequence[Column]) -> dict[Way, Readers]:
        keep: Callable[[Read], Read] = once if self._size == self._count else lambda read: read
        return {
            "gather": Readers(lambda length: [column.gather(length) for column in columns]),
            "window": Readers(lambda length: [keep(column.window(length)) for column in columns]),
        }


class ShuffledFeed(RowFeed):
    """Batches of rows, in another order of the rows each pass."""

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        if not self._transit:
            return self._gathers(start, stop)
        order, size = self._cursor.order, self._size
        chosen = (order[first : first + size] for first in range(start * size, stop * size, size))
        return self._in_transit("gather", chosen, start)

    def _gathers(self, start: int, stop: int) -> Iterator[Batch]:
        order, size, readers, weights = self._cursor.order, self._size, self._readers["gather"], self._weights
        for first in range(start * size, stop * size, size):
            self._latest = rows = order[first : first + size]
            length = len(rows)
            weight = float(length if weights is None else weights[rows].sum())
            yield tuple([read(rows) for read in readers[length]]), weight
