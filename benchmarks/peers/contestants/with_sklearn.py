"""The fused losses inside scikit-learn: Cython with OpenMP."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..catalogue import parameters_of
from . import Contestant, Step


def _losses() -> dict[str, tuple[str, dict[str, float], float]]:
    """Class, parameters, and the factor that turns its definition into ours."""
    return {
        "squared_error": ("HalfSquaredError", {}, 2.0),
        "absolute_error": ("AbsoluteError", {}, 1.0),
        "huber": ("HuberLoss", {"delta": parameters_of("huber")["delta"]}, 1.0),
        "quantile": ("PinballLoss", {"quantile": parameters_of("quantile")["q"]}, 1.0),
        "poisson": ("HalfPoissonLoss", {}, 1.0),
        "binary_cross_entropy": ("HalfBinomialLoss", {}, 1.0),
        "cross_entropy": ("HalfMultinomialLoss", {}, 1.0),
    }


class ScikitLearn(Contestant):
    """``loss_gradient`` into buffers, then the mean, as its linear models do."""

    def __init__(self) -> None:
        from sklearn._loss import loss

        self.module = loss
        self.threads = int(os.environ.get("OMP_NUM_THREADS", "1"))

    def versions(self) -> dict[str, str]:
        import sklearn

        return {"scikit-learn": sklearn.__version__}

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        known = _losses().get(loss)
        if known is None:
            return {}
        name, parameters, factor = known
        if prediction.ndim == 1:
            fused = getattr(self.module, name)(**parameters)
            outputs = self.keep(np.empty_like(target)), self.keep(np.empty_like(prediction))
            return {"loss_gradient": self._step(fused, prediction, target, outputs, factor)}
        fused = getattr(self.module, name)(n_classes=prediction.shape[1])
        # It takes labels in the dtype of the logits, and is called with either layout: boosting
        # keeps a column a class. Nobody is charged for the layout that suits him.
        labels = target.astype(prediction.dtype)
        columns = np.asfortranarray(prediction)
        values = self.keep(np.empty_like(labels))
        gradient = self.keep(np.empty_like(prediction))
        turned = gradient.reshape(prediction.shape[::-1]).T
        return {
            "rows": self._step(fused, prediction, labels, (values, gradient), factor),
            "columns": self._step(fused, columns, labels, (values, turned), factor),
        }

    def _step(
        self, fused: Any, prediction: Any, target: Any, outputs: tuple[Any, Any], factor: float
    ) -> Step:
        values, gradient = outputs
        scale = prediction.dtype.type(factor / len(target))

        def step() -> tuple[float, np.ndarray]:
            fused.loss_gradient(
                y_true=target,
                raw_prediction=prediction,
                loss_out=values,
                gradient_out=gradient,
                n_threads=self.threads,
            )
            np.multiply(gradient, scale, out=gradient)
            return factor * values.mean(), gradient

        return step
