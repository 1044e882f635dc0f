"""Rows of any softmax loss and any targets: every class has a φ of its own.

Three steps a row: maximum and sum of exponentials; φ of all classes and its sums; gradient.
With S, S', S'' the sums of φ and its derivatives and p the softmax,

    value     S + R
    gradient  φ'_k + p_k (R' - S')
    hessian   φ''_k (1 - 2 p_k) + p_k² (S'' + R'') + p_k (1 - p_k) (R' - S')

A loss relative to its label (a margin) is the same with the label's 0 or 1 in the place of p, whose
second derivative is none; a loss of rows as they are (of probabilities), with 0 in the place of p.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .. import vmath
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX, GeneralPiece, GeneralRow
from .general_loops import derivatives, elements
from .intrinsics import pointer, prefer_wide_vectors
from .maps import call_map
from .movers import layout
from .options import inner, namespace
from .pieces import GROUP, PIECE_BYTES, loops, piece_size
from .records import at
from .rows import tools

left_at = at(GeneralPiece)
LEFT_BYTES = GeneralPiece.memory.bytes
of_row = GeneralRow.column
ROW_BYTES = 8 * GeneralRow.count

# Bytes of: log-probabilities, targets, φ and two derivatives of a piece.
MEMORY_BYTES = 5 * PIECE_BYTES
TARGETS, VALUES, SLOPES, SECOND_DERIVATIVES = (i * PIECE_BYTES for i in range(1, 5))
# Bytes of the log of a sum, R and two derivatives: each in a cache line of its own.
TERM_BYTES = 256


@cache
def steps(real: str) -> Any:
    """The steps of one row, or of a piece of it."""
    return namespace(
        _measuring(real), _merging(real), _preparing(real), _finishing(real), _emitting(real)
    )


def _measuring(real: str) -> Any:
    """Maxima and sums of exponentials."""
    t, o = tools(real, GROUP), loops(real)
    zero, cast = t.zero, t.cast
    piece = piece_size(real)

    @njit(**inner)
    def sum_of_exponentials(place, size, top, inverse):
        """Of whole registers, whose place the exponentials take."""
        o.exponentials(place, place, size, top, inverse, 0, 0)
        return o.total(place, size)

    @njit(**inner)
    def measure(call, rows, row, i, label, pieces, scratch):
        """Maximum and sum of a piece; those of the teacher too, or the label's number."""
        classes, inverse = rows.classes, cast(rows.inverse_temperature)
        size = min(piece, classes - i * piece)
        start, padded = row * classes + i * piece, o.padded(size)
        left = left_at(pieces + LEFT_BYTES * i)
        prediction = call.prediction, layout(call, rows.prediction_layout)
        m = o.stage(prediction, start, size, scratch)
        at_ = label - i * piece
        if rows.reading != SOFTMAX:
            if (at_ >= 0) & (at_ < size):
                left.label_number = pointer(scratch, zero)[at_]
            return
        base = zero if m == t.lowest else m
        left.maximum = m
        left.exponentials = sum_of_exponentials(scratch, padded, base, inverse)
        if rows.dense_logits != 0:
            target = call.target, layout(call, rows.target_layout)
            m = o.stage(target, start, size, scratch)
            base = zero if m == t.lowest else m
            left.teacher_maximum = m
            left.teacher_exponentials = sum_of_exponentials(scratch, padded, base, inverse)

    return namespace({"measure": measure})


