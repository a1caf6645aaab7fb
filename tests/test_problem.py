"""What is minimized: discovery of parameters and inputs, monitors, updates. What is refused: test_bad_input.py."""

from __future__ import annotations

import logging

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.symbolic.problem import Problem


def shared(value, name=None, dtype="float64"):
    return pytensor.shared(np.array(value, dtype), name=name)


def squares(x):
    return (x**2).sum()


# -- discovery


def test_parameters_and_inputs_are_found_in_the_order_in_which_the_loss_reads():
    x, y = pt.matrix("x"), pt.vector("y")
    W, b = shared([1.0, 2.0], "W"), shared(0.5, "b")
    problem = Problem(((x @ W + b - y) ** 2).mean())
    assert problem.inputs == [x, y]
    assert problem.params == [W, b]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_floating_point_shared_variable_is_a_parameter(dtype):
    w = shared([1, 2], "w", dtype)
    assert Problem(squares(w).astype("float64")).params == [w]


def test_what_is_no_parameter_is_not_taken_for_one():
    w, scale, moving = shared([1.0, 2.0], "w"), shared(2.0, "scale"), shared(0.0, "moving")
    index, rate = shared(1, "index", "int64"), shared(0.1, "rate")
    rng = pt.random.shared_rng(np.random.default_rng(0), name="rng")
    rng_t, noise = rng.normal()
    loss = (w[index] * scale - moving - noise + pt.constant(3.0) - rate) ** 2
    opt = downhill2.SGD(loss, updates={moving: moving + 1, rng: rng_t}, learning_rate=rate * 2)
    assert opt.params == [w, scale]
    assert opt.inputs == []


def test_a_variable_that_drives_a_schedule_is_no_parameter():
    w, base = shared([1.0], "w"), shared(0.1, "base")
    opt = downhill2.SGD(squares(w) + base, learning_rate=lambda t: base / (1 + t))
    assert opt.params == [w]


def test_what_is_given_is_taken_in_its_order():
    x, y, w, b = pt.vector("x"), pt.vector("y"), shared([1.0], "w"), shared([1.0], "b")
    problem = Problem(squares(x * w + b - y), [b], [y, x])
    assert (problem.params, problem.inputs) == ([b], [y, x])
    assert Problem(squares(x * w + b - y), (v for v in (b, w))).params == [b, w]


def test_an_input_that_the_loss_does_not_use_may_be_given():
    x, unused, w = pt.vector("x"), pt.vector("unused"), shared([1.0], "w")
    opt = downhill2.SGD(squares(x * w), inputs=[unused, x], learning_rate=0.5)
    opt.minimize([np.zeros(1), np.ones(1)], max_epochs=1)
    assert w.get_value() == 0


def test_inputs_of_monitors_and_updates_are_inputs_too():
    x, y, z, w, seen = pt.vector("x"), pt.vector("y"), pt.vector("z"), shared([1.0], "w"), shared(0.0, "seen")
    problem = Problem(squares(x * w), updates=[(seen, z.sum())], monitors={"y": y.mean()})
    assert problem.inputs == [x, y, z]


def test_what_was_found_is_logged(caplog):
    x, w, b = pt.matrix("x"), shared(np.ones((3, 2)), "w"), shared(1.0)
    with caplog.at_level(logging.INFO, "downhill2"):
        Problem(squares(x @ w + b))
        Problem(squares(w))
    assert caplog.messages == [
        "params: w (?, ?) float64, unnamed () float64",
        "inputs: x",
        "params: w (?, ?) float64",
        "inputs: none",
    ]


def test_the_logger_is_that_of_the_package():
    assert downhill2.base.logging is logging.getLogger("downhill2")


# -- monitors


def data_free(w, **kwargs):
    return downhill2.SGD(squares(w), learning_rate=0.25, **kwargs).minimize(max_epochs=1)


