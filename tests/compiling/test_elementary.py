"""Elementary functions that loops can vectorise, over the whole range of numbers, against higher precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled, details
from pytensor.compile.mode import Mode
from pytensor.graph.rewriting.db import RewriteDatabaseQuery

from downhill2.compiling import fast_mode
from downhill2.compiling.values import FLOATS

BITS = {"float32": "int32", "float64": "int64"}
# operations stay as they are written here
FUSED = fast_mode(Mode("numba", RewriteDatabaseQuery(include=["fusion"])))
HIGHER = np.finfo(np.longdouble).nmant > 52


def by_python(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of Python's, right within a unit in the last place of float64, for arrays."""
    return lambda x: np.vectorize(function, otypes=["float64"])(x.astype("float64")).astype(np.longdouble)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def log1mexp(x: np.ndarray) -> np.ndarray:
    return np.where(x < -0.7, np.log1p(-np.exp(x)), np.log(-np.expm1(x)))


@dataclass(frozen=True)
class Case:
    """A function, what it is in higher precision, and by how many units in the last place it may be off."""

    function: Callable[..., Any]
    exact: Callable[..., np.ndarray]
    units: float


CASES = {
    "exp": Case(pt.exp, np.exp, 1),
    "exp2": Case(pt.exp2, np.exp2, 1.3),
    "expm1": Case(pt.expm1, np.expm1, 1.7),
    "log": Case(pt.log, np.log, 0.8),
    "log2": Case(pt.log2, np.log2, 0.9),
    "log10": Case(pt.log10, np.log10, 0.8),
    "log1p": Case(pt.log1p, np.log1p, 0.9),
    "tanh": Case(pt.tanh, np.tanh, 1.5),
    "sigmoid": Case(pt.sigmoid, sigmoid, 2),
    "softplus": Case(pt.softplus, softplus, 2),
    "log1mexp": Case(pt.log1mexp, log1mexp, 2),
    "sin": Case(pt.sin, np.sin, 1),
    "cos": Case(pt.cos, np.cos, 1),
    "tan": Case(pt.tan, np.tan, 1),
    # a unit more than it is, as Python's own are rounded
    "erf": Case(pt.erf, by_python(math.erf), 2.2),
    "erfc": Case(pt.erfc, by_python(math.erfc), 4),
}

EXACT = [
    *(("exp", 0, 1), ("exp2", 2, 4), ("expm1", 0, 0), ("log", 1, 0), ("log2", 0.5, -1), ("log10", 1, 0)),
    *(("sigmoid", 0, 0.5), ("log1mexp", 0, -np.inf)),
    *(("erf", np.inf, 1), ("erfc", 0, 1)),
]
"""What people rely on: functions, numbers and values."""


def numbers(dtype: str) -> np.ndarray:
    """Return all magnitudes alike, by drawing bits, those of every day, and those where a formula could fail."""
    info, bits, rng = np.finfo(dtype), BITS[dtype], np.random.default_rng(8)
    drawn = rng.integers(1, int(np.asarray(info.max).view(bits)), 8000, dtype=bits).view(dtype)
    ordinary = np.concatenate([rng.normal(size=4000) * scale for scale in (0.01, 0.3, 1, 4, 30, 300)])
    near_one = 1 + rng.uniform(-0.01, 0.01, 2000)
    edges = np.array([0, info.smallest_subnormal, info.tiny, 1, 2, 0.5, info.max, np.inf])
    positive = np.concatenate([drawn, np.abs(ordinary).astype(dtype), near_one.astype(dtype), edges.astype(dtype)])
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


def assert_within(found: np.ndarray, exact: np.ndarray, units: float) -> None:
    """Check units in the last place, and the same infinities, NaNs and signs of zeros."""
    with np.errstate(all="ignore"):
        wanted = exact.astype(found.dtype)
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(found[~finite], wanted[~finite])
        np.testing.assert_array_equal(np.signbit(found[wanted == 0]), np.signbit(wanted[wanted == 0]))
        off = np.abs(found[finite] - exact[finite]) / np.spacing(np.abs(wanted[finite]))
    # without a higher precision the oracle is off, too
    assert off.max() <= units + (0 if HIGHER or found.dtype == "float32" else 1)


@dataclass
class Functions:
    """All functions of one vector, compiled in one loop, and their values."""

    dtype: str
    x: np.ndarray
    function: Any
    results: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=FLOATS)
