"""Losses of rows of logits on CPU threads: from arrays to launches and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.out_of_range import raise_first_entry
from ..core.reductions import batch_length
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..jobs.rows import RowCall
from . import columns, long, scan, threads
from .movers import describe
from .pieces import piece_size
from .row_launches import Run, launch
from .row_plans import plan

Operands = Sequence[Operand | None]


def divisor(loss: Any, inputs: Operands, reduction: str, check: bool) -> float:
    """What the sum of the values is divided by.

    Raises
    ------
    ValueError
        For a label out of range; for a negative or NaN weight, where ``check`` says so.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    count = math.prod(prediction.array.shape[:-1])
    labelled = target.array.ndim < prediction.array.ndim
    total = float(count)
    if labelled or weight is not None or mask is not None:
        weighted = reduction == "weighted_mean"
        total = scan.scan(loss, inputs, labelled, weighted, count, check)
    if reduction == "batchmean":
        return batch_length(prediction.array.shape[:-1])
    return total if reduction in ("mean", "weighted_mean") else 1.0


def check_targets(loss: Any, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, before anything is written."""
    prediction, target, *_ = inputs
    assert prediction is not None
    assert target is not None
    dense = target.array.ndim == prediction.array.ndim
    tested = not loss.tested_domain().everything
    if check and (tested or (dense and not domain(loss.target_domain).everything)):
        evaluate(loss, 0, inputs, [None, None, None], 1.0, True)


def check_inputs(loss: Any, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, exceptions of formulas too, before anything is written."""
    prediction, target, *_ = inputs
    assert prediction is not None
    assert target is not None
    labelled, classes = target.array.ndim < prediction.array.ndim, prediction.array.shape[-1]
    if plan(loss, prediction.compute, 0, labelled, classes).program.catching:
        evaluate(loss, 0, inputs, [None, None, None], 1.0, check)
    else:
        check_targets(loss, inputs, check)


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    real: str | None = None,
) -> float:
    """Sum of the values of the rows; the outputs receive what they are for.

    Computed in the prediction's compute dtype where ``real`` names no other.
    """
    try:
        return _evaluate(loss, derivatives, inputs, outputs, scale, check, real)
    except Raised as raised:
        error = _exception(loss, raised, inputs, check)
    raise error


def _evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    real: str | None = None,
) -> float:
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
    run = Run(of_loss, rows, handles)
    try:
        total, out_of_range = launch(run, real, count)
    except Raised:
        if check:
            raise_first_entry(loss, inputs)
        raise
    if out_of_range:
        raise_first_entry(loss, inputs)
    return total


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
        _evaluate(loss, 0, rows_, [None, None, None], 1.0, check)

    first, raised = first_that_raises(math.prod(shape), run, raised)
    place = place_of(first, shape, " at row")
    return exception_of(loss, raised, prediction.compute, place)


def _without_elements(outputs: Operands) -> float:
    value = outputs[0]
    if value is not None:
        value.array[...] = 0
    return 0.0
