"""Parameter groups: which parameters they have, and that each is updated as by an optimizer of its own."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import schedules
from downhill2.keeping.checkpoint import CheckpointError

VALUES = {"W": np.array([[3.0, -0.5], [0.25, 2.0]]), "b": np.array([1.0, -2.0]), "scale": np.array(1.5)}
SLOPES = {"W": np.array([[0.5, -1.0], [2.0, 0.125]]), "b": np.array([4.0, 0.5]), "scale": np.array(-0.75)}


def params(*names):
    return {n: pytensor.shared(VALUES[n], name=n) for n in names or VALUES}


def loss_of(ps):
    return sum((p**2).sum() / 2 + (p * SLOPES[n]).sum() for n, p in ps.items())


def run(opt, updates=5):
    """Return the parameters by name after some updates."""
    step = pytensor.function([], [], updates=opt.get_updates())
    for _ in range(updates):
        step()
    return {p.name: p.get_value() for p in opt.params}


def alone(name, algo, **settings):
    """Return a parameter after five updates by an optimizer of its own."""
    return run(downhill2.build(algo, loss_of(params(name)), **settings))[name]


def grouped(groups, algo="adam", **settings):
    return downhill2.build(algo, loss_of(params()), groups=groups, **settings)


def assert_updates(opt, **expected):
    got = run(opt)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)


# -- which parameters


SELECTIONS = {
    "a pattern": "b*",
    "a list of patterns": ["b", "[ab]"],
    "a predicate": lambda p: p.ndim == 1,
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_a_group_is_a_pattern_or_a_predicate(selection):
    opt = grouped([dict(params=selection, learning_rate=0.5), {}], learning_rate=0.1)
    assert [[p.name for p in group] for _, group in opt.members] == [["b"], ["W", "scale"]]
    assert_updates(opt, b=alone("b", "adam", learning_rate=0.5), W=alone("W", "adam", learning_rate=0.1))


def test_a_group_is_a_variable_or_a_list_of_them():
    ps = params()
    groups = [dict(params=ps["b"]), dict(params=[ps["W"], ps["scale"]], learning_rate=1)]
    opt = downhill2.build("sgd", loss_of(ps), groups=groups, learning_rate=0.1)
    assert [[p.name for p in group] for _, group in opt.members] == [["b"], ["W", "scale"]]


def test_patterns_know_unnamed_and_equally_named_parameters_by_their_labels():
    ps = [pytensor.shared(np.ones(2), name=n) for n in ("w", "w", None)]
    groups = [dict(params="w#2", frozen=True), dict(params="unnamed*", frozen=True), {}]
    opt = downhill2.build("sgd", sum((p**2).sum() for p in ps), groups=groups, learning_rate=0.5)
    run_updates = {v for v, _ in opt.get_updates()}
    assert [p in run_updates for p in ps] == [True, False, False]


@pytest.mark.parametrize(
    ("groups", "kind", "message"),
    [
        ([dict(params="bias*"), {}], ValueError, r"params of groups\[0\] must name a parameter, got 'bias\*'"),
        ([dict(params=lambda p: False), {}], ValueError, r"params of groups\[0\] must name a parameter, got <"),
        ([dict(params=pytensor.shared(1.0)), {}], ValueError, r"params of groups\[0\] must name a parameter, got"),
        ([dict(params="b"), dict(params=["W", "?"]), {}], ValueError,
         r"groups must not share parameters, got 'b' in groups\[0\] and groups\[1\]"),
        ([dict(params="b")], ValueError, "groups must have every parameter, got none with W, scale; one without"),
        ([{}, {}], ValueError, "groups must have one group without params at most, which takes the rest"),
        ([dict(params="*"), {}], ValueError, r"groups\[1\] must have a parameter, got none; the others have all"),
        ([dict(params=3)], TypeError, r"params of groups\[0\] must be a parameter, a pattern of names, a function of"),
        (["b"], TypeError, r"groups\[0\] must be a dict of settings, got 'b'"),
        (dict(params="b"), TypeError, "groups must be a sequence of dicts, got {'params': 'b'}"),
        (3, TypeError, "groups must be a sequence of dicts, got 3"),
        ([dict(learning_rat=1)], TypeError, "Adam has no hyperparameter 'learning_rat'; did you mean 'learning_rate'?"),
        ([dict(learning_rate=-1)], ValueError, "learning_rate must be at least 0, got -1"),
        ([dict(algo="adm")], ValueError, "unknown algorithm 'adm'; did you mean 'adam'"),
        ([dict(algo="sgd", beta1=0.5)], TypeError, "SGD has no hyperparameter 'beta1'"),
        ([dict(max_global_norm=1)], ValueError, r"groups\[0\] must not have max_global_norm, which spans all groups"),
        ([dict(algo="noisysgd")], ValueError, r"groups\[0\] must not have gradient_noise, which spans all groups"),
        ([dict(gradient_noise={"gamma": 0.6})], ValueError, r"groups\[0\] must not have gradient_noise"),
        ([dict(groups=[{}])], TypeError, r"groups\[0\] must not have groups of its own, got \[{}\]"),
        ([dict(algo=downhill2.SGD(pytensor.shared(1.0) ** 2))], ValueError,
         "algo of a group must be an algorithm without a loss or groups"),
    ],
)  # fmt: skip
def test_wrong_groups_are_refused_before_compiling(groups, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        grouped(groups)


def test_an_algorithm_serves_one_group_only():
    rule = downhill2.SGD(learning_rate=0.5)
    with pytest.raises(ValueError, match=r"groups\[1\] must have an algorithm that no other group has, got .* again"):
        grouped([dict(params="b", algo=rule), dict(algo=rule)])


# -- settings


def test_what_a_group_does_not_set_is_the_optimizers_also_later():
    opt = grouped([dict(params="b", weight_decay=0), {}], learning_rate=0.1, weight_decay=0.5)
    opt.learning_rate = 0.3
    opt.beta1 = 0.5
    b = alone("b", "adam", learning_rate=0.3, beta1=0.5)
    assert_updates(opt, b=b, W=alone("W", "adam", learning_rate=0.3, beta1=0.5, weight_decay=0.5))
    assert opt.groups[0].hyper["learning_rate"] == 0.3


def test_a_structural_setting_and_a_momentum_may_differ():
    opt = grouped([dict(params="b", momentum=0.5, nesterov=True), {}], "sgd", learning_rate=0.1, momentum=0.9)
    b = alone("b", "sgd", learning_rate=0.1, momentum=0.5, nesterov=True)
    assert_updates(opt, b=b, W=alone("W", "sgd", learning_rate=0.1, momentum=0.9))


def test_a_factor_multiplies_whatever_the_rate_is():
    rate = schedules.Linear(0.4, 0.1, 4)
    opt = grouped([dict(params="b", learning_rate_factor=0.5), {}], learning_rate=rate)
    b = alone("b", "adam", learning_rate=0.5 * rate)
    assert_updates(opt, b=b, W=alone("W", "adam", learning_rate=rate))
    opt.groups[0].learning_rate_factor = 2
    assert opt.hyper["group0.learning_rate_factor"] == 2


def test_a_setting_of_a_group_is_live():
    opt = grouped([dict(params="b", learning_rate=0.5), {}], "sgd", learning_rate=0.1)
    step = pytensor.function([], [], updates=opt.get_updates())
    opt.groups[0].learning_rate = 0.25
    opt.learning_rate = 0.5
    step()
    b, W = (VALUES[n] - rate * (VALUES[n] + SLOPES[n]) for n, rate in [("b", 0.25), ("W", 0.5)])
    np.testing.assert_allclose(opt.params[1].get_value(), b)
    np.testing.assert_allclose(opt.params[0].get_value(), W)


def test_a_setting_that_a_group_gets_later_no_longer_is_the_optimizers():
    opt = grouped([dict(params="b"), {}], "sgd", learning_rate=0.1)
    before = opt.hyper.version
    opt.groups[0].learning_rate = 0.5
    assert opt.hyper.version == before + 1
    opt.learning_rate = 0.2
    assert_updates(opt, b=alone("b", "sgd", learning_rate=0.5), W=alone("W", "sgd", learning_rate=0.2))


def test_a_group_without_an_algorithm_may_name_a_preset():
    opt = grouped([dict(params="b", preset="torch", beta1=0.5), {}], learning_rate=0.1)
    b = alone("b", "adam", preset="torch", beta1=0.5)
    assert_updates(opt, b=b, W=alone("W", "adam", learning_rate=0.1))


def test_a_group_may_be_decayed_beside_its_step():
    opt = grouped([dict(params="W", weight_decay=0.1, decay="decoupled"), {}], learning_rate=0.1)
    W = alone("W", "adam", learning_rate=0.1, weight_decay=0.1, decay="decoupled")
    assert_updates(opt, W=W, b=alone("b", "adam", learning_rate=0.1))


# -- algorithms


@pytest.mark.parametrize(
    "algo", ["sgd", downhill2.SGD, downhill2.SGD(momentum=0.9)], ids=["name", "class", "an algorithm"]
)
def test_different_algorithms_in_one_step(algo):
    settings = {} if isinstance(algo, downhill2.SGD) else {"momentum": 0.9}
    opt = grouped([dict(params="b", algo=algo, learning_rate=0.2, **settings), {}], learning_rate=0.1, weight_decay=0.3)
    # another algorithm has its own defaults: of the optimizer's settings it takes none
    b = alone("b", "sgd", learning_rate=0.2, momentum=0.9)
    assert_updates(opt, b=b, W=alone("W", "adam", learning_rate=0.1, weight_decay=0.3))
    assert sorted(opt.state) == ["W.adam.m", "W.adam.v", "b.momentum.v", "scale.adam.m", "scale.adam.v"]


def test_a_schedule_of_a_groups_algorithm_counts_the_updates_of_all():
    rate = schedules.Linear(0.4, 0.1, 4)
    opt = grouped([dict(params="b", algo=downhill2.RMSProp(learning_rate=rate, rms_halflife=lambda t: t + 1)), {}])
    b = alone("b", "rmsprop", learning_rate=rate, rms_halflife=lambda t: t + 1)
    assert_updates(opt, b=b)
    assert opt.hyper["group0.learning_rate"] == pytest.approx(0.1)


def test_rules_of_one_vector_see_their_own_group_alone():
    opt = grouped(
        [dict(params="b", algo="esgd", learning_rate=0.1), dict(params="W", algo="esgd", learning_rate=0.2), {}]
    )
    assert_updates(opt, b=alone("b", "esgd", learning_rate=0.1), W=alone("W", "esgd", learning_rate=0.2))
    assert {"group0.esgd.rng", "group1.esgd.rng", "b.esgd.D", "W.esgd.D"} <= set(opt.state)


class Drift(downhill2.Optimizer):
    """Steps by a number of its own, which belongs to no parameter."""

    n = downhill2.Number()

    def direction(self, param, grad, n):
        return grad * 0 + n, {"n": n + self.learning_rate}


class Old(downhill2.Optimizer):
    """A rule as downhill had them."""

    def _get_updates_for(self, param, grad):
        v = pytensor.shared(np.zeros_like(param.get_value()), name="v")
        yield v, v + grad
        yield param, self.learning_rate * (v + grad)


def test_state_that_belongs_to_no_parameter_is_the_groups():
    opt = grouped([dict(params="b", learning_rate=1), {}], Drift, learning_rate=2)
    assert_updates(opt, b=VALUES["b"] - (0 + 1 + 2 + 3 + 4), W=VALUES["W"] - 4 * (0 + 1 + 2 + 3 + 4))
    assert sorted(opt.state) == ["group0.drift.n", "group1.drift.n"]


def test_rules_written_for_downhill_are_groups_too():
    opt = grouped([dict(params="b", algo="old", learning_rate=0.2), {}], "old", learning_rate=0.1)
    assert_updates(opt, b=alone("b", "old", learning_rate=0.2), W=alone("W", "old", learning_rate=0.1))


def test_the_global_norm_is_that_of_all_groups():
    opt = grouped([dict(params="b", algo="sgd", learning_rate=1), {}], "sgd", learning_rate=1, max_global_norm=0.5)
    got = run(opt, 1)
    moves = [VALUES[n] - got[n] for n in VALUES]
    assert np.sqrt(sum((m**2).sum() for m in moves)) == pytest.approx(0.5)
    assert moves[1] / moves[0][1] == pytest.approx((VALUES["b"] + SLOPES["b"]) / (VALUES["W"] + SLOPES["W"])[1])


# -- frozen parameters


def test_frozen_parameters_stay_and_have_no_state_and_no_part_in_the_norm():
    opt = grouped([dict(params="W", frozen=True), {}], "adam", learning_rate=0.1, max_global_norm=0.5)
    rest = downhill2.build("adam", loss_of(params("b", "scale")), learning_rate=0.1, max_global_norm=0.5)
    assert_updates(opt, W=VALUES["W"], **run(rest))
    assert not [name for name in opt.state if name.startswith("W")]


def test_parameters_may_be_thawed_in_the_middle():
    ps = params()
    x = pt.matrix("x")
    loss = loss_of(ps) + 0 * x.sum()
    opt = downhill2.build("sgd", loss, groups=[dict(params="W", frozen=True), {}], learning_rate=0.1, momentum=0.5)
    data = [np.ones((4, 1))]
    opt.minimize(data, max_epochs=2)
    np.testing.assert_array_equal(ps["W"].get_value(), VALUES["W"])
    opt.groups[0].frozen = False
    opt.minimize(data, max_epochs=1)
    np.testing.assert_allclose(ps["W"].get_value(), VALUES["W"] - 0.1 * (VALUES["W"] + SLOPES["W"]))


def test_gradients_of_frozen_parameters_are_not_computed():
    w, b = pytensor.shared(np.zeros(2), name="w"), pytensor.shared(1.0, name="b")
    loss = pt.sqrt(w).sum() + b**2  # whose gradient with respect to w is infinite
    opt = downhill2.build("sgd", loss, groups=[dict(params="w", frozen=True), {}], learning_rate=0.25)
    opt.minimize(max_epochs=1)
    assert b.get_value() == 0.5


def test_an_optimizer_that_is_frozen_moves_nothing():
    opt = downhill2.build("sgd", loss_of(params()), frozen=True, learning_rate=1)
    assert [v.name for v, _ in opt.get_updates()] == ["updates"]


# -- runs


def regression():
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.zeros(3), name="w"), pytensor.shared(0.0, name="b")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 3))
    return ((x @ w + b - y) ** 2).mean(), [X, X @ [1.0, 2.0, 3.0] + 4]


def trained(path=None, epochs=4, b_rate=0.2, **settings):
    loss, data = regression()
    groups = [dict(params="b", algo="sgd", learning_rate=b_rate, momentum=0.5), dict(learning_rate_factor=0.5)]
    opt = downhill2.build("adam", loss, groups=groups, learning_rate=schedules.Linear(0.1, 0.01, 20))
    opt.minimize(data, max_epochs=epochs, batch_size=6, rng=0, checkpoint=path, **settings)
    return opt


def values(opt):
    return [p.get_value() for p in opt.params]


def test_the_history_has_the_settings_of_each_group():
    history = trained().history
    assert history["hyper.group0.learning_rate"][-1] == 0.2
    assert history["hyper.group0.momentum"][-1] == 0.5
    assert history["hyper.group1.learning_rate_factor"][-1] == 0.5
    assert history["hyper.learning_rate"][-1] == pytest.approx(0.1 - 0.09 * 16 / 20)
    assert "hyper.group1.learning_rate" not in history.columns


def test_a_run_with_groups_is_resumed_to_the_bit(tmp_path):
    whole = trained()
    trained(tmp_path, epochs=2)
    half = trained(tmp_path, resume=True)
    for x, y in zip(values(whole), values(half), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_checkpoint_restores_what_was_set_in_a_group_unless_it_is_given_otherwise(tmp_path):
    opt = trained()
    opt.groups[0].learning_rate = 0.7
    opt.save(tmp_path / "file")
    other = trained()
    other.load(tmp_path / "file")
    assert other.hyper["group0.learning_rate"] == 0.7
    trained(tmp_path / "run", epochs=2)
    assert trained(tmp_path / "run", resume=True, b_rate=0.3).hyper["group0.learning_rate"] == 0.3


def test_a_checkpoint_of_other_groups_is_refused(tmp_path):
    trained().save(tmp_path / "file")
    loss, _ = regression()
    for groups in ([], [dict(params="w", algo="sgd", momentum=0.5), {}]):
        other = downhill2.build("adam", loss, groups=groups, learning_rate=schedules.Linear(0.1, 0.01, 20))
        with pytest.raises(CheckpointError, match="the checkpoint is of other groups"):
            other.load(tmp_path / "file")


def test_best_parameters_and_shared_hyperparameters_work_with_groups():
    loss, data = regression()
    rate = pytensor.shared(0.05)
    opt = downhill2.build("adam", loss * rate / rate, groups=[dict(params="b", learning_rate=rate), {}])
    assert [p.name for p in opt.params] == ["w", "b"]
    _, valid = opt.minimize(data, max_epochs=3)
    assert valid["loss"] == pytest.approx(opt.evaluate(data)["loss"])


def test_settings_of_groups_are_read_by_name():
    opt = grouped([dict(params="b", learning_rate=0.5, nesterov=True), {}], "sgd")
    assert list(opt.hyper)[-2:] == ["group0.learning_rate", "group0.nesterov"]
    assert opt.hyper["group0.nesterov"] is True
    assert opt.hyper["group1.learning_rate"] == opt.hyper["learning_rate"]
    for name in ("group2.learning_rate", "group0.learning_rat"):
        with pytest.raises(KeyError, match=f"SGD has no hyperparameter '{name}'"):
            opt.hyper[name]


def test_minimize_takes_groups():
    loss, data = regression()
    w = downhill2.build("sgd", loss).params[0]
    before = w.get_value()
    downhill2.minimize(loss, data, algo="sgd", groups=[dict(params="w", frozen=True), {}], max_epochs=1)
    np.testing.assert_array_equal(w.get_value(), before)


@pytest.mark.default_mode
def test_groups_and_schedules_of_both_clocks_run_in_the_default_mode():
    def rate():
        return schedules.WarmUp(schedules.Cosine(0.1, 6, 0.02), 2) * schedules.Step(1.0, 1, 0.5, per="epoch")

    results = []
    for mode in (pytensor.config.mode, "FAST_COMPILE"):
        with pytensor.config.change_flags(mode=mode):
            loss, data = regression()
            groups = [dict(params="b", algo="sgd", learning_rate=rate(), momentum=0.5), dict(learning_rate_factor=0.5)]
            opt = downhill2.build("adam", loss, groups=groups, learning_rate=rate(), max_global_norm=1.0)
            opt.minimize(data, max_epochs=3, batch_size=6, rng=0, validate_every=None)
        results.append(values(opt))
    for x, y in zip(*results, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
