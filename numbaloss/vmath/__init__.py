"""Elementary functions that vectorise inside Numba loops.

Each function here is the plain Python face, with NumPy's semantics on scalars and arrays.  Inside
``numba.njit`` code the same name compiles to a branch-free body that LLVM can vectorise, once
:func:`numbaloss.vmath.overloads.install` has run.  Importing this module does not import Numba.

The compiled bodies give NaN for NaN, take infinities, denormal inputs and signed zeros as IEEE
754 says, and overflow to infinity quietly.  The bounds in the docstrings hold for float32 and
float64, denormal results included; ``docs/accuracy.md`` holds the measured errors.  On machines
without fused multiply-adds ``exp`` reaches 1.2 ULP, ``softplus`` and ``log_sigmoid`` of float32
2.1; nothing else exceeds 2 (``pow`` of float64 is slow there, since it calls the library).

In GPU kernels float32 exponentials are the GPU's own, up to 3 ULP off by what NVIDIA promises, and
``sigmoid``, ``softplus`` and ``log_sigmoid`` up to 4.5.
"""

from typing import Any

import numpy as np

__all__ = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "log_cosh",
    "log_sigmoid",
    "pow",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
]


def _quietly(function: Any, *arguments: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*arguments)


def _real(x: Any) -> Any:
    """Integers as float64, which is what compiled code computes in (NumPy: float16 for int8)."""
    return np.asarray(x, dtype=np.float64)[()] if np.asarray(x).dtype.kind in "iub" else x


def exp(x: Any) -> Any:
    r"""Exponential, :math:`e^x`.

    Parameters
    ----------
    x : float or array_like
        Any real number; float32 stays float32.

    Returns
    -------
    float or ndarray
        Infinity where the result is too large, 0 where it is too small.

    Notes
    -----
    Compiled: at most 1 ULP.

    Examples
    --------
    >>> float(exp(0.0))
    1.0
    """
    return _quietly(np.exp, _real(x))


def log(x: Any) -> Any:
    r"""Natural logarithm, :math:`\log x`.

    Parameters
    ----------
    x : float or array_like
        Non-negative; float32 stays float32.

    Returns
    -------
    float or ndarray
        ``-inf`` at 0, NaN below.

    Notes
    -----
    Compiled: at most 1 ULP, denormal arguments included.

    Examples
    --------
    >>> float(log(1.0))
    0.0
    """
    return _quietly(np.log, _real(x))


def log1p(x: Any) -> Any:
    r"""Logarithm of one plus the argument, :math:`\log(1 + x)`, accurate near 0.

    Parameters
    ----------
    x : float or array_like
        At least -1; float32 stays float32.

    Returns
    -------
    float or ndarray
        ``-inf`` at -1, NaN below; the sign of a zero is kept.

    Notes
    -----
    Compiled: at most 2 ULP.

    Examples
    --------
    >>> float(log1p(0.0))
    0.0
    """
    return _quietly(np.log1p, _real(x))


def expm1(x: Any) -> Any:
    r"""Exponential minus one, :math:`e^x - 1`, accurate near 0.

    Parameters
    ----------
    x : float or array_like
        Any real number; float32 stays float32.

    Returns
    -------
    float or ndarray
        Infinity where the result is too large; the sign of a zero is kept.

    Notes
    -----
    Compiled: at most 2 ULP.

    Examples
    --------
    >>> float(expm1(0.0))
    0.0
    """
    return _quietly(np.expm1, _real(x))


def tanh(x: Any) -> Any:
    r"""Hyperbolic tangent.

    Parameters
    ----------
    x : float or array_like
        Any real number; float32 stays float32.

    Returns
    -------
    float or ndarray
        Between -1 and 1; the sign of a zero is kept.

    Notes
    -----
    Compiled: at most 2 ULP.

    Examples
    --------
    >>> float(tanh(0.0))
    0.0
    """
    return _quietly(np.tanh, _real(x))


