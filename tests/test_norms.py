"""Norms of large and small numbers, limits that are 0, and the rules that divide by a norm."""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.driven import Driven
from test_algorithms import GRADIENTS, START

import downhill2
from downhill2 import projections, schedules
from downhill2.stepping.one_by_one import mode
from downhill2.symbolic.algorithm import Algorithm
from downhill2.symbolic.declared import Hyper, declared
from downhill2.symbolic.formulas import norm, times

RANGES = {"float32": (1e-44, 3e38), "float64": (3e-320, 1e308)}

numba = pytest.mark.default_mode


@functools.cache
def norm_of(dtype, axis=None):
    x = pt.TensorType(dtype, (None, None))("x")
    return pytensor.function([x], norm(x, axis=axis), mode=mode())


def assert_norms(f, rows, dtype):
    """Compare with Python's `math.hypot`, which scales."""
    x = np.array(rows, dtype)
    wanted = [math.hypot(*row) for row in x.astype("f8").tolist()]
    np.testing.assert_allclose(f(x).ravel(), np.minimum(wanted, np.finfo("f8").max), rtol=2e-15)


def numbers(dtype):
    width = int(dtype.removeprefix("float"))
    return st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


@given(row=numbers("float32"))
def test_the_norm_of_finite_float32_numbers_is_exact_to_rounding(row):
    assert_norms(norm_of("float32", 1), [row], "float32")


@given(row=numbers("float64"))
def test_the_norm_of_finite_float64_numbers_is_exact_to_rounding(row):
    assert_norms(norm_of("float64", 1), [row], "float64")


@numba
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("axis", [None, 1])
def test_norms_are_exact_in_the_mode_that_users_run(dtype, axis):
    x = pt.TensorType(dtype, (None, None))("x")
    f = pytensor.function([x], norm(x, axis=axis), mode=mode())
    least, most = RANGES[dtype]
    for size in (least, 1e-30, 1e-20, 1.0, 1e19, 1e30, most / 10):
        assert_norms(f, [[3 * size, -4 * size]], dtype)
    assert_norms(f, [[most, most]], dtype)
    assert_norms(f, [[1e-30, 1e30]], dtype)
    assert_norms(f, [[0.0, 0.0]], dtype)
    assert f(np.array([[np.inf, 1]], dtype)).ravel() == np.inf
    assert np.isnan(f(np.array([[np.nan, 1]], dtype))).all()
    assert not f(np.zeros((1, 0), dtype)).any()


def test_the_norm_of_ordinary_float64_numbers_is_the_root_of_the_sum_of_squares_to_the_bit():
    x = np.random.default_rng(0).normal(size=(1, 999))
    v = pt.matrix("v")
    assert norm_of("float64")(x) == pytensor.function([v], pt.sqrt(pt.sum(v**2)), mode=mode())(x)


def test_the_norm_of_several_tensors_is_that_of_all_elements():
    x, y = pt.vector("x", dtype="float32"), pt.matrix("y", dtype="float64")
    f = pytensor.function([x, y], norm(x, y))
    assert f(np.float32([3e38, 0]), np.array([[4e200, 3e200]])) == pytest.approx(5e200, rel=1e-15)
    assert f(np.float32([3, 0]), np.array([[4.0]])) == 5


def test_a_factor_that_float32_does_not_hold_scales_float32_all_the_same():
    x = np.full(3, 3e38, "f4")
    np.testing.assert_allclose(times(pt.constant(1e-50), pt.constant(x)).eval(), np.float32(3e-12), rtol=1e-6)
    assert times(pt.constant(1e-50), pt.constant(x)).type.dtype == "float32"


# -- clipping

LIMITS = ("max_global_norm", "max_gradient_norm", "clip_adaptive")
SIZES = [
    ("float32", (3e19, 4e19)), ("float32", (3e37, 4e37)), ("float32", (3e-30, 4e-30)), ("float32", (3, 4)),
    ("float64", (3e200, 4e200)), ("float64", (3e307, 4e307)), ("float64", (3e-200, 4e-200)),
]  # fmt: skip


