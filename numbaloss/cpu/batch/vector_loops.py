"""Vectors of one side of a batch: copied in its order before, and their gradients after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...jobs.batch import GatheredPairs
from ..intrinsics import no_alias, pointer, prefer_wide_vectors, stack_memory
from ..movers import move
from ..options import exact, fast, inner
from ..records import at
from ..threads import call_at
from .loops import PIECE, chunk_rows, loop, side_at, tools

_pairs_at = at(GatheredPairs)


@njit(**inner)
def _origin(side, i):
    """Which row of somebody's array a vector is."""
    return i if side.order == 0 else pointer(side.order, 1)[i]


@njit(**fast)
def _square_of(row, size):
    prefer_wide_vectors()
    total = 0.0
    for k in range(size):
        x = np.float64(row[k])
        total += x * x
    return total


@njit(**inner)
def _largest_of(row, size):
    largest = 0.0
    for k in range(size):
        x = abs(np.float64(row[k]))
        largest = x if x > largest else largest
    return largest


@njit(**inner)
def _copy(source, target, size):
    prefer_wide_vectors()
    no_alias()
    for k in range(size):
        target[k] = source[k]


@loop
def prepare(real: str) -> Callable:
    """Copies of vectors, in order, normalised where they are to be."""
    t = tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**inner)
    def scale(row, size, factor):
        prefer_wide_vectors()
        for k in range(size):
            row[k] = cast(np.float64(row[k]) * factor)

    @njit(**inner)
    def normalised(row, size):
        """Bring a vector to length 1; one over its former length."""
        square, unit = _square_of(row, size), 1.0
        if (square < 1e-290) | (square == np.inf):
            # Too short or too long for squares of float64.
            unit = _largest_of(row, size)
            unit = max(unit, 1e-300) if (unit > 0.0) & (unit < np.inf) else 1.0
            scale(row, size, 1.0 / unit)
            square = _square_of(row, size)
        length = np.sqrt(square)
        # A zero vector stays: it has no direction, and gets no gradient.
        inverse = 0.0 if length == 0.0 else 1.0 / length
        scale(row, size, inverse)
        return inverse / unit

    def prepare_rows(address, _, index, result):
        call = call_at(address)
        side = side_at(call.description)
        size, layout = side.length, call.description + 8 * side.layout
        first, last = chunk_rows(call, index)
        for i in range(first, last):
            source, target = _origin(side, i) * size, side.vectors + i * size * itemsize
            row = pointer(target, zero)
            if side.layout == 0:
                _copy(t.numbers(side.source, source), row, size)
            else:
                move(side.source, layout, source, size, target)
            if side.normalize != 0:
                pointer(side.inverse, 1.0)[i] = normalised(row, size)

    return prepare_rows


@loop
def center(real: str) -> Callable:
    """Vectors less their mean, in a unit of about the largest, and their squared lengths."""
    t = tools(real)
    zero, cast = t.zero, t.cast

    @njit(**fast)
    def less_mean(row, mean, size, inverse):
        prefer_wide_vectors()
        no_alias()
        total = 0.0
        for k in range(size):
            x = cast((np.float64(row[k]) - np.float64(mean[k])) * inverse)
            row[k] = x
            total += np.float64(x) * np.float64(x)
        return total

    def center_rows(address, _, index, result):
        call = call_at(address)
        side = side_at(call.description)
        size, squares, mean = side.length, pointer(side.squares, zero), pointer(side.mean, zero)
        first, last = chunk_rows(call, index)
        for i in range(first, last):
            row = t.numbers(side.vectors, i * size)
            squares[i] = cast(less_mean(row, mean, size, 1.0 / side.unit))

    return center_rows


@loop
def gather(real: str) -> Callable:
    """Sums of differences to other vectors, each with its slope."""
    t = tools(real)
    zero, numbers = t.zero, t.numbers

    @njit(**exact)
    def add(target, here, there, size, factor):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            target[k] += factor * (here[k] - there[k])

    def gather_rows(address, _, index, result):
        call = call_at(address)
        pairs = _pairs_at(call.description)
        size = pairs.length
        starts, others = pointer(pairs.first, 1), pointer(pairs.others, 1)
        slopes = pointer(pairs.slopes, zero)
        first, last = chunk_rows(call, index)
        for i in range(first, last):
            target, here = numbers(pairs.sums, i * size), numbers(pairs.vectors, i * size)
            t.fill(target, size, zero)
            for e in range(starts[i], starts[i + 1]):
                add(target, here, numbers(pairs.vectors, others[e] * size), size, slopes[e])

    return gather_rows


@njit(**fast)
def _product_of(a, b, size):
    prefer_wide_vectors()
    total = 0.0
    for k in range(size):
        total += np.float64(a[k]) * np.float64(b[k])
    return total


@loop
def finish(real: str) -> Callable:
    """From sums to gradients: through the lengths, to where vectors came from."""
    t = tools(real)
    zero, cast, numbers = t.zero, t.cast, t.numbers
    piece_bytes = PIECE * t.itemsize

    @njit(**exact)
    def combine(sums, vectors, target, size, factor, along):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            target[k] = cast(factor * np.float64(sums[k]) + along * np.float64(vectors[k]))

    @njit(**inner)
    def factors_of(side, i, sums, vectors):
        """What the sum and the vector are multiplied by: a gradient is the sum of both."""
        along = 0.0 if side.slope_sum == 0 else pointer(side.slope_sum, 1.0)[i]
        factor = 1.0
        if side.normalize != 0:
            # What lies along a vector is lost when it is normalised.
            factor, size = pointer(side.inverse, 1.0)[i], side.length
            product = _product_of(sums, vectors, size)
            along -= product + along * _product_of(vectors, vectors, size)
            along = along * factor + 0.0
        return factor * side.scale, along * side.scale

    @njit(**inner)
    def store(side, layout, first, size, memory):
        if side.layout != 0:
            move(side.source, layout, first, size, memory)
            return
        target, scratch = numbers(side.source, first), pointer(memory, zero)
        for k in range(size):
            target[k] = scratch[k]

    def finish_rows(address, _, index, result):
        call = call_at(address)
        side = side_at(call.description)
        size, layout = side.length, call.description + 8 * side.layout
        memory = stack_memory(piece_bytes)
        scratch = pointer(memory, zero)
        begin, end = chunk_rows(call, index)
        for i in range(begin, end):
            target, own = _origin(side, i) * size, i * size
            sums, vectors = numbers(side.sums, own), numbers(side.vectors, own)
            factor, along = factors_of(side, i, sums, vectors)
            for start in range(0, size, PIECE):
                count = min(PIECE, size - start)
                combine(
                    numbers(side.sums, own + start), numbers(side.vectors, own + start), scratch,
                    count, factor, along,
                )  # fmt: skip
                store(side, layout, target + start, count, memory)

    return finish_rows
