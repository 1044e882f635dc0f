"""What losses of one class out of many share that take logits or probabilities."""

from __future__ import annotations

from ..structures import softmax_sum as softmax_sum  # sums of these losses
from ..structures.softmax import Softmax

# Stands for the logarithm of 0 in products with its exponential, which is 0: not NaN.
LOWEST = -1e4


class OfLogitsOrProbabilities(Softmax):
    """A loss with a parameter ``from_logits``; its ``lower`` reads it."""

    @property
    def takes_logits(self):  # type: ignore[override]
        return self.__dict__["from_logits"]

    @property
    def prediction_domain(self):
        return "(-inf, inf)" if self.takes_logits else "[0, 1]"
