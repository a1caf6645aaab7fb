"""Arrays of any library, converted to what a symbolic input takes."""

from __future__ import annotations

import logging
import numbers
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable

from .stretches import Index, Source, Which

log = logging.getLogger("downhill2")

Read = Callable[[Any], Any]  # from rows, or a slice of them, to their values
Batch = tuple[tuple[Any, ...], float]  # arrays in the order of the inputs, and the weight of the batch

ROWS = pt.lvector("rows")  # which rows a compiled function takes out of shared variables

# The rows of a shared variable are always the same expression, so that compiled functions are found again when the
# variable is used in another Dataset.
EXPRESSIONS: weakref.WeakValueDictionary[Any, Variable] = weakref.WeakValueDictionary()

# A dtype may be cast to one of the same or a later rank; anything else would lose information.
RANKS = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def is_array(values: object) -> bool:
    """Whether values are an array, frame, series, tensor, sparse matrix, shared variable, or rows of one."""
    if isinstance(values, np.generic | Variable):
        return isinstance(values, SharedVariable)
    return hasattr(type(values), "__array__") or is_sparse(values) or isinstance(values, Rows)


def is_number(values: object) -> bool:
    """Whether values are one number, as a batch may hold for a scalar input."""
    return isinstance(values, numbers.Number | np.generic)


def is_sparse(values: object) -> bool:
    """Whether values are a scipy.sparse matrix or array."""
    return hasattr(type(values), "tocsr")


def is_frame(values: object) -> bool:
    """Whether values are a frame or series of pandas or polars."""
    return hasattr(type(values), "iloc") or is_of(values, "polars")


def is_of(values: object, *packages: str) -> bool:
    """Whether the type of values, or a base of it, is from one of these packages, which are not imported."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(values).__mro__)


def as_array(values: Any) -> NDArray[Any]:
    """Return values as a NumPy array, in the same memory where the library allows it.

    Raises
    ------
    TypeError
        If the values are masked: a plain array would show what the mask hides.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError("arrays must not be masked, got a MaskedArray; fill it, or drop the masked rows")
    if is_sparse(values):
        return np.asarray(values.toarray())
    if hasattr(type(values), "detach"):
        return np.asarray(values.detach().cpu().numpy())
    if isinstance(values, SharedVariable):
        return np.asarray(values.get_value(borrow=True))
    return np.asarray(values.to_numpy() if is_frame(values) else values)


def as_stored(values: object, where: str = "") -> Any:
    """Return values as they are stored: an array of their own dtype, or a sparse matrix."""
    return values if is_sparse(values) else as_array(values)


def first_nonfinite(values: Any, axis: int) -> int | None:
    """Return the position along ``axis`` of the first value that is not finite; None if all are finite."""
    if is_sparse(values):
        stored = values.tocoo()
        bad = (stored.row, stored.col)[axis % 2][~np.isfinite(stored.data)]
        return int(bad.min()) if len(bad) else None
    bad = ~np.isfinite(values)
    others = tuple(k for k in range(bad.ndim) if k != axis % bad.ndim)
    return int(bad.any(axis=others).argmax()) if bad.any() else None


def in_single(variable: Variable) -> Variable:
    """Return a float32 input in place of a float16 one, always the same; return any other input itself."""
    if getattr(variable.type, "dtype", None) != "float16":
        return variable
    if not hasattr(variable.tag, "in_single"):  # one for all feeds, so that they share compiled functions
        variable.tag.in_single = variable.type.clone(dtype="float32")(variable.name)
    return variable.tag.in_single


