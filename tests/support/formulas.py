"""Formulas of all operations that losses may use, and what mpmath makes of them in 60 digits."""

import math
import types

import mpmath
import numba
import numpy as np
import pytest

import numbaloss as nl
from numbaloss.formulas.points import point
from numbaloss.formulas.structure import formula_of
from numbaloss.vmath.overloads import install

FORMULAS = []

if not hasattr(mpmath.mpf, "__floordiv__"):  # before mpmath 1.4
    mpmath.mpf.__floordiv__ = lambda x, y: mpmath.floor(x / y)


def formula(low, high):
    """Take a function of a prediction between two numbers and a target between 0 and 1."""

    def keep(function):
        FORMULAS.append(pytest.param(function, low, high, id=function.__name__.strip("_")))
        return function

    return keep


@formula(-3.0, 3.0)
def polynomial(p, t):
    r = p - t
    return 3 * r**5 - 0.5 * r**4 + r**3.0 - 2.0 * r * r + r - 7


@formula(-2.0, 2.0)
def negative_powers(p, t):
    return (p + 3) ** -3 + (p - 4.0) ** -2.0 + 1 / (p + 5.0) ** 7


@formula(0.1, 4.0)
def real_powers(p, t):
    return p**1.7 + p ** (-t) + nl.pow(p, 0.5) + math.pow(p, 3.25)


@formula(-2.0, 2.0)
def of_a_number_to_a_power(p, t):
    return 2**p + (t + 0.5) ** (p * p) + 0.3 ** (-p)


@formula(0.2, 3.0)
def of_both_to_a_power(p, t):
    return p**p + (p + t) ** (1.0 / p)


@formula(-3.0, 3.0)
def quotients(p, t):
    return (p * p - t) / (p * p + t + 1.0) + t / (p + 4) - (p + 1) / 3.0 + p / (1.0 + t)


@formula(-3.0, 3.0)
def log_cosh_by_hand(p, t):
    r = abs(p - t)
    return r + nl.log1p(nl.exp(-2.0 * r))


@formula(-20.0, 20.0)
def logistic(p, t):
    return nl.softplus(p) - t * p + nl.sigmoid(-p) * nl.log_sigmoid(p) + nl.log_cosh(0.3 * p)


@formula(-3.0, 3.0)
def exponentials(p, t):
    return math.exp(-p * p) + math.expm1(p * t) - np.exp2(0.5 * p) + nl.tanh(p - t)


@formula(0.05, 5.0)
def logarithms(p, t):
    return math.log(p) * math.log1p(p * t) + math.log2(p + t) - np.log10(p * p)


@formula(0.05, 5.0)
def roots(p, t):
    return math.sqrt(p * p + t) - np.cbrt(p + t) + 1.0 / math.sqrt(p)


@formula(-3.0, 3.0)
def angles(p, t):
    return math.sin(2.0 * p) * math.cos(t * p) + 0.1 * math.tan(0.4 * p)


@formula(-0.9, 0.9)
def inverse_angles(p, t):
    return math.asin(p) + math.acos(p * t) * math.atan(3.0 * p) + np.arctan2(p, t + 1.0)


@formula(-3.0, 3.0)
def hyperbolic(p, t):
    return math.sinh(p) - math.cosh(t * p) + math.asinh(3.0 * p) * math.tanh(p)


@formula(0.05, 0.9)
def inverse_hyperbolic(p, t):
    return math.acosh(p + 1.5) + math.atanh(p * t)


@formula(-2.0, 2.0)
def errors(p, t):
    return math.erf(p - t) + p * math.erfc(p)


@formula(0.1, 12.0)
def gammas(p, t):
    return math.lgamma(p + t) - 0.01 * math.gamma(0.3 * p + 0.2)


@formula(-2.95, -2.05)
def gammas_of_negative_numbers(p, t):
    return math.lgamma(p) + math.gamma(p)


@formula(-3.0, 3.0)
def lengths(p, t):
    return math.hypot(p, t + 0.1) + np.hypot(p - 1.0, p * p + 1.0)


@formula(-3.0, 3.0)
def sums_of_exponentials(p, t):
    return np.logaddexp(p, t) + np.logaddexp(2.0 * p, -p * p)


@formula(-3.0, 3.0)
def huber(p, t):
    r = p - t
    if abs(r) <= 1.0:
        return 0.5 * r * r
    return abs(r) - 0.5


@formula(-3.0, 3.0)
def extremes(p, t):
    return max(p * p, 2.0 * p + t) + min(p, t, 0.5 * p) + np.maximum(p, -t) - np.minimum(p**3, 1.0)


@formula(-3.0, 3.0)
def choices(p, t):
    r = p - t
    scale = 2.0 if r > 0.5 else r + 3.0
    return scale * r * r if -1.0 < r < 1.0 else np.where(r > 2.0, r, r**3)


@formula(-3.0, 3.0)
def loops(p, t):
    total, term = 0.0, 1.0
    for i in range(1, 8):
        term = term * p / i
        total += term * t
    return total


@formula(-3.0, 3.0)
def steps(p, t):
    return p * np.floor(p * 3.0) + math.trunc(p) * p - math.ceil(p) * t + p * np.sign(p) + round(p)


