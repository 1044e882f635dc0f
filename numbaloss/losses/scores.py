"""Continuous ranked probability scores: what a predicted distribution lost, in units of the target.

.. math:: \\mathrm{CRPS} = \\int \\bigl(F(x) - [y \\le x]\\bigr)^2 \\, dx

The absolute error of a prediction that is a single number, and less of one that admits its doubt.
"""

from __future__ import annotations

import math

from ..registry import register
from ..vmath import exp, softplus
from .distributions import LocationScale

_ROOT_HALF, _OVER_ROOT_PI = math.sqrt(0.5), 1.0 / math.sqrt(math.pi)
_DENSITY = math.sqrt(2.0 / math.pi)


@register
class CRPSGaussian(LocationScale):
    r"""The score of a normal distribution.

    .. math:: \ell = \sigma \Bigl(z\,\mathrm{erf}\frac{z}{\sqrt{2}}
        + \sqrt{\tfrac{2}{\pi}}\, e^{-z^2/2} - \tfrac{1}{\sqrt{\pi}}\Bigr), \qquad
        z = (y - \mu) / \sigma

    The outputs are the mean μ, in units of the target, and the log of the standard deviation σ.

    References
    ----------
    T. Gneiting et al., *Calibrated probabilistic forecasting using ensemble model output
    statistics*, 2005.
    """

    aliases = ("crps_normal",)

    def value(self, mean, log_scale, target):
        scale = exp(log_scale)
        residual = target - mean
        z = residual / scale
        density = _DENSITY * exp(-0.5 * (z * z)) - _OVER_ROOT_PI
        return residual * math.erf(z * _ROOT_HALF) + scale * density


@register
class CRPSLogistic(LocationScale):
    r"""The score of a logistic distribution.

    .. math:: \ell = \sigma \bigl(z - 2 \ln F(z) - 1\bigr), \qquad z = (y - \mu) / \sigma

    F is the sigmoid. The outputs are the mean μ, in units of the target, and the log of the scale
    σ.

    References
    ----------
    M. Taillardat et al., *Calibrated ensemble forecasts using quantile regression forests*, 2016.
    """

    def value(self, mean, log_scale, target):
        scale = exp(log_scale)
        size = abs(target - mean)
        return size + scale * (2.0 * softplus(-size / scale) - 1.0)


@register
class CRPSLaplace(LocationScale):
    r"""The score of a Laplace distribution.

    .. math:: \ell = |y - \mu| + \sigma e^{-|y - \mu| / \sigma} - \tfrac{3}{4} \sigma

    The outputs are the median μ, in units of the target, and the log of the scale σ.

    References
    ----------
    A. Jordan et al., *Evaluating probabilistic forecasts with scoringRules*, 2019.
    """

    def value(self, mean, log_scale, target):
        scale = exp(log_scale)
        size = abs(target - mean)
        return size + scale * (exp(-size / scale) - 0.75)
