"""Rows that fit into registers, of losses that read the label's log-probability alone.

The threads that share a row keep its logits in registers, up to 32 numbers each: logits come from
memory once, 16 bytes a thread, all loads of a row on their way at the same time, and the gradient
leaves in the same way. A row goes to part of a warp, or to a whole block, so that up to 32,768
classes of float32 are read once. Nothing passes through shared memory but the sums of long rows.

How many threads share a row is no part of the code; how many vectors a thread keeps is, since
registers have no index. Two numbers of vectors do for all widths.

Not for logits whose classes are not neighbours in memory: see :mod:`.staged`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowFlags
from . import backend, reduce
from .backend import cuda, device_function
from .dtypes import compute_type, itemsize, lanes
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import power
from .reduce import SCRATCH
from .row_vectors import (
    combined,
    elements_before,
    hessian_emitter,
    int32,
    loader,
    over_vectors,
    powers_of_vectors,
    shifted,
    storer,
    weighted_sum,
)
from .rows import (
    describer,
    finisher,
    group,
    most_threads,
    signature,
)

_flag = RowFlags.bit
# Kernels find registers for `rows.most_threads`, all that a multiprocessor has, whatever the size
# of their blocks: the more threads there are, the more loads are on their way.
# Classes are counted in 32 bits.
MOST_CLASSES = 1 << 30
# Fewer threads than this are no block.
LEAST_THREADS = 64


def kept(kind: str) -> tuple[int, int]:
    """Vectors that a thread keeps: usually, and in the largest blocks."""
    return (4, 8) if kind == "float32" else (4, 4)


class Limits(NamedTuple):
    """What a kernel's threads keep, and how many there may be."""

    usual: int  # vectors that a thread keeps
    most: int  # and in the largest blocks
    threads: int  # of the largest blocks


class Shape(NamedTuple):
    """How a row is shared out."""

    vectors: int  # of each thread
    width: int  # threads that share a row
    threads: int  # of a block

    def fixed(self, kind: str) -> int:
        """Threads that the kernel is compiled for, where it keeps as much as it can; else 0."""
        return self.threads if self.vectors > kept(kind)[0] else 0


def limits(kind: str, derivatives: int) -> Limits:
    """Those of this module's kernel."""
    if derivatives > 1:  # gradients and hessians at the same time
        vectors = 2 if itemsize(kind) == 2 else 4
        return Limits(vectors, vectors, 512)
    return Limits(*kept(kind), most_threads(kind))


