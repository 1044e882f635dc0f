"""Metrics of regression: how far predictions are from targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .base import Metric
from .exact import quotient, rounded
from .moments import Moments

_OUTPUTS = ("uniform_average", "raw_values")


class OfMoments(Metric):
    """Base of metrics that are computed from exact sums."""

    kinds: ClassVar[tuple[str, ...]] = ()

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
        raise NotImplementedError

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
    r"""Mean absolute error, :math:`\sum w |p - t| / \sum w`.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = True
    kinds = ("absolute",)

    def of_output(self, output: int) -> float:
        return self.mean(output, "absolute")


class MeanSquaredError(OfMoments):
    r"""Mean squared error, :math:`\sum w (p - t)^2 / \sum w`.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = True
    kinds = ("square",)

    def of_output(self, output: int) -> float:
        return self.mean(output, "square")


class RootMeanSquaredError(MeanSquaredError):
    r"""Root of the mean squared error, :math:`\sqrt{\sum w (p - t)^2 / \sum w}`.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean of the roots of outputs, or one number each.
    """

    def of_output(self, output: int) -> float:
        return math.sqrt(self.mean(output, "square"))


class MeanAbsolutePercentageError(OfMoments):
    r"""Mean absolute percentage error, :math:`\sum w |p - t| / \max(|t|, \epsilon) / \sum w`.

    A share, not a percentage; :math:`\epsilon = 2^{-52}`, as in scikit-learn.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = True
    kinds = ("percentage",)

    def of_output(self, output: int) -> float:
        return self.mean(output, "percentage")


class MeanSquaredLogError(OfMoments):
    r"""Mean squared logarithmic error, of :math:`(\log(1 + p) - \log(1 + t))^2`.

    Numbers must be above -1.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = True
    kinds = ("logarithmic",)

    def accumulator(self) -> Any:
        return _Bounded(("weight", *self.kinds), 0.0, -1.0, -1.0, True, True)

    def of_output(self, output: int) -> float:
        return self.mean(output, "logarithmic")


class _Explained(OfMoments):
    """One minus a quotient of two sums."""

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

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    kinds = (
        "square", "square_rest", "target", "target_rest", "target_square", "target_square_rest",
    )  # fmt: skip

    def of_output(self, output: int) -> float:
        if self.rows.count < 2 or not self.rows.of(output, "weight"):
            return math.nan
        spread = self.spread(output, "target", "target_square")
        return self.quotient(self.rows.of(output, "square", True), spread)


class ExplainedVariance(_Explained):
    r"""Explained variance, :math:`1 - \mathrm{Var}(t - p) / \mathrm{Var}(t)`.

    Unlike :class:`R2` it does not see a constant that all predictions are off.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    kinds = (*R2.kinds, "residual", "residual_rest")

    def of_output(self, output: int) -> float:
        if not self.rows.count or not self.rows.of(output, "weight"):
            return math.nan
        spread = self.spread(output, "target", "target_square")
        return self.quotient(self.spread(output, "residual", "square"), spread)


class MeanPinballLoss(OfMoments):
    r"""Mean pinball loss of a quantile: :math:`\alpha (t - p)^+ + (1 - \alpha) (p - t)^+`.

    Parameters
    ----------
    alpha : float in [0, 1]
        Level of the quantile.
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
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

    def of_output(self, output: int) -> float:
        return self.mean(output, "pinball")


class QuantileCoverage(OfMoments):
    r"""Share of targets that are not above the prediction: of a quantile, its level.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    kinds = ("covered",)

    def of_output(self, output: int) -> float:
        return self.mean(output, "covered")


class _Bounded(Moments):
    """Moments of predictions and targets above a bound, or from it on."""

    def __init__(
        self,
        kinds: Sequence[str],
        parameter: float,
        low_prediction: float,
        low_target: float,
        open_prediction: bool,
        open_target: bool,
    ) -> None:
        super().__init__(kinds, parameter)
        self.bounds = (low_prediction, open_prediction), (low_target, open_target)

    def key(self) -> Any:
        return "bounded", self.parameter, self.bounds

    def fresh(self) -> _Bounded:
        (low_p, open_p), (low_t, open_t) = self.bounds
        return _Bounded(self.kinds, self.parameter, low_p, low_t, open_p, open_t)

    def joined(self, other: Any) -> Any:
        if set(other.kinds) <= set(self.kinds):
            return self
        made = self.fresh()
        made.kinds = Moments(self.kinds + other.kinds).kinds
        return made

    def check(self, prediction: np.ndarray, target: np.ndarray) -> None:
        for name, array, (low, is_open) in zip(
            ("prediction", "target"), (prediction, target), self.bounds
        ):
            least = np.fmin.reduce(array, axis=None) if array.size else np.inf
            if least < low or (is_open and least == low):
                raise ValueError(
                    f"{name} holds {least}; this metric takes numbers "
                    f"{'>' if is_open else '>='} {low:g}"
                )


