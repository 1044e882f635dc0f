"""float32 bodies for GPUs, whose special function unit gives 2^x and 1/x at once.

What float32.py computes with polynomials takes two to three times the instructions; losses with
exponentials would be bound by arithmetic rather than by memory. What is not here is as there.
"""

from typing import Any

import numpy as np
from numba import njit

from . import coefficients, float32
from .bits import absolute, fma, from_bits, polynomial, select, shift_left, to_bits, with_sign
from .float32 import (
    HALF,
    LN2,
    LN2_REST,
    LOG_COSH,
    ONE,
    TANH,
    TANH_NEAR,
    WIDTH,
    ZERO,
    _singles,
)
from .gpu_bits import exp2_rough, fma_downwards, fma_in_unit, for_halves, inverse_rough

# No fastmath flag: the GPU's compiler fuses by itself.
OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy"}
body = njit(**OPTIONS)

# x log2(e) = n + r with a whole n in [-126, 126] and 0 <= r < 1, more or less: n + 127, the biased
# exponent of 2^n, comes out in the low bits of a number near 1.5 * 2^23. The bounds of n come from
# bringing x log2(e) / 252 + 1/2 into [0, 1]; beyond them r is what is left, and its power of two,
# or the product with 2^n, rounds once to a denormal, to 0 or to infinity.
SPAN = 252.0
LOG2_E = np.log2(np.e)
PER_SPAN, STEPS = _singles((LOG2_E / SPAN, SPAN))
SHIFT, SHIFT_AND_BIAS = _singles((1.5 * 2**23 + 1.0, 1.5 * 2**23 + 127.0))
LOG2_E_HIGH = np.float32(LOG2_E)
LOG2_E_LOW = np.float32(LOG2_E - np.float64(LOG2_E_HIGH))


LOG1P_UNIT, LOG1P_UNIT_ROUGH = (
    _singles(one) for one in (coefficients.LOG1P_UNIT_GPU, coefficients.LOG1P_UNIT_ROUGH)
)


@body
def exp(x):
    if for_halves():
        return exp2_rough(x * LOG2_E_HIGH)
    shifted = fma_downwards(fma_in_unit(x, PER_SPAN, HALF), STEPS, SHIFT)
    n = shifted - SHIFT_AND_BIAS
    r = fma(x, LOG2_E_LOW, fma(x, LOG2_E_HIGH, -n))
    return exp2_rough(r) * from_bits(shift_left(to_bits(shifted), WIDTH))


@body
def decay(x):
    """exp(-abs(x)): the one exponential of sigmoid, softplus and log_sigmoid."""
    return exp(-absolute(x))


@body
def share(part, whole):
    """part / whole for a whole in [1, 2] that is no smaller than the part."""
    inverse = inverse_rough(whole)
    quotient = part * inverse
    if for_halves():
        return quotient
    return fma(fma(-whole, quotient, part), inverse, quotient)


@body
def log1p_ratio(e):
    """log(1 + e) / e for e in [0, 1]."""
    if for_halves():
        return polynomial(e, LOG1P_UNIT_ROUGH)
    return polynomial(e, LOG1P_UNIT)


@body
def tanh(x):
    # Beyond 0.55 the quotient is at most 1/2, so its error counts half.
    e = decay(x + x)
    far = ONE - share(e + e, ONE + e)
    z = x * x
    near = x + (x * z) * polynomial(z, TANH)
    return with_sign(select(absolute(x) < TANH_NEAR, near, far), x)


@body
def sigmoid(x):
    e = decay(x)
    start = select(x > ZERO, ONE, e)  # 1 at 0
    if for_halves():
        return share(start, ONE + e)
    # 1 - q and e - e q rather than 1 / (1 + e) and e / (1 + e): the errors of q count at most half.
    return start - start * share(e, ONE + e)


@body
def softplus(x):
    e = decay(x)
    return fma(e, log1p_ratio(e), select(x > ZERO, x, ZERO))


@body
def log_cosh(x):
    # Beyond 1 nothing cancels in |x| - ln(2) + log(1 + exp(-2 |x|)); the exponential is tanh's.
    size, e = absolute(x), decay(x + x)
    far = (size - LN2) + fma(e, log1p_ratio(e), -LN2_REST)
    z = x * x
    near = HALF * z + (z * z) * polynomial(z, LOG_COSH)
    return select(size < ONE, near, far)


@body
def log_sigmoid(x):
    return -softplus(-x)


expm1, log, log1p, sqrt = float32.expm1, float32.log, float32.log1p, float32.sqrt
