"""Random graphs for comparing compiled functions: operations x dtypes x layouts x known and unknown shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

DTYPES = ("float32", "float64", "int64", "int32", "bool", "uint8")
FLOATS = ("float32", "float64")
LAYOUTS = ("C", "C", "F", "strided", "reversed", "read-only")


class Draw:
    """Random choices, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def one_of(self, things: Any) -> Any:
        return things[self.integer(0, len(things) - 1)]

    def flag(self) -> bool:
        return self.integer(0, 1) == 1

    def subset(self, things: Any) -> set[Any]:
        return {thing for thing in things if self.flag()}

    def permuted(self, things: Any) -> list[int]:
        return [int(i) for i in self.rng.permutation(things)]


@dataclass
class Item:
    """A variable, its shape for the sizes drawn, and whether its values are exact in every order of summation.

    Only exact values may meet operations that jump: a comparison of two values that differ by rounding proves nothing.
    """

    variable: Any
    shape: tuple[int, ...]
    exact: bool = True

    @property
    def dtype(self) -> str:
        return self.variable.dtype

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS


@dataclass
class Case:
    """A graph with values for its inputs."""

    inputs: list[Any] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    shared: list[tuple[Any, np.ndarray, str]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    updates: list[tuple[Any, Any]] = field(default_factory=list)


def array(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return quarters between -2 and 2, small integers, or booleans."""
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    low = 0 if dtype.startswith("u") else -8
    values = np.asarray(rng.integers(low, 9, shape))
    return np.asarray(values / 4 if dtype in FLOATS else values, dtype)


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """Return the same values in another memory layout."""
    values = values.copy()
    if layout == "F" and values.ndim:
        return np.asfortranarray(values)
    if layout == "strided" and values.ndim:
        return np.repeat(values, 2, axis=-1)[..., ::2]
    if layout == "reversed" and values.ndim:
        return values[::-1].copy()[::-1]
    values.flags.writeable = layout != "read-only"
    return values


OPERATIONS: list[Callable[..., Item | None]] = []


def operation(function: Callable[..., Item | None]) -> Callable[..., Item | None]:
    """Register a function ``(draw, pool) -> new item``, or None where it does not fit."""
    OPERATIONS.append(function)
    return function


def pick(draw: Draw, pool: list[Item], fits: Callable[[Item], bool]) -> Item | None:
    """Draw an item that fits, None if there is none."""
    fitting = [item for item in pool if fits(item)]
    return draw.one_of(fitting) if fitting else None


def compatible(x: Item, y: Item) -> bool:
    """Whether two items broadcast by their static types."""
    pairs = list(zip(x.shape[::-1], y.shape[::-1], strict=False))
    flags = list(zip(x.variable.type.broadcastable[::-1], y.variable.type.broadcastable[::-1], strict=False))
    return all(a == b or one or two for (a, b), (one, two) in zip(pairs, flags, strict=True))


def broadcast(*items: Item) -> tuple[int, ...]:
    """Return the common shape."""
    return np.broadcast_shapes(*(item.shape for item in items))


def safe(x: Item) -> Any:
    """Return a variable of moderate size, so that chains of operations do not overflow."""
    return pt.clip(x.variable, *(np.asarray(v, x.dtype) for v in (-4, 4))) if x.is_float else x.variable


@operation
def unary(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.is_float)
    functions = [pt.exp, pt.tanh, pt.sigmoid, pt.sqr, pt.neg, pt.sin, pt.softplus, pt.erf, pt.arctan, pt.cosh, pt.expm1]
    return x and Item(draw.one_of(functions)(safe(x)), x.shape, exact=False)


@operation
def positive_unary(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.is_float)
    functions = [pt.log, pt.sqrt, pt.log1p, pt.reciprocal, pt.log2, pt.log10, lambda v: v**1.5, pt.gammaln]
    one = x and np.asarray(1, x.dtype)
    return x and Item(draw.one_of(functions)(pt.abs(safe(x)) + one), x.shape, exact=False)


@operation
def powers(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.is_float)
    y = x and pick(draw, pool, lambda i: i.dtype == x.dtype and compatible(x, i))
    if y is None:
        return None
    half, third, one = (np.asarray(number, x.dtype) for number in (0.5, 1 / 3, 1))
    # a 0-d exponent is 0.5 where its item is from -1 to 1
    exponent = pt.maximum(safe(y), half) if y.exact else half
    if draw.flag():
        return Item((pt.abs(safe(x)) + one) ** third, x.shape, exact=False)
    return Item((pt.abs(safe(x)) + one) ** exponent, broadcast(x, y) if y.exact else x.shape, exact=False)


@operation
def exact_unary(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.exact and i.is_float)
    functions = [
        pt.floor,
        pt.ceil,
        pt.sign,
        pt.abs,
        pt.isnan,
        pt.isinf,
        pt.trunc,
        lambda v: pt.round(v, "half_to_even"),
    ]
    return x and Item(draw.one_of(functions)(x.variable), x.shape)


@operation
def integer_unary(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: "int" in i.dtype)
    functions = [pt.neg, pt.abs, pt.sqr, pt.invert, pt.sqrt, pt.exp, lambda v: v.astype("bool")]
    if x is None or x.dtype.startswith("uint"):
        functions = functions[1:4]
    small = x and pt.clip(x.variable, *(np.asarray(v, x.dtype) for v in (0, 9)))
    return x and Item(draw.one_of(functions)(small), x.shape, exact=False)


@operation
def binary(draw: Draw, pool: list[Item]) -> Item | None:
    x = draw.one_of(pool)
    y = pick(draw, pool, lambda i: compatible(x, i))
    functions = [pt.add, pt.mul, pt.sub, pt.maximum, pt.minimum]
    if y is None or "bool" in (x.dtype, y.dtype):
        functions = [pt.add, pt.mul, pt.maximum, pt.minimum]
    if y is not None and not (x.exact and y.exact):
        functions = functions[:3]
    if y is not None and "bool" in (x.dtype, y.dtype):
        functions = functions[:2]
    return y and Item(draw.one_of(functions)(safe(x), safe(y)), broadcast(x, y), x.exact and y.exact)


@operation
def division(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.dtype != "bool")
    y = x and pick(draw, pool, lambda i: i.is_float and compatible(x, i))
    return y and Item(safe(x) / (pt.sqr(safe(y)) + np.asarray(1, y.dtype)), broadcast(x, y), exact=False)


@operation
def integer_division(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.exact and i.dtype != "bool")
    y = x and pick(draw, pool, lambda i: i.exact and i.dtype == x.dtype and compatible(x, i))
    if y is None:
        return None
    divisor = pt.abs(y.variable) + np.asarray(1, y.dtype)
    function = draw.one_of([pt.floor_div, pt.mod])
    return Item(function(x.variable, divisor), broadcast(x, y), exact=False)


@operation
def comparison(draw: Draw, pool: list[Item]) -> Item | None:
    """Compare two; of one with itself, PyTensor 3.3 takes all to be False where there is no element."""
    x = pick(draw, pool, lambda i: i.exact)
    y = x and pick(draw, pool, lambda i: i is not x and i.exact and compatible(x, i))
    functions = [pt.lt, pt.gt, pt.le, pt.ge, pt.eq, pt.neq]
    return y and Item(draw.one_of(functions)(x.variable, y.variable), broadcast(x, y))


@operation
def logic(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.dtype == "bool")
    y = x and pick(draw, pool, lambda i: i.dtype == "bool" and compatible(x, i))
    functions = [pt.and_, pt.or_, pt.xor, lambda a, b: pt.invert(a) & b]
    return y and Item(draw.one_of(functions)(x.variable, y.variable), broadcast(x, y))


@operation
def switch(draw: Draw, pool: list[Item]) -> Item | None:
    c = pick(draw, pool, lambda i: i.exact)
    x = c and pick(draw, pool, lambda i: compatible(c, i))
    y = x and pick(draw, pool, lambda i: compatible(x, i) and compatible(c, i))
    if y is None or len(broadcast(c, x, y)) < max(len(c.shape), len(x.shape), len(y.shape)):
        return None
    return Item(pt.switch(c.variable, x.variable, y.variable), broadcast(c, x, y), x.exact and y.exact)


@operation
def cast(draw: Draw, pool: list[Item]) -> Item | None:
    x = draw.one_of(pool)
    dtype = draw.one_of(FLOATS if not x.exact else ("float32", "float64", "int64", "int32", "bool"))
    return Item(x.variable.astype(dtype), x.shape, x.exact)


@operation
def reduction(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0)
    if x is None:
        return None
    axes = tuple(draw.subset(range(len(x.shape))))
    keep = draw.flag()
    functions = [pt.sum, pt.prod, pt.mean]
    if 0 not in x.shape and x.exact:
        functions += [pt.max, pt.min]
    if x.dtype == "bool":
        functions = [pt.any, pt.all, pt.sum]
    function = draw.one_of(functions)
    if 0 in x.shape and function is pt.mean:
        return None
    variable = function(safe(x), axis=axes, keepdims=keep)
    one = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    shape = one if keep else [size for axis, size in enumerate(x.shape) if axis not in axes]
    return Item(variable, tuple(shape), exact=function in (pt.any, pt.all, pt.max, pt.min) and x.exact)


@operation
def folded(draw: Draw, pool: list[Item]) -> Item | None:
    """Reduce elements that nothing else reads: the loop that computes them may never write them."""
    x = pick(draw, pool, lambda i: i.exact)
    y = x and pick(draw, pool, lambda i: i is not x and i.exact and compatible(x, i))
    if y is None:
        return None
    function, logical = draw.one_of([(pt.all, True), (pt.any, True), (pt.sum, True), (pt.sum, False), (pt.prod, True)])
    compare = draw.one_of([pt.lt, pt.ge, pt.neq, lambda a, b: pt.isfinite(a / b)])
    elements = compare(x.variable, y.variable) if logical else pt.add(safe(x), safe(y))
    return Item(function(elements), (), exact=logical)


@operation
def cumulative(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and i.dtype in ("float32", "float64", "int64"))
    axis = x and draw.one_of([None, *range(len(x.shape))])
    shape = x and ((int(np.prod(x.shape)),) if axis is None else x.shape)
    return x and Item(pt.cumsum(safe(x), axis=axis), shape, exact=False)


@operation
def argmax(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and 0 not in i.shape and i.exact and i.dtype != "bool")
    axis = x and draw.one_of([None, *range(len(x.shape))])
    shape = x and (() if axis is None else x.shape[:axis] + x.shape[axis + 1 :])
    return x and Item(pt.argmax(x.variable, axis=axis), shape)


@operation
def softmax(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and 0 not in i.shape and i.is_float)
    function = draw.one_of([pt.special.softmax, pt.special.log_softmax])
    axis = x and draw.one_of([None, *range(len(x.shape))])
    return x and Item(function(safe(x), axis=axis), x.shape, exact=False)


@operation
def transpose(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 1)
    order = x and draw.permuted(range(len(x.shape)))
    return x and Item(x.variable.transpose(*order), tuple(x.shape[axis] for axis in order), x.exact)


@operation
def new_axis(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) < 3)
    axis = x and draw.integer(0, len(x.shape))
    return x and Item(pt.expand_dims(x.variable, axis), (*x.shape[:axis], 1, *x.shape[axis:]), x.exact)


@operation
def flatten(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 1)
    return x and Item(x.variable.ravel(), (int(np.prod(x.shape)),), x.exact)


@operation
def reshape(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 1 and 0 not in i.shape)
    if x is None:
        return None
    shape = (x.shape[-1], -1) if draw.flag() else (x.variable.shape[-1], x.variable.size // x.variable.shape[-1])
    return Item(x.variable.reshape(shape), (x.shape[-1], int(np.prod(x.shape[:-1]))), x.exact)


@operation
def join(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0)
    axis = x and draw.integer(0, len(x.shape) - 1)
    rest = x and x.shape[:axis] + x.shape[axis + 1 :]
    others = x and [i for i in pool if len(i.shape) == len(x.shape) and i.shape[:axis] + i.shape[axis + 1 :] == rest]
    y = others and draw.one_of(others)
    if not y:
        return None
    shape = (*x.shape[:axis], x.shape[axis] + y.shape[axis], *x.shape[axis + 1 :])
    return Item(pt.concatenate([x.variable, y.variable], axis=axis), shape, x.exact and y.exact)


@operation
def split(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and max(i.shape) > 1)
    axis = x and int(np.argmax(x.shape))
    part = x and draw.integer(0, 1)
    size = x and (1, x.shape[axis] - 1)[part]
    pieces = x and pt.split(x.variable, [1, x.shape[axis] - 1], n_splits=2, axis=axis)
    return x and Item(pieces[part], (*x.shape[:axis], size, *x.shape[axis + 1 :]), x.exact)


def drawn_slice(draw: Draw, size: int) -> slice:
    """Draw the bounds of a slice, also beyond the ends and backwards."""
    bounds = [None, *range(-size - 1, size + 2)]
    return slice(draw.one_of(bounds), draw.one_of(bounds), draw.one_of([None, 1, 1, 2, -1, -2]))


@operation
def part(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0)
    if x is None:
        return None
    index = tuple(
        draw.integer(-size, size - 1) if size and draw.flag() else drawn_slice(draw, size) for size in x.shape
    )
    return Item(x.variable[index], np.empty(x.shape)[index].shape, x.exact)


@operation
def symbolic_part(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and i.shape[0] > 1)
    return x and Item(x.variable[x.variable.shape[0] - 1 :: -1], x.shape, x.exact)


@operation
def change_part(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and i.dtype != "bool")
    index = x and drawn_slice(draw, x.shape[0])
    shape = x and np.empty(x.shape)[index].shape
    y = x and pick(draw, pool, lambda i: i.dtype == x.dtype and (i.shape == shape or i.shape == ()))
    function = draw.one_of([pt.set_subtensor, pt.inc_subtensor])
    return y and Item(function(x.variable[index], y.variable), x.shape, x.exact and y.exact)


@operation
def take(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and i.shape[0] > 0)
    if x is None:
        return None
    index = [draw.integer(-x.shape[0], x.shape[0] - 1) for _ in range(draw.integer(1, 4))]
    return Item(x.variable[np.array(index)], (len(index), *x.shape[1:]), x.exact)


@operation
def take_pairs(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) == 2 and min(i.shape) > 0)
    if x is None:
        return None
    columns = np.arange(x.shape[0]) % x.shape[1]
    return Item(x.variable[pt.arange(x.variable.shape[0]), columns], x.shape[:1], x.exact)


@operation
def change_rows(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) > 0 and i.shape[0] > 0 and i.dtype != "bool")
    if x is None:
        return None
    index = np.array([draw.integer(0, x.shape[0] - 1) for _ in range(draw.integer(1, 4))])
    y = pick(draw, pool, lambda i: i.dtype == x.dtype and i.shape in (x.shape[1:], (len(index), *x.shape[1:])))
    return y and Item(pt.inc_subtensor(x.variable[index], y.variable), x.shape, x.exact and y.exact)


@operation
def product(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: 0 < len(i.shape) < 3 and i.is_float)
    y = x and pick(draw, pool, lambda i: 0 < len(i.shape) < 3 and i.dtype == x.dtype and i.shape[0] == x.shape[-1])
    return y and Item(pt.dot(safe(x), safe(y)), x.shape[:-1] + y.shape[1:], exact=False)


@operation
def stacked_product(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: len(i.shape) == 3 and i.is_float)
    return x and Item(safe(x) @ safe(x).transpose(0, 2, 1), (*x.shape[:2], x.shape[1]), exact=False)


@operation
def fill(draw: Draw, pool: list[Item]) -> Item | None:
    x = draw.one_of(pool)
    number = draw.one_of([0, 1])
    return Item(pt.full_like(x.variable, number), x.shape)


@operation
def gradient(draw: Draw, pool: list[Item]) -> Item | None:
    x = pick(draw, pool, lambda i: i.is_float and i.variable.owner is None)
    y = x and pick(draw, pool, lambda i: i.is_float and x.variable in pytensor.graph.traversal.ancestors([i.variable]))
    if y is None:
        return None
    return Item(pt.grad(y.variable.sum(), x.variable, disconnected_inputs="ignore"), x.shape, exact=False)


def random_case(seed: int, operations: int) -> Case:
    """Return a graph of so many operations over arrays of a few sizes that fit each other."""
    draw, case = Draw(seed), Case()
    a, b, c = (draw.one_of([0, 1, 2, 3, 3, 5]) for _ in range(3))
    shapes = [(a, b), (a, b), (b,), (), (1, b), (a, 1), (b, c), (a, b, c), (a,), (b, a)]
    known = draw.flag()
    pool: list[Item] = []
    for number in range(draw.integer(2, 5)):
        shape, dtype = draw.one_of(shapes), draw.one_of(["float32", "float64", *DTYPES])
        static = tuple(size if known or size == 1 else None for size in shape)
        values, layout = array(draw.rng, dtype, shape), draw.one_of(LAYOUTS)
        if draw.flag():
            variable = pytensor.shared(values, shape=static, name=f"w{number}")
            case.shared.append((variable, values, layout))
        else:
            variable = pt.tensor(f"x{number}", dtype=dtype, shape=static)
            case.inputs.append(variable)
            case.values.append(laid_out(values, layout))
        pool.append(Item(variable, shape))
    while operations:
        item = draw.one_of(OPERATIONS)(draw, pool)
        operations -= 1
        if item:
            pool.append(item)
    case.outputs = [draw.one_of(pool).variable, pool[-1].variable, pool[-len(pool) // 2].variable]
    for variable, values, _ in case.shared:
        new = pick(draw, pool, lambda i, v=variable, s=values.shape: i.dtype == v.dtype and i.shape == s)
        if new and draw.flag() and variable.type.is_super(new.variable.type):
            case.updates.append((variable, new.variable))
    return case
