"""Losses of a real prediction and a real target."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..core.minima import weighted_mean, weighted_quantile
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import log1p


@register
class SquaredError(Elementwise):
    r"""Squared error, the loss whose minimiser is the mean.

    .. math:: \ell = r^2, \qquad r = \mathrm{prediction} - \mathrm{target}

    Notes
    -----
    Without the factor ½ that scikit-learn's boosting puts in front.

    Examples
    --------
    >>> SquaredError()([295000.0], [300000.0])
    25000000.0
    """

    boosting_hessian = "exact"
    of_residual = True

    def hessian_bound(self):
        return 2.0

    aliases = ("mse", "l2", "mean_squared_error")

    def closed_constant(self, target, weight):
        return weighted_mean(target, weight)

    def point(self, prediction, target):
        residual = prediction - target
        return residual * residual, 2.0 * residual, 2.0


@register
class AbsoluteError(Elementwise):
    r"""Absolute error, the loss whose minimiser is the median.

    .. math:: \ell = |r|

    Notes
    -----
    The gradient at :math:`r = 0` is 0, the hessian is 0 everywhere: a booster needs
    another one.
    """

    boosting_hessian = "secant"
    of_residual = True

    aliases = ("mae", "l1", "mean_absolute_error")

    def closed_constant(self, target, weight):
        return weighted_quantile(target, 0.5, weight)

    def point(self, prediction, target):
        residual = prediction - target
        # A difference of two choices: one inside the other takes 10 % longer.
        slope = (1.0 if residual > 0.0 else 0.0) - (1.0 if residual < 0.0 else 0.0)
        return abs(residual), slope, 0.0


@register
class Quantile(Elementwise):
    r"""Pinball loss, whose minimiser is the quantile ``q``.

    .. math:: \ell = \max(q \, (t - p), \; (q - 1)(t - p))

    Parameters
    ----------
    q : float in (0, 1)
        The quantile; 0.5 is half the absolute error.

    Notes
    -----
    The gradient is :math:`-q` below the target, :math:`1 - q` above, and 0 where they
    meet, as for :class:`AbsoluteError` (scikit-learn takes :math:`-q` there).

    References
    ----------
    R. Koenker and G. Bassett, *Regression quantiles*, 1978.
    """

    boosting_hessian = "secant"
    of_residual = True

    aliases = ("pinball", "quantile_loss", "pinball_loss")
    q: float = 0.5
    bounds: ClassVar = {"q": "(0, 1)"}

    def closed_constant(self, target, weight):
        return weighted_quantile(target, self.q, weight)

    def point(self, prediction, target):
        residual = prediction - target
        above, below = (1.0 - self.q) * residual, self.q * -residual
        slope = (1.0 - self.q if residual > 0.0 else 0.0) - (self.q if residual < 0.0 else 0.0)
        return max(above, below), slope, 0.0


@register
class Expectile(Elementwise):
    r"""Squared error that weighs the two sides differently; its minimiser is an expectile.

    .. math:: \ell = w r^2, \qquad w = \alpha \text{ where } t \ge p,
              \quad 1 - \alpha \text{ where } t < p

    Parameters
    ----------
    alpha : float in (0, 1)
        Weight of predictions that are too low.

    Notes
    -----
    At :math:`\alpha = \tfrac12` this is half the squared error. The hessian jumps where the
    residual is 0; there it is :math:`2 \alpha`, that of predictions that are too low.

    References
    ----------
    W. K. Newey and J. L. Powell, *Asymmetric least squares estimation and testing*, 1987.
    """

    boosting_hessian = "exact"
    of_residual = True

    def hessian_bound(self):
        return 2.0 * max(self.alpha, 1.0 - self.alpha)

    alpha: float = 0.5
    bounds: ClassVar = {"alpha": "(0, 1)"}

    def point(self, prediction, target):
        residual = prediction - target
        weight = self.alpha if residual <= 0.0 else 1.0 - self.alpha
        slope = 2.0 * weight * residual
        return weight * residual * residual, slope, 2.0 * weight


@register
class SquaredLogError(Elementwise):
    r"""Squared difference of logarithms: relative errors count, for sizes that span decades.

    .. math:: \ell = \bigl(\log(1 + p) - \log(1 + t)\bigr)^2, \qquad p, t > -1

    Notes
    -----
    Computed from :math:`\mathrm{log1p}(|p - t| / (1 + \min(p, t)))`, precise where p is near t.
    A quotient that leaves the dtype's range, of a number next to -1 and one beyond 1e31 in
    float32 and 1e292 in float64, makes the value infinite. The hessian is negative where p
    exceeds the target by more than a factor of e: take its absolute value, or a constant, for a
    booster.
    """

    boosting_hessian = "absolute"

    aliases = ("msle", "mean_squared_log_error")
    target_domain = "(-1, inf)"
    prediction_domain = "(-1, inf)"

    def closed_constant(self, target, weight):
        return float(np.expm1(weighted_mean(np.log1p(target), weight)))

    def point(self, prediction, target):
        residual = prediction - target
        size = log1p(abs(residual) / (1.0 + min(prediction, target)))
        difference = size if residual > 0.0 else -size
        inverse = 1.0 / (1.0 + prediction)
        slope = 2.0 * difference * inverse
        return difference * difference, slope, 2.0 * (1.0 - difference) * inverse * inverse


@register
class AbsolutePercentageError(Elementwise):
    r"""Absolute error as a fraction of the target.

    .. math:: \ell = \frac{|r|}{\max(|t|, \varepsilon)}

    Notes
    -----
    A fraction, as in scikit-learn; Keras multiplies by 100. ε is the machine epsilon of
    float64, so that a target of 0 dominates any mean: prefer another loss for such data.
    """

    boosting_hessian = "secant"

    aliases = ("mape", "mean_absolute_percentage_error")

    def closed_constant(self, target, weight):
        share = 1.0 / np.maximum(np.abs(target), 2.220446049250313e-16)
        return weighted_quantile(target, 0.5, share if weight is None else share * weight)

    def point(self, prediction, target):
        residual = prediction - target
        inverse = 1.0 / max(abs(target), 2.220446049250313e-16)
        slope = (inverse if residual > 0.0 else 0.0) - (inverse if residual < 0.0 else 0.0)
        return abs(residual) * inverse, slope, 0.0
