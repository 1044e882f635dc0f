"""Calls of the last layer of a model together with its loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import arrays, engines, misuse
from ..core.reductions import batch_length
from . import rows as rows_call
from .arguments import (
    bytes_of,
    check_one_row,
    check_options,
    gpu_of,
    predicted,
    row_targets,
    row_weights,
    whole_labels,
)
from .outputs import Results, model
from .vectors import Outputs, Vectors


def evaluate(
    loss_of_layer: Any,
    hidden: Any,
    weight: Any,
    target: Any,
    bias: Any,
    transposed: bool | None,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    device: str | None,
    check: bool,
    workspace: int | None,
    wait: bool,
    outs: tuple[Any] | None,
    gradient_scale: float,
) -> tuple[Any, tuple[Any, ...]]:
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    budget = bytes_of(workspace)
    names = ("hidden", "weight") if bias is None else ("hidden", "weight", "bias")
    given = (hidden, weight, bias)[: len(names)]
    layer, families = _layer(names, given)
    is_transposed = _is_transposed(layer, transposed)
    loss = loss_of_layer.of_logits()
    rows = _rows(loss, layer, is_transposed, target, sample_weight, mask)
    operands = [*layer, *rows]
    parts = [*names, "target", "sample_weight", "mask"]
    gpu = gpu_of(operands, parts, device)
    if device == "cuda" and gpu is None:
        _refuse_host()
    family, like = families[0], model(families[0], layer[0], hidden)
    shape = layer[0].array.shape[:-1]
    values: Any = None
    view: Any = None
    if reduction == "none":
        values = family.empty(shape, layer[0].compute)
        whole = arrays.output(values, "values", made=True)
        view = whole if gpu is not None else whole.array.reshape(shape or 1)

    outputs = gradients = None
    if outs is not None:
        others = [*zip(rows, ("target", "sample_weight", "mask"))]
        outputs = Outputs(Vectors(layer, families, given, names), outs[0], others)
        gradients = _oriented(outputs.views, is_transposed)
    made = [] if outputs is None else outputs.made
    if gpu is not None and not _logits(layer, is_transposed).size:
        empty = [*made, *([values] if reduction == "none" else [])]
        _gpu_kernels().clear(family.name, empty)
        nothing = Results(family, like, values, ())
        count = batch_length(shape) if reduction == "batchmean" else float(math.prod(shape))
        value, _, _ = nothing.deliver(0.0, count, reduction)
        return value, tuple(made)
    if gpu is not None:
        of_gpu = _gpu_kernels()
        place = of_gpu.Place(gpu, family.stream(hidden))
        call = of_gpu.Inputs(
            family.name, hidden, weight, bias, is_transposed, _with_rows(layer[0], shape),
            layer[1].array.shape[0 if is_transposed else 1],
            [_with_rows(one, shape) for one in rows], (target, sample_weight, mask),
        )  # fmt: skip
        record = of_gpu.evaluate(
            loss, call, _with_rows(view, shape), None if outputs is None else tuple(made),
            reduction, gradient_scale, check, budget, place,
        )  # fmt: skip
        received = Results(family, like, values, ())
        given_rows = target, sample_weight, mask
        what = rows_call.ranges(
            loss, [layer[0]._replace(array=_logits(layer, is_transposed)), *rows], check
        )
        value, _, _ = received.receive(
            record, reduction, wait, what,
            lambda: _complain(loss, layer, is_transposed, given_rows, check),
        )  # fmt: skip
        return value, () if outputs is None else outputs.finish()

    total, divisor = _on_host(
        loss, _oriented(layer, is_transposed), [_with_rows(one, shape) for one in rows], view,
        gradients, reduction, gradient_scale, check, budget,
    )  # fmt: skip
    value = total
    if reduction == "none":
        value = family.finish(like, values)
    elif reduction != "sum":
        value = total / divisor if divisor else float("nan")
    return value, () if outputs is None else outputs.finish()


def _on_host(
    loss: Any,
    layer: list[arrays.Operand],
    rows: list[arrays.Operand | None],
    values: Any,
    gradients: list[arrays.Operand] | None,
    reduction: str,
    gradient_scale: float,
    check: bool,
    budget: int | None,
) -> tuple[float, float]:
    """The sum of the values, and what a mean divides it by."""
    kernels, of_rows = engines.kernels("cpu", "linear"), engines.kernels("cpu", "rows")
    hidden, weight, *bias = layer
    call = kernels.Inputs(hidden, weight, bias[0] if bias else None, *rows)
    # Labels and weights are looked through before anything is written: the divisor scales
    # the gradients, and depends on how many rows count.
    divisor = rows_call.divisor_of_rows(loss, of_rows, call.rows, reduction, check)
    of_rows.check_targets(loss, call.rows, check)
    scale = gradient_scale / divisor if divisor else 0.0
    return kernels.evaluate(loss, call, values, gradients, scale, check, budget), divisor


def _logits(layer: list[arrays.Operand], is_transposed: bool) -> np.ndarray:
    """What looks like the logits, and takes no memory."""
    classes = layer[1].array.shape[0 if is_transposed else 1]
    shape = (*layer[0].array.shape[:-1], classes)
    return np.broadcast_to(np.zeros((), layer[0].array.dtype), shape)


def _complain(
    loss: Any, layer: list[arrays.Operand], is_transposed: bool, given: tuple[Any, ...], check: bool
) -> None:
    """Raise the error that names the first label, weight or target out of range."""
    target, weight, mask = (arrays.on_host(one) for one in given)
    shape = layer[0].array.shape[:-1]
    logits = layer[0]._replace(array=_logits(layer, is_transposed), device=None)
    rows = [logits, row_targets(target), *row_weights(weight, mask, shape)]
    rows_call.name_first(loss, rows, check)


def _refuse_host() -> None:
    engines.module("cuda", "availability").require()
    raise ValueError(
        "device='cuda': linear losses take arrays that are on a GPU already, of CuPy or PyTorch; "
        "hidden vectors and weight are on the CPU"
    )


def _gpu_kernels() -> Any:
    """The kernels for GPUs. Imported at the first call that needs them."""
    return engines.kernels("cuda", "linear")


def _layer(
    names: tuple[str, ...], given: tuple[Any, ...]
) -> tuple[list[arrays.Operand], list[arrays.Family]]:
    """Views of hidden vectors, weight and bias."""
    found = [predicted(one, name) for one, name in zip(given, names)]
    layer, families = [one for one, _ in found], [family for _, family in found]
    for operand, name in zip(layer, names):
        if operand.kind != layer[0].kind:
            raise TypeError(
                f"{name} has dtype {operand.kind} and hidden {layer[0].kind}; they must have one"
            )
    if layer[0].array.ndim < 1:
        raise ValueError("hidden must have at least one dimension, that of its vectors")
    if layer[1].array.ndim != 2:
        raise ValueError(f"weight must have two dimensions, not {layer[1].array.ndim}")
    return layer, families


def _is_transposed(layer: list[arrays.Operand], transposed: bool | None) -> bool:
    """Whether the weight has the shape (C, H)."""
    length, shape = layer[0].array.shape[-1], layer[1].array.shape
    if transposed is None:
        if shape[0] == shape[1] == length:
            raise ValueError(
                f"a weight of shape {shape} may be (H, C) or (C, H): say transposed=False, or "
                f"transposed=True for the second, which is what PyTorch's layers keep"
            )
        is_transposed = shape[1] == length
    else:
        is_transposed = bool(transposed)
    if shape[1 if is_transposed else 0] != length:
        form = {None: f"({length}, C) or (C, {length})", True: f"(C, {length})"}
        raise ValueError(
            f"weight must have the shape {form.get(transposed, f'({length}, C)')} for hidden "
            f"vectors of length {length}, not {shape}"
        )
    classes = shape[0 if is_transposed else 1]
    if len(layer) > 2 and layer[2].array.shape != (classes,):
        raise ValueError(f"bias must have the shape ({classes},), not {layer[2].array.shape}")
    return is_transposed


def _rows(
    loss: Any,
    layer: list[arrays.Operand],
    is_transposed: bool,
    target: Any,
    sample_weight: Any,
    mask: Any,
) -> list[arrays.Operand | None]:
    """Views of target, weight and mask of the rows, once they are known to fit."""
    shape, classes = layer[0].array.shape[:-1], layer[1].array.shape[0 if is_transposed else 1]
    t = row_targets(target)
    if t.array.shape == shape:
        t = whole_labels(t)
        if classes == 0 and t.array.size:
            raise ValueError(f"there are no classes: weight has the shape {layer[1].array.shape}")
    elif t.array.shape != (*shape, classes):
        raise ValueError(
            f"target must have the shape of the rows, {shape}, or, for dense targets, "
            f"{(*shape, classes)}; not {t.array.shape}"
        )
    elif not shape and not loss.dense_logits:
        check_one_row(t)
    weights = loss.row_options().class_weight
    if weights is not None and weights.size != classes:
        raise ValueError(f"class_weight has {weights.size} numbers, the weight {classes} classes")
    return [t, *row_weights(sample_weight, mask, shape)]


def _oriented(layer: list[arrays.Operand], is_transposed: bool) -> list[arrays.Operand]:
    """Hidden vectors with an axis of rows, and the weight as (H, C)."""
    hidden, weight, *rest = layer
    if is_transposed:
        weight = weight._replace(array=weight.array.T)
    found = _with_rows(hidden, hidden.array.shape[:-1])
    assert found is not None
    return [found, weight, *rest]


def _with_rows(one: arrays.Operand | None, shape: tuple[int, ...]) -> arrays.Operand | None:
    """With an axis for the one row, where the rows have none."""
    if one is None or shape:
        return one
    return one._replace(array=one.array[np.newaxis], dimensions=one.array.ndim)
