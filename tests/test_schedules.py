"""Schedules: against optax and torch, of both clocks, in updates and in runs; reduction on a plateau."""

from __future__ import annotations

import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import schedules
from downhill2.loop.plateau import Reduced, ReduceOnPlateau
from downhill2.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    CosineWave,
    Cyclic,
    Exponential,
    Function,
    InverseTime,
    Join,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Step,
    WarmUp,
)

N = 200
COUNT = np.arange(N)

# Each schedule, what optax and torch have for it, and its values written out by hand.
CASES = {
    "constant": (Constant(0.3), lambda o: o.constant_schedule(0.3), lambda t: 0.3),
    "linear": (Linear(0.2, 0.05, 150), lambda o: o.linear_schedule(0.2, 0.05, 150),
               lambda t: 0.2 - 0.001 * min(t, 150)),
    "polynomial": (Polynomial(0.2, 0.1, 120, 3), lambda o: o.polynomial_schedule(0.2, 0.1, 3, 120),
                   lambda t: 0.1 + 0.1 * (max(120 - t, 0) / 120) ** 3),
    "step": (Step(0.1, 30), lambda o: o.exponential_decay(0.1, 30, 0.1, staircase=True),
             lambda t: 0.1 / 10 ** (t // 30)),
    "multi-step": (MultiStep(0.1, [40, 40, 150], 0.5), None, lambda t: 0.1 / (1 if t < 40 else 4 if t < 150 else 8)),
    "multi-step, each once": (MultiStep(0.1, [40, 150], 0.5),
                              lambda o: o.piecewise_constant_schedule(0.1, {40: 0.5, 150: 0.5}),
                              lambda t: 0.1 / (1 if t < 40 else 2 if t < 150 else 4)),
    "piecewise": (Piecewise([0.1, 0.2, 0.04], [50, 120]),
                  lambda o: o.piecewise_constant_schedule(0.1, {50: 2, 120: 0.2}),
                  lambda t: [0.1, 0.2, 0.04][(t >= 50) + (t >= 120)]),
    "exponential": (Exponential(0.1, 0.97), lambda o: o.exponential_decay(0.1, 1, 0.97), lambda t: 0.1 * 0.97**t),
    "exponential, bounded": (Exponential(0.1, 0.5, 20, end=0.01),
                             lambda o: o.exponential_decay(0.1, 20, 0.5, end_value=0.01),
                             lambda t: max(0.1 * 0.5 ** (t / 20), 0.01)),
    "exponential, rising": (Exponential(0.1, 2, 20, end=1),
                            lambda o: o.exponential_decay(0.1, 20, 2, end_value=1),
                            lambda t: min(0.1 * 2 ** (t / 20), 1)),
    "inverse time": (InverseTime(0.1, 0.5, 20), None, lambda t: 0.1 / (1 + 0.5 * t / 20)),
    "inverse time, in steps": (InverseTime(0.1, 0.5, 20, staircase=True), None, lambda t: 0.1 / (1 + 0.5 * (t // 20))),
    "cosine": (Cosine(0.1, 150, 0.02), lambda o: o.cosine_decay_schedule(0.1, 150, 0.2),
               lambda t: 0.02 + 0.08 * (1 + math.cos(math.pi * min(t, 150) / 150)) / 2),
    "cosine wave": (CosineWave(0.1, 30, 0.02), None, lambda t: 0.06 + 0.04 * math.cos(math.pi * (t % 60) / 30)),
    "one cycle": (OneCycle(0.1, 150), lambda o: o.cosine_onecycle_schedule(150, 0.1),
                  lambda t: (lambda f, a, b: a + (b - a) * (1 - math.cos(math.pi * f)) / 2)(
                      *((t / 45, 0.004, 0.1) if t < 45 else (min((t - 45) / 105, 1), 0.1, 4e-7)))),
    "one cycle, linear": (OneCycle(0.1, 150, shape="linear", start=0.02, end=0.001), None,
                          lambda t: 0.02 + 0.08 * t / 45 if t < 45 else 0.1 - 0.099 * min(t - 45, 105) / 105),
    "cyclic": (Cyclic(0.1, 0.3, 10, 30), None,
               lambda t: 0.1 + 0.2 * (t % 40 / 10 if t % 40 <= 10 else (40 - t % 40) / 30)),
    "cyclic, halved": (Cyclic(0.1, 0.3, 20, lower=0.5), None,
                       lambda t: 0.1 + 0.2 * 0.5 ** (t // 40) * (1 - abs(t % 40 - 20) / 20)),
    "restarts": (CosineRestarts(0.1, 30, end=0.01), None,
                 lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * (t % 30) / 30)) / 2),
    "restarts, longer and lower": (
        CosineRestarts(0.1, 10, 2, lower=0.5), None,
        lambda t: (lambda n: 0.1 * 0.5**n * (1 + math.cos(math.pi * (t + 10 - 10 * 2**n) / (10 * 2**n))) / 2)(
            (t // 10 + 1).bit_length() - 1)),
    "warm-up": (WarmUp(Cosine(0.1, 130, 0.01), 20, 0.005),
                lambda o: o.warmup_cosine_decay_schedule(0.005, 0.1, 20, 150, 0.01),
                lambda t: 0.005 + 0.095 * t / 20 if t < 20
                else 0.01 + 0.09 * (1 + math.cos(math.pi * min(t - 20, 130) / 130)) / 2),
    "warm-up of a number": (WarmUp(0.1, 20), lambda o: o.warmup_constant_schedule(0, 0.1, 20),
                            lambda t: 0.1 * min(t / 20, 1)),
    "join": (Join([Linear(0, 1, 40), 0.5, Exponential(0.5, 0.9)], [50, 100]),
             lambda o: o.join_schedules(
                 [o.linear_schedule(0, 1, 40), o.constant_schedule(0.5), o.exponential_decay(0.5, 1, 0.9)], [50, 100]),
             lambda t: min(t / 40, 1) if t < 50 else 0.5 if t < 100 else 0.5 * 0.9 ** (t - 100)),
    "product": (0.5 * Step(0.1, 30) * Linear(0, 1, 50), None, lambda t: 0.05 / 10 ** (t // 30) * min(t / 50, 1)),
    "function": (Function(lambda t: 0.1 / (1 + t)), None, lambda t: 0.1 / (1 + t)),
}  # fmt: skip

every_schedule = pytest.mark.parametrize("name", CASES)


@every_schedule
def test_a_schedule_has_the_values_written_out_by_hand(name):
    schedule, _, by_hand = CASES[name]
    np.testing.assert_allclose(schedule(COUNT), [by_hand(t) for t in range(N)], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[1]])
def test_a_schedule_is_that_of_optax(name):
    import jax
    import optax

    with jax.enable_x64(True):
        theirs = CASES[name][1](optax)
        expected = [float(theirs(jax.numpy.asarray(t, "float64"))) for t in range(N)]
    np.testing.assert_allclose(CASES[name][0](COUNT), expected, rtol=1e-12, atol=1e-15)


TORCH = {
    "linear": (Linear(0.05, 0.1, 30), lambda s, o: s.LinearLR(o, 0.5, 1.0, 30)),
    "step": (Step(0.1, 30, 0.5), lambda s, o: s.StepLR(o, 30, 0.5)),
    "multi-step": (MultiStep(0.1, (40, 40, 150)), lambda s, o: s.MultiStepLR(o, [40, 40, 150])),
    "exponential": (Exponential(0.1, 0.97), lambda s, o: s.ExponentialLR(o, 0.97)),
    "polynomial": (Polynomial(0.1, 0, 120, 2), lambda s, o: s.PolynomialLR(o, 120, 2.0)),
    "cosine": (Cosine(0.1, N, 0.01), lambda s, o: s.CosineAnnealingLR(o, N, 0.01)),
    "cosine, up again": (CosineWave(0.1, 30, 0.01), lambda s, o: s.CosineAnnealingLR(o, 30, 0.01)),
    "restarts": (CosineRestarts(0.1, 30, end=0.01), lambda s, o: s.CosineAnnealingWarmRestarts(o, 30, eta_min=0.01)),
    "restarts, longer": (CosineRestarts(0.1, 7, 3), lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, 3)),
    "one cycle": (OneCycle(0.1, N - 1, 0.3 * N - 1), lambda s, o: s.OneCycleLR(o, 0.1, N, cycle_momentum=False)),
    "one cycle, linear": (OneCycle(0.1, N - 1, 0.25 * N - 1, shape="linear"), lambda s, o: s.OneCycleLR(
        o, 0.1, N, pct_start=0.25, anneal_strategy="linear", cycle_momentum=False)),
    "cyclic": (Cyclic(0.01, 0.1, 16, 32), lambda s, o: s.CyclicLR(o, 0.01, 0.1, 16, 32, cycle_momentum=False)),
    "cyclic, halved": (Cyclic(0.01, 0.1, 16, lower=0.5), lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 16, mode="triangular2", cycle_momentum=False)),
    "cyclic, fading": (Cyclic(0.01, 0.1, 16, fade=0.99), lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 16, mode="exp_range", gamma=0.99, cycle_momentum=False)),
    "join": (Join([Linear(0.01, 0.1, 20), Exponential(0.1, 0.9)], [20]), lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 20), s.ExponentialLR(o, 0.9)], [20])),
}  # fmt: skip


@pytest.mark.oracle_torch
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of its own calls, and of steps without an update
def test_a_schedule_is_that_of_torch(name):
    torch = pytest.importorskip("torch")
    schedule, theirs = TORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, expected = theirs(torch.optim.lr_scheduler, optimizer), []
    for t in range(N):
        expected.append(optimizer.param_groups[0]["lr"])
        if t < N - 1:
            optimizer.step()
            scheduler.step()
    # torch multiplies the rate from step to step, so that its rounding adds up
    np.testing.assert_allclose(schedule(COUNT), expected, rtol=1e-11, atol=1e-15)


@every_schedule
def test_a_symbolic_count_gives_the_values_of_an_array(name):
    schedule = CASES[name][0]
    t = pt.dscalar("t")
    f = pytensor.function([t], schedule(t))
    np.testing.assert_allclose([f(k) for k in range(0, N, 7)], schedule(COUNT[::7]), rtol=1e-14)
    assert schedule(t).type.dtype == "float64"


def test_a_number_gives_a_numpy_float_and_an_array_one_of_its_shape():
    value = Cosine(1, 10)(5)
    assert isinstance(value, np.float64)
    assert value == pytest.approx(0.5)
    assert Constant(2)(np.zeros((2, 3))).shape == (2, 3)
    assert Linear(0, 1, 4)(2) == 0.5


def test_schedules_with_equal_arguments_are_equal_and_print_them():
    assert Cosine(0.1, 10) == Cosine(0.1, 10) != Cosine(0.1, 11)
    assert repr(Step(0.1, 5, per="epoch")) == "Step(per='epoch', start=0.1, every=5.0, factor=0.1)"
    assert Join([1, 2], [3]) == Join((1, 2), (3,))


# -- two clocks


def test_a_schedule_of_both_clocks_is_asked_for_both():
    both = WarmUp(1.0, 4) * Step(0.5, 1, per="epoch")
    assert both.clocks == {"update", "epoch"}
    assert both(2, epoch=3) == pytest.approx(0.5 * 0.5e-3)
    with pytest.raises(ValueError, match="epoch must be given for a schedule that counts updates and epochs, got None"):
        both(2)


def test_parts_keep_their_own_clocks():
    rate = WarmUp(Step(0.1, 2, per="epoch"), 10)
    assert [rate(t, epoch=e) for t, e in [(0, 0), (5, 0), (10, 0), (30, 1), (40, 2)]] == pytest.approx(
        [0, 0.05, 0.1, 0.1, 0.01]
    )
    joined = Join([1.0, Linear(0, 1, 100)], [2], per="epoch")
    assert [joined(t, epoch=e) for t, e in [(50, 1), (50, 2), (150, 3)]] == [1, 0.5, 1]
    assert WarmUp(lambda n: 1 / (n + 1), 2, per="epoch")(3) == 0.5


# -- in use


def model(**settings):
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    opt = downhill2.build("sgd", ((x @ w) ** 2).mean(), **settings)
    return opt, np.random.default_rng(0).normal(size=(20, 3))


def rates(opt):
    return opt.history["hyper.learning_rate"]


def test_the_rate_of_a_run_follows_a_schedule_of_updates_and_is_in_the_history():
    rate = Linear(0.1, 0.02, 12)
    opt, data = model(learning_rate=rate, momentum=Constant(0.5))
    assert opt.hyper["learning_rate"] == 0.1
    opt.minimize([data], batch_size=5, max_epochs=3, validate_every=None)
    assert rates(opt) == pytest.approx([rate(4), rate(8), rate(12)])
    assert opt.hyper["learning_rate"] == pytest.approx(0.02)
    assert opt.history["hyper.momentum"] == pytest.approx([0.5] * 3)


def test_the_rate_of_a_run_follows_a_schedule_of_epochs_over_calls_until_reset():
    opt, data = model(learning_rate=Step(0.1, 2, 0.5, per="epoch"))
    opt.minimize([data], batch_size=5, max_epochs=3, validate_every=None)
    assert rates(opt) == pytest.approx([0.1, 0.05, 0.05])
    opt.minimize([data], batch_size=5, max_epochs=2, validate_every=None)
    assert rates(opt)[3:] == pytest.approx([0.025, 0.025])
    opt.reset()
    assert opt.hyper["learning_rate"] == 0.1


def test_updates_use_the_rate_of_the_updates_made_before():
    opt, data = model(learning_rate=Piecewise([0.0, 0.1], [4]))
    before = opt.params[0].get_value()
    opt.minimize([data], batch_size=5, max_updates=4, validate_every=None)
    np.testing.assert_array_equal(opt.params[0].get_value(), before)
    opt.minimize([data], batch_size=5, max_updates=1, validate_every=None)
    assert (opt.params[0].get_value() != before).any()


def test_an_epoch_that_a_limit_cuts_is_not_counted():
    opt, data = model(learning_rate=Step(0.1, 1, 0.5, per="epoch"))
    opt.minimize([data], batch_size=5, max_updates=6)
    assert opt.hyper["learning_rate"] == 0.05


@pytest.mark.parametrize("every", [1, "3 updates"])
def test_a_run_that_is_resumed_goes_on_with_the_clock_of_epochs(tmp_path, every):
    rate = Exponential(0.1, 0.5, per="epoch") * Linear(1, 0.5, 30)

    def finished(first, path):
        for last in (first, 6):
            opt, data = model(learning_rate=rate)
            opt.minimize([data], batch_size=6, rng=1, max_updates=last * 4 - 1, checkpoint=path, resume="auto",
                         checkpoint_every=every)  # fmt: skip
        return opt.params[0].get_value(), opt.hyper["learning_rate"], rates(opt)

    whole, half = finished(6, tmp_path / "whole"), finished(3, tmp_path / "half")
    np.testing.assert_array_equal(whole[0], half[0])
    assert whole[1] == half[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"learning_rate": Linear(0.1, -0.1, 10), "max_updates": 8},
            r"learning_rate must be at least 0, got -0\.0\d* where 7 updates are made; change its schedule, or the "
            "limits of the run",
        ),
        ({"learning_rate": Piecewise([0.1, -1.0], [2], per="epoch"), "max_epochs": 3}, "got -1.0 where 8 updates"),
        ({"learning_rate": Constant(0.1) * Piecewise([1.0, -1.0], [4]), "max_epochs": 4}, "got -0.1 where 4 updates"),
        ({"learning_rate": Linear(-0.1, 0.1, 10)}, "got -0.1 where 0 updates"),
        ({"learning_rate": Function(lambda n: 1 / n), "max_updates": 3}, "learning_rate must be at least 0, got inf"),
        ({"rho": Linear(0.9, 1.0, 4), "max_epochs": 2}, r"rho must be in \[0, 1\), got 1.0 where 4 updates"),
        (
            {"rms_halflife": Linear(4, -4, 4), "max_epochs": 2},
            "rms_halflife must be positive, got -4.0 where 4 updates",
        ),
    ],
    ids=lambda x: ", ".join(x) if isinstance(x, dict) else x,  # no repr: a lambda has another in every process
)
def test_a_schedule_that_leaves_the_range_within_the_limits_is_refused_before_compiling(settings, message, monkeypatch):
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    opt = downhill2.build("rmsprop", ((x @ w) ** 2).mean())
    monkeypatch.setattr(pytensor, "function", None)
    with pytest.raises(ValueError, match=message):
        opt.minimize([np.ones((20, 3))], batch_size=5, **settings)
    assert opt.hyper.explicit == set()


