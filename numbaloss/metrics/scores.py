"""Scores that are kept for curves, or counted in bins, and the areas under the curves of them."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..cpu.compile import python_function
from . import exact
from .base import Accumulator, float64, real, weights
from .exact import Sums


@njit(**exact.options)
def _grouped(scores, i, size):
    """Where the rows end that have the score of row i."""
    j = i + 1
    while j < size and scores[j] == scores[i]:
        j += 1
    return j


def _areas(scores, positive, negative):
    """Areas under both curves, of rows by descending score and their weights of either kind.

    Sums carry what rounding took from them.
    """
    of_positive, of_negative, rest_positive, rest_negative = 0.0, 0.0, 0.0, 0.0
    roc, rest_roc, precision, rest_precision = 0.0, 0.0, 0.0, 0.0
    i, size = 0, scores.size
    while i < size:
        j = _grouped(scores, i, size)
        p, n = 0.0, 0.0
        for k in range(i, j):
            p += positive[k]
            n += negative[k]
        before = of_positive + rest_positive
        of_positive, rest_positive = _add(of_positive, rest_positive, p)
        of_negative, rest_negative = _add(of_negative, rest_negative, n)
        roc, rest_roc = _add(roc, rest_roc, n * (before + 0.5 * p))
        whole = (of_positive + rest_positive) + (of_negative + rest_negative)
        if p > 0.0:
            part = p * ((of_positive + rest_positive) / whole)
            precision, rest_precision = _add(precision, rest_precision, part)
        i = j
    return (
        of_positive + rest_positive, of_negative + rest_negative, roc + rest_roc,
        precision + rest_precision,
    )  # fmt: skip


@njit(**exact.options)
def _add(total, rest, number):
    """A sum and what rounding took from it (Neumaier)."""
    found = total + number
    lost = (total - found) + number if abs(total) >= abs(number) else (number - found) + total
    return found, rest + lost


def _areas_of_counts(positive, negative):
    """The same of sorted scores of either kind and no weights: twice the area, an integer."""
    i, j = positive.size - 1, negative.size - 1
    twice, precision, rest = np.int64(0), 0.0, 0.0
    while i >= 0:
        score, before = positive[i], i
        while i >= 0 and positive[i] == score:
            i -= 1
        while j >= 0 and negative[j] > score:
            j -= 1
        above = j
        while j >= 0 and negative[j] == score:
            j -= 1
        count, equal = before - i, above - j
        # Negatives below each of these positives, and half of those that tie with it.
        twice += count * (2 * (j + 1) + equal)
        found, missed = positive.size - 1 - i, negative.size - 1 - j
        precision, rest = _add(precision, rest, count * (found / (found + missed)))
    return twice, precision + rest


@cache
def _compiled() -> Any:
    three = types.UniTuple(types.float64, 4)
    signature = three(exact.FRESH, exact.FRESH, exact.FRESH)
    return python_function(_areas, signature, **exact.options)


@cache
def _compiled_of_counts(dtype: str) -> Any:
    array = types.Array(getattr(types, dtype), 1, "C")
    signature = types.Tuple((types.int64, types.float64))(array, array)
    return python_function(_areas_of_counts, signature, **exact.options)


def areas(scores: np.ndarray, positive: np.ndarray, w: np.ndarray | None) -> tuple[float, ...]:
    """Weight of positives and of negatives, areas under the ROC and the precision-recall curve."""
    if w is None:
        # In a tenth of the time that sorting rows takes: two arrays of plain numbers.
        kinds = np.sort(scores[positive]), np.sort(scores[~positive])
        twice, precision = _compiled_of_counts(scores.dtype.name)(*kinds)
        counts = len(kinds[0]), len(kinds[1])
        if not counts[0]:
            return 0.0, float(counts[1]), math.nan, math.nan
        area = twice / (2 * counts[0] * counts[1]) if counts[1] else math.nan
        return float(counts[0]), float(counts[1]), area, precision / counts[0]
    order = np.argsort(-float64(scores), kind="stable")
    w = float64(w)[order]
    if w.size:  # by a power of two, for products of tiny weights would be 0
        w = np.ldexp(w, -int(np.frexp(w.max())[1]))
    chosen = positive[order]
    p, n, roc, precision = _compiled()(
        float64(scores)[order], np.where(chosen, w, 0.0), np.where(chosen, 0.0, w)
    )
    area = roc / p / n if p and n else math.nan
    return p, n, area, precision / p if p else math.nan


def _binary(target: np.ndarray, labels: int) -> np.ndarray:
    """Whether each row belongs to each class: (n, labels) of booleans."""
    if target.ndim == 2:
        if not np.isin(target, (0, 1)).all():
            raise ValueError("target must hold 0 and 1, one column a label")
        return target != 0
    if labels == 1:
        if target.size and not np.isin(target, (0, 1, -1)).all():
            raise ValueError(
                "target must hold labels 0 and 1 (or -1 and 1); is it exchanged with prediction?"
            )
        return (target > 0)[:, None]
    if target.size and not (
        np.isin(target, np.arange(labels)).all()
        if target.dtype.kind == "f"
        else target.min() >= 0 and target.max() < labels
    ):
        raise ValueError(f"target must hold labels from 0 to {labels - 1}, one a row")
    return target[:, None] == np.arange(labels)


class Scores(Accumulator):
    """Scores, and whether each row is positive, as they came: 5 or 9 bytes a row and label.

    The areas are exact, and the same however rows were cut into parts.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
        self.columns = 0

    def key(self) -> Hashable:
        return ("scores",)

    def fresh(self) -> Scores:
        return Scores()

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        p, t = real(prediction, "prediction"), real(target, "target")
        if p.ndim not in (1, 2) or t.shape not in (p.shape, p.shape[:1]):
            exchanged = " (are they exchanged?)" if p.ndim == 1 and t.ndim == 2 else ""
            raise ValueError(
                f"prediction must have the shape (n,) or (n, classes), and target (n,) or that of "
                f"prediction; the shapes are {p.shape} and {t.shape}{exchanged}"
            )
        columns = 1 if p.ndim == 1 else p.shape[1]
        if self.columns not in (0, columns):
            raise ValueError(f"there were {self.columns} columns of scores before, now {columns}")
        self.columns = columns
        positive = _binary(t, columns) if p.ndim == 2 else _binary(t, 1)
        kept = np.float64 if p.dtype.itemsize > 4 or p.dtype.kind in "iu" else np.float32
        w = weights(weight, len(p))
        scores = np.array(p.reshape(len(p), columns), kept, order="F")
        self.parts.append((scores, np.asfortranarray(positive), None if w is None else w.copy()))

    def merge(self, other: Any) -> None:
        if other.columns and self.columns not in (0, other.columns):
            raise ValueError("scores of different numbers of columns cannot be merged")
        self.columns = self.columns or other.columns
        self.parts += other.parts

    def state(self) -> Any:
        return {
            "columns": self.columns,
            "parts": [
                [s.dtype.name, s.tolist(), t.tolist(), None if w is None else w.tolist()]
                for s, t, w in self.parts
            ],
        }

    def load(self, state: Any) -> None:
        self.columns = state["columns"]
        self.parts = [
            (
                np.asfortranarray(np.array(s, dtype).reshape(-1, self.columns)),
                np.asfortranarray(np.array(t, bool).reshape(-1, self.columns)),
                None if w is None else np.array(w, np.float64),
            )
            for dtype, s, t, w in state["parts"]
        ]

    def areas(self, column: int, other: int | None = None) -> tuple[float, ...]:
        """As :func:`areas`, of one column of scores; NaN where a score is.

        Against all rows that are not of its class, or those of another class.
        """
        chosen: list[Any] = [slice(None)] * len(self.parts)
        if other is not None:
            chosen = [t[:, column] | t[:, other] for _, t, _ in self.parts]
        parts = [
            (s[rows, column], t[rows, column], w if w is None else w[rows])
            for rows, (s, t, w) in zip(chosen, self.parts)
        ]
        scores = np.concatenate([s for s, _, _ in parts])
        positive = np.concatenate([t for _, t, _ in parts])
        w = None
        if any(of_part is not None for _, _, of_part in parts):
            w = np.concatenate(
                [np.ones(len(s)) if of_part is None else of_part for s, _, of_part in parts]
            )
            scores, positive, w = scores[w > 0], positive[w > 0], w[w > 0]
        if np.isnan(scores).any():
            return math.nan, math.nan, math.nan, math.nan
        return areas(scores, positive, w)


