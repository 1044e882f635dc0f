"""Links: from what a loss takes for its prediction, a margin, to what people want to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# A share that nothing was seen of, and 1 less that of all: as LightGBM has it. Their logits are
# ±LIMIT, large and finite.
LEAST_SHARE = 1e-15
LIMIT = float(np.log1p(-LEAST_SHARE) - np.log(LEAST_SHARE))

Array = np.ndarray


class Link(NamedTuple):
    """A function from means to margins, and its inverse, both of NumPy arrays of floats."""

    margin: Callable[[Array], Array]
    mean: Callable[[Array], Array]
    # Margins of a mean at the end of its range are this far from 0; none: there is no end.
    limit: float | None = None
    # Whether means are the probability of the second of two classes.
    of_probability: bool = False


def _same(x: Array) -> Array:
    return x


def _logit(p: Array) -> Array:
    return np.log(p) - np.log1p(-p)


def _sigmoid(x: Array) -> Array:
    # By the exponential that cannot overflow, precise in both tails.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _exp(x: Array) -> Array:
    with np.errstate(over="ignore"):  # beyond the largest number it is infinite
        return np.exp(x)


LINKS = {
    "identity": Link(_same, _same),
    "log": Link(np.log, _exp),
    "logit": Link(_logit, _sigmoid, LIMIT, True),
    # Of Exponential: its margins are half the logits.
    "half_logit": Link(lambda p: _logit(p) / 2, lambda x: _sigmoid(2 * x), LIMIT / 2, True),
    # Of squared margins: 2p - 1, which they take no further than -1 and 1.
    "margin": Link(
        lambda p: 2 * p - 1, lambda x: (np.clip(x, -1, 1) + 1) / 2, None, of_probability=True
    ),
}


def floats(given: Any) -> np.ndarray:
    """An array in float32 or float64. Arrays of CuPy, which answer NumPy's functions by their own,
    stay on their GPU."""
    on_gpu = hasattr(given, "__cuda_array_interface__") and hasattr(given, "__array_function__")
    array = given if on_gpu else np.asarray(given)
    return array if array.dtype == np.float32 else array.astype(np.float64)


def logarithm(mean: float) -> float:
    """The logarithm of a mean > 0; of one that is 0, or below, that of the least share."""
    return float(np.log(mean)) if mean > 0.0 else float(np.log(LEAST_SHARE))


def logit(positive: float, negative: float) -> float:
    """The logit of two weights, one of which may be 0."""
    share = positive / (positive + negative)
    if share < LEAST_SHARE:
        return -LIMIT
    if negative / (positive + negative) < LEAST_SHARE:
        return LIMIT
    return float(np.log(positive) - np.log(negative))


def softmax(margins: Array) -> Array:
    """The shares of the last axis."""
    power = np.exp(margins - margins.max(axis=-1, keepdims=True))
    return power / power.sum(axis=-1, keepdims=True)
