"""Draws of numbers, types and layouts."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from numbaloss.core.intervals import Interval

from .memory import Layout

try:
    import ml_dtypes

    BFLOAT16: tuple[np.dtype, ...] = (np.dtype(ml_dtypes.bfloat16),)
except ImportError:
    BFLOAT16 = ()


class Kinds(NamedTuple):
    """Types of arrays to draw from; of predictions by the type that kernels compute in."""

    predictions: dict[str, list[np.dtype]]
    floats: list[np.dtype]
    integers: list[np.dtype]
    others: list[np.dtype]


def _kinds(text: str) -> list[np.dtype]:
    return [np.dtype(one) for one in text.split()]


_FLOATS = [*_kinds("f2 f4 f8 >f4 >f8"), *BFLOAT16]
_INTEGERS = _kinds("i8 i8 i4 i2 i1 u1 u2 u4 u8 >i4")
ALL = Kinds(
    {"float32": [*_kinds("f4 f4 f4 f2 >f4 >f2"), *BFLOAT16], "float64": _kinds("f8 f8 f8 >f8")},
    _FLOATS,
    _INTEGERS,
    [*_FLOATS, *_INTEGERS, np.dtype(bool)],
)
# Every pair of types is a loop of its own to compile.
FEW = Kinds(
    {"float32": _kinds("f4 f4 f2"), "float64": _kinds("f8")},
    _kinds("f4 f8"),
    _kinds("i8 i8 u1"),
    _kinds("f8 i8"),
)

SPECIALS = [
    0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1e-40, 5e-324, 1e-310, 1e-38, 6e-8,
    1.0, -1.0, 0.5, 1.0 - 2.0**-24, 1.0 + 2.0**-23, 1e-7, -1e-7, 1e-3, 18.0, -18.0, 88.7, -88.7,
    89.0, -104.0, 709.0, -745.2, 1e4, -65504.0, 1e10, -1e16, 1e19, -1.9e19, 1e30, 3.4e38, -3.4e38,
    1e154, -1.3e154, 1e300, -1.7e308,
]  # fmt: skip
MOODS = ("calm", "calm", "calm", "wide", "special", "special", "constant", "small")


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def real_of(dtype: np.dtype) -> np.dtype:
    """The type that kernels compute in."""
    return np.dtype(np.float64 if dtype.itemsize == 8 and dtype.kind == "f" else np.float32)


def seen(array: np.ndarray, real: np.dtype) -> np.ndarray:
    """The numbers as kernels see them."""
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(real)


def raw_numbers(rng: np.random.Generator, shape: tuple[int, ...], mood: str) -> np.ndarray:
    if mood == "wide":
        power = rng.uniform(-40, 40) if chance(rng, 0.5) else rng.uniform(-12, 12, shape)
        found = rng.normal(size=shape) * 10.0**power
    elif mood == "constant":
        found = np.full(shape, rng.normal() if chance(rng, 0.7) else pick(rng, SPECIALS))
    elif mood == "small":
        found = rng.integers(-3, 4, shape) / 2.0
    else:
        found = rng.normal(0.0, pick(rng, (0.1, 2.0, 2.0, 12.0)), shape)
    if mood == "special":
        chosen = rng.random(shape) < pick(rng, (0.02, 0.3, 0.9))
        specials = np.array(SPECIALS)
        if chance(rng, 0.5):
            specials = specials[~np.isnan(specials)]
        found = np.where(chosen, rng.choice(specials, shape), found)
    return np.asarray(found)


def numbers(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    of: Interval,
    dtype: np.dtype,
    real: np.dtype,
    mood: str,
) -> np.ndarray:
    """Numbers of a dtype that belong to an interval once they are converted to ``real``."""
    if of.binary:
        found = np.where(rng.random(shape) < 0.5, of.low, of.high)
    elif dtype.kind in "iub":
        found = rng.integers(0, 2 if dtype.kind == "b" or of.high <= 1 else 100, shape)
    else:
        found = raw_numbers(rng, shape, mood)
        if of.low == 0.0 and of.high == 1.0:
            found = np.where(rng.random(shape) < 0.5, rng.random(shape), found)
        elif of.low == -1.0 and of.high == 1.0:
            found = np.where(rng.random(shape) < 0.5, rng.uniform(-1, 1, shape), np.sign(found))
        elif of.low >= -1.0:
            found = np.where(found < of.low, np.abs(found), found)
    found = np.asarray(found)
    low, high = of.closed(real)
    with np.errstate(all="ignore"):
        cast = found.astype(dtype)
        inside = cast.astype(real)
    one = np.ones(shape, dtype)  # a member of every domain there is
    if of.binary or dtype.kind in "iub":
        return np.where((inside >= low) & (inside <= high), cast, one).astype(dtype)
    good = ((inside >= low) & (inside <= high)) | np.isnan(inside)
    return np.where(good, cast, one).astype(dtype)


def layout(rng: np.random.Generator, dimensions: int, repeats: bool = False) -> Layout:
    """How to lay an array out; ``repeats`` allows axes with one element for all."""
    side = pick(rng, ("start", "end"))
    order = tuple(range(dimensions))
    steps = (1,) * dimensions
    style = pick(rng, ("plain", "plain", "plain", "order", "steps", "both", "repeat"))
    if style in ("order", "both"):
        order = order[::-1] if chance(rng, 0.5) else tuple(int(i) for i in rng.permutation(order))
    if style in ("steps", "both"):
        steps = tuple(pick(rng, (1, 1, -1, 2, 3, -2)) for _ in order)
    if style == "repeat" and repeats and dimensions:
        axis = int(rng.integers(dimensions))
        steps = tuple(0 if i == axis else 1 for i in range(dimensions))
    shift = pick(rng, (1, 2, 3, 4)) if chance(rng, 0.15) else 0
    return Layout(order, steps, shift, side, repeats and chance(rng, 0.2))


def weights(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iub":
        return rng.integers(0, 2 if dtype.kind == "b" else 4, shape).astype(dtype)
    found = rng.uniform(0.0, 3.0, shape) * (rng.random(shape) < pick(rng, (0.5, 0.8, 1.0)))
    return np.asarray(found).astype(dtype)
