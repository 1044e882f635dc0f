"""Losses of the last layer of language models, of which the logits are the largest part."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..registry import register
from ..structures.linear import Linear
from ..structures.softmax import Softmax
from .multiclass import CrossEntropy


@register
class LinearCrossEntropy(Linear):
    r"""Cross-entropy of a linear layer's logits, without an array of all logits.

    .. math:: \ell = -\sum_j w_j\, t_j \log p_j + \lambda \log^2 \sum_j e^{x_j / T}, \quad
              p = \mathrm{softmax}(x / T), \quad x = h W + b

    Parameters
    ----------
    class_weight : array of C numbers >= 0, optional
        :math:`w`.
    ignore_index : int
        Rows with this label contribute 0 and do not count; nor do they cost time. Dense targets
        have no such label: leave rows out by ``mask``.
    label_smoothing : float in [0, 1]
        ε; moves the targets to :math:`t (1 - ε) + ε / C`.
    z_loss : float >= 0
        λ; keeps the log of the sum of exponentials near 0.
    temperature : float > 0
        T; divides the logits, for the sum of exponentials in the z-loss too.

    Notes
    -----
    The values and gradients of :class:`CrossEntropy` of ``hidden @ weight + bias``, carried on
    to the factors. Every exponential and product is computed once, as with all logits in
    memory.

    References
    ----------
    P.-L. Hsu et al., *Liger Kernel: efficient Triton kernels for LLM training*, 2024 (blocks
    of rows).
    E. Wijmans et al., *Cut your losses in large-vocabulary language models*, 2024.

    Examples
    --------
    >>> loss = LinearCrossEntropy()
    >>> hidden, weight = np.eye(2), np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    >>> value, (of_hidden, of_weight) = loss.value_and_grad(hidden, weight, [0, 1])
    >>> round(value, 6), of_weight.round(3).tolist()
    (0.251264, [[-0.167, 0.045, 0.122], [0.023, -0.045, 0.023]])
    """

    aliases = ("linear_ce", "fused_linear_cross_entropy")
    class_weight: np.ndarray | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    temperature: float = 1.0
    bounds: ClassVar = CrossEntropy.bounds
    spans: ClassVar = CrossEntropy.spans

    def of_logits(self) -> Softmax:
        """The loss of the logits; kept, for it keeps what is compiled."""
        found = self.__dict__.get("_of_logits")
        if found is None:
            found = self.__dict__["_of_logits"] = CrossEntropy(*self.values())
        return found
