"""Rows too long for registers, of losses that read the label's log-probability alone.

A block reads a row for the maximum and the sum of exponentials, which are kept up together, and
keeps it in shared memory as it is stored: 227 KiB on an H100, which is 58,000 classes of float32
and twice as many of halves. For the gradient it is read from there, and what did not fit once more
from memory, or the second-level cache.

Not for rows that blocks share, nor for arrays that are not cut into vectors at the same classes:
see :mod:`.long`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowFlags
from . import reduce
from .backend import cuda, device_function
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .kept_vectors import divider, fetcher, keeper, numbers_of, stored_as, taker, words_of
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import larger, power
from .reduce import SCRATCH
from .row_vectors import (
    combined,
    hessian_emitter,
    int32,
    over_vectors,
    powers_of_vectors,
    shifted,
    storer,
    weighted_sum,
)
from .rows import describer, finisher, most_threads, signature

_flag = RowFlags.bit


def at_once(kind: str, derivatives: int, whole: bool, smooth: bool) -> int:
    """Vectors of a thread that are on their way at the same time, as registers allow."""
    many = itemsize(kind) == 2 and (derivatives > 1 or not whole or smooth)
    return 2 if many else 4


@cache
def measurer(kind: str, vectors: int, keeps: bool) -> Callable:
    """``measure(address, at, shared, size, kept, own, powers, thread, top, total)``: a thread's
    maximum, and the sum of its exponentials relative to that, without the label's; ``top`` and
    ``total`` are those of its number outside of vectors."""
    real, count = compute_type(kind), lanes(kind)
    computed = np.dtype(real).name
    zero, lowest = real(0), real(-np.inf)
    fetch, keep, numbers = fetcher(kind, vectors), keeper(kind, vectors), numbers_of(kind, vectors)
    power_of, powers_of, choose = power(kind), powers_of_vectors(kind, vectors), larger(computed)
    largest = combined(computed, vectors * count, True)
    total_of = combined(computed, vectors * count)

    @device_function
    def measure(address, at, shared, size, kept, own, powers, thread, top, total):
        up, down = powers
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < size:
            words = fetch(address, at, j, step, size)
            if keeps:
                keep(words, shared, int32(0), j, step, kept)
            x = numbers(words)
            most = choose(top, largest(x))
            base = zero if most == lowest else most
            # The sum is 0 as long as the maximum is -inf.
            total = zero if total == zero else total * power_of(top - base, up, down)
            total += total_of(powers_of(x, j, step, (base, up, down, own)))
            top = most
            j = int32(j + vectors * step)
        return top, total

    return measure


@cache
def _spreader(kind: str, vectors: int) -> Callable:
    """A thread's share of the weighted sum of distances from the maximum."""
    count, zero = lanes(kind), compute_type(kind)(0)
    take, numbers = taker(kind, vectors), numbers_of(kind, vectors)
    weighted = over_vectors(weighted_sum(kind, count, True), count, vectors)

    @device_function
    def spread(address, at, shared, size, kept, base, weights, thread):
        total, step = zero, int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < size:
            x = numbers(take(address, at, shared, int32(0), j, step, size, kept))
            total += weighted(x, j, step, (base, weights, size))
            j = int32(j + vectors * step)
        return total

    return spread


@cache
def emitter(kind: str, vectors: int, with_hessian: bool = False, smooth: bool = False) -> Callable:
    """Gradient, and hessian, of a thread's vectors."""
    count, one = lanes(kind), compute_type(kind)(1)
    take, numbers = taker(kind, vectors), numbers_of(kind, vectors)
    powers_of, store_row = powers_of_vectors(kind, vectors), storer(kind, vectors, True)
    shift_row = over_vectors(shifted(kind, count, True), count, vectors)
    emit_hessian = hessian_emitter(kind, vectors, True)

    @device_function
    def emit(job, places, shared, size, read, kept, own, weights, thread, base, powers, found):
        # Of a row that does not count nothing is read: its numbers are those of classes of -inf.
        at, at_gradient, at_hessian = places
        factor, shift, at_label, r, square, linear, hessian = found
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < size:
            x = numbers(take(job.prediction, at, shared, int32(0), j, step, read, kept))
            e = powers_of(x, j, step, (base, powers[0], powers[1], own))
            if with_hessian:
                of_p = r, square, linear
                emit_hessian(job.hessian, at_hessian, j, step, size, e, of_p, own, hessian)
            times = factor
            if smooth:
                e = shift_row(e, j, step, (factor, shift, weights, size))
                times = one
            store_row(job.gradient, at_gradient, j, step, size, e, times, own, at_label)
            j = int32(j + vectors * step)

    return emit


@cache
def _edge_emitter(kind: str, with_hessian: bool, smooth: bool) -> Callable:
    """The same of its number outside of them."""
    store, load_real = writer(kind), reader(np.dtype(compute_type(kind)).name)
    zero, power_of = compute_type(kind)(0), power(kind)

    @device_function
    def emit(job, places, k, x, label, counts, base, powers, found):
        at_gradient, at_hessian = places
        factor, shift, at_label, r, square, linear, hessian = found
        g = h = zero
        if counts:
            e = power_of(x - base, powers[0], powers[1])
            g = e * factor
            if smooth:
                g += shift * load_real(job.class_weight, k)
            g = at_label if k == label else g
            p = e * r
            h = hessian if k == label else p * (p * square + linear)
        store(job.gradient, at_gradient + k, g)
        if with_hessian:
            store(job.hessian, at_hessian + k, h)

    return emit


