"""The other libraries: PyTorch with autograd, compiled PyTorch, kernels written for CuPy.

A peer makes a step out of sets of arrays: a step does the work on one set and returns value
and gradient. None where the peer does not enter.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

from .cases import Case
from .clock import Step
from .inputs import Arrays
from .libraries import Library
from .reference import TEMPERATURE

TITLES = {"torch": "PyTorch", "compile": "torch.compile", "cupy": "CuPy"}
Function = Callable[[Any, Any, Any], Any]


def functions(torch: Any) -> dict[str, Function]:
    """Losses by name: of prediction, target and reduction; PyTorch's own where it has them."""
    f = torch.nn.functional

    def entropy(p: Any, t: Any, how: str) -> Any:
        return f.binary_cross_entropy_with_logits(p, t, reduction=how)

    def log_cosh(p: Any, t: Any, how: str) -> Any:
        residual = p - t
        value = residual + f.softplus(-2.0 * residual) - math.log(2.0)
        return _reduced(value, how)

    def focal(p: Any, t: Any, how: str) -> Any:
        probability = torch.sigmoid(p)
        wrong = probability + t - 2.0 * probability * t
        return _reduced(wrong * wrong * entropy(p, t, "none"), how)

    def brier(x: Any, t: Any, how: str) -> Any:
        p = torch.softmax(x, 1)
        value = (p * p).sum(1) - 2.0 * p.gather(1, t[:, None])[:, 0] + 1.0
        return _reduced(value, how)

    def distillation(x: Any, z: Any, how: str) -> Any:
        student, teacher = (torch.log_softmax(one / TEMPERATURE, 1) for one in (x, z))
        value = f.kl_div(student, teacher, log_target=True, reduction="none").sum(1)
        return TEMPERATURE**2 * _reduced(value, how)

    return {
        "squared_error": lambda p, t, how: f.mse_loss(p, t, reduction=how),
        "absolute_error": lambda p, t, how: f.l1_loss(p, t, reduction=how),
        "huber": lambda p, t, how: f.huber_loss(p, t, reduction=how),
        "log_cosh": log_cosh,
        "poisson": lambda p, t, how: f.poisson_nll_loss(p, t, log_input=True, reduction=how),
        "binary_cross_entropy": entropy,
        "focal": focal,
        "cross_entropy": lambda x, t, how: f.cross_entropy(x, t, reduction=how),
        "brier": brier,
        "distillation": distillation,
    }


def _reduced(value: Any, how: str) -> Any:
    return value if how == "none" else value.mean() if how == "mean" else value.sum()


def _loss(torch: Any, case: Case) -> Function:
    """The loss of a case with arguments prediction, target and weight."""
    function = functions(torch)[case.loss]
    how = case.reduction
    if case.weighted:
        return lambda p, t, w: _reduced(w * function(p, t, "none"), how)
    return lambda p, t, w: function(p, t, how)


def _backward(function: Function, sets: list[Arrays]) -> Step:
    leaves = [given.prediction.detach().requires_grad_() for given in sets]

    def step(index: int) -> tuple[Any, Any]:
        leaf, given = leaves[index], sets[index]
        leaf.grad = None
        value = function(leaf, given.target, given.weight)
        value.backward()
        return value.detach(), leaf.grad

    return step


def eager(library: Library, case: Case, sets: list[Arrays]) -> dict[str, Step]:
    """Forward and backward; a new gradient every time, as in a training loop."""
    if library.name != "torch" or case.method == "value_grad_hess":
        return {}
    torch = library.xp
    function = _loss(torch, case)
    if case.method == "value_and_grad":
        return {"backward": _backward(function, sets)}

    def value(index: int) -> tuple[Any, Any]:
        given = sets[index]
        with torch.no_grad():
            return function(given.prediction, given.target, given.weight), None

    return {"forward": value}


def compiled(library: Library, case: Case, sets: list[Arrays]) -> dict[str, Step]:
    """The loss compiled under autograd, and value and gradient compiled as one graph."""
    if library.name != "torch" or not case.compiled or case.method != "value_and_grad":
        return {}
    if library.on_gpu and importlib.util.find_spec("triton") is None:
        raise NotImplementedError("torch.compile needs triton, which is not installed")
    torch = library.xp
    # One code object serves many cases: the limit of recompilations would stop the later ones.
    torch.compiler.reset()
    function = _loss(torch, case)
    both = torch.compile(torch.func.grad_and_value(function), dynamic=False, fullgraph=True)

    def whole(index: int) -> tuple[Any, Any]:
        given = sets[index]
        gradient, value = both(given.prediction, given.target, given.weight)
        return value, gradient

    forward = torch.compile(function, dynamic=False, fullgraph=True)
    return {"grad_and_value": whole, "backward": _backward(forward, sets)}


# What somebody writes who knows CuPy: a fused kernel for the gradient, one for the values, and
# CuPy's sum. (A ReductionKernel that maps and adds up runs in a single block: 270 times our time.)
CUPY = {
    "squared_error": ("(p - t) * (p - t)", "T(2) * (p - t)"),
    "huber": (
        "(abs(p - t) <= T(1) ? T(0.5) * (p - t) * (p - t) : abs(p - t) - T(0.5))",
        "max(T(-1), min(T(1), p - t))",
    ),
    "binary_cross_entropy": (
        "max(p, T(0)) - p * t + log1p(exp(-abs(p)))",
        "T(1) / (T(1) + exp(-p)) - t",
    ),
}


def cupy_kernels(cupy: Any, loss: str) -> tuple[Any, Any]:
    """The values, and the gradient of their mean."""
    value, gradient = CUPY[loss]
    values = cupy.ElementwiseKernel("T p, T t", "T v", f"v = {value}", f"benchmark_{loss}_values")
    slope = cupy.ElementwiseKernel(
        "T p, T t", "T g", f"g = ({gradient}) * (T(1) / T(_ind.size()))", f"benchmark_{loss}_grad"
    )
    return values, slope


def with_cupy(library: Library, case: Case, sets: list[Arrays]) -> dict[str, Step]:
    """Kernels for CuPy, on the memory of whoever made the arrays."""
    plain = case.layout == "contiguous" and not case.weighted and case.reduction == "mean"
    if not library.on_gpu or case.loss not in CUPY or not plain:
        return {}
    if case.method != "value_and_grad" or case.dtype not in ("float32", "float64"):
        return {}
    if importlib.util.find_spec("cupy") is None:
        return {}
    import cupy

    values, slope = cupy_kernels(cupy, case.loss)
    names = ("prediction", "target", "gradient")
    arrays = [[cupy.asarray(getattr(given, name)) for name in names] for given in sets]

    def step(index: int) -> tuple[Any, Any]:
        p, t, g = arrays[index]
        slope(p, t, g)
        return values(p, t).sum() / case.elements, sets[index].gradient

    return {"kernels": step}


PEERS: dict[str, Callable[[Library, Case, list[Arrays]], dict[str, Step]]] = {
    "torch": eager,
    "compile": compiled,
    "cupy": with_cupy,
}
