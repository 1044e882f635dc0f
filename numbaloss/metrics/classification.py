"""Metrics of labels: how often they are right, and which are taken for which."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .base import Metric
from .confusion import Confusion

_AVERAGES = ("binary", "macro", "micro", "weighted", None)


def _ratio(above: Any, below: Any, otherwise: float) -> np.ndarray:
    """Quotients, and ``otherwise`` where there is nothing to divide by."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(all="ignore"):
        return np.where(below == 0.0, otherwise, above / np.where(below == 0.0, 1.0, below))


class OfLabels(Metric):
    """Base of metrics of labels, or of scores that labels are made of.

    Predictions are labels (integers, booleans, strings), scores (n,) of the positive class, which
    is predicted above ``threshold``, or scores (n, C) of classes 0 to C - 1, of which the highest
    counts. Targets are labels.
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
    r"""Share of labels that are right.

    Parameters
    ----------
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """

    def of_matrix(self, matrix: np.ndarray) -> float:
        return np.trace(matrix) / matrix.sum()


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


class OfClasses(OfLabels):
    """Base of metrics that each class has, and that are averaged over classes."""

    def __init__(
        self,
        *,
        average: str | None = "binary",
        labels: Any = None,
        pos_label: Any = 1,
        zero_division: float = 0.0,
        threshold: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            average=average,
            labels=None if labels is None else list(labels),
            pos_label=pos_label,
            zero_division=float(zero_division),
            threshold=threshold,
            **options,
        )

    def validate(self) -> None:
        if self.options["average"] not in _AVERAGES:
            raise ValueError(f"average must be one of {_AVERAGES}, not {self.options['average']!r}")

    def compute(self) -> Any:
        """The average, or an array with a number a class for ``average=None``."""
        names, matrix = self.rows.matrix()
        average, labels = self.options["average"], self.options["labels"]
        if self.rows.nan or not matrix.any():
            return math.nan
        if average == "binary":
            if len(names) > 2:
                raise ValueError(
                    f"there are {len(names)} labels, {names[:5]}...; for more than two choose an "
                    f"average of 'macro', 'micro', 'weighted' or None"
                )
            positive = self.options["pos_label"]
            if positive not in names and len(names) == 2:
                raise ValueError(f"pos_label={positive!r} is none of the labels {names}")
            labels = [positive]
        right, predicted, actual = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        if labels is not None:
            place = {name: one for one, name in enumerate(names)}
            chosen = [place.get(label, -1) for label in labels]
            right, predicted, actual = [
                np.append(one, 0)[chosen] for one in (right, predicted, actual)
            ]
        if average == "micro":
            sums = [np.array([one.sum()]) for one in (right, predicted, actual)]
            return float(self.of_classes(*sums)[0])
        found = self.of_classes(right, predicted, actual)
        if average is None:
            return found
        if average == "weighted":
            total = actual.sum()
            if total == 0:
                return self.options["zero_division"]
            return float((found * actual).sum() / total)
        return float(found.mean())

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        """The metric of each class, of how often it was right, predicted, and the target."""
        raise NotImplementedError


_OF_CLASSES: str = """
    Parameters
    ----------
    average : {"binary", "macro", "micro", "weighted", None}
        ``"binary"``: of ``pos_label`` alone; ``"macro"``: the mean over classes; ``"weighted"``:
        that weighed by how often each is the target; ``"micro"``: of all classes' counts
        together; None: an array, a number a class, in the order of sorted labels.
    labels : list, optional
        The classes that count, and their order.
    pos_label : label
        The positive class of ``average="binary"``.
    zero_division : float
        What stands for nothing over nothing.
    threshold : float or None
        What scores (n,) are compared with; None: 0.5, and they must be probabilities.
    """


class Precision(OfClasses):
    __doc__ = (
        r"""Share of the predictions of a class that is right, :math:`TP / (TP + FP)`.
    """
        + _OF_CLASSES
    )

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        return _ratio(right, predicted, self.options["zero_division"])


class Recall(OfClasses):
    __doc__ = (
        r"""Share of the targets of a class that is found, :math:`TP / (TP + FN)`.
    """
        + _OF_CLASSES
    )

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        return _ratio(right, actual, self.options["zero_division"])


class FBeta(OfClasses):
    __doc__ = (
        r"""F-measure, :math:`(1 + \beta^2) TP / (TP + FP + \beta^2 (TP + FN))`.

    The harmonic mean of precision and recall, recall :math:`\beta` times as important: Dice's
    coefficient for 1. ``beta`` (float >= 0) comes with the parameters below.
    """
        + _OF_CLASSES
    )

    def __init__(
        self,
        *,
        beta: float = 1.0,
        average: str | None = "binary",
        labels: Any = None,
        pos_label: Any = 1,
        zero_division: float = 0.0,
        threshold: float | None = None,
    ) -> None:
        super().__init__(
            beta=float(beta),
            average=average,
            labels=labels,
            pos_label=pos_label,
            zero_division=zero_division,
            threshold=threshold,
        )

    def validate(self) -> None:
        super().validate()
        if not self.options["beta"] >= 0.0:
            raise ValueError(f"beta must be >= 0, not {self.options['beta']}")

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        square = self.options["beta"] ** 2
        if math.isinf(square):
            return _ratio(right, actual, self.options["zero_division"])
        below = square * actual + predicted
        return _ratio((1.0 + square) * right, below, self.options["zero_division"])


class Jaccard(OfClasses):
    __doc__ = (
        r"""Intersection over union of predictions and targets, :math:`TP / (TP + FP + FN)`.
    """
        + _OF_CLASSES
    )

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        return _ratio(right, predicted + actual - right, self.options["zero_division"])


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
        return _ratio(matrix, matrix.sum(axis=axis, keepdims=True), 0.0)


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
