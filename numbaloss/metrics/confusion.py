"""How often each label was predicted for each: what the metrics of labels are computed from."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ..cpu.compile import python_function
from . import exact
from .base import CHUNK, Accumulator, in_threads, on_host, weights
from .exact import Sums, rounded
from .label_sets import LabelSets, label_sets

# Labels that lie so close together are counted in a table.
_TABLE = 1024
# Cells of a table of weights, each a sum of half a kilobyte.
_CELLS = 4096
_MOST = 2**63 - 1
# Rows that one thread looks at at a time.
_ROWS = 1 << 17


def _count(target, prediction, lowest, labels, counts):
    """Count pairs of labels from the lowest on."""
    # In turns in two tables: pairs that follow one another are mostly alike, and the second of
    # two additions to one place waits for the first.
    half = labels * labels
    size = target.size - target.size % 2
    for i in range(0, size, 2):
        counts[(target[i] - lowest) * labels + (prediction[i] - lowest)] += 1
        counts[half + (target[i + 1] - lowest) * labels + (prediction[i + 1] - lowest)] += 1
    for i in range(size, target.size):
        counts[(target[i] - lowest) * labels + (prediction[i] - lowest)] += 1


def _range(target, prediction):
    """The smallest and the largest label."""
    low, high = np.int64(_MOST), np.int64(-_MOST)
    for i in range(target.size):
        a, b = target[i], prediction[i]
        small, large = (a, b) if a < b else (b, a)
        low = small if small < low else low
        high = large if large > high else high
    return low, high


_LABELS = types.Array(types.int64, 1, "C", readonly=True)


@cache
def _counter() -> Any:
    signature = types.void(_LABELS, _LABELS, types.int64, types.int64, exact.INTEGERS)
    return python_function(_count, signature, **exact.options)


@cache
def _ranger() -> Any:
    return python_function(
        _range, types.UniTuple(types.int64, 2)(_LABELS, _LABELS), **exact.options
    )


def _range_of(p: np.ndarray, t: np.ndarray) -> tuple[int, int]:
    """The smallest and the largest of all labels, integers of 64 bits."""
    found: list[tuple[int, int]] = []
    in_threads(len(t), lambda a, b: found.append(_ranger()(t[a:b], p[a:b])), _ROWS)
    return min(low for low, _ in found), max(high for _, high in found)


def predicted_labels(prediction: np.ndarray, target: np.ndarray, threshold: float | None) -> Any:
    """Labels of scores: of (n,) those above a threshold are 1, of (n, C) the place of the highest.

    Beside them, how many rows hold NaN: those have no label.
    """
    scores = prediction.dtype.kind == "f" or prediction.dtype.name == "bfloat16"
    scores |= threshold is not None and prediction.dtype.kind in "iu"
    if prediction.ndim == 2 and prediction.shape[1] == 1 and target.ndim == 1:
        prediction = prediction[:, 0]  # of one class, as networks have it
    if target.dtype.kind == "U" and (scores or prediction.ndim == 2):
        raise TypeError("scores go with labels that are integers from 0 on, not texts")
    if prediction.ndim == 2 and target.ndim == 1:
        bad = np.isnan(prediction.astype(np.float64, copy=False)).any(axis=1)
        return prediction.argmax(axis=1), bad
    if scores:
        bad = np.isnan(prediction.astype(np.float64, copy=False))
        if target.size and not (target.min() >= 0 and target.max() <= 1):
            raise ValueError(
                f"scores (n,) go with labels 0 and 1, target holds {target.min()} and "
                f"{target.max()}; predicted labels are integers"
            )
        if threshold is None and prediction.size:
            low, high = np.fmin.reduce(prediction), np.fmax.reduce(prediction)
            if low < 0 or high > 1:
                raise ValueError(
                    f"prediction holds {low if low < 0 else high}: floats are taken for "
                    f"probabilities; give threshold=0.0 for logits, or labels as integers"
                )
        return (prediction > (0.5 if threshold is None else threshold)).astype(np.int64), bad
    return prediction, None


def labels_of(given: Any, name: str) -> np.ndarray:
    """Labels: integers, booleans, strings, or floats that are whole numbers."""
    array = on_host(given, name)
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise ValueError(f"{name} holds NaN, which is no label")
        whole = array.astype(np.int64, copy=False, casting="unsafe") if array.size else array
        if not np.array_equal(whole, array):
            raise TypeError(
                f"{name} must hold labels, integers or strings; it holds fractions (is it a score, "
                f"exchanged with the other argument?)"
            )
        return whole.astype(np.int64)
    return array


class Confusion(Accumulator):
    """Counts, or exact sums of weights, of pairs of labels.

    Parameters
    ----------
    threshold : float or None
        What scores (n,) of the positive class are compared with; None: 0.5, and they must be
        probabilities.
    """

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold
        self.labels: list[Any] = []
        self.places: dict[Any, int] = {}
        self.counts: dict[tuple[int, int], int] = {}
        self.cells: dict[tuple[int, int], int] = {}
        self.sums = Sums(0)
        self.nan = 0
        self.sets: LabelSets | None = None  # of targets with several labels a row

    def key(self) -> Hashable:
        return "confusion", self.threshold

    def fresh(self) -> Confusion:
        return Confusion(self.threshold)

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        t = on_host(target, "target")
        if t.ndim == 2 and 0 not in t.shape:
            self._of_sets(prediction, t, weight)
            return
        if self.sets is not None:
            raise ValueError("targets had several labels a row before, now they have one")
        t = labels_of(t, "target")
        p, bad = predicted_labels(on_host(prediction, "prediction"), t, self.threshold)
        p = labels_of(p, "prediction")
        if p.shape != t.shape or t.ndim != 1:
            raise ValueError(
                f"prediction must have the shape of the target, (n,), or scores (n, classes); the "
                f"shapes are {np.shape(prediction)} and {t.shape}"
            )
        w = weights(weight, len(t))
        if bad is not None and bad.any():
            self.nan += int((bad if w is None else bad & (w > 0)).sum())
            p, t, w = p[~bad], t[~bad], None if w is None else w[~bad]
        if not t.size:
            return
        texts = p.dtype.kind == "U"
        if texts != (t.dtype.kind == "U") or any(isinstance(a, str) != texts for a in self.labels):
            raise TypeError("labels must be all of them texts, or all of them integers")
        if not texts:
            if any(one.dtype == np.uint64 and int(one.max()) > _MOST for one in (p, t)):
                raise ValueError("labels must be integers below 2**63")
            p, t = [np.ascontiguousarray(one, np.int64) for one in (p, t)]
            low, high = _range_of(p, t)
            if high - low < _TABLE:
                self._in_table(p, t, w, low, high - low + 1)
                return
        named, codes = np.unique(np.concatenate([t, p]), return_inverse=True)
        codes = codes.reshape(-1)
        of_target, of_prediction = codes[: len(t)], codes[len(t) :]
        self._by_cell(of_target * len(named) + of_prediction, w, len(named), named.tolist())

    def _of_sets(self, prediction: Any, target: np.ndarray, weight: Any) -> None:
        if self.labels:
            raise ValueError("targets had one label a row before, now they have several")
        p, t, bad = label_sets(prediction, target, self.threshold)
        w = weights(weight, len(t))
        if bad.any():
            self.nan += int((bad if w is None else bad & (w > 0)).sum())
            p, t, w = p[~bad], t[~bad], None if w is None else w[~bad]
        self.sets = self.sets or LabelSets(t.shape[1])
        self.sets.add(p, t, w)

    def _in_table(self, p: Any, t: Any, w: Any, low: int, labels: int) -> None:
        if w is not None:
            for start in range(0, len(t), CHUNK):
                rows = slice(start, start + CHUNK)
                keys = (t[rows].astype(np.int64) - low) * labels + (p[rows].astype(np.int64) - low)
                self._by_cell(keys, w[rows], labels, range(low, low + labels))
            return
        tables: list[np.ndarray] = []

        def work(start: int, stop: int) -> None:
            table = np.zeros(2 * labels * labels, np.int64)
            _counter()(t[start:stop], p[start:stop], low, labels, table)
            tables.append(table[: labels * labels] + table[labels * labels :])

        # Tables are as large as 8 MiB: no more of them than the rows are worth.
        in_threads(len(t), work, max(_ROWS, 4 * labels * labels))
        whole = sum(tables)
        self._counted(np.flatnonzero(whole), whole, labels, range(low, low + labels))

    def _counted(self, keys: Any, counts: Any, labels: int, names: Any) -> None:
        for cell in keys.tolist():
            place = self._place(names[cell // labels]), self._place(names[cell % labels])
            self.counts[place] = self.counts.get(place, 0) + int(counts[cell])

    def _by_cell(self, keys: np.ndarray, w: Any, labels: int, names: Any) -> None:
        cells, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        if w is None:
            self._counted(cells, dict(zip(cells.tolist(), counts.tolist())), labels, names)
            return
        part = Sums(len(cells))
        part.add_by_key(w, inverse.reshape(-1))
        for row, cell in enumerate(cells.tolist()):
            place = self._place(names[cell // labels]), self._place(names[cell % labels])
            self._add(place, part.words[row])
        self.sums.normalise()

    def _add(self, place: tuple[int, int], words: np.ndarray) -> None:
        row = self.cells.get(place)
        if row is None:
            row = self.cells[place] = len(self.cells)
            if row >= len(self.sums):
                grown = Sums(max(8, 2 * len(self.sums)))
                grown.words[: len(self.sums)] = self.sums.words
                self.sums = grown
        self.sums.words[row] += words

    def _place(self, label: Any) -> int:
        if label not in self.places:
            self.places[label] = len(self.labels)
            self.labels.append(label)
        return self.places[label]

    def merge(self, other: Any) -> None:
        if other.sets is not None:
            self.sets = self.sets or LabelSets(other.sets.labels)
            self.sets.merge(other.sets)
        if self.sets is not None and (self.labels or other.labels):
            raise ValueError("targets of one label a row cannot be merged with those of several")
        names = other.labels
        for (t, p), count in other.counts.items():
            place = self._place(names[t]), self._place(names[p])
            self.counts[place] = self.counts.get(place, 0) + count
        for (t, p), row in other.cells.items():
            self._add((self._place(names[t]), self._place(names[p])), other.sums.words[row])
        self.sums.normalise()
        self.nan += other.nan

    def state(self) -> Any:
        return {
            "labels": list(self.labels),
            "nan": self.nan,
            "counts": [[*place, count] for place, count in self.counts.items()],
            "cells": [[*place] for place in self.cells],
            "sums": self.sums.state()[: len(self.cells)],
            "sets": None if self.sets is None else self.sets.state(),
        }

    def load(self, state: Any) -> None:
        self.labels = list(state["labels"])
        self.places = {label: place for place, label in enumerate(self.labels)}
        self.nan = state["nan"]
        self.counts = {(t, p): count for t, p, count in state["counts"]}
        self.cells = {(t, p): row for row, (t, p) in enumerate(state["cells"])}
        self.sums = Sums.from_state(state["sums"])
        self.sets = None
        if state.get("sets") is not None:
            self.sets = LabelSets(state["sets"]["labels"])
            self.sets.load(state["sets"])

    def matrix(self, labels: Any = None) -> tuple[list[Any], np.ndarray]:
        """Sorted labels, and a matrix with a row a target and a column a prediction.

        Of integers where no weights came; NaN where a prediction had no label.
        """
        if self.sets is not None:
            raise ValueError(
                "targets (n, labels) have several labels a row: accuracy, precision, recall, "
                "f_beta and iou take them"
            )
        names = sorted(self.labels) if labels is None else list(labels)
        order = {label: place for place, label in enumerate(names)}
        found: Any = np.zeros((len(names), len(names)), np.float64 if self.cells else np.int64)
        for (t, p), count in self.counts.items():
            a, b = order.get(self.labels[t]), order.get(self.labels[p])
            if a is not None and b is not None:
                found[a, b] += count
        for (t, p), row in self.cells.items():
            a, b = order.get(self.labels[t]), order.get(self.labels[p])
            if a is not None and b is not None:
                # Rounded once, the rows without weights included.
                found[a, b] = rounded(self.sums.exact(row) + self.counts.get((t, p), 0))
        if self.nan:
            found = np.full(found.shape, math.nan)
        return names, found
