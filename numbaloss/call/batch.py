"""Calls of losses of all pairs of vectors in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import arrays, misuse
from ..all_pairs import Batch
from ..core.out_of_range import named
from ..core.request import Own, Request
from .arguments import bytes_of, check_options, gpu_of, row_targets, row_weights, whole_labels
from .run import Errors, outcome_on_host, run
from .vectors import Diagnosis, VectorResults, Vectors, look, refuse_host


def evaluate(
    loss: Any,
    given: tuple[Any, ...],
    names: tuple[str, ...],
    labels: Any,
    sample_weight: Any,
    reduction: str,
    device: str | None,
    check: bool,
    wait: bool,
    workspace: int | None,
    outs: tuple[Any] | None,
    gradient_scale: float,
) -> tuple[Any, Any]:
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    budget = bytes_of(workspace)
    vectors, of_labels, weight = _inputs(loss, given, names, labels, sample_weight)
    inputs = [*vectors.operands, of_labels, weight]
    gpu = gpu_of(inputs, [*names, "labels", "sample_weight"], device)
    if device == "cuda" and gpu is None:
        refuse_host(loss)
    count = vectors.operands[0].array.shape[0]
    others = [(of_labels, "labels"), (weight, "sample_weight")]
    results = VectorResults(vectors, (count,), reduction, outs, others, single=len(names) == 1)
    if gpu is not None:
        # So few numbers, beside all pairs: the host sorts and sums them.
        labels, sample_weight = arrays.on_host(labels), arrays.on_host(sample_weight)
        _, of_labels, weight = _inputs(loss, given, names, labels, sample_weight)
    batch = _batch_of(loss, vectors, of_labels, weight, check)
    request = Request(
        loss, int(outs is not None), vectors.operands, results.views, reduction, gradient_scale,
        check, False, gpu, vectors.stream(gpu), batch.divisor(reduction), budget, batch,
        Own(vectors.families[0].name, given, results.of_library),
    )  # fmt: skip
    value, gradients = run(request, results, wait, False, _NONE)
    return value, gradients


# Labels may be any integers, and weights are tested as they are read.
_NONE = Errors(lambda: "", lambda: None, lambda: None, lambda: None)


def _inputs(
    loss: Any, given: tuple[Any, ...], names: tuple[str, ...], labels: Any, sample_weight: Any
) -> tuple[Vectors, arrays.Operand | None, arrays.Operand | None]:
    """Views of all arrays, once they are known to fit."""
    vectors = Vectors.of(given, names)
    for operand, name in zip(vectors.operands, names):
        if operand.array.ndim != 2:
            raise ValueError(
                f"{name} must have two dimensions, rows and elements, not {operand.array.ndim}"
            )
    shapes = [one.array.shape for one in vectors.operands]
    count = shapes[0][0]
    if len(shapes) > 1:
        if shapes[0][1] != shapes[1][1]:
            raise ValueError(
                f"queries and keys must have vectors of one length, not {shapes[0]} and {shapes[1]}"
            )
        if shapes[1][0] < count:
            raise ValueError(
                f"there must be a key for every query: {count} queries, {shapes[1][0]} keys"
            )
        if loss.batch_options().symmetric and shapes[1][0] != count:
            raise ValueError(
                f"a symmetric loss takes as many keys as queries, not {shapes[1][0]} and {count}"
            )
    weight, _ = row_weights(sample_weight, None, (count,))
    if loss.contract.vectors == 2:
        return vectors, None, weight
    if labels is None:
        raise TypeError(f"{type(loss).__name__} needs labels: which rows are alike")
    found = row_targets(labels, "labels")
    if found.array.shape != (count,):
        raise ValueError(
            f"labels must have the shape of the rows, {(count,)}, not {found.array.shape}"
        )
    return vectors, whole_labels(found, "labels"), weight


def _batch_of(
    loss: Any,
    vectors: Vectors,
    labels: arrays.Operand | None,
    weight: arrays.Operand | None,
    check: bool,
) -> Batch:
    shapes = [one.array.shape for one in vectors.operands]
    rows, columns = shapes[0][0], shapes[-1][0]
    weights = None
    if weight is not None:
        weights = arrays.numbers(weight, weight.array).astype(np.float64)
        bad = ~(weights >= 0.0)
        if check and bad.any():
            first = int(bad.argmax())
            place = "" if weight.dimensions == 0 else str(first)
            found = named("sample_weight", place, weight, first)
            raise ValueError(f"{found}; weights are >= 0")
    if labels is None:
        starts = np.arange(rows)
        return _counted(loss, Batch(
            rows, columns, False, None, starts, starts + 1, weights, starts, np.ones(rows)
        ))  # fmt: skip
    # A copy: sorting counts on keys that nobody changes meanwhile.
    keys = np.array(labels.array)
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    fresh = np.ones(rows, bool)
    fresh[1:] = in_order[1:] != in_order[:-1]
    firsts = np.flatnonzero(fresh)
    sizes = np.diff(np.append(firsts, rows))
    starts, ends = np.repeat(firsts, sizes), np.repeat(firsts + sizes, sizes)
    if weights is not None:
        weights = weights[order]
    return _counted(loss, Batch(
        rows, columns, True, order, starts, ends, weights, starts, np.ones(rows)
    ))  # fmt: skip


def _counted(loss: Any, batch: Batch) -> Batch:
    """With the number of terms of each row, and the share of each positive."""
    positives, negatives = batch.positives, batch.negatives
    share = np.ones(batch.rows)
    if loss.form == "triplets":
        some = negatives > 0
        terms = {
            "hard": (positives > 0) & some,
            "semi-hard": positives * some,
            "all": positives * negatives,
        }[loss.batch_options().mining]
    elif loss.form == "softmax" and loss.average == "pairs":
        terms = positives
    elif loss.form == "softmax":
        terms = positives > 0
        share = 1.0 / np.maximum(positives, 1)
    else:
        terms = np.ones(batch.rows, np.int64)
    return batch._replace(terms=terms.astype(np.int64), share=share)


def diagnose(loss: Any, given: tuple[Any, ...], names: tuple[str, ...], labels: Any) -> Diagnosis:
    given = tuple(map(arrays.on_host, given))
    vectors, of_labels, _ = _inputs(loss, given, names, arrays.on_host(labels), None)
    batch = _batch_of(loss, vectors, of_labels, None, False)
    zeros, spread = look([arrays.numbers(one, one.array) for one in vectors.operands])
    pairs = batch.columns - int(batch.labelled)
    terms = int(batch.terms.sum())
    if loss.form == "pairs":
        active = terms = batch.rows * pairs
        anchors = batch.rows if pairs > 0 else 0
    else:
        anchors = int((batch.terms > 0).sum())
        if loss.form == "softmax":
            active = terms = int(batch.positives.sum())
        else:
            request = Request(
                loss, 0, vectors.operands, [None], "sum", 1.0, False, False, None, 0,
                details=batch,
            )  # fmt: skip
            active = outcome_on_host(request, _NONE).active
    return Diagnosis(batch.rows, anchors, terms, active, zeros, spread)
