"""Every loss of the registry once more, by its value alone.

The formulas are the documented ones, in a form that keeps its digits; derivatives are left to the
library. What a loss computes by hand is to equal them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import numbaloss as nl
from numbaloss.losses.binary import _whole_power
from numbaloss.losses import binary, exponential_family, margin, multiclass, regression, robust

TWINS: dict[type, type] = {}


def twin_of(loss: Any, base: type) -> Any:
    """The class of a twin: the parameters of a loss as kernels see it, with a value alone."""
    lowered = lower(loss)
    return TWINS[type(lowered)](*lowered.values())


def lower(loss: Any) -> Any:
    from numbaloss.definitions import lower as lower_

    return lower_(loss)


def gives(original: type) -> Any:
    """Make a class of the parameters of another loss, and of a value."""

    def make(value: Any) -> type:
        base = original.structure()
        kinds = {one.name: one.kind for one in original.parameters()}
        kinds = {name: kind | None if kind is np.ndarray else kind for name, kind in kinds.items()}
        own = {one.name: one.default for one in original.parameters() if not one.required}
        marks = ("sparse", "linear", "accepts", "relative_to_label", "mean_over_classes",
                 "dense_logits", "target_domain", "metric", "form", "against", "average", "hinge")
        for mark in marks:
            if hasattr(original, mark) and mark not in kinds:
                own[mark] = getattr(original, mark)
        # Properties cannot be told without an instance; the tests stay inside domains.
        own = {k: "(-inf, inf)" if isinstance(v, property) else v for k, v in own.items()}
        own |= {"__annotations__": kinds, "__module__": __name__, "value": value}
        TWINS[original] = type(f"{original.__name__.strip('_')}Value", (base,), own)
        return TWINS[original]

    return make


# Regression.


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
    return (nl.log1p(prediction) - nl.log1p(target)) ** 2


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


@gives(nl.Cauchy)
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
def of_probabilities(self, prediction, target):
    target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
    right, wrong = nl.log(prediction), nl.log1p(-prediction)
    return -self.pos_weight * target * max(right, -100.0) - (1.0 - target) * max(wrong, -100.0)


def _faded(margin, gamma):
    """Cross-entropy of a margin, times a power of what is missing."""
    return nl.sigmoid(-margin) ** gamma * nl.softplus(-margin)


def _faded_whole(margin, gamma):
    return _whole_power(nl.sigmoid(-margin), gamma) * nl.softplus(-margin)


@gives(binary._FocalPower)
def focal(self, prediction, target):
    first = self.positive * target * _faded(prediction, self.gamma_positive)
    return first + self.negative * (1.0 - target) * _faded(-prediction, self.gamma_negative)


@gives(binary._FocalWhole)
def focal_whole(self, prediction, target):
    first = self.positive * target * _faded_whole(prediction, self.power_positive)
    return first + self.negative * (1.0 - target) * _faded_whole(-prediction, self.power_negative)


def _shifted(prediction, margin):
    return max(nl.sigmoid(prediction) - margin, 0.0)


@gives(binary._ShiftedPower)
def shifted(self, prediction, target):
    first = target * _faded(prediction, self.gamma_pos)
    probability = _shifted(prediction, self.margin)
    return first - (1.0 - target) * probability**self.gamma_neg * nl.log1p(-probability)


@gives(binary._ShiftedWhole)
def shifted_whole(self, prediction, target):
    first = target * _faded_whole(prediction, self.power_pos)
    probability = _shifted(prediction, self.margin)
    fade = _whole_power(probability, self.power_neg)
    return first - (1.0 - target) * fade * nl.log1p(-probability)


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
