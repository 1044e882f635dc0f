"""Metrics of how well scores order rows: areas under curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import Metric
from .scores import Bins, Scores

_AVERAGES = ("macro", "weighted", None)


class Area(Metric):
    """Base of areas under curves of scores."""

    place: int

    def __init__(
        self, *, average: str | None = "macro", bins: int | None = None, **options: Any
    ) -> None:
        super().__init__(average=average, bins=bins, **options)

    def validate(self) -> None:
        bins = self.options["bins"]
        if self.options["average"] not in _AVERAGES:
            raise ValueError(f"average must be one of {_AVERAGES}, not {self.options['average']!r}")
        if bins is not None and not (isinstance(bins, int) and 2 <= bins <= 1 << 16):
            raise ValueError(f"bins must be None or an integer from 2 to 65536, not {bins!r}")

    def accumulator(self) -> Any:
        return Scores() if self.options["bins"] is None else Bins(self.options["bins"])

    def compute(self) -> Any:
        """The area; an array for ``average=None``; NaN where there is but one kind of rows."""
        if self.options["bins"] is not None:
            low, high = self._ends()
            return 0.5 * (low + high)
        found = [self.rows.areas(column) for column in range(self.rows.columns)]
        if not found:
            return math.nan
        values = np.array([one[self.place] for one in found])
        if self.options["average"] is None:
            return values
        if len(values) == 1:
            return float(values[0])
        if self.options["average"] == "weighted":
            shares = np.array([one[0] for one in found])
            return float((values * shares).sum() / shares.sum()) if shares.sum() else math.nan
        return float(values.mean())

    def error_bound(self) -> float:
        """How far the area can be from that of the scores themselves; 0 without bins."""
        if self.options["bins"] is None:
            return 0.0
        low, high = self._ends()
        return 0.5 * (high - low)

    def _ends(self) -> tuple[float, float]:
        """The area if positives came last in each bin, and if they came first."""
        if self.rows.nan:
            return math.nan, math.nan
        return self.ends(*self.rows.counts())

    def ends(self, positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
        raise NotImplementedError


class RocAuc(Area):
    r"""Area under the ROC curve: the share of pairs of a positive and a negative in right order.

    Ties count half. Predictions are scores (n,) of the positive class with targets 0 and 1, or
    (n, labels) with targets of that shape, or (n, classes) with labels: then each class against
    all others.

    Parameters
    ----------
    average : {"macro", "weighted", None}
        Of several columns: the mean, that weighed by the number of positives, or an array.
    bins : int, optional
        Keep counts in so many equal bins of probabilities in the place of all scores: flat memory,
        and an area that is at most ``error_bound()`` off.
    multi_class : {"ovr", "ovo"}
        Of classes with labels: each against all others, or the mean over pairs of classes of both
        areas of one against the other (Hand and Till, 2001), which the shares of classes do not
        change; ``"weighted"`` weighs pairs by their rows.
    """

    place = 2

    def __init__(
        self, *, average: str | None = "macro", bins: int | None = None, multi_class: str = "ovr"
    ) -> None:
        super().__init__(average=average, bins=bins, multi_class=multi_class)

    def validate(self) -> None:
        super().validate()
        if self.options["multi_class"] not in ("ovr", "ovo"):
            raise ValueError(
                f"multi_class must be 'ovr' or 'ovo', not {self.options['multi_class']!r}"
            )
        if self.options["multi_class"] == "ovo" and self.options["bins"] is not None:
            raise ValueError("multi_class='ovo' does not go with bins=")
        if self.options["multi_class"] == "ovo" and self.options["average"] is None:
            raise ValueError("multi_class='ovo' has an average, 'macro' or 'weighted'")

    def compute(self) -> Any:
        if self.options["multi_class"] == "ovr" or self.rows.columns < 2:
            return super().compute()
        if any((t.sum(axis=1) != 1).any() for _, t, _ in self.rows.parts):
            raise ValueError("multi_class='ovo' takes one label a row")
        values, shares = [], []
        for a in range(self.rows.columns):
            for b in range(a):
                pair = self.rows.areas(a, b), self.rows.areas(b, a)
                values.append(0.5 * (pair[0][self.place] + pair[1][self.place]))
                shares.append(pair[0][0] + pair[0][1])
        if self.options["average"] == "macro":
            return math.fsum(values) / len(values)
        return math.fsum(map(math.prod, zip(values, shares))) / math.fsum(shares)

    def ends(self, positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
        total = positive.sum() * negative.sum()
        if not total:
            return math.nan, math.nan
        before = np.cumsum(positive) - positive
        least = (negative * before).sum()
        return float(least / total), float((least + (negative * positive).sum()) / total)


class AveragePrecision(Area):
    r"""Average precision, :math:`\sum_k (R_k - R_{k-1}) P_k` over the thresholds of scores.

    Not interpolated, as in scikit-learn. Arguments as of :class:`RocAuc`.

    Parameters
    ----------
    average : {"macro", "weighted", None}
        Of several columns: the mean, that weighed by the number of positives, or an array.
    bins : int, optional
        Keep counts in so many equal bins of probabilities in the place of all scores: flat memory,
        and an area that is at most ``error_bound()`` off.
    """

    place = 3

    def ends(self, positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
        total = positive.sum()
        if not total:
            return math.nan, math.nan
        p, n = np.cumsum(positive), np.cumsum(negative)
        any_of = positive > 0
        # No row of a bin has less than the precision before it with all its negatives, and none
        # more than that with its positives alone.
        least = (p - positive) / np.maximum(p - positive + n, 1e-300)
        most = p / np.maximum(p + n - negative, 1e-300)
        low, high = [float((positive * one)[any_of].sum() / total) for one in (least, most)]
        return low, min(1.0, high)
