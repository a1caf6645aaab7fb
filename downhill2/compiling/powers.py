"""Powers with exponents that have faster formulas than others: a half, a third."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from . import elementary
from .private import intrinsic
from .reals import Real

I32 = ir.IntType(32)
EXACTLY = ("contract",)
"""LLVM's flags in place of those of ``config.numba__fastmath``: sums keep their order, or corrections get lost."""


@intrinsic
def power(typing: Any, x: Any, exponent: Any) -> Any:
    """Return ``x ** exponent``, by a square root if the exponent is 0.5.

    LLVM takes the test out of a loop in which the exponent stays the same, and vectorises the square roots.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        with builder.if_else(builder.fcmp_ordered("==", args[1], kind(0.5))) as (half, other):
            with half:
                root, after_root = _square_root(builder, args[0]), builder.block
            with other:
                power = elementary.pow(*(Real(builder, arg) for arg in args)).value
                after_power = builder.block
        result = builder.phi(kind)
        result.add_incoming(root, after_root)
        result.add_incoming(power, after_power)
        return result

    return x(x, exponent), generate


def _llvm(builder: Any, name: str, *args: Any) -> Any:
    return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type]), args)


def _square_root(builder: Any, x: Any) -> Any:
    """Return the power 0.5, which unlike a square root is 0 for -0 and infinity for -infinity."""
    infinity = x.type(np.inf)
    downwards = builder.fcmp_ordered("==", x, x.type(-np.inf))
    return builder.select(downwards, infinity, _llvm(builder, "fabs", _llvm(builder, "sqrt", x)))


@dataclass(frozen=True)
class _Format:
    """How a floating type is stored, and what a cube root in it takes.

    Attributes
    ----------
    below : int
        Bits below the 32 that have the sign, the exponent and the first bits of the fraction.
    fraction : int
        How many bits of the fraction are among those 32.
    bias : int
        Added to exponents.
    shift : int
        Power of two that makes the smallest number a normal one; a multiple of 3.
    steps : int
        Until rounding is all that is left, each of them from an error to its third power.
    third : float
        The number of this type next to 1/3.
    """

    below: int
    fraction: int
    bias: int
    shift: int
    steps: int
    third: float

    def position(self, builder: Any, x: Any) -> Any:
        """Return the stored bits as a number: the binary logarithm of `x`, to 0.09, plus the bias."""
        stored = builder.bitcast(x, ir.IntType(32 + self.below))
        high = builder.trunc(builder.lshr(stored, stored.type(self.below)), I32) if self.below else stored
        return builder.fmul(builder.sitofp(high, x.type), x.type(2.0**-self.fraction), flags=EXACTLY)

    def at(self, builder: Any, position: Any) -> Any:
        """Return the number at a position."""
        kind = position.type
        high = builder.fptosi(builder.fmul(position, kind(2.0**self.fraction), flags=EXACTLY), I32)
        if not self.below:
            return builder.bitcast(high, kind)
        stored = builder.zext(high, ir.IntType(32 + self.below))
        return builder.bitcast(builder.shl(stored, stored.type(self.below)), kind)


SINGLE = _Format(below=0, fraction=23, bias=127, shift=24, steps=2, third=float(np.float32(1 / 3)))
DOUBLE = _Format(below=32, fraction=20, bias=1023, shift=54, steps=3, third=1 / 3)


@intrinsic
def cube_root(typing: Any, x: Any) -> Any:
    """Return ``x ** third``, where ``third`` is the number next to 1/3 in the type of `x`."""
    form = SINGLE if x == types.float32 else DOUBLE

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        [x] = args
        kind = x.type
        zero, infinity = kind(0.0), kind(np.inf)
        magnitude = _llvm(builder, "fabs", x)
        at_end = builder.or_(
            builder.fcmp_ordered("==", magnitude, zero), builder.fcmp_ordered("==", magnitude, infinity)
        )
        positive = builder.fcmp_ordered(">", x, zero)
        root = builder.select(positive, _positive_cube_root(builder, x, form), kind(np.nan))
        return builder.select(at_end, magnitude, root)

    return x(x), generate


def _positive_cube_root(builder: Any, x: Any, form: _Format) -> Any:
    """Return the power of a finite number above 0, within a unit in the last place.

    It starts from the bits of `x`, with the reciprocal r of the root as that takes no division. Its error e in
    1 - e = x r^3 is what the series (1 - e)^(-1/3) = 1 + e/3 + 2e^2/9 + ... takes away. The last time it is the
    root itself that is corrected, x r^2 by (1 - e)^(-2/3) = 1 + 2e/3 + 5e^2/9 + ..., and from a third to the number
    next to it.
    """
    kind = x.type

    def times(a: Any, b: Any) -> Any:
        return builder.fmul(a, b, flags=EXACTLY)

    def plus(a: Any, b: Any) -> Any:
        return builder.fadd(a, b, flags=EXACTLY)

    def minus(a: Any, b: Any) -> Any:
        return builder.fsub(a, b, flags=EXACTLY)

    small = builder.fcmp_ordered("<", x, kind(1.0))

    def pick(if_small: float, if_large: float) -> Any:
        return builder.select(small, kind(if_small), kind(if_large))

    shift = form.shift
    x = times(x, pick(2.0**shift, 2.0**-shift))
    position = form.position(builder, x)
    # of all lines through the logarithms, this one leaves the least error after a step
    r = form.at(builder, minus(kind(form.bias * 4 / 3 - 0.0671), times(position, kind(1 / 3))))
    for _ in range(form.steps - 1):
        e = minus(kind(1.0), times(times(times(x, r), r), r))
        r = plus(r, times(times(r, e), plus(times(e, kind(2 / 9)), kind(1 / 3))))
    y = times(times(x, r), r)
    e = minus(kind(1.0), times(y, r))
    logarithm = minus(position, pick(form.bias + shift, form.bias - shift))
    tilt = times(logarithm, kind(float(np.log(2)) * _beyond_a_third(form)))
    more = plus(times(e, plus(times(e, kind(5 / 9)), kind(2 / 3))), tilt)
    return times(plus(y, times(y, more)), pick(2.0 ** (-shift // 3), 2.0 ** (shift // 3)))


def _beyond_a_third(form: _Format) -> float:
    numerator, denominator = form.third.as_integer_ratio()
    return (3 * numerator - denominator) / (3 * denominator)
