"""Text of the generated function: statements, and loops that equal loops elsewhere can share.

Names inside a :class:`Kernel` end in ``$``, which no Python name contains. With ``$`` replaced by nothing, the
text is a function of its own, the same for all loops that do the same; replaced by a number, it can stand inside a
larger function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .values import Dim, Value, offset

INDENT = "    "


@dataclass(frozen=True)
class Place:
    """The statement that names what stands in the address table as long as the function runs; not needed by itself."""

    name: str
    line: str

    def __str__(self) -> str:
        return self.line


class Block:
    """Statements at an indentation, and fresh names for their results."""

    mark = ""

    def __init__(self) -> None:
        self.lines: list[str | Place | Kernel] = []
        self.depth = 0
        self._names = 0

    def new(self, prefix: str) -> str:
        """Return a name not used before."""
        self._names += 1
        return f"{prefix}{self._names}{self.mark}"

    def put(self, line: str) -> None:
        """Append a statement."""
        self.lines.append(INDENT * self.depth + line)

    def let(self, expression: str, prefix: str = "t") -> str:
        """Name the value of an expression; what is as short as a name is returned as it is."""
        if is_atom(expression):
            return expression
        name = self.new(prefix)
        self.put(f"{name} = {expression}")
        return name

    def place(self, expression: str, prefix: str) -> str:
        """Name what the address table holds."""
        name = self.new(prefix)
        self.lines.append(Place(name, f"{INDENT * self.depth}{name} = {expression}"))
        return name

    def given(self, name: str) -> str | None:
        """Return what a number that is the same all the time stands for; None: nobody knows that it is."""
        return None

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Statements inside belong to the line before."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def fail_if(self, condition: str, error: str, message: str) -> None:
        """Raise ``error`` when the condition holds."""
        self.put(f"if {condition}:")
        self.put(f"{INDENT}raise {error}({message!r})")

    def fill(self, target: str, size: Dim, value: str) -> None:
        """Set the first elements behind a pointer to one value."""
        index = self.new("i")
        self.put(f"for {index} in range({size}):")
        self.put(f"{INDENT}{target}[{index}] = {value}")


class Kernel(Block):
    """Loops over pointers, sizes and numbers that are handed in, so that equal loops have equal text.

    Attributes
    ----------
    dtypes : dict of str to str
        Of the elements behind each parameter that is a pointer.
    numbers : dict of str to str
        dtype of each parameter that is a number of the graph, not a size.
    split : Split or None
        How the loop is run by several threads.
    author : tuple or None
        The operation, and the emitter that wrote these loops for it; None: they copy outputs of the graph.
    """

    mark = "$"

    def __init__(self) -> None:
        super().__init__()
        self.parameters: list[str] = []
        self.arguments: list[str] = []
        self.results: list[tuple[str, str]] = []
        self.dtypes: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        self.split: Any = None
        self.author: Any = None
        self._pointers: dict[str, str] = {}

    def take(self, argument: str, prefix: str) -> str:
        """Return the parameter that stands for an expression of the surrounding function."""
        name = self.new(prefix)
        self.parameters.append(name)
        self.arguments.append(argument)
        return name

    def number(self, argument: str, dtype: str) -> str:
        """Return the parameter for a number."""
        name = self.take(argument, "s")
        self.numbers[name] = dtype
        return name

    def given(self, name: str) -> str | None:
        """Return the argument of a parameter that is a number, None for any other name."""
        return self.arguments[self.parameters.index(name)] if name in self.numbers else None

    def pointer(self, value: Value) -> str:
        """Return the parameter for the memory of a value: one for all values that start at the same address.

        Without that, an update in place would look to LLVM like two arrays that may overlap.
        """
        assert value.pointer is not None, "a value must be in memory before a loop reads it"
        if value.pointer not in self._pointers:
            name = self._pointers[value.pointer] = self.take(value.pointer, "p")
            self.dtypes[name] = value.dtype
        return self._pointers[value.pointer]

    def size(self, dim: Dim) -> Dim:
        """Return a size or stride as this kernel writes it: a parameter, unless it shapes the code."""
        return dim if dim in (-1, 0, 1) else self.take(str(dim), "n")

    def sizes(self, dims: Sequence[Dim]) -> list[Dim]:
        """Return several sizes or strides."""
        return [self.size(dim) for dim in dims]

    @contextmanager
    def loops(self, shape: Sequence[Dim]) -> Iterator[list[str]]:
        """Nested loops over a shape; gives the names of the indices."""
        names = []
        for size in shape:
            names.append(self.open(size))
        yield names
        self.depth -= len(names)

    def open(self, size: Dim) -> str:
        """Open one loop and return the name of its index."""
        name = self.new("i")
        self.put(f"for {name} in range({size}):")
        self.depth += 1
        return name

    def load(self, value: Value, indices: Sequence[str], strides: Sequence[Dim]) -> str:
        """Return the expression that reads an element."""
        return read(self.pointer(value), value.dtype, offset(indices, strides))

    def store(self, value: Value, indices: Sequence[str], strides: Sequence[Dim], expression: str) -> None:
        """Write the statement that sets an element."""
        element = stored(expression, value.dtype)
        self.put(f"{self.pointer(value)}[{offset(indices, strides)}] = {element}")

    def give(self, result: str, name: str) -> None:
        """Hand the local ``result`` out under a name of the surrounding function."""
        self.results.append((result, name))

    def is_plain(self) -> bool:
        """Whether addresses, numbers and sizes are all that is handed in, and nothing is handed out."""
        known = (name in self.dtypes or name in self.numbers or name.startswith("n") for name in self.parameters)
        return not self.results and self.split is None and all(known)

    def text(self, name: str) -> str:
        """Return the text as a function, in which the names of this kernel have their mark."""
        lines = [f"def {name}({', '.join(self.parameters)}):"]
        lines += [f"{INDENT}{line}" for line in self.lines]
        if self.results:
            lines.append(f"{INDENT}return {', '.join(local for local, _ in self.results)}")
        return "\n".join(lines)

    def function(self, name: str) -> str:
        """Return the text as a function."""
        return self.text(name).replace("$", "")

    def call(self, function: str, constants: dict[str, str] | None = None) -> str:
        """Return the statement that calls the function of this text; sizes get names in `constants`, if given.

        To Numba every literal is a variable of its own, with a type to be found: most of what a call costs.
        """
        arguments = self.arguments
        if constants is not None:
            arguments = [constants.setdefault(a, f"c{a}") if a.isdigit() else a for a in arguments]
        names = ", ".join(name for _, name in self.results)
        return f"{names + ' = ' if names else ''}{function}({', '.join(arguments)})"

    def inline(self, number: int) -> list[str]:
        """Return the statements that do the same in place."""
        lines = [str(line) for line in self.lines]
        bind: list[str] = []
        for name, argument in zip(self.parameters, self.arguments, strict=True):
            if is_atom(argument):
                lines = [line.replace(name, argument) for line in lines]
            else:
                bind.append(f"{name} = {argument}")
        give = [f"{name} = {local}" for local, name in self.results]
        return [line.replace("$", f"_{number}") for line in (*bind, *lines, *give)]


def is_atom(expression: str) -> bool:
    """Whether an expression is a name or a literal without sign, so that naming it gains nothing."""
    return expression.rstrip("$").isidentifier() or expression.replace(".", "", 1).isdigit()


def read(pointer: str, dtype: str, index: str) -> str:
    """Return the expression of an element in memory; booleans are bytes there."""
    return f"({pointer}[{index}] != 0)" if dtype == "bool" else f"{pointer}[{index}]"


def stored(expression: str, dtype: str) -> str:
    """Return the expression as it is written to memory."""
    return f"uint8({expression})" if dtype == "bool" else expression
