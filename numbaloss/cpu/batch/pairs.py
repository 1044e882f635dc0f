"""Losses of single pairs: values of rows, and slopes by similarities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...formulas.points import point
from ..blocks import unpack
from ..intrinsics import no_alias, pointer, prefer_wide_vectors
from ..options import fast
from .loops import PIECE, block_at, of_loss, positives_within, tools


def emit_pairs_(real: str) -> Callable:
    """Values of rows, and slopes by similarities in their place, for losses of pairs."""
    t = tools(real)
    zero, one, cast, itemsize = t.zero, t.cast(1), t.cast, t.itemsize

    @njit(**fast)
    def by_row(self, row, size, scale, shift, positive, factor):
        prefer_wide_vectors()
        total = zero
        for k in range(size):
            x = row[k] * scale + shift
            v, s = point(self, x, positive)
            v = x if x != x else cast(v)
            row[k] = v if v != v else factor * cast(s)
            total += v
        return np.float64(total)

    @njit(**fast)
    def by_both(self, row, size, scale, shift, positive, factor, factors):
        prefer_wide_vectors()
        no_alias()
        total = zero
        for k in range(size):
            x = row[k] * scale + shift
            v, s = point(self, x, positive)
            v = x if x != x else cast(v)
            row[k] = v if v != v else (factor + factors[k]) * cast(s)
            total += v
        return np.float64(total)

    def emit_pairs(loss, parameters, address, start, count, result):
        self, block = unpack(loss, parameters), block_at(address)
        width, first = block.width, block.column
        factors, values = pointer(block.factor, zero), pointer(block.values, 1.0)
        scale, shift = cast(block.scale), cast(block.shift)
        both, labelled = block.both != 0, block.labelled != 0
        for r in range(start, start + count):
            i = block.row + r
            low, high = positives_within(block, i, first, first + width)
            row = block.block + (r * width - first) * itemsize
            at = first
            while at < first + width:
                inside = (low <= at) & (at < high)
                # Sums in the compute type are short.
                stop = min(low if at < low else high if inside else first + width, at + PIECE)
                if labelled & inside:
                    # The row itself is no pair: it stands alone.
                    stop = i + 1 if at == i else min(stop, i) if at < i else stop
                here, size = t.numbers(row, at), stop - at
                positive = one if inside else zero
                if labelled & (at == i):
                    here[0] = zero
                elif both:
                    theirs = t.numbers(block.column_factor, at)
                    values[i] += by_both(
                        self, here, size, scale, shift, positive, factors[i], theirs
                    )
                else:
                    values[i] += by_row(self, here, size, scale, shift, positive, factors[i])
                at = stop

    return emit_pairs


emit_pairs = of_loss(emit_pairs_, None)
