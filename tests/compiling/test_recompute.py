"""Elements that are computed again rather than written to memory and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from generated import REFERENCE, assert_equal_to_python, compiled, details
from pytensor.tensor.elemwise import Elemwise

N = 300


def shared(value: Any, name: str, shape: tuple[int | None, ...] = (N,)) -> Any:
    return pytensor.shared(np.array(value, "float32"), name=name, shape=shape)


def run(make: Callable[[], tuple[list[Any], list[tuple[Any, Any]]]]) -> Any:
    """Compare two calls of a function with the Python linker, and return what was generated."""
    results = []
    for mode in (REFERENCE, None):
        outputs, updates = make()
        f = compiled([], outputs, mode, updates=updates)
        results.append([value for _ in range(2) for value in (*f(), *(v.get_value() for v, _ in updates))])
    for want, have in zip(*results, strict=True):
        # compiled code may round a product and a sum together
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
    return details(f)


def gated(params: list[Any], loss: Any, grad: Any, values: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return outputs and updates that are held back where a gradient is not finite."""
    gate = pt.all(pt.isfinite(grad))
    return [loss, gate], [(p, pt.switch(gate, value, p)) for p, value in zip(params, values, strict=True)]


@pytest.mark.parametrize("bad", [0.0, np.nan])
@pytest.mark.parametrize(
    ("size", "shape"), [(N, (N,)), (N, (None,)), (1, (None,)), (0, (None,)), (N, (20, 15)), (N, (None, 15))]
)
def test_a_gradient_and_its_square_need_no_memory(size: int, shape: tuple[int | None, ...], bad: float) -> None:
    start = np.linspace(1, 2, size).reshape([20, 15] if len(shape) == 2 else [size])
    start.flat[-1:] += bad

    def make() -> Any:
        p, v, t = shared(start, "p", shape), shared(0 * start, "v", shape), shared(3, "t", ())
        g = p - t
        outputs, updates = gated([p, v], (g**2).sum(), g, [p - 0.5 * g, 0.5 * v + 0.5 * g**2])
        return outputs, [*updates, (t, t + 1)]  # in place, and g needs the value before

    layout = run(make).layout
    assert layout.workspace == 0
    assert ("room",) not in layout.table


def together(compute: Callable[..., list[Any]], *inputs: Any) -> list[Any]:
    """Return elementwise results as one node."""
    numbers = [ps.get_scalar_type(x.dtype)() for x in inputs]
    return Elemwise(ps.Composite(numbers, compute(*numbers)))(*inputs)


def test_elements_are_computed_before_what_they_come_from_is_overwritten() -> None:
    def make() -> Any:
        p, m = shared(np.arange(N), "p"), shared(np.ones(N), "m")
        finite, g = together(lambda p: [~ps.isinf(p - 1), p - 1], p)
        gate = pt.all(finite)
        new = together(lambda ok, p, m, g: [ps.switch(ok, p * 2, p), ps.switch(ok, m * g, m)], gate[None], p, m, g)
        return [gate], list(zip([p, m], new, strict=True))

    assert run(make).layout.workspace == 0


def test_what_comes_from_elements_that_are_computed_again_is_written() -> None:
    def make() -> Any:
        p, m = shared(np.linspace(0, 1, N), "p"), shared(np.ones(N), "m")
        at_least, g = together(lambda p: [p > -1, p - 1], p)
        finite, h = together(lambda p, g, c: [~ps.isinf(g * c + p), g * c + p], p, g, pt.all(at_least)[None])
        gate = pt.all(finite)
        new = together(
            lambda ok, p, m, g, h: [ps.switch(ok, p * ps.tanh(g) * ps.tanh(m), p), ps.switch(ok, m * ps.tanh(h), m)],
            *(gate[None], p, m, g, h),
        )
        return [gate], list(zip([p, m], new, strict=True))

    assert run(make).layout.workspace == -(-4 * N // 64) * 64


WRITTEN: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "dear": lambda p, row: (pt.exp(p), p),
    "long": lambda p, row: (((p**2 - 1) ** 2 - 1) ** 2 - 1, p),
    "of an array that its reader does not read": lambda p, row: (p - 1, 0),
    "of a row that is repeated": lambda p, row: (p - row, p + row),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_would_cost_more_to_compute_is_written(kind: str) -> None:
    def make() -> Any:
        p, m = (shared(np.linspace(1, 2, N).reshape(20, 15), name, (20, 15)) for name in "pm")
        g, beside = WRITTEN[kind](p, shared(np.ones(15), "row", (15,)))
        return gated([m], g.sum(), g, [m * g + beside])

    assert run(make).layout.workspace >= 4 * N


@pytest.mark.parametrize(
    "read",
    [
        lambda g: [g],
        lambda g: [g.reshape((30, 10)).sum(axis=0)],
        lambda g: [g.sum(), g.prod()],
        lambda g: [g.max()],
    ],
    ids=["returned", "reduced along an axis", "reduced twice", "reduced to what needs elements"],
)
def test_what_others_read_is_written(read: Callable[[Any], list[Any]]) -> None:
    p, m = pt.tensor("p", dtype="float32", shape=(N,)), pt.tensor("m", dtype="float32", shape=(N,))
    g = p - 1
    gate = pt.all(pt.isfinite(g))
    values = [np.linspace(1, 2, N, dtype="f"), np.ones(N, "f")]
    assert_equal_to_python([p, m], [*read(g), pt.switch(gate, m + g * p, p)], values, 1e-5)


def test_a_loop_that_would_only_compute_such_elements_is_left_out() -> None:
    def make() -> Any:
        p, q, m = (shared(np.linspace(0, 1, N), name) for name in "pqm")
        g, finite = together(lambda p, q: [p - 1, ~ps.isinf(q * 2)], p, q)
        gate = pt.all(finite)
        new = together(lambda ok, p, m, g: [ps.switch(ok, p * 2, p), ps.switch(ok, m * g, m)], gate[None], p, m, g)
        return [gate], list(zip([p, m], new, strict=True))

    assert run(make).layout.workspace == 0