def test_a_schedule_of_a_group_is_looked_at_too():
    v, w = (pytensor.shared(np.ones(2), name=name) for name in "vw")
    groups = [{"params": [w], "learning_rate": Constant(-1.0)}, {}]
    opt = downhill2.build("sgd", (v**2 + w**2).sum(), groups=groups)
    with pytest.raises(ValueError, match=r"^group0\.learning_rate must be at least 0, got -1\.0 where 0 updates"):
        opt.minimize(max_updates=1)


def test_a_schedule_is_looked_at_as_far_as_limits_and_clocks_reach():
    opt, data = model(learning_rate=Linear(0.1, -0.1, 16))
    once = {"batch_size": 5, "max_epochs": 2, "validate_every": None}
    opt.minimize([data], **once)
    with pytest.raises(ValueError, match="where 15 updates are made"):
        opt.minimize([data], **once)
    opt.reset()
    opt.minimize([data], **once)


def test_a_run_that_is_resumed_has_its_schedule_looked_at_from_its_start(tmp_path):
    opt, data = model(learning_rate=Linear(0.1, -0.1, 16))
    for epochs in (1, 2):
        opt.minimize([data], batch_size=5, max_epochs=epochs, checkpoint=tmp_path, resume="auto")
    assert opt.hyper["learning_rate"] == pytest.approx(0)


