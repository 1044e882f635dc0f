"""What a call should give: bands for its value, gradients and hessian."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaloss.core.loss import domain

from . import elementwise_formulas, row_references, vector_references
from .bands import Band, Float, around, scaled
from .calls import Call
from .draws import seen
from .elementwise_formulas import Number
from .reductions import Expected, finished, samples, scale_of

# Elements of large arrays that are compared one by one.
SAMPLE = 600


def expected(call: Call) -> Expected:
    """Bands for the results of a call, from its arrays as they are before it."""
    with np.errstate(all="ignore"):
        return _OF[call.structure](call)


def _rounds(loss: Any, real: np.dtype) -> int:
    """How many roundings the formulas take: see tests/losses/test_exactness.py."""
    names = {type(term).__name__ for _, term in getattr(loss, "terms", ((1.0, loss),))}
    if "GeneralRobust" in names:
        # Exponents of up to 90, or 710, make as many units of its powers.
        return 128 if real == np.float32 else 1024
    return 24 if names & {"AsymmetricFocal", "Tweedie", "Focal"} else 12


def elementwise_bands(
    loss: Any, p: np.ndarray, t: np.ndarray, real: np.dtype, **changed: Any
) -> list[Band]:
    """Value, gradient and hessian of numbers that kernels see as they are.

    A result is right if it is that of inputs which are off by a few units in the last place,
    rounded a few times.
    """
    kind = Float.of(real)
    p, t = p.astype(Number), t.astype(Number)
    eps = _rounds(loss, real) * kind.epsilon
    # A difference of the inputs beyond the largest number is infinite.
    over = np.abs(p - t) > kind.largest
    beyond = np.where(over, np.copysign(Number(np.inf), p - t), p)
    step = eps * np.maximum(np.abs(t), _rounded_as(loss))
    near = [(p, t), (p * (1 + eps), t), (p * (1 - eps), t), (p, t + step), (p, t - step)]
    near += [(beyond, t)]
    at = [np.stack(one) for one in zip(*near)]
    found = elementwise_formulas.formula(loss, *at, **changed)
    # A term that the type cannot hold, of a sum that it could; and how large terms are that cancel.
    lost, sizes = [np.zeros(p.shape, bool)] * 3, [Number(0)] * 3
    if hasattr(loss, "terms"):
        terms = [[abs(w) * np.abs(one) for one in elementwise_formulas.formula(term, p, t)]
                 for w, term in loss.terms]  # fmt: skip
        sizes = [sum(each) for each in zip(*terms)]
        lost = [
            np.any(
                [one > kind.largest * min(1, abs(w)) for one, (w, _) in zip(each, loss.terms)], 0
            )
            for each in zip(*terms)
        ]
        lost = [lost[0], lost[1] | lost[0], lost[2] | lost[0]]  # where the value is NaN, all is
    nan = np.isnan(p) | np.isnan(t)
    numbers = [abs(v) for v in _numbers(loss)]
    floor = 64 * kind.smallest * (1 + max([*numbers, *(1 / v for v in numbers), 0.0])) ** 2
    bands = []
    unknown = (np.isnan(found[0][0]) | np.isnan(p - t)) & ~nan  # of equal infinities, say
    # An infinite target against an exponential that is infinite in the type of the kernels alone.
    unknown |= np.isinf(t) & (np.isinf(found[0][0]) | (np.abs(found[2][0]) > kind.largest)) & ~nan
    for one, gone, size in zip(found, lost, sizes):
        centre = one[0]
        apart = np.fmax.reduce(np.abs(one[1:5] - centre), axis=0)
        apart = np.where(np.isnan(apart), 0, apart)
        band = around(centre, apart + eps * (np.abs(centre) + size) + floor, nan, real)
        free = band.free | (over & ~np.isfinite(one[5])) | (gone & ~nan) | unknown
        low, high = np.fmin(band.low, one[5]), np.fmax(band.high, one[5])
        bands.append(
            Band(np.where(over, low, band.low), np.where(over, high, band.high), nan, free)
        )
    return bands


def _rounded_as(loss: Any) -> float:
    """The size of the numbers that targets are rounded as when they are mapped; 0: they are not.

    (t + 1)/2 and smoothed targets are numbers about 1, and smoothing shrinks what t may be off.
    """
    sizes = [0.0]
    for _, one in getattr(loss, "terms", ((1.0, loss),)):
        smoothing = getattr(one, "label_smoothing", 0.0)
        if smoothing > 0.0 or getattr(one, "targets", "") == "signed":
            sizes.append(1.0 / max(1.0 - smoothing, 1e-3))
    return max(sizes)


def _numbers(loss: Any) -> list[float]:
    if hasattr(loss, "terms"):
        return [abs(w) for w, _ in loss.terms] + [n for _, one in loss.terms for n in _numbers(one)]
    found = [abs(float(one)) for one in loss.values() if isinstance(one, float)]
    return [one for one in found if 1e-6 < one < 1e6]


def _elementwise(call: Call) -> Expected:
    prediction, target = call.arrays["prediction"].array, call.arrays["target"].array
    of = samples(call, prediction.shape)
    if call.off_domain and type(call.loss).__name__ not in ("BinaryCrossEntropy", "Poisson"):
        return Expected(None, [None] * call.derivatives)
    p, t = seen(prediction, call.real).reshape(-1), seen(target, call.real).reshape(-1)
    paired = isinstance(getattr(call.loss, "pos_weight", None), np.ndarray)
    t = _as_shares(t, call) if paired else clipped(t, call)
    places = None
    changed = {}
    if paired:
        each = np.broadcast_to(call.loss.pos_weight, prediction.shape).reshape(-1)
        changed = {"pos_weight": each.astype(call.real).astype(Number)}
    if p.size > 2 * SAMPLE:
        edges = np.array([0, 1, p.size // 2, p.size - 2, p.size - 1])
        places = np.unique(np.append(edges, np.random.default_rng(0).integers(0, p.size, SAMPLE)))
        p, t = p[places], t[places]
        changed = {name: one[places] for name, one in changed.items()}
    bands = elementwise_bands(call.loss, p, t, call.real, **changed)
    factor = of.factor(scale_of(call)).reshape(-1)
    weight, removed = of.weight.reshape(-1), of.removed.reshape(-1)
    if places is not None:
        factor, weight, removed = factor[places], weight[places], removed[places]
    derivatives = [scaled(band, factor, removed, call.real) for band in bands[1:]]
    derivatives = derivatives[: call.derivatives]
    if places is None:
        shape = prediction.shape
        of_value = finished(call, bands[0].reshape(shape), of)
        return Expected(of_value, [one.reshape(shape) for one in derivatives])
    if call.options["reduction"] == "none":
        return Expected(scaled(bands[0], weight, removed, call.real), derivatives, places)
    return Expected(None, derivatives, places)


def clipped(t: np.ndarray, call: Call) -> np.ndarray:
    """Targets a few units in the last place beyond a closed end count as that end."""
    interval = domain(call.loss.target_domain)
    if interval.high == 1.0 and not interval.binary and not call.off_domain:
        return np.clip(t, t.dtype.type(interval.low), t.dtype.type(1.0))
    return t


def _as_shares(t: np.ndarray, call: Call) -> np.ndarray:
    """Targets that have a weight a label: NaN outside the domain, where nobody checks them."""
    interval = domain(call.loss.target_domain)
    kind = call.arrays["target"].array.dtype.name
    low, high = interval.near(call.real, kind)
    inside = (t >= low) & (t <= high)
    ends = t.dtype.type(interval.low), t.dtype.type(interval.high)
    return np.where(inside, np.clip(t, *ends), t.dtype.type(np.nan))


_OF = {
    "elementwise": _elementwise,
    "softmax": row_references.softmax,
    "linear": row_references.linear,
    "pairs": vector_references.vectors,
    "batch": vector_references.vectors,
}
