"""Minus log densities of distributions, of which a model predicts every parameter.

Scales are predicted as logarithms, so that any number is right, and boosting and gradient descent
take steps that fit.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..registry import register
from ..rewriting.marks import stop_gradient
from ..structures.multi_output import MultiOutput
from ..vmath import exp, expm1, log, log1p, sigmoid, softplus

_LOG_2 = math.log(2.0)
_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


class LocationScale(MultiOutput):
    """Distributions of a location and a scale."""

    outputs = ("mean", "log_scale")


@register
class GaussianNLL(LocationScale):
    r"""Minus log density of a normal distribution.

    .. math:: \ell = \tfrac{1}{2} z^2 + s + \tfrac{1}{2} \ln 2\pi, \qquad z = (y - \mu) e^{-s}

    The outputs are the mean μ, in units of the target, and s, the log of the standard deviation.
    PyTorch's loss of this name takes the variance, and leaves the constant out.

    References
    ----------
    D. Nix, A. Weigend, *Estimating the mean and variance of the target probability distribution*,
    1994.
    """

    aliases = ("gaussian_negative_log_likelihood", "normal_nll")

    def value(self, mean, log_scale, target):
        z = (target - mean) * exp(-log_scale)
        return 0.5 * (z * z) + (log_scale + _HALF_LOG_TAU)

    def information(self, mean, log_scale):
        return exp(-2.0 * log_scale), 2.0


@register
class BetaNLL(LocationScale):
    r"""The normal one, weighed by a power of the variance that is a constant to the gradient.

    .. math:: \ell = \lfloor \sigma^{2\beta} \rfloor\, \ell_{\mathrm{Gaussian}}

    Where the variance is predicted large, the mean learns slowly from :class:`GaussianNLL`, and may
    never get better. β = 0 is that loss; β = 1 moves the mean as the squared error does.

    Parameters
    ----------
    beta : float in [0, 1]
        The power β.

    References
    ----------
    M. Seitzer et al., *On the pitfalls of heteroscedastic uncertainty estimation with probabilistic
    neural networks*, 2022.
    """

    beta: float = 0.5
    bounds: ClassVar = {"beta": "[0, 1]"}

    def value(self, mean, log_scale, target):
        z = (target - mean) * exp(-log_scale)
        weight = stop_gradient(exp(2.0 * self.beta * log_scale))
        return weight * (0.5 * (z * z) + (log_scale + _HALF_LOG_TAU))


@register
class LaplaceNLL(LocationScale):
    r"""Minus log density of a Laplace distribution: less is lost by outliers than by the normal.

    .. math:: \ell = |z| + s + \ln 2, \qquad z = (y - \mu) e^{-s}

    The outputs are the median μ, in units of the target, and the log s of the scale.
    """

    aliases = ("laplace_negative_log_likelihood",)

    def value(self, mean, log_scale, target):
        return abs(target - mean) * exp(-log_scale) + (log_scale + _LOG_2)

    def information(self, mean, log_scale):
        return exp(-2.0 * log_scale), 1.0


class _StudentT(LocationScale):
    df: float = 5.0
    constant: float = 0.0

    def value(self, mean, log_scale, target):
        z = (target - mean) * exp(-log_scale)
        return 0.5 * (self.df + 1.0) * log1p(z * z / self.df) + (log_scale + self.constant)

    def information(self, mean, log_scale):
        over = self.df + 3.0
        return (self.df + 1.0) / over * exp(-2.0 * log_scale), 2.0 * self.df / over


@register
class StudentTNLL(LocationScale):
    r"""Minus log density of Student's t: targets far from the mean pull no more than others.

    .. math::
        \ell = \tfrac{\nu + 1}{2} \ln\Bigl(1 + \frac{z^2}{\nu}\Bigr) + s
        + \ln \frac{\sqrt{\nu\pi}\, \Gamma(\nu / 2)}{\Gamma((\nu + 1) / 2)}, \qquad
        z = (y - \mu) e^{-s}

    The outputs are the location μ, in units of the target, and the log s of the scale.

    Parameters
    ----------
    df : float > 0
        The degrees of freedom ν: 1 is the Cauchy distribution, many are the normal one.
    """

    df: float = 5.0
    bounds: ClassVar = {"df": "(0, inf)"}

    def lower(self) -> MultiOutput:
        half = 0.5 * self.df
        constant = math.lgamma(half) - math.lgamma(half + 0.5) + 0.5 * math.log(self.df * math.pi)
        return _StudentT(self.df, constant)


@register
class LogNormalNLL(LocationScale):
    r"""Minus log density of a log-normal distribution: of positive numbers whose log is normal.

    .. math:: \ell = \tfrac{1}{2} z^2 + s + \tfrac{1}{2} \ln 2\pi + \ln y, \qquad
        z = (\ln y - \mu) e^{-s}

    The outputs are mean and log standard deviation of the log of the target, which is > 0.
    """

    domains: ClassVar = {"target": "(0, inf)"}

    def value(self, mean, log_scale, target):
        level = log(target)
        z = (level - mean) * exp(-log_scale)
        return 0.5 * (z * z) + (log_scale + _HALF_LOG_TAU) + level

    def information(self, mean, log_scale):
        return exp(-2.0 * log_scale), 2.0


@register
class NegativeBinomialNLL(MultiOutput):
    r"""Minus log probability of counts whose variance exceeds their mean.

    .. math::
        \ell = \ln\frac{\Gamma(r)\, \Gamma(y + 1)}{\Gamma(y + r)}
        + r \ln\Bigl(1 + \frac{\mu}{r}\Bigr) + y \ln\Bigl(1 + \frac{r}{\mu}\Bigr), \qquad
        \mu = e^a,\ r = e^b

    The outputs are the logs of the mean μ and of the size r; the variance is :math:`\mu + \mu^2/r`.
    Targets are counts >= 0. Beyond sizes of 1e6 the difference of two log gammas loses digits.
    """

    outputs = ("log_mean", "log_size")
    domains: ClassVar = {"target": "[0, inf)"}

    def value(self, log_mean, log_size, target):
        size = exp(log_size)
        gammas = math.lgamma(size) + math.lgamma(target + 1.0) - math.lgamma(target + size)
        balance = log_mean - log_size
        return gammas + size * softplus(balance) + target * softplus(-balance)


@register
class ZeroInflatedPoissonNLL(MultiOutput):
    r"""Minus log probability of counts, some of which are 0 for another reason.

    .. math::
        \ell = \begin{cases}
        -\ln\bigl(\pi + (1 - \pi) e^{-\lambda}\bigr) & y = 0 \\
        -\ln(1 - \pi) + \lambda - y \ln\lambda + \ln\Gamma(y + 1) & y > 0
        \end{cases}

    The outputs are the logit of π, the probability of a 0 beside those of Poisson's, and the log of
    the rate λ. Targets are counts >= 0.

    References
    ----------
    D. Lambert, *Zero-inflated Poisson regression*, 1992.
    """

    outputs = ("logit_zero", "log_rate")
    domains: ClassVar = {"target": "[0, inf)"}

    def value(self, logit_zero, log_rate, target):
        rate, both = exp(log_rate), logit_zero + exp(log_rate)
        counted = softplus(logit_zero) + rate - target * log_rate + math.lgamma(target + 1.0)
        # -ln(pi + (1 - pi) e^-rate) in three forms, each where it loses no digits.
        far = softplus(-logit_zero) - softplus(-both)
        near = softplus(logit_zero) + rate - softplus(both)
        zero = -log1p(sigmoid(-logit_zero) * expm1(-rate)) if rate < 1.0 else near
        zero = far if (rate >= 1.0) & (both > 0.0) else zero
        return zero if target == 0.0 else counted
