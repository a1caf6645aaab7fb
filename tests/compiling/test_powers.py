"""Powers that loops can vectorise, over the whole range of numbers, against powers of higher precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from generated import compiled, details

from downhill2.compiling import scalars
from downhill2.compiling.source import Block
from downhill2.compiling.values import Unsupported

BITS = {"float32": "int32", "float64": "int64"}


def numbers(dtype: str) -> np.ndarray:
    """Return all magnitudes alike, by drawing bits, and those where a formula could fail."""
    info, bits = np.finfo(dtype), BITS[dtype]
    last = int(np.asarray(info.max).view(bits))
    drawn = np.random.default_rng(5).integers(1, last, 30_000, dtype=bits).view(dtype)
    ordinary = np.geomspace(1e-3, 1e3, 3001).astype(dtype)
    denormal = np.arange(1, 100, dtype=bits).view(dtype)
    around = [np.nextafter(np.asarray(x, dtype), np.asarray(to, dtype)) for x in (1, 8, info.tiny) for to in (0, 9)]
    edges = np.asarray([0.0, -0.0, 1, 8, 27, info.tiny, info.max, np.inf, -np.inf, np.nan, -1, -8, -info.max], dtype)
    return np.concatenate([drawn, -drawn[:99], ordinary, denormal, np.asarray(around, dtype), edges])


def assert_next_to(found: np.ndarray, x: np.ndarray, exponent: Any) -> None:
    """Check that powers are within some units in the last place, with the same infinities and NaNs."""
    with np.errstate(all="ignore"):
        exact = np.longdouble(x) ** np.longdouble(exponent)
        wanted = exact.astype(x.dtype)
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(found[~finite], wanted[~finite])
        units = np.abs(found[finite] - exact[finite]) / np.spacing(np.abs(wanted[finite]))
    assert units.max() <= 1.5  # 0.9 where products and sums are fused, as all but old processors do it


@dataclass
class Powers:
    """A function of vectors x and y and a number: two cube roots, and y to the power of the number."""

    dtype: str
    values: np.ndarray
    third: np.ndarray
    function: Any


@pytest.fixture(scope="module", params=BITS)
def powers(request: pytest.FixtureRequest) -> Powers:
    """Compile without the disk cache: what writes LLVM code runs whatever the cache holds."""
    dtype, third = request.param, np.asarray(1 / 3, request.param)
    x, y, exponent = pt.vector("x", dtype=dtype), pt.vector("y", dtype=dtype), pt.scalar("exponent", dtype=dtype)
    with pytensor.config.change_flags(numba__cache=False):
        f = compiled([x, y, exponent], [x**third, abs(y**third), y**exponent])
        f(np.ones(1, dtype), np.ones(1, dtype), third)
    return Powers(dtype, numbers(dtype), third, f)


def test_a_cube_root_is_the_power_for_all_numbers(powers: Powers) -> None:
    values = powers.values
    alone, melted_with_others, _ = powers.function(values, values, powers.third)
    assert str(details(powers.function).kernel.__source__).count("cube_root(") == 2
    for root in (alone, melted_with_others):
        assert root.dtype == powers.dtype
        assert_next_to(root, values, powers.third)
        assert not np.signbit(root[values == 0]).any()


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1, 2, 0, 0.3, np.inf, np.nan])
def test_a_power_of_one_exponent_is_the_power_for_all_numbers(powers: Powers, exponent: float) -> None:
    given = np.asarray(exponent, powers.dtype)
    assert str(details(powers.function).kernel.__source__).count("power(") == 1
    assert_next_to(powers.function(powers.values, powers.values, given)[2], powers.values, given)


@pytest.mark.parametrize("dtype", BITS)
def test_exponents_of_their_own_and_bare_numbers_are_powers_too(dtype: str) -> None:
    x, y, n = pt.vector("x", dtype=dtype), pt.vector("y", dtype=dtype), pt.scalar("n", dtype=dtype)
    f = compiled([x, y, n], [x**y, n**x, n ** (n / 4)])
    base, exponents = np.asarray([4, 0.25, 9, 0], dtype), np.asarray([0.5, -0.5, 1 / 3, 0.5], dtype)
    each, exponential, one = f(base, exponents, np.asarray(2, dtype))
    np.testing.assert_allclose(each, base**exponents, rtol=1e-6)
    np.testing.assert_allclose(exponential, 2**base, rtol=1e-6)
    np.testing.assert_allclose(one, 2**0.5, rtol=1e-6)


def test_powers_of_integers_are_left_to_pytensor() -> None:
    with pytest.raises(Unsupported, match="power of int64"):
        scalars.write(Block(), ps.pow, [("a", "int64"), ("b", "int64")], ["int64"])
