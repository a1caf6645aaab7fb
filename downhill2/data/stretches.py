"""Successive batches out of arrays in memory, for many updates in one call."""

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
        """Return the shape of a batch of `size` rows."""
        shape = self.array.shape
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])


@dataclass(frozen=True)
class Stretch:
    """The next batches of a feed, all of one length.

    Attributes
    ----------
    sources : tuple of Source
        One for each input of the compiled function; the same objects in each stretch of a feed.
    size : int
        Rows per batch; 0 where there are no sources.
    starts : array of shape (batches,)
        Where each batch begins: its first row or, if there is an order, the position of its first row in it.
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
        """Return the rows of a batch of the stretch."""
        place = slice(int(self.starts[batch]), int(self.starts[batch]) + self.size)
        return place if self.order is None else self.order[place]

    def weighted(self, weights: NDArray[np.float64]) -> Stretch:
        """Return the same batches, each with the weight ``weights[rows].sum()``, also to the last bit."""
        places = self.starts[:, None] + np.arange(self.size)
        rows = places if self.order is None else self.order[places]
        return replace(self, weights=weights[rows].sum(axis=1))