def functions(request: pytest.FixtureRequest) -> Functions:
    """Compile without the disk cache: what writes LLVM code runs whatever the cache holds."""
    dtype, x = request.param, pt.vector("x", dtype=request.param)
    values = numbers(dtype)
    with pytensor.config.change_flags(numba__cache=False):
        f = compiled([x], [case.function(x) for case in CASES.values()], FUSED)
        results = dict(zip(CASES, f(values), strict=True))
    assert not details(f).fallbacks
    return Functions(dtype, values, f, results)


@pytest.mark.parametrize("name", CASES)
def test_a_function_is_right_for_all_numbers(functions: Functions, name: str) -> None:
    case, found = CASES[name], functions.results[name]
    assert found.dtype == functions.dtype
    with np.errstate(all="ignore"):
        exact = case.exact(functions.x.astype(np.longdouble))
    assert_within(found, exact, case.units)


def test_values_people_rely_on_are_exact(functions: Functions) -> None:
    for name, x, value in EXACT:
        found = functions.results[name][functions.x == x]
        assert found.size
        np.testing.assert_array_equal(found, value)


def test_an_element_is_the_same_whatever_stands_beside_it(functions: Functions) -> None:
    x = np.random.default_rng(2).normal(size=70).astype(functions.dtype) * 3
    whole = functions.function(x)
    for length in range(1, 71):
        for part, all_of_it in zip(functions.function(x[:length].copy()), whole, strict=True):
            np.testing.assert_array_equal(part, all_of_it[:length])


def test_powers_are_right_for_all_pairs_of_numbers(functions: Functions) -> None:
    dtype, rng = functions.dtype, np.random.default_rng(5)
    special = np.array([0, 1, 2, 3, 0.5, 2.5, 7, 2**24 + 1, 1e30, np.inf, np.nan, np.finfo(dtype).smallest_subnormal])
    some = np.concatenate([special, -special, functions.x[::700]]).astype(dtype)
    base, exponent = (grid.ravel() for grid in np.meshgrid(some, some))
    near = [np.exp(rng.uniform(-4, 4, 4000) * spread).astype(dtype) for spread in (1e-3, 0.1, 1, 5, 20)]
    large = [(rng.normal(size=4000) * size).astype(dtype) for size in (3e5, 1000, 100, 30, 3)]
    x, y = np.concatenate([base, *near]), np.concatenate([exponent, *large])
    a, b = pt.vector("a", dtype=dtype), pt.vector("b", dtype=dtype)
    with pytensor.config.change_flags(numba__cache=False):
        f = compiled([a, b], a**b, FUSED)
        found = f(x, y)
    with np.errstate(all="ignore"):
        exact = x.astype(np.longdouble) ** y.astype(np.longdouble)
    assert_within(found, exact, 1.5)
    integers, exponents = (grid.ravel() for grid in np.meshgrid(np.arange(1, 101), np.arange(12)))
    exact = integers.astype(np.longdouble) ** exponents
    held = exact.astype(dtype) == exact
    found = f(integers.astype(dtype), exponents.astype(dtype))
    np.testing.assert_array_equal(found[held], exact[held].astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_number_has_the_value_that_it_has_in_a_loop(dtype: str) -> None:
    x, v = pt.scalar("x", dtype=dtype), pt.vector("v", dtype=dtype)
    alone = compiled([x], [case.function(x) for case in CASES.values()], FUSED)
    in_loops = compiled([v], [case.function(v) for case in CASES.values()], Mode(FUSED.linker, None))
    values = np.random.default_rng(3).normal(size=40).astype(dtype) * 2
    each = np.array([alone(np.asarray(value)) for value in values]).T
    np.testing.assert_array_equal(each, in_loops(values))


@pytest.mark.parametrize("dtype", FLOATS)
def test_derivatives_are_made_of_them(dtype: str) -> None:
    x = pt.vector("x", dtype=dtype)
    values = np.random.default_rng(4).normal(size=300).astype(dtype) * 3
    wide = values.astype(np.longdouble)
    exact = {
        pt.tanh: 1 / np.cosh(wide) ** 2,
        pt.sigmoid: sigmoid(wide) * sigmoid(-wide),
        pt.softplus: sigmoid(wide),
        pt.erf: 2 / np.sqrt(np.longdouble(np.pi)) * np.exp(-wide * wide),
        pt.expm1: np.exp(wide),
    }
    gradients = [pt.grad(f(x).sum(), x) for f in exact]
    f = compiled([x], gradients)
    assert not details(f).fallbacks
    for found, wanted in zip(f(values), exact.values(), strict=True):
        assert found.dtype == dtype
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(found, wanted.astype("float64"), rtol=16 * eps, atol=4 * eps)
