"""Rows of up to 96 classes, of any softmax loss and any targets, in tiles.

The same arithmetic as in `general`, with the rows along the registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from ..jobs.rows import MARGIN, PLAIN, SOFTMAX
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .maps import call_map
from .narrow_loops import general_loops
from .options import inner, namespace
from .rows import call_describe, rows_at, statistic, tools
from .threads import call_at, sums_at
from .tiles import in_tiles, tiling


def _targets(real: str, width: int) -> Callable:
    """The function that stages the targets of a tile."""
    t, moves, o = tools(real, width), tiling(real, width), general_loops(real, width)
    zero, cast, step = t.zero, t.cast, width * t.itemsize

    @njit(**inner)
    def soften(rows, place, statistics):
        """Logits of a teacher in the place of which its probabilities come."""
        classes, inverse = rows.classes, cast(rows.inverse_temperature)
        tile = pointer(place, zero)
        top = t.column(statistics, statistic.maximum)
        total = t.column(statistics, statistic.others)
        moves.tile_maximum(place, classes, statistics + statistic.maximum * step)
        o.sums_of_exponentials(tile, classes, top, total, inverse)
        o.soften(tile, classes, top, total, inverse)

    @njit(**inner)
    def stage_targets(call, rows, row, size, place, spare, labels, statistics):
        """Targets of a tile; how many are outside their domain."""
        prefer_wide_vectors()
        classes = rows.classes
        weight, tile = t.column(statistics, statistic.row_weight), pointer(place, zero)
        on, off = cast(rows.on), cast(rows.off)
        if rows.labelled != 0:
            t.fill(tile, classes * width, off)
            for k in range(size):
                tile[labels[k] * width + k] = on + off
            return zero
        target = in_tiles(call, call.target, rows.target_layout, rows.target_columns)
        moves.gather_tile(target, rows.to_columns, row, size, classes, place, spare)
        if moves.count_zeros(weight) != zero:
            moves.clear_rows(place, classes, weight)
        out_of_range = zero
        if rows.target_tested != 0:
            low, high = cast(rows.low), cast(rows.high)
            near_low, near_high = cast(rows.near_low), cast(rows.near_high)
            out_of_range = o.bring_inside(tile, classes, weight, low, high, near_low, near_high)
        if rows.dense_logits != 0:
            soften(rows, place, statistics)
        elif off != zero:
            o.smoothen(tile, classes * width, on, off)
        return out_of_range

    return stage_targets


def _formulas(real: str, width: int, tile_bytes: int) -> Any:
    """What the formula of a loss is given, and what is made of its results."""
    t, moves, o = tools(real, width), tiling(real, width), general_loops(real, width)
    zero, cast, step = t.zero, t.cast, width * t.itemsize

    @njit(**inner)
    def read(rows, place, labels, statistics):
        """The numbers of a tile as the formula of the loss sees them."""
        classes, tile = rows.classes, pointer(place, zero)
        inverse = cast(rows.inverse_temperature)
        top = t.column(statistics, statistic.maximum)
        log_sum = t.column(statistics, statistic.log_sum)
        if rows.reading != SOFTMAX:
            for k in range(width):
                top[k] = zero if rows.reading == PLAIN else tile[labels[k] * width + k]
                log_sum[k] = zero
        else:
            moves.tile_maximum(place, classes, statistics + statistic.maximum * step)
            sums = t.column(statistics, statistic.weighted_value)
            o.sums_of_exponentials(tile, classes, top, log_sum, inverse)
            o.logarithms(log_sum, top, inverse, sums)
        o.log_probabilities(tile, classes, top, log_sum, inverse)

    @njit(**inner)
    def sum_of_classes(rows, place, statistics, which):
        """Weigh φ, or a derivative of it, and sum it over the classes."""
        values, classes = pointer(place, zero), rows.classes
        if (rows.class_weight != 0) & (rows.reading == MARGIN):
            o.weigh_rows(values, classes, t.column(statistics, statistic.label_weight))
        elif rows.class_weight != 0:
            o.weigh(values, classes, pointer(rows.class_weight, zero))
        part = t.column(statistics, statistic.weighted_distance)
        o.add(values, classes, t.column(statistics, which), part)

    @njit(**inner)
    def finish(call, rows, statistics):
        """From the sums of φ to the values of rows, and what multiplies p and p²."""
        t.normalize(call, rows, statistics, statistics + statistic.weighted_value * step)
        o.finish_rows(
            t.column(statistics, statistic.weighted_value),
            t.column(statistics, statistic.value),
            t.column(statistics, statistic.term),
            t.column(statistics, statistic.log_sum),
            t.column(statistics, statistic.row_weight),
            t.column(statistics, statistic.slope),
            t.column(statistics, statistic.term_slope),
            t.column(statistics, statistic.second_derivative),
            t.column(statistics, statistic.term_second_derivative),
            cast(rows.share),
        )

    @njit(**inner)
    def apply(call, rows, place, targets, values, statistics):
        """φ and its derivatives, a tile behind the other, and their sums."""
        slopes, seconds = values + tile_bytes, values + 2 * tile_bytes
        size = rows.classes * width
        call_map(rows.map, (0, call.parameters, place, targets, values, slopes, seconds, size))
        places = values, slopes, seconds
        sums = statistic.value, statistic.slope, statistic.second_derivative
        for d in range(rows.derivatives + 1):
            sum_of_classes(rows, places[d], statistics, sums[d])
        finish(call, rows, statistics)

    return namespace(locals())


def _staging(real: str, width: int) -> Any:
    """What comes before the formula of the loss."""
    t, moves, o = tools(real, width), tiling(real, width), general_loops(real, width)
    zero, cast, stage_targets = t.zero, t.cast, _targets(real, width)

    @njit(**inner)
    def stage(call, rows, row, size, place, targets, spare, labels, statistics):
        """Predictions and targets of a tile; how many are outside their domain."""
        classes, tile = rows.classes, pointer(place, zero)
        weight = t.column(statistics, statistic.row_weight)
        out_of_range = stage_targets(call, rows, row, size, targets, spare, labels, statistics)
        prediction = in_tiles(
            call, call.prediction, rows.prediction_layout, rows.prediction_columns
        )
        moves.gather_tile(prediction, rows.to_columns, row, size, classes, place, spare)
        if moves.count_zeros(weight) != zero:
            moves.clear_rows(place, classes, weight)
        if rows.prediction_tested != 0:
            low, high = cast(rows.lowest), cast(rows.highest)
            near_low, near_high = cast(rows.near_lowest), cast(rows.near_highest)
            out_of_range += o.bring_inside(tile, classes, weight, low, high, near_low, near_high)
        return out_of_range

    return namespace({"stage": stage})


def _emitting(real: str, width: int, tile_bytes: int) -> Any:
    """What comes after it."""
    t, moves, o = tools(real, width), tiling(real, width), general_loops(real, width)
    zero, cast = t.zero, t.cast

    @njit(**inner)
    def emit(call, rows, row, size, place, targets, values, spare, statistics):
        """Gradients and hessians of a tile."""
        classes, softmax = rows.classes, rows.reading == SOFTMAX
        weight = t.column(statistics, statistic.row_weight)
        shares = pointer(place, zero) if softmax else pointer(targets, zero)
        slope_difference = t.column(statistics, statistic.slope)
        second = t.column(statistics, statistic.second_derivative)
        if rows.reading == PLAIN:  # no class moves another
            t.fill(shares, classes * width, zero)
            t.fill(slope_difference, width, zero)
            t.fill(second, width, zero)
        if rows.derivatives > 1:
            at_seconds = values + 2 * tile_bytes
            seconds, scale = pointer(at_seconds, zero), cast(rows.hessian_scale * rows.share)
            o.hessians(shares, seconds, classes, slope_difference, second, weight, scale, softmax)
            hessian = in_tiles(call, call.hessian, rows.hessian_layout, rows.hessian_columns)
            moves.spread_tile(hessian, rows.to_rows, row, size, classes, at_seconds, spare)
        if rows.derivatives > 0:
            at_slopes = values + tile_bytes
            slopes, scale_ = pointer(at_slopes, zero), cast(rows.scale * rows.share)
            o.gradients(shares, slopes, classes, slope_difference, weight, scale_, softmax)
            gradient = in_tiles(call, call.gradient, rows.gradient_layout, rows.gradient_columns)
            moves.spread_tile(gradient, rows.to_rows, row, size, classes, at_slopes, spare)

    return namespace({"emit": emit})


def make_general(real: str, few: bool, width: int, most: int) -> Callable:
    """The loop over tiles; see `narrow.chunk`."""
    t = tools(real, width)
    zero, itemsize = t.zero, t.itemsize
    tile_bytes, labels_bytes, lanes_bytes = most * width * itemsize, 8 * width, 8 * width
    f = namespace(
        _staging(real, width),
        _formulas(real, width, tile_bytes),
        _emitting(real, width, tile_bytes),
    )
    spare_bytes, values_bytes = max(tile_bytes, 8 * width), 3 * tile_bytes
    statistics_bytes = t.statistics_bytes

    def narrow_general_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        place, targets = stack_memory(tile_bytes), stack_memory(tile_bytes)
        values, spare = stack_memory(values_bytes), stack_memory(spare_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        weight = t.column(statistics, statistic.row_weight)
        t.clear_statistics(statistics)
        for k in range(width):
            labels[k] = 0
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(width):
            lanes[k] = 0.0
        sums.value = sums.out_of_range = 0.0
        row, stop = index * call.chunk, min((index + 1) * call.chunk, call.size)
        while row < stop:
            size = min(width, stop - row)
            for k in range(size, width):
                weight[k] = zero
            call_describe(rows.describe, (address, row, size, statistics, of_labels, spare))
            sums.out_of_range += f.stage(
                call, rows, row, size, place, targets, spare, labels, statistics
            )
            f.read(rows, place, labels, statistics)
            f.apply(call, rows, place, targets, values, statistics)
            t.store_values(call, rows, row, size, statistics)
            t.add_values(call, statistics, size, lanes)
            f.emit(call, rows, row, size, place, targets, values, spare, statistics)
            row += size
        sums.value += t.sum_of(lanes)
        restore_denormals(mode)

    return narrow_general_rows
