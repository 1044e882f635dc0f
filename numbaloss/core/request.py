"""A call as engines get it, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..arrays import Operand


class Own(NamedTuple):
    """Arrays as their library has them, for engines that let it multiply matrices."""

    family: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]  # values, where they are kept apart, and gradients


class Layer(NamedTuple):
    """What a linear loss adds to a request."""

    loss: Any  # that of the logits
    transposed: bool  # whether the weight is (C, H) as its caller has it
    waits: bool = True  # whether the caller waits for the result anyway


class Request(NamedTuple):
    """What is to be computed, of which arrays, into which arrays."""

    loss: Any
    derivatives: int  # 0: the value alone, 1: and the gradient, 2: and the hessian
    # What has a gradient (of a linear loss hidden vectors, the weight as (H, C), and the bias or
    # None; of several outputs a `Group`), then target (there a `Group` too), weight and mask of the
    # samples, and what the structure adds.
    inputs: Sequence[Operand | None]
    outputs: Sequence[Operand | None]  # a value a sample, gradients, hessian
    reduction: str
    gradient_scale: float
    check: bool
    in_place: bool  # the gradient takes the place of the prediction
    device: int | None  # number of the GPU that the arrays live on; None: the host
    stream: int  # of that GPU; 0: its default
    # What values and gradients are divided by; an engine whose arrays live on a GPU finds it out
    # there, so that nobody waits.
    divisor: float = 1.0
    workspace: int | None = None  # bytes of a block, where somebody said so
    details: Any = None  # a `Batch` of all pairs; a `Layer`
    own: Own | None = None

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
    """What an engine has found out, or a record of the GPU's that will hold it.

    Engines count what is out of range; who called them raises the error.
    """

    total: float = 0.0  # sum of the values, weights included
    out_of_range: float = 0.0  # how many numbers are
    record: Any = None  # None for a GPU too, where there was nothing to compute
    active: int = 0  # terms above 0, of losses of batches
    # Makes the exception that a formula raised, with the sample that it raised for.
    raised: Callable[[], BaseException] | None = None
