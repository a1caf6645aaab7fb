"""What `import downhill2` gives: the one call that does everything, names old and new."""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import pkgutil
import types

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.fitting.settings import NAMES

X = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [-1, 0], [0.5, 2]])
Y = X @ [1.0, -2.0]


def shared(value, name=None):
    return pytensor.shared(np.array(value), name=name)


def regression():
    x, y, w = pt.matrix("x"), pt.vector("y"), shared([0.0, 0.0], "w")
    return ((x @ w - y) ** 2).mean(), w, x, y


# -- minimize


def test_minimize_trains_the_parameters_of_the_loss_in_place():
    loss, w, *_ = regression()
    train, valid = downhill2.minimize(
        loss, [X, Y], algo="adam", learning_rate=0.1, max_epochs=300, patience=None, rng=0
    )
    np.testing.assert_allclose(w.get_value(), [1, -2], atol=1e-2)
    assert train.keys() == valid.keys() == {"loss"}


def test_the_algorithm_is_rmsprop_unless_another_is_named():
    results = []
    for algo in ({}, {"algo": "rmsprop"}, {"algo": downhill2.RMSProp}):
        loss, w, *_ = regression()
        downhill2.minimize(loss, [X, Y], max_epochs=2, rng=0, learning_rate=0.1, **algo)
        results.append(w.get_value().tolist())
    assert results[0] == results[1] == results[2]


def test_minimize_passes_on_all_that_build_and_iterate_take():
    loss, w, x, y = regression()
    seen = shared(0, "seen")
    train, valid = downhill2.minimize(
        loss,
        [Y, X],
        [Y[:2], X[:2]],
        [w],
        [y, x],
        "sgd",
        [(seen, seen + 1)],
        [("first", w[0])],
        True,
        2,
        4,
        1,
        learning_rate=0.1,
        momentum=0.5,
        max_epochs=2,
        validate_every=1,
        rng=0,
    )
    assert list(train) == list(valid) == ["loss", "first", "grad(w)"]
    assert seen.get_value() == 8  # two epochs of four batches


def test_minimize_needs_no_data_for_a_loss_without():
    w = shared(8.0, "w")
    assert downhill2.minimize(w**2, None, algo="sgd", learning_rate=0.25, max_updates=2)[1] == {"loss": 4}


def test_rows_per_batch_are_32_by_default():
    x, w, n = pt.vector("x"), shared(0.0, "w"), shared(0, "n")
    downhill2.minimize(((x - w) ** 2).mean(), [np.zeros(65)], updates=[(n, n + 1)], max_epochs=1, rng=0)
    assert n.get_value() == 3


@pytest.mark.parametrize("kind", ["array", "list", "Dataset"])
def test_the_arrays_of_the_data_are_no_parameters_although_the_loss_knows_them(kind):
    x, w, data = pt.vector("x"), shared(0.0, "w"), shared([1.0, 2.0, 3.0], "data")
    loss = ((x - data.mean() - w) ** 2).mean()
    train = {"array": data, "list": [data], "Dataset": downhill2.Dataset(data, batch_size=2, rng=0)}[kind]
    rate = shared(0.1, "rate")
    downhill2.minimize(loss, train, train, algo="sgd", learning_rate=rate, batch_size=2, max_epochs=2)
    assert data.get_value().tolist() == [1, 2, 3]
    assert rate.get_value() == 0.1


def test_a_loss_that_depends_on_shared_data_alone_has_no_parameters():
    x, data = pt.vector("x"), shared([1.0, 2.0], "data")
    with pytest.raises(ValueError, match="the loss has no parameters"):
        downhill2.minimize((x * data.mean()).sum(), [data])


# -- names


def test_every_public_name_is_there_and_documented():
    assert sorted(downhill2.__all__) == sorted(set(downhill2.__all__))
    for name in downhill2.__all__:
        assert getattr(downhill2, name).__doc__, name
    assert downhill2.__doc__
    assert all(part.isdigit() for part in downhill2.__version__.split("."))


