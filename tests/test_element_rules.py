"""What the trajectories of element rules do not show: averages, memories of another size, starts of their own."""

from __future__ import annotations

import re

import numpy as np
import pytensor
import pytest
from oracles.driven import Driven
from oracles.online import asgd
from oracles.reference import descent

import downhill2
from downhill2.symbolic.declared import Decay, with_default

TARGET = np.array([1.0, -3.0])


def quadratic(algo, **settings):
    w = pytensor.shared(np.array([4.0, 2.0]), name="w")
    return w, downhill2.build(algo, ((w - TARGET) ** 2).sum() / 2, **settings)


def points(updates, **settings):
    """Return where the steps of ASGD lead on the quadratic."""
    trajectory = descent(asgd(lambd=1e-4, alpha=0.75), settings["learning_rate"], owns_rate=True)
    steps = range(1, updates + 1)
    found = trajectory([np.array([4.0, 2.0])], lambda k, xs: [xs[0] - TARGET], steps)
    return [found[step][0] for step in steps]


@pytest.mark.parametrize(("t0", "first"), [(0, 1), (3, 4), (100, 11)])
def test_asgd_is_evaluated_and_restored_at_the_average_of_its_points(t0, first):
    # torch begins its average one update after t0 + 1; until then it is the latest point
    w, opt = quadratic("asgd", learning_rate=0.3, t0=t0)
    _, valid = opt.minimize(max_updates=12, patience=None)
    average = np.mean(points(12, learning_rate=0.3)[first:], axis=0)
    assert valid["loss"] == pytest.approx(((average - TARGET) ** 2).sum() / 2, rel=1e-9)
    np.testing.assert_allclose(w.get_value(), average, rtol=1e-9)
    np.testing.assert_array_equal(opt.state["w.asgd.mean"], w.get_value())


@pytest.mark.oracle_torch
@pytest.mark.parametrize("t0", [0, 5])
def test_the_average_of_asgd_is_that_of_torch(t0):
    torch = pytest.importorskip("torch")
    x = torch.nn.Parameter(torch.tensor([4.0, 2.0], dtype=torch.float64))
    theirs = torch.optim.ASGD([x], lr=0.3, t0=t0)
    for _ in range(20):
        x.grad = x.detach() - torch.tensor(TARGET)
        theirs.step()
    w, opt = quadratic("asgd", learning_rate=0.3, t0=t0)
    opt.minimize(max_updates=20, patience=None)
    # torch keeps rates and weights as float32 numbers
    np.testing.assert_allclose(w.get_value(), theirs.state[x]["ax"].numpy(), rtol=1e-6)


def test_a_window_of_another_length_begins_empty():
    _, opt = quadratic("adagradwindow", window=3)
    opt.minimize(max_updates=4, validate_every=None)
    assert opt.state["w.adagradwindow.squares"].shape == (3, 2)
    opt.minimize(max_updates=1, validate_every=None, window=5)
    squares = opt.state["w.adagradwindow.squares"]
    assert squares.shape == (5, 2)
    assert (squares[0] > 0).all()
    assert not squares[1:].any()


@pytest.mark.parametrize("algo", ["adan", "adopt", "optimisticgd", "optimisticadam", "acprop"])
def test_what_the_first_update_has_nothing_to_compare_with_is_the_same_after_a_reset(algo):
    w, opt = quadratic(algo, learning_rate=0.1)
    opt.minimize(max_updates=3, validate_every=None)
    once = w.get_value()
    opt.reset()
    w.set_value(np.array([4.0, 2.0]))
    opt.minimize(max_updates=3, validate_every=None)
    np.testing.assert_array_equal(w.get_value(), once)


def test_the_first_update_of_adopt_only_looks():
    driven = Driven("adopt", {"learning_rate": 1}, [np.array([4.0, 2.0])], names=["W"])
    [x] = driven.trajectory([[np.array([3.0, -1.0])]], [1])[1]
    np.testing.assert_array_equal(x, [4, 2])
    np.testing.assert_array_equal(driven.variable("W.adopt.v").get_value(), [9, 1])


