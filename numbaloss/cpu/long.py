"""Rows of many pieces, with integer labels: one thread's work, or all threads'.

Each piece takes its exponentials relative to its own maximum, while it is in the first-level
cache, and leaves maximum and sum; when all are known, every piece is multiplied by what it was
off by. The gradient's memory holds the exponentials meanwhile; where it cannot (other dtypes,
strides) they are taken again. What a piece computes does not depend on who computes it, so a
row comes out the same to the last bit whether one thread does it or many share it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..jobs.rows import LabelPiece
from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .movers import layout
from .options import inner, namespace
from .pieces import (
    AHEAD_BYTES,
    GROUP,
    PIECE_BYTES,
    ROW_BYTES,
    loops,
    numbers_of,
    of_row,
    piece_size,
    writer,
)
from .records import at
from .rows import call_describe, call_finish, rows_at, statistic, tools
from .threads import CHUNK_SIGNATURE, call_at, sums_at

left_at = at(LabelPiece)
LEFT_BYTES = LabelPiece.memory.bytes
# The steps of rows that threads share, in their order.
STEPS = ("measure", "finish", "emit")
STEPS_OF_ROWS = ("finish",)
# Pieces of a row whose numbers fit on the stack; longer rows need a workspace.
STACK_PIECES = 256


@cache
def chunk(real: str, what: str) -> Code:
    """Machine code: "long" does rows; "measure" and "emit" do pieces, "finish" rows between."""
    make = {"long": _long, "measure": _measure, "finish": _finish, "emit": _emit}[what]
    return c_function(
        lambda: make(real), CHUNK_SIGNATURE, f"softmax {what} {real}", error_model="numpy"
    )


@cache
def _pieces(real: str) -> Any:
    """The steps of a long row: what a piece leaves, and what is made of it."""
    return namespace(_measuring(real), _merging(real))


def _measuring(real: str) -> Any:
    t, o = tools(real, GROUP), loops(real)
    zero, itemsize, cast = t.zero, t.itemsize, t.cast
    piece = piece_size(real)

    @njit(**inner)
    def measure_weighted(rows, source, offset, size, count, base, left):
        weights = rows.class_weight + offset * itemsize
        inverse = cast(rows.inverse_temperature)
        left.weighted_distance = o.weighted_distance(source, weights, count, base, inverse)
        left.weight_sum = o.plain_sum(pointer(weights, zero), size)

    @njit(**inner)
    def measure(call, rows, row, index, label, pieces, scratch, spare, keep):
        """Maximum and sum of a piece; exponentials to the gradient's place if ``keep``."""
        left = left_at(pieces + LEFT_BYTES * index)
        classes, inverse = rows.classes, cast(rows.inverse_temperature)
        offset = index * piece
        size = min(piece, classes - offset)
        start = row * classes + offset
        prediction = call.prediction, layout(call, rows.prediction_layout)
        source, target = o.locate(prediction, start, size, spare), scratch
        count = max(size, o.lanes)  # where there are fewer, they are filled up
        m = o.maximum(source, count)
        at_ = label - offset
        within = (at_ >= 0) & (at_ < size)
        if within:
            left.label_logit = pointer(source, zero)[at_]
        # Where a whole piece is -inf any number will do.
        base = zero if m == t.lowest else m
        if rows.smooth != 0:
            measure_weighted(rows, source, offset, size, count, base, left)
        following = ahead = 0
        if keep & (size == piece):
            target = call.gradient + start * itemsize
            following, ahead = call.prediction + (start + piece) * itemsize, target + AHEAD_BYTES
        o.exponentials(source, target, count, base, inverse, following, ahead)
        if within:
            pointer(target, zero)[at_] = zero
        others = o.total(target, count)
        if keep & (size < piece):
            place = pointer(call.gradient + start * itemsize, zero)
            t.copy(pointer(target, zero), place, size)
        left.maximum, left.others = m, others

    return namespace(locals())


