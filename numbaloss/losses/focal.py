"""Focal losses: binary cross-entropy that fades where the prediction is right."""

from __future__ import annotations

from typing import ClassVar

from ..core.recoding import SOFT
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath import log1p, pow, sigmoid, softplus


@register
class Focal(Elementwise):
    r"""Cross-entropy that fades where the prediction is right: for rare positives.

    .. math:: \ell = -\alpha_t (1 - p_t)^\gamma \log p_t

    with :math:`p_t = \sigma(x)` for positive targets and :math:`1 - \sigma(x)` for negative
    ones. A soft target mixes the two losses.

    Parameters
    ----------
    gamma : float >= 0
        How fast easy examples fade; 0 is the cross-entropy.
    alpha : float in [0, 1] or None
        Weight of positives; negatives get ``1 - alpha``. None: both get 1.
    label_smoothing : float in [0, 1]
        ε; moves the target to :math:`t (1 - ε) + ε/2`.
    targets : {"binary", "signed"}
        Whether targets are 0 and 1, and what is between, or −1 and 1.

    Notes
    -----
    Keras does not mix: it fades by :math:`p_t = t p + (1 - t)(1 - p)` where targets are soft.
    Gradient and hessian are the exact derivatives; widely copied NumPy versions have a
    wrong hessian. It is negative for predictions that are far off.

    References
    ----------
    T.-Y. Lin et al., *Focal loss for dense object detection*, 2017.
    """

    boosting_hessian = "fisher"

    aliases = ("focal_loss", "binary_focal", "sigmoid_focal")
    gamma: float = 2.0
    alpha: float | None = None
    label_smoothing: float = 0.0
    targets: str = "binary"
    bounds: ClassVar = {"gamma": "[0, inf)", "alpha": "[0, 1]", "label_smoothing": "[0, 1]"}
    spans: ClassVar = {"gamma": (0, 3)}

    link_function = "logit"

    @property
    def target_domain(self):
        return SOFT[self.targets]

    def lower(self):
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
        return _focal(self.gamma, self.gamma, positive, negative, self.label_smoothing)


def _focal(gamma_positive, gamma_negative, positive, negative, smoothing):
    """The cheaper of two equal losses: pow takes ten times as long as three products."""
    gammas = gamma_positive, gamma_negative
    on, off = 1.0 - smoothing, 0.5 * smoothing
    # Of t (1 - ε) + ε/2 and of 1 less that: weight times t or 1 - t, and what is left.
    weights, rests = (positive * on, negative * on), (positive * off, negative * off)
    if all(_whole(gamma) for gamma in gammas):
        whole = int(gamma_positive), int(gamma_negative)
        if smoothing == 0.0 and whole == (2, 2):
            return _FocalSquare(*weights)
        if smoothing == 0.0:
            return _FocalWhole(*gammas, *whole, *weights)
        return _SmoothFocalWhole(*gammas, *whole, *weights, *rests)
    return _FocalPower(*gammas, *weights, *rests)


def _whole(gamma):
    return gamma in range(8)


def _whole_power(base, exponent):
    """``base**exponent`` for exponents from 0 to 7, without a loop."""
    square = base * base
    power = base if exponent & 1 else 1.0
    power *= square if exponent & 2 else 1.0
    return power * (square * square if exponent & 4 else 1.0)


class _FocalSquare(Elementwise):
    """Of the usual exponent: powers by numbers known in advance take a seventh of all the rest."""

    positive: float
    negative: float

    def point(self, prediction, target):
        # Of a label on the side of the logit and of one on the other: which of the two is positive
        # is asked of their weights, once, rather than of all that they are made of.
        right, wrong, loss, other = _sides(prediction)
        near = _faded(2.0, wrong * wrong, (right, wrong, loss))
        far = _faded(2.0, right * right, (wrong, right, other))
        positive, negative = self.positive * target, self.negative * (1.0 - target)
        turned = prediction < 0.0
        beside = negative if turned else positive
        against = positive if turned else negative
        counts = against != 0.0  # else it removes even an infinity
        value = beside * near[0] + (against * far[0] if counts else 0.0)
        fall = beside * near[1] - (against * far[1] if counts else 0.0)
        hessian = beside * near[2] + (against * far[2] if counts else 0.0)
        return value, fall if turned else -fall, hessian


