"""Random numbers of generated functions: NumPy's, whoever draws them."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled, details


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_those_of_numpy(dtype: str) -> None:
    rng, rows = pytensor.shared(np.random.default_rng(3)), pt.lscalar("rows")
    a_t, a = pt.random.normal(rng=rng, size=(rows, 3), dtype=dtype, return_next_rng=True)
    b_t, b = pt.random.normal(rng=a_t, size=(rows, 3), dtype=dtype, return_next_rng=True)
    c_t, c = pt.random.normal(rows, 0.5, rng=b_t, size=(2, 2), dtype=dtype, return_next_rng=True)
    f = compiled([rows], [a, b * 2, c], updates={rng: c_t})
    assert details(f).fallbacks == []
    numpy, held = np.random.default_rng(3), rng.get_value(borrow=True)
    for n in (0, 2, 40_000):  # so many that each way to draw one occurs
        first, second, few = f(np.array(n))
        assert first.dtype == few.dtype == dtype
        np.testing.assert_array_equal(first, numpy.normal(size=(n, 3)).astype(dtype))
        np.testing.assert_array_equal(second, numpy.normal(size=(n, 3)).astype(dtype) * 2)
        np.testing.assert_allclose(few, numpy.normal(n, 0.5, size=(2, 2)), rtol=1e-6)
    assert rng.get_value(borrow=True) is held
    assert held.bit_generator.state == numpy.bit_generator.state
    with pytest.raises(ValueError, match="negative dimensions"):
        f(np.array(-1))


def test_other_random_numbers_come_from_kernels_of_pytensor() -> None:
    rng, fixed = (pytensor.shared(np.random.default_rng(3)) for _ in range(2))
    means = pt.as_tensor([0.0, 100.0])
    a_t, a = pt.random.normal(means, 1, rng=rng, size=(2,), return_next_rng=True)
    b_t, b = pt.random.normal(rng=a_t, return_next_rng=True)
    _, c = pt.random.normal(rng=fixed, size=(2,), return_next_rng=True)
    f = compiled([], [a, b, c], updates={rng: b_t})  # the last is drawn from a generator that is not to change
    assert len(details(f).fallbacks) == 3
    numpy, first = np.random.default_rng(3), np.random.default_rng(3).normal(size=2)
    for _ in range(2):
        for have, want in zip(f(), [numpy.normal([0, 100], 1), numpy.normal(), first], strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-6)
