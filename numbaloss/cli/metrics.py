"""Metrics as they are written on a command line, over batches of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
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
    except Failure as error:
        try:
            return by_losses(read_losses(["ce"]))
        except Failure:
            raise type(error)(str(error).replace("mse takes", "metrics take")) from None


class Totals:
    """Metrics over batches that may be computed side by side, and are merged in order.

    By groups, where ``by`` names their column: then of losses too.
    """

    def __init__(
        self,
        asked: Sequence[Asked] = (),
        chosen: Sequence[Chosen] = (),
        reduction: str = "mean",
        by: str | None = None,
    ) -> None:
        self.asked, self.by = list(asked), by
        self.losses = {} if by is None else {one.text: one.loss for one in chosen}
        self.reduction = reduction
        # The same over all rows, where groups are apart.
        self.scorer, self.apart = self.fresh(False), self.fresh(True) if by else None

    def fresh(self, by: bool) -> Any:
        """A scorer without rows; None where there is nothing to compute."""
        losses = self.losses if by else {}
        if not self.asked and not losses:
            return None
        from ..metrics import Mean, Scorer

        means = {text: Mean(loss, reduction=self.reduction) for text, loss in losses.items()}
        # A loss and a metric may be written alike, as "mse".
        names = {
            one.text: f"metric {one.text}" if one.text in losses else one.text for one in self.asked
        }
        return Scorer(means, {names[one.text]: one.metric for one in self.asked}, by=by)

    def compile(self, layout: Layout) -> None:
        """Compile what batches need, or load it from disk: their time is that of the work."""
        example = layout.example(EXAMPLE_ROWS)
        prediction, target, *weight = example.arrays
        if target.ndim == 1 and target.dtype.kind == "f":
            target = np.arange(len(target), dtype=np.float64) % 2.0
        keys = np.full(len(target), "")
        # Where a metric wants something else, the data will say so.
        with contextlib.suppress(Failure):
            arrays = prediction, target, *weight
            for part in self.of_batch(example._replace(arrays=arrays, keys=keys), False):
                if part is not None:
                    part.compute()

    def of_batch(self, batch: Batch, skip_nan: bool) -> tuple[Any, Any]:
        """Scorers of one batch, whose arrays are prediction, target and weight."""
        kept, arrays = without_nan(batch.arrays) if skip_nan else (None, batch.arrays)
        whole, apart = self.fresh(False), None
        keys = batch.keys if kept is None or batch.keys is None else batch.keys[kept]
        try:
            if self.by is not None and keys is not None:
                apart = self.fresh(True).update(*arrays, by=keys)
            if whole is not None:
                whole.update(*arrays)
        except (TypeError, ValueError) as error:
            rows = f"rows {batch.start} to {batch.start + len(batch.arrays[0]) - 1}"
            raise Failure(f"in {rows}: {first_line(error)}") from None
        return whole, apart

    def add(self, parts: tuple[Any, Any]) -> None:
        """Add what :meth:`of_batch` has made."""
        for total, part in zip((self.scorer, self.apart), parts):
            if part is not None:
                total.merge(part)

    def results(self) -> list[tuple[Asked, Any]]:
        """What each metric comes to."""
        if not self.asked:
            return []
        found = _computed(self.scorer)
        return [(one, found[one.text]) for one in self.asked]

    def groups(self) -> dict[str, dict[str, Any]]:
        """What each group comes to, by the texts of losses and metrics."""
        return {} if self.apart is None else _computed(self.apart)


def _computed(scorer: Any) -> Any:
    try:
        return scorer.compute()
    except ValueError as error:
        raise Failure(first_line(error)) from None


def lines(value: Any) -> Iterator[str]:
    """A result in text: a number, numbers of classes, a matrix."""
    if np.ndim(value) == 0:
        yield f"{value:.8g}"
        return
    for row in np.atleast_2d(value):
        yield "  ".join(f"{one:.6g}" for one in row)
