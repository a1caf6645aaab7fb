"""The learning-rate finder: what it suggests, and that it leaves everything as it was."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.fitting import session
from downhill2.keeping.generators import generator_state
from downhill2.tuning.learning_rate import judged

RATES = np.geomspace(1e-4, 1.0, 60)


def quadratic(largest):
    """Return a quadratic loss with curvatures of 1 to `largest`, and its parameter."""
    w = pytensor.shared(np.ones(6), name="w")
    return (np.geomspace(1, largest, 6) * w**2).sum() / 2, w


@pytest.mark.parametrize("largest", [10.0, 1000.0])
def test_the_suggestion_for_a_quadratic_is_stable_and_not_timid(largest):
    loss, _ = quadratic(largest)
    limit = 2 / largest  # of gradient descent, above which the steepest direction grows
    found = downhill2.find_learning_rate(loss, None, algo="sgd")
    assert limit / 20 < found.suggestion < limit
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100
    assert f"and it had diverged at {found.rates[-1]:.3g}" in found.reason


def test_rates_rise_geometrically_and_losses_are_those_of_the_updates():
    loss, _ = quadratic(4.0)
    rates = np.geomspace(1e-4, 0.1, 12)
    found = downhill2.find_learning_rate(loss, None, algo="sgd", start=1e-4, stop=0.1, max_updates=12)
    np.testing.assert_allclose(found.rates, rates, rtol=1e-12)
    curvature, x, expected = np.geomspace(1, 4, 6), np.ones(6), []
    for rate in rates:
        expected.append((curvature * x**2).sum() / 2)
        x = x - rate * curvature * x
    np.testing.assert_allclose(found.losses, expected, rtol=1e-12)


@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, [3, 1, 2]), (0.5, [3, (1.5 + 1) / 1.5, 3.25 / 1.75])])
def test_losses_are_smoothed_by_a_mean_that_is_corrected_for_its_beginning(smoothing, expected):
    found = judged(RATES[:3], np.array([3.0, 1.0, 2.0]), smoothing)
    np.testing.assert_allclose(found.smoothed, expected)


@pytest.mark.default_mode
def test_many_updates_in_a_call_hide_no_loss():
    loss, _ = quadratic(4.0)
    settings = {"algo": "sgd", "train_batches": 8, "max_updates": 20, "stop": 0.1}
    many = downhill2.find_learning_rate(loss, None, **settings)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):  # in which each update is a call
        each = downhill2.find_learning_rate(loss, None, **settings)
    np.testing.assert_allclose(many.losses, each.losses, rtol=1e-12)
    assert len(many.losses) == 20


@pytest.mark.parametrize("algo", ["sgd", "adam"])
def test_the_suggestion_trains_the_digits(softmax_regression, algo):
    s = softmax_regression
    found = downhill2.find_learning_rate(s.loss, s.train, s.params, s.inputs, algo, batch_size=32, rng=0)
    assert all(not p.get_value().any() for p in s.params)
    train, _ = downhill2.minimize(
        *(s.loss, s.train, s.valid, s.params, s.inputs, algo),
        learning_rate=found.suggestion,
        max_epochs=10,
        rng=0,
    )
    assert train["loss"] < np.log(10) / 4


class Everything:
    """A loss with a parameter, a counter of the user's, a generator, and a Dataset that has begun."""

    def __init__(self):
        x = pt.matrix("x")
        self.w = pytensor.shared(np.ones(3), name="w")
        self.count = pytensor.shared(np.array(0.0), name="count")
        self.generator = pt.random.shared_rng(np.random.default_rng(7), name="generator")
        following, noise = self.generator.normal(size=(3,))
        self.loss = (((x + 0.1 * noise) @ self.w - 3) ** 2).mean()
        self.updates = {self.count: self.count + 1, self.generator: following}
        self.data = downhill2.Dataset([np.random.default_rng(0).normal(size=(10, 3))], batch_size=4, rng=1)

    def find(self, **settings):
        return downhill2.find_learning_rate(
            self.loss, self.data, [self.w], algo="adam", updates=self.updates, max_updates=12, **settings
        )

    def train(self):
        opt = downhill2.build("sgd", self.loss, [self.w], updates=self.updates, learning_rate=0.01)
        return opt.minimize(self.data, max_epochs=2, validate_every=None)

    def values(self):
        return self.w.get_value().tolist(), self.count.get_value().item(), generator_state(self.generator.get_value())


@pytest.mark.parametrize("fails", [False, True], ids=["to its end", "upon an error"])
def test_everything_is_as_it_was(fails, monkeypatch):
    untouched, other = Everything(), Everything()
    for each in (untouched, other):
        each.train()
    before = other.values()
    if fails:
        real = session.Steps.__call__

        def failing(self, *args):
            real(self, *args)
            raise OSError("no more data")

        with monkeypatch.context() as patch:
            patch.setattr(session.Steps, "__call__", failing)
            with pytest.raises(OSError, match="no more data"):
                other.find()
    else:
        assert len(other.find().losses) == 12
    assert other.values() == before
    assert other.train() == untouched.train()
    assert other.values() == untouched.values()


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_a_generator_that_shuffles_is_as_it_was(kind):
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    rng = kind(3)
    downhill2.find_learning_rate(((x @ w) ** 2).mean(), [np.eye(3)], algo="sgd", batch_size=1, max_updates=10, rng=rng)
    assert rng.permutation(100).tolist() == kind(3).permutation(100).tolist()


