"""What losses may call, for jets: how a function comes by the numbers that its rule needs.

These functions run as they are on the jets of plain Python. Compiled, ``rule`` and the names from
:mod:`.twin` stand for code that :mod:`.compiled` makes.
"""

from __future__ import annotations

import builtins
import math
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import vmath
from ..rewriting.marks import stop_gradient
from . import algebra, functions
from .twin import by_rule, largest, like, smallest, truncate, value

INFINITY = math.inf

# The rules of the algebra for jets and numbers. A module, since Numba looks into modules.
rule: Any = types.ModuleType("rule")
vars(rule).update(
    (name, by_rule(function))
    for name, function in vars(algebra).items()
    if getattr(function, "__annotations__", {}).get("return") == "Parts"
)


# Operators. What compares, compares values.


def less(a, b):
    return like(a, b) < like(b, a)


def less_equal(a, b):
    return like(a, b) <= like(b, a)


def greater(a, b):
    return like(a, b) > like(b, a)


def greater_equal(a, b):
    return like(a, b) >= like(b, a)


def equal(a, b):
    return like(a, b) == like(b, a)


def not_equal(a, b):
    return like(a, b) != like(b, a)


def truth(x):
    return value(x) != 0.0


def falsehood(x):
    return value(x) == 0.0


def same(x):
    return x


def raised(x, y):
    """A power whose exponent is a number."""
    exponent = like(y, x)
    return rule.power(x, exponent, vmath.pow(value(x), exponent))


def raised_to_jet(x, y):
    """A power whose exponent has derivatives."""
    base, exponent = like(x, y), value(y)
    return rule.exponential(x, y, vmath.pow(base, exponent), vmath.log(base))


def floor_quotient(a, b):
    return like(a, b) // like(b, a)


