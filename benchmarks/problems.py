"""What is minimized: first values, batches, and a loss written once for all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Batch = tuple[np.ndarray, ...]

MLP_SIZES, MLP_ROWS = (784, 512, 512, 10), 128


@dataclass(frozen=True)
class Problem:
    """A loss with its parameters and data.

    Attributes
    ----------
    params : list of float32 arrays
        The first values.
    data : list of arrays
        One for each input of the loss, none for a loss without inputs.
    rows : int
        How many rows of the data a batch has; all batches are full.
    loss : callable
        ``loss(ops, params, *batch)``; `ops` has what frameworks name differently: ``relu``, ``cross_entropy``,
        ``stack``.
    chunk : int
        How many updates the many-updates-per-call form makes: one run over the batches where there are several.
    activations : int
        Bytes of what the loss keeps for its gradient.
    learning_rate : float
    lasting : bool
        Whether it keeps the first values, for the contenders that follow.
    """

    params: list[np.ndarray]
    data: list[np.ndarray]
    rows: int
    loss: Callable[..., Any]
    chunk: int
    activations: int = 0
    learning_rate: float = 1e-3
    lasting: bool = True

    def first(self) -> Iterator[np.ndarray]:
        """Yield the first values to who will own them: copies, or, if it is not to last, the arrays that it has."""
        if self.lasting:
            yield from (p.copy() for p in self.params)
        else:
            while self.params:
                yield self.params.pop(0)

    @property
    def batches(self) -> list[Batch]:
        """Views of the data; a single empty batch for a loss without data."""
        if not self.data:
            return [()]
        starts = range(0, len(self.data[0]), self.rows)
        return [tuple(a[i : i + self.rows] for a in self.data) for i in starts]


def rosenbrock(n: int, chunk: int) -> Problem:
    """Return Rosenbrock's function in `n` dimensions."""

    def loss(ops: Any, params: Sequence[Any]) -> Any:
        (x,) = params
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    return Problem([np.linspace(-1.2, 1, n, dtype="f")], [], 0, loss, chunk)


def linear_regression(chunk: int, features: int = 10, rows: int = 32) -> Problem:
    """Return least squares."""

    def loss(ops: Any, params: Sequence[Any], x: Any, y: Any) -> Any:
        (w,) = params
        return ((x @ w - y) ** 2).mean()

    rng = np.random.default_rng(1)
    x = rng.standard_normal((chunk * rows, features), "f")
    y = x @ np.linspace(-2, 2, features, dtype="f") + 0.1 * rng.standard_normal(chunk * rows, "f")
    return Problem([np.zeros(features, "f")], [x, y.astype("f")], rows, loss, chunk)


def network(sizes: Sequence[int], rows: int, batches: int) -> Problem:
    """Return a classifier: layers of these sizes with ReLU between them, softmax at the end."""

    def loss(ops: Any, params: Sequence[Any], x: Any, y: Any) -> Any:
        layers = list(zip(params[::2], params[1::2], strict=True))
        for W, b in layers[:-1]:
            x = ops.relu(x @ W + b)
        W, b = layers[-1]
        return ops.cross_entropy(x @ W + b, y)

    rng = np.random.default_rng(2)
    params = []
    for n, m in pairwise(sizes):
        params += [rng.standard_normal((n, m), "f") * np.float32((2 / n) ** 0.5), np.zeros(m, "f")]
    n = rows * batches
    data: list[np.ndarray] = [rng.standard_normal((n, sizes[0]), "f"), rng.integers(0, sizes[-1], n, dtype="i8")]
    return Problem(params, data, rows, loss, batches, activations=4 * rows * sum(sizes[1:]))


def mlp(batches: int) -> Problem:
    """Return the network 784-512-512-10 on batches of 128 rows."""
    return network(MLP_SIZES, MLP_ROWS, batches)


def chain(tensors: int) -> Problem:
    """Return a network of so many weights and biases, all layers 32 wide, on batches of 32 rows."""
    return network([32] * (tensors // 2 + 1), 32, 1)


def quadratic(tensors: int, elements: int = 100_000) -> Problem:
    """Return half the squared distance of so many vectors, with so many elements in all, from a minimum far away.

    No contender comes near it, so that no gradient dies out: moments that decay to denormal numbers would make steps
    thirty times slower, and the ratio would tell who had made more of them.
    """

    def loss(ops: Any, params: Sequence[Any]) -> Any:
        return 0.5 * ops.stack([((p - 1000) ** 2).sum() for p in params]).sum()

    rng = np.random.default_rng(3)
    return Problem([rng.standard_normal(elements // tensors, "f") for _ in range(tensors)], [], 0, loss, 100)


def given_gradient(elements: int) -> Problem:
    """Return one vector whose gradient is a given one: the only "batch"."""

    def loss(ops: Any, params: Sequence[Any], gradient: Any) -> Any:
        (p,) = params
        return (p * gradient).sum()

    rng = np.random.default_rng(4)
    return Problem([rng.standard_normal(elements, "f")], [rng.standard_normal(elements, "f")], elements, loss, 1)
