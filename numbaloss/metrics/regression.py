"""Metrics of regression: how far predictions are from targets."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from . import terms
from .base import Metric, pair
from .exact import quotient, rounded
from .moments import Moments

_OUTPUTS = ("uniform_average", "raw_values")
_OF_OUTPUTS = """    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean of what outputs come to, or one number each.
    """


class OfMoments(Metric):
    """Base of metrics that are computed from exact sums."""

    kinds: ClassVar[tuple[str, ...]] = ()
    # Whether it is the mean of the last kind: then rows have values of their own.
    of_mean: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Describe the parameter that all of them have."""
        super().__init_subclass__()
        if cls.__doc__ and not cls.__name__.startswith("_"):
            text = cls.__doc__.rstrip() + "\n"
            title = "" if "    Parameters\n" in text else "\n    Parameters\n    ----------\n"
            cls.__doc__ = text + title + _OF_OUTPUTS

    def __init__(self, *, multioutput: str = "uniform_average", **options: Any) -> None:
        super().__init__(multioutput=multioutput, **options)

    def validate(self) -> None:
        if self.options["multioutput"] not in _OUTPUTS:
            raise ValueError(
                f"multioutput must be one of {_OUTPUTS}, not {self.options['multioutput']!r}"
            )

    def accumulator(self) -> Any:
        return Moments(("weight", *self.kinds))

    def of_output(self, output: int) -> float:
        """The metric of one output."""
        return self.mean(output, self.row_kind())

    def row_kind(self) -> str:
        """The term that the metric is the mean of."""
        return self.kinds[-1]

    def is_mean(self) -> bool:
        return self.of_mean

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray | None:
        if not self.of_mean:
            return None
        p, t = pair(prediction, target)
        if p.ndim > 1:
            return None
        self.rows.check(p, t)
        return terms.values(self.row_kind(), p, t, self.rows.parameter)

    def compute(self) -> Any:
        """The number, NaN where there are no rows; an array for ``multioutput="raw_values"``."""
        found = [self.of_output(output) for output in range(len(self.rows.outputs))]
        if self.options["multioutput"] == "raw_values":
            return np.array(found)
        if not found or np.isnan(found).any():
            return math.nan
        return found[0] if len(found) == 1 else math.fsum(one / len(found) for one in found)

    def mean(self, output: int, kind: str) -> float:
        """A weighted mean, rounded once."""
        return quotient(self.rows.of(output, kind), self.rows.of(output, "weight"))


class MeanAbsoluteError(OfMoments):
    r"""Mean absolute error, :math:`\sum w |p - t| / \sum w`."""

    lower_is_better = True
    kinds = ("absolute",)


class MeanSquaredError(OfMoments):
    r"""Mean squared error, :math:`\sum w (p - t)^2 / \sum w`."""

    lower_is_better = True
    kinds = ("square",)


class RootMeanSquaredError(MeanSquaredError):
    r"""Root of the mean squared error, :math:`\sqrt{\sum w (p - t)^2 / \sum w}`."""

    of_mean = False

    def of_output(self, output: int) -> float:
        return math.sqrt(self.mean(output, "square"))


class MeanAbsolutePercentageError(OfMoments):
    r"""Mean absolute percentage error, :math:`\sum w |p - t| / \max(|t|, \epsilon) / \sum w`.

    A share, not a percentage; :math:`\epsilon = 2^{-52}`, as in scikit-learn.
    """

    lower_is_better = True
    kinds = ("percentage",)


class _Explained(OfMoments):
    """One minus a quotient of two sums."""

    of_mean = False

    def quotient(self, of_residuals: Any, of_targets: Any) -> float:
        if isinstance(of_residuals, float) or isinstance(of_targets, float):
            return 1.0 - quotient(of_residuals, of_targets)
        if of_targets == 0:
            # Nothing to explain: all of it, if the prediction is right, and none otherwise.
            return 1.0 if of_residuals == 0 else 0.0
        return rounded(1 - of_residuals / of_targets)

    def spread(self, output: int, kind: str, square: str) -> Any:
        """The weighted sum of squared distances from the mean."""
        total, count = self.rows.of(output, kind, True), self.rows.of(output, "weight")
        whole = self.rows.of(output, square, True)
        if isinstance(total, float) or isinstance(whole, float):
            return math.nan
        return whole - total * total / count if count else Fraction(0)


class R2(_Explained):
    r"""Coefficient of determination, :math:`1 - \sum w (p - t)^2 / \sum w (t - \bar t)^2`.

    Of a constant target it is 1 for predictions that are right and 0 for others, of fewer than
    two rows NaN, as in scikit-learn.
    """

    # From squares of residuals nothing is subtracted: what rounding took of them does not matter.
    kinds = ("square", "target", "target_rest", "target_square", "target_square_rest")

    def of_output(self, output: int) -> float:
        if self.rows.count < 2 or not self.rows.of(output, "weight"):
            return math.nan
        spread = self.spread(output, "target", "target_square")
        return self.quotient(self.rows.of(output, "square"), spread)


class ExplainedVariance(_Explained):
    r"""Explained variance, :math:`1 - \mathrm{Var}(t - p) / \mathrm{Var}(t)`.

    Unlike :class:`R2` it does not see a constant that all predictions are off.
    """

    kinds = (*R2.kinds, "square_rest", "residual", "residual_rest")

    def of_output(self, output: int) -> float:
        if not self.rows.count or not self.rows.of(output, "weight"):
            return math.nan
        spread = self.spread(output, "target", "target_square")
        return self.quotient(self.spread(output, "residual", "square"), spread)
