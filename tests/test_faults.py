"""A hundred placed faults under four policies: where each is found, what is kept, what is told."""

from __future__ import annotations

import logging
from functools import cache
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import disconnected_grad

import downhill2
from downhill2 import NonFiniteError, Optimizer, Zeros
from downhill2.compiling import storage
from downhill2.stepping.nonfinite import POLICIES

NAN, INF = np.nan, np.inf
SIZE, BATCHES = 4, 6
ROWS = SIZE * BATCHES
START = {"w": np.array([0.3, -0.2, 0.1]), "b": np.array(0.5), "v": np.array(0.0)}
NAMES = ["x", "y", "c", "n", "d", "k", "g"]
RULES = {
    "adam": ("adam", {}),
    "momentum": ("sgd", {"momentum": 0.9}),
    "rmsprop": ("rmsprop", {}),
    "adagrad": ("adagrad", {}),
    "adadelta": ("adadelta", {"learning_rate": 0.1}),
}


def clean():
    """Return data on which everything is finite, one array for each of NAMES."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3))
    rest = {name: np.full(ROWS, 0.0 if name == "n" else 1.0) for name in NAMES[2:]}
    return {"x": x, "y": x @ [1.0, 2.0, 3.0] + 5, **rest}


@cache
def built(rule, twin):
    """Return one optimizer for each rule and one to compare it with, so that what they compile serves all tests."""
    x, y, c, n, d, k, g = pt.matrix("x"), *(pt.vector(name) for name in NAMES[1:])
    w, b, v = (pytensor.shared(value.copy(), name=name) for name, value in START.items())
    fits = (x @ w + b - y) ** 2
    # c, n and d can make the loss what it should not be; k and g the gradient of v alone
    roots = g * pt.sqrt(k + v - disconnected_grad(v))
    loss = (fits + pt.log(c) + n / d + roots).mean()
    algo, settings = RULES[rule]
    return downhill2.build(algo, loss, [w, b, v], [x, y, c, n, d, k, g], **{"learning_rate": 0.01, **settings})


def start(rule="adam", twin=False):
    """Return the optimizer of a rule as if it were new."""
    opt = built(rule, twin)
    opt.reset()
    opt.set_params(list(START.values()))
    return opt


def run(opt, data, epochs=1, **settings):
    """Train on rows in their order, validate on what is finite, and leave the last parameters as they are."""
    usual = {"max_epochs": epochs, "batch_size": SIZE, "shuffle": False, "validate_every": 1, "restore_best": False}
    settings = {**usual, **settings}
    with np.errstate(all="ignore"):  # in this mode NumPy computes, and warns
        return opt.minimize(list(data.values()), list(clean().values()), patience=None, **settings)


def held(opt):
    """Return copies of all that an update changes."""
    params = {p.name: p.get_value() for p in opt.params}
    return {**params, **opt.state, "clock": int(opt.context.clock.get_value())}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name, strict=True)


class Placed(NamedTuple):
    """Values that stand in one row of the data, and what is to be told of them."""

    row: int
    values: dict[str, float]
    monitor: str
    where: str

    @property
    def batch(self):
        return self.row // SIZE

    def data(self):
        data = clean()
        for name, value in self.values.items():
            data[name][self.row, ...] = value
        return data


FINE = "all inputs and parameters are finite; lower learning_rate or clip gradients"
IN_DATA = [
    Placed(row, {name: value}, "loss", f"input {name!r}, row {row}")
    for name in "xy"
    for value in (NAN, INF, -INF)
    for row in (0, 3, 9, 14, 20, 23)
]
IN_LOSS = [
    Placed(row, values, "loss", FINE)
    for values in ({"c": 0}, {"c": -1}, {"n": 1, "d": 0}, {"n": -1, "d": 0}, {"n": 0, "d": 0})
    for row in (2, 7, 12, 21)
]
IN_GRADIENT = [
    Placed(row, {"k": 0, "g": g}, "gradient of 'v'", FINE) for g in (0, 1, -1) for row in (1, 6, 13, 18)
]  # 0 times infinity, and plus and minus that

IN_STATE = [
    (rule, name, value)
    for rule, names in {
        "adam": ("w.adam.m", "w.adam.v", "v.adam.v"),
        "momentum": ("w.momentum.v", "b.momentum.v"),
        "rmsprop": ("w.rmsprop.m", "w.rmsprop.s"),
        "adagrad": ("w.adagrad.g2",),
        "adadelta": ("w.adadelta.g2", "w.adadelta.x2"),
    }.items()
    for name in names
    for value in (NAN, INF, -INF)
] + [("adam", "w", NAN), ("momentum", "b", INF)]
IN_DATA_OR_LOSS = [*IN_DATA, *IN_LOSS, *IN_GRADIENT]


def test_there_are_a_hundred_faults():
    assert len(IN_DATA_OR_LOSS) + len(IN_STATE) == 100


# -- data, loss and gradient: held back where they happen


@cache
def after(updates):
    """Return what is held after so many updates on clean data."""
    opt = start(twin=True)
    run(opt, clean(), max_updates=updates)
    return held(opt)


@cache
def without(batch):
    """Return what is held after an epoch on clean data without one batch."""
    opt = start(twin=True)
    run(opt, {name: np.delete(a, np.s_[batch * SIZE : (batch + 1) * SIZE], 0) for name, a in clean().items()})
    return held(opt)


@cache
def rolled_back(batch):
    """Return what is held when, in place of one batch, the start comes again, with half the rate."""
    return going_on(start(twin=True), batch, 0.5)


def going_on(opt, batch, factor):
    """Return what is held after an epoch that begins behind a batch, with present parameters and fresh state."""
    params = [p.get_value() for p in opt.params]
    opt.reset()
    opt.set_params(params)
    opt.context.clock.set_value(np.array(batch))
    opt.context.rate_factor.set_value(np.array(factor))
    rest = {name: a[(batch + 1) * SIZE :] for name, a in clean().items()}
    if len(rest["x"]):
        run(opt, rest)
    return held(opt)


def assert_told(error, fault):
    assert (error.update, error.monitor, error.where) == (fault.batch + 1, fault.monitor, fault.where)
    first = fault.batch * SIZE
    assert error.batch.startswith(f"rows {first} to {first + SIZE - 1}; largest gradient ")
    text = f"{fault.monitor} is not finite at update {fault.batch + 1}; {fault.where} ({error.batch})"
    assert str(error) == text
    assert error.outcome == ""


@pytest.mark.parametrize("fault", IN_DATA_OR_LOSS, ids=str)
def test_a_fault_raises_at_its_update_and_leaves_the_last_good_one(fault):
    opt = start()
    with pytest.raises(NonFiniteError) as caught:
        run(opt, fault.data())
    assert_told(caught.value, fault)
    assert_same(held(opt), after(fault.batch))
    assert opt.stopped == "non-finite"


@pytest.mark.parametrize("fault", IN_DATA_OR_LOSS, ids=str)
def test_a_fault_stops_the_run_at_its_update(fault, caplog):
    opt = start()
    with caplog.at_level(logging.WARNING, "downhill2"):
        run(opt, fault.data(), on_nonfinite="stop")
    assert_same(held(opt), after(fault.batch))
    assert opt.stopped == "non-finite"
    assert opt.history[-1].events == (f"stopped at a fault after update {fault.batch}",)
    assert opt.history[-1].updates == fault.batch
    [line] = caplog.messages
    assert line.startswith(f"{fault.monitor} is not finite at update {fault.batch + 1}; {fault.where} (rows ")
    assert line.endswith("; stopping")


@pytest.mark.parametrize("fault", IN_DATA_OR_LOSS, ids=str)
def test_a_skipped_update_leaves_no_trace_but_the_event(fault):
    opt = start()
    run(opt, fault.data(), on_nonfinite="skip")
    assert_same(held(opt), without(fault.batch))
    assert opt.stopped == "max_epochs"
    assert opt.history[-1].events == (f"skipped an update after update {fault.batch}",)
    assert opt.history[-1].updates == BATCHES - 1
    assert np.isfinite(opt.history[-1].train["loss"])


@pytest.mark.parametrize("fault", IN_DATA_OR_LOSS, ids=str)
def test_a_rollback_takes_the_best_fresh_state_and_half_the_rate(fault):
    opt = start()
    run(opt, fault.data(), on_nonfinite="rollback")
    assert_same(held(opt), rolled_back(fault.batch))
    assert opt.context.rate_factor.get_value() == 0.5
    assert opt.history[-1].events == (f"rolled back after update {fault.batch}, rate times 0.5",)
    assert opt.history[-1].updates == BATCHES - 1


# -- state and parameters: found at the next update, undone from the best


def run_into(opt, name, value, policy, **settings):
    """Train two epochs; after the first one, a number in a variable changes by itself. Return the best of then."""
    seen = {}

    def flip(opt, record):
        if record.epoch == 1 and record.updates == BATCHES:
            seen["best"] = [v.copy() for v in opt.fit.best.values]
            spoil(opt, name, value)

    run(opt, clean(), 2, on_nonfinite=policy, callbacks=[flip], **settings)
    return seen["best"]


def spoil(opt, name, value):
    variables = {**opt.context.store.variables, **{p.name: p for p in opt.params}}
    values = variables[name].get_value()
    values.flat[0] = value
    variables[name].set_value(values)


def best_after_an_epoch(rule):
    opt = start(rule, twin=True)
    run(opt, clean())
    return [v.copy() for v in opt.fit.best.values]


def assert_back(opt, best):
    """All is as the best was, state as at the beginning, but the clock has gone on."""
    for param, value in zip(opt.params, best, strict=True):
        np.testing.assert_array_equal(param.get_value(), value)
    assert not any(np.any(v) for v in opt.state.values())
    assert opt.context.clock.get_value() == BATCHES
    assert opt.context.rate_factor.get_value() == 1


@pytest.mark.parametrize("check", ["gradients", "all"])
@pytest.mark.parametrize(("rule", "name", "value"), IN_STATE)
def test_a_fault_in_state_raises_at_the_next_update_and_is_undone(rule, name, value, check):
    opt, best = start(rule), best_after_an_epoch(rule)
    with pytest.raises(NonFiniteError) as caught:
        run_into(opt, name, value, "raise", check=check)
    error = caught.value
    assert error.update == BATCHES + 1
    if "." in name:
        assert error.monitor == f"new value of {name!r}"
        assert error.where == f"state {name!r} holds a value that is not finite"
    else:
        assert error.monitor == "loss"
        assert error.where == f"parameter {name!r} holds a value that is not finite"
    assert error.outcome == "back to the best parameters, with fresh state"
    assert str(error).endswith(f"({error.batch}); {error.outcome}")
    assert opt.stopped == "non-finite"
    assert_back(opt, best)


@pytest.mark.parametrize(("rule", "name", "value"), IN_STATE)
def test_a_fault_in_state_stops_the_run_at_the_next_update_and_is_undone(rule, name, value):
    opt = start(rule)
    best = run_into(opt, name, value, "stop")
    assert opt.stopped == "non-finite"
    assert opt.history[-1].events == (f"stopped at a fault after update {BATCHES}",)
    assert_back(opt, best)


@pytest.mark.parametrize(("policy", "factor"), [("skip", 1.0), ("rollback", 0.5)])
@pytest.mark.parametrize(("rule", "name", "value"), IN_STATE)
def test_after_a_fault_in_state_the_run_goes_on_from_the_best(rule, name, value, policy, factor):
    opt = start(rule)
    best = run_into(opt, name, value, policy)
    found, events = held(opt), opt.history[-1].events
    assert opt.stopped == "max_epochs"
    assert opt.history[-1].updates == 2 * BATCHES - 1
    told = {
        "skip": "went back to the best parameters after update 6",
        "rollback": "rolled back after update 6, rate times 0.5",
    }
    assert events == (told[policy],)
    assert opt.context.rate_factor.get_value() == factor
    opt.set_params(best)
    expected = going_on(opt, 0, factor)
    assert found.pop("clock") == expected.pop("clock") + BATCHES
    if rule != "adam":  # whose steps depend on the clock
        assert_same(found, expected)


@pytest.mark.parametrize("check", ["gradients", "all"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_square_that_overflows_is_found_at_its_update(policy, check):
    data = clean()
    data["g"][9] = 1e160  # the gradient of v is finite, its square is not
    opt = start()
    best = [p.get_value() for p in opt.params]
    if policy == "raise":
        with pytest.raises(NonFiniteError) as caught:
            run(opt, data, check=check)
        error = caught.value
        assert (error.update, error.monitor) == (3, "new value of 'v.adam.v'")
        assert error.batch.endswith("largest gradient 1.25e+159, of 'v'")
        undone = "state 'v.adam.v' holds a value that is not finite", "back to the best parameters, with fresh state"
        assert (error.where, error.outcome) == (undone if check == "gradients" else (FINE, ""))
    else:
        run(opt, data, on_nonfinite=policy, check=check)
    if policy == "rollback":
        assert_same(held(opt), rolled_back(2))
    elif policy == "skip":
        if check == "all":
            assert_same(held(opt), without(2))
        else:
            found = held(opt)
            start()
            assert_same(found, going_on(opt, 2, 1.0))
    elif check == "all":
        assert_same(held(opt), after(2))
    else:
        for param, value in zip(opt.params, best, strict=True):
            np.testing.assert_array_equal(param.get_value(), value)
        assert opt.context.clock.get_value() == 2


# -- variables that the caller's own updates change


class Averaged:
    """A loss beside which `updates=` keep a running mean of the data, in float32; the mean may enter the loss."""

    def __init__(self, name="mean", enters=False):
        self.x, self.w = pt.matrix("x"), pytensor.shared(np.zeros(2), name="w")
        self.mean = pytensor.shared(np.ones(2, "float32"), name=name)
        count = pytensor.shared(np.array(0), name="count")
        about = self.mean if enters else 1.0
        loss = ((self.x[:, :2] - self.w - about) ** 2).mean()
        mean = 0.9 * self.mean + 0.1 * self.x[:, 2:].mean(axis=0)
        self.opt = downhill2.build("adam", loss, [self.w], [self.x], [(self.mean, mean), (count, count + 1)])

    def run(self, data, **settings):
        usual = {"max_epochs": 1, "batch_size": SIZE, "shuffle": False, "validate_every": 1, "restore_best": False}
        with np.errstate(all="ignore"):
            self.opt.minimize([data], [data[:2]], learning_rate=0.1, **{**usual, **settings})

    def held(self):
        return {**held(self.opt), "mean": self.mean.get_value()}


def four_columns(row=None, value=NAN):
    data = np.random.default_rng(4).normal(size=(ROWS, 4))
    if row is not None:
        data[row, 3] = value
    return data


def averaged(data, **settings):
    model = Averaged()
    model.run(data, **settings)
    return model.held()


# the last is finite in float64, but its mean of four and a tenth of that not in float32
@pytest.mark.parametrize(("check", "value"), [("gradients", NAN), ("all", INF), ("gradients", 1e41)])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_update_that_would_spoil_a_variable_of_the_caller_is_held_back(policy, check, value):
    data, model = four_columns(9, value), Averaged()
    model.run(data[:SIZE], max_updates=0)
    if policy == "raise":
        with pytest.raises(NonFiniteError) as caught:
            model.run(data, check=check)
        error = caught.value
        assert (error.update, error.monitor, error.outcome) == (3, "new value of 'mean'", "")
        assert error.where == (FINE if np.isfinite(value) else "input 'x', row 9")
    else:
        model.run(data, on_nonfinite=policy, check=check)
    found, before = model.held(), averaged(data, max_updates=2)
    if policy in ("raise", "stop"):
        assert model.opt.stopped == "non-finite"
        assert_same(found, before)
    elif policy == "skip":
        assert_same(found, averaged(np.delete(data, np.s_[2 * SIZE : 3 * SIZE], 0)))
        assert model.opt.history[-1].events == ("skipped an update after update 2",)
    else:
        assert model.opt.history[-1].events == ("rolled back after update 2, rate times 0.5",)
        assert np.isfinite(found["mean"]).all()


# the second is called as the parameter is
@pytest.mark.parametrize(("name", "enters"), [("mean", False), ("w", True), (None, False)])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_variable_of_the_caller_that_is_broken_is_found_at_the_next_update_and_begins_anew(policy, enters, name):
    model, data, label = Averaged(name, enters), four_columns(), {"mean": "mean", "w": "w#2", None: "unnamed0"}[name]

    def harm(opt, record):
        if record.epoch == 1:
            model.mean.set_value(np.array([1, NAN], "float32"))

    settings = {"max_epochs": 2, "callbacks": [harm], "validate_every": None if policy != "rollback" else 1}
    if policy == "raise":
        with pytest.raises(NonFiniteError) as caught:
            model.run(data, **settings)
        error = caught.value
        assert (error.update, error.outcome) == (BATCHES + 1, f"{label!r} back to its start")
        assert error.monitor == ("loss" if enters else f"new value of {label!r}")
        assert error.where == f"variable {label!r} holds a value that is not finite"
    else:
        model.run(data, on_nonfinite=policy, **settings)
        what = {"stop": "stopped at a fault", "skip": "skipped an update", "rollback": "rolled back"}[policy]
        rate = ", rate times 0.5" if policy == "rollback" else ""
        assert model.opt.history[-1].events == (f"{what} after update 6{rate}, {label!r} back to its start",)
    if policy in ("raise", "stop"):
        assert model.mean.get_value().tolist() == [1, 1]
        assert model.opt.context.clock.get_value() == BATCHES
    else:
        assert model.opt.history[-1].updates == 2 * BATCHES - 1
    if policy == "skip":
        expected = Averaged(enters=enters)
        expected.run(data, validate_every=None)
        expected.mean.set_value(np.ones(2, "float32"))
        expected.run(data[SIZE:], validate_every=None)
        assert_same(model.held(), expected.held())


# -- how often


def test_updates_in_a_row_are_skipped_up_to_the_limit():
    data = clean()
    data["x"][: 3 * SIZE] = NAN
    opt = start()
    run(opt, data, on_nonfinite="skip", nonfinite_limit=3)
    assert opt.history[-1].events == ("skipped an update after update 0",) * 3
    assert opt.history[-1].updates == 3
    opt = start()
    with pytest.raises(NonFiniteError, match="update 1;"):
        run(opt, data, on_nonfinite="skip", nonfinite_limit=2)
    assert_same(held(opt), after(0))


def test_skipped_updates_that_are_not_in_a_row_have_no_limit():
    data = clean()
    data["x"][:: 2 * SIZE] = NAN
    opt = start()
    run(opt, data, 3, on_nonfinite="skip", nonfinite_limit=1)
    assert opt.history[-1].updates == 9


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_run_goes_back_as_often_as_the_limit_says(limit):
    data = clean()
    data["y"][10] = INF
    opt = start()
    with pytest.raises(NonFiniteError) as caught:
        run(opt, data, 9, on_nonfinite="rollback", nonfinite_limit=limit, rollback_factor=0.25)
    assert caught.value.update == limit * (BATCHES - 1) + 3
    assert caught.value.outcome == ""
    assert opt.context.rate_factor.get_value() == 0.25**limit


def test_a_run_that_skips_goes_back_from_broken_state_as_often_as_the_limit_says():
    opt = start()

    def flip(opt, record):
        spoil(opt, "w.adam.v", INF)

    with pytest.raises(NonFiniteError) as caught:
        run(opt, clean(), 9, on_nonfinite="skip", nonfinite_limit=2, callbacks=[flip])
    assert caught.value.outcome == "back to the best parameters, with fresh state"
    assert caught.value.update == 2 * (BATCHES - 1) + 1
    assert all(np.isfinite(v).all() for v in held(opt).values())


# -- without a best


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_without_a_best_the_error_says_that_there_is_nothing_to_go_back_to(policy):
    opt = start()
    run(opt, clean())
    spoil(opt, "w.adam.m", NAN)
    with pytest.raises(NonFiniteError, match=r"there are no best parameters and no checkpoint to go back to$"):
        run(opt, clean(), on_nonfinite=policy, **NO_BEST)


NO_BEST = {"validate_every": None, "restore_best": True}


def test_a_run_without_a_best_stops_all_the_same(caplog):
    opt = start()
    run(opt, clean())
    spoil(opt, "w.adam.m", NAN)
    run(opt, clean(), on_nonfinite="stop", **NO_BEST)
    assert opt.stopped == "non-finite"
    assert "no checkpoint to go back to; stopping" in caplog.text


def test_a_rollback_without_a_best_raises():
    data, opt = clean(), start()
    data["x"][0] = NAN
    arrays = list(data.values())
    with pytest.raises(NonFiniteError, match="there are no best parameters"):
        opt.minimize(arrays, arrays, max_epochs=1, batch_size=SIZE, shuffle=False, on_nonfinite="rollback")


@pytest.mark.parametrize("policy", ["raise", "stop", "skip"])
def test_without_a_best_the_latest_checkpoint_serves(tmp_path, policy):
    opt, saved = start(), after(4)

    def flip(opt, record):
        if record.epoch == 1:
            spoil(opt, "w.adam.m", NAN)

    settings = {**NO_BEST, "checkpoint": tmp_path, "checkpoint_every": "4 updates", "callbacks": [flip]}
    if policy == "raise":
        with pytest.raises(NonFiniteError, match=r"back to the parameters of the latest checkpoint, with fresh state$"):
            run(opt, clean(), 2, **settings)
    else:
        run(opt, clean(), 2, on_nonfinite=policy, **settings)
    if policy == "skip":
        assert "went back to the parameters of the latest checkpoint after update 6" in opt.history[-1].events
        assert all(np.isfinite(v).all() for v in held(opt).values())
        return
    for param in opt.params:
        np.testing.assert_array_equal(param.get_value(), saved[param.name])
    assert not any(np.any(v) for v in opt.state.values())


@pytest.mark.parametrize("damage", ["cut", "broken"])
def test_a_checkpoint_that_is_damaged_or_not_finite_itself_does_not_serve(tmp_path, damage):
    opt = start()

    def harm(opt, record):
        spoil(opt, "w", NAN)
        if damage == "cut":
            for file in tmp_path.glob("update-*"):
                file.write_bytes(file.read_bytes()[:99])

    every = "3 updates" if damage == "cut" else 1  # a checkpoint of this epoch is written after what happens to w
    with pytest.raises(NonFiniteError, match="no checkpoint to go back to"):
        run(opt, clean(), 2, **NO_BEST, checkpoint=tmp_path, checkpoint_every=every, callbacks=[harm])


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_run_that_met_faults_resumes_exactly(tmp_path, policy, at):
    data = clean()
    data["x"][[2 * SIZE, 5 * SIZE]] = NAN
    opt = start()
    run(opt, data, 3, on_nonfinite=policy)
    expected, events = held(opt), [record.events for record in opt.history if record.train]
    opt = start()
    run(opt, data, 3, on_nonfinite=policy, checkpoint=tmp_path, checkpoint_every="1 updates", max_updates=at)
    opt = start()
    run(opt, data, 3, on_nonfinite=policy, checkpoint=tmp_path, resume=True)
    assert_same(held(opt), expected)
    assert tuple(e for e in opt.history[-1].events if not e.startswith("checkpoint")) == events[-1]


# -- what is told


@pytest.mark.parametrize("check", ["gradients", "all"])
def test_a_gradient_that_random_numbers_spoiled_is_told_without_a_name(check):
    rng = pt.random.shared_rng(np.random.default_rng(3), name="rng")
    rng_t, draw = rng.uniform()
    w = pytensor.shared(np.array(1.0), name="w")
    ones = (np.random.default_rng(3).random(50) > 0.2).tolist()
    opt = downhill2.SGD((draw > 0.2) * w + pt.sqrt(w - disconnected_grad(w) + (draw > 0.2)), [w], updates={rng: rng_t})
    with pytest.raises(NonFiniteError) as caught:
        opt.minimize(max_epochs=50, validate_every=None, check=check)
    assert caught.value.update == ones.index(False) + 1
    assert caught.value.monitor == "a gradient"
    assert caught.value.batch == "largest gradient 1.5, of 'w'"


def test_where_no_gradient_is_finite_that_is_told():
    w = pytensor.shared(np.array(0.0), name="w")
    with pytest.raises(NonFiniteError) as caught:
        downhill2.SGD(pt.sqrt(w)).minimize(max_epochs=1)
    assert caught.value.monitor == "gradient of 'w'"
    assert caught.value.batch == "no gradient is finite"


class Counted(Optimizer):
    """State of every kind: of the parameter's shape, a number, a generator."""

    m, n, rng = Zeros(), downhill2.Number(1.0), downhill2.Generator()
    seed = downhill2.Setting(0)

    def direction(self, param, grad, m, n, rng):
        rng_t, noise = rng.normal(size=param.shape)
        return grad + 0 * noise, {"m": m + grad, "n": 2 * n, "rng": rng_t}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["p.counted.m", "q.counted.m", "all.counted.n"])
