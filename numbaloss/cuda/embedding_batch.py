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
from ..core.request import Request
from ..formulas.fitting import lower_for
from ..formulas.structure import Structure, parameters_of
from ..jobs.cuda_batch import BatchFlags, BatchNumbers, BlockPositives, CudaBatchBlock
from . import backend, batch_mining, batch_slopes, batch_sums, batch_triplets, batch_vectors
from .backend import Place
from .calls import Call, address, blocks_for
from .fields import new
from .kernel import Kernel
from .linear import clear
from .products import Library, library
from .reduce import WARP
from .results import DeviceSums

_flag = BatchFlags.bit
# Of each row that is compared with others; `column_` and the same of columns.
OF_SUMS = ("maximum", "exponential_sum", "log_sum", "exponential_factor")

# Bytes of a block of similarities by default, the share of what is free that it may take, and
# what it takes in any case: libraries may have in store what is not free.
WORKSPACE, SHARE, LEAST = 1 << 30, 4, 64 << 20
# Rows of a block that products are fast with, and of which a symmetric matrix has several.
ROWS = 2048
# Blocks of a launch for each multiprocessor.
BLOCKS_EACH = 16


def run(request: Request, place: Place) -> DeviceSums | None:
    """Ask the GPU for the value; values and gradients will receive what they are for.

    None where no row has a term: the results are zeros then.
    """
    loss, batch, own = request.loss, request.details, request.own
    assert own is not None
    if not batch.terms.any():
        clear(own.family, [one for one in own.outputs if one is not None])
        return None
    values = request.outputs[0]
    gradients: Any = request.outputs[1:]
    options, budget = loss.batch_options(), request.workspace
    products = library(own.family)
    if budget is None:
        budget = max(LEAST, min(WORKSPACE, backend.free_memory(place.device) // SHARE))
    with products.on(place, own.family):
        machine = _Machine(request, place, products)
        numbers = max(1, budget // np.dtype(machine.real).itemsize)
        shape = all_pairs.shape_of(
            batch, loss.form, options.mining, options.symmetric, numbers, ROWS
        )
        machine.prepare(shape)
        if batch.rows:  # there may be keys alone
            all_pairs.run(
                machine, batch, shape, loss.form, options.mining, options.symmetric,
                machine.gradients,
            )  # fmt: skip
        if machine.gradients:
            machine.finish(gradients)
        return machine.total(values, request.divisor)


class _Side:
    """Vectors of rows or of columns, and what is known of each: arrays, and their addresses."""

    def __init__(self, operand: Operand) -> None:
        self.operand = operand
        self.count, self.length = operand.array.shape
        self.vectors: Any = None
        self.sums: Any = None
        self.fields: dict[str, int] = {}  # addresses of arguments of launches


class _Machine:
    """cuBLAS and kernels; see `all_pairs.Machine`."""

    def __init__(self, request: Request, place: Place, products: Library) -> None:
        loss, batch, vectors = request.loss, request.details, request.inputs
        assert request.own is not None
        self.loss, self.batch, self.options = loss, batch, loss.batch_options()
        self.call = Call(place, [*vectors, *request.outputs])
        self.library = products
        self.like = self.library.own(request.own.inputs[0])
        first, last = vectors[0], vectors[-1]
        assert first is not None
        assert last is not None
        self.real, self.kind = first.compute, first.kind
        self.gradients = request.derivatives > 0
        lowered = lower_for(loss, self.real)
        self.structure = Structure.of(lowered)
        self.parameters = parameters_of(lowered, np.dtype(self.real).type)
        self.rows = _Side(first)
        self.columns = self.rows if batch.labelled else _Side(last)
        self.both = batch.labelled or self.options.symmetric
        self.triplets, self.for_positives = loss.form == "triplets", 0
        half = 0.5 if self.options.symmetric else 1.0
        factor = batch.factor(request.scale * half)
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
            side.vectors, side.fields["vectors"] = self._made((side.count, side.length))
            if self.gradients:
                side.sums, side.fields["sums"] = self._made((side.count, side.length))
                self.library.clear(side.sums)
            if self.options.normalize:
                side.fields["inverse"] = self._zeros(side.count)
            if self.triplets:
                # Ones, unless the vectors' largest elements are written there.
                ones = self._filled(1 + side.count, 1.0)
                side.fields["unit"] = ones
            job = self._job(side, side.operand)
            self._rows(batch_vectors.prepare(self.kind), job, side.count)
            if self.loss.form == "softmax" and (side is self.rows or self.both):
                lowest = self._filled(side.count, -np.inf)
                zeros = [self._zeros(side.count) for _ in range(3)]
                side.fields |= dict(zip(OF_SUMS, (lowest, *zeros)))
        if self.triplets:
            self._prepare_triplets()

    def _prepare_triplets(self) -> None:
        side, count = self.rows, self.batch.rows
        side.fields["squares"] = self._zeros(count)
        side.fields["not_finite"] = self._zeros(1)
        job = self._job(side)
        self._rows(batch_vectors.choose_unit(self.real), job, 1)
        if not self.options.normalize:  # where it is the direction that counts
            units = -(-count * side.length // backend.THREADS)
            self._rows(batch_vectors.rescale(self.real), job, units)
            job.mean = self.call.touch(self.library.sum_rows(side.vectors))
        self._rows(batch_vectors.center(self.real), job, count, 1.0 / count)
        if self.options.mining == "hard":
            none = np.full(count, -1)
            side.fields |= {
                "farthest": self._filled(count, -np.inf),
                "nearest": self._filled(count, np.inf),
                "farthest_place": self._upload(none),
                "nearest_place": self._upload(none),
                "farthest_slope": self._zeros(count),
                "nearest_slope": self._zeros(count),
            }
        else:
            side.fields["slope_sum"] = self._zeros(count)

    def _job(self, side: _Side, operand: Operand | None = None) -> CudaBatchBlock:
        """The arguments of a launch over the rows of a side."""
        job = new(CudaBatchBlock)
        job.rows, job.length, job.order = side.count, side.length, self.order
        for name, where in side.fields.items():
            setattr(job, name, where)
        if operand is not None:
            size = operand.array.itemsize
            job.source = address(operand)
            job.source_row_stride, job.source_stride = (
                step // size for step in operand.array.strides
            )
        job.flags = (
            (_flag.normalize if self.options.normalize else 0)
            | (_flag.labelled if self.batch.labelled else 0)
            | (_flag.negatives_alone if self.loss.against == "negatives" else 0)
            | (_flag.both if self.both else 0)
            | (_flag.squared if self.options.squared else 0)
            | (_flag.all_triplets if self.options.mining == "all" else 0)
        )
        return job

    def _of_block(self, rows: range, columns: range) -> CudaBatchBlock:
        job = self._job(self.rows)
        job.block = self.block_place
        job.row, job.height = rows.start, len(rows)
        job.column, job.width = columns.start, len(columns)
        job.starts, job.ends = self.starts, self.ends
        job.factor, job.share = self.factor, self.share
        job.values = self.values
        if self.both:
            job.column_factor = self.factor
            if self.loss.form == "softmax":
                for name in OF_SUMS:
                    setattr(job, f"column_{name}", self.columns.fields[name])
        return job

    def _numbers(self) -> BatchNumbers:
        numbers = new(BatchNumbers)
        numbers.scale, numbers.shift = 1.0 / self.options.temperature, self.options.bias
        numbers.margin = float(getattr(self.loss, "margin", 0.0))
        return numbers

    def _rows(
        self, kernel: Kernel, job: CudaBatchBlock, units: int, scale: float | None = None
    ) -> None:
        """Run a kernel without a loss, of whose units a block of threads takes one at a time."""
        self._run(kernel, job, units, scale, ())

    def _run(
        self,
        kernel: Kernel,
        job: CudaBatchBlock,
        units: int,
        scale: float | None,
        loss: tuple[Any, ...],
    ) -> None:
        numbers = self._numbers()
        if scale is not None:
            numbers.scale = scale
        count = blocks_for(units, self.call.place.device, BLOCKS_EACH)
        self.call.run(kernel, count, (*loss, job, numbers))

    def _with_loss(self, make: Any, job: CudaBatchBlock, units: int) -> None:
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
        self._rows(batch_sums.measure_rows(self.real), self._of_block(rows, columns), len(rows))

    def measure_columns(self, block: Any, rows: range, columns: range) -> None:
        units = -(-len(columns) // WARP)
        self._rows(batch_sums.measure_columns(self.real), self._of_block(rows, columns), units)

    def close(self, rows: range) -> None:
        sides = [(self.rows, rows)]
        if self.options.symmetric:
            sides.append((self.columns, range(self.columns.count)))
        for side, some in sides:
            job = self._job(side)
            job.row, job.height = some.start, len(some)
            units = -(-len(some) // backend.THREADS)
            self._rows(batch_sums.close(self.real), job, units)

    def positives(self, block: Any, rows: range, columns: range) -> None:
        job = self._of_block(rows, columns)
        self._with_loss(batch_slopes.positives, job, len(rows))
        if self.options.symmetric:
            # The positive of a column is the row's.
            for name in OF_SUMS:
                setattr(job, name, self.columns.fields[name])
            self._with_loss(batch_slopes.positives, job, len(rows))

    def emit(self, block: Any, rows: range, columns: range) -> None:
        make = batch_slopes.emit if self.loss.form == "softmax" else batch_slopes.emit_pairs
        self._with_loss(make, self._of_block(rows, columns), len(rows))

    def mine_rows(self, block: Any, rows: range, columns: range) -> None:
        self._rows(batch_mining.mine_rows(self.real), self._of_block(rows, columns), len(rows))

    def mine_columns(self, block: Any, rows: range, columns: range) -> None:
        units = -(-len(columns) // WARP)
        self._rows(batch_mining.mine_columns(self.real), self._of_block(rows, columns), units)

    def finish_triplets(self, gradients: bool) -> None:
        job = self._of_block(range(0), range(0))
        self._with_loss(batch_mining.finish_mined, job, self.batch.rows)
        if gradients:
            self._rows(batch_mining.gather(self.real), job, self.batch.rows)

    def emit_triplets(self, block: Any, rows: range) -> None:
        columns = range(self.batch.columns)
        job = self._of_block(rows, columns)
        most = 1
        while most < int(self.batch.positives.max()):
            most *= 2
        each, itemsize = 8 * BlockPositives.count * (most + 1), np.dtype(self.real).itemsize
        # Large classes get fewer blocks of threads, not more memory than the similarities.
        room = max(LEAST, self.space.shape[0] * itemsize) // each
        count = blocks_for(min(len(rows), max(1, room)), self.call.place.device, BLOCKS_EACH)
        if self.for_positives == 0:  # the first rows are the most
            _, self.for_positives = self._made((-(-count * each // itemsize),))
        job.positives, job.most_positives = self.for_positives, most
        self._with_loss(batch_triplets.emit_triplets, job, count)
        if self.gradients:
            # A difference x - y pulls by x, and by -y: the sums of slopes over rows and columns
            # go with x, the products with y.
            units = -(-len(columns) // WARP)
            self._rows(batch_triplets.add_columns(self.real), job, units)

    def finish(self, gradients: Sequence[Operand]) -> None:
        """From sums to gradients: through the lengths, in the order in which the vectors came."""
        scale = 1.0 if self.triplets else 1.0 / self.options.temperature
        for side, output in zip((self.rows, self.columns), gradients):
            job = self._job(side, output)
            self._rows(batch_vectors.finish(self.kind), job, side.count, scale)

    def total(self, values: Operand | None, divisor: float) -> DeviceSums:
        """The value, from those of the rows, which ``values`` receives."""
        job = self._job(self.rows)
        job.values, job.weight = self.values, self.weight
        if values is not None:
            job.source = address(values)
            job.source_stride = values.array.strides[0] // values.array.itemsize
        units = -(-self.batch.rows // backend.THREADS)
        count = blocks_for(units, self.call.place.device, BLOCKS_EACH)
        return self.call.launch(batch_vectors.total(self.real), count, (job,), divisor=divisor)
