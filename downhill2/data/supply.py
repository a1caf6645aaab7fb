"""The kinds of data that a Dataset takes, and how batches are made of each."""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, Protocol

import numpy as np
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable

from ..checks import kind_of, shown
from .cursor import Cursor, Order
from .feeds import Feed, RowFeed, ShuffledFeed, Transit
from .on_disk import BlockRows, ChunkedRows, block_edges, is_chunked
from .sources import (
    ROWS,
    ArrayRows,
    Batch,
    Column,
    Converted,
    FrameRows,
    Numbers,
    Rows,
    SharedRows,
    Slot,
    SparseRows,
    as_stored,
    is_array,
    is_frame,
    is_number,
    is_of,
    is_sparse,
    plural,
)
from .streams import ListFeed, Reader, Stream, StreamFeed

log = logging.getLogger("downhill2")

MOST = 10**8  # batches per epoch without data: their list and its order are in memory
CALLS = 100  # batches per epoch of a callable without a length


class Wishes(Protocol):
    """The options of a `Dataset`, as the sources of its batches see them."""

    name: str
    batch_size: int
    iteration_size: int | None
    axis: int
    shuffle: Literal["rows", "batches", False]
    drop_last: bool
    weights: Any
    block_size: int | None
    shuffle_buffer: int
    transit: Transit
    _cursor: Cursor


