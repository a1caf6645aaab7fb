"""Ready-made batches: in a list, or made one by one by a callable or an iterable."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import logging
import operator
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable

from .cursor import Cursor
from .feeds import Feed, PassFeed, Transit
from .readahead import Outcome, Pause, ReadAhead, answers
from .saved_state import Stateful, frozen, thawed
from .sources import Batch, Slot, as_stored, first_nonfinite, is_array, is_number, lists_hint, plural
from .stretches import Index, Stretch

log = logging.getLogger("downhill2")

Item = tuple[Any, Any]  # a batch, and the state of its source after it


class Reader:
    """Reads ready-made batches.

    Parameters
    ----------
    owner : str
        Name of the Dataset, for messages.
    slots : list of Slot, or None
        What the inputs take; None: values stay as they are stored.
    axis : int
        The axis of the first array whose length is the weight of a batch.
    """

    def __init__(self, owner: str, slots: list[Slot] | None, axis: int) -> None:
        self.owner, self.slots, self.axis = owner, slots, axis

    def __call__(self, batch: object, number: int) -> Batch:
        """Return the arrays and the weight of batch ``number`` of a pass."""
        where = f"{self.owner}: batch {number}"
        values = self._sequence(batch, where)
        for value in values:
            if not (is_array(value) or is_number(value)) or isinstance(value, SharedVariable):
                raise TypeError(f"{where} must hold arrays, got {type(value).__name__}; give np.array(...)")
        if self.slots is None:
            arrays = tuple([as_stored(value) for value in values])
        else:
            arrays = tuple([slot(value, where) for slot, value in zip(self.slots, values, strict=True)])
        return arrays, self._weight(arrays, where)

    def fault(self, arrays: Sequence[Any]) -> str | None:
        """Return the input and the row of the first value that is not finite."""
        for slot, array in zip(self.slots or (), arrays, strict=True):
            if not array.ndim:
                if not np.isfinite(array):
                    return slot.label
                continue
            row = first_nonfinite(array, self.axis)
            if row is not None:
                return f"{slot.label}, row {row} of the batch"
        return None

    def _sequence(self, batch: object, where: str) -> Sequence[Any]:
        """Return the values of a batch; a single value may stand without a sequence."""
        if (is_array(batch) or is_number(batch)) and (self.slots is None or len(self.slots) == 1):
            return [batch]
        if isinstance(batch, list | tuple) and (self.slots is None or len(self.slots) == len(batch)):
            return batch
        wanted = [slot.name for slot in self.slots or ()]
        message = f"{where} must be a sequence of {plural(len(wanted), 'array')}, one per input {wanted}"
        if isinstance(batch, list | tuple):
            raise ValueError(f"{message}, got {len(batch)}{lists_hint(batch)}")
        raise TypeError(f"{message}, got {type(batch).__name__}")

    def _weight(self, arrays: Sequence[Any], where: str) -> float:
        if not arrays or not -arrays[0].ndim <= self.axis < arrays[0].ndim:
            return 1.0
        length = arrays[0].shape[self.axis]
        if not length:
            raise ValueError(f"{where} must have at least one row along axis {self.axis}, got shape {arrays[0].shape}")
        return float(length)


class ListFeed(PassFeed):
    """Batches of a list.

    Parameters
    ----------
    batches : sequence of batches
        As the caller has them.
    reader : Reader
    read : dict of int to Batch
        What was read of them for these inputs before; more is added.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        length: int,
        cursor: Cursor,
        *,
        batches: Sequence[object],
        reader: Reader,
        read: dict[int, Batch],
    ) -> None:
        super().__init__(name, inputs, {}, length, cursor)
        if any(batches):
            for number, batch in enumerate(batches):
                if number not in read or not _is_of(read[number][0], batch):
                    read[number] = reader(batch, number)
            self._batches = [read[number] for number in range(len(batches))]
        else:  # they have no arrays and are alike, perhaps many
            self._batches = [reader(batch, 0) for batch in batches[:1]] * len(batches)
        self._reader = reader
        self._latest: tuple[Any, ...] = ()
        self.sources = None if any(arrays for arrays, _ in self._batches) else ()

    def fault(self) -> str | None:
        """Return the input and the row of the first value in the latest batch that is not finite."""
        return self._reader.fault(self._latest) if self._latest else None

    def latest(self) -> tuple[Any, ...]:
        """Return the arrays of the latest batch."""
        return self._latest

    def _joined(self, places: Index) -> Stretch:
        return Stretch((), 0, places, None, np.ones(len(places)))

    def _met(self, stretch: Stretch, batch: int) -> None:
        """Do nothing: batches without arrays are all alike."""

    def _stretch(self, start: int, stop: int) -> Iterator[Batch]:
        alike = self.sources == ()
        return itertools.repeat(self._batches[0], stop - start) if alike else super()._stretch(start, stop)

    def _numbered(self, numbers: Iterable[int], position: int = 0) -> Iterator[Batch]:
        for number in numbers:
            batch = self._batches[number]
            self._latest = batch[0]
            yield batch