def test_completion_offers_what_is_imported_later_too():
    assert {*downhill2.__all__, "find_learning_rate", "plots", "pymc", "sklearn", "trackers"} <= {*dir(downhill2)}


def test_no_public_function_has_the_name_of_a_module():
    package = downhill2.__path__
    modules = {module.name for module in pkgutil.iter_modules(package)}
    functions = {n for n in downhill2.__all__ if not isinstance(getattr(downhill2, n), types.ModuleType)}
    assert not functions & modules


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Adagrad", "; did you mean 'ADAGRAD'?"),
        ("AdaGrad", "; did you mean 'ADAGRAD'?"),
        ("Adadelta", "; did you mean 'ADADELTA'?"),
        ("RMSprop", "; did you mean 'RMSProp'?"),
        ("Rprop", "; did you mean 'RProp'?"),
        ("ADAM", "; did you mean 'Adam'?"),
        ("sgd", "; did you mean 'SGD'?"),
        ("minimise", "; did you mean 'minimize'?"),
        ("qqqq", ""),
    ],
)
def test_a_near_miss_is_an_attribute_error_that_names_the_right_one(name, near):
    with pytest.raises(AttributeError) as caught:
        getattr(downhill2, name)
    assert str(caught.value) == f"module 'downhill2' has no attribute {name!r}{near}"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("first_order", ["SGD", "NAG"]),
        ("adaptive", ["RProp", "RMSProp", "ADAGRAD", "ADADELTA", "ESGD", "Adam"]),
        ("base", ["Optimizer", "build"]),
        ("dataset", ["Dataset"]),
    ],
)
def test_the_import_paths_of_downhill_work(module, names):
    for name in names:
        assert getattr(importlib.import_module(f"downhill2.{module}"), name) is getattr(downhill2, name)


# -- what old scripts read


def test_old_scripts_read_hyperparameters_as_attributes():
    w = shared([1.0, 2.0], "w")
    opt = downhill2.RMSProp((w**2).sum(), learning_rate=0.5, momentum=0.25, rms_halflife=14, max_gradient_norm=3)
    assert opt.learning_rate.eval() == 0.5
    assert opt.momentum.eval() == 0.25
    assert opt.nesterov is False
    assert opt.max_gradient_norm.eval() == 3
    assert opt.max_gradient_elem.eval() == 0
    assert opt.epsilon.eval() == 1e-8
    assert opt.ewma.eval() == pytest.approx(np.exp(-np.log(2) / 14))
    assert (opt.patience, opt.validate_every, opt.min_improvement) == (5, 10, 0)


@pytest.mark.parametrize(
    ("algo", "names"),
    [
        ("rprop", ["step_increase", "step_decrease", "min_step", "max_step"]),
        ("adadelta", ["ewma", "epsilon"]),
        ("adagrad", ["epsilon"]),
        ("esgd", ["ewma", "epsilon"]),
        ("adam", ["beta1", "beta2", "epsilon"]),
    ],
)
def test_old_scripts_read_what_is_special_of_an_algorithm(algo, names):
    opt = downhill2.build(algo, shared(1.0) ** 2)
    assert all(np.isfinite(getattr(opt, name).eval()) for name in names)


def test_old_scripts_call_classes():
    w = shared([1.0, 2.0], "w")
    opt = downhill2.ESGD((w**2).sum(), params=[w], hv_method="grad")
    assert (opt.hv_method, opt.params) == ("grad", [w])


def test_old_scripts_read_name_and_rng_of_a_dataset():
    data = downhill2.Dataset([X], name="train", rng=3)
    assert data.name == "train"
    assert data.rng.random() == np.random.default_rng(3).random()


def test_old_scripts_reach_the_logger():
    assert downhill2.base.logging is logging.getLogger("downhill2")
    assert downhill2.climate.get_logger("mine").name == "downhill2.mine"


@pytest.mark.parametrize("name", ["max_gradient_clip", "gradient_clip"])
def test_deprecated_keywords_bound_elements(name):
    w = shared([8.0, 0.5], "w")
    with pytest.warns(DeprecationWarning, match=f"{name} is now called max_gradient_elem"):
        downhill2.minimize((w**2).sum(), None, algo="sgd", learning_rate=1, max_updates=1, **{name: 2})
    assert w.get_value().tolist() == [6, -0.5]


