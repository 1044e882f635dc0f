"""Rows too long for shared memory, of losses that read the label's log-probability alone.

A block reads its row twice: for the maximum and the sum of exponentials, which are kept up
together, and for the gradient; the second time much of the row is in the second-level cache.
Where rows are few, blocks share them: one launch measures pieces of rows and leaves what it finds
in memory, a second one adds that up, the same way in every block, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..formulas.structure import Structure
from ..jobs.cuda_rows import EMIT, MEASURE, RowAxis, RowFlags
from ..jobs.rows import LabelPiece
from . import reduce
from .backend import cuda, device_function
from .dtypes import compute_type, lanes
from .fields import positions
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import larger, power
from .reduce import SCRATCH
from .row_vectors import combined, elements_before, int32, loader, powers_of_vectors, storer
from .rows import describer, finisher, most_threads, signature, value_writer
from .strides import beginnings

_flag, _axis, _piece = RowFlags.bit, RowAxis.column, positions(LabelPiece)
_PIECE = LabelPiece.memory.words  # numbers of a piece


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
        address, threads = job.prediction, cuda.blockDim.x
        if job.flags & _flag.vectors_in:
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
                x = load(address, at + j * job.prediction_class_stride)
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
            w = load_real(job.class_weight, j)
            if w != zero:
                x = load(job.prediction, at + j * job.prediction_class_stride)
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
        left, pieces = job.piece_results, job.pieces
        first = row * pieces * _PIECE
        top = lowest
        k = 0
        while k < pieces:
            x = load_real(left, first + k * _PIECE + _piece.maximum)
            top = x if x > top else top
            k += 1
        base = zero if top == lowest else top
        others, spread = zero, zero
        k = 0
        while k < pieces:
            place = first + k * _PIECE
            own = load_real(left, place + _piece.maximum)
            down = (zero if own == lowest else own) - base
            part = load_real(left, place + _piece.others)
            # A piece of -inf alone has the sum 0, whatever the exponential of its distance.
            others += zero if part == zero else part * power_of(down, powers[0], powers[1])
            mass = load_real(left, place + _piece.weight_sum)
            spread += load_real(left, place + _piece.weighted_distance)
            spread += zero if mass == zero else down * inverse * mass
            k += 1
        return base, others, spread

    return merge


@cache
def _emitter(kind: str, derivatives: int, traversed: bool) -> Callable:
    """Gradient, and hessian, of a thread's share of a piece."""
    real, count, vectors = compute_type(kind), lanes(kind), VECTORS_AT_ONCE
    zero = real(0)
    load, store, load_real = reader(kind), writer(kind), reader(np.dtype(real).name)
    load_row, store_row = loader(kind, vectors, False), storer(kind, vectors, False)
    power_of, powers_of = power(kind), powers_of_vectors(kind, vectors)
    before = elements_before(kind)
    with_hessian = derivatives > 1
    find = beginnings(traversed, RowAxis.count)

    @device_function
    def emit_vectors(job, at, start, size, label, thread, base, powers, factor, at_label):
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count - before(job.prediction, at))
        while j < size:
            x = load_row(job.prediction, at, j, step, size)
            e = powers_of(x, j, step, (base, powers[0], powers[1], label))
            store_row(job.gradient, start, j, step, size, e, factor, label, at_label)
            j = int32(j + vectors * step)

    @device_function
    def emit(job, row, at, low, high, label, thread, base, powers, coefficients):
        factor, shift, at_label, r, square, linear, hessian, counts = coefficients
        flags = job.flags
        start = find(job.layout, row, job.gradient_row_stride, _axis.gradient)
        if flags & _flag.vectors_out and counts and not with_hessian and not flags & _flag.smooth:
            size, own = int32(high - low), int32(label - low)
            at, start = at + low, start + low
            emit_vectors(job, at, start, size, own, thread, base, powers, factor, at_label)
            return
        of_hessian = start
        if with_hessian:
            of_hessian = find(job.layout, row, job.hessian_row_stride, _axis.hessian)
        j = low + thread
        while j < high:
            g = h = zero
            if counts:
                x = load(job.prediction, at + j * job.prediction_class_stride)
                e = power_of(x - base, powers[0], powers[1])
                g = e * factor
                if flags & _flag.smooth:
                    g += shift * load_real(job.class_weight, j)
                g = at_label if j == label else g
                if with_hessian:
                    p = e * r
                    h = hessian if j == label else p * (p * square + linear)
            if with_hessian:
                store(job.hessian, of_hessian + j * job.hessian_class_stride, h)
            store(job.gradient, start + j * job.gradient_class_stride, g)
            j += cuda.blockDim.x

    return emit


