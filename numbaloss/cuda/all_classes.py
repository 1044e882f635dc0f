"""Rows that fit into registers, of losses that read all classes: every class has a φ of its own.

The threads that share a row keep its logits and its dense targets in registers, up to 16 numbers of
each: both come from memory once, 16 bytes a thread. What has been read makes room for what the
derivatives are made of, so that φ is computed once. A row goes to part of a warp, or to a whole
block. The formulas are in :mod:`.class_terms`.

Not for arrays that are not cut into vectors at the same classes: see :mod:`.general`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import vmath
from ..core.contracts import brings
from ..formulas.points import normalizer
from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowFlags
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from . import reduce
from .backend import cuda, device_function
from .class_terms import (
    LABELS,
    LOGITS,
    Form,
    emitter,
    shares,
    sum_of_powers,
    terms,
)
from .dense_targets import outside, target_loader
from .dtypes import compute_type, itemsize, lanes
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .reduce import PAIRS
from .register_rows import Limits
from .row_vectors import combined, elements_before, int32, loader
from .rows import describer, group, signature

_flag = RowFlags.bit


def limits(kind: str) -> Limits:
    """Vectors that a thread keeps of each array, and threads of the largest blocks.

    Registers are for two or three tuples of numbers, and for a formula of anybody's.
    """
    vectors = 2 if itemsize(kind) == 2 else 4
    return Limits(vectors, vectors, 256 if kind == "float64" else 512)


@kept_on_disk
def kernel(structure: Structure, form: Form, vectors: int) -> Kernel:
    """The kernel of a loss, for threads that keep so many vectors each."""
    kind, real = form.kind, compute_type(form.kind)
    computed = np.dtype(real).name
    zero, none, count = real(0), int32(0), lanes(kind)
    whole, reading = form.whole, form.reading
    before, read = elements_before(kind), _reader(form, vectors)
    describe, write_value = describer(kind, False), writer(computed)
    measure, all_terms, emit = (
        _measurer(form, vectors),
        terms(form, vectors),
        emitter(form, vectors),
    )
    total_of, _, totals_of = group()
    finish, with_gradient, with_hessian = (
        finisher_of_classes(structure, form), form.derivatives > 0, form.derivatives > 1,
    )  # fmt: skip
    wait, begin, leave = reduce.wait_for_warp, reduce.begin(computed), reduce.leave()

    def softmax_classes(loss, job, numbers, tail):
        scratch = cuda.shared.array(PAIRS, real)
        thread = cuda.threadIdx.x
        classes, width, flags = int32(job.classes), job.row_threads, job.flags
        scale, rows = begin(tail, numbers.scale, job.rows)
        at_once = cuda.blockDim.x >> job.row_threads_log2
        mine, lane = thread >> job.row_threads_log2, thread & (width - 1)
        total, bad = 0.0, zero
        step = int32(width * count)
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            weight, label_, own_weight = zero, 0, zero
            if row < rows:
                weight, label_, own_weight, wrong, _ = describe(job, row)
                if lane == 0 and flags & _flag.count_errors:
                    bad += wrong
            label = int32(label_)
            # Rows that do not count have no classes: whatever they hold, it is not read.
            size = classes if weight != zero else none
            at = row * job.prediction_row_stride
            j = int32(lane * count)
            if not whole:  # vectors begin where memory has them: the first one before the row
                j = int32(j - before(job.prediction, at))
            x, t, base, strays = read(job, numbers, row, label, j, step, size)
            bad += strays
            base, log_sum, one_over, t = measure(numbers, base, x, t, size, width, thread, scratch)
            of_row = base, log_sum, label, own_weight, job.class_weight, one_over
            value, slopes, seconds, a, b, c = all_terms(loss, numbers, of_row, x, t, j, step, size)
            if with_gradient:
                value, slopes = totals_of(value, slopes, width, thread, scratch)
            else:
                value = total_of(value, width, thread, scratch)
            if with_hessian:
                seconds = total_of(seconds, width, thread, scratch)
            value, coefficients = finish(
                loss, numbers, scale, base, log_sum, weight, size, value, slopes, seconds
            )
            # In place, the label's logit must have been read by all who share the row.
            if reading == MARGIN:
                wait()
            if row < rows:
                if lane == 0:
                    total += np.float64(value)
                    if job.value != 0:
                        write_value(job.value, row * job.value_row_stride, value)
                if with_gradient:
                    at_gradient = row * job.gradient_row_stride
                    at_hessian = row * job.hessian_row_stride
                    emit(job, at_gradient, at_hessian, j, step, classes, a, b, c, coefficients)
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    bounds = limits(kind).threads, 1
    return Kernel(softmax_classes, signature(structure, computed), structure, bounds)


@cache
def _reader(form: Form, vectors: int) -> Callable:
    """``read(job, numbers, row, label, j, step, size)``: a thread's logits and targets of a row,
    what is taken from logits of margins, and how many numbers are out of range."""
    kind, real = form.kind, compute_type(form.kind)
    computed, zero, load = np.dtype(real).name, real(0), reader(form.kind)
    reading, dense = form.reading, form.targets != LABELS
    load_row = loader(kind, vectors, form.whole, np.nan if reading == PLAIN else -np.inf)
    load_targets: Any = None
    if dense:
        missing = -np.inf if form.targets == LOGITS else np.nan
        load_targets = target_loader(kind, form.of_targets, vectors, form.whole, missing)
    strays, clamped = outside(computed, vectors * lanes(kind))

    @device_function
    def read(job, numbers, row, label, j, step, size):
        at, base, bad = row * job.prediction_row_stride, zero, zero
        x = load_row(job.prediction, at, j, step, size)
        t = x
        if dense:
            t = load_targets(job.target, row * job.target_row_stride, j, step, size)
        if reading == MARGIN and size > 0:
            base = load(job.prediction, at + label)
        if reading == PLAIN and job.flags & _flag.check_prediction:
            domain = numbers.lowest, numbers.highest, numbers.near_lowest, numbers.near_highest
            bad += strays(x, domain)
            x = clamped(x, domain)
        if dense and job.flags & _flag.check_target:
            domain = numbers.low, numbers.high, numbers.near_low, numbers.near_high
            bad += strays(t, domain)
            t = clamped(t, domain)
        return x, t, base, bad

    return read


@cache
def _measurer(form: Form, vectors: int) -> Callable:
    """What is taken from a row's logits, the log of the sum of exponentials, one over the sum of
    the teacher's, and its exponentials."""
    kind, real = form.kind, compute_type(form.kind)
    computed, size_ = np.dtype(real).name, vectors * lanes(kind)
    zero, one, lowest, log = real(0), real(1), real(-np.inf), vmath.log
    largest, whole_of = combined(computed, size_, True), sum_of_powers(kind, size_)
    part_of, total_of_thread = shares(computed, size_), combined(computed, size_)
    total_of, maximum_of, totals_of = group()
    reading, softened = form.reading, form.targets == LOGITS

    @device_function
    def measure(numbers, base, x, t, size, width, thread, scratch):
        log_sum, one_over = zero, one
        if reading == SOFTMAX:
            high, low = numbers.power_high, numbers.power_low
            top = maximum_of(largest(x), width, thread, scratch)
            base = zero if top == lowest else top
            whole = whole_of(x, base, high, low)
            if softened:
                top = maximum_of(largest(t), width, thread, scratch)
                of_teacher = zero if top == lowest else top
                t = part_of(t, of_teacher, numbers.inverse_temperature)
                whole, other = totals_of(whole, total_of_thread(t), width, thread, scratch)
                one_over = one / other if other != zero else one
            else:
                whole = total_of(whole, width, thread, scratch)
            log_sum = real(log(whole)) if size > 0 else zero
        return base, log_sum, one_over, t

    return measure


@cache
def finisher_of_classes(structure: Structure, form: Form) -> Callable:
    """From the sums over a row to its value, and what its derivatives are made of."""
    real = compute_type(form.kind)
    zero = real(0)
    has_term = any(brings(cls, "normalizer") for cls in structure.classes)

    @device_function
    def finish(loss, numbers, scale, base, log_sum, weight, size, value, slopes, seconds):
        inverse = numbers.inverse_temperature
        term = term_slope = term_second = zero
        if has_term:
            whole = base * inverse + log_sum
            a, b, c = normalizer(loss, whole, whole)
            term, term_slope, term_second = real(a), real(b), real(c)
        share = weight * numbers.share
        factor = share * scale * inverse
        value = (log_sum if log_sum != log_sum else value + term) * share
        difference, second, of_hessian = (
            term_slope - slopes,
            term_second + seconds,
            factor * inverse,
        )
        if size == 0:  # a row without classes has no φ that could become NaN
            value = difference = second = factor = of_hessian = zero
        return value, (difference, second, factor, of_hessian)

    return finish
