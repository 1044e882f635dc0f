"""What a call should give: bands for its value, gradients and hessian."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import reference_embeddings

from numbaloss.structures.loss import domain

from . import elementwise_formulas, row_formulas
from .bands import Band, Float, around, scaled, total
from .calls import Call
from .draws import seen
from .elementwise_formulas import Number

# Elements of large arrays that are compared one by one.
SAMPLE = 600
# Of sums: what rounding of terms, which counts apart, leaves to the order of adding them.
SUMS = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 1e-14}


class Expected(NamedTuple):
    """Bands of results; None where nothing is known."""

    value: Band | None
    derivatives: list[Band | None]
    places: np.ndarray | None = None  # elements that the bands are about, where not all


class Samples(NamedTuple):
    """Weights of samples, which of them count for nothing, and the divisor of a reduction."""

    weight: np.ndarray
    removed: np.ndarray
    divisor: float

    def factor(self, scale: float) -> np.ndarray:
        return self.weight * Number(scale / self.divisor if self.divisor else 0.0)


def spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a leading part of a shape, for all of it."""
    return np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)


def samples(call: Call, shape: tuple[int, ...], counts: Any = True, mass: Any = 1.0) -> Samples:
    """``counts``: which samples do; ``mass``: what class weights make of each, for the divisor."""
    counts = np.broadcast_to(np.asarray(counts), shape)
    given = call.arrays.get("sample_weight")
    weight = np.ones(shape)
    if given is not None:
        weight = spread(seen(given.array, np.dtype(np.float64)), shape)
    if "mask" in call.arrays:
        counts = counts & spread(call.arrays["mask"].array, shape)
    reduction = call.options["reduction"]
    divisor = 1.0
    if reduction == "mean":
        divisor = float(counts.sum())
    elif reduction == "weighted_mean":
        divisor = float(np.sum(np.where(counts & (weight != 0), weight * mass, 0.0)))
    return Samples(weight.astype(Number), ~counts | (weight == 0), divisor)


def expected(call: Call) -> Expected:
    """Bands for the results of a call, from its arrays as they are before it."""
    with np.errstate(all="ignore"):
        return _OF[call.structure](call)


def _finished(call: Call, band: Band, of: Samples) -> Band:
    """The band of the value: of each sample, or of the reduced one."""
    reduction = call.options["reduction"]
    if reduction == "none":
        return scaled(band, of.weight, of.removed, call.real)
    if of.divisor == 0.0 and reduction != "sum":
        return Band(*(np.asarray(one) for one in (Number(0), Number(0), True, False)))
    found = total(band, of.weight, of.removed, SUMS[call.real], call.real)
    divisor = of.divisor if reduction != "sum" else 1.0
    slack = 8 * np.finfo(np.float64).eps
    low, high = (np.asarray(one / Number(divisor)) for one in (found.low, found.high))
    tiny = Number(np.finfo(np.float64).tiny)
    # A sum of float64 beyond the largest number is infinite, whatever it is divided by.
    largest = Number(np.finfo(np.float64).max) * (1 - slack)
    high = np.where(found.high > largest, np.inf, high)
    low = np.where(found.low < -largest, -np.inf, low)
    return Band(low - abs(low) * slack - tiny, high + abs(high) * slack + tiny, *found[2:])


def _scale(call: Call) -> float:
    return float(call.options.get("gradient_scale", 1.0))


# Elementwise


def _rounds(loss: Any) -> int:
    """How many roundings the formulas take: see tests/losses/test_exactness.py."""
    names = {type(term).__name__ for _, term in getattr(loss, "terms", ((1.0, loss),))}
    if "GeneralRobust" in names:
        return 64
    return 24 if names & {"AsymmetricFocal", "Tweedie", "Focal"} else 12


