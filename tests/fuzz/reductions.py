"""Weights, counts and divisors of a call, and what its reduced value may be."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .bands import Band, scaled, total
from .calls import Call
from .draws import seen
from .elementwise_formulas import Number

# Of sums: what rounding of terms, which counts apart, leaves to the order of adding them.
SUMS = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 1e-14}


class Expected(NamedTuple):
    """Bands of results; None where nothing is known."""

    value: Band | None
    derivatives: list[Band | None]
    places: np.ndarray | None = None  # elements that the bands are about, where not all


class Samples(NamedTuple):
    """Weights of samples, which of them count for nothing, and the divisor of a reduction."""

    weight: np.ndarray
    removed: np.ndarray
    divisor: float

    def factor(self, scale: float) -> np.ndarray:
        return self.weight * Number(scale / self.divisor if self.divisor else 0.0)


def spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a leading part of a shape, for all of it."""
    return np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)


def samples(call: Call, shape: tuple[int, ...], counts: Any = True, mass: Any = 1.0) -> Samples:
    """``counts``: which samples do; ``mass``: what class weights make of each, for the divisor."""
    counts = np.broadcast_to(np.asarray(counts), shape)
    given = call.arrays.get("sample_weight")
    weight = np.ones(shape)
    if given is not None:
        weight = spread(seen(given.array, np.dtype(np.float64)), shape)
    if "mask" in call.arrays:
        counts = counts & spread(call.arrays["mask"].array, shape)
    reduction = call.options["reduction"]
    divisor = 1.0
    if reduction == "mean":
        divisor = float(counts.sum())
    elif reduction == "weighted_mean":
        divisor = float(np.sum(np.where(counts & (weight != 0), weight * mass, 0.0)))
    return Samples(weight.astype(Number), ~counts | (weight == 0), divisor)


def finished(call: Call, band: Band, of: Samples) -> Band:
    """The band of the value: of each sample, or of the reduced one."""
    reduction = call.options["reduction"]
    if reduction == "none":
        return scaled(band, of.weight, of.removed, call.real)
    if of.divisor == 0.0 and reduction != "sum":
        return Band(*(np.asarray(one) for one in (Number(0), Number(0), True, False)))
    found = total(band, of.weight, of.removed, SUMS[call.real], call.real)
    divisor = of.divisor if reduction != "sum" else 1.0
    slack = 8 * np.finfo(np.float64).eps
    low, high = (np.asarray(one / Number(divisor)) for one in (found.low, found.high))
    tiny = Number(np.finfo(np.float64).tiny)
    # A sum of float64 beyond the largest number is infinite, whatever it is divided by.
    largest = Number(np.finfo(np.float64).max) * (1 - slack)
    high = np.where(found.high > largest, np.inf, high)
    low = np.where(found.low < -largest, -np.inf, low)
    return Band(low - abs(low) * slack - tiny, high + abs(high) * slack + tiny, *found[2:])


def scale_of(call: Call) -> float:
    return float(call.options.get("gradient_scale", 1.0))


def nothing(call: Call, of: Samples, shapes: list[tuple[int, ...]]) -> Expected:
    """Of no samples, or of rows without classes."""
    zero = np.zeros(of.removed.shape, Number)
    band = Band(zero, zero, zero > 0, zero > 0)
    return Expected(
        finished(call, band, of),
        [Band(*(np.zeros(one, kind) for kind in (Number, Number, bool, bool))) for one in shapes],
    )
