"""Lookahead, EMA and SWA: what they average, and that the average is evaluated, kept, restored, and nothing else."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from oracles.driven import Driven
from oracles.reference import adam, descent
from test_algorithms import GRADIENTS, START, assert_equal_points
from training import Training

import downhill2

STEPS = (1, 10, 100)
every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
separate_or_packed = pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
RAW = descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 0.1)(START, GRADIENTS, range(1, 101))


def driven(dtype="float64", packed=False, **settings):
    base = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999}
    return Driven("adam", base | settings, START, dtype, packed=packed)


def trajectories(d, symbol):
    """Return the raw parameters and a state of each, after each of STEPS."""
    raw, averages, step = {}, {}, d.compile()
    for k in range(max(STEPS)):
        step(*(np.asarray(g, p.type.dtype) for g, p in zip(GRADIENTS[k], d.params, strict=True)))
        if k + 1 in STEPS:
            raw[k + 1] = d.values()
            averages[k + 1] = [d.optimizer.state[f"{p.name}.{symbol}"] for p in d.params]
    return raw, averages


# -- what is averaged


def ema(decay, debias=False):
    """Return the averages after each of STEPS; without bias, as Adam corrects one: from sums that begin with 0."""
    sums, seen = [0.0 * x if debias else x for x in RAW[1]], {}
    for t in range(1, 101):
        sums = [decay * s + (1 - decay) * x for s, x in zip(sums, RAW[t], strict=True)]
        seen[t] = [s / (1 - decay**t) for s in sums] if debias else sums
    return {t: seen[t] for t in STEPS}


def swa(start, every):
    """Return the means after those of STEPS that have any."""
    taken = {t: range(start, t + 1, every) for t in STEPS if t >= start}
    return {t: [np.mean(xs, axis=0) for xs in zip(*(RAW[s] for s in ss), strict=True)] for t, ss in taken.items()}


@every_dtype
@separate_or_packed
@pytest.mark.parametrize(
    ("settings", "symbol", "expected"),
    [
        ({"ema": 0.9}, "ema.x", lambda: ema(0.9)),
        ({"ema": {"decay": 0.99, "debias": True}}, "ema.x", lambda: ema(0.99, debias=True)),
        ({"swa": 1}, "swa.x", lambda: swa(1, 1)),
        ({"swa": {"start": 4, "every": 3}}, "swa.x", lambda: swa(4, 3)),
    ],
    ids=["ema", "ema without bias", "swa", "swa from 4 every 3"],
)
def test_an_average_is_that_of_its_formula_and_leaves_the_parameters_alone(settings, symbol, expected, packed, dtype):
    raw, averages = trajectories(driven(dtype, packed, **settings), symbol)
    assert_equal_points(raw, {t: RAW[t] for t in STEPS}, float32=4e-6)  # two roundings more than Adam's own
    reference = expected()
    assert_equal_points({t: averages[t] for t in reference}, reference, float32=4e-6)


@every_dtype
@separate_or_packed
@pytest.mark.parametrize(("k", "alpha"), [(1, 0.5), (5, 0.5), (3, 0.8)])
def test_lookahead_is_that_of_optax(k, alpha, packed, dtype):
    import jax
    import optax

    with jax.enable_x64(True):
        params = optax.LookaheadParams.init_synced(jax.tree.map(jax.numpy.asarray, START))
        transformation = optax.lookahead(optax.adam(0.1), k, alpha)
        state, fast, slow = transformation.init(params), {}, {}
        update = jax.jit(lambda gs, state, params: transformation.update(gs, state, params))
        for t in range(1, 101):
            changes, state = update(GRADIENTS[t - 1], state, params)
            params = optax.apply_updates(params, changes)
            fast[t], slow[t] = ([np.asarray(x) for x in xs] for xs in params)
    raw, averages = trajectories(driven(dtype, packed, lookahead={"k": k, "alpha": alpha}), "lookahead.slow")
    assert_equal_points(raw, {t: fast[t] for t in STEPS}, float32=4e-6)
    assert_equal_points({t: averages[t] for t in (10, 100)}, {t: slow[t] for t in (10, 100)}, float32=4e-6)


@pytest.mark.oracle_torch
@pytest.mark.parametrize("decay", [None, 0.9], ids=["swa", "ema"])
def test_averages_are_those_of_torch(decay):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

    model = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(x)) for x in START])
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay) if decay else get_swa_multi_avg_fn())
    settings, symbol = ({"ema": decay}, "ema.x") if decay else ({"swa": True}, "swa.x")
    live = {}
    for t in range(1, 101):
        for param, x in zip(model, RAW[t], strict=True):
            param.data = torch.tensor(x)
        averaged.update_parameters(model)
        live[t] = [p.detach().numpy().copy() for p in averaged.module]
    _, averages = trajectories(driven(**settings), symbol)
    # torch computes 1 / n, the weight of the latest value, in float32
    assert_equal_points(averages, {t: live[t] for t in STEPS}, float64=1e-6)


# -- what becomes of an average


def problem(algo="sgd", **settings):
    """Return an optimizer whose parameter goes 9, 8, 7 ..., with its distance from 6.5 as loss to validate."""
    x = pytensor.shared(9.0, name="x")
    opt = downhill2.build(algo, 1.0 * x, [x], **{"learning_rate": 1, **settings})
    return opt, x, abs(x - 6.5)


def test_averages_are_validated_kept_and_restored_and_training_goes_on_from_raw_values():
    opt, x, distance = problem(swa=1)
    seen = []
    for train, valid in opt.iterate(max_epochs=6, train_batches=1, validate_every=1, valid_loss=distance):
        seen.append((float(x.get_value()), train["loss"], valid["loss"]))
    # the mean of 8, 7 ... is nearest to 6.5 after four updates
    assert seen == [(8, 9, 1.5), (7, 8, 1), (6, 7, 0.5), (5, 6, 0), (4, 5, 0.5), (3, 4, 1)]
    assert x.get_value() == 6.5
    assert opt.best_monitors == {"loss": 0}
    assert opt.evaluate(None)["loss"] == 6.5  # what was restored stands for the average too


@pytest.mark.parametrize(
    ("settings", "evaluated"),
    [
        ({"ema": 0.5}, [8, 7.5, 6.75]),
        ({"ema": {"decay": 0.5, "debias": True}}, [8, 22 / 3, 46 / 7]),
        ({"swa": 2}, [8, 7, 6.5]),
        ({"lookahead": {"k": 2, "alpha": 0.25}}, [9, 8.5, 8.5]),
        ({"lookahead": 1, "ema": 0.5}, [8.5, 8.25, 7.875]),
    ],
    ids=str,
)
def test_the_value_that_is_evaluated(settings, evaluated):
    opt, x, _ = problem(**settings)
    assert opt.evaluate(None)["loss"] == 9  # there is no average yet
    x.set_value(9.0)
    step, found = pytensor.function([], [], updates=opt.get_updates()), []
    for _ in evaluated:
        step()
        found.append(opt.evaluate(None)["loss"])
    np.testing.assert_allclose(found, evaluated, rtol=1e-12)


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"swa": 1}, {"lookahead": 5}], ids=str)
def test_parameters_that_are_set_before_the_first_update_are_where_the_average_begins(settings):
    opt, x, _ = problem(**settings)
    opt.evaluate(None)  # makes the state
    x.set_value(109.0)
    assert opt.evaluate(None)["loss"] == 109
    pytensor.function([], [], updates=opt.get_updates())()
    assert opt.evaluate(None)["loss"] in (108, 109)


def test_averages_begin_anew_after_a_reset():
    opt, x, _ = problem(ema=0.9)
    opt.minimize(max_epochs=5, train_batches=1, validate_every=None)
    opt.reset()
    assert opt.evaluate(None)["loss"] == x.get_value() == 4


def test_without_validation_the_raw_parameters_stay():
    opt, x, _ = problem(swa=1)
    opt.minimize(max_updates=4, validate_every=None)
    assert x.get_value() == 5
    assert opt.state["x.swa.x"] == 6.5


def test_a_checkpoint_has_the_raw_values_and_the_best_average(tmp_path):
    opt, x, distance = problem(swa=1)
    opt.minimize(max_epochs=6, train_batches=1, validate_every=1, valid_loss=distance, checkpoint=tmp_path)
    again, y, _ = problem(swa=1)
    again.minimize(
        max_epochs=7, train_batches=1, validate_every=1, valid_loss=distance_of(y), checkpoint=tmp_path, resume=True
    )
    assert again.history[-1].train["loss"] == 3  # the raw value after six updates
    assert x.get_value() == y.get_value() == 6.5


def distance_of(x):
    return abs(x - 6.5)


@pytest.mark.parametrize(
    "settings", [{"ema": 0.8}, {"swa": {"start": 3, "every": 2}}, {"lookahead": {"k": 4}, "ema": True}], ids=str
)
def test_a_resumed_run_is_the_uninterrupted_one(settings, tmp_path):
    train = Training(**settings)
    assert train.interrupted(tmp_path, [3, 12, 13]) == train.run()


def test_frozen_parameters_are_evaluated_as_they_are():
    a, b = (pytensor.shared(9.0, name=n) for n in "ab")
    groups = [{"params": "a"}, {"params": "b", "frozen": True}]
    opt = downhill2.build("sgd", 1.0 * a + 10 * b, [a, b], learning_rate=1, ema=0.5, groups=groups)
    opt.evaluate(None)
    b.set_value(1.0)
    pytensor.function([], [], updates=opt.get_updates())()
    assert opt.evaluate(None)["loss"] == 18
    assert "b.ema.x" not in opt.state


def test_best_values_are_computed_by_one_function_for_a_whole_run(monkeypatch):
    opt, _, distance = problem(swa=1)
    made = []
    real = pytensor.function
    monkeypatch.setattr(pytensor, "function", lambda *args, **how: made.append(1) or real(*args, **how))
    opt.minimize(max_epochs=4, train_batches=1, validate_every=1, valid_loss=distance)
    few = len(made)
    made.clear()
    opt.minimize(max_epochs=4, train_batches=1, validate_every=1, valid_loss=distance)
    assert few == 3  # the step, the validation and the values
    assert not made


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"ema": 1}, ValueError, "ema must be in [0, 1), got 1"),
        ({"ema": {"decay": 0.9, "debias": 1}}, TypeError, "ema_debias must be True or False, got 1"),
        ({"ema": {"halflife": 3}}, TypeError, "ema must be a number or a dict with some of ['decay', 'debias'], got"),
        ({"swa": -1}, ValueError, "swa must be at least 0, got -1"),
        ({"swa": {"every": 0}}, ValueError, "swa_every must be at least 1, got 0"),
        ({"lookahead": 2.5}, TypeError, "lookahead must be an integer, got 2.5"),
        ({"lookahead": {"alpha": -1}}, ValueError, "lookahead_alpha must be at least 0, got -1"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(settings, kind, message):
    with pytest.raises(kind) as caught:
        problem(**settings)
    assert str(caught.value).startswith(message)
