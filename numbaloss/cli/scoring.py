"""Several losses over a table in one pass, with memory for a few batches only."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .batches import BatchSums, Sums, evaluate
from .failures import Failure, first_line
from .layout import EXAMPLE_ROWS, Layout
from .metrics import Asked, Comparison, Totals
from .results import Results
from .specification import Chosen
from .tables import Batch
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
    comparisons: list[Comparison]
    reliability: dict[str, list[float]] | None  # columns of a table of bins


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


class Outcome(NamedTuple):
    """What some consecutive batches came to, and their metrics."""

    batches: list[tuple[Batch, BatchSums]]
    totals: Totals


def outcomes_of(
    batches: Iterator[Batch],
    layout: Layout,
    chosen: list[Chosen],
    options: Options,
    totals: Totals,
) -> Generator[Outcome, None, None]:
    """The outcome of each batch, in their order, computed side by side by threads."""
    losses = [one.loss for one in chosen]

    def work(batch: Batch) -> Outcome:
        arranged = layout.arrange(batch)
        with gpu_failures():
            sums = evaluate(
                arranged, losses, options.check, options.skip_nan, options.kinds, options.device
            )
        return Outcome([(batch, sums)], totals.fresh().update(arranged, options.skip_nan))

    # A GPU computes one batch at a time; the next ones are read and decoded meanwhile.
    workers = options.threads if options.device == "cpu" else 1
    with closing(ahead(batches)) as read, closing(in_order(work, read, workers)) as done:
        yield from done


def score(
    outcomes: Generator[Outcome, None, None],
    layout: Layout,
    chosen: list[Chosen],
    options: Options,
    totals: Totals,
    title: Path = Path("the table"),
    results: Results | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Scores:
    """Add up outcomes of losses over all rows of a table.

    Sums of batches are added in float64 and in the order of the rows: the outcome is that
    of the whole table at once, to rounding, and the same bits for any number of threads and of
    processes.
    """
    started = time.perf_counter()
    tallies = [Tally(one) for one in chosen]
    rows = skipped = 0
    with closing(outcomes) as found:
        for outcome in found:
            totals.merge(outcome.totals)
            before = rows + skipped  # rows of other files, where only the main process knows
            for batch, sums in outcome.batches:
                if batch.start < 0:
                    batch = batch._replace(start=before + batch.start_in_part)
                for tally, part in zip(tallies, sums.losses, strict=True):
                    tally.add(part, batch)
                if results is not None:
                    results.append(sums.columns)
                rows += sums.rows
                skipped += sums.skipped
                progress(batch.done)
    seconds = time.perf_counter() - started
    scores = [tally.score(options.reduction, rows) for tally in tallies]
    if rows + skipped == 0:
        raise Failure(f"{title} has no rows")
    values = {one.chosen.text: one.value for one in scores}
    return Scores(
        scores, layout.real, len(layout.classes) or None, rows, skipped, seconds, 0.0,
        totals.results(), totals.groups(), totals.comparisons(values), totals.reliability(),
    )  # fmt: skip


def prepare(chosen: list[Chosen], options: Options, layout: Layout, totals: Totals) -> float:
    """Compile what the pass needs, or load it from disk; the seconds that took."""
    started = time.perf_counter()
    compile_kernels(chosen, options, layout)
    totals.compile(layout)
    return time.perf_counter() - started


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
