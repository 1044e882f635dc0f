"""Rows of logits as they come most often: plain arrays and integer labels, no options.

Of a call on ten rows of ten classes, the lines of Python take longer than the loops, so that here
nothing is done twice, and nothing that only other arrays need: 4 us in the place of 7.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..formulas.plans import Plans, plans_of
from ..formulas.raised import Raised
from ..jobs.rows import RowCall
from . import long, row_launches, row_plans, scan, threads
from .pieces import GROUP, piece_size
from .plain_arrays import AS_IS, WRITEABLE, writes_apart


class _Way(NamedTuple):
    """How plain arrays are computed that have so many classes: it goes with the program."""

    scan: int  # address of the loop over labels
    scan_words: np.ndarray  # of a `ScanCall`
    chunk: int  # address of the loop; 0 for long rows, which have several
    width: int
    few: int  # rows of a chunk, where there are no more; -1 where the formula can raise
    fits: bool  # whether what the pieces of a long row leave fits on the stack
    reals: np.ndarray  # the words of a `RowCall` as float64, but for numbers of a loss


class _Ready(NamedTuple):
    """A call on plain arrays, but for their addresses, the number of rows and the scale."""

    reals: np.ndarray
    parameters: np.ndarray
    plan: row_plans.Plan
    way: _Way
    inverse_temperature: float


# Labels that are copied before they are read, of arrays of so many logits at most.
_FEW = 1 << 15
_LABELS = frozenset(np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32))
_FLOAT32, _FLOAT64, _INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
_UNKNOWN: Any = object()
# Where a call's own numbers go. Words, not a `RowCall`: its properties take 0.3 us each.
_SCALE, _HESSIAN_SCALE, _INVERSE_TEMPERATURE = (
    RowCall.memory.place[name] for name in ("scale", "hessian_scale", "inverse_temperature")
)


def run_direct(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    reduction: str,
    gradient_scale: float,
    out: Any = None,
    hess_out: Any = None,
    values_out: Any = None,
) -> tuple[Any, ...] | None:
    """Value and derivatives for plain arrays with integer labels, a few us sooner.

    None where the arguments are others, or bad: the general path handles them.
    """
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return None
    dtype, shape, size = prediction.dtype, prediction.shape, prediction.size
    if not (
        (dtype is _FLOAT32 or dtype is _FLOAT64)
        and (target.dtype is _INT64 or (size <= _FEW and target.dtype in _LABELS))
        and size
        and target.shape == shape[:-1]
        and prediction.flags.num & target.flags.num & AS_IS == AS_IS
    ):
        return None
    if out is not None and not (
        type(out) is np.ndarray
        and out.dtype is dtype
        and out.shape == shape
        and out.flags.num & (AS_IS | WRITEABLE) == AS_IS | WRITEABLE
        and not np.may_share_memory(out, target)
        and (out is prediction or not np.may_share_memory(out, prediction))
    ):
        return None
    if (hess_out is not None or values_out is not None) and not writes_apart(
        (out, hess_out, values_out), (shape, shape[:-1]), [prediction, target]
    ):
        return None
    if target.dtype is not _INT64:
        target = target.astype(_INT64)
    classes, plans = shape[-1], loss.__dict__.get("_plans")
    if plans is None or plans.stale(loss):
        plans = plans_of(loss)
    apart = reduction == "none"  # values of rows are wanted
    key = dtype, derivatives, classes, apart
    ready = plans.get(key, _UNKNOWN)
    if ready is _UNKNOWN:
        ready = _ready(loss, plans, key)
    if ready is None or (out is prediction and ready.plan.program.catching):
        return None  # an exception must leave the prediction as it was
    reals, parameters, _, (scan_address, scan_words, chunk, _, few, _, _), inverse = ready
    count = size // classes
    run, handle = threads.serial(), threads.handle
    p, t, v, g, h = handle(prediction), handle(target), 0, 0, 0
    # As `scan.launch` and, below, `row_launches.over` would do it.
    if count <= scan.CHUNK_ROWS:
        total, bad = run(
            scan_address, 0, 0, count, count, handle(scan_words), 1.0, 0, t, 0, 0, 0, 0
        )
    else:
        total, bad = scan.launch(scan_words, count, t, 0)
    if bad or not total:
        return None
    if derivatives:
        if out is None:
            out = np.empty(shape, dtype)
        reals, g = reals.copy(), handle(out)
        scale = (gradient_scale / total if reduction == "mean" else gradient_scale) * inverse
        reals[_SCALE] = scale
        if derivatives == 2:
            hessian = np.empty(shape, dtype) if hess_out is None else hess_out
            reals[_HESSIAN_SCALE], h = scale * inverse, handle(hessian)
    if apart:
        values = np.empty(shape[:-1], dtype) if values_out is None else values_out
        v = handle(values)
    if count <= few:
        value, _ = run(
            chunk, 0, handle(parameters), count, count, handle(reals), 1.0, p, t, 0, v, g, h
        )
    else:
        try:
            value = _of_many(ready, reals, [p, t, 0, v, g, h], count, classes)
        except Raised:
            return None
    if reduction == "mean":
        value /= total
    elif apart:
        value = values
    if derivatives == 2:
        return value, out, hessian
    return (value, out) if derivatives else (value,)


def _of_many(
    ready: _Ready, reals: np.ndarray, handles: list[int], count: int, classes: int
) -> float:
    """The sum of the values of rows that are too many, or too long, for one launch."""
    way = ready.way
    if way.chunk:
        chunk = row_launches.chunk_of(count, classes, way.width)
        return row_launches.over(way.chunk, ready.plan, reals, handles, count, chunk)[0]
    real = ready.plan.program.kind.real
    if way.fits and row_launches.each_alone(count, classes):
        # As `row_launches.launch` would do it, which takes 2 us longer.
        code, chunk = long.chunk(real, "long"), row_launches.chunk_of(count, classes)
        return row_launches.over(code.address, ready.plan, reals, handles, count, chunk)[0]
    # A copy, for it gets the place of memory that is this call's alone.
    run = row_launches.Run(ready.plan, RowCall(reals.view(np.int64).copy()), handles)
    return row_launches.launch(run, real, count)[0]


def _ready(loss: Any, plans: Plans, key: tuple[Any, int, int, bool]) -> _Ready | None:
    """What calls on plain arrays have in common, found by dtype, derivatives and classes."""
    ready = None
    dtype, derivatives, classes, apart = key
    options = loss.row_options()
    weights = options.class_weight
    fits = weights is None or weights.size == classes
    if fits and "labels" in loss.accepts:
        real = "float32" if dtype is _FLOAT32 else "float64"
        numbers = plans.numbers(loss, real)
        program = row_plans.program_of(loss, plans, real, derivatives, True, classes)
        if program.by_label:
            way = program.ways.get(apart) or _way(program, apart)
            found = row_plans.filled(options, numbers, program, way.reals)
            inverse = float(found.reals[_INVERSE_TEMPERATURE])
            ready = _Ready(found.reals, found.parameters, found, way, inverse)
    if len(plans) > 64:
        plans.clear()
    plans[key] = ready
    return ready


def _way(program: row_plans.Program, apart: bool) -> _Way:
    real, classes, ignored = program.kind.real, program.kind.classes, program.kind.ignored
    rows = program.rows.copy()
    address, width, few = 0, 1, 0
    plan = row_plans.Plan(rows.reals, program.memory, None, program)
    run = row_launches.Run(plan, rows, [0, 0, 0, int(apart)])
    if classes > piece_size(real):
        run.share(real, GROUP)
    else:
        address, width = row_launches.short_rows(run, real)
        few = row_launches.chunk_of(1, classes, width)
    few = -1 if program.catching else few
    of_scan = scan.call_of(classes, ignored).words
    fits = classes <= long.STACK_PIECES * piece_size(real)
    way = _Way(scan.address(), of_scan, address, width, few, fits, rows.reals)
    program.ways[apart] = way
    return way
