"""The formulas of all losses, written a second time, plainly, in mpmath.

Nothing here uses the library: derivatives come from mpmath's differentiation of the
value, at 60 digits.
"""

from __future__ import annotations

import mpmath
from mpmath import mp, mpf

mp.dps = 60


def softplus(x):
    return mpmath.log1p(mpmath.exp(x))


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def squared_error(p, t):
    return (p - t) ** 2


def absolute_error(p, t):
    return abs(p - t)


def quantile(p, t, q):
    return max(q * (t - p), (q - 1) * (t - p))


def expectile(p, t, alpha):
    return (alpha if t >= p else 1 - alpha) * (p - t) ** 2


def squared_log_error(p, t):
    return (mpmath.log1p(p) - mpmath.log1p(t)) ** 2


def absolute_percentage_error(p, t):
    return abs(p - t) / max(abs(t), mpf(2) ** -52)


def huber(p, t, delta):
    size = abs(p - t)
    return size**2 / 2 if size <= delta else delta * (size - mpf(delta) / 2)


def smooth_l1(p, t, beta):
    size = abs(p - t)
    if beta == 0:
        return size
    return size**2 / (2 * mpf(beta)) if size <= beta else size - mpf(beta) / 2


def pseudo_huber(p, t, delta):
    delta = mpf(delta)
    return delta**2 * (mpmath.sqrt(1 + ((p - t) / delta) ** 2) - 1)


def log_cosh(p, t):
    return mpmath.log(mpmath.cosh(p - t))


def cauchy(p, t, scale):
    scale = mpf(scale)
    return scale**2 / 2 * mpmath.log1p(((p - t) / scale) ** 2)


def general_robust(p, t, alpha, scale):
    square = ((p - t) / mpf(scale)) ** 2
    if alpha == 2:
        return square / 2
    if alpha == 0:
        return mpmath.log1p(square / 2)
    if alpha == -mpmath.inf:
        return -mpmath.expm1(-square / 2)
    if alpha == mpmath.inf:
        return mpmath.expm1(square / 2)
    alpha = mpf(alpha)
    distance = abs(alpha - 2)
    return distance / alpha * ((square / distance + 1) ** (alpha / 2) - 1)


def poisson(p, t, log_input):
    if log_input:
        return mpmath.exp(p) - t * p
    return p - (t * mpmath.log(p) if t else 0)


def gamma(p, t):
    return p + t * mpmath.exp(-p)


def tweedie(p, t, power):
    if power == 1:
        return poisson(p, t, True)
    if power == 2:
        return gamma(p, t)
    q = mpf(power)
    return -t * mpmath.exp(p * (1 - q)) / (1 - q) + mpmath.exp(p * (2 - q)) / (2 - q)


def zero_or_one(t, targets):
    """Targets of -1 and 1 as 0 and 1, and what is between."""
    return (t + 1) / 2 if targets == "signed" else t


def smoothed(t, label_smoothing):
    smoothing = mpf(label_smoothing)
    return t * (1 - smoothing) + smoothing / 2


def binary_cross_entropy(p, t, from_logits, pos_weight, label_smoothing, targets):
    t = smoothed(zero_or_one(t, targets), label_smoothing)
    if from_logits:
        return pos_weight * t * softplus(-p) + (1 - t) * softplus(p)
    return -pos_weight * t * mpmath.log(p) - (1 - t) * mpmath.log1p(-p)


def focal(p, t, gamma, alpha, label_smoothing, targets):
    t = smoothed(zero_or_one(t, targets), label_smoothing)
    positive, negative = (1, 1) if alpha is None else (mpf(alpha), 1 - mpf(alpha))
    right, wrong = sigmoid(p), sigmoid(-p)
    return positive * t * wrong ** mpf(gamma) * softplus(-p) + negative * (1 - t) * right ** mpf(
        gamma
    ) * softplus(p)


def asymmetric_focal(p, t, gamma_neg, gamma_pos, margin, label_smoothing, targets):
    t = smoothed(zero_or_one(t, targets), label_smoothing)
    right, wrong = sigmoid(p), sigmoid(-p)
    shifted = right - mpf(margin)
    negative = shifted ** mpf(gamma_neg) * -mpmath.log1p(-shifted) if shifted > 0 else mpf(0)
    return t * wrong ** mpf(gamma_pos) * softplus(-p) + (1 - t) * negative


def hinge(p, t, targets):
    t = zero_or_one(t, targets)
    return max(0, 1 - (2 * t - 1) * p)


def squared_hinge(p, t, targets):
    t = zero_or_one(t, targets)
    return max(0, 1 - (2 * t - 1) * p) ** 2


def exponential(p, t, targets):
    t = zero_or_one(t, targets)
    return mpmath.exp(-(2 * t - 1) * p)


def modified_huber(p, t, targets):
    t = zero_or_one(t, targets)
    margin = (2 * t - 1) * p
    return max(0, 1 - margin) ** 2 if margin >= -1 else -4 * margin
