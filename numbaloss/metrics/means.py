"""Losses as metrics: means over any number of batches, with their standard errors."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Any

import numpy as np

from ..core.loss import Loss
from ..losses.multiclass import CrossEntropy
from ..registry import get, losses, snake_case
from .base import CHUNK, Metric, named, on_host, weights
from .exact import quotient, rounded
from .moments import Moments

_KINDS = (
    "weight", "prediction", "target", "prediction_square", "product_square",
    "target_weight_square",
)  # fmt: skip
_REDUCTIONS = ("mean", "sum", "weighted_mean")


def described(loss: Any) -> Any:
    """A registered loss as plain numbers: its name and parameters."""
    if isinstance(loss, Metric):
        return copy.copy(loss).reset().state()
    name = snake_case(type(loss).__name__)
    if losses().get(name) is not type(loss):
        raise TypeError(
            f"the state of a metric of {loss!r} is not plain: only losses of the registry have a "
            f"name; pickle the metric"
        )
    plain = [value.tolist() if isinstance(value, np.ndarray) else value for value in loss.values()]
    return [name, dict(zip([one.name for one in loss.parameters()], plain))]


class OfLoss(Metric):
    """Base of metrics that ask a loss for the values of rows."""

    shared = False
    lower_is_better = True

    def __init__(self, loss: Any, **options: Any) -> None:
        if not isinstance(loss, (Loss, Metric)) or (
            isinstance(loss, Metric) and not isinstance(self, Difference)
        ):
            raise TypeError(f"{type(self).__name__} takes a loss, not {loss!r}")
        self.loss: Any = loss
        super().__init__(loss=loss, **options)

    def accumulator(self) -> Any:
        return Moments(_KINDS)

    def state(self) -> dict[str, Any]:
        """All that there is to know, as plain lists and numbers; of registered losses."""
        found = super().state()
        found["options"] = {**found["options"], "loss": described(self.loss)}
        return found

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """The metric that :meth:`state` has described."""
        name, parameters = state["options"]["loss"]
        options = {**state["options"], "loss": get(name, **parameters)}
        return super().from_state({**state, "options": options})

    def of_rows(self, inputs: tuple[Any, ...], w: np.ndarray | None) -> None:
        """Add the values of rows."""
        whole = self.loss.contract.name in ("elementwise", "rows")
        size = len(inputs[0]) if np.ndim(inputs[0]) else 1
        if whole:
            for name, one in zip(("target", "sample_weight"), (inputs[1], w)):
                if one is not None and np.ndim(one) and len(one) != size:
                    raise ValueError(f"{name} has {len(one)} rows, prediction {size}")
        step = size
        if whole and all(isinstance(one, np.ndarray) and one.ndim for one in inputs):
            step = max(1, CHUNK * size // max(1, inputs[0].size))
        for start in range(0, size, step or 1):
            rows = slice(start, start + step)
            some = [one[rows] if step < size else one for one in inputs]
            values = on_host(self.loss(*some, reduction="none"), "values")
            of_weights = None if w is None else w[rows]
            self.add(values, some, of_weights)

    def add(self, values: Any, inputs: list[Any], w: np.ndarray | None) -> None:
        """Add values to the sums."""
        if w is not None and w.shape != values.shape:
            if w.shape != values.shape[: w.ndim]:
                raise ValueError(f"sample_weight must have the shape {values.shape}, not {w.shape}")
            w = np.broadcast_to(w.reshape(w.shape + (1,) * (values.ndim - w.ndim)), values.shape)
        flat = w if w is None else w.reshape(-1)
        values = values.reshape(-1)
        counts: Any = np.ones(values.size)
        options = getattr(self.loss, "row_options", lambda: None)()
        if options is not None:
            values, counts, flat = self._of_labels(options, values, inputs[1], flat)
        if self.options.get("reduction") != "weighted_mean":
            counts = np.ones(values.size)
        self.rows.update(values, counts, flat)

    def _of_labels(self, options: Any, values: Any, target: Any, flat: Any) -> Any:
        """Leave out rows whose label is ignored; how much each other counts by its class."""
        counts, of_class = np.ones(values.size), options.class_weight
        target = on_host(target, "target")
        if target.size != values.size:  # dense
            if of_class is not None:
                counts = target.reshape(values.size, -1).astype(np.float64) @ of_class
            return values, counts, flat
        labels = target.reshape(-1).astype(np.int64)
        if of_class is not None:
            counts = of_class[np.clip(labels, 0, of_class.size - 1)]
        if options.ignore_index is not None:
            kept = labels != options.ignore_index
            values, counts = values[kept], counts[kept]
            flat = None if flat is None else flat[kept]
        return values, counts, flat


class Mean(OfLoss):
    r"""Mean of a loss over batches of any size, and its standard error.

    The mean of ten batches is that of all their rows, not the mean of ten means.

    Parameters
    ----------
    loss : loss
        Of any structure; of those over a batch each batch is one, and its values are added.
    reduction : {"mean", "sum", "weighted_mean"}
        As of calls of losses: ``"mean"`` divides by the number of rows that count,
        ``"weighted_mean"`` by the sum of their weights, class weights included.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaloss as nl
    >>> mean = nl.Mean(nl.SquaredError())
    >>> _ = mean.update(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> mean.update(np.array([3.0]), np.array([0.0])).compute()
    4.333333333333333
    """

    def __init__(self, loss: Any, *, reduction: str = "mean") -> None:
        super().__init__(loss, reduction=reduction)

    def validate(self) -> None:
        if self.options["reduction"] not in _REDUCTIONS:
            raise ValueError(
                f"reduction must be one of {_REDUCTIONS}, not {self.options['reduction']!r}"
            )

    def update(self, *inputs: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """Add rows: what a call of the loss takes, and their weights."""
        of_rows = self.loss.contract.name in ("elementwise", "rows")
        if of_rows and len(inputs) == 3:  # as of other metrics
            *inputs, sample_weight = inputs  # type: ignore[assignment]
        given = tuple(_array(one) for one in inputs)
        w = None if sample_weight is None else on_host(sample_weight, "sample_weight")
        if w is not None:
            weights(w.reshape(-1), w.size)
        self.of_rows(given, w)
        return self

    def compute(self) -> float:
        """The mean or the sum; NaN for the mean of nothing."""
        if not self.rows.outputs:
            return 0.0 if self.options["reduction"] == "sum" else math.nan
        total = self.rows.of(0, "prediction")
        if self.options["reduction"] == "sum":
            return rounded(total)
        return quotient(total, self._below())

    def _below(self) -> Any:
        weighted = self.options["reduction"] == "weighted_mean"
        return self.rows.of(0, "target") if weighted else Fraction(self.rows.count)

    def standard_error(self) -> float:
        """That of the mean, from the spread of rows, taken for independent; NaN below two rows."""
        rows, count = self.rows, self.rows.count
        if self.options["reduction"] == "sum" or count < 2:
            return math.nan
        squares, products = rows.of(0, "prediction_square"), rows.of(0, "product_square")
        total, below = rows.of(0, "prediction"), self._below()
        if isinstance(squares, float) or isinstance(total, float) or not below:
            return math.nan
        mean = total / below
        if self.options["reduction"] == "mean":
            spread = squares - count * mean * mean
        else:
            spread = (
                squares - 2 * mean * products + mean * mean * rows.of(0, "target_weight_square")
            )
        variance = max(rounded(spread * count / (count - 1)), 0.0)
        return math.sqrt(variance) / rounded(below)


def _array(given: Any) -> Any:
    """Lists as arrays; arrays of any library as they are."""
    return np.asarray(given) if isinstance(given, (list, tuple)) else given


class Difference(Mean):
    r"""Mean difference of a loss between two predictions of the same targets: is B better than A?

    Of a metric too, where that is a mean over rows: accuracy, Brier score, absolute error.

    ``update(prediction, other, target)`` adds :math:`\ell(other) - \ell(prediction)` of each row;
    rows are compared in pairs, so that what is hard for both does not count. A mean above two
    standard errors speaks for the first prediction.

    Parameters
    ----------
    loss : loss or metric
        Of numbers or rows.
    """

    def __init__(self, loss: Any) -> None:
        if isinstance(loss, Metric) and not loss.is_mean():
            raise TypeError(f"{loss!r} is no mean over rows, and has no differences of rows")
        super().__init__(loss, reduction="mean")

    def update(self, prediction: Any, other: Any, target: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """Add rows of two predictions and their target."""
        first, second, t = on_host(prediction, "prediction"), on_host(other, "other"), target
        values = [self._values(one, t) for one in (first, second)]
        w = None if sample_weight is None else on_host(sample_weight, "sample_weight")
        self.add(values[1] - values[0], [first, t], w)
        return self

    def _values(self, prediction: np.ndarray, target: Any) -> np.ndarray:
        if not isinstance(self.loss, Metric):
            found = on_host(self.loss(prediction, target, reduction="none"), "values")
            return found.astype(np.float64)
        values = self.loss.of_each_row(prediction, target)
        if values is None:
            raise TypeError(f"{self.loss!r} is no mean over rows, and has no differences of rows")
        return values

    def merge(self, other: Any) -> Any:
        """Add the rows of another difference of the same loss or metric."""
        if isinstance(self.loss, Metric) and repr(self) == repr(other):
            self.rows.merge(other.rows)
            return self
        return super().merge(other)

    def better(self, errors: float = 2.0) -> str:
        """``"prediction"`` or ``"other"``, or ``"neither"`` within so many standard errors."""
        z = self.z()
        if math.isnan(z) or abs(z) <= errors:
            return "neither"
        less_is_better = not isinstance(self.loss, Metric) or self.loss.lower_is_better
        return "prediction" if (z > 0) == less_is_better else "other"

    def z(self) -> float:
        """The mean over its standard error."""
        return quotient(self.compute(), self.standard_error())

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """The metric that :meth:`state` has described."""
        of = state["options"]["loss"]
        if isinstance(of, list):
            return super().from_state({**state, "options": {"loss": of}})
        made = cls(named(of["metric"]).from_state(of))
        made.rows.load(state["rows"])
        return made


class Perplexity(Metric):
    r"""Perplexity of a language model, :math:`\exp` of the mean cross-entropy of its tokens.

    Predictions are logits (..., C), targets labels (...).

    Parameters
    ----------
    ignore_index : int or None
        The label of tokens that do not count.
    """

    shared = False
    lower_is_better = True

    def __init__(self, *, ignore_index: int | None = -100) -> None:
        super().__init__(ignore_index=ignore_index)

    def accumulator(self) -> Any:
        return self._mean().rows

    def _mean(self, rows: Any = None) -> Mean:
        """The mean of the tokens' losses."""
        mean = Mean(CrossEntropy(ignore_index=self.options["ignore_index"]))
        mean.rows = mean.rows if rows is None else rows
        return mean

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """Add tokens."""
        self._mean(self.rows).update(prediction, target, sample_weight=sample_weight)
        return self

    def compute(self) -> float:
        """The perplexity, infinite where its exponential is."""
        mean = self._mean(self.rows).compute()
        with np.errstate(over="ignore"):
            return float(np.exp(mean))
