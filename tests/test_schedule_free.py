"""Schedule-Free: the averages that it evaluates, and that they are what a whole run validates, keeps and restores."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from cases.schedule_free import CASES
from oracles import optax_oracle
from oracles.driven import Driven
from oracles.whole import ScheduleFree
from test_algorithms import GRADIENTS, START, assert_equal_points
from training import Training

import downhill2

STEPS = (1, 10, 100)


def evaluated(driven):
    """Return the averages after each of STEPS."""
    points = driven.optimizer.fit.evaluated()
    value = pytensor.function([], [points[p] for p in driven.params], mode="FAST_COMPILE")
    step, seen = driven.compile(), {}
    for k in range(max(STEPS)):
        step(*(np.asarray(g, p.type.dtype) for g, p in zip(GRADIENTS[k], driven.params, strict=True)))
        if k + 1 in STEPS:
            seen[k + 1] = value()
    return seen


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_evaluated_is_the_average_of_the_paper(case, packed, dtype):
    driven = Driven(case.algo, case.settings, START, dtype, packed=packed)
    assert_equal_points(evaluated(driven), case.reference.evaluated(START, GRADIENTS, STEPS))


@pytest.mark.parametrize("case", [case for case in CASES if case.optax], ids=str)
def test_what_is_evaluated_is_what_optax_evaluates(case):
    live = optax_oracle.trajectory(case.optax, START, GRADIENTS, STEPS, evaluated=True)
    assert_equal_points(evaluated(Driven(case.algo, case.settings, START)), live)


# -- in whole runs: one parameter that starts at 9 and goes down a slope of 1

SLOPE = [[np.array(1.0)]] * 8
YS, XS = ScheduleFree(1, beta=0.75).points([np.array(9.0)], SLOPE, range(1, 9))
YS, XS = [9.0, *(float(y) for [y] in YS.values())], [9.0, *(float(x) for [x] in XS.values())]


def problem():
    """Return an optimizer whose points are YS and averages XS, its parameter and how far that is from XS[4]."""
    w = pytensor.shared(9.0, name="w")
    return downhill2.build("schedulefree", 1.0 * w, beta1=0.75), w, abs(w - XS[4])


def one_update_each(opt, epochs, **settings):
    return opt.minimize(max_epochs=epochs, train_batches=1, validate_every=1, patience=None, **settings)


def test_gradients_are_taken_at_one_point_and_validations_at_the_other():
    opt, _, _ = problem()
    one_update_each(opt, 6)
    np.testing.assert_allclose([r.train["loss"] for r in opt.history[1:]], YS[:6], rtol=1e-14)
    np.testing.assert_allclose([r.valid["loss"] for r in opt.history], XS[:7], rtol=1e-14)


def test_the_best_average_is_restored_and_the_last_point_follows_it():
    opt, w, distance = problem()
    one_update_each(opt, 7, valid_loss=distance)
    assert opt.best_monitors["loss"] == pytest.approx(0, abs=1e-14)
    assert w.get_value() == opt.state["w.schedulefree.z"] == pytest.approx(XS[4])
    assert opt.evaluate(None)["loss"] == w.get_value()
    assert opt.state["all.schedulefree.total"] == 7


def test_a_run_goes_on_from_the_best_average():
    opt, w, distance = problem()
    one_update_each(opt, 7, valid_loss=distance)
    one_update_each(opt, 1, restore_best=False)
    z, c = XS[4] - 1, 1 / 8
    x = (1 - c) * XS[4] + c * z
    assert w.get_value() == pytest.approx(0.75 * x + 0.25 * z)


def test_without_validation_the_point_of_the_gradients_stays():
    opt, w, _ = problem()
    opt.minimize(max_updates=5, validate_every=None)
    assert w.get_value() == pytest.approx(YS[5])


def test_a_reset_begins_anew_from_where_the_parameter_is():
    opt, w, _ = problem()
    opt.minimize(max_updates=5, validate_every=None)
    opt.reset()
    assert opt.evaluate(None)["loss"] == w.get_value()
    w.set_value(9.0)
    opt.minimize(max_updates=5, validate_every=None)
    assert w.get_value() == pytest.approx(YS[5])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("algo", ["schedulefree", "schedulefreeadamw"])
def test_a_resumed_run_is_the_uninterrupted_one(algo, dtype, tmp_path):
    train = Training(algo, dtype)
    assert train.interrupted(tmp_path, [3, 12, 13]) == train.run()


@pytest.mark.parametrize(
    "settings",
    [{"momentum": 0.9}, {"ema": 0.9}, {"swa": 1}, {"lookahead": 5}, {"mechanic": 0.1}, {"decay": "decoupled"}],
    ids=str,
)
def test_what_would_move_one_of_its_points_alone_is_refused(settings):
    [name] = settings
    with pytest.raises(ValueError, match=f"^{name} must be"):
        downhill2.build("schedulefree", pytensor.shared(9.0), weight_decay=0.1, **settings)