@pytest.mark.parametrize("kind", [dict, list, tuple, iter])
def test_monitors_are_a_dict_or_pairs_and_the_loss_comes_first(kind):
    w = shared([1.0, 2.0], "w")
    pairs = {"largest": w.max(), "count": w.shape[0]}
    train, valid = data_free(w, monitors=kind(pairs if kind is dict else pairs.items()))
    assert list(train.items()) == [("loss", 5), ("largest", 2), ("count", 2)]
    assert list(valid.items()) == [("loss", 1.25), ("largest", 1), ("count", 2)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_are_monitored_by_their_squared_norms(dtype):
    v, w, u = (shared(x, n, dtype) for x, n in (([3, 4], "v"), (2, "w"), ([[1]], None)))
    opt = downhill2.SGD(squares(v) + w**2 + squares(u), monitor_gradients=True, learning_rate=0)
    train, valid = opt.minimize(max_epochs=1)
    assert train == valid == {"loss": 30, "grad(v)": 100, "grad(w)": 16, "grad(unnamed0)": 4}


def test_monitors_are_averaged_by_rows():
    x, w = pt.vector("x"), shared(0.0, "w")
    opt = downhill2.SGD(((x - w) ** 2).mean(), monitors=[("mean", x.mean())], learning_rate=0)
    data = np.arange(5.0)
    assert opt.evaluate([data], batch_size=2) == {"loss": pytest.approx((data**2).mean()), "mean": 2}
    train, _ = opt.minimize([data], batch_size=2, max_epochs=1, rng=0)
    assert train["mean"] == pytest.approx(2)


def test_gradients_may_be_monitored_on_validation_data():
    x, w = pt.vector("x"), shared(1.0, "w")
    opt = downhill2.SGD((x * w).mean(), monitor_gradients=True, learning_rate=0)
    _, valid = opt.minimize([np.ones(2)], [np.full(2, 3.0)], max_epochs=1, rng=0)
    assert valid == {"loss": 3, "grad(w)": 9}


# -- updates


@pytest.mark.parametrize("kind", [dict, list, iter])
def test_updates_run_with_every_training_update_and_only_there(kind):
    w, calls = shared([1.0], "w"), shared(0, "calls", "int64")
    given = {calls: calls + 1}
    opt = downhill2.SGD(squares(w), updates=kind(given if kind is dict else given.items()))
    opt.evaluate(None)
    assert calls.get_value() == 0
    opt.minimize(max_updates=3, validate_every=1)
    assert calls.get_value() == 3


def test_an_update_is_cast_to_its_variable_and_may_be_a_number():
    w, small, fixed = shared([1.0], "w"), shared(0, "small", "float32"), shared(5, "fixed", "int64")
    opt = downhill2.SGD(squares(w), updates=[(small, w.sum()), (fixed, 7)])
    opt.minimize(max_epochs=1)
    assert (small.get_value(), small.get_value().dtype, fixed.get_value()) == (1, "float32", 7)


def test_a_generator_may_be_updated():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    rng_t, noise = rng.normal()
    w = shared(0.0, "w")
    opt = downhill2.SGD(w * noise, updates=[(rng, rng_t)], learning_rate=1)
    opt.minimize(max_updates=2, validate_every=None)
    draws = np.random.default_rng(1)
    np.testing.assert_allclose(w.get_value(), -(draws.normal() + draws.normal()))


def test_an_update_is_held_back_with_the_rest_where_the_loss_is_not_finite():
    x, w, seen = pt.vector("x"), shared(1.0, "w"), shared(0.0, "seen")
    opt = downhill2.SGD((x * w).mean(), updates=[(seen, seen + 1)])
    with pytest.raises(downhill2.NonFiniteError):
        opt.minimize([np.array([1.0, np.nan])], batch_size=1, shuffle=False, validate_every=None, max_epochs=1)
    assert seen.get_value() == 1


# -- parameters of more than one optimizer


def test_two_optimizers_may_share_a_parameter_and_take_turns():
    w = shared([8.0], "w")
    first = downhill2.SGD(squares(w), learning_rate=0.25, momentum=0.5)
    second = downhill2.Adam(squares(w), learning_rate=1)
    settings = {"max_updates": 1, "validate_every": None}
    first.minimize(**settings)  # v = 4
    second.minimize(**settings)  # Adam's first step is 1
    assert w.get_value() == pytest.approx(8 - 4 - 1)
    first.minimize(**settings)  # v = 2 + 1.5
    assert w.get_value() == pytest.approx(3 - 3.5)
    assert first.state == {"w.momentum.v": pytest.approx(3.5)}


def test_two_optimizers_on_parts_of_a_loss_may_interleave():
    a, b = shared(2.0, "a"), shared(2.0, "b")
    loss = (a * b - 1) ** 2
    runs = [downhill2.SGD(loss, [p], learning_rate=0.05).iterate(max_epochs=50, rng=0) for p in (a, b)]
    for _ in range(50):
        for run in runs:
            next(run)
    for run in runs:
        run.close()
    assert a.get_value() * b.get_value() == pytest.approx(1, abs=1e-3)