def _merging(real: str) -> Any:
    t, o = tools(real, GROUP), loops(real)
    write, _ = writer(real)
    zero, itemsize, cast = t.zero, t.itemsize, t.cast
    piece = piece_size(real)

    @njit(**inner)
    def merge(rows, label, pieces, count, statistics):
        """The numbers of a row from those of its pieces, at place 0 of the statistics."""
        prefer_wide_vectors()
        inverse = rows.inverse_temperature
        top = left_at(pieces).maximum
        for i in range(count):
            m = left_at(pieces + LEFT_BYTES * i).maximum
            top = m if m > top else top
        others = weighted_distance = 0.0
        for i in range(count):
            left = left_at(pieces + LEFT_BYTES * i)
            m = left.maximum
            base = 0.0 if m == -np.inf else m
            away = (m - top) * inverse
            others += left.others * np.float64(t.decay(cast(away)))
            weighted_distance += left.weighted_distance + left.weight_sum * ((base - top) * inverse)
        of_label = left_at(pieces + LEFT_BYTES * (label // piece))
        distance = cast((of_label.label_logit - top) * inverse)
        t.column(statistics, statistic.maximum)[0] = top
        t.column(statistics, statistic.others)[0] = others
        t.column(statistics, statistic.weighted_distance)[0] = weighted_distance
        t.column(statistics, statistic.distance)[0] = distance
        t.column(statistics, statistic.own)[0] = t.decay(distance)

    @njit(**inner)
    def emit(call, rows, row, index, label, pieces, scratch, spare, numbers, kept):
        """Gradient and hessian of a piece."""
        classes, inverse = rows.classes, cast(rows.inverse_temperature)
        offset = index * piece
        size = min(piece, classes - offset)
        start = row * classes + offset
        source = scratch
        m = cast(left_at(pieces + LEFT_BYTES * index).maximum)
        if kept:
            source = call.gradient + start * itemsize
        else:
            prediction = call.prediction, layout(call, rows.prediction_layout)
            given = o.locate(prediction, start, size, spare)
            base = zero if m == t.lowest else m
            o.exponentials(given, scratch, max(size, o.lanes), base, inverse, 0, 0)
        relative = t.decay((m - numbers[of_row.maximum]) * inverse)
        write(call, rows, start, offset, size, source, spare, numbers, relative, label)

    return namespace(locals())


def _long(real: str) -> Callable:
    t, o = tools(real, GROUP), _pieces(real)
    _, write_zeros = writer(real)
    gather_numbers = numbers_of(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes, left_bytes = t.statistics_bytes, LEFT_BYTES * STACK_PIECES

    def softmax_long_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        count = (classes + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(64)
        labels = pointer(of_labels, 1)
        numbers = pointer(stack_memory(ROW_BYTES), zero)
        pieces = stack_memory(left_bytes)
        t.clear_statistics(statistics)
        kept = (rows.derivatives > 0) & (rows.gradient_layout == 0)
        sums.value = sums.out_of_range = 0.0
        stop = min((index + 1) * call.chunk, call.size)
        for row in range(index * call.chunk, stop):
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            label = labels[0]
            if t.column(statistics, statistic.row_weight)[0] == zero:
                t.column(statistics, statistic.weighted_value)[0] = zero
                t.deliver_value(call, rows, row, statistics)
                write_zeros(call, rows, row * classes, classes, spare)
                continue
            for i in range(count):
                o.measure(call, rows, row, i, label, pieces, scratch, spare, kept)
            o.merge(rows, label, pieces, count, statistics)
            call_finish(rows.finish, (address, statistics))
            sums.value += t.deliver_value(call, rows, row, statistics)
            if rows.derivatives > 0:
                gather_numbers(statistics, 0, numbers)
                for i in range(count):
                    o.emit(call, rows, row, i, label, pieces, scratch, spare, numbers, kept)
        restore_denormals(mode)

    return softmax_long_rows


def _measure(real: str) -> Callable:
    t, o = tools(real, GROUP), _pieces(real)
    piece, statistics_bytes = piece_size(real), t.statistics_bytes

    def measure_pieces(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        count = (rows.classes + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        kept = (rows.derivatives > 0) & (rows.gradient_layout == 0)
        sums.value = sums.out_of_range = 0.0
        stop = min((index + 1) * call.chunk, call.size)
        for unit in range(index * call.chunk, stop):
            row = unit // count
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, scratch))
            if t.column(statistics, statistic.row_weight)[0] != t.zero:
                pieces = rows.pieces + LEFT_BYTES * count * row
                i = unit - row * count
                o.measure(call, rows, row, i, labels[0], pieces, scratch, spare, kept)
        restore_denormals(mode)

    return measure_pieces


def _finish(real: str) -> Callable:
    t, o = tools(real, GROUP), _pieces(real)
    gather_numbers = numbers_of(real)
    zero, piece, statistics_bytes = t.zero, piece_size(real), t.statistics_bytes

    def finish_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        count = (rows.classes + piece - 1) // piece
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        spare = stack_memory(64)
        t.clear_statistics(statistics)
        sums.value = sums.out_of_range = 0.0
        stop = min((index + 1) * call.chunk, call.size)
        for row in range(index * call.chunk, stop):
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            if t.column(statistics, statistic.row_weight)[0] == zero:
                t.column(statistics, statistic.weighted_value)[0] = zero
            else:
                pieces = rows.pieces + LEFT_BYTES * count * row
                o.merge(rows, labels[0], pieces, count, statistics)
                call_finish(rows.finish, (address, statistics))
                place = rows.row_numbers + ROW_BYTES * row
                gather_numbers(statistics, 0, pointer(place, zero))
            sums.value += t.deliver_value(call, rows, row, statistics)
        restore_denormals(mode)

    return finish_rows


def _emit(real: str) -> Callable:
    t, o = tools(real, GROUP), _pieces(real)
    _, write_zeros = writer(real)
    zero, piece, statistics_bytes = t.zero, piece_size(real), t.statistics_bytes

    def emit_pieces(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        count = (classes + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        kept = rows.gradient_layout == 0
        sums.value = sums.out_of_range = 0.0
        stop = min((index + 1) * call.chunk, call.size)
        for unit in range(index * call.chunk, stop):
            row = unit // count
            i = unit - row * count
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            label, start = labels[0], row * classes + i * piece
            if t.column(statistics, statistic.row_weight)[0] == zero:
                write_zeros(call, rows, start, min(piece, classes - i * piece), spare)
            else:
                pieces = rows.pieces + LEFT_BYTES * count * row
                numbers = pointer(rows.row_numbers + ROW_BYTES * row, zero)
                o.emit(call, rows, row, i, label, pieces, scratch, spare, numbers, kept)
        restore_denormals(mode)

    return emit_pieces
