"""The arithmetic of jets, written once for machine code and for plain Python.

A jet is what is known of a function at one point: its value, slope and hessian (first and second
derivative), and its jump, half of what the slope changes by where there is a kink. The rules here
are plain formulas of these parts. They run on numbers, on numbers in the making of machine code,
and on stand-ins for numbers, which state what parts a result has (:mod:`.compiled`).

A part that is missing, ``ABSENT``, is zero for every input: the hessian of everything affine, the
jump of everything smooth. It is missing and not a zero, for no compiler may drop a product with
0.0, which an infinity turns into NaN.

Where two one-sided derivatives differ, slope and hessian are their means: the slope of ``abs`` at
0 is 0, that of ``max(x, 0)`` a half. What is smooth though its pieces are not, as the square of
``abs`` is, so gets its true derivatives: the hessian of a product holds the product of the jumps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Absent:
    """A part that is zero everywhere."""

    __slots__ = ()

    def _other(self, other: Any) -> Any:
        return other

    def _negated(self, other: Any) -> Any:
        return self if other is self else -other

    def _absent(self, *_: Any) -> Absent:
        return self

    __add__ = __radd__ = __rsub__ = _other
    __sub__ = _negated
    __mul__ = __rmul__ = __neg__ = __truediv__ = _absent

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = Absent()


class Parts(NamedTuple):
    """A jet, or a number: one without derivatives."""

    value: Any
    slope: Any = ABSENT
    jump: Any = ABSENT
    hessian: Any = ABSENT


def select(condition: Any, where_true: Any, where_false: Any) -> Any:
    """One of two numbers, either of which may be absent."""
    if where_true is ABSENT and where_false is ABSENT:
        return ABSENT
    where_true = 0.0 if where_true is ABSENT else where_true
    where_false = 0.0 if where_false is ABSENT else where_false
    pick = getattr(condition, "pick", None)  # of numbers that are no numbers yet
    if pick is not None:
        return pick(where_true, where_false)
    return where_true if condition else where_false


def root(x: Any) -> Any:
    """The square root of a part."""
    make = getattr(x, "root", None)  # of numbers that are no numbers yet
    return np.sqrt(x) if make is None else make()


def size(x: Any) -> Any:
    """The absolute value of a part."""
    return ABSENT if x is ABSENT else abs(x)


def add(a: Parts, b: Parts) -> Parts:
    return Parts(a.value + b.value, a.slope + b.slope, a.jump + b.jump, a.hessian + b.hessian)


def subtract(a: Parts, b: Parts) -> Parts:
    return Parts(a.value - b.value, a.slope - b.slope, a.jump - b.jump, a.hessian - b.hessian)


def negative(x: Parts) -> Parts:
    return Parts(-x.value, -x.slope, -x.jump, -x.hessian)


def multiply(a: Parts, b: Parts) -> Parts:
    return Parts(
        a.value * b.value,
        a.slope * b.value + a.value * b.slope,
        a.jump * b.value + a.value * b.jump,
        a.hessian * b.value
        + 2.0 * (a.slope * b.slope + a.jump * b.jump)
        + a.value * b.hessian,
    )  # fmt: skip


def divide(a: Parts, b: Parts) -> Parts:
    # The value is divided as it says. Derivatives take the inverse: of a parameter it leaves the
    # loop, and one division less is most of what a quotient costs.
    inverse = 1.0 / b.value
    value = a.value / b.value
    slope = (a.slope - value * b.slope) * inverse
    jump = (a.jump - value * b.jump) * inverse
    hessian = (a.hessian - 2.0 * (slope * b.slope + jump * b.jump) - value * b.hessian) * inverse
    return Parts(value, slope, jump, hessian)


def remainder(a: Parts, b: Parts, value: Any, whole: Any) -> Parts:
    """What is left of a over b, with the whole quotient given."""
    return subtract(a, multiply(Parts(whole), b))._replace(value=value)


def chain(x: Parts, value: Any, slope: Any, hessian: Any) -> Parts:
    """A function of one number, whose value and derivatives are known."""
    # The hessian takes one slope after the other: their square may overflow where the hessian is 0.
    return Parts(
        value,
        slope * x.slope,
        slope * x.jump,
        hessian * x.slope * x.slope + hessian * x.jump * x.jump + slope * x.hessian,
    )


def logarithm(x: Parts, value: Any, inverse: Any, unit: float) -> Parts:
    """A logarithm in some unit, with the inverse of what it is of given."""
    # Of growth rates: the square of the inverse may overflow where they are small.
    slope, jump, hessian = x.slope * inverse, x.jump * inverse, x.hessian * inverse
    hessian = hessian - slope * slope - jump * jump
    return Parts(value, unit * slope, unit * jump, unit * hessian)


def absolute(x: Parts) -> Parts:
    zero = x.value == 0.0
    # A difference of two choices: one inside the other takes 10 % longer.
    sign = select(x.value > 0.0, 1.0, 0.0) - select(x.value < 0.0, 1.0, 0.0)
    after, before = x.slope + x.jump, x.slope - x.jump
    right, left = size(after), size(before)
    if x.jump is ABSENT:
        slope, hessian = sign * x.slope, select(right == 0.0, size(x.hessian), ABSENT)
    else:
        slope = select(zero, 0.5 * (right - left), sign * x.slope)
        hessian = 0.5 * (
            select(after > 0.0, x.hessian, select(after < 0.0, -x.hessian, size(x.hessian)))
            + select(before < 0.0, x.hessian, select(before > 0.0, -x.hessian, size(x.hessian)))
        )
    jump = select(zero, 0.5 * (right + left), sign * x.jump)
    return Parts(abs(x.value), slope, jump, select(zero, hessian, sign * x.hessian))


def maximum(a: Parts, b: Parts) -> Parts:
    return _extreme(a, b, a.value > b.value, a.value < b.value, 1.0)


def minimum(a: Parts, b: Parts) -> Parts:
    return _extreme(a, b, a.value < b.value, a.value > b.value, -1.0)


def _extreme(a: Parts, b: Parts, first: Any, second: Any, sign: float) -> Parts:
    """The one that lies on the side of ``sign``; where they meet, a mean of what each side has."""
    after, before = a.slope + a.jump, a.slope - a.jump
    after, before = after - (b.slope + b.jump), before - (b.slope - b.jump)
    right, left = size(after), size(before)
    slope, jump = 0.5 * (a.slope + b.slope), 0.5 * (a.jump + b.jump)
    if a.jump is not ABSENT or b.jump is not ABSENT:
        slope = slope + sign * 0.25 * (right - left)
    jump = jump + sign * 0.25 * (right + left)
    # Where even the slopes agree, the one that hessians more lies outside.
    alike = 0.5 * (a.hessian + b.hessian) + sign * 0.5 * size(a.hessian - b.hessian)
    hessian = 0.5 * (
        select(sign * after > 0.0, a.hessian, select(sign * after < 0.0, b.hessian, alike))
        + select(sign * before < 0.0, a.hessian, select(sign * before > 0.0, b.hessian, alike))
    )

    def chosen(of_first: Any, of_second: Any, of_both: Any) -> Any:
        return select(first, of_first, select(second, of_second, of_both))

    return Parts(
        select(second, b.value, a.value),
        chosen(a.slope, b.slope, slope),
        chosen(a.jump, b.jump, jump),
        chosen(a.hessian, b.hessian, hessian),
    )


def _still(x: Parts) -> Any:
    """Whether x neither rises nor falls here."""
    return size(x.slope) + size(x.jump) == 0.0


def _kink(x: Parts) -> Any:
    """The jump of the root of x where x is 0 and still: ``sqrt(r * r)`` is ``abs(r)``."""
    return ABSENT if x.hessian is ABSENT else root(0.5 * size(x.hessian))


def sqrt(x: Parts, value: Any) -> Parts:
    inverse = 0.5 / size(value)  # of -0.0 too
    # The slope of a root at 0 is infinite; with one of 0 inside it makes 0, and not NaN.
    still = (value == 0.0) & _still(x)
    slope, jump = inverse * x.slope, inverse * x.jump
    slope, jump = select(still, ABSENT, slope), select(still, ABSENT, jump)
    hessian = inverse * (x.hessian - 2.0 * (slope * slope + jump * jump))
    return Parts(value, slope, select(still, _kink(x), jump), select(still, ABSENT, hessian))


def power(x: Parts, exponent: Any, value: Any) -> Parts:
    """x to a power that is a number, with the value given.

    By growth rates, which neither overflow nor vanish, and take no second power.
    """
    y, infinity = exponent, float("inf")
    slope, jump, hessian = x.slope / x.value, x.jump / x.value, x.hessian / x.value
    hessian = (y - 1.0) * (slope * slope + jump * jump) + hessian
    # What is too small to differ from 0 takes its derivatives with it; at 0 they are limits.
    zero, still, gone = x.value == 0.0, _still(x), value == 0.0
    slope, jump, hessian = (select(gone, ABSENT, y * value * one) for one in (slope, jump, hessian))
    first = select((y > 1.0) | (y == 0.0), 0.0, infinity)
    second = select((y > 2.0) | (y == 0.0), 0.0, infinity)
    slope = select(zero, select(still, ABSENT, y * first * x.slope), slope)
    jump = select(zero, select(still, ABSENT, y * first * x.jump), jump)
    square = x.slope * x.slope + x.jump * x.jump
    hessian = select(zero, select(still, ABSENT, y * (y - 1.0) * second * square), hessian)
    jump = select(zero & still & (y == 0.5), _kink(x), jump)
    # These two go through 0 as if it were nothing.
    plain, product = y == 1.0, multiply(x, x)
    square = y == 2.0
    return Parts(
        value,
        select(plain, x.slope, select(square, product.slope, slope)),
        select(plain, x.jump, select(square, product.jump, jump)),
        select(plain, x.hessian, select(square, product.hessian, hessian)),
    )


def exponential(a: Parts, x: Parts, value: Any, log_base: Any) -> Parts:
    """a to the power x, both of which may have derivatives, with the value and log(a) given."""
    of_base = Parts(log_base)
    if a.slope is not ABSENT:
        of_base = logarithm(a, log_base, 1.0 / a.value, 1.0)
    exponent = multiply(x, of_base)
    parts = chain(exponent, value, value, value)
    if a.slope is not ABSENT:
        return parts
    # What is 0, of a base that is, or of one so small, does not change.
    return Parts(value, *[select(value == 0.0, ABSENT, one) for one in parts[1:]])


def hypot(a: Parts, b: Parts, value: Any) -> Parts:
    """The root of the sum of two squares; its hessian is a sum, which does not cancel."""
    inverse = 1.0 / value
    x, y = a.value * inverse, b.value * inverse
    slope, jump = x * a.slope + y * b.slope, x * a.jump + y * b.jump
    across, over = x * b.slope - y * a.slope, x * b.jump - y * a.jump
    hessian = across * inverse * across + over * inverse * over + x * a.hessian + y * b.hessian
    # At 0 it is a kink: as long to one side as the slopes are together.
    zero = value == 0.0
    after, before = (a.slope + a.jump, b.slope + b.jump), (a.slope - a.jump, b.slope - b.jump)
    right, left = (root(one * one + other * other) for one, other in (after, before))
    straight = a.jump is ABSENT and b.jump is ABSENT
    return Parts(
        value,
        select(zero, ABSENT if straight else 0.5 * (right - left), slope),
        select(zero, right if straight else 0.5 * (right + left), jump),
        select(zero, ABSENT, hessian),
    )


def atan2(y: Parts, x: Parts, value: Any) -> Parts:
    """The angle of a vector."""
    across, along = size(x.value), size(y.value)
    scale = 1.0 / select(across > along, across, along)  # squares may overflow, or vanish
    u, v = x.value * scale, y.value * scale
    inverse = scale / (u * u + v * v)
    u, v = u * inverse, v * inverse
    slope, jump = u * y.slope - v * x.slope, u * y.jump - v * x.jump
    # The square of the length has this slope, over itself.
    growth, change = 2.0 * (u * x.slope + v * y.slope), 2.0 * (u * x.jump + v * y.jump)
    hessian = u * y.hessian - v * x.hessian - slope * growth - jump * change
    return Parts(value, slope, jump, hessian)


def log_add_exp(a: Parts, b: Parts, value: Any, share: Any, other: Any) -> Parts:
    """log(e^a + e^b), with the shares of the two exponentials in the sum given."""
    apart, over = a.slope - b.slope, a.jump - b.jump
    return Parts(
        value,
        share * a.slope + other * b.slope,
        share * a.jump + other * b.jump,
        share * other * (apart * apart + over * over) + share * a.hessian + other * b.hessian,
    )