def test_state_of_every_kind_and_storage_is_inspected(name, packed, monkeypatch):
    monkeypatch.setattr(storage, "FEWEST", 1 if packed else 3)
    # neither the names nor the shapes say clearly which state is whose
    p, q = (pytensor.shared(np.ones((1, 3)), name=n) for n in "pq")
    opt = Counted((p**2).sum() + (q**2).sum() + pytensor.shared(np.ones(2), name="p.counted").sum())
    opt.get_updates()
    spoil(opt, name, INF)
    with pytest.raises(NonFiniteError, match=f"state '{name}' holds"):
        opt.minimize(max_epochs=1)


@pytest.mark.default_mode
@pytest.mark.parametrize("value", [NAN, INF])
def test_the_default_backend_finds_a_fault_in_state(value):
    w = pytensor.shared(np.ones((3, 2), "float32"), name="w", shape=(3, 2))
    opt = downhill2.Adam((w**2).sum(), learning_rate=0.1)
    opt.minimize(max_updates=3, train_batches=3)
    spoil(opt, "w.adam.v", value)
    best = w.get_value()
    with pytest.raises(NonFiniteError, match=r"new value of 'w\.adam\.v' is not finite at update 1;"):
        opt.minimize(max_updates=3, train_batches=3)
    np.testing.assert_array_equal(w.get_value(), best)
    assert opt.context.clock.get_value() == 3
    opt.minimize(max_updates=3, train_batches=3)
    assert opt.best_monitors["loss"] < (best**2).sum()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (
            {"on_nonfinite": "ignore"},
            ValueError,
            "on_nonfinite must be 'raise', 'stop', 'skip' or 'rollback', got 'ignore'",
        ),
        ({"check": "state"}, ValueError, "check must be 'gradients' or 'all', got 'state'"),
        ({"nonfinite_limit": 1.5}, TypeError, "nonfinite_limit must be an integer, got 1.5"),
        ({"nonfinite_limit": True}, TypeError, "nonfinite_limit must be an integer, got True"),
        ({"nonfinite_limit": -1}, ValueError, "nonfinite_limit must be at least 0, got -1"),
        ({"rollback_factor": "half"}, TypeError, "rollback_factor must be a number, got 'half'"),
        ({"rollback_factor": True}, TypeError, "rollback_factor must be a number, got True"),
        ({"rollback_factor": 0}, ValueError, r"rollback_factor must be in (0, 1], got 0"),
        ({"rollback_factor": 1.5}, ValueError, r"rollback_factor must be in (0, 1], got 1.5"),
        ({"rollback_factor": NAN}, ValueError, r"rollback_factor must be in (0, 1], got nan"),
    ],
)
def test_a_wrong_policy_is_refused_before_anything_runs(given, error, told):
    opt = start()
    with pytest.raises(error) as caught:
        run(opt, clean(), **given)
    assert str(caught.value) == told
    assert_same(held(opt), after(0))


