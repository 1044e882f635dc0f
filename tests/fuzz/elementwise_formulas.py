"""Formulas of the elementwise losses: value, first and second derivative, in extended precision.

Written by hand a second time, from the formulas in the docstrings and not from the code. Arrays
are ``numpy.longdouble``, whose exponents reach far beyond those of float64: squares of its largest
numbers are finite, and a result is infinite or NaN where the formula's limit is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Number = np.longdouble
INFINITY = Number(np.inf)
ONE, TWO, HALF = Number(1), Number(2), Number(0.5)
Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, ONE, small) / (1 + small)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def times(factor: Any, x: np.ndarray) -> np.ndarray:
    """A product that is 0 where the factor is, whatever x is."""
    return np.where(factor == 0, Number(0), factor * x)


def squared_error(p, t):
    r = p - t
    return r * r, 2 * r, np.full_like(r, 2)


def absolute_error(p, t):
    r = p - t
    return np.abs(r), np.sign(r), 0 * np.sign(r)


def quantile(p, t, q):
    r = p - t
    slope = np.where(r > 0, 1 - Number(q), np.where(r < 0, -Number(q), 0))
    return times(slope, r), slope, np.zeros_like(r)


def expectile(p, t, alpha):
    r = p - t
    weight = np.where(r > 0, 1 - Number(alpha), Number(alpha))
    return weight * r * r, 2 * weight * r, 2 * weight


def squared_log_error(p, t):
    ratio = (p - t) / (1 + t)
    near = np.abs(ratio) < 0.5  # else the difference of logarithms loses nothing
    d = np.where(near, np.log1p(np.where(near, ratio, 0)), np.log1p(p) - np.log1p(t))
    inverse = 1 / (1 + p)
    return d * d, 2 * d * inverse, 2 * (1 - d) * inverse * inverse


def absolute_percentage_error(p, t):
    inverse = 1 / np.maximum(np.abs(t), Number(2.0**-52))
    r = p - t
    return np.abs(r) * inverse, np.sign(r) * inverse, 0 * np.sign(r)


def huber(p, t, delta):
    r, d = p - t, Number(delta)
    near = np.abs(r) <= d
    return (
        np.where(near, r * r / 2, d * (np.abs(r) - d / 2)),
        np.clip(r, -d, d),
        np.where(near, ONE, Number(0)),
    )


def smooth_l1(p, t, beta):
    if beta == 0:
        return absolute_error(p, t)
    return tuple(one / Number(beta) for one in huber(p, t, beta))


def pseudo_huber(p, t, delta):
    r, d = p - t, Number(delta)
    root = np.sqrt(1 + (r / d) ** 2)
    value = np.where(np.isinf(r), INFINITY, r * (r / (1 + root)))
    slope = np.where(np.isinf(r), d * np.sign(r), r / root)
    return value, slope, 1 / root**3


def log_cosh(p, t):
    r = p - t
    size = np.abs(r)
    small = np.exp(-2 * size)
    value = np.where(
        size < 0.5, np.log1p(2 * np.sinh(np.minimum(size, 1) / 2) ** 2), size + np.log1p(small)
    )
    value = value - np.where(size < 0.5, 0, np.log(TWO))
    other = small / (1 + small)
    return value, np.tanh(r), 4 * other / (1 + small)


def cauchy(p, t, scale):
    r, c = p - t, Number(scale)
    square = (r / c) ** 2
    value = c * c / 2 * np.log1p(square)
    slope = np.where(np.isinf(square), c * c / r, r / (1 + square))
    curvature = np.where(np.isinf(square), 0, (1 - square) / (1 + square) ** 2)
    return value, slope, curvature


def general_robust(p, t, alpha, scale):
    r, c = p - t, Number(scale)
    square = (r / c) ** 2
    by_r = r / (c * c)
    if alpha == 2:
        return square / 2, by_r, np.full_like(r, 1) / (c * c)
    if abs(alpha) < 1e-30:
        fraction = 1 / (1 + square / 2)
        slope = np.where(np.isinf(square), 0, by_r * fraction)
        return np.log1p(square / 2), slope, fraction * (2 * fraction - 1) / (c * c)
    if abs(alpha) > 1e30:
        sign = np.sign(Number(alpha))
        power = np.exp(sign * square / 2) / (c * c)
        bend = np.where(power == 0, Number(0), power * (1 + sign * square))
        return sign * np.expm1(sign * square / 2), times(power, r), bend
    a = Number(alpha)
    distance = np.abs(a - 2)
    logarithm = np.log1p(square / distance)
    value = distance / a * np.expm1(a / 2 * logarithm)
    power = np.exp((a / 2 - 1) * logarithm)
    power = np.where(np.isinf(square), np.nan, power)  # whether times infinity, depends on alpha
    fraction = 1 / (1 + square / distance)
    bend = power / (c * c) * (fraction + (a - 1) * (1 - fraction))
    return value, times(power, by_r), np.where(power == 0, 0, bend)


def poisson(p, t, log_input):
    if log_input:
        rate = np.exp(p)
        return rate - times(t, p), rate - t, rate
    share = np.where(t == 0, 0, t / p)
    return p - times(t, np.log(p)), 1 - share, np.where(t == 0, 0, share / p)


def gamma(p, t):
    share = t * np.exp(-p)
    return p + share, 1 - share, share


def tweedie(p, t, power):
    if power == 1:
        return poisson(p, t, True)
    if power == 2:
        return gamma(p, t)
    first, second = 1 - Number(power), 2 - Number(power)
    score, mean = times(t, np.exp(p * first)), np.exp(p * second)
    return mean / second - score / first, mean - score, second * mean - first * score


def binary_cross_entropy(p, t, from_logits, pos_weight, label_smoothing):
    w = np.asarray(pos_weight, Number)
    t = _smoothed(t, label_smoothing)
    positive, negative = w * t, 1 - t
    if from_logits:
        right, wrong = sigmoid(p), sigmoid(-p)
        both = 1 + (w - 1) * t
        # softplus(x) is x + softplus(-x): nothing cancels where t is far outside [0, 1].
        linear = np.where(p >= 0, times(negative, p), -times(positive, p))
        return (
            both * softplus(-np.abs(p)) + linear,
            np.where(p >= 0, negative - both * wrong, both * right - positive),
            both * right * wrong,
        )
    value = -positive * np.maximum(np.log(p), -100) - negative * np.maximum(np.log1p(-p), -100)
    bounded = np.maximum(p * (1 - p), Number(1e-12))
    slope = negative * p - positive * (1 - p)
    curvature = positive * (1 - p) ** 2 + negative * p**2
    return value, slope / bounded, curvature / bounded**2


def _fading(gamma, margin):
    """``sigmoid(-m)**gamma * softplus(-m)`` and its derivatives by m."""
    g = Number(gamma)
    right, wrong, loss = sigmoid(margin), sigmoid(-margin), softplus(-margin)
    # sigmoid(-m)**g, without the underflow of the sigmoid
    fade = np.exp(-g * softplus(margin)) if gamma else np.ones_like(margin)
    inner = g * right * loss + wrong
    slope = -times(fade, inner)
    # d inner / dm: g right wrong loss - g right wrong - right wrong
    bend = times(fade, g * right * inner - right * wrong * (g * loss - g - 1))
    return times(fade, loss), slope, bend


def _smoothed(t, label_smoothing):
    return t * (1 - Number(label_smoothing)) + Number(label_smoothing) / 2


def focal(p, t, gamma, alpha, label_smoothing):
    t = _smoothed(t, label_smoothing)
    positive, negative = (ONE, ONE) if alpha is None else (Number(alpha), 1 - Number(alpha))
    one, other = _fading(gamma, p), _fading(gamma, -p)
    positive, negative = positive * t, negative * (1 - t)
    signs = (1, -1, 1)
    return tuple(
        times(positive, a) + sign * times(negative, b) for a, b, sign in zip(one, other, signs)
    )


def asymmetric_focal(p, t, gamma_neg, gamma_pos, margin, label_smoothing):
    t = _smoothed(t, label_smoothing)
    first = _fading(gamma_pos, p)
    if margin == 0:
        other = tuple(s * one for s, one in zip((1, -1, 1), _fading(gamma_neg, -p)))
    else:
        g, m = Number(gamma_neg), Number(margin)
        right, wrong = sigmoid(p), sigmoid(-p)
        counts = right > m
        u = np.where(counts, right - m, HALF)
        lost = -np.log1p(-u)
        slope = g * u ** (g - 1) * lost + u**g / (1 - u)
        bend = g * (g - 1) * u ** (g - 2) * lost + 2 * g * u ** (g - 1) / (1 - u)
        bend = bend + u**g / (1 - u) ** 2
        du = right * wrong
        parts = u**g * lost, slope * du, bend * du * du + slope * du * (wrong - right)
        other = tuple(np.where(counts, one, 0) for one in parts)
    return tuple(times(t, a) + times(1 - t, b) for a, b in zip(first, other))


def hinge(p, t):
    sign = 2 * t - 1
    gap = 1 - sign * p
    active = gap > 0
    return np.maximum(gap, 0), np.where(active, -sign, 0), np.zeros_like(p)


def squared_hinge(p, t):
    sign = 2 * t - 1
    gap = np.maximum(1 - sign * p, 0)
    return gap * gap, -2 * sign * gap, np.where(gap > 0, 2 * sign * sign, 0)


def exponential(p, t):
    sign = 2 * t - 1
    value = np.exp(-sign * p)
    return value, -sign * value, sign * sign * value


def modified_huber(p, t):
    sign = 2 * t - 1
    margin = sign * p
    gap = np.maximum(1 - margin, 0)
    inside = margin >= -1
    return (
        np.where(inside, gap * gap, -4 * margin),
        np.where(inside, -2 * gap, -4) * sign,
        np.where(inside & (gap > 0), 2 * sign * sign, 0),
    )


FORMULAS = {
    name: one
    for name, one in list(globals().items())
    if callable(one) and getattr(one, "__module__", None) == __name__ and not name.startswith("_")
}
for _helper in ("sigmoid", "softplus", "times"):
    del FORMULAS[_helper]


def formula(loss: Any, p: np.ndarray, t: np.ndarray, **changed: Any) -> Three:
    """Value, first and second derivative of an elementwise loss or a sum of such.

    ``changed`` parameters are for one loss: arrays for all elements in the place of one a label.
    """
    from numbaloss.registry import snake_case

    if hasattr(loss, "terms"):
        parts = [(Number(weight), formula(term, p, t)) for weight, term in loss.terms]
        return tuple(sum(w * one[k] for w, one in parts) for k in range(3))  # type: ignore
    names = [parameter.name for parameter in loss.parameters()]
    parameters = dict(zip(names, loss.values())) | changed
    signed = parameters.pop("targets", "binary") == "signed"
    t = (t + 1) / 2 if signed else t
    return FORMULAS[snake_case(type(loss).__name__)](p, t, **parameters)
