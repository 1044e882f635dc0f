"""Losses of all pairs of a batch on a GPU: products by cuBLAS, kernels between them.

As on the CPU, vectors are copied once, rows of a label side by side, in the compute type. The
products are those of the library of the arrays, on its own stream. Who belongs to whom, weights
and factors come from the host, where labels have been sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import all_pairs
from ..arrays import Operand
from ..formulas.fitting import lower_for
from ..formulas.structure import Structure, parameters_of
from . import backend
from . import embedding_blocks as blocks
from .backend import Kernel, Place
from .calls import Call, address, blocks_for
from .linear import clear
from .products import Library, library
from .results import Record

__all__ = ["Place", "clear", "evaluate"]

# Bytes of a block of similarities by default, the share of what is free that it may take, and
# what it takes in any case: libraries may have in store what is not free.
WORKSPACE, SHARE, LEAST = 1 << 30, 4, 64 << 20
# Rows of a block that products are fast with, and of which a symmetric matrix has several.
ROWS = 2048
# Blocks of a launch for each multiprocessor.
BLOCKS_EACH = 16


def evaluate(
    loss: Any,
    vectors: Any,
    batch: all_pairs.Batch,
    values: Operand | None,
    gradients: Sequence[Operand] | None,
    scale: float,
    divisor: float,
    budget: int | None,
    place: Place,
) -> Record:
    """Ask the GPU for the value; ``values`` and ``gradients`` will receive what they are for."""
    options = loss.batch_options()
    family = vectors.families[0].name
    products = library(family)
    if budget is None:
        budget = max(LEAST, min(WORKSPACE, backend.free_memory(place.device) // SHARE))
    with products.on(place, family):
        machine = _Machine(loss, vectors, batch, values, gradients, scale, place, products)
        numbers = max(1, budget // np.dtype(machine.real).itemsize)
        shape = all_pairs.shape_of(
            batch, loss.form, options.mining, options.symmetric, numbers, ROWS
        )
        machine.prepare(shape)
        if batch.rows:  # there may be keys alone
            all_pairs.run(
                machine, batch, shape, loss.form, options.mining, options.symmetric,
                gradients is not None,
            )  # fmt: skip
        if gradients is not None:
            machine.finish(gradients)
        return machine.total(values, divisor)


class _Side:
    """Vectors of rows or of columns, and what is known of each: arrays, and their addresses."""

    def __init__(self, operand: Operand) -> None:
        self.operand = operand
        self.count, self.length = operand.array.shape
        self.vectors: Any = None
        self.sums: Any = None
        self.places: dict[int, int] = {}


class _Machine:
    """cuBLAS and kernels; see `all_pairs.Machine`."""

    def __init__(
        self,
        loss: Any,
        vectors: Any,
        batch: all_pairs.Batch,
        values: Operand | None,
        gradients: Sequence[Operand] | None,
        scale: float,
        place: Place,
        products: Library,
    ) -> None:
        self.loss, self.batch, self.options = loss, batch, loss.batch_options()
        self.call = Call(place, [*vectors.operands, values, *(gradients or ())])
        self.library = products
        self.like = self.library.own(vectors.given[0])
        self.real, self.kind = vectors.operands[0].compute, vectors.operands[0].kind
        self.gradients = gradients is not None
        lowered = lower_for(loss, self.real)
        self.structure = Structure.of(lowered)
        self.parameters = parameters_of(lowered, np.dtype(self.real).type)
        self.rows = _Side(vectors.operands[0])
        self.columns = self.rows if batch.labelled else _Side(vectors.operands[1])
        self.both = batch.labelled or self.options.symmetric
        self.triplets, self.for_positives = loss.form == "triplets", 0
        half = 0.5 if self.options.symmetric else 1.0
        factor = batch.factor(scale * half)
        self.starts, self.ends = self._upload(batch.starts), self._upload(batch.ends)
        self.order = 0 if batch.order is None else self._upload(batch.order)
        self.weight = 0 if batch.weight is None else self._upload(batch.weight, self.real)
        self.share = self._upload(batch.share * half, self.real)
        self.factor = self._upload(factor, self.real)
        self.values = self._zeros(batch.rows)

    # All memory is the library's: it hands out again what was returned in the order of the stream,
    # so that nothing has to wait until kernels have run.

    def _upload(self, numbers: np.ndarray, kind: str = "int64") -> int:
        """Address of a copy of numbers of the host."""
        return self.call.touch(self.library.put(np.ascontiguousarray(numbers, kind), self.like))

    def _made(self, shape: tuple[int, ...]) -> tuple[Any, int]:
        """An array of the library's in the compute type, and its address."""
        array = self.library.make(shape, self.real, self.like)
        return array, self.call.touch(array)

    def _zeros(self, count: int) -> int:
        array, where = self._made((count,))
        self.library.clear(array)
        return where

    def _filled(self, count: int, number: float) -> int:
        return self._upload(np.full(count, number), self.real)

    def prepare(self, shape: all_pairs.Shape) -> None:
        """Copies of the vectors, and room for what will be known."""
        height = min(shape.rows, self.batch.rows)
        width = max(min(shape.columns, self.batch.columns), height)
        self.space, self.block_place = self._made((height * width,))
        for side in {id(one): one for one in (self.rows, self.columns)}.values():
            side.vectors, side.places[blocks.VECTORS] = self._made((side.count, side.length))
            if self.gradients:
                side.sums, side.places[blocks.SUMS] = self._made((side.count, side.length))
                self.library.clear(side.sums)
            if self.options.normalize:
                side.places[blocks.INVERSE] = self._zeros(side.count)
            if self.triplets:
                # Ones, unless the vectors' largest elements are written there.
                ones = self._filled(1 + side.count, 1.0)
                side.places[blocks.UNIT] = ones
            job = self._job(side, side.operand)
            self._rows(blocks.prepare(self.kind), job, side.count)
            if self.loss.form == "softmax" and (side is self.rows or self.both):
                lowest = self._filled(side.count, -np.inf)
                zeros = [self._zeros(side.count) for _ in range(3)]
                side.places |= dict(zip(range(blocks.TOP, blocks.SLOPE + 1), (lowest, *zeros)))
        if self.triplets:
            self._prepare_triplets()

    def _prepare_triplets(self) -> None:
        side, count = self.rows, self.batch.rows
        side.places[blocks.SQUARES] = self._zeros(count)
        side.places[blocks.TAINT] = self._zeros(1)
        job = self._job(side)
        self._rows(blocks.choose_unit(self.real), job, 1)
        if not self.options.normalize:  # where it is the direction that counts
            units = -(-count * side.length // backend.THREADS)
            self._rows(blocks.rescale(self.real), job, units)
            job[blocks.MEAN] = self.call.touch(self.library.sum_rows(side.vectors))
        self._rows(blocks.center(self.real), job, count, (1.0 / count, 0.0, 0.0))
        if self.options.mining == "hard":
            none = np.full(count, -1)
            side.places |= {
                blocks.FARTHEST: self._filled(count, -np.inf),
                blocks.NEAREST: self._filled(count, np.inf),
                blocks.OF_FARTHEST: self._upload(none),
                blocks.OF_NEAREST: self._upload(none),
                blocks.TO_FARTHEST: self._zeros(count),
                blocks.TO_NEAREST: self._zeros(count),
            }
        else:
            side.places[blocks.PULLS] = self._zeros(count)

    def _job(self, side: _Side, operand: Operand | None = None) -> list[int]:
        """The description of a launch over the rows of a side."""
        job = [0] * blocks.INTEGERS
        job[blocks.ROWS], job[blocks.LENGTH] = side.count, side.length
        for which, where in side.places.items():
            job[which] = where
        job[blocks.ORDER] = self.order
        if operand is not None:
            size = operand.array.itemsize
            job[blocks.SOURCE] = address(operand)
            job[blocks.ROW_STEP], job[blocks.STEP] = (
                step // size for step in operand.array.strides
            )
        job[blocks.FLAGS] = (
            (blocks.NORMALIZE if self.options.normalize else 0)
            | (blocks.LABELLED if self.batch.labelled else 0)
            | (blocks.NEGATIVES_ALONE if self.loss.against == "negatives" else 0)
            | (blocks.BOTH if self.both else 0)
            | (blocks.SQUARED if self.options.squared else 0)
            | (blocks.ALL_TRIPLETS if self.options.mining == "all" else 0)
        )
        return job

    def _of_block(self, rows: range, columns: range) -> list[int]:
        job = self._job(self.rows)
        job[blocks.BLOCK] = self.block_place
        job[blocks.ROW], job[blocks.HEIGHT] = rows.start, len(rows)
        job[blocks.COLUMN], job[blocks.WIDTH] = columns.start, len(columns)
        job[blocks.STARTS], job[blocks.ENDS] = self.starts, self.ends
        job[blocks.FACTOR], job[blocks.SHARE] = self.factor, self.share
        job[blocks.VALUES] = self.values
        if self.both:
            job[blocks.COLUMN_FACTOR] = self.factor
            if self.loss.form == "softmax":
                for i in range(4):
                    job[blocks.COLUMN_TOP + i] = self.columns.places[blocks.TOP + i]
        return job

    def _reals(self) -> tuple[float, ...]:
        return (
            1.0 / self.options.temperature,
            self.options.bias,
            float(getattr(self.loss, "margin", 0.0)),
        )

    def _rows(
        self, kernel: Kernel, job: list[int], units: int, reals: tuple[float, ...] | None = None
    ) -> None:
        """Run a kernel without a loss, of whose units a block of threads takes one at a time."""
        self._run(kernel, job, units, reals, ())

    def _run(
        self,
        kernel: Kernel,
        job: list[int],
        units: int,
        reals: tuple[float, ...] | None,
        loss: tuple[Any, ...],
    ) -> None:
        cast = np.dtype(self.real).type
        numbers = tuple(cast(number) for number in reals or self._reals())
        count = blocks_for(units, self.call.place.device, BLOCKS_EACH)
        self.call.run(kernel, count, (*loss, tuple(job), numbers))

    def _with_loss(self, make: Any, job: list[int], units: int) -> None:
        self._run(make(self.structure, self.real), job, units, None, (self.parameters,))

    def product(self, rows: range, columns: range) -> Any:
        block = self.space[: len(rows) * len(columns)].reshape(len(rows), len(columns))
        left = self.rows.vectors[rows.start : rows.stop]
        right = self.columns.vectors[columns.start : columns.stop]
        if self.rows.length == 0:
            self.library.clear(block)
            return block
        self.library.multiply(left, right.T, block, add=False)
        return block

    def carry(self, block: Any, rows: range, columns: range, both: bool) -> None:
        here, there = self.rows, self.columns
        if here.length == 0:
            return
        right = there.vectors[columns.start : columns.stop]
        self.library.multiply(block, right, here.sums[rows.start : rows.stop], add=True)
        if both:
            left = here.vectors[rows.start : rows.stop]
            sums = there.sums[columns.start : columns.stop]
            self.library.multiply(block.T, left, sums, add=True)

    def measure_rows(self, block: Any, rows: range, columns: range) -> None:
        self._rows(blocks.measure_rows(self.real), self._of_block(rows, columns), len(rows))

    def measure_columns(self, block: Any, rows: range, columns: range) -> None:
        units = -(-len(columns) // blocks.WARP)
        self._rows(blocks.measure_columns(self.real), self._of_block(rows, columns), units)

    def close(self, rows: range) -> None:
        sides = [(self.rows, rows)]
        if self.options.symmetric:
            sides.append((self.columns, range(self.columns.count)))
        for side, some in sides:
            job = self._job(side)
            job[blocks.ROW], job[blocks.HEIGHT] = some.start, len(some)
            units = -(-len(some) // backend.THREADS)
            self._rows(blocks.close(self.real), job, units)

    def positives(self, block: Any, rows: range, columns: range) -> None:
        job = self._of_block(rows, columns)
        self._with_loss(blocks.positives, job, len(rows))
        if self.options.symmetric:
            # The positive of a column is the row's.
            for i in range(4):
                job[blocks.TOP + i] = self.columns.places[blocks.TOP + i]
            self._with_loss(blocks.positives, job, len(rows))

    def emit(self, block: Any, rows: range, columns: range) -> None:
        make = blocks.emit if self.loss.form == "softmax" else blocks.emit_pairs
        self._with_loss(make, self._of_block(rows, columns), len(rows))

    def mine_rows(self, block: Any, rows: range, columns: range) -> None:
        self._rows(blocks.mine_rows(self.real), self._of_block(rows, columns), len(rows))

    def mine_columns(self, block: Any, rows: range, columns: range) -> None:
        units = -(-len(columns) // blocks.WARP)
        self._rows(blocks.mine_columns(self.real), self._of_block(rows, columns), units)

    def settle_triplets(self, gradients: bool) -> None:
        job = self._of_block(range(0), range(0))
        self._with_loss(blocks.settle, job, self.batch.rows)
        if gradients:
            self._rows(blocks.gather(self.real), job, self.batch.rows)

    def emit_triplets(self, block: Any, rows: range) -> None:
        columns = range(self.batch.columns)
        job = self._of_block(rows, columns)
        most = 1
        while most < int(self.batch.positives.max()):
            most *= 2
        each, itemsize = blocks.SPACE_BYTES * (most + 1), np.dtype(self.real).itemsize
        # Large classes get fewer blocks of threads, not more memory than the similarities.
        room = max(LEAST, self.space.shape[0] * itemsize) // each
        count = blocks_for(min(len(rows), max(1, room)), self.call.place.device, BLOCKS_EACH)
        if self.for_positives == 0:  # the first rows are the most
            _, self.for_positives = self._made((-(-count * each // itemsize),))
        job[blocks.SPACE], job[blocks.MOST] = self.for_positives, most
        self._with_loss(blocks.emit_triplets, job, count)
        if self.gradients:
            # A difference x - y pulls by x, and by -y: the sums of slopes over rows and columns
            # go with x, the products with y.
            units = -(-len(columns) // blocks.WARP)
            self._rows(blocks.add_columns(self.real), job, units)

    def finish(self, gradients: Sequence[Operand]) -> None:
        """From sums to gradients: through the lengths, in the order in which the vectors came."""
        scale = 1.0 if self.triplets else 1.0 / self.options.temperature
        for side, output in zip((self.rows, self.columns), gradients):
            job = self._job(side, output)
            self._rows(blocks.finish(self.kind), job, side.count, (scale, 0.0, 0.0))

    def total(self, values: Operand | None, divisor: float) -> Record:
        """The value, from those of the rows, which ``values`` receives."""
        job = self._job(self.rows)
        job[blocks.VALUES], job[blocks.WEIGHT] = self.values, self.weight
        if values is not None:
            job[blocks.SOURCE] = address(values)
            job[blocks.STEP] = values.array.strides[0] // values.array.itemsize
        units = -(-self.batch.rows // backend.THREADS)
        count = blocks_for(units, self.call.place.device, BLOCKS_EACH)
        return self.call.launch(blocks.total(self.real), count, (tuple(job),), divisor=divisor)