def modulo(a, b):
    x, y = like(a, b), like(b, a)
    return rule.remainder(a, b, x % y, x // y)


def left_over(a, b):
    x, y = like(a, b), like(b, a)
    rest, quotient = abs(x) % abs(y), abs(x) // abs(y)
    same_sign = (x < 0.0) == (y < 0.0)
    rest = -rest if x < 0.0 else rest
    return rule.remainder(a, b, rest, quotient if same_sign else -quotient)


# Functions of one number.


def constant(x):
    return value(x)


def square(x):
    return x * x


def reciprocal(x):
    return 1.0 / x


def sqrt(x):
    return rule.sqrt(x, vmath.sqrt(value(x)))


def log(x):
    return rule.logarithm(x, vmath.log(value(x)), 1.0 / value(x), 1.0)


def log1p(x):
    return rule.logarithm(x, vmath.log1p(value(x)), 1.0 / (1.0 + value(x)), 1.0)


def log2(x):
    return rule.logarithm(x, math.log2(value(x)), 1.0 / value(x), 1.0 / math.log(2.0))


def log10(x):
    return rule.logarithm(x, math.log10(value(x)), 1.0 / value(x), 1.0 / math.log(10.0))


def degrees(x):
    return x * (180.0 / math.pi)


def radians(x):
    return x * (math.pi / 180.0)


# Functions whose values are steps: numbers, which have no derivatives.


def sign(x):
    bare = value(x)
    steps = like(1.0 if bare > 0.0 else 0.0, x) - like(1.0 if bare < 0.0 else 0.0, x)
    return steps if bare == bare else bare


def whole(x):
    """Towards zero."""
    return truncate(value(x))


def floor(x):
    towards_zero = whole(x)
    return towards_zero - 1.0 if value(x) < towards_zero else towards_zero


def ceil(x):
    towards_zero = whole(x)
    return towards_zero + 1.0 if value(x) > towards_zero else towards_zero


def nearest(x):
    """The nearest whole number, of two the even one."""
    below = floor(x)
    rest = value(x) - below
    odd = below - 2.0 * floor(0.5 * below) == 1.0
    return below + 1.0 if rest > 0.5 or (rest == 0.5 and odd) else below


def is_nan(x):
    return math.isnan(value(x))


def is_infinite(x):
    return math.isinf(value(x))


def is_finite(x):
    return not (math.isnan(value(x)) or math.isinf(value(x)))


# Functions of several.


def larger(a, b, c=None, d=None):
    if c is None:
        return largest(a, b)
    if d is None:
        return largest_of_three(a, b, c)
    return largest_of_four(a, b, c, d)


def smaller(a, b, c=None, d=None):
    if c is None:
        return smallest(a, b)
    if d is None:
        return smallest_of_three(a, b, c)
    return smallest_of_four(a, b, c, d)


# The first two may be numbers: of those a rule knows nothing. So each count is code of its own.


def largest_of_three(a, b, c=None, d=None):
    return largest(largest(a, b), c)


def largest_of_four(a, b, c=None, d=None):
    return largest(largest(a, b), largest(c, d))


def smallest_of_three(a, b, c=None, d=None):
    return smallest(smallest(a, b), c)


def smallest_of_four(a, b, c=None, d=None):
    return smallest(smallest(a, b), smallest(c, d))


def maximum(a, b):
    return rule.maximum(a, b)


def minimum(a, b):
    return rule.minimum(a, b)


def clip(a, a_min=None, a_max=None, min=None, max=None):
    low = a if a_min is None else largest(a, a_min)
    low = low if min is None else largest(low, min)
    high = low if a_max is None else smallest(low, a_max)
    return high if max is None else smallest(high, max)


def where(condition, a, b):
    return a if condition else b


def signed(x, y):
    return abs(x) * (-1.0 if math.copysign(1.0, value(y)) < 0.0 else 1.0)


def hypot(a, b):
    x, y = abs(like(a, b)), abs(like(b, a))
    long, short = max(x, y), min(x, y)
    # Of the ratio, so that squares neither overflow nor vanish.
    ratio = short / long if 0.0 < long < INFINITY else 0.0 * short
    return rule.hypot(a, b, long * vmath.sqrt(1.0 + ratio * ratio))


def atan2(y, x):
    return rule.atan2(y, x, math.atan2(like(y, x), like(x, y)))


def log_add_exp(a, b):
    x, y = like(a, b), like(b, a)
    apart = 0.0 if x == y else x - y  # of two infinities
    log_sum = max(x, y) + vmath.log1p(vmath.exp(-abs(apart)))
    return rule.log_add_exp(a, b, log_sum, vmath.sigmoid(apart), vmath.sigmoid(-apart))


def _named(*names: str) -> tuple[Any, ...]:
    """The functions of these names of math, NumPy, vmath and Python; no name is in all four."""
    homes = math, np, vmath, builtins
    return tuple(vars(home)[name] for name in names for home in homes if name in vars(home))


# What stands for what.
RECIPES: dict[Callable, tuple[Any, ...]] = {
    rule.add: (operator.add, operator.iadd, np.add),
    rule.subtract: (operator.sub, operator.isub, np.subtract),
    rule.multiply: (operator.mul, operator.imul, np.multiply),
    rule.divide: (operator.truediv, operator.itruediv, np.divide),
    rule.negative: (operator.neg, np.negative),
    rule.absolute: _named("abs", "fabs"),
    same: (operator.pos, np.positive),
    less: (operator.lt,),
    less_equal: (operator.le,),
    greater: (operator.gt,),
    greater_equal: (operator.ge,),
    equal: (operator.eq,),
    not_equal: (operator.ne,),
    truth: (operator.truth,),
    falsehood: (operator.not_,),
    floor_quotient: (operator.floordiv, operator.ifloordiv, np.floor_divide),
    modulo: (operator.mod, operator.imod, np.mod),
    left_over: _named("fmod"),
    constant: (stop_gradient,),
    square: (np.square,),
    reciprocal: (np.reciprocal,),
    sqrt: _named("sqrt"),
    log: _named("log"),
    log1p: _named("log1p"),
    log2: _named("log2"),
    log10: _named("log10"),
    degrees: _named("degrees", "rad2deg"),
    radians: _named("radians", "deg2rad"),
    sign: (np.sign,),
    floor: _named("floor"),
    ceil: _named("ceil"),
    whole: _named("trunc"),
    nearest: _named("round", "rint"),
    is_nan: _named("isnan"),
    is_infinite: _named("isinf"),
    is_finite: _named("isfinite"),
    larger: (max,),
    smaller: (min,),
    maximum: (np.maximum, np.fmax),
    minimum: (np.minimum, np.fmin),
    clip: (np.clip,),
    where: (np.where,),
    signed: _named("copysign"),
    hypot: _named("hypot"),
    atan2: (math.atan2, np.arctan2),
    log_add_exp: (np.logaddexp,),
}
FUNCTIONS: dict[Callable, tuple[Any, ...]] = {
    function: _named(name, f"arc{name[1:]}") for name, function in functions.RULES.items()
}
POWERS = operator.pow, operator.ipow, pow, math.pow, np.power, np.float_power, vmath.pow
