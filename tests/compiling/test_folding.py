"""Reductions that are folded into the loop which computes their elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import REFERENCE, assert_equal_to_python, compiled, details
from pytensor.tensor.math import ProdWithoutZeros

SHAPE = (300, 70)


@pytest.fixture
def x() -> Any:
    return pt.tensor("x", dtype="float32", shape=SHAPE)


def values(*bad: float) -> np.ndarray:
    array = np.linspace(-1, 1, 300 * 70, dtype="f").reshape(SHAPE)
    array.flat[17 : 17 + len(bad)] = bad
    return array


@pytest.mark.parametrize("bad", [(), (np.nan,), (np.inf,), (-np.inf, np.nan)])
def test_whether_all_is_finite_is_found_without_writing_an_array(x: Any, bad: tuple[float, ...]) -> None:
    f = assert_equal_to_python([x], [pt.all(pt.isfinite(x)), pt.any(pt.isnan(x * 2))], [values(*bad)])
    assert details(f).layout.workspace == 0


REDUCTIONS = {
    "all": pt.all,
    "any": pt.any,
    "sum": pt.sum,
    "sum of int8": lambda y: pt.sum(y, dtype="int8"),
    "max": pt.max,
    "product without zeros": ProdWithoutZeros(),
}


@pytest.mark.parametrize(
    ("name", "rows"), [(name, rows) for name in REDUCTIONS for rows in (0, 3) if (name, rows) != ("max", 0)]
)
def test_a_reduction_of_computed_elements_is_what_python_gives(name: str, rows: int) -> None:
    x, y = pt.tensor("x", dtype="int64", shape=(None, 2)), pt.tensor("y", dtype="int64", shape=(2, None))
    a, b = np.arange(rows * 2).reshape(rows, 2) - 2, np.arange(rows * 2).reshape(2, rows)
    elements = (x > y.T) if name in ("all", "any") else x - y.T
    assert_equal_to_python([x, y], [REDUCTIONS[name](elements)], [a, b])


def test_elements_that_something_else_reads_are_written(x: Any) -> None:
    below = x < 0.5
    f = assert_equal_to_python([x], [pt.all(below), pt.switch(below, 1.0, 2.0).sum(axis=0)], [values()])
    assert details(f).layout.workspace > 0


def test_elements_that_are_returned_are_written(x: Any) -> None:
    below = x < 0.5
    assert_equal_to_python([x], [pt.all(below), below], [values()])


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_new_values_are_inspected_in_the_loop_that_writes_them(bad: float) -> None:
    results = []
    for mode in (REFERENCE, None):
        w = pytensor.shared(values(), name="w", shape=SHAPE)
        m = pytensor.shared(values(bad), name="m", shape=SHAPE)
        m_t = np.float32(0.5) * m
        w_t = w - m_t
        f = compiled([], [pt.all(pt.isfinite(w_t) & pt.isfinite(m_t))], mode, updates=[(w, w_t), (m, m_t)])
        if mode is None:
            assert details(f).layout.workspace == 0
        results.append([*f(), w.get_value(), m.get_value()])
    for want, have in zip(*results, strict=True):
        np.testing.assert_array_equal(have, want)


def test_a_sum_of_computed_elements_keeps_its_precision() -> None:
    x = pt.tensor("x", dtype="float32", shape=(None,))
    tiny = np.full(100_000, 0.1, "f")
    [total] = compiled([x], [pt.sum(x * np.float32(1))])(tiny)
    assert total == np.float32(tiny.sum(dtype="float64"))
