"""Sums over rows of a prediction and a target, many at one trip over memory, all of them exact.

The metrics of regression and of probabilities are quotients of such sums. Where one subtracts two
large sums (R² of targets far from 0), products come with what their rounding has taken, so that
nothing is left of the cancellation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from . import terms
from .base import CHUNK, Accumulator, float64, in_threads, pair, weights
from .exact import Sums

_KINDS = tuple(terms.TERMS)
_NO_WEIGHTS = np.empty(0)
# Without weights the first is the number of rows, and products with 1 lose nothing.
_OF_WEIGHTS = frozenset(("weight", "residual_rest", "target_rest"))
# Rows that one thread takes at a time where nothing is copied.
LARGE = 1 << 17


class Moments(Accumulator):
    """Exact sums of some kinds, apart for each output.

    Parameters
    ----------
    kinds : names of :data:`terms.TERMS`
    parameter : float
        The one of the kinds that have one: level of a quantile, power, distance to 0 and 1.
    """

    def __init__(self, kinds: Sequence[str], parameter: float = 0.0) -> None:
        self.kinds = tuple(sorted(set(kinds), key=_KINDS.index))
        self.parameter = float(parameter)
        self.outputs: list[Sums] = []
        self.count = 0
        self.plain = True  # one output, from arrays of one dimension

    def key(self) -> Hashable:
        return "moments", self.parameter if terms.PARAMETRIC & set(self.kinds) else None

    def joined(self, other: Any) -> Moments:
        if set(other.kinds) <= set(self.kinds):
            return self
        return Moments(self.kinds + other.kinds, self.parameter)

    def fresh(self) -> Moments:
        return Moments(self.kinds, self.parameter)

    def check(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Raise where numbers are outside what the sums are defined for."""

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        p, t = pair(prediction, target)
        w = weights(weight, len(p))
        columns = 1 if p.ndim == 1 else p.shape[1]
        if len(self.outputs) not in (0, columns):
            raise ValueError(f"there were {len(self.outputs)} outputs before, now {columns}")
        added = [kind for kind in self.kinds if w is not None or kind not in _OF_WEIGHTS]
        loops = np.array([terms.loop(kind, w is not None) for kind in added], np.int64)

        def work(start: int, stop: int) -> None:
            self.check(p[start:stop], t[start:stop])
            of_rows = _NO_WEIGHTS if w is None else float64(w[start:stop])
            for column in range(columns):
                part = Sums(len(loops))
                rows = (slice(start, stop), column) if p.ndim == 2 else slice(start, stop)
                a, b = float64(p[rows]), float64(t[rows])
                terms.adder()(a, b, of_rows, loops, self.parameter, part.words)
                parts.append((column, part))

        parts: list[tuple[int, Sums]] = []
        # What needs no copy is read but once, and larger pieces cost less of Python's time.
        in_threads(len(p), work, CHUNK if columns > 1 or p.dtype != np.float64 else LARGE)
        # Nothing is added where a part raises.
        if not self.outputs:
            self.outputs, self.plain = [Sums(len(self.kinds)) for _ in range(columns)], p.ndim == 1
        self.count += len(p)
        places = [self.kinds.index(kind) for kind in added]
        for column, part in parts:
            self.outputs[column].words[places] += part.words
        for sums in self.outputs:
            if w is None and "weight" in self.kinds:
                sums.add(np.array([float(len(p))]), self.kinds.index("weight"))
            sums.normalise()

    def merge(self, other: Any) -> None:
        if not other.outputs:
            return
        if not self.outputs:
            self.outputs, self.plain = [Sums(len(self.kinds)) for _ in other.outputs], other.plain
        if len(self.outputs) != len(other.outputs):
            raise ValueError("metrics of different numbers of outputs cannot be merged")
        self.count += other.count
        for mine, of_other in zip(self.outputs, other.outputs):
            mine.merge(of_other)

    def state(self) -> Any:
        sums = [one.state() for one in self.outputs]
        return {"kinds": list(self.kinds), "count": self.count, "plain": self.plain, "sums": sums}

    def load(self, state: Any) -> None:
        self.kinds = tuple(state["kinds"])
        self.count, self.plain = state["count"], state["plain"]
        self.outputs = [Sums.from_state(one) for one in state["sums"]]

    def of(self, output: int, kind: str, whole: bool = False) -> Fraction | float:
        """The exact sum of a kind; ``whole``: with what rounding took from its products."""
        sums = self.outputs[output]
        total = sums.exact(self.kinds.index(kind))
        return total + sums.exact(self.kinds.index(kind + "_rest")) if whole else total