def test_rounding_below_0_is_0():
    rate = Function(lambda n: 1e-17 * (n < 1) * -1 + 0.1 * (n >= 1))
    opt, data = model(learning_rate=rate)
    opt.minimize([data], batch_size=5, max_epochs=1, validate_every=None)
    assert rates(opt) == [0.1]


@pytest.mark.parametrize(
    "rate",
    [Linear(0.1, -0.1, 10), Function(lambda n: pt.exp(-n) - 0.5), lambda n: 0.1 - n, pt.dscalar() * 0 - 1],
    ids=["beyond what limits tell", "not of arrays", "a function", "an expression"],
)
def test_what_cannot_be_looked_at_is_left_to_the_caller(rate):
    opt, _ = model()
    hyper = opt.hyper
    hyper.assign(hyper.parse({"learning_rate": rate}))
    hyper.check_schedules(np.zeros(1, int), np.zeros(1, int))
    assert hyper.present("learning_rate")


def test_one_schedule_given_as_a_decay_and_then_as_its_half_life_is_not_the_same():
    w = pytensor.shared(np.ones(2), name="w")
    opt = downhill2.Adam((w**2).sum(), beta1=Constant(0.5))
    opt.minimize(max_updates=1, beta1_halflife=Constant(0.5))
    assert opt.hyper["beta1"] == 0.25


