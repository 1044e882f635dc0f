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


def chain(x: Parts, value: Any, slope: Any, bend: Any) -> Parts:
    """A function of one number, whose value and derivatives are known."""
    return Parts(
        value,
        slope * x.slope,
        slope * x.jump,
        bend * (x.slope * x.slope + x.jump * x.jump) + slope * x.bend,
    )


def absolute(x: Parts) -> Parts:
    zero = x.value == 0.0
    # A difference of two choices: one inside the other takes 10 % longer.
    sign = select(x.value > 0.0, 1.0, 0.0) - select(x.value < 0.0, 1.0, 0.0)
    right, left = size(x.slope + x.jump), size(x.slope - x.jump)
    return Parts(
        abs(x.value),
        sign * x.slope if x.jump is ABSENT else select(zero, 0.5 * (right - left), sign * x.slope),
        select(zero, 0.5 * (right + left), sign * x.jump),
        select(zero & (right + left == 0.0), size(x.bend), sign * x.bend),
    )


def maximum(a: Parts, b: Parts) -> Parts:
    return _extreme(a, b, a.value > b.value, a.value < b.value, 1.0)


def minimum(a: Parts, b: Parts) -> Parts:
    return _extreme(a, b, a.value < b.value, a.value > b.value, -1.0)


def _extreme(a: Parts, b: Parts, first: Any, second: Any, sign: float) -> Parts:
    """The one that lies on the side of ``sign``; where they meet, one on each side."""
    apart = (a.slope - b.slope, a.jump - b.jump)
    right, left = size(apart[0] + apart[1]), size(apart[0] - apart[1])
    slope = 0.5 * (a.slope + b.slope) + sign * 0.25 * (right - left if apart[1] is not ABSENT
                                                        else ABSENT)  # fmt: skip
    jump = 0.5 * (a.jump + b.jump) + sign * 0.25 * (right + left)
    # Where even the slopes agree, the one that bends more lies outside on both sides.
    further = sign * 0.5 * size(a.bend - b.bend)
    further = select(right + left == 0.0, further, ABSENT)
    bend = 0.5 * (a.bend + b.bend) + further

    def chosen(of_first: Any, of_second: Any, of_both: Any) -> Any:
        return select(first, of_first, select(second, of_second, of_both))

    return Parts(
        select(second, b.value, a.value),
        chosen(a.slope, b.slope, slope),
        chosen(a.jump, b.jump, jump),
        chosen(a.bend, b.bend, bend),
    )


def copysign(x: Parts, negative: Any) -> Parts:
    """``abs(x)`` with the sign of another number, of which ``negative`` tells."""
    bare = absolute(x)
    return Parts(*[select(negative, -one, one) for one in bare])


def sqrt(x: Parts, value: Any) -> Parts:
    inverse = 0.5 / value
    # The slope of a root at 0 is infinite; with one of 0 inside it makes 0, and not NaN.
    still = (value == 0.0) & (size(x.slope) + size(x.jump) == 0.0)
    slope, jump = inverse * x.slope, inverse * x.jump
    slope, jump = select(still, ABSENT, slope), select(still, ABSENT, jump)
    bend = inverse * (x.bend - 2.0 * (slope * slope + jump * jump))
    return Parts(value, slope, jump, select(still, ABSENT, bend))


def power(x: Parts, exponent: Any, value: Any) -> Parts:
    """x to a power that is a number, with the value given.

    Of the derivatives each is the one before it over x: a power takes ten times as long as a
    quotient. At x = 0 they are their limits.
    """
    y = exponent
    inverse = 1.0 / x.value
    zero = x.value == 0.0
    still = zero & (size(x.slope) + size(x.jump) == 0.0)
    infinity = float("inf")

    def at_zero(order: float) -> Any:
        below = select((y == 0.0) | (y == 1.0), 0.0, infinity)
        return select(y == order, 1.0, select(y > order, 0.0, below))

    once = select(zero, at_zero(1.0), value * inverse)
    twice = select(zero, at_zero(2.0), once * inverse)
    found = chain(x, value, y * once, y * (y - 1.0) * twice)
    parts = [select(still, ABSENT, one) for one in found[1:]]
    return Parts(value, *parts)


def exponential(a: Parts, x: Parts, value: Any, logarithm: Any) -> Parts:
    """a to the power x, both of which may have derivatives, with the value and log(a) given."""
    inverse = 1.0 / a.value
    of_base = chain(a, logarithm, inverse, -inverse * inverse)
    exponent = multiply(x, of_base)
    return chain(exponent, value, value, value)


def hypot(a: Parts, b: Parts, value: Any) -> Parts:
    """The root of the sum of two squares; its bend is a sum, which does not cancel."""
    inverse = 1.0 / value
    x, y = a.value * inverse, b.value * inverse
    still = value == 0.0
    slope = x * a.slope + y * b.slope
    jump = x * a.jump + y * b.jump
    across, over = x * b.slope - y * a.slope, x * b.jump - y * a.jump
    bend = (across * across + over * over) * inverse + x * a.bend + y * b.bend
    return Parts(
        value,
        select(still, ABSENT, slope),
        select(still, ABSENT, jump),
        select(still, ABSENT, bend),
    )


def atan2(y: Parts, x: Parts, value: Any) -> Parts:
    """The angle of a vector."""
    inverse = 1.0 / (x.value * x.value + y.value * y.value)
    u, v = x.value * inverse, y.value * inverse
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
