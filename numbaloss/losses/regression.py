"""Losses of a real prediction and a real target."""

from __future__ import annotations

from typing import Any, ClassVar

from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import exp, expm1, log1p, sqrt


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

    aliases = ("mse", "l2", "mean_squared_error")

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

    aliases = ("mae", "l1", "mean_absolute_error")

    def point(self, prediction, target):
        residual = prediction - target
        slope = 1.0 if residual > 0.0 else (-1.0 if residual < 0.0 else 0.0)
        return abs(residual), slope, 0.0


@register
class Huber(Elementwise):
    r"""Quadratic near the target, linear beyond ``delta``: outliers pull with bounded force.

    .. math::
        \ell = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\
                             \delta (|r| - \tfrac12 \delta) & |r| > \delta \end{cases}

    Parameters
    ----------
    delta : float > 0
        Where the parabola ends, in units of the target.

    References
    ----------
    P. J. Huber, *Robust estimation of a location parameter*, 1964.
    """

    delta: float = 1.0
    bounds: ClassVar = {"delta": "(0, inf)"}

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        near = min(size, self.delta)
        slope = max(-self.delta, min(self.delta, residual))
        return near * (size - 0.5 * near), slope, 1.0 if size <= self.delta else 0.0


@register
class SmoothL1(Elementwise):
    r"""Huber's loss divided by its threshold: slope ±1 in the tails, whatever ``beta``.

    .. math::
        \ell = \begin{cases} \tfrac{1}{2\beta} r^2 & |r| \le \beta \\
                             |r| - \tfrac12 \beta & |r| > \beta \end{cases}

    Parameters
    ----------
    beta : float >= 0
        Where the parabola ends; 0 is the absolute error.

    References
    ----------
    R. Girshick, *Fast R-CNN*, 2015.
    """

    aliases = ("smooth_l1_loss",)
    beta: float = 1.0
    bounds: ClassVar = {"beta": "[0, inf)"}

    def lower(self):
        return AbsoluteError() if self.beta == 0.0 else self

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        near = min(size, self.beta)
        slope = max(-self.beta, min(self.beta, residual)) / self.beta
        curvature = 1.0 / self.beta if size <= self.beta else 0.0
        return near * (size - 0.5 * near) / self.beta, slope, curvature


@register
class PseudoHuber(Elementwise):
    r"""Huber's loss without the corner: a hyperbola.

    .. math:: \ell = \delta^2 \left( \sqrt{1 + (r/\delta)^2} - 1 \right)

    Parameters
    ----------
    delta : float > 0
        Where the parabola bends into the line; the slope tends to ±delta.

    Notes
    -----
    Computed as :math:`r^2 / (1 + \sqrt{1 + (r/\delta)^2})`, which does not cancel near 0.
    """

    delta: float = 1.0
    bounds: ClassVar = {"delta": "(0, inf)"}

    def point(self, prediction, target):
        residual = prediction - target
        ratio = abs(residual) / self.delta
        # Beyond 1e9 the root is the ratio to the last bit, and its square could overflow.
        bounded = min(ratio, 1e9)
        root = max(sqrt(1.0 + bounded * bounded), ratio)
        value = self.delta * abs(residual) * (ratio / (1.0 + root))
        return value, residual / root, 1.0 / (root * root * root)


@register
class LogCosh(Elementwise):
    r"""Logarithm of the hyperbolic cosine: a parabola that turns into ``|r| - ln 2``.

    .. math:: \ell = \log\cosh r

    Notes
    -----
    Precise near 0, where it is :math:`\tfrac12 r^2`, and beyond the overflow of cosh.
    """

    aliases = ("log_cosh", "logcosh")

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        decay = expm1(-2.0 * size)  # e**(-2|r|) - 1
        tail = 1.0 + decay
        # Near 0: log cosh = log1p(sinh**2) / 2, with sinh**2 = decay**2 / (4 e**(-2|r|)).
        small = size < 0.625
        argument = decay * decay / (4.0 * tail) if small else tail
        logarithm = log1p(argument)
        value = 0.5 * logarithm if small else size - 0.6931471805599453 + logarithm
        slope = -decay / (1.0 + tail)
        # The curvature alone needs the tail to full relative precision.
        curvature = 4.0 * exp(-2.0 * size) / ((1.0 + tail) * (1.0 + tail))
        return value, slope if residual > 0.0 else -slope, curvature