def test_old_half_lives_are_names_of_the_same_decays():
    w = shared([1.0], "w")
    opt = downhill2.build("adam", (w**2).sum(), beta1_halflife=7, beta2_halflife=69, rms_regularizer=1e-6)
    gamma = np.exp(-np.log(2) / np.array([7, 69]))
    assert [opt.hyper["beta1"], opt.hyper["beta2"], opt.hyper["epsilon"]] == pytest.approx([*gamma, 1e-6])


def test_an_algorithm_cannot_take_the_name_of_the_setting_momentum():
    with pytest.raises(TypeError, match="must not be called Momentum; its state would be that of the setting"):
        type("Momentum", (downhill2.Optimizer,), {})


def test_an_algorithm_that_replaces_one_of_another_module_is_told_of(registry, caplog):
    type("SGD", (downhill2.Optimizer,), {"__module__": "mine"})
    assert "the algorithm 'sgd' of downhill2.algorithms.sgd is replaced by that of mine" in caplog.text


@pytest.mark.parametrize("name", sorted(downhill2.list_algorithms()))
def test_every_name_of_an_optimizer_can_be_read_or_is_absent(name):
    opt = downhill2.build(name, (shared([1.0, 2.0], "w") ** 2).sum())
    assert dict(inspect.getmembers(opt))["hyper"] is opt.hyper
    for member in ("loss", "global_norm", "shape", "gradient"):
        with pytest.raises(AttributeError, match=f"{member} has a value inside direction only, if the rule declares"):
            getattr(opt.rule, member)


def test_what_a_rule_needs_is_forgotten_when_its_equation_has_run():
    opt = downhill2.build("polyak", (shared([1.0, 2.0], "w") ** 2).sum())
    opt.get_updates()
    assert not hasattr(opt, "loss")


def test_a_misspelt_hyperparameter_cannot_be_set():
    opt = downhill2.Adam(learning_rate=0.1)
    with pytest.raises(AttributeError, match="no hyperparameter 'learnin_rate'; did you mean 'learning_rate'"):
        opt.learnin_rate = 1
    opt.anything_else = 1  # a caller's own
    assert opt.anything_else == 1


PLACES = {
    **{
        name: f"no attribute {name!r} to set; give {name}= to minimize or iterate"
        for name in (*NAMES, "train", "valid")
    },
    **{
        name: f"no attribute {name!r} to set; give {name}= to build"
        for name in ("params", "monitors", "updates", "loss")
    },
    "max_epoch": "no attribute 'max_epoch' to set; give max_epochs= to minimize or iterate",
    "patiense": "no attribute 'patiense' to set; give patience= to minimize or iterate",
    "monitor_gradient": "no attribute 'monitor_gradient' to set; give monitor_gradients= to build",
    "rms_halflife": "no hyperparameter 'rms_halflife'; did you mean 'rho'",
    "momentun": "no hyperparameter 'momentun'; did you mean 'momentum'",
    "beta1": "no hyperparameter 'beta1'",
}
del PLACES["history"]  # the records, which a caller may keep and exchange


@pytest.mark.parametrize("name", PLACES)
def test_what_is_given_elsewhere_cannot_be_set_on_an_optimizer(name):
    opt = downhill2.RMSProp(learning_rate=0.1)
    before = dict(vars(opt))
    with pytest.raises(AttributeError, match=f"RMSProp has {PLACES[name]}"):
        setattr(opt, name, 3)
    assert vars(opt) == before


@pytest.mark.parametrize("name", ["nope", "note", "label", "experiment", "_max_epochs", "score"])
def test_a_caller_may_keep_notes_on_an_optimizer(name):
    opt = downhill2.RMSProp()
    setattr(opt, name, "a note")
    assert getattr(opt, name) == "a note"


