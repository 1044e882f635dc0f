"""Elementwise losses on CPU threads: from arrays to a launch and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..arrays import Operand, numbers
from ..core.loss import domain
from ..core.probes import Inspection, Weights
from ..core.reductions import batch_length
from ..core.request import Outcome, Request
from ..formulas.plans import plans_of
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from . import threads
from .movers import AS_THEY_LIE, arrange, flat_layout, followed_by, with_asides
from .plain_arrays import AS_IS, WRITEABLE, writes_apart
from .plans import CONVERTED, plan, plan_of_arrays, plan_of_first_call

_FLOAT32, _FLOAT64, _BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.bool_)


def _writes_direct(
    loss: Any,
    check: bool,
    out: Any,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: Any,
) -> bool:
    """Whether kernels can write to ``out`` as it is, given inputs that they take as they are."""
    if (
        type(out) is not np.ndarray
        or out.dtype is not prediction.dtype
        or out.shape != prediction.shape
        or out.flags.num & (AS_IS | WRITEABLE) != AS_IS | WRITEABLE
        or np.may_share_memory(out, target)
    ):
        return False
    if out is prediction:
        # An error must leave the prediction as it was: only where none can come.
        return not _may_complain(loss, prediction.dtype.name, weight, check)
    if np.may_share_memory(out, prediction):
        return False
    return weight is None or not np.may_share_memory(out, weight)


def _outputs_fit(
    loss: Any,
    check: bool,
    outputs: tuple[Any, Any, Any],
    prediction: np.ndarray,
    target: np.ndarray,
    weight: Any,
) -> bool:
    """The same of gradient, hessian and values, each of which may be None."""
    out = outputs[0]
    if out is not None and not _writes_direct(loss, check, out, prediction, target, weight):
        return False
    if outputs[1] is None and outputs[2] is None:
        return True
    inputs = [prediction, target] if weight is None else [prediction, target, weight]
    return writes_apart(outputs, (prediction.shape, prediction.shape), inputs)


def _weights(weight: Any, mask: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
    """What elements are weighed by; None for what is not plain."""
    if mask is not None:
        if weight is not None or type(mask) is not np.ndarray or mask.dtype is not _BOOL:
            return None
        weight = mask  # True is a weight of 1
    plain = (
        type(weight) is np.ndarray
        and (weight.dtype is dtype or weight.dtype in CONVERTED)
        and weight.shape == shape
        and weight.flags.num & AS_IS == AS_IS
    )
    return weight if plain else None


def _limited(loss: Any) -> bool:
    """Whether some predictions or targets are outside the loss's domain."""
    return not (domain(loss.target_domain).everything and domain(loss.prediction_domain).everything)


