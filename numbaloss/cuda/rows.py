"""What the kernels for rows of logits share: the description of a call, and what is done to a row.

The formulas are those of the CPU's: with integer labels and most losses a row is a function of
one number, the log-probability l of its label; write g(l) for it, w for the label's class weight,
p for the softmax, q for 1 - p at the label, R for the term in the log of the sum, and o = ε/C g'
for label smoothing. Then

    gradient at k       p_k (R' - S) + o w_k,    S = w (1 - ε) g' + o Σ w
    gradient at label   w (1 - ε) g' q + p (R' - o Σ w) + o w
    hessian at k        p_k (p_k A + R' - S),    A = w (1 - ε) g'' + R'' - R' + S
    hessian at label    w (1 - ε) g'' q² + R'' p² + (R' - S) p q

The sum of exponentials is taken without the label's, so that q keeps all digits where p is near 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .. import vmath
from ..core.contracts import brings
from ..formulas.points import label_point, normalizer
from ..formulas.structure import Structure
from ..vmath import float32, float64
from ..vmath.overloads import install as install_vmath
from . import backend, reduce
from .backend import device_function
from .memory import any_reader, compute_type, integer_reader, raw_reader, reader

# Integers that describe a call, all of them int64.
(
    ROWS,
    CLASSES,
    PREDICTION,  # addresses
    TARGET,
    WEIGHT,
    MASK,
    VALUES,
    GRADIENT,
    HESSIAN,
    CLASS_WEIGHT,
    TARGET_CODE,  # dtypes
    WEIGHT_CODE,
    LAYOUT,  # address of the layout of the rows, 0 where the strides below are all there is
    ROW_PREDICTION,  # elements from row to row
    ROW_TARGET,
    ROW_WEIGHT,
    ROW_MASK,
    ROW_VALUES,
    ROW_GRADIENT,
    ROW_HESSIAN,
    CLASS_PREDICTION,  # and from class to class
    CLASS_TARGET,
    CLASS_GRADIENT,
    CLASS_HESSIAN,
    WIDTH,  # threads that share a row, a power of two
    SHIFT,  # which one
    FLAGS,
    IGNORED,  # the label of rows that do not count
    STEP,  # of rows that blocks share: see `long`
    PIECE,  # classes of a piece
    PIECES,  # of a row
    LEFT,  # address of what the pieces leave
) = range(32)
INTEGERS = 32
# Of FLAGS.
SMOOTH, LABELLED, MARGIN, DENSE_LOGITS, CHECKED, JUDGED, DIRECT_IN, DIRECT_OUT = (
    1 << bit for bit in range(8)
)
WEIGHTED, IGNORES, TRUSTED = 1 << 8, 1 << 9, 1 << 10  # TRUSTED: any weight will do
PLAIN, TESTED = 1 << 11, 1 << 12  # rows are taken as they are; predictions are tested
# Numbers that describe a call, in the compute type.
INVERSE, ON, OFF, WHOLE, SCALE, LOW, HIGH, NEAR_LOW, NEAR_HIGH, SHARE = range(10)
LOWEST, HIGHEST, NEAR_LOWEST, NEAR_HIGHEST = range(10, 14)  # of predictions
POWER_HIGH, POWER_LOW = 14, 15  # what distances are multiplied by: see `powers`
REALS = 16


def signature(structure: Structure, real: str) -> tuple[Any, ...]:
    """Types of a kernel's arguments: loss, integers, numbers, tail."""
    dtype = getattr(types, real)
    return (
        structure.numba_type(dtype),
        types.UniTuple(types.int64, INTEGERS),
        types.UniTuple(dtype, REALS),
        reduce.TAIL,
    )


@cache
def decay(kind: str) -> Callable:
    """``decay(x)``: e to the power of x <= 0, in the compute type ``kind``."""
    real = compute_type(kind)
    if backend.SIMULATED:
        return lambda x: real(np.exp(-abs(x)))
    install_vmath()
    return float64.decay if kind == "float64" else float32.decay


def most_threads(real: str) -> int:
    """Of a block whose threads keep parts of rows, by the registers that numbers take."""
    return 512 if real == "float64" else 1024


@cache
def beginnings(walked: bool, field: int = LAYOUT, arrays: int = 7) -> Callable:
    """``find(job, row, stride, which)``: where a row begins in an array, in elements.

    ``stride`` is that of its rows; ``which`` its place in the layout by which rows along several
    axes are walked. Where that lies a field of the job says; it is one of so many arrays. Kernels
    for these are a compilation of their own, which spares the others the registers.
    """
    if not walked:

        @device_function
        def find_simple(job, row, stride, which):
            return row * stride

        return find_simple
    number = raw_reader("int64")

    @device_function
    def find(job, row, stride, which):
        layout = job[field]
        axes, place, left, found = number(layout, 0), 1, row, 0
        axis = 0
        while axis < axes:
            index = left
            if axis + 1 < axes:
                length = number(layout, place)
                left = index // length
                index = index - left * length
            found += index * number(layout, place + which)
            place += 1 + arrays
            axis += 1
        return found

    return find


# Places of the arrays in a layout.
OF_PREDICTION, OF_TARGET, OF_WEIGHT, OF_MASK, OF_VALUES, OF_GRADIENT, OF_HESSIAN = range(1, 8)


