"""Values of elementwise losses."""

from __future__ import annotations

import math
from typing import Any

import numbaloss as nl
from numbaloss.losses import binary, exponential_family, robust
from numbaloss.losses.focal import (
    _FocalPower,
    _FocalSquare,
    _FocalWhole,
    _ShiftedPower,
    _ShiftedWhole,
    _SmoothFocalWhole,
    _whole_power,
)

from .making import gives


@gives(nl.SquaredError)
def squared_error(self, prediction, target):
    return (prediction - target) ** 2


@gives(nl.AbsoluteError)
def absolute_error(self, prediction, target):
    return abs(prediction - target)


@gives(nl.Quantile)
def quantile(self, prediction, target):
    short = target - prediction
    return max(self.q * short, (self.q - 1.0) * short)


@gives(nl.Expectile)
def expectile(self, prediction, target):
    residual = prediction - target
    weight = self.alpha if residual <= 0.0 else 1.0 - self.alpha
    return weight * residual**2


@gives(nl.SquaredLogError)
def squared_log_error(self, prediction, target):
    return nl.log1p(abs(prediction - target) / (1.0 + min(prediction, target))) ** 2


@gives(nl.AbsolutePercentageError)
def absolute_percentage_error(self, prediction, target):
    return abs(prediction - target) / max(abs(target), 2.220446049250313e-16)


@gives(nl.Huber)
def huber(self, prediction, target):
    size = abs(prediction - target)
    if size <= self.delta:
        return 0.5 * size * size
    return self.delta * (size - 0.5 * self.delta)


@gives(nl.SmoothL1)
def smooth_l1(self, prediction, target):
    size = abs(prediction - target)
    near = min(size, self.beta)
    return near * (size - 0.5 * near) * (1.0 / self.beta)


@gives(nl.PseudoHuber)
def pseudo_huber(self, prediction, target):
    return self.delta * (math.hypot(self.delta, prediction - target) - self.delta)


@gives(nl.LogCosh)
def log_cosh(self, prediction, target):
    return nl.log_cosh(prediction - target)


@gives(robust._Cauchy)
def cauchy(self, prediction, target):
    ratio = (prediction - target) * (1.0 / self.scale)
    return 0.5 * self.scale * self.scale * nl.log1p(ratio * ratio)


@gives(robust._RobustPower)
def robust_power(self, prediction, target):
    ratio = (prediction - target) * (1.0 / self.scale)
    logarithm = nl.log1p(ratio * ratio * (1.0 / self.distance))
    return self.distance / self.alpha * nl.expm1(0.5 * self.alpha * logarithm)


@gives(robust._RobustLog)
def robust_log(self, prediction, target):
    ratio = (prediction - target) * (1.0 / self.scale)
    return nl.log1p(0.5 * ratio * ratio)


@gives(robust._RobustExponential)
def robust_exponential(self, prediction, target):
    ratio = (prediction - target) * (1.0 / self.scale)
    return self.sign * nl.expm1(self.sign * 0.5 * ratio * ratio)


# Likelihoods.


@gives(exponential_family._PoissonOfLog)
def poisson_of_log(self, prediction, target):
    return nl.exp(prediction) - target * prediction


@gives(exponential_family._PoissonOfRate)
def poisson_of_rate(self, prediction, target):
    return prediction - target * nl.log(prediction)


@gives(nl.Gamma)
def gamma(self, prediction, target):
    return prediction + target * nl.exp(-prediction)


@gives(exponential_family._TweediePower)
def tweedie(self, prediction, target):
    mean, score = nl.exp(prediction * self.second), nl.exp(prediction * self.first)
    return mean / self.second - target * score / self.first


# Binary.


@gives(binary._OfLogits)
def of_logits(self, prediction, target):
    return max(prediction, 0.0) - target * prediction + nl.softplus(-abs(prediction))


@gives(binary._WeightedOfLogits)
def weighted_of_logits(self, prediction, target):
    target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
    right = nl.softplus(-prediction)
    return self.pos_weight * target * right + (1.0 - target) * nl.softplus(prediction)


@gives(binary._OfProbabilities)
@gives(binary._LightOfProbabilities)
def of_probabilities(self, prediction, target):
    target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
    right, wrong = nl.log(prediction), nl.log1p(-prediction)
    return -self.pos_weight * target * max(right, -100.0) - (1.0 - target) * max(wrong, -100.0)


