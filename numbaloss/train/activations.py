"""Activations of hidden layers: the bias added, the activation taken, in one pass, and back.

What comes out of a product of matrices is overwritten, so that a hidden layer moves its numbers
once in each direction: 200 x 100 float32 numbers take ReLU 5 us and 6 us back, where NumPy's
passes take 12 and 15. On the way back the gradient by the bias is added up in the same pass, row
after row, in one fixed order.

==========  =============================================================================
``relu``    :math:`\\max(x, 0)`; NaN stays NaN
``tanh``    :math:`\\tanh x`
``gelu``    :math:`x/2\\,(1 + \\tanh(\\sqrt{2/\\pi}\\,(x + 0.044715\\,x^3)))`, the form that
            GPT-2 and BERT use (``approximate="tanh"`` in PyTorch); it differs from
            :math:`x\\,\\Phi(x)` by less than 5e-4
``linear``  :math:`x`
==========  =============================================================================

References: V. Nair, G. Hinton, *Rectified linear units improve restricted Boltzmann machines*,
ICML 2010; D. Hendrycks, K. Gimpel, *Gaussian error linear units*, 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, types

from ..cpu.compile import python_function
from ..vmath import overloads, tanh

ACTIVATIONS = ("relu", "gelu", "tanh", "linear")

# sqrt(2 / pi) and the factor of the cube, as Hendrycks and Gimpel have them.
SLOPE, CUBE = 0.7978845608028654, 0.044715

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}


def activate(name: str, x: np.ndarray, bias: np.ndarray, derivative: np.ndarray | None) -> None:
    """``x = activation(x + bias)`` in place, of shape (rows, columns).

    ``derivative`` of the same shape receives the derivative where :func:`keeps_derivative`.
    """
    if name == "tanh":
        # NumPy's own is in vectors too, and costs less than both passes of ours save.
        np.add(x, bias, out=x)
        np.tanh(x, out=x)
        return
    other = x[:0] if derivative is None else derivative
    _kernel(name, True, x.dtype)(x, bias, other)


def differentiate(
    name: str, gradient: np.ndarray, kept: np.ndarray, bias_gradient: np.ndarray
) -> None:
    """Multiply a gradient by the activation's derivative, in place, and sum it up by columns.

    ``kept`` is what :func:`activate` has left: the activation, or its derivative.
    """
    _kernel(name, False, gradient.dtype)(gradient, kept, bias_gradient)


def keeps_derivative(name: str) -> bool:
    """Whether the derivative is kept, because it does not follow from the activation."""
    return name == "gelu"


@cache
def _kernel(name: str, forward: bool, real: np.dtype) -> Any:
    overloads.install()
    number = from_dtype(real)
    matrix, vector = types.Array(number, 2, "C"), types.Array(number, 1, "C")
    if forward:
        functions: dict[str, Callable] = {"relu": _relu, "gelu": _gelu, "linear": _linear}
        return python_function(functions[name], types.void(matrix, vector, matrix), **_OPTIONS)
    back: dict[str, Callable] = {
        "relu": _back_relu,
        "gelu": _back_gelu,
        "tanh": _back_tanh,
        "linear": _back_linear,
    }
    return python_function(back[name], types.void(matrix, matrix, vector), **_OPTIONS)


def _relu(x, bias, derivative):
    zero = x.dtype.type(0)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            z = x[i, j] + bias[j]
            x[i, j] = zero if z <= zero else z  # NaN is not below


def _gelu(x, bias, derivative):
    real = x.dtype.type
    half, one, three, slope, cube = real(0.5), real(1), real(3), real(SLOPE), real(CUBE)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            z = x[i, j] + bias[j]
            square = cube * z * z
            t = tanh(slope * z * (one + square))
            # 1 - t^2 by its factors: it cancels in neither tail that matters.
            inner = slope * (one + three * square)
            derivative[i, j] = half * (one + t) * (one + z * (one - t) * inner)
            x[i, j] = half * z * (one + t)


def _linear(x, bias, derivative):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += bias[j]


def _back_relu(gradient, kept, bias_gradient):
    zero = gradient.dtype.type(0)
    bias_gradient[:] = zero
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            g = zero if kept[i, j] <= zero else gradient[i, j]
            gradient[i, j] = g
            bias_gradient[j] += g


def _back_tanh(gradient, kept, bias_gradient):
    one = gradient.dtype.type(1)
    bias_gradient[:] = gradient.dtype.type(0)
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            h = kept[i, j]
            g = gradient[i, j] * ((one - h) * (one + h))
            gradient[i, j] = g
            bias_gradient[j] += g


def _back_gelu(gradient, kept, bias_gradient):
    bias_gradient[:] = gradient.dtype.type(0)
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            g = gradient[i, j] * kept[i, j]
            gradient[i, j] = g
            bias_gradient[j] += g


def _back_linear(gradient, kept, bias_gradient):
    bias_gradient[:] = gradient.dtype.type(0)
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            bias_gradient[j] += gradient[i, j]