def test_an_equal_schedule_compiles_nothing(caplog):
    caplog.set_level("INFO", "downhill2")
    opt, data = model()
    for _ in range(2):
        opt.minimize([data], max_epochs=1, learning_rate=Cosine(0.1, 50))
    assert sum("compiling the training step" in r.message for r in caplog.records) == 1


def test_a_schedule_drives_a_half_life_and_a_decay():
    w = pytensor.shared(np.ones(2), name="w")
    opt = downhill2.Adam((w**2).sum(), beta1_halflife=Linear(1, 2, 4), weight_decay=Step(0.1, 3))
    step = pytensor.function([], [], updates=opt.get_updates())
    for _ in range(4):
        step()
    assert opt.hyper["beta1"] == pytest.approx(0.5**0.5)
    assert opt.hyper["weight_decay"] == pytest.approx(0.01)


def test_the_present_rate_is_a_monitor_on_request():
    opt, data = model(learning_rate=0.1, monitors={"rate": "learning_rate"})
    train, valid = opt.minimize([data], batch_size=5, max_epochs=1, learning_rate=Linear(0.1, 0.02, 4))
    assert list(train) == list(valid) == ["loss", "rate"]
    assert train["rate"] == pytest.approx(np.mean([0.1, 0.08, 0.06, 0.04]))
    assert valid["rate"] == pytest.approx(0.02)
    assert opt.evaluate([data])["rate"] == pytest.approx(0.02)
    train, valid = opt.minimize([data], batch_size=5, max_epochs=1, learning_rate=0.25)
    assert (train["rate"], valid["rate"]) == (0.25, 0.25)


