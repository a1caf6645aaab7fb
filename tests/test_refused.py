"""Every algorithm with every transform: it steps, or the table of refused pairs has it."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from algorithms import TYPICAL

import downhill2
from downhill2.base import Optimizer
from downhill2.symbolic.accumulation import Accumulate
from downhill2.symbolic.conflicts import PAIRS, TRAITS

TRANSFORMS = {
    "momentum": {"momentum": 0.5},
    "nesterov": {"momentum": 0.5, "nesterov": True, "momentum_rate": "outside"},
    "max_gradient_elem": {"max_gradient_elem": 0.5},
    "max_gradient_norm": {"max_gradient_norm": 0.5},
    "max_global_norm": {"max_global_norm": 0.5},
    "clip_adaptive": {"clip_adaptive": 0.1},
    "centralize": {"centralize": True},
    "gradient_noise": {"gradient_noise": 0.01},
    "transforms": {"transforms": [lambda param, grad: 2 * grad]},
    "weight_decay": {"weight_decay": 0.1},
    "decoupled decay": {"weight_decay": 0.1, "decay": "decoupled"},
    "independent decay": {"weight_decay": 0.1, "decay": "independent"},
    "mechanic": {"mechanic": 0.01},
    "project": {"project": {"a": downhill2.projections.Box(-0.9, 5), "[bc]": downhill2.projections.L2Ball(2.0)}},
    "lookahead": {"lookahead": 2},
    "ema": {"ema": 0.9},
    "swa": {"swa": True},
    "sam": {"sam": 0.05},
    "accumulate": {"accumulate": 2},
}
SHAPES = [(), (2, 1), (3, 2)]
MIXED = ["float64", "float32", "float32"]
# nothing is rewritten or compiled, which for a thousand small graphs is most of the time
AS_WRITTEN = pytensor.compile.mode.Mode("py", None)


def problem(algo, dtypes, start=1.0, **settings):
    """Return an optimizer of a convex loss with curvature, over parameters of odd shapes and of each dtype."""
    draw = np.random.default_rng(0)
    params = [
        pytensor.shared(np.asarray(start * draw.normal(size=s), d), name=n)
        for s, d, n in zip(SHAPES, dtypes, "abc", strict=True)
    ]
    loss = sum((p.astype("float64") ** 2).sum() for p in params) + params[0].astype("float64") ** 4
    return downhill2.build(algo, loss, params, **settings)


def stepper(opt):
    """Return what makes an update: of two batches, where they are accumulated."""
    fit, outputs = opt.fit, list(opt.fit.evaluated().values())
    apply = pytensor.function([], outputs, updates=fit.updates(), mode=AS_WRITTEN)
    if not fit.accumulates:
        return apply
    added = Accumulate(opt.context).added(fit.problem.measured, fit.layout, pt.constant(3.0), pt.constant(True))
    add = pytensor.function([], [], updates=added, mode=AS_WRITTEN)
    return lambda: (add(), add(), apply())[2]


def expected_refusal(cls, settings):
    if settings.get("decay", cls.decay.default) not in cls.decay.options:
        return True  # of a rule that contains its decay: it has no other place
    traits = {*cls.needs, *(c.__name__.lower() for c in cls.__mro__)}
    traits |= {"evaluated"} if hasattr(cls, "evaluated") else set()
    return any(pair.setting in settings and pair.other in traits for pair in PAIRS)


@pytest.mark.thorough
@pytest.mark.parametrize("algo", sorted(TYPICAL))
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_algorithm_steps_with_a_transform_or_the_pair_is_refused(transform, algo):
    case, settings = TYPICAL[algo], TRANSFORMS[transform]
    given = {**case.settings, **settings}
    if expected_refusal(Optimizer.registry[algo], settings):
        with pytest.raises(ValueError, match=r" must be left out with |^decay must be '(de)?coupled', got"):
            problem(algo, MIXED, **given)
        return
    opt = problem(algo, MIXED, **given)
    before, step = [p.get_value() for p in opt.params], stepper(opt)
    evaluated = [step(), step()][1]
    assert opt.context.clock.get_value() == 2
    for p, x in zip(opt.params, before, strict=True):
        assert p.get_value().dtype == x.dtype
    assert any((p.get_value() != x).any() for p, x in zip(opt.params, before, strict=True))
    values = {p.name: p.get_value() for p in opt.params} | opt.state | dict(enumerate(evaluated))
    for name, value in values.items():
        assert isinstance(value, np.random.Generator) or np.isfinite(value).all(), name


QUIET = {n: s for n, s in TRANSFORMS.items() if "weight_decay" not in s and n not in ("gradient_noise", "project")}


@pytest.mark.parametrize("transform", QUIET)
def test_gradients_of_zero_leave_fresh_parameters_as_they_are(transform):
    opt = problem("adam", MIXED, start=0.0, **QUIET[transform])
    step = stepper(opt)
    for _ in range(3):
        step()
    for p in opt.params:
        np.testing.assert_array_equal(p.get_value(), 0)
    assert all(np.isfinite(value).all() for value in opt.state.values())


@pytest.mark.parametrize("algo", sorted(TYPICAL))
def test_lookahead_is_given_only_to_algorithms_that_go_on_from_where_the_parameter_is(algo):
    shift, w = np.array([1e-8, -1e-8]), pytensor.shared(np.array([1.0, 2.0]), name="w")
    settings = {n: v for n, v in TYPICAL[algo].settings.items() if n != "weight_decay"}
    opt = downhill2.build(algo, w.sum() + 9, **settings)  # the gradient is the same everywhere
    step, after = pytensor.function([], [], updates=opt.get_updates(), mode=AS_WRITTEN), []
    for moved in (0, shift):  # to where the loss is the same
        w.set_value(np.array([1.0, 2.0]))
        opt.reset()
        step()
        step()
        w.set_value(w.get_value() + moved)
        step()
        after.append(w.get_value())
    goes_on = abs(after[1] - after[0] - shift).max() < 0.09 * abs(shift).max()
    refused = expected_refusal(Optimizer.registry[algo], {"lookahead": 2})
    assert goes_on or refused


# -- the table


class Curved(Optimizer):
    needs = ("hvp",)

    def direction(self, param, grad):
        return grad, {}


class Valued(Optimizer):
    needs = ("loss",)

    def direction(self, param, grad):
        return grad * self.loss, {}


class Averaged(Optimizer):
    def direction(self, param, grad):
        return grad, {}

    def evaluated(self, param):
        return param


class ScheduleFreeLike(Optimizer):
    def direction(self, param, grad):
        return grad, {}


for _cls in (Curved, Valued, Averaged, ScheduleFreeLike):
    del Optimizer.registry[_cls.__name__.lower()]
ScheduleFreeLike.__name__ = "ScheduleFree"
STANDINS = {
    "hvp": Curved,
    "loss": Valued,
    "evaluated": Averaged,
    "schedulefree": ScheduleFreeLike,
    **{cls.__name__.lower(): cls for cls in (downhill2.COCOB, downhill2.FTRL, downhill2.MADGRAD)},
}


def parts(pair):
    """Return an algorithm and settings that are the pair."""
    one = TRANSFORMS[pair.setting]
    return (STANDINS[pair.other], one) if pair.other in STANDINS else (downhill2.SGD, one | TRANSFORMS[pair.other])


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.setting} with {p.other}")
def test_every_pair_of_the_table_is_refused_and_both_are_named(pair):
    cls, settings = parts(pair)
    with pytest.raises(ValueError, match=f"^{pair.setting} must be left out with ") as caught:
        problem(cls, MIXED, **settings)
    message = str(caught.value)
    assert (cls.__name__ if pair.other in STANDINS else f"{pair.other}=") in message
    assert pair.reason in message
    if pair.other in TRAITS:
        assert TRAITS[pair.other] in message


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.setting} with {p.other}")
def test_a_pair_is_refused_by_every_call_that_takes_settings_and_leaves_them_as_they_were(pair):
    cls, settings = parts(pair)
    opt = problem(cls, MIXED)
    before = dict(opt.hyper)
    for call in (opt.get_updates, lambda **s: opt.minimize(max_epochs=1, **s), lambda **s: opt.iterate(**s)):
        with pytest.raises(ValueError, match=" must be left out with "):
            call(**settings)
        assert dict(opt.hyper) == before


def test_a_pair_that_is_set_in_a_run_is_refused_before_it_is_compiled():
    def change(opt, record):
        opt.ema, opt.swa = 0.9, 1

    opt = problem("sgd", MIXED)
    with pytest.raises(ValueError, match=r"ema must be left out with swa=1, got 0\.9"):
        opt.minimize(max_epochs=3, train_batches=1, callbacks=[change], validate_every=None)


def test_the_algorithms_of_groups_are_looked_at_too():
    x, y = (pytensor.shared(np.ones(2), name=n) for n in "xy")
    groups = [{"params": "x"}, {"params": "y", "algo": "esgd"}]
    with pytest.raises(ValueError, match="sam must be left out with ESGD, an algorithm that needs Hessian-vector"):
        downhill2.build("sgd", (x**2).sum() + (y**2).sum(), [x, y], groups=groups, sam=0.1)


@pytest.mark.parametrize("setting", ["accumulate", "ema", "gradient_noise", "lookahead", "mechanic", "sam", "swa"])
def test_what_spans_all_parameters_is_no_setting_of_a_group(setting):
    x, y = (pytensor.shared(np.ones(2), name=n) for n in "xy")
    groups = [{"params": "x", **TRANSFORMS[setting]}, {"params": "y"}]
    with pytest.raises(ValueError, match=rf"groups\[0\] must not have {setting}, which spans all groups"):
        downhill2.build("sgd", (x**2).sum() + (y**2).sum(), [x, y], groups=groups)


def test_groups_have_clipping_of_their_own_and_wrappers_together():
    def build(**settings):
        x, y = (pytensor.shared(np.full(2, 3.0), name=n) for n in "xy")
        return downhill2.build("sgd", (x**2).sum() + (y**2).sum(), [x, y], **{"learning_rate": 0.1, **settings})

    def run(opt):
        step = pytensor.function([], [], updates=opt.get_updates())
        for _ in range(4):
            step()
        return [p.get_value() for p in opt.params]

    common = {"mechanic": 0.5, "ema": 0.5, "transforms": [lambda p, g: g + 1]}
    groups = [{"params": "x", "clip_adaptive": 0.1}, {"params": "y", "clip_adaptive": 0.1}]
    grouped, alone = build(groups=groups, **common), build(clip_adaptive=0.1, **common)
    np.testing.assert_allclose(run(grouped), run(alone), rtol=1e-12)
    assert grouped.state["x.ema.x"] == pytest.approx(alone.state["x.ema.x"])
    only = build(groups=[{"params": "x", "clip_adaptive": 0.1}, {"params": "y"}])
    x, y = run(only)
    assert (y < x).all()


def test_the_table_names_settings_that_there_are():
    for pair in PAIRS:
        assert pair.setting in TRANSFORMS
        assert pair.other in TRANSFORMS or pair.other in TRAITS or pair.other in STANDINS
