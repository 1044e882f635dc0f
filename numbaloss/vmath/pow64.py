"""float64 power: a logarithm of 66 bits, an exact product, an exponential.

An error of e in ``y log(x)`` is a relative error of e in the result, and ``y log(x)`` reaches 745:
the logarithm needs a relative error of about 2^-65 and is carried as an unevaluated sum high + low.
The error-free transforms below are destroyed by any fastmath flag, hence none here; they use the
fused multiply-add explicitly.
"""

from typing import Any

from numba import njit

from . import coefficients
from .bits import (
    absolute,
    add_bits,
    fma,
    from_bits,
    mask_bits,
    polynomial,
    select,
    shift_left,
    shift_right,
    subtract_bits,
    to_bits,
    truncate,
    with_sign,
)
from .float64 import (
    EXP_HIGHEST,
    EXP_LOWER,
    EXP_LOWEST,
    EXP_RAISE,
    EXP_SHIFT,
    EXP_SMALL,
    INFINITY,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOG_RAISE,
    LOG_RAISE_BITS,
    LOG_SMALLEST,
    MANTISSA,
    NAN,
    ONE_BITS,
    SQRT_HALF_BITS,
    TWO_52_AND_BIAS,
    TWO_52_BITS,
    WIDTH,
)

OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy"}
body = njit(**OPTIONS)

ATANH = coefficients.POW_ATANH_64
EXP_REST = coefficients.EXP_64
THIRD, THIRD_LOW = 1 / 3, 1.850371707708594e-17  # 1/3 to 107 bits
LARGEST = 1e300


@body
def log_pair(x):
    """log(x) as high + low to about 2^-66, for finite x > 0."""
    small = x < LOG_SMALLEST
    y = select(small, x * LOG_RAISE, x)
    bits = add_bits(to_bits(y), subtract_bits(ONE_BITS, SQRT_HALF_BITS))
    m = from_bits(add_bits(mask_bits(bits, MANTISSA), SQRT_HALF_BITS))
    exponent = from_bits(add_bits(shift_right(bits, WIDTH), TWO_52_BITS)) - TWO_52_AND_BIAS
    exponent = select(small, exponent - LOG_RAISE_BITS, exponent)
    # s = (m - 1) / (m + 1) as a pair; the remainder of the division is exact.
    numerator = m - 1.0
    denominator = m + 1.0
    denominator_low = m - (denominator - 1.0)
    inverse = 1.0 / denominator
    s = numerator * inverse
    s_low = fma(-s, denominator_low, fma(-s, denominator, numerator)) * inverse
    # z = s^2 as a pair.
    z = s * s
    z_low = fma(s + s, s_low, fma(s, s, -z))
    # log(m) = 2 s (1 + z (1/3 + z p(z))), t = 1/3 + z p(z) and q = z t as pairs.
    tail = z * polynomial(z, ATANH)
    t = THIRD + tail
    t_low = (tail - (t - THIRD)) + THIRD_LOW
    q = z * t
    q_low = fma(z, t_low, fma(z_low, t, fma(z, t, -q)))
    d = s + s
    d_low = s_low + s_low
    # d (1 + q): cubic term as a pair.
    c = d * q
    c_low = fma(d, q_low, fma(d_low, q, fma(d, q, -c)))
    # exponent ln(2) + d + c, largest first.
    a = exponent * LN2_HIGH
    b = exponent * LN2_LOW
    b_low = fma(exponent, LN2_LOW, -b)
    high = a + d
    rest = (a - (high - (high - a))) + (d - (high - a))
    low = c + b
    low_rest = (c - (low - (low - c))) + (b - (low - c))
    total = high + low
    total_low = (low - (total - high)) + (rest + (low_rest + ((c_low + d_low) + b_low)))
    result = total + total_low
    return result, total_low - (result - total)


@body
def pow(x, y):
    base = absolute(x)
    high, low = log_pair(base)
    high = select(base < INFINITY, high, base)
    high = select(base == 0.0, -INFINITY, high)
    # A finite stand-in for an infinite exponent: its product with log(1) is 0, as wanted.
    power = select(y > LARGEST, LARGEST, y)
    power = select(power < -LARGEST, -LARGEST, power)
    t = power * high
    t_low = fma(power, low, fma(power, high, -t))
    # Where t overflows, or the logarithm is infinite, the low part is NaN or noise.
    t_low = select(absolute(t) < 800.0, t_low, 0.0)
    t = select(t < EXP_LOWEST, EXP_LOWEST, t)
    t = select(t > EXP_HIGHEST, EXP_HIGHEST, t)
    small = t < EXP_SMALL
    shifted = fma(t, LOG2_E, EXP_SHIFT)
    n = shifted - EXP_SHIFT
    # r as a pair and 1 + r as a pair: 0.8 ULP in all, against 1.04 with the plain exponential.
    main = fma(-n, LN2_HIGH, t)
    rest = fma(-n, LN2_LOW, t_low)
    r = main + rest
    r_low = (main - r) + rest
    one_and_r = 1.0 + r
    tail = ((1.0 - one_and_r) + r) + fma(r * r, polynomial(r, EXP_REST), r_low)
    scale = shift_left(to_bits(shifted), WIDTH)
    scale = select(small, add_bits(scale, EXP_RAISE), scale)
    result = 2.0 * (one_and_r + tail) * from_bits(scale)  # the scale is 2^(n - 1)
    result = select(small, result * EXP_LOWER, result)
    whole = truncate(y) == y
    half = y * 0.5
    odd = select(whole, truncate(half) != half, False)
    result = select(odd, with_sign(result, x), result)
    result = select(x < 0.0, select(whole, result, select(x == -INFINITY, result, NAN)), result)
    return select(y == 0.0, 1.0, select(x == 1.0, 1.0, result))
