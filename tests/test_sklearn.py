"""Estimators behave as scikit-learn's own do, and learn what its own learn."""

from __future__ import annotations

import gc
import pickle
import sys
import weakref
from collections import Counter

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import downhill2
from downhill2.integrations.networks import Model, Network, Pool
from downhill2.integrations.sklearn import Estimator, linear_regression, softmax_regression

QUICK = {"algo": "adam", "learning_rate": 0.3, "max_epochs": 20, "batch_size": 0, "validate_every": None}


def bump(n_features, n_outputs, rng):
    """A hidden layer, probabilities of classes against ones and zeros."""
    x, y = pt.matrix("x"), pt.matrix("y")
    W = pytensor.shared(rng.normal(scale=0.1, size=(n_features, 12)), name="W")
    V = pytensor.shared(rng.normal(scale=0.1, size=(12, n_outputs)), name="V")
    log_p = pt.special.log_softmax(pt.tanh(x @ W) @ V, axis=1)
    return [x], y, pt.exp(log_p), -(y * log_p).sum(axis=1).mean()


def logistic(n_features, n_outputs, rng):
    """Two classes: one probability, zeros and ones of a floating-point dtype."""
    x, y = pt.fmatrix("x"), pt.fvector("y")
    w = pytensor.shared(np.zeros(n_features, "float32"), name="w")
    b = pytensor.shared(np.zeros((), "float32"), name="b", shape=())
    score = x @ w + b
    return x, y, pt.sigmoid(score), pt.softplus(score * (1 - 2 * y)).mean()


def vector_regression(n_features, n_outputs, rng):
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.zeros(n_features), name="w"), pytensor.shared(np.zeros(()), name="b", shape=())
    prediction = x @ w + b
    return x, y, prediction, ((prediction - y) ** 2).mean()


def random_features(n_features, n_outputs, rng):
    """Constants that are drawn: another graph for each seed."""
    x, y = pt.matrix("x"), pt.matrix("y")
    w = pytensor.shared(np.zeros((5, n_outputs)), name="w")
    prediction = pt.cos(x @ rng.normal(size=(n_features, 5))) @ w
    return x, y, prediction, ((prediction - y) ** 2).mean()


def noisy(n_features, n_outputs, rng):
    """Noise on the inputs while it is trained, none where it predicts."""
    x, y, p, _ = softmax_regression(n_features, n_outputs, rng)
    generator = pt.random.shared_rng(np.random.default_rng(rng.integers(100)))
    with pytest.warns(DeprecationWarning, match="default_update"):
        generator.default_update, noise = generator.normal(scale=0.1, size=x.shape)
    loss = -pt.log(pytensor.graph.clone_replace(p, {x: x + noise}))[pt.arange(y.shape[0]), y].mean()
    return x, y, p, loss


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(Estimator(**QUICK), id="classes", marks=pytest.mark.thorough),
        pytest.param(Estimator(linear_regression, "regressor", **QUICK), id="numbers"),
    ],
)
def test_it_passes_the_checks_of_scikit_learn(estimator):
    results = check_estimator(estimator, on_fail=None)
    wrong = [(r["check_name"], r["exception"]) for r in results if r["status"] not in ("passed", "skipped")]
    assert not wrong
    # with an environment variable it would check arrays of other libraries
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert Counter(r["status"] for r in results)["passed"] > 45


def test_it_is_found_on_the_package():
    assert downhill2.sklearn.Estimator is Estimator


def test_without_scikit_learn_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "downhill2.integrations.sklearn")
    monkeypatch.delitem(vars(downhill2), "sklearn", raising=False)
    with pytest.raises(ImportError, match=r"sklearn.*pip install 'downhill2\[sklearn\]'"):
        _ = downhill2.sklearn


# -- real data


