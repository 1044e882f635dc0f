"""Tiles: some rows, turned so that the rows lie along vector registers.

Rows of few classes fill no register, and their sums and maxima run across lanes. A tile holds
the numbers of one class of ``width`` rows behind one another; every loop then runs over the
rows, with full registers, whatever the number of classes. Turning costs 0.06 to 0.5 shuffles
a number each way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit, types

from .columns import call_columns, class_stride, row_place
from .compile import Code, c_function
from .intrinsics import caller, pointer, prefer_wide_vectors
from .lanes import columns_to_rows, rows_to_columns, transpose_square
from .rows import TO_COLUMNS, TO_ROWS, exact, fast, inner, namespace, tools
from .threads import LAYOUTS

# Rows this short lie so close that a square of them is one stream of memory; longer ones are
# copied first, or 16 streams would be read in turns (10 % slower).
CLOSE = 32

# Calls (rows, classes, tile).
TURN_SIGNATURE = types.void(*[types.int64] * 3)
call_turn = caller(types.void, *TURN_SIGNATURE.args)


def is_special(real: str, classes: int) -> bool:
    """Whether rows are narrower than a register: their loops are compiled for their width."""
    return classes < (16 if real == "float32" else 8)


def tile_width(real: str, classes: int) -> int:
    """Rows of a tile: it stays in the first-level cache."""
    if is_special(real, classes):
        return 128
    return 64 if real == "float32" else 32


@cache
def turn(real: str, special: int, width: int, back: bool) -> Code:
    """Machine code that turns rows into a tile, or back; ``special`` is 0 for any width.

    The only part of the loops over narrow rows that is compiled for a number of classes.
    """
    return c_function(
        lambda: _turn(real, special, width, back),
        TURN_SIGNATURE,
        f"softmax turn {back} {special} {width} {real}",
        error_model="numpy",
    )


def _turn(real: str, special: int, width: int, back: bool) -> Callable:
    t = tools(real, width)
    zero, itemsize, lanes = t.zero, t.itemsize, t.lanes
    step = width * itemsize

    def special_to_columns(rows, classes, tile):
        prefer_wide_vectors()
        rows_to_columns(rows, tile, step, special, zero)

    def special_to_rows(rows, classes, tile):
        prefer_wide_vectors()
        columns_to_rows(tile, step, rows, special, zero)

    def to_columns(rows, classes, tile):
        prefer_wide_vectors()
        stride = classes * itemsize
        for j in range(0, classes, lanes):
            # The last square overlaps the one before it.
            c = min(j, classes - lanes)
            transpose_square(rows + c * itemsize, stride, tile + c * step, step, zero)

    def to_rows(rows, classes, tile):
        prefer_wide_vectors()
        stride = classes * itemsize
        for j in range(0, classes, lanes):
            c = min(j, classes - lanes)
            transpose_square(tile + c * step, step, rows + c * itemsize, stride, zero)

    if special:
        return special_to_rows if back else special_to_columns
    return to_rows if back else to_columns


@cache
def turning(real: str, width: int) -> Any:
    """Functions that move rows between arrays and tiles."""
    t = tools(real, width)
    zero, itemsize, lanes = t.zero, t.itemsize, t.lanes
    step = width * itemsize

    @njit(**inner)
    def gather_tile(job, slot, row, size, classes, tile, spare):
        """Rows into a tile, a register's worth at a time; those it lacks are zeros."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout < 0:
            layout = job[LAYOUTS] - 8 * layout
            call_columns(
                pointer(layout, 1)[0], (job[slot], layout, row, size, 0, classes, tile, step)
            )
            if size < width:
                for c in range(classes):
                    rest = pointer(tile + c * step, zero)
                    for k in range(size, width):
                        rest[k] = zero
            return
        close = t.is_direct(job, slot) & (classes < CLOSE)
        for b in range(width // lanes):
            start, count = row + b * lanes, min(max(size - b * lanes, 0), lanes)
            if close & (count == lanes):
                source = job[slot] + start * classes * itemsize
            else:
                t.load(job, slot, start * classes, count * classes, spare)
                rest = pointer(spare, zero)
                for j in range(count * classes, lanes * classes):
                    rest[j] = zero
                source = spare
            call_turn(pointer(job[LAYOUTS], 1)[TO_COLUMNS], (source, classes, tile + b * 64))

    @njit(**inner)
    def spread_tile(job, slot, row, size, classes, tile, spare):
        """A tile to the rows of an output."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout < 0:
            layout = job[LAYOUTS] - 8 * layout
            call_columns(
                pointer(layout, 1)[0], (job[slot], layout, row, size, 0, classes, tile, step)
            )
            return
        close = t.is_direct(job, slot) & (classes < CLOSE)
        for b in range((size + lanes - 1) // lanes):
            start, count = row + b * lanes, min(size - b * lanes, lanes)
            if close & (count == lanes):
                target = job[slot] + start * classes * itemsize
                call_turn(pointer(job[LAYOUTS], 1)[TO_ROWS], (target, classes, tile + b * 64))
            else:
                call_turn(pointer(job[LAYOUTS], 1)[TO_ROWS], (spare, classes, tile + b * 64))
                t.store(job, slot, start * classes, count * classes, spare)

    @njit(**inner)
    def share_of(job, slot, row, classes, tile):
        """Where the rows of a tile lie, and how far its classes are apart: what to fetch.

        Rows that lie behind one another are divided into as many shares as there are classes;
        in the place of rows that are converted stands a tile, which is at hand.
        """
        layout = pointer(job[LAYOUTS], 1)[slot]
        place, apart = job[slot] + row * classes * itemsize, step
        if layout > 0:
            place, apart = tile, 0
        elif layout < 0:
            layout = job[LAYOUTS] - 8 * layout
            offset, _ = row_place(layout, row)
            place, apart = job[slot] + offset, class_stride(layout)
        return place, apart

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
