"""Gradients against differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from .structures.elementwise import Elementwise


def check_gradient(loss: Elementwise, prediction: Any, target: Any, *, step: float = 1e-3) -> float:
    """Worst relative error of a loss's gradient against central differences, in float64.

    Parameters
    ----------
    loss : Elementwise
        The loss, a user's own or one of the registry.
    prediction, target : array
        Where to look. A difference across a kink (of the absolute error at 0, say) shows
        an error that is none: stay ``step`` away from it. So it does where prediction plus
        or minus the step leaves the domain.
    step : float
        Largest step, in units of ``max(1, |prediction|)``. Three steps, each half of the
        former, are extrapolated to 0 (Richardson), which leaves an error near 1e-11 for
        smooth losses.

    Returns
    -------
    float
        Largest of ``|gradient - difference| / max(|gradient|, |difference|, tiny)``, where
        tiny is the rounding error of the difference itself; 0 for no elements.

    Examples
    --------
    >>> import numbaloss as nl
    >>> nl.check_gradient(nl.LogCosh(), [0.5, -2.0], [0.0, 1.0]) < 1e-9
    True
    """
    p = np.array(prediction, dtype=np.float64)
    t = np.asarray(target, dtype=np.float64)
    _, gradient = loss.value_and_grad(p, t, reduction="none")
    width = step * np.maximum(1.0, np.abs(p))

    def values(at: np.ndarray) -> np.ndarray:
        return loss(at, t, reduction="none", check=False)

    def difference(h: np.ndarray) -> np.ndarray:
        high, low = p + h, p - h
        return (values(high) - values(low)) / (high - low)

    with np.errstate(all="ignore"):
        once, twice, thrice = (difference(width / factor) for factor in (1.0, 2.0, 4.0))
        first, second = (4.0 * twice - once) / 3.0, (4.0 * thrice - twice) / 3.0
        best = (16.0 * second - first) / 15.0
        # A difference of two rounded values is no better than this.
        noise = 64.0 * np.finfo(np.float64).eps * np.abs(values(p)) / width
        scale = np.maximum(np.maximum(np.abs(gradient), np.abs(best)), np.finfo(np.float64).tiny)
        error = np.maximum(np.abs(gradient - best) - noise, 0.0) / scale
    return float(error.max()) if error.size else 0.0