@cache
def _pieces(kind: str) -> tuple[Callable, Callable]:
    """``measure_piece(job, numbers, at, low, high, label, thread, scratch)``: what a piece
    comes to, by all threads of a block; and ``leave_piece``, which writes it for other blocks."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, power_of, store_real = reader(kind), power(kind), writer(np.dtype(real).name)
    measure, spread_of = _measurer(kind), _spreader(kind)

    @device_function
    def measure_piece(job, numbers, at, low, high, label, thread, scratch):
        powers = numbers.power_high, numbers.power_low
        top, own = measure(job, at, low, high, label, powers, thread)
        most = reduce.block_max(top, thread, scratch)
        base = zero if most == lowest else most
        if own != zero:
            own = own * power_of(top - base, powers[0], powers[1])
        others = reduce.block_sum(own, thread, scratch)
        spread = mass = zero
        if job.flags & _flag.smooth:
            inverse = numbers.inverse_temperature
            spread, mass = spread_of(job, at, low, high, base, inverse, thread)
            spread = reduce.block_sum(spread, thread, scratch)
            mass = reduce.block_sum(mass, thread, scratch)
        return most, base, others, spread, mass

    @device_function
    def leave_piece(job, unit, at, low, high, label, found):
        most, _, others, spread, mass = found
        place = unit * _PIECE
        store_real(job.piece_results, place + _piece.maximum, most)
        store_real(job.piece_results, place + _piece.others, others)
        store_real(job.piece_results, place + _piece.weighted_distance, spread)
        store_real(job.piece_results, place + _piece.weight_sum, mass)
        if label >= low and label < high:
            x = load(job.prediction, at + label * job.prediction_class_stride)
            store_real(job.piece_results, place + _piece.label_logit, x)

    return measure_piece, leave_piece


@cache
def _chooser(kind: str) -> Callable:
    """``chosen_of(job, row, at, label)``: the label's logit."""
    load, load_real = reader(kind), reader(np.dtype(compute_type(kind)).name)

    @device_function
    def chosen_of(job, row, at, label):
        if job.step == EMIT:
            piece = row * job.pieces + label // job.piece_classes
            chosen = load_real(job.piece_results, piece * _PIECE + _piece.label_logit)
        else:
            chosen = load(job.prediction, at + label * job.prediction_class_stride)
        return chosen

    return chosen_of


@kept_on_disk
def kernel(structure: Structure, kind: str, derivatives: int, traversed: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or along several ones."""
    real = compute_type(kind)
    computed, zero = np.dtype(real).name, real(0)
    power_of, describe = power(kind), describer(kind, traversed)
    find, write_value = beginnings(traversed, RowAxis.count), value_writer(kind, traversed)
    (measure_piece, leave_piece), merge = _pieces(kind), _merger(kind)
    emit, chosen_of = _emitter(kind, derivatives, traversed), _chooser(kind)
    finish = finisher(structure, kind, derivatives)
    with_gradient = derivatives > 0
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_long(loss, job, numbers, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        pieces, step, flags = job.pieces, job.step, job.flags
        inverse, powers = numbers.inverse_temperature, (numbers.power_high, numbers.power_low)
        scale, rows = begin(tail, numbers.scale, job.rows)
        total, bad = 0.0, zero
        unit = cuda.blockIdx.x
        while unit < rows * pieces:
            row = unit // pieces
            low = (unit - row * pieces) * job.piece_classes
            high = min(job.classes, low + job.piece_classes)
            weight, label, own_weight, wrong, _ = describe(job, row)
            at = find(job.layout, row, job.prediction_row_stride, _axis.prediction)
            counts = weight != zero
            base, others, spread = zero, zero, zero
            # All that follows is decided alike by all threads of the block.
            if step != EMIT and counts:
                found = measure_piece(job, numbers, at, low, high, label, thread, scratch)
                base, others, spread = found[1], found[2], found[3]
                if step == MEASURE and thread == 0:
                    leave_piece(job, unit, at, low, high, label, found)
            if step == EMIT and counts:
                base, others, spread = merge(job, row, inverse, powers)
            if step != MEASURE:
                value = factor = shift = at_label = r = square = linear = hessian = zero
                if counts:
                    chosen = chosen_of(job, row, at, label)
                    distance = (chosen - base) * inverse
                    own = power_of(chosen - base, powers[0], powers[1])
                    value, factor, shift, at_label, r, square, linear, hessian = finish(
                        loss, numbers, flags, scale,
                        (base, others, distance, own, spread, weight, own_weight),
                    )  # fmt: skip
                if thread == 0 and low == 0:
                    total += np.float64(value)
                    if flags & _flag.count_errors:
                        bad += wrong
                    write_value(job, row, value)
                if with_gradient:
                    # In place, the label's logit must have been read by all.
                    cuda.syncthreads()
                    emit(
                        job, row, at, low, high, label, thread, base, powers,
                        (factor, shift, at_label, r, square, linear, hessian, counts),
                    )  # fmt: skip
            unit += cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_long, signature(structure, computed), structure, most_threads(computed))