def _faded(margin, gamma):
    """Cross-entropy of a margin, times a power of what is missing."""
    return nl.sigmoid(-margin) ** gamma * nl.softplus(-margin)


def _faded_whole(margin, gamma):
    return _whole_power(nl.sigmoid(-margin), gamma) * nl.softplus(-margin)


@gives(_FocalPower)
def focal(self, prediction, target):
    positive = self.positive * target + self.positive_rest
    negative = self.negative * (1.0 - target) + self.negative_rest
    first = positive * _faded(prediction, self.gamma_positive)
    return first + negative * _faded(-prediction, self.gamma_negative)


@gives(_FocalSquare)
def focal_square(self, prediction, target):
    right, wrong = nl.sigmoid(prediction), nl.sigmoid(-prediction)
    first = self.positive * target * (wrong * wrong) * nl.softplus(-prediction)
    return first + self.negative * (1.0 - target) * (right * right) * nl.softplus(prediction)


@gives(_FocalWhole)
def focal_whole(self, prediction, target):
    first = self.positive * target * _faded_whole(prediction, self.power_positive)
    return first + self.negative * (1.0 - target) * _faded_whole(-prediction, self.power_negative)


@gives(_SmoothFocalWhole)
def smooth_focal_whole(self, prediction, target):
    positive = self.positive * target + self.positive_rest
    negative = self.negative * (1.0 - target) + self.negative_rest
    first = positive * _faded_whole(prediction, self.power_positive)
    return first + negative * _faded_whole(-prediction, self.power_negative)


def _shifted(prediction, margin):
    return max(nl.sigmoid(prediction) - margin, 0.0)


@gives(_ShiftedPower)
def shifted(self, prediction, target):
    positive, negative = self.on * target + self.off, self.on * (1.0 - target) + self.off
    first = positive * _faded(prediction, self.gamma_pos)
    probability = _shifted(prediction, self.margin)
    return first - negative * probability**self.gamma_neg * nl.log1p(-probability)


@gives(_ShiftedWhole)
def shifted_whole(self, prediction, target):
    positive, negative = self.on * target + self.off, self.on * (1.0 - target) + self.off
    first = positive * _faded_whole(prediction, self.power_pos)
    probability = _shifted(prediction, self.margin)
    fade = _whole_power(probability, self.power_neg)
    return first - negative * fade * nl.log1p(-probability)


class FocalOfTwo(nl.Elementwise):
    """With its exponent in the formula, as one writes it who wants this one."""

    def value(self, prediction, target):
        right = target * nl.sigmoid(-prediction) ** 2 * nl.softplus(-prediction)
        return right + (1.0 - target) * nl.sigmoid(prediction) ** 2 * nl.softplus(prediction)


class AsymmetricFocalOfFour(nl.Elementwise):
    """With its exponents, 4 and 1, in the formula."""

    margin: float = 0.05

    def value(self, prediction, target):
        right = target * nl.sigmoid(-prediction) * nl.softplus(-prediction)
        probability = max(nl.sigmoid(prediction) - self.margin, 0.0)
        return right - (1.0 - target) * probability**4 * nl.log1p(-probability)


def as_written(loss: Any) -> Any:
    """The twin with exponents that are no parameters; None where there is none."""
    return {nl.Focal(): FocalOfTwo(), nl.AsymmetricFocal(): AsymmetricFocalOfFour()}.get(loss)


# Margins.


@gives(nl.Hinge)
def hinge(self, prediction, target):
    return max(1.0 - (2.0 * target - 1.0) * prediction, 0.0)


@gives(nl.SquaredHinge)
def squared_hinge(self, prediction, target):
    return max(1.0 - (2.0 * target - 1.0) * prediction, 0.0) ** 2


@gives(nl.Exponential)
def exponential(self, prediction, target):
    return nl.exp(-(2.0 * target - 1.0) * prediction)


@gives(nl.ModifiedHuber)
def modified_huber(self, prediction, target):
    margin = (2.0 * target - 1.0) * prediction
    return max(1.0 - margin, 0.0) ** 2 if margin >= -1.0 else -4.0 * margin