@cache
def _rows(kind: str, derivatives: int, whole: bool, smooth: bool) -> tuple[Callable, Callable]:
    """``measure(job, numbers, row, size, classes, label, shared, thread, scratch)``: the sums of a
    row, and where its parts are; and ``emit``, which takes these back."""
    real, stored = compute_type(kind), words_of(kind)
    computed, count = np.dtype(real).name, lanes(kind)
    zero, lowest, load, load_real = real(0), real(-np.inf), reader(kind), reader(computed)
    divide, power_of, weight_bytes = divider(kind, whole), power(kind), itemsize(computed)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    vectors = at_once(kind, derivatives, whole, smooth)
    measure_vectors = measurer(kind, vectors, with_gradient or smooth)
    spread_vectors = _spreader(kind, vectors)
    emit_vectors = emitter(kind, vectors, with_hessian, smooth)
    emit_edge = _edge_emitter(kind, with_hessian, smooth)

    @device_function
    def measure(job, numbers, row, counts, label, shared, thread, scratch):
        inverse, powers = numbers.inverse_temperature, (numbers.power_high, numbers.power_low)
        at, address = row * job.prediction_row_stride, job.prediction
        head, size, edge = divide(address, at, int32(job.classes), thread)
        kept = int32(min(size, len(shared) // stored * count))
        own, read = int32(label - head), size if counts else int32(0)
        chosen = load(address, at + label) if counts else zero
        x = load(address, at + edge) if counts and edge >= 0 else lowest
        base = zero if x == lowest else x
        total = power_of(x - base, powers[0], powers[1])
        total = zero if edge < 0 or edge == label else total
        at_vectors = at + head
        top, total = measure_vectors(
            address, at_vectors, shared, read, kept, own, powers, thread, x, total
        )
        # In place, the label's logit has been read by all when this is over.
        most = reduce.block_max(top, thread, scratch)
        base = zero if most == lowest else most
        if total != zero:
            total = total * power_of(top - base, powers[0], powers[1])
        others, spread = reduce.block_sum(total, thread, scratch), zero
        weights = job.class_weight + head * weight_bytes
        if smooth:
            spread = spread_vectors(address, at_vectors, shared, read, kept, base, weights, thread)
            if counts and edge >= 0:
                w = load_real(job.class_weight, edge)
                spread += zero if w == zero else w * (x - base)
            spread = reduce.block_sum(spread * inverse, thread, scratch)
        return base, others, spread, chosen - base, (head, size, edge, x, kept, own, read, weights)

    @device_function
    def emit(job, numbers, row, counts, label, shared, thread, base, parts, found):
        head, size, edge, x, kept, own, read, weights = parts
        powers = numbers.power_high, numbers.power_low
        at = row * job.prediction_row_stride + head
        at_gradient, at_hessian = row * job.gradient_row_stride, row * job.hessian_row_stride
        if edge >= 0:
            of_rows = at_gradient, at_hessian
            emit_edge(job, of_rows, edge, x, label, counts, base, powers, found)
        places = at, at_gradient + head, at_hessian + head
        emit_vectors(
            job, places, shared, size, read, kept, own, weights, thread, base, powers, found
        )

    return measure, emit


@kept_on_disk
def kernel(
    structure: Structure, kind: str, derivatives: int, whole: bool, smooth: bool = False
) -> Kernel:
    """The kernel of a loss for one dtype. It keeps what the launch has of shared memory.

    ``whole``: rows begin and end with whole vectors; ``smooth``: labels are smoothed.
    """
    real = compute_type(kind)
    computed, zero = np.dtype(real).name, real(0)
    power_of, describe, write_value = power(kind), describer(kind, False), writer(computed)
    measure, emit = _rows(kind, derivatives, whole, smooth)
    finish, with_gradient = finisher(structure, kind, derivatives), derivatives > 0
    begin, leave, stored = reduce.begin(computed), reduce.leave(), getattr(types, stored_as(kind))

    def softmax_kept(loss, job, numbers, tail):
        shared = cuda.shared.array(0, stored, VECTOR_BYTES)
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        scale, rows = begin(tail, numbers.scale, job.rows)
        total, bad = 0.0, zero
        row = cuda.blockIdx.x
        while row < rows:
            weight, label_, own_weight, wrong, _ = describe(job, row)
            label, counts = int32(label_), weight != zero
            if thread == 0 and job.flags & _flag.count_errors:
                bad += wrong
            base, others, spread, distance, parts = measure(
                job, numbers, row, counts, label, shared, thread, scratch
            )
            value = factor = shift = at_label = r = square = linear = hessian = zero
            if counts:
                own = power_of(distance, numbers.power_high, numbers.power_low)
                scaled = distance * numbers.inverse_temperature
                value, factor, shift, at_label, r, square, linear, hessian = finish(
                    loss, numbers, job.flags, scale,
                    (base, others, scaled, own, spread, weight, own_weight),
                )  # fmt: skip
            if thread == 0:
                total += np.float64(value)
                if job.value != 0:
                    write_value(job.value, row * job.value_row_stride, value)
            if with_gradient:
                found = factor, shift, at_label, r, square, linear, hessian
                emit(job, numbers, row, counts, label, shared, thread, base, parts, found)
            row += cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    bounds = most_threads(computed), 1
    return Kernel(softmax_kept, signature(structure, computed), structure, bounds)
