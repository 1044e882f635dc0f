"""What is added up over rows of a prediction and a target, each compiled to a loop of its own.

Every term is times the weight of its row; r is prediction - target. A "rest" is what rounding took
from the product before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..cpu.compile import c_function, python_function
from ..cpu.intrinsics import caller, no_alias, pointer, prefer_wide_vectors
from ..cpu.options import inner
from ..vmath import log, log1p, overloads
from . import exact
from .exact import BLOCK, add_block, carry, product_rest

overloads.install()

_EPSILON = float(np.finfo(np.float64).eps)


@njit(**inner)
def _square(w, x):
    return w * (x * x)


@njit(**inner)
def _square_rest(w, x):
    square = x * x
    return product_rest(w, square, w * square) + w * product_rest(x, x, square)


def _weight(p, t, w, parameter):
    return w


def _absolute(p, t, w, parameter):
    return w * abs(p - t)


def _of_square(p, t, w, parameter):
    return _square(w, p - t)


def _of_square_rest(p, t, w, parameter):
    return _square_rest(w, p - t)


def _residual(p, t, w, parameter):
    return w * (p - t)


def _residual_rest(p, t, w, parameter):
    return product_rest(w, p - t, w * (p - t))


def _prediction(p, t, w, parameter):
    return w * p


def _prediction_square(p, t, w, parameter):
    return (w * p) * (w * p)


def _product_square(p, t, w, parameter):
    return (w * p) * (w * t)


def _target_weight_square(p, t, w, parameter):
    return (w * t) * (w * t)


def _target(p, t, w, parameter):
    return w * t


def _target_rest(p, t, w, parameter):
    return product_rest(w, t, w * t)


def _target_square(p, t, w, parameter):
    return _square(w, t)


def _target_square_rest(p, t, w, parameter):
    return _square_rest(w, t)


def _percentage(p, t, w, parameter):
    size = abs(t)
    return w * (abs(p - t) / (size if size > _EPSILON else _EPSILON))


def _logarithmic(p, t, w, parameter):
    difference = log1p(p) - log1p(t)
    return w * (difference * difference)


def _pinball(p, t, w, parameter):
    r = p - t
    return w * (r * (1.0 - parameter) if r > 0.0 else -r * parameter)


def _covered(p, t, w, parameter):
    return w * (1.0 if p >= t else 0.0 if p < t else p - t)  # of NaN


def _deviance(p, t, w, parameter):
    """Unit deviance of Tweedie's family; of powers 1 and 2 their limits."""
    one, two = 1.0 - parameter, 2.0 - parameter
    t = t if t > 0.0 or t != t else t * 0.0 if parameter < 2.0 else t
    of_target = t**two / (one * two)
    return 2.0 * w * (of_target - t * p**one / one + p**two / two)


def _deviance_of_poisson(p, t, w, parameter):
    part = t * log(t / p) if t > 0.0 else 0.0
    return 2.0 * w * (part - t + p)


def _deviance_of_gamma(p, t, w, parameter):
    return 2.0 * w * (log(p / t) + t / p - 1.0)


def _null_deviance(p, t, w, parameter):
    """The part of a deviance that the target has alone, beside its mean."""
    return w * (t if t > 0.0 or t != t else t * 0.0) ** (2.0 - parameter)


def _null_deviance_of_poisson(p, t, w, parameter):
    return w * (t * log(t) if t > 0.0 else t * 0.0)


def _null_deviance_of_gamma(p, t, w, parameter):
    return w * log(t)


def _log_loss(p, t, w, parameter):
    """Of a probability that is kept off 0 and 1, and a target between them."""
    q = parameter if p < parameter else p
    q = 1.0 - parameter if q > 1.0 - parameter else q
    return -w * (t * log(q) + (1.0 - t) * log(1.0 - q))


