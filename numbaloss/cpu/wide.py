"""Rows wider than a few registers, with integer labels, a row after the other.

Rows up to a *piece* long go through scratch memory in the first-level cache, several at a
time: maximum, exponentials (into scratch memory), their sum without the label's, then the
multiples that make the gradient. The row is read from memory once and the gradient written once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..vmath.vectors import register_bytes
from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .pieces import GROUP, PIECE_BYTES, loops, numbers_of, piece_size, writer
from .rows import (
    CHUNK_SIGNATURE,
    CLASS_WEIGHT,
    CLASSES,
    DERIVATIVES,
    DESCRIBE,
    DISTANCE,
    FINISH,
    GRADIENT,
    INVERSE_TEMPERATURE,
    MAXIMUM,
    NUMBERS_BYTES,
    OTHERS,
    OWN,
    PREDICTION,
    ROW_WEIGHT,
    SMOOTH,
    SPREAD,
    STATISTICS,
    call_describe,
    call_finish,
    tools,
)
from .threads import CHUNK, LAYOUTS, SIZE


def group_size(real: str, classes: int) -> int:
    """Rows of so many classes that are computed at a time."""
    lanes = register_bytes() // np.dtype(real).itemsize
    return min(piece_size(real) // (-(-classes // lanes) * lanes), GROUP)


@cache
def rows(real: str) -> Code:
    """Machine code of the loop over rows that are no longer than a piece."""
    return c_function(
        lambda: _rows(real), CHUNK_SIGNATURE, f"softmax rows {real}", error_model="numpy"
    )


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
                source = o.locate(job, PREDICTION, (row + k) * classes, classes, spare)
                m = o.maximum(source, classes)
                label = labels[k]
                d = (pointer(source, zero)[label] - m) * inverse
                if fields[SMOOTH] != 0:
                    weights = fields[CLASS_WEIGHT]
                    spread[k] = o.weighted_distance(source, weights, classes, m, inverse)
                ahead = job[GRADIENT] + (row + k) * classes * itemsize if direct else 0
                following = job[PREDICTION] + (row + count + k) * classes * itemsize
                o.exponentials(source, place, classes, m, inverse, following, ahead)
                pointer(place, zero)[label] = zero
                others[k] = o.total(place, classes)
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