@functools.cache
def clipped(setting, dtype):
    """Return a function of a gradient and of a limit that returns what an update subtracts from two parameters."""
    w = pytensor.shared(np.zeros((2, 1), dtype), name="w")
    v = pytensor.shared(np.zeros(1, dtype), name="v")
    x, limit = pt.TensorType(dtype, (None, None))("x"), pytensor.shared(1.0, name="limit")
    settings = {setting: limit, **({"clip_adaptive_epsilon": 1.0} if setting == "clip_adaptive" else {})}
    opt = downhill2.build("sgd", (w * x).sum() + 0 * v.sum(), [w, v], [x], learning_rate=1.0, **settings)
    step = pytensor.function([x], [], updates=opt.get_updates(), mode=mode())

    def update(gradient, most):
        limit.set_value(most)
        w.set_value(np.zeros((2, 1), dtype))
        step(np.array(gradient, dtype)[:, None])
        return -w.get_value()[:, 0]

    return update


@pytest.mark.parametrize("setting", LIMITS)
@pytest.mark.parametrize(("dtype", "gradient"), SIZES, ids=str)
def test_a_gradient_of_any_finite_size_is_clipped_to_the_limit_in_its_direction(setting, dtype, gradient):
    for limit in (1.0, 1e-3) if gradient[0] > 1 else (gradient[0] / 1e3,):
        step = clipped(setting, dtype)(gradient, limit)
        np.testing.assert_allclose(step, np.array([0.6, 0.8]) * limit, rtol=1e-6)


@numba
@pytest.mark.parametrize("dtype", RANGES)
def test_large_gradients_are_clipped_in_the_mode_that_users_run(dtype):
    size = RANGES[dtype][1] / 10
    w = pytensor.shared(np.zeros(2, dtype), name="w")
    loss = (w * np.array([0.3 * size, 0.4 * size], dtype)).sum()
    opt = downhill2.build("sgd", loss, [w], learning_rate=1.0, max_global_norm=1.0)
    opt.minimize(max_updates=1, validate_every=None)
    np.testing.assert_allclose(w.get_value(), [-0.6, -0.8], rtol=1e-6)


def test_elements_that_are_all_as_large_as_can_be_are_clipped_and_not_lost():
    largest = np.finfo("f8").max
    step = clipped("max_global_norm", "float64")([largest, largest], 1.0)
    assert (step >= 0.7).all()  # of a norm that no number holds, the direction stays and the length nearly does
    assert (step <= 1).all()


@pytest.mark.parametrize("setting", [*LIMITS, "max_gradient_elem"])
def test_a_limit_that_a_schedule_takes_to_0_is_no_limit_from_then_on(setting):
    w, x = pytensor.shared(np.zeros(2), name="w"), pt.vector("x")
    limit = {setting: schedules.Linear(1.0, 0.0, 2)}
    opt = downhill2.build("sgd", (w * x).sum(), [w], [x], learning_rate=1.0, **limit)
    step, seen = pytensor.function([x], [], updates=opt.get_updates()), [w.get_value()]
    for gradient in ([3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]):
        step(np.array(gradient))
        seen.append(w.get_value())
    moved = -np.diff(seen, axis=0)
    assert (moved[1] < [3, 4]).all()
    np.testing.assert_allclose(moved[2:], [[3, 4], [0, 0]], rtol=1e-12)


# -- 0 means absent: whatever drives a setting, where it is 0 an update is that without the setting

OFF = {n: d for n, d in declared(Algorithm, Hyper).items() if d.off is not None}
OTHER = {"mechanic"}  # how it begins: the factor that it learns goes on


@pytest.mark.parametrize("algo", ["sgd", "adam"])
@pytest.mark.parametrize("setting", sorted(OFF.keys() - OTHER))
def test_a_setting_that_is_0_by_a_variable_changes_nothing(setting, algo):
    gradients = [*GRADIENTS[:3], [0 * g for g in GRADIENTS[0]]]
    absent = Driven(algo, {"learning_rate": 0.1}, START, "float64")
    there = Driven(algo, {"learning_rate": 0.1, setting: pytensor.shared(OFF[setting].off, name="s")}, START, "float64")
    points, wanted = (d.trajectory(gradients, (1, 4)) for d in (there, absent))
    for step in (1, 4):
        for x, y in zip(points[step], wanted[step], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=0)