# -- hyperparameters


def then(value, at=3):
    """Return a schedule that is 0.1 for some updates, then another value."""
    return lambda t: pt.switch(t >= at, value, 0.1)


def of_one_parameter(**settings):
    w = pytensor.shared(np.ones(2), name="w")
    return w, downhill2.build("sgd", (w**2).sum(), [w], **settings)


DRIVEN = {
    "a schedule": ("learning_rate", then(NAN), "nan"),
    "an infinite one": ("learning_rate", then(INF), "inf"),
    "another setting": ("max_gradient_elem", then(NAN), "nan"),
    "a limit": ("max_global_norm", then(NAN), "nan"),
}


@pytest.mark.parametrize("policy", ["raise", "skip", "rollback"])
@pytest.mark.parametrize(("name", "schedule", "value"), DRIVEN.values(), ids=DRIVEN)
def test_a_hyperparameter_that_is_not_finite_is_named_and_nothing_is_lost(name, schedule, value, policy):
    w, opt = of_one_parameter(**{name: schedule})
    seen = []
    with pytest.raises(NonFiniteError, match=f"hyperparameter '{name}' is not finite at update 4") as caught:
        opt.minimize(
            max_epochs=9, on_nonfinite=policy, validate_every=1, callbacks=[lambda o, r: seen.append(w.get_value())]
        )
    assert caught.value.where == f"after 3 updates it is {value}, from a schedule; give it a finite value"
    assert np.isfinite(w.get_value()).all()
    assert len(seen) >= 3