class Table:
    """Arrays with the same number of rows, as the source of a Dataset's batches."""

    def __init__(self, arrays: Sequence[object], data: Wishes) -> None:
        self.shared = tuple(array for array in arrays if isinstance(array, SharedVariable))
        if self.shared and len(self.shared) < len(arrays):
            kinds = [type(array).__name__ for array in arrays]
            raise TypeError(
                f"arrays must be all shared variables or none, got {kinds}; wrap the others in pytensor.shared"
            )
        self.rows = [rows_of(array, data.axis) for array in arrays]
        self.count = self._common_length(data)
        if data.weights is not None and len(data.weights) != self.count:
            raise ValueError(f"weights must have one number per row, {self.count}, got {len(data.weights)}")
        self.size = min(data.batch_size, self.count) if data.batch_size > 0 else self.count
        self.rest = self.count % self.size
        self.batches = self.count // self.size + (self.rest > 0 and not data.drop_last)
        self.length = data.iteration_size or self.batches
        self.order = self._order(data)

    def _order(self, data: Wishes) -> Order | None:
        """Return the order of rows or batches if it is random; set the blocks of arrays that are read in blocks."""
        edges = block_edges(self.rows, data.block_size)
        shuffle = data.shuffle if self.size < self.count else False
        for rows in self.rows:
            if isinstance(rows, BlockRows) and edges is not None:
                # One more than are mixed, as a batch may have rows of the block that leaves and of the one that enters.
                rows.edges, rows.kept = edges, data.shuffle_buffer + 1 if shuffle else 1
        if not shuffle:
            return None
        if shuffle == "batches":
            edges = None if edges is None else np.unique(np.minimum(-(-edges // self.size), self.batches))
        return Order(self.count if shuffle == "rows" else self.batches, edges, data.shuffle_buffer)

    def _common_length(self, data: Wishes) -> int:
        lengths = [len(rows) for rows in self.rows]
        if len(set(lengths)) > 1:
            listed = ", ".join(map(str, lengths[:-1])) + f" and {lengths[-1]}"
            raise ValueError(f"{data.name}: arrays must have the same length along axis {data.axis}, got {listed}")
        if not lengths[0]:
            shape = self.rows[0].shape
            raise ValueError(f"{data.name} must have at least one row along axis {data.axis}, got shape {shape}")
        return lengths[0]

    def feed(self, data: Wishes, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Return batches for the inputs; without slots, values as they are stored."""
        givens: dict[Variable, Variable] = {}
        columns = functools.partial(self._columns, data, slots)
        if slots is not None:
            self._check(data, slots)
            if self.shared:
                inputs, givens = self._inside(inputs, slots)
        kind = ShuffledFeed if self.order and data.shuffle == "rows" else RowFeed
        transit = data.transit if self.size < self.count else data.transit._replace(prefetch=0)
        return kind(
            data.name,
            inputs,
            givens,
            self.length,
            data._cursor,
            rows=self.rows,
            labels=[slot.label for slot in slots or ()],
            columns=columns,
            size=self.size,
            weights=data.weights,
            transit=transit,
        )

    def _columns(self, data: Wishes, slots: list[Slot] | None) -> list[Column]:
        if slots is None:
            return [Converted(rows.reader(), as_stored, data.name) for rows in self.rows]
        if self.shared:
            return [Numbers(self.count)] if self.size < self.count else []
        return [rows.column(slot) for rows, slot in zip(self.rows, slots, strict=True)]

    def _check(self, data: Wishes, slots: list[Slot]) -> None:
        if len(slots) != len(self.rows):
            raise ValueError(
                f"{data.name} must have one array per input: the loss needs {[slot.name for slot in slots]}, "
                f"got {plural(len(self.rows), 'array')}"
            )
        lengths = {self.size, self.rest} if self.rest and not data.drop_last else {self.size}
        for (rows, slot), length in itertools.product(zip(self.rows, slots, strict=True), sorted(lengths)):
            rows.admit(slot, length)

    def _inside(self, inputs: Sequence[Variable], slots: list[Slot]) -> tuple[list[Variable], dict[Variable, Variable]]:
        """Return inputs and givens for shared variables, whose rows the compiled function takes itself."""
        some = self.size < self.count
        givens = {
            variable: rows.expression(slot, some)
            for variable, rows, slot in zip(inputs, self.rows, slots, strict=True)
            if isinstance(rows, SharedRows)
        }
        return [ROWS] if some else [], givens


class BatchList:
    """A list of ready-made batches, as the source of a Dataset's batches."""

    shared: tuple[SharedVariable, ...] = ()

    def __init__(self, batches: Sequence[Sequence[object]], data: Wishes) -> None:
        refuse_weights(data)
        if data.iteration_size and not any(batches):
            if data.iteration_size > MOST:
                sizes = "iteration_size, train_batches and valid_batches"
                raise ValueError(f"{sizes} must be at most {MOST} where there is no data, got {data.iteration_size}")
            # Without data all batches are alike, so an evaluation has iteration_size of them too.
            batches = [()] * data.iteration_size
        if _one_memory(batches):
            log.warning(
                "%s: all %d batches lie in the same memory, and are the same; of a reader that fills one buffer again "
                "and again give the iterator to Dataset.from_batches, which copies; to take one batch so often, give "
                "it once, with iteration_size=%d",
                *(data.name, len(batches), len(batches)),
            )
        self._listed = batches
        self.batches = len(batches)
        self.length = data.iteration_size or self.batches
        self.order = Order(self.batches) if data.shuffle and self.batches > 1 else None
        self._read: tuple[list[Variable], dict[int, Batch]] = [], {}  # what was read for the inputs of the latest feed

    def feed(self, data: Wishes, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Return batches for the inputs; without slots, values as they are stored."""
        reader = Reader(data.name, slots, data.axis)
        if slots is not None and self._read[0] != list(inputs):
            self._read = list(inputs), {}
        known = {} if slots is None else self._read[1]
        return ListFeed(data.name, inputs, self.length, data._cursor, batches=self._listed, reader=reader, read=known)


def _one_memory(batches: Sequence[Sequence[object]]) -> bool:
    """Whether batches all hold the same arrays, as those do that were listed from one buffer.

    Whether a caller has repeated one on purpose, ``[[x, y]] * 10``, or a reader has yielded one list again and again,
    nobody can tell: both are told of.
    """
    if len(batches) < 2 or not any(map(is_array, batches[0])):
        return False
    return len({tuple(map(_place, batch)) for batch in batches}) == 1


def _place(values: object) -> Any:
    """Return where an array lies in memory."""
    if type(values) is not np.ndarray:
        return id(values)
    return values.__array_interface__["data"][0], values.shape, values.strides, values.dtype.str


class Streamed:
    """Batches that are made one by one, as the source of a Dataset's batches.

    ``make`` returns an iterable of batches of the ``source``, with this ``length`` if it is known. An epoch ends after
    ``limit`` batches if ``iteration_size`` does not say otherwise, or with the iterable. ``replays`` is as in
    :class:`.StreamFeed`.
    """

    shared: tuple[SharedVariable, ...] = ()
    order = None
    batches = 0

    def __init__(
        self,
        make: Callable[[], Iterable[object]],
        source: object,
        data: Wishes,
        limit: int | None = None,
        length: int | None = None,
        replays: bool = True,
    ) -> None:
        refuse_weights(data)
        if length == 0 or limit == 0:
            raise ValueError(f"{data.name} must have at least one batch, got data of length 0")
        self._limit = data.iteration_size or limit
        self.length = self._limit or length
        self._stream, self._replays = Stream(make, source, data.transit), replays

    def feed(self, data: Wishes, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Return batches for the inputs; without slots, values as they are stored."""
        reader = Reader(data.name, slots, data.axis)
        return StreamFeed(
            data.name,
            inputs,
            self.length,
            data._cursor,
            limit=self._limit,
            replays=self._replays,
            stream=self._stream,
            reader=reader,
        )


def source_of(inputs: Any, data: Wishes) -> Table | BatchList | Streamed:
    """Return the source of batches for data of any kind."""
    if inputs is None:
        return BatchList([()], data)
    if is_array(inputs):
        return Table([inputs], data)
    if isinstance(inputs, list | tuple):
        return listed_source(inputs, data)
    if (
        isinstance(inputs, str | bytes | Mapping | Set | Variable | type(data))
        or is_number(inputs)
        or is_of(inputs, "zarr")
    ):
        raise TypeError(
            f"inputs must be arrays, batches, a callable or an iterable of batches, got {type(inputs).__name__}; "
            "give a list with one array per input"
        )
    if callable(inputs):
        return called_source(inputs, data)
    if hasattr(inputs, "__next__"):
        raise ValueError(
            f"inputs must be iterable again and again, got {type(inputs).__name__}, which cannot be restarted; "
            "give a generator function (without calling it), or Dataset.from_batches(iterator)"
        )
    if hasattr(type(inputs), "__iter__"):
        return Streamed(lambda: inputs, inputs, data, length=known_length(inputs))
    raise TypeError(f"inputs must be arrays, batches, a callable or an iterable of batches, got {shown(inputs)}")


def listed_source(inputs: Sequence[Any], data: Wishes) -> Table | BatchList:
    """Return the source for a list of arrays, or of batches."""
    if not inputs:
        raise ValueError(
            f"inputs must hold an array or a batch, got {shown(inputs)}; for a loss without inputs give None"
        )
    if all(is_array(item) for item in inputs):
        return Table(inputs, data)
    if all(isinstance(item, list | tuple) for item in inputs):
        return BatchList(inputs, data)
    kinds = " and ".join(sorted({type(item).__name__ for item in inputs}))
    raise TypeError(
        "inputs must hold arrays, one per input, or batches, which are lists of arrays, "
        f"got a {type(inputs).__name__} of {kinds}; make it an array, np.array(...)"
    )


def ready(batches: Any) -> Iterator[Any]:
    """What goes through something batch by batch, to list them."""
    try:
        if not isinstance(batches, str | bytes | Mapping | Set | Variable):
            return iter(batches)
    except TypeError:
        pass
    hint = "; call it, or give it to Dataset, which calls it for each pass" if callable(batches) else ""
    raise TypeError(f"batches must be an iterable of batches, got {kind_of(batches)}{hint}")


def called_source(inputs: Callable[[], Any], data: Wishes) -> Streamed:
    """Return the source for a generator function, or for a callable that returns a batch."""
    try:
        inspect.signature(inputs).bind()
    except TypeError:
        raise TypeError(f"inputs must be callable without arguments, got {shown(inputs)}") from None
    except ValueError:  # some callables written in C have no signature
        pass
    if inspect.isgeneratorfunction(inputs) or inspect.isgeneratorfunction(type(inputs).__call__):
        return Streamed(inputs, inputs, data)
    length = known_length(inputs)
    calls = itertools.repeat(())
    limit = CALLS if length is None else length
    return Streamed(lambda: itertools.starmap(inputs, calls), inputs, data, limit=limit, replays=False)


def known_length(values: Any) -> int | None:
    """Return the length of a value, None if it has none."""
    try:
        return len(values)
    except TypeError:
        return None


def rows_of(values: object, axis: int) -> Rows:
    """Return an array of any library as Rows."""
    if isinstance(values, Rows):
        return values
    if isinstance(values, SharedVariable):
        return SharedRows(values, axis)
    if is_chunked(values):
        return ChunkedRows(values, axis)
    if is_sparse(values):
        return SparseRows(values, axis)
    return (FrameRows if is_frame(values) else ArrayRows)(values, axis)


def refuse_weights(data: Wishes) -> None:
    """Raise ValueError for weights of rows: ready-made batches have none."""
    if data.weights is not None:
        raise ValueError(f"{data.name}: weights must be None for ready-made batches, got {shown(data.weights)}")
