"""The Python side of a generated function: arrays go in as addresses, in one table of integers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from . import memory, private
from .assemble import assemble
from .linker import log_fallback
from .plan import ALIGNMENT
from .program import Layout, Program

SMALL = 4096
"""Bytes up to which an output is computed in a buffer and copied: faster than asking for a new array's address."""


IN_ORDER = 0x0101
"""Flags of NumPy: C-contiguous and aligned."""


class Frame:
    """The address table, workspace and arrays of one call at a time."""

    def __init__(self, layout: Layout, inputs: Sequence[Any]) -> None:
        self.layout, self.inputs = layout, inputs
        self.table = np.zeros(max(len(layout.table), 1), np.int64)
        self.address = int(self.table.ctypes.data)
        self.seen: list[Any] = [None] * len(inputs)
        self.used: list[Any] = [None] * len(inputs)
        self.known: list[tuple[Any, Any, int] | None] = [None] * len(inputs)
        self.buffers = [memory.apart(shape, dtype) for shape, dtype in layout.outputs]
        self.large = [k for k, buffer in enumerate(self.buffers) if buffer.nbytes > SMALL]
        self.returns = [("large" if kind == "output" and k in self.large else kind, k) for kind, k in layout.returns]
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
            self.table[position] = -(-private.pointer(self.workspace) // ALIGNMENT) * ALIGNMENT

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

    def run(self, kernel: Any, args: Sequence[Any]) -> list[Any]:
        """Call compiled code and return one array per output."""
        seen = self.seen
        for index, array in enumerate(args):
            if array is not seen[index]:
                self.rebind(index, array)
        for k in self.large:
            self.buffers[k] = fresh = memory.apart(*self.layout.outputs[k])
            self.table[self.output_at[k]] = private.pointer(fresh)
        objects = kernel(self.address, *[args[index] for index in self.layout.passed])
        used, buffers = self.used, self.buffers
        return [
            used[k]
            if kind == "input"
            else buffers[k].copy()
            if kind == "output"
            else buffers[k]
            if kind == "large"
            else objects[k]
            for kind, k in self.returns
        ]


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
    """A generated function that takes and returns arrays.

    Compiled at its first call. Each call in progress has a frame of its own, so calls from several threads, or
    from a signal handler that interrupts one, do not disturb each other. A frame holds the last arrays it was
    given.

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
        self._plain = plain
        self._function: Callable[..., Any] | None = None
        self._frames: list[Frame] = []

    def __call__(self, *args: Any) -> Any:
        """Return one array per output of the graph."""
        if self._function is None:
            self._function = self._compiled(args)
        return self._function(*args)

    def address(self) -> int:
        """Return where the machine code is, compiled now if need be, that takes the address of a table.

        Raises
        ------
        ValueError
            If PyTensor's own function runs in its place.
        """
        if self._function is None:
            self._function = self._compiled(())
        if self._function != self._run:
            raise ValueError("function must run as it was generated")
        return private.address_of(self.kernel)

    def _compiled(self, args: Sequence[Any]) -> Callable[..., Any]:
        """Compile now, so that a failure is known before anything has run."""
        passed = [numba.typeof(args[index]) for index in self.layout.passed]
        try:
            self.kernel.compile((numba.types.int64, *passed))
        # whatever Numba does not like here, PyTensor's own path compiles the same graph
        except Exception as error:
            log_fallback(error)
            return self._plain()
        return self._run

    def _run(self, *args: Any) -> list[Any]:
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self.layout, self.inputs)
        try:
            return frame.run(self.kernel, args)
        except (ValueError, IndexError, AssertionError) as error:
            shapes = ", ".join(
                f"{v.name or f'number {i}'} {getattr(a, 'shape', '')}"
                for i, (v, a) in enumerate(zip(self.inputs, args, strict=True))
            )
            error.add_note(f"Shapes of the inputs: {shapes}")
            raise
        finally:
            self._frames.append(frame)