class MeanTweedieDeviance(OfMoments):
    r"""Mean deviance of Tweedie's family.

    .. math::
        2 \Big( \frac{(t^+)^{2-q}}{(1-q)(2-q)} - \frac{t\, p^{1-q}}{1-q}
        + \frac{p^{2-q}}{2-q} \Big)

    Its limits are the deviances of Poisson for a power of 1 and of Gamma for 2; 0 is the squared
    error.

    Parameters
    ----------
    power : float, not in (0, 1)
        :math:`q`. Predictions must be > 0 (any for 0), targets >= 0 for powers from 1 to 2, > 0
        from 2 on, any below 0.
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = True
    explained: ClassVar[bool] = False  # whether the deviance of the mean target is asked for

    def __init__(self, *, power: float = 0.0, multioutput: str = "uniform_average") -> None:
        super().__init__(power=float(power), multioutput=multioutput)

    def validate(self) -> None:
        super().validate()
        if 0.0 < self.options["power"] < 1.0:
            raise ValueError(f"power must not be in (0, 1), as {self.options['power']} is")

    def accumulator(self) -> Any:
        power = self.options["power"]
        if power == 0.0:
            return Moments(("weight", *R2.kinds))
        kinds = ["weight", self.named("deviance")]
        if self.explained:
            kinds += ["target", self.named("null_deviance")]
        low = 0.0 if power >= 1.0 else -np.inf
        return _Bounded(kinds, power, 0.0, low, True, power >= 2.0)

    def of_output(self, output: int) -> float:
        return self.mean(
            output, "square" if self.options["power"] == 0.0 else self.named("deviance")
        )

    def named(self, kind: str) -> str:
        """The name of a term, or of its limit."""
        return kind + {1.0: "_of_poisson", 2.0: "_of_gamma"}.get(self.options["power"], "")


class MeanPoissonDeviance(MeanTweedieDeviance):
    r"""Mean deviance of Poisson, :math:`2 (t \log(t / p) - t + p)`.

    Predictions must be > 0, targets >= 0.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    fixed: ClassVar[float] = 1.0

    def __init__(self, *, multioutput: str = "uniform_average") -> None:
        super().__init__(power=self.fixed, multioutput=multioutput)


class MeanGammaDeviance(MeanPoissonDeviance):
    r"""Mean deviance of Gamma, :math:`2 (\log(p / t) + t / p - 1)`.

    Predictions and targets must be > 0.

    Parameters
    ----------
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    fixed = 2.0


class D2Tweedie(MeanTweedieDeviance):
    r"""Share of Tweedie's deviance that is explained: 1 less its mean over that of the mean target.

    The deviance of the mean target is a difference of two sums, which cancel where targets are
    nearly constant: of targets that spread by a share s of their mean it has some 16 digits less
    two times those of 1 / s, as scikit-learn's has. Powers of 0 have all.

    Parameters
    ----------
    power : float, not in (0, 1)
        As of :class:`MeanTweedieDeviance`; 0 is :class:`R2`.
    multioutput : {"uniform_average", "raw_values"}
        Of arrays (n, outputs): the mean over outputs, or one number each.
    """

    lower_is_better = False
    explained = True

    def of_output(self, output: int) -> float:
        power, rows = self.options["power"], self.rows
        if rows.count < 2:
            return math.nan
        if power == 0.0:
            plain = R2()
            plain.rows = rows
            return plain.of_output(output)
        count = rounded(rows.of(output, "weight"))
        mean, alone = self.mean(output, "target"), self.mean(output, self.named("null_deviance"))
        if not count or not np.isfinite(mean) or mean <= 0.0:
            return math.nan
        if power == 1.0:
            null = 2.0 * (alone - mean * math.log(mean))
        elif power == 2.0:
            null = 2.0 * (math.log(mean) - alone)
        else:
            one, two = 1.0 - power, 2.0 - power
            null = 2.0 * (alone / (one * two) - mean**two / one + mean**two / two)
        found = self.mean(output, self.named("deviance"))
        if math.isnan(found) or math.isnan(null):
            return math.nan
        if null <= 0.0:
            return 1.0 if found == 0.0 else 0.0
        return 1.0 - found / null
