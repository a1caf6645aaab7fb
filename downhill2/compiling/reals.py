"""Arithmetic on floating numbers in LLVM code under construction: formulas are written as formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.ir.instructions import FastMathFlags

ONE_BY_ONE = ("arcp",)
"""LLVM's flags for sums and products, on which this one has no effect: those that have none get Numba's.

So every operation is rounded as it is written, in a loop's vectors and in what is left over, alone and in any company.
"""

Number = Any
"""A Real or a float."""


class _NoFlags(FastMathFlags):  # type: ignore[misc]  # llvmlite has no annotations
    def add(self, name: str) -> None:
        """Stay without: Numba adds its flags to all calls."""


@dataclass(frozen=True)
class Encoding:
    """How numbers are stored: in how many bits, how many of them for the fraction, what is added to exponents."""

    width: int
    fraction: int
    bias: int

    def bits_of(self, number: float) -> int:
        """Return the bits of a number, as an integer."""
        return int(np.asarray(number, f"f{self.width // 8}").view(f"u{self.width // 8}"))


ENCODINGS = {ir.FloatType(): Encoding(32, 23, 127), ir.DoubleType(): Encoding(64, 52, 1023)}


class Bits:
    """An integer as wide as a floating number."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _operand(self, other: Any) -> Any:
        return other.value if isinstance(other, Bits) else ir.Constant(self.value.type, int(other))

    def __add__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.add(self.value, self._operand(other)))

    def __sub__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.sub(self.value, self._operand(other)))

    def __and__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.and_(self.value, self._operand(other)))

    def __mul__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.mul(self.value, self._operand(other)))

    def __lshift__(self, places: int | Bits) -> Bits:
        return Bits(self.builder, self.builder.shl(self.value, self._operand(places)))

    def __rshift__(self, places: int | Bits) -> Bits:
        """Shift to the right; zeros come in from the left."""
        return Bits(self.builder, self.builder.lshr(self.value, self._operand(places)))

    def constant(self, number: int) -> Bits:
        """Return a constant of this width."""
        return Bits(self.builder, self._operand(number))

    def where(self, condition: Any, other: Bits) -> Bits:
        """Return this value where a condition holds, else another one; without a branch."""
        return Bits(self.builder, self.builder.select(condition, self.value, other.value))

    def number(self) -> Real:
        """Return the number that a value of 64 bits is, if their first is its sign."""
        return Real(self.builder, self.builder.sitofp(self.value, ir.DoubleType()))

    def has(self, bit: int) -> Any:
        """Return the truth of whether the bit of this value is set."""
        return self.builder.icmp_unsigned("!=", (self & bit).value, self._operand(0))

    def real(self) -> Real:
        """Return the number that is stored as these bits."""
        [kind] = (kind for kind, encoding in ENCODINGS.items() if encoding.width == self.value.type.width)
        return Real(self.builder, self.builder.bitcast(self.value, kind))


class Real:
    """A number of 32 or 64 bits."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value
        self.encoding = ENCODINGS[value.type]
        self.single = self.encoding.width == 32

    def _operand(self, other: Number) -> Any:
        return other.value if isinstance(other, Real) else ir.Constant(self.value.type, float(other))

    def _binary(self, name: str, left: Any, right: Any) -> Real:
        return Real(self.builder, getattr(self.builder, name)(left, right, flags=ONE_BY_ONE))

    def constant(self, number: float) -> Real:
        """Return a constant of this kind."""
        return Real(self.builder, self._operand(number))

    def __add__(self, other: Number) -> Real:
        return self._binary("fadd", self.value, self._operand(other))

    def __radd__(self, other: float) -> Real:
        return self + other

    def __sub__(self, other: Number) -> Real:
        return self._binary("fsub", self.value, self._operand(other))

    def __rsub__(self, other: float) -> Real:
        return self.constant(other) - self

    def __mul__(self, other: Number) -> Real:
        return self._binary("fmul", self.value, self._operand(other))

    def __rmul__(self, other: float) -> Real:
        return self * other

    def __truediv__(self, other: Number) -> Real:
        return Real(self.builder, self.builder.fdiv(self.value, self._operand(other), flags=("contract",)))

    def __rtruediv__(self, other: float) -> Real:
        return self.constant(other) / self

    def __neg__(self) -> Real:
        return Real(self.builder, self.builder.fneg(self.value))

    def compared(self, sign: str, other: Number) -> Any:
        """Return the truth of a comparison; false where one of the two is NaN."""
        return self.builder.fcmp_ordered(sign, self.value, self._operand(other), flags=ONE_BY_ONE)

    def __lt__(self, other: Number) -> Any:
        return self.compared("<", other)

    def __gt__(self, other: Number) -> Any:
        return self.compared(">", other)

    def equals(self, other: Number) -> Any:
        """Return whether two numbers are equal."""
        return self.compared("==", other)

    def where(self, condition: Any, other: Number) -> Real:
        """Return this number where a condition holds, else another one; without a branch."""
        return Real(self.builder, self.builder.select(condition, self.value, self._operand(other)))

    def times_plus(self, factor: Number, term: Number) -> Real:
        """Return ``self * factor + term``, rounded once where the processor can: everywhere on it, or nowhere."""
        return self._call("fmuladd", factor, term)

    def __abs__(self) -> Real:
        return self._call("fabs")

    def signed_as(self, other: Real) -> Real:
        """Return the magnitude of this number with the sign of another."""
        return self._call("copysign", other)

    def rounded(self) -> Real:
        """Return the next integer, the even one of two."""
        return self._call("rint")

    def _call(self, name: str, *others: Number) -> Real:
        kind, operands = self.value.type, [self.value, *map(self._operand, others)]
        signature = ir.FunctionType(kind, [kind] * len(operands))
        call = self.builder.call(self.builder.module.declare_intrinsic(f"llvm.{name}", [kind], signature), operands)
        call.fastmath = _NoFlags()
        return Real(self.builder, call)

    def bits(self) -> Bits:
        """Return the stored bits."""
        return Bits(self.builder, self.builder.bitcast(self.value, ir.IntType(self.encoding.width)))

    def head(self) -> Real:
        """Return this number without its last bits: products of two such numbers are exact."""
        return (self.bits() & -(2**12 if self.single else 2**32)).real()

    def widened(self) -> Real:
        """Return this number in 64 bits."""
        return Real(self.builder, self.builder.fpext(self.value, ir.DoubleType())) if self.single else self

    def narrowed(self) -> Real:
        """Return this number in 32 bits."""
        return self if self.single else Real(self.builder, self.builder.fptrunc(self.value, ir.FloatType()))

    def clipped(self, low: float, high: float) -> Real:
        """Return this number within bounds; NaN stays."""
        raised = self.constant(low).where(self < low, self)
        return raised.constant(high).where(raised > high, raised)


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """Return the sum of ``coefficients[i] * x ** i``."""
    *rest, last = coefficients
    result = x.constant(last)
    for coefficient in reversed(rest):
        result = result.times_plus(x, coefficient)
    return result
