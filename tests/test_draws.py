"""Losses that draw random numbers: in every way of PyTensor, each update and each evaluated batch draws anew."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.gradient import DisconnectedType, disconnected_grad
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.replace import clone_replace

import downhill2

N = 3


def method(rng):
    return rng.normal(size=N)[1]


def function(rng):
    return pt.random.normal(size=N, rng=rng, return_next_rng=True)[1]


def chain(rng):
    rng_1, a = rng.normal(size=N)
    return a + rng_1.uniform(size=N)[1]


def draws_of_parameters(rng):
    rng_1, a = rng.uniform(size=2)
    return rng_1.normal(a.sum(), 1, size=N)[1]


def copies(rng):
    """A term and its copy elsewhere: both hold one draw."""
    a = rng.normal(pt.constant(2.0, name="mean"), 1, size=N)[1]
    scale = pt.constant(1.0)
    term = a * scale
    return term + clone_replace(term, {scale: pt.constant(1.5)})


def clones(rng):
    """A draw and its copy in a graph that was cloned: both are one draw."""
    a = rng.normal(size=N)[1]
    clone = a.owner.clone_with_new_inputs(a.owner.inputs).outputs[1]
    return a - 2 * clone


def graph_inside(rng):
    inner = pt.random.rng("inner")
    inner_1, a = inner.normal(size=N)
    inner_2, b = inner_1.uniform(size=N)
    return OpFromGraph([inner], [a + b, inner_2])(rng)[0]


def two_generators_inside(rng):
    other = pt.random.shared_rng(np.random.default_rng(9), name="other")
    left, right = pt.random.rng("left"), pt.random.rng("right")
    left_t, a = left.normal(size=N)
    right_t, b = right.normal(size=N)
    return OpFromGraph([left, right], [right_t, left_t, a + b])(rng, other)[2]


def scan(rng):
    def step(rng):
        rng_t, draw = rng.normal()
        return rng_t, draw

    return pytensor.scan(step, outputs_info=[rng, None], n_steps=N, return_updates=False)[1]


def scan_of_two(rng):
    other = pt.random.shared_rng(np.random.default_rng(9), name="other")

    def step(total, rng, other):
        rng_t, a = rng.normal()
        other_t, b = other.uniform()
        return total + a * b, rng_t, other_t

    start = pt.constant(np.float64(0))
    return pytensor.scan(step, outputs_info=[start, rng, other], n_steps=N, return_updates=False)[0]


def drawn_twice(g):
    return g.normal(size=N) + g.uniform(size=N)


def of_two_steps(g, other):
    return np.cumsum([g.normal() * other.uniform() for _ in range(N)])


WAYS = {  # what is drawn, and what NumPy draws from the same generators
    method: lambda g, other: g.normal(size=N),
    function: lambda g, other: g.normal(size=N),
    chain: lambda g, other: drawn_twice(g),
    draws_of_parameters: lambda g, other: g.normal(g.uniform(size=2).sum(), 1, size=N),
    copies: lambda g, other: 2.5 * g.normal(2, 1, size=N),
    clones: lambda g, other: -g.normal(size=N),
    graph_inside: lambda g, other: drawn_twice(g),
    two_generators_inside: lambda g, other: g.normal(size=N) + other.normal(size=N),
    scan: lambda g, other: np.array([g.normal() for _ in range(N)]),
    scan_of_two: of_two_steps,
}


def made(way, **settings):
    """An optimizer of which each update subtracts what was drawn, and what NumPy draws: another each time."""
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.zeros(N), name="w")
    opt = downhill2.SGD((w * way(rng)).sum(), [w], **{"learning_rate": 1, **settings})
    g, other = np.random.default_rng(1), np.random.default_rng(9)
    return opt, w, lambda: WAYS[way](g, other)


@pytest.mark.parametrize("way", WAYS)
def test_each_update_of_a_run_draws_anew_and_evaluations_leave_that_alone(way):
    opt, w, draw = made(way)
    drawn = [draw() for _ in range(5)]
    w.set_value(np.ones(N))
    expected = pytest.approx(np.mean([drawn[0].sum(), drawn[1].sum()]))
    assert opt.minimize(max_updates=0, valid_batches=2)[1]["loss"] == expected
    assert opt.evaluate(downhill2.Dataset(None, iteration_size=2))["loss"] == expected
    w.set_value(np.zeros(N))
    valid = opt.minimize(max_epochs=1, train_batches=3, valid_batches=2, restore_best=False)[1]
    np.testing.assert_allclose(w.get_value(), -sum(drawn[:3]), rtol=1e-12)
    assert valid["loss"] == pytest.approx(np.mean([(w.get_value() * x).sum() for x in drawn[3:]]))


@pytest.mark.parametrize("way", WAYS)
def test_each_call_of_a_function_with_the_updates_draws_anew(way):
    opt, w, draw = made(way)
    plugin = downhill2.updates(opt.fit.problem.loss, [w], "sgd", learning_rate=1)
    for updates in (opt.get_updates(), plugin):
        step = pytensor.function([], [], updates=updates)
        for _ in range(2):
            before = w.get_value()
            step()
            np.testing.assert_allclose(before - w.get_value(), draw(), rtol=1e-12)


@pytest.mark.default_mode
@pytest.mark.parametrize("per_call", [1, 4])
def test_compiled_updates_draw_anew_one_by_one_and_many_in_a_call(per_call):
    opt, w, draw = made(chain)
    opt.minimize(max_epochs=1, train_batches=6, validate_every=None, updates_per_call=per_call)
    np.testing.assert_allclose(w.get_value(), -sum(draw() for _ in range(6)), rtol=1e-12)


def test_a_random_stream_goes_on_as_it_did():
    w = pytensor.shared(np.zeros(N), name="w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTensor would rather have other ways
        draw = pt.random.RandomStream(seed=3).normal(size=N)
    opt = downhill2.SGD((w * draw).sum(), [w], learning_rate=1)
    step = pytensor.function([], [], updates=opt.get_updates())
    steps = [w.get_value()]
    for _ in range(2):
        step()
        steps.append(w.get_value())
    opt.minimize(max_epochs=1, train_batches=1, validate_every=None)
    assert len(np.unique(np.diff([*steps, w.get_value()], axis=0))) == 3 * N


def test_dropout_trains_on_another_mask_in_each_update_and_is_off_in_validations():
    x, y = pt.matrix("x"), pt.vector("y")
    w = pytensor.shared(np.full(4, 0.5), name="w")
    rng = pt.random.shared_rng(np.random.default_rng(5), name="rng")
    mask = rng.bernoulli(0.5, size=x.shape)[1]
    loss, clean = (((pt.dot(a, w) - y) ** 2).mean() for a in (2 * mask * x, x))
    X = np.random.default_rng(0).normal(size=(6, 4))
    Y = X @ [1.0, 2.0, 3.0, 4.0]
    opt = downhill2.SGD(loss, [w], [x, y], learning_rate=0.01)
    valid = opt.minimize([X, Y], max_updates=4, batch_size=6, shuffle=False, valid_loss=clean, restore_best=False)[1]
    g, at = np.random.default_rng(5), np.full(4, 0.5)
    for _ in range(4):
        dropped = 2 * g.binomial(1, 0.5, size=X.shape) * X
        at = at - 0.01 * 2 * dropped.T @ (dropped @ at - Y) / 6
    np.testing.assert_allclose(w.get_value(), at, rtol=1e-12)
    assert valid["loss"] == pytest.approx(np.mean((X @ at - Y) ** 2))


def test_each_batch_of_an_update_draws_anew_where_updates_take_several():
    opt, w, draw = made(method, accumulate=2)
    opt.minimize(max_epochs=1, train_batches=4, validate_every=None)
    np.testing.assert_allclose(w.get_value(), -sum(draw() for _ in range(4)) / 2, rtol=1e-12)


def test_both_gradients_of_sam_see_the_same_draw_and_the_next_update_another():
    opt, w, draw = made(draws_of_parameters, sam=0.1)
    opt.minimize(max_epochs=1, train_batches=3, validate_every=None)
    np.testing.assert_allclose(w.get_value(), -sum(draw() for _ in range(3)), rtol=1e-12)


def test_evaluations_of_an_average_draw_anew_too():
    w = pytensor.shared(np.zeros(N), name="w")
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    around = rng.normal(disconnected_grad(w), size=w.shape)[1]  # of the very parameter that the average stands for
    loss = w.sum() + (around - disconnected_grad(w)).sum()
    opt = downhill2.SGD(loss, [w], learning_rate=1, ema=0.5, monitors={"w": w.sum()})
    opt.minimize(max_epochs=1, train_batches=3, validate_every=None)
    found = opt.evaluate(downhill2.Dataset(None, iteration_size=2))
    g = np.random.default_rng(1)
    expected = [g.normal(size=N).sum() for _ in range(5)][3:]
    assert found["loss"] - found["w"] == pytest.approx(np.mean(expected))


def test_a_generator_advances_by_the_updates_of_the_caller():
    for still in (False, True):
        rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
        rng_t, noise = rng.normal(size=N)
        rng.tag.used = False
        beside = rng.uniform(size=N)[1]  # would be refused
        w = pytensor.shared(np.zeros(N), name="w")
        opt = downhill2.SGD(
            (w * noise).sum() + 0 * beside.sum(), [w], updates={rng: rng if still else rng_t}, learning_rate=1
        )
        assert rng not in dict(opt.get_updates())
        drawn = [np.random.default_rng(1).normal(size=(4, N))[0 if still else i] for i in range(4)]
        opt.minimize(max_epochs=1, train_batches=2, validate_every=None)
        np.testing.assert_allclose(w.get_value(), -sum(drawn[:2]), rtol=1e-12)
        for _ in range(2):  # the first leaves the generator where it is
            found = opt.evaluate(downhill2.Dataset(None, iteration_size=2))["loss"]
            assert found == pytest.approx((w.get_value() * drawn[2:]).sum() / 2)


def test_monitors_updates_and_hyperparameters_draw_anew():
    rngs = [pt.random.shared_rng(np.random.default_rng(i), name=f"rng{i}") for i in range(3)]
    drawn = [rng.uniform()[1] for rng in rngs]
    w, total = (pytensor.shared(np.array(0.0), name=name) for name in ("w", "total"))
    updates = {total: total + drawn[1]}
    opt = downhill2.SGD(w, [w], updates=updates, monitors={"drawn": drawn[0]}, learning_rate=drawn[2])
    train, _ = opt.minimize(max_epochs=1, train_batches=4, validate_every=None)
    expected = [np.random.default_rng(i).uniform(size=4) for i in range(3)]
    assert train["drawn"] == pytest.approx(expected[0].mean())
    assert total.get_value() == pytest.approx(expected[1].sum())
    assert w.get_value() == pytest.approx(-expected[2].sum())
    assert {rngs[0], rngs[1], total}.isdisjoint(dict(opt.get_updates()))
    assert rngs[2] in dict(opt.get_updates())


def test_a_learning_rate_that_is_drawn_is_drawn_once_for_an_update_from_several_batches():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.array(0.0), name="w")
    opt = downhill2.SGD(w, [w], learning_rate=rng.uniform()[1], accumulate=2)
    opt.minimize(max_epochs=1, train_batches=4, validate_every=None)
    assert w.get_value() == pytest.approx(-np.random.default_rng(1).uniform(size=2).sum())


def test_a_resumed_run_draws_what_the_uninterrupted_one_drew(tmp_path):
    opt, w, _ = made(chain)
    rng = next(v for v in dict(opt.get_updates()) if v.name == "rng")

    def run(**given):
        w.set_value(np.zeros(N))
        rng.set_value(np.random.default_rng(1))
        opt.reset()
        opt.minimize(train_batches=4, valid_batches=2, validate_every=1, **{"max_updates": 12, **given})
        return w.get_value().tolist(), [(r.train, r.valid) for r in opt.history]

    whole = run()
    run(checkpoint=tmp_path, checkpoint_every="1 updates", max_updates=6)
    assert run(checkpoint=tmp_path, resume=True) == whole


def test_a_range_test_puts_generators_back():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.ones(N), name="w")
    loss = ((w + 0.01 * rng.normal(size=N)[1]) ** 2).sum()
    found = downhill2.find_learning_rate(loss, None, algo="sgd", start=1e-5, max_updates=20)
    assert len(np.unique(found.losses)) == len(found.losses)
    assert rng.get_value().normal() == np.random.default_rng(1).normal()


class TimesNoise(Op):
    """A vector times normal numbers; its gradient draws them again, from the same generator."""

    def make_node(self, x, rng):
        return Apply(self, [x, rng], [x.type(), rng.type()])

    def perform(self, node, inputs, outputs):
        x, rng = inputs[0], copy.deepcopy(inputs[1])
        outputs[0][0], outputs[1][0] = x * rng.normal(size=N), rng

    def pullback(self, inputs, outputs, cotangents):
        noise = pt.random.normal(size=N, rng=inputs[1], return_next_rng=True)[1]
        return [cotangents[0] * noise, DisconnectedType()()]

    grad = pullback

    def connection_pattern(self, node):
        return [[True, False], [False, False]]


def test_gradients_that_are_monitored_repeat_what_the_loss_draws():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.zeros(N), name="w")
    loss = TimesNoise()(w, rng)[0].sum()
    opt = downhill2.SGD(loss, [w], learning_rate=1, monitor_gradients=True)
    train, valid = opt.minimize(max_epochs=1, train_batches=2, valid_batches=2, restore_best=False)
    drawn = np.random.default_rng(1).normal(size=(4, N))
    np.testing.assert_allclose(w.get_value(), -drawn[:2].sum(0), rtol=1e-12)
    assert train["grad(w)"] == pytest.approx((drawn[:2] ** 2).sum(1).mean())
    assert valid["grad(w)"] == pytest.approx((drawn[2:] ** 2).sum(1).mean())


# -- refused before anything is compiled


def beside_each_other(rng):
    a = rng.normal(size=N)[1]
    rng.tag.used = False  # PyTensor warns of it, too
    return a + rng.uniform(size=N)[1]


def equal(rng):
    """Two draws that one call makes in turn: in nothing but their number different from one."""
    draws = []
    for _ in range(2):
        draws.append(rng.bernoulli(0.5, size=N)[1])
        rng.tag.used = False
    return 1.0 * pt.neq(*draws)


def equal_of_variables(rng):
    mean, sigma = pt.zeros(N), pt.ones(N)
    a = pt.random.normal(mean, sigma, rng=rng, return_next_rng=True)[1]
    rng.tag.used = False
    return a - pt.random.normal(mean, sigma, rng=rng, return_next_rng=True)[1]


def kept_in_a_scan(rng):
    return pytensor.scan(lambda: rng.normal()[1], n_steps=N, return_updates=False)


def kept_in_a_graph(rng):
    inner = pt.random.rng("inner")
    return OpFromGraph([inner], [inner.normal(size=N)[1]])(rng)


def carried_as_it_was(rng):
    def step(rng):
        return rng, rng.normal()[1]

    return pytensor.scan(step, outputs_info=[rng, None], n_steps=N, return_updates=False)[1]


BESIDE = r"got 2 draws from one state of the generator 'rng'; write rng_1, a = rng\.normal\(\)"
KEPT = r"got .* without the next value of 'rng'; in a scan carry it"
BESIDES = dict.fromkeys((beside_each_other, equal, equal_of_variables), BESIDE)
REFUSED = BESIDES | {kept_in_a_scan: KEPT, kept_in_a_graph: KEPT, carried_as_it_was: KEPT}


@pytest.mark.parametrize("way", REFUSED)
def test_a_generator_without_a_next_value_is_refused_but_for_one_of_the_caller(way):
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.zeros(N), name="w")
    noise = way(rng)
    for settings in ({"loss": (w * noise).sum()}, {"loss": w.sum(), "monitors": {"noise": noise.sum()}}):
        with pytest.raises(ValueError, match=REFUSED[way]):
            downhill2.build("sgd", params=[w], **settings)
    opt = downhill2.build("sgd", w.sum(), [w])
    with pytest.raises(ValueError, match=REFUSED[way]):
        opt.minimize(max_updates=1, valid_loss=noise.sum())
    with pytest.raises(ValueError, match=REFUSED[way]):
        opt.evaluate(None, loss=noise.sum())
    downhill2.SGD((w * noise).sum(), [w], updates={rng: rng}).minimize(max_epochs=1)


def test_two_equal_draws_of_a_step_of_a_scan_are_refused():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.zeros(N), name="w")

    def step(rng):
        rng_t, a = rng.normal()
        rng.tag.used = False
        return rng_t, a, rng.normal()[1]

    _, a, b = pytensor.scan(step, outputs_info=[rng, None, None], n_steps=N, return_updates=False)
    with pytest.raises(ValueError, match="got 2 draws from one state"):
        downhill2.build("sgd", (w * (a - b)).sum())


def test_a_copy_of_the_loss_draws_what_the_loss_draws_in_a_copy_of_the_optimizer_too():
    opt, *_ = made(copies)
    for again in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        again.minimize(max_updates=1, validate_every=None)
        np.testing.assert_allclose(again.params[0].get_value(), -made(copies)[2](), rtol=1e-12)