def elementwise_bands(loss: Any, p: np.ndarray, t: np.ndarray, real: np.dtype) -> list[Band]:
    """Value, gradient and hessian of numbers that kernels see as they are.

    A result is right if it is that of inputs which are off by a few units in the last place,
    rounded a few times.
    """
    kind = Float.of(real)
    p, t = p.astype(Number), t.astype(Number)
    eps = _rounds(loss) * kind.epsilon
    # A difference of the inputs beyond the largest number is infinite.
    over = np.abs(p - t) > kind.largest
    beyond = np.where(over, np.copysign(Number(np.inf), p - t), p)
    near = [(p, t), (p * (1 + eps), t), (p * (1 - eps), t), (p, t * (1 + eps)), (p, t * (1 - eps))]
    near += [(beyond, t)]
    at = [np.stack(one) for one in zip(*near)]
    found = elementwise_formulas.formula(loss, *at)
    # A term that the type cannot hold, of a sum that it could.
    lost = [np.zeros(p.shape, bool)] * 3
    if hasattr(loss, "terms"):
        terms = [elementwise_formulas.formula(term, p, t) for _, term in loss.terms]
        lost = [
            np.any([np.abs(one) > kind.largest for one in each], axis=0) for each in zip(*terms)
        ]
    nan = np.isnan(p) | np.isnan(t)
    numbers = [abs(v) for v in _numbers(loss)]
    floor = 64 * kind.smallest * (1 + max([*numbers, *(1 / v for v in numbers), 0.0])) ** 2
    bands = []
    unknown = (np.isnan(found[0][0]) | np.isnan(p - t)) & ~nan  # of equal infinities, say
    for one, gone in zip(found, lost):
        centre = one[0]
        apart = np.fmax.reduce(np.abs(one[1:5] - centre), axis=0)
        apart = np.where(np.isnan(apart), 0, apart)
        band = around(centre, apart + eps * np.abs(centre) + floor, nan, real)
        free = band.free | (over & ~np.isfinite(one[5])) | (gone & ~nan) | unknown
        low, high = np.fmin(band.low, one[5]), np.fmax(band.high, one[5])
        bands.append(
            Band(np.where(over, low, band.low), np.where(over, high, band.high), nan, free)
        )
    return bands


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
    t = _clipped(t, call)
    places = None
    if p.size > 2 * SAMPLE:
        edges = np.array([0, 1, p.size // 2, p.size - 2, p.size - 1])
        places = np.unique(np.append(edges, np.random.default_rng(0).integers(0, p.size, SAMPLE)))
        p, t = p[places], t[places]
    bands = elementwise_bands(call.loss, p, t, call.real)
    factor = of.factor(_scale(call)).reshape(-1)
    weight, removed = of.weight.reshape(-1), of.removed.reshape(-1)
    if places is not None:
        factor, weight, removed = factor[places], weight[places], removed[places]
    derivatives = [scaled(band, factor, removed, call.real) for band in bands[1:]]
    derivatives = derivatives[: call.derivatives]
    if places is None:
        shape = prediction.shape
        of_value = _finished(call, bands[0].reshape(shape), of)
        return Expected(of_value, [one.reshape(shape) for one in derivatives])
    if call.options["reduction"] == "none":
        return Expected(scaled(bands[0], weight, removed, call.real), derivatives, places)
    return Expected(None, derivatives, places)


def _clipped(t: np.ndarray, call: Call) -> np.ndarray:
    """Targets a few units in the last place above 1 count as 1."""
    interval = domain(call.loss.target_domain)
    if interval.high == 1.0 and not interval.binary and not call.off_domain:
        return np.where(t > 1.0, t.dtype.type(1.0), t)
    return t


# Rows


class _RowCall(NamedTuple):
    of: Samples
    dense: np.ndarray  # targets a class
    labels: bool


def _targets(call: Call, loss: Any, shape: tuple[int, ...], classes: int) -> _RowCall:
    target = call.arrays["target"].array
    options = loss.row_options()
    weights = options.class_weight
    if target.ndim == len(shape):
        labels = target.astype(object) if target.dtype == np.uint64 else target.astype(np.int64)
        counts = np.asarray(labels != options.ignore_index, bool)
        inside = np.where(counts, labels, 0).astype(np.int64)
        dense = (inside[..., None] == np.arange(classes)).astype(call.real)
        mass = 1.0 if weights is None else weights[inside]
        return _RowCall(samples(call, shape, counts, mass), dense, True)
    dense = seen(target, call.real)
    mass = 1.0 if weights is None else np.sum(weights * dense.astype(np.float64), -1)
    return _RowCall(samples(call, shape, True, mass), dense, False)


def _rows_of(
    loss: Any, x: np.ndarray, rows: _RowCall, call: Call, off: np.ndarray | None
) -> tuple[Any, np.ndarray]:
    """Formulas of all rows, one after the other, and which of them hold NaN."""
    classes = x.shape[-1]
    flat, dense = x.reshape(-1, classes), rows.dense.reshape(-1, classes).astype(Number)
    nan = np.isnan(flat).any(-1)
    if not rows.labels:
        nan |= np.isnan(dense).any(-1)
    eps = 16 * Float.of(call.real).epsilon
    return row_formulas.of_rows(loss, flat, dense, eps, off), nan


def _row_floor(loss: Any, real: np.dtype) -> Any:
    return 65536 * Float.of(real).smallest


def _softmax(call: Call) -> Expected:
    prediction, loss = call.arrays["prediction"].array, call.loss
    shape, classes = prediction.shape[:-1], prediction.shape[-1]
    rows = _targets(call, loss, shape, classes)
    x = seen(prediction, call.real).astype(Number)
    if not x.size:
        return _nothing(call, rows.of, [prediction.shape] * call.derivatives)
    found, nan = _rows_of(loss, x, rows, call, None)
    floor = _row_floor(loss, call.real)
    value = around(found.value, found.value_error + floor, nan, call.real).reshape(shape)
    # Which elements of a row with NaN are NaN depends on the loss.
    unclear = (nan | (x.reshape(-1, classes) == np.inf).any(-1) | np.isnan(found.value))[:, None]
    factor = rows.of.factor(_scale(call)).reshape(-1)[:, None]
    removed = rows.of.removed.reshape(-1)[:, None]
    derivatives = []
    pairs = (found.gradient, found.gradient_error), (found.hessian, found.hessian_error)
    for one, error in pairs[: call.derivatives]:
        band = around(one, error + floor, False, call.real)
        band = band._replace(free=band.free | unclear)
        derivatives.append(scaled(band, factor, removed, call.real).reshape(prediction.shape))
    return Expected(_finished(call, value, rows.of), derivatives)


def _nothing(call: Call, of: Samples, shapes: list[tuple[int, ...]]) -> Expected:
    """Of no samples, or of rows without classes."""
    zero = np.zeros(of.removed.shape, Number)
    band = Band(zero, zero, zero > 0, zero > 0)
    return Expected(
        _finished(call, band, of),
        [Band(*(np.zeros(one, kind) for kind in (Number, Number, bool, bool))) for one in shapes],
    )


def _linear(call: Call) -> Expected:
    names = call.gradient_names
    hidden, weight, *bias = (
        seen(call.arrays[name].array, call.real).astype(Number) for name in names
    )
    shape = hidden.shape[:-1]
    loss = call.loss.of_logits()
    turned = call.options["transposed"]
    w = weight.T if turned else weight
    classes = w.shape[1]
    rows = _targets(call, loss, shape, classes)
    shapes = [call.arrays[name].array.shape for name in names]
    if not math.prod(shape):
        return _nothing(call, rows.of, shapes[: len(names) * call.derivatives])
    h = hidden.reshape(-1, hidden.shape[-1])
    eps = Float.of(call.real).epsilon
    if not (
        np.isfinite(h).all() and np.isfinite(w).all() and all(np.isfinite(b).all() for b in bias)
    ):
        return Expected(None, [None] * (len(names) * call.derivatives))
    if max(np.abs(h).max(), np.abs(w).max()) > 1e9:  # products that may overflow
        return Expected(None, [None] * (len(names) * call.derivatives))
    extra = bias[0] if bias else np.zeros(classes, Number)
    x = h @ w + extra
    off = (eps * (4 + h.shape[1])) * np.max(np.abs(h) @ np.abs(w) + np.abs(extra), -1)
    found, nan = _rows_of(loss, x, rows, call, off)
    floor = _row_floor(loss, call.real)
    value = around(found.value, found.value_error + floor, nan, call.real).reshape(shape)
    of_value = _finished(call, value, rows.of)
    if call.derivatives == 0:
        return Expected(of_value, [])
    factor = np.where(rows.of.removed, 0, rows.of.factor(_scale(call))).reshape(-1)[:, None]
    nan = nan & ~rows.of.removed.reshape(-1)
    if nan.any():
        return Expected(of_value, [None] * len(names))
    slopes = np.where(factor == 0, 0, factor * found.gradient)
    wrong = np.abs(factor) * (found.gradient_error + floor)
    wrong = np.where(factor == 0, 0, wrong + 4 * eps * np.abs(slopes))
    sums = eps * 4 * (8 + max(len(h), classes))
    parts = [
        (slopes @ w.T, wrong @ np.abs(w).T + sums * (np.abs(slopes) @ np.abs(w).T)),
        (h.T @ slopes, np.abs(h).T @ wrong + sums * (np.abs(h).T @ np.abs(slopes))),
        (slopes.sum(0), wrong.sum(0) + sums * np.abs(slopes).sum(0)),
    ]
    bands = []
    for (one, error), of_shape, name in zip(parts, shapes, names):
        if name == "weight" and turned:
            one, error = one.T, error.T
        bands.append(around(one, error + floor, False, call.real).reshape(of_shape))
    return Expected(of_value, bands)


# Vectors


def _vectors(call: Call) -> Expected:
    """Vectors of usual sizes: what is said of others is said by :mod:`tests.fuzz.promises`."""
    names = call.gradient_names
    vectors = [seen(call.arrays[name].array, np.dtype(np.float64)) for name in names]
    unknown = Expected(None, [None] * (len(names) * call.derivatives))
    if not all(np.isfinite(one).all() and (np.abs(one) < 1e4).all() for one in vectors):
        return unknown
    sizes = [np.sqrt((one**2).sum(-1)) for one in vectors]
    if any(((one > 0) & (one < 1e-2)).any() for one in sizes):
        return unknown
    labels = call.arrays.get("target", call.arrays.get("labels"))
    given = None if labels is None else labels.array
    weight = call.arrays.get("sample_weight")
    weights = None if weight is None else seen(weight.array, np.dtype(np.float64))
    loss, reduction = call.loss, call.options["reduction"]

    def at(moved: list[np.ndarray]) -> tuple[Any, Any]:
        return reference_embeddings.reference(
            loss, *moved, labels=given, sample_weight=weights, reduction=reduction
        )

    value, gradients = at(vectors)
    eps = float(Float.of(call.real).epsilon)
    # How results answer to small changes; a hinge or a choice that tips over shows as a jump.
    rng = np.random.default_rng(len(vectors[0]))
    moves = [
        at([one * (1 + 16 * eps * rng.choice((-1.0, 1.0), one.shape)) for one in vectors])
        for _ in range(3)
    ]
    if _undecided(call, vectors, 64 * eps):
        return unknown
    size = max([float(np.max(one, initial=0.0)) for one in sizes])
    heat = 1.0 / min(getattr(loss, "temperature", 1.0), 1.0)
    units = (
        (1 + size) ** 2 * heat**2 * (1 + np.max(weights, initial=0.0) if weights is not None else 1)
    )
    many = 8 + max(one.shape[-1] for one in vectors) + len(vectors[0])
    bound = 4 * eps * units * many
    jump = 8 * max(float(np.max(np.abs(np.asarray(one) - value), initial=0.0)) for one, _ in moves)
    base = bound * (1 if reduction in ("mean", "none", "weighted_mean") else many)
    base += 16 * eps * float(np.max(np.abs(value), initial=0.0))
    nan = np.isnan(value)
    of_value = around(value, base + jump, nan, np.dtype(np.float64))
    scale = _scale(call)
    bands = []
    for i, one in enumerate(gradients[: len(names) * call.derivatives]):
        jump = 8 * max(float(np.max(np.abs(m[i] - one), initial=0.0)) for _, m in moves)
        error = abs(scale) * (bound * (1 + many * eps) + jump) + abs(scale) * 32 * eps * np.abs(one)
        bands.append(around(scale * one, error + 1e-37, False, call.real))
    return Expected(of_value, bands)


def _undecided(call: Call, vectors: list[np.ndarray], share: float) -> bool:
    """Whether rounding may tip a hinge over, or choose another triplet."""
    loss = call.loss
    name = type(loss).__name__
    if name in ("InfoNCE", "SigLIP", "NTXent", "SupervisedContrastive"):
        return False
    rows = [one.reshape(-1, one.shape[-1]) for one in vectors]
    if name == "CosineEmbedding":
        (a, _), (b, _) = map(reference_embeddings.directions, rows)
        return bool((np.abs((a * b).sum(-1) - loss.margin) < share).any())
    size = 1 + max(float(np.abs(one).max(initial=0.0)) for one in rows) * rows[0].shape[-1] ** 0.5
    near = share * size
    if name in ("Contrastive", "Triplet"):
        p, squared = getattr(loss, "p", 2.0), getattr(loss, "squared", False)
        d = [reference_embeddings.distance(rows[0], one, p, squared)[0] for one in rows[1:]]
        if name == "Contrastive":
            return bool((np.abs(d[0] - loss.margin) < near).any())
        across = reference_embeddings.distance(rows[1], rows[2], p, squared)[0]
        far = np.minimum(d[1], across) if loss.swap else d[1]
        near = near * size
        close = np.abs(d[0] - far + loss.margin) < near
        if loss.swap:
            close |= np.abs(d[1] - across) < near
        # Differences of elements change sign where powers of them bend.
        return bool(close.any())
    x = rows[0]
    if loss.normalize:
        x, _ = reference_embeddings.directions(x)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    d = squares if loss.squared else np.sqrt(squares)
    off = ~np.eye(len(x), dtype=bool)
    ordered = np.sort(d[off].reshape(len(x), -1), axis=1) if len(x) > 1 else d
    # Candidates come from a matrix product, which knows squares to the rounding of lengths.
    gap = 64 * share * (1 + size) ** 2
    close = np.diff(ordered**2 if not loss.squared else ordered, axis=1) < gap
    over = d[:, :, None] - d[:, None, :] + loss.margin
    return bool(close.any() or (np.abs(over) < 64 * near * size).any())


_OF = {
    "elementwise": _elementwise,
    "softmax": _softmax,
    "linear": _linear,
    "pairs": _vectors,
    "batch": _vectors,
}
