"""A call as engines get it, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..arrays import Operand


class Request(NamedTuple):
    """What is to be computed, of which arrays, into which arrays."""

    loss: Any
    derivatives: int  # 0: the value alone, 1: and the gradient, 2: and the hessian
    # Prediction, target, weight and mask of the samples, and what the structure adds.
    inputs: Sequence[Operand | None]
    outputs: Sequence[Operand | None]  # a value a sample, gradient, hessian
    reduction: str
    gradient_scale: float
    check: bool
    in_place: bool  # the gradient takes the place of the prediction
    device: int | None  # number of the GPU that the arrays live on; None: the host
    stream: int  # of that GPU; 0: its default
    # What values and gradients are divided by; an engine whose arrays live on a GPU finds it out
    # there, so that nobody waits.
    divisor: float = 1.0

    @property
    def scale(self) -> float:
        """What derivatives are multiplied by."""
        return self.gradient_scale / self.divisor if self.divisor else 0.0

    @property
    def structure(self) -> str:
        """By which engines have it in their tables."""
        name: str = self.loss.contract.name
        return name


class Outcome(NamedTuple):
    """What an engine has found out, or a record of the GPU's that will hold it."""

    total: float = 0.0  # sum of the values, weights included
    out_of_range: float = 0.0  # how many numbers are
    record: Any = None