class _FocalWhole(Elementwise):
    gamma_positive: float
    gamma_negative: float
    power_positive: int  # the same two numbers: a product with an integer would be float64
    power_negative: int
    positive: float
    negative: float

    def point(self, prediction, target):
        positive_side, negative_side = _both_labels(prediction)
        fade = _whole_power(positive_side[1], self.power_positive)
        first = _faded(self.gamma_positive, fade, positive_side)
        fade = _whole_power(negative_side[1], self.power_negative)
        second = _faded(self.gamma_negative, fade, negative_side)
        return _mixed(self.positive * target, first, self.negative * (1.0 - target), second)


class _SmoothFocalWhole(_FocalWhole):
    """Apart, for the two sums below take a fifth of the time of all the rest."""

    positive_rest: float
    negative_rest: float

    def point(self, prediction, target):
        positive_side, negative_side = _both_labels(prediction)
        fade = _whole_power(positive_side[1], self.power_positive)
        first = _faded(self.gamma_positive, fade, positive_side)
        fade = _whole_power(negative_side[1], self.power_negative)
        second = _faded(self.gamma_negative, fade, negative_side)
        positive = self.positive * target + self.positive_rest
        negative = self.negative * (1.0 - target) + self.negative_rest
        return _mixed(positive, first, negative, second)


class _FocalPower(Elementwise):
    gamma_positive: float
    gamma_negative: float
    positive: float
    negative: float
    positive_rest: float
    negative_rest: float

    def point(self, prediction, target):
        positive_side, negative_side = _both_labels(prediction)
        fade = pow(positive_side[1], self.gamma_positive)
        first = _faded(self.gamma_positive, fade, positive_side)
        fade = pow(negative_side[1], self.gamma_negative)
        second = _faded(self.gamma_negative, fade, negative_side)
        positive = self.positive * target + self.positive_rest
        negative = self.negative * (1.0 - target) + self.negative_rest
        return _mixed(positive, first, negative, second)


def _sides(logit):
    """sigmoid(|x|), sigmoid(-|x|), softplus(-|x|), softplus(|x|)."""
    size = abs(logit)
    wrong, loss = sigmoid(-size), softplus(-size)
    return 1.0 - wrong, wrong, loss, loss + size


def _both_labels(logit):
    """``sigmoid(m), sigmoid(-m), softplus(-m)`` for m = x, and for m = -x."""
    right, wrong, loss, other = _sides(logit)
    turned = logit < 0.0
    positive, negative = wrong if turned else right, right if turned else wrong
    of_positive, of_negative = other if turned else loss, loss if turned else other
    return (positive, negative, of_positive), (negative, positive, of_negative)


def _faded(gamma, fade, side):
    """Cross-entropy of a margin m times ``fade = sigmoid(-m)**gamma``, what it falls by m, and the
    slope's slope; ``side`` is sigmoid(m), sigmoid(-m) and softplus(-m)."""
    right, wrong, loss = side
    # Bounded, however large the margin: multiples of the loss itself may be infinite, times 0.
    near = right * loss
    fall = fade * (gamma * near + wrong)
    hessian = gamma * near * (gamma * right - wrong) + (2.0 * gamma + 1.0) * right * wrong
    return fade * loss, fall, fade * hessian


def _mixed(positive, first, negative, second):
    """Weighted sum of a loss of x and a loss of -x; a weight of 0 removes even an infinity."""
    one, other = positive != 0.0, negative != 0.0
    return (
        (positive * first[0] if one else 0.0) + (negative * second[0] if other else 0.0),
        (negative * second[1] if other else 0.0) - (positive * first[1] if one else 0.0),
        (positive * first[2] if one else 0.0) + (negative * second[2] if other else 0.0),
    )


