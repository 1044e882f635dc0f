"""Rows of any softmax loss and any targets: every class has a φ of its own.

Three steps a row: maximum and sum of exponentials; φ of all classes and its sums; gradient.
With S, S', S'' the sums of φ and its derivatives and p the softmax,

    value     S + R
    gradient  φ'_k + p_k (R' - S')
    hessian   φ''_k (1 - 2 p_k) + p_k² (S'' + R'') + p_k (1 - p_k) (R' - S')

A loss relative to its label (a margin) is the same with the label's 0 or 1 in the place of p, whose
own curvature is none; a loss of rows as they are (of probabilities), with 0 in the place of p.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .. import vmath
from ..vmath import vectors
from ..vmath.vectors import register_bytes
from .intrinsics import (
    no_alias,
    pointer,
    prefer_wide_vectors,
)
from .long import LEFT
from .maps import call_map
from .pieces import GROUP, PIECE_BYTES, loops, piece_size
from .rows import (
    CHECKED,
    CLASS_WEIGHT,
    CLASSES,
    CURVATURE_SCALE,
    DENSE_LOGITS,
    DERIVATIVES,
    GRADIENT,
    HESSIAN,
    HIGH,
    HIGHEST,
    INVERSE_TEMPERATURE,
    LABELLED,
    LOW,
    LOWEST,
    MAP,
    MARGIN,
    NEAR_HIGH,
    NEAR_HIGHEST,
    NEAR_LOW,
    NEAR_LOWEST,
    NORMALIZER,
    OFF,
    ON,
    PLAIN,
    PREDICTION,
    READING,
    SCALE,
    SHARE,
    SOFTMAX,
    TARGET,
    TESTED,
    exact,
    fast,
    inner,
    namespace,
    tools,
)
from .threads import LAYOUTS, PARAMETERS

# What a piece leaves: maximum and sum of the prediction, of the teacher, then the three sums;
# the label's logit shares the place of the teacher's maximum.
TOP, TOTAL, TEACHER_TOP, TEACHER_TOTAL, SUM, SUM_SLOPE, SUM_CURVE = range(7)


# Bytes of: log-probabilities, targets, φ and two derivatives of a piece.
MEMORY_BYTES = 5 * PIECE_BYTES


@cache
def steps(real: str) -> Any:
    """The steps of one row, or of a piece of it."""
    t, o = tools(real, GROUP), loops(real)
    zero, one, itemsize, cast = t.zero, t.one, t.itemsize, t.cast
    register, lanes = register_bytes(), register_bytes() // itemsize
    piece, decay = piece_size(real), t.decay
    log, exp = vmath.log, vmath.exp

    @njit(**inner)
    def sum_of_exponentials(row, size, top, inverse):
        """Of whole registers, whose place the exponentials take."""
        o.exponentials(row, row, size, top, inverse, 0, 0)
        return o.total(row, size)

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
        if fields[READING] != SOFTMAX:
            found[TOP], found[TOTAL] = 0.0, 1.0
            if (at >= 0) & (at < size):
                found[TEACHER_TOP] = pointer(scratch, zero)[at]
            return
        base = zero if m == t.lowest else m
        found[TOP] = m
        found[TOTAL] = sum_of_exponentials(scratch, padded, base, inverse)
        if fields[DENSE_LOGITS] != 0:
            m = o.stage(job, TARGET, start, size, scratch)
            base = zero if m == t.lowest else m
            found[TEACHER_TOP] = m
            found[TEACHER_TOTAL] = sum_of_exponentials(scratch, padded, base, inverse)

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
        if fields[READING] != SOFTMAX:
            numbers[0] = numbers[1] = zero
            if fields[READING] == MARGIN:
                numbers[0] = pointer(left, 1.0)[LEFT * (label // piece) + TEACHER_TOP]
            return
        top, total = merge_sums(left, pieces, TOP, inverse)
        numbers[0], numbers[1] = top, log(total)
        if fields[DENSE_LOGITS] != 0:
            top, total = merge_sums(left, pieces, TEACHER_TOP, inverse)
            numbers[2], numbers[3] = top, 1.0 / total

    @njit(**exact)
    def log_probabilities(row, size, top, inverse, log_sum):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            x = vectors.load(row + j, zero, lanes)
            vectors.store(row + j, (x - top) * inverse - log_sum)

    @njit(**exact)
    def soften(row, size, top, inverse, factor):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            x = vectors.load(row + j, zero, lanes)
            vectors.store(row + j, decay((x - top) * inverse) * factor)

    @njit(**fast)
    def bring_inside(row, size, low, high, near_low, near_high):
        """Take numbers a rounding beyond their domain for its bound; how many are farther out."""
        prefer_wide_vectors()
        count = zero
        for j in range(size):
            x = row[j]
            count += one if (x < near_low) | (x > near_high) else zero
            x = low if x < low else x
            row[j] = high if x > high else x
        return count

    @njit(**exact)
    def smoothen(row, size, on, off):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            vectors.store(row + j, vectors.load(row + j, zero, lanes) * on + off)

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
            low, high = cast(reals[LOW]), cast(reals[HIGH])
            near_low, near_high = cast(reals[NEAR_LOW]), cast(reals[NEAR_HIGH])
            offenders = bring_inside(target, size, low, high, near_low, near_high)
        if fields[DENSE_LOGITS] != 0:
            inverse = cast(reals[INVERSE_TEMPERATURE])
            soften(scratch, padded, numbers[2], inverse, numbers[3])
        elif off != zero:
            smoothen(scratch, padded, on, off)
        return offenders

    @njit(**exact)
    def multiply(values, of_class, size):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            # A class that does not count contributes 0, even where its loss is infinite.
            v, w = values[j], of_class[j]
            values[j] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def multiply_all(values, w, size):
        prefer_wide_vectors()
        for j in range(size):
            v = values[j]
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
        offenders = zero
        if fields[READING] != PLAIN:
            log_probabilities(memory, padded, numbers[0], inverse, numbers[1])
        else:
            given = pointer(memory, zero)
            for j in range(size, padded):
                given[j] = zero  # no formula is asked about -inf
            if fields[TESTED] != 0:
                low, high = cast(reals[LOWEST]), cast(reals[HIGHEST])
                near_low, near_high = cast(reals[NEAR_LOWEST]), cast(reals[NEAR_HIGHEST])
                offenders += bring_inside(given, size, low, high, near_low, near_high)
        targets, found = memory + PIECE_BYTES, memory + 2 * PIECE_BYTES
        offenders += stage_target(job, row, i, label, numbers, targets)
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
            of_label = pointer(fields[CLASS_WEIGHT], zero)[label]
            for d in range(fields[DERIVATIVES] + 1):
                values = pointer(found + d * PIECE_BYTES, zero)
                if fields[READING] == MARGIN:
                    multiply_all(values, of_label, size)
                else:
                    multiply(values, of_class, size)
        if fields[READING] == PLAIN:
            t.fill(pointer(targets, zero), padded, zero)  # no class moves another
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
        """The value of a row without its weight; what makes its gradient, into ``numbers``."""
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
        if fields[READING] == PLAIN:
            numbers[7] = numbers[8] = zero
        numbers[9] = share * cast(reals[SCALE])
        numbers[10] = share * cast(reals[CURVATURE_SCALE])
        value = numbers[4] + r[0]
        # A row without targets has no φ that could tell of a NaN.
        return (numbers[1] if numbers[1] != numbers[1] else value) * cast(reals[SHARE])

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
            if fields[READING] != SOFTMAX:
                margin_hessians(targets, curves, place, size, numbers[8], numbers[10])
            else:
                hessians(logs, curves, place, size, numbers[7], numbers[8], numbers[10])
            if not direct:
                t.store(job, HESSIAN, start, size, spare)
        direct = t.is_direct(job, GRADIENT)
        place = pointer(job[GRADIENT] + start * itemsize if direct else spare, zero)
        if fields[READING] != SOFTMAX:
            margin_gradients(targets, slopes, place, size, numbers[7], numbers[9])
        else:
            gradients(logs, slopes, place, size, numbers[7], numbers[9])
        if not direct:
            t.store(job, GRADIENT, start, size, spare)

    return namespace(locals())
