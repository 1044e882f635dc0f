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
    prefetch,
    restore_denormals,
    stack_memory,
)
from .narrow_general import make_general
from .rows import (
    AT_LABEL,
    CHUNK_SIGNATURE,
    CLASS_WEIGHT,
    CLASSES,
    DERIVATIVES,
    DESCRIBE,
    DISTANCE,
    FACTOR,
    FINISH,
    GRADIENT,
    HESSIAN,
    HESSIAN_AT_LABEL,
    HESSIAN_LINEAR,
    HESSIAN_SQUARE,
    INVERSE,
    INVERSE_TEMPERATURE,
    MAXIMUM,
    OTHERS,
    OWN,
    PREDICTION,
    ROW_WEIGHT,
    SHIFT,
    SMOOTH,
    SPREAD,
    STATISTICS,
    block_size,
    call_describe,
    call_finish,
    exact,
    inner,
    namespace,
    tools,
)
from .threads import CHUNK, LAYOUTS, SIZE
from .tiles import BRANCH, is_few, tile_width, turn, turning

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
def code(real: str, classes: int, fast_road: bool) -> Narrow:
    """The code for rows of so many classes."""
    width = tile_width(real, classes)
    return Narrow(
        chunk(real, is_few(real, classes), width, "labels" if fast_road else "general"),
        turn(real, classes, width, False),
        turn(real, classes, width, True),
        width,
    )


