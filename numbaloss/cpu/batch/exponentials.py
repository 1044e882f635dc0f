"""Maxima and sums of exponentials of the rows and the columns of a block."""

from __future__ import annotations

from collections.abc import Callable

from numba import njit

from ..intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from ..options import exact, inner
from ..stretches import tools as tools_of_stretches
from ..threads import call_at
from .loops import STRIP, block_at, chunk_rows, loop, summed_apart, tools


@loop
def measure_rows(real: str) -> Callable:
    """Maxima and sums of exponentials of rows, a stretch further."""
    t, of_stretches = tools(real), tools_of_stretches(real)
    zero, cast, decay, itemsize = t.zero, t.cast, t.decay, t.itemsize
    maximum, exponentials = of_stretches.maximum, of_stretches.exponentials

    def measure(address, _, index, result):
        call = call_at(address)
        block = block_at(call.description)
        mode = flush_denormals()
        width, first = block.width, block.column
        top, total = pointer(block.maximum, zero), pointer(block.exponential_sum, zero)
        scale = cast(block.scale)
        begin, end = chunk_rows(call, index)
        for r in range(begin, end):
            i = block.row + r
            low, high = summed_apart(block, i, first, first + width)
            row = block.block + r * width * itemsize
            size, rest = low - first, first + width - high
            after = row + (high - first) * itemsize
            if size + rest > 0:
                new = maximum(row, size, after, rest)
                new = new if new > top[i] else top[i]
                more = exponentials(row, size, after, rest, new, scale)
                # NaN stays, though no maximum knows it.
                before = zero if total[i] == zero else total[i] * decay((new - top[i]) * scale)
                top[i], total[i] = new, before + more
        restore_denormals(mode)

    return measure


def _maxima_of_columns(real: str) -> Callable:
    """Function that raises the maxima of a strip of columns by all rows of a block."""
    t = tools(real)
    zero, lowest, itemsize = t.zero, t.lowest, t.itemsize
    strip_bytes = STRIP * itemsize
    copies_bytes = 4 * strip_bytes

    @njit(**inner)
    def highest(first, second, third, fourth, size, tops):
        # Rows four at a time: of one alone LLVM would make stores under a mask, which are slow.
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = first[k] if first[k] > tops[k] else tops[k]
            x = second[k] if second[k] > x else x
            x = third[k] if third[k] > x else x
            tops[k] = fourth[k] if fourth[k] > x else x

    @njit(**inner)
    def counted(block, r, start, size, memory):
        """Where the numbers of a row are; those that do not count are -inf, in a copy."""
        first = block.column + start
        low, high = summed_apart(block, block.row + r, first, first + size)
        row = t.numbers(block.block, r * block.width + start)
        if low == high:
            return row
        copy = pointer(memory, zero)
        for k in range(size):
            copy[k] = row[k]
        t.fill(t.numbers(memory, low - first), high - low, lowest)
        return copy

    @njit(**inner)
    def raise_tops(block, start, size, tops):
        height = block.height
        memory = stack_memory(copies_bytes)
        for r in range(0, height, 4):
            # Of a maximum the last row may be asked again.
            second, third, fourth = min(r + 1, height - 1), min(r + 2, height - 1), r + 3
            highest(
                counted(block, r, start, size, memory),
                counted(block, second, start, size, memory + strip_bytes),
                counted(block, third, start, size, memory + 2 * strip_bytes),
                counted(block, min(fourth, height - 1), start, size, memory + 3 * strip_bytes),
                size, tops,
            )  # fmt: skip

    return raise_tops


@loop
def measure_columns(real: str) -> Callable:
    """Maxima and sums of exponentials of columns, some rows further."""
    t, raise_tops = tools(real), _maxima_of_columns(real)
    zero, cast, decay, numbers = t.zero, t.cast, t.decay, t.numbers
    strip_bytes = STRIP * t.itemsize

    @njit(**exact)
    def add(row, size, tops, sums, scale):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            sums[k] += decay((row[k] - tops[k]) * scale)

    @njit(**exact)
    def merge(top, total, tops, size, scale):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            before = total[k] * decay((tops[k] - top[k]) * scale)
            total[k] = zero if total[k] == zero else before
            top[k] = tops[k]

    def measure(address, _, index, result):
        block = block_at(call_at(address).description)
        mode = flush_denormals()
        start = index * STRIP
        size = min(STRIP, block.width - start)
        first = block.column + start
        memory = stack_memory(strip_bytes)
        tops = pointer(memory, zero)
        scale = cast(block.scale)
        top = numbers(block.column_maximum, first)
        for k in range(size):
            tops[k] = top[k]
        raise_tops(block, start, size, tops)
        merge(top, numbers(block.column_exponential_sum, first), tops, size, scale)
        for r in range(block.height):
            low, high = summed_apart(block, block.row + r, first, first + size)
            row = r * block.width + start
            for part in range(2):
                # Left of what is not summed, and right of it.
                begin = 0 if part == 0 else high - first
                count = low - first if part == 0 else first + size - high
                if count > 0:
                    here, there = numbers(block.block, row + begin), numbers(memory, begin)
                    sums = numbers(block.column_exponential_sum, first + begin)
                    add(here, count, there, sums, scale)
        restore_denormals(mode)

    return measure