class Slot:
    """One symbolic input: checks and converts its values, because the compiled function checks nothing.

    ``variable`` is the input, a tensor or a sparse matrix, called by its ``position`` if it has no name; ``owner``
    names the Dataset in messages. A cast is logged once for each input; ``told`` has the inputs whose cast was logged.
    """

    def __init__(self, variable: Variable, position: int, owner: str, told: set[str]) -> None:
        kind = variable.type
        self.name = variable.name or f"#{position}"
        self.label = f"input {self.name!r}"
        if not (hasattr(kind, "dtype") and hasattr(kind, "shape")):
            raise TypeError(f"{self.label} must be a tensor or a sparse matrix, got {kind}")
        self.dtype = np.dtype(kind.dtype)
        self.shape: tuple[int | None, ...] = kind.shape
        matrices = getattr(kind, "format_cls", None)
        self.matrix = None if matrices is None else matrices[kind.format]
        self.owner, self.told = owner, told

    def __call__(self, values: Any, where: str) -> Any:
        """Return values as the compiled function takes them; ``where`` begins the message of an error."""
        self.check(np.shape(values) if is_number(values) else tuple(values.shape), where)
        return self.convert(values, where)

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Raise ValueError unless a batch of this shape fits the input's number of dimensions and static shape."""
        if len(shape) != len(self.shape):
            wanted = f"{where}: {self.label} must have {len(self.shape)} dimensions, got shape {shape}"
            raise ValueError(wanted if shape else f"{wanted}{LISTS}")
        if any(fixed not in (None, size) for fixed, size in zip(self.shape, shape, strict=True)):
            wanted = ", ".join("?" if size is None else str(size) for size in self.shape)
            raise ValueError(f"{where}: batches of {self.label} must have shape ({wanted}), got {shape}")

    def convert(self, values: object, where: str) -> Any:
        """Return values in the input's dtype, C-contiguous, writable and aligned, or CSR; copy only if needed."""
        if self.matrix is None:
            return self.dense(as_array(values), where)
        matrix = self.matrix(values if is_sparse(values) else self.dense(as_array(values), where))
        return with_data(matrix, self.dense(matrix.data, where))

    def fits(self, array: NDArray[Any]) -> bool:
        """Whether rows can be taken straight from this array into a batch."""
        return array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned and not self.matrix

    def admit(self, array: NDArray[Any], where: str) -> None:
        """Raise unless the array can be cast to the input's dtype without losing information; log the first cast."""
        source, target = array.dtype, self.dtype
        if source == target:
            return
        if RANKS.get(source.kind, len(RANKS)) > RANKS[target.kind]:
            raise TypeError(
                f"{where}: {self.label} must hold values that {target} can hold, got {source}; "
                "convert the data, or make the input of another dtype"
            )
        if RANKS[target.kind] == 1 and array.size and not np.can_cast(source, target):
            limits = np.iinfo(target)
            if array.min() < limits.min or array.max() > limits.max:
                raise ValueError(
                    f"{where}: {self.label} must hold values within {target}'s range, "
                    f"got {source} from {array.min()} to {array.max()}"
                )
        if self.label not in self.told:
            self.told.add(self.label)
            log.info("%s: %s is cast from %s to %s", self.owner, self.label, source, target)

    def dense(self, array: NDArray[Any], where: str) -> NDArray[Any]:
        """Return an array in the input's dtype, C-contiguous, writable and aligned; copy only if needed."""
        if array.dtype == self.dtype and array.flags.carray:
            return array
        self.admit(array, where)
        try:
            with np.errstate(over="raise"):
                cast = np.asarray(array, dtype=self.dtype, order="C")
        except FloatingPointError:
            raise ValueError(f"{where}: {self.label} must hold values within {self.dtype}'s range") from None
        return cast if cast.flags.carray else cast.copy()


class Column(Protocol):
    """How the batches of one input are made. A reader may own a buffer, so there is one for each length of a batch."""

    @property
    def source(self) -> Source | None:
        """All rows, if they are in memory and need no conversion."""

    def gather(self, length: int) -> Read:
        """Return a reader from ``length`` row numbers to their values."""

    def window(self, length: int) -> Read:
        """Return a reader from a slice of ``length`` rows to their values."""


