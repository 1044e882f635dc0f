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
from .memory import (
    compute_type,
    lanes,
    reader,
    vector_reader,
    vector_writer,
    writer,
)
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
    LEFT,
    OF_GRADIENT,
    OF_HESSIAN,
    OF_PREDICTION,
    OF_VALUES,
    PIECE,
    PIECES,
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
    decay,
    describer,
    judge,
    signature,
)
from .staged import head_of

# Steps: everything at once, or in two launches.
WHOLE_ROWS, MEASURE, EMIT = range(3)
# Numbers that a piece leaves: maximum, sum of the others' exponentials, weighted sum of distances
# from the maximum, sum of the weights, and the label's logit if the piece has it: in place, it may
# be gone when another block wants it.
NUMBERS = 5


@cache
def _largest(count: int) -> Callable:
    """The largest of a tuple of numbers, NaN aside."""
    if count == 1:
        return device_function(lambda numbers: numbers[0])
    half = count // 2
    part = _largest(half)

    @device_function
    def largest(numbers):
        a, b = part(numbers[:half]), part(numbers[half:])
        return a if a > b else b

    return largest


@cache
def _sum_of_exponentials(kind: str, count: int) -> Callable:
    falling = decay(kind)
    if count == 1:
        return device_function(lambda x, base, inverse: falling((x[0] - base) * inverse))
    half = count // 2
    part = _sum_of_exponentials(kind, half)

    @device_function
    def total(x, base, inverse):
        return part(x[:half], base, inverse) + part(x[half:], base, inverse)

    return total


@cache
def _exponentials(kind: str, count: int) -> Callable:
    """Exponentials of a tuple of numbers, times a factor."""
    falling = decay(kind)
    if count == 1:
        return device_function(
            lambda x, base, inverse, factor: (falling((x[0] - base) * inverse) * factor,)
        )
    half = count // 2
    part = _exponentials(kind, half)

    @device_function
    def exponentials(x, base, inverse, factor):
        first = part(x[:half], base, inverse, factor)
        return first + part(x[half:], base, inverse, factor)

    return exponentials


@cache
def _measurer(kind: str) -> Callable:
    """``measure(job, at, low, high, label, inverse, thread)``: a thread's share of a piece.

    Returns its maximum, and the sum of its exponentials relative to that, without the label's.
    """
    real, count = compute_type(kind), lanes(kind)
    zero, lowest = real(0), real(-np.inf)
    load, loads, falling = reader(kind), vector_reader(kind), decay(kind)
    largest, sum_of, head = _largest(count), _sum_of_exponentials(kind, count), head_of(kind)

    @device_function
    def add(top, total, x, counts, inverse):
        if x > top:
            # Nothing has been added while the maximum was -inf.
            total = zero if top == lowest else total * falling((top - x) * inverse)
            top = x
        base = zero if top == lowest else top
        if counts:
            total += falling((x - base) * inverse)
        return top, total

    @device_function
    def measure(job, at, low, high, label, inverse, thread):
        top, total = lowest, zero
        address, threads = job[PREDICTION], cuda.blockDim.x
        if job[FLAGS] & DIRECT_IN:
            first = low + head(address, at + low, high - low)
            j = low + thread
            if j < first:
                top, total = add(top, total, load(address, at + j), j != label, inverse)
            j = first + thread * count
            while j + count <= high:
                x = loads(address, at + j)
                most = largest(x)
                if most > top:
                    total = zero if top == lowest else total * falling((top - most) * inverse)
                    top = most
                base = zero if top == lowest else top
                if label >= j and label < j + count:  # one thread, once a row
                    k = j
                    while k < j + count:
                        if k != label:
                            total += falling((load(address, at + k) - base) * inverse)
                        k += 1
                else:
                    total += sum_of(x, base, inverse)
                j += threads * count
            j = first + ((high - first) & -count) + thread
            if j < high:
                top, total = add(top, total, load(address, at + j), j != label, inverse)
        else:
            j = low + thread
            while j < high:
                x = load(address, at + j * job[CLASS_PREDICTION])
                top, total = add(top, total, x, j != label, inverse)
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
    load_real, falling = reader(np.dtype(real).name), decay(kind)

    @device_function
    def merge(job, row, inverse):
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
            down = ((zero if own == lowest else own) - base) * inverse
            part = load_real(left, place + 1)
            # A piece of -inf alone has the sum 0, whatever the exponential of its distance.
            others += zero if part == zero else part * falling(down)
            mass = load_real(left, place + 3)
            spread += load_real(left, place + 2) + (zero if mass == zero else down * mass)
            k += 1
        return base, others, spread

    return merge


