"""Metrics that each class has, and that are averaged over classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import weights
from .classification import OfLabels, ratio
from .exact import quotient
from .label_sets import label_sets
from .moments import Moments

_AVERAGES = ("binary", "macro", "micro", "weighted", "samples", None)


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
        if self.options["average"] == "samples":
            if self.options["labels"] is not None:
                raise ValueError("labels= does not go with average='samples'")
            self.shared = False  # each row has a value of its own

    def accumulator(self) -> Any:
        if self.options["average"] == "samples":
            return Moments(("weight", "prediction"))
        return super().accumulator()

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """Add rows."""
        if self.options["average"] != "samples":
            return super().update(prediction, target, sample_weight)
        values = self.of_each_row(prediction, target)
        self.rows.update(values, values, weights(sample_weight, len(values)))
        return self

    def is_mean(self) -> bool:
        return bool(self.options["average"] == "samples")

    def of_each_row(self, prediction: Any, target: Any) -> Any:
        if self.options["average"] != "samples":
            return None
        if np.ndim(target) != 2:
            raise ValueError("average='samples' is that of targets (n, labels)")
        p, t, bad = label_sets(prediction, target, self.options["threshold"])
        counts = [one.sum(axis=1).astype(np.float64) for one in (p & t, p, t)]
        return np.where(bad, np.nan, self.of_classes(*counts))

    def compute(self) -> Any:
        """The average, or an array with a number a class for ``average=None``."""
        average, labels = self.options["average"], self.options["labels"]
        if average == "samples":
            known = bool(self.rows.outputs)
            found = [self.rows.of(0, kind) for kind in ("prediction", "weight")] if known else []
            return quotient(*found) if known else math.nan
        if self.rows.sets is not None:
            return self._of_sets(average, labels)
        names, matrix = self.rows.matrix()
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
        return self._averaged(average if average != "binary" else "macro", right, predicted, actual)

    def _of_sets(self, average: Any, labels: Any) -> Any:
        """That of targets with several labels a row."""
        if average == "binary":
            raise ValueError(
                "targets (n, labels) have no positive class: choose an average of 'macro', "
                "'micro', 'weighted', 'samples' or None"
            )
        if self.rows.nan:
            return math.nan
        counts = self.rows.sets.counts()
        if labels is not None:
            most = self.rows.sets.labels
            if not all(isinstance(one, int) and 0 <= one < most for one in labels):
                raise ValueError(f"labels= of targets (n, labels) are places from 0 to {most - 1}")
            counts = [one[labels] for one in counts]
        return self._averaged(average, *counts)

    def _averaged(self, average: Any, right: Any, predicted: Any, actual: Any) -> Any:
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
    average : {"binary", "macro", "micro", "weighted", "samples", None}
        ``"binary"``: of ``pos_label`` alone; ``"macro"``: the mean over classes; ``"weighted"``:
        that weighed by how often each is the target; ``"micro"``: of all classes' counts
        together; ``"samples"``: the mean over rows of targets (n, labels); None: an array, a
        number a class, in the order of sorted labels.
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
        return ratio(right, predicted, self.options["zero_division"])


class Recall(OfClasses):
    __doc__ = (
        r"""Share of the targets of a class that is found, :math:`TP / (TP + FN)`.
    """
        + _OF_CLASSES
    )

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        return ratio(right, actual, self.options["zero_division"])


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
            return ratio(right, actual, self.options["zero_division"])
        below = square * actual + predicted
        return ratio((1.0 + square) * right, below, self.options["zero_division"])


class Jaccard(OfClasses):
    __doc__ = (
        r"""Intersection over union of predictions and targets, :math:`TP / (TP + FP + FN)`.
    """
        + _OF_CLASSES
    )

    def of_classes(self, right: Any, predicted: Any, actual: Any) -> np.ndarray:
        return ratio(right, predicted + actual - right, self.options["zero_division"])
