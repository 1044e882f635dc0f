"""The float32 bodies: float32 arithmetic only, no branches, no calls, no tables.

Only the ``contract`` flag is on: with ``reassoc`` LLVM would delete the rounding trick below, and
without NaN and infinity semantics special values would break.  Fused multiply-adds make the
results a little better and are never needed for the bound: constants that multiply an integer end
in zeros, so that the products are exact on machines without them.

Rounding trick: adding ``1.5 * 2^23`` leaves the nearest integer in the low bits of the sum.  It is
read from the bits, because converting a float that may be NaN to an integer is poison in LLVM.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from . import coefficients
from .bits import (
    absolute,
    add_bits,
    from_bits,
    mask_bits,
    multiply_add,
    polynomial,
    polynomial_in_chain,
    polynomial_of_logarithm,
    select,
    shift_left,
    shift_right,
    square_root,
    subtract_bits,
    to_bits,
    to_real,
    truncate,
    with_sign,
)

OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}
body = njit(**OPTIONS)


def _singles(values: Sequence[float], factor: float = 1.0) -> tuple[np.float32, ...]:
    return tuple(np.float32(value * factor) for value in values)


ZERO, QUARTER, HALF, ONE, TWO, FOUR = _singles((0.0, 0.25, 0.5, 1.0, 2.0, 4.0))
INFINITY, NAN = _singles((np.inf, np.nan))
LOG2_E = np.float32(1.4426950408889634)
# 9 significant bits: exact times any exponent.  The rest of ln(2): 2^-37 away in sum.
LN2_HIGH, LN2_LOW = _singles((0.693359375, -2.12194440e-4))
WIDTH = np.int32(23)
BIAS, BIAS_AND_TWO = np.int32(127), np.int32(129)
MANTISSA = np.int32(0x007FFFFF)
SQRT_HALF_BITS = np.float32(0.5**0.5).view(np.int32)
ONE_BITS = ONE.view(np.int32)

# e^x for x <= 0: n in [-150, 0].  The scale is 2^(n + 64), a normal number for every n, and the
# coefficients carry 2^-64, so one product rounds once to a normal or denormal result.
DECAY_SHIFT = np.float32(1.5 * 2**23 + 127 + 64)
DECAY_LOWEST = np.float32(-104.0)  # e^-103.98 is half the smallest denormal
DECAY = _singles((1.0, 1.0, *coefficients.EXP_32), 2.0**-64)

# e^x for any x: n in [-150, 128].  The coefficients carry a factor 2 so that the scale is
# 2^(n - 1), which exists for n = 128; below -86 it is raised by 2^64 and taken back at the end.
EXP_SHIFT = np.float32(1.5 * 2**23 + 126)
EXP_LOWEST, EXP_HIGHEST, EXP_SMALL = _singles((-104.0, 89.0, -86.0))
EXP_RAISE = np.int32(64 << 23)
EXP_LOWER = np.float32(2.0**-64)
EXP = _singles((1.0, 1.0, *coefficients.EXP_32), 2.0)

# e^x - 1: below -18 it is -1.
EXPM1_LOWEST = np.float32(-18.0)
EXPM1_TINY = np.float32(2.0**-25)  # there e^x - 1 rounds to x
EXPM1 = _singles(coefficients.EXPM1_32)

TANH_NEAR = np.float32(0.55)
TANH = _singles(coefficients.TANH_32)

LOG_COSH = _singles(coefficients.LOG_COSH_32)
LN2 = np.float32(np.log(2.0))
LN2_REST = np.float32(np.log(2.0) - np.float64(LN2))

LOG = _singles((-0.5, *coefficients.LOG_32))
LOG_SMALLEST = np.float32(2.0**-126)
LOG_RAISE, LOG_RAISE_BITS = np.float32(2.0**24), np.float32(24.0)
LOG1P_TINY = np.float32(2.0**-25)
LOG1P_UNIT = _singles(coefficients.LOG1P_UNIT_32)


@body
def reduced(x):
    """The arguments of two factors of exp(x) for x <= 0: of a polynomial, and a power of two."""
    y = select(x < DECAY_LOWEST, DECAY_LOWEST, x)
    shifted = y * LOG2_E + DECAY_SHIFT
    n = shifted - DECAY_SHIFT
    r = y - n * LN2_HIGH - n * LN2_LOW
    return r, from_bits(shift_left(to_bits(shifted), WIDTH))


@body
def exp_of_negative(x):
    """exp(x) for x <= 0, as rows of exponentials relative to their maximum have them."""
    r, scale = reduced(x)
    return polynomial_in_chain(r, DECAY) * scale


@body
def decay(x):
    """exp(-abs(x)): the one exponential of sigmoid, softplus and log_sigmoid."""
    r, scale = reduced(-absolute(x))
    return polynomial(r, DECAY) * scale


@body
def exp(x):
    y = select(x < EXP_LOWEST, EXP_LOWEST, x)
    y = select(y > EXP_HIGHEST, EXP_HIGHEST, y)
    small = y < EXP_SMALL
    shifted = y * LOG2_E + EXP_SHIFT
    n = shifted - EXP_SHIFT
    r = y - n * LN2_HIGH - n * LN2_LOW
    scale = shift_left(to_bits(shifted), WIDTH)
    scale = select(small, add_bits(scale, EXP_RAISE), scale)
    result = polynomial(r, EXP) * from_bits(scale)
    return select(small, result * EXP_LOWER, result)


@body
def expm1(x):
    y = select(x < EXPM1_LOWEST, EXPM1_LOWEST, x)
    y = select(y > EXP_HIGHEST, EXP_HIGHEST, y)
    shifted = y * LOG2_E + EXP_SHIFT
    n = shifted - EXP_SHIFT
    high = y - n * LN2_HIGH
    low = n * LN2_LOW
    r = high - low
    lost = (high - r) - low
    rest = r * r * polynomial(r, EXPM1) + lost
    # Half the result, so that 2^n exists for n = 128.  s r + (s - 1/2) is exact where it cancels.
    s = from_bits(shift_left(to_bits(shifted), WIDTH))
    result = TWO * ((s * r + (s - HALF)) + s * rest)
    return select(absolute(x) < EXPM1_TINY, x, result)


@body
def tanh(x):
    # Beyond 0.55 the quotient is at most 1/2, so its error counts half.
    e = decay(x + x)
    far = ONE - TWO * (e / (ONE + e))
    z = x * x
    near = x + (x * z) * polynomial(z, TANH)
    return with_sign(select(absolute(x) < TANH_NEAR, near, far), x)


@body
def log_of_product(exponent, f):
    """log(2^exponent (1 + f)) for 1 + f in [sqrt(1/2), sqrt(2)]."""
    rest = polynomial(f, LOG) * (f * f)
    return exponent * LN2_HIGH + (f + (exponent * LN2_LOW + rest))


@body
def log(x):
    small = x < LOG_SMALLEST
    y = select(small, x * LOG_RAISE, x)
    bits = add_bits(to_bits(y), subtract_bits(ONE_BITS, SQRT_HALF_BITS))
    f = from_bits(add_bits(mask_bits(bits, MANTISSA), SQRT_HALF_BITS)) - ONE
    exponent = to_real(subtract_bits(shift_right(bits, WIDTH), BIAS))
    exponent = select(small, exponent - LOG_RAISE_BITS, exponent)
    result = select(x < INFINITY, log_of_product(exponent, f), x)
    return select(x <= ZERO, select(x < ZERO, NAN, -INFINITY), result)


@body
def log1p(x):
    # The exponent is that of 1 + x rounded; f = (1 + x) 2^-exponent - 1 is then rounded once.
    u = ONE + x
    bits = add_bits(to_bits(u), subtract_bits(ONE_BITS, SQRT_HALF_BITS))
    exponent_bits = subtract_bits(shift_right(bits, WIDTH), BIAS)
    # 4 * 2^-exponent: 2^-128 would not be normal.
    scale = from_bits(shift_left(subtract_bits(BIAS_AND_TWO, exponent_bits), WIDTH))
    f = (QUARTER * x) * scale + (QUARTER * scale - ONE)
    result = log_of_product(to_real(exponent_bits), f)
    result = select(x < INFINITY, result, x)
    result = select(absolute(x) < LOG1P_TINY, x, result)
    return select(x <= -ONE, select(x < -ONE, NAN, -INFINITY), result)


@body
def sigmoid(x):
    # 1 - q and e - e q rather than 1 / (1 + e) and e / (1 + e): the errors of q count at most half.
    e = decay(x)
    q = e / (ONE + e)
    start = select(x > ZERO, ONE, e)  # 1 at 0
    return multiply_add(-start, q, start)


@body
def beyond_log1p(e):
    """1 - log(1 + e) / e for e in [0, 1]."""
    # In powers of e, unlike in float64: the terms need not wait for a quotient.
    return e * polynomial_of_logarithm(e, LOG1P_UNIT)


@body
def log1p_unit(e):
    """log(1 + e) for e in [0, 1]."""
    return e - e * beyond_log1p(e)


@body
def softplus(x):
    e = decay(x)
    # Of three terms the two that cancel most come first. Of -abs(x) the last one is nothing.
    above = x > ZERO
    return (select(above, x, e) - e * beyond_log1p(e)) + select(above, e, -ZERO)


@body
def log_cosh(x):
    # Beyond 1 nothing cancels in |x| - ln(2) + log(1 + exp(-2 |x|)); the exponential is tanh's.
    size = absolute(x)
    far = (size - LN2) + (log1p_unit(decay(x + x)) - LN2_REST)
    z = x * x
    near = HALF * z + (z * z) * polynomial(z, LOG_COSH)
    return select(size < ONE, near, far)


@body
def log_sigmoid(x):
    return -softplus(-x)


@body
def sqrt(x):
    return square_root(x)


@body
def power_of_any(x, y, result):
    """x^y for any x and y, given the power of abs(x) for a finite y."""
    whole = truncate(y) == y
    half = y * HALF
    odd = select(whole, truncate(half) != half, False)
    result = select(odd, with_sign(result, x), result)
    result = select(x < ZERO, select(whole, result, select(x == -INFINITY, result, NAN)), result)
    return select(y == ZERO, ONE, select(x == ONE, ONE, result))


# x^y goes through float64: log2(x) to 2^-38 and 2^t to 2^-34 leave 0.504 ULP in float32, and it is
# cheaper than a float32 pair arithmetic (half the terms, no denormals, no error-free products),
# except on GPUs: pow32.py.
POW_LOG2 = coefficients.POW_LOG2_32
POW_EXP2 = (1.0, *coefficients.POW_EXP2_32)
POW_SHIFT = 1.5 * 2**52 + 1023
POW_BITS_OF_TWO_52 = np.int64(np.float64(2.0**52).view(np.int64))
POW_ONE_BITS = np.float64(1.0).view(np.int64)
POW_SQRT_HALF_BITS = np.float64(0.5**0.5).view(np.int64)
POW_MANTISSA = np.int64((1 << 52) - 1)
POW_WIDTH = np.int64(52)
POW_LARGEST = 2.0**200
POW_LOWEST, POW_HIGHEST = -160.0, 130.0


@body
def pow(x, y):
    base = np.float64(absolute(x))
    bits = add_bits(to_bits(base), subtract_bits(POW_ONE_BITS, POW_SQRT_HALF_BITS))
    f = from_bits(add_bits(mask_bits(bits, POW_MANTISSA), POW_SQRT_HALF_BITS)) - 1.0
    # The biased exponent in the low bits of 2^52: an int64 conversion AVX2 does not have.
    biased = from_bits(add_bits(shift_right(bits, POW_WIDTH), POW_BITS_OF_TWO_52))
    log2 = f * polynomial(f, POW_LOG2) + (biased - (2.0**52 + 1023.0))
    log2 = select(base < np.inf, log2, base)
    log2 = select(base == 0.0, -np.inf, log2)
    # A finite stand-in for an infinite exponent: its product with log2(1) is 0, as wanted.
    power = np.float64(y)
    power = select(power > POW_LARGEST, POW_LARGEST, power)
    power = select(power < -POW_LARGEST, -POW_LARGEST, power)
    t = power * log2
    t = select(t < POW_LOWEST, POW_LOWEST, t)
    t = select(t > POW_HIGHEST, POW_HIGHEST, t)
    shifted = t + POW_SHIFT
    r = t - (shifted - POW_SHIFT)
    scale = from_bits(shift_left(to_bits(shifted), POW_WIDTH))
    result = np.float32(polynomial(r, POW_EXP2) * scale)
    return power_of_any(x, y, result)