def sigmoid(x: Any) -> Any:
    r"""Logistic function, :math:`\sigma(x) = 1 / (1 + e^{-x})`.

    Parameters
    ----------
    x : float or array_like
        Any real number (a logit); float32 stays float32.

    Returns
    -------
    float or ndarray
        Between 0 and 1, accurate in relative terms in both tails.

    Notes
    -----
    Compiled: at most 2 ULP.  :func:`softplus` and :func:`log_sigmoid` of ``x`` or ``-x`` in the
    same code share its exponential, if ``x`` is read into a variable before any result is stored.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """

    def formula(x: Any) -> Any:
        decay = np.exp(-np.abs(x))
        return (np.where(np.less(x, 0), decay, np.ones_like(decay)) / (1 + decay))[()]

    return _quietly(formula, _real(x))


def softplus(x: Any) -> Any:
    r"""Soft positive part, :math:`\log(1 + e^x)`.

    Parameters
    ----------
    x : float or array_like
        Any real number; float32 stays float32.

    Returns
    -------
    float or ndarray
        At least 0, accurate in relative terms in both tails: :math:`e^x` on the left, ``x`` on
        the right.

    Notes
    -----
    Compiled: at most 2 ULP.  Shares its exponential with :func:`sigmoid`, as stated there.

    Examples
    --------
    >>> round(float(softplus(0.0)), 6)
    0.693147
    """

    def formula(x: Any) -> Any:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    return _quietly(formula, _real(x))


def log_cosh(x: Any) -> Any:
    r"""Logarithm of the hyperbolic cosine, :math:`\log\cosh x`.

    Parameters
    ----------
    x : float or array_like
        Any real number; float32 stays float32.

    Returns
    -------
    float or ndarray
        :math:`\tfrac12 x^2` near 0, :math:`|x| - \ln 2` far from it.

    Notes
    -----
    Compiled: at most 2 ULP.  :func:`tanh` of the same ``x`` shares its exponential.

    Examples
    --------
    >>> round(float(log_cosh(700.0)), 6)
    699.306853
    """
    return _quietly(_log_cosh, x)


def _log_cosh(x: Any) -> Any:
    size = np.abs(x)
    if size.dtype.kind != "f":
        size = size.astype(np.float64)
    # log1p(2 sinh^2(x / 2)) is log(cosh(x)) without its cancellation.
    near = np.log1p(2.0 * np.square(np.sinh(0.5 * np.minimum(size, 1.0))))
    far = size - np.log(2.0) + np.log1p(np.exp(-2.0 * size))
    return np.where(size < 1.0, near, far)[()].astype(size.dtype)


def log_sigmoid(x: Any) -> Any:
    r"""Logarithm of the logistic function, :math:`\log \sigma(x) = -\log(1 + e^{-x})`.

    Parameters
    ----------
    x : float or array_like
        Any real number (a logit); float32 stays float32.

    Returns
    -------
    float or ndarray
        At most 0, accurate in relative terms in both tails.

    Notes
    -----
    Compiled: at most 2 ULP; equal to ``-softplus(-x)`` to the last bit.  Shares its exponential
    with :func:`sigmoid`, as stated there.

    Examples
    --------
    >>> round(float(log_sigmoid(0.0)), 6)
    -0.693147
    """

    return np.negative(softplus(np.negative(_real(x))))


def pow(x: Any, y: Any) -> Any:
    r"""Power, :math:`x^y`, with the special cases of IEEE 754.

    Parameters
    ----------
    x : float or array_like
        The base.  A negative base gives the signed power where ``y`` is an integer, else NaN.
    y : float or array_like
        The exponent, any real number.  In compiled code the result is float32 only where both
        arguments are.

    Returns
    -------
    float or ndarray
        1 where ``y`` is 0 or ``x`` is 1, even if the other is NaN.

    Notes
    -----
    Compiled: at most 1 ULP.

    Examples
    --------
    >>> float(pow(2.0, 0.5)) == 2.0**0.5
    True
    """
    # NumPy's integer power refuses negative exponents; compiled code computes it in float64.
    integers = all(np.asarray(number).dtype.kind in "iub" for number in (x, y))
    return _quietly(np.float_power if integers else np.power, x, y)


def sqrt(x: Any) -> Any:
    r"""Square root, correctly rounded.

    Parameters
    ----------
    x : float or array_like
        Non-negative; float32 stays float32.

    Returns
    -------
    float or ndarray
        NaN below 0; the sign of a zero is kept.

    Examples
    --------
    >>> float(sqrt(4.0))
    2.0
    """
    return _quietly(np.sqrt, _real(x))
