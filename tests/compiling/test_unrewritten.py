"""Graphs as they are written: nodes that PyTensor's rewrites remove or change on some version are right as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from generated import compiled, details, python_results
from pytensor.compile.mode import Mode
from pytensor.tensor.basic import ExtractDiag
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.extra_ops import CumOp
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import shape as shape_op
from pytensor.tensor.subtensor import IncSubtensor

from downhill2.compiling import fast_mode
from downhill2.compiling.emit_reduce import neutral
from downhill2.compiling.emit_shape import constant_axis
from downhill2.compiling.scalars import expression, write
from downhill2.compiling.source import Block
from downhill2.compiling.values import Unsupported

AS_WRITTEN = fast_mode(Mode("numba", None))
X = np.arange(12.0).reshape(3, 4) - 5
N = np.array(2)


def assert_equal_as_written(inputs: Sequence[Any], outputs: Sequence[Any], values: Sequence[Any]) -> Any:
    wanted = python_results(inputs, outputs, values)
    f = compiled(inputs, outputs, mode=AS_WRITTEN)
    for have, want in zip(f(*values), wanted, strict=True):
        assert have.dtype == want.dtype
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want)
    return details(f).fallbacks


def vectors_of_sizes(x: Any, n: Any) -> list[Any]:
    sizes = shape_op(x)
    both = pt.concatenate([sizes, sizes])
    return [sizes, sizes[1], both[3], sizes[:1].sum(), sizes[n - 1], x.reshape(sizes[::-1])]


def single_elements(x: Any, n: Any) -> list[Any]:
    one = pt.tanh(n)
    return [one.reshape((1, 1)), one.reshape((1,)).sum(), x[:1, :1].sum(axis=0), pt.stack([n]).reshape(())]


def bare_numbers(x: Any, n: Any) -> list[Any]:
    number = pt.scalar_from_tensor(n)
    return [pt.tensor_from_scalar(number * number + ps.as_scalar(1)), x[number - ps.as_scalar(1)]]


def joined_and_split_axes(x: Any, n: Any) -> list[Any]:
    cube = pt.stack([x, x * 2])
    split = SplitDims(1)(x, pt.stack([n, n]))
    return [JoinDims(0, 2)(cube), JoinDims(1, 2)(cube), JoinDims(1, 2)(split), SplitDims(0)(x, [1, 3]), split]


def diagonals(x: Any, n: Any) -> list[Any]:
    return [ExtractDiag(offset, 0, 1, view)(x) for offset in (-1, 0, 2) for view in (False, True)]


def stacks_of_matrices(x: Any, n: Any) -> list[Any]:
    cube = pt.stack([x, x * 2])
    return [BatchedDot()(cube, cube.transpose(0, 2, 1))]


def known_ranges(x: Any, n: Any) -> list[Any]:
    return [pt.arange(2, 7), pt.arange(1, 8, 3) + n]


def known_sizes(x: Any, n: Any) -> list[Any]:
    known = pt.specify_shape(x, (3, 4))
    return [x[:, shape_op(known)[0]], shape_op(x[0]) * 2, pt.alloc(n, shape_op(known)[1])]


def results_that_share_no_array(x: Any, n: Any) -> list[Any]:
    first, second = ps.float64("first"), ps.float64("second")
    return Elemwise(ps.Composite([first, second], [first * 2, ps.tanh(second)]))(x, x + n)


FAMILIES = [
    *(vectors_of_sizes, single_elements, bare_numbers, joined_and_split_axes),
    *(diagonals, stacks_of_matrices, known_ranges, known_sizes, results_that_share_no_array),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_what_rewrites_would_remove_needs_no_kernel_of_pytensor(family: Any) -> None:
    x, n = pt.dmatrix("x"), pt.lscalar("n")
    assert assert_equal_as_written([x, n], family(x, n), [X, N]) == []


def unknown_steps(x: Any, n: Any) -> list[Any]:
    return [x[::n]]


def boolean_masks(x: Any, n: Any) -> list[Any]:
    return [x[x > 0], pt.set_subtensor(x[x > 0], 1.0)]


def repeated_indices_counted_once(x: Any, n: Any) -> list[Any]:
    rows = pt.stack([n, n])
    return [pt.inc_subtensor(x[rows], 1.0, ignore_duplicates=True)]


def sums_of_booleans(x: Any, n: Any) -> list[Any]:
    return [pt.inc_subtensor((x > 0)[0], np.array(True))]


def small_ranges(x: Any, n: Any) -> list[Any]:
    return [pt.arange(n.astype("uint8")), pt.arange(0, 6, n), pt.arange(0.0, 3.0)]


UNSUPPORTED = [unknown_steps, boolean_masks, repeated_indices_counted_once, sums_of_booleans, small_ranges]


@pytest.mark.filterwarnings("ignore:Numba will use object mode")
@pytest.mark.parametrize("family", UNSUPPORTED, ids=lambda family: family.__name__)
def test_what_has_no_loops_of_ours_calls_kernels_of_pytensor(family: Any) -> None:
    x, n = pt.dmatrix("x"), pt.lscalar("n")
    assert assert_equal_as_written([x, n], family(x, n), [X, N])


def test_running_sums_of_booleans_are_booleans_as_their_type_says() -> None:
    x = pt.dmatrix("x")
    f = compiled([x], CumOp(0)(x > 0))
    np.testing.assert_array_equal(f(X), np.cumsum(X > 0, axis=0) > 0)
    assert details(f).fallbacks


def test_numbers_of_a_generator_without_a_size_are_those_of_pytensor() -> None:
    rng = pytensor.shared(np.random.default_rng(3))
    following, draw = pt.random.normal(1.0, rng=rng, return_next_rng=True)
    f = compiled([], draw * 2, updates={rng: following})
    expected = np.random.default_rng(3)
    np.testing.assert_allclose([f(), f()], [expected.normal(1.0) * 2, expected.normal(1.0) * 2])


def test_a_part_may_be_set_to_another_part_of_the_same_memory() -> None:
    w = pytensor.shared(np.arange(5.0))
    node = pt.set_subtensor(w[1:], w[:-1]).owner
    op = IncSubtensor(node.op.idx_list, set_instead_of_inc=True, destroyhandler_tolerate_aliased=((0, 1),))
    moved = op(*node.inputs)
    step = compiled([], [], updates=[(w, moved)])
    step()
    np.testing.assert_array_equal(w.get_value(), [0, 0, 1, 2, 3])


def test_an_axis_must_be_known() -> None:
    with pytest.raises(Unsupported, match="an axis that is not constant"):
        constant_axis(pt.lscalar(), 2)


class Exp(ps.UnaryScalarOp):
    """An operation of somebody else that has the name of one of PyTensor's."""


def test_a_foreign_operation_is_not_taken_for_one_of_pytensor() -> None:
    with pytest.raises(Unsupported, match="scalar operation"):
        expression(Block(), Exp(ps.upgrade_to_float), [("x", "float64")], "float64")


def test_numbers_that_are_not_ours_are_refused_inside_an_operation() -> None:
    with pytest.raises(Unsupported, match="complex128"):
        write(Block(), ps.neg, [("x", "complex128")], ["complex128"])


def test_an_operation_without_a_neutral_element_is_no_reduction_of_ours() -> None:
    with pytest.raises(Unsupported, match="reduction by"):
        neutral(ps.sub, "float64")
