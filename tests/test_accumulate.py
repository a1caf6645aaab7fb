"""Accumulation: several batches make the update that one large batch makes, through all that a run goes through."""

from __future__ import annotations

import signal

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from training import Training

import downhill2
from downhill2 import NonFiniteError
from downhill2.fitting import session
from downhill2.loop.run import Tally
from downhill2.stepping.accumulating import AccumulatedSteps

X = np.random.default_rng(0).normal(size=(23, 3))
Y = X @ [1.0, 2, 3] + np.random.default_rng(1).normal(size=23)


def build(dtype="float64", algo="adam", reduction="mean", **settings):
    x, y, w = pt.matrix("x", dtype=dtype), pt.vector("y", dtype=dtype), pytensor.shared(np.ones(3, dtype), name="w")
    squares = (x @ w - y) ** 2
    loss = squares.mean() if reduction == "mean" else squares.sum()
    return downhill2.build(algo, loss, [w], reduction=reduction, **{"learning_rate": 0.1, **settings})


def train(opt, dtype="float64", rows=23, **settings):
    given = {"shuffle": False, "max_epochs": 3, "validate_every": None, **settings}
    opt.minimize([X[:rows].astype(dtype), Y[:rows].astype(dtype)], **given)
    return opt.params[0].get_value()


# -- k batches are one

