"""Targets as callers write them, and as formulas see them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .intervals import Interval

# Values of the parameter `targets`.
TARGETS = ("binary", "signed")
# The domains of targets that lie between the two, and of those that do not.
SOFT = {"binary": "[0, 1]", "signed": "[-1, 1]"}
HARD = {"binary": "{0, 1}", "signed": "{-1, 1}"}
# The domain of shares, coded as one number.
SHARES = Interval(-0.5, 1.0)


class Recoding(NamedTuple):
    """What is done to targets before a formula sees them.

    ``signed`` targets are −1 and 1, and what is between; formulas see 0 and 1. A ``pos_weight``
    a label makes of a target t, smoothed to ``t on + off``, the shares of what is positive,
    ``w t``, and of what is negative, ``1 - t``, and a weight, which is their sum. The smaller of
    the shares is what the formula gets, with all its digits: that of the negative with the sign
    turned, and 1 where that is 0.
    """

    signed: bool = False
    pos_weight: np.ndarray | None = None
    on: float = 1.0
    off: float = 0.0

    @classmethod
    def of(cls, loss: Any) -> Recoding | None:
        """That of a loss by its parameter ``targets``; None where targets stay as they are."""
        return cls(signed=True) if loss.__dict__.get("targets") == "signed" else None

    @property
    def paired(self) -> bool:
        """Whether a target and a number of its label make what the formula sees."""
        return self.pos_weight is not None

    def seen(self, given: Interval) -> Interval:
        """The domain of what the formula sees, of targets of a domain."""
        if self.paired:
            return SHARES
        if not self.signed:
            return given
        return given._replace(low=0.5 * given.low + 0.5, high=0.5 * given.high + 0.5)

    def limits(self, given: Interval, dtype: np.dtype, kind: str) -> tuple[float, ...]:
        """Limits of targets (:meth:`Interval.limits`) once they are between 0 and 1."""
        found = given.limits(dtype, kind)
        return tuple(0.5 * end + 0.5 for end in found) if self.signed else found

    def numbers(self, given: Interval, dtype: np.dtype, kind: str, check: bool) -> list[float]:
        """Arguments of kernels: a factor and a summand of targets; then, for shares, the
        targets that are fine, smoothing, and what stands for those that are not."""
        gain = 0.5 if self.signed else 1.0
        low, high = self.limits(given, dtype, kind)[2:]
        outside = 3.0 if check else np.nan
        return [gain, 1.0 - gain, low, high, self.on, self.off, outside]


def share(target, weight, pos_weight, bounds, smoothing, outside, units):
    """The shares of a target, coded as one number, and its weight: compiled for CPUs and GPUs.

    ``units`` are 0, 0.5 and 1 in the compute type.
    """
    zero, half, one = units
    out = (target < bounds[0]) | (target > bounds[1])
    t = zero if target < zero else target
    t = (one if t > one else t) * smoothing[0] + smoothing[1]
    positive, negative = pos_weight * t, one - t
    both = positive + negative
    divisor = both if both > zero else one
    mine, rest = positive / divisor, negative / divisor
    other = one if rest == zero else -rest
    code = mine if mine <= half else other
    code = outside if out else code
    unknown = target != target
    counts = (weight != zero) & (not out) & (not unknown)
    return (target if unknown else code), (weight * both if counts else weight)


def check_targets_parameter(loss: Any) -> None:
    """Raise where a parameter ``targets`` has another value."""
    value = loss.__dict__.get("targets")
    if isinstance(value, str) and value not in TARGETS:
        raise ValueError(f"{type(loss).__name__}: targets must be one of {TARGETS}, not {value!r}")
