"""PyMC: the point of highest posterior density, on all data and on batches, and algorithms for `pm.fit`."""

from __future__ import annotations

import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import NonFiniteError, schedules
from downhill2.integrations.pymc import _end

pytestmark = [
    pytest.mark.extras,
    # find_MAP tells what it will return one day, and that it will jitter
    pytest.mark.filterwarnings("ignore:`find_MAP`:FutureWarning"),
]


@pytest.fixture(scope="module")
def pm():
    return pytest.importorskip("pymc")


@pytest.fixture(scope="module")
def patients():
    """Return standardized features of diabetes patients (body mass, blood pressure, age), sex, and progression."""
    table, target = pytest.importorskip("sklearn.datasets").load_diabetes(return_X_y=True)
    features = table[:, [2, 3, 0]]
    sex = (table[:, 1] > 0).astype("int64")
    return features / features.std(0), sex, (target - target.mean()) / target.std()


@pytest.fixture
def levels(pm, patients):
    """Return a regression with a level for each sex, of unknown spread and noise."""
    features, sex, target = patients
    with pm.Model() as model:
        x, group, y = pm.Data("x", features), pm.Data("group", sex), pm.Data("y", target)
        spread, noise = pm.LogNormal("spread", 0, 0.5), pm.HalfNormal("noise", 1)
        level, slope = pm.Normal("level", 0, spread, shape=2), pm.Laplace("slope", 0, 0.5, shape=3)
        mean = pm.Deterministic("mean", level[group] + x @ slope)
        pm.Normal("progression", mean, noise, observed=y)
    return model


ROWS = ["x", "group", "y"]


def best_point(pm, model, **settings):
    with model:
        return pm.find_MAP(progressbar=False, tol=1e-14, **settings)


def close(found, expected, tolerance):
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance, err_msg=name)
        assert found[name].dtype == value.dtype


def falling(rate, updates):
    return {"learning_rate": schedules.Cosine(rate, updates), "max_updates": updates, "validate_every": None}


# -- without settings


def test_the_point_is_that_of_find_map_and_the_run_ends_where_it_has_settled(pm, levels):
    seen = []
    found = downhill2.pymc.find_MAP(model=levels, callbacks=[lambda opt, record: seen.append(record.updates)])
    close(found, best_point(pm, levels), 1e-4)
    assert 200 <= max(seen) <= 2000


@pytest.fixture
def short(monkeypatch):
    """Make fewer updates at most: one takes long in the mode of the tests."""
    monkeypatch.setattr("downhill2.integrations.pymc.MOST", 1500)


def test_a_value_far_away_is_found_within_the_limit(pm, short):
    data = np.random.default_rng(0).normal(45, 5, size=20)
    with pm.Model() as model:
        pm.Normal("x", pm.Normal("center", 0, 100), pm.HalfNormal("spread", 100), observed=data)
    seen = []
    found = downhill2.pymc.find_MAP(model=model, callbacks=[lambda opt, record: seen.append(record.updates)])
    close(found, best_point(pm, model), 1e-3)
    assert max(seen) <= 1500


def test_callbacks_that_are_none_are_refused(levels):
    with pytest.raises(TypeError, match="callbacks must be a sequence of functions"):
        downhill2.pymc.find_MAP(model=levels, callbacks=print)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": 0.1}, {"max_updates": 10_000}),
        ({"preset": "torch"}, {"max_updates": 10_000}),
        ({"algo": "sgd"}, {"max_updates": 10_000}),
        ({"max_epochs": 3}, {}),
        ({"max_seconds": 3.0}, {}),
    ],
    ids=str,
)
def test_who_sets_the_rate_or_an_end_gets_what_is_missing_of_an_end(settings, expected):
    given = {"algo": "adam", **settings}
    algo, before = given.pop("algo"), dict(settings)
    assert _end(algo, given, True) == expected
    assert given == {n: v for n, v in before.items() if n != "algo"}


