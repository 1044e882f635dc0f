"""Losses for River's online models: ``linear_model.LinearRegression(loss=Loss(nl.Huber()))``.

>>> import numbaloss as nl
>>> from numbaloss.river import Loss
>>> Loss(nl.Quantile(0.9)).gradient(y_true=2.0, y_pred=1.0)
-0.9
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import misuse

try:
    from river.optim import losses
except ImportError as _error:
    raise misuse.missing_library("numbaloss.river", "River", "river") from _error

from .core.links import LINKS
from .core.loss import domain
from .structures.elementwise import Elementwise

__all__ = ["Loss"]


def Loss(loss: Any) -> Any:
    """A loss as River takes them: ``(y_true, y_pred)``, numbers or arrays, with its ``gradient``.

    Parameters
    ----------
    loss : Elementwise
        A loss of margins. Labels of two classes come as truth values; ``mean_func`` is the inverse
        link, so that predictions are means and probabilities.

    Returns
    -------
    RegressionLoss or BinaryLoss
    """
    if not isinstance(loss, Elementwise):
        raise TypeError(f"River learns by losses of numbers and of two classes, not by {loss!r}")
    of = domain(loss.target_domain)
    labels = of.binary or (of.low, of.high) in ((0.0, 1.0), (-1.0, 1.0))
    return (_Binary if labels else _Regression)(loss)


class _Calls:
    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def _arrays(self, y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
        target = np.atleast_1d(np.asarray(y_true))
        if isinstance(self, losses.BinaryLoss):
            of = domain(self.loss.target_domain)
            target = np.where(target.astype(np.float64) > 0.0, of.high, of.low)
        return np.atleast_1d(np.asarray(y_pred, np.float64)), target

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a number, or those of numbers."""
        found = self.loss(*self._arrays(y_true, y_pred), reduction="none")
        return found if np.ndim(y_pred) else float(found[0])

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        """Their derivatives by the margin."""
        found = self.loss.grad(*self._arrays(y_true, y_pred), reduction="sum")
        return found if np.ndim(y_pred) else float(found[0])

    def mean_func(self, y_pred: Any) -> Any:
        """The mean that a margin stands for."""
        found = self.loss.inverse_link(np.asarray(y_pred, np.float64))
        return found if np.ndim(y_pred) else float(found)


class _Regression(_Calls, losses.RegressionLoss):  # type: ignore[misc]
    pass


class _Binary(_Calls, losses.BinaryLoss):  # type: ignore[misc]
    def mean_func(self, y_pred: Any) -> Any:
        """The probability that a margin stands for; of hinges what River takes for it."""
        if LINKS[self.loss.link_function].of_probability:
            return super().mean_func(y_pred)
        return losses.BinaryLoss.mean_func(self, y_pred)
