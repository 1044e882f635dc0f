"""Metrics of ranking: how well scores order the documents of each query."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ..cpu.compile import python_function
from . import exact
from .base import Metric, float64, real, weights
from .exact import quotient
from .moments import Moments

_NDCG, _MAP, _MRR = range(3)


def _rank(scores, gains, starts, order, kind, k, exponential, out):
    """The metric of each query; ``order`` sorts its documents by descending score."""
    for query in range(starts.size - 1):
        first, last = starts[query], starts[query + 1]
        count = last - first
        most = k if 0 < k < count else count
        value, bad = 0.0, False
        ideal = np.empty(count)
        for i in range(count):
            gain = gains[first + i]
            ideal[i] = 2.0**gain - 1.0 if exponential else gain
            bad = bad or scores[first + i] != scores[first + i] or gain != gain
        found, relevant, i = 0.0, 0.0, 0
        reciprocal = 0.0
        for j in range(count):
            relevant += 1.0 if gains[first + j] > 0.0 else 0.0
        while i < count:
            j = i
            total, hits = 0.0, 0.0
            score = scores[order[first + i]]
            while j < count and scores[order[first + j]] == score:
                place = order[first + j]
                total += ideal[place - first]
                hits += 1.0 if gains[place] > 0.0 else 0.0
                j += 1
            if j == i:  # NaN
                break
            if kind == _NDCG:
                for place in range(i, min(j, most)):
                    value += (total / (j - i)) / math.log2(place + 2.0)
            elif hits > 0.0:
                if kind == _MAP and i < most:
                    inside = min(1.0, (most - i) / (j - i))  # of a tie that k cuts
                    value += inside * hits * ((found + hits) / j)
                if reciprocal == 0.0 and i < most:
                    # Before the first hit of a tie of m rows with h hits: (m - h) / (h + 1).
                    reciprocal = 1.0 / (i + 1.0 + ((j - i) - hits) / (hits + 1.0))
            found += hits
            i = j
        if kind == _NDCG:
            ideal.sort()
            best = 0.0
            for place in range(most):
                best += ideal[count - 1 - place] / math.log2(place + 2.0)
            value = value / best if best > 0.0 else 0.0
        elif kind == _MAP:
            value = value / min(relevant, float(most)) if relevant > 0.0 else 0.0
        else:
            value = reciprocal
        out[query] = math.nan if bad else value


@cache
def _compiled() -> Any:
    signature = types.void(
        exact.FRESH, exact.FRESH, exact.INTEGERS, exact.INTEGERS, types.int64, types.int64,
        types.boolean, exact.FRESH,
    )  # fmt: skip
    return python_function(_rank, signature, **exact.options)


class OfQueries(Metric):
    """Base of means over queries.

    Predictions and targets are scores and relevances of documents: (queries, documents), or (n,)
    with ``group``, the numbers of documents of the queries, one after the other. Weights are of
    queries. A query is never cut by two updates.
    """

    shared = False
    kind: int

    def __init__(self, *, k: int | None = None, **options: Any) -> None:
        super().__init__(k=k, **options)

    def validate(self) -> None:
        k = self.options["k"]
        if k is not None and not (isinstance(k, int) and k >= 1):
            raise ValueError(f"k must be None or an integer >= 1, not {k!r}")

    def accumulator(self) -> Any:
        return Moments(("weight", "prediction"))

    def update(  # type: ignore[override]
        self, prediction: Any, target: Any, sample_weight: Any = None, *, group: Any = None
    ) -> Any:
        """Add queries."""
        p, t = real(prediction, "prediction"), real(target, "target")
        if p.shape != t.shape or p.ndim not in (1, 2) or (p.ndim == 1) != (group is not None):
            raise ValueError(
                f"prediction and target must have one shape, (queries, documents), or (n,) with "
                f"group; the shapes are {p.shape} and {t.shape}"
            )
        sizes = np.full(len(p), p.shape[1]) if p.ndim == 2 else real(group, "group")
        if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 0).any():
            raise ValueError("group must hold the numbers of documents of queries, integers >= 0")
        sizes = sizes.astype(np.int64)
        if sizes.sum() != p.size:
            raise ValueError(f"group adds up to {sizes.sum()} documents, there are {p.size}")
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        scores, gains = float64(p).reshape(-1), float64(t).reshape(-1)
        if gains.size and np.nanmin(gains) < 0:
            raise ValueError("target must hold relevances >= 0 (is it exchanged with prediction?)")
        query = np.repeat(np.arange(len(sizes)), sizes)
        order = np.lexsort((-scores, query)).astype(np.int64)
        values = np.empty(len(sizes))
        exponential = bool(self.options.get("exponential", False))
        _compiled()(
            np.array(scores), np.array(gains), starts, order, self.kind, self.options["k"] or 0,
            exponential, values,
        )  # fmt: skip
        self.rows.update(values, values, weights(sample_weight, len(values)))
        return self

    def compute(self) -> float:
        """The weighted mean over queries; NaN where there are none."""
        if not self.rows.outputs:
            return math.nan
        return quotient(self.rows.of(0, "prediction"), self.rows.of(0, "weight"))


class NDCG(OfQueries):
    r"""Normalized discounted cumulative gain of the first k documents.

    .. math:: \sum_{i \le k} \frac{g_i}{\log_2(i + 1)} \Big/ \text{that of the best order}

    Documents of equal scores share the mean of their gains, and a query without relevant documents
    counts 0, as in scikit-learn.

    Parameters
    ----------
    k : int, optional
        How many documents count; None: all.
    exponential : bool
        Gains of :math:`2^{rel} - 1` in the place of the relevance.
    """

    kind = _NDCG

    def __init__(self, *, k: int | None = None, exponential: bool = False) -> None:
        super().__init__(k=k, exponential=exponential)


class MeanAveragePrecision(OfQueries):
    r"""Mean over queries of the average precision of their relevant documents.

    Relevant are targets > 0; of equal scores each counts with the precision behind them all. With
    ``k`` it is divided by the smaller of k and the number of relevant documents.

    Parameters
    ----------
    k : int, optional
        How many documents count; None: all.
    """

    kind = _MAP


class MeanReciprocalRank(OfQueries):
    r"""Mean over queries of one over the place of the first relevant document; 0 where none is.

    Of equal scores the place is that of the first relevant one on average over orders.

    Parameters
    ----------
    k : int, optional
        How many documents count; None: all.
    """

    kind = _MRR