def test_batches_have_a_rate_that_falls_and_are_validated_as_ever(pm, levels):
    settings = {}
    assert _end("adam", settings, False) == {"max_updates": 10_000, "patience": None}
    assert settings["learning_rate"] == schedules.Cosine(0.1, 10_000)


# -- all data


def test_the_point_is_that_of_find_map(pm, levels):
    with levels:
        found = downhill2.pymc.find_MAP(**falling(0.05, 800))
    close(found, best_point(pm, levels), 2e-5)


def test_the_point_is_that_of_linear_algebra(pm, patients):
    features, _, target = patients
    with pm.Model() as model:
        slope = pm.Normal("slope", 0, 2, shape=3)
        pm.Normal("progression", pm.Data("x", features) @ slope, 0.5, observed=pm.Data("y", target))
    exact = np.linalg.solve(features.T @ features / 0.25 + np.eye(3) / 4, features.T @ target / 0.25)
    found = downhill2.pymc.find_MAP(model=model, **falling(0.05, 600))
    np.testing.assert_allclose(found["slope"], exact, rtol=0, atol=1e-9)


def test_only_what_is_asked_for_moves(pm, levels):
    start = {"slope": [0.1, 0.2, 0.3], "noise": 0.7}
    chosen = [levels["level"], levels.rvs_to_values[levels["spread"]]]
    settings = {"vars": chosen, "initvals": start}
    found = downhill2.pymc.find_MAP(model=levels, include_transformed=False, **settings, **falling(0.05, 800))
    expected = best_point(pm, levels, **settings)
    close(found, {name: value for name, value in expected.items() if not name.endswith("__")}, 2e-5)
    np.testing.assert_allclose(found["slope"], [0.1, 0.2, 0.3], rtol=1e-12)


def test_discrete_variables_stay_where_they_start(pm):
    with pm.Model() as model:
        count = pm.Poisson("count", 3)
        pm.Normal("level", count, 1)
    found = downhill2.pymc.find_MAP(model=model, initvals={"count": 4}, **falling(0.1, 300))
    assert found["count"] == 4
    assert found["level"] == pytest.approx(4, abs=1e-6)


def test_what_a_check_of_pymc_refuses_is_not_finite(pm):
    with pm.Model() as model:
        scale = pm.Normal("scale", 1, 1)
        pm.Normal("seen", 0, scale, observed=[0.1, 0.2])
    with pytest.raises(NonFiniteError, match="loss is not finite"):
        downhill2.pymc.find_MAP(model=model, algo="sgd", learning_rate=10, max_updates=5)
    model.check_bounds = False
    assert "Check" not in str(pt.as_tensor(downhill2.pymc.Posterior(model).loss).dprint(file="str"))


# -- batches of rows


def evaluated(posterior, batch_size):
    opt = downhill2.build("sgd", posterior.loss, posterior.params, posterior.inputs)
    return opt.evaluate(posterior.data, batch_size=batch_size)["loss"]


def density(model, point=None):
    return model.compile_logp(jacobian=False)(point or model.initial_point())


def test_batches_of_any_size_make_up_the_whole(levels):
    posterior = downhill2.pymc.Posterior(levels, ROWS)
    expected = -density(levels)
    assert [v.name for v in posterior.inputs] == ROWS
    opt = downhill2.build("sgd", posterior.loss, posterior.params, posterior.inputs)
    for size in (442, 100, 7):
        assert opt.evaluate(posterior.data, batch_size=size)["loss"] == pytest.approx(expected, rel=1e-12)


def test_variables_with_a_total_size_and_potentials_are_counted_right(pm, patients):
    features, _, target = patients
    with pm.Model() as model:
        x, y = pm.Data("x", features), pm.Data("y", target)
        slope = pm.Normal("slope", shape=3)
        pm.Normal("progression", x @ slope, 1, observed=y, total_size=len(target))
        pm.Potential("robust", -abs(y - x @ slope))
        pm.Potential("small", -(slope**2).sum())
    expected = -density(model)
    assert evaluated(downhill2.pymc.Posterior(model, ["x", "y"]), 50) == pytest.approx(expected, rel=1e-12)