def _merging(real: str) -> Any:
    """Maxima and sums of a row, from those of its pieces."""
    t = tools(real, GROUP)
    zero, cast = t.zero, t.cast
    piece, decay, log = piece_size(real), t.decay, vmath.log

    @njit(**inner)
    def larger(x, y):
        return x if x > y else y

    @njit(**inner)
    def share(exponentials, m, top, inverse):
        """A sum of exponentials, of what is less another maximum than its own."""
        return exponentials * np.float64(decay(cast((m - top) * inverse)))

    @njit(**inner)
    def merge_prediction(pieces, count, inverse):
        top = left_at(pieces).maximum
        for i in range(count):
            top = larger(left_at(pieces + LEFT_BYTES * i).maximum, top)
        total = 0.0
        for i in range(count):
            left = left_at(pieces + LEFT_BYTES * i)
            total += share(left.exponentials, left.maximum, top, inverse)
        return top, total

    @njit(**inner)
    def merge_teacher(pieces, count, inverse):
        top = left_at(pieces).teacher_maximum
        for i in range(count):
            top = larger(left_at(pieces + LEFT_BYTES * i).teacher_maximum, top)
        total = 0.0
        for i in range(count):
            left = left_at(pieces + LEFT_BYTES * i)
            total += share(left.teacher_exponentials, left.teacher_maximum, top, inverse)
        return top, total

    @njit(**inner)
    def merge(rows, label, pieces, count, numbers):
        """What the log-probabilities of a row are made of, and the teacher's probabilities."""
        inverse = rows.inverse_temperature
        if rows.reading != SOFTMAX:
            numbers[of_row.offset] = numbers[of_row.log_sum] = zero
            if rows.reading == MARGIN:
                of_label = left_at(pieces + LEFT_BYTES * (label // piece))
                numbers[of_row.offset] = of_label.label_number
            return
        top, total = merge_prediction(pieces, count, inverse)
        numbers[of_row.offset], numbers[of_row.log_sum] = top, log(total)
        if rows.dense_logits != 0:
            top, total = merge_teacher(pieces, count, inverse)
            numbers[of_row.teacher_maximum] = top
            numbers[of_row.teacher_inverse] = 1.0 / total

    return namespace({"merge": merge})


def _staging(real: str) -> Any:
    """What the formula of the loss sees of a piece."""
    t, o, e = tools(real, GROUP), loops(real), elements(real)
    zero, cast, piece = t.zero, t.cast, piece_size(real)

    @njit(**inner)
    def stage_target(call, rows, row, i, label, numbers, scratch):
        """Targets of a piece into scratch; how many are outside their domain."""
        prefer_wide_vectors()
        classes, place = rows.classes, pointer(scratch, zero)
        size = min(piece, classes - i * piece)
        padded = o.padded(size)
        on, off = cast(rows.on), cast(rows.off)
        out_of_range = zero
        if rows.labelled != 0:
            t.fill(place, padded, off)
            at_ = label - i * piece
            if (at_ >= 0) & (at_ < size):
                place[at_] = on + off
            return out_of_range
        target = call.target, layout(call, rows.target_layout)
        t.load(target, row * classes + i * piece, size, scratch)
        for j in range(size, padded):
            place[j] = zero
        if rows.target_tested != 0:
            low, high = cast(rows.low), cast(rows.high)
            near_low, near_high = cast(rows.near_low), cast(rows.near_high)
            out_of_range = e.bring_inside(place, size, low, high, near_low, near_high)
        if rows.dense_logits != 0:
            inverse, top = cast(rows.inverse_temperature), numbers[of_row.teacher_maximum]
            e.soften(scratch, padded, top, inverse, numbers[of_row.teacher_inverse])
        elif off != zero:
            e.smoothen(scratch, padded, on, off)
        return out_of_range

    @njit(**inner)
    def stage_prediction(call, rows, row, i, numbers, scratch):
        """What the formula sees of a piece into scratch; how many are outside their domain."""
        size = min(piece, rows.classes - i * piece)
        padded = o.padded(size)
        prediction = call.prediction, layout(call, rows.prediction_layout)
        o.stage(prediction, row * rows.classes + i * piece, size, scratch)
        inverse = cast(rows.inverse_temperature)
        out_of_range = zero
        if rows.reading != PLAIN:
            offset, log_sum = numbers[of_row.offset], numbers[of_row.log_sum]
            e.log_probabilities(scratch, padded, offset, inverse, log_sum)
        else:
            given = pointer(scratch, zero)
            for j in range(size, padded):
                given[j] = zero  # no formula is asked about -inf
            if rows.prediction_tested != 0:
                low, high = cast(rows.lowest), cast(rows.highest)
                near_low, near_high = cast(rows.near_lowest), cast(rows.near_highest)
                out_of_range += e.bring_inside(given, size, low, high, near_low, near_high)
        return out_of_range

    return namespace({"stage_prediction": stage_prediction, "stage_target": stage_target})


def _preparing(real: str) -> Any:
    """φ of the classes of a piece, and its sums."""
    t, o, e, inputs = tools(real, GROUP), loops(real), elements(real), _staging(real)
    zero, itemsize, piece = t.zero, t.itemsize, piece_size(real)

    @njit(**inner)
    def weigh(rows, i, label, size, place):
        """Multiply φ, or a derivative of it, by the class weights."""
        values = pointer(place, zero)
        if rows.reading == MARGIN:
            e.multiply_all(values, pointer(rows.class_weight, zero)[label], size)
        else:
            of_class = pointer(rows.class_weight + i * piece * itemsize, zero)
            e.multiply(values, of_class, size)

    @njit(**inner)
    def prepare(call, rows, row, i, label, numbers, memory):
        """φ of the classes of a piece, with derivatives; how many targets are out of place.

        ``memory`` takes log-probabilities, targets, values and their two derivatives in turn.
        """
        prefer_wide_vectors()
        size = min(piece, rows.classes - i * piece)
        padded = o.padded(size)
        out_of_range = inputs.stage_prediction(call, rows, row, i, numbers, memory)
        targets, values = memory + TARGETS, memory + VALUES
        slopes, seconds = memory + SLOPES, memory + SECOND_DERIVATIVES
        out_of_range += inputs.stage_target(call, rows, row, i, label, numbers, targets)
        call_map(rows.map, (0, call.parameters, memory, targets, values, slopes, seconds, padded))
        if rows.class_weight != 0:
            places = values, slopes, seconds
            for d in range(rows.derivatives + 1):
                weigh(rows, i, label, size, places[d])
        if rows.reading == PLAIN:
            t.fill(pointer(targets, zero), padded, zero)  # no class moves another
        return out_of_range

    @njit(**inner)
    def add(rows, i, pieces, memory):
        """Sums of φ and its derivatives over a piece."""
        prefer_wide_vectors()
        size = min(piece, rows.classes - i * piece)
        left = left_at(pieces + LEFT_BYTES * i)
        places = memory + VALUES, memory + SLOPES, memory + SECOND_DERIVATIVES
        for d in range(rows.derivatives + 1):
            total = o.plain_sum(pointer(places[d], zero), size)
            if d == 0:
                left.value_sum = total
            elif d == 1:
                left.slope_sum = total
            else:
                left.second_derivative_sum = total

    return namespace({"prepare": prepare, "add": add})


def _finishing(real: str) -> Any:
    """From the sums of φ to the value of a row, and what its gradient is made of."""
    t = tools(real, GROUP)
    zero, cast = t.zero, t.cast

    @njit(**inner)
    def sums_of(rows, pieces, count):
        """Those of φ and its derivatives over a row."""
        value = slope = second = 0.0
        for i in range(count):
            value += left_at(pieces + LEFT_BYTES * i).value_sum
        if rows.derivatives > 0:
            for i in range(count):
                slope += left_at(pieces + LEFT_BYTES * i).slope_sum
        if rows.derivatives > 1:
            for i in range(count):
                second += left_at(pieces + LEFT_BYTES * i).second_derivative_sum
        return cast(value), cast(slope), cast(second)

    @njit(**inner)
    def finish(call, rows, pieces, count, weight, numbers, term):
        """The value of a row without its weight; what makes its gradient, into ``numbers``."""
        prefer_wide_vectors()
        value, slope, second = sums_of(rows, pieces, count)
        log_sum = numbers[of_row.log_sum]
        inverse = cast(rows.inverse_temperature)
        of_sum, of_term = pointer(term, zero), pointer(term + 64, zero)
        of_slope, of_second = pointer(term + 128, zero), pointer(term + 192, zero)
        of_sum[0] = numbers[of_row.offset] * inverse + log_sum
        if rows.normalizer != 0:
            call_map(
                rows.normalizer,
                (0, call.parameters, term, term, term + 64, term + 128, term + 192, 1),
            )
        else:
            of_term[0] = of_slope[0] = of_second[0] = zero
        share = weight * cast(rows.share)
        numbers[of_row.slope_difference] = of_slope[0] - slope
        numbers[of_row.second_derivative] = of_second[0] + second
        if rows.reading == PLAIN:
            numbers[of_row.slope_difference] = numbers[of_row.second_derivative] = zero
        numbers[of_row.gradient_factor] = share * cast(rows.scale)
        numbers[of_row.hessian_factor] = share * cast(rows.hessian_scale)
        # A row without targets has no φ that could become NaN.
        value = log_sum if log_sum != log_sum else value + of_term[0]
        return value * cast(rows.share)

    return namespace({"finish": finish})


def _emitting(real: str) -> Any:
    """Gradient and hessian of a piece."""
    t, d = tools(real, GROUP), derivatives(real)
    zero, itemsize = t.zero, t.itemsize
    piece = piece_size(real)

    @njit(**inner)
    def emit_hessian(call, rows, start, size, numbers, memory, spare):
        logs, targets = pointer(memory, zero), pointer(memory + TARGETS, zero)
        seconds = pointer(memory + SECOND_DERIVATIVES, zero)
        direct = rows.hessian_layout == 0
        place = pointer(call.hessian + start * itemsize if direct else spare, zero)
        slope_difference = numbers[of_row.slope_difference]
        second, factor = numbers[of_row.second_derivative], numbers[of_row.hessian_factor]
        if rows.reading != SOFTMAX:
            d.margin_hessians(targets, seconds, place, size, second, factor)
        else:
            d.hessians(logs, seconds, place, size, slope_difference, second, factor)
        if not direct:
            t.store((call.hessian, layout(call, rows.hessian_layout)), start, size, spare)

    @njit(**inner)
    def emit(call, rows, row, i, numbers, memory, spare):
        size = min(piece, rows.classes - i * piece)
        start = row * rows.classes + i * piece
        if rows.derivatives > 1:
            emit_hessian(call, rows, start, size, numbers, memory, spare)
        logs, targets = pointer(memory, zero), pointer(memory + TARGETS, zero)
        slopes = pointer(memory + SLOPES, zero)
        direct = rows.gradient_layout == 0
        place = pointer(call.gradient + start * itemsize if direct else spare, zero)
        slope_difference = numbers[of_row.slope_difference]
        factor = numbers[of_row.gradient_factor]
        if rows.reading != SOFTMAX:
            d.margin_gradients(targets, slopes, place, size, slope_difference, factor)
        else:
            d.gradients(logs, slopes, place, size, slope_difference, factor)
        if not direct:
            t.store((call.gradient, layout(call, rows.gradient_layout)), start, size, spare)

    return namespace({"emit": emit})
