"""Rows of any softmax loss and any targets: the loops over rows, and over pieces of rows.

What is done to a row is in `general_steps`. Rows go piece by piece as in `long`, and may be shared
by threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .compile import Code, c_function
from .general_steps import MEMORY_BYTES, steps
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .long import LEFT, STACK_PIECES
from .pieces import GROUP, PIECE_BYTES, piece_size, writer
from .rows import (
    CHUNK_SIGNATURE,
    CLASSES,
    DERIVATIVES,
    DESCRIBE,
    FIRST,
    NUMBERS_BYTES,
    ROW_SPACE,
    ROW_WEIGHT,
    STATISTICS,
    VALUES,
    WORKSPACE,
    call_describe,
    tools,
)
from .threads import CHUNK, LAYOUTS, SIZE

# The steps of rows that threads share, in their order.
MEASURE, MERGE, ADD, FINISH, EMIT = range(5)
STEPS = ("measure", "merge", "add", "finish", "emit")


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
    step = STEPS.index(what)
    return _rows_step(real, step) if step in (MERGE, FINISH) else _pieces_step(real, step)


TERM_BYTES = 256


def _rows(real: str) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    _, write_zeros = writer(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes, left_bytes = STATISTICS * GROUP * t.itemsize, 8 * LEFT * STACK_PIECES

    def general_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        classes = fields[CLASSES]
        pieces = (classes + piece - 1) // piece
        memory, spare = stack_memory(MEMORY_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        numbers, term = pointer(stack_memory(NUMBERS_BYTES), zero), stack_memory(TERM_BYTES)
        left = stack_memory(left_bytes)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        labels[0] = 0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for row in range(index * job[CHUNK], stop):
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            label, weight = labels[0], t.column(statistics, ROW_WEIGHT)[0]
            value, first = t.column(statistics, VALUES), t.column(statistics, FIRST)
            value[0] = zero
            if weight == zero:
                t.deliver_value(job, row, statistics)
                write_zeros(job, row * classes, classes, spare)
                continue
            for i in range(pieces):
                s.measure(job, row, i, label, left, memory)
            s.merge(job, label, left, pieces, numbers)
            for i in range(pieces):
                sums[1] += s.prepare(job, row, i, label, numbers, memory)
                s.add(job, i, left, memory)
            first[0] = s.finish(job, left, pieces, weight, numbers, term)
            value[0] = first[0] * weight
            sums[0] += t.deliver_value(job, row, statistics)
            if fields[DERIVATIVES] > 0:
                for i in range(pieces):
                    if pieces > 1:
                        s.prepare(job, row, i, label, numbers, memory)
                    s.emit(job, row, i, numbers, memory, spare)
        restore_denormals(mode)

    return general_rows


def _rows_step(real: str, step: int) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes = STATISTICS * GROUP * t.itemsize

    def general_step(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        pieces = (fields[CLASSES] + piece - 1) // piece
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        spare, term = stack_memory(64), stack_memory(TERM_BYTES)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        labels[0] = 0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for row in range(index * job[CHUNK], stop):
            left = fields[WORKSPACE] + 8 * LEFT * pieces * row
            numbers = pointer(fields[ROW_SPACE] + NUMBERS_BYTES * row, zero)
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            weight = t.column(statistics, ROW_WEIGHT)[0]
            value, first = t.column(statistics, VALUES), t.column(statistics, FIRST)
            value[0] = zero
            if step == MERGE:
                if weight != zero:
                    s.merge(job, labels[0], left, pieces, numbers)
            else:
                if weight != zero:
                    first[0] = s.finish(job, left, pieces, weight, numbers, term)
                    value[0] = first[0] * weight
                sums[0] += t.deliver_value(job, row, statistics)
        restore_denormals(mode)

    return general_step


def _pieces_step(real: str, step: int) -> Callable:
    t, s = tools(real, GROUP), steps(real)
    _, write_zeros = writer(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes = STATISTICS * GROUP * t.itemsize

    def general_pieces(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        classes = fields[CLASSES]
        pieces = (classes + piece - 1) // piece
        memory, spare = stack_memory(MEMORY_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        labels[0] = 0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for unit in range(index * job[CHUNK], stop):
            row = unit // pieces
            i = unit - row * pieces
            left = fields[WORKSPACE] + 8 * LEFT * pieces * row
            numbers = pointer(fields[ROW_SPACE] + NUMBERS_BYTES * row, zero)
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            label = labels[0]
            if t.column(statistics, ROW_WEIGHT)[0] == zero:
                if step == EMIT:
                    size = min(piece, classes - i * piece)
                    write_zeros(job, row * classes + i * piece, size, spare)
                continue
            if step == MEASURE:
                s.measure(job, row, i, label, left, memory)
            elif step == ADD:
                sums[1] += s.prepare(job, row, i, label, numbers, memory)
                s.add(job, i, left, memory)
            else:
                s.prepare(job, row, i, label, numbers, memory)
                s.emit(job, row, i, numbers, memory, spare)
        restore_denormals(mode)

    return general_pieces
