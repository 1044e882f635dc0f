"""NumPy's functions of plain numbers in formulas for a GPU: those that numba-cuda leaves out.

It knows sines and comparisons, and neither ``np.abs`` nor ``np.sign``. Most of them it has all the
same, in the table of NumPy's functions that it took over from Numba; of the others, that table has
what compilers for GPUs refuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from ..vmath import exp, log1p

# Numba's stubs count the typing context among the arguments of a call.
intrinsic: Any = _intrinsic

TAKEN_OVER = (
    "absolute", "add", "isfinite", "isinf", "fmod", "multiply", "negative", "positive",
    "reciprocal", "remainder", "sign", "square", "subtract",
)  # fmt: skip
# Of the library that comes with CUDA, by number of arguments.
OF_CUDA = {
    "cbrt": 1, "ceil": 1, "exp2": 1, "fabs": 1, "floor": 1, "rint": 1, "trunc": 1, "copysign": 2,
}  # fmt: skip


def teach(known: dict[Any, Any], of_numba: Any, rounding: Any) -> None:
    """Let formulas for GPUs call NumPy's functions.

    Parameters
    ----------
    known : dict
        What numba-cuda makes of each ufunc, by the types of its loop.
    of_numba, rounding : modules of numba-cuda
        The table that it took over; and where ``np.round`` is.
    """
    for name in TAKEN_OVER:
        ufunc = getattr(np, name)
        known.setdefault(ufunc, of_numba.get_ufunc_info(ufunc))
    for name, count in OF_CUDA.items():
        loops = {f"{kind * count}->{kind}": _of_cuda(name) for kind in "fd"}
        known.setdefault(getattr(np, name), loops)
    for ufunc, body in ((np.floor_divide, _floor_divide), (np.logaddexp, _log_add_exp)):
        loops = {"ff->f": _compiled(body(np.float32)), "dd->d": _compiled(body(np.float64))}
        known.setdefault(ufunc, loops)
    rounding._np_round_float = _nearest


def unknown(error: Exception) -> Exception | None:
    """What to say of a function of NumPy that numba-cuda looks up and does not find."""
    if not isinstance(error, KeyError) or not isinstance(error.args[0], np.ufunc):
        return None
    name = error.args[0].__name__
    return LookupError(f"np.{name} is none of the functions that formulas for a GPU may call")


def _of_cuda(name: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        own = f"__nv_{name}f" if kind == ir.FloatType() else f"__nv_{name}"
        takes = ir.FunctionType(kind, [kind] * len(arguments))
        function = cgutils.get_or_insert_function(builder.module, takes, own)
        return builder.call(function, arguments)

    return generate


@intrinsic
def _nearest(typing_context: Any, x: Any) -> Any:
    """``x`` rounded to the nearest whole number, halves to even."""
    return x(x), _of_cuda("rint")


def _compiled(body: Callable[..., Any]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.compile_internal(builder, body, signature, arguments)

    return generate


def _floor_divide(real: Callable[..., Any]) -> Callable[..., Any]:
    zero, half, one = real(0), real(0.5), real(1)

    def floor_divide(x, y):
        """As NumPy does it: what is left has the sign of ``y``."""
        if y == zero:
            return x / y
        left = math.fmod(x, y)
        quotient = (x - left) / y
        if left != zero and (y < zero) != (left < zero):
            quotient -= one
        if quotient == zero:
            return math.copysign(quotient, x / y)
        below = np.floor(quotient)
        return below + one if quotient - below > half else below

    return floor_divide


def _log_add_exp(real: Callable[..., Any]) -> Callable[..., Any]:
    zero, log_of_two = real(0), real(math.log(2.0))

    def log_add_exp(x, y):
        """As NumPy does it: infinities of one sign have no difference."""
        if x == y:
            return x + log_of_two
        apart = x - y
        if apart > zero:
            return x + log1p(exp(-apart))
        if apart <= zero:
            return y + log1p(exp(apart))
        return apart

    return log_add_exp
