"""Losses of all pairs of a batch on CPU threads: products by BLAS, and what happens between them.

Vectors are copied once, rows of a label side by side, in the compute type, normalised or moved
to their mean where the loss compares them so. The loops over blocks of similarities are in
`embedding_blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import all_pairs
from ..arrays import Operand
from ..formulas.catching import HEADER
from ..formulas.fitting import lower_for
from ..formulas.raised import Raised, exception_of
from ..formulas.structure import Structure, parameter_values
from . import embedding_blocks as blocks
from . import threads
from .embedding_rows import chunk_code
from .movers import describe, with_layouts
from .products import one_thread_each
from .tiled_products import multiply_in_tiles

# Bytes of a block of similarities: one of whole rows, and one that is made twice, which is the
# faster for staying in the second-level cache.
WHOLE, TWICE = 32 << 20, 8 << 20
# Rows of a block that products are fast with.
ROWS = 512
# Elements that a thread takes at a time.
CHUNK_ELEMENTS = 16_384
# Rows of triplets, at least: each thread has memory of its own for the positives of a row.
TRIPLET_ROWS = 16


def evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    batch: all_pairs.Batch,
    gradients: Sequence[Operand] | None,
    scale: float,
    budget: int | None,
) -> tuple[np.ndarray, int]:
    """Values of the rows, without their weights, in the batch's order; terms that are active.

    The gradients receive what they are for.
    """
    options = loss.batch_options()
    if batch.rows == 0 or not batch.terms.any():
        # Not a sum of products with 0: there may be NaN, which nobody is compared with.
        for one in gradients or ():
            one.array[...] = 0
        return np.zeros(batch.rows), 0
    machine = _Machine(loss, vectors, batch, gradients, scale)
    itemsize = np.dtype(machine.real).itemsize
    several = batch.labelled or options.symmetric
    bytes_ = budget or (TWICE if several and loss.form == "softmax" else WHOLE)
    numbers = max(1, bytes_ // itemsize)
    shape = all_pairs.shape_of(batch, loss.form, options.mining, options.symmetric, numbers, ROWS)
    try:
        # NaN and infinity are results like others; NumPy adds and multiplies some of them here.
        with one_thread_each(), np.errstate(all="ignore"):
            machine.prepare(shape)
            all_pairs.run(
                machine, batch, shape, loss.form, options.mining, options.symmetric,
                gradients is not None,
            )  # fmt: skip
            machine.finish()
    except Raised as raised:
        error = exception_of(loss, raised, machine.real, " for a pair or triplet of the batch")
        raise error from None
    return machine.values, int(machine.active.sum())


class _Side:
    """Vectors of rows or of columns, and what is known of each."""

    def __init__(self, real: str, operand: Operand, order: np.ndarray | None) -> None:
        self.operand, self.order = operand, order
        self.count, self.length = operand.array.shape
        self.vectors = np.empty((self.count, self.length), real)
        self.inverse = np.ones(self.count)  # of the lengths, where vectors are normalised
        self.sums: Any = None  # of gradients
        self.started = False
        self.factor = np.zeros(self.count, real)

    def measured(self) -> None:
        """Room for maxima and sums of exponentials."""
        real = self.vectors.dtype
        self.top, self.total = np.full(self.count, -np.inf, real), np.zeros(self.count, real)
        self.log_sum, self.slope = np.zeros(self.count), np.zeros(self.count, real)

    def mined(self) -> None:
        """Room for the farthest positives and the nearest negatives."""
        real = self.vectors.dtype
        self.farthest, self.nearest = (
            np.full(self.count, -np.inf, real), np.full(self.count, np.inf, real)
        )  # fmt: skip
        self.of_farthest, self.of_nearest = np.full((2, self.count), -1, np.int32)


class _Machine:
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
        self.rows = _Side(self.real, vectors[0], batch.order)
        self.columns = self.rows if batch.labelled else _Side(self.real, vectors[1], None)
        self.values, self.active = np.zeros(batch.rows), np.zeros(batch.rows, np.int64)
        half = 0.5 if self.options.symmetric else 1.0
        factor = batch.factor(scale * half)
        with np.errstate(all="ignore"):  # what float32 cannot hold is infinite
            self.rows.factor[...] = factor
            if self.options.symmetric:
                self.columns.factor[...] = factor
        self.share = batch.share * half
        self.triplets = loss.form == "triplets"
        self.pulls = np.zeros(batch.rows)  # sums of the slopes of a row over all distances
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
        two = self.loss.form == "softmax" and (self.batch.labelled or self.options.symmetric)
        for side in {id(one): one for one in (self.rows, self.columns)}.values():
            self._copy(side)
        for side, output in zip((self.rows, self.columns), self.outputs):
            # Where the gradient has the shape of the sums, they grow in its place.
            array = output.array
            own = side.order is None and array.flags.c_contiguous and output.direct(self.real)
            side.sums = array if own else np.empty_like(side.vectors)
        if self.loss.form == "softmax":
            self.rows.measured()
            if two and self.columns is not self.rows:
                self.columns.measured()
        if self.triplets:
            self._center()
            self.rows.mined()

    def _copy(self, side: _Side) -> None:
        """The vectors in the batch's order, and normalised where they are to be."""
        fields = self._fields(side, describe(side.operand, self.real, "load"))
        fields[blocks.SOURCE] = side.operand.array.ctypes.data
        fields[blocks.NORMALIZE] = self.options.normalize
        self._launch(blocks.prepare(self.real), fields, side.count, side.length)

    def _center(self) -> None:
        """Distances do not change with the origin, but their rounding does: the mean is best."""
        side = self.rows
        mean = np.zeros(side.length, self.real)
        self.unit = 1.0
        if not self.options.normalize:  # where it is the direction that counts
            mean = np.full((1, side.count), 1.0 / side.count, self.real).dot(side.vectors)[0]
            # In a unit of about the largest element squares neither overflow nor vanish.
            ends = side.vectors.min(initial=0.0), side.vectors.max(initial=0.0)
            largest = max(-float(ends[0]), float(ends[1]))
            if 0.0 < largest < np.inf:
                # Neither the unit nor its inverse leaves the type's range.
                most = int(np.finfo(self.real).maxexp) - 1
                self.unit = 2.0 ** max(-most, min(math.frexp(largest)[1], most))
        self.squares = np.empty(side.count, self.real)
        fields = self._fields(side, [])
        fields[blocks.MEAN], fields[blocks.SQUARES] = mean.ctypes.data, self.squares.ctypes.data
        fields.view(np.float64)[blocks.UNIT] = self.unit
        self._launch(blocks.center(self.real), fields, side.count, side.length)
        self.tainted = not np.isfinite(self.squares).all()

    def _fields(self, side: _Side, described: list[int]) -> np.ndarray:
        fields = np.zeros(blocks.FIELDS, np.int64)
        fields[blocks.VECTORS] = side.vectors.ctypes.data
        fields[blocks.LENGTH] = side.length
        fields[blocks.INVERSE] = side.inverse.ctypes.data
        fields[blocks.ORDER] = 0 if side.order is None else side.order.ctypes.data
        return with_layouts(fields, [described])

    def _launch(self, code: Any, fields: np.ndarray, count: int, each: int) -> None:
        """Run loops over ``count`` rows or columns of so many elements each, on all threads."""
        self._go(code.address, 0, fields, count, max(1, CHUNK_ELEMENTS // max(each, 1)), each)

    def _go(
        self, function: int, kernel: int, fields: np.ndarray, count: int, chunk: int, each: int
    ) -> None:
        handle = threads.handle
        arguments = (
            function, kernel, handle(self.parameters), count, chunk, handle(fields), 1.0, *[0] * 6
        )  # fmt: skip
        chunks = -(-count // chunk)
        threads.launch_chunks(arguments, chunks if count * each >= threads.PARALLEL_SIZE else 1)
        if kernel:
            Raised.check(self.parameters)

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

    def _add(self, side: _Side, where: range, slopes: np.ndarray, vectors: np.ndarray) -> None:
        if not side.started:
            side.sums[...] = 0
            side.started = True
        multiply_in_tiles(slopes, vectors, side.sums[where.start : where.stop], add=True)

    def _of_block(self, block: np.ndarray, rows: range, columns: range) -> np.ndarray:
        """The description of a block, for the loops over it."""
        fields = np.zeros(blocks.FIELDS, np.int64)
        reals = fields.view(np.float64)
        of_rows, of_columns = self.rows, self.columns
        fields[blocks.BLOCK] = block.ctypes.data
        fields[blocks.ROW], fields[blocks.COLUMN] = rows.start, columns.start
        fields[blocks.HEIGHT], fields[blocks.WIDTH] = len(rows), len(columns)
        fields[blocks.STARTS], fields[blocks.ENDS] = self.starts.ctypes.data, self.ends.ctypes.data
        fields[blocks.LABELLED] = self.batch.labelled
        fields[blocks.NEGATIVES_ALONE] = self.loss.against == "negatives"
        fields[blocks.FACTOR] = of_rows.factor.ctypes.data
        fields[blocks.SHARE] = self.share.ctypes.data
        fields[blocks.VALUES] = self.values.ctypes.data
        fields[blocks.ACTIVE] = self.active.ctypes.data
        both = self.batch.labelled or self.options.symmetric
        fields[blocks.BOTH] = both
        reals[blocks.SCALE], reals[blocks.SHIFT] = 1.0 / self.options.temperature, self.options.bias
        if both:
            fields[blocks.COLUMN_FACTOR] = of_columns.factor.ctypes.data
        if self.loss.form == "softmax":
            _describe_sums(fields, blocks.TOP, of_rows)
            if both:
                _describe_sums(fields, blocks.COLUMN_TOP, of_columns)
        if self.triplets:
            fields[blocks.SQUARES] = self.squares.ctypes.data
            fields[blocks.VECTORS] = of_rows.vectors.ctypes.data
            fields[blocks.LENGTH] = of_rows.length
            fields[blocks.SQUARED] = self.options.squared
            reals[blocks.UNIT] = self.unit
            fields[blocks.FARTHEST] = of_rows.farthest.ctypes.data
            fields[blocks.NEAREST] = of_rows.nearest.ctypes.data
            fields[blocks.OF_FARTHEST] = of_rows.of_farthest.ctypes.data
            fields[blocks.OF_NEAREST] = of_rows.of_nearest.ctypes.data
        return fields

    def _by_rows(self, code: Any, block: np.ndarray, rows: range, columns: range) -> None:
        self._launch(code, self._of_block(block, rows, columns), len(rows), len(columns))

    def _by_columns(self, code: Any, block: np.ndarray, rows: range, columns: range) -> None:
        strips = -(-len(columns) // blocks.STRIP)
        fields = self._of_block(block, rows, columns)
        self._go(code.address, 0, fields, strips, 1, len(rows) * blocks.STRIP)

    def _by_map(self, code: Any, fields: np.ndarray, count: int, each: int) -> None:
        """Run loops that call the loss's map."""
        chunk = max(1, CHUNK_ELEMENTS // max(each, 1))
        self._go(chunk_code().address, code.address, fields, count, chunk, each)

    def measure_rows(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_rows(blocks.measure_rows(self.real), block, rows, columns)

    def measure_columns(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_columns(blocks.measure_columns(self.real), block, rows, columns)

    def close(self, rows: range) -> None:
        scale, shift = 1.0 / self.options.temperature, self.options.bias
        sides = [(self.rows, slice(rows.start, rows.stop))]
        if self.options.symmetric:
            sides.append((self.columns, slice(None)))
        for side, some in sides:
            top, total = (one[some].astype(np.float64) for one in (side.top, side.total))
            side.log_sum[some] = top * scale + shift + np.log(total)
            side.log_sum[some][side.total[some] == 0] = -np.inf  # nothing was summed

    def positives(self, block: np.ndarray, rows: range, columns: range) -> None:
        code = blocks.positives(self.structure, self.real)
        fields = self._of_block(block, rows, columns)
        each = int((self.ends - self.starts)[rows.start : rows.stop].max())
        self._by_map(code, fields, len(rows), min(each, len(columns)))
        if self.options.symmetric:
            # The positive of a column is the row's.
            _describe_sums(fields, blocks.TOP, self.columns)
            fields[blocks.FACTOR] = self.columns.factor.ctypes.data
            self._by_map(code, fields, len(rows), 1)

    def emit(self, block: np.ndarray, rows: range, columns: range) -> None:
        make = blocks.emit if self.loss.form == "softmax" else blocks.emit_pairs
        code = make(self.structure, self.real)
        self._by_map(code, self._of_block(block, rows, columns), len(rows), len(columns))

    def mine_rows(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_rows(blocks.mine_rows(self.real), block, rows, columns)

    def mine_columns(self, block: np.ndarray, rows: range, columns: range) -> None:
        self._by_columns(blocks.mine_columns(self.real), block, rows, columns)

    def settle_triplets(self, gradients: bool) -> None:
        side, count = self.rows, self.batch.rows
        if self.tainted:
            self._taint()
            return
        fields = self._of_block(self.space, range(count), range(0))
        of_triplets = np.zeros((2, count), self.real)
        fields[blocks.TO_FARTHEST], fields[blocks.TO_NEAREST] = (
            one.ctypes.data for one in of_triplets
        )
        code = blocks.settle(self.structure, self.real)
        self._by_map(code, fields, count, 2 * side.length)
        if not gradients:
            return
        # Every pair pulls or pushes both of its ends: each row gathers what concerns it, in an
        # order of its own, which does not depend on threads.
        pairs = []
        for other, size in zip((side.of_farthest, side.of_nearest), of_triplets):
            rows = np.flatnonzero(size)
            pairs.append((rows, other[rows].astype(np.int64), size[rows]))
        rows, others, sizes = (np.concatenate(column) for column in zip(*pairs))
        ends = np.concatenate([rows, others])
        order = np.argsort(ends, kind="stable")
        others, sizes = np.concatenate([others, rows])[order], np.concatenate([sizes, sizes])[order]
        first = np.searchsorted(ends[order], np.arange(count + 1))
        fields = self._fields(side, [])
        fields[blocks.SUMS] = side.sums.ctypes.data
        fields[blocks.FIRST], fields[blocks.OTHERS], fields[blocks.SIZES] = (
            one.ctypes.data for one in (first, others, sizes)
        )
        self._launch(blocks.gather(self.real), fields, count, 4 * side.length)

    def _taint(self) -> None:
        """All rows are compared with one that is not finite."""
        self.values[self.batch.terms > 0] = np.nan
        if self.gradients:
            self.rows.sums[...] = np.nan

    def emit_triplets(self, block: np.ndarray, rows: range) -> None:
        count = len(rows)
        if self.tainted:
            self._taint()
            block[...] = np.nan
            return
        chunk = max(TRIPLET_ROWS, CHUNK_ELEMENTS // max(self.batch.columns, 1))
        most = int((self.ends - self.starts).max())
        # What a row needs for its positives: see `embedding_blocks.scratch_bytes`.
        each = blocks.scratch_bytes(most)
        scratch = np.empty(-(-count // chunk) * each, np.uint8)
        pulls = np.zeros(count, self.real)
        fields = self._of_block(block, rows, range(self.batch.columns))
        fields[blocks.SCRATCH], fields[blocks.SCRATCH_EACH] = scratch.ctypes.data, each
        fields[blocks.ALL_TRIPLETS] = self.options.mining == "all"
        fields[blocks.CHUNK_ROWS] = chunk
        fields[blocks.PULLS] = pulls.ctypes.data
        reals = fields.view(np.float64)
        reals[blocks.MARGIN] = getattr(self.loss, "margin", 0.0)
        code = blocks.emit_triplets(self.structure, self.real)
        self._go(chunk_code().address, code.address, fields, count, chunk, 4 * self.batch.columns)
        if self.gradients:
            # A difference x - y pulls by x, and by -y: the sums of slopes over rows and columns
            # go with x, the products with y.
            self.pulls[rows.start : rows.stop] += pulls
            ones = np.ones((1, count), self.real)
            self.pulls += ones.dot(block)[0]
            np.negative(block, out=block)

    def finish(self) -> None:
        """From sums to gradients: through the lengths, in the order in which the vectors came."""
        for side, output in zip((self.rows, self.columns), self.outputs):
            if not side.started and not self.triplets:
                side.sums[...] = 0
            fields = self._fields(side, describe(output, self.real, "store"))
            fields[blocks.SOURCE] = output.array.ctypes.data
            fields[blocks.SUMS] = side.sums.ctypes.data
            fields[blocks.NORMALIZE] = self.options.normalize
            fields[blocks.PULLS] = self.pulls.ctypes.data if self.triplets else 0
            scale = 1.0 if self.triplets else 1.0 / self.options.temperature
            fields.view(np.float64)[blocks.SCALE] = scale
            self._launch(blocks.finish(self.real), fields, side.count, side.length)


def _describe_sums(fields: np.ndarray, first: int, side: _Side) -> None:
    for i, array in enumerate((side.top, side.total, side.log_sum, side.slope)):
        fields[first + i] = array.ctypes.data
