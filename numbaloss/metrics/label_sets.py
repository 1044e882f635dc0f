"""Sets of labels, of targets that may have several: how often each was right."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Accumulator, least_of, real
from .exact import Sums


def label_sets(
    prediction: Any, target: Any, threshold: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Booleans (n, labels) of prediction and target, and the rows that have a NaN.

    Predictions are 0 and 1, or scores that are compared with a threshold: 0.5 for probabilities.
    """
    p, t = real(prediction, "prediction"), real(target, "target")
    if p.shape != t.shape:
        exchanged = p.ndim == 1
        raise ValueError(
            f"targets (n, labels) go with predictions of that shape; the shapes are {p.shape} and "
            f"{t.shape}" + (" (are they exchanged?)" if exchanged else "")
        )
    if t.dtype.kind != "b" and not ((t == 0) | (t == 1)).all():
        fractions = t.dtype.kind == "f" and (t != np.floor(t)).any()
        hint = " (are they scores, exchanged with the other argument?)" if fractions else ""
        raise ValueError(f"targets (n, labels) must hold 0 and 1{hint}")
    scores = p.dtype.kind == "f" or p.dtype.name == "bfloat16"
    bad: Any = np.zeros(len(p), bool)
    if scores:
        bad = np.isnan(p.astype(np.float64, copy=False)).any(axis=1)
    if threshold is None and p.size and not (least_of(p) >= 0 and p[~bad].max(initial=0) <= 1):
        raise ValueError(
            "predictions (n, labels) must be 0 and 1, or probabilities; give threshold=0.0 for "
            "logits"
        )
    return p > (0.5 if threshold is None else threshold), t != 0, bad


class LabelSets(Accumulator):
    """Exact sums of the weights of rows, by label: right, predicted, in the target.

    Beside them those of all rows, and of those whose labels are all right.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self.sums = Sums(3 * labels + 2)
        self.weighted = False

    def add(self, p: np.ndarray, t: np.ndarray, w: np.ndarray | None) -> None:
        """Add rows of booleans."""
        if p.shape[1] != self.labels:
            raise ValueError(f"there were {self.labels} labels before, now {p.shape[1]}")
        count = self.labels
        ones = np.ones(len(p), bool)
        right = (p == t).all(axis=1)
        columns = [*(p & t).T, *p.T, *t.T, ones, right]
        if w is None:
            counts = np.array([np.count_nonzero(one) for one in columns], np.float64)
            self.sums.add_by_key(counts, np.arange(3 * count + 2))
            return
        self.weighted = True
        for place, column in enumerate(columns):
            self.sums.add(w[column], place)

    def merge(self, other: Any) -> None:
        if other.labels != self.labels:
            raise ValueError("metrics of different numbers of labels cannot be merged")
        self.sums.merge(other.sums)
        self.weighted |= other.weighted

    def state(self) -> Any:
        return {"labels": self.labels, "weighted": self.weighted, "sums": self.sums.state()}

    def load(self, state: Any) -> None:
        self.labels, self.weighted = state["labels"], state["weighted"]
        self.sums = Sums.from_state(state["sums"])

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each label the weight of rows where it is right, predicted, in the target."""
        found = self.sums.values()[: 3 * self.labels].reshape(3, self.labels)
        return found[0], found[1], found[2]

    def share(self) -> float:
        """The share of rows whose labels are all right."""
        whole, right = self.sums.values()[-2:]
        return float(right / whole) if whole else float("nan")
