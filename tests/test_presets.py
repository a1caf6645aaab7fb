"""Presets: what they set, what wins over them, how long they hold. Their trajectories are in the table of cases."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from algorithms import CASES

import downhill2
from downhill2.base import Optimizer

LIBRARIES = ("torch", "optax", "keras", "downhill")
WITH_PRESETS = [(name, preset) for name, cls in sorted(Optimizer.registry.items()) for preset in cls.presets]

KERAS = {
    "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7, "epsilon_at": "hat", "decay": "decoupled"
}  # fmt: skip


def of(opt, names):
    return {n: opt.hyper[n] for n in names}


@pytest.mark.parametrize(("algo", "preset"), WITH_PRESETS, ids=str)
def test_every_preset_is_of_a_library_and_can_be_named(algo, preset):
    assert preset in LIBRARIES
    cls = Optimizer.registry[algo]
    rule = downhill2.build(algo, None, preset=preset)
    symbols = {n: d.symbol for d in rule.hyper.declared.values() for n in d.names}
    given = {symbols[name] for name in cls.presets[preset]}
    others = [n for n in rule.hyper if n not in given]
    assert of(rule, others) == of(downhill2.build(algo, None), others)


def test_each_of_downhills_algorithms_has_its_preset_in_the_table():
    named = {(case.algo, case.settings["preset"]) for case in CASES if "preset" in case.settings}
    eight = ["sgd", "rprop", "adagrad", "rmsprop", "adadelta", "esgd", "adam"]
    assert {(a, p) for a, p in WITH_PRESETS if a in eight} <= named


@pytest.fixture
def adam():
    w = pytensor.shared(np.ones(2), name="w")
    return downhill2.build("adam", (w**2).sum())


def test_a_preset_sets_all_defaults_and_conventions(adam):
    adam.get_updates(preset="keras")
    assert of(adam, KERAS) == KERAS
    assert adam.preset == "keras"


def test_another_preset_puts_back_what_it_does_not_name(adam):
    own = dict(adam.hyper)
    adam.get_updates(preset="keras")
    adam.get_updates(preset="downhill")
    assert dict(adam.hyper) == own


def test_explicit_settings_win_in_the_same_call_and_later(adam):
    adam.get_updates(preset="keras", beta2=0.99, decay="coupled")
    assert of(adam, ["beta2", "decay", "epsilon"]) == {"beta2": 0.99, "decay": "coupled", "epsilon": 1e-7}
    adam.get_updates(preset="torch")
    assert of(adam, ["beta2", "decay", "epsilon"]) == {"beta2": 0.99, "decay": "coupled", "epsilon": 1e-8}


@pytest.mark.parametrize(
    "give",
    [
        lambda opt: opt.get_updates(learning_rate=0.5),
        lambda opt: setattr(opt, "learning_rate", 0.5),
        lambda opt: opt.get_updates(learning_rate=pytensor.shared(0.5)),
        lambda opt: opt.minimize(max_epochs=1, learning_rate=0.5),
    ],
    ids=["get_updates", "attribute", "shared variable", "minimize"],
)
def test_explicit_settings_of_an_earlier_call_win(adam, give):
    give(adam)
    adam.get_updates(preset="torch")
    assert adam.hyper["learning_rate"] == 0.5
    assert adam.hyper["beta2"] == 0.999


def test_a_preset_holds_until_another_is_named(adam):
    adam.get_updates(preset="torch")
    adam.get_updates(learning_rate=0.5)
    adam.get_updates(preset=None)
    assert (adam.preset, adam.hyper["beta1"]) == ("torch", 0.9)
    adam.preset = "keras"
    assert (adam.preset, adam.hyper["epsilon"]) == ("keras", 1e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda loss: downhill2.build("adam", loss, preset="keras"),
        lambda loss: downhill2.Adam(loss, preset="keras"),
        lambda loss: downhill2.build("adam", loss, preset="torch", epsilon_at="hat", epsilon=1e-7),
    ],
    ids=["build", "class", "torch and two settings"],
)
def test_all_ways_to_give_a_preset_are_the_same(make):
    def moved(opt):
        step = pytensor.function([], [], updates=opt.get_updates())
        step()
        step()
        return opt.params[0].get_value()

    w = [pytensor.shared(np.array([1.0, -3.0]), name="w") for _ in range(2)]
    plain = {n: v for n, v in KERAS.items() if n != "decay"}
    np.testing.assert_array_equal(
        moved(make((w[0] ** 2).sum())), moved(downhill2.build("adam", (w[1] ** 2).sum(), **plain))
    )


def regression():
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    return ((x @ w) ** 2).mean(), w, [np.random.default_rng(0).normal(size=(12, 3))]


def test_minimize_and_iterate_take_a_preset():
    results = []
    for use in (
        lambda loss, data: downhill2.minimize(loss, data, algo="adam", preset="keras", max_epochs=2),
        lambda loss, data: downhill2.build("adam", loss).minimize(data, preset="keras", max_epochs=2),
        lambda loss, data: list(downhill2.build("adam", loss).iterate(data, preset="keras", max_epochs=2)),
        lambda loss, data: downhill2.minimize(loss, data, algo="adam", max_epochs=2, **KERAS),
    ):
        loss, w, data = regression()
        use(loss, data)
        results.append(w.get_value())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_change_of_conventions_compiles_anew_and_keeps_the_state(caplog):
    caplog.set_level("INFO", "downhill2")
    loss, _, data = regression()
    opt = downhill2.build("adam", loss, learning_rate=0.01)
    opt.minimize(data, max_epochs=2, validate_every=None)
    before, updates = opt.state, int(opt.context.clock.get_value())
    opt.get_updates(preset="torch")
    opt.minimize(data, max_updates=0, validate_every=None)
    compiled = [r.message for r in caplog.records if "compiling the training step" in r.message]
    assert len(compiled) == 1
    opt.minimize(data, max_updates=0, validate_every=None, preset="keras")
    assert sum("compiling the training step" in r.message for r in caplog.records) == 2
    assert int(opt.context.clock.get_value()) == updates
    for name, value in opt.state.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_call_that_fails_takes_its_preset_back(adam):
    with pytest.raises(ValueError, match="resume must be"):
        adam.minimize(max_epochs=1, preset="torch", resume="maybe")
    with pytest.raises(ValueError, match="checkpoint must name a directory with a run to resume"):
        adam.minimize(max_epochs=1, preset="torch", resume=True, checkpoint="/nowhere/at/all")
    assert adam.preset is None
    assert adam.hyper["beta1"] != 0.9
    adam.get_updates(preset="torch")
    assert adam.hyper["beta1"] == 0.9


def test_numbers_of_a_checkpoint_are_no_explicit_settings(adam, tmp_path):
    adam.save(tmp_path / "file")
    adam.load(tmp_path / "file")
    adam.get_updates(preset="torch")
    assert adam.hyper["beta1"] == 0.9


@pytest.mark.parametrize(
    ("algo", "name", "message"),
    [
        ("adam", "tensorflow", "preset must be 'torch' or 'optax' or 'keras' or 'downhill' for Adam, got 'tensorflow'"),
        ("rprop", "keras", "preset must be 'torch' or 'optax' or 'downhill' for RProp, got 'keras'"),
        ("adam", 3, "preset must be 'torch' or 'optax' or 'keras' or 'downhill' for Adam, got 3"),
        ("adam", ["torch"], "preset must be 'torch' or 'optax' or 'keras' or 'downhill' for Adam, got ['torch']"),
    ],
)
def test_an_unknown_preset_is_refused_with_those_there_are(algo, name, message):
    loss, _, data = regression()
    opt = downhill2.build(algo, loss)
    for call in (
        lambda: downhill2.build(algo, loss, preset=name),
        lambda: opt.get_updates(preset=name),
        lambda: opt.minimize(data, preset=name),
        lambda: downhill2.minimize(loss, data, algo=algo, preset=name),
        lambda: setattr(opt, "preset", name),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is compared below)
            call()
        assert str(caught.value) == message
    assert opt.preset is None


def test_an_algorithm_of_ones_own_has_the_presets_it_declares():
    class Bare(downhill2.Optimizer):
        presets = {}

        def direction(self, param, grad):
            return grad, {}

    class Mine(Bare):
        presets = {"torch": {"learning_rate": 0.3}}

    w = pytensor.shared(np.ones(2), name="w")
    with pytest.raises(ValueError, match="preset must be left out, as Bare has none, got 'torch'"):
        Bare((w**2).sum(), preset="torch")
    assert Mine((w**2).sum(), preset="torch").hyper["learning_rate"] == 0.3
