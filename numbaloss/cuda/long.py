"""Rows too long for shared memory, of losses that look at the label's log-probability alone.

A block walks along its row twice: for the maximum and the sum of exponentials, which are kept up
together, and for the gradient; the second walk finds much of the row in the second-level cache.
Where rows are few, blocks share them: one launch measures pieces of rows and leaves what it finds
in memory, a second one adds that up, the same way in every block, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..formulas.structure import Structure
from . import reduce
from .backend import Kernel, cuda, device_function
from .memory import compute_type, lanes, reader, writer
from .powers import larger, power
from .reduce import SCRATCH
from .row_vectors import combined, elements_before, int32, loader, powers_of_vectors, storer
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
    LEFT,
    OF_GRADIENT,
    OF_HESSIAN,
    OF_PREDICTION,
    OF_VALUES,
    PIECE,
    PIECES,
    POWER_HIGH,
    POWER_LOW,
    PREDICTION,
    ROW_GRADIENT,
    ROW_HESSIAN,
    ROW_PREDICTION,
    ROW_VALUES,
    ROWS,
    SCALE,
    SMOOTH,
    STEP,
    VALUES,
    beginnings,
    describer,
    judge,
    most_threads,
    signature,
)

# Steps: everything at once, or in two launches.
WHOLE_ROWS, MEASURE, EMIT = range(3)
# Numbers that a piece leaves: maximum, sum of the others' exponentials, weighted sum of distances
# from the maximum, sum of the weights, and the label's logit if the piece has it: in place, it may
# be gone when another block wants it.
NUMBERS = 5
# Vectors of a thread that are on their way at the same time.
VECTORS_AT_ONCE = 4


@cache
def _measurer(kind: str) -> Callable:
    """``measure(job, at, low, high, label, powers, thread)``: a thread's share of a piece.

    Returns its maximum, and the sum of its exponentials relative to that, without the label's.
    """
    real, count, vectors = compute_type(kind), lanes(kind), VECTORS_AT_ONCE
    computed = np.dtype(real).name
    zero, lowest = real(0), real(-np.inf)
    load, load_row = reader(kind), loader(kind, vectors, False)
    power_of, powers_of, choose = power(kind), powers_of_vectors(kind, vectors), larger(computed)
    before = elements_before(kind)
    largest = combined(computed, vectors * count, True)
    total_of = combined(computed, vectors * count)

    @device_function
    def measure(job, at, low, high, label, powers, thread):
        up, down = powers
        top, total = lowest, zero
        address, threads = job[PREDICTION], cuda.blockDim.x
        if job[FLAGS] & DIRECT_IN:
            at += low
            size, own = int32(high - low), int32(label - low)
            step = int32(threads * count)
            j = int32(thread * count - before(address, at))
            while j < size:
                x = load_row(address, at, j, step, size)
                most = choose(top, largest(x))
                base = zero if most == lowest else most
                # The sum is 0 as long as the maximum is -inf.
                total = zero if total == zero else total * power_of(top - base, up, down)
                total += total_of(powers_of(x, j, step, (base, up, down, own)))
                top = most
                j = int32(j + vectors * step)
        else:
            j = low + thread
            while j < high:
                x = load(address, at + j * job[CLASS_PREDICTION])
                if x > top:
                    total = zero if top == lowest else total * power_of(top - x, up, down)
                    top = x
                base = zero if top == lowest else top
                if j != label:
                    total += power_of(x - base, up, down)
                j += threads
        return top, total

    return measure


@cache
def _spreader(kind: str) -> Callable:
    """A thread's share of the weighted sum of distances from the maximum, and of the weights."""
    real = compute_type(kind)
    zero = real(0)
    load, load_real = reader(kind), reader(np.dtype(real).name)

    @device_function
    def spread(job, at, low, high, base, inverse, thread):
        total, mass = zero, zero
        j = low + thread
        while j < high:
            w = load_real(job[CLASS_WEIGHT], j)
            if w != zero:
                x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                total += w * ((x - base) * inverse)
                mass += w
            j += cuda.blockDim.x
        return total, mass

    return spread