def test_a_network_in_a_pipeline_is_searched_over_digits(digits):
    settings = {"algo": "adam", "max_epochs": 12, "batch_size": 100, "random_state": 0, "validate_every": None}
    pipeline = make_pipeline(StandardScaler(), Estimator(bump, **settings))
    grid = {"estimator__learning_rate": [1e-4, 0.03], "estimator__weight_decay": [0, 1e-4]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(*digits.train)
    assert search.best_params_["estimator__learning_rate"] == 0.03
    assert search.score(*digits.valid) > 0.84
    assert search.best_estimator_[-1].get_params()["weight_decay"] == search.best_params_["estimator__weight_decay"]


@pytest.mark.parametrize("model", [linear_regression, vector_regression])
def test_a_linear_regressor_finds_least_squares(diabetes, model):
    X, y = diabetes
    settings = {"algo": "adam", "learning_rate": 0.03, "max_epochs": 400, "batch_size": 0, "validate_every": 100}
    ours, exact = Estimator(model, "regressor", **settings).fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(ours.predict(X), exact.predict(X), atol=0.02)
    assert ours.score(X, y) == pytest.approx(exact.score(X, y), abs=1e-3)
    assert ours.predict(X).shape == y.shape


@pytest.mark.parametrize("columns", [1, 3])
def test_a_regressor_returns_the_shape_it_was_fitted_to(diabetes, columns):
    X, y = diabetes
    Y = np.column_stack([y, X[:, 0], y - X[:, 1]])[:, :columns]
    ours = Estimator(linear_regression, "regressor", **{**QUICK, "max_epochs": 200}).fit(X, Y)
    assert ours.n_outputs_ == columns
    np.testing.assert_allclose(ours.predict(X), LinearRegression().fit(X, Y).predict(X), atol=0.1)


def test_one_probability_is_enough_for_two_classes():
    X, y = load_breast_cancer(return_X_y=True)
    X, labels = StandardScaler().fit_transform(X), np.array(["malignant", "benign"])[y]
    ours = Estimator(logistic, **QUICK).fit(X, labels)
    assert list(ours.classes_) == ["benign", "malignant"]
    p = ours.predict_proba(X)
    assert p.shape == (len(X), 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert ours.score(X, labels) > 0.97
    assert log_loss(labels, p) < 0.1
    assert ours.params_["w"].dtype == "float32"


def test_held_out_rows_stop_training_and_are_a_part_of_each_class(digits):
    settings = {"algo": "adam", "learning_rate": 0.1, "validate_every": 1, "patience": 2, "batch_size": 100}
    seen = {}

    def spy(opt, record):
        seen[record.epoch] = record.valid["loss"]

    ours = Estimator(bump, validation_fraction=0.25, random_state=0, callbacks=[spy], **settings).fit(*digits.train)
    assert ours.stopped_ == "patience"
    best = min(seen, key=seen.get)
    assert best == max(seen) - 3
    assert [r.epoch for r in ours.history_ if r.improved][-1] == best
    assert ours.score(*digits.valid) > 0.85


# -- parameters


def test_settings_are_parameters_of_an_estimator():
    ours = Estimator(bump, algo="sgd", learning_rate=0.5)
    assert ours.get_params() == {
        "model": bump, "kind": "classifier", "validation_fraction": 0.0, "random_state": None,
        "algo": "sgd", "learning_rate": 0.5,
    }  # fmt: skip
    other = clone(ours).set_params(learning_rate=0.1, momentum=0.9, random_state=3)
    assert other.get_params() == {**ours.get_params(), "learning_rate": 0.1, "momentum": 0.9, "random_state": 3}
    assert ours.get_params()["learning_rate"] == 0.5
    assert "algo='sgd'" in repr(ours)
    assert "learning_rate" in ours._repr_html_()


def test_the_kind_is_what_scikit_learn_sees():
    assert is_classifier(Estimator())
    assert is_regressor(Estimator(linear_regression, "regressor"))
    assert hasattr(Estimator(), "predict_proba")
    assert not hasattr(Estimator(linear_regression, "regressor"), "predict_proba")


def test_one_seed_is_one_result_and_another_another(digits):
    X, y = digits.train
    fits = [Estimator(bump, random_state=s, **{**QUICK, "max_epochs": 3}).fit(X, y).params_ for s in (1, 1, 2)]
    assert all((a == b).all() for a, b in zip(fits[0].values(), fits[1].values(), strict=True))
    assert (fits[0]["W"] != fits[2]["W"]).any()


def test_noise_of_a_model_is_seeded_and_not_in_predictions(digits):
    X, y = digits.train
    one, two = (Estimator(noisy, random_state=4, **QUICK).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.params_["W"], two.params_["W"])
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(X))
    assert (one.params_["W"] != Estimator(random_state=4, **QUICK).fit(X, y).params_["W"]).any()


def test_a_pickled_estimator_predicts_the_same(digits, monkeypatch):
    ours = Estimator(bump, random_state=1, **{**QUICK, "max_epochs": 3}).fit(*digits.train)
    monkeypatch.setattr("downhill2.integrations.sklearn.POOL", Pool(2))  # as in another process
    again = pickle.loads(pickle.dumps(ours))
    X = digits.valid[0]
    np.testing.assert_array_equal(again.predict_proba(X), ours.predict_proba(X))
    assert len(again.history_) == len(ours.history_)


def test_settings_changed_after_a_fit_wait_for_the_next(digits):
    X, y = digits.train
    ours = Estimator(softmax_regression, random_state=1, **QUICK).fit(X, y)
    before = ours.predict_proba(X)
    ours.set_params(model=bump, learning_rate=0.1)
    np.testing.assert_array_equal(ours.predict_proba(X), before)
    assert set(ours.fit(X, y).params_) == {"W", "V"}


def test_a_setting_of_an_earlier_fit_does_not_stay(digits):
    X, y = digits.train
    plain = Estimator(random_state=0, **QUICK).fit(X, y).params_["W"]
    Estimator(random_state=0, **{**QUICK, "learning_rate": 0.01}, beta1=0.5).fit(X, y)
    np.testing.assert_array_equal(Estimator(random_state=0, **QUICK).fit(X, y).params_["W"], plain)


# -- what was compiled


def made(model, n_features=4, n_outputs=3, seed=0):
    return Model.checked(model(n_features, n_outputs, np.random.default_rng(seed)))


def test_estimators_of_one_graph_share_a_network(diabetes, monkeypatch):
    pool, trained = Pool(4), []
    monkeypatch.setattr("downhill2.integrations.sklearn.POOL", pool)
    monkeypatch.setattr(Network, "__init__", lambda self, m, f=Network.__init__: (trained.append(self), f(self, m))[1])
    X, y = diabetes
    first, second = (Estimator(linear_regression, "regressor", **QUICK, weight_decay=w).fit(X, y) for w in (0.1, 0.2))
    assert len(trained) == 1
    assert len(trained[0]._optimizers) == 1
    assert first.score(X, y) != second.score(X, y)  # each has its own parameters
    Estimator(linear_regression, "regressor", **QUICK, nesterov=True, momentum=0.5).fit(X, y)
    assert [len(n._optimizers) for n in trained] == [2]
    Estimator(linear_regression, "regressor", **QUICK).fit(X[:, :4], y)
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (made(linear_regression), True),
        (made(linear_regression, seed=1), True),
        (made(linear_regression, 5), False),
        (made(softmax_regression), False),
        (made(random_features), False),
    ],
)
def test_a_graph_is_recognized(other, same):
    assert made(linear_regression).same_graph(other) is same


