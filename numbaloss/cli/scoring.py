"""Several losses over a table in one pass, with memory for a few batches only."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .batches import BatchSums, Sums, evaluate
from .failures import Failure, first_line
from .results import Results
from .specification import Chosen
from .tables import Batch, Table
from .tables.ahead import ahead
from .workers import in_order


class Options(NamedTuple):
    reduction: str = "mean"
    weighted: bool = False
    check: bool = True
    skip_nan: bool = False
    # The columns of results that every loss gets, of "value", "gradient", "hessian".
    kinds: tuple[str, ...] = ()
    threads: int = 1


class Score(NamedTuple):
    """What one loss came to."""

    chosen: Chosen
    value: float
    gradient_norm: float
    not_finite: int
    first_place: str | None  # the first row whose value is not finite, in words
    first_row: int | None


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

    def add(self, sums: Sums, batch: Batch) -> None:
        self.total += sums.total
        self.squares += sums.squares
        self.not_finite += sums.not_finite
        if self.first is None and sums.first is not None:
            self.first = batch.place(sums.first), batch.start + sums.first

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
    results: Results | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Scores:
    """Evaluate losses over all rows of a table.

    Sums of batches are added in float64 and in the order of the rows: the outcome is that
    of the whole table at once, to rounding, and the same for any number of threads.
    """
    losses = [one.loss for one in chosen]

    def work(batch: Batch) -> tuple[Batch, BatchSums]:
        return batch, evaluate(batch, losses, options.check, options.skip_nan, options.kinds)

    started = time.perf_counter()
    compile_kernels(chosen, options, table.real)
    compiled = time.perf_counter()
    tallies = [Tally(one) for one in chosen]
    rows = skipped = 0
    weights = 0.0
    with (
        closing(ahead(table.batches())) as batches,
        closing(in_order(work, batches, options.threads)) as done,
    ):
        for batch, sums in done:
            for tally, part in zip(tallies, sums.losses, strict=True):
                tally.add(part, batch)
            if results is not None:
                results.append(sums.columns)
            rows += sums.rows
            skipped += sums.skipped
            weights += sums.weights
            progress(batch.done)
    divisor = float(rows)
    if options.reduction == "sum":
        divisor = 1.0
    elif options.reduction == "weighted_mean" and options.weighted:
        divisor = weights
    seconds = time.perf_counter() - compiled
    scores = [tally.score(divisor) for tally in tallies]
    return Scores(scores, table.real, rows, skipped, seconds, compiled - started)


def compile_kernels(chosen: list[Chosen], options: Options, real: str) -> None:
    """Compile, or load from disk, what the pass needs, so that its time is that of the work."""
    empty = Batch(0, (np.empty(0, real),) * (3 if options.weighted else 2), 1.0)
    for one in chosen:
        try:
            evaluate(empty, [one.loss], options.check, options.skip_nan, options.kinds)
        except TypeError as error:
            raise Failure(_told(error)) from error


def _told(error: TypeError) -> str:
    """What the compiler objects to in a user's loss, and the line of the user's file."""
    place = re.search(r'File "(.*)", line (\d+)', str(error))
    name = f" ({Path(place[1]).name}, line {place[2]})" if place else ""
    return f"{first_line(error)}{name}"
