"""PyTorch on the CPU: its functional losses with autograd, eager and compiled."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalogue import parameters_of
from . import Contestant, Step


def _functions(torch: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """Means of losses; fused functions of PyTorch where it has them."""
    functional = torch.nn.functional
    delta = parameters_of("huber")["delta"]
    width = parameters_of("pseudo_huber")["delta"]
    q = parameters_of("quantile")["q"]

    def quantile(prediction: Any, target: Any) -> Any:
        residual = target - prediction
        return torch.maximum(q * residual, (q - 1.0) * residual).mean()

    def pseudo_huber(prediction: Any, target: Any) -> Any:
        ratio = (prediction - target) / width
        return width * width * (torch.sqrt(1.0 + ratio * ratio) - 1.0).mean()

    def log_cosh(prediction: Any, target: Any) -> Any:
        residual = prediction - target
        return (residual + functional.softplus(-2.0 * residual) - math.log(2.0)).mean()

    def poisson(prediction: Any, target: Any) -> Any:
        return functional.poisson_nll_loss(prediction, target, log_input=True)

    def focal(prediction: Any, target: Any) -> Any:
        entropy = functional.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        probability = torch.sigmoid(prediction)
        wrong = probability + target - 2.0 * probability * target
        return (wrong * wrong * entropy).mean()

    return {
        "squared_error": functional.mse_loss,
        "absolute_error": functional.l1_loss,
        "huber": lambda prediction, target: functional.huber_loss(prediction, target, delta=delta),
        "quantile": quantile,
        "pseudo_huber": pseudo_huber,
        "log_cosh": log_cosh,
        "poisson": poisson,
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
        "focal": focal,
        "cross_entropy": functional.cross_entropy,
    }


class Eager(Contestant):
    """Forward and backward; the gradient is a new tensor each time, as in a training loop."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.functions = _functions(torch)
        self.leaves: list[Any] = []

    def versions(self) -> dict[str, str]:
        return {"torch": self.torch.__version__}

    def load(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array)

    def _backward(self, function: Callable[[Any, Any], Any], prediction: Any, target: Any) -> Step:
        leaf = prediction.detach().requires_grad_()
        self.leaves.append(leaf)

        def step() -> tuple[Any, Any]:
            leaf.grad = None
            value = function(leaf, target)
            value.backward()
            return value, leaf.grad

        return step

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        function = self.functions.get(loss)
        if function is None:
            return {}
        return {"backward": self._backward(function, prediction, target)}

    def forget(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None

    def release(self) -> None:
        self.leaves.clear()

    def to_numpy(self, result: Any) -> tuple[float, np.ndarray]:
        value, gradient = result
        return value.item(), gradient.numpy().copy()


class Compiled(Eager):
    """``torch.compile`` of the loss under autograd, and of value and gradient in one graph."""

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        function = self.functions.get(loss)
        if function is None:
            return {}
        # One code object serves many losses and sizes: without this, the limit of
        # recompilations would send later ones back to eager mode unnoticed.
        self.torch.compiler.reset()
        forward = self.torch.compile(function, dynamic=False, fullgraph=True)
        both = self.torch.compile(
            self.torch.func.grad_and_value(function), dynamic=False, fullgraph=True
        )

        def whole() -> tuple[Any, Any]:
            gradient, value = both(prediction, target)
            return value, gradient

        return {"backward": self._backward(forward, prediction, target), "grad_and_value": whole}
