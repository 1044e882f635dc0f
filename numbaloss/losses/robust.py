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

# Quotients of a residual and a scale so large that 1 does not count beside their squares.
FAR, FAR_POWER = 1e16, 1e11


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

    boosting_hessian = "secant"
    of_residual = True

    def hessian_bound(self):
        return 1.0

    delta: float = 1.0
    bounds: ClassVar = {"delta": "(0, inf]"}

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

    boosting_hessian = "secant"
    of_residual = True

    def hessian_bound(self):
        return 1.0 / self.beta if self.beta > 0.0 else None

    aliases = ("smooth_l1_loss",)
    beta: float = 1.0
    bounds: ClassVar = {"beta": "[0, inf)"}
    spans: ClassVar = {"beta": (1, 1)}

    def lower(self):
        return AbsoluteError() if self.beta == 0.0 else self

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        near = min(size, self.beta)
        inverse = 1.0 / self.beta
        slope = max(-1.0, min(1.0, residual * inverse))
        hessian = inverse if size <= self.beta else 0.0
        return near * inverse * (size - 0.5 * near), slope, hessian


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

    boosting_hessian = "secant"
    of_residual = True

    def hessian_bound(self):
        return 1.0

    delta: float = 1.0
    bounds: ClassVar = {"delta": "(0, inf)"}
    spans: ClassVar = {"delta": (1, 1)}

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        ratio = size * (1.0 / self.delta)
        # Beyond 1e17 the root is the ratio to the last bit, the square of which could overflow,
        # as the ratio itself could.
        bounded, near = min(ratio, 1e17), min(size, 1e17 * self.delta)
        root = sqrt(1.0 + bounded * bounded)
        slope, steep = near / root, max(root, ratio)
        return (
            size * (near / (1.0 + root)),
            slope if residual >= 0.0 else -slope,
            1.0 / (steep * steep * steep),
        )


@register
class LogCosh(Elementwise):
    r"""Logarithm of the hyperbolic cosine: a parabola that turns into ``|r| - ln 2``.

    .. math:: \ell = \log\cosh r

    Notes
    -----
    Precise near 0, where it is :math:`\tfrac12 r^2`, and beyond the overflow of cosh.
    """

    boosting_hessian = "secant"
    of_residual = True

    def hessian_bound(self):
        return 1.0

    def point(self, prediction, target):
        residual = prediction - target
        other = sigmoid(-2.0 * abs(residual))
        return log_cosh(residual), tanh(residual), 4.0 * other * (1.0 - other)


def _parts_of_far(scale, limit):
    """Numbers a, b > 0 with ``log(r / scale) = log(a * r) + b`` where ``r > limit * scale``.

    The product is at least 1, and in range where the quotient may not be: always for scales of
    1 / limit and more, else up to quotients of the limit times the largest number.
    """
    if scale >= 1.0:
        return 1.0 / scale, 0.0
    if scale * limit >= 1.0:
        return 1.0, -math.log(scale)
    return 1.0 / (scale * limit), math.log(limit)


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

    boosting_hessian = "secant"
    of_residual = True

    def hessian_bound(self):
        return 1.0

    aliases = ("lorentzian",)
    scale: float = 1.0
    bounds: ClassVar = {"scale": "(0, inf)"}
    spans: ClassVar = {"scale": (1, 2)}

    def lower(self):
        return _Cauchy(self.scale, *_parts_of_far(self.scale, FAR))


