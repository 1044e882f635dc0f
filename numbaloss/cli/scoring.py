"""Several losses over a table in one pass, with memory for a few batches only."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .batches import BatchSums, Sums, evaluate
from .failures import Failure, first_line
from .layout import EXAMPLE_ROWS, Layout
from .metrics import Asked, Totals
from .results import Results
from .specification import Chosen
from .tables import Batch, Table
from .tables.ahead import ahead
from .workers import in_order


class Options(NamedTuple):
    reduction: str = "mean"
    check: bool = True
    skip_nan: bool = False
    # The columns of results that every loss gets, of "value", "gradient", "hessian".
    kinds: tuple[str, ...] = ()
    threads: int = 1
    device: str = "cpu"


class Score(NamedTuple):
    """What one loss came to."""

    chosen: Chosen
    value: float
    gradient_norm: float
    not_finite: int
    first_place: str | None  # the first row whose value is not finite, in words
    first_row: int | None
    ignored: int  # rows that the loss does not count, by their label


class Scores(NamedTuple):
    scores: list[Score]
    real: str
    classes: int | None
    rows: int
    skipped: int
    seconds: float
    compile_seconds: float
    metrics: list[tuple[Asked, Any]]
    groups: dict[str, dict[str, Any]]  # by key, losses and metrics as they were written


class Tally:
    """Running sums of one loss, in float64."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.total = 0.0
        self.squares = 0.0
        self.rows = 0
        self.weights = 0.0
        self.not_finite = 0
        self.first: tuple[str, int] | None = None

    def add(self, sums: Sums, batch: Batch) -> None:
        self.total += sums.total
        self.squares += sums.squares
        self.rows += sums.rows
        self.weights += sums.weights
        self.not_finite += sums.not_finite
        if self.first is None and sums.first is not None:
            self.first = batch.place(sums.first), batch.start + sums.first

    def score(self, reduction: str, rows: int) -> Score:
        """The totals as the value of the reduction, and the length of its gradient."""
        divisors = {"mean": float(self.rows), "weighted_mean": self.weights, "sum": 1.0}
        divisor = divisors[reduction]
        value = self.total / divisor if divisor else math.nan
        norm = math.sqrt(self.squares) / divisor if divisor else 0.0
        place, row = self.first or (None, None)
        return Score(self.chosen, value, norm, self.not_finite, place, row, rows - self.rows)


def score(
    table: Table,
    layout: Layout,
    chosen: list[Chosen],
    options: Options,
    results: Results | None = None,
    progress: Callable[[float], None] = lambda done: None,
    metrics: Totals | None = None,
) -> Scores:
    """Evaluate losses over all rows of a table.

    Sums of batches are added in float64 and in the order of the rows: the outcome is that
    of the whole table at once, to rounding, and the same for any number of threads.
    """
    losses = [one.loss for one in chosen]
    totals = metrics or Totals()

    def work(batch: Batch) -> tuple[Batch, BatchSums, Any]:
        arranged = layout.arrange(batch)
        with gpu_failures():
            sums = evaluate(
                arranged, losses, options.check, options.skip_nan, options.kinds, options.device
            )
        return batch, sums, totals.of_batch(arranged, options.skip_nan)

    started = time.perf_counter()
    compile_kernels(chosen, options, layout)
    totals.compile(layout)
    compiled = time.perf_counter()
    tallies = [Tally(one) for one in chosen]
    rows = skipped = 0
    # A GPU computes one batch at a time; the next ones are read and decoded meanwhile.
    workers = options.threads if options.device == "cpu" else 1
    with (
        closing(ahead(table.batches(layout.read))) as batches,
        closing(in_order(work, batches, workers)) as done,
    ):
        for batch, sums, part in done:
            totals.add(part)
            for tally, part in zip(tallies, sums.losses, strict=True):
                tally.add(part, batch)
            if results is not None:
                results.append(sums.columns)
            rows += sums.rows
            skipped += sums.skipped
            progress(batch.done)
    seconds = time.perf_counter() - compiled
    scores = [tally.score(options.reduction, rows) for tally in tallies]
    classes = len(layout.classes) or None
    return Scores(
        scores, layout.real, classes, rows, skipped, seconds, compiled - started,
        totals.results(), totals.groups(),
    )  # fmt: skip


def compile_kernels(chosen: list[Chosen], options: Options, layout: Layout) -> None:
    """Compile, or load from disk, what the pass needs, so that its time is that of the work."""
    on_gpu = options.device != "cpu"
    example = layout.example(EXAMPLE_ROWS if on_gpu else 0)
    # Code for GPUs tests domains or not as it runs, and this is no data to be tested.
    check = options.check and not on_gpu
    for one in chosen:
        try:
            with gpu_failures():
                evaluate(
                    example, [one.loss], check, options.skip_nan, options.kinds, options.device
                )
        except TypeError as error:
            raise Failure(_told(error)) from error


@contextmanager
def gpu_failures() -> Iterator[None]:
    """Turn what the driver of a GPU, or the compiler for it, raises into a failure."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("numba.cuda", "numba.core.errors", "cuda.")):
            raise
        raise Failure(f"the GPU cannot compute it: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What the compiler objects to in a user's loss, and the line of the user's file."""
    place = re.search(r'File "(.*)", line (\d+)', str(error))
    name = f" ({Path(place[1]).name}, line {place[2]})" if place else ""
    return f"{first_line(error)}{name}"
