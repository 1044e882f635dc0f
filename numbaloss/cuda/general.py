"""Rows of any softmax loss and any targets: every class has a φ of its own.

The threads that share a row read it for its maximum, for the sum of exponentials, for φ, and for
the derivatives, an element at a time; what they read again is in a cache, if the row is not very
long.
This is for arrays of any strides and dtypes, and for rows that registers cannot keep: see
:mod:`.all_classes`, and :mod:`.class_terms` for the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .. import vmath
from ..core.contracts import brings
from ..formulas.points import normalizer, point
from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowAxis, RowFlags
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from . import reduce
from .backend import cuda, device_function
from .class_terms import of_class
from .dtypes import compute_type
from .kernel import Kernel, kept_on_disk
from .memory import any_reader, reader, writer
from .reduce import SCRATCH
from .rows import decay, describer, group, signature, value_writer
from .strides import beginnings

_flag, _axis = RowFlags.bit, RowAxis.column


@kept_on_disk
def kernel(structure: Structure, kind: str, derivatives: int, traversed: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or along several ones."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one = real(0), real(1)
    load, log = reader(kind), vmath.log
    find, describe = beginnings(traversed, RowAxis.count), describer(kind, traversed)
    maxima, exponentials, sums = _maxima(kind), _exponentials(kind), _sums(kind, derivatives)
    emit, write_value = _emitter(kind, derivatives, traversed), value_writer(kind, traversed)
    has_term = any(brings(cls, "normalizer") for cls in structure.classes)
    with_gradient = derivatives > 0
    begin, leave = reduce.begin(computed), reduce.leave()

    def softmax_general(loss, job, numbers, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, flags = cuda.threadIdx.x, job.row_threads, job.flags
        inverse = numbers.inverse_temperature
        scale, rows = begin(tail, numbers.scale, job.rows)
        at_once = cuda.blockDim.x >> job.row_threads_log2
        mine, lane = thread >> job.row_threads_log2, thread & (width - 1)
        margin, plain = flags & _flag.margin, flags & _flag.plain
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            present = row < rows
            weight, label, wrong = zero, 0, zero
            at = of_targets = 0
            if present:
                weight, label, _, wrong, _ = describe(job, row)
                at = find(job.layout, row, job.prediction_row_stride, _axis.prediction)
                of_targets = find(job.layout, row, job.target_row_stride, _axis.target)
            # Rows that do not count have no classes: whatever they hold, it is not read.
            size = job.classes if weight != zero else 0
            base, other_base, outside = maxima(
                job, numbers, at, of_targets, size, lane, thread, scratch
            )
            bad += outside
            whole, other_whole = exponentials(
                job, numbers, at, of_targets, size, base, other_base, lane, thread, scratch
            )
            log_sum = real(log(whole)) if size > 0 else zero
            if margin or plain:
                base, log_sum = zero, zero
                if margin and size > 0:
                    base = load(job.prediction, at + label * job.prediction_class_stride)
            teacher = other_base, one / other_whole if other_whole != zero else one
            place = at, of_targets, label, base, log_sum, teacher
            value, slopes, seconds = sums(loss, job, numbers, place, size, lane, thread, scratch)
            term = term_slope = term_second = zero
            if has_term:
                sum_ = base * inverse + log_sum
                a_, b_, c_ = normalizer(loss, sum_, sum_)
                term, term_slope, term_second = real(a_), real(b_), real(c_)
            share = weight * numbers.share
            factor = share * scale * inverse
            # A row without targets has no φ that could become NaN.
            value = (log_sum if log_sum != log_sum else value + term) * share
            if size == 0:
                value = zero
            if lane == 0 and present:
                total += np.float64(value)
                if flags & _flag.count_errors:
                    bad += wrong
                write_value(job, row, value)
            if with_gradient and present:
                coefficients = term_slope - slopes, term_second + seconds, factor, factor * inverse
                emit(loss, job, numbers, row, place, coefficients, size, lane)
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_general, signature(structure, computed), structure)


@cache
def _maxima(kind: str) -> Callable:
    """The maximum of a row's logits, 0 where all are -inf, and that of the teacher's logits; and
    how many numbers of a thread's share are out of range."""
    real = compute_type(kind)
    zero, one, lowest = real(0), real(1), real(-np.inf)
    load, load_any = reader(kind), any_reader(np.dtype(real).name)
    _, maximum_of, _ = group()

    @device_function
    def maxima(job, numbers, at, of_targets, size, lane, thread, scratch):
        flags, width, bad = job.flags, job.row_threads, zero
        top, other_top = lowest, lowest
        j = lane
        while j < size:
            x = load(job.prediction, at + j * job.prediction_class_stride)
            top = x if x > top else top
            if flags & _flag.check_prediction:
                bad += one if x < numbers.near_lowest or x > numbers.near_highest else zero
            place = of_targets + j * job.target_class_stride
            if flags & _flag.dense_logits:
                t = load_any(job.target, job.target_code, place)
                other_top = t if t > other_top else other_top
            if flags & _flag.check_target:
                t = load_any(job.target, job.target_code, place)
                bad += one if t < numbers.near_low or t > numbers.near_high else zero
            j += width
        top = maximum_of(top, width, thread, scratch)
        if flags & _flag.dense_logits:
            other_top = maximum_of(other_top, width, thread, scratch)
        base = zero if top == lowest else top
        return base, zero if other_top == lowest else other_top, bad

    return maxima


