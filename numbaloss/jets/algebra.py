"""The arithmetic of jets, said once for machine code and for plain Python.

A jet is what is known of a function at one point: its value, slope and bend (first and second
derivative), and its jump, half of what the slope changes by where there is a kink. The rules here
are plain formulas of these parts. They run on numbers, on numbers in the making of machine code,
and on mere shadows of numbers, which tell what parts a result has (:mod:`.compiled`).

A part that is missing, ``ABSENT``, is zero for every input: the bend of everything affine, the
jump of everything smooth. It is missing and not a zero, for no compiler may drop a product with
0.0, which an infinity turns into NaN.

Where two one-sided derivatives differ, slope and bend are their means: the slope of ``abs`` at 0 is
0, that of ``max(x, 0)`` a half. What is smooth though its pieces are not, as the square of ``abs``
is, so gets its true derivatives: the bend of a product holds the product of the jumps.
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
    bend: Any = ABSENT


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
    return Parts(a.value + b.value, a.slope + b.slope, a.jump + b.jump, a.bend + b.bend)


def subtract(a: Parts, b: Parts) -> Parts:
    return Parts(a.value - b.value, a.slope - b.slope, a.jump - b.jump, a.bend - b.bend)


def negative(x: Parts) -> Parts:
    return Parts(-x.value, -x.slope, -x.jump, -x.bend)


def multiply(a: Parts, b: Parts) -> Parts:
    return Parts(
        a.value * b.value,
        a.slope * b.value + a.value * b.slope,
        a.jump * b.value + a.value * b.jump,
        a.bend * b.value
        + 2.0 * (a.slope * b.slope + a.jump * b.jump)
        + a.value * b.bend,
    )  # fmt: skip


def divide(a: Parts, b: Parts) -> Parts:
    # The value is divided as it says. Derivatives take the inverse: of a parameter it leaves the
    # loop, and one division less is most of what a quotient costs.
    inverse = 1.0 / b.value
    value = a.value / b.value
    slope = (a.slope - value * b.slope) * inverse
    jump = (a.jump - value * b.jump) * inverse
    bend = (a.bend - 2.0 * (slope * b.slope + jump * b.jump) - value * b.bend) * inverse
    return Parts(value, slope, jump, bend)


def remainder(a: Parts, b: Parts, value: Any, whole: Any) -> Parts:
    """What is left of a over b, with the whole quotient given."""
    return subtract(a, multiply(Parts(whole), b))._replace(value=value)


def chain(x: Parts, value: Any, slope: Any, bend: Any) -> Parts:
    """A function of one number, whose value and derivatives are known."""
    # The bend takes one slope after the other: their square may overflow where the bend is 0.
    return Parts(
        value,
        slope * x.slope,
        slope * x.jump,
        bend * x.slope * x.slope + bend * x.jump * x.jump + slope * x.bend,
    )


def logarithm(x: Parts, value: Any, inverse: Any, unit: float) -> Parts:
    """A logarithm in some unit, with the inverse of what it is of given."""
    # Of growth rates: the square of the inverse may overflow where they are small.
    slope, jump, bend = x.slope * inverse, x.jump * inverse, x.bend * inverse
    bend = bend - slope * slope - jump * jump
    return Parts(value, unit * slope, unit * jump, unit * bend)


def absolute(x: Parts) -> Parts:
    zero = x.value == 0.0
    # A difference of two choices: one inside the other takes 10 % longer.
    sign = select(x.value > 0.0, 1.0, 0.0) - select(x.value < 0.0, 1.0, 0.0)
    after, before = x.slope + x.jump, x.slope - x.jump
    right, left = size(after), size(before)
    if x.jump is ABSENT:
        slope, bend = sign * x.slope, select(right == 0.0, size(x.bend), ABSENT)
    else:
        slope = select(zero, 0.5 * (right - left), sign * x.slope)
        bend = 0.5 * (
            select(after > 0.0, x.bend, select(after < 0.0, -x.bend, size(x.bend)))
            + select(before < 0.0, x.bend, select(before > 0.0, -x.bend, size(x.bend)))
        )
    jump = select(zero, 0.5 * (right + left), sign * x.jump)
    return Parts(abs(x.value), slope, jump, select(zero, bend, sign * x.bend))


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
    # Where even the slopes agree, the one that bends more lies outside.
    alike = 0.5 * (a.bend + b.bend) + sign * 0.5 * size(a.bend - b.bend)
    bend = 0.5 * (
        select(sign * after > 0.0, a.bend, select(sign * after < 0.0, b.bend, alike))
        + select(sign * before < 0.0, a.bend, select(sign * before > 0.0, b.bend, alike))
    )

    def chosen(of_first: Any, of_second: Any, of_both: Any) -> Any:
        return select(first, of_first, select(second, of_second, of_both))

    return Parts(
        select(second, b.value, a.value),
        chosen(a.slope, b.slope, slope),
        chosen(a.jump, b.jump, jump),
        chosen(a.bend, b.bend, bend),
    )


def _still(x: Parts) -> Any:
    """Whether x neither rises nor falls here."""
    return size(x.slope) + size(x.jump) == 0.0


def _kink(x: Parts) -> Any:
    """The jump of the root of x where x is 0 and still: ``sqrt(r * r)`` is ``abs(r)``."""
    return ABSENT if x.bend is ABSENT else root(0.5 * size(x.bend))


def sqrt(x: Parts, value: Any) -> Parts:
    inverse = 0.5 / size(value)  # of -0.0 too
    # The slope of a root at 0 is infinite; with one of 0 inside it makes 0, and not NaN.
    still = (value == 0.0) & _still(x)
    slope, jump = inverse * x.slope, inverse * x.jump
    slope, jump = select(still, ABSENT, slope), select(still, ABSENT, jump)
    bend = inverse * (x.bend - 2.0 * (slope * slope + jump * jump))
    return Parts(value, slope, select(still, _kink(x), jump), select(still, ABSENT, bend))


def power(x: Parts, exponent: Any, value: Any) -> Parts:
    """x to a power that is a number, with the value given.

    By growth rates, which neither overflow nor vanish, and take no second power.
    """
    y, infinity = exponent, float("inf")
    slope, jump, bend = x.slope / x.value, x.jump / x.value, x.bend / x.value
    bend = (y - 1.0) * (slope * slope + jump * jump) + bend
    # What is too small to be told from 0 takes its derivatives with it; at 0 they are limits.
    zero, still, gone = x.value == 0.0, _still(x), value == 0.0
    slope, jump, bend = (select(gone, ABSENT, y * value * one) for one in (slope, jump, bend))
    first = select((y > 1.0) | (y == 0.0), 0.0, infinity)
    second = select((y > 2.0) | (y == 0.0), 0.0, infinity)
    slope = select(zero, select(still, ABSENT, y * first * x.slope), slope)
    jump = select(zero, select(still, ABSENT, y * first * x.jump), jump)
    square = x.slope * x.slope + x.jump * x.jump
    bend = select(zero, select(still, ABSENT, y * (y - 1.0) * second * square), bend)
    jump = select(zero & still & (y == 0.5), _kink(x), jump)
    # These two go through 0 as if it were nothing.
    plain, product = y == 1.0, multiply(x, x)
    square = y == 2.0
    return Parts(
        value,
        select(plain, x.slope, select(square, product.slope, slope)),
        select(plain, x.jump, select(square, product.jump, jump)),
        select(plain, x.bend, select(square, product.bend, bend)),
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
    """The root of the sum of two squares; its bend is a sum, which does not cancel."""
    inverse = 1.0 / value
    x, y = a.value * inverse, b.value * inverse
    slope, jump = x * a.slope + y * b.slope, x * a.jump + y * b.jump
    across, over = x * b.slope - y * a.slope, x * b.jump - y * a.jump
    bend = across * inverse * across + over * inverse * over + x * a.bend + y * b.bend
    # At 0 it is a kink: as long to one side as the slopes are together.
    zero = value == 0.0
    after, before = (a.slope + a.jump, b.slope + b.jump), (a.slope - a.jump, b.slope - b.jump)
    right, left = (root(one * one + other * other) for one, other in (after, before))
    straight = a.jump is ABSENT and b.jump is ABSENT
    return Parts(
        value,
        select(zero, ABSENT if straight else 0.5 * (right - left), slope),
        select(zero, right if straight else 0.5 * (right + left), jump),
        select(zero, ABSENT, bend),
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
    bend = u * y.bend - v * x.bend - slope * growth - jump * change
    return Parts(value, slope, jump, bend)


def log_add_exp(a: Parts, b: Parts, value: Any, share: Any, other: Any) -> Parts:
    """log(e^a + e^b), with the shares of the two exponentials in the sum given."""
    apart, over = a.slope - b.slope, a.jump - b.jump
    return Parts(
        value,
        share * a.slope + other * b.slope,
        share * a.jump + other * b.jump,
        share * other * (apart * apart + over * over) + share * a.bend + other * b.bend,
    )