class _Cauchy(Elementwise):
    scale: float
    part: float
    shift: float

    def point(self, prediction, target):
        residual = prediction - target
        size = abs(residual)
        ratio = size * (1.0 / self.scale)
        # There the 1 is lost in the sum, and the square could overflow.
        far = ratio > FAR
        square = ratio * ratio
        logarithm = log1p(size * self.part - 1.0 if far else square)
        factor = self.scale * self.scale
        value = (factor if far else 0.5 * factor) * logarithm
        value += factor * self.shift if far else 0.0
        slope = (self.scale if far else size) / (ratio if far else 1.0 + square)
        fraction = 1.0 / (1.0 + square)
        hessian = fraction * (2.0 * fraction - 1.0)
        return value, slope if residual > 0.0 else -slope, hessian


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
    Continuous in ``alpha``. The hessian is negative for far residuals where α < 1. At α = 2 it is a
    multiple of :class:`SquaredError`, out of range where that is. Results are off by about
    :math:`|\alpha - 2| \log(r/c)` units in the last place where residuals are far.

    References
    ----------
    J. T. Barron, *A general and adaptive robust loss function*, 2019.
    """

    of_residual = True

    @property
    def boosting_hessian(self):
        return "exact" if self.alpha >= 2.0 else "secant"

    aliases = ("barron",)
    alpha: float
    scale: float = 1.0
    bounds: ClassVar = {"scale": "(0, inf)"}
    spans: ClassVar = {"scale": (1, 1)}

    def validate(self) -> None:
        if self.alpha == 2.0 and not 1e-154 <= self.scale <= 1e154:
            raise ValueError(
                f"GeneralRobust: scale must be in [1e-154, 1e154] where alpha is 2, whose loss is "
                f"divided by its square, not {self.scale}"
            )

    def lower(self):
        alpha, scale = self.alpha, self.scale
        if alpha == 2.0:
            return 0.5 / (scale * scale) * SquaredError()
        # Nearer to a limit than these, float64 cannot tell the formula from it, and the
        # factor |alpha - 2| / alpha leaves the range of float32.
        if abs(alpha) < 1e-30:
            part, shift = _parts_of_far(scale, FAR)
            return _RobustLog(scale, part, 2.0 * shift - math.log(2.0))
        if abs(alpha) > 1e30:
            return _RobustExponential(scale, math.copysign(1.0, alpha))
        part, shift = _parts_of_far(scale, FAR_POWER)
        distance = abs(alpha - 2.0)
        return _RobustPower(alpha, scale, distance, part, 2.0 * shift - math.log(distance))


class _RobustPower(Elementwise):
    alpha: float
    scale: float
    distance: float  # |alpha - 2|, exact: near 2 the kernel's float32 alpha would lose it
    part: float
    shift: float

    def point(self, prediction, target):
        residual = prediction - target
        size, inverse = abs(residual), 1.0 / self.scale
        ratio = size * inverse
        # Far out the square could overflow, even more so divided by a small distance.
        far = ratio > FAR_POWER
        share = ratio * ratio * (1.0 / self.distance)
        logarithm = log1p(size * self.part - 1.0 if far else share)
        logarithm = (2.0 if far else 1.0) * logarithm + (self.shift if far else 0.0)
        # Powers as products of two roots: a power may be out of range where its product with
        # what follows is not.
        quarter = 0.25 * self.alpha
        grown = expm1(quarter * logarithm)
        value = self.distance / self.alpha * grown * (grown + 2.0)
        root = exp((quarter - 0.5) * logarithm) * inverse
        fraction = 1.0 / (1.0 + share)
        rest = 1.0 if far else share * fraction  # 1 - fraction
        hessian = root * root * (fraction + (self.alpha - 1.0) * rest)
        return value, root * (root * residual), hessian


class _RobustLog(Elementwise):
    scale: float
    part: float
    shift: float  # twice that of a logarithm, less log 2

    def point(self, prediction, target):
        residual = prediction - target
        size, inverse = abs(residual), 1.0 / self.scale
        ratio = size * inverse
        far = ratio > FAR
        half_square = 0.5 * ratio * ratio
        logarithm = log1p(size * self.part - 1.0 if far else half_square)
        value = (2.0 if far else 1.0) * logarithm + (self.shift if far else 0.0)
        slope = (2.0 if far else ratio) / (size if far else 1.0 + half_square)
        slope *= 1.0 if far else inverse
        fraction = 1.0 / (1.0 + half_square)
        hessian = inverse * fraction * inverse * (2.0 * fraction - 1.0)
        hessian = -0.5 * slope * slope if far else hessian
        return value, slope if residual > 0.0 else -slope, hessian


class _RobustExponential(Elementwise):
    scale: float
    sign: float  # of alpha, which is infinite

    def point(self, prediction, target):
        residual = prediction - target
        inverse = 1.0 / self.scale
        ratio = residual * inverse
        exponent = self.sign * 0.5 * ratio * ratio
        power = exp(exponent)
        slope = ratio * (power * inverse) if power > 0.0 else 0.0
        # The parenthesis last: it may be large where the power is about the largest number.
        hessian = power * inverse * inverse * (1.0 + 2.0 * exponent) if power > 0.0 else 0.0
        return self.sign * expm1(exponent), slope, hessian
