"""The second derivatives that trees may divide by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from ..core import links
from ..core.loss import domain
from ..losses.divergences import Distillation, KLDivergence
from ..losses.multiclass import CrossEntropy
from ..structures.elementwise import Elementwise
from ..structures.softmax import Softmax

# Residuals are taken to be this share of their median at least, where a hessian is |g| / |r|. On
# four folds of diabetes, 0.1 to 0.3 boost the absolute error and quantiles within 2 % of builtins;
# 0.01 and 1 lose up to 3 %.
SHARE = 0.2
# Of so many residuals the median is taken.
_FEW = 4096
# Expected hessians are at least this share of what the variance of the label lets expect.
_LEAST_SHARE = 0.1


class Call(NamedTuple):
    """What derivatives are taken of."""

    loss: Any
    prediction: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    order: str = "C"

    def empty(self) -> np.ndarray:
        """An array for derivatives."""
        given = self.prediction
        return np.empty_like(given, order="F" if self.order == "F" else "C")

    def weight_of(self, array: np.ndarray) -> Any:
        """The weights, for products with an array of derivatives."""
        if self.weight is None:
            return None
        shape = self.weight.shape + (1,) * (array.ndim - self.weight.ndim)
        return self.weight.reshape(shape).astype(array.dtype, copy=False)

    def gradient(self, prediction: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        """The gradient elsewhere."""
        target = self.target if target is None else target
        found: np.ndarray = self.loss.grad(
            prediction, target, sample_weight=self.weight, reduction="sum"
        )
        return found


def exact(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and hessian."""
    out, hess_out = call.empty(), call.empty()
    call.loss.value_grad_hess(
        call.prediction, call.target, sample_weight=call.weight, reduction="sum",
        out=out, hess_out=hess_out,
    )  # fmt: skip
    return out, hess_out


def secant(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """The gradient and the hessian of the parabola that touches the loss on both sides."""
    loss, prediction = call.loss, call.prediction
    if not isinstance(loss, Elementwise):
        raise ValueError(f"{loss!r} has no secant: it is no loss of a residual")
    gradient = call.gradient(prediction)
    kink = loss.kink(call.target)
    # Differences of float32 numbers that are close are taken in float64 where that matters.
    wide = prediction if loss.of_residual else prediction.astype(np.float64)
    size = np.subtract(wide, kink, dtype=wide.dtype)
    np.abs(size, out=size)
    np.maximum(size, size.dtype.type(SHARE * _median(size)), out=size)
    np.maximum(size, np.finfo(size.dtype).tiny, out=size)
    if loss.of_residual:
        none = np.zeros_like(size)
        hessian = call.gradient(size, none)
        hessian -= call.gradient(-size, none)
    else:
        hessian = call.gradient(kink + size) - call.gradient(kink - size)
    hessian /= size
    hessian *= 0.5
    return gradient, hessian.astype(prediction.dtype, copy=False)


def _median(size: np.ndarray) -> float:
    """The median of some of many numbers, of those that are finite."""
    few = arrays.on_host(size.ravel()[:: -(-size.size // _FEW) or 1])
    few = few[np.isfinite(few)]
    if not len(few):
        return 0.0
    # A tenth of the time of `np.median`, which CatBoost would ask for each 1000 samples.
    places = [(len(few) - 1) // 2, len(few) // 2]
    return float(np.mean(np.partition(few, places)[places]))


def fisher(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """The gradient, and the hessian that the model expects."""
    loss, prediction = call.loss, call.prediction
    gradient = call.gradient(prediction)
    mean = loss.inverse_link(prediction)
    if isinstance(loss, Softmax):
        if "dense" not in loss.accepts or loss.dense_logits or loss.link_function != "softmax":
            raise ValueError(f"{loss!r} expects nothing of labels: no hessian is 'fisher'")
        hessian = _hessian(call, mean)
        variance = mean * (1 - mean)
        labels = call.target
        ignored = loss.row_options().ignore_index
        if labels.ndim < prediction.ndim and ignored is not None:
            hessian[labels == ignored] = 0
    elif links.LINKS[loss.link_function].of_probability:
        hessian = _of_labels(call, mean)
        variance = mean * (1 - mean)
    elif loss.link_function == "log":
        return gradient, _hessian(call, mean)
    else:
        raise ValueError(f"{loss!r} expects nothing of targets: no hessian is 'fisher'")
    weight = call.weight_of(variance)
    if weight is not None:
        variance *= weight
    # Losses that fade expect a negative hessian in the tails.
    usual = float(np.maximum(hessian, 0).sum(dtype=np.float64)) / max(
        float(variance.sum(dtype=np.float64)), np.finfo(np.float64).tiny
    )
    np.maximum(hessian, variance * variance.dtype.type(_LEAST_SHARE * usual), out=hessian)
    return gradient, hessian


def _of_labels(call: Call, mean: np.ndarray) -> np.ndarray:
    """p h(1) + (1 - p) h(0)."""
    of = domain(call.loss.target_domain)
    if not of.binary:  # a soft target mixes the two
        return _hessian(call, mean * (of.high - of.low) + of.low)
    high, low = (_hessian(call, np.full_like(mean, end)) for end in (of.high, of.low))
    return mean * high + (1 - mean) * low


def _hessian(call: Call, target: np.ndarray) -> np.ndarray:
    out = call.empty()
    call.loss.hess(
        call.prediction, target, sample_weight=call.weight, reduction="sum", out=out, check=False
    )
    return out


def upper(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """The gradient and a bound of the hessian."""
    loss = call.loss
    if isinstance(loss, Softmax):
        gradient, hessian = exact(call)
        if not linear(loss):
            raise ValueError(f"{loss!r} has no bound that is known: no hessian is 'upper'")
        hessian *= 2
        return gradient, hessian
    bound = loss.hessian_bound()
    if bound is None:
        raise ValueError(f"{loss!r} has no bound that is known: no hessian is 'upper'")
    gradient = call.gradient(call.prediction)
    hessian = np.full_like(gradient, bound)
    weight = call.weight_of(hessian)
    if weight is not None:
        hessian *= weight
    return gradient, hessian


def linear(loss: Any) -> bool:
    """Whether a loss of classes is a multiple of the cross-entropy of some target, plus what does
    not depend on the prediction: its hessian is that of the softmax."""
    known = (CrossEntropy, KLDivergence, Distillation)
    terms = getattr(loss, "terms", ((1.0, loss),))
    return all(size >= 0.0 and (isinstance(one, known) or one.linear) for size, one in terms)


def is_of_residual(loss: Any) -> bool:
    """Whether a loss of which nothing is known depends on the residual alone, by a few tries."""
    if loss.of_residual:
        return True
    if not (domain(loss.target_domain).everything and domain(loss.prediction_domain).everything):
        return False
    residual = np.repeat(np.array([-64.0, -3.0, -0.5, 0.25, 2.0, 128.0]), 3)
    target = np.tile(np.array([0.0, 8.0, -32.0]), 6)  # exact sums
    try:
        found = loss.grad(residual + target, target, reduction="sum").reshape(6, 3)
    except Exception:  # whatever a formula of somebody raises for targets that it does not know
        return False
    return bool(np.allclose(found, found[:, :1], rtol=1e-9, atol=0.0))
