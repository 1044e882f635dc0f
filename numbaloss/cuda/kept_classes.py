"""Rows too long for registers, of losses that read all classes.

A block walks a row three times: for the maximum and the sum of exponentials, which are kept up
together, of logits and of a teacher's; for the sums of φ and its derivatives; and for the gradient.
The first time it keeps logits and dense targets in shared memory, half of it each, as they are
stored: what fits comes from memory once, 58,000 classes of halves with their targets on an H100.
The rest is read again from the second-level cache.

The formulas are in :mod:`.class_terms`. Not for arrays that are not cut into vectors at the same
classes, nor targets of another dtype: see :mod:`.general`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .. import vmath
from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowFlags
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from . import reduce
from .all_classes import finisher_of_classes
from .backend import cuda, device_function
from .class_terms import (
    DENSE,
    LABELS,
    LOGITS,
    Form,
    emitter,
    of_class,
    shares,
    sum_of_powers,
    terms,
    vector_terms,
)
from .dense_targets import outside
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .kept_vectors import divider, fetcher, keeper, numbers_of, stored_as, taker, words_of
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import larger, power
from .reduce import PAIRS
from .row_vectors import combined, int32
from .rows import describer, signature

_flag = RowFlags.bit


def most_threads(kind: str) -> int:
    """Of a block."""
    return 256 if kind == "float64" else 512


def _at_once(kind: str) -> int:
    """Vectors of a thread, of each array, that are on their way at the same time."""
    return 2 if itemsize(kind) == 2 else 4


@cache
def _domains(form: Form, count: int) -> tuple[Callable, Callable]:
    """``strays(job, numbers, x, t)``: how many logits and targets are out of range; ``within``: the
    same numbers in their domains."""
    computed = np.dtype(compute_type(form.kind)).name
    strays_of, clamped = outside(computed, count)
    plain, dense, zero = form.reading == PLAIN, form.targets == DENSE, compute_type(form.kind)(0)

    @device_function
    def strays(job, numbers, x, t):
        bad = zero
        if plain and job.flags & _flag.check_prediction:
            domain = numbers.lowest, numbers.highest, numbers.near_lowest, numbers.near_highest
            bad += strays_of(x, domain)
        if dense and job.flags & _flag.check_target:
            domain = numbers.low, numbers.high, numbers.near_low, numbers.near_high
            bad += strays_of(t, domain)
        return bad

    @device_function
    def within(job, numbers, x, t):
        if plain and job.flags & _flag.check_prediction:
            domain = numbers.lowest, numbers.highest, numbers.near_lowest, numbers.near_highest
            x = clamped(x, domain)
        if dense and job.flags & _flag.check_target:
            domain = numbers.low, numbers.high, numbers.near_low, numbers.near_high
            t = clamped(t, domain)
        return x, t

    return strays, within


@cache
def _rising(kind: str, count: int, exact: bool) -> Callable:
    """``rise(x, top, total, high, low, inverse)``: a maximum, and a sum of exponentials relative to
    it, with more numbers. ``exact`` exponentials are those of a teacher."""
    real = compute_type(kind)
    computed, zero, lowest = np.dtype(real).name, real(0), real(-np.inf)
    power_of, choose, largest = power(kind), larger(computed), combined(computed, count, True)
    of_powers, part_of = sum_of_powers(kind, count), shares(computed, count)
    single, total_of = shares(computed, 1), combined(computed, count)

    @device_function
    def rise(x, top, total, high, low, inverse):
        most = choose(top, largest(x))
        base = zero if most == lowest else most
        # The sum is 0 as long as the maximum is -inf.
        if total != zero:
            if exact:
                total = total * single((top,), base, inverse)[0]
            else:
                total = total * power_of(top - base, high, low)
        if exact:
            total += total_of(part_of(x, base, inverse))
        else:
            total += of_powers(x, base, high, low)
        return most, total

    return rise


@cache
def _measurer(form: Form) -> Callable:
    """``measure(job, numbers, parts, shared, thread, scratch)``: keeps a row, and finds what is
    taken from its logits, the log of the sum of exponentials, the same of the teacher's with one
    over their sum, and how many numbers of a thread are out of range."""
    kind, real, count = form.kind, compute_type(form.kind), lanes(form.kind)
    vectors, dense, softened = _at_once(kind), form.targets != LABELS, form.targets == LOGITS
    zero, one, lowest, log = real(0), real(1), real(-np.inf), vmath.log
    fetch = fetcher(kind, vectors, form.reading != PLAIN)
    fetch_targets, of_softmax = fetcher(kind, vectors, softened), form.reading == SOFTMAX
    keep, numbers_ = keeper(kind, vectors), numbers_of(kind, vectors)
    strays, _ = _domains(form, vectors * count)
    single_strays, _ = _domains(form, 1)
    rise, rise_one = _rising(kind, vectors * count, False), _rising(kind, 1, False)
    rise_softly, rise_softly_one = _rising(kind, vectors * count, True), _rising(kind, 1, True)
    close, close_softly = _closer(kind, False), _closer(kind, True)

    @device_function
    def measure(job, numbers, parts, shared, thread, scratch):
        at, of_targets, _, size, edge, edge_x, edge_t, kept = parts
        high, low = numbers.power_high, numbers.power_low
        inverse = numbers.inverse_temperature
        top, total, other_top, other = lowest, zero, lowest, zero
        bad = zero
        if edge >= 0:
            bad += single_strays(job, numbers, (edge_x,), (edge_t,))
            if of_softmax:
                top, total = rise_one((edge_x,), top, total, high, low, inverse)
            if softened:
                other_top, other = rise_softly_one((edge_t,), other_top, other, high, low, inverse)
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < size:
            words = fetch(job.prediction, at, j, step, size)
            of_words = words
            if dense:
                of_words = fetch_targets(job.target, of_targets, j, step, size)
                keep(of_words, shared, kept, j, step, kept)
            keep(words, shared, int32(0), j, step, kept)
            x, t = numbers_(words), numbers_(of_words)
            bad += strays(job, numbers, x, t)
            if of_softmax:
                top, total = rise(x, top, total, high, low, inverse)
            if softened:
                other_top, other = rise_softly(t, other_top, other, high, low, inverse)
            j = int32(j + vectors * step)
        base = log_sum = other_base = zero
        one_over = one
        if of_softmax:
            base, total = close(top, total, high, low, inverse, thread, scratch)
            log_sum = real(log(total))
        if softened:
            other_base, other = close_softly(other_top, other, high, low, inverse, thread, scratch)
            one_over = one / other if other != zero else one
        return base, log_sum, other_base, one_over, bad

    return measure


@cache
def _closer(kind: str, exact: bool) -> Callable:
    """What is taken from all numbers of a row, and the sum of exponentials of all threads."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    power_of, single = power(kind), shares(np.dtype(real).name, 1)

    @device_function
    def close(top, total, high, low, inverse, thread, scratch):
        most = reduce.block_max(top, thread, scratch)
        base = zero if most == lowest else most
        if total != zero:
            if exact:
                total = total * single((top,), base, inverse)[0]
            else:
                total = total * power_of(top - base, high, low)
        return base, reduce.block_sum(total, thread, scratch)

    return close


