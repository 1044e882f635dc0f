"""Rows of any softmax loss and any targets: every class has a φ of its own.

Three steps a row: maximum and sum of exponentials; φ of all classes and its sums; gradient.
With S, S', S'' the sums of φ and its derivatives and p the softmax,

    value     S + R
    gradient  φ'_k + p_k (R' - S')
    hessian   φ''_k (1 - 2 p_k) + p_k² (S'' + R'') + p_k (1 - p_k) (R' - S')

Rows go piece by piece as in `long`, and may be shared by threads. A loss relative to its label
(a margin) is the same with the label's 0 or 1 in the place of p, whose own curvature is none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .. import vmath
from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .long import LEFT, STACK_PIECES
from .maps import call_map
from .rows import (
    CHECKED,
    CHUNK_SIGNATURE,
    CLASS_WEIGHT,
    CLASSES,
    CURVATURE_SCALE,
    DENSE_LOGITS,
    DERIVATIVES,
    DESCRIBE,
    GRADIENT,
    HESSIAN,
    HIGH,
    INVERSE_TEMPERATURE,
    LABELLED,
    LOW,
    MAP,
    MARGIN,
    NORMALIZER,
    NUMBERS_BYTES,
    OFF,
    ON,
    PREDICTION,
    ROW_SPACE,
    ROW_WEIGHT,
    SCALE,
    SHARE,
    STATISTICS,
    TARGET,
    VALUES,
    WORKSPACE,
    call_describe,
    exact,
    fast,
    inner,
    namespace,
    tools,
)
from .threads import CHUNK, LAYOUTS, PARAMETERS, SIZE
from .wide import GROUP, PIECE_BYTES, loops, piece_size, writer

# What a piece leaves: maximum and sum of the prediction, of the teacher, then the three sums;
# the label's logit shares the place of the teacher's maximum.
TOP, TOTAL, TEACHER_TOP, TEACHER_TOTAL, SUM, SUM_SLOPE, SUM_CURVE = range(7)


# The steps of rows that threads share.
MEASURE, MERGE, ADD, FINISH, EMIT = range(5)
STEPS = ("measure", "merge", "add", "finish", "emit")


@cache
def chunk(real: str, what: str) -> Code:
    """Machine code: "general" does rows; "measure", "add" and "emit" do pieces of rows, "merge"
    and "finish" rows between them."""
    make = {
        "general": _rows,
        "measure": _measure,
        "merge": _merge,
        "add": _add,
        "finish": _finish,
        "emit": _emit,
    }[what]
    return c_function(
        lambda: make(real), CHUNK_SIGNATURE, f"softmax general {what} {real}", error_model="numpy"
    )


@cache
def _steps(real: str) -> Any:
    t, o = tools(real, GROUP), loops(real)
    zero, one, itemsize, cast = t.zero, t.one, t.itemsize, t.cast
    step = 4 * t.lanes
    piece, decay = piece_size(real), t.decay
    log, exp = vmath.log, vmath.exp

    @njit(**inner)
    def measure(job, row, i, label, left, scratch):
        """Maximum and sum of a piece; those of the teacher too, or the label's logit."""
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes, inverse = fields[CLASSES], cast(reals[INVERSE_TEMPERATURE])
        size = min(piece, classes - i * piece)
        start, padded = row * classes + i * piece, o.padded(size)
        found = pointer(left + 8 * LEFT * i, 1.0)
        m = o.stage(job, PREDICTION, start, size, scratch)
        at = label - i * piece
        if fields[MARGIN] != 0:
            found[TOP], found[TOTAL] = 0.0, 1.0
            if (at >= 0) & (at < size):
                found[TEACHER_TOP] = pointer(scratch, zero)[at]
            return
        base = zero if m == t.lowest else m
        found[TOP] = m
        found[TOTAL] = o.exponentials(pointer(scratch, zero), padded, base, inverse, 0, 0)
        if fields[DENSE_LOGITS] != 0:
            m = o.stage(job, TARGET, start, size, scratch)
            base = zero if m == t.lowest else m
            found[TEACHER_TOP] = m
            found[TEACHER_TOTAL] = o.exponentials(
                pointer(scratch, zero), padded, base, inverse, 0, 0
            )

    @njit(**inner)
    def merge_sums(left, pieces, which, inverse):
        """Maximum and sum of a row, from those of its pieces."""
        prefer_wide_vectors()
        found = pointer(left + 8 * which, 1.0)
        top = found[0]
        for i in range(pieces):
            top = found[LEFT * i] if found[LEFT * i] > top else top
        total = 0.0
        for i in range(pieces):
            total += found[LEFT * i + 1] * np.float64(
                decay(cast((found[LEFT * i] - top) * inverse))
            )
        return top, total

    @njit(**inner)
    def merge(job, label, left, pieces, numbers):
        """What the log-probabilities of a row are made of: offset, log of the sum, teacher's."""
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        inverse = reals[INVERSE_TEMPERATURE]
        if fields[MARGIN] != 0:
            numbers[0] = pointer(left, 1.0)[LEFT * (label // piece) + TEACHER_TOP]
            numbers[1] = zero
            return
        top, total = merge_sums(left, pieces, TOP, inverse)
        numbers[0], numbers[1] = top, log(total)
        if fields[DENSE_LOGITS] != 0:
            top, total = merge_sums(left, pieces, TEACHER_TOP, inverse)
            numbers[2], numbers[3] = top, 1.0 / total

    @njit(**exact)
    def log_probabilities(row, size, top, inverse, log_sum):
        prefer_wide_vectors()
        for b in range(size // step):
            for i in range(step):
                j = b * step + i
                row[j] = (row[j] - top) * inverse - log_sum

    @njit(**exact)
    def soften(row, size, top, inverse, factor):
        prefer_wide_vectors()
        for b in range(size // step):
            for i in range(step):
                j = b * step + i
                row[j] = decay((row[j] - top) * inverse) * factor

    @njit(**fast)
    def outside(row, size, low, high):
        prefer_wide_vectors()
        count = zero
        for j in range(size):
            count += one if (row[j] < low) | (row[j] > high) else zero
        return count

    @njit(**exact)
    def smoothen(row, size, on, off):
        prefer_wide_vectors()
        for b in range(size // step):
            for i in range(step):
                j = b * step + i
                row[j] = row[j] * on + off

    @njit(**inner)
    def stage_target(job, row, i, label, numbers, scratch):
        """Targets of a piece into scratch; how many are outside their domain."""
        prefer_wide_vectors()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes, target = fields[CLASSES], pointer(scratch, zero)
        size = min(piece, classes - i * piece)
        padded = o.padded(size)
        on, off = cast(reals[ON]), cast(reals[OFF])
        offenders = zero
        if fields[LABELLED] != 0:
            t.fill(target, padded, off)
            at = label - i * piece
            if (at >= 0) & (at < size):
                target[at] = on + off
            return offenders
        t.load(job, TARGET, row * classes + i * piece, size, scratch)
        for j in range(size, padded):
            target[j] = zero
        if fields[CHECKED] != 0:
            offenders = outside(target, size, cast(reals[LOW]), cast(reals[HIGH]))
        if fields[DENSE_LOGITS] != 0:
            inverse = cast(reals[INVERSE_TEMPERATURE])
            soften(target, padded, numbers[2], inverse, numbers[3])
        elif off != zero:
            smoothen(target, padded, on, off)
        return offenders

    @njit(**exact)
    def multiply(values, of_class, size):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            # A class that does not count contributes 0, even where its loss is infinite.
            v, w = values[j], of_class[j]
            values[j] = zero if (w == zero) & (v == v) else v * w

    @njit(**inner)
    def prepare(job, row, i, label, numbers, memory):
        """φ of the classes of a piece, with derivatives; how many targets are out of place.

        ``memory`` takes log-probabilities, targets, values, slopes and curvatures in turn.
        """
        prefer_wide_vectors()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes = fields[CLASSES]
        size = min(piece, classes - i * piece)
        padded = o.padded(size)
        o.stage(job, PREDICTION, row * classes + i * piece, size, memory)
        inverse = cast(reals[INVERSE_TEMPERATURE])
        log_probabilities(pointer(memory, zero), padded, numbers[0], inverse, numbers[1])
        targets, found = memory + PIECE_BYTES, memory + 2 * PIECE_BYTES
        offenders = stage_target(job, row, i, label, numbers, targets)
        call_map(
            fields[MAP],
            (
                0,
                job[PARAMETERS],
                memory,
                targets,
                found,
                found + PIECE_BYTES,
                found + 2 * PIECE_BYTES,
                padded,
            ),
        )
        if fields[CLASS_WEIGHT] != 0:
            of_class = pointer(fields[CLASS_WEIGHT] + i * piece * itemsize, zero)
            for d in range(fields[DERIVATIVES] + 1):
                multiply(pointer(found + d * PIECE_BYTES, zero), of_class, size)
        return offenders

    @njit(**inner)
    def add(job, i, left, memory):
        """Sums of φ and its derivatives over a piece."""
        prefer_wide_vectors()
        fields = pointer(job[LAYOUTS], 1)
        size = min(piece, fields[CLASSES] - i * piece)
        found = pointer(left + 8 * LEFT * i, 1.0)
        for d in range(fields[DERIVATIVES] + 1):
            values = pointer(memory + (2 + d) * PIECE_BYTES, zero)
            found[SUM + d] = o.plain_sum(values, size)

    @njit(**inner)
    def finish(job, left, pieces, weight, numbers, term):
        """The value of a row; what its gradient is made of, into ``numbers``."""
        prefer_wide_vectors()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        found = pointer(left, 1.0)
        for d in range(fields[DERIVATIVES] + 1):
            total = 0.0
            for i in range(pieces):
                total += found[LEFT * i + SUM + d]
            numbers[4 + d] = total
        log_sum = pointer(term, zero)
        inverse = cast(reals[INVERSE_TEMPERATURE])
        log_sum[0] = numbers[0] * inverse + numbers[1]
        r = pointer(term + 64, zero)
        if fields[NORMALIZER] != 0:
            call_map(
                fields[NORMALIZER],
                (0, job[PARAMETERS], term, term, term + 64, term + 128, term + 192, 1),
            )
        else:
            r[0] = zero
            pointer(term + 128, zero)[0] = zero
            pointer(term + 192, zero)[0] = zero
        share = weight * cast(reals[SHARE])
        numbers[7] = pointer(term + 128, zero)[0] - numbers[5]
        numbers[8] = pointer(term + 192, zero)[0] + numbers[6]
        numbers[9] = share * cast(reals[SCALE])
        numbers[10] = share * cast(reals[CURVATURE_SCALE])
        value = numbers[4] + r[0]
        # A row without targets has no φ that could tell of a NaN.
        return (numbers[1] if numbers[1] != numbers[1] else value) * share

    @njit(**exact)
    def gradients(logs, slopes, place, size, lean, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            place[j] = (slopes[j] + exp(logs[j]) * lean) * factor

    @njit(**inner)
    def hessians(logs, curves, place, size, lean, bend, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            p = exp(logs[j])
            own = curves[j] * (one - (p + p)) + p * p * bend
            place[j] = (own + p * (one - p) * lean) * factor

    @njit(**exact)
    def margin_gradients(targets, slopes, place, size, lean, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            place[j] = (slopes[j] + targets[j] * lean) * factor

    @njit(**inner)
    def margin_hessians(targets, curves, place, size, bend, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            p = targets[j]
            place[j] = (curves[j] * (one - (p + p)) + p * bend) * factor

    @njit(**inner)
    def emit(job, row, i, numbers, memory, spare):
        fields = pointer(job[LAYOUTS], 1)
        classes = fields[CLASSES]
        size = min(piece, classes - i * piece)
        start = row * classes + i * piece
        logs, targets = pointer(memory, zero), pointer(memory + PIECE_BYTES, zero)
        slopes = pointer(memory + 3 * PIECE_BYTES, zero)
        curves = pointer(memory + 4 * PIECE_BYTES, zero)
        if fields[DERIVATIVES] > 1:
            direct = t.is_direct(job, HESSIAN)
            place = pointer(job[HESSIAN] + start * itemsize if direct else spare, zero)
            if fields[MARGIN] != 0:
                margin_hessians(targets, curves, place, size, numbers[8], numbers[10])
            else:
                hessians(logs, curves, place, size, numbers[7], numbers[8], numbers[10])
            if not direct:
                t.store(job, HESSIAN, start, size, spare)
        direct = t.is_direct(job, GRADIENT)
        place = pointer(job[GRADIENT] + start * itemsize if direct else spare, zero)
        if fields[MARGIN] != 0:
            margin_gradients(targets, slopes, place, size, numbers[7], numbers[9])
        else:
            gradients(logs, slopes, place, size, numbers[7], numbers[9])
        if not direct:
            t.store(job, GRADIENT, start, size, spare)

    return namespace(locals())


# Bytes of: log-probabilities, targets, φ and two derivatives of a piece.
MEMORY_BYTES = 5 * PIECE_BYTES
TERM_BYTES = 256


def _rows(real: str) -> Callable:
    t, s = tools(real, GROUP), _steps(real)
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
            value = t.column(statistics, VALUES)
            value[0] = zero
            if weight == zero:
                t.deliver_values(job, row, 1, statistics)
                write_zeros(job, row * classes, classes, spare)
                continue
            for i in range(pieces):
                s.measure(job, row, i, label, left, memory)
            s.merge(job, label, left, pieces, numbers)
            for i in range(pieces):
                sums[1] += s.prepare(job, row, i, label, numbers, memory)
                s.add(job, i, left, memory)
            value[0] = s.finish(job, left, pieces, weight, numbers, term)
            sums[0] += t.deliver_values(job, row, 1, statistics)
            if fields[DERIVATIVES] > 0:
                for i in range(pieces):
                    if pieces > 1:
                        s.prepare(job, row, i, label, numbers, memory)
                    s.emit(job, row, i, numbers, memory, spare)
        restore_denormals(mode)

    return general_rows


def _measure(real: str) -> Callable:
    return _pieces_step(real, MEASURE)


def _merge(real: str) -> Callable:
    return _rows_step(real, MERGE)


def _add(real: str) -> Callable:
    return _pieces_step(real, ADD)


def _finish(real: str) -> Callable:
    return _rows_step(real, FINISH)


def _emit(real: str) -> Callable:
    return _pieces_step(real, EMIT)


def _rows_step(real: str, step: int) -> Callable:
    t, s = tools(real, GROUP), _steps(real)
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
            value = t.column(statistics, VALUES)
            value[0] = zero
            if step == MERGE:
                if weight != zero:
                    s.merge(job, labels[0], left, pieces, numbers)
            else:
                if weight != zero:
                    value[0] = s.finish(job, left, pieces, weight, numbers, term)
                sums[0] += t.deliver_values(job, row, 1, statistics)
        restore_denormals(mode)

    return general_step


def _pieces_step(real: str, step: int) -> Callable:
    t, s = tools(real, GROUP), _steps(real)
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