@cache
def _emitter(kind: str, derivatives: int, walked: bool) -> Callable:
    """Gradient, and hessian, of a thread's share of a piece."""
    real, count = compute_type(kind), lanes(kind)
    zero = real(0)
    load, loads, store, stores = (
        reader(kind), vector_reader(kind), writer(kind), vector_writer(kind),
    )  # fmt: skip
    load_real, falling = reader(np.dtype(real).name), decay(kind)
    exponentials, head = _exponentials(kind, count), head_of(kind)
    with_hessian = derivatives > 1
    find = beginnings(walked)

    @device_function
    def emit(job, row, at, low, high, label, thread, base, inverse, coefficients):
        factor, shift, at_label, r, square, linear, bent, counts = coefficients
        flags, threads = job[FLAGS], cuda.blockDim.x
        start = find(job, row, job[ROW_GRADIENT], OF_GRADIENT)
        of_hessian = start
        if with_hessian:
            of_hessian = find(job, row, job[ROW_HESSIAN], OF_HESSIAN)
        first, whole = high, high
        if flags & DIRECT_OUT and counts and not with_hessian and not flags & SMOOTH:
            # Element by element up to a whole vector, and after the last one.
            first = low + head(job[PREDICTION], at + low, high - low)
            whole = first + ((high - first) & -count)
            j = first + thread * count
            while j < whole:
                g = exponentials(loads(job[PREDICTION], at + j), base, inverse, factor)
                stores(job[GRADIENT], start + j, g)
                if label >= j and label < j + count:
                    store(job[GRADIENT], start + label, at_label)
                j += threads * count
        j = low + thread
        while j < high:
            if j >= first and j < whole:
                j += (whole - j + threads - 1) // threads * threads
                continue
            g = h = zero
            if counts:
                x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                e = falling((x - base) * inverse)
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
            j += threads

    return emit


@cache
def kernel(structure: Structure, kind: str, derivatives: int, walked: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or ``walked`` ones."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, lowest = real(0), real(-np.inf)
    load, store_real, load_real = reader(kind), writer(computed), reader(computed)
    falling, find, describe = decay(kind), beginnings(walked), describer(kind, walked)
    measure, spread_of, merge = _measurer(kind), _spreader(kind), _merger(kind)
    emit = _emitter(kind, derivatives, walked)
    judge_row = judge(structure, kind, derivatives)
    with_gradient = derivatives > 0
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_long(loss, job, reals, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        rows, pieces, step, flags = job[ROWS], job[PIECES], job[STEP], job[FLAGS]
        inverse = reals[INVERSE]
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
                top, own = measure(job, at, low, high, label, inverse, thread)
                most = reduce.block_max(top, thread, scratch)
                base = zero if most == lowest else most
                if own != zero:
                    own = own * falling((top - base) * inverse)
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
                base, others, spread = merge(job, row, inverse)
            if step != MEASURE:
                value = factor = shift = at_label = r = square = linear = bent = zero
                if counts:
                    if step == EMIT:
                        piece = row * pieces + label // job[PIECE]
                        chosen = load_real(job[LEFT], piece * NUMBERS + 4)
                    else:
                        chosen = load(job[PREDICTION], at + label * job[CLASS_PREDICTION])
                    distance = (chosen - base) * inverse
                    own = falling(distance)
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
                        job, row, at, low, high, label, thread, base, inverse,
                        (factor, shift, at_label, r, square, linear, bent, counts),
                    )  # fmt: skip
            unit += cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_long, signature(structure, computed), structure)
