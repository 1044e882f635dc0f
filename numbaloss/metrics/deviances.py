"""Metrics of numbers above a bound: logarithmic errors, deviances of Tweedie's family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .base import least_of
from .exact import rounded
from .moments import Moments
from .regression import R2, OfMoments


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
            least = least_of(array)
            if least < low or (is_open and least == low):
                raise ValueError(
                    f"{name} holds {least}; this metric takes numbers "
                    f"{'>' if is_open else '>='} {low:g}"
                )


class MeanSquaredLogError(OfMoments):
    r"""Mean squared logarithmic error, of :math:`(\log(1 + p) - \log(1 + t))^2`.

    Numbers must be above -1.
    """

    lower_is_better = True
    kinds = ("logarithmic",)

    def accumulator(self) -> Any:
        return _Bounded(("weight", *self.kinds), 0.0, -1.0, -1.0, True, True)


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

    def row_kind(self) -> str:
        return "square" if self.options["power"] == 0.0 else self.named("deviance")

    def named(self, kind: str) -> str:
        """The name of a term, or of its limit."""
        return kind + {1.0: "_of_poisson", 2.0: "_of_gamma"}.get(self.options["power"], "")


class MeanPoissonDeviance(MeanTweedieDeviance):
    r"""Mean deviance of Poisson, :math:`2 (t \log(t / p) - t + p)`.

    Predictions must be > 0, targets >= 0.
    """

    fixed: ClassVar[float] = 1.0

    def __init__(self, *, multioutput: str = "uniform_average") -> None:
        super().__init__(power=self.fixed, multioutput=multioutput)


class MeanGammaDeviance(MeanPoissonDeviance):
    r"""Mean deviance of Gamma, :math:`2 (\log(p / t) + t / p - 1)`.

    Predictions and targets must be > 0.
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
    """

    lower_is_better = False
    explained = True
    of_mean = False

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
