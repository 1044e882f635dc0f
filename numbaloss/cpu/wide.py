"""Rows wider than a few registers, with integer labels, a row after the other.

Rows up to a *piece* long go through scratch memory in the first-level cache, several at a
time: maximum (while they are copied in), exponentials and their sum, then the multiples that
make the gradient. The row is read once and the gradient written once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    prefetch,
    restore_denormals,
    stack_memory,
)
from .lanes import load_rest, maximum_of_lanes, store_rest, sum_of_lanes
from .rows import (
    AT_LABEL,
    CHUNK_SIGNATURE,
    CLASS_WEIGHT,
    CLASSES,
    DERIVATIVES,
    DESCRIBE,
    DISTANCE,
    FACTOR,
    FINISH,
    GRADIENT,
    HESSIAN,
    HESSIAN_AT_LABEL,
    HESSIAN_LINEAR,
    HESSIAN_SQUARE,
    INVERSE,
    INVERSE_TEMPERATURE,
    MAXIMUM,
    NUMBERS_BYTES,
    OTHERS,
    OWN,
    PREDICTION,
    ROW_WEIGHT,
    SHIFT,
    SMOOTH,
    SPREAD,
    STATISTICS,
    call_describe,
    call_finish,
    exact,
    fast,
    inner,
    namespace,
    tools,
)
from .sums import tools as sums_of
from .threads import CHUNK, LAYOUTS, SIZE

PIECE_BYTES = 16384
GROUP = 32
# Sums and maxima in four registers.
RUNNING_BYTES = 256
# How far ahead of a stream of stores its memory is asked for.
AHEAD_BYTES = 2048


def piece_size(real: str) -> int:
    """Elements of a piece."""
    return PIECE_BYTES // np.dtype(real).itemsize


def group_size(real: str, classes: int) -> int:
    """Rows of so many classes that are computed at a time."""
    step = RUNNING_BYTES // np.dtype(real).itemsize
    return min(piece_size(real) // (-(-classes // step) * step), GROUP)


@cache
def rows(real: str) -> Code:
    """Machine code of the loop over rows that are no longer than a piece."""
    return c_function(
        lambda: _rows(real), CHUNK_SIGNATURE, f"softmax rows {real}", error_model="numpy"
    )


@cache
def loops(real: str) -> Any:
    """Loops over one row, or a piece of one, in scratch memory.

    All run in steps of a constant length, a few registers: what LLVM leaves of a loop to
    scalars would take longer than the rest of a row of a few hundred numbers. Sums and maxima
    run in lanes that are kept in memory, at ``lanes``.
    """
    t = tools(real, GROUP)
    zero, lowest, lanes = t.zero, t.lowest, t.lanes
    decay = t.decay
    step = 4 * lanes

    @njit(**fast)
    def copy_maximum(source, target, size, running):
        """Whole registers of a row into scratch; their maximum. NaN shows in the sum."""
        prefer_wide_vectors()
        no_alias()
        for b in range(size // step):
            for i in range(step):
                x = source[b * step + i]
                target[b * step + i] = x
                running[i] = x if x > running[i] else running[i]

    @njit(**fast)
    def raise_maximum(source, size, running):
        prefer_wide_vectors()
        no_alias()
        for b in range(size // step):
            for i in range(step):
                x = source[b * step + i]
                running[i] = x if x > running[i] else running[i]

    @njit(**inner)
    def stage(job, slot, start, size, scratch):
        """A stretch of a row into scratch, filled up to a whole step with -inf.

        Returns its maximum; ``padded(size)`` numbers are in place.
        """
        prefer_wide_vectors()
        memory = stack_memory(RUNNING_BYTES)
        running = pointer(memory, zero)
        row = pointer(scratch, zero)
        whole, full = size // step * step, padded(size)
        t.fill(running, step, lowest)
        if t.is_direct(job, slot):
            place = job[slot] + start * t.itemsize
            copy_maximum(pointer(place, zero), row, whole, running)
            for j in range(whole, full, lanes):
                offset = j * t.itemsize
                load_rest(place + offset, scratch + offset, size - j, lowest)
            rest = pointer(scratch + whole * t.itemsize, zero)
            raise_maximum(rest, full - whole, running)
        else:
            t.load(job, slot, start, size, scratch)
            for j in range(size, full):
                row[j] = lowest
            raise_maximum(row, full, running)
        return maximum_of_lanes(memory, zero)

    @njit(**inner)
    def padded(size):
        return (size + step - 1) // step * step

    @njit(**fast)
    def exponentials_in_lanes(row, size, top, inverse, running, following, ahead):
        prefer_wide_vectors()
        no_alias()
        for i in range(step):
            running[i] = zero
        for b in range(size // step):
            for line in range(4):
                prefetch(following + (4 * b + line) * 64, 0)
            if ahead != 0:
                for line in range(4):
                    prefetch(ahead + (4 * b + line) * 64, 1)
            for i in range(step):
                e = decay((row[b * step + i] - top) * inverse)
                row[b * step + i] = e
                running[i] += e

    @njit(**inner)
    def exponentials(row, size, top, inverse, following, ahead):
        """Replace a row, padded, by its exponentials; their sum.

        What lies at ``following``, to be read next, and at ``ahead``, to be written, is fetched
        meanwhile: this is the step that leaves memory idle.
        """
        memory = stack_memory(RUNNING_BYTES)
        running = pointer(memory, zero)
        exponentials_in_lanes(row, size, top, inverse, running, following, ahead)
        return sum_of_lanes(memory, zero)

    @njit(**fast)
    def exponentials_to_lanes(row, target, size, top, inverse, running, following, ahead):
        prefer_wide_vectors()
        no_alias()
        for i in range(step):
            running[i] = zero
        for b in range(size // step):
            for line in range(4):
                prefetch(following + (4 * b + line) * 64, 0)
                prefetch(ahead + (4 * b + line) * 64, 1)
            for i in range(step):
                e = decay((row[b * step + i] - top) * inverse)
                target[b * step + i] = e
                running[i] += e

    @njit(**inner)
    def exponentials_to(row, place, size, top, inverse, following):
        """The exponentials of a whole piece to where they stay, and their sum."""
        memory = stack_memory(RUNNING_BYTES)
        running, target = pointer(memory, zero), pointer(place, zero)
        exponentials_to_lanes(
            row, target, size, top, inverse, running, following, place + AHEAD_BYTES
        )
        return sum_of_lanes(memory, zero)

    @njit(**fast)
    def distances_in_lanes(row, of_class, size, top, inverse, running):
        prefer_wide_vectors()
        no_alias()
        for i in range(step):
            running[i] = zero
        for b in range(size // step):
            for i in range(step):
                j = b * step + i
                d = (row[j] - top) * inverse
                running[i] += zero if of_class[j] == zero else of_class[j] * d

    @njit(**inner)
    def weighted_distance(row, of_class, size, top, inverse):
        """Sum of class weights times scaled logits; an excluded class of weight 0 counts not."""
        memory = stack_memory(RUNNING_BYTES)
        distances_in_lanes(row, of_class, size, top, inverse, pointer(memory, zero))
        return sum_of_lanes(memory, zero)

    plain_sum, _ = sums_of(real)

    return namespace(locals())


@cache
def writer(real: str) -> Any:
    """The function that writes a stretch of gradient and hessian from exponentials."""
    t = tools(real, GROUP)
    zero, itemsize, lanes = t.zero, t.itemsize, t.lanes
    step, piece = 4 * lanes, piece_size(real)

    @njit(**exact)
    def emit_plain(source, gradient, size, factor):
        prefer_wide_vectors()
        no_alias()
        for b in range(size // step):
            for i in range(step):
                gradient[b * step + i] = source[b * step + i] * factor

    @njit(**inner)
    def emit_smooth(source, gradient, of_class, size, factor, shift):
        prefer_wide_vectors()
        no_alias()
        for b in range(size // step):
            for i in range(step):
                j = b * step + i
                gradient[j] = source[j] * factor + shift * of_class[j]

    @njit(**exact)
    def emit_hessian(source, hessian, size, inverse, square, linear):
        prefer_wide_vectors()
        no_alias()
        for b in range(size // step):
            for i in range(step):
                p = source[b * step + i] * inverse
                hessian[b * step + i] = p * (p * square + linear)

    @njit(**exact)
    def multiply(row, size, factor):
        prefer_wide_vectors()
        for j in range(size):
            row[j] = row[j] * factor

    @njit(**inner)
    def multiply_smooth(row, of_class, size, factor, shift):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            row[j] = row[j] * factor + shift * of_class[j]

    @njit(**inner)
    def load_registers(source, target, size):
        # The exponentials may lie in the gradient's own memory, which ends here.
        for j in range(0, step, lanes):
            load_rest(source + j * itemsize, target + j * itemsize, size - j, zero)

    @njit(**inner)
    def store_registers(source, target, size):
        for j in range(0, size, lanes):
            store_rest(source + j * itemsize, target + j * itemsize, size - j, zero)

    @njit(**inner)
    def write_hessian(source, target, size, inverse, square, linear):
        whole = size // step * step
        emit_hessian(pointer(source, zero), pointer(target, zero), whole, inverse, square, linear)
        if whole < size:
            offset, own = whole * itemsize, stack_memory(RUNNING_BYTES)
            found = stack_memory(RUNNING_BYTES)
            load_registers(source + offset, own, size - whole)
            emit_hessian(pointer(own, zero), pointer(found, zero), step, inverse, square, linear)
            store_registers(found, target + offset, size - whole)

    @njit(**inner)
    def write_gradient(source, target, size, factor, shift, weights):
        """Multiples of exponentials plus those of class weights, where there are some.

        Class weights are padded: more of them than there are classes may be read.
        """
        whole = size // step * step
        offset, own = whole * itemsize, stack_memory(RUNNING_BYTES)
        found = stack_memory(RUNNING_BYTES)
        if whole < size:
            load_registers(source + offset, own, size - whole)
        if weights == 0:
            emit_plain(pointer(source, zero), pointer(target, zero), whole, factor)
            if whole < size:
                emit_plain(pointer(own, zero), pointer(found, zero), step, factor)
        else:
            of_class = pointer(weights, zero)
            emit_smooth(
                pointer(source, zero), pointer(target, zero), of_class, whole, factor, shift
            )
            if whole < size:
                of_class = pointer(weights + offset, zero)
                emit_smooth(pointer(own, zero), pointer(found, zero), of_class, step, factor, shift)
        if whole < size:
            store_registers(found, target + offset, size - whole)

    @njit(**inner)
    def write(job, start, offset, size, source, spare, numbers, relative, label):
        """Gradient and hessian of elements start to start + size, classes offset and on.

        ``source`` is the address of their exponentials, ``spare`` of scratch memory;
        ``relative`` is what the exponentials are off by. ``label`` is that of the row.
        """
        fields = pointer(job[LAYOUTS], 1)
        with_hessian = fields[DERIVATIVES] > 1
        at = label - offset
        within = (at >= 0) & (at < size)
        if with_hessian:
            direct = t.is_direct(job, HESSIAN)
            place = job[HESSIAN] + start * itemsize if direct else spare
            inverse = numbers[INVERSE] * relative
            square, linear = numbers[HESSIAN_SQUARE], numbers[HESSIAN_LINEAR]
            write_hessian(source, place, size, inverse, square, linear)
            if within:
                pointer(place, zero)[at] = numbers[HESSIAN_AT_LABEL]
            if not direct:
                t.store(job, HESSIAN, start, size, spare)
        factor, shift = numbers[FACTOR] * relative, numbers[SHIFT]
        direct = t.is_direct(job, GRADIENT)
        place = job[GRADIENT] + start * itemsize if direct else spare
        gradient = pointer(place, zero)
        weights = 0
        if fields[SMOOTH] != 0:
            weights = fields[CLASS_WEIGHT] + offset * itemsize
        if place != source:
            write_gradient(source, place, size, factor, shift, weights)
        elif weights == 0:
            multiply(gradient, size, factor)
        else:
            multiply_smooth(gradient, pointer(weights, zero), size, factor, shift)
        if within:
            gradient[at] = numbers[AT_LABEL]
        if not direct:
            t.store(job, GRADIENT, start, size, spare)

    @njit(**inner)
    def write_zeros(job, start, size, spare):
        """Gradient and hessian of a row that does not count."""
        prefer_wide_vectors()
        fields = pointer(job[LAYOUTS], 1)
        done = 0
        while done < size:
            count = min(piece, size - done)
            for slot in range(GRADIENT, GRADIENT + fields[DERIVATIVES]):
                if t.is_direct(job, slot):
                    t.fill(pointer(job[slot] + (start + done) * itemsize, zero), count, zero)
                else:
                    t.fill(pointer(spare, zero), count, zero)
                    t.store(job, slot, start + done, count, spare)
            done += count

    return write, write_zeros


@cache
def numbers_of(real: str) -> Any:
    """Copies the results of one row of a group to where the writer looks for them."""
    t = tools(real, GROUP)

    @njit(**inner)
    def gather_numbers(statistics, which, numbers):
        prefer_wide_vectors()
        for i in range(STATISTICS):
            numbers[i] = t.column(statistics, i)[which]

    return gather_numbers


def _rows(real: str) -> Callable:
    t, o = tools(real, GROUP), loops(real)
    write, write_zeros = writer(real)
    gather_numbers = numbers_of(real)
    zero, itemsize, cast = t.zero, t.itemsize, t.cast
    piece = piece_size(real)
    statistics_bytes = STATISTICS * GROUP * itemsize
    lanes_bytes = 8 * GROUP
    labels_bytes, spare_bytes = 8 * GROUP, max(PIECE_BYTES, 8 * GROUP)

    def softmax_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes = fields[CLASSES]
        inverse = cast(reals[INVERSE_TEMPERATURE])
        padded = o.padded(classes)
        group = min(piece // padded, GROUP)
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(spare_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        numbers = pointer(stack_memory(NUMBERS_BYTES), zero)
        top, others = t.column(statistics, MAXIMUM), t.column(statistics, OTHERS)
        distance, own = t.column(statistics, DISTANCE), t.column(statistics, OWN)
        spread, weight = t.column(statistics, SPREAD), t.column(statistics, ROW_WEIGHT)
        t.fill(pointer(statistics, zero), STATISTICS * GROUP, zero)
        direct = (fields[DERIVATIVES] > 0) & t.is_direct(job, GRADIENT)
        sums = pointer(result, 1.0)
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(GROUP):
            lanes[k] = 0.0
        sums[0] = sums[1] = 0.0
        row, stop = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        while row < stop:
            count = min(group, stop - row)
            call_describe(fields[DESCRIBE], (job, row, count, statistics, of_labels, spare))
            for k in range(count):
                if weight[k] == zero:
                    continue
                place = scratch + k * padded * itemsize
                x = pointer(place, zero)
                m = o.stage(job, PREDICTION, (row + k) * classes, classes, place)
                label = labels[k]
                d = (x[label] - m) * inverse
                if fields[SMOOTH] != 0:
                    of_class = pointer(fields[CLASS_WEIGHT], zero)
                    spread[k] = o.weighted_distance(x, of_class, padded, m, inverse)
                x[label] = t.lowest
                ahead = job[GRADIENT] + (row + k) * classes * itemsize if direct else 0
                following = job[PREDICTION] + (row + count + k) * classes * itemsize
                others[k] = o.exponentials(x, padded, m, inverse, following, ahead)
                top[k], distance[k] = m, d
            t.exponentiate(distance, own)
            call_finish(fields[FINISH], (job, statistics))
            t.store_values(job, row, count, statistics)
            t.add_values(job, statistics, count, lanes)
            if fields[DERIVATIVES] > 0:
                for k in range(count):
                    start = (row + k) * classes
                    if weight[k] == zero:
                        write_zeros(job, start, classes, spare)
                        continue
                    gather_numbers(statistics, k, numbers)
                    place = scratch + k * padded * itemsize
                    write(job, start, 0, classes, place, spare, numbers, t.one, labels[k])
            row += count
        sums[0] += t.sum_of(lanes)
        restore_denormals(mode)

    return softmax_rows