@cache
def chunk(real: str, few: bool, width: int, what: str) -> Code:
    """Machine code over tiles; ``few`` says that labels are found by comparing."""
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
    t = tools(real, width)
    zero, decay, itemsize, integer = t.zero, t.decay, t.itemsize, t.integer
    wide, slim = np.int64(0), integer(0)
    block, step = block_size(real), width * itemsize
    block_bytes = block * itemsize

    @njit(**inner)
    def fetch(following, ahead, c, k):
        """Fetch a share of the memory that is read and written next: that of the following
        tile, and that of the gradient. Each is a place and a distance of classes."""
        place, apart = following
        for line in range(0, block_bytes, 64):
            prefetch(place + c * apart + k + line, 0)
        place, apart = ahead
        if place != 0:
            for line in range(0, block_bytes, 64):
                prefetch(place + c * apart + k + line, 1)

    @njit(**inner)
    def labels_at(labels, k):
        """The labels of a block of rows, in integers as wide as their numbers."""
        return vectors.cast(vectors.load(labels + k // itemsize * 8, wide, block), slim)

    @njit(**exact)
    def exponentials(tile, classes, statistics, labels, inverse, following, ahead):
        """Exponentials and their sums; the label is found by comparing, a class at a time."""
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            label = labels_at(labels, k)
            top = vectors.load(statistics + MAXIMUM * step + k, zero, block)
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
            vectors.store(statistics + OTHERS * step + k, others)
            vectors.store(statistics + DISTANCE * step + k, distance)
            vectors.store(statistics + OWN * step + k, own)

    @njit(**exact)
    def exponentials_without(tile, classes, statistics, inverse, following, ahead):
        """Exponentials and their sums, where the labels have been taken out.

        In two steps, so that no sum has more terms than 16 or so: rounding errors add up.
        """
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            top = vectors.load(statistics + MAXIMUM * step + k, zero, block)
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
            vectors.store(statistics + OTHERS * step + k, others)

    @njit(**inner)
    def spreads(tile, classes, top, spread, of_class, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            spread[k] = zero
        for c in range(classes):
            w = of_class[c]
            if w != zero:
                for k in range(width):
                    spread[k] += w * ((tile[c * width + k] - top[k]) * inverse)

    @njit(**exact)
    def gradients(tile, classes, statistics, labels):
        prefer_wide_vectors()
        for k in range(0, step, block_bytes):
            label = labels_at(labels, k)
            factor = vectors.load(statistics + FACTOR * step + k, zero, block)
            at_label = vectors.load(statistics + AT_LABEL * step + k, zero, block)
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


def _labels(real: str, compared: bool, width: int, most: int) -> Callable:
    t, turn, o = (
        tools(real, width),
        turning(real, width),
        _label_loops(real, width),
    )
    zero, cast, itemsize = t.zero, t.cast, t.itemsize
    tile_bytes = most * width * itemsize
    spare_bytes = max(tile_bytes, 8 * width)
    statistics_bytes, labels_bytes = STATISTICS * width * itemsize, 8 * width
    lanes_bytes, step = 8 * width, width * itemsize

    @njit(**inner)
    def put(tile, labels, values, size):
        prefer_wide_vectors()
        for k in range(size):
            tile[labels[k] * width + k] = values[k]

    def narrow_rows(job, scale, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        fields, reals = pointer(job[LAYOUTS], 1), pointer(job[LAYOUTS], 1.0)
        classes = fields[CLASSES]
        inverse = cast(reals[INVERSE_TEMPERATURE])
        place, spare = stack_memory(tile_bytes), stack_memory(spare_bytes)
        hessian_place = stack_memory(tile_bytes)
        statistics = stack_memory(statistics_bytes)
        of_labels = stack_memory(labels_bytes)
        labels = pointer(of_labels, 1)
        tile = pointer(place, zero)
        top = t.column(statistics, MAXIMUM)
        distance, own = t.column(statistics, DISTANCE), t.column(statistics, OWN)
        weight = t.column(statistics, ROW_WEIGHT)
        factor, at_label = t.column(statistics, FACTOR), t.column(statistics, AT_LABEL)
        t.fill(pointer(statistics, zero), STATISTICS * width, zero)
        for k in range(width):
            labels[k] = 0
        of_class = pointer(fields[CLASS_WEIGHT], zero)
        sums = pointer(result, 1.0)
        lanes = pointer(stack_memory(lanes_bytes), 1.0)
        for k in range(width):
            lanes[k] = 0.0
        sums[0] = sums[1] = 0.0
        row, stop = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        while row < stop:
            size = min(width, stop - row)
            following = turn.share_of(job, PREDICTION, row + width, classes, place)
            ahead = (0, 0)
            if fields[DERIVATIVES] > 0:
                ahead = turn.share_of(job, GRADIENT, row, classes, place)
            turn.gather_tile(job, PREDICTION, row, size, classes, place, spare)
            call_describe(fields[DESCRIBE], (job, row, size, statistics, of_labels, spare))
            if turn.count_zeros(weight) != zero:
                turn.clear_rows(place, classes, weight)
            turn.tile_maximum(place, classes, statistics + MAXIMUM * step)
            if fields[SMOOTH] != 0:
                o.spreads(tile, classes, top, t.column(statistics, SPREAD), of_class, inverse)
            if compared:
                o.exponentials(place, classes, statistics, of_labels, inverse, following, ahead)
            else:
                for k in range(size):
                    at = labels[k] * width + k
                    distance[k] = (tile[at] - top[k]) * inverse
                    tile[at] = t.lowest
                for k in range(width):
                    own[k] = t.decay(distance[k])
                o.exponentials_without(place, classes, statistics, inverse, following, ahead)
            call_finish(fields[FINISH], (job, statistics))
            t.store_values(job, row, size, statistics)
            t.add_values(job, statistics, size, lanes)
            if fields[DERIVATIVES] > 1:
                hessian = pointer(hessian_place, zero)
                o.hessians(
                    tile,
                    hessian,
                    classes,
                    t.column(statistics, INVERSE),
                    t.column(statistics, HESSIAN_SQUARE),
                    t.column(statistics, HESSIAN_LINEAR),
                )
                put(hessian, labels, t.column(statistics, HESSIAN_AT_LABEL), size)
                turn.spread_tile(job, HESSIAN, row, size, classes, hessian_place, spare)
            if fields[DERIVATIVES] > 0:
                if fields[SMOOTH] != 0:
                    shift = t.column(statistics, SHIFT)
                    o.gradients_smooth(tile, classes, factor, shift, of_class)
                    put(tile, labels, at_label, size)
                elif compared:
                    o.gradients(place, classes, statistics, of_labels)
                else:
                    o.gradients_without(tile, classes, factor)
                    put(tile, labels, at_label, size)
                turn.spread_tile(job, GRADIENT, row, size, classes, place, spare)
            row += size
        sums[0] += t.sum_of(lanes)
        restore_denormals(mode)

    return narrow_rows
