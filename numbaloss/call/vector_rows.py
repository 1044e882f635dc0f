"""Calls of losses of pairs and triplets of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import arrays, misuse
from ..core.loss import domain
from ..core.out_of_range import raise_first_number, raise_first_weight
from ..core.reductions import batch_length
from ..core.request import Request
from .arguments import check_options, gpu_of, row_targets, row_weights
from .run import Errors, run
from .vectors import Diagnosis, VectorResults, Vectors, look, refuse_host


def evaluate(
    loss: Any,
    given: tuple[Any, ...],
    names: tuple[str, ...],
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    device: str | None,
    check: bool,
    wait: bool,
    outs: tuple[Any] | None,
    gradient_scale: float,
) -> tuple[Any, Any]:
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    vectors = Vectors.of(given, names)
    of_rows = _rows(loss, vectors, target, sample_weight, mask)
    parts = ("target", "sample_weight", "mask")
    gpu = gpu_of([*vectors.operands, *of_rows], [*names, *parts], device)
    if device == "cuda" and gpu is None:
        refuse_host(loss)
    shape = vectors.operands[0].array.shape[:-1]
    results = VectorResults(vectors, shape, reduction, outs, [*zip(of_rows, parts)])
    _, weight, counts = of_rows
    errors = Errors(
        lambda: _ranges(loss, weight is not None, check),
        lambda: raise_first_number(loss, [None, *of_rows], check),
        lambda: _name_first_on_gpu(loss, given, names, (target, sample_weight, mask), check),
        lambda: raise_first_weight(weight, counts),
    )
    rows = batch_length(shape) if reduction == "batchmean" else float(math.prod(shape))
    request = Request(
        loss, int(outs is not None), [*vectors.operands, *of_rows], results.views, reduction,
        gradient_scale, check, False, gpu, vectors.stream(gpu), rows,
    )  # fmt: skip
    value, gradients = run(request, results, wait, False, errors)
    return value, gradients


def _rows(
    loss: Any, vectors: Vectors, target: Any, sample_weight: Any, mask: Any
) -> list[arrays.Operand | None]:
    """Views of target, weight and mask, once all arrays are known to fit."""
    shapes = [one.array.shape for one in vectors.operands]
    if len(set(shapes)) > 1:
        titles = ", ".join(vectors.names[:-1]) + f" and {vectors.names[-1]}"
        found = ", ".join(map(str, shapes[:-1])) + f" and {shapes[-1]}"
        raise ValueError(f"{titles} must have one shape, not {found}; shapes are never broadcast")
    shape = shapes[0][:-1]
    weights = row_weights(sample_weight, mask, shape)
    if loss.contract.vectors == 3:
        return [None, *weights]
    if target is None:
        raise TypeError(f"{type(loss).__name__} needs a target: which pairs are alike")
    of_target = row_targets(target)
    if of_target.array.shape != shape:
        raise ValueError(
            f"target must have the shape of the rows, {shape}, not {of_target.array.shape}"
        )
    return [of_target, *weights]


def _ranges(loss: Any, weighted: bool, check: bool) -> str:
    """What a call may find out of range, in words; empty where nothing can be."""
    found = ["weights >= 0"] if weighted and check else []
    interval = domain(loss.target_domain)
    if check and not interval.everything:
        found.append(f"targets in {interval}")
    return ", ".join(found)


def _name_first_on_gpu(
    loss: Any, given: Any, names: Any, of_rows: tuple[Any, ...], check: bool
) -> None:
    """Raise the error that names the first number out of range among arrays on a GPU."""
    vectors = Vectors.of(tuple(map(arrays.on_host, given)), names)
    rows = _rows(loss, vectors, *map(arrays.on_host, of_rows))
    raise_first_number(loss, [None, *rows], check)


def diagnose(
    loss: Any, given: tuple[Any, ...], names: tuple[str, ...], target: Any, check: bool
) -> Diagnosis:
    given = tuple(map(arrays.on_host, given))
    value, _ = evaluate(
        loss, given, names, arrays.on_host(target), None, None, "none", None, check, True, None, 1.0
    )
    vectors = Vectors.of(given, names)
    count = int(np.size(value))
    zeros, spread = look([arrays.numbers(one, one.array) for one in vectors.operands])
    active = int((np.asarray(value) > 0).sum())
    return Diagnosis(count, count, count, active, zeros, spread)