def test_constants_that_a_model_draws_are_its_graph():
    assert made(random_features).same_graph(made(random_features))
    assert not made(random_features).same_graph(made(random_features, seed=1))


def test_no_two_users_get_one_network():
    pool = Pool(2)
    with pool.lent(made(linear_regression)) as one, pool.lent(made(linear_regression)) as two:
        assert one is not two
    with pool.lent(made(linear_regression)) as three:
        assert three in (one, two)


def test_a_network_that_failed_is_not_used_again():
    pool = Pool(2)
    with pytest.raises(KeyError), pool.lent(made(linear_regression)) as one:
        raise KeyError
    with pool.lent(made(linear_regression)) as two:
        assert two is not one


def test_settings_that_no_comparison_can_tell_apart_are_different():
    network, marks = Network(made(linear_regression)), [np.array([1, 2]), np.array([1, 2])]
    first, second = (network.optimizer({"algo": "sgd"}, {"transforms": m}) for m in marks)
    assert first is not second
    assert network.optimizer({"algo": "sgd"}, {"learning_rate": 1}) is network.optimizer(
        {"algo": "sgd"}, {"learning_rate": 2.5}
    )


def test_data_is_let_go_of_after_a_fit(diabetes, monkeypatch):
    data = []

    def split(self, X, y, split=Estimator._split):
        data.append(weakref.ref(X))
        return split(self, X, y)

    monkeypatch.setattr(Estimator, "_split", split)
    ours = Estimator(linear_regression, "regressor", **QUICK).fit(*diabetes)
    gc.collect()
    assert [d() for d in data] == [None]
    assert ours.stopped_ == "max_epochs"


# -- wrong arguments