@cache
def _merger(kind: str) -> Callable:
    """What the pieces of a row have left, together."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load_real, power_of = reader(np.dtype(real).name), power(kind)

    @device_function
    def merge(job, row, inverse, powers):
        left, pieces = job[LEFT], job[PIECES]
        first = row * pieces * NUMBERS
        top = lowest
        k = 0
        while k < pieces:
            x = load_real(left, first + k * NUMBERS)
            top = x if x > top else top
            k += 1
        base = zero if top == lowest else top
        others, spread = zero, zero
        k = 0
        while k < pieces:
            place = first + k * NUMBERS
            own = load_real(left, place)
            down = (zero if own == lowest else own) - base
            part = load_real(left, place + 1)
            # A piece of -inf alone has the sum 0, whatever the exponential of its distance.
            others += zero if part == zero else part * power_of(down, powers[0], powers[1])
            mass = load_real(left, place + 3)
            spread += load_real(left, place + 2) + (zero if mass == zero else down * inverse * mass)
            k += 1
        return base, others, spread

    return merge


@cache
def _emitter(kind: str, derivatives: int, walked: bool) -> Callable:
    """Gradient, and hessian, of a thread's share of a piece."""
    real, count, vectors = compute_type(kind), lanes(kind), VECTORS_AT_ONCE
    zero = real(0)
    load, store, load_real = reader(kind), writer(kind), reader(np.dtype(real).name)
    load_row, store_row = loader(kind, vectors, False), storer(kind, vectors, False)
    power_of, powers_of = power(kind), powers_of_vectors(kind, vectors)
    before = elements_before(kind)
    with_hessian = derivatives > 1
    find = beginnings(walked)

    @device_function
    def emit_vectors(job, at, start, size, label, thread, base, powers, factor, at_label):
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count - before(job[PREDICTION], at))
        while j < size:
            x = load_row(job[PREDICTION], at, j, step, size)
            e = powers_of(x, j, step, (base, powers[0], powers[1], label))
            store_row(job[GRADIENT], start, j, step, size, e, factor, label, at_label)
            j = int32(j + vectors * step)

    @device_function
    def emit(job, row, at, low, high, label, thread, base, powers, coefficients):
        factor, shift, at_label, r, square, linear, bent, counts = coefficients
        flags = job[FLAGS]
        start = find(job, row, job[ROW_GRADIENT], OF_GRADIENT)
        if flags & DIRECT_OUT and counts and not with_hessian and not flags & SMOOTH:
            size, own = int32(high - low), int32(label - low)
            at, start = at + low, start + low
            emit_vectors(job, at, start, size, own, thread, base, powers, factor, at_label)
            return
        of_hessian = start
        if with_hessian:
            of_hessian = find(job, row, job[ROW_HESSIAN], OF_HESSIAN)
        j = low + thread
        while j < high:
            g = h = zero
            if counts:
                x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                e = power_of(x - base, powers[0], powers[1])
                g = e * factor
                if flags & SMOOTH:
                    g += shift * load_real(job[CLASS_WEIGHT], j)
                g = at_label if j == label else g
                if with_hessian:
                    p = e * r
                    h = bent if j == label else p * (p * square + linear)
            if with_hessian:
                store(job[HESSIAN], of_hessian + j * job[CLASS_HESSIAN], h)
            store(job[GRADIENT], start + j * job[CLASS_GRADIENT], g)
            j += cuda.blockDim.x

    return emit


@cache
def kernel(structure: Structure, kind: str, derivatives: int, walked: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or ``walked`` ones."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, lowest = real(0), real(-np.inf)
    load, store_real, load_real = reader(kind), writer(computed), reader(computed)
    power_of, find, describe = power(kind), beginnings(walked), describer(kind, walked)
    measure, spread_of, merge = _measurer(kind), _spreader(kind), _merger(kind)
    emit = _emitter(kind, derivatives, walked)
    judge_row = judge(structure, kind, derivatives)
    with_gradient = derivatives > 0
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_long(loss, job, reals, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        rows, pieces, step, flags = job[ROWS], job[PIECES], job[STEP], job[FLAGS]
        inverse, powers = reals[INVERSE], (reals[POWER_HIGH], reals[POWER_LOW])
        scale, rows = begin(tail, reals[SCALE], rows)
        total, bad = 0.0, zero
        unit = cuda.blockIdx.x
        while unit < rows * pieces:
            row = unit // pieces
            low = (unit - row * pieces) * job[PIECE]
            high = min(job[CLASSES], low + job[PIECE])
            weight, label, own_weight, wrong, _ = describe(job, row)
            at = find(job, row, job[ROW_PREDICTION], OF_PREDICTION)
            counts = weight != zero
            base, others, spread = zero, zero, zero
            # All that follows is decided alike by all threads of the block.
            if step != EMIT and counts:
                top, own = measure(job, at, low, high, label, powers, thread)
                most = reduce.block_max(top, thread, scratch)
                base = zero if most == lowest else most
                if own != zero:
                    own = own * power_of(top - base, powers[0], powers[1])
                others = reduce.block_sum(own, thread, scratch)
                mass = zero
                if flags & SMOOTH:
                    spread, mass = spread_of(job, at, low, high, base, inverse, thread)
                    spread = reduce.block_sum(spread, thread, scratch)
                    mass = reduce.block_sum(mass, thread, scratch)
                if step == MEASURE and thread == 0:
                    store_real(job[LEFT], unit * NUMBERS, most)
                    store_real(job[LEFT], unit * NUMBERS + 1, others)
                    store_real(job[LEFT], unit * NUMBERS + 2, spread)
                    store_real(job[LEFT], unit * NUMBERS + 3, mass)
                    if label >= low and label < high:
                        x = load(job[PREDICTION], at + label * job[CLASS_PREDICTION])
                        store_real(job[LEFT], unit * NUMBERS + 4, x)
            if step == EMIT and counts:
                base, others, spread = merge(job, row, inverse, powers)
            if step != MEASURE:
                value = factor = shift = at_label = r = square = linear = bent = zero
                if counts:
                    if step == EMIT:
                        piece = row * pieces + label // job[PIECE]
                        chosen = load_real(job[LEFT], piece * NUMBERS + 4)
                    else:
                        chosen = load(job[PREDICTION], at + label * job[CLASS_PREDICTION])
                    distance = (chosen - base) * inverse
                    own = power_of(chosen - base, powers[0], powers[1])
                    value, factor, shift, at_label, r, square, linear, bent = judge_row(
                        loss, reals, flags, scale,
                        (base, others, distance, own, spread, weight, own_weight),
                    )  # fmt: skip
                if thread == 0 and low == 0:
                    total += np.float64(value)
                    if flags & JUDGED:
                        bad += wrong
                    if job[VALUES] != 0:
                        store_real(job[VALUES], find(job, row, job[ROW_VALUES], OF_VALUES), value)
                if with_gradient:
                    # In place, the label's logit must have been read by all.
                    cuda.syncthreads()
                    emit(
                        job, row, at, low, high, label, thread, base, powers,
                        (factor, shift, at_label, r, square, linear, bent, counts),
                    )  # fmt: skip
            unit += cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_long, signature(structure, computed), structure, most_threads(computed))
