"""The formulas of the losses of rows, written a second time, naively.

Nothing here uses the library's maths. Labels are one-hot rows, derivatives come from the
value: in NumPy by a complex step (exact to rounding), in mpmath by its own differentiation.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from mpmath import mp

from numbaloss.registry import snake_case

STEP = 1e-30
mp.dps = 60


class NumPy:
    """Complex numbers of double precision."""

    exp, log = staticmethod(np.exp), staticmethod(np.log)
    number = float


class Exact:
    """Objects of mpmath."""

    exp = np.frompyfunc(mpmath.exp, 1, 1)
    log = np.frompyfunc(mpmath.log, 1, 1)
    number = mpmath.mpf


# Formulas: logits x, targets t (classes along the last axis), parameters, kind of numbers.


def log_softmax(x, m, temperature=1.0):
    """Log-probabilities, and the log of the sum of exponentials."""
    x = x / m.number(temperature)
    # Any shift gives the same result; it must not depend on x, of which we differentiate.
    shift = np.max(np.real(x), axis=-1, keepdims=True)
    log_sum = m.log(np.sum(m.exp(x - shift), axis=-1, keepdims=True)) + shift
    return x - log_sum, log_sum[..., 0]


def smoothed(t, m, label_smoothing):
    if label_smoothing == 0.0:
        return t
    rate = m.number(label_smoothing)
    return t * (1 - rate) + rate / t.shape[-1]


def of_class(class_weight):
    return 1.0 if class_weight is None else class_weight


def where_target(t, terms):
    """Terms of classes whose target is not 0; the others are 0 whatever they hold."""
    return np.where(t != 0, terms, 0)


def log_target(t, m):
    return m.log(np.where(t > 0, t, 1))


def cross_entropy(x, t, m, class_weight, ignore_index, label_smoothing, z_loss, temperature):
    t = smoothed(t, m, label_smoothing)
    log_p, log_sum = log_softmax(x, m, temperature)
    terms = where_target(t, -of_class(class_weight) * t * log_p)
    return np.sum(terms, axis=-1) + m.number(z_loss) * log_sum**2


def categorical_focal(x, t, m, gamma, class_weight, ignore_index, label_smoothing):
    t = smoothed(t, m, label_smoothing)
    log_p, _ = log_softmax(x, m)
    if x.shape[-1] == 1:
        return 0 * log_p[..., 0]
    rest = 1 - m.exp(log_p)
    fade = rest ** m.number(gamma) if gamma else 1
    return np.sum(where_target(t, -of_class(class_weight) * t * fade * log_p), axis=-1)


def generalized_cross_entropy(x, t, m, q, ignore_index):
    q = m.number(q)
    log_p, _ = log_softmax(x, m)
    return np.sum(t * (1 - m.exp(q * log_p)) / q, axis=-1)


def symmetric_cross_entropy(x, t, m, alpha, beta, log_zero, ignore_index):
    log_p, _ = log_softmax(x, m)
    logs = np.where(t > 0, np.maximum(log_target(t, m), log_zero), log_zero)
    terms = -m.number(alpha) * where_target(t, t * log_p) - m.number(beta) * m.exp(log_p) * logs
    return np.sum(terms, axis=-1)


def poly1(x, t, m, epsilon, ignore_index):
    log_p, _ = log_softmax(x, m)
    return np.sum(where_target(t, t * (-log_p + m.number(epsilon) * (1 - m.exp(log_p)))), axis=-1)


def multi_margin(x, t, m, margin, p, ignore_index, class_weight):
    own = np.sum(x * t, axis=-1, keepdims=True)
    excess = m.number(margin) + x - own
    excess = np.where((np.real(excess) > 0) & (t == 0), excess, 0)
    of_label = np.sum(of_class(class_weight) * t, axis=-1)
    return of_label * np.sum(excess**p, axis=-1) / x.shape[-1]


def kl_divergence(x, t, m, ignore_index):
    log_p, _ = log_softmax(x, m)
    return np.sum(where_target(t, t * (log_target(t, m) - log_p)), axis=-1)


def jensen_shannon(x, t, m, ignore_index):
    log_p, _ = log_softmax(x, m)
    p = m.exp(log_p)
    middle = m.log((p + t) / 2)
    terms = p * (log_p - middle) + where_target(t, t * (log_target(t, m) - middle))
    return np.sum(terms, axis=-1) / 2


def distillation(x, t, m, temperature):
    log_p, _ = log_softmax(x, m, temperature)
    teacher, _ = log_softmax(t, m, temperature)
    return m.number(temperature) ** 2 * np.sum(m.exp(teacher) * (teacher - log_p), axis=-1)


def brier(x, t, m, ignore_index):
    log_p, _ = log_softmax(x, m)
    return np.sum((m.exp(log_p) - t) ** 2, axis=-1)


def value_of(loss: Any, x: Any, t: Any, m: Any) -> Any:
    """Values of rows of logits ``x`` and dense targets ``t``."""
    if hasattr(loss, "terms"):
        return sum(m.number(weight) * value_of(term, x, t, m) for weight, term in loss.terms)
    parameters = dict(zip([one.name for one in loss.parameters()], loss.values()))
    if not parameters.pop("from_logits", True):
        raise ValueError("these formulas take logits")
    return globals()[snake_case(type(loss).__name__)](x, t, m, **parameters)


# Derivatives


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return (labels[..., None] == np.arange(classes)).astype(np.float64)


def gradient_at(loss: Any, x: np.ndarray, t: np.ndarray, columns: Any, shift: float = 0.0) -> Any:
    """Derivatives of the rows' values by the logits of some columns, moved by ``shift``."""
    found = np.empty((len(columns), len(x)))
    for k, column in enumerate(columns):
        moved = x.astype(np.complex128)
        moved[:, column] += shift + 1j * STEP
        found[k] = value_of(loss, moved, t, NumPy).imag / STEP
    return found.T


def hessian_at(loss: Any, x: np.ndarray, t: np.ndarray, columns: Any) -> Any:
    """Second derivatives, by extrapolated differences of the first."""

    def difference(h):
        high, low = (gradient_at(loss, x, t, columns, shift) for shift in (h, -h))
        return (high - low) / (2 * h)

    once, twice, thrice = (difference(0.02 / factor) for factor in (1, 2, 4))
    return (16 * (4 * thrice - twice) / 3 - (4 * twice - once) / 3) / 15


def exact(loss: Any, x: np.ndarray, t: np.ndarray) -> tuple[Any, Any, Any]:
    """Value, gradient and diagonal of the hessian of one short row, in mpmath."""
    logits = [mpmath.mpf(float(one)) for one in x]
    targets = np.array([mpmath.mpf(float(one)) for one in t], dtype=object)

    def along(k):
        def value(at):
            row = np.array([*logits[:k], at, *logits[k + 1 :]], dtype=object)
            return value_of(loss, row, targets, Exact)

        return value

    orders = (1, 2)
    slopes, curves = (
        [mpmath.diff(along(k), logits[k], order) for k in range(len(logits))] for order in orders
    )
    return along(0)(logits[0]), slopes, curves
