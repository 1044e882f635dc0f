"""Metrics of quantiles: their loss, how often they hold, whether they cross."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import Metric, float64, real, weights
from .exact import quotient
from .moments import Moments
from .regression import OfMoments


class MeanPinballLoss(OfMoments):
    r"""Mean pinball loss of a quantile: :math:`\alpha (t - p)^+ + (1 - \alpha) (p - t)^+`.

    Parameters
    ----------
    alpha : float in [0, 1]
        Level of the quantile.
    """

    lower_is_better = True

    def __init__(self, *, alpha: float = 0.5, multioutput: str = "uniform_average") -> None:
        super().__init__(alpha=alpha, multioutput=multioutput)

    def validate(self) -> None:
        super().validate()
        if not 0.0 <= self.options["alpha"] <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], not {self.options['alpha']}")

    def accumulator(self) -> Any:
        return Moments(("weight", "pinball"), self.options["alpha"])

    def row_kind(self) -> str:
        return "pinball"


class QuantileCoverage(OfMoments):
    r"""Share of targets that are not above the prediction: of a quantile, its level."""

    kinds = ("covered",)


class QuantileCrossings(Metric):
    r"""Share of rows whose quantiles cross: a lower one is above a higher one.

    Predictions are (n, quantiles), in the order of rising levels. Targets, (n,) or of the shape of
    predictions, are not looked at. Equal quantiles do not cross; a row with a NaN makes it NaN.
    """

    shared = False
    lower_is_better = True

    def accumulator(self) -> Any:
        return Moments(("weight", "prediction"))

    def update(self, prediction: Any, target: Any = None, sample_weight: Any = None) -> Any:
        """Add rows."""
        p = real(prediction, "prediction")
        if p.ndim != 2:
            raise ValueError(f"prediction must have the shape (n, quantiles), not {p.shape}")
        if target is not None and np.shape(target)[:1] != p.shape[:1]:
            raise ValueError(
                f"target must have {len(p)} rows, as prediction, not {np.shape(target)[:1]}"
            )
        w = weights(sample_weight, len(p))
        p = float64(p)
        crossed = (p[:, 1:] < p[:, :-1]).any(axis=1)
        values = np.where(np.isnan(p).any(axis=1), np.nan, crossed)
        self.rows.update(values, values, w)
        return self

    def compute(self) -> float:
        """The share; NaN where there are no rows."""
        if not self.rows.outputs:
            return math.nan
        return quotient(self.rows.of(0, "prediction"), self.rows.of(0, "weight"))
