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

from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .pieces import AHEAD_BYTES, GROUP, PIECE_BYTES, loops, numbers_of, piece_size, writer
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
    ROW_SPACE,
    ROW_WEIGHT,
    SMOOTH,
    SPREAD,
    STATISTICS,
    VALUES,
    WORKSPACE,
    call_describe,
    call_finish,
    inner,
    tools,
)
from .threads import CHUNK, LAYOUTS, SIZE

# Numbers that a piece leaves: maximum, sum of exponentials, two for label smoothing, the
# label's logit; of a general loss also maximum and sum of the teacher, and three sums.
LEFT = 8
# Pieces of a row whose numbers fit on the stack; longer rows need a workspace.
STACK_PIECES = 256


@cache
def chunk(real: str, what: str) -> Code:
    """Machine code: "long" does rows; "measure" and "emit" do pieces, "settle" rows between."""
    make = {"long": _long, "measure": _measure, "settle": _settle, "emit": _emit}[what]
    return c_function(
        lambda: make(real), CHUNK_SIGNATURE, f"softmax {what} {real}", error_model="numpy"
    )


@cache
def _pieces(real: str) -> Any:
    """The two steps of a long row: what a piece leaves, and what is made of it."""
    t, o = tools(real, GROUP), loops(real)
    write, _ = writer(real)
    zero, itemsize, cast = t.zero, t.itemsize, t.cast
    piece = piece_size(real)

    @njit(**inner)
    def measure(job, row, index, label, left, scratch, spare, keep):
        """Maximum and sum of a piece; exponentials to the gradient's place if ``keep``."""
        found = pointer(left + 8 * LEFT * index, 1.0)
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes, inverse = fields[CLASSES], cast(reals[INVERSE_TEMPERATURE])
        offset = index * piece
        size = min(piece, classes - offset)
        start = row * classes + offset
        source, target = o.locate(job, PREDICTION, start, size, spare), scratch
        count = max(size, o.lanes)  # where there are fewer, they are filled up
        x = pointer(source, zero)
        m = o.maximum(source, count)
        at = label - offset
        within = (at >= 0) & (at < size)
        if within:
            found[4] = x[at]
        # Where a whole piece is -inf any number will do.
        base = zero if m == t.lowest else m
        if fields[SMOOTH] != 0:
            weights = fields[CLASS_WEIGHT] + offset * itemsize
            found[2] = o.weighted_distance(source, weights, count, base, inverse)
            found[3] = o.plain_sum(pointer(weights, zero), size)
        following = ahead = 0
        if keep & (size == piece):
            target = job[GRADIENT] + start * itemsize
            following, ahead = job[PREDICTION] + (start + piece) * itemsize, target + AHEAD_BYTES
        o.exponentials(source, target, count, base, inverse, following, ahead)
        if within:
            pointer(target, zero)[at] = zero
        total = o.total(target, count)
        if keep & (size < piece):
            t.copy(pointer(target, zero), pointer(job[GRADIENT] + start * itemsize, zero), size)
        found[0], found[1] = m, total

    @njit(**inner)
    def merge(job, label, left, pieces, statistics):
        """The numbers of a row from those of its pieces, at place 0 of the statistics."""
        prefer_wide_vectors()
        found = pointer(left, 1.0)
        reals = pointer(job[LAYOUTS], 1.0)
        inverse = reals[INVERSE_TEMPERATURE]
        top = found[0]
        for i in range(pieces):
            top = found[LEFT * i] if found[LEFT * i] > top else top
        total = spread = 0.0
        for i in range(pieces):
            own = found[LEFT * i]
            base = 0.0 if own == -np.inf else own
            away = (own - top) * inverse
            total += found[LEFT * i + 1] * np.float64(t.decay(cast(away)))
            spread += found[LEFT * i + 2] + found[LEFT * i + 3] * ((base - top) * inverse)
        logit = found[LEFT * (label // piece) + 4]
        distance = cast((logit - top) * inverse)
        t.column(statistics, MAXIMUM)[0] = top
        t.column(statistics, OTHERS)[0] = total
        t.column(statistics, SPREAD)[0] = spread
        t.column(statistics, DISTANCE)[0] = distance
        t.column(statistics, OWN)[0] = t.decay(distance)

    @njit(**inner)
    def emit(job, row, index, label, left, scratch, spare, numbers, kept):
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes, inverse = fields[CLASSES], cast(reals[INVERSE_TEMPERATURE])
        offset = index * piece
        size = min(piece, classes - offset)
        start = row * classes + offset
        source = scratch
        own = cast(pointer(left, 1.0)[LEFT * index])
        if kept:
            source = job[GRADIENT] + start * itemsize
        else:
            given = o.locate(job, PREDICTION, start, size, spare)
            base = zero if own == t.lowest else own
            o.exponentials(given, scratch, max(size, o.lanes), base, inverse, 0, 0)
        relative = t.decay((own - numbers[MAXIMUM]) * inverse)
        write(job, start, offset, size, source, spare, numbers, relative, label)

    return measure, merge, emit


def _long(real: str) -> Callable:
    t = tools(real, GROUP)
    measure, merge, emit = _pieces(real)
    _, write_zeros = writer(real)
    gather_numbers = numbers_of(real)
    zero, itemsize = t.zero, t.itemsize
    piece = piece_size(real)
    statistics_bytes = STATISTICS * GROUP * itemsize
    left_bytes = 8 * LEFT * STACK_PIECES

    def softmax_long_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        classes = fields[CLASSES]
        pieces = (classes + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(64)
        labels = pointer(of_labels, 1)
        numbers = pointer(stack_memory(NUMBERS_BYTES), zero)
        left = stack_memory(left_bytes)
        t.fill(pointer(statistics, zero), STATISTICS * GROUP, zero)
        kept = (fields[DERIVATIVES] > 0) & t.is_direct(job, GRADIENT)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for row in range(index * job[CHUNK], stop):
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            label = labels[0]
            if t.column(statistics, ROW_WEIGHT)[0] == zero:
                t.column(statistics, VALUES)[0] = zero
                t.deliver_value(job, row, statistics)
                write_zeros(job, row * classes, classes, spare)
                continue
            for i in range(pieces):
                measure(job, row, i, label, left, scratch, spare, kept)
            merge(job, label, left, pieces, statistics)
            call_finish(fields[FINISH], (job, statistics))
            sums[0] += t.deliver_value(job, row, statistics)
            if fields[DERIVATIVES] > 0:
                gather_numbers(statistics, 0, numbers)
                for i in range(pieces):
                    emit(job, row, i, label, left, scratch, spare, numbers, kept)
        restore_denormals(mode)

    return softmax_long_rows


def _measure(real: str) -> Callable:
    t = tools(real, GROUP)
    measure, _, _ = _pieces(real)
    piece = piece_size(real)
    statistics_bytes = STATISTICS * GROUP * t.itemsize

    def measure_pieces(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        pieces = (fields[CLASSES] + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        kept = (fields[DERIVATIVES] > 0) & t.is_direct(job, GRADIENT)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for unit in range(index * job[CHUNK], stop):
            row = unit // pieces
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, scratch))
            if t.column(statistics, ROW_WEIGHT)[0] != t.zero:
                left = fields[WORKSPACE] + 8 * LEFT * pieces * row
                i = unit - row * pieces
                measure(job, row, i, labels[0], left, scratch, spare, kept)
        restore_denormals(mode)

    return measure_pieces


def _settle(real: str) -> Callable:
    t = tools(real, GROUP)
    _, merge, _ = _pieces(real)
    gather_numbers = numbers_of(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes = STATISTICS * GROUP * t.itemsize

    def settle_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        pieces = (fields[CLASSES] + piece - 1) // piece
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        spare = stack_memory(64)
        t.fill(pointer(statistics, zero), STATISTICS * GROUP, zero)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for row in range(index * job[CHUNK], stop):
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            if t.column(statistics, ROW_WEIGHT)[0] == zero:
                t.column(statistics, VALUES)[0] = zero
            else:
                left = fields[WORKSPACE] + 8 * LEFT * pieces * row
                merge(job, labels[0], left, pieces, statistics)
                call_finish(fields[FINISH], (job, statistics))
                place = fields[ROW_SPACE] + NUMBERS_BYTES * row
                gather_numbers(statistics, 0, pointer(place, zero))
            sums[0] += t.deliver_value(job, row, statistics)
        restore_denormals(mode)

    return settle_rows


def _emit(real: str) -> Callable:
    t = tools(real, GROUP)
    _, _, emit = _pieces(real)
    _, write_zeros = writer(real)
    zero, piece = t.zero, piece_size(real)
    statistics_bytes = STATISTICS * GROUP * t.itemsize

    def emit_pieces(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields = pointer(job[LAYOUTS], 1)
        classes = fields[CLASSES]
        pieces = (classes + piece - 1) // piece
        scratch, spare = stack_memory(PIECE_BYTES), stack_memory(PIECE_BYTES)
        statistics, of_labels = stack_memory(statistics_bytes), stack_memory(64)
        labels = pointer(of_labels, 1)
        kept = t.is_direct(job, GRADIENT)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        stop = min((index + 1) * job[CHUNK], job[SIZE])
        for unit in range(index * job[CHUNK], stop):
            row = unit // pieces
            i = unit - row * pieces
            call_describe(fields[DESCRIBE], (job, row, 1, statistics, of_labels, spare))
            label, start = labels[0], row * classes + i * piece
            if t.column(statistics, ROW_WEIGHT)[0] == zero:
                write_zeros(job, start, min(piece, classes - i * piece), spare)
            else:
                left = fields[WORKSPACE] + 8 * LEFT * pieces * row
                numbers = pointer(fields[ROW_SPACE] + NUMBERS_BYTES * row, zero)
                emit(job, row, i, label, left, scratch, spare, numbers, kept)
        restore_denormals(mode)

    return emit_pieces
