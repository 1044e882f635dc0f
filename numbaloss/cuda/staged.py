"""Rows that fit into shared memory, of losses that look at the label's log-probability alone.

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
from . import backend, reduce
from .backend import Kernel, cuda, device_function
from .memory import (
    VECTOR_BYTES,
    compute_type,
    itemsize,
    lanes,
    reader,
    shared_reader,
    shared_writer,
    vector_reader,
    vector_writer,
    writer,
)
from .powers import power
from .reduce import SCRATCH
from .rows import (
    CLASS_GRADIENT,
    CLASS_HESSIAN,
    CLASS_PREDICTION,
    CLASS_WEIGHT,
    CLASSES,
    DIRECT_IN,
    DIRECT_OUT,
    FLAGS,
    GRADIENT,
    HESSIAN,
    INVERSE,
    JUDGED,
    OF_GRADIENT,
    OF_HESSIAN,
    OF_PREDICTION,
    OF_VALUES,
    POWER_HIGH,
    POWER_LOW,
    PREDICTION,
    ROW_GRADIENT,
    ROW_HESSIAN,
    ROW_PREDICTION,
    ROW_VALUES,
    ROWS,
    SCALE,
    SHIFT,
    SMOOTH,
    VALUES,
    WIDTH,
    beginnings,
    describer,
    group,
    judge,
    signature,
)

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


@cache
def kernel(structure: Structure, kind: str, derivatives: int, walked: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or ``walked`` ones."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, lowest = real(0), real(-np.inf)
    of_logits = np.dtype(real) if backend.SIMULATED else real  # which takes no classes
    load, store, store_value, load_real = (
        reader(kind), writer(kind), writer(computed), reader(computed),
    )  # fmt: skip
    copy_in, copy_out = movers(kind)
    head_, each = head_of(kind), lanes(computed)
    power_of, find, describe = power(kind), beginnings(walked), describer(kind, walked)
    total_of, maximum_of = group()
    judge_row = judge(structure, kind, derivatives)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_staged(loss, job, reals, tail):
        logits = cuda.shared.array(0, of_logits, VECTOR_BYTES)
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        classes, width, flags, rows = job[CLASSES], job[WIDTH], job[FLAGS], job[ROWS]
        inverse, high, low = reals[INVERSE], reals[POWER_HIGH], reals[POWER_LOW]
        scale, rows = begin(tail, reals[SCALE], rows)
        at_once = cuda.blockDim.x >> job[SHIFT]
        mine, lane = thread >> job[SHIFT], thread & (width - 1)
        # Where both are moved in vectors, prediction and gradient have these at the same places.
        anchor = job[GRADIENT] if flags & DIRECT_OUT else job[PREDICTION]
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
            if flags & DIRECT_IN:
                copy_in(job[PREDICTION], start, count, head, logits, pad, thread)
            elif present:
                at = find(job, row, job[ROW_PREDICTION], OF_PREDICTION)
                j = lane
                while j < classes:
                    logits[here + j] = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                    j += width
            cuda.syncthreads()
            # Rows that do not count have no classes: whatever they hold, it is not looked at.
            size = classes if weight != zero else 0
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
                if flags & SMOOTH:
                    w = load_real(job[CLASS_WEIGHT], j)
                    spread += zero if w == zero else w * (distance * inverse)
                j += width
            others = total_of(others, width, thread, scratch)
            if flags & SMOOTH:
                spread = total_of(spread, width, thread, scratch)
            distance = (chosen - base) * inverse
            own = power_of(chosen - base, high, low)
            value = factor = shift = at_label = r = square = linear = bent = zero
            if size > 0:
                value, factor, shift, at_label, r, square, linear, bent = judge_row(
                    loss, reals, flags, scale,
                    (base, others, distance, own, spread, weight, own_weight),
                )  # fmt: skip
            if lane == 0 and present:
                total += np.float64(value)
                if flags & JUDGED:
                    bad += wrong
                if job[VALUES] != 0:
                    store_value(job[VALUES], find(job, row, job[ROW_VALUES], OF_VALUES), value)
            if with_hessian and present:
                at = find(job, row, job[ROW_HESSIAN], OF_HESSIAN)
                j = lane
                while j < classes:
                    h = zero
                    if size > 0:
                        p = logits[here + j] * r
                        h = bent if j == label else p * (p * square + linear)
                    store(job[HESSIAN], at + j * job[CLASS_HESSIAN], h)
                    j += width
            if with_gradient and present:
                at = find(job, row, job[ROW_GRADIENT], OF_GRADIENT)
                j = lane
                while j < classes:
                    g = zero
                    if size > 0:
                        g = logits[here + j] * factor
                        if flags & SMOOTH:
                            g += shift * load_real(job[CLASS_WEIGHT], j)
                        g = at_label if j == label else g
                    if flags & DIRECT_OUT:
                        logits[here + j] = g
                    else:
                        store(job[GRADIENT], at + j * job[CLASS_GRADIENT], g)
                    j += width
            cuda.syncthreads()
            if with_gradient and flags & DIRECT_OUT:
                copy_out(job[GRADIENT], start, count, head, logits, pad, thread)
                cuda.syncthreads()
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_staged, signature(structure, computed), structure)