def test_a_monitor_must_name_a_number():
    with pytest.raises(ValueError, match=r"monitors must be expressions or name a hyperparameter, got 'rat' for 'r'"):
        model(monitors={"r": "rat"})
    with pytest.raises(ValueError, match="name a hyperparameter, got 'nesterov'"):
        model(monitors={"r": "nesterov"})
    with pytest.raises(ValueError, match="monitors must not be called 'loss'"):
        model(monitors={"loss": "learning_rate"})


def test_a_rate_that_depends_on_data_has_no_value_in_the_history():
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    opt = downhill2.build("sgd", ((x @ w) ** 2).mean(), learning_rate=0.01 / x.shape[0])
    opt.minimize([np.ones((4, 3))], max_epochs=1)
    assert "hyper.learning_rate" not in opt.history.columns


# -- wrong arguments


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Linear(0, 1, -3), ValueError, "length must be positive, got -3"),
        (lambda: Linear(0, 1, 0), ValueError, "length must be positive, got 0"),
        (lambda: Linear("0", 1, 5), TypeError, "start must be a number, got '0'"),
        (lambda: Linear(0, np.nan, 5), ValueError, "end must be finite, got nan"),
        (lambda: Polynomial(0, 1, 5, -1), ValueError, "power must be positive, got -1"),
        (lambda: Step(0.1, -1), ValueError, "every must be positive, got -1"),
        (lambda: Step(0.1, 1, 0), ValueError, "factor must be positive, got 0"),
        (lambda: MultiStep(0.1, [3, 2]), ValueError, r"boundaries must increase, got \(3.0, 2.0\)"),
        (lambda: MultiStep(0.1, 3), TypeError, "boundaries must be a sequence, got 3"),
        (lambda: Piecewise([1, 2], [-1]), ValueError, "boundaries must be positive, got -1"),
        (lambda: Piecewise([1, 2, 3], [1, 1]), ValueError, r"boundaries must increase, got \(1.0, 1.0\)"),
        (lambda: Piecewise([1, 2], [1, 2]), ValueError, "values must be one more than boundaries, 3, got 2"),
        (lambda: Exponential(0.1, -1), ValueError, "factor must be positive, got -1"),
        (lambda: InverseTime(0.1, 1, 0), ValueError, "every must be positive, got 0"),
        (lambda: Cosine(0.1, -10), ValueError, "length must be positive, got -10"),
        (lambda: CosineWave(0.1, 0), ValueError, "length must be positive, got 0"),
        (lambda: CosineRestarts(0.1, 10, 0.5), ValueError, "longer must be at least 1, got 0.5"),
        (lambda: OneCycle(0.1, 10, 10), ValueError, "rises must be between 0 and length, 10.0, got 10.0"),
        (lambda: OneCycle(0.1, 3), ValueError, "rises must be between 0 and length, 3.0, got 0"),
        (lambda: OneCycle(0.1, 10, shape="sine"), ValueError, "shape must be 'cosine' or 'linear', got 'sine'"),
        (lambda: Cyclic(0, 1, 0), ValueError, "rises must be positive, got 0"),
        (lambda: Join([1, 2], []), ValueError, "schedules must be one more than boundaries, 1, got 2"),
        (lambda: Join([1, "2"], [1]), TypeError, "schedules must be a schedule, a number or a function, got '2'"),
        (lambda: WarmUp(1, -5), ValueError, "length must be positive, got -5"),
        (lambda: WarmUp(True, 5), TypeError, "schedule must be a schedule, a number or a function, got True"),
        (lambda: Product([pt.scalar()]), TypeError, "factors must be a schedule, a number or a function"),
        (lambda: Function(3), TypeError, "function must be a function of a count, got 3"),
        (lambda: Step(0.1, 3, per="batch"), ValueError, "per must be 'update' or 'epoch', got 'batch'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_when_a_schedule_is_made(make, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        make()


# -- reduction on a plateau


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "mode": "max", "cooldown": 3},
        {"patience": 0, "threshold": 0.05, "threshold_mode": "absolute"},
        {"patience": 0, "threshold": 0.05, "mode": "max", "threshold_mode": "absolute", "min_learning_rate": 1e-3},
        {"patience": 1, "factor": 0.5, "min_change": 0.01},
    ],
    ids=str,
)
@pytest.mark.oracle_torch
def test_reductions_are_those_of_torch(options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    names = {"min_learning_rate": "min_lr", "min_change": "eps"}
    theirs = {names.get(n, n): v for n, v in options.items()}
    if "threshold_mode" in theirs:
        theirs["threshold_mode"] = "abs"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **theirs)
    plan, state, rate = ReduceOnPlateau(**options), Reduced(), 0.1
    rng = np.random.default_rng(3)
    values = [np.inf, *(1 / (1 + np.arange(60)) + 0.05 * rng.normal(size=60)).clip(0.01), np.nan, 0.5, 0.5]
    for value in values:
        scheduler.step(value)
        if plan.due(state, value):
            rate *= plan.ratio(rate)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert rate < 0.1


