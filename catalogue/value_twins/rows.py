"""Values of losses of rows: of a log-probability and a target."""

from __future__ import annotations

import numbaloss as nl
from numbaloss.losses import multiclass
from numbaloss.structures.softmax import LogLikelihood

from .making import gives


@gives(LogLikelihood)
def log_likelihood(self, log_probability, target):
    return -target * log_probability


@gives(multiclass._WithZLoss)
def with_z_loss(self, log_probability, target):
    return -target * log_probability


@gives(multiclass._Fading)
def fading(self, log_probability, target):
    return -target * (-nl.expm1(log_probability)) ** self.gamma * log_probability


@gives(nl.GeneralizedCrossEntropy)
def generalized_cross_entropy(self, log_probability, target):
    return -target * nl.expm1(self.q * log_probability) / self.q


@gives(nl.SymmetricCrossEntropy)
def symmetric_cross_entropy(self, log_probability, target):
    mirror = nl.exp(log_probability) * max(nl.log(target), self.log_zero)
    return -self.alpha * target * log_probability - self.beta * mirror


@gives(nl.Poly1)
def poly1(self, log_probability, target):
    return target * (-self.epsilon * nl.expm1(log_probability) - log_probability)


@gives(multiclass._LinearMargin)
def linear_margin(self, difference, target):
    return max(self.margin + difference, 0.0) if target == 0.0 else 0.0


@gives(multiclass._SquaredMargin)
def squared_margin(self, difference, target):
    return max(self.margin + difference, 0.0) ** 2 if target == 0.0 else 0.0


@gives(nl.KLDivergence)
def kl_divergence(self, log_probability, target):
    return target * (nl.log(target) - log_probability)


@gives(nl.JensenShannon)
def jensen_shannon(self, log_probability, target):
    p = nl.exp(log_probability)
    middle = nl.log(0.5 * (p + target))
    of_target = target * (nl.log(target) - middle) if target > 0.0 else 0.0
    return 0.5 * (p * (log_probability - middle) + of_target)


@gives(nl.Distillation)
def distillation(self, log_probability, target):
    return self.temperature**2 * target * (nl.log(target) - log_probability)


@gives(nl.Brier)
def brier(self, log_probability, target):
    return (nl.exp(log_probability) - target) ** 2
