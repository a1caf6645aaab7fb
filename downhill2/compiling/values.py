"""What the generator knows about a tensor: where its elements are, which of its numbers are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Dim = int | str
"""A size or a stride (in elements): a known integer, or the name (or product of names) that holds it."""

FLOATS = ("float32", "float64")
SUPPORTED = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", *FLOATS)


class Unsupported(Exception):
    """Raised for a node that has no loops of its own: PyTensor's kernel is called instead."""


@dataclass(eq=False)
class Memory:
    """Memory behind values: given back when no variable that lives in it will be read again.

    ``kind`` is "input" (memory of the caller), "output" (an array of known size that the call returns), "constant",
    "work" (a ``block`` of the workspace), "room" (memory that grows with the sizes it is asked for), "heap" (an array
    that the compiled function makes to return it, held by the name ``owner``) or "kernel" (an array that PyTensor's
    kernel returned, perhaps over memory of its inputs). ``whole`` is the array that fills it.
    """

    kind: str
    index: int = 0
    block: tuple[int, int] | None = None
    room: tuple[str, int] | None = None
    owner: str = ""
    whole: Value | None = None
    users: set[object] = field(default_factory=set)


@dataclass(eq=False)
class Value:
    """A tensor inside the generated function.

    ``pointer`` names the address of element 0 (None: not in memory), ``scalar`` is an expression for the only
    element of a tensor of size one, ``items`` are expressions for the elements of a small integer vector,
    ``name`` is the variable of anything that is no tensor.
    """

    dtype: str
    shape: tuple[Dim, ...] = ()
    strides: tuple[Dim, ...] = ()
    pointer: str | None = None
    scalar: str | None = None
    items: tuple[str, ...] | None = None
    storage: Memory | None = None
    name: str | None = None

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return times(*self.shape)

    @property
    def dense(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        return all(
            size == 1 or have == want
            for size, have, want in zip(self.shape, self.strides, dense_strides(self.shape), strict=True)
        )

    @property
    def forward(self) -> bool:
        """Whether all elements come after the first, each once: BLAS knows no other strides."""
        return all(size == 1 or _is_positive(step) for size, step in zip(self.shape, self.strides, strict=True))


def _is_positive(step: Dim) -> bool:
    return step > 0 if isinstance(step, int) else not step.startswith("-")


def times(*factors: Dim) -> Dim:
    """Return the product; equal products of names have equal text."""
    number, names = 1, []
    for factor in factors:
        if isinstance(factor, int):
            number *= factor
        else:
            head, *rest = factor.split("*")
            number *= int(head) if head.lstrip("-").isdigit() else 1
            names += rest if head.lstrip("-").isdigit() else [head, *rest]
    if not names or number == 0:
        return number
    return "*".join([*([str(number)] if number != 1 else []), *sorted(names)])


class EqualSizes:
    """Which names of sizes stand for the same number, as checks in the generated function have shown."""

    def __init__(self) -> None:
        self._same: dict[str, Dim] = {}

    def canonical(self, dim: Dim) -> Dim:
        """Return a size or stride in terms of one name for each number."""
        if isinstance(dim, int):
            return dim
        found = times(*(self._same.get(factor, factor) for factor in dim.split("*")))
        return found if found == dim else self.canonical(found)

    def join(self, name: Dim, other: Dim) -> None:
        """Note that a name and another size are equal from here on."""
        if isinstance(name, str) and name.isidentifier() and name not in str(other).split("*"):
            self._same[name] = other


def dense_strides(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """Return the strides of a C-ordered array of this shape."""
    return tuple(times(*shape[axis + 1 :]) for axis in range(len(shape)))


def offset(indices: Sequence[str], strides: Sequence[Dim]) -> str:
    """Return the expression of the element at these indices."""
    return total(*(times(index, stride) for index, stride in zip(indices, strides, strict=True)))


def total(*terms: Dim) -> str:
    """Return the expression of a sum."""
    return " + ".join(str(term) for term in terms if term not in (0, "0")) or "0"


def merge_axes(shape: Sequence[Dim], strides: Sequence[Sequence[Dim]]) -> tuple[list[Dim], list[list[Dim]]]:
    """Return the fewest axes that visit the same elements in the same order.

    Parameters
    ----------
    shape
        Sizes of the loops, outermost first.
    strides
        For each operand its strides along these axes.
    """
    sizes: list[Dim] = []
    steps: list[list[Dim]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        here = [operand[axis] for operand in strides]
        if sizes and all(last[-1] == times(step, size) for last, step in zip(steps, here, strict=True)):
            sizes[-1] = times(sizes[-1], size)
            for last, step in zip(steps, here, strict=True):
                last[-1] = step
            continue
        sizes.append(size)
        for last, step in zip(steps, here, strict=True):
            last.append(step)
    return sizes, steps
