"""The vectors of the rows or of the columns of a batch: the host's part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Operand
from ...jobs.batch import CpuBatchSide, GatheredPairs
from ..movers import describe
from . import vector_loops
from .launches import launch


class Side:
    """Vectors of rows or of columns, and what is known of each."""

    def __init__(self, operand: Operand, order: np.ndarray | None, normalize: bool) -> None:
        self.operand, self.order, self.normalize = operand, order, normalize
        self.real = operand.compute
        self.count, self.length = operand.array.shape
        self.vectors = np.empty((self.count, self.length), self.real)
        self.inverse = np.ones(self.count)  # of the lengths, where vectors are normalised
        self.sums: Any = None  # of gradients
        self.started = False
        self.factor = np.zeros(self.count, self.real)
        self.unit = 1.0

    def _description(self) -> CpuBatchSide:
        side = CpuBatchSide()
        side.vectors, side.length = self.vectors.ctypes.data, self.length
        side.inverse = self.inverse.ctypes.data
        side.order = 0 if self.order is None else self.order.ctypes.data
        return side

    def load(self) -> None:
        """The vectors in the batch's order, and normalised where they are to be."""
        side = self._description()
        side.source, side.normalize = self.operand.array.ctypes.data, self.normalize
        side = side.followed_by({"layout": describe(self.operand, self.real, "load")})
        launch(vector_loops.prepare(self.real), side, self.count, self.length)

    def place_sums(self, output: Operand) -> None:
        """Room for sums: where the gradient has their shape, they grow in its place."""
        array = output.array
        own = self.order is None and array.flags.c_contiguous and output.direct(self.real)
        self.sums = array if own else np.empty_like(self.vectors)

    def measured(self) -> None:
        """Room for maxima and sums of exponentials."""
        self.maximum = np.full(self.count, -np.inf, self.real)
        self.exponential_sum = np.zeros(self.count, self.real)
        self.log_sum = np.zeros(self.count)
        self.exponential_factor = np.zeros(self.count, self.real)

    def close(self, some: slice, scale: float, shift: float) -> None:
        """From maxima and sums to the logs of sums."""
        top, total = (one[some].astype(np.float64) for one in (self.maximum, self.exponential_sum))
        self.log_sum[some] = top * scale + shift + np.log(total)
        self.log_sum[some][self.exponential_sum[some] == 0] = -np.inf  # nothing was summed

    def mined(self) -> None:
        """Room for the farthest positives and the nearest negatives."""
        self.farthest = np.full(self.count, -np.inf, self.real)
        self.nearest = np.full(self.count, np.inf, self.real)
        self.farthest_place, self.nearest_place = np.full((2, self.count), -1, np.int32)

    def center(self) -> None:
        """Distances do not change with the origin, but their rounding does: the mean is best."""
        mean = np.zeros(self.length, self.real)
        if not self.normalize:  # where it is the direction that counts
            mean = np.full((1, self.count), 1.0 / self.count, self.real).dot(self.vectors)[0]
            # In a unit of about the largest element squares neither overflow nor vanish.
            ends = self.vectors.min(initial=0.0), self.vectors.max(initial=0.0)
            largest = max(-float(ends[0]), float(ends[1]))
            if 0.0 < largest < np.inf:
                # Neither the unit nor its inverse leaves the type's range.
                most = int(np.finfo(self.real).maxexp) - 1
                self.unit = 2.0 ** max(-most, min(math.frexp(largest)[1], most))
        self.squares = np.empty(self.count, self.real)
        side = self._description()
        side.mean, side.squares = mean.ctypes.data, self.squares.ctypes.data
        side.unit = self.unit
        launch(vector_loops.center(self.real), side, self.count, self.length)

    def gather(self, far_slopes: np.ndarray, near_slopes: np.ndarray) -> None:
        """Sums of gradients from mined triplets.

        Every pair concerns both of its ends: each row gathers its own, in an order that does not
        depend on threads.
        """
        parts = []
        for places, own in ((self.farthest_place, far_slopes), (self.nearest_place, near_slopes)):
            with_slope = np.flatnonzero(own)
            parts.append((with_slope, places[with_slope].astype(np.int64), own[with_slope]))
        rows, others, slopes = (np.concatenate(column) for column in zip(*parts))
        ends = np.concatenate([rows, others])
        order = np.argsort(ends, kind="stable")
        others = np.concatenate([others, rows])[order]
        slopes = np.concatenate([slopes, slopes])[order]
        first = np.searchsorted(ends[order], np.arange(self.count + 1))
        pairs = GatheredPairs()
        pairs.vectors, pairs.length = self.vectors.ctypes.data, self.length
        pairs.sums = self.sums.ctypes.data
        pairs.first, pairs.others = first.ctypes.data, others.ctypes.data
        pairs.slopes = slopes.ctypes.data
        launch(vector_loops.gather(self.real), pairs, self.count, 4 * self.length)

    def finish(self, output: Operand, slope_sums: np.ndarray | None, scale: float) -> None:
        """From sums to gradients: through the lengths, in the order in which the vectors came."""
        side = self._description()
        side.source, side.sums = output.array.ctypes.data, self.sums.ctypes.data
        side.normalize, side.scale = self.normalize, scale
        side.slope_sum = 0 if slope_sums is None else slope_sums.ctypes.data
        side = side.followed_by({"layout": describe(output, self.real, "store")})
        launch(vector_loops.finish(self.real), side, self.count, self.length)