def test_rows_may_be_other_than_those_of_the_model(pm, levels, patients):
    features, sex, target = patients
    half = {"x": features[::2], "group": sex[::2], "y": target[::2]}
    posterior = downhill2.pymc.Posterior(levels, half)
    loss = evaluated(posterior, 50)
    with levels:
        pm.set_data(half)
    assert loss == pytest.approx(-density(levels), rel=1e-12)


def test_batches_come_to_the_same_point(pm, levels):
    found = downhill2.pymc.find_MAP(model=levels, rows=ROWS, batch_size=50, random_seed=1, **falling(0.05, 900))
    expected = best_point(pm, levels)
    for name in ("level", "slope", "noise"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.02)  # a third of a posterior deviation
    assert -density(levels, {v.name: found[v.name] for v in levels.value_vars}) == pytest.approx(
        -density(levels, {v.name: expected[v.name] for v in levels.value_vars}), rel=1e-3
    )


def test_a_seed_repeats_a_run(levels):
    settings = {"model": levels, "rows": ROWS, "max_updates": 20, "learning_rate": 0.01, "validate_every": None}
    one, same, other = (downhill2.pymc.find_MAP(random_seed=seed, **settings) for seed in (1, 1, 2))
    assert one["slope"].tobytes() == same["slope"].tobytes() != other["slope"].tobytes()


# -- batches that the model draws


@pytest.fixture
def drawing(pm, patients):
    features, _, target = patients
    with pm.Model() as model:
        x, y = pm.Minibatch(features, target, batch_size=50)
        slope, noise = pm.Normal("slope", shape=3), pm.HalfNormal("noise", 1)
        pm.Normal("progression", x @ slope, noise, observed=y, total_size=len(target))
    return model


def test_what_minibatch_draws_comes_to_the_same_point(pm, patients, drawing):
    features, _, target = patients
    with pm.Model() as model:
        slope, noise = pm.Normal("slope", shape=3), pm.HalfNormal("noise", 1)
        pm.Normal("progression", features @ slope, noise, observed=target)
    epochs = []
    settings = {"random_seed": 1, "callbacks": [lambda opt, record: epochs.append(record)]}
    found = downhill2.pymc.find_MAP(model=drawing, **settings, **falling(0.05, 900))
    expected = best_point(pm, model)
    for name in ("slope", "noise"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.03)
    assert len(epochs) == 100  # of nine draws of 50 of 442 rows each
    assert len({record.train["loss"] for record in epochs}) == 100


