"""Every scalar function of generated code against PyTensor's Python linker, where a formula could fail."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.scalar.math
import pytensor.tensor as pt
import pytest
from generated import compiled, details
from pytensor.compile.mode import Mode
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.tensor.elemwise import Elemwise

from downhill2.compiling import fast_mode, scalars
from downhill2.compiling.values import FLOATS

OPS = {
    type(op).__name__: op
    for module in (ps.basic, pytensor.scalar.math)
    for op in vars(module).values()
    if isinstance(op, ps.ScalarOp)
} | {"Cast": ps.convert_to_float32}
BITS = {"float32": "int32", "float64": "int64"}
# operations stay as they are written here
FUSED = Mode("numba", RewriteDatabaseQuery(include=["fusion"]))
PYTHON = Mode("py", None)

EXACT = {
    *("Abs", "Add", "Ceil", "Clip", "Floor", "Identity", "IntDiv", "Maximum", "Minimum", "Mod", "Mul", "Neg"),
    *("Reciprocal", "RoundHalfToEven", "Second", "Sign", "Sqr", "Sqrt", "Sub", "Switch", "TrueDiv", "Trunc", "Cast"),
}
UNITS = 4
"""In the last place: by how much others may differ. PyTensor's Python linker is off by up to 2.5 itself."""


def log_gamma(x: np.ndarray, by_scipy: np.ndarray) -> np.ndarray:
    """Return SciPy's function, but for denormal numbers and minus infinity."""
    return np.where(np.abs(x) < 1e-300, -np.log(np.abs(x)), np.where(x == -np.inf, np.inf, by_scipy))


def tail(x: np.ndarray, by_scipy: np.ndarray) -> np.ndarray:
    """Return Python's own function, which has all digits in the tail."""
    return np.vectorize(math.erfc)(x)


def logistic(x: np.ndarray, by_python: np.ndarray) -> np.ndarray:
    """Return the function where Python's formula overflows, too."""
    return np.where(x < -700, np.exp(x), by_python)


BETTER = {"Erfc": tail, "GammaLn": log_gamma, "Sigmoid": logistic}
"""Of functions that are wrong for some numbers where the Python linker computes them."""


