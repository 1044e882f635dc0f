"""Losses that read all classes of a row: what a thread does with its vectors of one.

With S, S', S'' the sums of φ and its derivatives and p the softmax,

    value     S + R
    gradient  φ'_k + p_k (R' - S')
    hessian   φ''_k (1 - 2 p_k) + p_k² (S'' + R'') + p_k (1 - p_k) (R' - S')

A loss relative to its label (a margin) is the same with the label's 0 or 1 in the place of p, which
has no derivatives of its own; a loss of rows as they are (of probabilities), with 0 in the place of
p. As in :mod:`.row_vectors`, numbers stay in tuples, and functions call themselves on halves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import vmath
from ..formulas.points import point
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from .backend import device_function
from .dtypes import compute_type, lanes
from .memory import reader
from .powers import power
from .row_vectors import int32, put_some
from .rows import decay
from .vector_memory import vector_writer

# What targets are.
LABELS, DENSE, LOGITS = "labels", "dense", "logits"


class Form(NamedTuple):
    """How rows are read, as far as it is part of the code."""

    kind: str  # dtype of the predictions
    derivatives: int
    reading: int = SOFTMAX  # or MARGIN, PLAIN
    targets: str = LABELS  # or DENSE, LOGITS
    of_targets: str = ""  # dtype of dense ones
    weighed: bool = False  # whether classes have weights
    whole: bool = False  # whether rows begin and end with whole vectors


@cache
def weighted_point(form: Form) -> Callable:
    """``phi(loss, weight, l, t)``: φ of a class and its derivatives, times the class's weight.

    Of a softmax, NaN in one logit is in the sum of exponentials, and so in p: that is enough.
    """
    real = compute_type(form.kind)
    zero, of_softmax, of_labels = real(0), form.reading == SOFTMAX, form.targets == LABELS
    weighed = form.weighed

    @device_function
    def phi(loss, weight, logarithm, t):
        value_, slope_, second_ = point(loss, logarithm, t)
        value, slope, second = real(value_), real(slope_), real(second_)
        # Comparisons in a loss lose NaN.
        if not of_labels:
            value = t if t != t else value
        if not of_softmax:
            value = logarithm if logarithm != logarithm else value
        slope = value if value != value else slope
        second = value if value != value else second
        if weighed:
            # A class that does not count contributes 0, even where its loss is infinite.
            out = weight == zero
            value = zero if out and value == value else value * weight
            slope = zero if out and slope == slope else slope * weight
            second = zero if out and second == second else second * weight
        return value, slope, second

    return phi


@cache
def of_class(kind: str, reading: int) -> Callable:
    """``both(a, b, c, of_row)``: gradient and hessian of a class.

    ``a`` is what stands in the place of p, ``b`` and ``c`` are φ' and φ''; ``of_row`` are R' - S',
    R'' + S'', and the factors of gradient and hessian.
    """
    one = compute_type(kind)(1)

    @device_function
    def both(a, b, c, of_row):
        slope_difference, second, factor, of_hessian = of_row
        if reading == PLAIN:
            return b * factor, c * of_hessian
        g = (b + a * slope_difference) * factor
        if reading == MARGIN:
            return g, (c * (one - (a + a)) + a * second) * of_hessian
        own = c * (one - (a + a)) + a * a * second
        return g, (own + a * (one - a) * slope_difference) * of_hessian

    return both


# Exponentials.


@cache
def sum_of_powers(kind: str, count: int) -> Callable:
    """``total(x, base, high, low)``: the sum of the exponentials of distances from a base."""
    if count == 1:
        power_of = power(kind)
        return device_function(lambda x, base, high, low: power_of(x[0] - base, high, low))
    half = count // 2
    part = sum_of_powers(kind, half)

    @device_function
    def several(x, base, high, low):
        return part(x[:half], base, high, low) + part(x[half:], base, high, low)

    return several


@cache
def shares(real: str, count: int) -> Callable:
    """``shares(z, base, inverse)``: e to the power of scaled distances from a base."""
    if count == 1:
        falling = decay(real)
        return device_function(lambda z, base, inverse: (falling((z[0] - base) * inverse),))
    half = count // 2
    part = shares(real, half)

    @device_function
    def several(z, base, inverse):
        return part(z[:half], base, inverse) + part(z[half:], base, inverse)

    return several


# Terms.


@cache
def _term(form: Form) -> Callable:
    """``term(loss, numbers, of_row, x, t, j)``: φ of class j and its derivatives, and what
    stands in the place of p."""
    real = compute_type(form.kind)
    zero, exp, load_real = real(0), vmath.exp, reader(np.dtype(real).name)
    phi, reading, weighed = weighted_point(form), form.reading, form.weighed
    labelled, softened = form.targets == LABELS, form.targets == LOGITS

    @device_function
    def term(loss, numbers, of_row, x, t, j):
        base, log_sum, label, own_weight, weights, one_over = of_row
        logarithm = (x - base) * numbers.inverse_temperature - log_sum
        if labelled:
            t = numbers.on + numbers.off if j == label else numbers.off
        elif softened:
            t = t * one_over
        else:
            t = t * numbers.on + numbers.off
        p = t if reading == MARGIN else zero
        if reading == SOFTMAX:  # where a loss takes the same, it stands beside
            p = real(exp(logarithm))
        weight = own_weight
        if weighed and reading != MARGIN:
            weight = load_real(weights, j)
        a, b, c = phi(loss, weight, logarithm, t)
        return a, b, c, p

    return term


@cache
def vector_terms(form: Form, count: int) -> Callable:
    """Those of neighbours: sums of φ and its derivatives, then what stands for p, φ' and φ''."""
    zero = compute_type(form.kind)(0)
    if count == 1:
        term, whole = _term(form), form.whole

        @device_function
        def single(loss, numbers, of_row, x, t, j, size):
            a = b = c = p = zero
            if whole or (j >= 0 and j < size):
                a, b, c, p = term(loss, numbers, of_row, x[0], t[0], j)
            return a, b, c, (p,), (b,), (c,)

        return single
    half = count // 2
    part = vector_terms(form, half)

    @device_function
    def several(loss, numbers, of_row, x, t, j, size):
        u = part(loss, numbers, of_row, x[:half], t[:half], j, size)
        v = part(loss, numbers, of_row, x[half:], t[half:], int32(j + half), size)
        return u[0] + v[0], u[1] + v[1], u[2] + v[2], u[3] + v[3], u[4] + v[4], u[5] + v[5]

    return several


