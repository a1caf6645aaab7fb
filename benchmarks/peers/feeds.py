"""Who brings batches: an "update" is a batch, and the quantum an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..timing import Contender


def epochs(rows: int, size: int, batches: Callable[[], Iterable[Any]]) -> Contender:
    """Return a contender that takes whole epochs; what must be equal are the sums of the first epoch's columns."""
    length = -(-rows // size)
    sums: list[np.ndarray] = []

    def advance(n: int) -> None:
        if not sums:
            sums.append(np.sum([np.asarray(b).sum(axis=0, dtype="f8") for b in batches()], axis=0))
            return
        for _ in range(n // length):
            for _batch in batches():
                pass

    return Contender(advance, lambda: sums, quantum=length)


def dataset(x: np.ndarray, size: int) -> Contender:
    """downhill2's Dataset, as its loop reads it."""
    from downhill2 import Dataset

    return feeding(Dataset([x], batch_size=size, rng=0), len(x), size)


def parquet_dataset(path: str, rows: int, size: int) -> Contender:
    """downhill2's Dataset of a Parquet file: row groups in order, some of them mixed."""
    from downhill2 import Dataset

    return feeding(Dataset.from_parquet(path, batch_size=size, rng=0), rows, size)


def feeding(data: Any, rows: int, size: int) -> Contender:
    """Return what a Dataset of one float32 matrix brings."""
    import pytensor.tensor as pt

    feed = data.bind([pt.tensor("x", dtype="float32", shape=(None, None))])
    return epochs(rows, size, lambda: (batch for (batch,), _ in feed.train()))


def gather(x: np.ndarray, size: int) -> Contender:
    """What any shuffled feeding has to do: draw an order, take rows."""
    rng, buffer = np.random.default_rng(0), np.empty((size, x.shape[1]), x.dtype)

    def batches() -> Iterable[np.ndarray]:
        order = rng.permutation(len(x))
        for first in range(0, len(x), size):
            rows = order[first : first + size]
            yield np.take(x, rows, axis=0, out=buffer[: len(rows)], mode="clip")

    return epochs(len(x), size, batches)


def data_loader(x: np.ndarray, size: int) -> Contender:
    """Rows one by one by torch's DataLoader, with no workers."""
    import torch.utils.data as td

    return loading(x, size, lambda data: td.DataLoader(data, size, shuffle=True))


def batch_sampler(x: np.ndarray, size: int) -> Contender:
    """Whole batches by torch's DataLoader, as its sampler asks for them."""
    import torch.utils.data as td

    return loading(
        x, size, lambda data: td.DataLoader(data, None, sampler=td.BatchSampler(td.RandomSampler(data), size, False))
    )


def parquet_loader(path: str, rows: int, size: int) -> Contender:
    """A DataLoader of torch over row groups, in random order and shuffled: what its users write by hand."""
    import torch.utils.data as td

    class RowGroups(td.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return batches_of(path, size, np.random.default_rng(0))

    loader = td.DataLoader(RowGroups(), batch_size=None)
    return epochs(rows, size, lambda: loader)


def parquet_groups(path: str, rows: int, size: int) -> Contender:
    """What any reader has to do: read the row groups into arrays."""
    from pyarrow.parquet import ParquetFile

    def batches() -> Iterable[np.ndarray]:
        file = ParquetFile(path)
        for group in range(file.num_row_groups):
            yield np.column_stack([c.to_numpy() for c in file.read_row_group(group).columns])

    return epochs(rows, size, batches)


def batches_of(path: str, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches that do not end at the ends of row groups."""
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    left = np.empty((0, file.metadata.num_columns), "f")
    for group in rng.permutation(file.num_row_groups):
        read = np.column_stack([c.to_numpy() for c in file.read_row_group(group).columns])
        left = np.concatenate([left, rng.permutation(read)])
        whole = len(left) // size * size
        yield from np.split(left[:whole], whole // size) if whole else ()
        left = left[whole:]
    if len(left):
        yield left


def loading(x: np.ndarray, size: int, loader: Callable[[Any], Iterable[Any]]) -> Contender:
    """Return what a loader brings of rows in memory or in a memory map."""
    import torch
    from torch.utils.data import TensorDataset

    from ..environment import cores

    torch.set_num_threads(cores())
    batches = loader(TensorDataset(torch.from_numpy(x)))
    return epochs(len(x), size, lambda: (batch for (batch,) in batches))