@cache
def _reader(form: Form) -> tuple[Callable, Callable]:
    """``read(job, numbers, parts, other_base, shared, j, step)``: a vector of logits and targets,
    as terms take them; and ``read_edge``, the number outside of vectors."""
    kind, real, count = form.kind, compute_type(form.kind), lanes(form.kind)
    computed, softened = np.dtype(real).name, form.targets == LOGITS
    take, take_targets = taker(kind, 1, form.reading != PLAIN), taker(kind, 1, softened)
    numbers_, dense = numbers_of(kind, 1), form.targets != LABELS
    (_, within), (_, within_one) = _domains(form, count), _domains(form, 1)
    part_of, single = shares(computed, count), shares(computed, 1)

    @device_function
    def read(job, numbers, parts, other_base, shared, j, step):
        at, of_targets, _, size, _, _, _, kept = parts
        x = numbers_(take(job.prediction, at, shared, int32(0), j, step, size, kept))
        t = x
        if dense:
            t = numbers_(take_targets(job.target, of_targets, shared, kept, j, step, size, kept))
        if softened:
            t = part_of(t, other_base, numbers.inverse_temperature)
        return within(job, numbers, x, t)

    @device_function
    def read_edge(job, numbers, parts, other_base):
        _, _, _, _, _, edge_x, edge_t, _ = parts
        x, t = (edge_x,), (edge_t,)
        if softened:
            t = single(t, other_base, numbers.inverse_temperature)
        return within_one(job, numbers, x, t)

    return read, read_edge


