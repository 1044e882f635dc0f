"""Compiled loops and error measurement for the tests of the vector mathematics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from numbaloss import vmath
from numbaloss.vmath.overloads import install


class Compiled:
    """``compiled(name)(x)``: the function of that name, in a Numba loop over arrays."""

    def __init__(self) -> None:
        install()
        self._kernels: dict[str, Any] = {}

    def kernel(self, name: str) -> Any:
        """The loop itself, ``kernel(x, out)`` or ``kernel(x, y, out)``; built once a session."""
        if name not in self._kernels:
            face = getattr(vmath, name)
            if name == "pow":

                @njit
                def loop(x, y, out):
                    for i in range(x.size):
                        out[i] = face(x[i], y[i])
            else:

                @njit
                def loop(x, out):
                    for i in range(x.size):
                        out[i] = face(x[i])

            self._kernels[name] = loop
        return self._kernels[name]

    def __call__(self, name: str) -> Callable[..., np.ndarray]:
        def apply(*arguments: np.ndarray) -> np.ndarray:
            out = np.empty_like(arguments[0])
            self.kernel(name)(*arguments, out)
            return out

        return apply


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    return Compiled()


def _largest_ulp(got: np.ndarray, exact: np.ndarray) -> float:
    """Largest error in ULP of the exact result's binade; infinite for a wrong special value.

    ``exact`` is wider than ``got``.  Infinity counts as the next power of two, a NaN for a number
    and a wrong sign as infinitely wrong.
    """
    info = np.finfo(got.dtype)
    top = exact.dtype.type(2.0) ** int(info.maxexp)
    nan = np.isnan(exact)
    if np.any(np.isnan(got) != nan) or np.any((np.signbit(got) != np.signbit(exact))[~nan]):
        return np.inf
    value = np.minimum(np.abs(got[~nan]).astype(exact.dtype), top)
    size = np.minimum(np.abs(exact[~nan]), top)
    exponent = np.clip(np.frexp(size)[1], info.minexp + 1, info.maxexp)
    error = np.abs(value - size) * np.ldexp(exact.dtype.type(1), info.nmant + 1 - exponent)
    return float(np.max(error, initial=0.0))


@pytest.fixture(scope="session")
def exactly() -> Callable[..., np.ndarray]:
    """``exactly(name, dtype, x, ...)``: the function computed by NumPy in a wider dtype."""

    def compute(name: str, dtype: Any, *arguments: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
            return getattr(vmath, name)(*(x.astype(dtype) for x in arguments))

    return compute


@pytest.fixture(scope="session")
def largest_ulp() -> Callable[[np.ndarray, np.ndarray], float]:
    return _largest_ulp