def _is_of(arrays: Sequence[object], batch: object) -> bool:
    """Whether arrays are the objects of a batch itself, so that they hold what the batch holds now."""
    return isinstance(batch, list | tuple) and len(arrays) == len(batch) and all(map(operator.is_, arrays, batch))


class Pass(Iterator[Item]):
    """One run over a source, opened for the first batch; if that fails, the next attempt opens it again."""

    def __init__(self, make: Callable[[], Iterable[object]], place: Callable[[], object]) -> None:
        self._make, self._place = make, place
        self._batches: Iterator[Any] | None = None

    def __next__(self) -> Item:
        """Return the next batch, and the state of the source after it."""
        if self._batches is None:
            self._batches = iter(self._make())
        return next(self._batches), self._place()


class Stream:
    """Batches that are made one by one, when training or evaluation takes them.

    A source with ``state_dict()`` and ``load_state_dict()`` goes to the position of training whenever training begins
    to read, as others may have read since: so a resumed run reads the same batches. Evaluation begins at the position
    that the source had at first.

    Parameters
    ----------
    make : callable
        Returns an iterable of the batches of a pass.
    source : object
        What the caller passed as data.
    transit : Transit
        How batches are read from there.

    Attributes
    ----------
    place : object
        State of the source after the latest batch of training; None for a source without a state.
    """

    def __init__(self, make: Callable[[], Iterable[object]], source: object, transit: Transit) -> None:
        self._make, self._source, self._transit = make, cast(Stateful, source), transit
        self.stateful = all(hasattr(type(source), name) for name in ("state_dict", "load_state_dict"))
        self.place: Any = None
        self._start: Any = None
        self._peeked: list[tuple[Item, Pass]] = []
        self._training: Iterator[Item] | None = None
        self._flight: ReadAhead[int, Item] | None = None
        self._end: int | None = None  # the number of the batch before which the flight ends

    def peek(self) -> Any:
        """Return the first batch of the pass that the next evaluation, or training without a state, reads."""
        if not self._peeked:
            self.halt()
            if self.stateful:
                self._training = None  # a source has one position at a time
                if self.place is None:
                    self.place = self._start = self._told()
                self._put(self._start)
            batch, place = self._first(batches := self._pass())
            self._peeked.append(((own(batch), place), batches))  # another reader may write into the same arrays
        return self._peeked[0][0][0]

    def batches(self, most: int | None) -> Iterator[Any]:
        """Yield at most `most` batches from the start of the data; the position of training stays."""
        self.halt()
        batches = self._open()
        requests: Iterable[int] = itertools.count() if most is None else range(most)
        read = functools.partial(self._next, batches)
        with contextlib.closing(answers(read, requests, self._transit.prefetch)) as items:
            for batch, _ in items:
                yield batch

    def advance(self, number: int, end: int | None) -> Any:
        """Return batch ``number`` of the pass for training; read ahead only batches before number ``end``.

        Raises
        ------
        StopIteration
            If the pass is over.
        """
        if self._flight is not None and self._end != end:  # what flies is of an epoch that was left
            self.halt()
        if self._training is None:
            self._training = self._begun(number)
        if not self._transit.prefetch:
            item = self._next(self._training, number)
        else:
            if self._flight is None:
                requests: Iterable[int] = itertools.count(number) if end is None else range(number, end)
                read = functools.partial(self._next, self._training)
                self._flight, self._end = ReadAhead(read, requests, self._transit.prefetch), end
            item = next(self._flight)
        batch, self.place = item
        return batch

    def halt(self) -> None:
        """Stop reading ahead for training; keep what was read."""
        if self._flight is None:
            return
        if not self.stateful:
            self._flight.settle()  # so that the next batch of the source does not depend on time
        left, self._flight = self._flight.close(), None
        if self.stateful:
            self._training = None
        else:
            self._training = itertools.chain(replayed(left), self._training or ())

    def rewind(self, place: object = None) -> None:
        """Let training begin a pass; a source with a state begins it at `place`."""
        self.halt()
        self._training = None
        if place is not None:
            self.place = place

    def _begun(self, number: int) -> Iterator[Item]:
        if not self.stateful:
            return self._open()
        self._peeked.clear()  # the source moves, so they cannot be continued
        self._put(self.place)
        batches = self._pass()
        if number:
            return batches
        try:
            first = self._next(batches, 0)
        except StopIteration:  # it stood at the end of a pass
            batches = self._pass()
            first = self._first(batches)
        return itertools.chain([first], batches)

    def _open(self) -> Iterator[Item]:
        self.peek()
        first, batches = self._peeked.pop()
        return itertools.chain([first], batches)

    def _first(self, batches: Pass) -> Item:
        try:
            return self._next(batches, 0)
        except StopIteration:
            raise ValueError(
                f"{self._transit.owner} must yield at least one batch each time it is iterated, got none; "
                "give a generator function, or Dataset.from_batches"
            ) from None

    def _pass(self) -> Pass:
        return Pass(self._make, self._told if self.stateful else lambda: None)

    def _told(self) -> Any:
        return copy.deepcopy(self._source.state_dict())

    def _put(self, place: Any) -> None:
        self._source.load_state_dict(copy.deepcopy(place))

    def _next(self, batches: Iterator[Item], number: int, pause: Pause = time.sleep) -> Item:
        if not self._transit:
            return next(batches)
        batch, place = self._transit.guard()(lambda: next(batches), number, pause)
        # What is read ahead must outlast the next read, which may write into the same arrays.
        return (own(batch) if self._transit.prefetch else batch), place


