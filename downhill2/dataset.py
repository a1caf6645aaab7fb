"""Datasets: arrays, callables and iterables, as mini-batches."""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable

from .feeds import Cursor, Feed, ListFeed, RowFeed, ShuffledFeed, Stream, StreamFeed
from .sources import (
    ROWS,
    Column,
    Converted,
    Numbers,
    Reader,
    SharedRows,
    Slot,
    as_stored,
    is_array,
    is_number,
    plural,
    rows_of,
)

__all__ = ["Dataset", "Feed"]

CALLS = 100  # batches per epoch of a callable without a length


class Dataset:
    """Data for a loss, in mini-batches.

    Parameters
    ----------
    inputs : array, sequence of arrays, sequence of batches, callable, iterable of batches or None
        - An array, or a list or tuple with one array per input of the loss, all of one length along ``axis``. An array
          is a NumPy array or memory map, a scipy.sparse matrix, a frame or series of pandas or polars, whatever
          converts to a NumPy array, or a PyTensor shared variable (then all are): its rows are taken inside the
          compiled function.
        - A list or tuple of lists or tuples: ready-made batches, each with one array per input.
        - A callable without arguments, which returns one batch. An epoch is ``len(callable)`` batches where it has a
          length, else 100.
        - A generator function, or anything that can be iterated again and again (such as a ``DataLoader`` of torch):
          yields batches.
        - None: one batch without arrays, for a loss without inputs.
    name : str, optional
        Begins messages about this data. Default "dataset".
    batch_size : int, optional
        Rows per batch; 0 or less: all rows. Ready-made batches keep their size. Default 32.
    iteration_size : int, optional
        Batches per epoch. Training goes on in the next epoch where it stopped in this one, and begins a new pass over
        the data, shuffled anew, when the rows are used up; evaluation takes the first ``iteration_size`` batches of the
        stored data. By default an epoch is one pass.
    axis : int, optional
        The axis along which the rows of an array lie, from the end if negative. Default 0.
    rng : int, numpy.random.Generator or numpy.random.RandomState, optional
        Shuffles: a seed, or a generator that is used as it is. By default a seed is drawn, and logged when it is used.
    shuffle : {'rows', 'batches', False}, optional
        What each pass puts in a new order: rows, or batches of neighbouring rows (quicker on data that lie on a disk).
        Of a list of batches either puts the batches in order; callables, generator functions and iterables are never
        shuffled. Default 'rows'.
    drop_last : bool, optional
        Whether to leave out a last batch of rows that is shorter than the others. Default False.
    weights : array of shape (rows,), optional
        Weights of the rows, not negative. A batch then counts by the sum of its rows' weights where monitors are
        averaged, otherwise by the number of its rows.

    Attributes
    ----------
    shared : tuple of SharedVariable
        The shared variables that the data stands in.
    rng : numpy.random.Generator
        What shuffles.

    Raises
    ------
    TypeError
        If an argument is of a kind that cannot be data, a seed, a size ...
    ValueError
        If arrays are empty or of different length, an iterator can be used only once, a size or weight is out of range.

    Notes
    -----
    Data in memory is used as it stands where it has the dtype and layout that the loss takes, and is otherwise
    converted once. Memory maps, frames, sparse matrices for a dense input and batches that are made as they are asked
    for are converted batch by batch.

    Examples
    --------
    >>> data = Dataset([np.arange(10), np.arange(10) > 4], batch_size=4, shuffle=False)
    >>> len(data)
    3
    >>> for x, y in data:
    ...     print(x, y)
    [0 1 2 3] [False False False False]
    [4 5 6 7] [False  True  True  True]
    [8 9] [ True  True]
    """

    def __init__(
        self,
        inputs: Any,
        name: str | None = None,
        batch_size: int = 32,
        iteration_size: int | None = None,
        axis: int = 0,
        rng: int | np.random.Generator | np.random.RandomState | None = None,
        *,
        shuffle: Literal["rows", "batches", False] = "rows",
        drop_last: bool = False,
        weights: Any = None,
    ) -> None:
        self.name = name or "dataset"
        self.batch_size = whole_number("batch_size", batch_size)
        self.iteration_size = None if iteration_size is None else whole_number("iteration_size", iteration_size, 1)
        self.axis = whole_number("axis", axis)
        self.rng, note = generator(rng, self.name)
        if shuffle not in ("rows", "batches") and shuffle is not False:
            raise ValueError(f"shuffle must be 'rows', 'batches' or False, got {shuffle!r}")
        self.shuffle: Literal["rows", "batches", False] = shuffle
        self.drop_last = bool(drop_last)
        self.weights = None if weights is None else row_weights(weights)
        self._source = source_of(inputs, self)
        self._cursor = Cursor(self.rng, self._source.permuted, self._source.batches, note)
        self._told: set[str] = set()
        self.shared: tuple[SharedVariable, ...] = self._source.shared

    @classmethod
    def from_batches(
        cls,
        batches: Iterable[Any],
        name: str | None = None,
        iteration_size: int | None = None,
        axis: int = 0,
        rng: int | np.random.Generator | np.random.RandomState | None = None,
        *,
        shuffle: Literal["rows", "batches", False] = "rows",
    ) -> Dataset:
        """A Dataset of ready-made batches, all kept in memory.

        Parameters
        ----------
        batches : iterable of batches
            A batch is a sequence with one array per input of the loss, or, for a loss with one input, an array. An
            iterator is read to its end.
        name, iteration_size, axis, rng
            As :class:`Dataset` has them.
        shuffle : {'rows', 'batches', False}, optional
            Whether each pass puts the batches in a new order. Default 'rows', which is the same as 'batches' here.

        Examples
        --------
        >>> data = Dataset.from_batches(np.full(3, k) for k in range(4))
        >>> len(data)
        4
        """
        listed = [batch if isinstance(batch, list | tuple) else [batch] for batch in batches]
        return cls(listed, name, 0, iteration_size, axis, rng, shuffle=shuffle)

    def __len__(self) -> int:
        """Batches per epoch.

        Raises
        ------
        TypeError
            If only the end of the data tells.
        """
        length = self._source.length
        if length is None:
            raise TypeError(f"{self.name} must have a length for len(), got data without one; give iteration_size")
        return length

    def __iter__(self) -> Iterator[list[Any]]:
        """Batches of the next training epoch: lists of arrays in the dtype that they are stored in."""
        return (list(arrays) for arrays, _ in self._source.feed(self, [], None).train())

    def bind(self, inputs: Sequence[Variable]) -> Feed:
        """Meet the inputs of a loss: check that the data fits them, and convert what is in memory.

        Parameters
        ----------
        inputs : sequence of Variable
            The symbolic inputs, in the order of the arrays.

        Returns
        -------
        Feed
            Batches for a function compiled with its ``inputs`` and ``givens``. All feeds of a Dataset share one
            position and generator for training.

        Raises
        ------
        TypeError
            If a dtype would lose information (text, complex or floating-point numbers for an integer input ...), or
            what yields batches yields something else.
        ValueError
            If the number of arrays, their dimensions or shapes do not fit, or values are out of the dtype's range.
        """
        slots = [Slot(variable, position, self.name, self._told) for position, variable in enumerate(inputs)]
        return self._source.feed(self, inputs, slots)