def due_at(values, **options):
    plan, state = ReduceOnPlateau(**options), Reduced()
    return [i for i, value in enumerate(values) if plan.due(state, value)]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([5, 4, 4, 4, 4], {"patience": 2}, [4]),
        ([5, 4, 4, 4, 4, 4, 4], {"patience": 0}, [2, 3, 4, 5, 6]),
        ([5, 4, 4, 4, 4, 4, 4], {"patience": 0, "cooldown": 2}, [2, 5]),
        ([1, 2, 3, 3, 3], {"patience": 1, "mode": "max"}, [4]),
        ([1, 0.96, 0.9], {"patience": 0, "threshold": 0.05}, [1]),
        ([1, 0.96, 0.94], {"patience": 0, "threshold": 0.05, "threshold_mode": "absolute"}, [1]),
        # -9.6 is worse than -10, and no improvement by a threshold of 5 %
        ([-10, -9.6, -10.4, -10.6], {"patience": 0, "threshold": 0.05}, [1, 2]),
        ([np.nan, np.nan, 1, 1], {"patience": 1}, [1]),
        ([10, 10.4, 10.6], {"patience": 0, "threshold": 0.05, "mode": "max"}, [1]),
    ],
)
def test_a_reduction_is_due_when_patience_is_exhausted(values, options, expected):
    assert due_at(values, **options) == expected