@cache
def _walks(form: Form) -> tuple[Callable, Callable]:
    """``sums(loss, job, numbers, parts, of_row, of_edge, other_base, shared, thread)``: a thread's
    share of the sums of φ and its derivatives; and ``emit``, of the gradient and the hessian."""
    kind, count, zero = form.kind, lanes(form.kind), compute_type(form.kind)(0)
    with_hessian, store = form.derivatives > 1, writer(form.kind)
    (read, read_edge), all_terms, edge_terms = _reader(form), terms(form, 1), vector_terms(form, 1)
    emit_vector, both = emitter(form, 1), of_class(kind, form.reading)

    @device_function
    def sums(loss, job, numbers, parts, of_row, of_edge, other_base, shared, thread):
        size, edge = parts[3], parts[4]
        value, slopes, seconds = zero, zero, zero
        if edge >= 0:
            x, t = read_edge(job, numbers, parts, other_base)
            value, slopes, seconds, _, _, _ = edge_terms(loss, numbers, of_edge, x, t, edge, edge)
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < size:
            x, t = read(job, numbers, parts, other_base, shared, j, step)
            u, v, w, _, _, _ = all_terms(loss, numbers, of_row, x, t, j, step, size)
            value += u
            slopes += v
            seconds += w
            j = int32(j + step)
        return value, slopes, seconds

    @device_function
    def emit(loss, job, numbers, parts, of_row, of_edge, other_base, shared, thread, places, found):
        size, edge = parts[3], parts[4]
        at_gradient, at_hessian, head, all_, own_edge = places
        step = int32(cuda.blockDim.x * count)
        j = int32(thread * count)
        while j < all_:  # of a row that does not count nothing is read, and all is 0
            x, t = read(job, numbers, parts, other_base, shared, j, step)
            _, _, _, a, b, c = all_terms(loss, numbers, of_row, x, t, j, step, size)
            here, there = at_gradient + head, at_hessian + head
            emit_vector(job, here, there, j, step, all_, a, b, c, found)
            j = int32(j + step)
        if own_edge >= 0:
            g = h = zero
            if edge >= 0:
                x, t = read_edge(job, numbers, parts, other_base)
                _, _, _, a, b, c = edge_terms(loss, numbers, of_edge, x, t, edge, edge)
                g, h = both(a[0], b[0], c[0], found)
            store(job.gradient, at_gradient + own_edge, g)
            if with_hessian:
                store(job.hessian, at_hessian + own_edge, h)

    return sums, emit


