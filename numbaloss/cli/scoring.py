"""Several losses over a table in one pass, with memory for a few batches only."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from .failures import Failure, first_line
from .results import Results
from .specification import Chosen
from .tables import Batch, Table
from .tables.ahead import ahead

# Elements squared in one go: BLAS starts its own threads for more, which then are in the
# way of ours and of the decoder's (measured: 3.6 against 0.4 ns an element).
_PIECE = 8192


class Options(NamedTuple):
    reduction: str = "mean"
    check: bool = True
    skip_nan: bool = False
    per_sample: bool = False
    gradient: bool = False
    hessian: bool = False

    @property
    def kinds(self) -> list[str]:
        """The columns of results that every loss gets."""
        wanted = (self.per_sample, self.gradient, self.hessian)
        return [
            kind for kind, on in zip(("value", "gradient", "hessian"), wanted, strict=True) if on
        ]


class Score(NamedTuple):
    """What one loss came to."""

    chosen: Chosen
    value: float
    gradient_norm: float
    not_finite: int
    first_not_finite: str | None
    first_not_finite_row: int | None


class Scores(NamedTuple):
    scores: list[Score]
    real: str
    rows: int
    skipped: int
    seconds: float
    compile_seconds: float


class Tally:
    """Running sums of one loss, in float64."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.total = 0.0
        self.squares = 0.0
        self.not_finite = 0
        self.first: tuple[str, int] | None = None

    def score(self, divisor: float) -> Score:
        """The totals as the value of the reduction, and the length of its gradient."""
        value = self.total / divisor if divisor else math.nan
        norm = math.sqrt(self.squares) / divisor if divisor else 0.0
        place, row = self.first or (None, None)
        return Score(self.chosen, value, norm, self.not_finite, place, row)


def score(
    table: Table,
    chosen: list[Chosen],
    options: Options,
    weighted: bool = False,
    results: Results | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Scores:
    """Evaluate losses over all rows of a table.

    Sums of batches are added in float64, so that the outcome is that of the whole table at
    once, to rounding.
    """
    started = time.perf_counter()
    compile_kernels(chosen, options, table.real, weighted, results is not None)
    compiled = time.perf_counter()
    tallies = [Tally(one) for one in chosen]
    rows = skipped = 0
    weights = 0.0
    with closing(ahead(table.batches())) as batches:
        for batch in batches:
            kept, arrays = _without_nan(batch.arrays) if options.skip_nan else (None, batch.arrays)
            columns: list[np.ndarray] = []
            for tally in tallies:
                found = _add(tally, batch, kept, arrays, options, results is not None)
                columns += found
            if results is not None:
                results.append([_spread(one, kept, len(batch.arrays[0])) for one in columns])
            if weighted:
                weights += float(arrays[2].sum(dtype=np.float64))
            rows += len(arrays[0])
            skipped += len(batch.arrays[0]) - len(arrays[0])
            progress(batch.done)
    divisor = float(rows)
    if options.reduction == "sum":
        divisor = 1.0
    elif options.reduction == "weighted_mean" and weighted:
        divisor = weights
    seconds = time.perf_counter() - compiled
    scores = [tally.score(divisor) for tally in tallies]
    return Scores(scores, table.real, rows, skipped, seconds, compiled - started)


def _add(
    tally: Tally,
    batch: Batch,
    kept: np.ndarray | None,
    arrays: tuple[np.ndarray, ...],
    options: Options,
    keep: bool,
) -> list[np.ndarray]:
    """Add a batch to the sums of a loss; return its columns of results, where kept."""
    loss = tally.chosen.loss
    prediction, target, *weight = arrays
    given: dict[str, Any] = {"sample_weight": weight[0] if weight else None}
    values = hessian = None
    try:
        if not keep:
            total, gradient = loss.value_and_grad(
                prediction, target, reduction="sum", check=options.check, **given
            )
        elif options.hessian:
            values, gradient, hessian = loss.value_grad_hess(
                prediction, target, reduction="none", check=options.check, **given
            )
        else:
            values, gradient = loss.value_and_grad(
                prediction, target, reduction="none", check=options.check, **given
            )
    except ValueError as error:
        raise _located(error, batch, kept) from None
    if values is not None:
        total = float(values.sum(dtype=np.float64))
    tally.total += total
    tally.squares += sum_of_squares(gradient)
    if not math.isfinite(total):
        # A row that is not finite makes the sum so; only then are rows worth a second look.
        if values is None:
            values = loss(prediction, target, reduction="none", check=False, **given)
        odd = ~np.isfinite(values)
        tally.not_finite += int(odd.sum())
        if tally.first is None and odd.any():
            index = int(odd.argmax())
            index = index if kept is None else int(kept[index])
            tally.first = batch.place(index), batch.start + index
    by_kind = {"value": values, "gradient": gradient, "hessian": hessian}
    return [by_kind[kind] for kind in options.kinds] if keep else []  # type: ignore[misc]


def sum_of_squares(values: np.ndarray) -> float:
    """Sum of the squares in float64: those of float32 numbers may overflow in float32."""
    total = 0.0
    wide = np.empty(_PIECE)
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        part = wide[: len(piece)]
        part[:] = piece
        total += float(part @ part)
    return total


def _without_nan(
    arrays: tuple[np.ndarray, ...],
) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
    """The rows that hold no NaN, and which ones they are; None where all of them are."""
    bad = np.isnan(arrays[0])
    for array in arrays[1:]:
        bad |= np.isnan(array)
    if not bad.any():
        return None, arrays
    kept = np.flatnonzero(~bad)
    return kept, tuple(array[kept] for array in arrays)


def _spread(values: np.ndarray, kept: np.ndarray | None, size: int) -> np.ndarray:
    """Results in the rows they belong to; skipped rows get NaN."""
    if kept is None:
        return values
    full = np.full(size, np.nan, values.dtype)
    full[kept] = values
    return full


def _located(error: ValueError, batch: Batch, kept: np.ndarray | None) -> Failure:
    """An error that names an element of the batch, with the row of the file instead."""
    found = re.match(r"(\w+)\[(\d+)\] is (.*)", str(error), re.DOTALL)
    if not found:
        return Failure(first_line(error))
    index = int(found[2])
    index = index if kept is None else int(kept[index])
    name = {"sample_weight": "weight"}.get(found[1], found[1])
    return Failure(f"the {name} of {batch.place(index)} is {found[3]}")


def compile_kernels(
    chosen: list[Chosen], options: Options, real: str, weighted: bool, keep: bool
) -> None:
    """Compile, or load from disk, what the pass needs, so that its time is that of the work."""
    empty = Batch(0, (np.empty(0, real),) * (3 if weighted else 2), 0.0)
    for one in chosen:
        try:
            _add(Tally(one), empty, None, empty.arrays, options, keep)
        except Exception as error:
            if not type(error).__module__.startswith("numba."):
                raise
            raise Failure(f"{one.loss!r} does not compile: {compiler_message(error)}") from error


def compiler_message(error: BaseException) -> str:
    """The line of a compiler's message that says what is wrong, not where it was noticed."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("During", "File", "Failed"))]
    return (told or lines or [""])[0]