def test_mechanic_stakes_nothing_where_a_variable_says_0_and_stays_finite():
    driven = Driven("sgd", {"learning_rate": 0.1, "mechanic": pytensor.shared(0.0, name="s")}, START, "float64")
    assert all(np.isfinite(x).all() for x in driven.trajectory(GRADIENTS, (10,))[10])


# -- rules that divide by norms

SCALED = ["lars", "fromage", "novograd", "dog", "dowg"]


@pytest.mark.parametrize("algo", SCALED)
def test_a_rule_that_divides_by_a_norm_goes_in_float32_where_it_goes_in_float64(algo):
    start, gradients = [np.array([[3.0], [-1.0]]), np.ones(3)], [np.array([[3e19], [4e19]]), np.full(3, 1e19)]
    points = {}
    for dtype in ("float64", "float32"):
        driven = Driven(algo, {}, start, dtype)
        points[dtype] = driven.trajectory([gradients, gradients], (2,))[2]
    for x, y, x0 in zip(points["float32"], points["float64"], start, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5)
        assert np.isfinite(x).all()
        assert algo in ("dog", "dowg") or not np.array_equal(y, x0)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e25), ("float32", 1e-35), ("float64", 1e180)])
def test_sam_goes_its_radius_uphill_whatever_the_size_of_the_gradient(dtype, size):
    w = pytensor.shared(np.zeros(2, dtype), name="w")
    # the gradient where SAM takes it is `size` times (0.6, 0.8) plus the offset, which has the length of its radius
    loss = (w * np.array([0.6 * size, 0.8 * size], dtype)).sum() + (w**2).sum() * np.array(size, dtype) / 2
    opt = downhill2.build("sgd", loss, [w], learning_rate=1.0, sam=0.5)
    [(_, new)] = [pair for pair in opt.get_updates() if pair[0] is w]
    np.testing.assert_allclose(new.eval(), -np.array([0.9, 1.2]) * size, rtol=1e-5)


def test_sam_stays_where_the_gradient_is_0():
    w = pytensor.shared(np.zeros(2), name="w")
    opt = downhill2.build("sgd", (w**2).sum(), [w], learning_rate=1.0, sam=0.5)
    opt.minimize(max_updates=1, validate_every=None)
    assert not w.get_value().any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_projections_on_norms_take_any_size(dtype):
    for size in (1e25, 1.0, 1e-25):
        x = np.array([[3 * size, 0], [4 * size, 0]], dtype)
        unit = projections.UnitColumns()(pt.constant(x))
        ball = projections.L2Ball(0.1 * size, axis=0)(pt.constant(x))
        assert unit.type.dtype == ball.type.dtype == dtype
        np.testing.assert_allclose(unit.eval(), [[0.6, 0], [0.8, 0]], rtol=1e-6)
        np.testing.assert_allclose(ball.eval(), np.array([[0.06, 0], [0.08, 0]]) * size, rtol=2e-6)


def test_the_monitor_of_a_gradient_is_its_squared_norm_in_float64():
    w = pytensor.shared(np.zeros(2, "f4"), name="w")
    opt = downhill2.build("sgd", (w * np.float32([3e19, 4e19])).sum(), [w], monitor_gradients=True)
    train, _ = opt.minimize(max_updates=1, validate_every=None, learning_rate=1e-20)
    assert train["grad(w)"] == pytest.approx(2.5e39)


@numba
@pytest.mark.parametrize(("dtype", "sums"), [("float32", 1), ("float64", 3)])
def test_a_norm_is_one_loop_that_reads_each_element_once(dtype, sums, monkeypatch):
    from downhill2.compiling import private

    texts, compile_one = [], private.compiled
    monkeypatch.setattr(private, "compiled", lambda text, *a, **k: (texts.append(text), compile_one(text, *a, **k))[1])
    x = pt.vector("x", dtype=dtype)
    pytensor.function([x], norm(x), mode=mode())(np.ones(3, dtype))
    text = "\n".join(texts)
    assert text.count("for ") == 1
    assert len(re.findall(r"= r\w+ \+ t", text)) == sums
