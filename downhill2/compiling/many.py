"""Many updates in one call: a loop around a generated function that takes its batches from memory by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from . import memory, private, update_loop
from .caller import ArgumentTable, GeneratedFunction
from .estimate import updates_in_a_call

logger = logging.getLogger("downhill2")

WORTH = 200
"""Updates a call, by the estimate, from which on they share one: longer ones take 1 ms, a call less than 1 % of it."""


def many(function: Any, sources: Sequence[Any], size: int, count: int | None = None) -> ManyUpdates | None:
    """Return what makes many updates of a compiled step in one call, None if each is to have its own.

    Parameters
    ----------
    function : pytensor.function
        The step: it returns monitors, the loss first, and whether the update is sound.
    sources : sequence of Source
        All rows of each input of a batch.
    size : int
        Rows per batch.
    count : int, optional
        Updates per call. Default: by an estimate from sizes, if they are many.
    """
    try:
        generated, cells, updates = private.parts(function)
        if count is None:
            shapes = [s.batch(size) for s in sources] + [np.shape(cell[0]) for cell in cells[len(sources) :]]
            count = updates_in_a_call(function.maker.fgraph, shapes)
            if count < WORTH or generated.fallbacks or generated.layout.passed:
                return None
        return ManyUpdates(generated, cells, updates, sources, count)
    # one update a call does the same
    except Exception as error:
        logger.info("each update has a call of its own: %s: %s", type(error).__name__, error)
        return None


class ManyUpdates:
    """The loop over updates of a generated function, with an address table of its own.

    Parameters
    ----------
    generated : GeneratedFunction
    cells : sequence of list
        Where the value of each input is; the inputs of a batch come first.
    updates : mapping of int to int
        Which output becomes the value of which input.
    sources : sequence of Source
        All rows of the inputs of a batch.
    most : int
        How many updates to make in a call.

    Attributes
    ----------
    made : int
        How many updates of the latest call were sound, also if it raised.

    Raises
    ------
    TypeError, ValueError
        If the function cannot run without Python.
    """

    def __init__(
        self, generated: Any, cells: Sequence[Any], updates: Mapping[int, int], sources: Sequence[Any], most: int
    ) -> None:
        if not isinstance(generated, GeneratedFunction):
            raise TypeError(f"function must be a generated one, got {type(generated).__name__}")
        layout = generated.layout
        if layout.passed or any(kind == "object" for kind, _ in layout.returns):
            raise ValueError("function must take and return arrays of known sizes")
        self.most, self.made = most, 0
        self._sources, self._cells = list(sources), dict(list(enumerate(cells))[len(sources) :])
        self._frame = ArgumentTable(layout, generated.inputs)
        self._places = {what: at for at, what in enumerate(layout.table) if what[0] in ("input", "output")}
        *monitors, sound = layout.returns[: len(layout.returns) - len(updates)]
        self._monitors = _integers([(self._places[m], self._kind(*m)) for m in monitors], 2)
        self._sound = self._places[sound]
        self._new = {index: self._new_value(index, *layout.returns[k]) for k, index in updates.items()}
        swaps = [(self._places["input", i], self._places["output", k]) for i, k in self._new.items() if k >= 0]
        self._swaps = _integers(swaps, 2)
        self._batches: dict[tuple[int, bool], Batches] = {}
        self._kernel, self._loop = generated.address(), update_loop.updates()

    def _kind(self, kind: str, k: int) -> int:
        """Return the number of a monitor's dtype."""
        dtype = self._frame.inputs[k].type.dtype if kind == "input" else self._frame.layout.outputs[k][1]
        return update_loop.KINDS.index(dtype)

    def _new_value(self, index: int, kind: str, k: int) -> int:
        """Return the output that holds the new value of an input, -1 if the input is changed in place."""
        if kind == "input" and k != index:
            raise ValueError("function must not give one input the value of another")
        return k if kind == "output" else -1

    def __call__(self, stretch: Any, totals: np.ndarray, losses: np.ndarray) -> None:
        """Make the updates of a stretch, up to the first that is not sound; see `Many`."""
        key = stretch.size, stretch.order is not None
        if key not in self._batches:
            self._batches[key] = Batches(self._frame, self._places, self._sources, *key)
        batches, frame, made = self._batches[key], self._frame, np.zeros(1, np.int64)
        self._take()
        frame.table[batches.at] = batches.entries
        order = stretch.starts if stretch.order is None else stretch.order
        try:
            self._loop(
                *(self._kernel, frame.address, frame.table, self._monitors, self._sound, self._swaps),
                *(batches.windows, batches.gathers, stretch.starts, order, key[1], stretch.size, stretch.weights),
                *(totals, losses, made),
            )
        finally:
            self.made = int(made[0])
            self._keep()

    def _take(self) -> None:
        """Bind the present values; what is not changed in place alternates between two arrays of ours."""
        frame = self._frame
        for index, cell in self._cells.items():
            k = self._new.get(index, -1)
            if k >= 0:
                frame.bind(index, memory.moved_apart(cell[0]))
                frame.buffers[k] = fresh = memory.apart(cell[0].shape, cell[0].dtype)
                frame.table[frame.output_at[k]] = fresh.ctypes.data
            elif cell[0] is not frame.seen[index]:
                frame.bind(index, cell[0])

    def _keep(self) -> None:
        """Put the new values where they are looked for."""
        frame = self._frame
        for index, k in self._new.items():
            moved = k >= 0 and frame.table[self._places["input", index]] == frame.buffers[k].ctypes.data
            self._cells[index][0] = frame.buffers[k] if moved else frame.used[index]


class Batches:
    """How the batches of one length get into the address table.

    Attributes
    ----------
    at, entries : array of int
        What stands in the table for all of them: sizes, and addresses of buffers.
    windows : array of shape (sources, 3)
        Of the sources whose batches are used where they lie: the place in the table, the address, bytes per row.
    gathers : array of shape (sources, 5)
        Of the others: the addresses of buffer and source, how many pieces each row has, rows, bytes per piece.
    """

    def __init__(self, frame: Any, places: Mapping[Any, int], sources: Sequence[Any], size: int, ordered: bool) -> None:
        self._held: list[Any] = []  # memory whose addresses are used
        entries: list[tuple[int, int]] = []
        windows, gathers = [], []
        for index, source in enumerate(sources):
            shape, (array, axis) = source.batch(size), source
            entries += [(at, shape[k]) for at, k in frame.places[index] if k is not None]
            place = places.get(("input", index))
            if place is None:  # the loss does without this input
                continue
            rows, pieces, nbytes = array.shape[axis], prod(shape[:axis]), prod(shape[axis + 1 :]) * array.itemsize
            self._held.append(array)
            if not ordered and (pieces == 1 or size == rows):
                windows.append((place, array.ctypes.data, nbytes))
                continue
            buffer = np.empty(shape, array.dtype)
            self._held.append(buffer)
            entries.append((place, buffer.ctypes.data))
            gathers.append((buffer.ctypes.data, array.ctypes.data, pieces, rows, nbytes))
        self.at, self.entries = _integers(entries, 2).T
        self.windows, self.gathers = _integers(windows, 3), _integers(gathers, 5)


def _integers(rows: Sequence[tuple[int, ...]], columns: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, columns)
