"""Sine, cosine and tangent of single precision, without branches or calls, for numbers of any size."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from .coefficients import COS, SIN, TWO_OVER_PI
from .elementary import function
from .reals import Bits, Real, polynomial

FRACTION = 23
"""Bits of the fraction in single precision."""

LEAST = 2.0**-13
"""Numbers below are their own sine and tangent, and have a cosine of 1."""


def _window(start: Bits) -> tuple[Bits, Bits]:
    """Return 128 bits of the number 2 / pi, in two halves, from a place on that is below 192."""
    words = [start.constant(TWO_OVER_PI >> (320 - 64 * k) & (2**64 - 1)) for k in range(6)]
    for distance, bit in ((2, 128), (1, 64)):
        moved = start.has(bit)
        words = [far.where(moved, near) for near, far in zip(words, words[distance:], strict=False)]
    places = start & 63
    # shifting by 64 is undefined
    left = start.constant(63) - places
    first, second, third = words
    return (first << places) + (second >> 1 >> left), (second << places) + (third >> 1 >> left)


def _quarters(x: Real) -> tuple[Bits, Real, Real]:
    """Return how many quarter turns `x` is, to the nearest, and the sine and the cosine of the rest.

    The number x = d 2^(e - 150) with an integer d is d times as many as 2^(e - 150) 2 / pi. Of those only the rest of a
    division by 4 matters, in 64 bits, two of them in front of the point.
    """
    bits = Bits(x.builder, x.builder.zext(abs(x).bits().value, ir.IntType(64)))
    digits = (bits & (2**FRACTION - 1)) + 2**FRACTION
    high, low = _window((bits >> FRACTION) - x.encoding.bits_of(LEAST) // 2**FRACTION & 255)
    quarters = digits * high + (digits * (low >> 32) >> 32)
    count = (quarters + 2**61) >> 62
    rest = (quarters - (count << 62)).number() * 2.0**-62
    rest = rest.where(abs(x) < math.inf, math.nan)
    z = rest * rest
    return count, rest * polynomial(z, SIN), polynomial(z, COS)


def _negative_if(condition: Any, x: Real) -> Real:
    return (-x).where(condition, x)


@function
def sin(x: Real) -> Real:
    """Return the sine."""
    count, sine, cosine = _quarters(x)
    result = _negative_if(count.has(2), cosine.where(count.has(1), sine)).narrowed()
    return x.where(abs(x) < LEAST, _negative_if(x < 0, result))


@function
def cos(x: Real) -> Real:
    """Return the cosine."""
    count, sine, cosine = _quarters(x)
    result = _negative_if((count + 1).has(2), sine.where(count.has(1), cosine)).narrowed()
    return x.constant(1).where(abs(x) < LEAST, result)


@function
def tan(x: Real) -> Real:
    """Return the tangent."""
    count, sine, cosine = _quarters(x)
    odd = count.has(1)
    result = ((-cosine).where(odd, sine) / sine.where(odd, cosine)).narrowed()
    return x.where(abs(x) < LEAST, _negative_if(x < 0, result))
