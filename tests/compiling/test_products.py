"""Sums of products of matrices: what becomes one product, and what stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import assert_equal_to_python, compiled

pytestmark = pytest.mark.default_mode


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


def largest(function: Any) -> int:
    """Return the most dimensions that a result of a product or a sum has."""
    nodes = function.maker.fgraph.toposort()
    return max(node.outputs[0].ndim for node in nodes if "Dot" in str(node.op) or str(node.op).startswith("Sum"))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 4, 5), (0, 4, 5), (3, 0, 5)])
def test_the_gradient_of_a_dense_layer_is_one_product_whatever_its_input(shape: tuple[int, ...]) -> None:
    x, w = pt.tensor("x", shape=(None,) * len(shape)), pt.matrix("w")
    gradient = pytensor.grad((x @ w).sum() + ((x @ w) ** 2).sum(), w)
    f = assert_equal_to_python([x, w], [gradient], arrays(shape, (shape[-1], 6)))
    assert largest(f) == 2


def test_a_layer_of_each_head_has_a_product_of_each_head() -> None:
    x, w = pt.tensor4("x"), pt.tensor3("w")  # heads, batch, time, in; heads, in, out
    gradient = pytensor.grad(pt.tanh(x @ w[:, None]).sum(), w)
    f = assert_equal_to_python([x, w], [gradient], arrays((2, 3, 4, 5), (2, 5, 6)))
    assert largest(f) == 3


def test_two_dtypes_are_no_product_of_blas() -> None:
    x, y = pt.tensor3("x"), pt.tensor3("y", dtype="float32")
    x_value, y_value = arrays((3, 4, 5), (3, 4, 6))
    assert_equal_to_python([x, y], [(x.mT @ y).sum(axis=0)], [x_value, y_value.astype("float32")], 1e-6)


@pytest.mark.parametrize(
    "summed",
    [
        lambda x, y: (x @ y.mT).sum(axis=0),  # would need copies of both
        lambda x, y: (x.mT @ y).sum(axis=(0, 1)),
        lambda x, y: (x.mT @ y).sum(axis=1),
        lambda x, y: (x.mT @ y).sum(),
        lambda x, y: (x.mT @ y).sum(axis=0) + (x.mT @ y)[0],  # is in memory anyway
    ],
)
def test_other_sums_of_products_are_what_they_were(summed: Any) -> None:
    x, y = pt.tensor3("x"), pt.tensor3("y")
    f = assert_equal_to_python([x, y], [summed(x, y)], arrays((3, 4, 5), (3, 4, 5)))
    assert largest(f) == 3


def test_a_matrix_that_meets_a_whole_stack_is_repeated_in_the_sum() -> None:
    x, y = pt.tensor3("x"), pt.matrix("y")
    assert_equal_to_python([x, y], [(x.mT @ y).sum(axis=0)], arrays((3, 4, 5), (4, 6)))


def test_stacks_of_different_length_are_refused_though_their_rows_add_up() -> None:
    x, y = pt.tensor3("x"), pt.tensor3("y")
    f = compiled([x, y], (x.mT @ y).sum(axis=0))
    with pytest.raises((ValueError, AssertionError)):
        f(*arrays((2, 3, 4), (3, 2, 5)))