@register
class AsymmetricFocal(Elementwise):
    r"""Focal loss that treats negatives harder, for many labels of which few hold.

    .. math:: \ell = -t\, (1 - p)^{\gamma_+} \log p - (1 - t)\, p_m^{\gamma_-} \log(1 - p_m),
              \qquad p_m = \max(p - m, 0)

    with :math:`p = \sigma(x)`.

    Parameters
    ----------
    gamma_neg, gamma_pos : float >= 0
        How fast easy negatives and positives fade.
    margin : float in [0, 1)
        :math:`m`; negatives with a probability below it cost nothing.
    label_smoothing : float in [0, 1]
        ε; moves the target to :math:`t (1 - ε) + ε/2`.
    targets : {"binary", "signed"}
        Whether targets are 0 and 1, and what is between, or −1 and 1.

    Notes
    -----
    The gradient goes through the shifted probability, exactly. At its corner, p = m, it
    is 0.

    References
    ----------
    T. Ridnik et al., *Asymmetric loss for multi-label classification*, 2021.
    """

    boosting_hessian = "fisher"

    aliases = ("asl", "asymmetric_loss")
    gamma_neg: float = 4.0
    gamma_pos: float = 1.0
    margin: float = 0.05
    label_smoothing: float = 0.0
    targets: str = "binary"
    bounds: ClassVar = {
        "gamma_neg": "[0, inf)",
        "gamma_pos": "[0, inf)",
        "margin": "[0, 1)",
        "label_smoothing": "[0, 1]",
    }
    spans: ClassVar = {"gamma_neg": (0, 3), "gamma_pos": (0, 3)}

    link_function = "logit"

    @property
    def target_domain(self):
        return SOFT[self.targets]

    def lower(self):
        if self.margin == 0.0:
            return _focal(self.gamma_pos, self.gamma_neg, 1.0, 1.0, self.label_smoothing)
        gammas = self.gamma_neg, self.gamma_pos
        rest = self.margin, 1.0 - self.label_smoothing, 0.5 * self.label_smoothing
        if all(_whole(gamma) for gamma in gammas):
            whole = int(self.gamma_neg), int(self.gamma_pos)
            return _ShiftedWhole(*gammas, *whole, *rest)
        return _ShiftedPower(*gammas, *rest)


class _ShiftedWhole(Elementwise):
    gamma_neg: float
    gamma_pos: float
    power_neg: int
    power_pos: int
    margin: float
    on: float
    off: float

    def point(self, prediction, target):
        positive_side, _ = _both_labels(prediction)
        fade = _whole_power(positive_side[1], self.power_pos)
        first = _faded(self.gamma_pos, fade, positive_side)
        fade = _whole_power(max(positive_side[0] - self.margin, 0.0), self.power_neg)
        second = _faded_shifted(self.gamma_neg, fade, positive_side, self.margin)
        positive, negative = self.on * target, self.on * (1.0 - target)
        return _mixed(positive + self.off, first, negative + self.off, second)


class _ShiftedPower(Elementwise):
    gamma_neg: float
    gamma_pos: float
    margin: float
    on: float
    off: float

    def point(self, prediction, target):
        positive_side, _ = _both_labels(prediction)
        fade = pow(positive_side[1], self.gamma_pos)
        first = _faded(self.gamma_pos, fade, positive_side)
        fade = pow(max(positive_side[0] - self.margin, 0.0), self.gamma_neg)
        second = _faded_shifted(self.gamma_neg, fade, positive_side, self.margin)
        positive, negative = self.on * target, self.on * (1.0 - target)
        return _mixed(positive + self.off, first, negative + self.off, second)


def _faded_shifted(gamma, fade, positive_side, margin):
    """``-u**gamma log(1 - u)`` at u = p - margin, its slope by x through u(x), and the slope's."""
    right, wrong, _ = positive_side
    counts = right > margin
    shifted = right - margin if counts else 0.5
    inverse = 1.0 / (wrong + margin if counts else 0.5)  # 1 / (1 - u)
    logarithm = -log1p(-shifted)
    ratio = logarithm / shifted
    slope = fade * (gamma * ratio + inverse)
    hessian = (fade / shifted) * (
        gamma * (gamma - 1.0) * ratio + 2.0 * gamma * inverse + shifted * inverse * inverse
    )
    spread = right * wrong  # du/dx
    hessian = hessian * spread * spread + slope * spread * (wrong - right)
    return (
        fade * logarithm if counts else 0.0,
        slope * spread if counts else 0.0,
        hessian if counts else 0.0,
    )