@formula(-3.0, 3.0)
def remainders(p, t):
    return (p % 0.7) ** 2 + (p // 0.3) * p + math.fmod(p, 0.4) * p


@formula(-3.0, 3.0)
def signs(p, t):
    return math.copysign(p * p, p - t) + math.fabs(p) * np.abs(p - 5.0) + (-p) * (+p)


@formula(-3.0, 3.0)
def units(p, t):
    return math.radians(p) ** 2 + np.square(p) * np.reciprocal(p + 4.0) + math.degrees(0.001 * p)


@formula(-3.0, 3.0)
def assignments(p, t):
    r = p
    r -= t
    r *= 2
    r /= 3.0
    r += 1
    r **= 2
    return r if not (r > 100.0) else 0.0


def _cube(x, by=2.0):
    return by * x * x * x


def _clipped(x):
    return np.clip(x, -1.0, 1.5)


@formula(-3.0, 3.0)
def helpers(p, t):
    return _cube(_clipped(p)) + _cube(p - t, 0.25) * _cube(t)


@formula(-30.0, 30.0)
def focal(p, t):
    right = nl.sigmoid(p)
    return -t * (1.0 - right) ** 2 * nl.log_sigmoid(p) + (1.0 - t) * right**1.5 * nl.softplus(p)


@formula(-3.0, 3.0)
def nested(p, t):
    return nl.log1p(nl.exp(math.sin(nl.sqrt(1.0 + p * p)) * t)) / (2.0 + nl.tanh(p) ** 3)


def _of_mpmath():
    """What formulas call, for mpmath's numbers."""
    found = types.ModuleType("mpmath numbers")
    names = "exp expm1 log log1p sqrt cbrt sin cos tan asin acos atan sinh cosh tanh asinh acosh"
    for name in f"{names} atanh erf erfc gamma hypot sign floor".split():
        setattr(found, name, getattr(mpmath, name))
    vars(found).update(
        maximum=max, minimum=min, abs=abs, fabs=abs, pow=lambda x, y: x**y,
        exp2=lambda x: mpmath.mpf(2) ** x, log2=lambda x: mpmath.log(x, 2), log10=mpmath.log10,
        sigmoid=lambda x: 1 / (1 + mpmath.exp(-x)), softplus=lambda x: mpmath.log1p(mpmath.exp(x)),
        log_sigmoid=lambda x: -mpmath.log1p(mpmath.exp(-x)),
        log_cosh=lambda x: mpmath.log(mpmath.cosh(x)), arctan2=mpmath.atan2,
        lgamma=lambda x: mpmath.log(abs(mpmath.gamma(x))),
        logaddexp=lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
        where=lambda c, a, b: a if c else b, clip=lambda x, low, high: min(max(x, low), high),
        ceil=mpmath.ceil, trunc=lambda x: mpmath.sign(x) * mpmath.floor(abs(x)),
        fmod=lambda x, y: x - y * mpmath.sign(x / y) * mpmath.floor(abs(x / y)),
        copysign=lambda x, y: abs(x) * (1 if y >= 0 else -1), radians=mpmath.radians,
        degrees=mpmath.degrees, square=lambda x: x * x, reciprocal=lambda x: 1 / x,
    )  # fmt: skip
    return found


def of_mpmath(function):
    """The same function of mpmath's numbers."""
    numbers = _of_mpmath()
    names = dict.fromkeys(("nl", "math", "np"), numbers)
    helpers = {
        name: types.FunctionType(one.__code__, globals() | names, name, one.__defaults__)
        for name, one in globals().items()
        if name in ("_cube", "_clipped")
    }
    more = {"round": lambda x: mpmath.nint(x), "abs": abs}
    return types.FunctionType(function.__code__, globals() | names | helpers | more)


def as_loss(function):
    """A loss of that value."""

    def value(self, prediction, target):
        return function(prediction, target)

    name = function.__name__.strip("<_>").title()
    return type(name, (nl.Elementwise,), {"value": value})()


def exact(function, p, t):
    """Value, first and second derivative in float64, from 60 digits."""
    f = of_mpmath(function)
    with mpmath.workdps(60):
        x, other = mpmath.mpf(float(p)), mpmath.mpf(float(t))
        return [float(mpmath.diff(lambda q: f(q, other), x, n)) for n in range(3)]


_KNOWN: dict[types.CodeType, tuple] = {}


def _compiled(function):
    """The loss of a formula and its derivatives, compiled once for a formula in a loop."""
    if function.__code__ in _KNOWN:
        return _KNOWN[function.__code__]
    install()
    loss = as_loss(function)
    parameters = formula_of(type(loss)).record()
    found = loss, numba.njit(lambda p, t: point(parameters, p, t))
    if function.__closure__ is None and function.__defaults__ is None:
        _KNOWN[function.__code__] = found
    return found


def at(function, *predictions, target=0.0, kind=np.float64, near=1e-14):
    """Value, gradient and hessian of a formula, compiled; the twin in plain Python agrees.

    Compiled as kernels compile it, but for their loops, which take most of the time.
    """
    loss, compiled = _compiled(function)
    numbers = [kind(one) for one in predictions]
    found = np.array([compiled(one, kind(target)) for one in numbers]).T
    twin = np.array([loss.point(one, kind(target)) for one in numbers]).T
    near = 1e-6 if kind is np.float32 else near
    np.testing.assert_allclose(twin, found, rtol=near, atol=near)
    return found.tolist()