@cache
def label_reader(walked: bool) -> Callable:
    """``label_of(job, row)``: the label, whether it is the one to ignore, and out of range."""
    load_label, find = integer_reader("int64"), beginnings(walked)

    @device_function
    def label_of(job, row):
        at = find(job, row, job[ROW_TARGET], OF_TARGET)
        label = load_label(job[TARGET], job[TARGET_CODE], at)
        ignored = job[FLAGS] & IGNORES != 0 and label == job[IGNORED]
        return label, ignored, label < 0 or label >= job[CLASSES]

    return label_of


@cache
def describer(kind: str, walked: bool) -> Callable:
    """``describe(job, row)``: weight, label, class weight of the label, 1 if something is wrong,
    and whether the row counts.

    The weight of rows that do not count is 0; that of a row whose label is out of range NaN, and
    its label 0, so that nothing is read or written out of bounds.
    """
    real = compute_type(kind)
    zero, one, nan = real(0), real(1), real(np.nan)
    computed = np.dtype(real).name
    load_any, load_byte, load_real = any_reader(computed), raw_reader("bool"), reader(computed)
    find, label_of = beginnings(walked), label_reader(walked)

    @device_function
    def describe(job, row):
        weight, own, label, wrong = one, one, 0, zero
        counts = True
        if job[WEIGHT] != 0:
            at = find(job, row, job[ROW_WEIGHT], OF_WEIGHT)
            weight = load_any(job[WEIGHT], job[WEIGHT_CODE], at)
            if not (weight >= zero or job[FLAGS] & TRUSTED):
                wrong = one
        if job[MASK] != 0:
            counts = load_byte(job[MASK], find(job, row, job[ROW_MASK], OF_MASK)) != 0
        if job[FLAGS] & LABELLED:
            label, ignored, outside = label_of(job, row)
            if ignored:
                counts = False
            if outside:
                # A row that the mask or the label itself leaves out may hold any label.
                if counts:
                    weight, wrong = nan, one
                label = 0
            if job[CLASS_WEIGHT] != 0:
                own = load_real(job[CLASS_WEIGHT], label)
        if not counts:
            weight = zero
        return weight, label, own, wrong, counts

    return describe


@cache
def judge(structure: Structure, kind: str, derivatives: int) -> Callable:
    """From the sums over a row to its value, and what its derivatives are made of.

    ``judge(loss, reals, flags, scale, numbers)`` with the numbers maximum, sum of the other
    classes' exponentials, scaled distance of the label's logit from the maximum, its exponential,
    the weighted sum of the distances of all, weight of the row and class weight of the label.
    """
    install_vmath()
    real = compute_type(kind)
    zero, one = real(0), real(1)
    log1p = vmath.log1p
    has_term = any(brings(cls, "normalizer") for cls in structure.classes)
    with_hessian = derivatives > 1

    @device_function
    def judge_row(loss, reals, flags, scale, numbers):
        top, others, distance, own, spread, weight, of_label = numbers
        inverse, on, off, whole = reals[INVERSE], reals[ON], reals[OFF], reals[WHOLE]
        log_sum = real(log1p(others + (own - one)))
        logarithm = distance - log_sum
        first_, slope_, curve_ = label_point(loss, logarithm, logarithm)
        first, slope, curve = real(first_), real(slope_), real(curve_)
        if logarithm != logarithm:  # comparisons in a loss lose NaN
            first = slope = curve = logarithm
        term = term_slope = term_curve = zero
        if has_term:
            whole_sum = top * inverse + log_sum
            a, b, c = normalizer(loss, whole_sum, whole_sum)
            term, term_slope, term_curve = real(a), real(b), real(c)
        direct = on * of_label
        o = zero
        # A class that does not count contributes 0, even where its loss is infinite.
        value = zero if direct == zero and first == first else direct * first
        if flags & SMOOTH:
            o = off * slope
            value += o * (spread - whole * log_sum)
        value = (value + term) * weight
        r = one / (others + own)
        p, q = own * r, others * r
        lean = term_slope - direct * slope - o * whole
        at_label = direct * slope * q + p * (term_slope - o * whole) + o * of_label
        g = weight * scale * inverse
        square = linear = bent = zero
        if with_hessian:
            bend = direct * curve
            h = g * inverse
            straight = term_slope - (direct + off * whole) * slope
            square = (bend + term_curve - straight) * h
            linear = straight * h
            bent = (bend * q * q + term_curve * p * p + straight * p * q) * h
        return value, lean * r * g, o * g, at_label * g, r, square, linear, bent

    return judge_row


@cache
def group() -> tuple[Callable, Callable]:
    """Sum and maximum over the threads that share a row: part of a warp, or the whole block."""

    @device_function
    def total(number, width, thread, scratch):
        if width > reduce.WARP:
            return reduce.block_sum(number, thread, scratch)
        return reduce.group_sum(number, width, thread, scratch)

    @device_function
    def maximum(number, width, thread, scratch):
        if width > reduce.WARP:
            return reduce.block_max(number, thread, scratch)
        return reduce.group_max(number, width, thread, scratch)

    return total, maximum