def test_an_algorithm_may_have_attributes_that_are_called_like_settings(own_algorithms):
    class Mine(downhill2.SGD):
        rng = None

        def __init__(self, *args, **kwargs):
            self.keep = 3  # before there is an optimizer
            super().__init__(*args, **kwargs)
            self.rng = 5

    opt = Mine()
    opt.keep = 4
    assert (opt.keep, opt.rng) == (4, 5)


@pytest.mark.parametrize("name", ["stop", "minimize", "evaluate", "hyper", "rule", "fit", "context", "state", "groups"])
def test_what_every_optimizer_has_cannot_be_replaced(name):
    opt = downhill2.Adam(shared(1.0, "w") ** 2, learning_rate=0.1)
    before = {**vars(opt)}, {**vars(opt.rule)}
    with pytest.raises(AttributeError, match=f"'?{name}'?.*(cannot be replaced|give {name}= to build)"):
        setattr(opt, name, True)
    with pytest.raises(AttributeError):
        setattr(opt.rule, "hyper" if name == "rule" else name, True)
    assert ({**vars(opt)}, {**vars(opt.rule)}) == before


@pytest.mark.parametrize("name", ["lr", "eps", "betas", "epochs", "wd", "clipnorm", "verbose", "optimizer"])
def test_a_word_of_another_package_cannot_be_set_either(name):
    opt = downhill2.Adam(shared(1.0, "w") ** 2)
    for owner in (opt, opt.rule):
        with pytest.raises(AttributeError, match=f"Adam has no attribute '{name}' to set; write "):
            setattr(owner, name, 1)
    with pytest.raises(AttributeError, match=r"no attribute 'stop_training' to set; write opt.stop\('why'\)"):
        opt.stop_training = True


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"evaluate": lambda self, data: 3}, "Mine must not define 'evaluate': a subclass is the equation, and runs"),
        ({"minimize": lambda self: 3}, "Mine must not define 'minimize'"),
        ({"patience": property(lambda self: 99)}, "Mine must not define 'patience'"),
        (
            {"__init__": lambda self, loss, **hyper: None},
            "Mine.__init__ must take hyperparameters only, got",
        ),
    ],
    ids=["evaluate", "minimize", "patience", "loss"],
)
def test_a_subclass_says_nothing_of_runs(body, message, registry):
    for base in (downhill2.Optimizer, downhill2.SGD):
        with pytest.raises(TypeError, match=message):
            type("Mine", (base,), body)


@pytest.mark.parametrize("name", ["Optimizer", "Algorithm"])
def test_no_algorithm_is_called_as_all_of_them_are(name, registry):
    with pytest.raises(TypeError, match=f"an algorithm must not be called {name}, as all of them are"):
        downhill2.rule(lambda param, grad: grad, name=name)


def test_nothing_is_copied_in_part():
    opt = downhill2.Adam(shared(1.0, "w") ** 2, learning_rate=0.1)
    for whole in (opt, opt.rule, downhill2.SGD()):
        with pytest.raises(TypeError, match=r"must not be copied in part; copy.deepcopy copies all of it"):
            copy.copy(whole)
    assert copy.deepcopy(opt).hyper["learning_rate"] == 0.1


def test_an_optimizer_shows_few_names_and_says_what_it_is():
    for name in downhill2.list_algorithms():
        opt = downhill2.build(name, (shared([1.0, 2.0], "w") ** 2).sum(), max_global_norm=1.0)
        public = [n for n in dir(opt) if not n.startswith("_")]
        assert len(public) <= 40, name
        assert {"minimize", "learning_rate", "max_global_norm"} <= {*public}
        assert all(inspect.getdoc(getattr(type(opt), n)) for n in public if hasattr(type(opt), n))
    assert repr(opt).endswith(": 1 parameter with 2 values; 0 updates>")
    opt = downhill2.build("sgd", shared(1.0, "w") ** 2, learning_rate=0.25)
    opt.minimize(max_epochs=3)
    assert repr(opt) == "<SGD(learning_rate=0.25): 1 parameter with 1 value; 3 updates, stopped by max_epochs>"


def test_to_stop_what_does_not_run_does_nothing():
    opt = downhill2.Adam(shared(1.0, "w") ** 2)
    opt.stop("now")
    assert opt.stopped is None