def returning(change):
    def model(n_features, n_outputs, rng):
        return change(*softmax_regression(n_features, n_outputs, rng))

    return model


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x, y, p, loss: (x, y, loss), TypeError, r"must return \(inputs, target, prediction, loss\), got"),
        (lambda x, y, p, loss: None, TypeError, "must return .* got None"),
        (lambda x, y, p, loss: ([x, x], y, p, loss), TypeError, "inputs of model must be a matrix"),
        (lambda x, y, p, loss: (x * 2, y, p, loss), TypeError, "inputs of model must be a matrix"),
        (lambda x, y, p, loss: (pt.vector("v"), y, p, loss), TypeError, "inputs of model must be a matrix"),
        (lambda x, y, p, loss: (x, 3, p, loss), TypeError, "target of model must be a vector or a matrix"),
        (lambda x, y, p, loss: (x, y, p.sum(), loss), TypeError, "prediction of model must be a vector or a matrix"),
        (lambda x, y, p, loss: (x, y, p, p), ValueError, "loss of model must be a scalar, got a matrix"),
        (lambda x, y, p, loss: (x, y, p + y[0], loss), ValueError, "prediction of model must be computed from x, got"),
        (lambda x, y, p, loss: (x, y, p, loss + pt.scalar("z")), ValueError, "computed from x, y, got z too"),
        (lambda x, y, p, loss: (x, y, p[:, :2], loss), ValueError, r"shape \(2, 10\) for 2 rows, got \(2, 2\)"),
        (lambda x, y, p, loss: (x, y, p[:1], loss), ValueError, r"shape \(2, 10\) for 2 rows, got \(1, 10\)"),
        (lambda x, y, p, loss: (x, y, p[:, 0], loss), ValueError, "must be a matrix for 10 classes"),
    ],
)
def test_a_model_that_returns_something_else_is_refused_before_compiling(digits, monkeypatch, change, error, words):
    monkeypatch.setattr(downhill2.Optimizer, "minimize", lambda *a, **k: pytest.fail("it trains"))
    with pytest.raises(error, match=words):
        Estimator(returning(change)).fit(*digits.train)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"kind": "clusterer"}, ValueError, "kind must be 'classifier' or 'regressor', got 'clusterer'"),
        ({"model": "mlp"}, TypeError, "model must be a function of n_features, n_outputs and rng, got 'mlp'"),
        ({"validation_fraction": 1}, ValueError, r"validation_fraction must be in \[0, 1\), got 1"),
        ({"validation_fraction": "some"}, TypeError, "validation_fraction must be a number, got 'some'"),
        ({"rng": 3}, TypeError, "rng is no setting of Estimator; give random_state"),
        ({"algo": "adm"}, ValueError, "unknown algorithm 'adm'; did you mean 'adam'"),
        ({"learning_rat": 0.1}, TypeError, "'learning_rat'; did you mean 'learning_rate'"),
        ({"learning_rate": -1}, ValueError, "learning_rate must be at least 0, got -1"),
        ({"validate_every": None}, ValueError, "minimize must have an end"),
        ({"backend": "jacks"}, ValueError, "backend must be one of"),
    ],
)
def test_a_wrong_parameter_is_refused_by_fit_and_not_before(digits, given, error, words):
    ours = Estimator(**given)
    assert clone(ours).get_params() == ours.get_params()
    with pytest.raises(error, match=words):
        ours.fit(*digits.train)
    with pytest.raises(NotFittedError):
        ours.predict(digits.train[0])


def test_a_vector_for_several_outputs_is_refused(diabetes):
    X, y = diabetes
    with pytest.raises(ValueError, match="target of model must be a matrix for 2 outputs"):
        Estimator(vector_regression, "regressor", **QUICK).fit(X, np.column_stack([y, y]))


def test_the_default_model_is_linear_in_either_kind(diabetes):
    X, y = diabetes
    settings = {"algo": "adam", "learning_rate": 0.5, "max_epochs": 100, "random_state": 0}
    given, default = (
        downhill2.sklearn.Estimator(model, kind="regressor", **settings).fit(X, y).predict(X)
        for model in (downhill2.sklearn.linear_regression, None)
    )
    np.testing.assert_array_equal(default, given)


def test_models_that_differ_by_a_name_have_parameters_of_their_own():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = X @ [1.0, -2.0]

    def called(name):
        def model(n_features, n_outputs, rng):
            x, t = pt.matrix("x"), pt.vector("t")
            w = pytensor.shared(np.zeros(n_features), name=name)
            return x, t, x @ w, ((x @ w - t) ** 2).mean()

        return model

    for name in ("W", "V"):
        settings = {"algo": "adam", "learning_rate": 0.1, "max_epochs": 100, "random_state": 0}
        fitted = downhill2.sklearn.Estimator(called(name), kind="regressor", **settings).fit(X, y)
        assert list(fitted.params_) == [name]
        assert fitted.score(X, y) > 0.99


def test_targets_that_the_model_would_cut_off_are_refused():
    def counts(n_features, n_outputs, rng):
        x, t = pt.matrix("x"), pt.lvector("t")
        w = pytensor.shared(np.zeros(n_features), name="w")
        return x, t, pt.exp(x @ w), (pt.exp(x @ w) - t * (x @ w)).mean()

    X = np.random.default_rng(0).normal(size=(20, 2))
    estimator = downhill2.sklearn.Estimator(counts, kind="regressor", max_epochs=1, algo="sgd")
    with pytest.raises(ValueError, match=r"the target of model must be of floating point .* got Vector\(int64"):
        estimator.fit(X, np.linspace(0, 3, 20))
    assert estimator.fit(X, np.arange(20)).predict(X).shape == (20,)


def test_an_estimator_whose_fit_failed_is_not_fitted(diabetes):
    X, y = diabetes
    estimator = downhill2.sklearn.Estimator(kind="regressor", algo="sgd", max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match="learning_rat"):
        estimator.set_params(learning_rat=1).fit(X[:, :2], y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
