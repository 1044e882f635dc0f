"""Negative log-likelihoods of positive and counted quantities, on the logarithm of the mean.

They leave out what depends on the target alone, so that values may be negative; gradients
and hessians are those of the likelihood.
"""

from __future__ import annotations

from ..core.links import logarithm
from ..core.minima import weighted_mean
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import exp, log

INFINITY = float("inf")


@register
class Poisson(Elementwise):
    r"""Counts: the negative log-likelihood of a Poisson distribution.

    .. math:: \ell = e^f - t f \quad (f = \log \text{rate}), \qquad
              \ell = p - t \log p \quad (p = \text{rate})

    Parameters
    ----------
    log_input : bool
        Whether the prediction is the logarithm of the rate, or the rate itself.

    Notes
    -----
    Targets are >= 0. Rates are >= 0; a rate of 0 costs nothing at a target of 0 and is
    infinitely bad at any other (PyTorch adds 1e-8 to the rate instead). Logarithms of rates that
    are out of range (above 88.7 in float32) make value and derivatives infinite, however large the
    target.
    """

    boosting_hessian = "exact"

    log_input: bool = True
    target_domain = "[0, inf)"

    @property
    def prediction_domain(self):
        return "(-inf, inf)" if self.log_input else "[0, inf)"

    @property
    def link_function(self):
        return "log" if self.log_input else "identity"

    def closed_constant(self, target, weight):
        mean = weighted_mean(target, weight)
        return logarithm(mean) if self.log_input else mean

    def lower(self):
        return _PoissonOfLog() if self.log_input else _PoissonOfRate()


class _PoissonOfLog(Elementwise):
    def point(self, prediction, target):
        rate = exp(prediction)
        # 0 * -inf is NaN, but a rate of 0 fits a count of 0.
        score = target * prediction if target != 0.0 else 0.0
        return rate - score, rate - target, rate


class _PoissonOfRate(Elementwise):
    def point(self, prediction, target):
        score = target * log(prediction) if target != 0.0 else 0.0
        share = target / prediction if target != 0.0 else 0.0
        hessian = share / prediction if target != 0.0 else 0.0
        return prediction - score, 1.0 - share, hessian


@register
class Gamma(Elementwise):
    r"""Positive quantities with a constant relative error: claims, durations.

    .. math:: \ell = f + t e^{-f}, \qquad f = \log \text{mean}

    Notes
    -----
    Targets are > 0. Half the deviance of a gamma distribution, but for terms in t alone. Means so
    small that :math:`e^{-f}` is out of range (below 3e-39 in float32) make the value infinite,
    however small the target.
    """

    boosting_hessian = "exact"

    target_domain = "(0, inf)"
    link_function = "log"

    def closed_constant(self, target, weight):
        return logarithm(weighted_mean(target, weight))

    def point(self, prediction, target):
        share = target * exp(-prediction)
        return prediction + share, 1.0 - share, share


@register
class Tweedie(Elementwise):
    r"""Variance that grows as a power of the mean: zeros and positive amounts in one.

    .. math:: \ell = -t \frac{e^{f(1-q)}}{1-q} + \frac{e^{f(2-q)}}{2-q}

    with :math:`f` the logarithm of the mean and :math:`q` the power.

    Parameters
    ----------
    power : float, <= 0 or >= 1
        Between 1 and 2 a compound of Poisson and gamma; 1 is :class:`Poisson`, 2 is
        :class:`Gamma`, 3 the inverse Gaussian, 0 the normal distribution.

    Notes
    -----
    Gradient and hessian are continuous in ``power``; the value jumps at 1 and 2 by terms
    in t alone. Targets: any number for power <= 0, >= 0 below 2, > 0 from 2 on. Means one of whose
    two powers is out of range make the value infinite, and so do targets whose product with the
    first power is (near 3e38 in float32); the hessian, which is larger or smaller, is infinite too.

    References
    ----------
    B. Jørgensen, *Exponential dispersion models*, 1987.
    """

    @property
    def boosting_hessian(self):
        return "exact" if 1.0 <= self.power <= 2.0 else "fisher"  # convex in between alone

    power: float = 1.5
    link_function = "log"

    def closed_constant(self, target, weight):
        return logarithm(weighted_mean(target, weight))

    def validate(self):
        if 0.0 < self.power < 1.0 or not abs(self.power) < float("inf"):
            raise ValueError(
                f"Tweedie: power must be <= 0 or >= 1, not {self.power}: "
                f"no such distribution exists in between"
            )

    @property
    def target_domain(self):
        if self.power <= 0.0:
            return "(-inf, inf)"
        return "[0, inf)" if self.power < 2.0 else "(0, inf)"

    def lower(self):
        if self.power == 1.0:
            return _PoissonOfLog()
        if self.power == 2.0:
            return Gamma()
        return _TweediePower(1.0 - self.power, 2.0 - self.power)


class _TweediePower(Elementwise):
    # 1 - power and 2 - power: subtracted in float64, so that powers near 1 and 2 are exact
    first: float
    second: float

    def point(self, prediction, target):
        score = target * exp(prediction * self.first) if target != 0.0 else 0.0
        mean = exp(prediction * self.second)
        # The larger of two infinities wins; their difference would be NaN.
        score = 0.0 if mean == INFINITY and prediction > 0.0 else score
        mean = 0.0 if abs(score) == INFINITY and prediction < 0.0 else mean
        value = mean / self.second - score / self.first
        return value, mean - score, self.second * mean - self.first * score


__all__ = ["Gamma", "Poisson", "Tweedie"]