def test_draws_repeat_with_a_seed(drawing):
    settings = {"model": drawing, "max_updates": 10, "learning_rate": 0.01}
    one, same, other = (downhill2.pymc.find_MAP(random_seed=seed, **settings)["slope"] for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_a_run_on_draws_ends_at_the_limit(drawing, monkeypatch):
    monkeypatch.setattr("downhill2.integrations.pymc.MOST", 90)
    seen = []
    downhill2.pymc.find_MAP(model=drawing, callbacks=[lambda opt, record: seen.append(record)])
    assert (seen[-1].updates, [r for r in seen if r.validated]) == (90, [])


def test_a_loss_written_by_hand_on_what_minibatch_draws_sees_all_rows(pm, patients):
    features, _, target = patients
    x, y = pm.Minibatch(features, target, batch_size=50)
    w = pytensor.shared(np.zeros(3), name="w")
    loss = ((x @ w - y) ** 2).mean()
    expected = np.linalg.lstsq(features, target)[0]
    downhill2.minimize(loss, None, **falling(0.02, 900))
    np.testing.assert_allclose(w.get_value(), expected, atol=0.03)
    before = w.get_value()
    step = pytensor.function([], loss, updates=downhill2.updates(loss, [w], "sgd", learning_rate=0))
    opt = downhill2.build("sgd", loss, [w])
    drawn = [float(step()) for _ in range(3)]
    assert len({*drawn, opt.evaluate(None)["loss"]}) == 4
    assert opt.evaluate(None) == opt.evaluate(None)
    np.testing.assert_array_equal(w.get_value(), before)


# -- what is refused


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("x", TypeError, "rows must be names of pm.Data of the model, or map them to arrays, got 'x'"),
        ([], TypeError, r"rows must be names of pm.Data of the model, or map them to arrays, got \[\]"),
        (3, TypeError, "rows must be names of pm.Data of the model, or map them to arrays, got 3"),
        (["x", "groop"], ValueError, "one of x, group, y, scale, fixed, got 'groop'; did you mean 'group'?"),
        ([None], ValueError, "one of x, group, y, scale, fixed, got None"),
        (["scale"], ValueError, "rows must name pm.Data of any number of rows, got 'scale' of Scalar"),
        (["fixed"], ValueError, "rows must name pm.Data of any number of rows, got 'fixed' of Vector"),
        (
            ["x", "group"],
            ValueError,
            "rows must name what is observed of 'progression' too, as pm.Data, got 'x', 'group'",
        ),
        ({"x": np.zeros((5, 3)), "group": [0] * 5, "y": np.zeros(4)}, ValueError, "same length along axis 0, got 5"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows, error, message, pm, levels):
    with levels:
        pm.Data("scale", 2.0)
        pm.Data("fixed", np.zeros(442), shape=(442,))
    with pytest.raises(error, match=message):
        downhill2.pymc.find_MAP(model=levels, rows=rows, max_updates=1)


def test_rows_that_nothing_depends_on_are_refused(pm, levels):
    with levels:
        pm.Data("unused", np.zeros(442))
    with pytest.raises(ValueError, match="rows must be what an observed variable depends on, got 'unused'"):
        downhill2.pymc.find_MAP(model=levels, rows=["unused"])


def test_a_variable_with_a_part_for_each_row_is_refused(pm, patients):
    features, _, target = patients
    with pm.Model() as model:
        x, y = pm.Data("x", features), pm.Data("y", target)
        hidden = pm.Normal("hidden", x.sum(1), 1)
        pm.Normal("progression", hidden, 1, observed=y)
    with pytest.raises(ValueError, match="got 'x', 'y', which the free variable 'hidden' depends on"):
        downhill2.pymc.find_MAP(model=model, rows=["x", "y"])


def regression(pm, patients, shifted=False):
    """Return a regression whose slopes, in two ways, are as many as the columns of its data."""
    features, _, target = patients
    with pm.Model() as model:
        x, y = pm.Data("x", features, dims=("patient", "feature")), pm.Data("y", target, dims="patient")
        slope = pm.Laplace("slope", 0, pm.HalfNormal("spread", dims="feature"), shape=x.shape[1])
        shift = pm.Normal("shift", shape=x.shape[0]) if shifted else 0
        pm.Normal("progression", x @ slope + shift, 1, observed=y, dims="patient")
    return model


def test_a_variable_may_have_a_part_for_each_column(pm, patients):
    model = regression(pm, patients)
    posterior = downhill2.pymc.Posterior(model, ["x", "y"])
    assert evaluated(posterior, 50) == pytest.approx(-density(model), rel=1e-12)


def test_a_variable_that_has_as_many_parts_as_there_are_rows_is_refused(pm, patients):
    with pytest.raises(ValueError, match="which the free variable 'shift' depends on; it has a part for each row"):
        downhill2.pymc.find_MAP(model=regression(pm, patients, shifted=True), rows=["x", "y"])


# -- densities that are no sum over rows

SERIES = np.cumsum(np.random.default_rng(0).normal(size=300))
TABLE = np.random.default_rng(1).normal(size=(300, 2)) + [2, 5]


def autoregression(pm, x, y):
    before = pm.Normal.dist(0, 2)
    pm.AR("seen", rho=pm.Normal("rho", 0, 0.5, shape=1), sigma=1, init_dist=before, steps=299, observed=y)


def random_walk(pm, x, y):
    pm.GaussianRandomWalk("seen", sigma=pm.HalfNormal("step"), init_dist=pm.Normal.dist(0, 2), observed=y)


def gaussian_process(pm, x, y):
    process = pm.gp.Marginal(cov_func=pm.gp.cov.ExpQuad(2, ls=pm.HalfNormal("length")))
    process.marginal_likelihood("seen", X=x, y=y, sigma=pm.HalfNormal("noise"))


def standardized(pm, x, y):
    pm.Normal("seen", ((x - x.mean(0)) / x.std(0)) @ pm.Normal("slope", shape=2), 1, observed=y)


def lagged(pm, x, y):
    pm.Potential("seen", -((y[1:] - pm.Normal("rho", 0, 0.5) * y[:-1]) ** 2))


def mean_over_rows(pm, x, y):
    pm.Potential("seen", -((y - pm.Normal("level")) ** 2).mean())


def ranked(pm, x, y):
    pm.Potential("seen", -abs(pt.sort(y) - pm.Normal("level") * pt.arange(y.shape[0])))


def noise_of_all(pm, x, y):
    pm.Normal("seen", pm.Normal("level"), pt.exp(pm.Normal("log_noise")) * y.std(), observed=y)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (autoregression, "rows must be an axis of the log density of 'seen', got 'x', 'y'"),
        (random_walk, "rows must be an axis of the log density of 'seen', got 'x', 'y'"),
        (gaussian_process, "rows must be an axis of the log density of 'seen', got 'x', 'y'"),
        (standardized, "rows must add up to the log density of 'seen', one by one, got 'x', 'y': of some rows"),
        (lagged, "rows must add up to the log density of 'seen'"),
        (mean_over_rows, "rows must add up to the log density of 'seen'"),
        (ranked, "rows must add up to the log density of 'seen'"),
        (noise_of_all, "rows must add up to the log density of 'seen'"),
    ],
)
def test_a_density_that_is_no_sum_over_rows_is_refused(write, message, pm):
    with pm.Model() as model:
        write(pm, pm.Data("x", TABLE), pm.Data("y", SERIES))
    with pytest.raises(ValueError, match=message):
        downhill2.pymc.find_MAP(model=model, rows=["x", "y"], max_updates=1)
    downhill2.pymc.Posterior(model)  # all rows in each update are right