@cache
def terms(form: Form, vectors: int) -> Callable:
    """``terms(loss, numbers, of_row, x, t, j, step, size)`` of vectors: sums, and tuples.

    ``of_row``: what is taken from logits, the log of the sum of exponentials, the label, its class
    weight, where those of all classes are, and one over the teacher's sum.
    """
    count, zero = lanes(form.kind), compute_type(form.kind)(0)
    nothing = (zero,) * count
    if vectors == 1:
        of_vector = vector_terms(form, count)

        @device_function
        def one(loss, numbers, of_row, x, t, j, step, size):
            if j >= size:
                return zero, zero, zero, nothing, nothing, nothing
            return of_vector(loss, numbers, of_row, x, t, j, size)

        return one
    half = vectors // 2
    middle = half * count
    part = terms(form, half)

    @device_function
    def several(loss, numbers, of_row, x, t, j, step, size):
        u = part(loss, numbers, of_row, x[:middle], t[:middle], j, step, size)
        further = int32(j + half * step)
        v = part(loss, numbers, of_row, x[middle:], t[middle:], further, step, size)
        return u[0] + v[0], u[1] + v[1], u[2] + v[2], u[3] + v[3], u[4] + v[4], u[5] + v[5]

    return several


# Derivatives.


@cache
def _derivatives(form: Form, count: int) -> Callable:
    """Gradients and hessians of neighbours, as two tuples."""
    if count == 1:
        both = of_class(form.kind, form.reading)

        @device_function
        def single(a, b, c, of_row):
            g, h = both(a[0], b[0], c[0], of_row)
            return (g,), (h,)

        return single
    half = count // 2
    part = _derivatives(form, half)

    @device_function
    def several(a, b, c, of_row):
        u = part(a[:half], b[:half], c[:half], of_row)
        v = part(a[half:], b[half:], c[half:], of_row)
        return u[0] + v[0], u[1] + v[1]

    return several


@cache
def emitter(form: Form, vectors: int) -> Callable:
    """``emit(job, at_gradient, at_hessian, j, step, classes, a, b, c, of_row)``."""
    count, whole, with_hessian = lanes(form.kind), form.whole, form.derivatives > 1
    put, some, of_vector = (
        vector_writer(form.kind), put_some(form.kind, count), _derivatives(form, count),
    )  # fmt: skip
    if vectors == 1:

        @device_function
        def one(job, at_gradient, at_hessian, j, step, classes, a, b, c, of_row):
            if j >= classes:
                return
            g, h = of_vector(a, b, c, of_row)
            if whole or (j >= 0 and j + count <= classes):
                put(job.gradient, at_gradient + j, g)
                if with_hessian:
                    put(job.hessian, at_hessian + j, h)
            else:
                some(job.gradient, at_gradient, j, classes, g)
                if with_hessian:
                    some(job.hessian, at_hessian, j, classes, h)

        return one
    half = vectors // 2
    middle = half * count
    part = emitter(form, half)

    @device_function
    def several(job, at_gradient, at_hessian, j, step, classes, a, b, c, of_row):
        x, y, z = a[:middle], b[:middle], c[:middle]
        part(job, at_gradient, at_hessian, j, step, classes, x, y, z, of_row)
        further = int32(j + half * step)
        x, y, z = a[middle:], b[middle:], c[middle:]
        part(job, at_gradient, at_hessian, further, step, classes, x, y, z, of_row)

    return several