def run_direct(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    weight: Any,
    reduction: str,
    gradient_scale: float,
    check: bool,
    out: Any = None,
    hessian_alone: bool = False,
    hess_out: Any = None,
    values_out: Any = None,
    mask: Any = None,
) -> tuple[Any, ...] | None:
    """Value and derivatives of plain arrays, by all reductions.

    None where the arguments are others, or bad: the general path handles them.

    A call on 100 elements takes 2 us, most of them here: what saves 2 % of that is worth a line.
    Apart from what is commented, it is one function for all, and asks no array twice.
    """
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return None
    dtype, kind, shape = prediction.dtype, target.dtype, prediction.shape
    if not (
        (dtype is _FLOAT32 or dtype is _FLOAT64)
        and (kind is dtype or kind in CONVERTED)
        and target.shape == shape
        and prediction.flags.num & target.flags.num & AS_IS == AS_IS
    ):
        return None
    if weight is not None or mask is not None:
        weight = _weights(weight, mask, dtype, shape)
        if weight is None:
            return None
    brought = out is not None or hess_out is not None or values_out is not None
    if brought and not _outputs_fit(
        loss, check, (out, hess_out, values_out), prediction, target, weight
    ):
        return None
    # By dtypes, without their names and calls of `plan` and `plans_of`: 0.1 us.
    key = dtype, derivatives, None if weight is None else weight.dtype, check, kind
    plans = loss.__dict__.get("_plans")
    found = plan_of_first_call(loss, key) if plans is None else None
    if found is None:
        if plans is None or plans.stale(loss):
            plans = plans_of(loss)
        found = plans.get(key) or plan_of_arrays(loss, plans, key)
    launch, chunk, address, parameters, step, layouts, _, _, program = found
    if not layouts:
        return None
    size = prediction.size
    divisor: Any = size
    if reduction != "mean" or mask is not None:
        divisor = _divisor(shape, size, weight, mask, reduction, check)
        if divisor is None:
            return None
    scale = gradient_scale / divisor if divisor else 0.0
    handle = threads.handle
    p, t, w, v, g, h = handle(prediction), handle(target), 0, 0, 0, 0
    if weight is not None:
        w = handle(weight)
    if derivatives:
        if not hessian_alone:
            # `np.empty_like` takes 0.05 us longer.
            out = np.empty(shape, dtype) if out is None else out
            g = handle(out)
        if derivatives == 2:
            hessian = np.empty(shape, dtype) if hess_out is None else hess_out
            h = handle(hessian)
    if reduction == "none":
        values = np.empty(shape, dtype) if values_out is None else values_out
        v = handle(values)
    # As `Plan.run` and `threads.launch` would do it, whose tuples and look-ups take 0.8 us.
    if launch is not None and size < threads.PARALLEL_SIZE:
        total, offenders = launch(
            chunk, address, parameters, size, step, layouts, scale, p, t, w, v, g, h
        )
    else:
        try:
            direct: Any = program.direct
            total, offenders = found.run(size, scale, direct, p, t, w, v, g, h)
        except Raised:
            return None
    if offenders and check:  # where nothing is to be checked they are negative weights
        return None
    total = values if reduction == "none" else total / divisor if divisor else math.nan
    if derivatives == 2:
        return total, out, hessian
    return (total, out) if derivatives else (total,)


def _divisor(
    shape: tuple[int, ...], size: int, weight: Any, mask: Any, reduction: str, check: bool
) -> float | None:
    """What the sum of the values of plain arrays is divided by; None where weights are bad."""
    if reduction == "sum" or reduction == "none":
        return 1.0
    if reduction == "batchmean":
        return batch_length(shape)
    if mask is not None:
        return float(np.count_nonzero(mask))
    if reduction == "mean" or weight is None:
        return float(size)
    run, words = _sum_of_plain(CONVERTED[weight.dtype])
    handle = threads.handle(weight)
    total, offenders = run(size, 1.0, words, handle, handle, 0, 0, 0, 0)
    return None if check and (offenders or total != total) else total


@cache
def _sum_of_plain(kind: str) -> tuple[Any, np.ndarray]:
    """What adds contiguous weights in float64, and how they lie."""
    words = AS_THEY_LIE
    if kind != "float64":
        layout = flat_layout(kind, "float64")
        words = followed_by(words, {"prediction_layout": layout, "target_layout": layout})
    return plan(_WEIGHTS, "float64", 0).run, words


Operands = Sequence[Operand | None]


def run(request: Request) -> Outcome:
    """Sum of the values of any arrays; the outputs receive what they are for."""
    loss, derivatives, inputs, outputs = request[:4]
    try:
        total, offenders = evaluate(
            loss, derivatives, inputs, outputs, request.scale, request.check
        )
    except Raised as found:
        raised = found
        return Outcome(raised=lambda: _exception(loss, raised, inputs, request.check))
    return Outcome(total, offenders if request.check else 0.0)


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
) -> Any:
    """Sum of the values, and the number of inputs outside their domains."""
    prediction, target, weight, mask, pos_weight = inputs
    assert prediction is not None
    assert target is not None
    if weight is None:
        weight, mask = mask, None  # True is a weight of 1
    real, kind = prediction.compute, target.kind
    found = plan(loss, real, derivatives, weight is not None, check, kind)
    operands = [prediction, target, weight, *outputs]
    direct = found.program.direct
    beside = pos_weight if direct is None else None
    layouts, size = arrange(prediction.array.shape, operands, real, mask, beside)
    if layouts is AS_THEY_LIE and direct is not None:
        layouts = direct  # which knows the asides
    else:
        layouts = with_asides(layouts, found.program.limits, found.recoding)
    handles = [0 if one is None else threads.handle(one.array) for one in operands]
    return found.run(size, scale, layouts, *handles)


