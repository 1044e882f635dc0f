"""Ranges of parameters: what numbers of a computation can hold, squares and inverses included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def excludes_infinity(value: float, limits: str) -> bool:
    """Whether a value is infinite, and the interval of its parameter open at that end."""
    return math.isinf(value) and limits.strip()[-1 if value > 0 else 0] not in "[]"


def span(powers: tuple[int, int], real: np.dtype) -> tuple[float, float]:
    """Smallest and largest size of a parameter whose powers are to be normal numbers of ``real``.

    The first power is that of the inverse, 0 where there is none; the second that of the number.
    """
    limits = np.finfo(real)
    low, high = powers
    least = float(limits.tiny) ** (1.0 / low) if low else 0.0
    most = float(limits.max) ** (1.0 / high) if high else math.inf
    return least, most


def outside_of_span(value: float, powers: tuple[int, int] | None, real: np.dtype) -> str:
    """What was expected of a parameter that is outside its span; empty where it is inside."""
    if powers is None or value == 0 or math.isinf(value):
        return ""
    least, most = span(powers, real)
    if least <= abs(value) <= most:
        return ""
    ends = [f"{least:.2g} at least"] if least else []
    ends += [f"{most:.2g} at most"] if most < math.inf else []
    return " and ".join(ends)


def fits(value: Any, real: np.dtype, positive: bool = False) -> bool:
    """Whether a number stays what it is in ``real``: finite, and not 0 where ``positive``."""
    with np.errstate(all="ignore"):
        found = np.asarray(value, np.float64).astype(real)
    if not (np.isfinite(found) | ~np.isfinite(value)).all():
        return False
    return not positive or bool((found != 0).all())