def test_ftrl_makes_parameters_exactly_zero():
    rng = np.random.default_rng(0)
    start = [np.zeros(2, "f4")]
    gradients = [[np.array([rng.normal(), rng.normal() / 100])] for _ in range(50)]
    [x] = Driven("ftrl", {"learning_rate": 0.1, "l1": 1}, start, "float32").trajectory(gradients, [50])[50]
    assert x[0] != 0
    assert x[1] == 0


@pytest.mark.parametrize("settings", [{"initial_mean": 2, "initial_accumulator": 3}, {}])
def test_yogi_starts_where_it_is_told_also_after_a_reset(settings):
    _, opt = quadratic("yogi", **settings)
    opt.get_updates()
    first = {name: value.copy() for name, value in opt.state.items()}
    np.testing.assert_array_equal(first["w.yogi.m"], [settings.get("initial_mean", 0)] * 2)
    np.testing.assert_array_equal(first["w.yogi.v"], [settings.get("initial_accumulator", 1e-6)] * 2)
    opt.minimize(max_updates=2, validate_every=None)
    opt.reset()
    for name, value in first.items():
        np.testing.assert_array_equal(opt.state[name], value)


@pytest.mark.parametrize(
    ("algo", "settings", "message"),
    [
        ("ftrl", {"learning_rate": 0}, "learning_rate must be positive, got 0"),
        ("radam", {"threshold": 4}, "threshold must be above 4, got 4"),
        ("adagradwindow", {"window": 0}, "window must be at least 1, got 0"),
        ("amsgrad", {"form": "keras"}, "form must be 'torch', 'optax' or 'paper', got 'keras'"),
        ("lion", {"beta1": 1}, "beta1 must be in [0, 1), got 1"),
        ("cocob", {"alpha": 0}, "alpha must be positive, got 0"),
    ],
)
def test_values_out_of_range_are_refused(algo, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        downhill2.build(algo, None, **settings)


def test_a_decay_is_given_by_its_value_or_its_half_life():
    assert Decay(0.9).default == 0.9
    rule = downhill2.build("lion", None, beta2_halflife=1)
    assert (rule.hyper["beta1"], rule.hyper["beta2"]) == (0.9, 0.5)


def test_another_default_leaves_the_first_declaration_as_it_is():
    decay = downhill2.Adam.decay
    changed = with_default(decay, "decoupled")
    assert (decay.default, changed.default, changed.options) == ("coupled", "decoupled", decay.options)


# -- sizes of gradients


@pytest.mark.parametrize(
    ("algo", "dtype", "scale", "settings"),
    [
        ("cocob", "float32", 3e19, {}),
        ("cocob", "float32", 3e-25, {"epsilon": 1e-30}),
        ("cocob", "float64", 1e200, {}),
        ("adafactor", "float64", 1e100, {}),
        ("adafactor", "float64", 1e80, {"preset": "torch"}),
        ("adafactor", "float32", 1e16, {"factored_axes": "last"}),
        ("polyak", "float64", 1e200, {}),
        ("sps", "float64", 1e200, {}),
    ],
)
def test_rules_that_know_no_unit_of_gradients_step_as_far_on_large_and_small_ones(algo, dtype, scale, settings):
    found = []
    for size in (1, scale):
        w = pytensor.shared(np.ones((2, 2), dtype), name="w")
        gradient = size * np.array([[3, 4], [2, 5]])
        opt = downhill2.build(algo, (gradient.astype(dtype) * w).sum(), [w], **settings)
        opt.minimize(max_updates=3, validate_every=None)
        found.append(w.get_value())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert (found[0] < 1).all()


@pytest.mark.parametrize("algo", list(downhill2.list_algorithms()))
def test_a_large_gradient_moves_parameters_or_is_held_back_by_name(algo):
    w, c = (pytensor.shared(np.ones(2, "float32"), name=name) for name in ("w", "c"))
    opt = downhill2.build(algo, (c * (w + 9)).sum(), [w])
    for size in (1e10, 3e19):
        w.set_value(np.ones(2, "float32"))
        c.set_value(np.full(2, size, "float32"))
        opt.reset()
        try:
            # an odd number: a step of SPS goes to the other side of the loss, and the next one back
            opt.minimize(max_updates=3, validate_every=None, restore_best=False)
        except downhill2.NonFiniteError:
            continue
        assert (w.get_value() != 1).all()
