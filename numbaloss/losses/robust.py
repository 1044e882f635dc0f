"""Losses of a residual that grow slower than its square: outliers keep their distance.

Divisions by a parameter are written as products with its inverse, which LLVM takes out of
the loop: a division of float64 vectors takes as long as eight products.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import exp, expm1, log1p, log_cosh, sigmoid, sqrt, tanh
from .regression import AbsoluteError, SquaredError


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
        inverse = 1.0 / self.beta
        slope = max(-1.0, min(1.0, residual * inverse))
        curvature = inverse if size <= self.beta else 0.0
        return near * (size - 0.5 * near) * inverse, slope, curvature


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
        ratio = abs(residual) * (1.0 / self.delta)
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

    def point(self, prediction, target):
        residual = prediction - target
        other = sigmoid(-2.0 * abs(residual))
        return log_cosh(residual), tanh(residual), 4.0 * other * (1.0 - other)


@register
class Cauchy(Elementwise):
    r"""Logarithmic growth: the negative log-likelihood of Cauchy noise.

    .. math:: \ell = \tfrac12 c^2 \log\bigl(1 + (r/c)^2\bigr)

    Parameters
    ----------
    scale : float > 0
        :math:`c`, the residual at which the pull is strongest.

    Notes
    -----
    ``GeneralRobust(0, c)`` is :math:`\log(1 + \tfrac12 (r/c)^2)`, another scale; so is
    kornia's. The hessian is negative beyond ``scale``.
    """

    aliases = ("lorentzian",)
    scale: float = 1.0
    bounds: ClassVar = {"scale": "(0, inf)"}

    def point(self, prediction, target):
        residual = prediction - target
        ratio = abs(residual) * (1.0 / self.scale)
        # Beyond 1e16 the 1 is lost in the sum, and the square could overflow.
        far = ratio > 1e16
        square = ratio * ratio
        logarithm = log1p(ratio if far else square)
        value = self.scale * self.scale * (logarithm if far else 0.5 * logarithm)
        slope = (self.scale if far else abs(residual)) / (ratio if far else 1.0 + square)
        fraction = 1.0 / (1.0 + square)
        curvature = fraction * (2.0 * fraction - 1.0)
        return value, slope if residual > 0.0 else -slope, curvature


@register
class GeneralRobust(Elementwise):
    r"""One family from the squared error to Welsch's loss, by a parameter for the shape.

    .. math::
        \ell = \frac{|\alpha - 2|}{\alpha}
               \left( \Bigl(\frac{(r/c)^2}{|\alpha - 2|} + 1\Bigr)^{\alpha/2} - 1 \right)

    with its limits :math:`\tfrac12 (r/c)^2` at α = 2, :math:`\log(\tfrac12 (r/c)^2 + 1)` at 0,
    :math:`1 - e^{-(r/c)^2/2}` at −∞ and :math:`e^{(r/c)^2/2} - 1` at ∞; α = 1 is a
    pseudo-Huber loss, −2 that of Geman and McClure.

    Parameters
    ----------
    alpha : float
        Shape, infinities included. The smaller, the less an outlier pulls.
    scale : float > 0
        :math:`c`, the size of residuals that count as inliers.

    Notes
    -----
    Continuous in ``alpha``. The hessian is negative for far residuals where α < 1.

    References
    ----------
    J. T. Barron, *A general and adaptive robust loss function*, 2019.
    """

    aliases = ("barron",)
    alpha: float
    scale: float = 1.0
    bounds: ClassVar = {"scale": "(0, inf)"}

    def lower(self):
        alpha, scale = self.alpha, self.scale
        if alpha == 2.0:
            return 0.5 / (scale * scale) * SquaredError()
        # Nearer to a limit than these, float64 cannot tell the formula from it, and the
        # factor |alpha - 2| / alpha leaves the range of float32.
        if abs(alpha) < 1e-30:
            return _RobustLog(scale)
        if abs(alpha) > 1e30:
            return _RobustExponential(scale, math.copysign(1.0, alpha))
        distance = abs(alpha - 2.0)
        return _RobustPower(alpha, scale, distance, math.log(distance))


class _RobustPower(Elementwise):
    alpha: float
    scale: float
    distance: float  # |alpha - 2|, exact: near 2 the kernel's float32 alpha would lose it
    log_distance: float

    def point(self, prediction, target):
        residual = prediction - target
        inverse = 1.0 / self.scale
        ratio = abs(residual) * inverse
        # Far out the square could overflow, even more so divided by a small distance.
        far = ratio > 1e11
        share = ratio * ratio * (1.0 / self.distance)
        logarithm = log1p(ratio - 1.0 if far else share)
        logarithm = 2.0 * logarithm - self.log_distance if far else logarithm
        half = 0.5 * self.alpha
        value = self.distance / self.alpha * expm1(half * logarithm)
        power = exp((half - 1.0) * logarithm) * inverse * inverse
        fraction = 1.0 / (1.0 + share)
        part = 1.0 if far else share * fraction  # 1 - fraction
        return value, residual * power, power * (fraction + (self.alpha - 1.0) * part)


class _RobustLog(Elementwise):
    scale: float

    def point(self, prediction, target):
        residual = prediction - target
        ratio = abs(residual) * (1.0 / self.scale)
        far = ratio > 1e16
        half_square = 0.5 * ratio * ratio
        logarithm = log1p(ratio if far else half_square)
        value = 2.0 * logarithm - 0.6931471805599453 if far else logarithm
        inverse = 1.0 / (self.scale * self.scale)
        slope = 2.0 / ratio / self.scale if far else abs(residual) * inverse / (1.0 + half_square)
        fraction = 1.0 / (1.0 + half_square)
        curvature = inverse * fraction * (2.0 * fraction - 1.0)
        return value, slope if residual > 0.0 else -slope, curvature


class _RobustExponential(Elementwise):
    scale: float
    sign: float  # of alpha, which is infinite

    def point(self, prediction, target):
        residual = prediction - target
        inverse = 1.0 / self.scale
        ratio = residual * inverse
        exponent = self.sign * 0.5 * ratio * ratio
        power = exp(exponent) * inverse * inverse
        slope = residual * power if power > 0.0 else 0.0
        curvature = power * (1.0 + 2.0 * exponent) if power > 0.0 else 0.0
        return self.sign * expm1(exponent), slope, curvature