class Direct:
    """An array that has the input's layout: rows go into a buffer that every batch reuses, slices are views.

    Slices of a ``mapped`` array go into a buffer too, so that the file is read when the batch is made.
    """

    def __init__(self, array: NDArray[Any], axis: int, mapped: bool) -> None:
        self.array, self.axis, self.mapped = array, axis, mapped
        self.source = None if mapped else Source(array, axis)

    def gather(self, length: int) -> Read:
        """Return a reader from ``length`` row numbers to the buffer with their values."""
        take, axis, buffer = self.array.take, self.axis, self._buffer(length)
        # Other modes than "clip" gather into a second buffer first; the numbers come from a permutation.
        return lambda rows: take(rows, axis, buffer, "clip")

    def window(self, length: int) -> Read:
        """Return a reader from a slice of ``length`` rows to a view, or to a buffer if a view lacks the layout."""
        array, before = self.array, (slice(None),) * self.axis
        if self.axis == 0 and array.flags.writeable and not self.mapped:
            return array.__getitem__
        buffer = self._buffer(length)

        def copied(rows: slice) -> NDArray[Any]:
            np.copyto(buffer, array[(*before, rows)])
            return buffer

        return copied

    def _buffer(self, length: int) -> NDArray[Any]:
        shape = list(self.array.shape)
        shape[self.axis] = length
        return np.empty(shape, self.array.dtype)


class Converted:
    """Rows that are read and converted batch by batch."""

    source = None

    def __init__(self, read: Read, convert: Callable[[Any, str], Any], where: str) -> None:
        self.read, self.convert, self.where = read, convert, where

    def gather(self, length: int) -> Read:
        """Return a reader from row numbers to converted values."""
        read, convert, where = self.read, self.convert, self.where
        return lambda rows: convert(read(rows), where)

    window = gather


class Numbers:
    """The row numbers themselves, for a compiled function that takes the rows out of shared variables."""

    def __init__(self, count: int) -> None:
        self.all: Index = np.arange(count)
        self.source = Source(self.all, 0)

    def gather(self, length: int) -> Read:
        """Return a reader that returns the row numbers."""
        return lambda rows: rows

    def window(self, length: int) -> Read:
        """Return a reader from a slice to its row numbers."""
        return self.all.__getitem__


class Rows:
    """One array of a Dataset, and how to read rows of it.

    Parameters
    ----------
    values : array of any library
    axis : int
        The axis along which the rows lie; counted from the end if negative.

    Raises
    ------
    ValueError
        If the array has no such axis, or only rows along axis 0.
    """

    instead = ""  # the method that converts to an array, for kinds whose rows lie along axis 0 only

    def __init__(self, values: Any, axis: int) -> None:
        self.values = values
        self.shape = tuple(values.shape)
        if not -len(self.shape) <= axis < len(self.shape):
            raise ValueError(f"axis must be an axis of every array, got {axis} for an array with shape {self.shape}")
        self.axis = axis % len(self.shape)
        if self.axis and self.instead:
            kind = type(values).__name__
            raise ValueError(f"axis must be 0 for a {kind}, got {axis}; give its .{self.instead}() instead")

    def __len__(self) -> int:
        return int(self.shape[self.axis])

    def read(self, rows: Which) -> Any:
        """Return the values of some rows, as stored."""
        return self.values[(slice(None),) * self.axis + (rows,)]

    def reader(self) -> Read:
        """Return a reader from rows, or a slice, to their values; for one thread, as it may keep what it read."""
        return self.read

    def admit(self, slot: Slot, length: int) -> None:
        """Raise unless batches of ``length`` rows fit the input."""
        shape = list(self.shape)
        shape[self.axis] = length
        slot.check(tuple(shape), slot.owner)

    def column(self, slot: Slot) -> Column:
        """Return how the batches of an input are made from these rows."""
        slot.convert(self.read(slice(0, 1)), slot.owner)  # raises for a wrong dtype before anything is compiled
        return Converted(self.reader(), slot.convert, slot.owner)


