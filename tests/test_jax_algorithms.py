"""Every algorithm takes the same way on JAX as in Python."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from algorithms import TYPICAL
from training import rows

import downhill2

pytest.importorskip("jax")

# JAX draws other random numbers from the same generator.
DRAWING = ("esgd", "noisysgd")
# These see all parameters as one vector, as no other that make test tries on JAX.
WHOLE = ("momo",)


def trained(algo, backend, dtype):
    """Return the parameters of a small network after nine updates, and its losses."""
    draw, (x, y) = np.random.default_rng(1), (pt.matrix("x", dtype=dtype), pt.vector("y", dtype=dtype))
    shapes = {"W": (4, 3), "b": (3,), "v": (3,)}
    W, b, v = (pytensor.shared(draw.normal(size=s).astype(dtype), name=n) for n, s in shapes.items())
    loss = ((pt.tanh(x @ W + b) @ v - y) ** 2).mean()
    opt = downhill2.build(algo, loss, [W, b, v], backend=backend, learning_rate=0.003)
    pairs = opt.iterate(rows(24, 2, dtype), batch_size=8, rng=3, max_epochs=3, validate_every=None)
    losses = [train["loss"] for train, _ in pairs]
    return [p.get_value() for p in (W, b, v)], losses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "algo", [pytest.param(n, marks=() if n in WHOLE else pytest.mark.thorough) for n in sorted(TYPICAL)]
)
def test_an_algorithm_takes_the_same_way_on_jax(algo, dtype):
    (found, losses), (expected, told) = (trained(algo, backend, dtype) for backend in ("jax", "FAST_COMPILE"))
    assert all(x.dtype == dtype for x in found)
    if algo in DRAWING:
        assert np.isfinite(losses).all()
        assert losses[0] == pytest.approx(told[0], rel=0.1)
        return
    tolerance = {"float32": 2e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(losses, told, rtol=10 * tolerance)
    for x, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, e, rtol=0, atol=tolerance * abs(e).max())
