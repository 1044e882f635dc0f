"""Losses of logits against targets in [0, 1]: binary and multi-label classification.

With σ the logistic function, everything is written in terms of :math:`\\sigma(\\pm x)` and
:math:`\\mathrm{softplus}(\\pm x)`, each precise in both tails; they share one exponential.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..core.links import logit
from ..core.minima import weighted_mean
from ..core.recoding import SOFT, Recoding
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import log, log1p, sigmoid, softplus


@register
class BinaryCrossEntropy(Elementwise):
    r"""Negative log-likelihood of a coin: the loss of logistic regression.

    .. math:: \ell = -w\, t \log \sigma(x) - (1 - t) \log(1 - \sigma(x))

    Parameters
    ----------
    from_logits : bool
        Whether the prediction is a logit :math:`x` or a probability :math:`\sigma(x)`.
        Logits are faster and exact in the tails.
    pos_weight : float >= 0, or array of shape (C,)
        :math:`w`, the weight of positive targets: one number, or one a label, which are then
        along the last axis of predictions of shape (..., C). With one a label, targets outside the
        domain are NaN where nobody checks them.
    label_smoothing : float in [0, 1]
        ε; moves the target to :math:`t (1 - ε) + ε/2`.
    targets : {"binary", "signed"}
        Whether targets are 0 and 1, and what is between, or −1 and 1; the formula is that of
        :math:`(t + 1)/2` then.

    Notes
    -----
    Probabilities: logarithms are cut off at −100 and :math:`p (1 - p)` in the gradient and
    the hessian at 1e-12, as in PyTorch. Logits are never clipped.

    Examples
    --------
    >>> loss = BinaryCrossEntropy()
    >>> value, gradient = loss.value_and_grad([2.0, -1.0], [1.0, 0.0])
    >>> f"{value:.6f}", gradient.round(6).tolist()
    ('0.220095', [-0.059601, 0.134471])
    """

    boosting_hessian = "exact"

    aliases = ("bce", "log_loss", "binary_crossentropy", "logistic")
    from_logits: bool = True
    pos_weight: float | np.ndarray = 1.0
    label_smoothing: float = 0.0
    targets: str = "binary"
    bounds: ClassVar = {"pos_weight": "[0, inf)", "label_smoothing": "[0, 1]"}

    @property
    def target_domain(self):
        return SOFT[self.targets]

    @property
    def prediction_domain(self):
        return "(-inf, inf)" if self.from_logits else "[0, 1]"

    @property
    def link_function(self):
        return "logit" if self.from_logits else "identity"

    def closed_constant(self, target, weight):
        share = weighted_mean(target, weight)
        share = share * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        positive, negative = float(self.pos_weight) * share, 1.0 - share
        if positive + negative == 0.0:
            return 0.0  # all are positive, and of weight 0
        return logit(positive, negative) if self.from_logits else positive / (positive + negative)

    def recoding(self):
        if not isinstance(self.pos_weight, np.ndarray):
            return super().recoding()
        on, off = 1.0 - self.label_smoothing, 0.5 * self.label_smoothing
        return Recoding(self.targets == "signed", self.pos_weight, on, off)

    def lower(self):
        if isinstance(self.pos_weight, np.ndarray):
            return _SharesOfLogits() if self.from_logits else _SharesOfProbabilities()
        if not self.from_logits:
            light = self.pos_weight < 1.0
            of_probabilities = _LightOfProbabilities if light else _OfProbabilities
            return of_probabilities(self.pos_weight, self.label_smoothing)
        if self.pos_weight == 1.0 and self.label_smoothing == 0.0:
            return _OfLogits()
        return _WeightedOfLogits(self.pos_weight, self.label_smoothing)


class _OfLogits(Elementwise):
    def point(self, prediction, target):
        size = abs(prediction)
        rest = sigmoid(-size)
        right = prediction >= 0.0
        # max(x, 0) - t x, without its cancellation; a share of 0 costs nothing at infinity.
        share = 1.0 - target if right else target
        linear = share * size if share != 0.0 else 0.0
        gradient = (1.0 - target) - rest if right else rest - target
        return softplus(-size) + linear, gradient, rest * (1.0 - rest)


class _WeightedOfLogits(Elementwise):
    pos_weight: float
    label_smoothing: float

    def point(self, prediction, target):
        target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        positive, negative = self.pos_weight * target, 1.0 - target
        both = positive + negative
        size = abs(prediction)
        rest = sigmoid(-size)
        right = prediction >= 0.0
        share = negative if right else positive
        linear = share * size if share != 0.0 else 0.0
        gradient = negative - both * rest if right else both * rest - positive
        return both * softplus(-size) + linear, gradient, both * rest * (1.0 - rest)


class _SharesOfLogits(Elementwise):
    """Of targets that are shares: see `core.recoding.Recoding`."""

    def point(self, prediction, target):
        turned = target < 0.0
        positive = 1.0 + target if turned else target
        negative = -target if turned else 1.0 - target
        size = abs(prediction)
        rest = sigmoid(-size)
        right = prediction >= 0.0
        share = negative if right else positive
        linear = share * size if share != 0.0 else 0.0
        gradient = negative - rest if right else rest - positive
        return softplus(-size) + linear, gradient, rest * (1.0 - rest)


class _SharesOfProbabilities(Elementwise):
    def point(self, prediction, target):
        turned = target < 0.0
        positive = 1.0 + target if turned else target
        negative = -target if turned else 1.0 - target
        # negative p - positive (1 - p), where the two shares are 1 together.
        slope = negative - (1.0 - prediction) if turned else prediction - positive
        return _of_probability(prediction, positive, negative, slope)


class _OfProbabilities(Elementwise):
    pos_weight: float
    label_smoothing: float

    def point(self, prediction, target):
        target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        # (1 - t) p - w t (1 - p), written so that the weight 1 cancels exactly.
        slope = (prediction - target) - (self.pos_weight - 1.0) * target * (1.0 - prediction)
        return _of_probability(prediction, self.pos_weight * target, 1.0 - target, slope)


class _LightOfProbabilities(_OfProbabilities):
    """Of a weight below 1, for which the slope above would cancel near p = 0."""

    def point(self, prediction, target):
        target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        positive, negative = self.pos_weight * target, 1.0 - target
        value, _, hessian = _of_probability(prediction, positive, negative, 0.0)
        _, right, wrong = _over_variance(prediction)
        return value, negative * wrong - positive * right, hessian


def _of_probability(prediction, positive, negative, slope):
    value = -positive * max(log(prediction), -100.0) - negative * max(log1p(-prediction), -100.0)
    inverse, right, wrong = _over_variance(prediction)
    return value, slope * inverse, positive * right * right + negative * wrong * wrong


def _over_variance(prediction):
    """1, 1 - p and p, each over p (1 - p): shares of a small p itself may be too small for numbers,
    and so may its square."""
    rest = 1.0 - prediction
    inverse = 1.0 / max(prediction * rest, 1e-12)
    return inverse, rest * inverse, prediction * inverse
