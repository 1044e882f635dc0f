"""JAX on the CPU: ``jit(value_and_grad(loss))``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalogue import parameters_of
from . import Contestant, Step


def _functions(jax: Any) -> dict[str, dict[str, Callable[[Any, Any], Any]]]:
    """Means of losses; several formulas where it is not plain which one XLA does best."""
    jnp = jax.numpy
    delta = parameters_of("huber")["delta"]
    width = parameters_of("pseudo_huber")["delta"]
    q = parameters_of("quantile")["q"]

    def squared_error(prediction: Any, target: Any) -> Any:
        return jnp.square(prediction - target).mean()

    def absolute_error(prediction: Any, target: Any) -> Any:
        return jnp.abs(prediction - target).mean()

    def huber_clip(prediction: Any, target: Any) -> Any:
        residual = jnp.abs(prediction - target)
        near = jnp.minimum(residual, delta)
        return (0.5 * near * near + delta * (residual - near)).mean()

    def huber_where(prediction: Any, target: Any) -> Any:
        residual = prediction - target
        size = jnp.abs(residual)
        return jnp.where(
            size <= delta, 0.5 * residual * residual, delta * (size - 0.5 * delta)
        ).mean()

    def quantile(prediction: Any, target: Any) -> Any:
        residual = target - prediction
        return jnp.maximum(q * residual, (q - 1.0) * residual).mean()

    def pseudo_huber(prediction: Any, target: Any) -> Any:
        ratio = (prediction - target) / width
        return width * width * (jnp.sqrt(1.0 + ratio * ratio) - 1.0).mean()

    def log_cosh(prediction: Any, target: Any) -> Any:
        residual = prediction - target
        return (jnp.logaddexp(residual, -residual) - math.log(2.0)).mean()

    def log_cosh_exp(prediction: Any, target: Any) -> Any:
        size = jnp.abs(prediction - target)
        return (size + jnp.log1p(jnp.exp(-2.0 * size)) - math.log(2.0)).mean()

    def poisson(prediction: Any, target: Any) -> Any:
        return (jnp.exp(prediction) - target * prediction).mean()

    def entropy(prediction: Any, target: Any) -> Any:
        return jax.nn.softplus(prediction) - target * prediction

    def entropy_exp(prediction: Any, target: Any) -> Any:
        rest = jnp.log1p(jnp.exp(-jnp.abs(prediction)))
        return jnp.maximum(prediction, 0.0) - target * prediction + rest

    def focal(values: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def mean(prediction: Any, target: Any) -> Any:
            probability = jax.nn.sigmoid(prediction)
            wrong = probability + target - 2.0 * probability * target
            return (wrong * wrong * values(prediction, target)).mean()

        return mean

    def cross_entropy(logits: Any, labels: Any) -> Any:
        logs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logs, labels[:, None], axis=-1).mean()

    def cross_entropy_where(logits: Any, labels: Any) -> Any:
        # Comparing every class fuses; taking one a row becomes a scatter in the gradient.
        hit = labels[:, None] == jnp.arange(logits.shape[-1])
        of_label = jnp.where(hit, logits, 0.0).sum(axis=-1)
        return (jax.nn.logsumexp(logits, axis=-1) - of_label).mean()

    return {
        "squared_error": {"square": squared_error},
        "absolute_error": {"abs": absolute_error},
        "huber": {"minimum": huber_clip, "where": huber_where},
        "quantile": {"maximum": quantile},
        "pseudo_huber": {"sqrt": pseudo_huber},
        "log_cosh": {"logaddexp": log_cosh, "log1p": log_cosh_exp},
        "poisson": {"exp": poisson},
        "binary_cross_entropy": {
            "softplus": lambda prediction, target: entropy(prediction, target).mean(),
            "log1p": lambda prediction, target: entropy_exp(prediction, target).mean(),
        },
        "focal": {"softplus": focal(entropy), "log1p": focal(entropy_exp)},
        "cross_entropy": {"take": cross_entropy, "where": cross_entropy_where},
    }


class Jitted(Contestant):
    """Compiled once a shape; a step ends when its results are there."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.functions = _functions(jax)

    def versions(self) -> dict[str, str]:
        return {"jax": self.jax.__version__}

    def load(self, array: np.ndarray) -> Any:
        return self.jax.block_until_ready(self.jax.numpy.asarray(array))

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        return {
            name: self._step(function, prediction, target)
            for name, function in self.functions.get(loss, {}).items()
        }

    def _step(self, function: Callable[[Any, Any], Any], prediction: Any, target: Any) -> Step:
        compiled = self.jax.jit(self.jax.value_and_grad(function))
        wait = self.jax.block_until_ready
        return lambda: wait(compiled(prediction, target))
