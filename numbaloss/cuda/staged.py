"""Rows that fit into shared memory, of losses that read the label's log-probability alone.

A block takes as many rows as its threads can share out: a thread a row where rows are short, a
warp, or the whole block for one long row. Their logits come from memory once, in one stretch and
16 bytes a thread, and wait in shared memory as numbers of the compute type; exponentials and
gradient take their place there, and the gradient leaves in one stretch again. How many threads
share a row is no part of the code, so that one compilation does for rows of every width.

Loops are written with `while`: a range with a step costs a division of 64 bits, and registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowAxis, RowFlags
from . import backend, reduce
from .backend import cuda, device_function
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import power
from .reduce import SCRATCH
from .rows import describer, finisher, group, signature, value_writer
from .strides import beginnings
from .vector_memory import shared_reader, shared_writer, vector_reader, vector_writer

_flag, _axis = RowFlags.bit, RowAxis.column


# Shared memory that a kernel may have without asking, less what reductions take.
SHARED_BYTES = 48 * 1024 - 1024


def most_classes(real: str) -> int:
    """Classes of a row that fits."""
    return SHARED_BYTES // np.dtype(real).itemsize


@cache
def head_of(kind: str) -> Callable:
    """``head(address, start, count)``: elements before the first whole vector of a stretch."""
    size, count_ = itemsize(kind), lanes(kind)

    @device_function
    def head(address, start, count):
        past = ((address + start * size) & (VECTOR_BYTES - 1)) // size
        return min(count, (count_ - past) & (count_ - 1))

    return head


@cache
def movers(kind: str) -> tuple[Callable, Callable]:
    """Copies of a stretch of elements into shared memory, and out of it, by all threads of a block.

    ``copy(address, start, count, head, shared, pad, thread)``: the ``head`` elements before the
    first whole vector, and what is left after the last, go one by one. In shared memory the stretch
    begins at ``pad``, so that its vectors are whole there too.
    """
    count_ = lanes(kind)
    load, loads, store, stores = (
        reader(kind), vector_reader(kind), writer(kind), vector_writer(kind),
    )  # fmt: skip
    real = np.dtype(compute_type(kind)).name
    put, take = shared_writer(real, count_), shared_reader(real, count_)

    @device_function
    def copy_in(address, start, count, head, shared, pad, thread):
        if thread < head:
            shared[pad + thread] = load(address, start + thread)
        i = head + thread * count_
        while i + count_ <= count:
            put(shared, pad + i, loads(address, start + i))
            i += cuda.blockDim.x * count_
        i = head + ((count - head) & -count_) + thread
        if i < count:
            shared[pad + i] = load(address, start + i)

    @device_function
    def copy_out(address, start, count, head, shared, pad, thread):
        if thread < head:
            store(address, start + thread, shared[pad + thread])
        i = head + thread * count_
        while i + count_ <= count:
            stores(address, start + i, take(shared, pad + i))
            i += cuda.blockDim.x * count_
        i = head + ((count - head) & -count_) + thread
        if i < count:
            store(address, start + i, shared[pad + i])

    return copy_in, copy_out


@kept_on_disk
def kernel(structure: Structure, kind: str, derivatives: int, traversed: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or along several ones."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero = real(0)
    of_logits = np.dtype(real) if backend.SIMULATED else real  # which takes no classes
    (copy_in, copy_out), head_, each = movers(kind), head_of(kind), lanes(computed)
    describe, write_value = describer(kind, traversed), value_writer(kind, traversed)
    fill, measure = _filler(kind, traversed), _measurer(kind)
    emit_hessian, emit = _hessian_emitter(kind, traversed), _emitter(kind, traversed)
    finish = finisher(structure, kind, derivatives)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_staged(loss, job, numbers, tail):
        logits = cuda.shared.array(0, of_logits, VECTOR_BYTES)
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        classes, flags = job.classes, job.flags
        scale, rows = begin(tail, numbers.scale, job.rows)
        at_once = cuda.blockDim.x >> job.row_threads_log2
        mine, lane = thread >> job.row_threads_log2, thread & (job.row_threads - 1)
        # Where both are moved in vectors, prediction and gradient have these at the same places.
        anchor = job.gradient if flags & _flag.vectors_out else job.prediction
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            present = row < rows
            weight, label, own_weight, wrong = zero, 0, zero, zero
            if present:
                weight, label, own_weight, wrong, _ = describe(job, row)
            start, count = first * classes, min(at_once, rows - first) * classes
            head = head_(anchor, start, count)
            pad = -head & (each - 1)
            here = mine * classes + pad
            if flags & _flag.vectors_in:
                copy_in(job.prediction, start, count, head, logits, pad, thread)
            elif present:
                fill(job, row, logits, here, lane)
            cuda.syncthreads()
            # Rows that do not count have no classes: whatever they hold, it is not read.
            size = classes if weight != zero else 0
            base, others, distance, own, spread = measure(
                job, numbers, logits, here, size, label, lane, thread, scratch
            )
            value = factor = shift = at_label = r = square = linear = hessian = zero
            if size > 0:
                value, factor, shift, at_label, r, square, linear, hessian = finish(
                    loss, numbers, flags, scale,
                    (base, others, distance, own, spread, weight, own_weight),
                )  # fmt: skip
            if lane == 0 and present:
                total += np.float64(value)
                if flags & _flag.count_errors:
                    bad += wrong
                write_value(job, row, value)
            if with_hessian and present:
                coefficients = r, square, linear, hessian
                emit_hessian(job, row, logits, here, size, label, lane, coefficients)
            if with_gradient and present:
                emit(job, row, logits, here, size, label, lane, (factor, shift, at_label))
            cuda.syncthreads()
            if with_gradient and flags & _flag.vectors_out:
                copy_out(job.gradient, start, count, head, logits, pad, thread)
                cuda.syncthreads()
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_staged, signature(structure, computed), structure)


@cache
def _filler(kind: str, traversed: bool) -> Callable:
    """``fill(job, row, logits, here, lane)``: a row of any strides into shared memory."""
    load, find = reader(kind), beginnings(traversed, RowAxis.count)

    @device_function
    def fill(job, row, logits, here, lane):
        at = find(job.layout, row, job.prediction_row_stride, _axis.prediction)
        j = lane
        while j < job.classes:
            logits[here + j] = load(job.prediction, at + j * job.prediction_class_stride)
            j += job.row_threads

    return fill


@cache
def _measurer(kind: str) -> Callable:
    """From a row's logits to its exponentials, in their place, and its sums.

    Returns what is taken from logits, the sum of the exponentials without the label's, the scaled
    distance of the label's logit, its exponential, and for smoothed labels the weighted sum of the
    distances.
    """
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    power_of, load_real = power(kind), reader(np.dtype(real).name)
    total_of, maximum_of, _ = group()

    @device_function
    def measure(job, numbers, logits, here, size, label, lane, thread, scratch):
        width, inverse = job.row_threads, numbers.inverse_temperature
        high, low = numbers.power_high, numbers.power_low
        top = lowest
        j = lane
        while j < size:
            x = logits[here + j]
            top = x if x > top else top
            j += width
        chosen = logits[here + label] if size > 0 else zero
        top = maximum_of(top, width, thread, scratch)
        base = zero if top == lowest else top
        cuda.syncthreads()
        others, spread = zero, zero
        j = lane
        while j < size:
            distance = logits[here + j] - base
            e = power_of(distance, high, low)
            logits[here + j] = e
            others += zero if j == label else e
            if job.flags & _flag.smooth:
                w = load_real(job.class_weight, j)
                spread += zero if w == zero else w * (distance * inverse)
            j += width
        others = total_of(others, width, thread, scratch)
        if job.flags & _flag.smooth:
            spread = total_of(spread, width, thread, scratch)
        distance = (chosen - base) * inverse
        return base, others, distance, power_of(chosen - base, high, low), spread

    return measure


@cache
def _hessian_emitter(kind: str, traversed: bool) -> Callable:
    """The hessian of a thread's share of a row, of exponentials in shared memory."""
    zero, store = compute_type(kind)(0), writer(kind)
    find = beginnings(traversed, RowAxis.count)

    @device_function
    def emit(job, row, logits, here, size, label, lane, coefficients):
        r, square, linear, at_label = coefficients
        at = find(job.layout, row, job.hessian_row_stride, _axis.hessian)
        j = lane
        while j < job.classes:
            h = zero
            if size > 0:
                p = logits[here + j] * r
                h = at_label if j == label else p * (p * square + linear)
            store(job.hessian, at + j * job.hessian_class_stride, h)
            j += job.row_threads

    return emit


@cache
def _emitter(kind: str, traversed: bool) -> Callable:
    """The gradient of a thread's share of a row; in shared memory, if it leaves in vectors."""
    real = compute_type(kind)
    zero, store, load_real = real(0), writer(kind), reader(np.dtype(real).name)
    find = beginnings(traversed, RowAxis.count)

    @device_function
    def emit(job, row, logits, here, size, label, lane, coefficients):
        factor, shift, at_label = coefficients
        at = find(job.layout, row, job.gradient_row_stride, _axis.gradient)
        j = lane
        while j < job.classes:
            g = zero
            if size > 0:
                g = logits[here + j] * factor
                if job.flags & _flag.smooth:
                    g += shift * load_real(job.class_weight, j)
                g = at_label if j == label else g
            if job.flags & _flag.vectors_out:
                logits[here + j] = g
            else:
                store(job.gradient, at + j * job.gradient_class_stride, g)
            j += job.row_threads

    return emit