LEAVING = {
    "a rate that falls below 0": ("learning_rate", lambda t: 0.125 - 0.0625 * t, -0.0625, "at least 0"),
    "a factor of decay that reaches 1": ("momentum", lambda t: 0.25 + 0.25 * t, 1.0, "in [0, 1)"),
    "a limit below 0": ("max_global_norm", lambda t: pt.switch(t < 3, 1.0, -1.0), -1.0, "at least 0"),
}


@pytest.mark.parametrize("policy", ["raise", "skip", "rollback"])
@pytest.mark.parametrize(("name", "schedule", "value", "condition"), LEAVING.values(), ids=LEAVING)
def test_a_hyperparameter_that_leaves_its_range_is_named_and_nothing_is_lost(name, schedule, value, condition, policy):
    w, opt = of_one_parameter(**{name: schedule})
    places = []
    with pytest.raises(NonFiniteError, match=f"hyperparameter '{name}' is out of range at update 4") as caught:
        opt.minimize(max_updates=9, on_nonfinite=policy, validate_every=1, callbacks=[lambda o, r: places.append(r)])
    assert caught.value.where == f"after 3 updates it is {value}, from a schedule; it must be {condition}"
    assert len(places) >= 3
    assert ((w.get_value() > 0) & (w.get_value() < 1)).all()


