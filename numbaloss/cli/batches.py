"""Losses over one batch: sums in float64, and columns of results where they are wanted."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from .failures import Failure, first_line
from .layout import MISSING
from .specification import Scorable
from .tables import Batch

# Elements squared in one go: BLAS starts threads of its own for more, which are in the way
# of ours and of the decoder's (measured: 3.6 against 0.4 ns an element).
PIECE = 8192


class Sums(NamedTuple):
    """One loss over one batch."""

    total: float
    squares: float  # of the gradient of the total
    rows: int  # those that the loss does not ignore
    weights: float  # sum of their weights
    not_finite: int = 0  # values that are NaN or infinite
    first: int | None = None  # row of the batch that holds the first of them


class BatchSums(NamedTuple):
    rows: int  # those that count
    skipped: int
    losses: list[Sums]
    columns: list[np.ndarray]  # results of all rows, those of the first loss first


def evaluate(
    batch: Batch,
    losses: list[Scorable],
    check: bool,
    skip_nan: bool,
    kinds: tuple[str, ...],
    device: str = "cpu",
) -> BatchSums:
    """Evaluate all losses on a batch; ``kinds`` are the columns that each of them keeps."""
    size = len(batch.arrays[0])
    kept, arrays = known_rows(batch) if skip_nan else (None, batch.arrays)
    if not skip_nan:
        _check_labels(batch)
    sums = []
    columns: list[np.ndarray] = []
    for loss in losses:
        try:
            values, gradient, hessian, total = _call(loss, arrays, check, kinds, device)
        except Exception as error:
            if failure := _raised(error, batch, kept):
                raise failure from None
            if isinstance(error, ValueError):
                raise _located(error, batch, kept) from None
            raise
        not_finite, first = 0, None
        if not math.isfinite(total):
            # A value that is not finite makes the sum so: only then are they looked through.
            not_finite, first = _not_finite(loss, arrays, values, check, device)
            first = first if first is None or kept is None else int(kept[first])
        rows, weights = counted(loss, arrays)
        squares = sum_of_squares(gradient.reshape(-1))
        sums.append(Sums(total, squares, rows, weights, not_finite, first))
        results = {"value": values, "gradient": gradient, "hessian": hessian}
        columns += [_spread(results[kind], kept, size) for kind in kinds]
    rows = len(arrays[0])
    return BatchSums(rows, size - rows, sums, columns)


def counted(loss: Scorable, arrays: tuple[np.ndarray, ...]) -> tuple[int, float]:
    """What the means of a loss divide by: the rows that it does not ignore, their weights.

    As the library's own reductions do it, which know one call and not a stream of them. Where
    there are class weights, the weight of a row is multiplied by that of its label.
    """
    prediction, target, *rest = arrays
    rows = len(prediction)
    weight = rest[0] if rest else None
    if not loss.contract.of_classes:
        return rows, _sum(weight) if weight is not None else float(rows)
    options = loss.row_options()
    of_class = options.class_weight
    if target.ndim == 2:
        if of_class is not None:
            # Not by BLAS, for its threads.
            mass = (target * of_class).sum(axis=1, dtype=np.float64)
            if weight is None:
                return rows, float(mass.sum())
            return rows, float((mass * weight)[weight != 0].sum())
    else:
        if options.ignore_index is not None:
            counts = target != options.ignore_index
            if not counts.all():
                target = target[counts]
                weight = weight[counts] if weight is not None else None
                rows = len(target)
        if of_class is not None:
            weight = of_class[target] if weight is None else of_class[target] * weight
    return rows, _sum(weight) if weight is not None else float(rows)


def _sum(weight: np.ndarray) -> float:
    return float(weight.sum(dtype=np.float64))


def _call(
    loss: Scorable,
    arrays: tuple[np.ndarray, ...],
    check: bool,
    kinds: tuple[str, ...],
    device: str,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None, float]:
    """Values, gradient, hessian, sum of the values; without what nobody wants."""
    prediction, target, *rest = arrays
    weight = rest[0] if rest else None
    reduction = "none" if "value" in kinds else "sum"
    options: dict[str, Any] = {"sample_weight": weight, "reduction": reduction, "check": check}
    options |= _on(device)
    hessian = None
    if "hessian" in kinds:
        value, gradient, hessian = loss.value_grad_hess(prediction, target, **options)
    else:
        value, gradient = loss.value_and_grad(prediction, target, **options)
    if reduction == "none":
        return value, gradient, hessian, float(value.sum(dtype=np.float64))
    return None, gradient, hessian, value


def _on(device: str) -> dict[str, Any]:
    """The option that names a device; none for the CPU, whose short path is for calls without."""
    return {} if device == "cpu" else {"device": device}


def sum_of_squares(values: np.ndarray) -> float:
    """Sum of the squares in float64: those of float32 numbers may overflow in float32."""
    total = 0.0
    wide = np.empty(PIECE)
    for start in range(0, len(values), PIECE):
        piece = values[start : start + PIECE]
        part = wide[: len(piece)]
        part[:] = piece
        total += float(part @ part)
    return total


def _not_finite(
    loss: Scorable,
    arrays: tuple[np.ndarray, ...],
    values: np.ndarray | None,
    check: bool,
    device: str,
) -> tuple[int, int | None]:
    """How many values are not finite, and where the first of them is."""
    if values is None:
        prediction, target, *weight = arrays
        values = loss(
            prediction,
            target,
            sample_weight=weight[0] if weight else None,
            reduction="none",
            check=check,
            **_on(device),
        )
    odd = ~np.isfinite(values)
    return int(odd.sum()), int(odd.argmax()) if odd.any() else None


def known_rows(batch: Batch) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
    """As :func:`without_nan`, of all arrays of a batch, a second prediction included."""
    others = () if batch.other is None else (batch.other,)
    kept, arrays = without_nan((*batch.arrays, *others))
    return kept, arrays[: len(batch.arrays)]


def without_nan(
    arrays: tuple[np.ndarray, ...],
) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
    """The rows that hold no NaN, and which ones they are; None where all of them are."""
    bad = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        if array.dtype.kind == "U":
            odd = array == ""
        else:
            odd = array == MISSING if array.dtype.kind == "i" else np.isnan(array)
        bad |= odd if odd.ndim == 1 else odd.any(axis=1)
    if not bad.any():
        return None, arrays
    kept = np.flatnonzero(~bad)
    return kept, tuple(array[kept] for array in arrays)


def _check_labels(batch: Batch) -> None:
    """Raise for a label that is missing: unlike a number, it has no NaN to show for it."""
    for name, array in zip(("prediction", "target"), batch.arrays):
        none = {"i": MISSING, "U": ""}.get(array.dtype.kind)
        if none is not None and (missing := array == none).any():
            place = batch.place(int(missing.argmax()))
            raise Failure(f"the {name} of {place} is missing; --skip-nan leaves such rows out")


def _spread(values: np.ndarray | None, kept: np.ndarray | None, size: int) -> np.ndarray:
    """Results in the rows they belong to; skipped rows get NaN."""
    assert values is not None
    if kept is None:
        return values
    full = np.full((size, *values.shape[1:]), np.nan, values.dtype)
    full[kept] = values
    return full


def _raised(error: Exception, batch: Batch, kept: np.ndarray | None) -> Failure | None:
    """An exception that a formula raised, with the row that it raised for."""
    for note in getattr(error, "__notes__", ()):
        found = re.fullmatch(
            r"(raised by \w+ of .*?) in \w+(?: at (?:row )?\[(\d+).*\])?(: .*)", note
        )
        if found:
            said = (
                f"{type(error).__name__}: {first_line(error)}"
                if str(error)
                else type(error).__name__
            )
            if found[2] is None:
                return Failure(f"{said} ({found[1]}{found[3]})")
            index = int(found[2]) if kept is None else int(kept[int(found[2])])
            return Failure(f"{batch.place(index)}: {said} ({found[1]}{found[3]})")
    return None


def _located(error: ValueError, batch: Batch, kept: np.ndarray | None) -> Failure:
    """An error that names an element of the batch, with the row of the file instead."""
    found = re.match(r"(\w+)\[(\d+)(?:, (\d+))?\] is (.*)", str(error), re.DOTALL)
    if not found:
        return Failure(first_line(error))
    index = int(found[2]) if kept is None else int(kept[int(found[2])])
    name = {"sample_weight": "weight"}.get(found[1], found[1])
    column = f", class {found[3]}," if found[3] else ""
    return Failure(f"the {name} of {batch.place(index)}{column} is {found[4]}")
