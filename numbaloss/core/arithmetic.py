"""``+`` and ``*`` of losses: what makes sums of them."""

from __future__ import annotations

import math
from typing import Any


def add(left: Any, right: Any, sign: float = 1.0) -> Any:
    """``left + right``; 0 is neutral, so that ``sum(losses)`` works."""
    if isinstance(right, (int, float)) and right == 0:
        return left
    if not hasattr(type(right), "sum_class"):
        return NotImplemented
    if left.structure() is not right.structure():
        raise TypeError(
            f"cannot add {right!r} to {left!r}: a sum needs losses of one structure, these are "
            f"{left.structure().__name__} and {right.structure().__name__}"
        )
    return left.structure().sum_class()(((1.0, left), (sign, right)))


def scale(loss: Any, factor: object) -> Any:
    """``factor * loss``."""
    if isinstance(factor, bool) or getattr(factor, "shape", ()) != ():
        return NotImplemented
    if not hasattr(factor, "__float__"):
        return NotImplemented
    weight = float(factor)
    if not math.isfinite(weight):
        raise ValueError(f"a loss can be multiplied by finite numbers only, not {weight}")
    return loss.structure().sum_class()(((weight, loss),))
