"""Rows of any softmax loss and any targets: the loops over rows, and over pieces of rows.

What is done to a row is in `general_steps`. Rows go piece by piece as in `long`, and may be shared
by threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .compile import Code, c_function
from .general_steps import LEFT_BYTES, MEMORY_BYTES, ROW_BYTES, TERM_BYTES, steps
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .long import STACK_PIECES
from .pieces import GROUP, PIECE_BYTES, piece_size, writer
from .rows import call_describe, rows_at, statistic, tools
from .threads import CHUNK_SIGNATURE, call_at, sums_at

# The steps of rows that threads share, in their order.
STEPS = ("measure", "merge", "add", "finish", "emit")
STEPS_OF_ROWS = ("merge", "finish")


@cache
def chunk(real: str, what: str) -> Code:
    """Machine code: "general" does rows; "measure", "add" and "emit" do pieces of rows, "merge"
    and "finish" rows between them."""
    return c_function(
        lambda: _make(real, what),
        CHUNK_SIGNATURE,
        f"softmax general {what} {real}",
        error_model="numpy",
    )


def _make(real: str, what: str) -> Callable:
    if what == "general":
        return _rows(real)
    return (_rows_step if what in STEPS_OF_ROWS else _pieces_step)(real, what)


def _rows(real: str) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    _, write_zeros = writer(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes, left_bytes = t.statistics_bytes, LEFT_BYTES * STACK_PIECES

    def general_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        count = (classes + piece - 1) // piece
        memory, spare = stack_memory(MEMORY_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        numbers, term = pointer(stack_memory(ROW_BYTES), zero), stack_memory(TERM_BYTES)
        pieces = stack_memory(left_bytes)
        sums.value = sums.out_of_range = 0.0
        labels[0] = 0
        stop = min((index + 1) * call.chunk, call.size)
        for row in range(index * call.chunk, stop):
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            label, weight = labels[0], t.column(statistics, statistic.row_weight)[0]
            value = t.column(statistics, statistic.value)
            weighted = t.column(statistics, statistic.weighted_value)
            weighted[0] = zero
            if weight == zero:
                t.deliver_value(call, rows, row, statistics)
                write_zeros(call, rows, row * classes, classes, spare)
                continue
            for i in range(count):
                s.measure(call, rows, row, i, label, pieces, memory)
            s.merge(rows, label, pieces, count, numbers)
            for i in range(count):
                sums.out_of_range += s.prepare(call, rows, row, i, label, numbers, memory)
                s.add(rows, i, pieces, memory)
            value[0] = s.finish(call, rows, pieces, count, weight, numbers, term)
            weighted[0] = value[0] * weight
            sums.value += t.deliver_value(call, rows, row, statistics)
            if rows.derivatives > 0:
                for i in range(count):
                    if count > 1:
                        s.prepare(call, rows, row, i, label, numbers, memory)
                    s.emit(call, rows, row, i, numbers, memory, spare)
        restore_denormals(mode)

    return general_rows


def _rows_step(real: str, step: str) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    zero, piece, statistics_bytes = t.zero, piece_size(real), t.statistics_bytes
    merging = step == "merge"

    def general_step(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        count = (rows.classes + piece - 1) // piece
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        spare, term = stack_memory(64), stack_memory(TERM_BYTES)
        sums.value = sums.out_of_range = 0.0
        labels[0] = 0
        stop = min((index + 1) * call.chunk, call.size)
        for row in range(index * call.chunk, stop):
            pieces = rows.pieces + LEFT_BYTES * count * row
            numbers = pointer(rows.row_numbers + ROW_BYTES * row, zero)
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            weight = t.column(statistics, statistic.row_weight)[0]
            value = t.column(statistics, statistic.value)
            weighted = t.column(statistics, statistic.weighted_value)
            weighted[0] = zero
            if merging:
                if weight != zero:
                    s.merge(rows, labels[0], pieces, count, numbers)
            else:
                if weight != zero:
                    value[0] = s.finish(call, rows, pieces, count, weight, numbers, term)
                    weighted[0] = value[0] * weight
                sums.value += t.deliver_value(call, rows, row, statistics)
        restore_denormals(mode)

    return general_step


def _pieces_step(real: str, step: str) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    _, write_zeros = writer(real)
    zero, piece, statistics_bytes = t.zero, piece_size(real), t.statistics_bytes
    measuring, adding, emitting = step == "measure", step == "add", step == "emit"

    def general_pieces(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        count = (classes + piece - 1) // piece
        memory, spare = stack_memory(MEMORY_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        sums.value = sums.out_of_range = 0.0
        labels[0] = 0
        stop = min((index + 1) * call.chunk, call.size)
        for unit in range(index * call.chunk, stop):
            row = unit // count
            i = unit - row * count
            pieces = rows.pieces + LEFT_BYTES * count * row
            numbers = pointer(rows.row_numbers + ROW_BYTES * row, zero)
            call_describe(rows.describe, (address, row, 1, statistics, of_labels, spare))
            label = labels[0]
            if t.column(statistics, statistic.row_weight)[0] == zero:
                if emitting:
                    size = min(piece, classes - i * piece)
                    write_zeros(call, rows, row * classes + i * piece, size, spare)
                continue
            if measuring:
                s.measure(call, rows, row, i, label, pieces, memory)
            elif adding:
                sums.out_of_range += s.prepare(call, rows, row, i, label, numbers, memory)
                s.add(rows, i, pieces, memory)
            else:
                s.prepare(call, rows, row, i, label, numbers, memory)
                s.emit(call, rows, row, i, numbers, memory, spare)
        restore_denormals(mode)

    return general_pieces
