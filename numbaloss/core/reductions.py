"""How the values of a call become one number."""

from __future__ import annotations

REDUCTIONS = ("mean", "weighted_mean", "batchmean", "sum", "none")
# Those that calls have: without an array for values, and with one.
DIRECT = REDUCTIONS, ("none",)


def batch_length(shape: tuple[int, ...]) -> float:
    """What ``"batchmean"`` divides by: the length of the first axis of the samples."""
    return float(shape[0]) if shape else 1.0
