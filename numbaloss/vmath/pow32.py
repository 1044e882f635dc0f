"""float32 power in float32 arithmetic, for GPUs: most of them have little of float64.

The shape is that of pow64.py in base 2, where the exponent needs no product: a logarithm of 36
bits carried as an unevaluated sum high + low, an exact product, an exponential.  CPUs keep the body
in float32.py: it is more accurate and a little faster, 2.5 times without fused multiply-adds.
"""

from typing import Any

import numpy as np
from numba import njit

from . import coefficients
from .bits import (
    absolute,
    add_bits,
    fma,
    from_bits,
    mask_bits,
    polynomial,
    product,
    select,
    shift_left,
    shift_right,
    subtract_bits,
    to_bits,
)
from .float32 import (
    BIAS,
    EXP_LOWER,
    EXP_RAISE,
    EXP_SHIFT,
    INFINITY,
    LN2,
    LN2_REST,
    LOG_RAISE,
    LOG_RAISE_BITS,
    LOG_SMALLEST,
    MANTISSA,
    ONE,
    ONE_BITS,
    SQRT_HALF_BITS,
    TWO,
    WIDTH,
    ZERO,
    _singles,
    power_of_any,
)

# No fastmath flag, as in pow64.py: on GPUs any of them would also make the division inexact.
OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy"}
body = njit(**OPTIONS)

# log2((1 + s) / (1 - s)) = s (2/ln(2)) (1 + z/3 + z^2/5 + ...) with z = s^2 < 0.0295: the series
# itself, to 2^-40; a fitted polynomial would save one of its terms.
SERIES = [2.0 / np.log(2.0) / odd for odd in (1, 3, 5, 7, 9, 11, 13)]
FIRST, THIRD, *REST = _singles(SERIES)
FIRST_LOW, THIRD_LOW = _singles([SERIES[0] - float(FIRST), SERIES[1] - float(THIRD)])
TAIL = tuple(REST)
EXP_REST = _singles(coefficients.EXP_32)
LARGEST = np.float32(2.0**64)
LOWEST, HIGHEST, SMALL, OVERFLOWN = _singles((-160.0, 128.25, -120.0, 200.0))


@body
def log2_pair(x):
    """log2(x) as high + low to about 2^-36, for finite x > 0."""
    small = x < LOG_SMALLEST
    y = select(small, x * LOG_RAISE, x)
    bits = add_bits(to_bits(y), subtract_bits(ONE_BITS, SQRT_HALF_BITS))
    m = from_bits(add_bits(mask_bits(bits, MANTISSA), SQRT_HALF_BITS))
    exponent = np.float32(subtract_bits(shift_right(bits, WIDTH), BIAS))
    exponent = select(small, exponent - LOG_RAISE_BITS, exponent)
    # s = (m - 1) / (m + 1) as a pair; the remainder of the division is exact.
    numerator = m - ONE
    denominator = m + ONE
    denominator_low = m - (denominator - ONE)
    inverse = ONE / denominator
    s = product(numerator, inverse)
    s_low = fma(-s, denominator_low, fma(-s, denominator, numerator)) * inverse
    # z = s^2 as a pair.
    z = product(s, s)
    z_low = fma(s + s, s_low, fma(s, s, -z))
    # t = 2/ln(2) (1/3 + z/5 + ...), q = z t and u = 2/ln(2) + q as pairs; the logarithm is s u.
    tail = product(z, polynomial(z, TAIL))
    t = THIRD + tail
    t_low = (tail - (t - THIRD)) + THIRD_LOW
    q = product(z, t)
    q_low = fma(z, t_low, fma(z_low, t, fma(z, t, -q)))
    u = FIRST + q
    u_low = (q - (u - FIRST)) + (q_low + FIRST_LOW)
    log2 = product(s, u)
    log2_low = fma(s, u_low, fma(s_low, u, fma(s, u, -log2)))
    # An exponent other than 0 is larger than the logarithm of m.
    high = exponent + log2
    return high, (log2 - (high - exponent)) + log2_low


@body
def pow(x, y):
    base = absolute(x)
    high, low = log2_pair(base)
    high = select(base < INFINITY, high, base)
    high = select(base == ZERO, -INFINITY, high)
    # A finite stand-in for an infinite exponent: its product with log2(1) is 0, as wanted.
    power = select(y > LARGEST, LARGEST, y)
    power = select(power < -LARGEST, -LARGEST, power)
    t = product(power, high)
    t_low = fma(power, low, fma(power, high, -t))
    # Where the logarithm is infinite, the low part is NaN.
    t_low = select(absolute(t) < OVERFLOWN, t_low, ZERO)
    t = select(t < LOWEST, LOWEST, t)
    t = select(t > HIGHEST, HIGHEST, t)
    small = t < SMALL
    shifted = t + EXP_SHIFT
    main = t - (shifted - EXP_SHIFT)
    # r, r ln(2) and 1 + r ln(2) as pairs.
    r = main + t_low
    r_low = (main - r) + t_low
    w = product(r, LN2)
    w_low = fma(r, LN2_REST, fma(r_low, LN2, fma(r, LN2, -w)))
    one_and_w = ONE + w
    tail = ((ONE - one_and_w) + w) + fma(product(w, w), polynomial(w, EXP_REST), w_low)
    scale = shift_left(to_bits(shifted), WIDTH)
    scale = select(small, add_bits(scale, EXP_RAISE), scale)
    result = TWO * (one_and_w + tail) * from_bits(scale)  # the scale is 2^(n - 1)
    result = select(small, result * EXP_LOWER, result)
    return power_of_any(x, y, result)
