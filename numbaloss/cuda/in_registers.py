"""Which kernel keeps rows in registers, or in shared memory, and how it is launched."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..formulas.structure import Structure
from ..jobs.cuda_rows import CudaRows, RowFlags
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from . import (
    all_classes,
    backend,
    clusters,
    dense_targets,
    kept_classes,
    kept_rows,
    narrow_rows,
    register_rows,
    shared_memory,
)
from .calls import blocks_for
from .class_terms import DENSE, LABELS, LOGITS, Form
from .dtypes import VECTOR_BYTES, itemsize, lanes
from .kernel import Kernel
from .register_rows import Limits
from .rows import most_threads

_flag = RowFlags.bit
# Blocks of a launch for each multiprocessor.
BLOCKS_EACH = 16
# Threads of a block for a long row, in those of others.
LONG_THREADS = 4


class Choice(NamedTuple):
    """A kernel, its blocks, their shared memory and threads."""

    kernel: Kernel
    blocks: int
    shared: int
    threads: int


class Rows(NamedTuple):
    """What a choice depends on."""

    structure: Structure
    kind: str
    derivatives: int
    of_targets: str  # their dtype
    device: int


def choose(job: CudaRows, rows: Rows, by_label: bool) -> Choice | None:
    """The kernel for rows along one axis; None where registers cannot keep them."""
    if not _has_outputs(job, rows):
        return None
    return _by_label(job, rows) if by_label else _by_classes(job, rows)


def _has_outputs(job: CudaRows, rows: Rows) -> bool:
    """Whether all derivatives that are asked for have an array, and rows are not too long."""
    return (
        job.classes <= register_rows.MOST_CLASSES
        and (job.gradient != 0) is (rows.derivatives > 0)
        and (job.hessian != 0) is (rows.derivatives > 1)
    )


def kept(job: CudaRows, rows: Rows, by_label: bool) -> Choice | None:
    """The kernel for rows too long for registers along one axis; a block takes a row."""
    structure, kind, derivatives, of_targets, device = rows
    if backend.SIMULATED or not _has_outputs(job, rows):
        return None
    dense = not job.flags & _flag.labelled
    if (dense and of_targets != kind) or not _cut_alike(job, kind, of_targets if dense else None):
        return None
    whole, smooth = _whole(job, kind), bool(job.flags & _flag.smooth)
    if by_label:
        kernel = kept_rows.kernel(structure, kind, derivatives, whole, smooth)
        largest, again = most_threads(kind), derivatives > 0 or smooth
    else:
        kernel = kept_classes.kernel(structure, form_of(job, rows, whole))
        largest, again = kept_classes.most_threads(kind), True
    most = shared_memory.most(device)
    row = (1 + dense) * (-(-job.classes * itemsize(kind) // VECTOR_BYTES) * VECTOR_BYTES)
    keeps = min(row, most // VECTOR_BYTES * VECTOR_BYTES) if again else 0
    threads = min(LONG_THREADS * backend.THREADS, largest)
    # Few rows at the same time, so that what is read again is in the cache.
    each = 2 if 2 * keeps <= most else 1
    return Choice(kernel, blocks_for(job.rows, device, each), keeps, threads)


def in_clusters(job: CudaRows, rows: Rows) -> Any:
    """The kernel for rows that blocks of a cluster keep together, of losses that read the
    log-probability of the label alone; None where they cannot."""
    if rows.derivatives != 1 or job.flags & _flag.smooth or not job.flags & _flag.labelled:
        return None
    if not (
        _has_outputs(job, rows) and _cut_alike(job, rows.kind, None) and _whole(job, rows.kind)
    ):
        return None
    return clusters.choose(job, rows.structure, rows.kind, rows.device)


def _by_label(job: CudaRows, rows: Rows) -> Choice | None:
    """Of losses that read the log-probability of the label alone."""
    structure, kind, derivatives, _, device = rows
    smooth, classes = bool(job.flags & _flag.smooth), job.classes
    few = narrow_rows.shape(kind, classes)
    if few is not None and derivatives < 2 and _is_stretch(job):
        job.flags |= 0 if job.prediction % VECTOR_BYTES else _flag.vectors_in
        job.flags |= 0 if job.gradient % VECTOR_BYTES else _flag.vectors_out
        kernel = narrow_rows.kernel(structure, kind, derivatives, classes, few.rows, smooth)
        units = -(-job.rows // (few.threads * few.rows))
        each = BLOCKS_EACH * backend.THREADS // few.threads
        return Choice(kernel, blocks_for(units, device, each), few.shared, few.threads)
    if not _cut_alike(job, kind, None):
        return None
    whole = _whole(job, kind)
    shape = _shape(job, rows, whole, register_rows.limits(kind, derivatives))
    if shape is None:
        return None
    form = shape.vectors, whole, smooth, shape.fixed(kind)
    kernel = register_rows.kernel(structure, kind, derivatives, *form)
    return _launched(job, kernel, shape, device)


def _by_classes(job: CudaRows, rows: Rows) -> Choice | None:
    """Of losses that read all classes."""
    structure, kind, _, of_targets, device = rows
    labelled = job.flags & _flag.labelled
    if not (labelled or dense_targets.fits(kind, of_targets)):
        return None
    if not _cut_alike(job, kind, None if labelled else of_targets):
        return None
    whole = _whole(job, kind)
    shape = _shape(job, rows, whole, all_classes.limits(kind))
    if shape is None:
        return None
    form = form_of(job, rows, whole)
    return _launched(job, all_classes.kernel(structure, form, shape.vectors), shape, device)


def form_of(job: CudaRows, rows: Rows, whole: bool) -> Form:
    """What of a job is part of the code of kernels that read all classes."""
    flags = job.flags
    reading = MARGIN if flags & _flag.margin else PLAIN if flags & _flag.plain else SOFTMAX
    targets = LABELS if flags & _flag.labelled else DENSE
    if flags & _flag.dense_logits:
        targets = LOGITS
    of_targets = "" if targets == LABELS else rows.of_targets
    weighed = job.class_weight != 0
    return Form(rows.kind, rows.derivatives, reading, targets, of_targets, weighed, whole)


def _shape(job: CudaRows, rows: Rows, whole: bool, limits: Limits) -> Any:
    processors = backend.processors(rows.device)
    return register_rows.shape(rows.kind, job.classes, whole, job.rows, processors, limits)


def _launched(job: CudaRows, kernel: Kernel, shape: Any, device: int) -> Choice:
    job.row_threads, job.row_threads_log2 = shape.width, shape.width.bit_length() - 1
    units = -(-job.rows // (shape.threads // shape.width))
    each = max(2, BLOCKS_EACH * backend.THREADS // shape.threads)
    return Choice(kernel, blocks_for(units, device, each), 0, shape.threads)


def _is_stretch(job: CudaRows) -> bool:
    """Whether logits, and gradients, follow one another without gaps."""
    return (
        job.prediction_class_stride == 1
        and job.prediction_row_stride == job.classes
        and job.gradient_class_stride in (0, 1)
        and job.gradient_row_stride in (0, job.classes)
    )


def _whole(job: CudaRows, kind: str) -> bool:
    """Whether rows of the prediction begin and end with whole vectors."""
    size = itemsize(kind)
    steps = job.classes * size, job.prediction_row_stride * size, job.prediction
    return all(one % VECTOR_BYTES == 0 for one in steps)


def _cut_alike(job: CudaRows, kind: str, of_targets: str | None) -> bool:
    """Whether classes are neighbours, and vectors begin at the same classes of all arrays."""
    if job.prediction_class_stride != 1:
        return False
    arrays = [
        (job.gradient, job.gradient_row_stride, job.gradient_class_stride, kind),
        (job.hessian, job.hessian_row_stride, job.hessian_class_stride, kind),
    ]
    if of_targets is not None:
        arrays.append((job.target, job.target_row_stride, job.target_class_stride, of_targets))
    each = lanes(kind)
    first = job.prediction // itemsize(kind)
    return all(
        address == 0
        or (
            near == 1
            and (address // itemsize(own) - first) % each == 0
            and (step - job.prediction_row_stride) % each == 0
        )
        for address, step, near, own in arrays
    )