def corners(dtype: str) -> np.ndarray:
    """Return the values at which scalar functions are most likely to go wrong."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype not in FLOATS:
        info = np.iinfo(dtype)
        small = [k for k in (-7, -2, -1, 0, 1, 2, 3, 7) if k >= info.min]
        return np.array([info.min, info.min + 1, *small, info.max - 1, info.max], dtype)
    info = np.finfo(dtype)
    ends = [0, info.smallest_subnormal, 5 * info.smallest_subnormal, info.tiny, info.eps, info.max, np.inf, np.nan]
    plain = [0.1, 1 / 3, 0.5, np.log(2), 1 - info.epsneg, 1, 1 + info.eps, np.pi / 2, 2, 2.5, 3, np.pi, 4, 7.5, 10]
    far = [18, 33.3, 37, 49, 88.72, 103.9, 180, 709.8, 745.1, 1e5, 2.0**info.nmant + 1]
    values = np.array([*ends, *plain, *far], dtype)
    return np.concatenate([values, -values])


def powers(base: int, dtype: str) -> np.ndarray:
    """Return all powers that a dtype has, or the numbers next to them."""
    with np.errstate(over="ignore", under="ignore"):
        every = (np.float64(base) ** np.arange(-1080, 1030)).astype(dtype)
    return np.unique(every[np.isfinite(every) & (every > 0)])


def operands(dtype: str) -> list[np.ndarray]:
    """Return three vectors: all triples of some corner values, all pairs of all, and single values beyond them."""
    with np.errstate(over="ignore"):
        values = corners(dtype)
    triples = np.array(list(itertools.product(values[::4], repeat=3)), dtype)
    pairs = np.array([(x, y, x) for x, y in itertools.product(values, repeat=2)], dtype)
    alone = np.zeros((0, 3), dtype)
    if dtype in FLOATS:
        with np.errstate(over="ignore"):
            around = [np.nextafter(values, np.array(to, dtype)) for to in (-np.inf, np.inf)]
        positive = np.concatenate([powers(2, dtype), powers(10, dtype), np.arange(200, dtype=dtype)])
        alone = np.repeat(np.concatenate([*around, positive, -positive])[:, None], 3, axis=1)
    return [column.copy() for column in np.concatenate([triples, pairs, alone]).T]


def operations(dtype: str) -> dict[str, Any]:
    """Return the operations of this PyTensor that have a text for a dtype, by the names under which they have it."""
    kinds = scalars.FLOATING if dtype in FLOATS else scalars.INTEGER
    names = {*scalars.BOOLEAN} if dtype == "bool" else {*scalars.NUMBER, *kinds}
    names |= {*scalars.SPECIAL} - ({"Pow"} if dtype not in FLOATS else set())
    ops = {scalars.SYNONYMS.get(name, name): op for name, op in OPS.items()}
    assert names - {*ops} <= {"Deg2Rad", "Rad2Deg"}  # products in PyTensor 3.3
    return {name: ops[name] for name in sorted(names & {*ops})}


def apply(op: Any, inputs: list[Any]) -> Any:
    """Return an operation on as many inputs as it takes; of sums and products, on two."""
    return Elemwise(op)(*inputs[: 2 if op.nin < 0 else op.nin])


def assert_near(name: str, found: np.ndarray, wanted: np.ndarray, given: list[np.ndarray]) -> None:
    """Check the same bits, or values that are few units apart; of two zeros only some functions say which."""
    with np.errstate(all="ignore"):
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        if name not in ("Maximum", "Minimum", "Mod", "IntDiv"):
            same &= (np.signbit(found) == np.signbit(wanted)) | np.isnan(found)
        if name not in EXACT and found.dtype in FLOATS:
            # near its zeros SciPy's function has few digits right
            size = np.maximum(np.abs(wanted), 1 if name == "GammaLn" else 0)
            distance = np.abs(found - wanted) / np.spacing(size)
            same |= np.isfinite(found) & ((found != 0) | (name == "GammaLn")) & (distance <= UNITS)
        if name == "IntDiv" and found.dtype == "int64":
            same |= (given[0] == np.iinfo("int64").min) & (given[1] == -1)  # 2**63 is no int64
    wrong = np.flatnonzero(~same)[:3]
    cases = [(*(column[i] for column in given), found[i], wanted[i]) for i in wrong]
    assert not cases, f"{name} of {cases[0][:3]} is {cases[0][3]}, not {cases[0][4]}; also {cases[1:]}"


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64", "float32", "float64"])
def test_every_scalar_function_is_right_at_corner_values(dtype: str) -> None:
    values = operands(dtype)
    inputs = [pt.vector(name, dtype=dtype) for name in "xyz"]
    ops = operations(dtype)
    f = compiled(inputs, [apply(op, inputs) for op in ops.values()], fast_mode(FUSED))
    assert not details(f).fallbacks
    # what is not exact the Python linker rounds once, at the end
    wide = [x.astype("float64") for x in inputs] if dtype == "float32" else inputs
    theirs = [apply(op, inputs if name in EXACT else wide) for name, op in ops.items()]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        wanted = pytensor.function(inputs, theirs, mode=PYTHON)(*values)
        for name, have, want in zip(ops, f(*values), wanted, strict=True):
            if name in BETTER and dtype in FLOATS:
                want = BETTER[name](values[0].astype("float64"), want)
            assert_near(name, have, want.astype(have.dtype), values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_of_two_and_ten_are_exact(dtype: str) -> None:
    x, n = pt.vector("x", dtype=dtype), pt.lvector("n")
    f = compiled([x, n], [pt.log2(x), pt.exp2(pt.log2(x)), pt.log10(x), pt.floor(pt.log2(n))], fast_mode(FUSED))
    twos, tens = powers(2, dtype), 10.0 ** np.arange(11 if dtype == "float32" else 23)
    logarithms = np.arange(twos.size) + np.log2(np.finfo(dtype).smallest_subnormal)
    integers = 2 ** np.arange(62)
    assert f(np.ones(62, dtype), integers)[3].tolist() == list(range(62))
    found = f(twos, np.ones_like(twos, "int64"))
    np.testing.assert_array_equal(found[0], logarithms)
    np.testing.assert_array_equal(found[1], twos)
    np.testing.assert_array_equal(f(tens.astype(dtype), np.ones_like(tens, "int64"))[2], np.arange(tens.size))


@pytest.mark.parametrize("dtype", FLOATS)
def test_division_by_one_number_is_a_division(dtype: str) -> None:
    a, b = pt.vector("a", dtype=dtype), pt.scalar("b", dtype=dtype)
    f = compiled([a, b], [a / b, (a + b) / b, a // b])
    counts = np.arange(1, 100).astype(dtype)
    for y in (49, 1e-5, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max / 128):
        number = np.asarray(y, dtype)
        x = counts * number
        wanted = x / number, (x + number) / number, x // number
        for quotient, exact in zip(f(x, number), wanted, strict=True):
            np.testing.assert_array_equal(quotient, exact)


@pytest.mark.parametrize("dtype", FLOATS)
def test_half_a_turn_is_pi(dtype: str) -> None:
    x = pt.vector("x", dtype=dtype)
    f = compiled([x], [pt.deg2rad(x), pt.rad2deg(pt.deg2rad(x))])
    turns = np.array([0, 45, 90, 180, 360, -180], dtype)
    radians, degrees = f(turns)
    np.testing.assert_array_equal(radians, turns / 180 * np.asarray(np.pi, dtype))
    np.testing.assert_array_equal(degrees, turns)