def vectors(pm, x, y):
    pm.MvNormal("seen", pm.Normal("level", shape=2), chol=np.array([[1.0, 0], [0.5, 2]]), observed=x)


def mixture(pm, x, y):
    pm.NormalMixture("seen", [0.3, 0.7], pm.Normal("level", shape=2), 1, observed=y)


def sum_in_a_potential(pm, x, y):
    pm.Potential("seen", -((x @ pm.Normal("slope", shape=2) - y) ** 2).sum())


def without_a_transform(pm, x, y):
    """Its density is -inf half a step from the start, and finite nearer by."""
    pm.Normal("seen", pm.Uniform("level", 0, 0.01, default_transform=None), 1, observed=y)


@pytest.mark.parametrize("write", [vectors, mixture, sum_in_a_potential, without_a_transform])
def test_a_density_that_is_a_sum_over_rows_is_taken(write, pm):
    with pm.Model() as model:
        write(pm, pm.Data("x", TABLE), pm.Data("y", SERIES))
    posterior = downhill2.pymc.Posterior(model, ["x", "y"])
    assert evaluated(posterior, 50) == pytest.approx(-density(model), rel=1e-12)


def test_data_with_a_row_for_each_that_rows_leave_out_is_named_before_a_run(pm, levels):
    message = (
        "rows must name all data that has a row for each of theirs, got 'x', 'y', of which the model does not take"
    )
    with pytest.raises(ValueError, match=message):
        downhill2.pymc.Posterior(levels, ["x", "y"])