def _exception(loss: Any, raised: Raised, inputs: Operands, check: bool) -> BaseException:
    """What a formula raised, for the first element that it raises for."""
    prediction = inputs[0]
    assert prediction is not None
    shape, real, size = prediction.array.shape, prediction.compute, prediction.array.size
    flat = [one and one._replace(array=one.array.reshape(-1)) for one in inputs]

    def run(start: int, stop: int) -> None:
        some = [one and one._replace(array=one.array[start:stop]) for one in flat]
        evaluate(loss, 0, some, [None, None, None], 1.0, check)

    first, raised = first_that_raises(size, run, raised)
    place = place_of(first, shape, " at")
    return exception_of(loss, raised, real, place)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by; how many weights that count for it are bad."""
    prediction, _, weight, mask = request.inputs[:4]
    assert prediction is not None
    shape = prediction.array.shape
    return divisor_of(shape, weight, mask, request.reduction, request.check)


def divisor_of(
    shape: tuple[int, ...],
    weight: Operand | None,
    mask: Operand | None,
    reduction: str,
    check: bool,
) -> Outcome:
    """The same of samples of a shape."""
    if reduction == "weighted_mean" and weight is not None:
        return _sum_of_weights(weight, mask, check)
    if reduction in ("mean", "weighted_mean"):
        if mask is not None:
            return _sum_of_weights(mask, None, False)
        return Outcome(float(math.prod(shape)))
    return Outcome(batch_length(shape) if reduction == "batchmean" else 1.0)


def weights_that_count(weight: Operand | None, mask: Operand | None) -> Operand | None:
    """What samples of several numbers are weighed by, 0 for those that do not count."""
    if weight is None or mask is None:
        return mask if weight is None else weight  # True is a weight of 1
    # A copy, small beside the samples.
    counting = np.where(mask.array, numbers(weight, weight.array), 0).astype(np.float64)
    return Operand(counting, "float64", weight.dimensions)


def _sum_of_weights(weight: Operand, mask: Operand | None, check: bool) -> Outcome:
    """Sum of weights >= 0 (of any, where nobody checks) that count, however they are stored.

    That of a mask is the number of its elements that are True.
    """
    inputs = [weight, weight, mask]
    found = plan(_WEIGHTS, "float64", 0, weighted=mask is not None)
    layouts, size = arrange(weight.array.shape, [*inputs, None, None, None], "float64")
    handle = threads.handle(weight.array)
    counts = 0 if mask is None else threads.handle(mask.array)
    total, offenders = found.run(size, 1.0, layouts, handle, handle, counts, 0, 0, 0)
    return Outcome(total, (offenders or float(total != total)) if check else 0.0)


_WEIGHTS = Weights()


def check_inputs(request: Request) -> Outcome:
    """What :func:`run` would find out of range, before anything is written."""
    loss, inputs, check = request.loss, request.inputs, request.check
    prediction = inputs[0]
    assert prediction is not None
    alone = request._replace(derivatives=0, outputs=[None, None, None])
    weighted = inputs[2] is not None
    if plan(loss, prediction.compute, 1, weighted=weighted, check=check).program.catching:
        return run(alone)
    if _may_complain(loss, prediction.compute, inputs[2], check):
        return run(alone._replace(loss=Inspection(loss)))
    return Outcome()


def _may_complain(loss: Any, real: str, weight: Any, check: bool) -> bool:
    """Whether there are numbers for which a call ends in an error."""
    if check and (weight is not None or _limited(loss)):
        return True
    return plan(loss, real, 1, check=check).program.catching
