"""Each family of operations against PyTensor's Python linker, without a call of PyTensor's own kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import assert_equal_to_python, details

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


class Given:
    """Inputs of one dtype, with known or unknown shapes, and their values."""

    def __init__(self, dtype: str, known: bool) -> None:
        self.dtype, self.known = dtype, known
        self.rng = np.random.default_rng(3)
        self.inputs: list[Any] = []
        self.values: list[np.ndarray] = []

    def new(self, *shape: int, dtype: str | None = None, values: Any = None) -> Any:
        static = tuple(size if self.known or size == 1 else None for size in shape)
        variable = pt.tensor(f"x{len(self.inputs)}", dtype=dtype or self.dtype, shape=static)
        self.inputs.append(variable)
        values = self.rng.standard_normal(shape) if values is None else values
        self.values.append(np.asarray(values, dtype or self.dtype))
        return variable


def elementwise(g: Given) -> list[Any]:
    x, row, column, number = g.new(6, 4), g.new(4), g.new(6, 1), g.new()
    cube = g.new(3, 6, 4)
    z = pt.tanh(x * 0.5 + row - column) * number
    return [z, pt.switch(x > 0, z, -z), pt.maximum(x, row).T + 1, cube * row + x, x.T * column.T, number + 1, x > z]


def functions(g: Given) -> list[Any]:
    x = g.new(5, 3)
    p = pt.abs(x) + 0.1
    unary = [pt.exp, pt.exp2, pt.expm1, pt.sin, pt.cos, pt.tan, pt.arctan, pt.sinh, pt.cosh, pt.tanh, pt.arcsinh]
    unary += [pt.erf, pt.erfc, pt.sigmoid, pt.softplus, pt.floor, pt.ceil, pt.trunc, pt.sign, pt.sqr, pt.neg, pt.abs]
    unary += [lambda v: pt.round(v, "half_to_even"), pt.isnan, pt.isinf, pt.deg2rad, pt.rad2deg]
    positive = [pt.log, pt.log2, pt.log10, pt.log1p, pt.sqrt, pt.reciprocal, pt.gammaln, lambda v: v**1.7]
    bounded = [pt.arcsin, pt.arccos, pt.arctanh, lambda v: pt.log1mexp(v - 2), lambda v: pt.arccosh(v + 2)]
    y = 0.9 * pt.tanh(x)
    return [*(f(x) for f in unary), *(f(p) for f in positive), *(f(y) for f in bounded), pt.arctan2(x, p)]


def integers(g: Given) -> list[Any]:
    i = g.new(7, dtype="int64", values=np.arange(-3, 4))
    small, bits = i.astype("int8"), pt.abs(i).astype("uint8")
    truth = i > 0
    return [
        *(
            i + 1,
            i * i,
            -i,
            pt.abs(i),
            pt.sign(i),
            i // 2,
            i % 3,
            pt.maximum(i, 1),
            pt.minimum(i, 1),
            pt.clip(i, -1, 2),
        ),
        *(small * small, bits - bits, ~bits, bits & 3, i | 4, i ^ 1, pt.isnan(i), pt.isinf(i)),
        *(~truth, truth & (i < 3), truth | (i < -1), pt.xor(truth, i > 1), truth + truth, truth * truth),
        *(pt.maximum(truth, i > 2), pt.minimum(truth, i > 2), i / 2, pt.sqrt(pt.abs(i)), pt.neq(i, 2), pt.le(i, 0.5)),
        *(i.astype("bool"), truth.astype("float32"), pt.eq(i, 1), pt.ge(i, 1)),
    ]


def reductions(g: Given) -> list[Any]:
    x, cube = g.new(5, 4), g.new(3, 5, 4)
    columns = [f(x, axis=0) for f in (pt.sum, pt.max, pt.min, pt.mean, pt.prod)]
    rows = [f(x, axis=1) for f in (pt.sum, pt.max, pt.min, pt.mean, pt.prod)]
    numbers = [f(x) for f in (pt.sum, pt.max, pt.min, pt.mean, pt.prod)]
    many = [cube.sum(axis=axes) for axes in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2), ())]
    views = [x.T.sum(axis=0), x.T.sum(axis=1), cube.transpose(2, 0, 1).sum(axis=(0, 2)), x[:, ::2].sum(axis=1)]
    truth = [pt.all(x > -1, axis=0), pt.any(x > 1, axis=1), pt.all(x > -9), pt.any(x > 9)]
    whole = [(x > 0).sum(axis=0), (x * 3).astype("int32").sum(axis=1), pt.max((x * 3).astype("int64"), axis=0)]
    other = [pt.bitwise_and(3, 5), x[:1, :1].sum(), pt.max((x > 0), axis=0), pt.xor(x > 0, x > 1)]
    return [*columns, *rows, *numbers, *many, *views, *truth, *whole, *other]


def running(g: Given) -> list[Any]:
    x = g.new(4, 3)
    sums = [pt.cumsum(x, axis=axis) for axis in (0, 1, None)]
    indices = [pt.argmax(x, axis=axis) for axis in (0, 1, None)] + [pt.argmin(x, axis=0), pt.argmax(x.T, axis=0)]
    return [*sums, pt.cumprod(x, axis=1), pt.cumsum(x.T, axis=0), pt.cumsum((x > 0).astype("int64"), axis=0), *indices]


def softmaxes(g: Given) -> list[Any]:
    x, cube = g.new(5, 4), g.new(2, 3, 4)
    soft = [f(x, axis=axis) for f in (pt.special.softmax, pt.special.log_softmax) for axis in (0, 1, None)]
    picked = -pt.special.log_softmax(x, axis=1)[pt.arange(5), np.array([0, 3, 1, 1, 2])].mean()
    weighed = (pt.special.softmax(x, axis=1) * x).sum()
    return [*soft, pt.special.softmax(cube, axis=1), pt.grad(picked, x), pt.grad(weighed, x), pt.logsumexp(x, axis=1)]


def products(g: Given) -> list[Any]:
    x, y, v, w = g.new(5, 3), g.new(3, 4), g.new(3), g.new(5)
    a, b, one, col = g.new(2, 3, 4), g.new(2, 4, 5), g.new(1, 4, 5), g.new(3, 1)
    c, d = g.new(2, 1, 2, 3, 4), g.new(1, 3, 2, 4, 2)
    plain = [x @ y, y.T @ x.T, x.T @ x, x @ x.T, y @ y.T, x @ v, w @ x, x.T @ w, v @ v, pt.outer(v, w), x @ col]
    strided = [
        x[::2] @ y,
        x[:, ::2] @ y[::2],
        x[::-1] @ y,
        y[:, 1] @ x[1],
        x[:, 1] @ w,
        x[1] @ y,
        x[1:2] @ y,
        x[::-1] @ v,
    ]
    repeated = [pt.broadcast_to(v[None, :], (5, 3)) @ y, v[::-1] @ y, x @ pt.broadcast_to(col, (3, 2))]
    return [*plain, *strided, *repeated, a @ b, a @ one, b.transpose(0, 2, 1) @ a.transpose(0, 2, 1), a @ y.T, c @ d]


def shapes(g: Given) -> list[Any]:
    x, row, cube = g.new(6, 4), g.new(1, 4), g.new(2, 3, 4)
    n = g.new(dtype="int64", values=2)
    reshaped = [x.ravel(), x.T.ravel(), x.reshape((4, -1)), x.reshape((x.shape[1], x.shape[0])), cube.reshape((6, 4))]
    reshaped += [x.reshape((2, 3, 4)), cube.transpose(2, 0, 1).reshape((-1,)), x.reshape((x.size,))]
    joined = [pt.concatenate([x, x * 2], axis=0), pt.concatenate([x, x.T.T], axis=1), pt.stack([x[0], x[1]])]
    parts = list(pt.split(x, [2, 4], n_splits=2, axis=0)) + list(pt.split(x, [1, 3], n_splits=2, axis=1))
    made = [
        pt.zeros((3, 2)),
        pt.ones_like(x),
        pt.full((2, x.shape[1]), 3.0),
        pt.alloc(row, 2, 6, 4),
        pt.alloc(x, 2, 6, 4),
    ]
    made += [
        pt.eye(x.shape[1]),
        pt.eye(x.shape[0], 5, n - 1),
        pt.eye(5, x.shape[0], 1 - n),
        pt.arange(7),
        pt.arange(x.shape[0]),
        pt.arange(1, 9, 3),
    ]
    sizes = [x.shape, cube.shape[1], pt.as_tensor([x.shape[0], 3]), pt.prod(x.shape)]
    sizes += [pt.concatenate([x.shape, cube.shape[:1]]), pt.stack([n, x.shape[0]])]
    views = [
        x.T,
        cube.transpose(1, 2, 0),
        row.squeeze(0),
        x[None],
        pt.diag(x[:4]),
        pt.diagonal(x[:4], 1),
        pt.diag(x[0]),
    ]
    checked = [pt.specify_shape(x, (None, 4)) * 2, pt.join_dims(cube, 0, 2) if hasattr(pt, "join_dims") else x]
    return [*reshaped, *joined, *parts, *made, *sizes, *views, *checked, pt.tile(x, (2, 1)), pt.repeat(x, 2, axis=1)]


def slices(g: Given) -> list[Any]:
    x, v = g.new(6, 4), g.new(5)
    n, k = g.new(dtype="int64", values=2), g.new(dtype="int32", values=-1)
    fixed = [x[1:], x[:-1], x[::2], x[::-1], x[4:1:-2], x[2], x[-1], x[:, 1], x[1:3, 2:], x[9:], x[-9:2], x[3:1], v[0]]
    symbolic = [x[n], x[k], x[n:], x[:n], x[k:], x[:k], x[n:5:2], x[n::-1], x[:n:-1], v[n], x[:, n:], x[n, k], v[k:n]]
    rosen = pt.sum(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2)
    changed = [pt.set_subtensor(x[1:3], 0.0), pt.inc_subtensor(x[:, 1], v[0]), pt.inc_subtensor(x[n:], x[n:] * 2)]
    changed += [pt.set_subtensor(x[::-2], x[0]), pt.inc_subtensor(x[k], x[0]), pt.set_subtensor(v[:n], v[n])]
    changed += [pt.inc_subtensor(x[1:], x[:-1]), pt.set_subtensor(x[:, 1:], x[:, :1]), pt.set_subtensor(x[n:n], 1.0)]
    return [*fixed, *symbolic, *changed, rosen, pt.grad(rosen, v)]


def gathers(g: Given) -> list[Any]:
    x, cube, y = g.new(6, 4), g.new(3, 4, 5), g.new(3, 4)
    i = g.new(3, dtype="int64", values=[0, -1, 2])
    j = g.new(3, dtype="int32", values=[1, 1, 3])
    table = g.new(2, 3, dtype="int64", values=[[0, 1, 1], [2, 0, 5]])
    column = g.new(2, 1, dtype="int64", values=[[0], [2]])
    taken = [x[i], x[:, j], x[i, j], x[table], cube[i, j], cube[:, i, j], cube[i, :, j], x[column, j], x[i, 1:], x.T[j]]
    taken += [cube[:, i], x[i, j[0]], cube[i, :, j[:1]], x[np.array([5, 0, 1]), j]]
    changed = [pt.inc_subtensor(x[i], y), pt.set_subtensor(x[i], 1.0), pt.inc_subtensor(x[i, j], y[:, 0])]
    changed += [pt.inc_subtensor(x[:, j], 2.0), pt.set_subtensor(cube[:, i, j], 0.5), pt.inc_subtensor(x[i], x[i])]
    changed += [pt.inc_subtensor(x[i, 1:3], 1.0), pt.inc_subtensor(cube[i, :, j], y[:, :1].T[0, 0])]
    factors = ((x[i] * x[j]).sum(axis=1) - 1).sum()
    return [*taken, *changed, pt.grad(factors, x), pt.grad(pt.sqr(x[i, j]).sum(), x), pt.grad(x[table].sum(), x)]


FAMILIES = [elementwise, functions, integers, reductions, running, softmaxes, products, shapes, slices, gathers]


@pytest.mark.parametrize(("dtype", "known"), [("float32", True), ("float64", False)])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_family_of_operations_needs_no_kernel_of_pytensor(family: Any, dtype: str, known: bool) -> None:
    given = Given(dtype, known)
    with pytensor.config.change_flags(floatX=dtype):
        outputs = family(given)
    f = assert_equal_to_python(given.inputs, outputs, given.values, TOLERANCE[dtype])
    assert details(f).fallbacks == []


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[::-1]])
def test_inputs_in_any_layout_give_the_same(layout: Any) -> None:
    given = Given("float64", known=False)
    outputs = elementwise(given)[:3] + [given.inputs[0].sum(axis=0)]
    values = [layout(value) if value.ndim > 1 else value for value in given.values]
    assert_equal_to_python(given.inputs, outputs, values, 1e-12)


def test_arrays_without_elements_are_no_special_case() -> None:
    x, y, v = pt.dmatrix("x"), pt.dmatrix("y"), pt.dvector("v")
    i = pt.lvector("i")
    outputs = [
        x @ y,
        x.T @ x,
        x @ v,
        x.sum(axis=0),
        x.sum(axis=1),
        x.sum(),
        x * 2,
        pt.concatenate([x, x]),
        x[i],
        x[:, 1:],
    ]
    outputs += [pt.cumsum(x, axis=0), pt.inc_subtensor(x[i], 1.0), x.ravel(), v @ v]
    for rows, inside, columns in ((0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0)):
        values = [np.ones((rows, inside)), np.ones((inside, columns)), np.ones(inside), np.arange(0)]
        assert_equal_to_python([x, y, v, i], outputs, values)
