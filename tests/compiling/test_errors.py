"""Wrong input raises although PyTensor's own checks are off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from generated import compiled
from pytensor.raise_op import Assert

x, y, i = pt.dmatrix("x"), pt.dvector("y"), pt.lvector("i")
n = pt.lscalar("n")
known = pt.tensor("known", dtype="float64", shape=(2, None))

WRONG: list[tuple[str, list[Any], Any, list[Any], type, str]] = [
    ("a list", [y], y * 2, [[1.0, 2.0]], TypeError, "input y must be a NumPy array, got list"),
    ("a list, nothing to compute", [y], [], [[1.0, 2.0]], TypeError, "input y must be a NumPy array, got list"),
    ("dtype", [y], y * 2, [np.ones(2, "f")], TypeError, "input y must have dtype float64, got float32"),
    ("dimensions", [y], y * 2, [np.ones((2, 2))], ValueError, r"input y must have shape \(\?\), got \(2, 2\)"),
    ("size", [known], known * 2, [np.ones((3, 2))], ValueError, r"input known must have shape \(2, \?\), got \(3, 2\)"),
    ("sizes", [x, y], x * y, [np.ones((2, 3)), np.ones(2)], ValueError, "axis 1: dimensions do not agree"),
    ("product", [x, y], x @ y, [np.ones((2, 3)), np.ones(2)], ValueError, "dot: dimensions do not agree"),
    ("join", [x, y], pt.concatenate([x, y[None]]), [np.ones((2, 3)), np.ones(2)], ValueError, "join"),
    ("index", [y, n], y[n], [np.ones(2), np.array(2)], IndexError, "out of bounds"),
    ("indices", [y, i], y[i], [np.ones(2), np.array([0, -3])], IndexError, "out of bounds"),
    ("pairs", [x, i], x[i, i[:2]], [np.ones((4, 4)), np.arange(3)], ValueError, "do not agree"),
    ("assignment", [x, y], pt.set_subtensor(x[1:], y), [np.ones((2, 3)), np.ones(2)], ValueError, "assignment"),
    ("reshape", [y], y.reshape((2, 2)), [np.ones(3)], ValueError, "reshape"),
    ("reshape to unknown", [y, n], y.reshape((n, n)), [np.ones(3), np.array(2)], ValueError, "reshape"),
    ("specify_shape", [y], pt.specify_shape(y, (3,)) * 2, [np.ones(2)], ValueError, "specify_shape"),
    ("squeeze", [x], x.squeeze(0) * 2, [np.ones((2, 3))], ValueError, "squeeze"),
    ("largest of none", [y], y.max(), [np.ones(0)], ValueError, "zero-size"),
    ("argmax of none", [y], y.argmax(), [np.ones(0)], ValueError, "zero-size"),
    ("negative size", [n], pt.zeros(n), [np.array(-1)], ValueError, "negative dimensions"),
    ("split", [y, i], pt.split(y, i, n_splits=2)[0], [np.ones(3), np.array([1, 1])], ValueError, "split"),
    ("negative split", [y, i], pt.split(y, i, n_splits=2)[0], [np.ones(3), np.array([-1, 4])], ValueError, "negative"),
    ("assert", [y], Assert("y must be large")(y * 2, pt.all(y > 1)), [np.ones(2)], AssertionError, "y must be large"),
]


@pytest.mark.parametrize(
    ("inputs", "output", "values", "kind", "message"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG]
)
def test_wrong_input_raises(inputs: list[Any], output: Any, values: list[Any], kind: type, message: str) -> None:
    f = compiled(inputs, output)
    with pytest.raises(kind, match=message):
        f(*values)


def test_an_error_names_the_shapes() -> None:
    f = compiled([x, y], x * y)
    with pytest.raises(ValueError, match="dimensions do not agree") as caught:
        f(np.ones((2, 3)), np.ones(2))
    assert "Shapes of the inputs: x (2, 3), y (2,)" in caught.value.__notes__


def test_a_function_works_after_an_error() -> None:
    f = compiled([x, y], x * y)
    with pytest.raises(ValueError, match="dimensions do not agree"):
        f(np.ones((2, 3)), np.ones(2))
    np.testing.assert_array_equal(f(np.ones((2, 3)), np.ones(3)), np.ones((2, 3)))


def test_an_array_larger_than_memory_raises() -> None:
    a = pt.arange(n) * 0.5
    cube = pt.tanh(a[:, None, None] * a[:, None] * a)
    f = compiled([n], cube.sum() + cube.max())  # a sum alone would need no array
    with pytest.raises(MemoryError):
        f(np.array(2**19))
    np.testing.assert_allclose(f(np.array(2)), 2 * np.tanh(0.125))
