"""Metrics of probabilities: how good they are, and whether they come true as often as they say."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from . import terms
from .base import (
    CHUNK,
    Accumulator,
    Metric,
    float64,
    in_threads,
    largest_of,
    least_of,
    real,
    weights,
)  # fmt: skip
from .exact import Sums, quotient
from .moments import Moments


def _rows(prediction: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n,) with targets from 0 to 1, or (n, C) with labels."""
    p, t = real(prediction, "prediction"), real(target, "target")
    if (p.ndim == 1 and t.ndim == 2) or (
        p.dtype.kind in "iub" and p.shape == t.shape and t.dtype.kind == "f" and _fractions(t)
    ):
        raise TypeError(
            "prediction holds labels and target probabilities: they are exchanged, the order is "
            "(prediction, target)"
        )
    if p.ndim not in (1, 2) or t.shape != p.shape[:1]:
        raise ValueError(
            f"prediction must be probabilities of shape (n,) or (n, classes) and target of shape "
            f"(n,); the shapes are {p.shape} and {t.shape}"
        )
    low, high = _ends(p)
    if low < 0 or high > 1:
        raise ValueError(
            f"prediction holds {low if low < 0 else high}; probabilities "
            f"are from 0 to 1 (are these logits, or exchanged with target?)"
        )
    if p.ndim == 1:
        low, high = _ends(t)
        if low < 0 or high > 1:
            raise ValueError(
                "target must be from 0 to 1, or labels with probabilities (n, classes)"
            )
        return p, t
    if t.dtype.kind == "f" and not np.array_equal(t, np.floor(t)):
        raise TypeError("target must hold labels (is it exchanged with prediction?)")
    if t.size and not (t.min() >= 0 and t.max() < p.shape[1]):
        raise ValueError(f"target must hold labels from 0 to {p.shape[1] - 1}")
    return p, t.astype(np.int64)


def _fractions(array: np.ndarray) -> bool:
    """Whether numbers are there that are not whole; a million of them tell."""
    some = array[: 1 << 20]
    return bool((some != np.floor(some)).any())


def _ends(array: np.ndarray) -> tuple[Any, Any]:
    """The smallest and the largest number, NaN aside."""
    return (least_of(array), largest_of(array)) if array.size else (0, 0)


class _OfProbabilities(Metric):
    """Base of means of a term of probabilities."""

    shared = False
    lower_is_better = True

    def accumulator(self) -> Any:
        return Moments(("weight", self.kind))

    kind = "prediction"

    def is_mean(self) -> bool:
        return True

    def compute(self) -> float:
        """The weighted mean; NaN where there are no rows."""
        if not self.rows.outputs:
            return math.nan
        return quotient(self.rows.of(0, self.kind), self.rows.of(0, "weight"))


class LogLoss(_OfProbabilities):
    r"""Mean negative logarithm of the probability of what happened.

    .. math:: -(t \log p + (1 - t) \log(1 - p)), \quad -\log p_t

    of probabilities (n,) with targets from 0 to 1, and of (n, classes) with labels. Probabilities
    are kept off 0 and 1 by the rounding of their dtype, as in scikit-learn. Of logits the mean of
    a loss is more exact: ``nl.Mean(nl.BinaryCrossEntropy())``.
    """

    kind = "log_loss"

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """Add rows."""
        p, t, self.rows.parameter = self._of_label(prediction, target)
        self.rows.update(p, t, sample_weight)
        return self

    def _of_label(self, prediction: Any, target: Any) -> tuple[np.ndarray, np.ndarray, float]:
        """Probabilities (n,) and targets; how far the former are kept off 0 and 1."""
        p, t = _rows(prediction, target)
        kept = p.dtype if p.dtype.kind == "f" else np.dtype(np.float64)
        if p.ndim == 2:
            bad = np.isnan(p).any(axis=1)
            p, t = p[np.arange(len(p)), t], np.ones(len(t))
            p[bad] = np.nan
        return p, t, float(np.finfo(kept).eps)

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray | None:
        return terms.values(self.kind, *self._of_label(prediction, target))

    def accumulator(self) -> Any:
        return _LogLosses(("weight", "log_loss"))


