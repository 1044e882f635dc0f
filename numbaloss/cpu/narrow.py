"""Rows of up to 96 classes with integer labels, in tiles.

The same arithmetic as in `wide`, with the rows along the registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..vmath import vectors
from ..vmath.bits import select
from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    prefetch_to_read,
    prefetch_to_write,
    restore_denormals,
    stack_memory,
)
from .narrow_general import make_general
from .options import block_size, exact, inner, namespace
from .rows import call_describe, call_finish, numbers, rows_at, statistic, tools
from .threads import CHUNK_SIGNATURE, call_at, sums_at
from .tiles import BRANCH, in_tiles, is_few, tile_width, tiling, transpose

# Wider rows are faster one by one; so many classes with labels, and with dense targets.
MOST_BY_LABEL = {"float32": 79, "float64": 63}
MOST_CLASSES = 96


class Narrow(NamedTuple):
    """The functions for rows of some width, and how many rows they take at a time."""

    chunk: Code
    to_columns: Code
    to_rows: Code
    width: int


@cache
def code(real: str, classes: int, by_label: bool) -> Narrow:
    """The code for rows of so many classes; ``by_label``: the label is all that counts."""
    width = tile_width(real, classes)
    return Narrow(
        chunk(real, is_few(real, classes), width, "labels" if by_label else "general"),
        transpose(real, classes, width, False),
        transpose(real, classes, width, True),
        width,
    )


@cache
def chunk(real: str, few: bool, width: int, what: str) -> Code:
    """Machine code over tiles; with ``few``, labels are found by comparing."""
    make = {"labels": _labels, "general": make_general}[what]
    most = 64 // np.dtype(real).itemsize if few else MOST_CLASSES
    return c_function(
        lambda: make(real, few, width, most),
        CHUNK_SIGNATURE,
        f"softmax narrow {what} {few} {width} {real}",
        error_model="numpy",
    )


@cache
def _label_loops(real: str, width: int) -> Any:
    return namespace(_exponentials(real, width), _derivatives(real, width))


def _labels_at(real: str) -> Callable:
    t = numbers(real)
    wide, slim, itemsize, block = np.int64(0), t.integer(0), t.itemsize, block_size(real)

    @njit(**inner)
    def labels_at(labels, k):
        """The labels of a block of rows, in integers as wide as their numbers."""
        return vectors.cast(vectors.load(labels + k // itemsize * 8, wide, block), slim)

    return labels_at


def _exponentials(real: str, width: int) -> Any:
    """Exponentials of a tile, and their sums."""
    t, labels_at = tools(real, width), _labels_at(real)
    zero, decay, itemsize, integer = t.zero, t.decay, t.itemsize, t.integer
    block, step = block_size(real), width * itemsize
    block_bytes = block * itemsize

    @njit(**inner)
    def fetch(following, ahead, c, k):
        """Fetch a share of the memory that is read and written next: that of the following
        tile, and that of the gradient. Each is a place and a distance of classes."""
        place, apart = following
        prefetch_to_read(place + c * apart + k, block_bytes)
        place, apart = ahead
        if place != 0:
            prefetch_to_write(place + c * apart + k, block_bytes)

    @njit(**exact)
    def exponentials(tile, classes, statistics, labels, inverse, following, ahead):
        """Exponentials and their sums; the label is found by comparing, a class at a time."""
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            label = labels_at(labels, k)
            top = vectors.load(statistics + statistic.maximum * step + k, zero, block)
            others = distance = own = vectors.splat(zero, block)
            for c in range(classes):
                fetch(following, ahead, c, k)
                d = (vectors.load(tile + c * step + k, zero, block) - top) * inverse
                e = decay(d)
                vectors.store(tile + c * step + k, e)
                here = label == integer(c)
                distance = select(here, d, distance)
                own = select(here, e, own)
                others = others + select(here, zero, e)
            vectors.store(statistics + statistic.others * step + k, others)
            vectors.store(statistics + statistic.distance * step + k, distance)
            vectors.store(statistics + statistic.own * step + k, own)

    @njit(**exact)
    def exponentials_without(tile, classes, statistics, inverse, following, ahead):
        """Exponentials and their sums, where the labels have been taken out.

        In two steps, so that no sum has more terms than 16 or so: rounding errors add up.
        """
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            top = vectors.load(statistics + statistic.maximum * step + k, zero, block)
            others = vectors.splat(zero, block)
            for start in range(0, classes, BRANCH):
                part = vectors.splat(zero, block)
                for c in range(start, min(start + BRANCH, classes)):
                    fetch(following, ahead, c, k)
                    d = (vectors.load(tile + c * step + k, zero, block) - top) * inverse
                    e = decay(d)
                    vectors.store(tile + c * step + k, e)
                    part = part + e
                others = others + part
            vectors.store(statistics + statistic.others * step + k, others)

    @njit(**inner)
    def weighted_distances(tile, classes, top, sums, of_class, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            sums[k] = zero
        for c in range(classes):
            w = of_class[c]
            if w != zero:
                for k in range(width):
                    sums[k] += w * ((tile[c * width + k] - top[k]) * inverse)

    return namespace(locals())


def _derivatives(real: str, width: int) -> Any:
    """From the exponentials of a tile to gradients and hessians."""
    t, labels_at = tools(real, width), _labels_at(real)
    zero, itemsize, integer = t.zero, t.itemsize, t.integer
    block, step = block_size(real), width * itemsize
    block_bytes = block * itemsize

    @njit(**exact)
    def gradients(tile, classes, statistics, labels):
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            label = labels_at(labels, k)
            factor = vectors.load(statistics + statistic.factor * step + k, zero, block)
            at_label = vectors.load(statistics + statistic.at_label * step + k, zero, block)
            for c in range(classes):
                g = vectors.load(tile + c * step + k, zero, block) * factor
                vectors.store(tile + c * step + k, select(label == integer(c), at_label, g))

    @njit(**exact)
    def gradients_without(tile, classes, factor):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                tile[c * width + k] = tile[c * width + k] * factor[k]

    @njit(**inner)
    def gradients_smooth(tile, classes, factor, shift, of_class):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            w = of_class[c]
            for k in range(width):
                tile[c * width + k] = tile[c * width + k] * factor[k] + shift[k] * w

    @njit(**inner)
    def hessians(tile, result, classes, inverse, square, linear):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                p = tile[c * width + k] * inverse[k]
                result[c * width + k] = p * (p * square[k] + linear[k])

    return namespace(locals())


def _label_steps(real: str, compared: bool, width: int) -> Any:
    """The steps of a tile; with ``compared``, labels are found by comparing."""
    t, moves, o = tools(real, width), tiling(real, width), _label_loops(real, width)
    zero, cast, step = t.zero, t.cast, width * t.itemsize

    @njit(**inner)
    def put(tile, labels, values, size):
        prefer_wide_vectors()
        for k in range(size):
            tile[labels[k] * width + k] = values[k]

    @njit(**inner)
    def exponentials(rows, place, statistics, of_labels, size, following, ahead):
        """Exponentials of a tile in its place, and what is known of its rows then."""
        classes, inverse = rows.classes, cast(rows.inverse_temperature)
        tile, labels = pointer(place, zero), pointer(of_labels, 1)
        top = t.column(statistics, statistic.maximum)
        moves.tile_maximum(place, classes, statistics + statistic.maximum * step)
        if rows.smooth != 0:
            of_class = pointer(rows.class_weight, zero)
            sums = t.column(statistics, statistic.weighted_distance)
            o.weighted_distances(tile, classes, top, sums, of_class, inverse)
        if compared:
            o.exponentials(place, classes, statistics, of_labels, inverse, following, ahead)
        else:
            distance = t.column(statistics, statistic.distance)
            own = t.column(statistics, statistic.own)
            for k in range(size):
                at = labels[k] * width + k
                distance[k] = (tile[at] - top[k]) * inverse
                tile[at] = t.lowest
            for k in range(width):
                own[k] = t.decay(distance[k])
            o.exponentials_without(place, classes, statistics, inverse, following, ahead)

    @njit(**inner)
    def hessians(rows, tile, hessian, statistics, labels, size):
        o.hessians(
            tile,
            hessian,
            rows.classes,
            t.column(statistics, statistic.inverse),
            t.column(statistics, statistic.hessian_square),
            t.column(statistics, statistic.hessian_linear),
        )
        put(hessian, labels, t.column(statistics, statistic.hessian_at_label), size)

    @njit(**inner)
    def gradients(rows, place, statistics, of_labels, size):
        """Gradients of a tile in the place of its exponentials."""
        classes, tile, labels = rows.classes, pointer(place, zero), pointer(of_labels, 1)
        factor = t.column(statistics, statistic.factor)
        at_label = t.column(statistics, statistic.at_label)
        if rows.smooth != 0:
            shift = t.column(statistics, statistic.shift)
            of_class = pointer(rows.class_weight, zero)
            o.gradients_smooth(tile, classes, factor, shift, of_class)
            put(tile, labels, at_label, size)
        elif compared:
            o.gradients(place, classes, statistics, of_labels)
        else:
            o.gradients_without(tile, classes, factor)
            put(tile, labels, at_label, size)

    return namespace(locals())


def _labels(real: str, compared: bool, width: int, most: int) -> Callable:
    t, moves, s = tools(real, width), tiling(real, width), _label_steps(real, compared, width)
    zero, itemsize = t.zero, t.itemsize
    tile_bytes, lanes_bytes, labels_bytes = most * width * itemsize, 8 * width, 8 * width
    spare_bytes, statistics_bytes = max(tile_bytes, 8 * width), t.statistics_bytes

    def narrow_rows(address, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes = rows.classes
        place, spare = stack_memory(tile_bytes), stack_memory(spare_bytes)
        hessian_place = stack_memory(tile_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        t.clear_statistics(statistics)
        for k in range(width):
            labels[k] = 0
        weight = t.column(statistics, statistic.row_weight)
        prediction = in_tiles(
            call, call.prediction, rows.prediction_layout, rows.prediction_columns
        )
        gradient = in_tiles(call, call.gradient, rows.gradient_layout, rows.gradient_columns)
        hessian = in_tiles(call, call.hessian, rows.hessian_layout, rows.hessian_columns)
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(width):
            lanes[k] = 0.0
        sums.value = sums.out_of_range = 0.0
        row, stop = index * call.chunk, min((index + 1) * call.chunk, call.size)
        while row < stop:
            size = min(width, stop - row)
            following = moves.share_of(prediction, row + width, classes, place)
            ahead = (0, 0)
            if rows.derivatives > 0:
                ahead = moves.share_of(gradient, row, classes, place)
            moves.gather_tile(prediction, rows.to_columns, row, size, classes, place, spare)
            call_describe(rows.describe, (address, row, size, statistics, of_labels, spare))
            if moves.count_zeros(weight) != zero:
                moves.clear_rows(place, classes, weight)
            s.exponentials(rows, place, statistics, of_labels, size, following, ahead)
            call_finish(rows.finish, (address, statistics))
            t.store_values(call, rows, row, size, statistics)
            t.add_values(call, statistics, size, lanes)
            if rows.derivatives > 1:
                tile, seconds = pointer(place, zero), pointer(hessian_place, zero)
                s.hessians(rows, tile, seconds, statistics, labels, size)
                moves.spread_tile(hessian, rows.to_rows, row, size, classes, hessian_place, spare)
            if rows.derivatives > 0:
                s.gradients(rows, place, statistics, of_labels, size)
                moves.spread_tile(gradient, rows.to_rows, row, size, classes, place, spare)
            row += size
        sums.value += t.sum_of(lanes)
        restore_denormals(mode)

    return narrow_rows
