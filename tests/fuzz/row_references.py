"""What calls of losses of rows of logits should give."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import row_formulas
from .bands import Float, around, scaled
from .calls import Call
from .draws import seen
from .elementwise_formulas import Number
from .reductions import Expected, Samples, finished, nothing, samples, scale_of


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


def softmax(call: Call) -> Expected:
    prediction, loss = call.arrays["prediction"].array, call.loss
    shape, classes = prediction.shape[:-1], prediction.shape[-1]
    rows = _targets(call, loss, shape, classes)
    x = seen(prediction, call.real).astype(Number)
    if not x.size:
        return nothing(call, rows.of, [prediction.shape] * call.derivatives)
    found, nan = _rows_of(loss, x, rows, call, None)
    floor = _row_floor(loss, call.real)
    value = around(found.value, found.value_error + floor, nan, call.real).reshape(shape)
    # Which elements of a row with NaN are NaN depends on the loss.
    unclear = (nan | (x.reshape(-1, classes) == np.inf).any(-1) | np.isnan(found.value))[:, None]
    factor = rows.of.factor(scale_of(call)).reshape(-1)[:, None]
    removed = rows.of.removed.reshape(-1)[:, None]
    derivatives = []
    pairs = (found.gradient, found.gradient_error), (found.hessian, found.hessian_error)
    for one, error in pairs[: call.derivatives]:
        band = around(one, error + floor, False, call.real)
        band = band._replace(free=band.free | unclear)
        derivatives.append(scaled(band, factor, removed, call.real).reshape(prediction.shape))
    return Expected(finished(call, value, rows.of), derivatives)


def linear(call: Call) -> Expected:
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
        return nothing(call, rows.of, shapes[: len(names) * call.derivatives])
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
    of_value = finished(call, value, rows.of)
    if call.derivatives == 0:
        return Expected(of_value, [])
    factor = np.where(rows.of.removed, 0, rows.of.factor(scale_of(call))).reshape(-1)[:, None]
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
