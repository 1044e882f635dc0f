"""Rows of any softmax loss and any targets: every class has a φ of its own.

With S, S', S'' the sums of φ and its derivatives and p the softmax,

    value     S + R
    gradient  φ'_k + p_k (R' - S')
    hessian   φ''_k (1 - 2 p_k) + p_k² (S'' + R'') + p_k (1 - p_k) (R' - S')

A loss relative to its label (a margin) is the same with the label's 0 or 1 in the place of p, whose
own curvature is none; a loss of rows as they are (of probabilities), with 0 in the place of p. The
threads that share a row walk along it for its maximum, for the sum of exponentials, for φ, and for
the derivatives; what they read again is in a cache, if the row is not very long.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .. import vmath
from ..core.contracts import brings
from ..formulas.points import normalizer, point
from ..formulas.structure import Structure
from ..vmath.overloads import install as install_vmath
from . import reduce
from .backend import Kernel, cuda, device_function
from .memory import any_reader, compute_type, reader, writer
from .reduce import SCRATCH
from .rows import (
    CHECKED,
    CLASS_GRADIENT,
    CLASS_HESSIAN,
    CLASS_PREDICTION,
    CLASS_TARGET,
    CLASS_WEIGHT,
    CLASSES,
    DENSE_LOGITS,
    FLAGS,
    GRADIENT,
    HESSIAN,
    HIGH,
    HIGHEST,
    INVERSE,
    JUDGED,
    LABELLED,
    LOW,
    LOWEST,
    MARGIN,
    NEAR_HIGH,
    NEAR_HIGHEST,
    NEAR_LOW,
    NEAR_LOWEST,
    OF_GRADIENT,
    OF_HESSIAN,
    OF_PREDICTION,
    OF_TARGET,
    OF_VALUES,
    OFF,
    ON,
    PLAIN,
    PREDICTION,
    ROW_GRADIENT,
    ROW_HESSIAN,
    ROW_PREDICTION,
    ROW_TARGET,
    ROW_VALUES,
    ROWS,
    SCALE,
    SHARE,
    SHIFT,
    TARGET,
    TARGET_CODE,
    TESTED,
    VALUES,
    WIDTH,
    beginnings,
    decay,
    describer,
    group,
    signature,
)


@cache
def kernel(structure: Structure, kind: str, derivatives: int, walked: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or ``walked`` ones."""
    install_vmath()
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one, lowest = real(0), real(1), real(-np.inf)
    load, store, store_value = reader(kind), writer(kind), writer(computed)
    load_any, load_real = any_reader(computed), reader(computed)
    # Of the compute type: log-probabilities may exceed 0 by their rounding.
    exp, log = vmath.exp, vmath.log
    falling = decay(computed)
    find, describe = beginnings(walked), describer(kind, walked)
    total_of, maximum_of = group()
    has_term = any(brings(cls, "normalizer") for cls in structure.classes)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    @device_function
    def target_of(job, reals, of_targets, j, label, teacher):
        flags = job[FLAGS]
        if flags & LABELLED:
            return reals[ON] + reals[OFF] if j == label else reals[OFF]
        t = load_any(job[TARGET], job[TARGET_CODE], of_targets + j * job[CLASS_TARGET])
        if flags & DENSE_LOGITS:
            return falling((t - teacher[0]) * reals[INVERSE]) * teacher[1]
        if flags & CHECKED:  # a rounding beyond the domain: the bound is meant
            t = reals[LOW] if t < reals[LOW] else t
            t = reals[HIGH] if t > reals[HIGH] else t
        return t * reals[ON] + reals[OFF] if reals[OFF] != zero else t

    @device_function
    def terms(loss, job, weighed, logarithm, t):
        """φ of a class and its derivatives, times the weight of the class ``weighed``."""
        value_, slope_, curve_ = point(loss, logarithm, t)
        value, slope, curve = real(value_), real(slope_), real(curve_)
        if logarithm != logarithm or t != t:  # comparisons in a loss lose NaN
            value = logarithm + t
        if value != value:
            slope = curve = value
        if job[CLASS_WEIGHT] != 0:
            # A class that does not count contributes 0, even where its loss is infinite.
            w = load_real(job[CLASS_WEIGHT], weighed)
            out = w == zero
            value = zero if out and value == value else value * w
            slope = zero if out and slope == slope else slope * w
            curve = zero if out and curve == curve else curve * w
        return value, slope, curve

    @device_function
    def argument(job, reals, at, j, base, log_sum):
        """What φ of a class is a function of."""
        x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
        if job[FLAGS] & TESTED:
            x = reals[LOWEST] if x < reals[LOWEST] else x
            x = reals[HIGHEST] if x > reals[HIGHEST] else x
        return (x - base) * reals[INVERSE] - log_sum

    def softmax_general(loss, job, reals, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        classes, width, flags, rows = job[CLASSES], job[WIDTH], job[FLAGS], job[ROWS]
        inverse = reals[INVERSE]
        scale, rows = begin(tail, reals[SCALE], rows)
        at_once = cuda.blockDim.x >> job[SHIFT]
        mine, lane = thread >> job[SHIFT], thread & (width - 1)
        margin, plain = flags & MARGIN, flags & PLAIN
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            present = row < rows
            weight, label, wrong = zero, 0, zero
            at = of_targets = 0
            if present:
                weight, label, _, wrong, _ = describe(job, row)
                at = find(job, row, job[ROW_PREDICTION], OF_PREDICTION)
                of_targets = find(job, row, job[ROW_TARGET], OF_TARGET)
            # Rows that do not count have no classes: whatever they hold, it is not looked at.
            size = classes if weight != zero else 0
            top, other_top = lowest, lowest
            j = lane
            while j < size:
                x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                top = x if x > top else top
                if flags & TESTED:
                    bad += one if x < reals[NEAR_LOWEST] or x > reals[NEAR_HIGHEST] else zero
                if flags & DENSE_LOGITS:
                    t = load_any(job[TARGET], job[TARGET_CODE], of_targets + j * job[CLASS_TARGET])
                    other_top = t if t > other_top else other_top
                if flags & CHECKED:
                    t = load_any(job[TARGET], job[TARGET_CODE], of_targets + j * job[CLASS_TARGET])
                    bad += one if t < reals[NEAR_LOW] or t > reals[NEAR_HIGH] else zero
                j += width
            top = maximum_of(top, width, thread, scratch)
            base = zero if top == lowest else top
            if flags & DENSE_LOGITS:
                other_top = maximum_of(other_top, width, thread, scratch)
            other_base = zero if other_top == lowest else other_top
            whole, other_whole = zero, zero
            j = lane
            while j < size:
                x = load(job[PREDICTION], at + j * job[CLASS_PREDICTION])
                whole += falling((x - base) * inverse)
                if flags & DENSE_LOGITS:
                    t = load_any(job[TARGET], job[TARGET_CODE], of_targets + j * job[CLASS_TARGET])
                    other_whole += falling((t - other_base) * inverse)
                j += width
            whole = total_of(whole, width, thread, scratch)
            if flags & DENSE_LOGITS:
                other_whole = total_of(other_whole, width, thread, scratch)
            log_sum = real(log(whole)) if size > 0 else zero
            if margin or plain:
                base, log_sum = zero, zero
                if margin and size > 0:
                    base = load(job[PREDICTION], at + label * job[CLASS_PREDICTION])
            teacher = other_base, one / other_whole if other_whole != zero else one
            value, slopes, curves = zero, zero, zero
            j = lane
            while j < size:
                logarithm = argument(job, reals, at, j, base, log_sum)
                t = target_of(job, reals, of_targets, j, label, teacher)
                a, b, c = terms(loss, job, label if margin else j, logarithm, t)
                value += a
                slopes += b
                curves += c
                j += width
            value = total_of(value, width, thread, scratch)
            if with_gradient:
                slopes = total_of(slopes, width, thread, scratch)
            if with_hessian:
                curves = total_of(curves, width, thread, scratch)
            term = term_slope = term_curve = zero
            if has_term:
                sum_ = base * inverse + log_sum
                a_, b_, c_ = normalizer(loss, sum_, sum_)
                term, term_slope, term_curve = real(a_), real(b_), real(c_)
            share = weight * reals[SHARE]
            lean, bend = term_slope - slopes, term_curve + curves
            factor = share * scale * inverse
            of_hessian = factor * inverse
            # A row without targets has no φ that could tell of a NaN.
            value = (log_sum if log_sum != log_sum else value + term) * share
            if size == 0:
                value = zero
            if lane == 0 and present:
                total += np.float64(value)
                if flags & JUDGED:
                    bad += wrong
                if job[VALUES] != 0:
                    store_value(job[VALUES], find(job, row, job[ROW_VALUES], OF_VALUES), value)
            if with_gradient and present:
                # In place, the label's logit must have been read by all that share the row.
                at_gradient = find(job, row, job[ROW_GRADIENT], OF_GRADIENT)
                at_hessian = at_gradient
                if with_hessian:
                    at_hessian = find(job, row, job[ROW_HESSIAN], OF_HESSIAN)
                j = lane
                while j < classes:
                    g = h = zero
                    if size > 0:
                        logarithm = argument(job, reals, at, j, base, log_sum)
                        t = target_of(job, reals, of_targets, j, label, teacher)
                        a, b, c = terms(loss, job, label if margin else j, logarithm, t)
                        if plain:
                            g, h = b * factor, c * of_hessian
                        elif margin:
                            g = (b + t * lean) * factor
                            h = (c * (one - (t + t)) + t * bend) * of_hessian
                        else:
                            p = real(exp(logarithm))
                            g = (b + p * lean) * factor
                            own = c * (one - (p + p)) + p * p * bend
                            h = (own + p * (one - p) * lean) * of_hessian
                    store(job[GRADIENT], at_gradient + j * job[CLASS_GRADIENT], g)
                    if with_hessian:
                        store(job[HESSIAN], at_hessian + j * job[CLASS_HESSIAN], h)
                    j += width
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_general, signature(structure, computed), structure)
