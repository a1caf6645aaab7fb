"""Loops of large graphs, which a table tells of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import assert_equal_to_python, compiled, details

from downhill2.compiling import assemble, private

RNG = np.random.default_rng(5)


def layers(count: int, rows: int | None) -> tuple[Any, Any, list[Any]]:
    """Return the input and the output of a deep network, and its weights."""
    x = pt.tensor("x", shape=(rows, 6), dtype="float32")
    weights = [pytensor.shared(RNG.normal(size=(6, 6)).astype("float32"), shape=(6, 6)) for _ in range(count)]
    out = x
    for weight in weights:
        out = pt.tanh(out @ weight) - out.mean(axis=0)
    return x, out, weights


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the functions that Python calls."""
    found: list[str] = []
    original = private.compiled

    def noted(source: str, *args: Any, entry: bool, **options: Any) -> Any:
        found.extend([source] if entry else [])
        return original(source, *args, entry=entry, **options)

    monkeypatch.setattr(private, "compiled", noted)
    return found


@pytest.mark.parametrize("rows", [3, None])
def test_a_deeper_network_is_a_longer_table(rows: int | None, sources: list[str]) -> None:
    for count in (30, 60):
        x, out, _ = layers(count, rows)
        compiled([x], out.sum())
    shallow, deep = (source.count("\n") for source in sources)
    assert "steps(table" in sources[0]
    if rows:
        assert deep == shallow
    else:  # memory for sizes known at run time is asked for line by line
        assert deep <= shallow + 4 * 30


@pytest.mark.parametrize("rows", [3, None])
def test_a_deep_network_gives_what_python_gives(rows: int | None) -> None:
    x, out, weights = layers(40, rows)
    grads = pytensor.grad((out**2).mean(), weights[:3])
    f = assert_equal_to_python([x], [out, *grads], [RNG.normal(size=(3, 6)).astype("float32")], 2e-4)
    kinds = {kind for kind, *_ in details(f).layout.table}
    assert "integer" in kinds
    assert ("room" in kinds) == (rows is None)


def test_batches_of_all_lengths_run_in_the_same_steps() -> None:
    x, out, _ = layers(40, None)
    f, alone = compiled([x], out - out[::-1]), compiled([x], out - out[::-1], "FAST_COMPILE")
    for rows in (3, 200, 1, 50, 0, 201):
        batch = RNG.normal(size=(rows, 6)).astype("float32")
        np.testing.assert_allclose(f(batch), alone(batch), rtol=0, atol=1e-4)


def test_equal_loops_over_other_types_are_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "INLINE_UP_TO", 0)
    kinds = ("float32", "float64", "int64", "int8", "bool")
    inputs = [pt.vector(dtype=kind) for kind in kinds]
    values = [(RNG.normal(size=5) * 3).astype(kind) for kind in kinds]
    assert_equal_to_python(inputs, [v[::-1] for v in inputs], values)


def test_numbers_of_all_types_are_handed_to_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "INLINE_UP_TO", 0)
    kinds = ("float32", "float64", "int64", "int8", "bool")
    numbers, x = [pt.scalar(dtype=kind) for kind in kinds], pt.vector("x", dtype="float64")
    values = [np.array(1.5, kind) for kind in kinds]
    outputs = [pt.switch(pt.eq(x, number), x * 2, x + number) for number in numbers]
    assert_equal_to_python([*numbers, x], outputs, [*values, np.linspace(0, 2, 5)])


def test_a_failure_in_a_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "INLINE_UP_TO", 0)
    x, at = pt.matrix("x"), pt.lvector("at")
    f = compiled([x, at], pt.tanh(x)[at])
    np.testing.assert_allclose(f(np.eye(3), np.array([2])), np.tanh(np.eye(3))[[2]])
    with pytest.raises(IndexError):
        f(np.eye(3), np.array([3]))
    np.testing.assert_allclose(f(np.eye(3), np.array([0])), np.tanh(np.eye(3))[[0]])
