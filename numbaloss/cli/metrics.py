"""Metrics as they are written on a command line, over batches of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .batches import without_nan
from .failures import Failure, UsageFailure, first_line
from .layout import EXAMPLE_ROWS, Layout
from .specification import Chosen, parameters, slug
from .specification import choose as read_losses
from .tables import Batch


class Asked(NamedTuple):
    """A metric that the user asked for."""

    name: str
    text: str
    metric: Any


def choose(texts: list[str]) -> list[Asked]:
    """The metrics of all ``--metric`` options, written ``name:option=value``."""
    if not texts:
        return []
    from ..metrics import find

    chosen: list[Asked] = []
    for text in texts:
        name, *rest = [part.strip() for part in text.split(":")]
        if len(rest) > 1:
            raise UsageFailure(f"--metric {text!r}: too many colons")
        try:
            metric = find(name)(**parameters(rest, text, "metric"))
        except (TypeError, ValueError) as error:
            raise UsageFailure(f"--metric {text!r}: {first_line(error)}") from None
        if any(one.text == text for one in chosen):
            raise UsageFailure(f"--metric {text!r} is given twice")
        chosen.append(Asked(slug(text), text, metric))
    return chosen


def arrange(by_losses: Callable[[list[Chosen]], Layout]) -> Layout:
    """How metrics without losses take a table: as a loss of numbers does, or one of rows."""
    try:
        return by_losses(read_losses(["mse"]))
    except UsageFailure as error:
        try:
            return by_losses(read_losses(["ce"]))
        except UsageFailure:
            raise UsageFailure(str(error).replace("mse takes", "metrics take")) from None


class Totals:
    """Metrics over batches that may be computed side by side, and are merged in order."""

    def __init__(self, asked: list[Asked]) -> None:
        self.asked = asked
        self.scorer = self.fresh()

    def fresh(self) -> Any:
        """A scorer without rows; None where no metric is asked for."""
        if not self.asked:
            return None
        from ..metrics import Scorer

        return Scorer(metrics={one.text: one.metric for one in self.asked})

    def compile(self, layout: Layout) -> None:
        """Compile what batches need, or load it from disk: their time is that of the work."""
        example = layout.example(EXAMPLE_ROWS)
        prediction, target, *weight = example.arrays
        if target.ndim == 1 and target.dtype.kind == "f":
            target = np.arange(len(target), dtype=np.float64) % 2.0
        # Where a metric wants something else, the data will say so.
        with contextlib.suppress(Failure):
            part = self.of_batch(example._replace(arrays=(prediction, target, *weight)), False)
            if part is not None:
                part.compute()

    def of_batch(self, batch: Batch, skip_nan: bool) -> Any:
        """A scorer of one batch, whose arrays are prediction, target and weight."""
        if not self.asked:
            return None
        arrays = without_nan(batch.arrays)[1] if skip_nan else batch.arrays
        try:
            return self.fresh().update(*arrays)
        except (TypeError, ValueError) as error:
            rows = f"rows {batch.start} to {batch.start + len(batch.arrays[0]) - 1}"
            raise Failure(f"in {rows}: {first_line(error)}") from None

    def add(self, part: Any) -> None:
        """Add what :meth:`of_batch` has made."""
        if part is not None:
            self.scorer.merge(part)

    def results(self) -> list[tuple[Asked, Any]]:
        """What each metric comes to."""
        if not self.asked:
            return []
        try:
            found = self.scorer.compute()
        except ValueError as error:
            raise Failure(first_line(error)) from None
        return [(one, found[one.text]) for one in self.asked]


def lines(value: Any) -> Iterator[str]:
    """A result in text: a number, numbers of classes, a matrix."""
    if np.ndim(value) == 0:
        yield f"{value:.8g}"
        return
    for row in np.atleast_2d(value):
        yield "  ".join(f"{one:.6g}" for one in row)
