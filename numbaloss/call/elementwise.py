"""Calls of losses of numbers: arrays of any kind, all options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import arrays, misuse
from ..core.loss import domain
from ..core.out_of_range import raise_first_number, raise_first_weight
from ..core.request import Request
from ..device_value import Later
from . import near
from .arguments import check_options, gpu_of, is_streamed, predicted, row_weights
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
    values_out: Any = None,
) -> tuple[Any, Any, Any]:
    """Calls of any arrays, with any options."""
    known = "_gpu_plans" in loss.__dict__  # a call on a GPU was made before
    if known and device is None and values_out is None and reduction != "none":
        found = again(
            _evaluate, _name_first_on_gpu, loss, derivatives, prediction, target, sample_weight,
            mask, reduction, check, wait, outs, gradient_scale,
        )  # fmt: skip
        if found is not None:
            return found
    return _evaluate(
        loss, derivatives, prediction, target, sample_weight, mask, reduction, device, check, wait,
        outs, gradient_scale, values_out,
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
    values_out: Any = None,
) -> tuple[Any, Any, Any]:
    """The general path."""
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    if device is None and (values_out is None or reduction == "none"):
        found = near.elements(
            loss, derivatives, prediction, target, sample_weight, mask, reduction, gradient_scale,
            check, outs, values_out,
        )  # fmt: skip
        if found is not None:
            return found
    inputs, family = _inputs(prediction, target, sample_weight, mask)
    p, _, weight, _ = inputs
    assert p is not None
    inputs.append(_pos_weight(loss, p.array.shape))
    gpu = gpu_of(inputs, ("prediction", "target", "sample_weight", "mask"), device)
    like = model(family, p, prediction)
    check_values_out(values_out, reduction)
    values = None
    if reduction == "none" and values_out is None:
        values = family.empty_like(like, p.compute)
    results = Results(family, like, values, outs, values_out)
    there = gpu is not None or device == "cuda"
    in_place = check_outputs(outs, results.views, inputs, values_out, p.array.shape, there)

    given = prediction, target, sample_weight, mask
    errors = Errors(
        lambda: _ranges(loss, weight is not None, check),
        lambda: raise_first_number(loss, inputs, check),
        lambda: _name_first_on_gpu(loss, given, check),
        lambda: raise_first_weight(weight, inputs[3]),
        Later(lambda found: _name_first_on_gpu(loss, found, check), given) if gpu is not None
        and not wait else None,
    )  # fmt: skip
    streamed = is_streamed(gpu, device)
    place = (None, 0) if gpu is None or not p.array.size else (gpu, family.stream(prediction))
    request = Request(
        loss, derivatives, inputs, results.views, reduction, gradient_scale, check, in_place,
        *place,
    )  # fmt: skip
    value, gradient, hessian = run(request, results, wait, streamed and p.array.size > 0, errors)
    return value, gradient, hessian


def _pos_weight(loss: Any, shape: tuple[int, ...]) -> arrays.Operand | None:
    """The weights of positives, a number a label, for predictions of a shape."""
    recoding = loss.recoding()
    if recoding is None or recoding.pos_weight is None:
        return None
    numbers = recoding.pos_weight
    if shape[-1:] != numbers.shape:
        raise ValueError(
            f"pos_weight has {numbers.size} numbers, one a label, which are along the last "
            f"axis; the prediction has the shape {shape}"
        )
    return arrays.Operand(np.broadcast_to(numbers, shape), "float64")


def _ranges(loss: Any, weighted: bool, check: bool) -> str:
    """What a call may find out of range, in words; empty where nothing can be."""
    found = ["weights >= 0"] if weighted and check else []
    for name in ("target", "prediction") if check else ():
        interval = domain(getattr(loss, f"{name}_domain"))
        if not interval.everything:
            found.append(f"{name}s in {interval}")
    return ", ".join(found)


def _name_first_on_gpu(loss: Any, given: Sequence[Any], check: bool) -> None:
    """Raise the error that names the first number out of range among arrays on a GPU."""
    inputs, _ = _inputs(*[arrays.on_host(one) for one in given])
    raise_first_number(loss, inputs, check)


def _inputs(
    prediction: Any, target: Any, sample_weight: Any, mask: Any
) -> tuple[list[arrays.Operand | None], arrays.Family]:
    """Views of the inputs, once they are known to fit together."""
    p, family = predicted(prediction, target=target)
    t, _ = arrays.operand(target, "target")
    shape = p.array.shape
    if t.array.shape != shape:
        raise ValueError(
            f"prediction and target must have one shape, not {shape} and {t.array.shape}; "
            f"shapes are never broadcast"
        )
    if sample_weight is None and mask is None:
        return [p, t, None, None], family
    return [p, t, *row_weights(sample_weight, mask, shape, "the shape of the prediction")], family