TERMS: dict[str, Callable[..., Any]] = {
    "weight": _weight,
    "absolute": _absolute,
    "square": _of_square,
    "square_rest": _of_square_rest,
    "residual": _residual,
    "residual_rest": _residual_rest,
    "prediction": _prediction,
    "prediction_square": _prediction_square,
    "product_square": _product_square,
    "target_weight_square": _target_weight_square,
    "target": _target,
    "target_rest": _target_rest,
    "target_square": _target_square,
    "target_square_rest": _target_square_rest,
    "percentage": _percentage,
    "logarithmic": _logarithmic,
    "pinball": _pinball,
    "covered": _covered,
    "deviance": _deviance,
    "deviance_of_poisson": _deviance_of_poisson,
    "deviance_of_gamma": _deviance_of_gamma,
    "null_deviance": _null_deviance,
    "null_deviance_of_poisson": _null_deviance_of_poisson,
    "null_deviance_of_gamma": _null_deviance_of_gamma,
    "log_loss": _log_loss,
}
# Those that depend on a number.
PARAMETRIC = frozenset(("pinball", "deviance", "null_deviance", "log_loss"))

_FILL = (*[types.int64] * 5, types.float64)
_call = caller(types.void, *_FILL)


@cache
def loop(kind: str, weighted: bool) -> int:
    """The address of ``loop(p, t, w, out, count, parameter)``: one term of each row."""

    def make() -> Callable[..., None]:
        term = njit(**inner)(TERMS[kind])

        @njit(**inner)
        def plain(p, t, out, count, parameter):
            prefer_wide_vectors()
            no_alias()
            for i in range(count):
                out[i] = term(p[i], t[i], 1.0, parameter)

        @njit(**inner)
        def with_weights(p, t, w, out, count, parameter):
            prefer_wide_vectors()
            no_alias()
            for i in range(count):
                # A weight of 0 removes even what is not finite.
                out[i] = 0.0 if w[i] == 0.0 else term(p[i], t[i], w[i], parameter)

        def fill(p, t, w, out, count, parameter):
            a, b, c, o = pointer(p, 0.0), pointer(t, 0.0), pointer(w, 0.0), pointer(out, 0.0)
            if weighted:
                with_weights(a, b, c, o, count, parameter)
            else:
                plain(a, b, o, count, parameter)

        return fill

    code = c_function(
        make, types.void(*_FILL), f"metric {kind} weighted={weighted}", error_model="numpy"
    )
    return code.address


def values(kind: str, p: np.ndarray, t: np.ndarray, parameter: float) -> np.ndarray:
    """A term of each row, without weights."""
    p, t = [np.ascontiguousarray(one, np.float64) for one in (p, t)]
    found = np.empty(len(p))
    _runner()(p, t, loop(kind, False), parameter, found)
    return found


def _run(p, t, of_kind, parameter, out):
    a, b = p.ctypes.data, t.ctypes.data
    _call(of_kind, (a, b, a, out.ctypes.data, p.size, parameter))


@cache
def _runner() -> Any:
    signature = types.void(exact.ARRAY, exact.ARRAY, types.int64, types.float64, exact.FRESH)
    return python_function(_run, signature, **exact.options)


def _add(p, t, w, loops, parameter, totals):
    """Add rows to sums, a loop each."""
    prefer_wide_vectors()
    block, one = np.empty(BLOCK), np.empty(1)
    out = block.ctypes.data
    for start in range(0, p.size, BLOCK):
        count = min(BLOCK, p.size - start)
        a, b = p.ctypes.data + 8 * start, t.ctypes.data + 8 * start
        c = w.ctypes.data + 8 * start
        for k in range(loops.size):
            _call(loops[k], (a, b, c, out, count, parameter))
            add_block(block, count, totals[k], one)
    carry(totals)


@cache
def adder() -> Any:
    """``add(p, t, w, loops, parameter, totals)``, compiled."""
    signature = types.void(
        exact.ARRAY, exact.ARRAY, exact.ARRAY, exact.INTEGERS, types.float64, exact.SUMS
    )
    return python_function(_add, signature, **exact.options)
