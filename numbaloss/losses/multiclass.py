"""Losses of one class out of many: rows of logits against labels or probabilities.

With :math:`l = \\log p` the log-probability of a class and t its target, ``point`` gives what
the class contributes to the loss of its row. What it is by p itself, for rows of probabilities, is
in :mod:`.probabilities`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..registry import register
from ..structures.softmax import LogLikelihood, Softmax
from ..vmath import exp, expm1, log, pow
from . import probabilities
from .logits import LOWEST, OfLogitsOrProbabilities


@register
class CrossEntropy(OfLogitsOrProbabilities):
    r"""Negative log-likelihood of the classes: the loss of multinomial logistic regression.

    .. math:: \ell = -\sum_j w_j\, t_j \log p_j + \lambda \log^2 \sum_j e^{x_j / T}, \quad
              p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    class_weight : array of C numbers >= 0, optional
        :math:`w`.
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    label_smoothing : float in [0, 1]
        ε; moves the targets to :math:`t (1 - ε) + ε / C`.
    z_loss : float >= 0
        λ; keeps the log of the sum of exponentials near 0, which steadies the training of
        language models in low precision.
    temperature : float > 0
        T; divides the logits, for the sum of exponentials in the z-loss too.
    from_logits : bool
        Whether the prediction is logits x or probabilities p.

    Notes
    -----
    Integer labels and dense targets are one loss here; Keras calls the first *sparse
    categorical*. ``reduction="weighted_mean"`` divides by the sum of the class weights of the
    labels, as PyTorch's default does; PyTorch divides by the rows for dense targets. A target
    of 0 contributes 0 even where its logit is -inf (PyTorch: NaN).

    Probabilities are taken as they are, and derivatives are by each of them alone: a gradient of
    :math:`-w_j t_j / p_j`. Logarithms are cut off at -100 and p in the gradient and the hessian at
    1e-12, as in :class:`BinaryCrossEntropy`. Keras divides a row by its sum first and cuts p off
    at 1e-7, scikit-learn's ``log_loss`` at the rounding of its dtype. Logits are faster, and exact
    in the tails.

    References
    ----------
    C. Szegedy et al., *Rethinking the Inception architecture*, 2016 (label smoothing).
    A. Chowdhery et al., *PaLM*, 2022 (z-loss).

    Examples
    --------
    >>> loss = CrossEntropy()
    >>> value, gradient = loss.value_and_grad([[10.0, 1.0, -2.0]], [1])
    >>> f"{value:.5f}", gradient.round(5).tolist()
    ('9.00013', [[0.99987, -0.99988, 1e-05]])
    """

    boosting_hessian = "upper"

    aliases = ("ce", "categorical_crossentropy", "sparse_categorical_crossentropy")
    class_weight: np.ndarray | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    temperature: float = 1.0
    from_logits: bool = True
    bounds: ClassVar = {
        "label_smoothing": "[0, 1]",
        "z_loss": "[0, inf)",
        "temperature": "(0, inf)",
    }
    spans: ClassVar = {"temperature": (2, 1)}
    sparse = True
    linear = True

    def closed_shares(self, mass):
        return mass if self.class_weight is None else mass * self.class_weight

    def validate(self):
        super().validate()
        if not self.from_logits and self.z_loss != 0.0:
            raise ValueError("CrossEntropy: a z_loss is of logits; from_logits=False takes none")

    def lower(self):
        if not self.from_logits:
            return probabilities.LogLikelihood()
        return LogLikelihood() if self.z_loss == 0.0 else _WithZLoss(self.z_loss)


class _WithZLoss(LogLikelihood):
    z_loss: float

    def normalizer(self, log_sum):
        slope = 2.0 * self.z_loss * log_sum
        return self.z_loss * log_sum * log_sum, slope, 2.0 * self.z_loss


@register
class CategoricalFocal(OfLogitsOrProbabilities):
    r"""Cross-entropy that fades where the prediction is right: for rare classes.

    .. math:: \ell = -\sum_j w_j\, t_j (1 - p_j)^\gamma \log p_j

    Parameters
    ----------
    gamma : float >= 0
        How fast easy examples fade; 0 is the cross-entropy.
    class_weight : array of C numbers >= 0, optional
        :math:`w`, called α in the paper.
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    label_smoothing : float in [0, 1]
        ε; moves the targets to :math:`t (1 - ε) + ε / C`.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    Notes
    -----
    The hessian is negative for predictions that are far off.

    References
    ----------
    T.-Y. Lin et al., *Focal loss for dense object detection*, 2017.

    Examples
    --------
    >>> round(CategoricalFocal()([[2.0, 3.0, 5.0]], [2]), 6)
    0.004144
    """

    boosting_hessian = "fisher"

    aliases = ("categorical_focal_crossentropy", "softmax_focal")
    gamma: float = 2.0
    class_weight: np.ndarray | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0
    from_logits: bool = True
    bounds: ClassVar = {"gamma": "[0, inf)", "label_smoothing": "[0, 1]"}
    spans: ClassVar = {"gamma": (0, 3)}
    sparse = True

    def lower(self):
        if not self.from_logits:
            return probabilities.fading(self.gamma)
        return LogLikelihood() if self.gamma == 0.0 else _Fading(self.gamma)


class _Fading(Softmax):
    gamma: float
    sparse = True

    def point(self, log_probability, target):
        finite = max(log_probability, LOWEST)
        p, rest = exp(finite), -expm1(finite)
        # log(p) / (1 - p), which tends to -1 as p tends to 1.
        ratio = finite / rest if rest > 0.0 else -1.0
        fade = pow(rest, self.gamma)
        value = -target * fade * log_probability
        slope = -target * fade * (1.0 - self.gamma * p * ratio)
        hessian = 2.0 + finite - (self.gamma - 1.0) * p * ratio
        # The power may be negative: the hessian holds it times (1 - p)², which is 0 where 1 - p is.
        steep = pow(rest, self.gamma - 1.0) if rest > 0.0 else 0.0
        return value, slope, target * self.gamma * steep * p * hessian


@register
class GeneralizedCrossEntropy(OfLogitsOrProbabilities):
    r"""Between cross-entropy and absolute error: for labels that may be wrong.

    .. math:: \ell = \sum_j t_j \frac{1 - p_j^q}{q}

    Parameters
    ----------
    q : float in (0, 1]
        1 is the absolute error of the label's probability; towards 0 it becomes the
        cross-entropy.
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    References
    ----------
    Z. Zhang, M. Sabuncu, *Generalized cross entropy loss for training deep neural networks
    with noisy labels*, 2018.

    Examples
    --------
    >>> round(GeneralizedCrossEntropy(q=1.0)([[0.0, 0.0]], [1]), 6)
    0.5
    """

    boosting_hessian = "fisher"

    aliases = ("gce",)
    q: float = 0.7
    ignore_index: int = -100
    from_logits: bool = True
    bounds: ClassVar = {"q": "(0, 1]"}
    spans: ClassVar = {"q": (1, 0)}
    sparse = True

    def lower(self):
        return self if self.from_logits else probabilities.GeneralizedCrossEntropy(self.q)

    def point(self, log_probability, target):
        scaled = self.q * log_probability
        power = exp(scaled)
        return -target * expm1(scaled) / self.q, -target * power, -target * self.q * power


@register
class SymmetricCrossEntropy(OfLogitsOrProbabilities):
    r"""Cross-entropy plus its mirror image, with the roles exchanged: for wrong labels.

    .. math:: \ell = -\alpha \sum_j t_j \log p_j - \beta \sum_j p_j \max(\log t_j, A)

    Parameters
    ----------
    alpha, beta : float >= 0
        The two weights. The paper has 0.1 and 1 for CIFAR-10, 6 and 0.1 for CIFAR-100.
    log_zero : float < 0
        A, which stands for the logarithm of 0.
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    References
    ----------
    Y. Wang et al., *Symmetric cross entropy for robust learning with noisy labels*, 2019.

    Examples
    --------
    >>> round(SymmetricCrossEntropy(1.0, 1.0)([[0.0, 0.0]], [1]), 6)
    2.693147
    """

    boosting_hessian = "fisher"

    aliases = ("sce",)
    alpha: float = 0.1
    beta: float = 1.0
    log_zero: float = -4.0
    ignore_index: int = -100
    from_logits: bool = True
    bounds: ClassVar = {"alpha": "[0, inf)", "beta": "[0, inf)", "log_zero": "(-inf, 0)"}

    def lower(self):
        if self.from_logits:
            return self
        return probabilities.SymmetricCrossEntropy(self.alpha, self.beta, self.log_zero)

    def point(self, log_probability, target):
        mirror = exp(log_probability) * self.beta * max(log(target), self.log_zero)
        direct = self.alpha * target * log_probability if target != 0.0 else 0.0
        return -direct - mirror, -self.alpha * target - mirror, -mirror

    def label_point(self, log_probability):
        weight = self.beta * self.log_zero
        p = exp(log_probability)
        value = weight * expm1(log_probability) - self.alpha * log_probability
        return value, weight * p - self.alpha, weight * p


@register
class Poly1(OfLogitsOrProbabilities):
    r"""Cross-entropy with the first coefficient of its power series in 1 - p raised.

    .. math:: \ell = \sum_j t_j \left(-\log p_j + \varepsilon (1 - p_j)\right)

    Parameters
    ----------
    epsilon : float
        How much is added; negative values help where classes are imbalanced.
    ignore_index : int
        Rows with this label contribute 0 and do not count. Dense targets have no such label:
        leave rows out by ``mask``.
    from_logits : bool
        Whether the prediction is logits or probabilities; see :class:`CrossEntropy`.

    References
    ----------
    Z. Leng et al., *PolyLoss*, 2022.

    Examples
    --------
    >>> round(Poly1(epsilon=2.0)([[4.0, 2.0, 1.0]], [0]), 4)
    0.4823
    """

    boosting_hessian = "fisher"

    aliases = ("poly_loss", "polyloss")
    epsilon: float = 1.0
    ignore_index: int = -100
    from_logits: bool = True
    bounds: ClassVar = {"epsilon": "(-inf, inf)"}
    sparse = True

    def lower(self):
        return self if self.from_logits else probabilities.Poly1(self.epsilon)

    def point(self, log_probability, target):
        raised = self.epsilon * exp(log_probability)
        value = -self.epsilon * expm1(log_probability) - log_probability
        return target * value, -target * (1.0 + raised), -target * raised


@register
class MultiMargin(Softmax):
    r"""The hinge loss of many classes (Crammer, Singer).

    .. math:: \ell = \frac{w_y}{C} \sum_{j \ne y} \max(0, m + x_j - x_y)^p

    Labels only. It is no function of the softmax: logits may be any scores.

    Parameters
    ----------
    margin : float
        m, by how much the label's score should exceed the others.
    p : int
        1 or 2.
    ignore_index : int
        Rows with this label contribute 0 and do not count.
    class_weight : array of C numbers >= 0, optional
        :math:`w`, of which that of the label counts.

    Notes
    -----
    As PyTorch's: divided by the number of classes, the label's own included; its mean divides by
    the rows, whatever their weights, as ``"mean"`` does. The gradient at the kink is 0.

    Examples
    --------
    >>> value, gradient = MultiMargin().value_and_grad([[0.0, 2.0, 1.5]], [1])
    >>> round(value, 6), gradient.round(6).tolist()
    (0.166667, [[0.0, -0.333333, 0.333333]])
    """

    boosting_hessian = "absolute"

    aliases = ("multi_margin", "crammer_singer")
    margin: float = 1.0
    p: int = 1
    ignore_index: int = -100
    class_weight: np.ndarray | None = None
    bounds: ClassVar = {"margin": "(-inf, inf)"}
    accepts = ("labels",)
    relative_to_label = True
    mean_over_classes = True

    def validate(self):
        super().validate()
        if self.p not in (1, 2):
            raise ValueError(f"MultiMargin: p must be 1 or 2, not {self.p}")

    def lower(self):
        return _LinearMargin(self.margin) if self.p == 1 else _SquaredMargin(self.margin)


class _LinearMargin(Softmax):
    margin: float

    def point(self, difference, target):
        excess = self.margin + difference
        active = (excess > 0.0) & (target == 0.0)
        return excess if active else 0.0, 1.0 if active else 0.0, 0.0


class _SquaredMargin(Softmax):
    margin: float

    def point(self, difference, target):
        excess = self.margin + difference
        active = (excess > 0.0) & (target == 0.0)
        excess = excess if active else 0.0
        return excess * excess, 2.0 * excess, 2.0 if active else 0.0
