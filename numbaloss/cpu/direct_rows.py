"""Rows of logits as they come most often: plain arrays and integer labels.

Of a call on ten rows of ten classes, the lines of Python take longer than the loops, so that here
nothing is done twice, and nothing that only other arrays need: 4 us in the place of 7.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.reductions import batch_length
from ..formulas.plans import Plans, plans_of
from ..formulas.raised import Raised
from ..jobs.rows import RowCall, ScanCall
from . import long, row_launches, row_plans, scan, threads
from .movers import flat_layout
from .pieces import GROUP, piece_size
from .plain_arrays import AS_IS, WRITEABLE, writes_apart
from .plans import CONVERTED


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
_BOOL = np.dtype(np.bool_)
_UNKNOWN: Any = object()
# Where a call's own numbers go. Words, not a `RowCall`: its properties take 0.3 us each.
_SCALE, _HESSIAN_SCALE, _INVERSE_TEMPERATURE, _MASK = (
    RowCall.memory.place[name] for name in ("scale", "hessian_scale", "inverse_temperature", "mask")
)

_SCAN_MASK, _SCAN_CLASS_WEIGHT = (
    ScanCall.memory.place["mask"],
    ScanCall.memory.place["class_weight"],
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
    weight: Any = None,
    mask: Any = None,
    check: bool = True,
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
    weighted = weight is not None or mask is not None
    if weighted and not (_of_rows(weight, shape) and _of_rows(mask, shape, _BOOL)):
        return None
    brought = out is not None or hess_out is not None or values_out is not None
    if brought and not _outputs_fit(
        (out, hess_out, values_out), [prediction, target, weight, mask]
    ):
        return None
    if target.dtype is not _INT64:
        target = target.astype(_INT64)
    classes, plans = shape[-1], loss.__dict__.get("_plans")
    if plans is None or plans.stale(loss):
        plans = plans_of(loss)
    apart = reduction == "none"  # values of rows are wanted
    beside = (weight is not None and weight.dtype, mask is not None) if weighted else apart
    key = dtype, derivatives, classes, beside
    ready = plans.get(key, _UNKNOWN)
    if ready is _UNKNOWN:
        ready = _ready(loss, plans, key)
    if ready is None or (out is prediction and ready.plan.program.catching):
        return None  # an exception must leave the prediction as it was
    reals, parameters, _, way, inverse = ready
    count = size // classes
    run, handle = threads.serial(), threads.handle
    p, t, w, v, g, h = handle(prediction), handle(target), 0, 0, 0, 0
    if weighted or reduction == "weighted_mean" or count > scan.CHUNK_ROWS:
        total, bad = _scan(loss, classes, count, t, weight, mask, reduction, check)
        w = 0 if weight is None else handle(weight)
    else:  # as `scan.launch` and, below, `row_launches.over` would do it
        words = handle(way.scan_words)
        total, bad = run(way.scan, 0, 0, count, count, words, 1.0, 0, t, 0, 0, 0, 0)
    if bad or not total:
        return None
    if reduction != "mean" and reduction != "weighted_mean":
        total = batch_length(shape[:-1]) if reduction == "batchmean" else 1.0
    if derivatives or mask is not None:
        reals = reals.copy()
    if mask is not None:
        reals.view(_INT64)[_MASK] = threads.address(mask)
    if derivatives:
        out = np.empty(shape, dtype) if out is None else out
        scale = gradient_scale / total * inverse
        reals[_SCALE], g = scale, handle(out)
        if derivatives == 2:
            hessian = np.empty(shape, dtype) if hess_out is None else hess_out
            reals[_HESSIAN_SCALE], h = scale * inverse, handle(hessian)
    if apart:
        values = np.empty(shape[:-1], dtype) if values_out is None else values_out
        v = handle(values)
    if count <= way.few:
        code, numbers, words = way.chunk, handle(parameters), handle(reals)
        value, _ = run(code, 0, numbers, count, count, words, 1.0, p, t, w, v, g, h)
    else:
        try:
            value = _of_many(ready, reals, [p, t, w, v, g, h], count, classes)
        except Raised:
            return None
    value = values if apart else value / total
    if derivatives == 2:
        return value, out, hessian
    return (value, out) if derivatives else (value,)


def _outputs_fit(outputs: tuple[Any, Any, Any], inputs: list[Any]) -> bool:
    """Whether kernels can write gradient, hessian and values to arrays as they are."""
    out, hess_out, values_out = outputs
    prediction = inputs[0]
    shape, others = prediction.shape, [one for one in inputs[1:] if one is not None]
    if out is not None and not (
        type(out) is np.ndarray
        and out.dtype is prediction.dtype
        and out.shape == shape
        and out.flags.num & (AS_IS | WRITEABLE) == AS_IS | WRITEABLE
        and (out is prediction or not np.may_share_memory(out, prediction))
        and not any(np.may_share_memory(out, one) for one in others)
    ):
        return False
    if hess_out is None and values_out is None:
        return True
    return writes_apart(outputs, (shape, shape[:-1]), [prediction, *others])


def _of_rows(given: Any, shape: tuple[int, ...], dtype: Any = None) -> bool:
    """Whether weights or a mask, if there are any, are a plain array with a number a row."""
    return given is None or (
        type(given) is np.ndarray
        and (given.dtype is dtype or (dtype is None and given.dtype in CONVERTED))
        and given.shape == shape[:-1]
        and given.flags.num & AS_IS == AS_IS
    )


def _scan(
    loss: Any, classes: int, count: int, labels: int, weight: Any, mask: Any, reduction: str,
    check: bool,
) -> tuple[float, float]:  # fmt: skip
    """How many rows count, or what they weigh; how many labels and weights are bad."""
    options, weighted = loss.row_options(), reduction == "weighted_mean"
    kind = "" if weight is None else CONVERTED[weight.dtype]
    words = scan.words_of_weights(
        classes, options.ignore_index, kind, mask is not None, weighted, check
    )  # fmt: skip
    of_class = options.class_weight if weighted else None
    if mask is not None or of_class is not None:
        words = words.copy()
        if mask is not None:
            words[_SCAN_MASK] = threads.address(mask)
        if of_class is not None:
            words[_SCAN_CLASS_WEIGHT] = threads.address(of_class)
    return scan.launch(words, count, labels, 0 if weight is None else threads.handle(weight))


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


def _ready(loss: Any, plans: Plans, key: tuple[Any, ...]) -> _Ready | None:
    """What calls on plain arrays have in common, found by dtype, derivatives and classes.

    And by what is beside them: True where values of rows are wanted, the dtype of weights (or
    False) and whether there is a mask, or False for none of these.
    """
    ready = None
    dtype, derivatives, classes, beside = key
    options = loss.row_options()
    weights = options.class_weight
    fits = weights is None or weights.size == classes
    if fits and "labels" in loss.accepts:
        real = "float32" if dtype is _FLOAT32 else "float64"
        numbers = plans.numbers(loss, real)
        program = row_plans.program_of(loss, plans, real, derivatives, True, classes)
        if program.by_label:
            way = program.ways.get(beside) or _way(program, beside)
            found = row_plans.filled(options, numbers, program, way.reals)
            inverse = float(found.reals[_INVERSE_TEMPERATURE])
            ready = _Ready(found.reals, found.parameters, found, way, inverse)
    if len(plans) > 64:
        plans.clear()
    plans[key] = ready
    return ready


def _way(program: row_plans.Program, beside: Any) -> _Way:
    real, classes, ignored = program.kind.real, program.kind.classes, program.kind.ignored
    rows = program.rows.copy()
    address, width, few = 0, 1, 0
    plan = row_plans.Plan(rows.reals, program.memory, None, program)
    # A number that is not 0 stands for values or weights of rows.
    run = row_launches.Run(plan, rows, [0, 0, 0, int(beside is not False)])
    if classes > piece_size(real):
        run.share(real, GROUP)
    else:
        address, width = row_launches.short_rows(run, real)
        few = row_launches.chunk_of(1, classes, width)
    layouts = {}
    if type(beside) is tuple:
        of_weights, masked = beside
        if of_weights and CONVERTED[of_weights] != real:
            layouts["weight_layout"] = flat_layout(CONVERTED[of_weights], real)
        if masked:
            layouts["mask_layout"] = flat_layout("bool", real)
    rows = rows.followed_by(layouts)
    few = -1 if program.catching else few
    of_scan = scan.call_of(classes, ignored).words
    fits = classes <= long.STACK_PIECES * piece_size(real)
    way = _Way(scan.address(), of_scan, address, width, few, fits, rows.reals)
    program.ways[beside] = way
    return way
