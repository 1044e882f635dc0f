"""Hard triplets: the farthest positive and the nearest negative of each row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...formulas.points import point
from ..blocks import unpack
from ..intrinsics import no_alias, pointer, prefer_wide_vectors
from ..options import inner
from ..stretches import tools as tools_of_stretches
from ..threads import call_at
from .loops import STRIP, block_at, chunk_rows, loop, of_loss, positives_within, tools

_PLACE_BYTES = np.dtype(np.int32).itemsize


@njit(**inner)
def _places(address, first):
    """Places of vectors, from one of them on."""
    return pointer(address + first * _PLACE_BYTES, np.int32(0))


def _farthest_of_stretch(real: str) -> Callable:
    """Function that searches a stretch of a row for a larger number, and its place."""
    t = tools(real)
    zero, two, itemsize = t.zero, t.cast(2), t.itemsize
    largest = tools_of_stretches(real).farthest

    @njit(**inner)
    def search(row, squares, size, sign, wanted):
        """The first place of a number that is there."""
        for k in range(size):
            if sign * (squares[k] - two * row[k]) >= wanted:
                return k
        return 0

    @njit(**inner)
    def farthest(row, first, low, high, squares, sign, best, place):
        """The columns from low to high of a row that begins at column first."""
        if low < high:
            here, there = row + (low - first) * itemsize, squares + low * itemsize
            most = largest(here, there, high - low, sign)
            if most > best:
                own, other = pointer(here, zero), pointer(there, zero)
                return most, low + search(own, other, high - low, sign, most)
        return best, np.int64(place)

    return farthest


@loop
def mine_rows(real: str) -> Callable:
    """Farthest positives and nearest negatives of rows, a stretch further."""
    t, farthest = tools(real), _farthest_of_stretch(real)
    zero, one, itemsize = t.zero, t.cast(1), t.itemsize

    def mine(address, _, index, result):
        call = call_at(address)
        block = block_at(call.description)
        width, first, squares = block.width, block.column, block.squares
        far, near = pointer(block.farthest, zero), pointer(block.nearest, zero)
        of_far, of_near = _places(block.farthest_place, 0), _places(block.nearest_place, 0)
        begin, end = chunk_rows(call, index)
        for r in range(begin, end):
            i = block.row + r
            last = first + width
            low, high = positives_within(block, i, first, last)
            middle = i if (low <= i) & (i < high) else high
            row = block.block + r * width * itemsize
            best, place = farthest(row, first, low, middle, squares, one, far[i], of_far[i])
            best, place = farthest(
                row, first, middle + 1, high, squares, one, best, np.int32(place)
            )
            far[i], of_far[i] = best, np.int32(place)
            best, place = farthest(row, first, first, low, squares, -one, -near[i], of_near[i])
            best, place = farthest(row, first, high, last, squares, -one, best, np.int32(place))
            near[i], of_near[i] = -best, np.int32(place)

    return mine


@loop
def mine_columns(real: str) -> Callable:
    """Farthest positives and nearest negatives of columns, some rows further."""
    t = tools(real)
    zero, two, numbers = t.zero, t.cast(2), t.numbers

    @njit(**inner)
    def farther(row, size, square, i, best, places):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = square - two * row[k]
            better = x > best[k]
            best[k] = x if better else best[k]
            places[k] = i if better else places[k]

    @njit(**inner)
    def nearer(row, size, square, i, best, places):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = square - two * row[k]
            better = x < best[k]
            best[k] = x if better else best[k]
            places[k] = i if better else places[k]

    def mine(address, _, index, result):
        block = block_at(call_at(address).description)
        start = index * STRIP
        first = block.column + start
        last = first + min(STRIP, block.width - start)
        squares = pointer(block.squares, zero)
        for r in range(block.height):
            i = block.row + r
            low, high = positives_within(block, i, first, last)
            row = r * block.width + start - first
            if low < high:
                farther(
                    numbers(block.block, row + low), high - low, squares[i], np.int32(i),
                    numbers(block.farthest, low), _places(block.farthest_place, low),
                )  # fmt: skip
            for part in range(2):
                begin = first if part == 0 else high
                end = low if part == 0 else last
                if begin < end:
                    nearer(
                        numbers(block.block, row + begin), end - begin, squares[i], np.int32(i),
                        numbers(block.nearest, begin), _places(block.nearest_place, begin),
                    )  # fmt: skip

    return mine


def value_mined_(real: str) -> Callable:
    """Values of anchors, each with its farthest positive and nearest negative."""
    t = tools(real)
    zero, cast = t.zero, t.cast

    def value_mined(loss, parameters, address, start, count, result):
        self, block = unpack(loss, parameters), block_at(address)
        of_far, of_near = _places(block.farthest_place, 0), _places(block.nearest_place, 0)
        far_slopes = pointer(block.farthest_slope, zero)
        near_slopes = pointer(block.nearest_slope, zero)
        factors, values = pointer(block.factor, zero), pointer(block.values, 1.0)
        active, unit = pointer(block.active, 1), block.unit
        for i in range(start, start + count):
            if (of_far[i] >= 0) & (of_near[i] >= 0):
                positive = t.squared_distance(block, i, np.int64(of_far[i]))
                negative = t.squared_distance(block, i, np.int64(of_near[i]))
                # What a difference of two vectors is multiplied by.
                of_far_pair = of_near_pair = 2.0
                if block.squared == 0:
                    positive, negative = np.sqrt(positive), np.sqrt(negative)
                    of_far_pair = 1.0 / positive if positive > 0.0 else 0.0
                    of_near_pair = 1.0 / negative if negative > 0.0 else 0.0
                    positive, negative = positive * unit, negative * unit
                else:
                    positive, negative = positive * unit * unit, negative * unit * unit
                    of_far_pair = of_near_pair = 2.0 * unit
                value, by_positive, by_negative = point(self, positive, negative)
                values[i] = value
                active[i] = 1 if value > 0.0 else 0
                far_slopes[i] = cast(factors[i] * by_positive * of_far_pair)
                near_slopes[i] = cast(factors[i] * by_negative * of_near_pair)

    return value_mined


value_mined = of_loss(value_mined_)
