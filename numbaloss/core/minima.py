"""Where functions are least: of one number, of a few, and of weighted samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# Of a number: value, slope and second derivative. Of several: value and gradient.
OfNumber = Callable[[float], tuple[float, float, float]]
OfVector = Callable[[np.ndarray], tuple[float, np.ndarray]]

_STEPS = 200
# Relative falls of a value that are below this are not worth another doubling.
_FALL = 1e-13


def weighted_mean(x: np.ndarray, weight: np.ndarray | None) -> float:
    """The mean of numbers with weights; of numbers whose sum would overflow too."""
    if weight is None:
        return float(x.mean())
    return float((x * (weight / weight.sum())).sum())


def weighted_quantile(x: np.ndarray, q: float, weight: np.ndarray | None = None) -> float:
    """A number whose pinball loss over samples with weights is least; the middle of several."""
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    mass = np.arange(1.0, len(x) + 1.0) if weight is None else np.cumsum(weight[order])
    share = q * mass[-1]
    # At equality all up to the next sample are as good.
    close = 1e-12 * mass[-1]
    low = int(np.searchsorted(mass, share - close))
    high = min(int(np.searchsorted(mass, share + close)), len(x) - 1)
    low = min(low, high)
    return float(ordered[low] + (ordered[high] - ordered[low]) / 2)


def number(function: OfNumber, candidates: np.ndarray, low: float, high: float) -> float:
    """Where a function of a number is least, near the best of some candidates.

    Newton's steps on the slope, or halves of the interval where they lead out of it or gain too
    little: kinks and concave parts do no harm. Where the function only falls, the result is
    ``low`` or ``high`` if they are finite, else a number beyond which it hardly falls.
    """
    grid = np.unique(candidates[(candidates >= low) & (candidates <= high)])
    values = np.array([function(float(one))[0] for one in grid])
    values[np.isnan(values)] = math.inf
    best = int(values.argmin())
    start = float(grid[best])
    left = float(grid[max(best - 1, 0)])
    right = float(grid[min(best + 1, len(grid) - 1)])
    left, at_left = _outward(function, start, left, low)
    right, at_right = _outward(function, start, right, high)
    least = function(start)[0]
    # Ends where the slope is not that of a valley, and that are no worse: those of the range, or
    # of a function that is flat there.
    ends = [
        (function(end)[0], end)
        for end, outside in ((left, at_left >= 0.0), (right, at_right <= 0.0))
        if outside
    ]
    ends = [(value, end) for value, end in ends if value <= least]
    if ends:
        return min(ends)[1]
    return _root(function, left, start, right)


def _outward(function: OfNumber, start: float, end: float, limit: float) -> tuple[float, float]:
    """An end of an interval, on the side of ``limit``, where the function does not fall; with
    the slope there."""
    sign = math.copysign(1.0, limit - start) if limit != start else 0.0
    step = abs(end - start) or max(1.0, abs(start))
    value = function(start)[0]
    best = start
    for _ in range(_STEPS):
        at = min(start + step, limit) if sign > 0 else max(start - step, limit)
        found, slope, _ = function(at)
        if slope * sign >= 0.0 or at == limit or not math.isfinite(found):
            return (at, slope) if math.isfinite(found) else (best, 0.0)
        fell = value - found
        if math.isinf(limit) and not fell > _FALL * (abs(value) + abs(found)):
            return at, 0.0
        value, best, step = found, at, 2.0 * step
    return best, 0.0


def _root(function: OfNumber, low: float, at: float, high: float) -> float:
    """Where the slope goes from below 0 to above, between two ends."""
    before = last = high - low
    for _ in range(_STEPS):
        _, slope, curve = function(at)
        if slope == 0.0:
            return at
        if slope < 0.0:
            low = at
        else:
            high = at
        newton = at - slope / curve if curve > 0.0 else math.nan
        # Newton's step has to halve the one before the last (Numerical Recipes, rtsafe).
        good = low < newton < high and abs(newton - at) <= 0.5 * abs(before)
        following = newton if good else low + (high - low) / 2
        before, last = last, following - at
        if abs(last) <= 4e-16 * abs(following) or following in (low, high):
            return following
        at = following
    return at


def levels(function: OfVector, order: np.ndarray, step: float) -> np.ndarray:
    """Where a sum of hinges of differences is least, or close to it, of numbers in a given order.

    Its corners are multiples of a step apart. From each of the vectors with a step somewhere in the
    order, all numbers from one on are raised by another, whichever raise gains most, as long as
    one gains anything.
    """
    values = {}

    def value(at: np.ndarray) -> float:
        key = at.tobytes()
        if key not in values:
            values[key] = function(at)[0]
        return values[key]

    ends = np.unique(order)
    ends = ends[:: -(-len(ends) // 16)]  # each vector below costs as many calls again
    above = [np.where(order >= one, step, 0.0) for one in ends]
    found = []
    for best in above:
        for _ in range(len(order)):
            raised = min([best + one for one in above], key=value)
            if not value(raised) < value(best):
                break
            best = raised
        found.append(best)
    return min(found, key=value)


def vector(function: OfVector, starts: list[np.ndarray]) -> np.ndarray:
    """Where a function of a few numbers is least, near the best of some starts: BFGS.

    Steps are halved until the value falls by a share of what the slope promises, so that the
    result is never worse than any start.
    """
    found = [function(one)[0] for one in starts]
    at = np.array(starts[int(np.nanargmin(found))], dtype=np.float64)
    value, gradient = function(at)
    size = len(at)
    inverse = np.eye(size)
    fresh = True
    for _ in range(_STEPS):
        scale = np.abs(gradient).max()
        if scale <= 1e-13 * max(1.0, abs(value)):
            break
        step = -inverse @ gradient
        promise = float(gradient @ step)
        if not promise < 0.0:
            inverse, fresh = np.eye(size), True
            step, promise = -gradient, -float(gradient @ gradient)
        length = 1.0
        for _ in range(60):
            there = at + length * step
            new, slope = function(there)
            if new <= value + 1e-4 * length * promise:
                break
            length *= 0.5
        else:
            if fresh:
                break
            inverse, fresh = np.eye(size), True
            continue
        moved, turned = there - at, slope - gradient
        inner = float(moved @ turned)
        if inner > 1e-12 * float(np.linalg.norm(moved) * np.linalg.norm(turned)):
            if fresh:
                inverse *= inner / float(turned @ turned)
            along = inverse @ turned
            inverse += (1.0 + float(turned @ along) / inner) / inner * np.outer(moved, moved)
            inverse -= (np.outer(along, moved) + np.outer(moved, along)) / inner
        fresh = False
        fell = value - new
        at, value, gradient = there, new, slope
        if fell <= 1e-15 * abs(value) and np.abs(moved).max() <= 1e-9:
            break
    return at
