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
from .intrinsics import no_alias, pointer, prefer_wide_vectors, stack_memory
from .lanes import maximum
from .rows import (
    AT_LABEL,
    CLASS_WEIGHT,
    CLASSES,
    DERIVATIVES,
    DISTANCE,
    FACTOR,
    HESSIAN_AT_LABEL,
    HESSIAN_LINEAR,
    HESSIAN_SQUARE,
    INVERSE,
    INVERSE_TEMPERATURE,
    MAXIMUM,
    NUMBERS_BYTES,
    OTHERS,
    OWN,
    ROW_WEIGHT,
    SHIFT,
    SMOOTH,
    SPREAD,
    STATISTICS,
    CHUNK_SIGNATURE,
    exact,
    fast,
    inner,
    namespace,
    tools,
)
from .threads import CHUNK, GRADIENT, HESSIAN, LAYOUTS, PREDICTION, SIZE

PIECE_BYTES = 16384
GROUP = 64


def piece_size(real: str) -> int:
    """Elements of a piece."""
    return PIECE_BYTES // np.dtype(real).itemsize


@cache
def rows(real: str) -> Code:
    """Machine code of the loop over rows that are no longer than a piece."""
    return c_function(
        lambda: _rows(real), CHUNK_SIGNATURE, f"softmax rows {real}", error_model="numpy"
    )


@cache
def loops(real: str) -> Any:
    """Loops over one row, or a piece of one, in scratch memory."""
    t = tools(real, GROUP)
    zero, lowest = t.zero, t.lowest
    decay = t.decay

    @njit(**fast)
    def copy_maximum(source, target, size):
        no_alias()
        top = source[0]
        for j in range(size):
            x = source[j]
            target[j] = x
            top = maximum(top, x)
        return top

    @njit(**fast)
    def find_maximum(source, size):
        top = source[0]
        for j in range(size):
            top = maximum(top, source[j])
        return top

    @njit(**inner)
    def stage(job, slot, start, size, padded, scratch):
        """A stretch of a row into scratch, filled up with -inf; its maximum."""
        row = pointer(scratch, zero)
        if t.is_direct(job, slot):
            top = copy_maximum(pointer(job[slot] + start * t.itemsize, zero), row, size)
        else:
            t.load(job, slot, start, size, scratch)
            top = find_maximum(row, size)
        for j in range(size, padded):
            row[j] = lowest
        return top

    @njit(**fast)
    def exponentials(row, size, top, inverse):
        """Replace a row, padded, by its exponentials; their sum."""
        total = zero
        for j in range(size):
            e = decay((row[j] - top) * inverse)
            row[j] = e
            total += e
        return total

    @njit(**fast)
    def exponentials_to(row, target, size, top, inverse):
        no_alias()
        total = zero
        for j in range(size):
            e = decay((row[j] - top) * inverse)
            target[j] = e
            total += e
        return total

    @njit(**fast)
    def sum_of_exponentials(row, size, top, inverse):
        total = zero
        for j in range(size):
            total += decay((row[j] - top) * inverse)
        return total

    @njit(**fast)
    def weighted_distance(row, of_class, size, top, inverse):
        """Sum of class weights times scaled logits; an excluded class of weight 0 counts not."""
        no_alias()
        total = zero
        for j in range(size):
            total += zero if of_class[j] == zero else of_class[j] * ((row[j] - top) * inverse)
        return total

    @njit(**fast)
    def plain_sum(row, size):
        total = zero
        for j in range(size):
            total += row[j]
        return total

    return namespace(locals())


@cache
def writer(real: str) -> Any:
    """The function that writes a stretch of gradient and hessian from exponentials."""
    t = tools(real, GROUP)
    zero, itemsize = t.zero, t.itemsize
    piece = piece_size(real)

    @njit(**exact)
    def multiply(row, size, factor):
        for j in range(size):
            row[j] = row[j] * factor

    @njit(**exact)
    def multiply_smooth(row, of_class, size, factor, shift):
        no_alias()
        for j in range(size):
            row[j] = row[j] * factor + shift * of_class[j]

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
        exponentials = pointer(source, zero)
        if with_hessian:
            direct = t.is_direct(job, HESSIAN)
            place = job[HESSIAN] + start * itemsize if direct else spare
            hessian = pointer(place, zero)
            t.emit_hessian(
                exponentials,
                hessian,
                size,
                numbers[INVERSE] * relative,
                numbers[HESSIAN_SQUARE],
                numbers[HESSIAN_LINEAR],
            )
            if within:
                hessian[at] = numbers[HESSIAN_AT_LABEL]
            if not direct:
                t.store(job, HESSIAN, start, size, spare)
        factor, shift = numbers[FACTOR] * relative, numbers[SHIFT]
        direct = t.is_direct(job, GRADIENT)
        place = job[GRADIENT] + start * itemsize if direct else spare
        gradient = pointer(place, zero)
        if place == source:
            if fields[SMOOTH] != 0:
                of_class = pointer(fields[CLASS_WEIGHT] + offset * itemsize, zero)
                multiply_smooth(gradient, of_class, size, factor, shift)
            else:
                multiply(gradient, size, factor)
        elif fields[SMOOTH] != 0:
            of_class = pointer(fields[CLASS_WEIGHT] + offset * itemsize, zero)
            t.emit_smooth(exponentials, gradient, of_class, size, factor, shift)
        else:
            t.emit_plain(exponentials, gradient, size, factor)
        if within:
            gradient[at] = numbers[AT_LABEL]
        if not direct:
            t.store(job, GRADIENT, start, size, spare)

    @njit(**inner)
    def write_zeros(job, start, size, spare):
        """Gradient and hessian of a row that does not count."""
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
    labels_bytes, spare_bytes = 8 * GROUP, max(PIECE_BYTES, 8 * GROUP)

    def softmax_rows(job, scale, index, result):
        prefer_wide_vectors()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes = fields[CLASSES]
        inverse = cast(reals[INVERSE_TEMPERATURE])
        padded = (classes + 63) // 64 * 64
        group = min(piece // padded, GROUP)
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(spare_bytes)
        statistics = stack_memory(statistics_bytes)
        labels = pointer(stack_memory(labels_bytes), 1)
        numbers = pointer(stack_memory(NUMBERS_BYTES), zero)
        top, others = t.column(statistics, MAXIMUM), t.column(statistics, OTHERS)
        distance, own = t.column(statistics, DISTANCE), t.column(statistics, OWN)
        spread, weight = t.column(statistics, SPREAD), t.column(statistics, ROW_WEIGHT)
        t.fill(pointer(statistics, zero), STATISTICS * GROUP, zero)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        row, stop = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        while row < stop:
            count = min(group, stop - row)
            t.describe_rows(job, row, count, statistics, labels, spare)
            for k in range(count):
                if weight[k] == zero:
                    continue
                place = scratch + k * padded * itemsize
                x = pointer(place, zero)
                m = o.stage(job, PREDICTION, (row + k) * classes, classes, padded, place)
                label = labels[k]
                d = (x[label] - m) * inverse
                if fields[SMOOTH] != 0:
                    of_class = pointer(fields[CLASS_WEIGHT], zero)
                    spread[k] = o.weighted_distance(x, of_class, classes, m, inverse)
                x[label] = t.lowest
                others[k] = o.exponentials(x, padded, m, inverse)
                top[k], distance[k] = m, d
            for b in range(0, count, t.lanes):
                for i in range(t.lanes):
                    own[b + i] = t.decay(distance[b + i])
            t.finish(job, statistics, count)
            sums[0] += t.deliver_values(job, row, count, statistics)
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

    return softmax_rows
