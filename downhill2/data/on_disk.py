"""Arrays in files that are read block by block: HDF5, zarr, Parquet."""

from __future__ import annotations

import abc
import importlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from .sources import Column, Converted, Read, Rows, Slot, is_of
from .stretches import Index, Which

BLOCK_BYTES = 2**20  # bytes to read at once, roughly, where a block has no natural length


def is_chunked(values: object) -> bool:
    """Whether values are a dataset of h5py or an array of zarr."""
    return is_of(values, "h5py", "zarr") and hasattr(values, "chunks") and hasattr(values, "shape")


class BlockRows(Rows, abc.ABC):
    """One array of a Dataset that is read in whole blocks of rows.

    Attributes
    ----------
    dtype : numpy.dtype
        The dtype of a block.
    edges : array of shape (blocks + 1,)
        Where blocks begin, and the number of rows.
    kept : int
        How many blocks a reader keeps.
    """

    dtype: np.dtype[Any]
    edges: Index
    kept = 1

    @abc.abstractmethod
    def block(self, number: int) -> NDArray[Any]:
        """Read a block and return its values."""

    def read(self, rows: Which) -> NDArray[Any]:
        """Return the values of some rows, as stored."""
        return Blocks(self)(rows)

    def reader(self) -> Read:
        """Return a reader of rows that keeps blocks; for one thread."""
        return Blocks(self)

    def column(self, slot: Slot) -> Column:
        """Return rows that are read and converted batch by batch; check the dtype before anything is read."""
        slot.admit(np.empty(0, self.dtype), slot.owner)
        return Converted(self.reader(), slot.convert, slot.owner)


class Blocks:
    """Reads rows out of blocks, and keeps the latest blocks."""

    def __init__(self, rows: BlockRows) -> None:
        self._rows = rows
        self._kept: dict[int, NDArray[Any]] = {}  # least recently used first

    def __call__(self, rows: Which) -> NDArray[Any]:
        """Return the values of these rows, as stored, in a new array."""
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else np.asarray(rows)
        axis, edges = self._rows.axis, self._rows.edges
        shape = list(self._rows.shape)
        shape[axis] = len(numbers)
        values = np.empty(shape, self._rows.dtype)
        target, owners = np.moveaxis(values, axis, 0), np.searchsorted(edges, numbers, side="right") - 1
        # Kept blocks first, because reading another block may remove them.
        for block in sorted(np.unique(owners).tolist(), key=lambda block: block not in self._kept):
            places = np.flatnonzero(owners == block)
            target[places] = np.moveaxis(self._block(block), axis, 0)[numbers[places] - edges[block]]
        return values

    def _block(self, number: int) -> NDArray[Any]:
        values = self._kept.pop(number, None)
        if values is None:
            if len(self._kept) >= self._rows.kept:
                del self._kept[next(iter(self._kept))]
            values = self._rows.block(number)
        self._kept[number] = values
        return values


class ChunkedRows(BlockRows):
    """Rows of a dataset of h5py or array of zarr, read by slices: lists of rows are hundreds of times slower."""

    def __init__(self, values: Any, axis: int) -> None:
        super().__init__(values, axis)
        self.dtype = np.dtype(values.dtype)
        self.chunk = (values.chunks or self.shape)[self.axis] if values.chunks else 1
        self.row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape)) // max(1, len(self)))

    def block(self, number: int) -> NDArray[Any]:
        """Read a block and return its values."""
        first, last = self.edges[number : number + 2].tolist()
        return np.asarray(self.values[(slice(None),) * self.axis + (slice(first, last),)])


