"""Losses of positives against the log of a sum: values, and slopes by similarities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...formulas.points import point
from ..blocks import unpack
from ..intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from ..options import exact, fast, inner
from .loops import PIECE, block_at, of_loss, positives_within, tools


def positives_(real: str) -> Callable:
    """Values of rows from their positives, and the slope by the log of their sum."""
    t = tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**fast)
    def add(self, row, size, scale, shift, log_sum):
        prefer_wide_vectors()
        value = slope = 0.0
        for k in range(size):
            x = np.float64(row[k]) * scale + shift
            v, _, s = point(self, x, log_sum)
            lost = x + log_sum
            value += lost if lost != lost else v
            slope += lost if lost != lost else s
        return value, slope

    def positives(loss, parameters, address, start, count, result):
        self, block = unpack(loss, parameters), block_at(address)
        width, first = block.width, block.column
        # In float64: the log of a sum is near its largest term, and the difference small.
        log_sums, totals = pointer(block.log_sum, 1.0), pointer(block.exponential_sum, zero)
        slopes, factors = pointer(block.exponential_factor, zero), pointer(block.factor, zero)
        shares, values = pointer(block.share, 1.0), pointer(block.values, 1.0)
        starts, ends = pointer(block.starts, 1), pointer(block.ends, 1)
        scale, shift = block.scale, block.shift
        for r in range(start, start + count):
            i = block.row + r
            low, high = max(starts[i], first), min(ends[i], first + width)
            row = block.block + (r * width - first) * itemsize
            value = slope = 0.0
            # A row of labels is not its own positive.
            middle = i if (block.labelled != 0) & (low <= i) & (i < high) else high
            for part in range(2):
                begin = low if part == 0 else middle + 1
                size = (middle if part == 0 else high) - begin
                if size > 0:
                    here = t.numbers(row, begin)
                    more = add(self, here, size, scale, shift, log_sums[i])
                    value, slope = value + more[0], slope + more[1]
            values[i] += value * shares[i]
            # Over the sum of exponentials: what an exponential has to be multiplied by.
            if totals[i] != zero:
                slopes[i] += cast(slope * factors[i] / totals[i])

    return positives


positives = of_loss(positives_)


def _slopes_of_others(real: str) -> Callable:
    """Function that turns similarities into slopes by way of the sums they are part of."""
    t = tools(real)
    zero, decay, numbers = t.zero, t.decay, t.numbers

    @njit(**exact)
    def by_row(row, size, scale, top, slope):
        prefer_wide_vectors()
        for k in range(size):
            row[k] = slope * decay((row[k] - top) * scale)

    @njit(**exact)
    def by_both(row, size, scale, top, slope, tops, slopes):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = row[k]
            there = slopes[k] * decay((x - tops[k]) * scale)
            row[k] = slope * decay((x - top) * scale) + there

    @njit(**inner)
    def by_sums(block, i, at, row, size, scale):
        """Of row i and of the columns from ``at`` on."""
        top = pointer(block.maximum, zero)[i]
        slope = pointer(block.exponential_factor, zero)[i]
        if block.both != 0:
            tops = numbers(block.column_maximum, at)
            by_both(
                row, size, scale, top, slope, tops, numbers(block.column_exponential_factor, at)
            )
        else:
            by_row(row, size, scale, top, slope)

    return by_sums


def _slopes_of_positives(real: str) -> Callable:
    """Function that adds the slopes by positives themselves to those by way of the sums."""
    t = tools(real)
    zero, cast, numbers = t.zero, t.cast, t.numbers

    @njit(**inner)
    def of_positives(self, row, size, scale, shift, log_sum, factor):
        for k in range(size):
            x = np.float64(row[k]) * scale + shift
            _, s, _ = point(self, x, log_sum)
            row[k] = cast(factor * s)

    @njit(**inner)
    def add_positives(self, block, i, at, row, size, kept, other):
        """From two copies of the similarities, the first of which is overwritten."""
        scale, shift = block.scale, block.shift
        log_sum, factor = pointer(block.log_sum, 1.0)[i], pointer(block.factor, zero)[i]
        of_positives(self, kept, size, scale, shift, log_sum, factor)
        for k in range(size):
            row[k] += kept[k]
        if block.both != 0:
            theirs = pointer(block.column_log_sum + 8 * at, 1.0)
            factors = numbers(block.column_factor, at)
            for k in range(size):
                x = np.float64(other[k]) * scale + shift
                _, s, _ = point(self, x, theirs[k])
                row[k] += cast(np.float64(factors[k]) * s)
        if (block.labelled != 0) & (at <= i) & (i < at + size):
            row[i - at] = zero

    return add_positives


def emit_(real: str) -> Callable:
    """Slopes by similarities in their place, for losses of positives against a sum."""
    t, by_sums, add_positives = tools(real), _slopes_of_others(real), _slopes_of_positives(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize
    kept_bytes = 2 * PIECE * itemsize

    def emit(loss, parameters, address, start, count, result):
        self, block = unpack(loss, parameters), block_at(address)
        mode = flush_denormals()
        width, first, scale = block.width, block.column, cast(block.scale)
        # Positives are kept while the loop over the whole row runs over them.
        memory = stack_memory(kept_bytes)
        kept, other = pointer(memory, zero), pointer(memory + PIECE * itemsize, zero)
        for r in range(start, start + count):
            i = block.row + r
            low, high = positives_within(block, i, first, first + width)
            row = block.block + (r * width - first) * itemsize
            at = first
            while at < first + width:
                # Up to the positives, the positives piece by piece, what is behind them.
                inside = (low <= at) & (at < high)
                stop = low if at < low else first + width
                stop = min(high, at + PIECE) if inside else stop
                size, here = stop - at, t.numbers(row, at)
                if inside:
                    for k in range(size):
                        kept[k] = other[k] = here[k]
                if inside & (block.negatives_alone != 0):
                    t.fill(here, size, zero)
                else:
                    by_sums(block, i, at, here, size, scale)
                if inside:
                    add_positives(self, block, i, at, here, size, kept, other)
                at = stop
        restore_denormals(mode)

    return emit


emit = of_loss(emit_)