def test_a_shared_variable_and_a_number_that_are_set_out_of_range_are_named():
    rate = pytensor.shared(0.1, name="rate")
    w, opt = of_one_parameter(learning_rate=rate)
    rate.set_value(-0.5)
    with pytest.raises(NonFiniteError, match=r"out of range .* -0.5, from the shared variable 'rate'; it must be at l"):
        opt.minimize(max_updates=1, validate_every=None)
    w, opt = of_one_parameter(learning_rate=0.1)
    opt.learning_rate.set_value(-0.5)
    with pytest.raises(NonFiniteError, match=r"out of range .* -0.5, from a number; it must be at least 0"):
        opt.minimize(max_updates=1, validate_every=None)
    assert (w.get_value() == 1).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_rate_that_ends_just_below_0_by_rounding_is_allowed(dtype):
    step = np.asarray(1 / 3, dtype)
    _, opt = of_one_parameter(learning_rate=lambda t: (1 - step * t * (1 + np.finfo(dtype).eps)).astype(dtype))
    opt.minimize(max_updates=4, validate_every=None)
    assert opt.history[-1].updates == 4


def test_a_rate_of_a_batch_that_is_below_0_is_left_out_with_it():
    w, x = pytensor.shared(np.ones(2), name="w"), pt.vector("x")
    opt = downhill2.build("sgd", ((w - x[:2]) ** 2).sum(), [w], [x], learning_rate=0.1 * x[2])
    batches = [[np.array([0.0, 0.0, k])] for k in (1.0, -1.0, 1.0)]
    opt.minimize(batches, max_epochs=1, on_nonfinite="skip", validate_every=None, shuffle=False)
    assert w.get_value() == pytest.approx(0.64)
    assert opt.history[-1].events == ("skipped an update after update 1: learning_rate is -0.1",)


