"""Elementary functions written to LLVM without branches or calls, so that loops of them become vector code.

Each is within 2 units in the last place unless it says otherwise, over the whole range, and right for signed zeros,
denormal numbers, infinities and NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .coefficients import (
    BASE_2,
    BASE_10,
    BASE_E,
    ERF,
    ERFC,
    EXP,
    EXP_2,
    LOG,
    LOG2_E,
    LOG_2,
    LOG_FAR,
    POWER,
    SINGLE_POWER,
    TANH,
    TWO_THIRDS,
    Base,
)
from .private import intrinsic
from .reals import Bits, Real, polynomial

FUNCTIONS: dict[str, Any] = {}
"""What generated source calls, by name."""


def function(formula: Callable[..., Real]) -> Callable[..., Real]:
    """Make what generated source can call from a formula of one number or two."""

    def called(*kinds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return formula(*(Real(builder, arg) for arg in args)).value

        return kinds[0](*kinds), generate

    # Numba counts the parameters of an intrinsic
    made = (lambda typing, x: called(x)) if formula.__code__.co_argcount == 1 else (lambda typing, x, y: called(x, y))
    FUNCTIONS[formula.__name__] = intrinsic(made)
    return formula


def _nearest(x: Real, factor: float = 1.0) -> tuple[Bits, Real]:
    """Return the next integer to ``x * factor``, twice."""
    # the sum's last bits are the integer
    magic = 1.5 * 2.0**x.encoding.fraction
    shifted = x.times_plus(factor, magic)
    return shifted.bits() - x.encoding.bits_of(magic), shifted - magic


def _octaves(x: Real) -> tuple[Bits, Real, Real]:
    """Return the next integer to ``x / log(2)``, what that leaves of `x`, and what rounding took from that."""
    exponent, whole = _nearest(x, LOG2_E)
    first, second = LOG_2[x.single]
    exact, less = whole.times_plus(-first, x), whole * second
    r = exact - less
    return exponent, r, (exact - r) - less


def _scaled(y: Real, exponent: Bits) -> Real:
    """Return ``y * 2**exponent`` by two factors, either of which a normal number holds."""
    bias = y.encoding.bias
    both = exponent + 2 * bias
    half = both >> 1
    return y * (half << y.encoding.fraction).real() * ((both - half) << y.encoding.fraction).real()


def _below_one(r: Real, lost: Real) -> Real:
    """Return ``exp(r + lost) - 1`` for small `r`."""
    return (r * r).times_plus(polynomial(r, EXP[r.single]), lost) + r


@function
def exp(x: Real) -> Real:
    """Return the exponential function."""
    x = x.clipped(-104, 89) if x.single else x.clipped(-746, 710)
    exponent, *rest = _octaves(x)
    return _scaled(1 + _below_one(*rest), exponent)


@function
def exp2(x: Real) -> Real:
    """Return the power of two, exactly for integers."""
    x = x.clipped(-151, 129) if x.single else x.clipped(-1076, 1025)
    exponent, whole = _nearest(x)
    t = x - whole
    return _scaled(1 + t * polynomial(t, EXP_2[x.single]), exponent)


@function
def expm1(x: Real) -> Real:
    """Return ``exp(x) - 1``, precisely for small `x`."""
    clipped = x.clipped(-18, 89) if x.single else x.clipped(-40, 710)
    exponent, *rest = _octaves(clipped)
    # half of what is wanted, as 2^1024 is too large
    half = ((exponent + (x.encoding.bias - 1)) << x.encoding.fraction).real()
    result = 2 * _below_one(*rest).times_plus(half, half - 0.5)
    return result.where(abs(x) > 2.0**-60, x)


def _logarithm(x: Real, base: Base, carry: Real | None = None) -> Real:
    """Return the logarithm of ``x + carry``, where `carry` is what rounding took from `x`.

    With x = 2^k m and f = m - 1, the logarithm of m is f - (f^2 / 2 - s (f^2 / 2 + R)), s = f / (2 + f).
    """
    k, m = _mantissa(x)
    f = m - 1
    s = f / (f + 2)
    z = s * s
    square = 0.5 * (f * f)
    head = (f - square).head()
    tail = ((f - head) - square) + s * (square + z * polynomial(z, LOG[x.single]))
    if carry is not None:
        tail = tail + carry / x
    (unit, unit_tail), (octave, octave_tail) = base[x.single]
    octaves, part = k * octave, head * unit
    result = octaves + part
    rest = ((octaves - result) + part) + tail * unit
    if unit_tail:
        rest = rest + (tail + head) * unit_tail
    if octave_tail:
        rest = rest + k * octave_tail
    result = (result + rest).where(x < math.inf, x)
    return result.where(x > 0, x.constant(-math.inf).where(x.equals(0), math.nan))


def _mantissa(x: Real) -> tuple[Real, Real]:
    """Return k and m, where ``x == 2**k * m`` and m lies between the roots of 1/2 and of 2."""
    encoding = x.encoding
    least, raised = 2.0 ** (1 - encoding.bias), encoding.fraction + 1
    denormal = x < least
    bits = (x * 2.0**raised).where(denormal, x).bits()
    root = encoding.bits_of(math.sqrt(0.5))
    bits = bits + (encoding.bits_of(1) - root)
    magic = 1.5 * 2.0**encoding.fraction
    k = ((bits >> encoding.fraction) + encoding.bits_of(magic)).real() - (magic + encoding.bias)
    k = k - x.constant(raised).where(denormal, 0)
    return k, ((bits & (2**encoding.fraction - 1)) + root).real()


@function
def log(x: Real) -> Real:
    """Return the natural logarithm."""
    return _logarithm(x, BASE_E)


@function
def log2(x: Real) -> Real:
    """Return the logarithm to base 2, exactly for its powers."""
    return _logarithm(x, BASE_2)


@function
def log10(x: Real) -> Real:
    """Return the logarithm to base 10, exactly for its powers."""
    return _logarithm(x, BASE_10)


@function
def log1p(x: Real) -> Real:
    """Return ``log(1 + x)``, precisely for small `x`."""
    whole = 1 + x
    carry = (1 - (whole - x)).where(x > 1, x - (whole - 1))
    return _logarithm(whole, BASE_E, carry).signed_as(x)


@function
def tanh(x: Real) -> Real:
    """Return the hyperbolic tangent."""
    size, z = abs(x), x * x
    far = 1 - 2 / (exp(2 * size.clipped(0, 10 if x.single else 22)) + 1)
    near = (x * z).times_plus(polynomial(z, TANH[x.single]), x)
    return near.where(size < 0.625, far).signed_as(x)


@function
def sigmoid(x: Real) -> Real:
    """Return ``1 / (1 + exp(-x))``."""
    e = exp(-abs(x))
    whole = 1 + e
    result = e.where(x < 0, 1) / whole
    # what rounding took from the sum
    lost = e - (whole - 1)
    return result - result * lost * (1 - result).where(x < 0, result)


@function
def softplus(x: Real) -> Real:
    """Return ``log(1 + exp(x))``."""
    e = exp(-abs(x))
    s = e / (e + 2)
    z, square = s * s, 0.5 * (e * e)
    return (e - (square - s * (square + z * polynomial(z, LOG_FAR[x.single])))) + x.where(x > 0, 0)


@function
def log1mexp(x: Real) -> Real:
    """Return ``log(1 - exp(x))``."""
    near, less = x > -math.log(2), -exp(x)
    rest = (-expm1(x)).where(near, 1 + less)
    return -abs(_logarithm(rest, BASE_E, x.constant(0).where(near, less - (rest - 1))))


def _erf_near_0(x: Real) -> Real:
    return x.times_plus(polynomial(x * x, ERF[x.single]), x)


def _erfc_from_0(x: Real) -> Real:
    """Return erfc of a positive number: exp(-x^2) P((x - 3) / (x + 3)) / (1 + 2 x).

    Its form is Shepherd's and Laframboise's (Mathematics of Computation 36, 1981).
    """
    head = x.head()
    exponent, r, lost = _octaves(-(head * head))
    ratio = polynomial((x - 3) / (x + 3), ERFC[x.single]) / (1 + 2 * x)
    less = _below_one(r - (x - head) * (x + head), lost)
    return _scaled(ratio + ratio * less, exponent)


@function
def erf(x: Real) -> Real:
    """Return the error function."""
    far = 1 - _erfc_from_0(abs(x).clipped(0, 5 if x.single else 7))
    return _erf_near_0(x).where(abs(x) < 0.9, far).signed_as(x)


@function
def erfc(x: Real) -> Real:
    """Return ``1 - erf(x)``, in float64 within 3 units in the last place."""
    if x.single:
        return erfc(x.widened()).narrowed()
    far = _erfc_from_0(abs(x).clipped(0, 28))
    return (1 - _erf_near_0(x)).where(abs(x) < 0.4, far.where(x > 0, 2 - far))


def _power(size: Real, y: Real) -> Real:
    """Return ``size ** y`` of a number that is not negative."""
    infinite = size.constant(-math.inf).where(size.equals(0), size)
    ordinary = size.builder.and_(size > 0, size < math.inf)
    logarithm, tail = _precise_log2(size)
    head = y.head()
    product = (head * logarithm).where(ordinary, y * infinite)
    rest = (y - head) * logarithm + y * tail
    z = product.clipped(-1080, 1030)
    exponent, whole = _nearest(z)
    t = (z - whole) + rest.where(size.builder.and_(ordinary, product.equals(z)), 0)
    return _scaled(1 + t * polynomial(t, EXP_2[False]), exponent)


def _single_power(size: Real, y: Real) -> Real:
    """Return the same, computed in double precision with as many terms as single precision asks for."""
    size, y = size.widened(), y.widened()
    k, m = _mantissa(size)
    s = (m - 1) / (m + 1)
    z = s * s
    logarithm = k + s * (2 + z * polynomial(z, SINGLE_POWER)) * LOG2_E
    logarithm = size.constant(-math.inf).where(size.equals(0), logarithm.where(size < math.inf, size))
    z = (y * logarithm).clipped(-200, 200)
    exponent, whole = _nearest(z)
    t = z - whole
    return _scaled(1 + t * polynomial(t, EXP_2[True]), exponent).narrowed()


def _precise_log2(x: Real) -> tuple[Real, Real]:
    """Return the logarithm of a positive number in two parts, some 65 bits of it.

    With s = (m - 1) / (m + 1), log(m) is 2/3 s (3 + s^2 + 3/5 s^4 + ...).
    """
    k, m = _mantissa(x)
    f, inverse = m - 1, 1 / (m + 1)
    s = f * inverse
    s_head, above = s.head(), (m + 1).head()
    s_tail = inverse * ((f - s_head * above) - s_head * (m - (above - 1)))
    z, z_head = s * s, s_head * s_head
    more = z * z * polynomial(z, POWER) + s_tail * (s_head + s)
    sum_head = ((3 + z_head) + more).head()
    sum_tail = more - ((sum_head - 3) - z_head)
    product, rest = s_head * sum_head, s_tail * sum_head + sum_tail * s
    head = (product + rest).head()
    first, second = TWO_THIRDS
    large = first * head
    small = second * head + (rest - (head - product)) * (first + second)
    whole = ((large + small) + k).head()
    return whole, small - ((whole - k) - large)


@function
def pow(x: Real, y: Real) -> Real:
    """Return ``x ** y``."""
    size, builder = abs(x), x.builder
    one = builder.or_(y.equals(0), x.equals(1))
    integer = y.rounded().equals(y)
    half = 0.5 * y
    odd = builder.and_(integer, builder.not_(half.rounded().equals(half)))
    # infinity is an even integer
    result = x.constant(1).where(size.equals(1), (_single_power if x.single else _power)(size, y))
    result = result.signed_as(x).where(odd, result)
    undefined = builder.and_(builder.and_(x < 0, size < math.inf), builder.not_(integer))
    return x.constant(1).where(one, x.constant(math.nan).where(undefined, result))