class _LogLosses(Moments):
    """Each part has the distance from 0 and 1 that its dtype asks for."""

    def key(self) -> Hashable:
        return ("log losses",)

    def fresh(self) -> Any:
        return _LogLosses(self.kinds)


class Brier(_OfProbabilities):
    r"""Brier score: mean squared distance of probabilities from what happened.

    .. math:: (p - t)^2, \quad \sum_j (p_j - [j = t])^2

    of probabilities (n,) with targets from 0 to 1, and of (n, classes) with labels.
    """

    kind = "square"

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """Add rows."""
        p, t = _rows(prediction, target)
        if p.ndim == 1:
            self.rows.update(p, t, sample_weight)
            return self
        w = weights(sample_weight, len(p))
        for start in range(0, len(p), CHUNK):
            rows = slice(start, start + CHUNK)
            root = np.sqrt(_distances(p[rows], t[rows]))
            self.rows.update(root, np.zeros(len(root)), None if w is None else w[rows])
        return self

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray | None:
        p, t = _rows(prediction, target)
        return terms.values(self.kind, p, t, 0.0) if p.ndim == 1 else _distances(p, t)


def _distances(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The squared distance of each row of probabilities from its label."""
    distance = p.astype(np.float64)
    distance[np.arange(len(distance)), t] -= 1.0
    return np.einsum("ij,ij->i", distance, distance)


class _Reliability(Accumulator):
    """Exact sums of weights, probabilities and outcomes, by bins of probabilities."""

    def __init__(self, bins: int) -> None:
        self.bins, self.sums, self.nan = bins, Sums(3 * bins), 0

    def key(self) -> Hashable:
        return "reliability", self.bins

    def fresh(self) -> Any:
        return _Reliability(self.bins)

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        p, t = _rows(prediction, target)
        w = weights(weight, len(p))
        if p.ndim == 2:  # how sure of the most probable class, and whether it was right
            t, p = p.argmax(axis=1) == t, p.max(axis=1)
        edges = np.linspace(0.0, 1.0, self.bins + 1)[1:-1]
        parts: list[tuple[Sums, int]] = []

        def work(start: int, stop: int) -> None:
            rows, sums, bad = slice(start, stop), Sums(3 * self.bins), 0
            a, b = float64(p[rows]), float64(t[rows])
            c = None if w is None else float64(w[rows])
            known = ~(np.isnan(a) | np.isnan(b))
            if c is not None or not known.all():
                c = np.ones(len(a)) if c is None else c
                bad = int((~known & (c > 0.0)).sum())
                known &= c > 0.0
                a, b, c = a[known], b[known], c[known]
            place = np.searchsorted(edges, a)
            if c is None:
                # Whole numbers up to 2**53 are exact as floats.
                counts = np.bincount(place, minlength=self.bins).astype(np.float64)
                sums.add_by_key(counts, np.arange(self.bins))
                sums.add_by_key(a, place + self.bins)
                sums.add_by_key(b, place + 2 * self.bins)
            else:
                for part, values in enumerate((c, c * a, c * b)):
                    sums.add_by_key(values, place + part * self.bins)
            parts.append((sums, bad))

        in_threads(len(p), work)
        for sums, bad in parts:
            self.sums.words += sums.words
            self.nan += bad
        self.sums.normalise()

    def merge(self, other: Any) -> None:
        self.sums.merge(other.sums)
        self.nan += other.nan

    def state(self) -> Any:
        return {"sums": self.sums.state(), "nan": self.nan}

    def load(self, state: Any) -> None:
        self.sums, self.nan = Sums.from_state(state["sums"]), state["nan"]


class CalibrationError(Metric):
    r"""Expected calibration error: how far probabilities are from the shares that came true.

    .. math:: \sum_b \frac{w_b}{w} \, | \bar p_b - \bar t_b |

    over equal bins of probabilities (those at an edge belong to the bin below it). Of (n, classes)
    it is that of the most probable class and of whether it was right.

    Parameters
    ----------
    bins : int
        How many bins there are.
    norm : {"l1", "l2", "max"}
        The mean of distances, the root of the mean of their squares, or the largest.
    """

    lower_is_better = True

    def __init__(self, *, bins: int = 15, norm: str = "l1") -> None:
        super().__init__(bins=bins, norm=norm)

    def validate(self) -> None:
        if not isinstance(self.options["bins"], int) or self.options["bins"] < 1:
            raise ValueError(f"bins must be an integer >= 1, not {self.options['bins']!r}")
        if self.options["norm"] not in ("l1", "l2", "max"):
            raise ValueError(f"norm must be 'l1', 'l2' or 'max', not {self.options['norm']!r}")

    def accumulator(self) -> Any:
        return _Reliability(self.options["bins"])

    def table(self) -> dict[str, np.ndarray]:
        """A reliability table: ``weight``, mean ``prediction`` and ``target`` of each bin.

        Means of empty bins are NaN.
        """
        bins, sums = self.options["bins"], self.rows.sums
        means = [
            [quotient(sums.exact(b + part * bins), sums.exact(b)) for b in range(bins)]
            for part in (1, 2)
        ]
        weight = np.array([sums.value(b) for b in range(bins)])
        return {"weight": weight, "prediction": np.array(means[0]), "target": np.array(means[1])}

    def compute(self) -> float:
        """The error; NaN where there are no rows, or one of them is NaN."""
        found = self.table()
        used = found["weight"] > 0.0
        if self.rows.nan or not used.any():
            return math.nan
        share = found["weight"][used] / found["weight"].sum()
        distance = np.abs(found["prediction"] - found["target"])[used]
        if self.options["norm"] == "max":
            return float(distance.max())
        if self.options["norm"] == "l2":
            return math.sqrt(float((share * distance**2).sum()))
        return float((share * distance).sum())


class TopK(_OfProbabilities):
    r"""Share of rows whose label is among the k classes of the highest scores.

    Predictions are scores (n, C) of classes 0 to C - 1. Of equal scores the class with the higher
    number comes first, as in scikit-learn.

    Parameters
    ----------
    k : int
        How many classes count.
    """

    lower_is_better = False

    def __init__(self, *, k: int = 5) -> None:
        super().__init__(k=k)

    def validate(self) -> None:
        if not isinstance(self.options["k"], int) or self.options["k"] < 1:
            raise ValueError(f"k must be an integer >= 1, not {self.options['k']!r}")

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """Add rows."""
        w = weights(sample_weight, len(real(prediction, "prediction")))
        hit = self.of_each_row(prediction, target)
        self.rows.update(hit, hit, w)
        return self

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray:
        p, t = real(prediction, "prediction"), real(target, "target")
        if p.ndim != 2 or t.shape != p.shape[:1]:
            exchanged = p.ndim == 1 and t.ndim == 2
            raise ValueError(
                f"prediction must be scores (n, classes) and target labels (n,); the shapes are "
                f"{p.shape} and {t.shape}" + (" (are they exchanged?)" if exchanged else "")
            )
        if t.size and not (t.min() >= 0 and t.max() < p.shape[1] and (t == np.floor(t)).all()):
            raise ValueError(f"target must hold labels from 0 to {p.shape[1] - 1}")
        labels = t.astype(np.int64)
        step = max(1, 8 * CHUNK // max(1, p.shape[1]))
        hits = np.empty(len(p))
        for start in range(0, len(p), step):
            scores, of_rows = p[start : start + step], labels[start : start + step]
            mine = scores[np.arange(len(scores)), of_rows][:, None]
            later = np.arange(p.shape[1])[None, :] > of_rows[:, None]
            above = ((scores > mine) | ((scores == mine) & later)).sum(axis=1)
            bad = np.isnan(scores).any(axis=1)
            hits[start : start + step] = np.where(bad, np.nan, above < self.options["k"])
        return hits