def replayed(outcomes: Iterable[Outcome]) -> Iterator[Item]:
    """Yield what was read ahead; raise the error that a read raised."""
    for item, error in outcomes:
        if error is not None:
            if not isinstance(error, StopIteration):
                raise error
            return
        yield item


def own(batch: object) -> Any:
    """Return a batch in new arrays."""
    if isinstance(batch, list | tuple):
        return [own(value) for value in batch]
    return as_stored(batch).copy() if is_array(batch) and not isinstance(batch, SharedVariable) else batch


class StreamFeed(Feed):
    """Batches of a callable, generator function or iterable.

    ``limit`` is the number of batches after which an epoch ends; None: it ends with the pass. ``replays`` says whether
    each pass has the same batches; a callable returns new ones each time.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Variable],
        length: int | None,
        cursor: Cursor,
        *,
        limit: int | None,
        replays: bool,
        stream: Stream,
        reader: Reader,
    ) -> None:
        super().__init__(name, inputs, {}, length, cursor)
        self._limit, self._replays, self._stream, self._reader = limit, replays, stream, reader
        self._latest: Sequence[Any] = ()
        reader(stream.peek(), 0)  # raises for a wrong batch before anything is compiled

    def stored(self) -> Iterator[Batch]:
        """Yield the batches of one epoch from the start of the data; the position of training stays."""
        for number, batch in enumerate(self._stream.batches(self._limit)):
            yield self._read(batch, number)

    def fault(self) -> str | None:
        """Return the input and the row of the first value in the latest batch that is not finite."""
        return self._reader.fault(self._latest) if self._latest else None

    def state(self) -> dict[str, Any]:
        """Return the position in the data, for JSON."""
        state, stream = super().state(), self._stream
        return state | {"source": frozen(stream.place, f"{self.name}: state_dict()") if stream.stateful else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the position that :meth:`state` returned, or begin the epoch anew if the source has no state.

        Raises
        ------
        ValueError
            If the state is of other data.
        """
        stream, cursor = self._stream, self._cursor
        if (state.get("source") is None) == stream.stateful:
            with_or_without = "with" if stream.stateful else "without"
            raise ValueError(
                f"state must be of the same data, which is {with_or_without} state_dict() and load_state_dict(), "
                f"got {state!r}; make the Dataset as it was made then"
            )
        super().restore(state)
        stream.rewind(thawed(state["source"]))
        if stream.stateful:
            return
        if state["done"] or (state["used"] and not (self._replays and self._limit is None)):
            log.warning("%s has no state_dict() and load_state_dict(): the data begins anew", self.name)
        cursor.used = cursor.done = cursor.resume = 0

    def _epoch(self, done: int) -> Generator[Batch]:
        cursor, stream, limit = self._cursor, self._stream, self._limit
        if limit is None and not done:
            stream.rewind()
            cursor.used = 0
        try:
            while limit is None or done < limit:
                try:
                    batch = stream.advance(cursor.used, None if limit is None else cursor.used + limit - done)
                except StopIteration:
                    stream.rewind()
                    cursor.used = 0
                    if limit is None:
                        cursor.done = 0
                        return
                    continue
                cursor.used += 1
                cursor.done = done = done + 1
                yield self._read(batch, cursor.used - 1)
        finally:
            stream.halt()

    def _read(self, batch: object, number: int) -> Batch:
        read = self._reader(batch, number)
        self._latest = read[0]
        return read
