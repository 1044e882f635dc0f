"""Tiles: some rows, turned so that the rows lie along vector registers.

Rows of few classes fill no register, and their sums and maxima run across lanes. A tile holds
the numbers of one class of ``width`` rows behind one another; every loop then runs over the
rows, with full registers, whatever the number of classes. Turning costs 0.06 to 0.5 shuffles
a number each way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from .intrinsics import pointer, prefer_wide_vectors
from .lanes import columns_to_rows, rows_to_columns, transpose_square
from .rows import exact, fast, inner, namespace, tools


def is_special(real: str, classes: int) -> bool:
    """Whether rows are narrower than a register: their loops are compiled for their width."""
    return classes < (16 if real == "float32" else 8)


def tile_width(real: str, classes: int) -> int:
    """Rows of a tile: it stays in the first-level cache."""
    if is_special(real, classes):
        return 128
    return 64 if real == "float32" else 32


@cache
def turning(real: str, special: int, width: int) -> Any:
    """Functions that turn rows into a tile and back; ``special`` is the width, or 0 for any."""
    t = tools(real, width)
    zero, itemsize, lanes = t.zero, t.itemsize, t.lanes
    step = width * itemsize

    if special:

        @njit(**inner)
        def to_columns(source, classes, tile):
            prefer_wide_vectors()
            for b in range(width // lanes):
                rows_to_columns(
                    source + b * lanes * special * itemsize, tile + b * 64, step, special, zero
                )

        @njit(**inner)
        def to_rows(tile, classes, target):
            prefer_wide_vectors()
            for b in range(width // lanes):
                columns_to_rows(
                    tile + b * 64, step, target + b * lanes * special * itemsize, special, zero
                )

    else:

        @njit(**inner)
        def to_columns(source, classes, tile):
            prefer_wide_vectors()
            stride = classes * itemsize
            for b in range(width // lanes):
                start = source + b * lanes * stride
                for j in range(0, classes, lanes):
                    # The last square overlaps the one before it.
                    c = min(j, classes - lanes)
                    transpose_square(
                        start + c * itemsize, stride, tile + c * step + b * 64, step, zero
                    )

        @njit(**inner)
        def to_rows(tile, classes, target):
            prefer_wide_vectors()
            stride = classes * itemsize
            for b in range(width // lanes):
                start = target + b * lanes * stride
                for j in range(0, classes, lanes):
                    c = min(j, classes - lanes)
                    transpose_square(
                        tile + c * step + b * 64, step, start + c * itemsize, stride, zero
                    )

    @njit(**inner)
    def gather_tile(job, slot, row, size, classes, tile, spare):
        """Rows into a tile; those that a last tile lacks are zeros."""
        prefer_wide_vectors()
        if t.is_direct(job, slot) and size == width:
            to_columns(job[slot] + row * classes * itemsize, classes, tile)
            return
        t.load(job, slot, row * classes, size * classes, spare)
        rest = pointer(spare, zero)
        for j in range(size * classes, width * classes):
            rest[j] = zero
        to_columns(spare, classes, tile)

    @njit(**inner)
    def spread_tile(job, slot, row, size, classes, tile, spare):
        """A tile to the rows of an output."""
        if t.is_direct(job, slot) and size == width:
            to_rows(tile, classes, job[slot] + row * classes * itemsize)
            return
        to_rows(tile, classes, spare)
        t.store(job, slot, row * classes, size * classes, spare)

    @njit(**fast)
    def count_zeros(values):
        prefer_wide_vectors()
        found = zero
        for k in range(width):
            found += t.one if values[k] == zero else zero
        return found

    @njit(**inner)
    def clear_rows(tile, classes, weight):
        """Zeros in the rows that do not count, so that nothing they hold spreads."""
        prefer_wide_vectors()
        for k in range(width):
            if weight[k] == zero:
                for c in range(classes):
                    pointer(tile + c * step, zero)[k] = zero

    @njit(**exact)
    def tile_maximum(tile, classes, top):
        prefer_wide_vectors()
        x = pointer(tile, zero)
        for k in range(width):
            top[k] = x[k]
        for c in range(1, classes):
            x = pointer(tile + c * step, zero)
            for k in range(width):
                top[k] = x[k] if x[k] > top[k] else top[k]

    return namespace(locals())
