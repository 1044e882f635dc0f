"""Optimisers: SGD, RMSprop, Adam, AdamW, Adagrad and Lion, with PyTorch's rules and defaults."""

from __future__ import annotations

import math
from typing import ClassVar

from .base import Optimizer
from .rules import (
    ADAGRAD,
    ADAM,
    AMSGRAD,
    CENTRED,
    CENTRED_MOMENTUM,
    DESCENT,
    LION,
    MOMENTUM,
    RMSPROP,
    RMSPROP_MOMENTUM,
    Rule,
)

_UNIT, _ANY = (0.0, 1.0), (0.0, math.inf)


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    .. math::
        g &\leftarrow g + \lambda p, \qquad
        b \leftarrow \mu b + (1 - \tau) g \quad (\text{at first } b = g) \\
        p &\leftarrow p - \gamma \cdot (b, \text{ or } g + \mu b \text{ by Nesterov})

    Without momentum :math:`p \leftarrow p - \gamma g`, and nothing is kept.

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    momentum : float >= 0
        :math:`\mu`.
    dampening : float >= 0
        :math:`\tau`.
    nesterov : bool
        Look ahead; needs momentum and no dampening.
    weight_decay : float >= 0
        :math:`\lambda`, added to the gradient.
    maximize : bool
        Go up.
    on_nonfinite : {"raise", "skip", "propagate"}
        See :class:`Optimizer`.

    References
    ----------
    I. Sutskever et al., *On the importance of initialization and momentum in deep learning*, 2013;
    ``torch.optim.SGD``.
    """

    _bounds: ClassVar = {"momentum": _ANY, "dampening": _ANY, "weight_decay": _ANY}

    def __init__(
        self,
        learning_rate: float = 1e-3,
        momentum: float = 0.0,
        *,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(learning_rate, maximize=maximize, on_nonfinite=on_nonfinite)
        self.momentum, self.dampening = momentum, dampening
        self.nesterov, self.weight_decay = bool(nesterov), weight_decay
        if nesterov and (momentum == 0.0 or dampening != 0.0):
            raise ValueError("nesterov needs a momentum, and a dampening of 0")

    def _rule(self) -> Rule:
        return MOMENTUM if self.momentum else DESCENT

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        if not self.momentum:
            return self.weight_decay, rate
        fresh = 1.0 if step == 1 else 1.0 - self.dampening
        if self.nesterov:
            return self.weight_decay, rate, self.momentum, fresh, 1.0, self.momentum
        return self.weight_decay, rate, self.momentum, fresh, 0.0, 1.0


class Adam(Optimizer):
    r"""Adam: steps by the first moment of gradients over the root of the second.

    .. math::
        g &\leftarrow g + \lambda p, \qquad m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        p &\leftarrow p - \gamma \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    betas : (float, float) in [0, 1)
        :math:`\beta_1, \beta_2`.
    eps : float >= 0
        :math:`\epsilon`.
    weight_decay : float >= 0
        :math:`\lambda`, added to the gradient; :class:`AdamW` decays apart from it.
    amsgrad : bool
        Divide by the root of the largest :math:`v` so far.
    maximize : bool
        Go up.
    on_nonfinite : {"raise", "skip", "propagate"}
        See :class:`Optimizer`.

    References
    ----------
    D. Kingma, J. Ba, *Adam: a method for stochastic optimization*, 2015; S. Reddi et al., *On the
    convergence of Adam and beyond*, 2018; ``torch.optim.Adam``.
    """

    _bounds: ClassVar = {"eps": _ANY, "weight_decay": _ANY}
    _decoupled: ClassVar = False

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(learning_rate, maximize=maximize, on_nonfinite=on_nonfinite)
        self.betas, self.eps = betas, eps
        self.weight_decay, self.amsgrad = weight_decay, bool(amsgrad)

    def _rule(self) -> Rule:
        return AMSGRAD if self.amsgrad else ADAM

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        (first, second), decay = self.betas, self.weight_decay
        coupled, keep = (0.0, 1.0 - rate * decay) if self._decoupled else (decay, 1.0)
        return (
            coupled,
            keep,
            1.0 - first,
            second,
            1.0 - second,
            rate / (1.0 - first**step),
            1.0 / math.sqrt(1.0 - second**step),
            self.eps,
        )


class AdamW(Adam):
    r"""Adam with weight decay apart from the gradient.

    First :math:`p \leftarrow (1 - \gamma\lambda) p`, then as :class:`Adam` without decay.

    Parameters
    ----------
    learning_rate, betas, eps, amsgrad, maximize, on_nonfinite
        As of :class:`Adam`.
    weight_decay : float >= 0
        :math:`\lambda`.

    References
    ----------
    I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, 2019; ``torch.optim.AdamW``.
    """

    _decoupled: ClassVar = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(
            learning_rate, betas, eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, on_nonfinite=on_nonfinite,
        )  # fmt: skip


class RMSprop(Optimizer):
    r"""Steps by gradients over the root of the mean of their squares.

    .. math::
        g &\leftarrow g + \lambda p, \qquad v \leftarrow \alpha v + (1 - \alpha) g^2 \\
        p &\leftarrow p - \gamma \frac{g}{\sqrt{v} + \epsilon}

    With momentum quotients are added up, :math:`b \leftarrow \mu b + g / (\sqrt{v} + \epsilon)`,
    and :math:`p \leftarrow p - \gamma b`. Centred, :math:`v` is less the square of the mean of
    gradients, and where rounding makes that negative, 0.

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    alpha : float in [0, 1)
        :math:`\alpha`.
    eps : float >= 0
        :math:`\epsilon`.
    momentum : float >= 0
        :math:`\mu`.
    weight_decay : float >= 0
        :math:`\lambda`, added to the gradient.
    centered, maximize : bool
    on_nonfinite : {"raise", "skip", "propagate"}
        See :class:`Optimizer`.

    References
    ----------
    G. Hinton, *Neural networks for machine learning*, lecture 6, 2012; A. Graves, *Generating
    sequences with recurrent neural networks*, 2013 (centred); ``torch.optim.RMSprop``.
    """

    _bounds: ClassVar = {"alpha": _UNIT, "eps": _ANY, "momentum": _ANY, "weight_decay": _ANY}

    def __init__(
        self,
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(learning_rate, maximize=maximize, on_nonfinite=on_nonfinite)
        self.alpha, self.eps, self.momentum = alpha, eps, momentum
        self.weight_decay, self.centered = weight_decay, bool(centered)

    def _rule(self) -> Rule:
        if self.centered:
            return CENTRED_MOMENTUM if self.momentum else CENTRED
        return RMSPROP_MOMENTUM if self.momentum else RMSPROP

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        return self.weight_decay, rate, self.alpha, 1.0 - self.alpha, self.eps, self.momentum


class Adagrad(Optimizer):
    r"""Steps by gradients over the root of the sum of all their squares.

    .. math::
        g \leftarrow g + \lambda p, \qquad s \leftarrow s + g^2, \qquad
        p \leftarrow p - \frac{\gamma}{1 + (t - 1) \eta} \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    lr_decay : float >= 0
        :math:`\eta`.
    weight_decay : float >= 0
        :math:`\lambda`, added to the gradient.
    initial_accumulator_value : float >= 0
        :math:`s` at first.
    eps : float >= 0
        :math:`\epsilon`.
    maximize : bool
    on_nonfinite : {"raise", "skip", "propagate"}
        See :class:`Optimizer`.

    References
    ----------
    J. Duchi et al., *Adaptive subgradient methods for online learning and stochastic optimization*,
    2011; ``torch.optim.Adagrad``.
    """

    _bounds: ClassVar = {
        "lr_decay": _ANY,
        "weight_decay": _ANY,
        "initial_accumulator_value": _ANY,
        "eps": _ANY,
    }

    def __init__(
        self,
        learning_rate: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(learning_rate, maximize=maximize, on_nonfinite=on_nonfinite)
        self.lr_decay, self.weight_decay, self.eps = lr_decay, weight_decay, eps
        self.initial_accumulator_value = initial_accumulator_value

    def _rule(self) -> Rule:
        return ADAGRAD

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        return self.weight_decay, rate / (1.0 + (step - 1) * self.lr_decay), self.eps

    def _beginning(self, slot: str) -> float:
        return self.initial_accumulator_value


class Lion(Optimizer):
    r"""Steps of one length, by the sign of a mixture of gradient and momentum.

    .. math::
        p \leftarrow (1 - \gamma\lambda) p - \gamma \,\mathrm{sign}(\beta_1 m + (1 - \beta_1) g),
        \qquad m \leftarrow \beta_2 m + (1 - \beta_2) g

    Half the state of Adam. Rates are to be 3 to 10 times smaller than Adam's, weight decay as many
    times larger.

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    betas : (float, float) in [0, 1)
        :math:`\beta_1, \beta_2`.
    weight_decay : float >= 0
        :math:`\lambda`, apart from the gradient.
    maximize : bool
    on_nonfinite : {"raise", "skip", "propagate"}
        See :class:`Optimizer`.

    References
    ----------
    X. Chen et al., *Symbolic discovery of optimization algorithms*, 2023, algorithm 2.
    """

    _bounds: ClassVar = {"weight_decay": _ANY}

    def __init__(
        self,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        on_nonfinite: str = "raise",
    ) -> None:
        super().__init__(learning_rate, maximize=maximize, on_nonfinite=on_nonfinite)
        self.betas, self.weight_decay = betas, weight_decay

    def _rule(self) -> Rule:
        return LION

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        first, second = self.betas
        return 1.0 - rate * self.weight_decay, rate, 1.0 - first, 1.0 - second
