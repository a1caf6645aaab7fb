"""The formulas that many rules share, in the letters of their papers."""

from __future__ import annotations

import sys

import numpy as np
import pytensor.tensor as pt

from . import graph
from .graph import Variable

Axes = int | tuple[int, ...] | None

# Powers of two: to scale by them rounds nothing. As typed constants, or PyTensor looks whether a narrower type fits.
SHRINK, GROW, LEAST, MOST, HIGHEST = (
    np.float64(x) for x in (2.0**-600, 2.0**600, 2.0**-900, 2.0**900, sys.float_info.max)
)


def ema(beta: Variable, x: Variable, new: Variable) -> Variable:
    """Return the exponential moving average ``beta x + (1 - beta) new``."""
    return beta * x + (1 - beta) * new


def sum_of_squares(*xs: Variable, scale: np.float64 | None = None, axis: Axes = None) -> Variable:
    """Return the sum of the squares of all elements, or of those along axes, times `scale` before: in float64.

    The squares of all numbers of float32 are normal numbers of float64; sums were taken in float64 before, and the
    loop is as long.
    """
    # of magnitudes: elements in float64 that `times` wants too would be kept, in memory twice that of `x`
    wide = [graph.widened(abs(x)) for x in xs]
    return sum(pt.sum((x if scale is None else x * scale) ** 2, axis=axis, keepdims=axis is not None) for x in wide)


def dot(x: Variable, y: Variable) -> Variable:
    """Return the sum of the products of elements, in float64."""
    return pt.sum(graph.widened(x) * graph.widened(y))


def norm(*xs: Variable, axis: Axes = None) -> Variable:
    """Return the Euclidean norm of several tensors as one vector, or that along axes, which are kept: float64.

    It is right also where squares, of float64 numbers above 1e154 or below 1e-154, are none that a float64 holds: the
    sum is taken at three scales, in one loop that reads each element once, and the one that fits is chosen. A norm of
    finite elements that no float64 holds counts as the largest that there is.
    """
    square = sum_of_squares(*xs, axis=axis)
    if all(x.type.dtype in ("float16", "float32") for x in xs):
        return pt.sqrt(square)
    small, large = (pt.sqrt(sum_of_squares(*xs, scale=scale, axis=axis)) for scale in (GROW, SHRINK))
    held = pt.switch(pt.isinf(large), large, pt.minimum(large, HIGHEST * SHRINK))
    return pt.switch(square > MOST, held * GROW, pt.switch(square < LEAST, small * SHRINK, pt.sqrt(square)))


def times(factor: Variable, x: Variable) -> Variable:
    """Return the product of a number with `x`, in the dtype of `x`, which may not hold so small a number itself."""
    wide = x if x.type.dtype == "float64" else graph.widened(x)
    return graph.cast(wide * factor, x.type.dtype)


def root(x: Variable, epsilon: Variable, at: str = "inside") -> Variable:
    """Return ``sqrt(x + epsilon)``, or ``sqrt(x) + epsilon`` with `epsilon` at the ``'outside'``."""
    return pt.sqrt(x + epsilon) if at == "inside" else pt.sqrt(x) + epsilon


def limit_norm(x: Variable, size: Variable, limit: Variable, unit: Variable = 1) -> Variable:
    """Return `x`, scaled so that its norm `size` is at most `limit` units; a limit of 0, or just below it, is none."""
    free = pt.le(limit, 0) | pt.eq(size, 0)
    return times(pt.switch(free, 1.0, pt.minimum(1.0, limit * unit / size)), x)