@cache
def _exponentials(kind: str) -> Callable:
    """The sum of exponentials of a row, and that of the teacher's."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, load, load_any, falling = real(0), reader(kind), any_reader(computed), decay(computed)
    total_of, _, _ = group()

    @device_function
    def exponentials(job, numbers, at, of_targets, size, base, other_base, lane, thread, scratch):
        width, inverse = job.row_threads, numbers.inverse_temperature
        whole, other_whole = zero, zero
        j = lane
        while j < size:
            x = load(job.prediction, at + j * job.prediction_class_stride)
            whole += falling((x - base) * inverse)
            if job.flags & _flag.dense_logits:
                place = of_targets + j * job.target_class_stride
                t = load_any(job.target, job.target_code, place)
                other_whole += falling((t - other_base) * inverse)
            j += width
        whole = total_of(whole, width, thread, scratch)
        if job.flags & _flag.dense_logits:
            other_whole = total_of(other_whole, width, thread, scratch)
        return whole, other_whole

    return exponentials


@cache
def _terms(kind: str) -> Callable:
    """``terms(loss, job, numbers, place, j)``: φ of class j, its derivatives, their arguments.

    ``place`` is where the row begins in the prediction and the targets, its label, what is taken
    from logits, the log of the sum of exponentials, and the teacher's maximum and one over its sum.
    """
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, falling = real(0), decay(computed)
    load, load_any, load_real = reader(kind), any_reader(computed), reader(computed)

    @device_function
    def target_of(job, numbers, of_targets, j, label, teacher):
        if job.flags & _flag.labelled:
            return numbers.on + numbers.off if j == label else numbers.off
        t = load_any(job.target, job.target_code, of_targets + j * job.target_class_stride)
        if job.flags & _flag.dense_logits:
            return falling((t - teacher[0]) * numbers.inverse_temperature) * teacher[1]
        if job.flags & _flag.check_target:  # a rounding beyond the domain: the bound is meant
            t = numbers.low if t < numbers.low else t
            t = numbers.high if t > numbers.high else t
        return t * numbers.on + numbers.off if numbers.off != zero else t

    @device_function
    def weighted(loss, job, weighted_class, logarithm, t):
        value_, slope_, second_ = point(loss, logarithm, t)
        value, slope, second = real(value_), real(slope_), real(second_)
        if logarithm != logarithm or t != t:  # comparisons in a loss lose NaN
            value = logarithm + t
        if value != value:
            slope = second = value
        if job.class_weight != 0:
            # A class that does not count contributes 0, even where its loss is infinite.
            w = load_real(job.class_weight, weighted_class)
            out = w == zero
            value = zero if out and value == value else value * w
            slope = zero if out and slope == slope else slope * w
            second = zero if out and second == second else second * w
        return value, slope, second

    @device_function
    def terms(loss, job, numbers, place, j):
        at, of_targets, label, base, log_sum, teacher = place
        x = load(job.prediction, at + j * job.prediction_class_stride)
        if job.flags & _flag.check_prediction:
            x = numbers.lowest if x < numbers.lowest else x
            x = numbers.highest if x > numbers.highest else x
        logarithm = (x - base) * numbers.inverse_temperature - log_sum
        t = target_of(job, numbers, of_targets, j, label, teacher)
        weighted_class = label if job.flags & _flag.margin else j
        a, b, c = weighted(loss, job, weighted_class, logarithm, t)
        return a, b, c, logarithm, t

    return terms


@cache
def _sums(kind: str, derivatives: int) -> Callable:
    """The sums of φ and its derivatives over a row."""
    zero, terms, (total_of, _, _) = compute_type(kind)(0), _terms(kind), group()
    with_gradient, with_hessian = derivatives > 0, derivatives > 1

    @device_function
    def sums(loss, job, numbers, place, size, lane, thread, scratch):
        width = job.row_threads
        value, slopes, seconds = zero, zero, zero
        j = lane
        while j < size:
            a, b, c, _, _ = terms(loss, job, numbers, place, j)
            value += a
            slopes += b
            seconds += c
            j += width
        value = total_of(value, width, thread, scratch)
        if with_gradient:
            slopes = total_of(slopes, width, thread, scratch)
        if with_hessian:
            seconds = total_of(seconds, width, thread, scratch)
        return value, slopes, seconds

    return sums


@cache
def _emitter(kind: str, derivatives: int, traversed: bool) -> Callable:
    """Gradient, and hessian, of a thread's share of a row."""
    real = compute_type(kind)
    zero = real(0)
    # Of the compute type: log-probabilities may exceed 0 by their rounding.
    exp, store, terms = vmath.exp, writer(kind), _terms(kind)
    find, with_hessian = beginnings(traversed, RowAxis.count), derivatives > 1

    of_softmax, of_margin, plain = (of_class(kind, one) for one in (SOFTMAX, MARGIN, PLAIN))

    @device_function
    def derivatives_of(flags, terms_of_class, coefficients):
        _, b, c, logarithm, t = terms_of_class
        if flags & _flag.plain:
            return plain(zero, b, c, coefficients)
        if flags & _flag.margin:
            return of_margin(t, b, c, coefficients)
        return of_softmax(real(exp(logarithm)), b, c, coefficients)

    @device_function
    def emit(loss, job, numbers, row, place, coefficients, size, lane):
        # In place, the label's logit must have been read by all that share the row.
        at_gradient = find(job.layout, row, job.gradient_row_stride, _axis.gradient)
        at_hessian = at_gradient
        if with_hessian:
            at_hessian = find(job.layout, row, job.hessian_row_stride, _axis.hessian)
        j = lane
        while j < job.classes:
            g = h = zero
            if size > 0:
                of_class = terms(loss, job, numbers, place, j)
                g, h = derivatives_of(job.flags, of_class, coefficients)
            store(job.gradient, at_gradient + j * job.gradient_class_stride, g)
            if with_hessian:
                store(job.hessian, at_hessian + j * job.hessian_class_stride, h)
            j += job.row_threads

    return emit