@cache
def _parter(form: Form) -> Callable:
    """``part(job, row, counts, label, shared, thread)``: where a row's vectors are, how many
    classes they have, a thread's class outside of them with its numbers, how many are kept; the
    label's logit, for margins; the classes before the first vector, and the same of a row that is
    written though it does not count."""
    kind, real, count = form.kind, compute_type(form.kind), lanes(form.kind)
    zero, load, dense, stored = real(0), reader(form.kind), form.targets != LABELS, words_of(kind)
    divide, arrays, of_margin = divider(kind, form.whole), 1 + dense, form.reading == MARGIN

    @device_function
    def part(job, row, counts, label, shared, thread):
        at, of_targets = row * job.prediction_row_stride, row * job.target_row_stride
        head, all_, own_edge = divide(job.prediction, at, int32(job.classes), thread)
        size, edge = all_ if counts else int32(0), own_edge if counts else int32(-1)
        kept = int32(min(all_, (len(shared) // (stored * arrays)) * count))
        edge_x = edge_t = chosen = zero
        if edge >= 0:
            edge_x = load(job.prediction, at + edge)
            if dense:
                edge_t = load(job.target, of_targets + edge)
        if of_margin and counts:
            chosen = load(job.prediction, at + label)
        parts = at + head, of_targets + head, head, size, edge, edge_x, edge_t, kept
        return parts, chosen, head, all_, own_edge

    return part


@kept_on_disk
def kernel(structure: Structure, form: Form) -> Kernel:
    """The kernel of a loss. It keeps what the launch has of shared memory."""
    kind, real = form.kind, compute_type(form.kind)
    computed, zero = np.dtype(real).name, real(0)
    describe, write_value = describer(kind, False), writer(computed)
    whole_form: Any = form._replace(whole=True)  # the vectors' form: edges are taken apart
    (sums, emit), measure, part = _walks(whole_form), _measurer(whole_form), _parter(form)
    finish, with_gradient = finisher_of_classes(structure, form), form.derivatives > 0
    begin, leave, stored = reduce.begin(computed), reduce.leave(), getattr(types, stored_as(kind))
    of_margin, with_hessian = form.reading == MARGIN, form.derivatives > 1
    weight_bytes = itemsize(computed)

    def softmax_kept_classes(loss, job, numbers, tail):
        shared = cuda.shared.array(0, stored, VECTOR_BYTES)
        scratch = cuda.shared.array(PAIRS, real)
        thread = cuda.threadIdx.x
        scale, rows = begin(tail, numbers.scale, job.rows)
        total, bad = 0.0, zero
        row = cuda.blockIdx.x
        while row < rows:
            weight, label_, own_weight, wrong, _ = describe(job, row)
            label, counts = int32(label_), weight != zero
            if thread == 0 and job.flags & _flag.count_errors:
                bad += wrong
            parts, chosen, head, all_, own_edge = part(job, row, counts, label, shared, thread)
            base, log_sum, other_base, one_over, strays = measure(
                job, numbers, parts, shared, thread, scratch
            )
            bad += strays
            if of_margin:
                base = chosen
            weights = job.class_weight
            of_edge = base, log_sum, label, own_weight, weights, one_over
            weights += head * weight_bytes
            of_row = base, log_sum, int32(label - head), own_weight, weights, one_over
            value, slopes, seconds = sums(
                loss, job, numbers, parts, of_row, of_edge, other_base, shared, thread
            )
            # In place, the label's logit has been read by all when this is over.
            value, slopes = reduce.block_sums(value, slopes, thread, scratch)
            if with_hessian:
                seconds = reduce.block_sum(seconds, thread, scratch)
            size = int32(1) if counts else int32(0)
            value, found = finish(
                loss, numbers, scale, base, log_sum, weight, size, value, slopes, seconds
            )
            if thread == 0:
                total += np.float64(value)
                if job.value != 0:
                    write_value(job.value, row * job.value_row_stride, value)
            if with_gradient:
                places = (
                    row * job.gradient_row_stride, row * job.hessian_row_stride, head, all_,
                    own_edge,
                )  # fmt: skip
                emit(
                    loss, job, numbers, parts, of_row, of_edge, other_base, shared, thread,
                    places, found,
                )  # fmt: skip
            row += cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    bounds = most_threads(kind), 1
    return Kernel(softmax_kept_classes, signature(structure, computed), structure, bounds)