def shape(
    kind: str, classes: int, whole: bool, count: int, processors: int, limits: Limits
) -> Shape | None:
    """How rows are shared out; None for rows that are too long.

    ``whole``: all rows begin and end with whole vectors. ``count``: how many rows there are.
    """
    each, (usual, most, largest) = lanes(kind), limits
    vectors = -(-(classes + (0 if whole else each - 1)) // each)
    block, warp = backend.THREADS, min(reduce.WARP, backend.THREADS)
    # Where rows are few, each gets a block, whatever its length.
    too_few = count * warp < block * processors and vectors > warp
    width = _power_of_two(-(-vectors // usual))
    if width <= warp and not too_few:
        return Shape(usual, width, block)
    if backend.SIMULATED:
        return Shape(usual, width, width) if width == block else None
    width = max(width, LEAST_THREADS)
    if width > largest // 2 and most > usual:  # two blocks at a time hide each other's barriers
        width = largest // 2 if vectors <= largest // 2 * most else largest
        return Shape(most, width, width) if vectors <= width * most else None
    return Shape(usual, width, width) if width <= largest else None


def _power_of_two(number: int) -> int:
    """The first one that is not smaller."""
    return 1 << (number - 1).bit_length()


@kept_on_disk
def kernel(
    structure: Structure,
    kind: str,
    derivatives: int,
    vectors: int,
    whole: bool,
    smooth: bool = False,
    threads: int = 0,
) -> Kernel:
    """The kernel of a loss for one dtype, and for threads that keep so many vectors each.

    ``whole``: rows begin and end with whole vectors; ``smooth``: labels are smoothed. Where rows
    have blocks of so many ``threads``, vectors lie at fixed distances, which takes no registers.
    """
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, none = real(0), int32(0)
    count, before, apart = lanes(kind), elements_before(kind), int32(threads * lanes(kind))
    load, load_row, store_value = reader(kind), loader(kind, vectors, whole), writer(computed)
    power_of, describe, wait = power(kind), describer(kind, False), reduce.wait_for_warp
    sums, emit = _sums(kind, vectors, whole, smooth), _emitter(kind, vectors, whole, smooth)
    emit_hessian = hessian_emitter(kind, vectors, whole)
    finish = finisher(structure, kind, derivatives)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_registers(loss, job, numbers, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        # Classes are counted in 32 bits: indexes of 64 take two registers each.
        classes, width, flags, rows = int32(job.classes), job.row_threads, job.flags, job.rows
        inverse, high, low = numbers.inverse_temperature, numbers.power_high, numbers.power_low
        scale, rows = begin(tail, numbers.scale, rows)
        at_once = cuda.blockDim.x >> job.row_threads_log2
        mine, lane = thread >> job.row_threads_log2, thread & (width - 1)
        total, bad = 0.0, zero
        step = apart if threads > 0 else int32(width * count)
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            weight, label_, own_weight = zero, 0, zero
            if row < rows:
                weight, label_, own_weight, wrong, _ = describe(job, row)
                if lane == 0 and flags & _flag.count_errors:  # now: a register less over the row
                    bad += wrong
            label = int32(label_)
            # Rows that do not count have no classes: whatever they hold, it is not read.
            size_ = classes if weight != zero else none
            at = row * job.prediction_row_stride
            j = int32(lane * count)
            if not whole:  # vectors begin where memory has them: the first one before the row
                j = int32(j - before(job.prediction, at))
            x = load_row(job.prediction, at, j, step, size_)
            chosen = load(job.prediction, at + label) if size_ > 0 else zero
            base, others, spread, e = sums(
                job, numbers, x, j, step, size_, label, width, thread, scratch
            )
            value = factor = shift = at_label = r = square = linear = hessian = zero
            if size_ > 0:
                distance = chosen - base
                own = power_of(distance, high, low)
                value, factor, shift, at_label, r, square, linear, hessian = finish(
                    loss, numbers, flags, scale,
                    (base, others, distance * inverse, own, spread, weight, own_weight),
                )  # fmt: skip
            # In place, the label's logit must have been read by all who share the row.
            wait()
            if row < rows:
                if lane == 0:
                    total += np.float64(value)
                    if job.value != 0:
                        store_value(job.value, row * job.value_row_stride, value)
                if with_hessian:
                    place, of_p = row * job.hessian_row_stride, (r, square, linear)
                    emit_hessian(job.hessian, place, j, step, classes, e, of_p, label, hessian)
                if with_gradient:
                    coefficients = factor, shift, at_label
                    emit(job, row, e, j, step, classes, label, coefficients)
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    most = limits(kind, derivatives).threads
    bounds = (most, 1) if with_hessian else most
    return Kernel(softmax_registers, signature(structure, computed), structure, bounds)


@cache
def _sums(kind: str, vectors: int, whole: bool, smooth: bool) -> Callable:
    """From a thread's logits of a row to what is taken from them, the sum of the exponentials of
    the row without the label's, the weighted sum of distances, and the thread's exponentials."""
    real, count = compute_type(kind), lanes(kind)
    computed, numbers_ = np.dtype(real).name, vectors * count
    zero, lowest = real(0), real(-np.inf)
    largest, total_of_thread = combined(computed, numbers_, True), combined(computed, numbers_)
    (total_of, maximum_of, _), powers_of = group(), powers_of_vectors(kind, vectors)
    weighted = over_vectors(weighted_sum(kind, count, whole), count, vectors)

    @device_function
    def sums(job, numbers, x, j, step, size, label, width, thread, scratch):
        high, low = numbers.power_high, numbers.power_low
        top = maximum_of(largest(x), width, thread, scratch)
        base = zero if top == lowest else top
        spread = zero
        if smooth:
            spread = weighted(x, j, step, (base, job.class_weight, size))
            spread = total_of(spread * numbers.inverse_temperature, width, thread, scratch)
        e = powers_of(x, j, step, (base, high, low, label))
        others = total_of(total_of_thread(e), width, thread, scratch)
        return base, others, spread, e

    return sums


@cache
def _emitter(kind: str, vectors: int, whole: bool, smooth: bool) -> Callable:
    """The gradient of a thread's share of a row, from its exponentials."""
    count, one = lanes(kind), compute_type(kind)(1)
    store_row = storer(kind, vectors, whole)
    shift_row = over_vectors(shifted(kind, count, whole), count, vectors)

    @device_function
    def emit(job, row, e, j, step, classes, label, coefficients):
        factor, shift, at_label = coefficients
        at = row * job.gradient_row_stride
        if smooth:
            e = shift_row(e, j, step, (factor, shift, job.class_weight, classes))
            factor = one
        store_row(job.gradient, at, j, step, classes, e, factor, label, at_label)

    return emit
