"""An optimizer pickled and copied: before, during and after a run."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import schedules

COPIES = {"pickle": lambda opt: pickle.loads(pickle.dumps(opt)), "deepcopy": copy.deepcopy}


def build(size=1, **settings):
    params = [pytensor.shared(np.arange(1.0, 4.0) * (k + 1), name=f"w{k}") for k in range(size)]
    x = pt.vector("x")
    return downhill2.build("adam", sum(((p - x) ** 2).mean() for p in params), params, **settings)


def going_on(opt):
    """Run three more updates; return all that there is then."""
    pair = opt.minimize([np.ones((3,))], max_updates=3, validate_every=1, batch_size=0, rng=1)
    state = {n: v.bit_generator.state if hasattr(v, "bit_generator") else v.tolist() for n, v in opt.state.items()}
    hyper = {n: opt.hyper[n] for n in opt.hyper}
    return pair, [p.get_value().tolist() for p in opt.params], state, hyper, opt.stopped, opt.best_monitors


SETTINGS = {
    "plain": {},
    "a schedule, an average and a generator": dict(
        learning_rate=schedules.Cosine(0.1, 100), ema=0.9, gradient_noise=0.01, max_global_norm=1.0
    ),
    "groups": dict(groups=[{"params": "w0", "algo": "sgd", "momentum": 0.9}, {}], size=2),
    "a rule over all": dict(mechanic=True, size=2),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_copy_after_a_run_goes_on_as_the_optimizer_does(settings):
    opt = build(**settings)
    opt.minimize([np.ones((3,))], max_updates=4, validate_every=1, batch_size=0, rng=1)
    copies = {name: make(opt) for name, make in COPIES.items()}
    for made in copies.values():
        assert made.stopped == opt.stopped == "max_updates"
        assert made.limits == opt.limits
        assert list(map(vars, made.history)) == list(map(vars, opt.history))
        assert not {*made.params} & {*opt.params}
    expected = going_on(opt)
    for made in copies.values():
        assert going_on(made) == expected


@pytest.mark.default_mode
def test_a_copy_of_packed_parameters_goes_on_alone():
    opt = build(size=9, learning_rate=0.1)
    opt.minimize([np.ones((3,))], max_updates=4, validate_every=1, batch_size=0, rng=1)
    made = COPIES["pickle"](opt)
    values = [p.get_value() for p in opt.params]
    after = going_on(made)
    assert [p.get_value().tolist() for p in opt.params] == [v.tolist() for v in values]
    assert going_on(opt) == after


def test_a_copy_before_and_in_a_run_is_of_an_optimizer_that_does_not_run():
    opt, taken = build(), []
    for make in COPIES.values():
        assert make(opt).stopped is None
    opt.minimize([np.ones((3,))], max_updates=3, callbacks=[lambda o, record: taken.append(pickle.dumps(o))])
    made = pickle.loads(taken[-1])
    assert made.stopped is None
    made.minimize([np.ones((3,))], max_updates=1)
    assert made.stopped == "max_updates"


def test_what_an_iterator_left_open_is_no_part_of_a_copy():
    opt = build()
    going = opt.iterate([np.ones((3,))], max_updates=9)
    next(going)
    made = COPIES["deepcopy"](opt)
    going.close()
    assert (made.stopped, opt.stopped) == (None, "closed")
    assert made.evaluate([np.ones((3,))]).keys() == {"loss"}
