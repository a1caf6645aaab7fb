"""Bad input: a clear error at the call that is wrong, before compiling, and nothing changed."""

from __future__ import annotations

import inspect
import logging
import math
import re
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.fitting.settings import BESIDE_BUILD, NAMES
from downhill2.symbolic import synonyms
from downhill2.symbolic.algorithm import Algorithm
from downhill2.symbolic.declared import Hyper, Setting, declared

X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6.0)


@pytest.fixture(autouse=True)
def nothing_compiles(monkeypatch):
    """Make every compilation fail, but for those of `compiling_again`."""

    def refused(*args, **kwargs):
        raise AssertionError("compiled before the input was checked")

    monkeypatch.setattr(pytensor, "function", refused)


@pytest.fixture
def compiling_again(monkeypatch, nothing_compiles):
    monkeypatch.undo()


def shared(value, name=None, dtype="float64"):
    return pytensor.shared(np.array(value, dtype), name=name)


@pytest.fixture
def w():
    return shared([1.0, 2.0], "w")


def squares(x):
    return (x**2).sum()


def assert_refused(kind, message, call):
    """Check the type of the exception, exactly, and how its message begins."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


# -- loss


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda w: w, ValueError, "loss must be a scalar, got a vector with shape (?,); take its mean or sum"),
        (
            lambda w: pt.matrix(shape=(None, 10)) * w[0],
            ValueError,
            "loss must be a scalar, got a matrix with shape (?, 10); take its mean or sum",
        ),
        (lambda w: pt.tensor3() * w[0], ValueError, "loss must be a scalar, got a tensor with shape (?, ?, ?); take"),
        (lambda w: w.sum().astype("int64"), TypeError, "loss must be of a floating-point dtype, got int64"),
        (lambda w: 3.0, TypeError, "loss must be a PyTensor expression, got 3.0 of type float"),
        (lambda w: lambda: w, TypeError, "loss must be a PyTensor expression, got <function"),
    ],
)
def test_a_loss_that_is_no_scalar_float_is_refused(make, kind, message, w):
    loss = make(w)
    assert_refused(kind, message, lambda: downhill2.build("sgd", loss))
    assert_refused(kind, message, lambda: downhill2.minimize(loss, None))


@pytest.mark.parametrize("make", [lambda x, i: x.sum(), lambda x, i: (x * i).sum()])
def test_a_loss_without_parameters_is_refused(make):
    loss = make(pt.vector("x"), shared(2, "i", "int64"))
    message = "the loss has no parameters: no floating-point shared variable enters it; make parameters with"
    assert_refused(ValueError, message, lambda: downhill2.build("sgd", loss))
    assert_refused(
        ValueError, "params must have at least one shared variable, got none", lambda: downhill2.build("sgd", loss, [])
    )


# -- params


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda w: [w, shared(0.0, "other")],
            ValueError,
            "the loss does not depend on parameter 'other'; leave it out of params or use it in the loss",
        ),
        (lambda w: [w, shared(0.0)], ValueError, "the loss does not depend on parameter 'unnamed0'; leave it out"),
        (
            lambda w: [shared([1, 2], "n", "int64")],
            TypeError,
            "params must be of a floating-point dtype, got n (?,) int64",
        ),
        (lambda w: [pt.vector("x")], TypeError, "params must be shared tensors, got x of type TensorVariable"),
        (lambda w: [np.zeros(2)], TypeError, "params must be shared tensors, got array([0., 0.]) of type ndarray"),
        (
            lambda w: [pt.random.shared_rng(np.random.default_rng(0))],
            TypeError,
            "params must be shared tensors, got ",
        ),
        (lambda w: [w, w], ValueError, "params must be different variables, got ['w', 'w']"),
        (lambda w: w, TypeError, "params must be a sequence of shared variables, got w"),
        (lambda w: "w", TypeError, "params must be a sequence of shared variables, got 'w'"),
        (lambda w: 3, TypeError, "params must be a sequence of shared variables, got 3"),
    ],
)
def test_params_that_the_loss_cannot_be_minimized_by_are_refused(make, kind, message, w):
    params = make(w)
    assert_refused(kind, message, lambda: downhill2.build("sgd", squares(w), params))


def test_a_loss_too_deep_for_python_says_how_to_go_deeper(w):
    loss, limit = w.sum(), sys.getrecursionlimit()
    for _ in range(limit // 2):
        loss = pt.tanh(loss)
    message = rf"limit of {limit} allows; raise it before, for example by sys.setrecursionlimit\({10 * limit}\)"
    with pytest.raises(RecursionError, match=message):
        downhill2.build("sgd", loss)
    sys.setrecursionlimit(10 * limit)
    try:
        assert downhill2.build("sgd", loss).params == [w]
    finally:
        sys.setrecursionlimit(limit)


def test_a_parameter_without_a_gradient_is_refused(w):
    v = shared(1.0, "v")
    loss = squares(w) + pytensor.gradient.disconnected_grad(v)
    message = "the loss has no gradient with respect to parameter 'v'; leave it out of params (v () float64 reaches"
    assert_refused(ValueError, message, lambda: downhill2.build("sgd", loss))


# -- algorithm and hyperparameters


@pytest.mark.parametrize(
    ("algo", "kind", "message"),
    [
        ("adm", ValueError, "unknown algorithm 'adm'; did you mean 'adam'? downhill2.list_algorithms() lists all"),
        ("zzzz", ValueError, "unknown algorithm 'zzzz'; downhill2.list_algorithms() lists all"),
        (None, TypeError, "algo must be a name or a subclass of Optimizer, got None"),
        (dict, TypeError, "algo must be a name or a subclass of Optimizer, got <class 'dict'>"),
    ],
)
def test_an_unknown_algorithm_is_refused(algo, kind, message, w):
    assert_refused(kind, message, lambda: downhill2.build(algo, squares(w)))
    assert_refused(kind, message, lambda: downhill2.minimize(squares(w), None, algo=algo))


HYPER = [
    ({"learning_rat": 0.1}, TypeError, "Adam has no hyperparameter 'learning_rat'; did you mean 'learning_rate'?"),
    ({"patiense": 3}, TypeError, "there is no option 'patiense'; did you mean 'patience'?"),
    ({"learning_rate": -1}, ValueError, "learning_rate must be at least 0, got -1.0"),
    ({"learning_rate": np.nan}, ValueError, "learning_rate must be at least 0, got nan"),
    ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, a shared variable, a symbolic scalar or"),
    ({"learning_rate": pt.vector("r")}, TypeError, "learning_rate must be a scalar, got Vector(float64, shape=(?,))"),
    ({"learning_rate": pytensor.shared(-0.5)}, ValueError, "learning_rate must be at least 0, got -0.5"),
    ({"beta1": 1}, ValueError, "beta1 must be in [0, 1), got 1.0"),
    ({"beta2": -0.1}, ValueError, "beta2 must be in [0, 1), got -0.1"),
    ({"momentum": 1.5}, ValueError, "momentum must be in [0, 1), got 1.5"),
    ({"beta1_halflife": 0}, ValueError, "beta1_halflife must be positive, got 0"),
    ({"beta2_halflife": -7}, ValueError, "beta2_halflife must be positive, got -7"),
    ({"beta1": 0.9, "beta1_halflife": 7}, TypeError, "beta1 and beta1_halflife are the same hyperparameter; give one"),
    ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0, got -1.0"),
    ({"max_global_norm": -1}, ValueError, "max_global_norm must be at least 0, got -1.0"),
    ({"epsilon": -1e-8}, ValueError, "epsilon must be at least 0, got -1e-08"),
    ({"decay": "L2"}, ValueError, "decay must be 'coupled', 'decoupled', 'independent' or 'proximal', got 'L2'"),
    ({"nesterov": 1}, TypeError, "nesterov must be True or False, got 1"),
]


@pytest.mark.parametrize(("given", "kind", "message"), HYPER, ids=str)
def test_a_wrong_hyperparameter_is_refused_wherever_it_is_given(given, kind, message, w):
    assert_refused(kind, message, lambda: downhill2.build("adam", squares(w), **given))
    assert_refused(kind, message, lambda: downhill2.minimize(squares(w), None, algo="adam", max_epochs=1, **given))
    opt = downhill2.build("adam", squares(w), learning_rate=0.5)
    before, version = dict(opt.hyper), opt.hyper.version
    for call in (opt.iterate, opt.minimize):
        assert_refused(kind, message, lambda call=call: call(max_epochs=1, momentum_rate="outside", **given))
    with pytest.raises(kind):  # there are no settings of a run whose names could be meant
        opt.get_updates(momentum_rate="outside", **given)
    assert (dict(opt.hyper), opt.hyper.version) == (before, version)
    assert opt.state == {}
    assert w.get_value().tolist() == [1, 2]


def test_settings_of_a_run_are_no_hyperparameters_of_build(w):
    message = "max_updates is an option of a run; give it to minimize or iterate"
    assert_refused(TypeError, message, lambda: downhill2.build("sgd", squares(w), max_updates=3))


@pytest.mark.parametrize("how", ["build", "iterate"])
def test_a_hyperparameter_of_an_input_that_data_does_not_feed_is_refused(how, w):
    x, other = pt.vector("x"), pt.scalar("other")
    given = {"learning_rate": other * 2}
    opt = downhill2.SGD(((x - w[0]) ** 2).mean(), **(given if how == "build" else {}))
    message = "learning_rate must depend on shared variables or inputs of the loss, got other"
    assert_refused(ValueError, message, lambda: opt.iterate([np.ones(2)], rng=0, **(given if how == "iterate" else {})))


# -- monitors


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda w: [("a", w.sum()), ("a", w.max())], ValueError, "{} must have unique names, got 'a' twice"),
        (lambda w: {"loss": w.sum()}, ValueError, "{} must not be called 'loss', which is always reported"),
        (lambda w: {"w": w}, ValueError, "{} must be scalars, got Vector(float64, shape=(?,)) for 'w'; take its mean"),
        (lambda w: {"w": 3.0}, TypeError, "{} must be PyTensor expressions, got 3.0 for 'w'"),
        (lambda w: [(w.sum(), "w")], TypeError, "{} must be named by strings, got Sum"),
        (lambda w: [w.sum()], TypeError, "{} must be a dict or a sequence of pairs, got Sum"),
        (lambda w: [("a", w.sum(), 1)], TypeError, "{} must be a dict or a sequence of pairs, got ('a', "),
        (lambda w: w.sum(), TypeError, "{} must be a dict or a sequence of pairs, got Sum"),
        (lambda w: "loss", TypeError, "{} must be a dict or a sequence of pairs, got 'loss'"),
    ],
)
def test_wrong_monitors_are_refused(make, kind, message, w):
    monitors = make(w)
    assert_refused(kind, message.format("monitors"), lambda: downhill2.SGD(squares(w), monitors=monitors))
    opt = downhill2.SGD(squares(w))
    for call in (opt.iterate, opt.minimize):
        assert_refused(
            kind,
            message.format("valid_monitors"),
            lambda call=call: call(max_epochs=1, learning_rate=0.5, valid_monitors=monitors),
        )
    assert opt.hyper["learning_rate"] == 1e-4


def test_a_monitor_must_not_have_the_name_of_a_gradient(w):
    message = "monitors must have unique names, got 'grad(w)' twice"
    given = {"monitors": {"grad(w)": w.sum()}}
    assert_refused(ValueError, message, lambda: downhill2.SGD(squares(w), **given, monitor_gradients=True))
    downhill2.SGD(squares(w), **given)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"valid_loss": pt.vector("x")}, ValueError, "valid_loss must be a scalar, got a vector with shape (?,)"),
        ({"valid_loss": 3}, TypeError, "valid_loss must be a PyTensor expression, got 3 of type int"),
        ({"valid_loss": pt.scalar("z")}, ValueError, "valid_loss and valid_monitors must use the inputs of the loss"),
        ({"valid_monitors": {"z": pt.scalar("z")}}, ValueError, "valid_loss and valid_monitors must use the inputs"),
    ],
)
def test_wrong_expressions_to_validate_by_are_refused(given, kind, message, w):
    opt = downhill2.SGD(squares(w))
    assert_refused(kind, message, lambda: opt.minimize(max_epochs=1, learning_rate=0.5, **given))
    assert opt.hyper["learning_rate"] == 1e-4
    given = {name.removeprefix("valid_"): value for name, value in given.items()}
    assert_refused(kind, message.replace("valid_", ""), lambda: opt.evaluate(None, **given))


# -- inputs and updates


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda x, y, w: [x], ValueError, "inputs must have every input of the loss, got none for y"),
        (lambda x, y, w: [x, y, w], TypeError, "inputs must be symbolic inputs such as pt.matrix('x'), got w"),
        (lambda x, y, w: [x, 2 * y], TypeError, "inputs must be symbolic inputs such as pt.matrix('x'), got Mul"),
        (lambda x, y, w: ["x", "y"], TypeError, "inputs must be symbolic inputs such as pt.matrix('x'), got 'x'"),
        (lambda x, y, w: x, TypeError, "inputs must be a sequence of symbolic inputs, got x"),
    ],
)
def test_wrong_inputs_are_refused(make, kind, message, w):
    x, y = pt.matrix("x"), pt.vector("y")
    loss = ((x @ w - y) ** 2).mean()
    assert_refused(kind, message, lambda: downhill2.SGD(loss, inputs=make(x, y, w)))


COUNT = shared(0, "count", "int64")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda w: {w: w + 1}, ValueError, "updates must not change parameter 'w'; the optimizer does"),
        (lambda w: [(COUNT, COUNT + 1)] * 2, ValueError, "updates must change each variable once, got 'count' twice"),
        (lambda w: [(pt.scalar("x"), COUNT)], TypeError, "updates must change shared variables, got x"),
        (lambda w: [("count", COUNT)], TypeError, "updates must change shared variables, got 'count'"),
        (
            lambda w: {COUNT: COUNT + 0.5},
            TypeError,
            "updates must keep the type of 'count', Scalar(int64, shape=()), got Scalar(float64, shape=())",
        ),
        (
            lambda w: {COUNT: pt.stack([COUNT, COUNT])},
            TypeError,
            "updates must keep the type of 'count', Scalar(int64, shape=()), got Vector(int64, shape=(2,))",
        ),
        (
            lambda w: {pt.random.shared_rng(np.random.default_rng(0), name="rng"): COUNT},
            TypeError,
            "updates must keep the type of 'rng', RandomGeneratorType, got Scalar(int64, shape=())",
        ),
        (lambda w: COUNT, TypeError, "updates must be a dict or a sequence of pairs, got count"),
        (lambda w: 3, TypeError, "updates must be a dict or a sequence of pairs, got 3"),
    ],
)
def test_wrong_updates_are_refused(make, kind, message, w):
    updates = make(w)
    assert_refused(kind, message, lambda: downhill2.SGD(squares(w), [w], updates=updates))


# -- data


@pytest.fixture
def opt(w):
    x, y = pt.matrix("x"), pt.vector("y")
    return downhill2.SGD(((x @ w - y) ** 2).mean(), momentum=0.5, learning_rate=0.25)


class Endless:
    def __iter__(self):
        yield from ()


DATA = [
    ([X], ValueError, "train must have one array per input: the loss needs ['x', 'y'], got 1 array"),
    ([X, Y, Y], ValueError, "train must have one array per input: the loss needs ['x', 'y'], got 3 arrays"),
    (X, ValueError, "train must have one array per input: the loss needs ['x', 'y'], got 1 array"),
    ([X, Y[:5]], ValueError, "train: arrays must have the same length along axis 0, got 6 and 5"),
    ([X[:0], Y[:0]], ValueError, "train must have at least one row along axis 0, got shape (0, 2)"),
    ([], ValueError, "inputs must hold a"),
    ([Y, X], ValueError, "train: input 'x' must have 2 dimensions, got shape (6,)"),
    ([X * 1j, Y], TypeError, "train: input 'x' must hold values that float64 can hold, got complex128"),
    ([X.astype(str), Y], TypeError, "train: input 'x' must hold values that float64 can hold, got <U"),
    (None, ValueError, "train: batch 0 must be a sequence of 2 arrays, one per input ['x', 'y'], got 0"),
    (3, TypeError, "inputs must be arrays, batches, a callable or an iterable of batches, got int"),
    ("data.csv", TypeError, "inputs must be arrays, batches, a callable or an iterable of batches, got str"),
    (iter([[X, Y]]), ValueError, "inputs must be iterable again and again, got list_iterator, which cannot be rest"),
    (lambda: None, TypeError, "train: batch 0 must be a sequence of 2 arrays, one per input ['x', 'y'], got NoneType"),
    (lambda: [X], ValueError, "train: batch 0 must be a sequence of 2 arrays, one per input ['x', 'y'], got 1"),
    (lambda: [X, "y"], TypeError, "train: batch 0 must hold arrays, got str"),
    (lambda: [X, X], ValueError, "train: batch 0: input 'y' must have 1 dimensions, got shape (6, 2)"),
    (lambda n: [X, Y], TypeError, "inputs must be callable without arguments, got <function"),
    (Endless(), ValueError, "train must yield at least one batch each time it is iterated, got none"),
]


@pytest.mark.parametrize(("train", "kind", "message"), DATA, ids=[message for *_, message in DATA])
def test_wrong_data_is_refused_and_nothing_changes(train, kind, message, opt, w):
    before, version = dict(opt.hyper), opt.hyper.version
    for call in (opt.iterate, opt.minimize):
        assert_refused(kind, message, lambda call=call: call(train, max_epochs=1, learning_rate=0.5, rng=0))
    assert (dict(opt.hyper), opt.hyper.version, opt.state) == (before, version, {})
    assert w.get_value().tolist() == [1, 2]
    assert opt.stopped is None


def test_wrong_validation_data_is_refused_too(opt):
    message = "valid: arrays must have the same length along axis 0, got 6 and 5"
    assert_refused(ValueError, message, lambda: opt.iterate([X, Y], [X, Y[:5]], learning_rate=0.5, rng=0))
    assert opt.hyper["learning_rate"] == 0.25


def test_data_to_evaluate_is_checked(opt):
    message = "valid must have one array per input: the loss needs ['x', 'y'], got 1 array"
    assert_refused(ValueError, message, lambda: opt.evaluate([X]))


def test_data_for_an_integer_input_must_be_integers(w):
    x = pt.lvector("x")
    opt = downhill2.SGD((w[0] * x).sum())
    message = "train: input 'x' must hold values that int64 can hold, got float64"
    assert_refused(TypeError, message, lambda: opt.iterate([Y], rng=0))


def test_float64_data_for_a_float32_input_are_cast_and_that_is_logged_once(compiling_again, caplog):
    x, w = pt.vector("x", dtype="float32"), shared(0.0, "w", "float32")
    opt = downhill2.SGD(((x - w) ** 2).mean())
    data = downhill2.Dataset([Y], batch_size=2, rng=0)
    with caplog.at_level(logging.INFO, "downhill2"):
        opt.minimize(data, max_epochs=2, validate_every=1)
        opt.minimize(data, max_epochs=1)
    assert [m for m in caplog.messages if "cast" in m] == ["dataset: input 'x' is cast from float64 to float32"]


def test_a_callable_that_turns_wrong_later_is_named_with_its_batch(compiling_again, opt):
    calls = []

    def batch():
        calls.append(0)
        return [X, Y] if len(calls) < 3 else 3.5

    message = "train: batch 2 must be a sequence of 2 arrays, one per input ['x', 'y'], got float"
    assert_refused(TypeError, message, lambda: opt.minimize(batch, [X, Y], max_epochs=1))
    assert opt.stopped == "exception: TypeError"


def test_an_epoch_without_a_batch_is_an_error(compiling_again, opt):
    class Once:
        passes = 0

        def __iter__(self):
            Once.passes += 1
            return iter([[X, Y]] if Once.passes == 1 else [])

    with pytest.raises(ValueError, match="train must yield at least one batch each time it is iterated, got none"):
        opt.minimize(Once(), [X, Y], max_epochs=2)


def test_data_whose_first_batches_weigh_nothing_cannot_be_averaged(compiling_again, opt):
    data = downhill2.Dataset([X, Y], "mine", 2, 1, rng=0, weights=[0, 0, 1, 1, 1, 1])
    message = "mine must have at least one batch with a positive weight, got none"
    assert_refused(ValueError, message, lambda: opt.evaluate(data))


# -- runs


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"patience": -1}, ValueError, "patience must be at least 0, got -1"),
        ({"validate_every": 0}, ValueError, "validate_every must be at least 1, got 0"),
        ({"max_updates": 1.5}, TypeError, "max_updates must be an integer, got 1.5"),
        ({"min_improvement": "0"}, TypeError, "min_improvement must be a number, got '0'"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer, got 2.5"),
        ({"train_batches": 0}, ValueError, "train_batches must be at least 1, got 0"),
        ({"shuffle": "row"}, ValueError, "shuffle must be 'rows', 'batches' or False, got 'row'"),
        ({"rng": "seed"}, TypeError, "rng must be an integer or a random generator of NumPy, got 'seed'"),
        (
            {"validate_every": None, "max_epochs": None},
            ValueError,
            "minimize must have an end, got validate_every=None and no limit; give max_updates, max_epochs, max_se",
        ),
    ],
    ids=str,
)
def test_wrong_settings_of_a_run_are_refused_and_nothing_changes(given, kind, message, opt):
    settings = {"max_epochs": 1, "learning_rate": 0.5, "rng": 0, **given}
    assert_refused(kind, message, lambda: opt.minimize([X, Y], **settings))
    assert (opt.hyper["learning_rate"], opt.stopped) == (0.25, None)


def test_a_run_that_may_go_on_for_ever_is_iterates_alone(compiling_again, opt):
    run = opt.iterate([X, Y], validate_every=None, rng=0)
    next(run)
    run.close()
    assert opt.stopped == "closed"


# -- parameters


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        ("best", ValueError, "targets must be arrays while there are no best parameters, got 'best'"),
        ([np.ones(2)], ValueError, "targets must be arrays of shapes [(2,), ()], got [(2,)]"),
        ([np.ones(3), 1], ValueError, "targets must be arrays of shapes [(2,), ()], got [(3,), ()]"),
        ([np.ones(2), "x"], TypeError, "targets must be arrays of real numbers, got <U1"),
        ([np.ones(2), 1j], TypeError, "targets must be arrays of real numbers, got complex128"),
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused_and_no_parameter_changes(targets, kind, message):
    v, w = shared([5.0, 5.0], "v"), shared(5.0, "w")
    opt = downhill2.SGD(squares(v) + w**2)
    assert_refused(kind, message, lambda: opt.set_params(targets))
    assert (v.get_value().tolist(), w.get_value()) == ([5, 5], 5)


def test_what_needs_a_loss_says_so():
    message = "SGD needs a loss for 'minimize'; make an optimizer by SGD(loss, ...) or build"
    assert_refused(AttributeError, message, lambda: downhill2.SGD().minimize(max_epochs=1))


def _fitted(**settings):
    w = pytensor.shared(np.ones(2), name="w")
    downhill2.minimize((w**2).sum(), None, algo="sgd", max_updates=1, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"learning_rate": downhill2.schedules.Cosine},
            "learning_rate must be a schedule, got the class Cosine; call it to make one",
        ),
        (
            {"callbacks": [downhill2.trackers.CSV]},
            "callbacks must be functions or objects, got the class CSV; call it to make one",
        ),
        ({"checkpoint": 3}, "checkpoint must be a path, got 3"),
        ({"history": ["a"]}, r"history must be a path, got \['a'\]"),
    ],
    ids=str,
)
def test_a_class_in_place_of_its_object_and_a_path_that_is_none_are_named(settings, message):
    with pytest.raises(TypeError, match=message):
        _fitted(**settings)


def test_an_error_in_a_schedule_tells_which_it_is():
    with pytest.raises(TypeError, match="cannot be converted to Python float") as raised:
        _fitted(learning_rate=lambda n: math.exp(-n))
    [note] = raised.value.__notes__
    assert note.startswith(
        "raised by the schedule of learning_rate, a function of a symbolic count: use pytensor.tensor"
    )


@pytest.mark.parametrize(("name", "near"), [("param", "params"), ("parmas", "params"), ("algos", "algo")])
def test_a_misspelt_selection_of_a_group_is_told_from_a_setting(name, near):
    w = pytensor.shared(np.ones(2), name="w")
    message = rf"groups\[0\] has no setting '{name}'; did you mean '{near}'\?"
    with pytest.raises(TypeError, match=message):
        downhill2.build("sgd", (w**2).sum(), groups=[{name: w}])


# -- words of other packages


def every(table):
    return [(word, written) for written, words in table.items() for word in words.split()]


def all_hyperparameters():
    return {n for cls in own_classes() for d in declared(cls, Hyper | Setting).values() for n in d.names}


def own_classes():
    return [c for c in downhill2.Optimizer.registry.values() if c.__module__.startswith("downhill2.algorithms.")]


def test_what_the_tables_of_synonyms_say_to_write_is_there(own_algorithms):
    known = {*all_hyperparameters(), *BESIDE_BUILD}
    for written in [*synonyms.KEYWORDS, *synonyms.ALGORITHMS]:
        assert {*re.findall(r"\b(\w+)=", written)} <= known, written
    for written in [*synonyms.ALGORITHMS, *synonyms.LACKING]:
        assert {*re.findall(r"algo='(\w+)'|^'(\w+)'", written)} <= {(n, "") for n in downhill2.Optimizer.registry} | {
            ("", n) for n in downhill2.Optimizer.registry
        }, written
    opt = downhill2.build("adam", pytensor.shared(1.0, name="w") ** 2)
    for attribute in ("params", "groups", "hyper", "learning_rate"):
        assert attribute in synonyms.METHODS
        assert hasattr(opt, attribute)


def test_no_word_of_the_tables_of_synonyms_is_one_of_ours(own_algorithms):
    common = {n for d in declared(Algorithm, Hyper | Setting).values() for n in d.names}
    assert not {word for word, _ in every(synonyms.KEYWORDS)} & {*common, *BESIDE_BUILD}
    words = {word for word, _ in every(synonyms.ALGORITHMS)} | {word for word, _ in every(synonyms.LACKING)}
    assert not words & {*downhill2.Optimizer.registry}
    opt = downhill2.build("adam", pytensor.shared(1.0, name="w") ** 2)
    assert [word for word, _ in every(synonyms.METHODS) if hasattr(opt, word)] == ["fit"]


@pytest.mark.parametrize("word", sorted({word for word, _ in every(synonyms.KEYWORDS)}))
def test_a_keyword_of_another_package_is_refused_with_what_to_write(word):
    """By an algorithm that has what is meant."""
    written = [text for w, text in every(synonyms.KEYWORDS) if w == word]
    named = {*re.findall(r"\b(\w+)=", written[-1])}
    algo = next(c for c in [downhill2.Adam, *own_classes()] if word not in names_of(c) and named <= names_of(c))
    with pytest.raises(TypeError) as caught:
        downhill2.updates(algo=algo, **{word: 1})
    message = str(caught.value)
    assert re.match(rf"there is no option '{word}'; write |\w+ has no hyperparameter '{word}'; write ", message)
    assert written[-1] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr", "Adam has no hyperparameter 'lr'; write learning_rate="),
        ("epochs", "there is no option 'epochs'; write max_epochs="),
        ("optimizer", "there is no option 'optimizer'; write algo="),
    ],
)
def test_a_keyword_of_another_package_is_refused_wherever_keywords_are_taken(word, message, w):
    opt, given = downhill2.build("adam", squares(w)), {word: 1}
    calls = [
        lambda: downhill2.build("adam", squares(w), **given),
        lambda: downhill2.Adam(squares(w), **given),
        lambda: downhill2.build("adam", squares(w), groups=[given]),
        lambda: downhill2.minimize(squares(w), None, algo="adam", **given),
        lambda: opt.minimize(max_epochs=1, **given),
        lambda: opt.iterate(**given),
        lambda: opt.get_updates(**given),
        lambda: downhill2.find_learning_rate(squares(w), None, algo="adam", **given),
    ]
    for call in calls:
        assert_refused(TypeError, message, call)
    estimator = downhill2.sklearn.Estimator(kind="regressor", algo="adam", **given)
    assert_refused(TypeError, message, lambda: estimator.fit(X, Y))


def names_of(cls):
    return {n for d in declared(cls, Hyper | Setting).values() for n in d.names} | {*BESIDE_BUILD}


OPTIONS_OF_A_RUN = [n for n in NAMES if n != "backend"]


@pytest.mark.parametrize("name", [*OPTIONS_OF_A_RUN, "train", "valid"])
def test_an_option_of_a_run_is_not_called_a_hyperparameter(name, w):
    opt = downhill2.build("adam", squares(w))
    calls = [lambda: downhill2.build("adam", squares(w), **{name: 1}), lambda: opt.get_updates(**{name: 1})]
    for call in [*calls, lambda: downhill2.updates(**{name: 1})]:
        assert_refused(TypeError, f"{name} is an option of a run; give it to minimize or iterate", call)


OF_BUILD = [n for n in inspect.signature(downhill2.build).parameters if n not in ("backend", "hyper")]


@pytest.mark.parametrize("name", OF_BUILD)
def test_what_build_takes_is_refused_by_a_run_with_where_it_belongs(name, w):
    opt = downhill2.build("adam", squares(w))
    for call in (opt.iterate, opt.minimize, opt.get_updates):
        message = f"{name} is part of what is optimized; give it to build or downhill2.minimize"
        assert_refused(TypeError, message, lambda call=call: call(**{name: 1}))


@pytest.mark.parametrize(("word", "written"), every(synonyms.ALGORITHMS) + every(synonyms.LACKING))
def test_an_algorithm_by_another_name_or_that_there_is_not_is_refused_with_what_there_is(
    word, written, w, own_algorithms
):
    hint = f"write {written}" if written in synonyms.ALGORITHMS else f"there is none here, and {written} is the nearest"
    message = f"unknown algorithm {word!r}; {hint}; downhill2.list_algorithms() lists all"
    assert_refused(ValueError, message, lambda: downhill2.build(word, squares(w)))
    spelt = "-".join(word).title()
    assert_refused(ValueError, f"unknown algorithm {spelt!r}; {hint}", lambda: downhill2.updates(algo=spelt))


@pytest.mark.parametrize(("name", "said"), [("Muon", "'adamw' is the nearest"), ("Momentum", "write algo='sgd', mom")])
def test_a_class_that_there_is_not_is_refused_like_its_name(name, said):
    with pytest.raises(AttributeError, match=f"^module 'downhill2' has no attribute '{name}'; .*{said}"):
        getattr(downhill2, name)


@pytest.mark.parametrize(("name", "written"), every(synonyms.METHODS))
def test_a_method_of_other_packages_is_refused_with_what_to_call(name, written, w):
    opt = downhill2.build("adam", squares(w))
    if name == "fit":  # which is there, and no method
        assert_refused(TypeError, f"fit must not be called; write {written}", lambda: opt.fit(None))
        return
    with pytest.raises(AttributeError) as caught:
        getattr(opt, name)
    assert str(caught.value) == f"'Adam' object has no attribute {name!r}; write {written}"
    assert not hasattr(opt, name)


def test_an_attribute_that_nobody_knows_is_refused_as_python_does_it(w):
    with pytest.raises(AttributeError, match=r"^'Adam' object has no attribute 'nope'$") as caught:
        downhill2.build("adam", squares(w)).nope  # noqa: B018 - reading it is the point
    assert caught.value.name == "nope"


def test_an_attribute_error_inside_a_property_is_not_hidden(w):
    class Broken(downhill2.SGD):
        @property
        def quality(self):
            return None.real

    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'real'"):
        Broken(squares(w)).quality  # noqa: B018 - reading it is the point


def test_an_optimizer_where_a_package_wants_a_function_says_what_to_write(w):
    gradients = [pt.vector("g")]
    message = "Adam must not be called; where a package calls its optimizer with gradients, write downhill2.updates("
    built = downhill2.build("adam", squares(w), learning_rate=0.1)
    assert_refused(TypeError, f"{message}algo='adam', learning_rate=0.1)", lambda: built(gradients, [w]))
    assert_refused(TypeError, f"{message}algo='adam')", lambda: downhill2.Adam()(gradients, [w]))
    with pytest.raises(
        TypeError, match=r"; for gradients, as PyMC gives them, write downhill2\.updates\(algo=\.\.\.\)$"
    ):
        downhill2.Adam(gradients, [w])  # as pm.fit(obj_optimizer=downhill2.Adam) does


def test_an_optimizer_in_place_of_its_name_says_what_to_write(w):
    made = downhill2.Adam(learning_rate=0.1, momentum=0.5, nesterov=True)
    message = (
        "algo must be a name or a subclass of Optimizer, got Adam(learning_rate=0.1, momentum=0.5, nesterov=True); "
        "write algo='adam', learning_rate=0.1, momentum=0.5, nesterov=True"
    )
    assert_refused(TypeError, message, lambda: downhill2.minimize(squares(w), None, algo=made))
    assert repr(downhill2.build("sgd", squares(w))) == "<SGD(): 1 parameter with 2 values; 0 updates>"


@pytest.mark.parametrize(
    "data", [[X.tolist(), Y.tolist()], (X.tolist(), Y.tolist()), X.tolist(), [[1.0], [2.0], [3.0]]]
)
def test_lists_of_lists_in_place_of_arrays_get_a_hint(data, w):
    x, y = pt.matrix("x"), pt.vector("y")
    with pytest.raises(
        ValueError, match=r"a list of lists is read as batches: give each input as one array, np.asarray"
    ):
        downhill2.minimize(((x @ w - y) ** 2).mean(), data, max_epochs=1)


def test_a_list_in_place_of_one_of_the_arrays_gets_a_hint(w):
    x, y = pt.matrix("x"), pt.vector("y")
    with pytest.raises(TypeError, match=r"got a tuple of list and ndarray; make it an array, np\.array"):
        downhill2.minimize(((x @ w - y) ** 2).mean(), (X.tolist(), Y), max_epochs=1)


def test_a_callback_of_keras_gets_a_hint(w):
    class Callback:
        def on_epoch_end(self, epoch, logs): ...

    with pytest.raises(TypeError, match="; its on_epoch_end is the function to give"):
        downhill2.minimize(squares(w), None, callbacks=[Callback()], max_epochs=1)