class ArrayRows(Rows):
    """Rows of a NumPy array, a memory map, or anything that converts to an array."""

    def __init__(self, values: object, axis: int) -> None:
        super().__init__(as_array(values), axis)
        self.mapped = isinstance(values, np.memmap)
        self._converted: dict[np.dtype[Any], NDArray[Any]] = {}

    def column(self, slot: Slot) -> Column:
        """Read the array itself if its layout is right, else one copy of it; convert batches if it is not in memory."""
        if slot.fits(self.values):
            return Direct(self.values, self.axis, self.mapped)
        if self.mapped or slot.matrix:
            return super().column(slot)
        if slot.dtype not in self._converted:
            self._converted[slot.dtype] = slot.convert(self.values, slot.owner)
        return Direct(self._converted[slot.dtype], self.axis, False)


class FrameRows(Rows):
    """Rows of a frame or series of pandas or polars."""

    instead = "to_numpy"

    def read(self, rows: Which) -> NDArray[Any]:
        """Return the values of some rows, in the dtype that holds all columns."""
        frame = self.values
        return as_array(frame.iloc[rows] if hasattr(type(frame), "iloc") else frame[rows])


class SparseRows(Rows):
    """Rows of a scipy.sparse matrix, as CSR: other formats give up single rows slowly or not at all."""

    instead = "toarray"

    def __init__(self, values: Any, axis: int) -> None:
        super().__init__(values.tocsr(), axis)
        self._converted: dict[np.dtype[Any], Any] = {}

    def column(self, slot: Slot) -> Column:
        """Read rows of a matrix that is converted once; for a dense input convert each batch to a dense one."""
        if slot.dtype not in self._converted:
            self._converted[slot.dtype] = with_data(self.values, slot.dense(self.values.data, slot.owner))
        return Converted(self._converted[slot.dtype].__getitem__, slot.convert, slot.owner)


class SharedRows(Rows):
    """Rows of a shared variable, which the compiled function takes out itself."""

    def __init__(self, values: SharedVariable, axis: int) -> None:
        if not hasattr(values.type, "shape") or hasattr(values.type, "format"):
            raise TypeError(f"shared variables must be dense tensors, got {values} of type {values.type}")
        super().__init__(values.get_value(borrow=True), axis)
        self.values = self.shared = values  # not the array, as the variable may get another one

    def read(self, rows: Which) -> NDArray[Any]:
        """Return the present values of some rows."""
        return as_array(self.shared)[(slice(None),) * self.axis + (rows,)]

    def admit(self, slot: Slot, length: int) -> None:
        """Raise unless batches of ``length`` rows fit the input, and the variable still holds the rows it had."""
        now = as_array(self.shared).shape
        if now != self.shape:
            raise ValueError(f"{self.shared} must keep its shape {self.shape}, got {now}; make a new Dataset")
        super().admit(slot, length)

    def expression(self, slot: Slot, some: bool) -> Variable:
        """Return what replaces the input in the graph: some rows of the variable, at ``ROWS``, or all of them."""
        slot.admit(as_array(self.shared), slot.owner)
        if not some and slot.dtype == self.shared.dtype:
            return self.shared
        key = self.shared, self.axis, slot.dtype, some
        rows = EXPRESSIONS.get(key)
        if rows is None:
            rows = self.shared[(slice(None),) * self.axis + (ROWS,)] if some else self.shared
            EXPRESSIONS[key] = rows = rows.astype(slot.dtype.name)
        return rows


def with_data(matrix: Any, data: NDArray[Any]) -> Any:
    """Return a compressed sparse matrix with other values, and with indices of 32 bits where they suffice."""
    return type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape)


LISTS = "; a list of lists is read as batches: give each input as one array, np.asarray(...)"


def lists_hint(batch: Any) -> str:
    """Return a hint for an error if a batch looks like the rows of one input in lists of Python."""
    looks = batch and not any(map(is_array, batch))
    return LISTS if looks else ""


def plural(count: int, word: str) -> str:
    """Return a number of things in words."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