def test_a_loss_that_diverges_beyond_all_bounds_is_judged():
    found = judged(RATES[:4], np.array([1.0, 0.9, 0.8, 1e200]), 0.9, "it had diverged")
    assert found.suggestion is None


def test_updates_of_several_batches_each_have_one_loss():
    x = pt.matrix("x")
    w = pytensor.shared(np.ones(3), name="w")
    found = downhill2.find_learning_rate(
        ((x @ w) ** 2).mean(), [np.eye(3)], algo="sgd", accumulate=2, batch_size=1, max_updates=10
    )
    assert len(found.losses) == 10


def test_a_loss_that_becomes_nan_ends_the_test():
    w = pytensor.shared(np.array(1.0), name="w")
    found = downhill2.find_learning_rate(pt.log(w), None, [w], algo="sgd")
    assert np.isfinite(found.losses).all()
    assert f"and it was not finite at {found.rates[-1]:.3g}" in found.reason
    assert found.suggestion == pytest.approx(found.rates[np.argmin(found.smoothed)] / 10)


def test_a_loss_that_is_nan_at_once_has_no_suggestion():
    w = pytensor.shared(np.array(np.nan), name="w")
    found = downhill2.find_learning_rate(w**2, None, algo="sgd")
    assert found.suggestion is None
    assert found.reason == "there is none: at the first update the loss was not finite"
    assert repr(found) == f"<RangeTest of 0 updates, suggestion: none; {found.reason}>"


def test_a_start_that_is_too_large_is_called_so():
    loss, w = quadratic(1000.0)
    found = downhill2.find_learning_rate(loss, None, algo="sgd", start=0.1)
    assert found.suggestion is None
    assert found.reason.endswith("it had diverged at 0.105; lower start")
    assert w.get_value().tolist() == [1] * 6


@pytest.mark.parametrize("seed", range(30))
def test_noise_alone_suggests_nothing(seed):
    noise = np.random.default_rng(seed).normal(5, 1, size=60)
    found = judged(RATES, noise, 0.9)
    assert found.suggestion is None
    assert found.reason == "there is none: the loss never fell by more than its noise; raise stop or batch_size"


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_in_noise_is_found_where_it_is(seed):
    noise = np.random.default_rng(seed).normal(0, 0.3, size=60)
    curve = 5 - 4 / (1 + (0.02 / RATES) ** 2) + 50 * np.maximum(RATES - 0.2, 0)
    found = judged(RATES, curve + noise, 0.9, "it had diverged")
    assert 0.1 < found.suggestion * 10 < 0.5
    assert found.reason.endswith(", where the smoothed loss is lowest, and it had diverged at 1")


def test_a_curve_that_still_falls_says_so():
    found = judged(RATES, np.linspace(2, 1, 60), 0.9)
    assert found.suggestion == pytest.approx(0.1)
    assert found.reason.endswith("it was still falling, so that a higher stop may find a higher rate")
    assert repr(found).startswith("<RangeTest of 60 updates, suggestion: 0.1; a tenth of 1,")


class Signs(downhill2.Optimizer):
    """Makes steps of one size, whatever the rate."""

    owns_rate = True

    def direction(self, param, grad):
        return 0.01 * pt.sign(grad), {}


del downhill2.Optimizer.registry["signs"]  # which is of this file alone

WRONG = {
    "rate": ({"learning_rate": 0.1}, TypeError, "learning_rate is what is searched for; leave it out"),
    "none": ({"algo": Signs}, ValueError, "algo must have a learning rate that its updates depend on, got Signs"),
    "start": ({"start": 0}, ValueError, "start must be positive, got 0"),
    "order": ({"start": 1.0, "stop": 0.5}, ValueError, r"stop must be above start, 1.0, got 0.5"),
    "endless": ({"stop": np.inf}, ValueError, "stop must be finite and positive, got inf"),
    "few": ({"max_updates": 9}, ValueError, "max_updates must be at least 10, got 9"),
    "half": ({"max_updates": 10.5}, TypeError, "max_updates must be an integer, got 10.5"),
    "smoothing": ({"smoothing": 1}, ValueError, r"smoothing must be in \[0, 1\), got 1"),
    "diverged": ({"diverged": 1.0}, ValueError, "diverged must be above 1, got 1.0"),
    "kind": ({"stop": "1"}, TypeError, "stop must be a number, got '1'"),
    "bool": ({"start": True}, TypeError, "start must be a number, got True"),
    "hyper": ({"momentun": 0.5}, TypeError, "SGD has no hyperparameter 'momentun'; did you mean 'momentum'"),
}


@pytest.mark.parametrize(("given", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_before_anything_is_compiled(given, kind, message, monkeypatch):
    monkeypatch.setattr(session, "drive", None)
    monkeypatch.setattr(pytensor, "function", None)
    with pytest.raises(kind, match=message):
        downhill2.find_learning_rate(quadratic(1.0)[0], None, **{"algo": "sgd", **given})


def test_the_picture_shows_the_curve():
    pytest.importorskip("matplotlib")
    loss, _ = quadratic(10.0)
    found = downhill2.find_learning_rate(loss, None, algo="sgd")
    ax = found.plot()
    [curve] = [line for line in ax.lines if line.get_label() == "smoothed"]
    np.testing.assert_array_equal(curve.get_ydata(), found.smoothed)
    assert found.plot(ax=ax) is ax
