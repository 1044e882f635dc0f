"""What the gradients of rows with labels are made of.

With integer labels most losses depend on one number of a row, the log-probability l of its
label; write g(l) for that function, w for the label's class weight, p for the softmax, q for
1 - p at the label, R for the term in the log of the sum, and o = ε/C g' for label smoothing
(of losses that are linear in l). Then

    gradient at k       p_k (R' - S) + o w_k,    S = w (1 - ε) g' + o Σ w
    gradient at label   w (1 - ε) g' q + p (R' - o Σ w) + o w
    hessian at k        p_k (p_k A + R' - S),    A = w (1 - ε) g'' + R'' - R' + S
    hessian at label    w (1 - ε) g'' q² + R'' p² + (R' - S) p q

so a row is its exponentials times a number, plus a number at the label. q is the sum of the
exponentials of the *other* classes over that of all, which keeps all digits where p is almost
1; the sum is therefore taken without the label.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .. import vmath
from ..jobs.rows import RowCall, RowStatistics
from ..vmath import vectors
from ..vmath.bits import select
from .intrinsics import no_alias, pointer, prefer_wide_vectors
from .maps import call_map
from .options import block_size, exact, inner, namespace
from .records import at
from .threads import call_at

rows_at = at(RowCall)
statistic = RowStatistics.column


@cache
def column_of(real: str, group: int) -> Any:
    """``column(statistics, which)``: one of the `RowStatistics` of a group, at an address."""
    zero = np.dtype(real).type(0)
    step = group * zero.itemsize

    @njit(**inner)
    def column(statistics, which):
        return pointer(statistics + which * step, zero)

    return column


def coefficients(real: str, group: int) -> Any:
    """``finish``, for groups of one size, and ``normalize``, for losses of all classes too."""
    gradient, hessian = _gradient(real, group), _hessian(real, group)
    normalize, plain_gradient = _normalize(real, group), _plain_gradient(real, group)
    cast = np.dtype(real).type
    zero = cast(0)
    step = group * zero.itemsize
    log1p, one, column = vmath.log1p, cast(1), column_of(real, group)

    @njit(**exact)
    def log_probabilities(top, others, distance, own, log_sum, log_probability, sums, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(group):
            log_ = log1p(others[k] + (own[k] - one))
            log_sum[k] = log_
            log_probability[k] = distance[k] - log_
            sums[k] = top[k] * inverse + log_

    @njit(**inner)
    def finish(address, statistics):
        """From maxima and sums of rows to their values, and what their gradient is made of."""
        call = call_at(address)
        rows = rows_at(call.description)
        log_probability = statistics + statistic.log_probability * step
        sums = statistics + statistic.weighted_value * step
        log_probabilities(
            column(statistics, statistic.maximum),
            column(statistics, statistic.others),
            column(statistics, statistic.distance),
            column(statistics, statistic.own),
            column(statistics, statistic.log_sum),
            pointer(log_probability, zero),
            pointer(sums, zero),
            cast(rows.inverse_temperature),
        )
        value, slope = statistics + statistic.value * step, statistics + statistic.slope * step
        second = statistics + statistic.second_derivative * step
        call_map(
            rows.map,
            (0, call.parameters, log_probability, log_probability, value, slope, second, group),
        )
        if (rows.smooth == 0) & (rows.normalizer == 0) & (rows.derivatives < 2):
            plain_gradient(statistics, cast(rows.on), cast(rows.scale))
            return
        normalize(call, rows, statistics, sums)
        on, off, whole = cast(rows.on), cast(rows.off), cast(rows.class_weight_sum)
        gradient(statistics, rows.smooth != 0, on, off, whole, cast(rows.scale))
        if rows.derivatives > 1:
            hessian(statistics, on, off, whole, cast(rows.hessian_scale))

    return namespace({"finish": finish, "normalize": normalize})


def _normalize(real: str, group: int) -> Any:
    zero = np.dtype(real).type(0)
    step = group * zero.itemsize

    @njit(**inner)
    def clear(place):
        prefer_wide_vectors()
        for k in range(group):
            pointer(place, zero)[k] = zero

    @njit(**inner)
    def normalize(call, rows, statistics, sums):
        """R and its derivatives from the logs of the sums of exponentials."""
        term = statistics + statistic.term * step
        slope = statistics + statistic.term_slope * step
        second = statistics + statistic.term_second_derivative * step
        if rows.normalizer != 0:
            call_map(rows.normalizer, (0, call.parameters, sums, sums, term, slope, second, group))
        else:
            clear(term)
            clear(slope)
            clear(second)

    return normalize


def _gradient(real: str, group: int) -> Any:
    cast = np.dtype(real).type
    zero, one, column = cast(0), cast(1), column_of(real, group)

    @njit(**inner)
    def gradient(statistics, smooth, on, off, whole, scale):
        prefer_wide_vectors()
        others, own = column(statistics, statistic.others), column(statistics, statistic.own)
        weighted_distance = column(statistics, statistic.weighted_distance)
        log_sum = column(statistics, statistic.log_sum)
        weight = column(statistics, statistic.row_weight)
        of_label = column(statistics, statistic.label_weight)
        value, slope = column(statistics, statistic.value), column(statistics, statistic.slope)
        term = column(statistics, statistic.term)
        term_slope = column(statistics, statistic.term_slope)
        weighted_value = column(statistics, statistic.weighted_value)
        factor, shift = column(statistics, statistic.factor), column(statistics, statistic.shift)
        at_label = column(statistics, statistic.at_label)
        inverse = column(statistics, statistic.inverse)
        for k in range(group):
            w, c = weight[k], of_label[k]
            direct = on * c
            o = zero
            # A class that does not count contributes 0, even where its loss is infinite.
            v = zero if (direct == zero) & (value[k] == value[k]) else direct * value[k]
            if smooth:
                o = off * slope[k]
                v += o * (weighted_distance[k] - whole * log_sum[k])
            v += term[k]
            value[k] = v
            v *= w
            r = one / (others[k] + own[k])
            p, q = own[k] * r, others[k] * r
            slope_difference = term_slope[k] - direct * slope[k] - o * whole  # R' - S
            y = direct * slope[k] * q + p * (term_slope[k] - o * whole) + o * c
            g = w * scale
            out = w == zero
            weighted_value[k] = zero if out else v
            inverse[k] = zero if out else r
            factor[k] = zero if out else slope_difference * r * g
            shift[k] = zero if out else o * g
            at_label[k] = zero if out else y * g

    return gradient


def _plain_gradient(real: str, group: int) -> Any:
    cast = np.dtype(real).type
    zero, one = cast(0), cast(1)
    step = group * zero.itemsize
    width = min(group, block_size(real))
    width_bytes = width * zero.itemsize

    @njit(**inner)
    def plain_gradient(statistics, on, scale):
        """The same as ``gradient``, bit for bit, without smoothing and the term R.

        In vectors: LLVM would test at every call whether one of ten columns overlaps another.
        """
        prefer_wide_vectors()
        for k in range(0, step, width_bytes):
            place = statistics + k
            w = vectors.load(place + statistic.row_weight * step, zero, width)
            direct = vectors.load(place + statistic.label_weight * step, zero, width) * on
            value = vectors.load(place + statistic.value * step, zero, width)
            slope = vectors.load(place + statistic.slope * step, zero, width) * direct
            others = vectors.load(place + statistic.others * step, zero, width)
            none = select(value == value, zero, value)
            v = select(direct == zero, none, direct * value)
            vectors.store(place + statistic.value * step, v)
            r = one / (others + vectors.load(place + statistic.own * step, zero, width))
            g, out = w * scale, w == zero
            vectors.store(place + statistic.weighted_value * step, select(out, zero, v * w))
            vectors.store(
                place + statistic.factor * step, select(out, zero, (zero - slope) * r * g)
            )
            at_label = (slope * (others * r) + zero) * g
            vectors.store(place + statistic.at_label * step, select(out, zero, at_label))

    return plain_gradient


def _hessian(real: str, group: int) -> Any:
    cast = np.dtype(real).type
    zero, one, column = cast(0), cast(1), column_of(real, group)

    @njit(**inner)
    def hessian(statistics, on, off, whole, scale):
        prefer_wide_vectors()
        others, own = column(statistics, statistic.others), column(statistics, statistic.own)
        weight = column(statistics, statistic.row_weight)
        of_label = column(statistics, statistic.label_weight)
        slope = column(statistics, statistic.slope)
        second_derivative = column(statistics, statistic.second_derivative)
        term_slope = column(statistics, statistic.term_slope)
        term_second = column(statistics, statistic.term_second_derivative)
        square = column(statistics, statistic.hessian_square)
        linear = column(statistics, statistic.hessian_linear)
        at_label = column(statistics, statistic.hessian_at_label)
        for k in range(group):
            direct = on * of_label[k]
            r = one / (others[k] + own[k])
            p, q = own[k] * r, others[k] * r
            slope_difference = term_slope[k] - (direct + off * whole) * slope[k]  # R' - S
            second = direct * second_derivative[k]
            h = weight[k] * scale
            out = weight[k] == zero
            square[k] = zero if out else (second + term_second[k] - slope_difference) * h
            linear[k] = zero if out else slope_difference * h
            y = second * q * q + term_second[k] * p * p + slope_difference * p * q
            at_label[k] = zero if out else y * h

    return hessian
