"""Losses of rows of logits on a GPU: from arrays to launches and back."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.reductions import batch_length
from ..core.request import Request
from ..jobs.cuda_rows import EMIT, MEASURE, WHOLE_ROWS, CudaRows, RowFlags
from ..jobs.rows import LabelPiece
from . import backend, clusters, general, in_registers, long, reduce, rows, scan, staged
from .backend import Place
from .calls import Call, Operands, address, blocks_for, code, layout
from .dtypes import VECTOR_BYTES, itemsize
from .fields import copied, new
from .in_registers import BLOCKS_EACH, LONG_THREADS
from .results import DeviceSums
from .row_plans import plan

_flag = RowFlags.bit
# A warp takes a row of up to so many classes, if there are rows enough; then the block takes one.
WARP_CLASSES = 1024
# Threads take so many classes each, where a row needs less than a warp of them.
CLASSES_EACH = 4
# Blocks that have a long row each, for each multiprocessor.
LONG_BLOCKS_EACH = 1
# Rows of fewer classes are no work for a block, where registers cannot keep them.
LEAST_KEPT = 2048
# Pieces of rows that blocks share hold so many classes, at least.
LEAST_PIECE = 4096


def is_checked(loss: Any, inputs: Operands, check: bool) -> bool:
    """Whether a call may find labels, weights, targets or predictions out of range."""
    prediction, target, weight, _ = inputs
    assert prediction is not None
    assert target is not None
    labelled = target.array.ndim < prediction.array.ndim
    domains = domain(loss.target_domain), loss.tested_domain()
    limited = weight is not None or not all(one.everything for one in domains)
    return labelled or (check and limited)


def run(request: Request, place: Place) -> DeviceSums:
    """Ask the GPU for a request on arrays of its own."""
    return evaluate(
        *request[:4],
        request.reduction,
        request.gradient_scale,
        request.check,
        request.in_place,
        place,
    )


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    reduction: str,
    gradient_scale: float,
    check: bool,
    in_place: bool,
    place: Place,
) -> DeviceSums:
    """Ask the GPU for the value; the outputs will receive what they are for.

    Nothing waits for the GPU. The record has the number of those out of range.
    """
    run = _Run(loss, inputs, outputs, check, place)
    start = run.begin(reduction, gradient_scale)
    guard = None
    if in_place and is_checked(loss, inputs, check):
        tested = not loss.tested_domain().everything
        if not check or (run.labelled and not tested):
            guard = start.earlier or run.scan(False, 1.0)
        else:
            guard = run.launch(0, [None, None, None], 1.0, count_errors=True)
    count_errors = start.earlier is None and guard is None
    return run.launch(derivatives, outputs, start.scale, count_errors, guard=guard, **start.options)


class Start(NamedTuple):
    """What is known of a set of rows before its first part is computed."""

    scale: float  # of the gradient, where the host knows it
    divisor: float  # of the value; 0: the total of the record
    earlier: DeviceSums | None

    @property
    def options(self) -> dict[str, Any]:
        """As launches take it."""
        return {"divisor": self.divisor, "earlier": self.earlier}


def begin(
    loss: Any,
    inputs: Operands,
    reduction: str,
    gradient_scale: float,
    check: bool,
    place: Place,
) -> Start:
    """Count the rows of a set that is then computed part by part; their logits are not read."""
    return _Run(loss, inputs, [None] * 3, check, place).begin(reduction, gradient_scale)


def go_on(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    start: Start,
    before: DeviceSums | None,
    check: bool,
    place: Place,
) -> DeviceSums:
    """Compute one part of such a set; its record holds the sums of all parts so far."""
    run = _Run(loss, inputs, outputs, check, place)
    count_errors = start.earlier is None
    return run.launch(
        derivatives, outputs, start.scale, count_errors, before=before, **start.options
    )


class _Run:
    """Launches over the same rows."""

    def __init__(
        self, loss: Any, inputs: Operands, outputs: Operands, check: bool, place: Place
    ) -> None:
        self.call, self.loss, self.inputs = Call(place, [*inputs, *outputs]), loss, inputs
        self.check = check
        self.prediction, self.target = inputs[0], inputs[1]
        assert self.prediction is not None
        assert self.target is not None
        shape = self.prediction.array.shape
        self.labelled = self.target.array.ndim < len(shape)
        self.classes, self.count = shape[-1], math.prod(shape[:-1])

    def begin(self, reduction: str, gradient_scale: float) -> Start:
        """What the value is divided by, and the gradient scaled."""
        if reduction == "batchmean":
            divisor = batch_length(_shape(self.prediction)[:-1])
            return Start(gradient_scale / divisor, divisor, None)
        if reduction not in ("mean", "weighted_mean"):
            return Start(gradient_scale, 1.0, None)
        _, _, weight, mask = self.inputs
        weights = weight is not None or self.loss.row_options().class_weight is not None
        weighted = reduction == "weighted_mean" and weights
        if self.labelled or mask is not None or weighted:
            return Start(gradient_scale, 0.0, self.scan(weighted, gradient_scale))
        return Start(gradient_scale / self.count, float(self.count), None)

    def _job(self, outputs: Operands, flags: int) -> tuple[CudaRows, bool]:
        """The arguments of a launch, and whether rows lie along several axes."""
        prediction, target, weight, mask = self.inputs
        by_row = [prediction, target, weight, mask, *outputs]
        ignored, job = self.loss.row_options().ignore_index, new(CudaRows)
        job.rows, job.classes, job.pieces = self.count, self.classes, 1
        job.prediction, job.target = address(prediction), address(target)
        job.weight, job.mask = address(weight), address(mask)
        job.value, job.gradient, job.hessian = map(address, outputs)
        job.target_code, job.weight_code = code(target), code(weight)
        if ignored is not None:
            job.ignored_label, flags = ignored, flags | _flag.ignores
        job.flags = flags if self.check else flags | _flag.any_weight
        # Which of the arrays have classes.
        wide = True, not self.labelled, False, False, False, True, True
        if all(one is None or one.array.flags.c_contiguous for one in by_row):
            # What follows would come to the same.
            _set_row_strides(job, [
                0 if one is None else self.classes if has_classes else 1
                for one, has_classes in zip(by_row, wide)
            ])  # fmt: skip
            _set_class_strides(job, [
                int(one is not None and has_classes) for one, has_classes in zip(by_row, wide)
            ])  # fmt: skip
            return job, False
        of_rows = [_rows_of(one, has_classes) for one, has_classes in zip(by_row, wide)]
        axes = layout(_shape(prediction)[:-1], of_rows)
        traversed = int(axes[0]) > 1
        if traversed:
            job.layout = self.call.upload(axes)
        _set_row_strides(job, axes[2:9].tolist())
        _set_class_strides(job, [
            _class_stride(one) if has_classes else 0 for one, has_classes in zip(by_row, wide)
        ])  # fmt: skip
        return job, traversed

    def scan(self, weighted: bool, numerator: float) -> DeviceSums:
        """Count the rows, or sum their weights."""
        flags = (_flag.labelled if self.labelled else 0) | (_flag.weighted if weighted else 0)
        job, traversed = self._job([None, None, None], flags)
        weights = self.loss.row_options().class_weight
        if weighted and weights is not None:
            job.class_weight = self.call.resident(weights)
        blocks = blocks_for(-(-self.count // backend.THREADS), self.call.place.device, BLOCKS_EACH)
        return self.call.launch(scan.kernel(traversed), blocks, (job,), numerator=numerator)

    def launch(
        self, derivatives: int, outputs: Operands, scale: float, count_errors: bool, **options: Any
    ) -> DeviceSums:
        """Run the kernels that rows of this kind and width need."""
        prediction, target = self.prediction, self.target
        assert prediction is not None
        assert target is not None
        kind, real = prediction.kind, prediction.compute
        found = plan(self.loss, real, self.labelled, self.classes)
        flags = found.flags
        if not self.check:
            flags &= ~(_flag.check_target | _flag.check_prediction)
        job, traversed = self._job(outputs, flags | (_flag.count_errors if count_errors else 0))
        if found.class_weight is not None:
            job.class_weight = self.call.resident(found.class_weight)
        numbers, dtype = copied(found.numbers), np.dtype(real)
        numbers.scale = scale
        numbers.low, numbers.high, numbers.near_low, numbers.near_high = domain(
            self.loss.target_domain
        ).limits(dtype, target.kind)
        limits = self.loss.tested_domain().limits(dtype, kind)
        numbers.lowest, numbers.highest, numbers.near_lowest, numbers.near_highest = limits
        head = found.parameters, numbers
        make = found.structure, kind, derivatives, traversed
        of_rows = in_registers.Rows(
            found.structure, kind, derivatives, target.kind, self.call.place.device
        )
        if not traversed:
            choice = in_registers.choose(job, of_rows, found.by_label)
            if choice is not None:
                kernel, *shape = choice
                return self._go(kernel, job, head, *shape, **options)
        pieces = self._pieces() if found.by_label else 1
        if clusters.ENABLED and found.by_label and not traversed:
            choice = in_registers.in_clusters(job, of_rows)
            if choice is not None:
                kernel, *shape = choice
                return self._go(kernel, job, head, *shape, **options)
        if self.classes > LEAST_KEPT and not traversed and pieces < 2:
            choice = in_registers.kept(job, of_rows, found.by_label)
            if choice is not None:
                kernel, *shape = choice
                return self._go(kernel, job, head, *shape, **options)
        if not found.by_label:
            _share_rows(job, self.count, self.classes, 0, self.call.place.device)
            blocks = self._blocks(job)
            return self._go(general.kernel(*make), job, head, blocks, **options)
        direct = self._direct(job, outputs, traversed)
        if self.classes <= staged.most_classes(real):
            job.flags |= direct[0]
            row_bytes = self.classes * np.dtype(real).itemsize
            _share_rows(job, self.count, self.classes, row_bytes, self.call.place.device)
            shared = (backend.THREADS >> job.row_threads_log2) * row_bytes + VECTOR_BYTES
            kernel = staged.kernel(*make)
            return self._go(kernel, job, head, self._blocks(job), shared, **options)
        job.flags |= direct[1]
        return self._long(long.kernel(*make), job, head, real, pieces, **options)

    def _blocks(self, job: CudaRows) -> int:
        per_block = backend.THREADS >> job.row_threads_log2
        return blocks_for(-(-self.count // per_block), self.call.place.device, BLOCKS_EACH)

    def _go(
        self,
        kernel: Any,
        job: CudaRows,
        head: Any,
        blocks: int,
        shared: int = 0,
        threads: int | None = None,
        cluster: int = 1,
        **options: Any,
    ) -> DeviceSums:
        parameters, numbers = head
        arguments = parameters, job, numbers
        return self.call.launch(
            kernel, blocks, arguments, shared=shared, threads=threads, cluster=cluster, **options
        )

    def _pieces(self) -> int:
        """Into how many pieces rows are cut for blocks to share them, where they are few."""
        wanted = 4 * backend.processors(self.call.place.device)
        return min(-(-wanted // self.count), -(-self.classes // LEAST_PIECE))

    def _long(
        self, kernel: Any, job: CudaRows, head: Any, real: str, pieces: int, **options: Any
    ) -> DeviceSums:
        """Rows too long for shared memory: a block each, or shared where there are few."""
        device = self.call.place.device
        threads = backend.THREADS
        if not backend.SIMULATED:
            threads = min(LONG_THREADS * threads, rows.most_threads(real))
        if pieces < 2:
            job.piece_classes, job.step = self.classes, WHOLE_ROWS
            # Few rows at the same time, so that they are in the cache when they are read again.
            blocks = blocks_for(self.count, device, LONG_BLOCKS_EACH)
            return self._go(kernel, job, head, blocks, threads=threads, **options)
        # Whole vectors of every dtype.
        piece = math.ceil(self.classes / pieces / VECTOR_BYTES) * VECTOR_BYTES
        pieces = -(-self.classes // piece)
        left = self.count * pieces * LabelPiece.memory.words * np.dtype(real).itemsize
        job.piece_classes, job.pieces = piece, pieces
        blocks = blocks_for(self.count * pieces, device, BLOCKS_EACH)
        # No other thread's launches may come in between.
        with self.call.workspace.alone:
            job.piece_results = self.call.scratch(left)
            job.step = MEASURE
            self._go(kernel, job, head, blocks, **(options | {"divisor": 1.0, "before": None}))
            job.step = EMIT
            return self._go(kernel, job, head, blocks, **options)

    def _direct(self, job: CudaRows, outputs: Operands, traversed: bool) -> tuple[int, int]:
        """Flags for arrays that can be moved in vectors: of staged rows, and of long ones."""
        prediction, gradient = self.prediction, outputs[1]
        assert prediction is not None
        size = itemsize(prediction.kind)
        near = job.prediction_class_stride == 1
        block = near and not traversed and job.prediction_row_stride == self.classes
        short = self.classes < 1 << 30  # so that indexes within a row have 32 bits
        staged_ = _flag.vectors_in if block else 0
        long_ = _flag.vectors_in if near and short else 0
        if gradient is not None and job.gradient_class_stride == 1 and not traversed:
            # Both arrays are cut into vectors at the same places.
            apart = (job.prediction - job.gradient) % VECTOR_BYTES == 0
            steps = (job.prediction_row_stride - job.gradient_row_stride) * size % VECTOR_BYTES
            if job.gradient_row_stride == self.classes and (apart or not block):
                staged_ |= _flag.vectors_out
            if long_ and apart and steps == 0:
                long_ |= _flag.vectors_out
        return staged_, long_


def _set_row_strides(job: CudaRows, strides: list[int]) -> None:
    """Strides of prediction, target, weight, mask, value, gradient and hessian."""
    (
        job.prediction_row_stride, job.target_row_stride, job.weight_row_stride,
        job.mask_row_stride, job.value_row_stride, job.gradient_row_stride, job.hessian_row_stride,
    ) = strides  # fmt: skip


def _set_class_strides(job: CudaRows, strides: list[int]) -> None:
    """The same from class to class."""
    job.prediction_class_stride, job.target_class_stride, _, _, _ = strides[:5]
    job.gradient_class_stride, job.hessian_class_stride = strides[5:]


def _share_rows(job: CudaRows, count: int, classes: int, row_bytes: int, device: int) -> None:
    """How many threads take a row: as many as have something to do, in powers of two.

    ``row_bytes`` is what a row takes of shared memory.
    """
    threads = backend.THREADS
    width = 1
    while width < min(threads, reduce.WARP) and width * CLASSES_EACH < classes:
        width *= 2
    few = count * width < threads * backend.processors(device)
    too_much = threads // width * row_bytes > staged.SHARED_BYTES
    if classes > WARP_CLASSES or too_much or (few and classes >= 8 * reduce.WARP):
        width = threads
    job.row_threads, job.row_threads_log2 = width, width.bit_length() - 1


def _shape(operand: Operand | None) -> tuple[int, ...]:
    assert operand is not None
    return operand.array.shape


def _rows_of(operand: Operand | None, with_classes: bool) -> Operand | None:
    """An array without its axis of classes."""
    if operand is None or not with_classes:
        return operand
    return operand._replace(array=operand.array[..., 0])


def _class_stride(operand: Operand | None) -> int:
    return 0 if operand is None else operand.array.strides[-1] // operand.array.itemsize
