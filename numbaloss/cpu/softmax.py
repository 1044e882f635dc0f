"""Losses of rows of logits on CPU threads: from arrays to launches and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.reductions import batch_length
from ..core.request import Outcome, Request
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..jobs.rows import RowCall
from . import columns, long, scan, threads
from .movers import describe
from .pieces import piece_size
from .row_launches import Run, launch
from .row_plans import plan

Operands = Sequence[Operand | None]


def run(request: Request) -> Outcome:
    """Sum of the values of the rows; the outputs receive what they are for."""
    loss, derivatives, inputs, outputs = request[:4]
    try:
        total, out_of_range = evaluate(
            loss, derivatives, inputs, outputs, request.scale, request.check
        )
    except Raised as found:
        raised = found
        return Outcome(raised=lambda: _exception(loss, raised, inputs, request.check))
    return Outcome(total, out_of_range)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by.

    How many labels are out of range comes with it, and where the request says so, how many
    weights are negative or NaN.
    """
    loss, inputs, reduction = request.loss, request.inputs, request.reduction
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    shape = prediction.array.shape
    count = math.prod(shape[:-1])
    labelled = target.array.ndim < prediction.array.ndim
    total, bad = float(count), 0.0
    if labelled or weight is not None or mask is not None:
        weighted = reduction == "weighted_mean"
        total, bad = scan.scan(loss, inputs, labelled, weighted, count, request.check)
    if reduction == "batchmean":
        total = batch_length(shape[:-1])
    elif reduction not in ("mean", "weighted_mean"):
        total = 1.0
    weights = loss.row_options().class_weight
    if bad or reduction != "weighted_mean" or weights is None or labelled:
        return Outcome(total, bad)
    # Nothing of the prediction: the mass of a row that holds NaN is that of its targets. In
    # float64: a sum of narrow targets that was rounded once would move every result.
    alone = [target, target, weight, mask]
    mass = loss._class_mass(weights)
    return Outcome(evaluate(mass, 0, alone, [None, None, None], 1.0, False, "float64")[0])


def check_targets(request: Request) -> Outcome:
    """What :func:`run` would find out of range, before anything is written."""
    loss = request.loss
    prediction, target, *_ = request.inputs
    assert prediction is not None
    assert target is not None
    dense = target.array.ndim == prediction.array.ndim
    tested = not loss.tested_domain().everything
    if request.check and (tested or (dense and not domain(loss.target_domain).everything)):
        return run(request._replace(derivatives=0, outputs=[None, None, None]))
    return Outcome()


def check_inputs(request: Request) -> Outcome:
    """The same, exceptions of formulas too."""
    prediction, target, *_ = request.inputs
    assert prediction is not None
    assert target is not None
    labelled, classes = target.array.ndim < prediction.array.ndim, prediction.array.shape[-1]
    if plan(request.loss, prediction.compute, 0, labelled, classes).program.catching:
        return run(request._replace(derivatives=0, outputs=[None, None, None]))
    return check_targets(request)


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    real: str | None = None,
) -> tuple[float, float]:
    """Sum of the values of the rows, and how many numbers are out of range.

    Computed in the prediction's compute dtype where ``real`` names no other.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    shape = prediction.array.shape
    classes, count = shape[-1], math.prod(shape[:-1])
    labelled = target.array.ndim < len(shape)
    real = real or prediction.compute
    if classes == 0 or count == 0:
        return _without_elements(outputs)
    of_loss = plan(loss, real, derivatives, labelled, classes)
    common = RowCall(of_loss.reals.view(np.int64))
    rows = common.followed_by(_layouts(inputs, outputs, real, labelled, classes))
    inverse = rows.inverse_temperature
    rows.scale, rows.hessian_scale = scale * inverse, scale * inverse * inverse
    if mask is not None:
        rows.mask = mask.array.ctypes.data
    if check:
        _say_domains(rows, loss, prediction, None if labelled else target, real)
    given = [prediction, target, weight, *outputs]
    handles = [0 if one is None else threads.handle(one.array) for one in given]
    return launch(Run(of_loss, rows, handles), real, count)


def _layouts(
    inputs: Operands, outputs: Operands, real: str, labelled: bool, classes: int
) -> dict[str, list[int]]:
    """How the arrays of a call lie, by the fields of a `RowCall`."""
    prediction, target, weight, mask = inputs
    value, gradient, hessian = outputs
    layouts = {
        "prediction_layout": describe(prediction, real, "load"),
        "target_layout": describe(target, "int64" if labelled else real, "load"),
        "weight_layout": describe(weight, real, "load"),
        "mask_layout": describe(mask, real, "load"),
        "value_layout": describe(value, real, "store"),
        "gradient_layout": describe(gradient, real, "store"),
        "hessian_layout": describe(hessian, real, "store"),
    }
    if classes <= long.STACK_PIECES * piece_size(real):
        of_rows = [("prediction", prediction, "load")]
        of_rows += [("gradient", gradient, "store"), ("hessian", hessian, "store")]
        if not labelled:
            of_rows.append(("target", target, "load"))
        for name, array, direction in of_rows:
            of_array = f"{name}_layout"
            if layouts[of_array] and (found := columns.describe(array, real, direction)):
                layouts[of_array], layouts[f"{name}_columns"] = [], found
    return layouts


def _say_domains(
    rows: RowCall, loss: Any, prediction: Operand, dense: Operand | None, real: str
) -> None:
    """Say what of predictions, and of dense targets, is an error."""
    if dense is not None:
        of_target = domain(loss.target_domain)
        if not of_target.everything:
            rows.target_tested = 1
            limits = of_target.limits(np.dtype(real), dense.kind)
            rows.low, rows.high, rows.near_low, rows.near_high = limits
    of_prediction = loss.tested_domain()
    if not of_prediction.everything:
        rows.prediction_tested = 1
        limits = of_prediction.limits(np.dtype(real), prediction.kind)
        rows.lowest, rows.highest, rows.near_lowest, rows.near_highest = limits


def _exception(loss: Any, raised: Raised, inputs: Operands, check: bool) -> BaseException:
    """What a formula raised, for the first row that it raises for."""
    prediction = inputs[0]
    assert prediction is not None
    shape = prediction.array.shape[:-1]
    flat: list[Operand | None] = []
    for one in inputs:
        if one is not None:
            rest = one.array.shape[len(shape) :]
            one = one._replace(array=one.array.reshape(-1, *rest))
        flat.append(one)

    def run(start: int, stop: int) -> None:
        rows_ = [one and one._replace(array=one.array[start:stop]) for one in flat]
        evaluate(loss, 0, rows_, [None, None, None], 1.0, check)

    first, raised = first_that_raises(math.prod(shape), run, raised)
    place = place_of(first, shape, " at row")
    return exception_of(loss, raised, prediction.compute, place)


def _without_elements(outputs: Operands) -> tuple[float, float]:
    value = outputs[0]
    if value is not None:
        value.array[...] = 0
    return 0.0, 0.0
