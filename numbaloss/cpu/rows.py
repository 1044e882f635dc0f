"""What the loops over narrow and over wide rows share.

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
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit, types

from .. import vmath
from ..vmath import float32, float64, vectors
from ..vmath.bits import select
from ..vmath.overloads import install as install_vmath
from ..vmath.vectors import register_bytes
from .compile import Code, c_function
from .intrinsics import caller, no_alias, pointer, prefer_wide_vectors
from .maps import call_map
from .threads import LAYOUTS, PARAMETERS

# The description of a call, which all its chunks read: positions of the descriptors of the
# six arrays of a job (see movers.arrange) and of the mask, then integers, then float64.
MASK_LAYOUT = 6
(
    MASK,  # address
    CLASSES,
    DERIVATIVES,
    MAP,  # address of the loss's map: of the label's log-probability, or of all classes
    NORMALIZER,  # address of the map of R, or 0
    CLASS_WEIGHT,  # address of the class weights in the compute type, or 0
    IGNORES,  # whether there is a label of rows that do not count
    IGNORE,  # which one
    SMOOTH,  # whether there is label smoothing
    READING,  # how rows are read: one of three below
    LABELLED,  # whether targets are labels
    DENSE_LOGITS,
    CHECKED,  # whether dense targets are tested; of a scan: whether weights are
    WORKSPACE,  # address of the numbers that pieces of rows leave, or 0
    ROW_SPACE,  # and of those of whole rows
    DESCRIBE,  # addresses of the two functions below, for groups of the size in use
    FINISH,
    TO_COLUMNS,  # addresses of the functions that turn tiles
    TO_ROWS,
    WEIGHTED,  # of a scan: whether rows count by their weights
    TESTED,  # whether predictions are tested
) = range(7, 28)
(
    INVERSE_TEMPERATURE,
    ON,  # 1 - ε
    OFF,  # ε / C
    WEIGHT_SUM,  # of the class weights
    SCALE,  # of the gradient
    CURVATURE_SCALE,
    LOW,  # closed domain of dense targets
    HIGH,
    NEAR_LOW,  # what passes for it
    NEAR_HIGH,
    LOWEST,  # the same four of the predictions
    HIGHEST,
    NEAR_LOWEST,
    NEAR_HIGHEST,
    SHARE,  # 1, or 1 / C where values are means over the classes
) = range(28, 43)
FIELDS = 43

# How rows are read: by the logarithms of their softmax, less the label's number, as they are.
SOFTMAX, MARGIN, PLAIN = range(3)

# Arrays of a job. Not plain integers, and the places below neither: Numba would compile every
# function that takes one anew for each value.
PREDICTION, TARGET, WEIGHT, VALUE, GRADIENT, HESSIAN = map(np.int64, range(6))

# Arrays of a number a row, in the compute type, that a group of rows keeps at hand.
(
    MAXIMUM,
    OTHERS,  # sum of exponentials without the label's
    DISTANCE,  # scaled logit of the label less the maximum
    OWN,  # exponential of that
    SPREAD,  # Σ w_j of the scaled logit less the maximum, for label smoothing
    ROW_WEIGHT,
    LABEL_WEIGHT,  # class weight of the label
    LOG_SUM,
    LOG_PROBABILITY,
    FIRST,
    SLOPE,
    CURVE,
    TERM,
    TERM_SLOPE,
    TERM_CURVE,
    VALUES,
    FACTOR,  # of the exponentials, for the gradient
    SHIFT,  # of the class weights, for the gradient
    AT_LABEL,
    INVERSE,  # of the sum of exponentials
    HESSIAN_SQUARE,
    HESSIAN_LINEAR,
    HESSIAN_AT_LABEL,
) = map(np.int64, range(23))
STATISTICS = 23
# Memory for those of one row.
NUMBERS_BYTES = 8 * STATISTICS

inner: dict[str, Any] = {"forceinline": True, "error_model": "numpy"}
fast: dict[str, Any] = {**inner, "fastmath": {"contract", "reassoc"}}
# A sum of two products may be fused in two ways, and is, from one unrolled step of a loop to the
# next: where there is one, `inner` keeps rows the same wherever they stand.
exact: dict[str, Any] = {**inner, "fastmath": {"contract"}}

CHUNK_SIGNATURE = types.void(types.CPointer(types.int64), types.float64, types.int64, types.int64)


def namespace(members: dict[str, Any]) -> Any:
    """A module of these members: the one kind of namespace that compiled code looks into."""
    found = ModuleType("loops")
    found.__dict__.update(members)
    return found


call_mover = caller(types.void, *[types.int64] * 5)
_job = types.CPointer(types.int64)
# Calls (job, row, size, statistics, labels, scratch) and (job, statistics): what all loops
# share, compiled once for all of them.
DESCRIBE_SIGNATURE = types.void(_job, *[types.int64] * 5)
FINISH_SIGNATURE = types.void(_job, types.int64)
call_describe = caller(types.void, *DESCRIBE_SIGNATURE.args)
call_finish = caller(types.void, *FINISH_SIGNATURE.args)


@cache
def shared(real: str, group: int) -> tuple[Code, Code]:
    """Machine code of `describe_rows` and `finish` for groups of one size."""
    found = tools(real, group)
    return tuple(  # type: ignore[return-value]
        c_function(
            lambda function=function: function.py_func,  # type: ignore[misc]
            signature,
            f"softmax {name} {group} {real}",
            error_model="numpy",
        )
        for name, function, signature in (
            ("describe", found.describe_rows, DESCRIBE_SIGNATURE),
            ("finish", found.finish, FINISH_SIGNATURE),
        )
    )


def block_size(real: str) -> int:
    """Numbers that are computed side by side: those of four registers."""
    return 4 * register_bytes() // np.dtype(real).itemsize


@cache
def tools(real: str, group: int) -> Any:
    """Functions over rows of one compute type, in groups of up to ``group`` rows."""
    install_vmath()
    cast = np.dtype(real).type
    zero, one = cast(0), cast(1)
    lowest = cast(-np.inf)
    itemsize = np.dtype(real).itemsize
    integer = {"float32": np.int32, "float64": np.int64}[real]  # as wide
    step = group * itemsize
    width = min(group, block_size(real))
    log1p = vmath.log1p
    # Of distances from a maximum, which are no larger than 0.
    decay = (float32 if real == "float32" else float64).exp_of_negative

    @njit(**inner)
    def column(statistics, which):
        return pointer(statistics + which * step, zero)

    @njit(**inner)
    def fill(target, size, value):
        prefer_wide_vectors()
        for i in range(size):
            target[i] = value

    @njit(**inner)
    def copy(source, target, size):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            target[i] = source[i]

    @njit(**inner)
    def load(job, slot, start, size, scratch):
        """Elements of an array, in C order, into scratch."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout == 0:
            copy(pointer(job[slot] + start * itemsize, zero), pointer(scratch, zero), size)
        else:
            layout = job[LAYOUTS] + 8 * layout
            call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))

    @njit(**inner)
    def store(job, slot, start, size, scratch):
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout == 0:
            copy(pointer(scratch, zero), pointer(job[slot] + start * itemsize, zero), size)
        else:
            layout = job[LAYOUTS] + 8 * layout
            call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))

    @njit(**inner)
    def is_direct(job, slot):
        return pointer(job[LAYOUTS], 1)[slot] == 0

    @njit(**inner)
    def describe_rows(job, row, size, statistics, place, scratch):
        """Weights and labels of rows; weight 0 and label 0 for those that do not count."""
        prefer_wide_vectors()
        labels = pointer(place, 1)
        fields = pointer(job[LAYOUTS], 1)
        weight, own = column(statistics, ROW_WEIGHT), column(statistics, LABEL_WEIGHT)
        if job[WEIGHT] != 0:
            load(job, WEIGHT, row, size, statistics + ROW_WEIGHT * step)
        else:
            fill(weight, size, one)
        if fields[MASK] != 0:
            layout = job[LAYOUTS] + 8 * fields[MASK_LAYOUT]
            call_mover(pointer(layout, 1)[0], (fields[MASK], layout, row, size, scratch))
            counts = pointer(scratch, zero)
            for k in range(size):
                weight[k] = weight[k] if counts[k] != zero else zero
        fill(own, size, one)
        if fields[LABELLED] != 0:
            layout = fields[TARGET]
            ignores, ignored, classes = fields[IGNORES] != 0, fields[IGNORE], fields[CLASSES]
            if layout == 0:
                given = pointer(job[TARGET] + 8 * row, 1)
            else:
                layout = job[LAYOUTS] + 8 * layout
                call_mover(pointer(layout, 1)[0], (job[TARGET], layout, row, size, scratch))
                given = pointer(scratch, 1)
            for k in range(size):
                label = given[k]
                weight[k] = zero if ignores & (label == ignored) else weight[k]
                # All that count have been tested; this holds if somebody writes meanwhile.
                labels[k] = label if (label >= 0) & (label < classes) else 0
            if fields[CLASS_WEIGHT] != 0:
                of_class = pointer(fields[CLASS_WEIGHT], zero)
                for k in range(size):
                    own[k] = of_class[labels[k]]

    @njit(**exact)
    def log_probabilities(top, others, distance, own, log_sum, found, sums, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(group):
            log_ = log1p(others[k] + (own[k] - one))
            log_sum[k] = log_
            found[k] = distance[k] - log_
            sums[k] = top[k] * inverse + log_

    @njit(**inner)
    def coefficients(statistics, smooth, on, off, whole, scale):
        prefer_wide_vectors()
        others, own = column(statistics, OTHERS), column(statistics, OWN)
        spread, log_sum = column(statistics, SPREAD), column(statistics, LOG_SUM)
        weight, of_label = column(statistics, ROW_WEIGHT), column(statistics, LABEL_WEIGHT)
        first, slope = column(statistics, FIRST), column(statistics, SLOPE)
        term, term_slope = column(statistics, TERM), column(statistics, TERM_SLOPE)
        value, factor = column(statistics, VALUES), column(statistics, FACTOR)
        shift, at_label = column(statistics, SHIFT), column(statistics, AT_LABEL)
        inverse = column(statistics, INVERSE)
        for k in range(group):
            w, c = weight[k], of_label[k]
            direct = on * c
            o = zero
            # A class that does not count contributes 0, even where its loss is infinite.
            v = zero if (direct == zero) & (first[k] == first[k]) else direct * first[k]
            if smooth:
                o = off * slope[k]
                v += o * (spread[k] - whole * log_sum[k])
            v += term[k]
            first[k] = v
            v *= w
            r = one / (others[k] + own[k])
            p, q = own[k] * r, others[k] * r
            lean = term_slope[k] - direct * slope[k] - o * whole
            y = direct * slope[k] * q + p * (term_slope[k] - o * whole) + o * c
            g = w * scale
            out = w == zero
            value[k] = zero if out else v
            inverse[k] = zero if out else r
            factor[k] = zero if out else lean * r * g
            shift[k] = zero if out else o * g
            at_label[k] = zero if out else y * g

    @njit(**inner)
    def plain_coefficients(statistics, on, scale):
        """The same, bit for bit, without smoothing and the term in the log of the sum.

        In vectors: LLVM would test at every call whether one of ten columns overlaps another.
        """
        prefer_wide_vectors()
        for k in range(0, step, width * itemsize):
            place = statistics + k
            w = vectors.load(place + ROW_WEIGHT * step, zero, width)
            direct = vectors.load(place + LABEL_WEIGHT * step, zero, width) * on
            first = vectors.load(place + FIRST * step, zero, width)
            slope = vectors.load(place + SLOPE * step, zero, width) * direct
            others = vectors.load(place + OTHERS * step, zero, width)
            none = select(first == first, zero, first)
            v = select(direct == zero, none, direct * first)
            vectors.store(place + FIRST * step, v)
            r = one / (others + vectors.load(place + OWN * step, zero, width))
            g, out = w * scale, w == zero
            vectors.store(place + VALUES * step, select(out, zero, v * w))
            vectors.store(place + FACTOR * step, select(out, zero, (zero - slope) * r * g))
            at_label = (slope * (others * r) + zero) * g
            vectors.store(place + AT_LABEL * step, select(out, zero, at_label))

    @njit(**inner)
    def curvatures(statistics, on, off, whole, curvature_scale):
        prefer_wide_vectors()
        others, own = column(statistics, OTHERS), column(statistics, OWN)
        weight, of_label = column(statistics, ROW_WEIGHT), column(statistics, LABEL_WEIGHT)
        slope, curve = column(statistics, SLOPE), column(statistics, CURVE)
        term_slope, term_curve = column(statistics, TERM_SLOPE), column(statistics, TERM_CURVE)
        square, linear = column(statistics, HESSIAN_SQUARE), column(statistics, HESSIAN_LINEAR)
        at_label = column(statistics, HESSIAN_AT_LABEL)
        for k in range(group):
            direct = on * of_label[k]
            r = one / (others[k] + own[k])
            p, q = own[k] * r, others[k] * r
            lean = term_slope[k] - (direct + off * whole) * slope[k]
            bend = direct * curve[k]
            h = weight[k] * curvature_scale
            out = weight[k] == zero
            square[k] = zero if out else (bend + term_curve[k] - lean) * h
            linear[k] = zero if out else lean * h
            y = bend * q * q + term_curve[k] * p * p + lean * p * q
            at_label[k] = zero if out else y * h

    @njit(**inner)
    def normalize(job, statistics, sums):
        """R and its derivatives from the logs of the sums of exponentials."""
        address = pointer(job[LAYOUTS], 1)[NORMALIZER]
        if address != 0:
            found = statistics + TERM * step
            call_map(
                address,
                (0, job[PARAMETERS], sums, sums, found, found + step, found + 2 * step, group),
            )
        else:
            fill(column(statistics, TERM), 3 * group, zero)

    @njit(**inner)
    def finish(job, statistics):
        """From maxima and sums of rows to their values, and what their gradient is made of."""
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        found, sums = statistics + LOG_PROBABILITY * step, statistics + VALUES * step
        log_probabilities(
            column(statistics, MAXIMUM),
            column(statistics, OTHERS),
            column(statistics, DISTANCE),
            column(statistics, OWN),
            column(statistics, LOG_SUM),
            column(statistics, LOG_PROBABILITY),
            column(statistics, VALUES),
            cast(reals[INVERSE_TEMPERATURE]),
        )
        first = statistics + FIRST * step
        call_map(
            fields[MAP],
            (0, job[PARAMETERS], found, found, first, first + step, first + 2 * step, group),
        )
        if (fields[SMOOTH] == 0) & (fields[NORMALIZER] == 0) & (fields[DERIVATIVES] < 2):
            plain_coefficients(statistics, cast(reals[ON]), cast(reals[SCALE]))
            return
        normalize(job, statistics, sums)
        on, off, whole = cast(reals[ON]), cast(reals[OFF]), cast(reals[WEIGHT_SUM])
        scale, curvature_scale = cast(reals[SCALE]), cast(reals[CURVATURE_SCALE])
        smooth = fields[SMOOTH] != 0
        coefficients(statistics, smooth, on, off, whole, scale)
        if fields[DERIVATIVES] > 1:
            curvatures(statistics, on, off, whole, curvature_scale)

    @njit(**inner)
    def store_values(job, row, size, statistics):
        """Store the values of rows where they are wanted."""
        if job[VALUE] != 0:
            store(job, VALUE, row, size, statistics + VALUES * step)

    @njit(**inner)
    def widen(value, lanes, size):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            lanes[k] += np.float64(value[k])

    @njit(**inner)
    def weigh(value, weight, lanes, size):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            w = np.float64(weight[k])
            lanes[k] += 0.0 if w == 0.0 else w * np.float64(value[k])

    @njit(**inner)
    def add_values(job, statistics, size, lanes):
        """Add the values of rows to a float64 sum for each place of a group.

        One sum for all places would take its time, where a group has a few numbers.
        """
        prefer_wide_vectors()
        if job[WEIGHT] == 0:
            widen(column(statistics, VALUES), lanes, size)
        else:
            # Products of the compute type might overflow where their mean does not.
            weigh(column(statistics, FIRST), column(statistics, ROW_WEIGHT), lanes, size)

    @njit(**inner)
    def sum_of(lanes):
        total = 0.0
        for k in range(group):
            total += lanes[k]
        return total

    @njit(**inner)
    def deliver_value(job, row, statistics):
        """Store the value of a row where it is wanted; what it adds to the sum."""
        store_values(job, row, 1, statistics)
        w = np.float64(column(statistics, ROW_WEIGHT)[0])
        return 0.0 if w == 0.0 else w * np.float64(column(statistics, FIRST)[0])

    @njit(**exact)
    def exponentiate(numbers, results):
        """e to the power of numbers <= 0."""
        prefer_wide_vectors()
        no_alias()
        for k in range(group):
            results[k] = decay(numbers[k])

    return namespace(locals())