class Table:
    """Arrays with rows in common, as the source of a Dataset's batches."""

    def __init__(self, arrays: Sequence[Any], data: Dataset) -> None:
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
        shuffled = {"rows": self.count, "batches": self.batches, False: 0}
        self.permuted = 0 if self.size == self.count else shuffled[data.shuffle]

    def _common_length(self, data: Dataset) -> int:
        lengths = [len(rows) for rows in self.rows]
        if len(set(lengths)) > 1:
            listed = ", ".join(map(str, lengths[:-1])) + f" and {lengths[-1]}"
            raise ValueError(f"{data.name}: arrays must have the same length along axis {data.axis}, got {listed}")
        if not lengths[0]:
            shape = self.rows[0].shape
            raise ValueError(f"{data.name} must have at least one row along axis {data.axis}, got shape {shape}")
        return lengths[0]

    def feed(self, data: Dataset, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Batches for the inputs; values as stored where there are no slots."""
        givens: dict[Variable, Variable] = {}
        if slots is None:
            columns: list[Column] = [Converted(rows.read, as_stored, data.name) for rows in self.rows]
        else:
            self._check(data, slots)
            if self.shared:
                inputs, givens, columns = self._inside(inputs, slots)
            else:
                columns = [rows.column(slot) for rows, slot in zip(self.rows, slots, strict=True)]
        kind = ShuffledFeed if self.permuted and data.shuffle == "rows" else RowFeed
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
        )

    def _check(self, data: Dataset, slots: list[Slot]) -> None:
        if len(slots) != len(self.rows):
            raise ValueError(
                f"{data.name} must have one array per input: the loss needs {[slot.name for slot in slots]}, "
                f"got {plural(len(self.rows), 'array')}"
            )
        lengths = {self.size, self.rest} if self.rest and not data.drop_last else {self.size}
        for (rows, slot), length in itertools.product(zip(self.rows, slots, strict=True), sorted(lengths)):
            rows.admit(slot, length)

    def _inside(
        self, inputs: Sequence[Variable], slots: list[Slot]
    ) -> tuple[list[Variable], dict[Variable, Variable], list[Column]]:
        """Inputs, givens and columns where the compiled function takes the rows, or takes them all unasked."""
        some = self.size < self.count
        givens = {
            variable: rows.expression(slot, some)
            for variable, rows, slot in zip(inputs, self.rows, slots, strict=True)
            if isinstance(rows, SharedRows)
        }
        return ([ROWS], givens, [Numbers(self.count)]) if some else ([], givens, [])


class BatchList:
    """A list of ready-made batches, as the source of a Dataset's batches."""

    shared: tuple[SharedVariable, ...] = ()

    def __init__(self, batches: Sequence[Sequence[Any]], data: Dataset) -> None:
        refuse_weights(data)
        if data.iteration_size and not any(batches):
            # Without data all batches are alike, so evaluation, too, has as many as it was asked for.
            batches = [()] * data.iteration_size
        self._listed = batches
        self.batches = len(batches)
        self.length = data.iteration_size or self.batches
        self.permuted = self.batches if data.shuffle and self.batches > 1 else 0

    def feed(self, data: Dataset, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Batches for the inputs; values as stored where there are no slots."""
        reader = Reader(data.name, slots, data.axis)
        return ListFeed(data.name, inputs, self.length, data._cursor, batches=self._listed, reader=reader)


class Streamed:
    """Batches that are made as they are asked for, as the source of a Dataset's batches.

    ``make`` returns an iterable of batches, of this ``length`` where known. An epoch ends after ``limit`` batches if
    ``iteration_size`` does not say otherwise, or with the iterable. ``replays`` is as in :class:`.Stream`.
    """

    shared: tuple[SharedVariable, ...] = ()
    permuted = batches = 0

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        data: Dataset,
        limit: int | None = None,
        length: int | None = None,
        replays: bool = True,
    ) -> None:
        refuse_weights(data)
        if length == 0 or limit == 0:
            raise ValueError(f"{data.name} must have at least one batch, got data of length 0")
        self._limit = data.iteration_size or limit
        self.length = self._limit or length
        self._stream = Stream(make, data.name, replays)

    def feed(self, data: Dataset, inputs: Sequence[Variable], slots: list[Slot] | None) -> Feed:
        """Batches for the inputs; values as stored where there are no slots."""
        reader = Reader(data.name, slots, data.axis)
        return StreamFeed(
            data.name, inputs, self.length, data._cursor, limit=self._limit, stream=self._stream, reader=reader
        )


def source_of(inputs: Any, data: Dataset) -> Table | BatchList | Streamed:
    """What a Dataset was given, recognised by its kind."""
    if inputs is None:
        return BatchList([()], data)
    if is_array(inputs):
        return Table([inputs], data)
    if isinstance(inputs, list | tuple):
        return listed_source(inputs, data)
    if isinstance(inputs, str | bytes | Mapping | Set | Variable | Dataset) or is_number(inputs):
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
        return Streamed(lambda: inputs, data, length=known_length(inputs))
    raise TypeError(f"inputs must be arrays, batches, a callable or an iterable of batches, got {inputs!r}")


def listed_source(inputs: Sequence[Any], data: Dataset) -> Table | BatchList:
    """A list of arrays, or of batches."""
    if not inputs:
        raise ValueError(f"inputs must hold an array or a batch, got {inputs!r}; for a loss without inputs give None")
    if all(is_array(item) for item in inputs):
        return Table(inputs, data)
    if all(isinstance(item, list | tuple) for item in inputs):
        return BatchList(inputs, data)
    kinds = " and ".join(sorted({type(item).__name__ for item in inputs}))
    raise TypeError(
        "inputs must hold arrays, one per input, or batches, which are lists of arrays, "
        f"got a {type(inputs).__name__} of {kinds}; make it an array, np.array(...)"
    )


def called_source(inputs: Callable[[], Any], data: Dataset) -> Streamed:
    """A generator function, or a callable that returns a batch."""
    try:
        inspect.signature(inputs).bind()
    except TypeError:
        raise TypeError(f"inputs must be callable without arguments, got {inputs!r}") from None
    except ValueError:  # some callables written in C do not tell their arguments
        pass
    if inspect.isgeneratorfunction(inputs) or inspect.isgeneratorfunction(type(inputs).__call__):
        return Streamed(inputs, data)
    length = known_length(inputs)
    calls = itertools.repeat(())
    return Streamed(
        lambda: itertools.starmap(inputs, calls), data, limit=CALLS if length is None else length, replays=False
    )


def known_length(values: Any) -> int | None:
    """The length of something that may not have one, or only seem to."""
    try:
        return len(values)
    except TypeError:
        return None


def row_weights(weights: Any) -> NDArray[np.float64]:
    """Weights as a vector of finite, non-negative numbers, not all zero."""
    vector = np.array(weights, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"weights must be a vector, got shape {vector.shape}")
    if not (np.isfinite(vector).all() and (vector >= 0).all() and vector.any()):
        raise ValueError(f"weights must be finite, not negative and not all zero, got {weights!r}")
    return vector


def refuse_weights(data: Dataset) -> None:
    """Raise ValueError if rows are weighted that the Dataset does not know."""
    if data.weights is not None:
        raise ValueError(f"{data.name}: weights must be None for ready-made batches, got {data.weights!r}")


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """An argument as an int, checked."""
    if isinstance(value, bool | np.bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number: int = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def generator(rng: Any, name: str) -> tuple[np.random.Generator, str]:
    """The generator that shuffles, and a note with the seed if that had to be drawn."""
    if isinstance(rng, np.random.Generator):
        return rng, ""
    if isinstance(rng, np.random.RandomState):
        return np.random.Generator(rng._bit_generator), ""
    if rng is not None:
        return np.random.default_rng(whole_number("rng", rng, 0)), ""
    seed = int(np.random.SeedSequence().entropy) & 0xFFFFFFFF  # type: ignore[arg-type]
    return np.random.default_rng(seed), f"{name}: shuffling with seed {seed}"
