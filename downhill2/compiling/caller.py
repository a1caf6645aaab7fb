"""The Python side of a generated function: arrays go in as addresses, in one table of integers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numba
import numpy as np

from . import memory, private
from .assemble import assemble
from .fallback import log_fallback
from .garbage import uncollected
from .plan import ALIGNMENT
from .program import CallTable, Program

SMALL = 4096
"""Bytes up to which an output is computed in a buffer and copied: faster than asking for a new array's address."""


IN_ORDER = 0x0101
"""Flags of NumPy: C-contiguous and aligned."""


class ArgumentTable:
    """The address table, workspace and arrays of one call at a time."""

    def __init__(self, layout: CallTable, inputs: Sequence[Any]) -> None:
        self.layout, self.inputs = layout, inputs
        self.table = np.zeros(max(len(layout.table), 1), np.int64)
        self.address = int(self.table.ctypes.data)
        self.seen: list[Any] = [None] * len(inputs)
        self.used: list[Any] = [None] * len(inputs)
        self.known: list[tuple[Any, Any, int] | None] = [None] * len(inputs)
        self.buffers = [memory.apart(shape, dtype) for shape, dtype in layout.outputs]
        self.workspace = memory.apart([layout.workspace + ALIGNMENT], np.uint8)
        self.places: dict[int, list[tuple[int, int | None]]] = {i: [] for i in range(len(inputs))}
        self.output_at: dict[int, int] = {}
        self.rooms: list[int] = []
        for position, entry in enumerate(layout.table):
            self._prepare(position, *entry)
        weakref.finalize(self, memory.free, self.table, self.rooms)

    def _prepare(self, position: int, kind: str, what: Any = None, axis: int | None = None) -> None:
        """Write what stays the same, note where the rest goes."""
        if kind in ("input", "size"):
            self.places[what].append((position, axis))
        elif kind == "output":
            self.output_at[what] = position
            self.table[position] = private.pointer(self.buffers[what])
        elif kind == "constant":
            self.table[position] = private.pointer(what)
        elif kind == "room":
            self.rooms.append(position)
        elif kind == "workspace":
            self.table[position] = -(-private.pointer(self.workspace) // ALIGNMENT) * ALIGNMENT + what
        elif kind == "integer":
            self.table[position] = what

    def bind(self, index: int, array: Any) -> None:
        """Take a new array for an input: check it, copy it if its layout is not ours, note its address."""
        if index in self.layout.passed:
            self.seen[index] = self.used[index] = array
            return
        check_array(self.inputs[index], index, array)
        flags = array.flags
        fits = flags.c_contiguous and flags.aligned
        if index in self.layout.destroyed:
            fits = fits and flags.writeable and memory.is_apart(array)
        self.used[index] = array if fits else memory.moved_apart(array)
        # the copy must follow the original: it is made anew at the next call
        self.seen[index] = array if fits else None
        address = private.pointer(self.used[index])
        for position, axis in self.places[index]:
            self.table[position] = address if axis is None else array.shape[axis]
        at = [position for position, axis in self.places[index] if axis is None]
        plain = type(array) is np.ndarray and len(at) == 1 and index not in self.layout.destroyed
        self.known[index] = (array.dtype, array.shape, at[0]) if plain else None

    def rebind(self, index: int, array: Any) -> None:
        """Take a new array for an input; quick where it is like the one before, as batches are."""
        known = self.known[index]
        if known is not None:
            dtype, shape, position = known
            # not ``==``: only what needs no more checks
            alike = type(array) is np.ndarray and array.dtype is dtype and array.shape == shape
            if alike and array.flags.num & IN_ORDER == IN_ORDER:
                self.table[position] = private.pointer(array)
                self.seen[index] = self.used[index] = array
                return
        self.bind(index, array)


class BoundCall(ArgumentTable):
    """A frame that takes inputs from cells, and puts what updates them there.

    Parameters
    ----------
    function : GeneratedFunction
    cells : sequence of list
        Where the value of each input is.
    updates : mapping of int to int
        Which output becomes the value of which input.
    """

    def __init__(self, function: GeneratedFunction, cells: Sequence[list[Any]], updates: Mapping[int, int]) -> None:
        layout = function.layout
        super().__init__(layout, function.inputs)
        self._kernel, self._objects = function.kernel, [None] * len(layout.passed)
        self._cells, self._results = cells, list[Any]()
        self._in_place = {i for k, i in updates.items() if layout.returns[k] == ("input", i)}
        self._large = [k for k, buffer in enumerate(self.buffers) if buffer.nbytes > SMALL]
        moving = {k: cells[i] for k, i in updates.items() if i not in self._in_place}
        self._moving = [(cell, self._reader(*layout.returns[k])) for k, cell in moving.items()]
        self._returned = [self._reader(*place) for k, place in enumerate(layout.returns) if k not in updates]
        # beside each cell the array in it that is bound: most stay, and to look at all of them must take little time
        self._bound: list[tuple[int, list[Any], Any]] = [(index, cell, None) for index, cell in enumerate(cells)]

    def _reader(self, kind: str, k: int) -> Callable[[], Any]:
        """Return what returns a value after compiled code has run."""
        if kind == "output":
            return partial(self.buffers.__getitem__, k) if k in self._large else self.buffers[k].copy
        return partial((self.used if kind == "input" else self._results).__getitem__, k)

    def bind(self, index: int, array: Any) -> None:
        """Take a new array for an input; a value that cannot be changed where it is moves."""
        super().bind(index, array)
        if index in self.layout.passed:
            self._objects[self.layout.passed.index(index)] = array
        elif index in self._in_place and self.seen[index] is None:
            self._cells[index][0] = self.seen[index] = self.used[index]

    def run(self) -> list[Any]:
        """Call compiled code, put new values into cells, and return the other outputs."""
        for index, cell, array in self._bound:
            if cell[0] is not array:
                self.rebind(index, cell[0])
                self._bound[index] = index, cell, self.seen[index]
        for k in self._large:
            self.buffers[k] = fresh = memory.apart(*self.layout.outputs[k])
            self.table[self.output_at[k]] = private.pointer(fresh)
        results = self._kernel(self.address, *self._objects)
        if results is not None:
            self._results[:] = results
        for cell, read in self._moving:
            cell[0] = read()
        values = [read() for read in self._returned]
        self._results.clear()  # they may be large
        return values


class PlainBoundCall:
    """What `BoundCall` is, for PyTensor's own compiled function."""

    def __init__(self, function: Callable[..., Any], cells: Sequence[list[Any]], updates: Mapping[int, int]) -> None:
        self._function, self._cells, self._updates = function, cells, updates

    def run(self) -> list[Any]:
        """Call compiled code, put new values into cells, and return the other outputs."""
        values = self._function(*[cell[0] for cell in self._cells]) or ()  # None: there are no outputs
        for k, index in self._updates.items():
            self._cells[index][0] = values[k]
        return [value for k, value in enumerate(values) if k not in self._updates]


def check_array(variable: Any, index: int, array: Any) -> None:
    """Raise unless an array is what the input's type promises."""
    name = variable.name or f"number {index}"
    kind, shape = variable.type.dtype, variable.type.shape
    if not isinstance(array, np.ndarray):
        raise TypeError(f"input {name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != kind:
        raise TypeError(f"input {name} must have dtype {kind}, got {array.dtype}")
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("?" if size is None else str(size) for size in shape)
        raise ValueError(f"input {name} must have shape ({wanted}), got {array.shape}")


class GeneratedFunction:
    """A generated function, to be run on the values in cells.

    Compiled at its first call.

    Parameters
    ----------
    program : Program
        What to compile.
    plain : callable
        Returns PyTensor's own compiled function; used if Numba refuses ours.
    """

    def __init__(self, program: Program, plain: Callable[[], Callable[..., Any]]) -> None:
        self.inputs = program.inputs
        self.kernel = assemble(program)
        self.layout = program.layout
        self.fallbacks = program.fallbacks
        self._make_plain = plain
        self._compiled = False
        self._plain: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> list[Any]:
        """Return one value for each output of the graph; for few calls, as a `CallPool` keeps what this makes anew."""
        return CallPool(self, [[value] for value in args])()

    def turn(self, cells: Sequence[list[Any]], updates: Mapping[int, int]) -> BoundCall | PlainBoundCall:
        """Return what runs the function, compiled now if need be."""
        self._compile([cells[index][0] for index in self.layout.passed])
        return BoundCall(self, cells, updates) if self._plain is None else PlainBoundCall(self._plain, cells, updates)

    def address(self) -> int:
        """Return where the machine code is, compiled now if need be, that takes the address of a table.

        Raises
        ------
        ValueError
            If PyTensor's own function runs in its place.
        """
        self._compile([])
        if self._plain is not None:
            raise ValueError("function must run as it was generated")
        return private.address_of(self.kernel)

    @uncollected()
    def _compile(self, objects: Sequence[Any]) -> None:
        """Compile now, so that a failure is known before anything has run."""
        if self._compiled:
            return
        try:
            self.kernel.compile((numba.types.int64, *map(numba.typeof, objects)))
        # whatever Numba does not like here, PyTensor's own path compiles the same graph
        except Exception as error:
            log_fallback(error)
            self._plain = self._make_plain()
        self._compiled = True


class CallPool:
    """Runs a generated function on the values in cells: what PyTensor calls in place of a loop over its own.

    PyTensor's loops around a call would take twice the time of a small function. Each call in progress has a frame of
    its own, so one from a signal handler that interrupts another does not disturb it. A frame holds the last arrays
    it was given.

    Parameters
    ----------
    function : GeneratedFunction
    cells : sequence of list
        Where the value of each input is.
    updates : mapping of int to int, optional
        Which output becomes the value of which input.
    failed : callable, optional
        Is called where an exception is handled, to raise one that says more.
    """

    need_update_inputs = False
    """What tells PyTensor that it need not put new values into cells."""

    def __init__(
        self,
        function: GeneratedFunction,
        cells: Sequence[list[Any]],
        updates: Mapping[int, int] | None = None,
        failed: Callable[[], Any] = lambda: None,
    ) -> None:
        self._function, self._cells, self._updates, self._failed = function, cells, updates or {}, failed
        self._turns: list[BoundCall | PlainBoundCall] = []

    def __call__(self) -> list[Any]:
        """Return the outputs that are no updates."""
        try:
            turn = self._turns.pop()
        except IndexError:
            turn = self._function.turn(self._cells, self._updates)
        try:
            values = turn.run()
        except Exception as error:
            self._explain(error)
            raise
        self._turns.append(turn)  # one that was left in the middle is not used again
        return values

    def _explain(self, error: Exception) -> None:
        if isinstance(error, ValueError | IndexError | AssertionError):
            pairs = enumerate(zip(self._function.inputs, self._cells, strict=True))
            shapes = ", ".join(f"{v.name or f'number {i}'} {getattr(cell[0], 'shape', '')}" for i, (v, cell) in pairs)
            error.add_note(f"Shapes of the inputs: {shapes}")
        self._failed()


def direct(function: Any) -> Callable[..., list[Any]]:
    """Return what calls a ``pytensor.function`` with arrays that it can trust, and does nothing else around it."""
    run, cells = function.vm, private.cells(function)
    if not isinstance(run, CallPool) or function.profile:
        plain: Callable[..., list[Any]] = function
        return plain

    def call(*arrays: Any) -> list[Any]:
        for cell, array in zip(cells, arrays, strict=False):
            cell[0] = array
        return run()

    return call if cells else run
