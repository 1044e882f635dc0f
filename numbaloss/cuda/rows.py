"""What the kernels for rows of logits share: what is read of a row, and what is done to it.

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
from ..jobs.cuda_rows import CudaRows, RowAxis, RowFlags, RowNumbers
from ..vmath import float32, float64
from . import backend, reduce
from .backend import device_function
from .dtypes import compute_type
from .fields import kernel_type
from .memory import any_reader, integer_reader, raw_reader, reader, writer
from .strides import beginnings

_flag, _axis = RowFlags.bit, RowAxis.column


def signature(structure: Structure, real: str) -> tuple[Any, ...]:
    """Types of a kernel's arguments: loss, rows, numbers, tail."""
    return (
        structure.numba_type(getattr(types, real)),
        kernel_type(CudaRows),
        kernel_type(RowNumbers, real),
        reduce.TAIL,
    )


@cache
def decay(kind: str) -> Callable:
    """``decay(x)``: e to the power of x <= 0, in the compute type ``kind``."""
    real = compute_type(kind)
    if backend.SIMULATED:
        return lambda x: real(np.exp(-abs(x)))
    return float64.decay if kind == "float64" else float32.decay


def most_threads(real: str) -> int:
    """Of a block whose threads keep parts of rows, by the registers that numbers take."""
    return 512 if real == "float64" else 1024


@cache
def label_reader(traversed: bool) -> Callable:
    """``label_of(job, row)``: the label, whether it is the one to ignore, and out of range."""
    load_label, find = integer_reader("int64"), beginnings(traversed, RowAxis.count)

    @device_function
    def label_of(job, row):
        at = find(job.layout, row, job.target_row_stride, _axis.target)
        label = load_label(job.target, job.target_code, at)
        ignored = job.flags & _flag.ignores != 0 and label == job.ignored_label
        return label, ignored, label < 0 or label >= job.classes

    return label_of


@cache
def describer(kind: str, traversed: bool) -> Callable:
    """``describe(job, row)``: weight, label, class weight of the label, 1 if something is wrong,
    and whether the row counts.

    The weight of rows that do not count is 0; that of a row whose label is out of range NaN, and
    its label 0, so that nothing is read or written out of bounds.
    """
    real = compute_type(kind)
    zero, one, nan = real(0), real(1), real(np.nan)
    computed = np.dtype(real).name
    load_any, load_byte, load_real = any_reader(computed), raw_reader("bool"), reader(computed)
    find, label_of = beginnings(traversed, RowAxis.count), label_reader(traversed)

    @device_function
    def describe(job, row):
        weight, own, label, wrong = one, one, 0, zero
        counts = True
        if job.weight != 0:
            at = find(job.layout, row, job.weight_row_stride, _axis.weight)
            weight = load_any(job.weight, job.weight_code, at)
            if not (weight >= zero or job.flags & _flag.any_weight):
                wrong = one
        if job.mask != 0:
            counts = (
                load_byte(job.mask, find(job.layout, row, job.mask_row_stride, _axis.mask)) != 0
            )
        if job.flags & _flag.labelled:
            label, ignored, outside = label_of(job, row)
            if ignored:
                counts = False
            if outside:
                # A row that the mask or the label itself leaves out may hold any label.
                if counts:
                    weight, wrong = nan, one
                label = 0
            if job.class_weight != 0:
                own = load_real(job.class_weight, label)
        if not counts:
            weight = zero
        return weight, label, own, wrong, counts

    return describe


@cache
def value_writer(kind: str, traversed: bool) -> Callable:
    """``write(job, row, value)``: the value of a row, where somebody wants it."""
    find = beginnings(traversed, RowAxis.count)
    store = writer(np.dtype(compute_type(kind)).name)

    @device_function
    def write(job, row, value):
        if job.value != 0:
            store(job.value, find(job.layout, row, job.value_row_stride, _axis.value), value)

    return write


@cache
def finisher(structure: Structure, kind: str, derivatives: int) -> Callable:
    """From the sums over a row to its value, and what its derivatives are made of.

    ``finish(loss, numbers, flags, scale, sums)`` with the sums maximum, sum of the other classes'
    exponentials, scaled distance of the label's logit from the maximum, its exponential, the
    weighted sum of the distances of all, weight of the row and class weight of the label. Returns
    the value; the factor of exponentials, that of class weights, and the gradient at the label;
    one over the sum of exponentials; and of hessians p (p square + linear), and at the label.
    """
    real = compute_type(kind)
    zero, one = real(0), real(1)
    log1p, hessians = vmath.log1p, _hessians(kind)
    has_term = any(brings(cls, "normalizer") for cls in structure.classes)
    with_hessian = derivatives > 1

    @device_function
    def finish(loss, numbers, flags, scale, sums):
        top, others, distance, own, spread, weight, of_label = sums
        on, whole = numbers.on, numbers.class_weight_sum
        log_sum = real(log1p(others + (own - one)))
        logarithm = distance - log_sum
        first_, slope_, second_ = label_point(loss, logarithm, logarithm)
        first, slope, second = real(first_), real(slope_), real(second_)
        if logarithm != logarithm:  # comparisons in a loss lose NaN
            first = slope = second = logarithm
        term = term_slope = term_second = zero
        if has_term:
            whole_sum = top * numbers.inverse_temperature + log_sum
            a, b, c = normalizer(loss, whole_sum, whole_sum)
            term, term_slope, term_second = real(a), real(b), real(c)
        direct = on * of_label
        o = zero
        # A class that does not count contributes 0, even where its loss is infinite.
        value = zero if direct == zero and first == first else direct * first
        if flags & _flag.smooth:
            o = numbers.off * slope
            value += o * (spread - whole * log_sum)
        value = (value + term) * weight
        r = one / (others + own)
        p, q = own * r, others * r
        slope_difference = term_slope - direct * slope - o * whole  # R' - S
        at_label = direct * slope * q + p * (term_slope - o * whole) + o * of_label
        g = weight * scale * numbers.inverse_temperature
        square = linear = hessian = zero
        if with_hessian:
            straight = term_slope - (direct + numbers.off * whole) * slope
            square, linear, hessian = hessians(
                direct * second, term_second, straight, g * numbers.inverse_temperature, p, q
            )
        factor, shift = slope_difference * r * g, o * g
        return value, factor, shift, at_label * g, r, square, linear, hessian

    return finish


@cache
def _hessians(kind: str) -> Callable:
    """What hessians of a row are made of: p (p square + linear), and that at the label."""

    @device_function
    def hessians(second, term_second, straight, h, p, q):
        square = (second + term_second - straight) * h
        at_label = (second * q * q + term_second * p * p + straight * p * q) * h
        return square, straight * h, at_label

    return hessians


@cache
def group() -> tuple[Callable, Callable, Callable]:
    """Sum and maximum over the threads that share a row: part of a warp, or the whole block; and
    two sums at a time."""

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

    @device_function
    def totals(one, other, width, thread, scratch):
        if width > reduce.WARP:
            return reduce.block_sums(one, other, thread, scratch)
        one = reduce.group_sum(one, width, thread, scratch)
        return one, reduce.group_sum(other, width, thread, scratch)

    return total, maximum, totals
