"""The function in the making: from the nodes of a graph to one source text and the layout of its address table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from pytensor.graph.basic import Constant
from pytensor.tensor.random.type import RandomType

from . import intrinsics
from .plan import Workspace, is_tensor, landings, last_reads, only_reduced
from .recompute import Recipe, recomputable
from .scalars import literal
from .source import Block, Kernel, read, stored
from .values import (
    SUPPORTED,
    Dim,
    EqualSizes,
    Memory,
    Unsupported,
    Value,
    dense_strides,
    merge_axes,
    offset,
    times,
)


@dataclass
class CallTable:
    """What the Python side must put into the address table, and what it finds after a call.

    ``table`` has one entry per integer: ("input", i), ("size", i, axis), ("output", k), ("constant", array),
    ("workspace", offset) or ("integer", n). The others the function writes itself: ("room",), ("capacity",) and
    ("start",) belong to memory that it makes larger, ("kept",) is for what it hands to several loops. ``returns``
    has one per output of the graph: ("input", i), ("output", k), or ("object", j): the j-th thing that the compiled
    function returns. Inputs that are no arrays are ``passed`` as they are; those ``destroyed`` are changed in place.
    """

    table: list[tuple[Any, ...]] = field(default_factory=list)
    outputs: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    returns: list[tuple[str, int]] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    destroyed: set[int] = field(default_factory=set)
    workspace: int = 0


Emitter = Callable[["Program", Any], None]
EMITTERS: dict[type, Emitter] = {}
RANDOM: set[type | None] = set()
"""Ops whose emitters take random generators."""


def emits(*kinds: type | None, random: bool = False) -> Callable[[Emitter], Emitter]:
    """Register the function that writes the loops of these Ops (None: an Op that this PyTensor does not have)."""

    def register(emitter: Emitter) -> Emitter:
        EMITTERS.update({kind: emitter for kind in kinds if kind is not None})
        RANDOM.update(kinds if random else ())
        return emitter

    return register


class Program:
    """Writes one function for a graph.

    Parameters
    ----------
    inputs, outputs
        Variables of the graph.
    nodes
        Its nodes, in the order in which they run.
    storage_map
        PyTensor's storage cells; handed to PyTensor's own kernels.
    products
        Whether matrix products call BLAS directly (else PyTensor's kernel).
    parallel_from
        How many elements a loop must have to run on all cores; None: none does.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        nodes: Sequence[Any],
        storage_map: Any = None,
        *,
        products: bool = True,
        parallel_from: int | None = None,
    ) -> None:
        self.inputs, self.outputs, self.nodes = list(inputs), list(outputs), list(nodes)
        self.storage_map, self.products, self.parallel_from = storage_map, products, parallel_from
        self.main = Block()
        self.layout = CallTable()
        self.scope: dict[str, Any] = {}
        self.keys: list[tuple[str, str | None]] = []
        self.fallbacks: list[str] = []
        self._values: dict[Any, Value] = {}
        # where in the table stands what a name stands for, and how many bytes further on
        self.places: dict[str, tuple[int, int]] = {}
        self._workspace = Workspace()
        self._sizes = EqualSizes()
        self._hints: dict[str, int] = {}
        self._landings = landings(inputs, outputs)
        self.recomputable = recomputable(self.nodes, self.outputs)
        self.recipes: dict[Any, Recipe] = {}
        self.only_reduced = only_reduced(self.nodes, self.outputs, self.recomputable)
        self._author: tuple[Any, Emitter] | None = None
        self._scratch: list[Memory] = []
        self._held: list[Memory] = []

    # ---- what emitters read

    def value(self, variable: Any) -> Value:
        """Return what is known about a variable."""
        if variable not in self._values:
            make = self._constant if isinstance(variable, Constant) else self._input
            self._values[variable] = make(variable)
        value = self._values[variable]
        value.shape = tuple(map(self._sizes.canonical, value.shape))
        value.strides = tuple(map(self._sizes.canonical, value.strides))
        return value

    def known(self, variable: Any) -> bool:
        """Whether a variable is computed already."""
        return variable in self._values

    def number(self, value: Value) -> str:
        """Return the name of the only element of a value."""
        if value.scalar is None:
            if value.items is not None:
                value.scalar = value.items[0]
            else:
                value.scalar = self.main.let(read(str(value.pointer), value.dtype, "0"), "s")
        return value.scalar

    def integer(self, variable: Any) -> Dim:
        """Return an integer scalar as a size: known, or a name."""
        if isinstance(variable, Constant):
            return int(variable.data)
        value = self.value(variable)
        text = self.number(value)
        if text.lstrip("-").isdigit():
            return int(text)
        return text if value.dtype == "int64" else self.main.let(f"int64({text})", "d")

    def integers(self, variable: Any, count: int) -> list[Dim]:
        """Return the elements of an integer vector, of which there must be ``count``, as sizes."""
        if isinstance(variable, Constant):
            return [int(item) for item in variable.data]
        value = self.value(variable)
        if value.items is not None:
            return [int(item) if item.lstrip("-").isdigit() else item for item in value.items]
        self.same([*value.shape, count], "sizes")
        elements = (read(str(value.pointer), value.dtype, str(offset([str(i)], value.strides))) for i in range(count))
        return [self.main.let(f"int64({element})", "d") for element in elements]

    def in_memory(self, value: Value) -> Value:
        """Return the value with an address, written to memory first if it had none."""
        if value.pointer is not None:
            return value
        items = [value.scalar] if value.items is None else list(value.items)
        room = self.temporary(value.dtype, value.shape)
        for index, item in enumerate(items):
            self.main.put(f"{room.pointer}[{index}] = {stored(str(item), value.dtype)}")
        return replace(room, scalar=value.scalar, items=value.items)

    def dense(self, value: Value) -> Value:
        """Return the value in C order, copied if it was not."""
        value = self.in_memory(value)
        if value.dense:
            return value
        room = self.temporary(value.dtype, value.shape)
        self.copy(value, room)
        return room

    # ---- what emitters write

    def define(self, variable: Any, value: Value) -> None:
        """Say what a variable is; its memory lives as long as the variable."""
        if value.storage is not None:
            value.storage.users.add(variable)
            # what was made for this node only has an owner now
            self._scratch = [storage for storage in self._scratch if storage is not value.storage]
            if value.storage.owner and value.storage not in self._held:
                self._held.append(value.storage)
        self._values[variable] = value

    def scalar(self, variable: Any, expression: str) -> None:
        """Say that a variable is this number."""
        shape = (1,) * getattr(variable.type, "ndim", 0)
        self.define(
            variable,
            Value(variable.dtype, shape, dense_strides(shape), scalar=self.main.let(expression, "s")),
        )

    def view(self, value: Value, shape: Sequence[Dim], strides: Sequence[Dim], start: str = "0") -> Value:
        """Return a value over the same memory, ``start`` elements further on."""
        pointer = value.pointer
        if start.isdigit() and pointer in self.places and start != "0":
            index, shift = self.places[pointer]
            pointer = self.main.place(f"shifted({pointer}, {start})", "p")
            self.places[pointer] = index, shift + int(start) * np.dtype(value.dtype).itemsize
        elif start != "0":
            pointer = self.main.let(f"shifted({pointer}, {start})", "p")
        return Value(value.dtype, tuple(shape), tuple(strides), pointer=pointer, storage=value.storage)

    def allocate(self, variable: Any, shape: Sequence[Dim]) -> Value:
        """Return new memory for a variable, and remember it as the variable's."""
        make = self._returned if variable in self._landings else self.temporary
        value = make(variable.dtype, shape)
        self.define(variable, value)
        return value

    def temporary(self, dtype: str, shape: Sequence[Dim]) -> Value:
        """Return memory that lives until the end of this node (or of the variable that it is set to)."""
        nbytes = times(*shape, np.dtype(dtype).itemsize)
        if isinstance(nbytes, int):
            block = self._workspace.take(nbytes)
            storage = Memory("work", block=block)
            pointer = self._address(dtype, "workspace", block[0])
        else:
            room = self._room(nbytes)
            storage = Memory("room", room=(nbytes, room))
            pointer = self.main.let(f"{self.tool('room', dtype)}(table, {room}, {nbytes})", "p")
            self.places[pointer] = room + 2, 0
        self._scratch.append(storage)
        return self._whole(storage, dtype, tuple(shape), pointer)

    def _room(self, nbytes: str) -> int:
        """Return the place in the table of memory for a size that is known only at run time."""
        room = self._workspace.take_room(nbytes)
        if room is None:
            room = len(self.layout.table)
            self.layout.table += [("room",), ("capacity",), ("start",)]
        return room

    def _whole(self, storage: Memory, dtype: str, shape: tuple[Dim, ...], pointer: str) -> Value:
        storage.whole = Value(dtype, shape, dense_strides(shape), pointer=pointer, storage=storage)
        return replace(storage.whole)

    def writable(self, value: Value) -> bool:
        """Note that a value is changed in place; False if it has no memory of its own."""
        if value.pointer is None or value.storage is None or value.storage.kind == "constant":
            return False
        if value.storage.kind == "input":
            self.layout.destroyed.add(value.storage.index)
        return True

    def add(self, kernel: Kernel) -> None:
        """Append loops."""
        kernel.author = self._author
        self.main.lines.append(kernel)

    def copy(self, source: Value, target: Value) -> None:
        """Copy elements; a stride of 0 repeats them."""
        kernel = Kernel()
        shape, (there, here) = merge_axes(target.shape, [source.strides, target.strides])
        there, here = kernel.sizes(there), kernel.sizes(here)
        with kernel.loops(kernel.sizes(shape)) as indices:
            kernel.store(target, indices, here, kernel.load(source, indices, there))
        self.add(kernel)

    def same(self, sizes: Sequence[Dim], what: str) -> Dim:
        """Return the one size that all of these must be; anything else raises when the function runs."""
        distinct = list(dict.fromkeys(map(self._sizes.canonical, sizes)))
        known = [size for size in distinct if isinstance(size, int)]
        ordered: list[Dim] = [*known, *(size for size in distinct if isinstance(size, str))]
        first, others = ordered[0], ordered[1:]
        if others:
            wrong = " | ".join(f"({size} != {first})" for size in others)
            self.main.fail_if(wrong, "ValueError", f"{what}: dimensions do not agree")
        for size in others:
            self._sizes.join(size, first)
        return first

    def elements(self, size: Dim) -> int:
        """Return how many elements that is with the values that shared variables have now, 0 if nobody knows."""
        factors = [int(f) if f.lstrip("-").isdigit() else self._hints.get(f, 0) for f in str(size).split("*")]
        return prod(factors)

    def memory_of(self, array: np.ndarray) -> str:
        """Return the pointer to an array that lives as long as the function."""
        return self._address(array.dtype.name, "constant", array)

    def tool(self, kind: str, *key: Any) -> str:
        """Return the name of an intrinsic made for these types."""
        name = "_".join([kind, *map(str, key)])
        self.scope[name] = getattr(intrinsics, kind)(*key)
        return name

    def _address(self, dtype: str, *what: Any) -> str:
        """Return the pointer to an array whose address the caller puts into the table."""
        return self._place(self.tool("array", dtype), "p", *what)

    def _place(self, read: str, prefix: str, *what: Any) -> str:
        """Return the name of what the caller puts into the table."""
        index = len(self.layout.table)
        self.layout.table.append(what)
        name = self.main.place(f"{read}(table, {index})", prefix)
        self.places[name] = index, 0
        return name

    # ---- beginnings and ends

    def _input(self, variable: Any) -> Value:
        index = self.inputs.index(variable)
        if not is_tensor(variable):
            self.layout.passed.append(index)
            dtype = getattr(variable.type, "dtype", "")
            return Value(dtype, name=f"x{index}", scalar=f"x{index}" if dtype else None)
        shape = tuple(
            self._place("entry", "e", "size", index, axis) if size is None else size
            for axis, size in enumerate(variable.type.shape)
        )
        [now] = (self.storage_map or {}).get(variable, [None])
        self._hints.update({str(size): now.shape[axis] for axis, size in enumerate(shape) if now is not None})
        pointer = self._address(variable.dtype, "input", index)
        return self._whole(Memory("input", index, users={None}), variable.dtype, shape, pointer)

    def _constant(self, variable: Any) -> Value:
        array = np.asarray(variable.data)
        if array.size == 1 and variable.dtype in SUPPORTED:
            shape = (1,) * array.ndim
            return Value(variable.dtype, shape, dense_strides(shape), scalar=literal(array.item(), variable.dtype))
        pointer = self.memory_of(np.require(array, requirements=["C", "A"]))
        storage = Memory("constant", users={None})
        return Value(variable.dtype, array.shape, dense_strides(array.shape), pointer=pointer, storage=storage)

    def _returned(self, dtype: str, shape: Sequence[Dim]) -> Value:
        """Return memory of an array that the call returns."""
        known = [size for size in shape if isinstance(size, int)]
        if len(known) < len(shape):
            array = self.main.let(f"{self.tool('empty', dtype, len(shape))}({', '.join(map(str, shape))})", "a")
            storage, pointer = Memory("heap", owner=array, users={None}), self.main.let(f"data({array})", "p")
            self._held.append(storage)
            return self._whole(storage, dtype, tuple(shape), pointer)
        index = len(self.layout.outputs)
        self.layout.outputs.append((tuple(known), dtype))
        pointer = self._address(dtype, "output", index)
        return self._whole(Memory("output", index, users={None}), dtype, tuple(known), pointer)

    def _release(self, storage: Memory) -> None:
        if storage.users:
            return
        if storage.block is not None:
            self._workspace.give_back(storage.block)
        elif storage.room is not None:
            self._workspace.give_room(*storage.room)
        else:
            self._held.remove(storage)
            self.main.put(f"keep({storage.owner})")

    def _run(self, node: Any) -> None:
        """Write one node, by its emitter or as a call of PyTensor's kernel."""
        kind = next(kind for kind in type(node.op).__mro__ if kind in EMITTERS)
        try:
            for variable in (*node.inputs, *node.outputs):
                nothing = isinstance(variable, Constant) and variable.data is None
                nothing |= kind in RANDOM and isinstance(variable.type, RandomType)
                if not nothing and getattr(variable.type, "dtype", None) not in SUPPORTED:
                    raise Unsupported(f"{node.op} on {variable.type}")
            self._emit(EMITTERS[kind], node)
        except Unsupported:
            self._emit(EMITTERS[object], node)

    def _emit(self, emitter: Emitter, node: Any) -> None:
        self._author = node.op, emitter
        emitter(self, node)

    def write(self) -> list[str]:
        """Write all nodes and outputs, and return the names of what the function must return itself."""
        for node, dying in zip(self.nodes, last_reads(self.nodes, self.outputs), strict=True):
            self._run(node)
            for variable in dying:
                value = self._values.get(variable)
                if value is not None and value.storage is not None:
                    value.storage.users.discard(variable)
                    self._release(value.storage)
            for storage in self._scratch:
                self._release(storage)
            self._scratch = []
        self._author = None
        objects: list[str] = []
        taken: list[Memory | None] = []
        for output in self.outputs:
            self.layout.returns.append(self._return(output, objects, taken))
        self.layout.workspace = self._workspace.size
        for storage in self._held:
            self.main.put(f"keep({storage.owner})")
        return objects

    def _return(self, output: Any, objects: list[str], taken: list[Memory | None]) -> tuple[str, int]:
        """Write what hands one output out, and say where the caller finds it."""
        value = self.value(output)
        if value.name is not None or not is_tensor(output):
            objects.append(value.name or self.number(value))
            return "object", len(objects) - 1
        where = self._whole_array(value)
        if where is None or value.storage in taken:
            where = self._copied_out(value)
        else:
            taken.append(value.storage)
        if where[0] == "heap":
            objects.append(where[1])
            return "object", len(objects) - 1
        return where

    def _whole_array(self, value: Value) -> tuple[str, Any] | None:
        """Return where an output already lies as a whole array, None if it does not."""
        storage = value.storage
        if storage is None or storage.kind not in ("input", "output", "heap") or not value.dense:
            return None
        whole = storage.whole
        assert whole is not None, "memory of these kinds is made with its value"
        if (
            value.pointer != whole.pointer
            or value.dtype != whole.dtype
            or value.shape != tuple(map(self._sizes.canonical, whole.shape))
        ):
            return None
        return storage.kind, storage.owner if storage.kind == "heap" else storage.index

    def _copied_out(self, value: Value) -> tuple[str, Any]:
        """Copy an output to an array of its own."""
        target = self._returned(value.dtype, value.shape)
        if value.pointer is None and value.items is None:
            self.main.put(f"{target.pointer}[0] = {stored(self.number(value), value.dtype)}")
        else:
            self.copy(self.in_memory(value), target)
        place = self._whole_array(target)
        assert place is not None, "new memory is a whole array"
        return place
