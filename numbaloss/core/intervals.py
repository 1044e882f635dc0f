"""Intervals of the real line, written as in a textbook: ``"[0, 1)"``, ``"{0, 1}"``."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Numbers so many steps of their dtype beyond a bound are taken for the bound: shares that were
# divided by their sum come that far.
ROUNDING = 8


class Interval(NamedTuple):
    """The numbers from ``low`` to ``high``; an open end excludes its bound.

    ``binary`` stands for the two ends alone: 0 and 1, or -1 and 1.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    binary: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)):
            return False
        if self.binary:
            return value in (self.low, self.high)
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    @property
    def everything(self) -> bool:
        """Whether every number but NaN belongs to the interval."""
        closed = not (self.low_open or self.high_open)
        return closed and not self.binary and self.low == -math.inf and self.high == math.inf

    def closed(self, dtype: np.dtype) -> tuple[float, float]:
        """Smallest and largest member among the numbers that ``dtype`` can represent."""
        low, high = dtype.type(self.low), dtype.type(self.high)
        if self.low_open and not math.isinf(low):
            low = np.nextafter(low, dtype.type(math.inf))
        if self.high_open and not math.isinf(high):
            high = np.nextafter(high, dtype.type(-math.inf))
        return float(low), float(high)

    def near(self, dtype: np.dtype, kind: str) -> tuple[float, float]:
        """What passes for a member among numbers of ``kind`` that ``dtype`` is to represent.

        That is a little more than the closed interval where rounding can lead beyond it: not at
        0, below which no sum of positive numbers falls, not at open ends, where the loss may be
        infinite, and not for integers.
        """
        low, high = self.closed(dtype)
        with np.errstate(all="ignore"):
            lowest = low if self.low_open else float(dtype.type(_stepped(low, kind, -1)))
            highest = high if self.high_open else float(dtype.type(_stepped(high, kind, 1)))
        return min(low, lowest), max(high, highest)

    def limits(self, dtype: np.dtype, kind: str) -> tuple[float, float, float, float]:
        """The ends that numbers are brought to, then those beyond which they are an error."""
        return _limits(self, dtype, kind)

    def intersect(self, other: Interval) -> Interval:
        """The numbers that belong to both intervals."""
        if self.binary or other.binary:
            either, rest = (self, other) if self.binary else (other, self)
            if either.low in rest and either.high in rest:
                return either
            raise ValueError(f"the domains {self} and {other} have too little in common")
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_open = min((self.high, not self.high_open), (other.high, not other.high_open))
        if low > high or (low == high and (low_open or not high_open)):
            raise ValueError(f"the domains {self} and {other} have no number in common")
        return Interval(low, high, low_open, not high_open)

    def __str__(self) -> str:
        if self.binary:
            return f"{{{self.low:g}, {self.high:g}}}"
        left = "(" if self.low_open or math.isinf(self.low) else "["
        right = ")" if self.high_open or math.isinf(self.high) else "]"
        low, high = (str(end).removesuffix(".0") for end in (self.low, self.high))
        return f"{left}{low}, {high}{right}"


@lru_cache  # it takes as long as a call on few numbers, which asks each time
def _limits(of: Interval, dtype: np.dtype, kind: str) -> tuple[float, float, float, float]:
    return (*of.closed(dtype), *of.near(dtype, kind))


def _stepped(bound: float, kind: str, direction: int) -> float:
    """The number of a dtype that lies some steps below or above a bound."""
    if bound == 0.0 or math.isinf(bound):
        return bound
    if kind == "bfloat16":  # the upper half of a float32
        steps = direction * ROUNDING << 16
        bits = np.float32(bound).view(np.int32) + np.int32(steps if bound > 0 else -steps)
        return float(bits.view(np.float32))
    if not kind.startswith("float"):
        return bound
    number = np.dtype(kind).type(bound)
    for _ in range(ROUNDING):
        number = np.nextafter(number, number.dtype.type(direction * math.inf))
    return float(number)


@lru_cache
def interval(text: str) -> Interval:
    """Read an interval.

    An infinite bound belongs to the interval whatever its bracket: the domains of
    losses exclude numbers whose logarithm does not exist, and infinity is not one.

    >>> 0.0 in interval("(0, 1]")
    False
    """
    body = text.strip()
    if body.replace(" ", "") in ("{0,1}", "{-1,1}"):
        return Interval(-1.0 if "-" in body else 0.0, 1.0, binary=True)
    ends = body[1:-1].split(",")
    if len(ends) != 2 or body[0] not in "[(" or body[-1] not in ")]":
        raise ValueError(f"an interval is written like '[0, 1)' or '{{0, 1}}', not {text!r}")
    low, high = float(ends[0]), float(ends[1])
    return Interval(
        low,
        high,
        body[0] == "(" and not math.isinf(low),
        body[-1] == ")" and not math.isinf(high),
    )
