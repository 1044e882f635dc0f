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
    }


class ScikitLearn(Contestant):
    """``loss_gradient`` into buffers, then the mean, as its linear models do."""

    buffers = 2

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
        fused = getattr(self.module, name)(**parameters)
        values, gradient = np.empty_like(prediction), np.empty_like(prediction)
        scale = prediction.dtype.type(factor / prediction.size)

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

        return {"loss_gradient": step}
