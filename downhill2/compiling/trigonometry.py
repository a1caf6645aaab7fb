"""Sine, cosine and tangent of single precision, without branches or calls, for numbers of any size."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from llvmlite import ir

from .coefficients import COS, SIN
from .elementary import function, nearest
from .reals import Bits, Real, polynomial

FRACTION = 23
"""Bits of the fraction in single precision."""

KEPT = 27
"""Bits behind the point of a table's first part: an integer of 24 bits times one below 4 is exact in double."""


def _two_over_pi(bits: int) -> int:
    """Return ``2**bits * 2 / pi`` (Machin's formula for pi)."""
    unit = 1 << (bits + 32)

    def arccot(n: int) -> int:
        term, total, k = unit // n, 0, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return total

    return (unit << (bits + 1)) // (16 * arccot(5) - 4 * arccot(239))


@cache
def _turns() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return ``2**(e - 150) * 2 / pi`` modulo 4 in two parts, for each stored exponent e."""
    bits = 256
    digits = _two_over_pi(bits + 255)
    first, second = [], []
    for exponent in range(255):
        quarter = digits >> (255 - exponent + 150) & ((4 << bits) - 1)
        head = quarter >> (bits - KEPT) << (bits - KEPT)
        first.append(math.ldexp(head >> (bits - KEPT), -KEPT))
        second.append((quarter - head) / (1 << bits))
    # of infinity and NaN there is no sine
    return (*first, math.nan), (*second, math.nan)


def _looked_up(index: Bits, name: str, values: tuple[float, ...]) -> Real:
    """Return the number that a table of the module has at an index."""
    builder = index.builder
    kind = ir.ArrayType(ir.DoubleType(), len(values))
    table = builder.module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(builder.module, kind, name)
        table.initializer, table.linkage, table.global_constant = ir.Constant(kind, list(values)), "internal", True
    wide = builder.zext(index.value, ir.IntType(64))
    return Real(builder, builder.load(builder.gep(table, [ir.Constant(ir.IntType(64), 0), wide])))


def _quarters(x: Real) -> tuple[Bits, Real, Real]:
    """Return how many quarter turns `x` is, to the nearest, and the sine and the cosine of the rest."""
    bits = abs(x).bits()
    first, second = (_looked_up(bits >> FRACTION, f"downhill2_turns_{i}", part) for i, part in enumerate(_turns()))
    digits = ((bits & (2**FRACTION - 1)) + x.encoding.bits_of(2.0**FRACTION)).real().widened()
    large, small = digits * first, digits * second
    count, whole = nearest(large + small)
    rest = (large - whole) + small
    z = rest * rest
    return count, rest * polynomial(z, SIN), polynomial(z, COS)


def _negative_if(condition: Any, x: Real) -> Real:
    return (-x).where(condition, x)


@function
def sin(x: Real) -> Real:
    """Return the sine."""
    count, sine, cosine = _quarters(x)
    result = _negative_if(count.has(2), cosine.where(count.has(1), sine)).narrowed()
    return x.where(abs(x) < 2.0**-13, _negative_if(x < 0, result))


@function
def cos(x: Real) -> Real:
    """Return the cosine."""
    count, sine, cosine = _quarters(x)
    return _negative_if((count + 1).has(2), sine.where(count.has(1), cosine)).narrowed()


@function
def tan(x: Real) -> Real:
    """Return the tangent."""
    count, sine, cosine = _quarters(x)
    odd = count.has(1)
    result = ((-cosine).where(odd, sine) / sine.where(odd, cosine)).narrowed()
    return x.where(abs(x) < 2.0**-13, _negative_if(x < 0, result))
