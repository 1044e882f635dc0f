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


def cross_entropy_rows(p: Any, labels: Any, gradient: Any) -> float:
    """Row by row, as the logits lie."""
    every = np.arange(len(p))
    np.subtract(p, p.max(axis=1, keepdims=True), out=gradient)
    total = -gradient[every, labels].sum()
    np.exp(gradient, out=gradient)
    sums = gradient @ np.ones(p.shape[1], p.dtype)  # BLAS: faster than a sum along short rows
    gradient /= sums[:, np.newaxis]
    gradient[every, labels] -= 1.0
    return total + np.log(sums).sum()


def cross_entropy_columns(p: Any, labels: Any, gradient: Any) -> float:
    """Turned, so that operations on few classes run along many rows."""
    every = np.arange(len(p))
    turned = p.T.copy()
    turned -= turned.max(axis=0)
    total = -turned[labels, every].sum()
    np.exp(turned, out=turned)
    sums = turned.sum(axis=0)
    turned /= sums
    turned[labels, every] -= 1.0
    gradient[...] = turned.T
    return total + np.log(sums).sum()


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


# Rows are taken in blocks that a second-level cache holds.
BLOCK = 2**16
# More classes are never faster in columns.
WIDEST_COLUMNS = 128


class NumPy(Contestant):
    """One ufunc after another, into two buffers; rows of logits by blocks, into one."""

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        if loss == "cross_entropy":
            return self._rows(prediction, target)
        formula = FORMULAS.get(loss)
        if formula is None:
            return {}
        gradient = self.keep(np.empty_like(prediction))
        scratch = self.keep(np.empty_like(prediction))
        size = prediction.size
        scale = prediction.dtype.type(1.0 / size)

        def step() -> tuple[float, np.ndarray]:
            total = formula(prediction, target, gradient, scratch)
            np.multiply(gradient, scale, out=gradient)
            return total / size, gradient

        return {"ufuncs": step}

    def _rows(self, prediction: Any, labels: Any) -> dict[str, Step]:
        gradient = self.keep(np.empty_like(prediction))
        rows, classes = prediction.shape
        scale = prediction.dtype.type(1.0 / rows)
        block = max(1, BLOCK // classes)

        def step(formula: Callable[[Any, Any, Any], float]) -> tuple[float, np.ndarray]:
            total = 0.0
            for start in range(0, rows, block):
                part = slice(start, start + block)
                total += float(formula(prediction[part], labels[part], gradient[part]))
                gradient[part] *= scale
            return total / rows, gradient

        steps: dict[str, Step] = {"rows": lambda: step(cross_entropy_rows)}
        if classes <= WIDEST_COLUMNS:
            steps["columns"] = lambda: step(cross_entropy_columns)
        return steps
