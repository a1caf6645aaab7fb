"""Sharpness-aware minimization: against optax and the papers, in one compiled step, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from oracles import join
from test_algorithms import START

import downhill2
from downhill2 import NonFiniteError

# a loss that is no quadratic, so that gradients beside the parameters are no multiples
SCALES = [np.arange(1, x.size + 1).reshape(x.shape) / x.size for x in START]


def build(dtype="float64", algo="sgd", start=START, **settings):
    params = [pytensor.shared(np.array(x, dtype), name=n) for x, n in zip(start, "abcde", strict=False)]
    loss = sum((pt.sin(p * s.astype(dtype)) + p**2 / 8).sum() for p, s in zip(params, SCALES, strict=False))
    return downhill2.build(algo, loss, params, learning_rate=0.1, **settings)


def gradient(xs):
    return [s * np.cos(x * s) + x / 4 for x, s in zip(xs, SCALES, strict=False)]


def reference(rho, adaptive, steps, start=START):
    """Return what SGD with a rate of 0.1 makes of gradients at x + rho T^2 g / |T g|."""
    xs = [np.asarray(x, "f8") for x in start]
    for _ in range(steps):
        gs = gradient(xs)
        sizes = [np.abs(x) if adaptive else np.ones_like(x) for x in xs]
        norm = np.linalg.norm(join([t * g for t, g in zip(sizes, gs, strict=True)]))
        beside = [x + rho * t**2 * g / norm for x, t, g in zip(xs, sizes, gs, strict=True)]
        xs = [x - 0.1 * g for x, g in zip(xs, gradient(beside), strict=True)]
    return xs


def trajectory(opt, steps):
    function = pytensor.function([], [], updates=opt.get_updates())
    for _ in range(steps):
        function()
    return [p.get_value() for p in opt.params]


# later than that, near a minimum, the direction to it is all rounding in float32
@pytest.mark.parametrize(("dtype", "steps"), [("float64", 1), ("float64", 100), ("float32", 1), ("float32", 10)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_steps_are_those_of_the_papers(adaptive, dtype, steps):
    found = trajectory(build(dtype, sam={"rho": 0.3, "adaptive": adaptive}), steps)
    for x, y in zip(found, reference(0.3, adaptive, steps), strict=True):
        assert x.dtype == dtype
        limit = 1e-9 if dtype == "float64" else 2e-6
        np.testing.assert_allclose(x, y, rtol=limit, atol=limit * np.abs(y).max())


def test_steps_are_those_of_optax():
    import jax
    import jax.numpy as jnp
    import optax

    with jax.enable_x64(True):

        def loss(xs):
            return sum((jnp.sin(x * s) + x**2 / 8).sum() for x, s in zip(xs, SCALES, strict=True))

        beside = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
        transformation = optax.contrib.sam(optax.adam(0.1, 0.9, 0.999), beside, opaque_mode=True)
        params = [jnp.asarray(x) for x in START]
        state, gradients = transformation.init(params), jax.grad(loss)

        @jax.jit
        def update(params, state):
            change, state = transformation.update(gradients(params), state, params, grad_fn=lambda x, i: gradients(x))
            return optax.apply_updates(params, change), state

        for _ in range(10):
            params, state = update(params, state)
        expected = [np.asarray(x) for x in params]
    found = trajectory(build(algo="adam", sam=True, beta1=0.9, beta2=0.999), 10)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9)


def test_losses_are_those_where_the_parameters_are_and_evaluation_knows_nothing_of_it():
    opt = build(sam=0.5, momentum=0.9)
    before = opt.evaluate(None)["loss"]
    train, _ = opt.minimize(max_epochs=1, train_batches=1, validate_every=None)
    assert train["loss"] == pytest.approx(before, rel=1e-12)


def test_a_gradient_of_zero_moves_nothing():
    x = pytensor.shared(np.zeros(3), name="x")
    opt = downhill2.SGD((x**2).sum(), sam=0.1, learning_rate=1)
    trajectory(opt, 2)
    np.testing.assert_array_equal(x.get_value(), 0)


def test_both_gradients_see_the_same_random_numbers():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    x = pytensor.shared(np.ones(4), name="x")
    rng_t, noise = rng.normal(size=4)
    opt = downhill2.SGD((noise * x).sum(), sam=0.1, learning_rate=1, updates={rng: rng_t})
    opt.minimize(max_epochs=1, train_batches=1, validate_every=None)
    np.testing.assert_allclose(1 - x.get_value(), np.random.default_rng(1).normal(size=4), rtol=1e-12)


def test_the_distance_stays_live_and_options_compile_anew():
    opt = build(sam=0.3)
    step = pytensor.function([], [], updates=opt.get_updates())
    opt.sam = 0.1
    step()
    for x, y in zip(opt.params, reference(0.1, False, 1), strict=True):
        np.testing.assert_allclose(x.get_value(), y, rtol=1e-12)
    for p, x in zip(opt.params, START, strict=True):
        p.set_value(x)
    pytensor.function([], [], updates=opt.get_updates(sam_adaptive=True))()
    for x, y in zip(opt.params, reference(0.1, True, 1), strict=True):
        np.testing.assert_allclose(x.get_value(), y, rtol=1e-12)


def test_a_second_gradient_that_is_not_finite_is_held_back():
    x = pytensor.shared(np.array([1.0]), name="x")
    opt = downhill2.SGD(-pt.sqrt(1.05 - x).sum(), learning_rate=0.01, sam=0.1)  # nothing is real 0.1 uphill
    with pytest.raises(NonFiniteError):
        opt.minimize(max_epochs=1, train_batches=1)
    assert x.get_value() == 1


def test_a_negative_distance_is_refused():
    with pytest.raises(ValueError, match="sam must be at least 0, got -1"):
        build(sam=-1)
    with pytest.raises(TypeError, match=r"sam must be a number or a dict with some of \['rho', 'adaptive'\], got 'r'"):
        build(sam={"r": 1})
