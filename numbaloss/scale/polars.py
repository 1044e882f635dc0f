"""Losses and metrics as expressions of polars: ``pl.col("prediction").numbaloss``.

>>> import polars as pl
>>> import numbaloss as nl
>>> import numbaloss.scale.polars
>>> frame = pl.DataFrame({"prediction": [1.0, 2.0, 4.0], "target": [1.0, 2.0, 3.0]})
>>> prediction = pl.col("prediction").numbaloss
>>> frame.select(prediction.values(nl.SquaredError(), "target")).to_series().to_list()
[0.0, 0.0, 1.0]
>>> frame.select(prediction.metric("mae", "target")).item()
0.3333333333333333

Expressions of a number work in ``group_by(...).agg(...)`` too, those of a number a row in streams.
Frames, lazy ones included, go through a :class:`numbaloss.Scorer` by
:func:`numbaloss.scale.arrow.score`, batch by batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

try:
    import polars as pl
except ImportError as error:
    raise ImportError("polars is not installed: python -m pip install polars") from error

from ..core.loss import Loss
from ..metrics import Mean, Metric, find

__all__ = ["Expressions"]

Column = Any  # the name of one, or an expression


@pl.api.register_expr_namespace("numbaloss")
class Expressions:
    """What an expression of predictions has as ``.numbaloss``; null counts as NaN.

    Losses take a number a row; targets and weights are names of columns or expressions.
    """

    def __init__(self, prediction: Any) -> None:
        self._prediction = prediction

    def values(self, loss: Loss, target: Column, sample_weight: Column | None = None) -> Any:
        """The value of each row."""

        def work(p: Any, t: Any, w: Any = None) -> Any:
            return loss(p, t, sample_weight=w, reduction="none")  # type: ignore[operator]

        return self._of_rows(loss, work, target, sample_weight)

    def gradient(self, loss: Loss, target: Column, sample_weight: Column | None = None) -> Any:
        """The derivative of each row's value by its prediction."""

        def work(p: Any, t: Any, w: Any = None) -> Any:
            return loss.value_and_grad(  # type: ignore[attr-defined]
                p, t, sample_weight=w, reduction="none"
            )[1]

        return self._of_rows(loss, work, target, sample_weight)

    def mean(
        self,
        loss: Loss,
        target: Column,
        sample_weight: Column | None = None,
        reduction: str = "mean",
    ) -> Any:
        """The mean of a loss, as :class:`numbaloss.Mean` has it."""
        return self._number(lambda: Mean(loss, reduction=reduction), target, sample_weight)

    def metric(
        self, metric: str | Metric, target: Column, sample_weight: Column | None = None
    ) -> Any:
        """A metric that is a number: its name, ``"roc_auc"``, or an object with options."""

        def made() -> Metric:
            if isinstance(metric, str):
                return find(metric)()
            return copy.copy(metric).reset()

        return self._number(made, target, sample_weight)

    def _columns(self, target: Column, sample_weight: Column | None) -> list[Any]:
        columns = [target] if sample_weight is None else [target, sample_weight]
        named = [pl.col(one) if isinstance(one, str) else one for one in columns]
        return [self._prediction, *named]

    def _of_rows(
        self, loss: Any, work: Callable[..., Any], target: Column, sample_weight: Column | None
    ) -> Any:
        if loss.contract.name != "elementwise":
            raise TypeError(f"expressions of rows take losses of a number a row, not {loss!r}")

        def call(series: Sequence[Any]) -> Any:
            return pl.Series(work(*[_numbers(one) for one in series]).astype(np.float64))

        return pl.map_batches(
            self._columns(target, sample_weight), call, return_dtype=pl.Float64, is_elementwise=True
        )

    def _number(self, made: Callable[[], Any], target: Column, sample_weight: Column | None) -> Any:
        def call(series: Sequence[Any]) -> float:
            return float(made().update(*[_array(one) for one in series]).compute())

        return pl.map_batches(
            self._columns(target, sample_weight), call, return_dtype=pl.Float64, returns_scalar=True
        )


def _array(series: Any) -> np.ndarray:
    """Texts as texts, numbers as they are."""
    if series.dtype in (pl.String, pl.Categorical) or isinstance(series.dtype, pl.Enum):
        return np.array(series.to_list(), object)
    return series.to_numpy()


def _numbers(series: Any) -> np.ndarray:
    """Floats, as losses take them."""
    array = series.to_numpy()
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
