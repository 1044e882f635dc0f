"""Calls of the last layer of a model together with its loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import arrays, engines, misuse
from ..core.reductions import batch_length
from ..core.request import Layer, Own, Request
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
from .run import Errors, run
from .vectors import VectorResults, Vectors


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
    shape = layer[0].array.shape[:-1]
    vectors = Vectors(layer, families, given, names)
    others = [*zip(rows, ("target", "sample_weight", "mask"))]
    results = VectorResults(vectors, shape, reduction, outs, others)
    own = Own(
        families[0].name, (hidden, weight, bias, target, sample_weight, mask), results.of_library
    )
    values, gradients = results.views[0], results.gradients
    if gradients:
        gradients = _oriented(gradients, is_transposed)
    given_rows, of_rows = (target, sample_weight, mask), [_with_rows(one, shape) for one in rows]
    logits = layer[0]._replace(array=_logits(layer, is_transposed))
    of_layer = _oriented(layer, is_transposed)
    errors = Errors(
        lambda: rows_call.ranges(loss, [logits, *rows], check),
        lambda: rows_call.name_first(loss, [_with_rows(logits, shape), *of_rows], check),
        lambda: _complain(loss, layer, is_transposed, given_rows, check),
        lambda: rows_call.name_first(loss, [_with_rows(logits, shape), *of_rows], check),
    )
    request = Request(
        loss_of_layer, int(outs is not None),
        [*of_layer, *[None] * (3 - len(of_layer)), *of_rows],
        [_with_rows(values, shape), *gradients], reduction, gradient_scale, check, False,
        gpu, vectors.stream(gpu),
        batch_length(shape) if reduction == "batchmean" else float(math.prod(shape)),
        budget, Layer(loss, is_transposed, wait), own,
    )  # fmt: skip
    value, found = run(request, results, wait, False, errors)
    return value, found or ()


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
