"""The formulas that many rules share, in the letters of their papers."""

from __future__ import annotations

import pytensor.tensor as pt

from .graph import Variable


def ema(beta: Variable, x: Variable, new: Variable) -> Variable:
    """Return the exponential moving average ``beta x + (1 - beta) new``."""
    return beta * x + (1 - beta) * new


def norm(x: Variable) -> Variable:
    """Return the Euclidean norm of all elements of `x`."""
    return pt.sqrt(pt.sum(x**2))


def root(x: Variable, epsilon: Variable, at: str = "inside") -> Variable:
    """Return ``sqrt(x + epsilon)``, or ``sqrt(x) + epsilon`` with `epsilon` at the ``'outside'``."""
    return pt.sqrt(x + epsilon) if at == "inside" else pt.sqrt(x) + epsilon


def limit_norm(x: Variable, size: Variable, limit: Variable) -> Variable:
    """Return `x`, scaled so that its norm `size` is at most `limit`."""
    # where size is 0 the quotient is infinite and the minimum 1: x stays 0
    return x * pt.minimum(1, limit / size)
