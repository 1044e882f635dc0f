"""Triplets of whole rows: every negative, or for each positive the nearest beyond it.

The positives are sorted by distance. Each negative then finds its place among them in log n
steps, and that is all there is to know: which positives are nearer, and which hinges are open.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...all_pairs import CANCELLED
from ...formulas.points import point
from ...jobs.batch import Positives
from ..blocks import unpack
from ..intrinsics import no_alias, pointer, prefer_wide_vectors, stack_memory
from ..options import fast, inner
from .loops import PIECE, block_at, of_loss, tools
from .sorting import locate, sort

_column, _COLUMNS = Positives.column, Positives.count
_RANKS_BYTES = 4 * PIECE


def scratch_bytes(most: int) -> int:
    """What a row with so many positives needs: numbers for each, and some to spare."""
    return 8 * _COLUMNS * (most + 2)


@njit(**inner)
def _scratch(block, start):
    """Memory for the positives of a row of the chunk that begins at row start; bytes a column."""
    address = block.scratch + start // block.chunk_rows * block.scratch_bytes
    return address, block.scratch_bytes // _COLUMNS


@njit(**inner)
def _slope_of(distance, squared, unit):
    """Of a distance, by the difference of two vectors in their unit."""
    if squared:
        return 2.0 * unit
    return unit / distance if distance > 0.0 else 0.0


def _distances(real: str) -> Callable:
    """Function that turns products of a row into distances."""
    t = tools(real)
    zero, two, cast = t.zero, t.cast(2), t.cast
    cancelled = cast(CANCELLED)

    @njit(**inner)
    def squares_of(row, size, own, squares):
        """Squared distances; how many have lost their digits."""
        prefer_wide_vectors()
        no_alias()
        few = 0
        for k in range(size):
            x = own + squares[k] - two * row[k]
            few += 1 if x <= cancelled * (own + squares[k]) else 0
            row[k] = x
        return few

    @njit(**inner)
    def distances_of(row, size, unit, squared):
        prefer_wide_vectors()
        if squared:
            for k in range(size):
                row[k] = row[k] * unit * unit
        else:
            for k in range(size):
                row[k] = np.sqrt(row[k]) * unit

    @njit(**inner)
    def correct(block, row, i, squares):
        """Distances that have lost their digits, from the vectors."""
        for j in range(block.width):
            if row[j] <= cancelled * (squares[i] + squares[j]):
                row[j] = cast(t.squared_distance(block, i, j))

    @njit(**inner)
    def distances(block, row, i):
        squares = pointer(block.squares, zero)
        if squares_of(row, block.width, squares[i], squares) > 0:
            correct(block, row, i, squares)
        distances_of(row, block.width, cast(block.unit), block.squared != 0)

    return distances


def _every(real: str) -> Callable:
    """Function that sums the hinges of all triplets of an anchor."""
    t, find = tools(real), locate()
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**fast)
    def open_hinges(row, ranks, size, count, margin, factor, squared, unit):
        """Slopes by the negatives, and what they add to the values of the open hinges."""
        prefer_wide_vectors()
        no_alias()
        total, is_open = 0.0, 0
        wide = np.float64(count)
        for k in range(size):
            distance = np.float64(row[k])
            still = wide - np.float64(ranks[k])
            total += still * (margin - distance)
            is_open += count - ranks[k]
            one = 2.0 * unit if squared else (unit / distance if distance > 0.0 else 0.0)
            row[k] = cast(-factor * still * one)
        return total, is_open

    @njit(**inner)
    def every(block, row, low, high, scratch, part, span, size, factor):
        """The value of an anchor, and how many hinges are open."""
        width, margin, unit = block.width, block.margin, block.unit
        squared = block.squared != 0
        keys = pointer(scratch + part * _column.distance, 1.0)
        places = pointer(scratch + part * _column.place, 1)
        counts = pointer(scratch + part * _column.negatives, 1)
        limits = pointer(scratch + part * _column.limit, zero)
        ranks = pointer(stack_memory(_RANKS_BYTES), np.int32(0))
        total, is_open = 0.0, 0
        for q in range(size + 1):
            counts[q] = 0
        for side in range(2):
            at = 0 if side == 0 else high
            last = low if side == 0 else width
            while at < last:
                count = min(PIECE, last - at)
                here = pointer(row + at * itemsize, zero)
                find(here, count, limits, size, span, ranks, True)
                for k in range(count):
                    counts[ranks[k]] += 1
                more = open_hinges(here, ranks, count, size, margin, factor, squared, unit)
                total, is_open = total + more[0], is_open + more[1]
                at += count
        seen = 0
        own = pointer(row, zero)
        for q in range(size):
            seen += counts[q]
            total += seen * keys[q]
            own[places[q]] = cast(seen * factor * _slope_of(keys[q], squared, unit))
        return total, is_open

    return every


def _nearest_negatives(real: str) -> Callable:
    """Function that keeps the nearest of the negatives between two neighbours."""
    t, find = tools(real), locate()
    zero, itemsize = t.zero, t.itemsize

    @njit(**inner)
    def nearest_negatives(row, width, low, high, limits, span, best, of_best, size):
        """The farthest of all negatives, and its column. Their numbers become 0."""
        ranks = pointer(stack_memory(_RANKS_BYTES), np.int32(0))
        for q in range(size + 1):
            best[q], of_best[q] = np.inf, -1
        farthest, of_farthest = -1.0, np.int64(0) if low > 0 else high
        for side in range(2):
            at = 0 if side == 0 else high
            last = low if side == 0 else width
            while at < last:
                count = min(PIECE, last - at)
                here = pointer(row + at * itemsize, zero)
                find(here, count, limits, size, span, ranks, False)
                for k in range(count):
                    distance, q = np.float64(here[k]), ranks[k]
                    if distance < best[q]:
                        best[q], of_best[q] = distance, at + k
                    if distance > farthest:
                        farthest, of_farthest = distance, at + k
                t.fill(here, count, zero)
                at += count
        return farthest, of_farthest

    return nearest_negatives


def _semi_hard(real: str) -> Callable:
    """Function that pairs each positive with the nearest negative beyond it.

    Negatives between two neighbours among the positives are beyond the same ones: the nearest of
    them is kept. For a positive that is the first kept behind it; where there is none, the
    farthest of all negatives.
    """
    t, nearest_negatives = tools(real), _nearest_negatives(real)
    zero, cast = t.zero, t.cast

    @njit(**inner)
    def semi_hard(self, block, row, low, high, scratch, part, span, size, factor):
        """The value of an anchor, and how many terms are above 0."""
        unit, squared = block.unit, block.squared != 0
        keys = pointer(scratch + part * _column.distance, 1.0)
        places = pointer(scratch + part * _column.place, 1)
        best = pointer(scratch + part * _column.nearest, 1.0)
        of_best = pointer(scratch + part * _column.negatives, 1)
        limits = pointer(scratch + part * _column.limit, zero)
        negative, of_negative = nearest_negatives(
            row, block.width, low, high, limits, span, best, of_best, size
        )
        total, is_open = 0.0, 0
        own = pointer(row, zero)
        for q in range(size - 1, -1, -1):
            if of_best[q + 1] >= 0:
                negative, of_negative = best[q + 1], of_best[q + 1]
            value, pull, push = point(self, keys[q], negative)
            total += value
            is_open += 1 if value > 0.0 else 0
            own[places[q]] = cast(factor * pull * _slope_of(keys[q], squared, unit))
            own[of_negative] += cast(factor * push * _slope_of(negative, squared, unit))
        return total, is_open

    return semi_hard


def _sorted_positives(real: str) -> Callable:
    """Function that sorts the positives of a row, and sets the limits of its negatives."""
    t = tools(real)
    zero, cast, highest = t.zero, t.cast, t.highest

    @njit(**inner)
    def sorted_positives(block, row, i, low, high, scratch, part):
        """How many limits there are, a power of two: behind the positives they are infinite."""
        keys = pointer(scratch + part * _column.distance, 1.0)
        places = pointer(scratch + part * _column.place, 1)
        limits = pointer(scratch + part * _column.limit, zero)
        size = high - low - 1
        q = 0
        for j in range(low, high):
            if j != i:
                keys[q], places[q] = np.float64(row[j]), j
                q += 1
        sort(keys, places, size)
        span = 1
        while span <= size:
            span *= 2
        margin = block.margin if block.all_triplets != 0 else 0.0
        for q in range(span):
            limits[q] = cast(keys[q] + margin) if q < size else highest
        return span

    return sorted_positives


@njit(**fast)
def _sum_of(row, size):
    prefer_wide_vectors()
    total = 0.0
    for k in range(size):
        total += np.float64(row[k])
    return total


def emit_triplets_(real: str) -> Callable:
    """Values of anchors; similarities become slopes over distances, see `all_pairs`."""
    t, distances, sorted_positives = tools(real), _distances(real), _sorted_positives(real)
    every, semi_hard = _every(real), _semi_hard(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    def emit_triplets(loss, parameters, address, start, count, result):
        self, block = unpack(loss, parameters), block_at(address)
        width, factors = block.width, pointer(block.factor, zero)
        values, active = pointer(block.values, 1.0), pointer(block.active, 1)
        sums = pointer(block.slope_sum, zero)
        starts, ends = pointer(block.starts, 1), pointer(block.ends, 1)
        scratch, part = _scratch(block, start)
        for r in range(start, start + count):
            i = block.row + r
            low, high = starts[i], ends[i]
            place = block.block + r * width * itemsize
            row = pointer(place, zero)
            size = high - low - 1
            if (size == 0) | (high - low == width):
                t.fill(row, width, zero)
                sums[r] = zero
                continue
            distances(block, row, i)
            span = sorted_positives(block, row, i, low, high, scratch, part)
            factor = np.float64(factors[i])
            if block.all_triplets != 0:
                values[i], active[i] = every(
                    block, place, low, high, scratch, part, span, size, factor
                )
            else:
                values[i], active[i] = semi_hard(
                    self, block, place, low, high, scratch, part, span, size, factor
                )
            row[i] = zero
            sums[r] = cast(_sum_of(row, width))

    return emit_triplets


emit_triplets = of_loss(emit_triplets_)