SETTINGS = {
    "sgd": {"algo": "sgd"},
    "adam": {},
    "clipping, decay and momentum": {"max_global_norm": 1.0, "weight_decay": 0.1, "momentum": 0.9},
    "adaptive clipping": {"clip_adaptive": 0.1},
    "a schedule": {"learning_rate": lambda t: 0.1 / (1 + t)},
    "ema and lookahead": {"ema": 0.9, "lookahead": 2},
    "noise": {"gradient_noise": 0.01},
    "mechanic": {"mechanic": 0.01, "learning_rate": 1},
    "projection": {"project": {"w": downhill2.projections.L2Ball(2.0)}},
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_four_batches_are_the_large_one_and_what_is_left_over_is_made_at_the_end_of_the_epoch(settings, reduction):
    large, small = (build(reduction=reduction, accumulate=k, **settings) for k in (1, 4))
    # of 23 rows, batches of 2 are twelve, the last of one row; windows of four are of 8, 8 and 7 rows
    np.testing.assert_allclose(train(small, batch_size=2), train(large, batch_size=8), rtol=1e-10)
    assert small.history[-1].updates == large.history[-1].updates == 9
    for name, value in large.state.items():
        if not isinstance(value, np.random.Generator):
            np.testing.assert_allclose(small.state[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [2, 3, 5, 12, 100])
def test_any_number_of_batches_makes_an_update(k):
    large, small = build(accumulate=1), build(accumulate=k)
    np.testing.assert_allclose(train(small, batch_size=2), train(large, batch_size=2 * k), rtol=1e-10)


def test_float32_is_equal_to_rounding():
    large, small = (train(build("float32", accumulate=k), "float32", batch_size=8 // k) for k in (1, 4))
    np.testing.assert_allclose(small, large, rtol=2e-6)


def test_jax_accumulates_on_its_device():
    pytest.importorskip("jax")
    opt, expected = build(accumulate=4, backend="jax"), build(accumulate=4)
    for _ in range(2):  # the second run takes over what the first has left
        np.testing.assert_allclose(train(opt, batch_size=2), train(expected, batch_size=2), rtol=1e-10)
    assert isinstance(opt.params[0].get_value(), np.ndarray)


def test_rows_count_with_their_weights():
    weights = np.random.default_rng(2).uniform(0.5, 2, size=23)
    x, y, q = pt.matrix("x"), pt.vector("y"), pt.vector("q")

    def run(batch_size, k):
        w = pytensor.shared(np.ones(3), name="w")
        loss = (q * (x @ w - y) ** 2).sum() / q.sum()
        opt = downhill2.build("sgd", loss, [w], [x, y, q], learning_rate=0.1, accumulate=k)
        data = downhill2.Dataset([X, Y, weights], batch_size=batch_size, shuffle=False, weights=weights)
        opt.minimize(data, max_epochs=2, validate_every=None)
        return w.get_value()

    np.testing.assert_allclose(run(2, 4), run(8, 1), rtol=1e-10)


def test_losses_and_monitors_are_those_of_each_batch():
    opt = build(accumulate=3, learning_rate=0, algo="sgd")
    trained, valid = opt.minimize([X, Y], batch_size=2, max_epochs=1)
    assert trained["loss"] == pytest.approx(((X @ np.ones(3) - Y) ** 2).mean(), rel=1e-12)
    assert valid["loss"] == pytest.approx(trained["loss"], rel=1e-12)


def test_frozen_parameters_have_no_sums_and_stay():
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.ones(3), name="w"), pytensor.shared(5.0, name="b")
    groups = [{"params": "w"}, {"params": "b", "frozen": True}]
    opt = downhill2.build("sgd", ((x @ w - y + b) ** 2).mean(), [w, b], groups=groups, accumulate=4, learning_rate=0.1)
    opt.minimize([X, Y + 5], shuffle=False, batch_size=2, max_epochs=3, validate_every=None)
    assert b.get_value() == 5
    assert not [n for n in opt.state if n.startswith("b.")]
    np.testing.assert_allclose(w.get_value(), train(build(algo="sgd"), batch_size=8), rtol=1e-10)


# -- what counts


def test_limits_schedules_and_averages_count_updates():
    seen = []
    opt = build(accumulate=4, learning_rate=lambda t: 0.1 / (1 + t), swa=1)
    train(opt, batch_size=2, max_updates=4, callbacks=[lambda o, r: seen.append((r.epoch, r.updates))])
    assert seen == [(1, 3), (2, 4)]
    assert opt.stopped == "max_updates"
    assert opt.context.clock.get_value() == 4
    assert opt.state["all.swa.n"] == 4
    assert opt.hyper["learning_rate"] == 0.1 / 5


def test_the_callers_updates_run_with_every_batch():
    seen = pytensor.shared(0.0, name="seen")
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    opt = downhill2.SGD(((x @ w) ** 2).mean(), accumulate=4, learning_rate=0.01, updates={seen: seen + x.shape[0]})
    opt.minimize([X], batch_size=2, max_epochs=2, validate_every=None)
    assert seen.get_value() == 46


def test_the_callers_updates_may_not_change_a_sum():
    x, w = pt.matrix("x"), pytensor.shared(np.ones(3), name="w")
    opt = downhill2.SGD(((x @ w) ** 2).mean(), accumulate=2)
    opt.fit.updates()
    total = opt.context.store.variables["w.accumulate.sum"]
    opt.fit.problem.updates[total] = total + 1
    with pytest.raises(ValueError, match=r"updates must not change 'w.accumulate.sum'; it is state of SGD"):
        opt.minimize([X], max_epochs=1)


def test_a_plateau_is_judged_by_the_mean_loss_of_each_update():
    halves = Scripted([1.0, 2, 3, 4, 5], size=2)
    tally = Tally({}, 0.0, losses=[])
    windows = AccumulatedSteps(lambda: halves, ["loss"], Batches(5))
    windows(tally, None, lambda: False)
    assert tally.losses == [1.5, 3.5, 5]
    assert (tally.updates, tally.rows, tally.sums, tally.end) == (3, 5, {"loss": 15}, True)


# -- the driver by itself


class Scripted:
    """Halves that are given the losses of batches; NaN is not finite."""

    def __init__(self, losses, size, bad_applies=()):
        self.losses, self.size, self.window, self.applied = iter(losses), size, [], []
        self.bad_applies = set(bad_applies)

    def pending(self):
        return len(self.window)

    def add(self, *arrays):
        loss = next(self.losses)
        if np.isfinite(loss):
            self.window.append(loss)
        return loss, len(self.window), np.isfinite(loss)

    def apply(self):
        mean, self.window = np.mean(self.window), []
        self.applied.append(mean)
        return mean, len(self.applied) - 1 not in self.bad_applies


class Batches:
    """A feed of batches of one row each."""

    name, done = "train", 0

    def __init__(self, count, length=True):
        self.count, self.length = count, count if length else None

    def train(self):
        return iter([((np.zeros(1),), 1.0)] * self.count)


def drive(halves, feed, most=None, halt=lambda: False):
    """Call a driver until its epoch is over; return what each call tallied."""
    windows, tallies = AccumulatedSteps(lambda: halves, ["loss"], feed), []
    while not (tallies and tallies[-1].end):
        tallies.append(Tally({}, 0.0))
        windows(tallies[-1], most, halt)
    return tallies


@pytest.mark.parametrize("length", [True, False], ids=["known length", "unknown length"])
def test_at_most_so_many_updates_are_made_in_a_call(length):
    tallies = drive(Scripted(range(7), 2), Batches(7, length), most=1)
    assert [t.updates for t in tallies] == [1, 1, 1, 1]
    assert [t.rows for t in tallies] == [2, 2, 2, 1]
    assert [t.end for t in tallies] == [False, False, False, True]


def test_a_driver_stops_after_any_batch_when_it_is_asked_to_and_goes_on_in_the_window():
    halves = Scripted(range(5), 2)
    tallies = drive(halves, Batches(5), halt=lambda: True)
    assert [t.updates for t in tallies] == [0, 1, 0, 1, 1]
    assert halves.applied == [0.5, 2.5, 4]


def test_a_bad_batch_takes_no_part_and_another_takes_its_place():
    halves = Scripted([1, np.nan, 2, 3, 4], 2)
    tallies = drive(halves, Batches(5))
    assert [(t.updates, t.rows, t.bad) for t in tallies] == [(0, 1, True), (2, 3, False)]
    assert halves.applied == [1.5, 3.5]


@pytest.mark.parametrize("length", [True, False], ids=["known length", "unknown length"])
def test_what_stood_before_a_bad_last_batch_makes_an_update(length):
    halves = Scripted([1, 2, 3, np.nan], 2)
    tallies = drive(halves, Batches(4, length))
    assert [(t.updates, t.bad, t.end) for t in tallies] == [(1, True, False), (1, False, True)]
    assert halves.applied == [1.5, 3]


def test_a_bad_update_is_told_and_its_window_is_gone():
    halves = Scripted([1, 2, 3, 4], 2, bad_applies=[0])
    tallies = drive(halves, Batches(4))
    assert [(t.updates, t.rows, t.bad, t.end) for t in tallies] == [(0, 2, True, False), (1, 2, False, True)]


def test_an_epoch_without_batches_is_refused():
    with pytest.raises(ValueError, match="train must have at least one batch an epoch, got none"):
        drive(Scripted([], 2), Batches(0, length=False))


# -- what is not finite


def flawed(rows):
    x = X.copy()
    x[rows] = np.nan
    return x


def test_a_batch_that_is_not_finite_is_skipped_and_counted():
    x = flawed([4])  # of the third batch of two rows
    opt = build(algo="sgd", accumulate=2)
    opt.minimize([x, Y], shuffle=False, batch_size=2, max_epochs=1, validate_every=None, on_nonfinite="skip")
    expected = build(algo="sgd", accumulate=2)
    rest = np.delete(np.arange(23), [4, 5])
    expected.minimize([x[rest], Y[rest]], shuffle=False, batch_size=2, max_epochs=1, validate_every=None)
    np.testing.assert_allclose(opt.params[0].get_value(), expected.params[0].get_value(), rtol=1e-12)
    assert any("skipped" in e for r in opt.history for e in r.events)


def test_a_batch_that_is_not_finite_is_told():
    opt = build(algo="sgd", accumulate=2)
    with pytest.raises(NonFiniteError, match="loss is not finite at update 2; input 'x', row 4"):
        opt.minimize([flawed([4]), Y], shuffle=False, batch_size=2, max_epochs=1)


def test_many_bad_batches_in_a_row_raise():
    opt = build(algo="sgd", accumulate=2)
    with pytest.raises(NonFiniteError):
        opt.minimize(
            [flawed(range(23)), Y],
            batch_size=1,
            max_epochs=1,
            validate_every=None,
            on_nonfinite="skip",
            nonfinite_limit=5,
        )
    assert opt.params[0].get_value().tolist() == [1, 1, 1]


@pytest.mark.parametrize("check", ["gradients", "all"])
def test_gradients_that_are_finite_one_by_one_but_not_together_are_held_back(check):
    x, w = pt.fvector("x"), pytensor.shared(np.float32(1.0), name="w")
    opt = downhill2.build("sgd", (x * w).sum(), [w], reduction="sum", accumulate=2, learning_rate=1)
    data = np.array([3e38, 3e38, 1, 2], "f4")
    opt.minimize(
        [data], shuffle=False, batch_size=1, max_epochs=1, validate_every=None, on_nonfinite="skip", check=check
    )
    assert w.get_value() == 1 - 3
    assert opt.context.clock.get_value() == 1


def test_a_rollback_empties_the_window():
    opt = build(algo="sgd", accumulate=3)
    faulty, sound = [flawed([8]), Y], [X, Y]
    opt.minimize(
        faulty,
        sound,
        shuffle=False,
        batch_size=2,
        max_epochs=1,
        on_nonfinite="rollback",
        restore_best=False,
        patience=None,
    )
    # three batches, and one that the fault takes back to the start; then seven
    rest = build(algo="sgd", accumulate=3, learning_rate=0.05)
    rest.minimize([X[10:], Y[10:]], shuffle=False, batch_size=2, max_epochs=1, validate_every=None)
    assert opt.history[-1].updates == 1 + 3
    np.testing.assert_allclose(opt.params[0].get_value(), rest.params[0].get_value(), rtol=1e-12)


# -- resume


@pytest.mark.parametrize("stops", [[1], [3, 5], [2, 3, 7]], ids=str)
@pytest.mark.parametrize("settings", [{"accumulate": 4}, {"accumulate": 2, "ema": 0.9, "noise": True}], ids=str)
def test_a_resumed_run_is_the_uninterrupted_one(settings, stops, tmp_path):
    training = Training(**settings)
    assert training.interrupted(tmp_path, stops) == training.run()


@pytest.mark.parametrize("batch", [1, 3, 6, 8, 9])
def test_a_run_that_a_signal_stops_within_a_window_goes_on_in_it(batch, tmp_path, monkeypatch):
    training = Training(accumulate=4)
    whole = training.run()
    left = [batch]

    class Signalled(AccumulatedSteps):
        def _add(self, *args):
            super()._add(*args)
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(session, "AccumulatedSteps", Signalled)
    training.run(checkpoint=tmp_path, on_signal="stop")
    assert training.opt.stopped.startswith("signal")
    monkeypatch.undo()
    assert training.run(checkpoint=tmp_path, resume=True) == whole


def test_parameters_that_are_restored_leave_no_gradients_of_others_behind(monkeypatch):
    opt = build(accumulate=4)
    train(opt, batch_size=2, max_epochs=1)
    sums = opt.context.store.variables
    sums["w.accumulate.sum"].set_value(np.ones(3))
    sums["all.accumulate.batches"].set_value(1.0)
    opt.fit.best.keep({"loss": 0.0})
    opt.fit.restore(opt.fit.best)
    assert opt.state["w.accumulate.sum"].tolist() == [0, 0, 0]
    assert opt.state["all.accumulate.batches"] == 0


# -- refused


@pytest.mark.parametrize(("given", "kind"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_window_has_at_least_one_batch(given, kind):
    with pytest.raises(kind, match=f"accumulate must be .*, got {given}"):
        build(accumulate=given)


def test_updates_without_a_run_know_no_rows():
    opt = build()
    with pytest.raises(ValueError, match=r"accumulate must be 1 for updates without a run, .* got 3"):
        opt.get_updates(accumulate=3)
    assert opt.hyper["accumulate"] == 1


def test_a_run_stays_with_one_batch_or_several():
    def change(opt, record):
        opt.accumulate = 3

    with pytest.raises(ValueError, match="accumulate must stay 1 in a run that began with 1, got 3"):
        train(build(), batch_size=2, callbacks=[change])

    def back(opt, record):
        opt.accumulate = 1

    with pytest.raises(ValueError, match="accumulate must stay above 1 in a run that began so, got 1"):
        train(build(accumulate=2), batch_size=2, callbacks=[back])


def test_a_run_may_change_how_many_batches_make_an_update():
    def change(opt, record):
        opt.accumulate = 4

    opt = build(accumulate=2)
    train(opt, batch_size=2, max_epochs=2, callbacks=[change])
    assert [r.updates for r in opt.history] == [6, 9]


# -- in the mode that users run


@pytest.mark.default_mode
def test_windows_in_the_default_mode_are_those_of_the_other():
    native = train(build("float32", accumulate=4), "float32", batch_size=2)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        other = train(build("float32", accumulate=4), "float32", batch_size=2)
    np.testing.assert_allclose(native, other, rtol=1e-5)