def block_edges(arrays: Sequence[Rows], size: int | None) -> Index | None:
    """Return where blocks of rows begin, and the number of rows; None if rows need not be read in blocks.

    Parameters
    ----------
    arrays : sequence of Rows
        Of one length.
    size : int or None
        Rows per block. None: as Parquet files have them, or whole chunks of about 1 MiB, of all arrays together.
    """
    given = [rows.edges for rows in arrays if isinstance(rows, ParquetRows)]
    if given:
        return given[0]
    chunked = [rows for rows in arrays if isinstance(rows, ChunkedRows)]
    if size is None and chunked:
        chunk = max(rows.chunk for rows in chunked)
        size = max(1, BLOCK_BYTES // (chunk * sum(rows.row_bytes for rows in chunked))) * chunk
    if size is None:
        return None
    count = len(arrays[0])
    return np.append(np.arange(0, count, size), count)


class ParquetRows(BlockRows):
    """Columns of Parquet files, row group by row group.

    Parameters
    ----------
    names : str or sequence of str
        Columns of a matrix, or the one that is a vector.
    groups : sequence of (Path, FileMetaData, int)
        The row groups: file, its metadata, and the number of the group in the file.
    schema : pyarrow.Schema
        Of each file.
    """

    def __init__(self, names: str | Sequence[str], groups: Sequence[tuple[Path, Any, int]], schema: object) -> None:
        self.names = [names] if isinstance(names, str) else list(names)
        self.dtype = np.result_type(*(column_dtype(schema, name) for name in self.names))
        counts = [metadata.row_group(group).num_rows for _, metadata, group in groups]
        self.edges = np.cumsum([0, *counts])
        self.shape = (int(self.edges[-1]),) + (() if isinstance(names, str) else (len(self.names),))
        self.axis, self.values, self._groups = 0, None, groups
        for path, metadata, group in groups:
            self._refuse_known_nulls(path, metadata.row_group(group))

    def block(self, number: int) -> NDArray[Any]:
        """Read a row group and return its values."""
        path, metadata, group = self._groups[number]
        # Open the file for each group: threads cannot share an open file, and its metadata is known already.
        with parquet().ParquetFile(path, metadata=metadata) as file:
            table = file.read_row_group(group, columns=list(dict.fromkeys(self.names)))
        values = np.empty((table.num_rows, *self.shape[1:]), self.dtype)
        for place, name in enumerate(self.names):
            column = table.column(name)
            if column.null_count:
                raise null_error(path, name, column.null_count)
            values.reshape(len(values), -1)[:, place] = column.to_numpy()
        return values

    def _refuse_known_nulls(self, path: Path, group: Any) -> None:
        for place in range(group.num_columns):
            column = group.column(place)
            known = column.path_in_schema in self.names and column.statistics
            if known and column.statistics.null_count:
                raise null_error(path, column.path_in_schema, column.statistics.null_count)


def parquet_rows(paths: Any, columns: Any) -> list[ParquetRows]:
    """Return the rows of the inputs that :meth:`.Dataset.from_parquet` names."""
    several = isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike)
    listed = [checks.path("paths", one) for one in (paths if several else [paths])]
    if not listed:
        raise ValueError(f"paths must name at least one file, got {checks.shown(paths)}")
    metadata = [parquet().read_metadata(path) for path in listed]
    schema = metadata[0].schema.to_arrow_schema()
    inputs = [schema.names] if columns is None else [columns] if isinstance(columns, str) else list(columns)
    if not inputs or not all(inputs):
        raise ValueError(f"columns must name at least one column per input, got {columns!r}")
    for path, other in zip(listed, metadata, strict=True):
        refuse_other_types(path, other.schema.to_arrow_schema(), schema, inputs)
    groups = [
        (path, data, group)
        for path, data in zip(listed, metadata, strict=True)
        for group in range(data.num_row_groups)
        if data.row_group(group).num_rows
    ]
    return [ParquetRows(names, groups, schema) for names in inputs]


def refuse_other_types(path: Path, found: Any, schema: Any, inputs: Iterable[str | Sequence[str]]) -> None:
    """Raise unless a file has the columns of the inputs, and of the same type as the first file."""
    for name in (name for names in inputs for name in ([names] if isinstance(names, str) else names)):
        if name not in found.names:
            raise ValueError(f"columns must be columns of {os.fspath(path)}, got {name!r}; it has {found.names}")
        if found.field(name).type != schema.field(name).type:
            raise TypeError(
                f"column {name!r} must be of the same type in every file, "
                f"got {schema.field(name).type} and, in {os.fspath(path)}, {found.field(name).type}"
            )


def column_dtype(schema: Any, name: str) -> np.dtype[Any]:
    """Return the dtype of a column; raise TypeError if it holds no numbers."""
    kind = schema.field(name).type
    try:
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    except NotImplementedError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise TypeError(f"column {name!r} must hold numbers, got {kind}; convert it, or name other columns")
    return dtype


def null_error(path: Path, name: str, count: int) -> ValueError:
    """Return the error for a column with nulls."""
    return ValueError(
        f"column {name!r} of {os.fspath(path)} must have no nulls, got {count} in a row group; "
        "fill them, or drop their rows"
    )


def parquet() -> ModuleType:
    """Return the module of pyarrow that reads Parquet files."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError("from_parquet needs pyarrow; pip install 'downhill2[data]'") from error