def test_a_rate_is_not_reduced_below_its_bound_nor_by_next_to_nothing():
    assert ReduceOnPlateau(factor=0.5, min_learning_rate=0.04).ratio(0.1) == 0.5
    assert ReduceOnPlateau(factor=0.5, min_learning_rate=0.08).ratio(0.1) == pytest.approx(0.8)
    assert ReduceOnPlateau(min_learning_rate=0.2).ratio(0.1) == 1
    assert ReduceOnPlateau(min_change=0.1).ratio(0.1) == 1
    assert ReduceOnPlateau().ratio(0.0) == 1


def stuck(**settings):
    """Return an optimizer whose loss never changes, and data for it."""
    x, w = pt.matrix("x"), pytensor.shared(np.zeros(3), name="w")
    opt = downhill2.build("sgd", ((x @ w) ** 2).mean() + 1, monitors={"one": x.sum() * 0 + 1}, **settings)
    return opt, [np.ones((8, 3))]


def test_the_rate_factor_is_reduced_beneath_a_schedule_and_the_history_tells():
    opt, data = stuck(learning_rate=Linear(0.2, 0.1, 2))
    plan = ReduceOnPlateau(patience=0, factor=0.5)
    opt.minimize(data, max_epochs=3, validate_every=1, batch_size=4, patience=None, reduce_on_plateau=plan)
    assert opt.history["hyper.rate_factor"] == pytest.approx([1, 0.5, 0.25, 0.125])
    assert rates(opt) == pytest.approx([0.2, 0.1, 0.1, 0.1])
    assert opt.history["events"][1:3] == [
        ("learning rate reduced to 0.05 after update 2",),
        ("learning rate reduced to 0.025 after update 4",),
    ]
    opt.reset()
    assert opt.context.rate_factor.get_value() == 1


