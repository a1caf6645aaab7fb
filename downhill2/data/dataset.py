"""Datasets: arrays, callables and iterables, as mini-batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable

from ..checks import choice, flag, integer, kind_of, shown, text
from .cursor import Cursor
from .feeds import Feed, Transit
from .on_disk import parquet_rows
from .sources import Slot, in_single
from .streams import own
from .supply import ready, source_of

__all__ = ["Dataset", "Feed"]

SHUFFLES: tuple[Literal["rows", "batches", False], ...] = ("rows", "batches", False)


class Dataset:
    """Data for a loss, in mini-batches.

    Parameters
    ----------
    inputs : array, sequence of arrays, sequence of batches, callable, iterable of batches or None
        - An array, or a list or tuple with one array per input of the loss, all of one length along ``axis``. An array
          is a NumPy array or memory map, a dataset of h5py, an array of zarr, a scipy.sparse matrix, a frame or
          series of pandas or polars, anything that converts to a NumPy array, or a PyTensor shared variable (then all
          must be): the compiled function takes its rows itself. For Parquet files see :meth:`from_parquet`.
        - A list or tuple of lists or tuples: ready-made batches, each with one array per input.
        - A callable without arguments, which returns one batch. An epoch is ``len(callable)`` batches where it has a
          length, else 100.
        - A generator function, or anything that can be iterated again and again (such as a ``DataLoader`` of torch):
          yields batches.
        - None: one batch without arrays, for a loss without inputs.
    name : str, optional
        Name of this data in messages. Default "dataset".
    batch_size : int, optional
        Rows per batch; 0 or less: all rows. Ready-made batches keep their size. Default 32.
    iteration_size : int, optional
        Batches per epoch. Training goes on in the next epoch where it stopped in this one, and begins a new pass over
        the data, shuffled anew, when the rows are used up; evaluation takes the first ``iteration_size`` batches of the
        stored data. By default an epoch is one pass.
    axis : int, optional
        The axis along which the rows of an array lie, from the end if negative. Default 0.
    rng : int, numpy.random.Generator or numpy.random.RandomState, optional
        The generator that shuffles, or its seed. By default a seed is drawn, and logged when it is used.
    shuffle : {'rows', 'batches', False}, optional
        What each pass puts in a new order: rows, or batches of neighbouring rows (quicker on data that lie on a disk).
        For a list of batches, both shuffle the batches; callables, generator functions and iterables are never
        shuffled. Default 'rows'.
    drop_last : bool, optional
        Whether to leave out a last batch of rows that is shorter than the others. Default False.
    weights : array of shape (rows,), optional
        Weights of the rows, not negative. A batch then counts by the sum of its rows' weights where monitors are
        averaged, otherwise by the number of its rows.
    block_size : int, optional
        Neighbouring rows that are read at once from a disk: shuffling puts blocks of `block_size` rows in a new order,
        and mixes the rows of neighbours in this order. By default whole chunks of about 1 MiB, if an array is one of
        h5py or zarr; otherwise rows are read one by one, in any order.
    shuffle_buffer : int, optional
        Blocks whose rows are mixed with each other; these and one more of each array are in memory. Default 8.
    prefetch : int, optional
        Batches to read ahead in a thread, while a batch is used. 0: none. It pays where reading takes long and releases
        the lock of the interpreter: with 2 ms of use a batch, batches of 256 KiB from compressed zarr chunks
        took 3.4 ms each in turn, 2.3 ms with 4 read ahead. It costs 20 microseconds a batch, so it slows data in
        memory down. A callable or iterable is called in that thread. Default 0.
    retries : int, optional
        How often to read a batch again if reading it raises OSError: after 0.1 s, 0.2 s, 0.4 s ..., each logged as a
        warning. A generator that raised has ended, and is not read again. Default 0.

    Attributes
    ----------
    shared : tuple of SharedVariable
        The shared variables that hold the data.
    rng : numpy.random.Generator
        The generator that shuffles.

    Raises
    ------
    TypeError
        If an argument is of a kind that cannot be data, a seed, a size ...
    ValueError
        If arrays are empty or of different length, an iterator can be used only once, a size or weight is out of range.
    OSError, RuntimeError
        From batches, with ``prefetch`` or ``retries``: if the reader raises an error, which is the cause. The message
        has the number of the batch in its pass. Without these two the error of the reader is raised itself.

    Notes
    -----
    Data in memory is used without a copy if it has the dtype and layout that the loss takes, and is otherwise converted
    once. Memory maps, frames, sparse matrices for a dense input and batches of callables and iterables are converted
    batch by batch. Arrays of h5py and zarr and Parquet files are read by blocks of rows, never whole.

    Training can be resumed exactly if the data are arrays, frames or files, or if a callable or iterable has
    ``state_dict()`` and ``load_state_dict()``, as the stateful loader of torchdata has. Their state must consist of
    numbers, strings, arrays, lists and dicts with strings as keys; evaluation takes the batches that came at first.
    With other data a resumed run begins the epoch anew, and a warning says so.

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
        inputs: object,
        name: str | None = None,
        batch_size: int = 32,
        iteration_size: int | None = None,
        axis: int = 0,
        rng: int | np.random.Generator | np.random.RandomState | None = None,
        *,
        shuffle: Literal["rows", "batches", False] = "rows",
        drop_last: bool = False,
        weights: object = None,
        block_size: int | None = None,
        shuffle_buffer: int = 8,
        prefetch: int = 0,
        retries: int = 0,
    ) -> None:
        self.name = "dataset" if name is None else text("name", name) or "dataset"
        self.batch_size = integer("batch_size", batch_size)
        self.iteration_size = None if iteration_size is None else integer("iteration_size", iteration_size, 1)
        self.axis = integer("axis", axis)
        self.rng, note = generator(rng, self.name)
        self.shuffle: Literal["rows", "batches", False] = choice("shuffle", shuffle, SHUFFLES)
        self.drop_last = flag("drop_last", drop_last)
        self.weights = None if weights is None else row_weights(weights)
        self.block_size = None if block_size is None else integer("block_size", block_size, 1)
        self.shuffle_buffer = integer("shuffle_buffer", shuffle_buffer, 1)
        self.transit = Transit(self.name, integer("prefetch", prefetch, 0), integer("retries", retries, 0))
        self._source = source_of(inputs, self)
        self._cursor = Cursor(self.rng, self._source.order, self._source.batches, note)
        self._told: set[str] = set()
        self.shared: tuple[SharedVariable, ...] = self._source.shared

    @classmethod
    def from_batches(
        cls,
        batches: Iterable[object],
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
            A batch is a sequence with one array per input of the loss, or, for a loss with one input, an array. A list
            or tuple is used as it stands. Anything else is read to its end, and each batch is copied, so that a reader
            may fill one buffer again and again. A generator function is called before; to call it anew for each pass,
            give it to :class:`Dataset`.
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
        kept = batches if isinstance(batches, list | tuple) else map(own, ready(batches))
        listed = [batch if isinstance(batch, list | tuple) else [batch] for batch in kept]
        return cls(listed, name, 0, iteration_size, axis, rng, shuffle=shuffle)

    @classmethod
    def from_parquet(cls, paths: object, columns: object = None, name: str | None = None, **settings: Any) -> Dataset:
        """A Dataset of columns of Parquet files, read by row groups.

        Shuffling puts the row groups of all files in order, and mixes ``shuffle_buffer`` of them that are neighbours in
        this order: these and one more are in memory.

        Parameters
        ----------
        paths : path or sequence of paths
            The files, all with these columns.
        columns : sequence with one list of names, or one name, per input; or str, optional
            A list of columns makes a matrix of shape (rows, columns), a name a vector. Default: one matrix of all.
        name, **settings
            As :class:`Dataset` has them, without ``axis`` and ``block_size``.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        TypeError
            If a column holds no numbers, or not the same type in each file.
        ValueError
            If a file lacks a column, or a column has nulls; the latter also when it is read.

        Examples
        --------
        ``Dataset.from_parquet(["a.parquet", "b.parquet"], columns=[["height", "width"], "label"], prefetch=2)``
        """
        for given in {"axis", "block_size"} & settings.keys():
            raise TypeError(f"from_parquet takes no {given}: rows lie along axis 0, in row groups")
        return cls(parquet_rows(paths, columns), name, **settings)

    def __len__(self) -> int:
        """Batches per epoch.

        Raises
        ------
        TypeError
            If only the end of the data shows it.
        """
        length = self._source.length
        if length is None:
            raise TypeError(f"{self.name} must have a length for len(), got data without one; give iteration_size")
        return length

    def __iter__(self) -> Iterator[list[Any]]:
        """Batches of the next training epoch: lists of copies, in the dtype that the arrays are stored in."""
        return (own(arrays) for arrays, _ in self._source.feed(self, [], None).train())

    def bind(self, inputs: Sequence[Variable]) -> Feed:
        """Connect the data to the inputs of a loss: check that it fits, and convert arrays in memory.

        Parameters
        ----------
        inputs : sequence of Variable
            The symbolic inputs, in the order of the arrays.

        Returns
        -------
        Feed
            Batches for a function compiled with its ``inputs`` and ``givens``; these are float32 in place of float16,
            which not every backend compiles. All feeds of a Dataset share one position and one generator for training.

        Raises
        ------
        TypeError
            If a dtype would lose information (text, complex or floating-point numbers for an integer input ...), or
            the source of batches yields something else.
        ValueError
            If the number of arrays, their dimensions or shapes do not fit, or values are out of the dtype's range.
        """
        # the compiled function takes rows of shared variables itself, in their own dtype
        fed = list(inputs) if self.shared else [in_single(variable) for variable in inputs]
        slots = [Slot(variable, position, self.name, self._told) for position, variable in enumerate(fed)]
        feed = self._source.feed(self, fed, slots)
        feed.givens |= {x: y.astype(x.type.dtype) for x, y in zip(inputs, fed, strict=True) if x is not y}
        return feed


def row_weights(weights: object) -> NDArray[np.float64]:
    """Return weights as a vector, checked: finite, not negative, not all zero."""
    try:
        vector = np.array(weights, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        raise TypeError(f"weights must be a vector of numbers, got {kind_of(weights)}") from None
    if vector.ndim != 1:
        raise ValueError(f"weights must be a vector, got shape {vector.shape}")
    if not (np.isfinite(vector).all() and (vector >= 0).all() and vector.any()):
        raise ValueError(f"weights must be finite, not negative and not all zero, got {shown(weights)}")
    return vector


def generator(rng: object, name: str) -> tuple[np.random.Generator, str]:
    """Return the generator that shuffles, and a line for the log if its seed was drawn here."""
    if isinstance(rng, np.random.Generator):
        return rng, ""
    if isinstance(rng, np.random.RandomState):
        return np.random.Generator(rng._bit_generator), ""
    if rng is not None:
        try:
            return np.random.default_rng(integer("rng", rng, 0, math.inf)), ""
        except TypeError:
            raise TypeError(f"rng must be an integer or a random generator of NumPy, got {kind_of(rng)}") from None
    seed = int(np.random.SeedSequence().entropy) & 0xFFFFFFFF  # type: ignore[arg-type]
    return np.random.default_rng(seed), f"{name}: shuffling with seed {seed}"
