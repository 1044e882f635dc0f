"""Losses for Keras 3, on its backends PyTorch and JAX: ``model.compile(loss=Loss(nl.Huber()))``."""

from __future__ import annotations

from typing import Any

from . import misuse

try:
    import keras
except ImportError as _error:
    raise misuse.missing_library("numbaloss.keras", "Keras", "keras") from _error

from .registry import get
from .structures.elementwise import Elementwise
from .structures.softmax import Softmax

__all__ = ["Loss"]


@keras.saving.register_keras_serializable(package="numbaloss")
class Loss(keras.losses.Loss):
    """A loss of numbers or classes as Keras takes them, which a saved model keeps.

    Parameters
    ----------
    loss : Elementwise or Softmax
        Of margins: the last layer has no activation.
    reduction, name, dtype
        Those of ``keras.losses.Loss``: Keras applies weights and masks to the values of samples,
        which are means over the last axis for losses of numbers, as those of its own losses.

    Raises
    ------
    RuntimeError
        At the first call, on another backend.
    """

    def __init__(
        self,
        loss: Any,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(loss, dict):  # of a saved model
            loss = get(loss["name"], **loss["parameters"])
        if not isinstance(loss, (Elementwise, Softmax)):
            raise TypeError(f"Keras takes losses of numbers or classes, not {loss!r}")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """A value a sample."""
        backend, ops = keras.backend.backend(), keras.ops
        if backend == "torch":
            from .torch import evaluate
        elif backend == "jax":
            from .jax import evaluate
        else:
            raise RuntimeError(
                f"numbaloss.keras works on the backends torch and jax, not {backend}: set "
                f"KERAS_BACKEND before keras is imported"
            )
        rows = isinstance(self.loss, Softmax)
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1 != y_pred.shape[-1]:
            y_true = ops.squeeze(y_true, -1)  # labels in a column
        elif not rows and len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = ops.expand_dims(y_true, -1)
        if rows and len(y_true.shape) < len(y_pred.shape):
            y_true = ops.cast(y_true, "int32")
        found = evaluate(self.loss, y_pred, y_true, reduction="none")
        return found if rows or len(y_pred.shape) < 2 else ops.mean(found, -1)

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps: the name of a registered loss, and its parameters."""
        own = self.loss
        parameters = {
            one.name: value.tolist() if hasattr(value, "tolist") else value
            for one, value in zip(own.parameters(), own.values())
        }
        said = {"name": type(own).__name__, "parameters": parameters}
        return super().get_config() | {"loss": said}
