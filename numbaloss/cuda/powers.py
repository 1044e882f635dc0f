"""Exponentials of the distances of a row's logits from the largest, by the GPU's own power of two.

``power(x, high, low)`` is e^(x / T) for x <= 0, where ``high + low`` is log2(e) / T in two numbers:
see :func:`scales`. The GPU's instruction takes powers of 2 within 2 ULP. What rounding x log2(e)
loses is made up for by a first-order term, so that the result is within 3 ULP for every x; powers
below the smallest normal number are 0. Halves have 8 or 11 bits: they do without that term.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from ..vmath import bits, float64
from ..vmath.gpu_bits import exp2_rough
from . import backend
from .backend import device_function

intrinsic: Any = _intrinsic
LOG2_E = 1.4426950408889634
LN2 = np.float32(math.log(2.0))
SMALLEST = np.float32(-126.0)


def scales(kind: str, inverse: float) -> tuple[float, float]:
    """What a kernel for a dtype multiplies distances by, for a temperature of ``1 / inverse``."""
    if kind == "float64":
        return inverse, 0.0
    whole = inverse * LOG2_E
    with np.errstate(over="ignore"):
        high = float(np.float32(whole))
    return high, whole - high if math.isfinite(high) else 0.0


def _simulated_power_of_two(x: Any) -> Any:
    with np.errstate(under="ignore", over="ignore"):
        return np.float32(0.0) if x < SMALLEST else np.exp2(np.float32(x))


@cache
def power(kind: str) -> Callable:
    """The exponential for logits of a dtype."""
    if kind == "float64":
        decay = float64.decay if not backend.SIMULATED else lambda x: np.exp(-abs(x))

        @device_function
        def of_double(x, high, low):
            return decay(x * high)

        return of_double
    two_to = _simulated_power_of_two if backend.SIMULATED else exp2_rough
    if kind in ("float16", "bfloat16"):

        @device_function
        def of_half(x, high, low):
            return two_to(x * high)

        return of_half
    if backend.SIMULATED:
        return lambda x, high, low: np.float32(two_to(np.float64(x) * (np.float64(high) + low)))
    fma, product = bits.fma, bits.product
    zero = np.float32(0.0)

    @device_function
    def of_single(x, high, low):
        whole = product(x, high)
        rest = fma(x, low, fma(x, high, -whole))
        e = two_to(whole)
        # Infinite distances have no rest, and NaN must stay.
        return zero if whole < SMALLEST else fma(e, rest * LN2, e)

    return of_single


@cache
def larger(real: str) -> Callable:
    """``larger(a, b)`` of two numbers; the other one where one is NaN. One instruction."""
    if backend.SIMULATED:
        return lambda a, b: a if a >= b or b != b else b
    return _chosen(real, "max")


@cache
def smaller(real: str) -> Callable:
    """The same with the smaller number."""
    if backend.SIMULATED:
        return lambda a, b: a if a <= b or b != b else b
    return _chosen(real, "min")


def _chosen(real: str, which: str) -> Callable:
    kind, code, letter = {
        "float32": (ir.FloatType(), "f32", "f"),
        "float64": (ir.DoubleType(), "f64", "d"),
    }[real]
    number = getattr(types, real)

    @intrinsic
    def chosen(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            assembly = ir.InlineAsm(
                ir.FunctionType(kind, [kind, kind]),
                f"{which}.{code} $0, $1, $2;",
                f"={letter},{letter},{letter}",
                side_effect=False,
            )
            return builder.call(assembly, arguments)

        return number(number, number), generate

    return chosen
