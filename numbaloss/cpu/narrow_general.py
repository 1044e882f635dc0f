"""Rows of up to 96 classes, of any softmax loss and any targets, in tiles.

The same arithmetic as in `general`, with the rows along the registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

from .. import vmath
from .intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .maps import call_map
from .rows import (
    CHECKED,
    CLASS_WEIGHT,
    CLASSES,
    CURVATURE_SCALE,
    CURVE,
    DENSE_LOGITS,
    DERIVATIVES,
    DESCRIBE,
    FIRST,
    GRADIENT,
    HESSIAN,
    HIGH,
    HIGHEST,
    INVERSE_TEMPERATURE,
    LABEL_WEIGHT,
    LABELLED,
    LOG_SUM,
    LOW,
    LOWEST,
    MAP,
    MARGIN,
    MAXIMUM,
    NEAR_HIGH,
    NEAR_HIGHEST,
    NEAR_LOW,
    NEAR_LOWEST,
    OFF,
    ON,
    OTHERS,
    PLAIN,
    PREDICTION,
    READING,
    ROW_WEIGHT,
    SCALE,
    SHARE,
    SLOPE,
    SOFTMAX,
    SPREAD,
    STATISTICS,
    TARGET,
    TERM,
    TERM_CURVE,
    TERM_SLOPE,
    TESTED,
    VALUES,
    call_describe,
    exact,
    fast,
    inner,
    namespace,
    tools,
)
from .threads import CHUNK, LAYOUTS, PARAMETERS, SIZE
from .tiles import BRANCH, turning


@cache
def _general_loops(real: str, width: int) -> Any:
    t = tools(real, width)
    zero, one = t.zero, t.one
    decay = t.decay
    log, exp = vmath.log, vmath.exp

    @njit(**exact)
    def sums_of_exponentials(tile, classes, top, total, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = zero
        for c in range(classes):
            for k in range(width):
                total[k] += decay((tile[c * width + k] - top[k]) * inverse)

    @njit(**exact)
    def log_probabilities(tile, classes, top, log_sum, inverse):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                tile[c * width + k] = (tile[c * width + k] - top[k]) * inverse - log_sum[k]

    @njit(**exact)
    def soften(tile, classes, top, total, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = one / total[k]
        for c in range(classes):
            for k in range(width):
                tile[c * width + k] = decay((tile[c * width + k] - top[k]) * inverse) * total[k]

    @njit(**exact)
    def logarithms(values, top, inverse, sums):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            values[k] = log(values[k])
            sums[k] = top[k] * inverse + values[k]

    @njit(**fast)
    def bring_inside(tile, classes, weight, low, high, near_low, near_high):
        """Take numbers a rounding beyond their domain for its bound; how many are farther out."""
        prefer_wide_vectors()
        no_alias()
        count = zero
        for c in range(classes):
            for k in range(width):
                x = tile[c * width + k]
                bad = ((x < near_low) | (x > near_high)) & (weight[k] != zero)
                count += one if bad else zero
                x = low if x < low else x
                tile[c * width + k] = high if x > high else x
        return count

    @njit(**exact)
    def smoothen(tile, size, on, off):
        prefer_wide_vectors()
        for j in range(size):
            tile[j] = tile[j] * on + off

    @njit(**exact)
    def weigh(tile, classes, of_class):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            w = of_class[c]
            # A class that does not count contributes 0, even where its loss is infinite.
            for k in range(width):
                v = tile[c * width + k]
                tile[c * width + k] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def weigh_rows(tile, classes, of_label):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                v, w = tile[c * width + k], of_label[k]
                tile[c * width + k] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def add(tile, classes, total, part):
        """Sums over classes; in two steps, as those of exponentials."""
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = tile[k]
        for c in range(1, min(classes, BRANCH)):
            for k in range(width):
                total[k] += tile[c * width + k]
        for start in range(BRANCH, classes, BRANCH):
            for k in range(width):
                part[k] = tile[start * width + k]
            for c in range(start + 1, min(start + BRANCH, classes)):
                for k in range(width):
                    part[k] += tile[c * width + k]
            for k in range(width):
                total[k] += part[k]

    @njit(**exact)
    def settle_rows(
        values, first, term, log_sum, weight, slope, term_slope, curve, term_curve, share
    ):
        """Values, at ``first`` without weights; in place of the sums what multiplies p and p²."""
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            v = first[k] + term[k]
            v = (log_sum[k] if log_sum[k] != log_sum[k] else v) * share
            first[k] = v
            values[k] = zero if weight[k] == zero else v * weight[k]
            slope[k] = term_slope[k] - slope[k]
            curve[k] = term_curve[k] + curve[k]

    @njit(**exact)
    def gradients(tile, slopes, classes, lean, weight, scale, softmax):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                p = tile[c * width + k]
                p = exp(p) if softmax else p
                g = (slopes[c * width + k] + p * lean[k]) * (weight[k] * scale)
                slopes[c * width + k] = zero if weight[k] == zero else g

    @njit(**inner)
    def hessians(tile, curves, classes, lean, bend, weight, scale, softmax):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                p = tile[c * width + k]
                p = exp(p) if softmax else p
                own = curves[c * width + k] * (one - (p + p)) + p * p * bend[k]
                own = own + p * (one - p) * lean[k] if softmax else own
                h = own * (weight[k] * scale)
                curves[c * width + k] = zero if weight[k] == zero else h

    return namespace(locals())


def make_general(real: str, few: bool, width: int, most: int) -> Callable:
    """The loop over tiles; see `narrow.chunk`."""
    t, turn, o = tools(real, width), turning(real, width), _general_loops(real, width)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize
    tile_bytes, labels_bytes = most * width * itemsize, 8 * width
    spare_bytes = max(tile_bytes, 8 * width)
    found_bytes, statistics_bytes = 3 * tile_bytes, STATISTICS * width * itemsize
    lanes_bytes = 8 * width
    step = width * itemsize

    @njit(**inner)
    def stage_targets(job, row, size, classes, place, spare, labels, statistics):
        prefer_wide_vectors()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        weight, tile = t.column(statistics, ROW_WEIGHT), pointer(place, zero)
        on, off = cast(reals[ON]), cast(reals[OFF])
        if fields[LABELLED] != 0:
            t.fill(tile, classes * width, off)
            for k in range(size):
                tile[labels[k] * width + k] = on + off
            return zero
        turn.gather_tile(job, TARGET, row, size, classes, place, spare)
        if turn.count_zeros(weight) != zero:
            turn.clear_rows(place, classes, weight)
        offenders = zero
        if fields[CHECKED] != 0:
            low, high = cast(reals[LOW]), cast(reals[HIGH])
            near_low, near_high = cast(reals[NEAR_LOW]), cast(reals[NEAR_HIGH])
            offenders = o.bring_inside(tile, classes, weight, low, high, near_low, near_high)
        if fields[DENSE_LOGITS] != 0:
            inverse = cast(reals[INVERSE_TEMPERATURE])
            top, total = t.column(statistics, MAXIMUM), t.column(statistics, OTHERS)
            turn.tile_maximum(place, classes, statistics + MAXIMUM * step)
            o.sums_of_exponentials(tile, classes, top, total, inverse)
            o.soften(tile, classes, top, total, inverse)
        elif off != zero:
            o.smoothen(tile, classes * width, on, off)
        return offenders

    def narrow_general_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes = fields[CLASSES]
        inverse, derivatives = cast(reals[INVERSE_TEMPERATURE]), fields[DERIVATIVES]
        place, targets = stack_memory(tile_bytes), stack_memory(tile_bytes)
        found, spare = stack_memory(found_bytes), stack_memory(spare_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        tile = pointer(place, zero)
        top, log_sum = t.column(statistics, MAXIMUM), t.column(statistics, LOG_SUM)
        weight = t.column(statistics, ROW_WEIGHT)
        t.fill(pointer(statistics, zero), STATISTICS * width, zero)
        for k in range(width):
            labels[k] = 0
        sums = pointer(result, 1.0)
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(width):
            lanes[k] = 0.0
        sums[0] = sums[1] = 0.0
        row, stop = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        while row < stop:
            size = min(width, stop - row)
            for k in range(size, width):
                weight[k] = zero
            call_describe(fields[DESCRIBE], (job, row, size, statistics, of_labels, spare))
            sums[1] += stage_targets(job, row, size, classes, targets, spare, labels, statistics)
            turn.gather_tile(job, PREDICTION, row, size, classes, place, spare)
            if turn.count_zeros(weight) != zero:
                turn.clear_rows(place, classes, weight)
            if fields[TESTED] != 0:
                low, high = cast(reals[LOWEST]), cast(reals[HIGHEST])
                near_low, near_high = cast(reals[NEAR_LOWEST]), cast(reals[NEAR_HIGHEST])
                sums[1] += o.bring_inside(tile, classes, weight, low, high, near_low, near_high)
            plain = fields[READING] == PLAIN
            if fields[READING] != SOFTMAX:
                for k in range(width):
                    top[k] = zero if plain else tile[labels[k] * width + k]
                    log_sum[k] = zero
            else:
                turn.tile_maximum(place, classes, statistics + MAXIMUM * step)
                o.sums_of_exponentials(tile, classes, top, log_sum, inverse)
                o.logarithms(log_sum, top, inverse, t.column(statistics, VALUES))
            o.log_probabilities(tile, classes, top, log_sum, inverse)
            call_map(
                fields[MAP],
                (
                    0,
                    job[PARAMETERS],
                    place,
                    targets,
                    found,
                    found + tile_bytes,
                    found + 2 * tile_bytes,
                    classes * width,
                ),
            )
            for d in range(derivatives + 1):
                values = pointer(found + d * tile_bytes, zero)
                if (fields[CLASS_WEIGHT] != 0) & (fields[READING] == MARGIN):
                    o.weigh_rows(values, classes, t.column(statistics, LABEL_WEIGHT))
                elif fields[CLASS_WEIGHT] != 0:
                    o.weigh(values, classes, pointer(fields[CLASS_WEIGHT], zero))
                total = pointer(statistics + (FIRST + d) * step, zero)
                o.add(values, classes, total, t.column(statistics, SPREAD))
            t.normalize(job, statistics, statistics + VALUES * step)
            o.settle_rows(
                t.column(statistics, VALUES),
                t.column(statistics, FIRST),
                t.column(statistics, TERM),
                log_sum,
                weight,
                t.column(statistics, SLOPE),
                t.column(statistics, TERM_SLOPE),
                t.column(statistics, CURVE),
                t.column(statistics, TERM_CURVE),
                cast(reals[SHARE]),
            )
            t.store_values(job, row, size, statistics)
            t.add_values(job, statistics, size, lanes)
            softmax = fields[READING] == SOFTMAX
            shares = tile if softmax else pointer(targets, zero)
            lean, bend = t.column(statistics, SLOPE), t.column(statistics, CURVE)
            if plain:  # no class moves another
                t.fill(shares, classes * width, zero)
                t.fill(lean, width, zero)
                t.fill(bend, width, zero)
            if derivatives > 1:
                curves = pointer(found + 2 * tile_bytes, zero)
                scale_ = cast(reals[CURVATURE_SCALE] * reals[SHARE])
                o.hessians(shares, curves, classes, lean, bend, weight, scale_, softmax)
                turn.spread_tile(job, HESSIAN, row, size, classes, found + 2 * tile_bytes, spare)
            if derivatives > 0:
                slopes = pointer(found + tile_bytes, zero)
                scale_ = cast(reals[SCALE] * reals[SHARE])
                o.gradients(shares, slopes, classes, lean, weight, scale_, softmax)
                turn.spread_tile(job, GRADIENT, row, size, classes, found + tile_bytes, spare)
            row += size
        sums[0] += t.sum_of(lanes)
        restore_denormals(mode)

    return narrow_general_rows
