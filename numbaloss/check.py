"""Gradients against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

EPSILON, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny


def check_gradient(
    loss: Any,
    prediction: Any,
    target: Any = None,
    *more: Any,
    step: float = 1e-3,
) -> float:
    """Worst relative error of a loss's gradient against central differences, in float64.

    Parameters
    ----------
    loss : Elementwise, Softmax, Embedding or MultiOutput
        The loss, a user's own or one of the registry.
    prediction, target, *more : array
        Where to look: what the loss takes, in its order; for losses of embeddings vectors, and a
        target or labels if there are any. A difference across a kink (of the absolute error at
        0, say) shows an error that is none: stay ``step`` away from it. So it does where
        prediction plus or minus the step leaves the domain. Rows of C logits cost 6 C
        evaluations of all rows, since every logit moves alone: a few rows of a few hundred
        classes will do. So does every element of a batch of embeddings: a few dozen vectors of
        a few elements.
    step : float
        Largest step, in units of ``max(1, |prediction|)``. Three steps, each half of the
        former, are extrapolated to 0 (Richardson), which leaves an error near 1e-11 for
        smooth losses.

    Returns
    -------
    float
        Largest of ``|gradient - difference| / max(|gradient|, |difference|, tiny)``, where
        tiny is the rounding error of the difference itself; 0 for no elements. A logit's
        difference is that of the value of its row.

    Examples
    --------
    >>> import numbaloss as nl
    >>> nl.check_gradient(nl.LogCosh(), [0.5, -2.0], [0.0, 1.0]) < 1e-9
    True
    >>> nl.check_gradient(nl.Brier(), [[0.5, -2.0, 1.0]], [2]) < 1e-9
    True
    >>> nl.check_gradient(nl.Triplet(), [[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 5.5]]) < 1e-9
    True
    """
    if loss.contract.vectors:
        return _of_vectors(loss, (prediction, target, *more), step)
    if loss.contract.named:
        prediction, target = _stacked(prediction), _stacked(target)
    if more:
        raise TypeError(f"{type(loss).__name__} takes a prediction and a target, no more")
    p = np.array(prediction, dtype=np.float64)
    t = None if target is None else np.asarray(target)
    rows = loss.contract.of_classes
    if t is not None and not (rows and t.ndim < p.ndim):  # labels stay integers
        t = t.astype(np.float64)
    _, gradient = loss.value_and_grad(p, t, reduction="none")

    def values(at: np.ndarray) -> np.ndarray:
        return loss(at, t, reduction="none", check=False)

    if not rows and not loss.contract.named:
        error = _error(values, p, gradient, step, 0.0)
        return float(error.max()) if error.size else 0.0
    worst = 0.0
    for column in range(p.shape[-1] if p.size else 0):

        def of_rows(at: np.ndarray, column: int = column) -> np.ndarray:
            moved = p.copy()
            moved[..., column] = at
            return values(moved)

        # The terms of a row's sum may be larger than the sum, and so may their rounding.
        error = _error(of_rows, p[..., column], gradient[..., column], step, 1.0)
        worst = max(worst, float(error.max()))
        if np.isnan(error).any():
            return float("nan")
    return worst


def _stacked(given: Any) -> Any:
    """Arrays of one number a sample each as one array."""
    return np.stack([np.asarray(one) for one in given], axis=-1) if type(given) is tuple else given


def _of_vectors(loss: Any, given: tuple[Any, ...], step: float) -> float:
    """The worst error of a loss of vectors; every element of every vector moves alone."""
    count = loss.contract.vectors
    vectors = [np.array(one, dtype=np.float64) for one in given[:count]]
    rest = given[count:]
    _, gradients = loss.value_and_grad(*vectors, *rest, reduction="sum")
    whole = loss.contract.in_batch  # all rows in every value
    worst = 0.0
    for array, gradient in zip(vectors, [gradients] if count == 1 else gradients):
        columns = np.ndindex(array.shape) if whole else range(array.shape[-1])
        for column in columns:
            where: Any = column if whole else (..., column)

            def values(at: np.ndarray, array: np.ndarray = array, where: Any = where) -> Any:
                kept = array[where].copy()
                array[where] = at
                found = loss(*vectors, *rest, reduction="sum" if whole else "none")
                array[where] = kept
                return np.asarray(found)

            # What a row of a batch comes to is a sum of numbers that may be larger than it.
            least = float(len(array)) if whole else 1.0
            error = _error(values, np.asarray(array[where]), gradient[where], step, least)
            if np.isnan(error).any():
                return float("nan")
            worst = max(worst, float(error.max(initial=0.0)))
    return worst


def _error(
    values: Callable[[np.ndarray], np.ndarray],
    p: np.ndarray,
    gradient: np.ndarray,
    step: float,
    least: float,
) -> np.ndarray:
    """Relative errors of derivatives; values are rounded as numbers of size ``least`` are."""
    width = step * np.maximum(1.0, np.abs(p))

    def difference(h: np.ndarray) -> np.ndarray:
        high, low = p + h, p - h
        return (values(high) - values(low)) / (high - low)

    with np.errstate(all="ignore"):
        once, twice, thrice = (difference(width / factor) for factor in (1.0, 2.0, 4.0))
        first, second = (4.0 * twice - once) / 3.0, (4.0 * thrice - twice) / 3.0
        best = (16.0 * second - first) / 15.0
        # A difference of two rounded values is no better than this.
        noise = 64.0 * EPSILON * np.maximum(np.abs(values(p)), least) / width
        scale = np.maximum(np.maximum(np.abs(gradient), np.abs(best)), TINY)
        return np.maximum(np.abs(gradient - best) - noise, 0.0) / scale
