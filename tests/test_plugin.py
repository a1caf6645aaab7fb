"""Algorithms as functions: of a loss, of gradients, and as what PyMC takes for `obj_optimizer`; the catalogue."""

from __future__ import annotations

import functools

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import schedules
from downhill2.base import Optimizer


def params():
    return [
        pytensor.shared(np.array(x), name=n) for n, x in [("W", [[3.0, -0.5]]), ("b", [1.0, -2.0, 0.5]), (None, 2.0)]
    ]


def loss_of(ps):
    return sum(((i + 1) * p**2).sum() for i, p in enumerate(ps))


def run(updates, ps, n=5):
    step = pytensor.function([], [], updates=updates)
    for _ in range(n):
        step()
    return [p.get_value() for p in ps]


def same(xs, ys):
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


SETTINGS = [
    {"algo": "adam", "learning_rate": 0.1},
    {"algo": downhill2.RMSProp, "preset": "torch", "momentum": 0.9, "max_global_norm": 1.0, "weight_decay": 0.1},
    {"algo": "sgd", "learning_rate": schedules.Cosine(0.1, 4)},
    {"algo": "sgd", "learning_rate": 0.1, "groups": [dict(params="b", algo="adam", learning_rate=0.3), {}]},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_updates_of_a_loss_and_of_its_gradients_are_those_of_an_optimizer(settings):
    results = []
    for make in (
        lambda loss, ps: downhill2.build(loss=loss, params=ps, **settings).get_updates(),
        lambda loss, ps: downhill2.updates(loss, ps, **settings),
        lambda loss, ps: downhill2.updates(loss, **settings),
        lambda loss, ps: downhill2.updates(pytensor.grad(loss, ps), ps, **settings),
        lambda loss, ps: downhill2.updates(tuple(pytensor.grad(loss, ps)), tuple(ps), **settings),
        lambda loss, ps: downhill2.updates(**settings)(loss, ps),
        lambda loss, ps: downhill2.updates(**settings)(pytensor.grad(loss, ps), ps),
    ):
        ps = params()
        results.append(run(make(loss_of(ps), ps), ps))
    for result in results[1:]:
        same(result, results[0])


def test_updates_are_a_dict_with_every_parameter_and_names_of_state():
    ps = params()
    out = downhill2.updates(loss_of(ps), ps)
    assert isinstance(out, dict)
    assert out.evaluated == {}
    assert [v.name for v in out if v not in ps] == [
        "W.adam.m", "W.adam.v", "b.adam.m", "b.adam.v", "unnamed0.adam.m", "unnamed0.adam.v", "updates"
    ]  # fmt: skip


def test_each_call_has_state_of_its_own():
    optimizer, ps = downhill2.updates(algo="adam", learning_rate=0.1), params()
    first, second = (optimizer(loss_of(ps), ps) for _ in range(2))
    assert not (first.keys() & second.keys()) - set(ps)


# -- the point that an average is about

POINTS = [
    {"algo": "sgd", "ema": 0.9},
    {"algo": "adam", "swa": 3, "swa_every": 2},
    {"algo": "sgd", "lookahead": 4},
    {"algo": "asgd", "t0": 2},
    {"algo": "schedulefree"},
    {"algo": "schedulefreeadamw", "weight_decay": 0.1},
    {"algo": "sgd", "groups": [dict(params="b", algo="schedulefree"), {}]},
    {"algo": "sgd", "ema": 0.9, "project": {"W": downhill2.projections.Box(-1, 1)}},
]


@pytest.mark.parametrize("settings", POINTS, ids=str)
def test_the_evaluated_point_is_the_one_that_a_run_returns(settings):
    settings, ps = {"learning_rate": 0.02, **settings}, params()
    opt = downhill2.build(loss=loss_of(ps), params=ps, **settings)
    opt.minimize(max_epochs=1, train_batches=7)
    expected = [p.get_value() for p in ps]
    for make in (
        lambda loss, ps: downhill2.updates(loss, ps, **settings),
        lambda loss, ps: downhill2.updates(pytensor.grad(loss, ps), ps, **settings),
    ):
        ps = params()
        updates = make(loss_of(ps), ps)
        raw = run(updates, ps, 7)
        found = run(updates.evaluated, ps, 1)
        same(found, expected)
        assert any((x != y).any() for x, y in zip(found, raw, strict=True))


def test_an_optimizer_tells_the_point_that_its_runs_and_its_updates_are_about():
    ps = params()
    opt = downhill2.build("sgd", loss_of(ps), ps, learning_rate=0.02, ema=0.9)
    assert list(opt.get_evaluated()) == ps
    run(opt.get_updates(), ps, 3)
    loss = pytensor.function([], loss_of(ps), givens=opt.get_evaluated())()
    assert loss == pytest.approx(opt.evaluate(None)["loss"], rel=1e-12)
    run(opt.get_evaluated(), ps, 1)
    assert loss == pytest.approx(float(loss_of([p.get_value() for p in ps])), rel=1e-12)
    assert downhill2.build("adam", loss_of(ps)).get_evaluated() == {}


def test_averages_come_to_the_middle_of_noisy_data():
    data = np.random.default_rng(0).normal(size=(400, 2)) + [1, -2]
    for settings in ({"ema": 0.99}, {"swa": 50}, {"algo": "schedulefree"}, {"algo": "asgd"}):
        w, x = pytensor.shared(np.zeros(2), name="w"), pt.vector("x")
        updates = downhill2.updates(((w - x) ** 2).sum(), [w], **{"algo": "sgd", "learning_rate": 0.5, **settings})
        step = pytensor.function([x], [], updates=updates)
        for row in data:
            step(row)
        raw = w.get_value()
        [found] = run(updates.evaluated, [w], 1)
        np.testing.assert_allclose(found, data.mean(0), atol=0.15)
        assert abs(raw - data.mean(0)).max() > 0.15


@pytest.mark.parametrize("settings", POINTS, ids=str)
def test_an_average_is_refused_where_the_caller_of_another_package_could_not_reach_it(settings):
    with pytest.raises(ValueError, match=r"got \w+='?[\w.]+'?, which is about an average; give the package a function"):
        downhill2.updates(**settings)


def test_float32_and_half_precision_gradients_fit_their_parameters():
    for dtype in ("float32", "float16"):
        w = pytensor.shared(np.ones(3, dtype), name="w")
        [new] = run(downhill2.updates([w * 2], [w], learning_rate=0.5), [w], 1)
        assert new.dtype == dtype
        np.testing.assert_allclose(new, 0.5, rtol=1e-3)


class Approximation:
    """What PyMC 6.4 does with an `obj_optimizer`: gradients and parameters by position, and a dict to update."""

    def __init__(self, ps):
        self.obj_params = ps

    def step_function(self, obj_optimizer, more_obj_params=()):
        updates = {}
        target = loss_of(self.obj_params)
        obj_params = self.obj_params + list(more_obj_params)
        grads = pytensor.grad(target, obj_params)
        updates.update(obj_optimizer(grads, obj_params))
        return pytensor.function([], target, updates=updates)


def test_a_partial_serves_as_pymcs_optimizer():
    optimizer = downhill2.updates(algo="adam", learning_rate=0.1)
    assert isinstance(optimizer, functools.partial)
    for obj_optimizer in (optimizer, downhill2.updates):
        step = Approximation(params()).step_function(obj_optimizer)
        losses = [float(step()) for _ in range(5)]
        assert losses == sorted(losses, reverse=True)
    theirs, ours = params(), params()
    step = Approximation(theirs).step_function(optimizer)
    for _ in range(5):
        step()
    same(
        [p.get_value() for p in theirs],
        run(downhill2.build("adam", loss_of(ours), learning_rate=0.1).get_updates(), ours),
    )


def test_a_rule_may_use_the_norm_of_given_gradients():
    class Unit(downhill2.Optimizer):
        needs = ("global_norm",)

        def direction(self, param, grad):
            return grad / self.global_norm, {}

    ps = params()
    before = [p.get_value() for p in ps]
    after = run(downhill2.updates(pytensor.grad(loss_of(ps), ps), ps, Unit, learning_rate=1), ps, 1)
    assert sum(((x - y) ** 2).sum() for x, y in zip(before, after, strict=True)) == pytest.approx(1)


# -- wrong arguments


class Looks(downhill2.Optimizer):
    needs = ("loss",)

    def direction(self, param, grad):
        return grad * self.loss, {}


GIVEN = pt.vector("g")
W = pytensor.shared(np.ones(2), name="W")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: downhill2.updates(None, [W]), TypeError, "loss_or_grads must be a loss or gradients where params are"),
        (lambda: downhill2.updates([GIVEN]), TypeError, "params must be given with gradients, one for each, got None"),
        (lambda: downhill2.updates("loss", [W]), TypeError, "loss_or_grads must be a loss or a sequence of gradients"),
        (lambda: downhill2.updates(3.0, [W]), TypeError, "loss_or_grads must be a loss or a sequence of gradients"),
        (lambda: downhill2.updates([GIVEN, GIVEN], [W]), ValueError,
         "loss_or_grads must have a gradient for each of 1 params, got 2"),
        (lambda: downhill2.updates([3.0], [W]), TypeError, "gradient of 'W' must be a tensor of a floating-point"),
        (lambda: downhill2.updates([pt.lvector()], [W]), TypeError, "gradient of 'W' must be a tensor of a floating-"),
        (lambda: downhill2.updates([pt.matrix()], [W]), ValueError, "gradient of 'W' must have 1 dimensions, got 2"),
        (lambda: downhill2.updates([GIVEN], W), TypeError, "params must be a sequence of shared variables"),
        (lambda: downhill2.updates([GIVEN], [pt.vector()]), TypeError, "params must be shared tensors"),
        (lambda: downhill2.updates([], []), ValueError, "params must have at least one shared variable, got none"),
        (lambda: downhill2.updates([GIVEN] * 2, [W, W]), ValueError, "params must be different variables"),
        (lambda: downhill2.updates(learning_rat=1), TypeError, "Adam has no hyperparameter 'learning_rat'; did you"),
        (lambda: downhill2.updates(algo="adm"), ValueError, "unknown algorithm 'adm'; did you mean 'adam'"),
        (lambda: downhill2.updates([GIVEN], [W], algo="esgd"), ValueError,
         "algo must do with gradients, got 'esgd', which needs Hessian-vector products; give the loss"),
        (lambda: downhill2.updates([GIVEN], [W], algo=Looks), ValueError,
         "algo must do with gradients, got 'looks', which needs the value of the loss; give the loss"),
        (lambda: downhill2.updates([GIVEN], [W], groups=[dict(algo="esgd")]), ValueError, "algo must do with"),
        (lambda: downhill2.updates([GIVEN], [W], sam=0.1), ValueError,
         "sam must be left out where gradients are given, got 0.1; it needs the gradient at another point"),
        (lambda: downhill2.updates([GIVEN], [W], accumulate=2), ValueError,
         "accumulate must be left out where gradients are given, got 2; it needs the rows of each batch"),
        (lambda: downhill2.updates([GIVEN], [W], groups=[dict(params="V")]), ValueError,
         r"params of groups\[0\] must name a parameter, got 'V'"),
        (lambda: downhill2.updates(pt.vector("loss"), [W]), ValueError, "loss must be a scalar, got a vector"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(call, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        call()


# -- the catalogue


def test_the_catalogue_maps_names_to_what_there_is_to_know():
    algorithms = downhill2.list_algorithms()
    assert list(algorithms) == sorted(Optimizer.registry)
    assert "adam" in algorithms
    assert "adm" not in algorithms
    assert len(algorithms) == len(Optimizer.registry)
    adam = algorithms["adam"]
    assert (adam.name, adam.cls) == ("adam", downhill2.Adam)
    assert adam.summary == "Adam: the mean of recent gradients over the root of their mean square."
    assert adam.paper.startswith('D. P. Kingma and J. Ba (2014). "Adam: a method')
    assert list(adam.settings) == ["learning_rate", "beta1", "beta2", "epsilon", "epsilon_at"]
    assert adam.settings["epsilon"] == 1e-8
    assert adam.common["momentum"] == 0
    assert adam.names["beta1"] == ("beta1", "beta1_halflife")
    assert adam.presets["keras"]["epsilon_at"] == "hat"
    assert adam.state == {"m": (40, 30), "v": (40, 30)}
    assert adam.memory == 2


def test_the_catalogue_tells_of_state_under_the_defaults():
    algorithms = downhill2.list_algorithms()
    assert algorithms["sgd"].memory == 0
    assert algorithms["rmsprop"].state == {"m": (40, 30), "s": (40, 30)}
    assert algorithms["esgd"].state == {"D": (40, 30), "rng": None}
    assert algorithms["nag"].settings["nesterov"] is True


def test_the_catalogue_prints_as_a_table():
    lines = repr(downhill2.list_algorithms()).splitlines()
    assert lines[0].split() == ["name", "state", "settings", "presets"]
    [adagrad] = [line for line in lines if line.startswith("adagrad ")]
    assert adagrad.split(maxsplit=2)[:2] == ["adagrad", "1"]
    assert "epsilon_at='outside', initial_accumulator=0" in adagrad
    assert adagrad.endswith("torch, optax, keras, downhill")


def test_the_catalogue_has_algorithms_without_documentation_too(registry):

    class Bare(downhill2.Optimizer):
        __doc__ = None

        def __init__(self, *, needed):
            super().__init__()

        def direction(self, param, grad):
            return grad, {}

    bare = downhill2.list_algorithms()["bare"]
    assert (bare.paper, bare.summary, list(bare.settings)) == ("", "", ["learning_rate"])
