"""The Python side of a generated function: arrays go in as addresses, in one table of integers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from . import memory
from .assemble import assemble
from .linker import log_fallback
from .plan import ALIGNMENT
from .program import Layout, Program

SMALL = 4096
"""Bytes up to which an output is computed in a buffer and copied: faster than asking for a new array's address."""


class Frame:
    """The address table, workspace and arrays of one call at a time."""

    def __init__(self, layout: Layout, inputs: Sequence[Any]) -> None:
        self.layout, self.inputs = layout, inputs
        self.table = np.zeros(max(len(layout.table), 1), np.int64)
        self.address = int(self.table.ctypes.data)
        self.seen: list[Any] = [None] * len(inputs)
        self.used: list[Any] = [None] * len(inputs)
        self.buffers = [np.empty(shape, dtype) for shape, dtype in layout.outputs]
        self.large = [k for k, buffer in enumerate(self.buffers) if buffer.nbytes > SMALL]
        self.workspace = np.empty(layout.workspace + ALIGNMENT, np.uint8)
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
            self.table[position] = self.buffers[what].ctypes.data
        elif kind == "constant":
            self.table[position] = what.ctypes.data
        elif kind == "room":
            self.rooms.append(position)
        elif kind == "workspace":
            self.table[position] = -(-self.workspace.ctypes.data // ALIGNMENT) * ALIGNMENT

    def bind(self, index: int, array: Any) -> None:
        """Take a new array for an input: check it, copy it if its layout is not ours, note its address."""
        if index in self.layout.passed:
            self.seen[index] = self.used[index] = array
            return
        check_array(self.inputs[index], index, array)
        flags = array.flags
        fits = flags.c_contiguous and flags.aligned and (flags.writeable or index not in self.layout.destroyed)
        self.used[index] = array if fits else np.array(array, order="C")
        # the copy must follow the original: it is made anew at the next call
        self.seen[index] = array if fits else None
        for position, axis in self.places[index]:
            self.table[position] = self.used[index].ctypes.data if axis is None else array.shape[axis]

    def run(self, kernel: Any, args: Sequence[Any]) -> list[Any]:
        """Call compiled code and return one array per output."""
        seen, table = self.seen, self.table
        for index, array in enumerate(args):
            if array is not seen[index]:
                self.bind(index, array)
        for k in self.large:
            shape, dtype = self.layout.outputs[k]
            self.buffers[k] = fresh = np.empty(shape, dtype)
            table[self.output_at[k]] = fresh.ctypes.data
        objects = kernel(self.address, *[args[index] for index in self.layout.passed])
        results = []
        for kind, k in self.layout.returns:
            if kind == "output":
                results.append(self.buffers[k] if k in self.large else self.buffers[k].copy())
            else:
                results.append(self.used[k] if kind == "input" else objects[k])
        return results


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
