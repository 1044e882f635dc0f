"""Metrics as they are written on a command line, over batches of a table."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from .batches import known_rows
from .failures import Failure, UsageFailure, first_line
from .layout import EXAMPLE_ROWS, Layout
from .specification import Chosen, parameters, slug
from .tables import Batch


class Asked(NamedTuple):
    """A metric that the user asked for."""

    name: str
    text: str
    metric: Any


class Comparison(NamedTuple):
    """What a loss or a metric says of two predictions."""

    text: str
    name: str
    value: Any
    other: Any
    difference: float | None = None  # None where there is no single number
    standard_error: float | None = None  # None where it is no mean over rows
    better: str | None = None  # "prediction", "other" or "neither", by the difference of rows


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


class Totals:
    """Metrics over batches that may be computed side by side, and are merged in order.

    Of all rows; by groups, where ``by`` names their column, then of losses too; of a second
    prediction, and of the differences between both; by bins of probabilities.
    """

    def __init__(
        self,
        asked: Sequence[Asked] = (),
        chosen: Sequence[Chosen] = (),
        reduction: str = "mean",
        by: str | None = None,
        compare: bool = False,
        bins: int | None = None,
        whole: bool = False,
    ) -> None:
        self.asked, self.chosen = list(asked), list(chosen)
        self.reduction, self.by, self.compare, self.bins = reduction, by, compare, bins
        self.whole = whole
        losses = {one.text for one in chosen} if by or compare else set()
        # A loss and a metric may be written alike, as "mse".
        self.names = {
            one.text: f"metric {one.text}" if one.text in losses else one.text for one in asked
        }
        self.parts = self._parts()

    def _parts(self) -> dict[str, Any]:
        """What is kept, without rows."""
        parts: dict[str, Any] = {}
        if self.asked:
            parts["whole"] = self._scorer(False, False)
        if self.by is not None and (self.asked or self.chosen):
            parts["apart"] = self._scorer(True, True)
        if self.compare:
            from ..metrics.means import Difference

            parts["other"] = self._scorer(True, False)
            for chosen in self.chosen:
                parts[f"difference {chosen.text}"] = Difference(chosen.loss)
            for one in self.asked:
                if one.metric.is_mean():
                    parts[f"difference {self.names[one.text]}"] = Difference(one.metric)
        if self.bins is not None:
            from ..metrics.probabilities import CalibrationError

            parts["bins"] = CalibrationError(bins=self.bins)
        return parts

    def _scorer(self, losses: bool, by: bool) -> Any:
        from ..metrics import Mean, Scorer

        means = {
            one.text: Mean(one.loss, reduction=self.reduction)
            for one in (self.chosen if losses else ())
        }
        return Scorer(means, {self.names[one.text]: one.metric for one in self.asked}, by=by)

    def fresh(self) -> Self:
        """The same without rows."""
        made = copy.copy(self)
        made.parts = self._parts()
        return made

    def compile(self, layout: Layout) -> None:
        """Compile what batches need, or load it from disk: their time is that of the work."""
        example = layout.example(EXAMPLE_ROWS)
        prediction, target, *weight = example.arrays
        if target.ndim == 1 and target.dtype.kind == "f":
            target = np.arange(len(target), dtype=np.float64) % 2.0
        if self.whole:
            prediction = target
        batch = example._replace(
            arrays=(prediction, target, *weight), keys=np.full(len(target), ""), other=prediction
        )
        # Where a metric wants something else, the data will say so.
        with contextlib.suppress(Failure, ValueError):
            made = self.fresh().update(batch, False)
            for part in made.parts.values():
                part.compute()

    def update(self, batch: Batch, skip_nan: bool) -> Self:
        """Add a batch, whose arrays are prediction, target and weight."""
        if not self.parts:
            return self
        kept, arrays = known_rows(batch) if skip_nan else (None, batch.arrays)
        keys, other = [
            one if kept is None or one is None else one[kept] for one in (batch.keys, batch.other)
        ]
        if self.whole:
            arrays = (_labels(arrays[0], batch), *arrays[1:])
            other = None if other is None else _labels(other, batch)
        for name, part in self.parts.items():
            try:
                if name == "apart":
                    part.update(*arrays, by=keys)
                elif name == "other":
                    part.update(other, *arrays[1:])
                elif name.startswith("difference "):
                    first = arrays[0] if other is None else _like_loss(part, arrays[0])
                    part.update(first, _like_loss(part, other), *arrays[1:])
                else:
                    part.update(*arrays)
            except (TypeError, ValueError) as error:
                raise _in_rows(error, batch, arrays) from None
        return self

    def merge(self, other: Self) -> None:
        """Add the rows of another."""
        for name, part in self.parts.items():
            part.merge(other.parts[name])

    def results(self) -> list[tuple[Asked, Any]]:
        """What each metric comes to."""
        if not self.asked:
            return []
        found = _computed(self.parts["whole"])
        return [(one, found[self.names[one.text]]) for one in self.asked]

    def groups(self) -> dict[str, dict[str, Any]]:
        """What each group comes to, by the texts of losses and metrics."""
        return _computed(self.parts["apart"]) if "apart" in self.parts else {}

    def comparisons(self, values: dict[str, float]) -> list[Comparison]:
        """Both predictions; ``values`` are those of losses, of the first one."""
        if not self.compare:
            return []
        others = _computed(self.parts["other"])
        both = [(one.text, one.name, values[one.text]) for one in self.chosen]
        both += [(self.names[one.text], one.name, value) for one, value in self.results()]
        found = []
        for text, name, value in both:
            other, rows = others[text], self.parts.get(f"difference {text}")
            if rows is not None:
                found.append(
                    Comparison(
                        text, name, value, other, rows.compute(), rows.standard_error(),
                        rows.better(),
                    )
                )  # fmt: skip
            else:
                single = np.ndim(value) == 0
                found.append(
                    Comparison(text, name, value, other, other - value if single else None)
                )
        return found

    def reliability(self) -> dict[str, list[float]] | None:
        """The bins of probabilities: edges, rows or their weights, means of both."""
        if self.bins is None:
            return None
        table = self.parts["bins"].table()
        edges = np.linspace(0.0, 1.0, self.bins + 1)
        found = {"from": edges[:-1], "to": edges[1:], **table}
        return {name: column.tolist() for name, column in found.items()}


def _like_loss(difference: Any, prediction: Any) -> Any:
    """Labels as floats where a loss takes them."""
    of_loss = not hasattr(difference.loss, "is_mean")
    whole = prediction.dtype.kind == "i"
    return prediction.astype(np.float64) if of_loss and whole else prediction


def _labels(values: np.ndarray, batch: Batch) -> np.ndarray:
    """Predictions that were stored as integers, as such; texts as they are."""
    if values.dtype.kind != "f":
        return values
    odd = values != np.floor(values)  # NaN too
    if odd.any():
        place = batch.place(int(odd.argmax()))
        number = values[odd][0]
        if np.isnan(number):
            raise Failure(f"the prediction of {place} is missing; --skip-nan leaves such rows out")
        raise Failure(
            f"the prediction of {place} is {number:.17g}, after integers, which are taken for "
            f"labels; write them as 1.0, or labels without fractions"
        )
    return values.astype(np.int64)


def _in_rows(error: Exception, batch: Batch, arrays: tuple[np.ndarray, ...]) -> Failure:
    """An error of a metric, with the rows that it is about."""
    said, target = first_line(error), batch.arrays[1]
    if "NaN" in said and target.dtype.kind == "f" and np.isnan(target).any():
        odd = np.isnan(target) if target.ndim == 1 else np.isnan(target).any(axis=1)
        place = batch.place(int(odd.argmax()))
        return Failure(f"the target of {place} is missing; --skip-nan leaves such rows out")
    last = len(batch.arrays[0]) - 1
    start = batch.start if batch.start >= 0 else batch.start_in_part
    part = f" of {batch.part}" if batch.start < 0 else ""
    return Failure(f"in rows {start} to {start + last}{part}: {said}")


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


def numbers(name: str, value: Any) -> dict[str, float]:
    """A result as numbers by name: ``f_beta_0`` of a class, ``confusion_matrix_0_1`` of a cell."""
    array = np.asarray(value)
    if array.ndim == 0:
        return {name: float(value) if value is not None else math.nan}
    return {
        "_".join([name, *map(str, place)]): float(array[place]) for place in np.ndindex(array.shape)
    }