def test_variables_that_cannot_be_optimized_are_refused(pm, levels):
    with pm.Model() as model:
        count = pm.Poisson("count", 3)
    with pytest.raises(ValueError, match="model must have continuous free variables, got none"):
        downhill2.pymc.find_MAP(model=model)
    with pytest.raises(ValueError, match="vars must be continuous, got count, whose values are int64"):
        downhill2.pymc.find_MAP(model=model, vars=[count])
    with pytest.raises(ValueError, match="vars must be free variables of the model, got mean"):
        downhill2.pymc.find_MAP(model=levels, vars=[levels["mean"]])


@pytest.mark.parametrize(
    ("initvals", "error", "message"),
    [
        ({"nois": 1}, ValueError, "initvals must be of free variables of the model, got 'nois'; did you mean 'noise'?"),
        (3, TypeError, "initvals must map variables of the model or their names to values, got 3"),
    ],
)
def test_starting_points_of_nothing_are_refused(initvals, error, message, levels):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        downhill2.pymc.find_MAP(model=levels, initvals=initvals, max_updates=1)


def test_a_setting_that_does_not_exist_is_refused(levels):
    with pytest.raises(TypeError, match="Adam has no hyperparameter 'learning_rat'; did you mean 'learning_rate'"):
        downhill2.pymc.find_MAP(model=levels, learning_rat=0.1)


def test_without_pymc_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymc", None)
    with pytest.raises(ImportError, match=r"pip install 'downhill2\[pymc\]'"):
        downhill2.pymc.find_MAP()


# -- variational inference


def fitted(pm, model, optimizer, updates=100):
    with model:
        approximation = pm.fit(updates, method="advi", obj_optimizer=optimizer, random_seed=7, progressbar=False)
    return approximation.hist, [p.get_value() for p in approximation.params]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("adam", {"algo": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon_at": "hat"}),
        ("sgd", {"algo": "sgd"}),
    ],
)
def test_variational_inference_is_that_of_pymc(theirs, ours, pm, levels):
    rate = 0.02 if theirs == "adam" else 1e-4
    hist, params = fitted(pm, levels, getattr(pm, theirs)(learning_rate=rate))
    ours_hist, ours_params = fitted(pm, levels, downhill2.updates(learning_rate=rate, **ours))
    np.testing.assert_allclose(ours_hist, hist, rtol=1e-10)
    assert hist[-1] < hist[0]
    for mine, their in zip(ours_params, params, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-10)


@pytest.mark.parametrize(("algo", "need"), [("polyak", "the value of the loss"), ("esgd", "Hessian-vector products")])
def test_an_algorithm_that_needs_more_than_gradients_is_refused(algo, need, pm, levels):
    with pytest.raises(ValueError, match=f"algo must do with gradients, got '{algo}', which needs {need}"):
        fitted(pm, levels, downhill2.updates(algo=algo))


def test_an_average_is_refused_by_name_and_reached_by_a_function_of_ones_own(pm, patients):
    features, _, target = patients
    with pm.Model() as model:
        pm.Normal("progression", features @ pm.Normal("slope", shape=3), 1, observed=target)
    with pytest.raises(ValueError, match=r"got ema=0\.9, which is about an average; give the package a function"):
        downhill2.updates(algo="sgd", ema=0.9)
    made = []

    def optimizer(grads, params):
        made.append(downhill2.updates(grads, params, algo="sgd", learning_rate=1e-3, ema=0.9))
        return made[-1]

    seen = []
    with model:
        approximation = pm.fit(
            30,
            obj_optimizer=optimizer,
            random_seed=7,
            progressbar=False,
            callbacks=[lambda approx, losses, i: seen.append([p.get_value() for p in approx.params])],
        )
    pytensor.function([], [], updates=made[0].evaluated)()
    for k, p in enumerate(approximation.params):
        average = seen[0][k]
        for values in seen[1:]:
            average = 0.9 * average + 0.1 * values[k]
        np.testing.assert_allclose(p.get_value(), average, rtol=1e-10)
