"""What does the work on a batch: products by BLAS, and loops over blocks of similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import all_pairs
from ...arrays import Operand
from ...formulas.catching import HEADER
from ...formulas.fitting import lower_for
from ...formulas.structure import Structure, parameter_values
from ...jobs.batch import CpuBatchBlock
from ..tiled_products import multiply_in_tiles
from . import exponentials, mining, pairs, softmax, triplets
from .launches import launch, launch_with_loss, rows_at_a_time
from .loops import STRIP
from .side import Side

# Rows of triplets, at least: each thread has memory of its own for the positives of a row.
TRIPLET_ROWS = 16


class Machine:
    """BLAS and loops; see `all_pairs.Machine`."""

    def __init__(
        self,
        loss: Any,
        vectors: Sequence[Operand],
        batch: all_pairs.Batch,
        outputs: Sequence[Operand] | None,
        scale: float,
    ) -> None:
        self.loss, self.batch = loss, batch
        self.outputs, self.gradients = outputs or (), outputs is not None
        self.options = loss.batch_options()
        self.real = vectors[0].compute
        normalize = self.options.normalize
        self.rows = Side(vectors[0], batch.order, normalize)
        self.columns = self.rows if batch.labelled else Side(vectors[1], None, normalize)
        self.both = batch.labelled or self.options.symmetric
        self.values, self.active = np.zeros(batch.rows), np.zeros(batch.rows, np.int64)
        half = 0.5 if self.options.symmetric else 1.0
        factor = batch.factor(scale * half)
        with np.errstate(all="ignore"):  # what float32 cannot hold is infinite
            self.rows.factor[...] = factor
            if self.options.symmetric:
                self.columns.factor[...] = factor
        self.share = batch.share * half
        self.softmax, self.triplets = loss.form == "softmax", loss.form == "triplets"
        self.slope_sums = np.zeros(batch.rows)  # of the slopes of a row over all its distances
        lowered = lower_for(loss, self.real)
        self.structure = Structure.of(lowered)
        self.parameters = np.array([0.0] * HEADER + parameter_values(lowered))
        self.starts = batch.starts.astype(np.int64)
        self.ends = batch.ends.astype(np.int64)

    def prepare(self, shape: all_pairs.Shape) -> None:
        """Copies of the vectors, and room for what will be known."""
        height = min(shape.rows, self.batch.rows)
        width = max(min(shape.columns, self.batch.columns), height)  # blocks on a diagonal
        self.space = np.empty(height * width, self.real)
        for side in {id(one): one for one in (self.rows, self.columns)}.values():
            side.load()
        for side, output in zip((self.rows, self.columns), self.outputs):
            side.place_sums(output)
        if self.softmax:
            self.rows.measured()
            if self.both and self.columns is not self.rows:
                self.columns.measured()
        if self.triplets:
            self.rows.center()
            self.tainted = not np.isfinite(self.rows.squares).all()
            self.rows.mined()
        self.described = self._describe_batch()

    def product(self, rows: range, columns: range) -> np.ndarray:
        block = self.space[: len(rows) * len(columns)].reshape(len(rows), len(columns))
        left = self.rows.vectors[rows.start : rows.stop]
        multiply_in_tiles(left, self.columns.vectors[columns.start : columns.stop].T, block)
        return block

    def carry(self, block: np.ndarray, rows: range, columns: range, both: bool) -> None:
        here, there = self.rows, self.columns
        self._add(here, rows, block, there.vectors[columns.start : columns.stop])
        if both:
            self._add(there, columns, block.T, here.vectors[rows.start : rows.stop])

    def _add(self, side: Side, where: range, slopes: np.ndarray, vectors: np.ndarray) -> None:
        if not side.started:
            side.sums[...] = 0
            side.started = True
        multiply_in_tiles(slopes, vectors, side.sums[where.start : where.stop], add=True)

    def _describe(self, numbers: np.ndarray, rows: range, columns: range) -> CpuBatchBlock:
        """The description of a block, for the loops over it."""
        block = self.described.copy()
        block.block = numbers.ctypes.data
        block.row, block.column = rows.start, columns.start
        block.height, block.width = len(rows), len(columns)
        return block

    def _describe_batch(self) -> CpuBatchBlock:
        """What descriptions of all blocks have in common."""
        block = CpuBatchBlock()
        block.starts, block.ends = self.starts.ctypes.data, self.ends.ctypes.data
        block.labelled, block.both = self.batch.labelled, self.both
        block.negatives_alone = self.loss.against == "negatives"
        block.factor, block.share = self.rows.factor.ctypes.data, self.share.ctypes.data
        block.values, block.active = self.values.ctypes.data, self.active.ctypes.data
        block.scale, block.shift = 1.0 / self.options.temperature, self.options.bias
        if self.both:
            block.column_factor = self.columns.factor.ctypes.data
        if self.softmax:
            _describe_sums(block, self.rows)
            if self.both:
                _describe_sums_of_columns(block, self.columns)
        if self.triplets:
            self._describe_triplets(block)
        return block

    def _describe_triplets(self, block: CpuBatchBlock) -> None:
        side = self.rows
        block.vectors, block.length = side.vectors.ctypes.data, side.length
        block.squares, block.unit = side.squares.ctypes.data, side.unit
        block.squared = self.options.squared
        block.farthest, block.nearest = side.farthest.ctypes.data, side.nearest.ctypes.data
        block.farthest_place = side.farthest_place.ctypes.data
        block.nearest_place = side.nearest_place.ctypes.data

    def measure_rows(self, block: np.ndarray, rows: range, columns: range) -> None:
        code = exponentials.measure_rows(self.real)
        launch(code, self._describe(block, rows, columns), len(rows), len(columns))

    def measure_columns(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_strips(exponentials.measure_columns(self.real), block, rows, columns)

    def _by_strips(self, code: Any, block: np.ndarray, rows: range, columns: range) -> None:
        strips = -(-len(columns) // STRIP)
        launch(code, self._describe(block, rows, columns), strips, len(rows) * STRIP, chunk=1)

    def close(self, rows: range) -> None:
        scale, shift = 1.0 / self.options.temperature, self.options.bias
        self.rows.close(slice(rows.start, rows.stop), scale, shift)
        if self.options.symmetric:
            self.columns.close(slice(None), scale, shift)

    def positives(self, block: np.ndarray, rows: range, columns: range) -> None:
        code = softmax.positives(self.structure, self.real)
        described = self._describe(block, rows, columns)
        each = int((self.ends - self.starts)[rows.start : rows.stop].max())
        each = min(each, len(columns))
        launch_with_loss(code, self.parameters, described, len(rows), each)
        if self.options.symmetric:
            # The positive of a column is the row's.
            _describe_sums(described, self.columns)
            described.factor = self.columns.factor.ctypes.data
            launch_with_loss(code, self.parameters, described, len(rows), 1)

    def emit(self, block: np.ndarray, rows: range, columns: range) -> None:
        make = softmax.emit if self.softmax else pairs.emit_pairs
        described = self._describe(block, rows, columns)
        code = make(self.structure, self.real)
        launch_with_loss(code, self.parameters, described, len(rows), len(columns))

    def mine_rows(self, block: np.ndarray, rows: range, columns: range) -> None:
        code = mining.mine_rows(self.real)
        launch(code, self._describe(block, rows, columns), len(rows), len(columns))

    def mine_columns(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_strips(mining.mine_columns(self.real), block, rows, columns)

    def finish_triplets(self, gradients: bool) -> None:
        side, count = self.rows, self.batch.rows
        if self.tainted:
            self._taint()
            return
        described = self._describe(self.space, range(count), range(0))
        far_slopes, near_slopes = np.zeros((2, count), self.real)
        described.farthest_slope = far_slopes.ctypes.data
        described.nearest_slope = near_slopes.ctypes.data
        code = mining.value_mined(self.structure, self.real)
        launch_with_loss(code, self.parameters, described, count, 2 * side.length)
        if gradients:
            side.gather(far_slopes, near_slopes)

    def _taint(self) -> None:
        """All rows are compared with one that is not finite."""
        self.values[self.batch.terms > 0] = np.nan
        if self.gradients:
            self.rows.sums[...] = np.nan

    def emit_triplets(self, block: np.ndarray, rows: range) -> None:
        count, width = len(rows), self.batch.columns
        if self.tainted:
            self._taint()
            block[...] = np.nan
            return
        chunk = max(TRIPLET_ROWS, rows_at_a_time(width))
        described = self._describe(block, rows, range(width))
        each = triplets.scratch_bytes(int((self.ends - self.starts).max()))
        scratch = np.empty(-(-count // chunk) * each, np.uint8)
        slope_sums = np.zeros(count, self.real)
        described.scratch, described.scratch_bytes = scratch.ctypes.data, each
        described.chunk_rows, described.slope_sum = chunk, slope_sums.ctypes.data
        described.all_triplets = self.options.mining == "all"
        described.margin = getattr(self.loss, "margin", 0.0)
        code = triplets.emit_triplets(self.structure, self.real)
        launch_with_loss(code, self.parameters, described, count, 4 * width, chunk)
        if self.gradients:
            # A difference x - y pulls by x, and by -y: the sums of slopes over rows and columns
            # go with x, the products with y.
            self.slope_sums[rows.start : rows.stop] += slope_sums
            ones = np.ones((1, count), self.real)
            self.slope_sums += ones.dot(block)[0]
            np.negative(block, out=block)

    def finish(self) -> None:
        """From sums to gradients."""
        for side, output in zip((self.rows, self.columns), self.outputs):
            if not side.started and not self.triplets:
                side.sums[...] = 0
            if self.triplets:
                side.finish(output, self.slope_sums, 1.0)
            else:
                side.finish(output, None, 1.0 / self.options.temperature)


def _describe_sums(block: CpuBatchBlock, side: Side) -> None:
    block.maximum = side.maximum.ctypes.data
    block.exponential_sum = side.exponential_sum.ctypes.data
    block.log_sum = side.log_sum.ctypes.data
    block.exponential_factor = side.exponential_factor.ctypes.data


def _describe_sums_of_columns(block: CpuBatchBlock, side: Side) -> None:
    block.column_maximum = side.maximum.ctypes.data
    block.column_exponential_sum = side.exponential_sum.ctypes.data
    block.column_log_sum = side.log_sum.ctypes.data
    block.column_exponential_factor = side.exponential_factor.ctypes.data
