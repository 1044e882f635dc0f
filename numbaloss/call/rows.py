"""Calls of losses of rows: arrays of any kind, all options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import arrays, misuse
from ..core.loss import domain
from ..core.out_of_range import raise_first_entry, raise_first_row
from ..core.reductions import batch_length
from ..core.request import Request
from ..device_value import Later
from . import near
from .arguments import (
    check_one_row,
    check_options,
    gpu_of,
    is_streamed,
    predicted,
    row_targets,
    row_weights,
    whole_labels,
)
from .class_axis import as_given, class_axis, with_classes_last
from .outputs import Results, check_outputs, check_values_out, model
from .repeats import again
from .run import Errors, run


def evaluate(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    device: str | None,
    check: bool,
    wait: bool,
    outs: tuple[Any, ...],
    gradient_scale: float,
    axis: int,
    values_out: Any = None,
) -> tuple[Any, Any, Any]:
    """Calls of any arrays, with any options."""
    known = "_gpu_plans" in loss.__dict__  # a call on a GPU was made before
    if known and device is None and values_out is None and reduction != "none":
        found = again(
            _evaluate, _name_first_on_gpu, loss, derivatives, prediction, target, sample_weight,
            mask, reduction, check, wait, outs, gradient_scale, (axis,),
        )  # fmt: skip
        if found is not None:
            return found
    return _evaluate(
        loss, derivatives, prediction, target, sample_weight, mask, reduction, device, check, wait,
        outs, gradient_scale, axis, values_out,
    )  # fmt: skip


def _evaluate(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    device: str | None,
    check: bool,
    wait: bool,
    outs: tuple[Any, ...],
    gradient_scale: float,
    axis: int,
    values_out: Any = None,
) -> tuple[Any, Any, Any]:
    """The general path."""
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    if device is None and axis == -1 and (values_out is None or reduction == "none"):
        found = near.rows(
            loss, derivatives, prediction, target, sample_weight, mask, reduction, gradient_scale,
            check, outs, values_out,
        )  # fmt: skip
        if found is not None:
            return found
    inputs, family = inputs_of(loss, prediction, target, sample_weight, mask, axis)
    p = inputs[0]
    assert p is not None
    names = "prediction", "target", "sample_weight", "mask"
    gpu = gpu_of(inputs, names, device)
    given_inputs = [as_given(one) for one in inputs]
    like = model(family, given_inputs[0] or p, prediction)
    check_values_out(values_out, reduction)
    values = None
    if reduction == "none" and values_out is None:
        values = family.empty(p.array.shape[:-1], p.compute)
    results = Results(family, like, values, outs, values_out)
    there = gpu is not None or device == "cuda"
    in_place = check_outputs(
        outs, results.views, given_inputs, values_out, p.array.shape[:-1], there
    )
    if p.axis is not None:
        results.put_last(p.axis)

    if gpu is not None and not p.array.size:
        if results.values is not None and 0 not in p.array.shape[:-1]:
            results.values[...] = 0  # rows without classes
        shape = p.array.shape[:-1]
        rows = batch_length(shape) if reduction == "batchmean" else float(math.prod(shape))
        value, gradient, hessian = results.deliver(0.0, rows, reduction)
        return value, gradient, hessian
    given = prediction, target, sample_weight, mask
    errors = Errors(
        lambda: ranges(loss, inputs, check),
        lambda: name_first(loss, inputs, check),
        lambda: _name_first_on_gpu(loss, given, check, axis),
        lambda: name_first(loss, inputs, check),
        Later(lambda found: _name_first_on_gpu(loss, found, check, axis), given)
        if gpu is not None and not wait else None,
    )  # fmt: skip
    streamed = is_streamed(gpu, device)
    request = Request(
        loss, derivatives, inputs, results.views, reduction, gradient_scale, check, in_place,
        gpu, 0 if gpu is None else family.stream(prediction),
    )  # fmt: skip
    value, gradient, hessian = run(request, results, wait, streamed and p.array.size > 0, errors)
    return value, gradient, hessian


def ranges(loss: Any, inputs: Sequence[arrays.Operand | None], check: bool) -> str:
    """What a call may find out of range, in words; empty where nothing can be."""
    p, t, weight, _ = inputs
    assert p is not None
    assert t is not None
    found = ["weights >= 0"] if weight is not None and check else []
    if t.array.ndim < p.array.ndim:
        found.append(f"labels from 0 to {p.array.shape[-1] - 1}")
    elif check and not domain(loss.target_domain).everything:
        found.append(f"dense targets in {domain(loss.target_domain)}")
    if check and not loss.tested_domain().everything:
        found.append(f"predictions in {loss.tested_domain()}")
    return ", ".join(found)


def _name_first_on_gpu(loss: Any, given: Sequence[Any], check: bool, axis: int) -> None:
    """Raise the error that names the first number out of range among arrays on a GPU."""
    prediction, target, sample_weight, mask = map(arrays.on_host, given)
    inputs, _ = inputs_of(loss, prediction, target, sample_weight, mask, axis)
    name_first(loss, inputs, check)


def name_first(loss: Any, inputs: Sequence[arrays.Operand | None], check: bool) -> None:
    """Raise the error that names the first number out of range."""
    p, t, weight, mask = inputs
    assert p is not None
    assert t is not None
    labelled = t.array.ndim < p.array.ndim
    raise_first_row(loss, p, t if labelled else None, weight if check else None, mask)
    if check:
        raise_first_entry(loss, inputs)


def inputs_of(
    loss: Any, prediction: Any, target: Any, sample_weight: Any, mask: Any, axis: int
) -> tuple[list[arrays.Operand | None], arrays.Family]:
    """Views of prediction, target, weight and mask, once they are known to fit together.

    The axis of the classes is the last one of the views.
    """
    p, family = predicted(prediction, target=target)
    shape = p.array.shape
    if not shape:
        raise ValueError("prediction must have at least one dimension, that of the classes")
    of_classes = class_axis(axis, len(shape))
    classes, of_rows = shape[of_classes], shape[:of_classes] + shape[of_classes + 1 :]
    t = row_targets(target)
    if t.array.shape == shape:
        _check_accepts(loss, "dense")
        if len(shape) == 1 and not loss.dense_logits:
            check_one_row(t)
        t = with_classes_last(t, of_classes)
    elif t.array.shape == of_rows:
        _check_accepts(loss, "labels")
        t = whole_labels(t)
        if classes == 0 and t.array.size:
            raise ValueError(f"prediction has no classes: its shape is {shape}")
    else:
        raise ValueError(
            f"target must have the shape of the prediction, {shape}, or, for labels, "
            f"{of_rows}; not {t.array.shape}"
        )
    weights = loss.row_options().class_weight
    if weights is not None and weights.size != classes:
        raise ValueError(
            f"class_weight has {weights.size} numbers, the prediction {classes} classes"
        )
    p = with_classes_last(p, of_classes)
    return [p, t, *row_weights(sample_weight, mask, of_rows)], family


def _check_accepts(loss: Any, form: str) -> None:
    if form in loss.accepts:
        return
    name = type(loss).__name__
    if form == "labels":
        raise ValueError(f"{name} takes dense targets of the prediction's shape, not labels")
    raise ValueError(f"{name} takes integer labels, not dense targets")
