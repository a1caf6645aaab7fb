"""Optimizers with real compiled functions: made, run, stopped in every way, and run again."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import NonFiniteError, Optimizer, Zeros
from downhill2.loop.run import Tally
from downhill2.stepping.one_by_one import Steps

X = np.arange(12.0).reshape(6, 2) / 10
Y = X @ [1.0, -2.0]

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def compilations(monkeypatch):
    """A list that grows by the updated variables of every function that is compiled, on any linker."""
    seen = []
    function = pytensor.function

    def counted(*args, **kwargs):
        seen.append(kwargs.get("updates") or {})
        return function(*args, **kwargs)

    monkeypatch.setattr(pytensor, "function", counted)
    return seen


def regression(algo="sgd", **kwargs):
    """Return an optimizer of a linear regression: two inputs, one parameter."""
    x, y, w = pt.matrix("x"), pt.vector("y"), pytensor.shared(np.zeros(2), name="w")
    return downhill2.build(algo, ((x @ w - y) ** 2).mean(), **{"learning_rate": 0.1, **kwargs})


def bowl(start=8.0, **kwargs):
    """Return an optimizer that halves its one parameter at every update, its loss the square."""
    w = pytensor.shared(np.array(start), name="w")
    return downhill2.SGD(w**2, **{"learning_rate": 0.25, **kwargs})


def value(opt):
    return opt.params[0].get_value().tolist()


class Wanders(Optimizer):
    """Moves to the given points one after the other, whatever the gradient."""

    n = Zeros()

    def direction(self, param, grad, n):
        points = pt.constant(np.array([3.0, 1.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]))
        return (param - points[self.t.astype("int64") - 1]) / self.learning_rate, {"n": n + 1}


def wandering(**kwargs):
    """Return an optimizer on the square of a parameter that starts at 4 and is best, 1, after two updates."""
    return Wanders(pytensor.shared(np.array(4.0), name="w") ** 2, **kwargs)


RUN = {"validate_every": 1, "patience": None}


# -- made


def test_an_optimizer_is_built_by_name_in_upper_or_lower_case_or_by_class():
    for algo in ("adam", "Adam", "ADAM", downhill2.Adam):
        opt = downhill2.build(algo, pytensor.shared(1.0) ** 2, learning_rate=0.5)
        assert isinstance(opt, downhill2.Adam)
        assert isinstance(opt, Optimizer)
        assert not isinstance(opt, downhill2.SGD)
        assert opt.hyper["learning_rate"] == 0.5


def test_a_subclass_registers_itself():
    assert "wanders" in downhill2.list_algorithms()
    assert isinstance(downhill2.build("WANDERS", pytensor.shared(1.0) ** 2), Wanders)

    class Later(Wanders):
        pass

    assert list(downhill2.list_algorithms()) == sorted(Optimizer.registry)
    assert Optimizer.registry["later"] is Later


def test_the_eight_algorithms_of_downhill_are_there():
    names = {"sgd", "nag", "rprop", "rmsprop", "adagrad", "adadelta", "esgd", "adam"}
    assert names <= set(downhill2.list_algorithms())


def test_a_class_takes_loss_params_inputs_updates_and_monitors_in_this_order():
    x, w, n = pt.vector("x"), pytensor.shared(0.0, name="w"), pytensor.shared(0, name="n")
    opt = downhill2.SGD(((w - x) ** 2).mean(), [w], [x], [(n, n + 1)], [("w", w)], True, learning_rate=0.5)
    train, _ = opt.minimize([np.ones(2)], max_epochs=1)
    assert list(train) == ["loss", "w", "grad(w)"]
    assert n.get_value() == 1


# -- just the graph


def test_get_updates_is_a_plain_list_of_pairs_ready_for_a_function():
    opt = regression(momentum=0.9)
    updates = opt.get_updates(learning_rate=0.5)
    assert [v.name for v, _ in updates] == ["w.momentum.v", "w", "updates"]
    step = pytensor.function(opt.inputs, [], updates=updates)
    step(X, Y)
    expected = 0.5 * 2 * X.T @ Y / 6
    np.testing.assert_allclose(value(opt), expected)
    assert opt.context.clock.get_value() == 1
    assert opt.hyper["learning_rate"] == 0.5


def test_get_updates_and_runs_share_state():
    opt = bowl(momentum=0.5)
    step = pytensor.function([], [], updates=opt.get_updates())
    step()  # v = 4
    opt.minimize(max_updates=1, validate_every=None)  # v = 2 + 2
    assert value(opt) == 0
    step()  # v = 2 + 0
    assert value(opt) == -2
    assert opt.context.clock.get_value() == 3


# -- runs


def test_iterate_yields_monitors_of_each_epoch_and_the_latest_validation():
    opt = bowl()
    pairs = list(opt.iterate(max_epochs=3, validate_every=2))
    assert [train["loss"] for train, _ in pairs] == [64, 16, 4]
    assert [valid["loss"] for _, valid in pairs] == [64, 4, 1]
    assert opt.stopped == "max_epochs"
    assert value(opt) == 1


def test_minimize_returns_the_last_pair_of_iterate():
    pairs = list(regression().iterate([X, Y], max_epochs=4, rng=1, batch_size=4))
    assert regression().minimize([X, Y], max_epochs=4, rng=1, batch_size=4) == pairs[-1]


def test_a_regression_is_solved_by_every_algorithm():
    rates = {
        "sgd": 0.5,
        "nag": 0.5,
        "rprop": 0.01,
        "rmsprop": 0.01,
        "adagrad": 0.5,
        "adadelta": 1,
        "esgd": 0.3,
        "adam": 0.1,
    }
    for algo, rate in rates.items():
        opt = regression(algo, learning_rate=rate)
        train, valid = opt.minimize([X, Y], batch_size=0, max_epochs=30, validate_every=30)
        assert valid["loss"] < (Y**2).mean(), algo
        assert train.keys() == valid.keys() == {"loss"}


def test_max_updates_counts_updates_and_may_be_given_by_position():
    opt = regression()
    pairs = list(opt.iterate([X, Y], None, 4, batch_size=2, rng=0))
    assert opt.stopped == "max_updates"
    assert opt.context.clock.get_value() == 4
    assert len(pairs) == 2  # an epoch of three updates, and one of the next


def test_an_epoch_may_be_made_in_stretches():
    opt = regression(learning_rate=0)
    feed = downhill2.Dataset([X, Y], batch_size=2, shuffle=False).bind(opt.inputs)
    steps = Steps(lambda: opt.fit.step(feed), ["loss"], feed)
    sums, rows, ends = {}, 0.0, []
    for most in (1, 2, None):
        tally = Tally(sums, rows)
        steps(tally, most, lambda: False)
        ends.append((tally.updates, tally.end))
        sums, rows = ({}, 0.0) if tally.end else (tally.sums, tally.rows)
        if tally.end and most == 2:
            assert tally.sums["loss"] / tally.rows == pytest.approx((Y**2).mean())
    assert ends == [(1, False), (2, True), (3, True)]


def test_data_that_yields_no_batch_is_an_error():
    class Empty:
        name, length, sources = "mine", None, None

        def begin(self):
            return 0

        def rest(self):
            return iter(())

    with pytest.raises(ValueError, match="mine must have at least one batch an epoch, got none"):
        Steps(lambda: None, ["loss"], Empty())(Tally({}, 0.0), None, lambda: False)


def test_validation_data_of_its_own_is_used():
    opt = regression(learning_rate=0)
    train, valid = opt.minimize([X, Y], [X[:1], Y[:1] + 1], max_epochs=1)
    assert train["loss"] == pytest.approx((Y**2).mean())
    assert valid["loss"] == pytest.approx((Y[0] + 1) ** 2)


@pytest.mark.parametrize("algo", ["sgd", "esgd", "adam"])
def test_a_run_of_one_seed_is_repeated_bit_for_bit(algo):
    results = []
    for _ in range(2):
        opt = regression(algo)
        opt.minimize([X, Y], batch_size=2, rng=3, max_epochs=3)
        results.append(opt.params[0].get_value().tobytes())
    assert results[0] == results[1]


def test_a_schedule_is_followed_during_a_run():
    opt = bowl(learning_rate=lambda t: pt.switch(pt.lt(t, 2), 0.25, 0.0))
    opt.minimize(max_updates=5, validate_every=None)
    assert value(opt) == 2


def test_a_hyperparameter_may_depend_on_the_batch():
    x, w = pt.vector("x"), pytensor.shared(np.array(1.0), name="w")
    opt = downhill2.SGD((w * x).mean(), learning_rate=x.sum())
    opt.minimize([np.array([1.0, 3.0])], max_epochs=1)
    assert value(opt) == 1 - 4 * 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_parameters_of_the_other_width_than_floatx_are_trained(dtype, floatx):
    with pytensor.config.change_flags(floatX=floatx):
        x, w = pt.matrix("x", dtype=dtype), pytensor.shared(np.zeros(2, dtype), name="w")
        opt = downhill2.Adam(((x @ w - 1) ** 2).mean(), learning_rate=0.1, momentum=0.5, weight_decay=0.1)
        train, _ = opt.minimize([X], max_epochs=2)
    assert w.get_value().dtype == dtype
    assert np.isfinite(train["loss"])


def test_a_parameter_of_one_row_that_meets_four_is_trained():
    w = pytensor.shared(np.zeros((1, 3)), name="w", shape=(1, 3))
    opt = downhill2.Adam(((w - np.ones((4, 3))) ** 2).mean(), learning_rate=0.5)
    opt.minimize(max_updates=1, validate_every=None)
    np.testing.assert_allclose(w.get_value(), [[0.5] * 3])


# -- losses without data


def test_a_loss_without_data_has_one_update_an_epoch_by_default():
    opt = bowl()
    list(opt.iterate(max_epochs=2))
    assert opt.context.clock.get_value() == 2


def test_a_loss_without_data_has_train_batches_updates_an_epoch_and_valid_batches_evaluations():
    opt = bowl()
    assert len(list(opt.iterate(max_epochs=2, train_batches=3, valid_batches=2))) == 2
    assert opt.context.clock.get_value() == 6


def test_a_generator_with_a_default_update_advances_in_every_function_and_shows_the_evaluations():
    rng = pt.random.shared_rng(np.random.default_rng(0), name="rng")
    rng_t, noise = rng.normal()
    with pytest.warns(DeprecationWarning, match="default_update"):
        rng.default_update = rng_t
    w = pytensor.shared(np.array(0.0), name="w")
    train, valid = downhill2.SGD(w**2 + noise, learning_rate=0).minimize(max_epochs=1, train_batches=3, valid_batches=2)
    draws = np.random.default_rng(0).normal(size=7)  # two of a validation, three of updates, two of a validation
    assert train["loss"] == pytest.approx(draws[2:5].mean())
    assert valid["loss"] == pytest.approx(draws[5:].mean())


def test_a_loss_without_data_is_evaluated_once():
    assert bowl().evaluate(None) == {"loss": 64}


def test_what_validations_report_can_be_evaluated():
    x, w = pt.vector("x"), pytensor.shared(np.array(2.0), name="w")
    opt = downhill2.SGD((w * x).mean(), monitors={"w": w})
    data = [np.arange(5.0)]
    assert opt.evaluate(data, batch_size=2) == {"loss": 4, "w": 2}
    assert opt.evaluate(data, 2, loss=w**2) == {"loss": 4, "w": 2}
    assert opt.evaluate(data, 2, loss=(w + x).mean(), monitors=[("last", x[-1])]) == {"loss": 4, "last": 2.4}
    assert opt.evaluate(data, monitors={}) == {"loss": 4}
    found = opt.minimize(data, max_updates=0, valid_loss=(w + x).mean(), valid_monitors={"first": x.min()})[1]
    assert opt.evaluate(data, loss=(w + x).mean(), monitors={"first": x.min()}) == found


# -- validation by other expressions


def test_valid_loss_and_valid_monitors_replace_loss_and_monitors_of_validations():
    w = pytensor.shared(np.array(8.0), name="w")
    opt = downhill2.SGD(w**2, learning_rate=0.25, monitors=[("w", w)])
    settings = {"max_epochs": 1, "train_batches": 1}
    train, valid = opt.minimize(**settings, valid_loss=10 * w)
    assert train == {"loss": 64, "w": 8}
    assert valid == {"loss": 40, "w": 4}
    assert opt.minimize(**settings, valid_monitors={"double": 2 * w})[1] == {"loss": 4, "double": 4}
    assert opt.minimize(**settings, valid_loss=-w, valid_monitors=[])[1] == {"loss": -1}


def test_the_best_is_that_of_valid_loss():
    opt = wandering()
    opt.minimize(max_epochs=4, **RUN, valid_loss=-opt.params[0])
    assert value(opt) == 7
    assert opt.best_monitors == {"loss": -7}


# -- the best, however the run ends


def test_the_best_is_restored_at_the_end():
    opt = wandering()
    opt.minimize(max_epochs=5, **RUN)
    assert (opt.stopped, value(opt), opt.best_monitors) == ("max_epochs", 1, {"loss": 1})
    assert opt.context.clock.get_value() == 5


def test_patience_ends_the_run_and_the_best_is_restored():
    opt = wandering()
    list(opt.iterate(validate_every=1, patience=2))
    assert (opt.stopped, value(opt)) == ("patience", 1)
    assert opt.context.clock.get_value() == 5


def test_the_best_is_not_restored_where_that_is_turned_off():
    opt = wandering()
    opt.minimize(max_epochs=5, **RUN, restore_best=False)
    assert value(opt) == 9
    opt.set_params()
    assert value(opt) == 1


def test_without_validation_nothing_is_restored():
    opt = wandering()
    train, valid = opt.minimize(max_epochs=5, validate_every=None)
    assert (value(opt), valid, opt.best_monitors) == (9, {}, {})
    assert train == {"loss": 49}


@contextlib.contextmanager
def without_garbage_collector():
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_the_best_is_restored_at_once_by_a_break_without_the_garbage_collector():
    opt = wandering()
    with without_garbage_collector():
        for epoch, _ in enumerate(opt.iterate(**RUN)):
            if epoch == 3:
                break
        assert (opt.stopped, value(opt)) == ("closed", 1)


def test_the_best_is_restored_by_close():
    opt = wandering()
    with without_garbage_collector(), contextlib.closing(opt.iterate(**RUN)) as run:
        for _ in range(4):
            next(run)
        assert (opt.stopped, value(opt)) == (None, 7)
    assert (opt.stopped, value(opt)) == ("closed", 1)


def test_the_best_is_restored_by_an_exception_in_the_callers_body():
    opt = wandering()

    def fails():
        for epoch, _ in enumerate(opt.iterate(**RUN)):
            if epoch == 3:
                raise KeyError("mine")

    with without_garbage_collector():
        with pytest.raises(KeyError, match="mine"):
            fails()
        # the traceback held the frame, and so the generator, until the error was handled
        assert (opt.stopped, value(opt)) == ("closed", 1)


def fed_wandering(event):
    """Return `wandering`, and data that does `event` in its fifth batch."""
    x, w, calls = pt.vector("x"), pytensor.shared(np.array(4.0), name="w"), []

    def batch():
        calls.append(0)
        if len(calls) == 5:
            event()
        return [np.zeros(1)]

    train = downhill2.Dataset(batch, iteration_size=1)
    return Wanders(w**2 + x.sum()), train, [np.zeros(1)]


@pytest.mark.parametrize("finish", ["minimize", "iterate"])
def test_the_best_is_restored_by_an_exception_in_the_data(finish):
    def event():
        raise OSError("disk")

    opt, train, valid = fed_wandering(event)
    with without_garbage_collector(), pytest.raises(OSError, match="disk"):
        list(opt.iterate(train, valid, **RUN)) if finish == "iterate" else opt.minimize(train, valid, **RUN)
    assert (opt.stopped, value(opt)) == ("exception: OSError", 1)


def interrupted():
    raise KeyboardInterrupt


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("finish", ["minimize", "iterate"])
@pytest.mark.parametrize(("event", "name"), [(interrupted, "SIGINT"), (terminated, "SIGTERM")])
def test_the_best_is_restored_by_ctrl_c_and_sigterm(event, name, finish):
    opt, train, valid = fed_wandering(event)
    before = signal.getsignal(signal.SIGTERM)
    run = {**RUN, "on_signal": "stop"}
    with without_garbage_collector():
        list(opt.iterate(train, valid, **run)) if finish == "iterate" else opt.minimize(train, valid, **run)
    assert (opt.stopped, value(opt)) == (f"signal {name}", 1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_before_an_update_was_validated_the_last_parameters_stay():
    def event():
        raise OSError("disk")

    opt, train, valid = fed_wandering(event)
    with pytest.raises(OSError, match="disk"):
        opt.minimize(train, valid, validate_every=10)
    assert value(opt) == 7  # after four updates, of which none was validated


def test_a_run_shorter_than_validate_every_keeps_its_progress():
    opt = bowl()
    opt.minimize(max_updates=2)
    assert value(opt) == 2
    assert opt.best_monitors == {"loss": 4}


# -- losses that are not finite


@pytest.mark.parametrize("shuffle", ["rows", "batches", False])
def test_a_nan_in_the_data_is_reported_with_update_monitor_input_and_row(shuffle):
    data = X.copy()
    data[4, 1] = np.nan
    opt = regression(learning_rate=0.01)
    with pytest.raises(NonFiniteError) as caught:
        opt.minimize([data, Y], [X, Y], batch_size=1, shuffle=shuffle, rng=0)
    error = caught.value
    assert error.monitor == "loss"
    assert error.where.startswith("input 'x', row 4")
    assert error.update == opt.context.clock.get_value() + 1
    assert str(error).startswith(f"loss is not finite at update {error.update}; {error.where}")
    assert opt.stopped == "non-finite"
    assert np.isfinite(value(opt)).all()


def test_the_update_that_met_a_nan_is_held_back_and_the_best_restored():
    x, w = pt.vector("x"), pytensor.shared(np.array(4.0), name="w")
    batches = [[np.zeros(1)]] * 4 + [[np.array([np.nan])]]
    opt = Wanders(w**2 + x.sum())
    with pytest.raises(NonFiniteError, match=r"loss is not finite at update 5; input 'x', row 0 of the batch"):
        opt.minimize(downhill2.Dataset.from_batches(batches, shuffle=False, iteration_size=1), [np.zeros(1)], **RUN)
    assert (value(opt), opt.state["w.wanders.n"]) == (1, 4)
    assert opt.context.clock.get_value() == 4


def test_a_parameter_that_is_not_finite_is_named():
    v, w = pytensor.shared(np.ones(2), name="v"), pytensor.shared(np.array([1.0, np.inf]), name="w")
    opt = downhill2.SGD((v**2).sum() + (w**2).sum())
    with pytest.raises(NonFiniteError) as caught:
        opt.minimize(max_epochs=1, validate_every=None)
    assert caught.value.where == "parameter 'w' holds a value that is not finite"
    assert v.get_value().tolist() == [1, 1]


def test_where_all_that_goes_in_is_finite_there_is_advice():
    w = pytensor.shared(np.array(-1.0), name="w")
    with pytest.raises(NonFiniteError) as caught:
        downhill2.SGD(pt.sqrt(w)).minimize(max_epochs=1)
    assert caught.value.update == 1
    assert caught.value.where == "all inputs and parameters are finite; lower learning_rate or clip gradients"
    assert isinstance(caught.value, ArithmeticError)


def test_a_validation_that_is_not_finite_is_no_best_and_no_error():
    opt = regression()
    opt.minimize([X, Y], [X, np.full(6, np.nan)], max_epochs=2, validate_every=1, rng=0)
    assert opt.stopped == "max_epochs"
    assert opt.best_monitors == {}


# -- one run after the other


def test_a_second_run_goes_on_with_state_and_clock_and_fresh_patience():
    opt = wandering()
    list(opt.iterate(validate_every=1, patience=0))
    assert (opt.stopped, opt.context.clock.get_value()) == ("patience", 3)
    pairs = list(opt.iterate(validate_every=1, patience=0))
    assert (opt.stopped, opt.context.clock.get_value()) == ("patience", 4)
    assert len(pairs) == 1
    assert opt.best_monitors == {"loss": 1}  # that of its own start
    assert opt.state["w.wanders.n"] == 4


def test_momentum_is_kept_over_runs():
    opt, other = bowl(momentum=0.5), bowl(momentum=0.5)
    for _ in range(4):
        opt.minimize(max_updates=1, validate_every=None)
    other.minimize(max_updates=4, validate_every=None)
    assert value(opt) == value(other)
    assert opt.state == other.state


def test_reset_begins_anew_but_for_the_parameters():
    opt = bowl(momentum=0.5)
    opt.minimize(max_updates=3, patience=7)
    assert (opt.stopped, opt.patience) == ("max_updates", 7)
    opt.reset()
    assert opt.state == {"w.momentum.v": 0}
    assert (opt.stopped, opt.best_monitors, opt.patience) == (None, {}, 5)
    assert opt.context.clock.get_value() == 0
    assert opt.hyper["momentum"] == 0.5
    start = value(opt)
    assert start != 8
    opt.minimize(max_updates=1, validate_every=None)
    assert value(opt) == start / 2
    with pytest.raises(ValueError, match="targets must be arrays while there are no best parameters, got 'best'"):
        opt.set_params("best")


def test_a_reset_in_the_callers_body_does_not_disturb_the_run():
    opt = wandering()
    for epoch, _ in enumerate(opt.iterate(max_epochs=5, **RUN)):
        if epoch == 1:
            opt.reset()
    # back at the beginning of its points it goes to 3, 1 and 5 again, and no better than the 1 it had
    assert value(opt) == 1


# -- one run at a time


def test_while_a_run_is_on_another_is_refused_and_changes_nothing():
    opt = wandering()
    first = opt.iterate(**RUN)
    for _ in range(3):
        next(first)
    message = "Wanders must make one run at a time, got another after 3 updates of one; leave its loop, or close its"
    for begin in (opt.iterate, opt.minimize):
        with pytest.raises(RuntimeError, match=message):
            begin(learning_rate=0.5, max_epochs=1)
    assert (opt.hyper["learning_rate"], opt.best_monitors) == (1e-4, {"loss": 1})
    next(first)
    first.close()
    assert (value(opt), opt.stopped) == (1, "closed")
    opt.minimize(max_epochs=1)
    assert opt.stopped == "max_epochs"


@pytest.mark.parametrize("begin", ["iterate", "minimize"])
def test_a_callback_may_evaluate_but_not_run_its_optimizer(begin):
    opt, seen = wandering(), []

    def callback(opt, record):
        seen.append(opt.evaluate(None))
        getattr(opt, begin)(max_epochs=1)

    with pytest.raises(RuntimeError, match=r"in a callback, call opt\.stop and return") as raised:
        opt.minimize(callbacks=[callback], **RUN)
    assert seen == [{"loss": 16}]
    assert "raised by the callback" in raised.value.__notes__[0]
    opt.minimize(max_epochs=1)


def test_a_callback_may_run_another_optimizer():
    opt, other = wandering(), bowl()
    opt.minimize(callbacks=[lambda *_: other.minimize(max_epochs=1)], max_epochs=2, **RUN)
    assert (opt.stopped, other.stopped) == ("max_epochs", "max_epochs")


def crashing(opt):
    def callback(opt, record):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opt.minimize(callbacks=[callback], **RUN)


def dropped(opt):
    next(opt.iterate(**RUN))


def held(opt):
    return opt.iterate(**RUN)


def exhausted(opt):
    run = opt.iterate(max_epochs=1, **RUN)
    list(run)
    return run


def closed(opt):
    run = opt.iterate(**RUN)
    next(run)
    run.close()
    return run


@pytest.mark.parametrize("leave", [crashing, dropped, held, exhausted, closed])
def test_a_run_that_was_left_does_not_stand_in_the_way_of_the_next(leave):
    opt = wandering()
    with without_garbage_collector():
        left = leave(opt)
        opt.minimize(max_epochs=1, **RUN)
        assert opt.stopped == "max_epochs"
        for _ in opt.iterate(max_epochs=1, **RUN):
            pass
    del left


@pytest.mark.parametrize("then", [lambda opt: opt.minimize(max_epochs=1), lambda opt: opt.reset()])
def test_an_iterator_that_another_run_came_before_is_refused(then):
    opt = wandering()
    late = opt.iterate(max_epochs=1, **RUN)
    then(opt)
    with pytest.raises(RuntimeError, match="an iterator must begin before the next call of iterate, minimize or reset"):
        next(late)
    opt.minimize(max_epochs=1)


# -- the best, and validations that are not finite


def table_of(losses, **limits):
    """Return an optimizer whose parameter counts its updates, after a run with these validation losses."""
    values, w = pytensor.shared(np.array(losses)), pytensor.shared(0.0, name="w")
    opt = downhill2.SGD(-w, [w], learning_rate=1.0)
    valid = values[pt.cast(pt.round(w), "int64")]
    opt.minimize(valid_loss=valid, validate_every=1, max_epochs=len(losses) - 1, **limits)
    return opt


def test_what_is_put_back_has_the_lowest_validation_loss_though_it_improved_by_little():
    opt = table_of([2.0, 1.0, 0.97, 0.96, 1.5], min_improvement=0.05)
    assert (value(opt), opt.best_monitors) == (3, {"loss": 0.96})
    assert opt.history["improved"].tolist() == [True, True, True, True, False]


def test_a_validation_that_is_not_finite_is_an_event_and_once_a_warning(caplog):
    opt = table_of([2.0, np.nan, 1.0, np.inf, 1.5])
    told = "validation loss is not finite; all inputs are finite"
    assert [record.events for record in opt.history] == [(), (told,), (), (told,), ()]
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        f"{told}; it is never the best, and counts against patience"
    ]
    assert (value(opt), opt.best_monitors) == (2, {"loss": 1.0})


@pytest.mark.parametrize("how", ["arrays", "batches", "generator"])
def test_validation_data_that_is_not_finite_is_named(how, caplog):
    opt, spoilt = regression(), X.copy()
    spoilt[4, 1] = np.nan
    batches = [[spoilt[i : i + 3], Y[i : i + 3]] for i in (0, 3)]
    valid = {"arrays": [spoilt, Y], "batches": batches, "generator": lambda: iter(batches)}[how]
    valid = (lambda: (yield from batches)) if how == "generator" else valid
    opt.minimize([X, Y], valid, batch_size=3, max_epochs=1, rng=0)
    place = "input 'x', row 4" if how == "arrays" else "input 'x', row 1 of the batch"
    assert opt.history[0].events == opt.history[1].events == (f"validation loss is not finite; {place}",)
    assert [r.levelname for r in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize("setting", [{"keep": 3}, {"keep": 2}, {"checkpoint_every": 5}])
def test_what_a_checkpoint_needs_is_refused_without_one(setting):
    opt, [(name, given)] = bowl(), setting.items()
    message = f"checkpoint must name a directory to save in, got None with {name}={given}"
    with pytest.raises(ValueError, match=message):
        opt.minimize(max_epochs=1, **setting)
    assert opt.stopped is None


@pytest.mark.parametrize("given", ["end", None, 3, ["stop"]])
def test_what_follows_a_signal_is_one_of_three(given):
    with pytest.raises(ValueError, match="on_signal must be 'auto', 'stop' or 'raise', got"):
        bowl().minimize(max_epochs=1, on_signal=given)


def test_settings_of_the_latest_run_can_be_read():
    opt = bowl()
    assert (opt.patience, opt.validate_every, opt.min_improvement) == (5, 10, 0)
    opt.minimize(max_epochs=1, patience=3, validate_every=2, min_improvement=0.5)
    assert (opt.patience, opt.validate_every, opt.min_improvement) == (3, 2, 0.5)


# -- compiled once


def test_functions_are_compiled_at_the_call_and_reused(compilations):
    opt = regression("adam")
    run = opt.iterate([X, Y], max_epochs=2, rng=0)
    assert len(compilations) == 2  # a training step and an evaluation
    list(run)
    opt.minimize([X, Y], [X[:3], Y[:3]], max_epochs=1, rng=1, batch_size=2)
    opt.evaluate([X, Y])
    opt.reset()
    opt.minimize(downhill2.Dataset([X, Y], rng=0), max_epochs=1)
    assert len(compilations) == 2


def test_evaluating_alone_compiles_no_training_step(compilations):
    opt = regression("adam")
    opt.evaluate([X, Y])
    assert [bool(updates) for updates in compilations] == [False]


def test_without_validation_no_evaluation_is_compiled(compilations):
    regression().minimize([X, Y], max_epochs=1, validate_every=None, rng=0)
    assert [bool(updates) for updates in compilations] == [True]


def test_changing_a_number_compiles_nothing(compilations):
    opt = regression("adam", momentum=0.9)
    opt.minimize([X, Y], max_epochs=1, rng=0)
    opt.minimize([X, Y], max_epochs=1, rng=0, learning_rate=0.5, beta1=0.5, momentum=0.1, epsilon=0)
    opt.learning_rate = 0.25
    opt.minimize([X, Y], max_epochs=1, rng=0, beta2_halflife=5)
    assert len(compilations) == 2


@pytest.mark.parametrize(
    "change", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"max_gradient_norm": 1}, {"nesterov": True}]
)
def test_what_shapes_the_graph_compiles_the_step_once_more_and_says_so(change, compilations, caplog):
    opt = regression()
    settings = {"max_epochs": 1, "rng": 0}
    with caplog.at_level(logging.INFO, "downhill2"):
        opt.minimize([X, Y], **settings)
        opt.minimize([X, Y], **settings, **change)
        opt.minimize([X, Y], **settings, **{name: type(new)(0) for name, new in change.items()})
        opt.minimize([X, Y], **settings, **change)
    assert sorted(bool(updates) for updates in compilations) == [False, True, True]
    reason = "new settings" if "nesterov" in change else next(iter(change))
    lines = [m for m in caplog.messages if m.startswith("compiling the training step")]
    assert lines == ["compiling the training step", f"compiling the training step again, because of {reason}"]


def test_another_mode_is_another_function(compilations):
    opt = bowl()
    opt.minimize(max_epochs=1)
    with pytensor.config.change_flags(mode=pytensor.compile.mode.Mode("py", "fast_compile")):
        opt.minimize(max_epochs=1)
    assert len(compilations) == 4


def test_a_hyperparameter_changed_in_the_callers_body_acts_at_the_next_update(compilations):
    opt = bowl()
    seen = []
    for epoch, _ in enumerate(opt.iterate(max_epochs=3, restore_best=False)):
        seen.append(value(opt))
        if epoch == 0:
            opt.learning_rate = 0.5
    assert seen == [4, 0, 0]
    assert len(compilations) == 2


def test_momentum_that_comes_in_the_callers_body_compiles_once_and_acts(compilations):
    opt = bowl()
    for epoch, _ in enumerate(opt.iterate(max_epochs=3, validate_every=None)):
        if epoch == 0:
            opt.momentum = 0.5
    # 8 - 4 - 2 - (1 + 1)
    assert value(opt) == 0
    assert len(compilations) == 2


def test_rows_of_shared_variables_are_taken_by_functions_that_are_reused(compilations):
    x, w = pt.matrix("x"), pytensor.shared(np.zeros(2), name="w")
    data = downhill2.Dataset(pytensor.shared(X), batch_size=2, rng=0)
    opt = downhill2.SGD(((x - w) ** 2).mean(), learning_rate=0.1)
    for _ in range(3):
        opt.minimize(data, max_epochs=1)
    assert len(compilations) == 2


# -- parameters


def test_parameters_are_set_to_arrays_in_their_own_dtype():
    v, w = pytensor.shared(np.zeros(2, "float32"), name="v"), pytensor.shared(np.array(0.0), name="w")
    opt = downhill2.SGD((v**2).sum() + w**2)
    given = np.ones(2)
    opt.set_params([given, 3])
    assert (v.get_value().dtype, v.get_value().tolist(), w.get_value()) == ("float32", [1, 1], 3)
    given[:] = 7
    opt.set_params((v.get_value() + 1, np.array(4.0)))
    assert (v.get_value().tolist(), w.get_value()) == ([2, 2], 4)


def test_set_arrays_are_not_the_parameters_storage():
    opt = bowl()
    given = np.array(6.0)
    opt.set_params([given])
    opt.minimize(max_updates=1, validate_every=None)
    assert (given, value(opt)) == (6, 3)


def test_the_best_can_be_set_again():
    opt = wandering()
    opt.minimize(max_epochs=3, **RUN)
    opt.set_params([5.0])
    opt.set_params("best")
    assert value(opt) == 1


def test_what_is_kept_as_best_is_a_copy():
    opt = bowl()
    for epoch, _ in enumerate(opt.iterate(**RUN)):
        opt.params[0].set_value(np.array(0.5 if epoch == 1 else 100.0))
        if epoch == 4:
            break
    # what the caller sets takes part in the run: the best is what followed the 0.5
    assert value(opt) == 0.25


# -- the console


def test_an_epoch_and_a_validation_are_a_line_each_with_a_mark_at_the_best(caplog):
    with caplog.at_level(logging.INFO, "downhill2"):
        wandering().minimize(max_epochs=3, **RUN)
    lines = [m for m in caplog.messages if m.startswith("Wanders")]
    assert lines == [
        "Wanders 0 validation loss=16 *",
        "Wanders 1 loss=16",
        "Wanders 1 validation loss=9 *",
        "Wanders 2 loss=9",
        "Wanders 2 validation loss=1 *",
        "Wanders 3 loss=1",
        "Wanders 3 validation loss=25",
    ]
    marks = [r.improved for r in caplog.records if hasattr(r, "improved")]
    assert marks == [True, True, True, False]


def test_between_validations_an_epoch_is_one_line(caplog):
    with caplog.at_level(logging.INFO, "downhill2"):
        wandering().minimize(max_epochs=2, validate_every=2)
    lines = [m.split(" loss")[0] for m in caplog.messages if m.startswith("Wanders")]
    assert lines == ["Wanders 0 validation", "Wanders 1", "Wanders 2", "Wanders 2 validation"]


def test_nothing_is_printed(capfd):
    bowl().minimize(max_epochs=1)
    assert capfd.readouterr() == ("", "")
