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
from .movers import layout
from .pieces import GROUP, PIECE_BYTES, ROW_BYTES, loops, numbers_of, piece_size, writer
from .rows import call_describe, call_finish, rows_at, statistic, tools
from .threads import CHUNK_SIGNATURE, call_at, sums_at


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
    statistics_bytes, lanes_bytes = t.statistics_bytes, 8 * GROUP
    labels_bytes, spare_bytes = 8 * GROUP, max(PIECE_BYTES, 8 * GROUP)

    def softmax_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        inverse = cast(rows.inverse_temperature)
        padded = o.padded(classes)
        group = min(piece // padded, GROUP)
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(spare_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        numbers = pointer(stack_memory(ROW_BYTES), zero)
        top, others = (
            t.column(statistics, statistic.maximum),
            t.column(statistics, statistic.others),
        )
        distance, own = (
            t.column(statistics, statistic.distance),
            t.column(statistics, statistic.own),
        )
        weighted_distance = t.column(statistics, statistic.weighted_distance)
        weight = t.column(statistics, statistic.row_weight)
        t.clear_statistics(statistics)
        prediction = call.prediction, layout(call, rows.prediction_layout)
        direct = (rows.derivatives > 0) & (rows.gradient_layout == 0)
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(GROUP):
            lanes[k] = 0.0
        sums.value = sums.out_of_range = 0.0
        row, stop = index * call.chunk, min((index + 1) * call.chunk, call.size)
        while row < stop:
            count = min(group, stop - row)
            call_describe(rows.describe, (address, row, count, statistics, of_labels, spare))
            for k in range(count):
                if weight[k] == zero:
                    continue
                place = scratch + k * padded * itemsize
                source = o.locate(prediction, (row + k) * classes, classes, spare)
                m = o.maximum(source, classes)
                label = labels[k]
                d = (pointer(source, zero)[label] - m) * inverse
                if rows.smooth != 0:
                    weights = rows.class_weight
                    weighted_distance[k] = o.weighted_distance(source, weights, classes, m, inverse)
                ahead = call.gradient + (row + k) * classes * itemsize if direct else 0
                following = call.prediction + (row + count + k) * classes * itemsize
                o.exponentials(source, place, classes, m, inverse, following, ahead)
                pointer(place, zero)[label] = zero
                others[k] = o.total(place, classes)
                top[k], distance[k] = m, d
            t.exponentiate(distance, own)
            call_finish(rows.finish, (address, statistics))
            t.store_values(call, rows, row, count, statistics)
            t.add_values(call, statistics, count, lanes)
            if rows.derivatives > 0:
                for k in range(count):
                    start = (row + k) * classes
                    if weight[k] == zero:
                        write_zeros(call, rows, start, classes, spare)
                        continue
                    gather_numbers(statistics, k, numbers)
                    place = scratch + k * padded * itemsize
                    write(call, rows, start, 0, classes, place, spare, numbers, t.one, labels[k])
            row += count
        sums.value += t.sum_of(lanes)
        restore_denormals(mode)

    return softmax_rows
