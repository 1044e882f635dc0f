"""Losses of many classes by their probabilities: the formulas of ``from_logits=False``.

``point`` gets the probability p of a class, which nobody divides by the sum of its row, and gives
derivatives by it. Logarithms are cut off at -100 and p in denominators at 1e-12, as in the binary
cross-entropy of probabilities.
"""

from __future__ import annotations

import math

from ..structures.softmax import Softmax
from ..vmath import expm1, log, log1p, pow

LN2 = math.log(2.0)
LEAST_LOGARITHM, LEAST = -100.0, 1e-12


class _OfProbabilities(Softmax):
    takes_logits = False
    prediction_domain = "[0, 1]"


class LogLikelihood(_OfProbabilities):
    sparse = True

    def point(self, probability, target):
        inverse = 1.0 / max(probability, LEAST)
        slope = -target * inverse
        return -target * max(log(probability), LEAST_LOGARITHM), slope, -slope * inverse


def fading(gamma):
    """The focal loss of an exponent."""
    if gamma == 0.0:
        return LogLikelihood()
    return Fading(gamma, 0.0 if gamma > 1.0 else LEAST ** (gamma - 1.0))


class Fading(_OfProbabilities):
    gamma: float
    edge: float  # (1 - p)^(γ - 1) at p = 1
    sparse = True

    def point(self, probability, target):
        rest = 1.0 - probability
        logarithm = max(log(probability), LEAST_LOGARITHM)
        inverse = 1.0 / max(probability, LEAST)
        # log(p) / (1 - p), which tends to -1 as p tends to 1.
        ratio = logarithm / rest if rest > 0.0 else -1.0
        fade = pow(rest, self.gamma)
        steep = pow(rest, self.gamma - 1.0) if rest > 0.0 else self.edge
        slope = target * fade * (self.gamma * ratio - inverse)
        hessian = (rest * inverse + 2.0 * self.gamma) * inverse
        hessian -= self.gamma * (self.gamma - 1.0) * ratio
        return -target * fade * logarithm, slope, target * steep * hessian


class GeneralizedCrossEntropy(_OfProbabilities):
    q: float
    sparse = True

    def point(self, probability, target):
        least = max(probability, LEAST)
        slope = -target * pow(least, self.q - 1.0)
        hessian = target * (1.0 - self.q) * pow(least, self.q - 2.0)
        return -target * expm1(self.q * log(probability)) / self.q, slope, hessian


class SymmetricCrossEntropy(_OfProbabilities):
    alpha: float
    beta: float
    log_zero: float

    def point(self, probability, target):
        mirror = self.beta * max(log(target), self.log_zero)
        inverse = 1.0 / max(probability, LEAST)
        direct = self.alpha * target
        value = -direct * max(log(probability), LEAST_LOGARITHM) - probability * mirror
        return value, -direct * inverse - mirror, direct * inverse * inverse


class Poly1(_OfProbabilities):
    epsilon: float
    sparse = True

    def point(self, probability, target):
        inverse = 1.0 / max(probability, LEAST)
        value = self.epsilon * (1.0 - probability) - max(log(probability), LEAST_LOGARITHM)
        return target * value, -target * (inverse + self.epsilon), target * inverse * inverse


class KLDivergence(_OfProbabilities):
    sparse = True

    def point(self, probability, target):
        inverse = 1.0 / max(probability, LEAST)
        slope = -target * inverse
        value = target * (log(target) - max(log(probability), LEAST_LOGARITHM))
        return value, slope, -slope * inverse


class JensenShannon(_OfProbabilities):
    def point(self, probability, target):
        p, both = probability, probability + target
        inverse = 1.0 / max(p, LEAST)
        # log(p / m) by the difference of p and t where they are close, else by logarithms.
        tilt = (p - target) / both if both != 0.0 else 0.0
        middle = log(both) - LN2  # half of it may be too small for a number
        close = abs(tilt) < 0.5
        of_p = log1p(tilt) if close else max(log(p), LEAST_LOGARITHM) - middle
        of_p = LN2 if target == 0.0 else of_p
        of_target = log1p(-tilt) if close else log(target) - middle
        rest = 0.5 * target * of_target if target != 0.0 else 0.0
        share = 0.5 * target / both if target != 0.0 else 0.0
        return (0.5 * p * of_p if p > 0.0 else 0.0) + rest, 0.5 * of_p, share * inverse


class Brier(_OfProbabilities):
    def point(self, probability, target):
        error = probability - target
        return error * error, 2.0 * error, 2.0
