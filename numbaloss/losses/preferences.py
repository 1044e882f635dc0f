"""Losses of a preference: of two scores the first should be larger, by a model or by a policy.

The policies of language models have log-probabilities of whole answers, which
``LinearCrossEntropy(reduction="none")`` gives a token each without their logits.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..registry import register
from ..structures.multi_output import MultiOutput
from ..vmath import exp, expm1, log, log1p, sigmoid, softplus

_MINUS_LOG_2 = -math.log(2.0)


class Preference(MultiOutput):
    """Two scores, of which the first is preferred."""

    outputs = ("preferred", "other")
    targets = ()


@register
class PairwiseLogistic(Preference):
    r"""Minus log probability that the preferred one wins, by Bradley and Terry.

    .. math:: \ell = \ln\bigl(1 + e^{-(a - b)}\bigr)

    The loss of Bayesian personalised ranking (BPR) and of reward models.

    References
    ----------
    R. Bradley, M. Terry, *Rank analysis of incomplete block designs*, 1952; S. Rendle et al., *BPR:
    Bayesian personalized ranking from implicit feedback*, 2009.
    """

    aliases = ("bpr", "bradley_terry", "reward")

    def value(self, preferred, other):
        return softplus(other - preferred)


@register
class PairwiseHinge(Preference):
    r"""What the preferred score is short of a margin over the other.

    .. math:: \ell = \max(0, m - (a - b))

    Parameters
    ----------
    margin : float >= 0
        In units of the scores.

    References
    ----------
    R. Herbrich et al., *Large margin rank boundaries for ordinal regression*, 2000;
    ``torch.nn.MarginRankingLoss``.
    """

    aliases = ("margin_ranking",)
    margin: float = 1.0
    bounds: ClassVar = {"margin": "[0, inf)"}

    def value(self, preferred, other):
        return max(self.margin - (preferred - other), 0.0)


class Policy(MultiOutput):
    """Log-probabilities of two answers, by the policy that learns and by a reference."""

    outputs = ("chosen", "rejected")
    targets = ("reference_chosen", "reference_rejected")


@register
class DPO(Policy):
    r"""Direct preference optimisation: a policy learns from pairs, without a reward model.

    .. math::
        \ell = -(1 - \epsilon) \ln\sigma(\beta\Delta) - \epsilon \ln\sigma(-\beta\Delta), \qquad
        \Delta = (\log \pi_c - \log \pi^*_c) - (\log \pi_r - \log \pi^*_r)

    The outputs are the summed log-probabilities of the chosen and of the rejected answer by the
    policy, the targets those by the reference.

    Parameters
    ----------
    beta : float > 0
        How dear it is to leave the reference.
    label_smoothing : float in [0, 0.5)
        The share ε of preferences that are wrong (conservative DPO).

    References
    ----------
    R. Rafailov et al., *Direct preference optimization*, 2023.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    bounds: ClassVar = {"beta": "(0, inf)", "label_smoothing": "[0, 0.5)"}

    def value(self, chosen, rejected, reference_chosen, reference_rejected):
        gain = (chosen - reference_chosen) - (rejected - reference_rejected)
        x = self.beta * gain
        return softplus(-x) + self.label_smoothing * x


@register
class IPO(Policy):
    r"""Identity preference optimisation: no more than a stated gain is asked for.

    .. math:: \ell = \Bigl(\Delta - \frac{1}{2\beta}\Bigr)^2

    Δ as of :class:`DPO`; its authors average log-probabilities over the tokens of an answer.

    Parameters
    ----------
    beta : float > 0
        How dear it is to leave the reference.

    References
    ----------
    M. Azar et al., *A general theoretical paradigm to understand learning from human preferences*,
    2023.
    """

    beta: float = 0.1
    bounds: ClassVar = {"beta": "(0, inf)"}

    def value(self, chosen, rejected, reference_chosen, reference_rejected):
        gain = (chosen - reference_chosen) - (rejected - reference_rejected)
        short = gain - 0.5 / self.beta
        return short * short


@register
class SimPO(Preference):
    r"""Preference of answers by the mean log-probability of their tokens, without a reference.

    .. math:: \ell = -\ln\sigma\bigl(\beta (a - b) - \gamma\bigr)

    Parameters
    ----------
    beta : float > 0
        What a difference of the means is multiplied by.
    gamma : float >= 0
        The margin that is asked for.

    References
    ----------
    Y. Meng et al., *SimPO: simple preference optimization with a reference-free reward*, 2024.
    """

    beta: float = 2.0
    gamma: float = 1.0
    bounds: ClassVar = {"beta": "(0, inf)", "gamma": "[0, inf)"}

    def value(self, preferred, other):
        return softplus(self.gamma - self.beta * (preferred - other))


def _log_rest(x):
    """ln(1 - e^x) for x < 0."""
    return log(-expm1(x)) if x > _MINUS_LOG_2 else log1p(-exp(x))


@register
class ORPO(Preference):
    r"""Likelihood of the preferred answer, and its odds over the other's, without a reference.

    .. math::
        \ell = -a - \lambda \ln\sigma\Bigl(\ln\frac{e^a}{1 - e^a} - \ln\frac{e^b}{1 - e^b}\Bigr)

    Parameters
    ----------
    weight : float >= 0
        λ.

    Notes
    -----
    The outputs are mean log-probabilities of the tokens of an answer, < 0.

    References
    ----------
    J. Hong et al., *ORPO: monolithic preference optimization without reference model*, 2024.
    """

    weight: float = 0.1
    bounds: ClassVar = {"weight": "[0, inf)"}
    domains: ClassVar = {"preferred": "(-inf, 0)", "other": "(-inf, 0)"}

    def value(self, preferred, other):
        odds = (preferred - _log_rest(preferred)) - (other - _log_rest(other))
        return self.weight * softplus(-odds) - preferred


@register
class KTO(MultiOutput):
    r"""Answers that are desirable or not, one by one: no pairs are needed.

    .. math::
        \ell = \begin{cases}
        \lambda_D \bigl(1 - \sigma(\beta (r - z))\bigr) & \text{desirable} \\
        \lambda_U \bigl(1 - \sigma(\beta (z - r))\bigr) & \text{undesirable}
        \end{cases}
        \qquad r = \log \pi - \log \pi^*

    The output is the summed log-probability of an answer by the policy; the targets are that by
    the reference, z, an estimate of the divergence of the two (a constant to the gradient), and 1
    for an answer that is desirable, 0 for another.

    Parameters
    ----------
    beta : float > 0
        How dear it is to leave the reference.
    desirable, undesirable : float >= 0
        The weights of either.

    References
    ----------
    K. Ethayarajh et al., *KTO: model alignment as prospect theoretic optimization*, 2024.
    """

    outputs = ("policy",)
    targets = ("reference", "divergence", "is_desirable")
    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    bounds: ClassVar = {
        "beta": "(0, inf)",
        "desirable": "[0, inf)",
        "undesirable": "[0, inf)",
    }
    domains: ClassVar = {"is_desirable": "{0, 1}"}

    def value(self, policy, reference, divergence, is_desirable):
        x = self.beta * ((policy - reference) - divergence)
        wanted = self.desirable * sigmoid(-x)
        unwanted = self.undesirable * sigmoid(x)
        return wanted if is_desirable > 0.5 else unwanted
