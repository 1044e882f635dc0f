"""Intervals of the real line, written as in a textbook: ``"[0, 1)"``, ``"{0, 1}"``."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """The numbers from ``low`` to ``high``; an open end excludes its bound.

    ``binary`` stands for the two numbers 0 and 1 alone.
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
            return value in (0, 1)
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

    def intersect(self, other: Interval) -> Interval:
        """The numbers that belong to both intervals."""
        if self.binary or other.binary:
            either, rest = (self, other) if self.binary else (other, self)
            if 0 in rest and 1 in rest:
                return either
            raise ValueError(f"the domains {self} and {other} have too little in common")
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_open = min((self.high, not self.high_open), (other.high, not other.high_open))
        if low > high or (low == high and (low_open or not high_open)):
            raise ValueError(f"the domains {self} and {other} have no number in common")
        return Interval(low, high, low_open, not high_open)

    def __str__(self) -> str:
        if self.binary:
            return "{0, 1}"
        left = "(" if self.low_open or math.isinf(self.low) else "["
        right = ")" if self.high_open or math.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


@lru_cache
def interval(text: str) -> Interval:
    """Read an interval.

    An infinite bound belongs to the interval whatever its bracket: the domains of
    losses exclude numbers whose logarithm does not exist, and infinity is not one.

    >>> 0.0 in interval("(0, 1]")
    False
    """
    body = text.strip()
    if body.replace(" ", "") == "{0,1}":
        return Interval(0.0, 1.0, binary=True)
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
