"""The float64 bodies: the same shapes as in float32.py, with longer polynomials.

``pow`` alone needs more than float64 inside; it lives in pow64.py.
"""

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
    select,
    shift_left,
    shift_right,
    square_root,
    subtract_bits,
    to_bits,
    with_sign,
)

OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}
body = njit(**OPTIONS)

INFINITY, NAN = np.inf, np.nan
LOG2_E = 1.4426950408889634
# 32 significant bits: exact times any exponent (11 bits).
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
WIDTH = np.int64(52)
BIAS = np.int64(1023)
MANTISSA = np.int64((1 << 52) - 1)
SQRT_HALF_BITS = np.float64(0.5**0.5).view(np.int64)
ONE_BITS = np.float64(1.0).view(np.int64)
# An integer in the low bits of 2^52 is a float after one subtraction; AVX2 cannot convert int64.
TWO_52_BITS = np.float64(2.0**52).view(np.int64)
TWO_52_AND_BIAS = 2.0**52 + 1023.0

# e^x for x <= 0: n in [-1075, 0]; the coefficients carry 2^-512, the scale is 2^(n + 512).
DECAY_SHIFT = 1.5 * 2**52 + 1023 + 512
DECAY_LOWEST = -746.0
DECAY = tuple(value * 2.0**-512 for value in (1.0, 1.0, *coefficients.EXP_64))

# e^x for any x: n in [-1075, 1024]; see float32.py.
EXP_SHIFT = 1.5 * 2**52 + 1022
EXP_LOWEST, EXP_HIGHEST, EXP_SMALL = -746.0, 710.0, -708.0
EXP_RAISE = np.int64(512 << 52)
EXP_LOWER = 2.0**-512
EXP = tuple(value * 2.0 for value in (1.0, 1.0, *coefficients.EXP_64))

EXPM1_LOWEST = -38.0
EXPM1_TINY = 2.0**-54
EXPM1 = coefficients.EXPM1_64

TANH_NEAR = 0.55
TANH = coefficients.TANH_64

LOG_COSH = coefficients.LOG_COSH_64
# ln(2) rounded, and what the rounding left.
LN2, LN2_REST = 0.6931471805599453, 2.3190468138462996e-17

LOG = (-0.5, *coefficients.LOG_64)
LOG_SMALLEST = 2.0**-1022
LOG_RAISE, LOG_RAISE_BITS = 2.0**54, 54.0
LOG1P_TINY = 2.0**-54
LOG1P_UNIT = coefficients.LOG1P_UNIT_64


@body
def exp_of_negative(x):
    """exp(x) for x <= 0, as rows of exponentials relative to their maximum have them."""
    y = select(x < DECAY_LOWEST, DECAY_LOWEST, x)
    shifted = y * LOG2_E + DECAY_SHIFT
    n = shifted - DECAY_SHIFT
    r = y - n * LN2_HIGH - n * LN2_LOW
    return polynomial(r, DECAY) * from_bits(shift_left(to_bits(shifted), WIDTH))


@body
def decay(x):
    """exp(-abs(x)): the one exponential of sigmoid, softplus and log_sigmoid."""
    return exp_of_negative(-absolute(x))


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
    # Half the result, so that 2^n exists for n = 1024.  s r + (s - 1/2) is exact where it cancels.
    s = from_bits(shift_left(to_bits(shifted), WIDTH))
    result = 2.0 * ((s * r + (s - 0.5)) + s * rest)
    return select(absolute(x) < EXPM1_TINY, x, result)


@body
def tanh(x):
    # Beyond 0.55 the quotient is at most 1/2, so its error counts half.
    e = decay(x + x)
    far = 1.0 - 2.0 * (e / (1.0 + e))
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
    f = from_bits(add_bits(mask_bits(bits, MANTISSA), SQRT_HALF_BITS)) - 1.0
    exponent = from_bits(add_bits(shift_right(bits, WIDTH), TWO_52_BITS)) - TWO_52_AND_BIAS
    exponent = select(small, exponent - LOG_RAISE_BITS, exponent)
    result = select(x < INFINITY, log_of_product(exponent, f), x)
    return select(x <= 0.0, select(x < 0.0, NAN, -INFINITY), result)


@body
def log1p(x):
    # The exponent is that of 1 + x rounded; f = (1 + x) 2^-exponent - 1 is then rounded once.
    u = 1.0 + x
    bits = add_bits(to_bits(u), subtract_bits(ONE_BITS, SQRT_HALF_BITS))
    biased = shift_right(bits, WIDTH)
    exponent = from_bits(add_bits(biased, TWO_52_BITS)) - TWO_52_AND_BIAS
    # 4 * 2^-exponent: 2^-1024 would not be normal.
    scale = from_bits(shift_left(subtract_bits(2 * BIAS + 2, biased), WIDTH))
    f = (0.25 * x) * scale + (0.25 * scale - 1.0)
    result = select(x < INFINITY, log_of_product(exponent, f), x)
    result = select(absolute(x) < LOG1P_TINY, x, result)
    return select(x <= -1.0, select(x < -1.0, NAN, -INFINITY), result)


@body
def sigmoid(x):
    # 1 - q and e - e q rather than 1 / (1 + e) and e / (1 + e): the errors of q count at most half.
    e = decay(x)
    q = e / (1.0 + e)
    start = select(x > 0.0, 1.0, e)  # 1 at 0
    return multiply_add(-start, q, start)


@body
def beyond_log1p(e):
    """1 - log(1 + e) / e for e in [0, 1]."""
    # With L the logarithm and q the quotient of sigmoid, e + q = 2 sinh(L) and e q = 2 cosh(L) - 2.
    # L / sinh(L) in powers of e q takes half the terms that log(1 + e) takes in powers of e.
    q = e / (1.0 + e)
    # Not q (1/2 + ...): q / 2 is exact, and what is added to it is small.
    return 0.5 * q + (q * (e + q)) * polynomial(e * q, LOG1P_UNIT)


@body
def log1p_unit(e):
    """log(1 + e) for e in [0, 1]."""
    return e - e * beyond_log1p(e)


@body
def softplus(x):
    e = decay(x)
    # Of three terms the two that cancel most come first. Of -abs(x) the last one is nothing.
    above = x > 0.0
    return (select(above, x, e) - e * beyond_log1p(e)) + select(above, e, -0.0)


@body
def log_cosh(x):
    # Beyond 1 nothing cancels in |x| - ln(2) + log(1 + exp(-2 |x|)); the exponential is tanh's.
    size = absolute(x)
    far = (size - LN2) + (log1p_unit(decay(x + x)) - LN2_REST)
    z = x * x
    near = 0.5 * z + (z * z) * polynomial(z, LOG_COSH)
    return select(size < 1.0, near, far)


@body
def log_sigmoid(x):
    return -softplus(-x)


@body
def sqrt(x):
    return square_root(x)