@pytest.mark.parametrize("monitor", ["train.loss", "train.one", "valid.one"])
def test_any_monitor_may_decide(monitor):
    opt, data = stuck()
    opt.minimize(data, max_epochs=4, validate_every=2, reduce_on_plateau={"monitor": monitor, "patience": 0})
    # training has no value at the validation before the first update
    expected = [1, 1, 0.1, 0.1, 0.01] if monitor.startswith("valid") else [1, 1, 1, 1, 0.1]
    assert opt.history["hyper.rate_factor"] == pytest.approx(expected)


def test_a_run_that_never_validates_looks_at_every_epoch():
    opt, data = stuck()
    plan = {"monitor": "train.loss", "patience": 0, "min_learning_rate": 1e-5}
    opt.minimize(data, max_epochs=3, validate_every=None, reduce_on_plateau=plan)
    assert opt.history["hyper.rate_factor"] == pytest.approx([1, 0.1, 0.1])


def test_a_run_that_is_resumed_reduces_at_the_same_validations(tmp_path):
    plan = {"patience": 1, "cooldown": 1, "factor": 0.5}

    def finished(path, *lasts):
        for last in lasts:
            opt, data = stuck()
            opt.minimize(data, max_epochs=last, validate_every=1, patience=None, reduce_on_plateau=plan,
                         checkpoint=path, resume="auto", checkpoint_every=2)  # fmt: skip
        return opt.history["hyper.rate_factor"].tolist(), opt.context.rate_factor.get_value()

    whole = finished(tmp_path / "whole", 9)
    assert whole[1] < 0.2
    for first in (3, 4, 5):
        assert finished(tmp_path / f"half{first}", first, 9) == whole
    # and one that is over, asked again, stands where it was
    assert finished(tmp_path / "again", 5, 5, 9) == whole


def test_reduction_is_on_by_default_options_and_off():
    assert ReduceOnPlateau.given(True) == ReduceOnPlateau()
    assert ReduceOnPlateau.given(False) is ReduceOnPlateau.given(None) is None
    assert schedules.ReduceOnPlateau is ReduceOnPlateau


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"factor": 1}, ValueError, r"factor must be in \(0, 1\), got 1"),
        ({"factor": "half"}, TypeError, "factor must be a number, got 'half'"),
        ({"patience": -1}, ValueError, "patience must be at least 0, got -1"),
        ({"patience": 1.5}, TypeError, "patience must be an integer, got 1.5"),
        ({"mode": "low"}, ValueError, "mode must be 'min' or 'max', got 'low'"),
        ({"threshold_mode": "rel"}, ValueError, "threshold_mode must be 'relative' or 'absolute', got 'rel'"),
        ({"monitor": "loss"}, ValueError, "monitor must be 'valid.loss', 'train.loss' or alike, got 'loss'"),
        ({"monitor": "valid.acc"}, ValueError, "monitor of reduce_on_plateau must be one of train.loss, train.one, "),
        ({"patient": 3}, TypeError, "reduce_on_plateau has no option 'patient'; it has monitor, factor, patience"),
        (3, TypeError, "reduce_on_plateau must be True, False, a ReduceOnPlateau or its options, got 3"),
    ],
    ids=str,
)
def test_wrong_options_of_a_reduction_are_refused(options, kind, message):
    opt, data = stuck()
    with pytest.raises(kind, match=message):
        opt.minimize(data, max_epochs=1, reduce_on_plateau=options)


def test_a_run_that_never_validates_has_no_validation_to_look_at():
    opt, data = stuck()
    with pytest.raises(
        ValueError, match=r"monitor must be of training in a run that never validates, got 'valid\.loss'"
    ):
        opt.minimize(data, max_epochs=1, validate_every=None, reduce_on_plateau=True)