class Bins(Accumulator):
    """Exact sums of weights of either kind, in equal bins of probabilities: flat memory."""

    def __init__(self, bins: int) -> None:
        self.bins, self.sums, self.nan = bins, Sums(2 * bins), 0

    def key(self) -> Hashable:
        return "bins", self.bins

    def fresh(self) -> Bins:
        return Bins(self.bins)

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        p, t = real(prediction, "prediction"), real(target, "target")
        if p.ndim != 1 or p.shape != t.shape:
            raise ValueError(
                f"binned areas take prediction and target of one shape (n,), not {p.shape} and "
                f"{t.shape}"
            )
        positive, w = _binary(t, 1)[:, 0], weights(weight, len(p))
        bad = np.isnan(p)
        if bad.any():
            self.nan += int((bad if w is None else bad & (w > 0)).sum())
            p, positive, w = p[~bad], positive[~bad], None if w is None else w[~bad]
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            raise ValueError("binned areas take probabilities, from 0 to 1")
        keys = np.minimum((float64(p) * self.bins).astype(np.int64), self.bins - 1)
        keys += self.bins * positive
        if w is None:
            counts = np.bincount(keys, minlength=2 * self.bins)
            # Counts go in as floats, of which all whole numbers up to 2**53 are exact.
            self.sums.add_by_key(counts.astype(np.float64), np.arange(2 * self.bins))
        else:
            self.sums.add_by_key(float64(w), keys)

    def merge(self, other: Any) -> None:
        self.sums.merge(other.sums)
        self.nan += other.nan

    def state(self) -> Any:
        return {"sums": self.sums.state(), "nan": self.nan}

    def load(self, state: Any) -> None:
        self.sums, self.nan = Sums.from_state(state["sums"]), state["nan"]

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights of positives and of negatives by bin, from high scores to low."""
        found = self.sums.values()
        return found[self.bins :][::-1], found[: self.bins][::-1]
