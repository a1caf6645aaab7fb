"""The formulas that many rules share, in the letters of their papers."""

from __future__ import annotations

import sys

import numpy as np
import pytensor.tensor as pt

from . import graph
from .graph import Variable

Axes = int | tuple[int, ...] | None

# Powers of two: scaling by them does not round. They have a dtype, or PyTensor would look for a narrower one.
SHRINK, GROW, LEAST, MOST, HIGHEST = (
    np.float64(x) for x in (2.0**-600, 2.0**600, 2.0**-900, 2.0**900, sys.float_info.max)
)


def ema(beta: Variable, x: Variable, new: Variable) -> Variable:
    """Return the exponential moving average ``beta x + (1 - beta) new``."""
    return beta * x + (1 - beta) * new


def sum_of_squares(*xs: Variable, scale: np.float64 | None = None, axis: Axes = None) -> Variable:
    """Return the sum of the squares of all elements, or of those along axes, times `scale` first: in float64.

    The square of every float32 number is a normal float64 number.
    """
    # magnitudes: PyTensor would keep `x` itself in float64 for `times`, in twice its memory
    wide = [graph.widened(abs(x)) for x in xs]
    return sum(pt.sum((x if scale is None else x * scale) ** 2, axis=axis, keepdims=axis is not None) for x in wide)


def dot(x: Variable, y: Variable) -> Variable:
    """Return the sum of the products of elements, in float64."""
    return pt.sum(graph.widened(x) * graph.widened(y))


def norm(*xs: Variable, axis: Axes = None) -> Variable:
    """Return the Euclidean norm of several tensors as one vector, or norms along axes, which are kept: in float64.

    It is right also where float64 cannot hold the squares, of numbers above 1e154 or below 1e-154: one loop over the
    elements sums at three scales, and the one that fits is chosen. Where float64 cannot hold the norm of
    finite elements, the result is the largest float64.
    """
    square = sum_of_squares(*xs, axis=axis)
    if all(x.type.dtype in ("float16", "float32") for x in xs):
        return pt.sqrt(square)
    small, large = (pt.sqrt(sum_of_squares(*xs, scale=scale, axis=axis)) for scale in (GROW, SHRINK))
    held = pt.switch(pt.isinf(large), large, pt.minimum(large, HIGHEST * SHRINK))
    return pt.switch(square > MOST, held * GROW, pt.switch(square < LEAST, small * SHRINK, pt.sqrt(square)))


def times(factor: Variable, x: Variable) -> Variable:
    """Return the product of a number with `x`, in the dtype of `x`, which may be too narrow for the number."""
    wide = x if x.type.dtype == "float64" else graph.widened(x)
    return graph.cast(wide * factor, x.type.dtype)


def root(x: Variable, epsilon: Variable, at: str = "inside") -> Variable:
    """Return ``sqrt(x + epsilon)``, or ``sqrt(x) + epsilon`` if `at` is ``'outside'``."""
    return pt.sqrt(x + epsilon) if at == "inside" else pt.sqrt(x) + epsilon


def limit_norm(x: Variable, size: Variable, limit: Variable, unit: Variable = 1) -> Variable:
    """Return `x`, scaled so that its norm `size` is at most `limit` units; a limit of 0 or less means none."""
    free = pt.le(limit, 0) | pt.eq(size, 0)
    return times(pt.switch(free, 1.0, pt.minimum(1.0, limit * unit / size)), x)
