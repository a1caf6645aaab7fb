"""What has no loops of ours goes PyTensor's way: one node, or the whole function."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import assert_equal_to_python, compiled, details
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.elemwise import Elemwise

from downhill2.compiling import fast_mode

X = np.random.default_rng(0).standard_normal((4, 4))


def sorted_rows(x: Any) -> list[Any]:
    return [pt.sort(x, axis=0) * 2, pt.sort(x.T, axis=0).sum()]


def decompositions(x: Any) -> list[Any]:
    square = x @ x.T + pt.eye(4)
    return [pt.linalg.cholesky(square), pt.linalg.inv(square) @ square]


def special(x: Any) -> list[Any]:
    return [pt.gammainc(pt.abs(x), pt.abs(x) + 1) * 2, x**2]


def masks(x: Any) -> list[Any]:
    return [x[x > 0], x[x > 0].sum(), pt.set_subtensor(x[x > 0], 0.0), pt.inc_subtensor(x[x > 0], 1.0)]


def complex_numbers(x: Any) -> list[Any]:
    return [pt.real(x + 1j * x), x + 1]


def scans(x: Any) -> list[Any]:
    return [pytensor.scan(lambda row, s: s + row, sequences=x, outputs_info=pt.zeros(4), return_updates=False)]


def odd_parts(x: Any) -> list[Any]:
    n = pt.argmax(x[0]) * 0 + 2
    stacked = pt.stack([x, x * 2])
    return [
        x[::n],
        pt.max(pt.stack([x, -x]), axis=(0, 1)),
        pt.diagonal(stacked, axis1=1, axis2=2),
        pt.argmax(stacked, axis=(0, 2)),
    ]


def mixed_products(x: Any) -> list[Any]:
    whole = (x * 3).astype("int64")
    return [pt.dot(whole, whole), pt.dot(whole, x)]


def odd_ranges(x: Any) -> list[Any]:
    n = x.shape[0] + 1
    return [pt.arange(n, 0, -1), pt.arange(x[0, 0] * 0 + 3), pt.arange(0, n, n - 3)]


def softmax_of_two_axes(x: Any) -> list[Any]:
    return [pt.special.softmax(pt.stack([x, x * 2]), axis=(0, 2)), pt.concatenate([x, x.astype("float32")])]


FAMILIES = [
    *(sorted_rows, decompositions, special, masks, complex_numbers, scans),
    *(odd_parts, mixed_products, odd_ranges, softmax_of_two_axes),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.filterwarnings("ignore")
def test_an_unknown_operation_calls_the_kernel_of_pytensor(family: Any) -> None:
    x = pt.dmatrix("x")
    f = assert_equal_to_python([x], family(x), [X], 1e-8)
    assert details(f).fallbacks


class Trouble(Exception):
    """An error of a user."""


def test_an_error_of_another_kind_is_raised_by_the_kernel_of_pytensor() -> None:
    x = pt.dvector("x")
    f = compiled([x], CheckAndRaise(Trouble, "too small")(x * 2, pt.all(x > 1)))
    assert len(details(f).fallbacks) == 1
    np.testing.assert_array_equal(f(np.full(2, 3.0)), [6, 6])
    with pytest.raises(Trouble, match="too small"):
        f(np.ones(2))


def test_a_kernel_may_change_a_variable_in_place() -> None:
    w = pytensor.shared(np.arange(4.0))
    mask = pt.vector("mask", dtype="bool")
    step = compiled([mask], [], updates=[(w, pt.set_subtensor(w[mask], -1.0))])
    step(np.array([True, False, True, False]))
    step(np.array([False, True, False, False]))
    np.testing.assert_array_equal(w.get_value(), [-1, -1, -1, 3])


@pytest.fixture
def plain_lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "downhill2")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "downhill2"]


def test_a_failure_to_generate_is_one_line_and_the_plain_path(
    monkeypatch: pytest.MonkeyPatch, plain_lines: Any
) -> None:
    from downhill2.compiling import program

    def broken(*_: Any) -> None:
        raise KeyError("of all things")

    monkeypatch.setitem(program.EMITTERS, Elemwise, broken)
    x = pt.dvector("x")
    f = compiled([x], x * 2)
    np.testing.assert_array_equal(f(np.ones(2)), [2, 2])
    assert plain_lines() == ["PyTensor's Numba linker compiles this function: KeyError: 'of all things'"]


def test_a_failure_of_numba_is_one_line_and_the_plain_path(monkeypatch: pytest.MonkeyPatch, plain_lines: Any) -> None:
    from downhill2.compiling import scalars

    monkeypatch.setitem(scalars.FLOATING, "Exp", "math.exp({0}, {0}, {0})")
    x = pt.dvector("x")
    count = pytensor.shared(np.zeros(2))
    f = compiled([x], pt.exp(x), updates=[(count, count + pt.exp(x))])
    for _ in range(2):
        np.testing.assert_allclose(f(np.zeros(2)), [1, 1])
    np.testing.assert_allclose(count.get_value(), [2, 2])
    [line] = plain_lines()
    assert line.startswith("PyTensor's Numba linker compiles this function: TypingError")


def test_without_products_pytensor_multiplies() -> None:
    x = pt.dmatrix("x")
    f = compiled([x], x @ x.T, mode=fast_mode(products=False))
    np.testing.assert_allclose(f(X), X @ X.T)
    assert details(f).fallbacks == ["Dot"]


def test_without_fusion_the_base_is_returned() -> None:
    assert fast_mode("NUMBA", fused=False) is fast_mode("NUMBA", fused=False)


def test_the_rewrites_of_a_base_are_kept() -> None:
    base = pytensor.compile.mode.get_mode("NUMBA").excluding("fusion")
    x = pt.dvector("x")
    f = compiled([x], pt.tanh(x * 2) + 1, mode=fast_mode(base))
    assert len(f.maker.fgraph.apply_nodes) == 3


def test_a_base_with_another_linker_is_refused() -> None:
    with pytest.raises(ValueError, match="base must be a mode with the Numba linker, got"):
        fast_mode("FAST_COMPILE")
