"""Losses of the margin: how far a score lies on the right side of 0.

Targets are exactly 0 or 1, here as everywhere in the library; the sign is
:math:`s = 2t - 1` and the margin :math:`m = s \\cdot \\mathrm{prediction}`. With
``targets="signed"`` they are −1 and 1, the signs themselves.
"""

from __future__ import annotations

from ..core.links import logit
from ..core.minima import weighted_mean
from ..core.recoding import HARD
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import exp


@register
class Hinge(Elementwise):
    r"""The loss of support vector machines: none beyond a margin of 1.

    .. math:: \ell = \max(0, 1 - m), \qquad m = (2t - 1)\, p

    Parameters
    ----------
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1.

    Notes
    -----
    The gradient at the corner, m = 1, is 0.
    """

    boosting_hessian = "secant"

    def kink(self, target):
        return target if self.targets == "signed" else 2.0 * target - 1.0

    targets: str = "binary"

    @property
    def target_domain(self):
        return HARD[self.targets]

    def point(self, prediction, target):
        sign = 2.0 * target - 1.0
        gap = 1.0 - sign * prediction
        return max(gap, 0.0), -sign if gap > 0.0 else 0.0, 0.0


@register
class SquaredHinge(Elementwise):
    r"""Hinge loss without the corner.

    .. math:: \ell = \max(0, 1 - m)^2, \qquad m = (2t - 1)\, p

    Parameters
    ----------
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1.
    """

    boosting_hessian = "upper"

    def hessian_bound(self):
        return 2.0

    targets: str = "binary"
    link_function = "margin"

    @property
    def target_domain(self):
        return HARD[self.targets]

    def point(self, prediction, target):
        sign = 2.0 * target - 1.0
        gap = max(1.0 - sign * prediction, 0.0)
        return gap * gap, -2.0 * sign * gap, 2.0 * sign * sign if gap > 0.0 else 0.0


@register
class Exponential(Elementwise):
    r"""The loss of AdaBoost; a wrong label pulls without bound.

    .. math:: \ell = e^{-m}, \qquad m = (2t - 1)\, p

    Parameters
    ----------
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1.
    """

    boosting_hessian = "exact"

    targets: str = "binary"
    link_function = "half_logit"

    def closed_constant(self, target, weight):
        share = weighted_mean(target, weight)
        return 0.5 * logit(share, 1.0 - share)

    @property
    def target_domain(self):
        return HARD[self.targets]

    def point(self, prediction, target):
        sign = 2.0 * target - 1.0
        value = exp(-sign * prediction)
        return value, -sign * value, sign * sign * value


@register
class ModifiedHuber(Elementwise):
    r"""Squared hinge loss with a linear tail: smooth, and mild on wrong labels.

    .. math:: \ell = \begin{cases} \max(0, 1 - m)^2 & m \ge -1 \\ -4m & m < -1 \end{cases}
              \qquad m = (2t - 1)\, p

    Parameters
    ----------
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1.

    References
    ----------
    T. Zhang, *Solving large scale linear prediction problems using stochastic gradient
    descent algorithms*, 2004.
    """

    boosting_hessian = "upper"

    def hessian_bound(self):
        return 2.0

    targets: str = "binary"
    link_function = "margin"

    @property
    def target_domain(self):
        return HARD[self.targets]

    def point(self, prediction, target):
        sign = 2.0 * target - 1.0
        margin = sign * prediction
        gap = max(1.0 - margin, 0.0)
        inside = margin >= -1.0
        value = gap * gap if inside else -4.0 * margin
        slope = -2.0 * gap if inside else -4.0
        curved = inside and gap > 0.0
        return value, sign * slope, 2.0 * sign * sign if curved else 0.0
