"""Objectives and metrics without the conventions of any booster. Plain objects, which pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import links
from ..registry import snake_case
from ..structures.softmax import Softmax
from .derivatives import hessian_mode, of_mode, refuse_other_than_margins
from .devices import beside, labels


class Objective:
    """A loss and a hessian, for one library.

    Where the hessian is ``"secant"``, gradient and hessian are multiplied by one number a round,
    which changes no step of a tree but makes the mean hessian 1: ``min_child_weight`` and
    regularisation then count samples, as they do for the squared error, whatever the target's unit.
    """

    library = ""

    def __init__(
        self, loss: Any, hessian: str | float = "auto", scale: float | None = None
    ) -> None:
        refuse_other_than_margins(loss)
        self.mode = hessian_mode(loss, hessian)
        self.loss = loss
        self.hessian = hessian
        self.scale = scale  # None: one a round

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.loss!r}, hessian={self.hessian!r})"

    @property
    def __name__(self) -> str:
        return snake_case(type(self.loss).__name__)

    def derivatives(
        self,
        prediction: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None = None,
        order: str = "C",
        total: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and hessian; ``total`` adds sums over workers."""
        target = as_many(self.loss, prediction, target)
        gradient, hessian = of_mode(
            self.loss, self.mode, prediction, target, weight, self.library, order
        )
        scale = self.scale
        if scale is None:
            scale = unit_scale(hessian, weight, total) if self.mode == "secant" else 1.0
        if scale != 1.0:
            gradient *= gradient.dtype.type(scale)
            hessian *= hessian.dtype.type(scale)
        return gradient, hessian


def as_many(loss: Any, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Targets of several outputs in the shape of the predictions, where they come flat."""
    if isinstance(loss, Softmax) or target.ndim >= prediction.ndim:
        return target
    return target.reshape(prediction.shape)


def unit_scale(
    hessian: np.ndarray,
    weight: np.ndarray | None,
    total: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float:
    """What makes the mean of hessians 1, which were multiplied by the weights."""
    width = 1 if hessian.ndim == 1 else hessian.shape[1]
    count = len(hessian) if weight is None else float(weight.sum(dtype=np.float64))
    sums = np.array([float(hessian.sum(dtype=np.float64)), count * width])
    if total is not None:
        sums = total(sums)
    return float(sums[1] / sums[0]) if 0.0 < sums[0] < np.inf else 1.0


class Metric:
    """The mean of a loss, over the weights, for early stopping and curves.

    ``predictions`` says what comes: ``"margin"``, what the loss takes, or ``"mean"``, of which the
    margin is taken by the loss's link.
    """

    def __init__(self, loss: Any, predictions: str = "margin") -> None:
        refuse_other_than_margins(loss)
        if predictions not in ("margin", "mean"):
            raise ValueError(f"predictions must be 'margin' or 'mean', not {predictions!r}")
        self.loss = loss
        self.predictions = predictions

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.loss!r}, predictions={self.predictions!r})"

    @property
    def __name__(self) -> str:
        return snake_case(type(self.loss).__name__)

    def value(self, prediction: Any, target: Any, weight: Any = None) -> float:
        """The weighted mean of the loss."""
        loss = self.loss
        prediction, target, weight = beside(prediction, target, weight)
        if self.predictions == "mean":
            if loss.link_function not in ("identity", "log"):  # of which 0 and 1 are the ends
                least = links.LEAST_SHARE
                prediction = np.clip(prediction.astype(np.float64), least, 1 - least)
            prediction = loss.link(prediction)
        target = as_many(loss, prediction, target)
        if isinstance(loss, Softmax) and target.ndim < prediction.ndim:
            target = labels(target)
        reduction = "mean" if weight is None else "weighted_mean"
        return float(loss(prediction, target, sample_weight=weight, reduction=reduction))
