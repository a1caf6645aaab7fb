"""Primitive operations compiled without the disk cache: what writes their LLVM code runs whatever the cache holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled, details
from pytensor.raise_op import CheckAndRaise


@pytest.fixture(autouse=True)
def _without_cache() -> Iterator[None]:
    with pytensor.config.change_flags(numba__cache=False):
        yield


def test_without_a_cache_functions_are_generated_all_the_same() -> None:
    x = pt.dvector("x")
    f = compiled([x], [pt.switch(x > 0, x, -x), pt.floor(x), x[::2].sum()])
    for have, want in zip(f(np.array([-1.5, 2.5])), ([1.5, 2.5], [-2, 2], -1.5), strict=True):
        np.testing.assert_array_equal(have, want)
    stats = details(f).kernel.stats
    assert stats.cache_path is None
    assert not stats.cache_hits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_written_with_and_without_known_sizes(dtype: str) -> None:
    x, w = pt.matrix("x", dtype=dtype), pt.tensor("w", dtype=dtype, shape=(3, 2))
    f = compiled([x, w], [pt.tanh(x @ w).sum(), w @ w[0], pt.tanh(w[1:]) @ w[0]])
    a, b = np.ones((4, 3), dtype) / 4, np.arange(6, dtype=dtype).reshape(3, 2)
    for have, want in zip(f(a, b), (np.tanh(a @ b).sum(), b @ b[0], np.tanh(b[1:]) @ b[0]), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6 if dtype == "float32" else 1e-12)


def test_arrays_go_to_kernels_of_pytensor_and_come_back() -> None:
    x, n = pt.dmatrix("x"), pt.lscalar("n")
    checked = CheckAndRaise(RuntimeError, "n must be positive")(x * 2, n > 0)
    f = compiled([x, n], [checked.T + 1, x[::n].sum(axis=1)])
    values = np.arange(9.0).reshape(3, 3)
    doubled, sums = f(values, np.array(2))
    np.testing.assert_array_equal(doubled, values.T * 2 + 1)
    np.testing.assert_array_equal(sums, values[::2].sum(axis=1))
    assert len(details(f).fallbacks) == 2


def test_an_array_that_does_not_fit_into_memory_raises() -> None:
    n = pt.lscalar("n")
    a = pt.arange(n) * 0.5
    cube = pt.tanh(a[:, None, None] * a[:, None] * a)
    f = compiled([n], cube.sum() + cube.max())  # a sum alone would need no array
    with pytest.raises(MemoryError):
        f(np.array(2**19))
