"""Losses of distributions over classes: divergences, distillation, squared distances.

As in :mod:`.multiclass`, ``point`` gives what a class contributes to the loss of its row, by its
log-probability and its target.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..registry import register
from ..structures.softmax import Softmax
from ..vmath import exp, expm1, log, log1p
from . import probabilities
from .logits import LOWEST, OfLogitsOrProbabilities

LN2 = math.log(2.0)


@register
class KLDivergence(OfLogitsOrProbabilities):
    r"""Kullback-Leibler divergence of the prediction from the target distribution.

    .. math:: \ell = \sum_j t_j (\log t_j - \log p_j)

    Parameters
    ----------
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    Notes
    -----
    The cross-entropy less the entropy of the targets: the same gradient, and 0 where the two
    distributions are one. Target 0 contributes 0. With labels it is the cross-entropy.

    PyTorch's ``kl_div(input, target)`` takes log-probabilities as they are. Here the prediction is
    logits, which the loss normalises: ``kl_div(log_softmax(x), t)``. Log-probabilities are logits
    too and give the same value, but the gradient is that by logits, :math:`p_k \sum_j t_j - t_k`
    and not :math:`-t_k`. ``"mean"`` is over the rows, which is PyTorch's ``"batchmean"``; its
    own ``"mean"`` divides by the number of classes too.

    Examples
    --------
    >>> round(KLDivergence()([[0.0, 0.0]], [[0.25, 0.75]]), 6)
    0.130812
    """

    boosting_hessian = "upper"

    aliases = ("kl", "kl_div", "kullback_leibler")
    ignore_index: int = -100
    from_logits: bool = True
    sparse = True

    def closed_shares(self, mass):
        return mass

    def lower(self):
        return self if self.from_logits else probabilities.KLDivergence()

    def point(self, log_probability, target):
        return target * (log(target) - log_probability), -target, 0.0


@register
class JensenShannon(OfLogitsOrProbabilities):
    r"""Jensen-Shannon divergence: symmetric, and never above log 2.

    .. math:: \ell = \tfrac12 \sum_j \left(p_j \log \frac{p_j}{m_j} +
              t_j \log \frac{t_j}{m_j}\right), \quad m = \frac{p + t}{2}

    Parameters
    ----------
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    Notes
    -----
    Natural logarithms, and no root: SciPy's ``jensenshannon`` is the root of this.

    Examples
    --------
    >>> round(JensenShannon()([[0.0, -1000.0]], [[0.0, 1.0]]), 6)
    0.693147
    """

    boosting_hessian = "fisher"

    aliases = ("js", "js_divergence", "jensen_shannon_divergence")
    ignore_index: int = -100
    from_logits: bool = True

    def lower(self):
        return self if self.from_logits else probabilities.JensenShannon()

    def point(self, log_probability, target):
        p = exp(log_probability)
        both = p + target
        # log(p / m) by the difference of p and t where they are close, else by logarithms.
        tilt = (p - target) / both if both != 0.0 else 0.0
        middle = log(both) - LN2  # half of it may be too small for a number
        close = abs(tilt) < 0.5
        of_p = log1p(tilt) if close else log_probability - middle
        of_target = log1p(-tilt) if close else log(target) - middle
        slope = 0.5 * p * of_p if p > 0.0 else 0.0
        rest = 0.5 * target * of_target if target != 0.0 else 0.0
        share = 0.5 * p * target / both if both != 0.0 else 0.0
        return slope + rest, slope, slope + share

    def label_point(self, log_probability):
        finite = max(log_probability, LOWEST)
        p, rest = exp(finite), -expm1(finite)
        middle = log1p(-0.5 * rest)
        slope = 0.5 * p * (finite - middle - LN2)
        value = 0.5 * p * (finite - middle) - 0.5 * middle + 0.5 * LN2 * rest
        return value, slope, slope + 0.5 * p / (1.0 + p)


@register
class Distillation(Softmax):
    r"""Learning from the logits of a teacher, softened by a temperature.

    .. math:: \ell = T^2 \sum_j q_j (\log q_j - \log p_j), \quad
              q = \mathrm{softmax}(z / T), \quad p = \mathrm{softmax}(x / T)

    The target z are the teacher's logits, of the prediction's shape.

    Parameters
    ----------
    temperature : float > 0
        T; the higher, the more the teacher's small probabilities count.

    Notes
    -----
    The factor T² keeps the gradient's size when T changes. The teacher is a constant: it has
    no gradient. Mix with the labels' loss by hand: a ``CrossEntropy`` of its own. Computed from
    terms :math:`q_j (\log q_j - \log p_j) + p_j - q_j \ge 0`, which keep their digits where the
    two distributions are almost one.

    References
    ----------
    G. Hinton, O. Vinyals, J. Dean, *Distilling the knowledge in a neural network*, 2015.

    Examples
    --------
    >>> round(Distillation(temperature=1.0)([[0.0, 0.0]], [[0.0, 1.0]]), 6)
    0.110944
    """

    boosting_hessian = "upper"

    aliases = ("knowledge_distillation",)
    temperature: float = 2.0
    bounds: ClassVar = {"temperature": "(0, inf)"}
    spans: ClassVar = {"temperature": (2, 2)}
    accepts = ("dense",)
    dense_logits = True
    target_domain = "(-inf, inf)"

    def closed_shares(self, mass):
        return mass

    def point(self, log_probability, target):
        scale = self.temperature * self.temperature
        # The sums of p and q are one: adding p - q changes no row's value, and leaves terms that
        # are small where p is near q. With d = log(q / p) they are q (d - 1 + exp(-d)).
        distance = log(target) - log_probability
        series = 1.0 / 39916800.0 - distance / 479001600.0
        series = 1.0 / 3628800.0 - distance * series
        series = 1.0 / 362880.0 - distance * series
        series = 1.0 / 40320.0 - distance * series
        series = 1.0 / 5040.0 - distance * series
        series = 1.0 / 720.0 - distance * series
        series = 1.0 / 120.0 - distance * series
        series = 1.0 / 24.0 - distance * series
        series = 1.0 / 6.0 - distance * series
        series = 0.5 - distance * series
        direct = target * distance if target > 0.0 else 0.0
        far = direct + (exp(log_probability) - target)
        value = target * distance * distance * series if abs(distance) < 0.25 else far
        return scale * value, -scale * target, 0.0


@register
class Brier(OfLogitsOrProbabilities):
    r"""Squared error of the probabilities: a proper score that never explodes.

    .. math:: \ell = \sum_j (p_j - t_j)^2

    Parameters
    ----------
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    Notes
    -----
    Between 0 and 2, as in Brier's paper; scikit-learn's score of two classes is half of it.

    References
    ----------
    G. Brier, *Verification of forecasts expressed in terms of probability*, 1950.

    Examples
    --------
    >>> Brier()([[0.0, 0.0]], [1])
    0.5
    """

    boosting_hessian = "fisher"

    aliases = ("brier_score",)
    ignore_index: int = -100
    from_logits: bool = True

    def closed_shares(self, mass):
        return mass

    def lower(self):
        return self if self.from_logits else probabilities.Brier()

    def point(self, log_probability, target):
        p = exp(log_probability)
        error = expm1(log_probability) if target == 1.0 else p - target
        return error * error, 2.0 * p * error, 2.0 * p * (p + error)
