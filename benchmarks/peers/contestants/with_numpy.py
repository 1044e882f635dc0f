"""Losses in plain NumPy, by somebody who knows it: buffers, in-place operations, BLAS sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalogue import parameters_of
from . import Contestant, Step

# Fills gradient (times the size), may use a scratch array, returns the sum of the values.
Formula = Callable[[Any, Any, Any, Any], float]


def squared_error(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    np.subtract(p, t, out=gradient)
    total = np.dot(gradient, gradient)
    gradient *= 2.0
    return total


def absolute_error(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    np.subtract(p, t, out=gradient)
    np.abs(gradient, out=scratch)
    np.sign(gradient, out=gradient)
    return scratch.sum()


def huber(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    delta = parameters_of("huber")["delta"]
    np.subtract(p, t, out=scratch)
    np.clip(scratch, -delta, delta, out=gradient)
    # gradient * (residual - gradient / 2) is both branches at once.
    return np.dot(gradient, scratch) - 0.5 * np.dot(gradient, gradient)


def quantile(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    q = parameters_of("quantile")["q"]
    np.subtract(p, t, out=scratch)
    np.greater(scratch, 0.0, out=gradient)
    gradient -= q
    return np.dot(gradient, scratch)


def pseudo_huber(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    delta = parameters_of("pseudo_huber")["delta"]
    np.subtract(p, t, out=gradient)
    np.multiply(gradient, gradient, out=scratch)
    scratch /= delta * delta
    scratch += 1.0
    np.sqrt(scratch, out=scratch)
    gradient /= scratch
    return delta * delta * (scratch.sum() - scratch.size)


def log_cosh(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    np.subtract(p, t, out=gradient)
    np.abs(gradient, out=scratch)
    total = scratch.sum() - scratch.size * np.log(2.0)
    scratch *= -2.0
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    np.tanh(gradient, out=gradient)
    return total + scratch.sum()


def poisson(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    np.exp(p, out=gradient)
    total = gradient.sum() - np.dot(t, p)
    gradient -= t
    return total


def _sigmoid_and_softplus(x: Any, sigmoid: Any, softplus: Any) -> None:
    """Both from one exponential of -|x|, stable in both tails."""
    np.abs(x, out=softplus)
    np.negative(softplus, out=softplus)
    np.exp(softplus, out=softplus)
    np.add(softplus, 1.0, out=sigmoid)
    np.reciprocal(sigmoid, out=sigmoid)
    np.subtract(1.0, sigmoid, out=sigmoid, where=x < 0.0)
    np.log1p(softplus, out=softplus)
    np.add(softplus, x, out=softplus, where=x > 0.0)


def binary_cross_entropy(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    _sigmoid_and_softplus(p, gradient, scratch)
    total = scratch.sum() - np.dot(t, p)
    gradient -= t
    return total


def focal(p: Any, t: Any, gradient: Any, scratch: Any) -> float:
    """For gamma = 2 and targets 0 or 1; m = 1 - p_t is how wrong the prediction is."""
    sign = 1.0 - 2.0 * t
    logit = sign * p  # of being wrong
    _sigmoid_and_softplus(logit, gradient, scratch)
    wrong = gradient.copy()
    np.multiply(wrong, wrong, out=gradient)
    total = np.dot(gradient, scratch)
    # d(m² softplus)/d logit = m² (m + 2 (1 - m) softplus)
    scratch *= 2.0
    scratch *= 1.0 - wrong
    scratch += wrong
    gradient *= scratch
    gradient *= sign
    return total


FORMULAS: dict[str, Formula] = {
    formula.__name__: formula
    for formula in (
        squared_error,
        absolute_error,
        huber,
        quantile,
        pseudo_huber,
        log_cosh,
        poisson,
        binary_cross_entropy,
        focal,
    )
}


class NumPy(Contestant):
    """One ufunc after another, into two buffers."""

    buffers = 2

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        formula = FORMULAS.get(loss)
        if formula is None:
            return {}
        gradient, scratch = np.empty_like(prediction), np.empty_like(prediction)
        size = prediction.size
        scale = prediction.dtype.type(1.0 / size)

        def step() -> tuple[float, np.ndarray]:
            total = formula(prediction, target, gradient, scratch)
            np.multiply(gradient, scale, out=gradient)
            return total / size, gradient

        return {"ufuncs": step}
