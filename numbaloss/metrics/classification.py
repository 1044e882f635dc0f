"""Metrics of labels: how often they are right, and which are taken for which."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .base import Metric, on_host
from .confusion import Confusion, labels_of, predicted_labels
from .label_sets import label_sets


def ratio(above: Any, below: Any, otherwise: float) -> np.ndarray:
    """Quotients, and ``otherwise`` where there is nothing to divide by."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(all="ignore"):
        return np.where(below == 0.0, otherwise, above / np.where(below == 0.0, 1.0, below))


class OfLabels(Metric):
    """Base of metrics of labels, or of scores that labels are made of.

    Predictions are labels (integers, booleans, strings), scores (n,) of the positive class, which
    is predicted above ``threshold``, or scores (n, C) of classes 0 to C - 1, of which the highest
    counts. Targets are labels; accuracy and what classes have apart take targets (n, labels) of 0
    and 1 too, with predictions of 0 and 1 or scores of that shape.
    """

    def __init__(self, *, threshold: float | None = None, **options: Any) -> None:
        super().__init__(threshold=threshold, **options)

    def accumulator(self) -> Any:
        return Confusion(self.options["threshold"])

    def compute(self) -> Any:
        """The number; NaN where there are no rows, or a prediction was NaN."""
        _, matrix = self.rows.matrix()
        if not matrix.size or self.rows.nan or not matrix.any():
            return math.nan
        return float(self.of_matrix(matrix))

    def of_matrix(self, matrix: np.ndarray) -> float:
        """The metric of a matrix with a row a target, a column a prediction."""
        raise NotImplementedError


class Accuracy(OfLabels):
    r"""Share of labels that are right; of targets (n, labels) that of rows that are right in all.

    Parameters
    ----------
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    def compute(self) -> Any:
        sets = self.rows.sets
        if sets is None:
            return super().compute()
        return math.nan if self.rows.nan else sets.share()

    def of_matrix(self, matrix: np.ndarray) -> float:
        return np.trace(matrix) / matrix.sum()

    def is_mean(self) -> bool:
        return True

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray | None:
        t = on_host(target, "target")
        if t.ndim == 2:
            p, t, bad = label_sets(prediction, t, self.options["threshold"])
            return np.where(bad, np.nan, (p == t).all(axis=1))
        t = labels_of(t, "target")
        scores = on_host(prediction, "prediction")
        p, bad = predicted_labels(scores, t, self.options["threshold"])
        found = (labels_of(p, "prediction") == t).astype(np.float64)
        return found if bad is None else np.where(bad, np.nan, found)


class BalancedAccuracy(OfLabels):
    r"""Mean over classes of the share of their rows that is right.

    Classes without a target do not count.

    Parameters
    ----------
    adjusted : bool
        Whether chance, one over the number of classes, becomes 0.
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    def __init__(self, *, adjusted: bool = False, threshold: float | None = None) -> None:
        super().__init__(adjusted=adjusted, threshold=threshold)

    def of_matrix(self, matrix: np.ndarray) -> float:
        of_class = matrix.sum(axis=1)
        shares = (np.diag(matrix) / np.where(of_class == 0, 1, of_class))[of_class > 0]
        score = shares.mean()
        if self.options["adjusted"]:
            chance = 1.0 / len(shares)
            return (score - chance) / (1.0 - chance) if len(shares) > 1 else math.nan
        return score


class ConfusionMatrix(OfLabels):
    r"""How often each label (columns) was predicted for each target (rows).

    Of integers without weights, else of floats.

    Parameters
    ----------
    labels : list, optional
        The labels that count, and their order; by default all, sorted.
    normalize : {None, "true", "pred", "all"}
        Divide by the sums of rows, of columns, or of all.
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    def __init__(
        self, *, labels: Any = None, normalize: str | None = None, threshold: float | None = None
    ) -> None:
        super().__init__(
            labels=None if labels is None else list(labels),
            normalize=normalize,
            threshold=threshold,
        )

    def validate(self) -> None:
        if self.options["normalize"] not in (None, "true", "pred", "all"):
            raise ValueError(
                f"normalize must be None, 'true', 'pred' or 'all', not "
                f"{self.options['normalize']!r}"
            )

    def compute(self) -> np.ndarray:
        """The matrix."""
        _, matrix = self.rows.matrix(self.options["labels"])
        by = self.options["normalize"]
        if by is None:
            return matrix
        axis = {"true": 1, "pred": 0, "all": None}[by]
        return ratio(matrix, matrix.sum(axis=axis, keepdims=True), 0.0)


class MatthewsCorrelation(OfLabels):
    r"""Matthews' correlation coefficient, for any number of classes; 0 where it is undefined.

    Parameters
    ----------
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    def of_matrix(self, matrix: np.ndarray) -> float:
        # In Python's integers and fractions: differences of products overflow or cancel.
        cells = matrix.astype(object)
        if matrix.dtype.kind == "f":
            cells = np.vectorize(Fraction, otypes=[object])(matrix)
        right, total = np.trace(cells), cells.sum()
        actual, predicted = cells.sum(axis=1), cells.sum(axis=0)
        above = right * total - (actual * predicted).sum()
        of_actual = total * total - (actual * actual).sum()
        of_predicted = total * total - (predicted * predicted).sum()
        if min(of_actual, of_predicted) <= 0:
            return 0.0
        return float(above) / (math.sqrt(of_actual) * math.sqrt(of_predicted))


class CohenKappa(OfLabels):
    r"""Cohen's kappa: agreement beyond what chance gives, 1 for all, 0 for chance.

    Parameters
    ----------
    weights : {None, "linear", "quadratic"}
        How much a disagreement counts: all alike, by the distance between the places of labels in
        their order, or by its square.
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    _powers: ClassVar = {None: 0, "linear": 1, "quadratic": 2}

    def __init__(self, *, weights: str | None = None, threshold: float | None = None) -> None:
        super().__init__(weights=weights, threshold=threshold)

    def validate(self) -> None:
        if self.options["weights"] not in self._powers:
            raise ValueError(
                f"weights must be None, 'linear' or 'quadratic', not {self.options['weights']!r}"
            )

    def of_matrix(self, matrix: np.ndarray) -> float:
        places = np.arange(len(matrix))
        distance = np.abs(places[:, None] - places[None, :]).astype(np.float64)
        power = self._powers[self.options["weights"]]
        cost = (distance > 0).astype(np.float64) if power == 0 else distance**power
        expected = np.outer(matrix.sum(axis=1), matrix.sum(axis=0).astype(np.float64))
        by_chance = (cost * expected).sum() / matrix.sum()
        return 1.0 - (cost * matrix).sum() / by_chance if by_chance else math.nan
