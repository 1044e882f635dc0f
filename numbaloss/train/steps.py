"""One step: forward, the loss, backward, the gradient looked at and clipped, parameters moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .base import Optimizer
from .buffers import Buffers
from .clipping import clip_by_global_norm
from .data import Batch
from .evaluation import arguments, counted, outputs_of
from .monitors import Monitor
from .trees import named_leaves

ON_NONFINITE = ("raise", "skip")


class Taken(NamedTuple):
    """What a step came to."""

    value: float  # the loss of the batch, reduced
    divisor: float  # that of the mean
    norm: float  # of the gradient, before it was clipped
    skipped: bool = False


class Stepper:
    """Takes steps, all of one kind."""

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        *,
        reduction: str = "mean",
        clip: Any = None,
        on_nonfinite: str = "raise",
        monitor: Monitor | None = None,
    ) -> None:
        if on_nonfinite not in ON_NONFINITE:
            raise ValueError(f'on_nonfinite must be "raise" or "skip", not {on_nonfinite!r}')
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.reduction, self.on_nonfinite, self.monitor = reduction, on_nonfinite, monitor
        self._clip: Callable[[Any], float | None] | None = None
        self._maximum = math.inf  # with a function too
        if callable(clip):
            self._clip = clip
        elif clip is not None:
            if not clip > 0:
                raise ValueError(f"clip must be a length > 0, not {clip!r}")
            self._maximum = float(clip)
        self._buffers = Buffers()
        self._in_place = loss.contract.name in ("elementwise", "rows")

    def gradients(self, batch: Batch) -> tuple[float, float, Any]:
        """Loss of a batch, what its mean divides by, gradients by the parameters."""
        outputs = outputs_of(self.model.forward(batch.inputs, training=True))
        options: dict[str, Any] = {"reduction": self.reduction}
        if batch.weight is not None:
            options["sample_weight"] = batch.weight
        if self._in_place and isinstance(outputs[0], np.ndarray):
            # Not the prediction's own memory: the model may need it to go back.
            first = outputs[0]
            options["out"] = self._buffers.get("gradient", first.shape, first.dtype)
        value, gradient = self.loss.value_and_grad(*arguments(outputs, batch), **options)
        count = counted(self.loss, outputs, batch, self.reduction)
        return float(value), count, self.model.backward(gradient)

    def take(self, batch: Batch, learning_rate: float | None, where: str) -> Taken:
        """A step on a batch; ``where`` says which in errors."""
        value, divisor, gradients = self.gradients(batch)
        if self.monitor is not None:
            self.monitor.loss(value)
        moved, norm = False, math.nan
        if math.isfinite(value):
            moved, norm = self._moved(gradients, learning_rate)
        if not moved and self.on_nonfinite == "raise":
            raise FloatingPointError(_told(value, gradients, where))
        return Taken(value, divisor, norm, not moved)

    def _moved(self, gradients: Any, learning_rate: float | None) -> tuple[bool, float]:
        """Whether parameters were moved, and how long the gradient was."""
        parameters, norm = self.model.parameters, math.nan
        own = isinstance(self.optimizer, Optimizer)
        if self._clip is not None or not own:
            norm = clip_by_global_norm(gradients, self._maximum, on_nonfinite="skip")
            if not math.isfinite(norm):
                return False, norm
        if self._clip is not None:
            self._clip(gradients)
        if not own:
            return self.optimizer.step(parameters, gradients, learning_rate) is not False, norm
        # The norm comes from the pass that looks for what is not finite.
        moved = self.optimizer.step(
            parameters, gradients, learning_rate, max_norm=self._maximum, monitor=self.monitor
        )
        return moved, norm if self._clip is not None else self.optimizer.gradient_norm


def _told(value: float, gradients: Any, where: str) -> str:
    remedy = 'a smaller learning rate, clip= or on_nonfinite="skip" may help'
    if not math.isfinite(value):
        return f"the loss is {value} in {where}; parameters are as before: {remedy}"
    for name, one in named_leaves(gradients):
        odd = ~np.isfinite(one)
        if odd.any():
            return (
                f"{int(odd.sum())} of {odd.size} numbers of the gradient by {name} are not finite "
                f"in {where}; parameters are as before: {remedy}"
            )
    return f"the gradient is too long to be measured in {where}; parameters are as before: {remedy}"
