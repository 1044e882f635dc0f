"""What a correct result may be: bands of numbers, places that must be NaN, places left free."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .elementwise_formulas import Number


class Float(NamedTuple):
    """A type of floating-point numbers, bfloat16 among them."""

    largest: Any
    smallest: Any  # the smallest normal number
    grain: Any  # the smallest number of all
    epsilon: Any

    @classmethod
    def of(cls, dtype: np.dtype) -> Float:
        if dtype.name == "bfloat16":
            return cls(*map(Number, (3.3895314e38, 2.0**-126, 2.0**-133, 2.0**-7)))
        info = np.finfo(dtype.newbyteorder("="))
        return cls(
            Number(info.max), Number(info.tiny), Number(info.smallest_subnormal), Number(info.eps)
        )


class Band(NamedTuple):
    low: np.ndarray
    high: np.ndarray
    nan: np.ndarray
    free: np.ndarray

    def reshape(self, shape: tuple[int, ...]) -> Band:
        return Band(*(one.reshape(shape) for one in self))

    def take(self, places: np.ndarray) -> Band:
        return Band(*(one.reshape(-1)[places] for one in self))


def around(value: np.ndarray, error: Any, nan: Any, real: np.dtype) -> Band:
    """The numbers within an error of a value, as a type holds them: beyond its largest, infinity.

    Where the value is NaN and need not be, no formula says what is right.
    """
    value = np.asarray(value, Number)
    nan = np.broadcast_to(np.asarray(nan, bool), value.shape)
    error = np.broadcast_to(np.asarray(error, Number), value.shape)
    free = (np.isnan(value) | np.isnan(error)) & ~nan
    sure = np.isinf(value)
    with np.errstate(all="ignore"):
        low, high = (np.where(sure, value, value + sign * error) for sign in (-1, 1))
    return _held(Band(low, high, nan, free), real)


def _held(band: Band, real: np.dtype) -> Band:
    kind = Float.of(real)
    edge = kind.largest * (1 - kind.epsilon)
    low = np.where(band.low < -edge, -np.inf, np.minimum(band.low, kind.largest))
    high = np.where(band.high > edge, np.inf, np.maximum(band.high, -kind.largest))
    return band._replace(low=low, high=high)


def scaled(band: Band, factor: Any, removed: Any, real: np.dtype) -> Band:
    """The band times a finite factor, exactly 0 where things are removed."""
    factor = np.broadcast_to(np.asarray(factor, Number), band.low.shape)
    removed = np.broadcast_to(np.asarray(removed, bool), band.low.shape)
    kind = Float.of(real)
    with np.errstate(all="ignore"):
        one, other = factor * band.low, factor * band.high
        low, high = np.fmin(one, other), np.fmax(one, other)
        slack = 3 * kind.epsilon * np.fmax(np.abs(low), np.abs(high))
        # The factor itself, and products on the way, may be too small for all digits.
        slack = np.where(np.isfinite(slack), slack, 0) + 4 * kind.smallest
        low, high = low - slack, high + slack
    # 0 times what may be infinite or NaN is anybody's guess.
    vain = (factor == 0) & (np.isinf(band.low) | np.isinf(band.high) | band.nan)
    free = (band.free | vain | np.isnan(low) | np.isnan(high)) & ~removed
    nan = band.nan & ~removed & ~vain
    low, high = (np.where(removed, 0, one) for one in (low, high))
    return _held(Band(low, high, nan, free), real)


def total(band: Band, weight: Any, removed: Any, relative: float, real: np.dtype) -> Band:
    """The sum of all, each times its weight, and each such product a number of a type."""
    with np.errstate(all="ignore"):
        if np.any(weight != 1):
            band = _held(band._replace(low=weight * band.low, high=weight * band.high), real)
            weight = Number(1)
        low = np.sum(np.where(removed, 0, weight * band.low), dtype=Number)
        high = np.sum(np.where(removed, 0, weight * band.high), dtype=Number)
        size = np.where(removed, 0, weight * np.maximum(np.abs(band.low), np.abs(band.high)))
        slack = relative * np.sum(size, dtype=Number)
        slack = slack if np.isfinite(slack) else Number(0)
        low, high = low - slack, high + slack
    nan = bool(np.any(band.nan & ~removed))
    # Infinities of both signs, or a term that nobody knows.
    free = bool(np.any(band.free & ~removed)) or bool(np.isnan(low) or np.isnan(high))
    free = free or (np.isinf(low) and np.isinf(high) and low < high)
    return Band(*(np.asarray(one) for one in (low, high, nan, free and not nan)))


def misfit(band: Band, got: Any, dtype: np.dtype) -> str | None:
    """The first number that is not what it may be, in words; None where all are."""
    kind = Float.of(dtype)
    array = np.asarray(got)
    if array.shape != band.low.shape:
        return f"shape {array.shape}, not {band.low.shape}"
    with np.errstate(all="ignore"):
        found = array.astype(np.float32) if dtype.name == "bfloat16" else array
        found = found.astype(Number)
        low = band.low - kind.epsilon * np.abs(band.low) - kind.grain
        high = band.high + kind.epsilon * np.abs(band.high) + kind.grain
        low, high = (np.where(np.isinf(a), a, b) for a, b in ((band.low, low), (band.high, high)))
        low = np.minimum(low, kind.largest)
        high = np.maximum(high, -kind.largest)
        edge = kind.largest * (1 - kind.epsilon)
        fits = (found >= low) & (found <= high)
        fits |= np.isinf(found) & np.where(found > 0, high > edge, low < -edge)
    wrong = np.where(band.nan, ~np.isnan(found), ~fits) & ~band.free
    if not wrong.any():
        return None
    place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    wanted = (
        "NaN" if band.nan[place] else f"from {_text(band.low[place])} to {_text(band.high[place])}"
    )
    index = ", ".join(str(int(one)) for one in place)
    return f"[{index}] is {_text(found[place])}, not {wanted} ({int(wrong.sum())} wrong)"


def _text(number: Any) -> str:
    return np.format_float_scientific(number, 17)
