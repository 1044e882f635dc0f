"""Functions of one number with their first and second derivative.

Compiled for jets, and run as they are by the twin. Each is right in its tails: a slope is never one
less something that is almost one. Functions that share an exponential share it with their
derivatives.
"""

from __future__ import annotations

import math
from typing import Any

from .. import vmath

ROOT_OF_PI = 1.7724538509055160273
LOG_2 = 0.69314718055994530942
PI, INFINITY = math.pi, math.inf
FAR = 1e9  # the square of it exceeds 1 by more than the digits of a float64 number


def exp(x):
    e = vmath.exp(x)
    return e, e, e


def expm1(x):
    e = vmath.exp(x)
    return vmath.expm1(x), e, e


def exp2(x):
    e = vmath.pow(2.0, x)
    return e, LOG_2 * e, LOG_2 * LOG_2 * e


def cbrt(x):
    size = abs(x)
    near = vmath.pow(size, 1.0 / 3.0)
    # A third is no floating-point number: one step of Newton's mends what its rounding did.
    moved = near - (near - size / (near * near)) / 3.0
    root = moved if 0.0 < size < INFINITY else size
    value = root if x >= 0.0 else -root
    slope = 1.0 / (3.0 * root * root)
    return value, slope, -2.0 * slope / (3.0 * x)


def tanh(x):
    t, y = vmath.tanh(x), x + x
    u = 4.0 * vmath.sigmoid(y) * vmath.sigmoid(-y)
    return t, u, -2.0 * t * u


def sigmoid(x):
    s, c = vmath.sigmoid(x), vmath.sigmoid(-x)
    return s, s * c, s * c * (c - s)


def softplus(x):
    s = vmath.sigmoid(x)
    return vmath.softplus(x), s, s * vmath.sigmoid(-x)


def log_sigmoid(x):
    c = vmath.sigmoid(-x)
    return vmath.log_sigmoid(x), c, -c * vmath.sigmoid(x)


def log_cosh(x):
    y = x + x
    return vmath.log_cosh(x), vmath.tanh(x), 4.0 * vmath.sigmoid(y) * vmath.sigmoid(-y)


def sin(x):
    s = math.sin(x)
    return s, math.cos(x), -s


def cos(x):
    c = math.cos(x)
    return c, -math.sin(x), -c


def tan(x):
    t = math.tan(x)
    u = 1.0 + t * t
    return t, u, 2.0 * t * u


def asin(x):
    u = 1.0 / ((1.0 - x) * (1.0 + x))
    r = vmath.sqrt(u)
    return math.asin(x), r, x * u * r


def acos(x):
    u = 1.0 / ((1.0 - x) * (1.0 + x))
    r = vmath.sqrt(u)
    return math.acos(x), -r, -x * u * r


def atan(x):
    u = 1.0 / (1.0 + x * x)
    share = x * u if abs(x) < INFINITY else 0.0
    return math.atan(x), u, -2.0 * share * u


def sinh(x):
    s = math.sinh(x)
    return s, math.cosh(x), s


def cosh(x):
    c = math.cosh(x)
    return c, math.sinh(x), c


def asinh(x):
    far = abs(x) > FAR
    u = 1.0 if far else 1.0 / (1.0 + x * x)
    r = 1.0 / abs(x) if far else vmath.sqrt(u)
    share = math.copysign(1.0, x) if far else x * r  # x over the root of 1 + x²
    return math.asinh(x), r, -share * r * r


def acosh(x):
    far = x > FAR
    u = 1.0 if far else 1.0 / ((x - 1.0) * (x + 1.0))
    r = 1.0 / x if far else vmath.sqrt(u)
    share = 1.0 if far else x * r
    return math.acosh(x), r, -share * r * r


def atanh(x):
    u = 1.0 / ((1.0 - x) * (1.0 + x))
    return math.atanh(x), u, 2.0 * x * u * u


def erf(x):
    g = 2.0 / ROOT_OF_PI * vmath.exp(-x * x)
    share = x * g if abs(x) < INFINITY else 0.0
    return math.erf(x), g, -2.0 * share


def erfc(x):
    g = 2.0 / ROOT_OF_PI * vmath.exp(-x * x)
    share = x * g if abs(x) < INFINITY else 0.0
    return math.erfc(x), -g, 2.0 * share


def lgamma(x):
    first, second = polygammas(x)
    return math.lgamma(x), first, second


def gamma(x):
    first, second = polygammas(x)
    g = math.gamma(x)
    return g, g * first, g * (first * first + second)


def polygammas(x):
    """The first two derivatives of log(gamma(x)): digamma and trigamma."""
    left = x < 0.5
    y = 1.0 - x if left else x
    first, second = 0.0 * y, 0.0 * y
    while y < 10.0:  # from there on the series below is good to the last bits
        first -= 1.0 / y
        second += 1.0 / (y * y)
        y += 1.0
    r = 1.0 / (y * y)
    series = 1 / 132 - r * (691 / 32760 - r / 12.0)
    series = 1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * series)))
    first += vmath.log(y) - 0.5 / y - r * series
    series = 5 / 66 - r * (691 / 2730 - r * 7.0 / 6.0)
    series = 1 / 6 - r * (1 / 30 - r * (1 / 42 - r * (1 / 30 - r * series)))
    second += (1.0 + r * series) / y + 0.5 * r
    if left:  # by reflection
        angle = PI * (x % 1.0)
        sine = math.sin(angle)
        first -= PI * math.cos(angle) / sine
        second = PI / sine * (PI / sine) - second
    return first, second


RULES: dict[str, Any] = {
    rule.__name__: rule
    for rule in (
        exp, expm1, exp2, cbrt, tanh, sigmoid, softplus, log_sigmoid,
        log_cosh, sin, cos, tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh, erf, erfc,
        lgamma, gamma,
    )
}  # fmt: skip
