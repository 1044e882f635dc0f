"""Rows of logits as they come most often: plain arrays and integer labels, no options.

Of a call on ten rows of ten classes, the lines of Python take longer than the loops, so that here
nothing is done twice, and nothing that only other arrays need: 4 us in the place of 7.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..formulas.raised import Raised
from ..formulas.structure import plans_of
from . import rows, scan, softmax, threads
from .pieces import piece_size


class _Ready(NamedTuple):
    """A call on plain arrays, but for their addresses, the number of rows and the scale."""

    plan: softmax.Plan
    real: str
    scan_fields: np.ndarray
    scan: int  # address of the loop over labels
    fields: np.ndarray  # as float64
    inverse: float  # of the temperature
    chunk: int  # address of the loop; 0 for long rows, which have several
    width: int
    few: int  # rows of a chunk, where there are no more


_FLOAT32, _FLOAT64, _INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
# C-contiguous, aligned; writeable: NumPy's flags as one number.
_AS_IS, _WRITEABLE = 0x101, 0x400
_UNKNOWN: Any = object()


def run_direct(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    reduction: str,
    gradient_scale: float,
    out: Any = None,
) -> tuple[Any, ...] | None:
    """Value and derivatives for plain arrays with integer labels, a few us sooner.

    None where the arguments are others, or bad: the general road knows what to do.
    """
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return None
    dtype, shape, size = prediction.dtype, prediction.shape, prediction.size
    if not (
        (dtype is _FLOAT32 or dtype is _FLOAT64)
        and target.dtype is _INT64
        and size
        and target.shape == shape[:-1]
        and prediction.flags.num & target.flags.num & _AS_IS == _AS_IS
    ):
        return None
    if out is not None and not (
        type(out) is np.ndarray
        and out.dtype is dtype
        and out.shape == shape
        and out.flags.num & (_AS_IS | _WRITEABLE) == _AS_IS | _WRITEABLE
        and not np.may_share_memory(out, target)
        and (out is prediction or not np.may_share_memory(out, prediction))
    ):
        return None
    classes = shape[-1]
    plans = loss.__dict__.get("_plans")
    if plans is None or plans.stale(loss):
        plans = plans_of(loss)
    key = dtype, derivatives, classes
    ready = plans.get(key, _UNKNOWN)
    if ready is _UNKNOWN:
        ready = _ready(loss, plans, key)
    if ready is None or (out is prediction and ready.plan.catching):
        return None  # an exception must leave the prediction as it was
    count = size // classes
    run, handle = threads.serial(), threads.handle
    p, t, g, h = handle(prediction), handle(target), 0, 0
    # As `scan.launch` and, below, `softmax.over` would do it.
    if count <= scan.CHUNK_ROWS:
        total, bad = run(
            ready.scan, 0, 0, count, count, handle(ready.scan_fields), 1.0, 0, t, 0, 0, 0, 0
        )
    else:
        total, bad = scan.launch(ready.scan_fields, count, t, 0)
    if bad or not total:
        return None
    fields = ready.fields
    if derivatives:
        if out is None:
            out = np.empty(shape, dtype)
        fields, g = fields.copy(), handle(out)
        scale = (gradient_scale / total if reduction == "mean" else gradient_scale) * ready.inverse
        fields[rows.SCALE] = scale
        if derivatives == 2:
            hessian = np.empty(shape, dtype)
            fields[rows.CURVATURE_SCALE], h = scale * ready.inverse, handle(hessian)
    if count <= ready.few and not ready.plan.catching:
        parameters = handle(ready.plan.parameters)
        value, _ = run(
            ready.chunk, 0, parameters, count, count, handle(fields), 1.0, p, t, 0, 0, g, h
        )
    else:
        try:
            value = _of_many(ready, fields, [p, t, 0, 0, g, h], count, classes)
        except Raised:
            return None
    if reduction == "mean":
        value /= total
    if derivatives == 2:
        return value, out, hessian
    return (value, out) if derivatives else (value,)


def _of_many(
    ready: _Ready, fields: np.ndarray, handles: list[int], count: int, classes: int
) -> float:
    """The sum of the values of rows that are too many, or too long, for one launch."""
    if ready.chunk:
        chunk = softmax.chunk_of(count, classes, ready.width)
        return softmax.over(ready.chunk, ready.plan, fields, handles, count, chunk)[0]
    # A copy, for it gets the place of memory that is this call's alone.
    run = softmax.Run(ready.plan, fields.view(np.int64).copy(), handles)
    return softmax.launch(run, ready.real, count, classes)[0]


def _ready(loss: Any, plans: Any, key: tuple[Any, int, int]) -> _Ready | None:
    """What calls on plain arrays have in common, found by dtype, derivatives and classes."""
    ready = None
    dtype, derivatives, classes = key
    weights = loss.row_options().class_weight
    fits = weights is None or weights.size == classes
    if fits and "labels" in loss.accepts:
        real = dtype.name
        found = softmax.plan(loss, real, derivatives, True, classes)
        if found.fast:
            run = softmax.Run(found, found.fields.copy(), [])
            address, width, few = 0, 1, 0
            if classes <= piece_size(real):
                address, width = softmax.short_rows(run, real, classes)
                few = softmax.chunk_of(1, classes, width)
            fields = run.fields.view(np.float64)
            inverse = float(fields[rows.INVERSE_TEMPERATURE])
            of_scan = scan.fields_of(loss, classes)
            ready = _Ready(
                found, real, of_scan, scan.address(), fields, inverse, address, width, few
            )
    plans[key] = ready
    return ready
