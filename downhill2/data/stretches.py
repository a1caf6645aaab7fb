"""Batches that come one after the other out of arrays in memory: what many updates in one call are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Which: TypeAlias = slice | Index  # rows: neighbours, or by their numbers


class Source(NamedTuple):
    """All rows of an input, in memory, in the dtype that a compiled function takes.

    Attributes
    ----------
    array : array, C-contiguous and aligned
    axis : int
        The axis along which rows lie, from 0.
    """

    array: NDArray[Any]
    axis: int

    def batch(self, size: int) -> tuple[int, ...]:
        """Return the shape of a batch of so many rows."""
        shape = self.array.shape
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])


@dataclass(frozen=True)
class Stretch:
    """Batches of one length that come next.

    Attributes
    ----------
    sources : tuple of Source
        One for each input of the compiled function; the same objects in each stretch of a feed.
    size : int
        Rows per batch; 0 where there are no sources.
    starts : array of shape (batches,)
        Where each batch begins: its first row or, where there is an order, the place of its first row there.
    order : array of row numbers, optional
        None: the rows of a batch are neighbours in the sources.
    weights : array of shape (batches,)
        What each batch weighs in averages.
    """

    sources: tuple[Source, ...]
    size: int
    starts: Index
    order: Index | None
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, batch: int) -> slice | Index:
        """Return which rows a batch of the stretch has."""
        place = slice(int(self.starts[batch]), int(self.starts[batch]) + self.size)
        return place if self.order is None else self.order[place]

    def weighted(self, weights: NDArray[np.float64]) -> Stretch:
        """Return the same batches, each with the sum of its rows' weights, as ``weights[rows].sum()`` rounds it."""
        places = self.starts[:, None] + np.arange(self.size)
        rows = places if self.order is None else self.order[places]
        return replace(self, weights=weights[rows].sum(axis=1))