def test_a_run_that_stops_at_a_hyperparameter_says_so_in_its_record():
    w, opt = of_one_parameter(learning_rate=then(NAN))
    opt.minimize(max_updates=9, on_nonfinite="stop", validate_every=None)
    assert "non-finite" in opt.stopped
    assert opt.history[-1].events == ("stopped at a fault after update 3: learning_rate is nan",)
    assert w.get_value() == pytest.approx(0.8**3)


def test_a_shared_variable_that_becomes_nan_is_named_with_its_own_name():
    rate = pytensor.shared(0.1, name="rate")
    _, opt = of_one_parameter(learning_rate=rate)
    with pytest.raises(NonFiniteError, match=r"'learning_rate' .* from the shared variable 'rate'"):
        opt.minimize(max_epochs=9, validate_every=None, callbacks=[lambda o, r: rate.set_value(NAN)])


def test_a_number_that_is_written_past_the_checks_is_named():
    _, opt = of_one_parameter(learning_rate=0.1)
    opt.learning_rate.set_value(NAN)
    with pytest.raises(NonFiniteError, match=r"'learning_rate' .* from a number"):
        opt.minimize(max_updates=1, validate_every=None)


def test_a_symbolic_hyperparameter_of_a_group_is_named():
    rate, w, v = pytensor.shared(0.1, name="rate"), *(pytensor.shared(np.ones(2), name=n) for n in "wv")
    groups = [{"params": [v], "learning_rate": pt.log(rate - 0.2)}, {"params": [w]}]
    opt = downhill2.build("sgd", (w**2).sum() + (v**2).sum(), [w, v], groups=groups)
    with pytest.raises(NonFiniteError, match=r"'group0.learning_rate' .* from a symbolic expression"):
        opt.minimize(max_updates=1, validate_every=None)


def test_a_hyperparameter_of_windows_is_named():
    _, opt = of_one_parameter(learning_rate=then(NAN), accumulate=2)
    with pytest.raises(NonFiniteError, match="hyperparameter 'learning_rate'"):
        opt.minimize(max_updates=9, validate_every=None)


def test_a_hyperparameter_that_depends_on_the_batch_is_left_out_with_it():
    w, x = pytensor.shared(np.ones(2), name="w"), pt.vector("x")
    opt = downhill2.build("sgd", ((w - x[:2]) ** 2).sum(), [w], [x], learning_rate=0.1 * pt.sqrt(x[2]))
    batches = [[np.array([0.0, 0.0, k])] for k in (1.0, -1.0, 1.0)]
    with np.errstate(all="ignore"):
        opt.minimize(batches, max_epochs=1, on_nonfinite="skip", validate_every=None, shuffle=False)
    assert w.get_value() == pytest.approx(0.64)
    assert opt.history[-1].events == ("skipped an update after update 1: learning_rate is nan",)
