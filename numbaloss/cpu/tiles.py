"""Tiles: some rows, turned so that the rows lie along vector registers.

Rows of few classes fill no register, and their sums and maxima run across lanes. A tile holds
the numbers of one class of ``width`` rows behind one another; every loop then runs over the
rows, with full registers, whatever the number of classes. Turning costs a quarter of a shuffle
a number each way (`transposes`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..vmath import vectors
from ..vmath.bits import select
from ..vmath.vectors import register_bytes
from .columns import call_columns, class_stride, row_place
from .compile import Code, c_function
from .intrinsics import caller, pointer, prefer_wide_vectors
from .rows import TO_COLUMNS, TO_ROWS, block_size, exact, fast, inner, namespace, tools
from .threads import LAYOUTS
from .transposes import join_columns, part_size, split_rows, turn_columns, turn_rows

# Calls (rows, classes, tile, groups of as many rows as a register has lanes).
TURN_SIGNATURE = types.void(*[types.int64] * 4)
call_turn = caller(types.void, *TURN_SIGNATURE.args)


# Terms of a partial sum over classes.
BRANCH = 16
# Of fewer classes than these labels are found by comparing, class by class, in tiles of more rows.
FEW = {"float32": 16, "float64": 8}


def is_few(real: str, classes: int) -> bool:
    """Whether labels are found by comparing: scattering takes longer."""
    return classes < FEW[real]


def tile_width(real: str, classes: int) -> int:
    """Rows of a tile: it stays in the first-level cache."""
    if is_few(real, classes):
        return 128
    return 64 if real == "float32" else 32


@cache
def turn(real: str, classes: int, width: int, back: bool) -> Code:
    """Machine code that turns rows into a tile, or back.

    Made for any number of classes, but for those of rows shorter than a part.
    """
    short = classes if classes < part_size(np.dtype(real).itemsize) else 0
    return _turn(real, short, width, back)


@cache
def _turn(real: str, short: int, width: int, back: bool) -> Code:
    def make() -> Callable:
        to_columns, to_rows = turns(real, short, width * np.dtype(real).itemsize)
        return to_rows.py_func if back else to_columns.py_func

    return c_function(
        make, TURN_SIGNATURE, f"softmax turn {back} {short} {width} {real}", error_model="numpy"
    )


@cache
def turns(real: str, short: int, step: int) -> tuple[Any, Any]:
    """Functions that turn rows into a tile whose classes are ``step`` bytes apart, and back.

    ``short`` is the number of classes of rows shorter than a part; else 0.
    """
    zero = np.dtype(real).type(0)
    itemsize, register = zero.itemsize, register_bytes()
    part, lanes = part_size(itemsize), register // itemsize

    @njit(**inner)
    def to_columns(rows, classes, tile, groups):
        prefer_wide_vectors()
        stride = classes * itemsize
        for _ in range(groups):
            if short:
                split_rows(rows, tile, step, short, zero)
            else:
                for j in range(0, classes, part):
                    # The last part overlaps the one before it.
                    c = min(j, classes - part)
                    turn_rows(rows + c * itemsize, stride, tile + c * step, step, zero)
            rows += lanes * stride
            tile += register

    @njit(**inner)
    def to_rows(rows, classes, tile, groups):
        prefer_wide_vectors()
        stride = classes * itemsize
        for _ in range(groups):
            if short:
                join_columns(tile, step, rows, short, zero)
            else:
                for j in range(0, classes, part):
                    c = min(j, classes - part)
                    turn_columns(tile + c * step, step, rows + c * itemsize, stride, zero)
            rows += lanes * stride
            tile += register

    return to_columns, to_rows


@cache
def turning(real: str, width: int) -> Any:
    """Functions that move rows between arrays and tiles."""
    t = tools(real, width)
    zero, itemsize, register = t.zero, t.itemsize, register_bytes()
    lanes, step = register // itemsize, width * itemsize
    block = block_size(real)

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
        turn = pointer(job[LAYOUTS], 1)[TO_COLUMNS]
        direct = t.is_direct(job, slot)
        if direct & (size == width):
            source = job[slot] + row * classes * itemsize
            call_turn(turn, (source, classes, tile, width // lanes))
            return
        for b in range(width // lanes):
            start, count = row + b * lanes, min(max(size - b * lanes, 0), lanes)
            if direct & (count == lanes):
                source = job[slot] + start * classes * itemsize
            else:
                t.load(job, slot, start * classes, count * classes, spare)
                rest = pointer(spare, zero)
                for j in range(count * classes, lanes * classes):
                    rest[j] = zero
                source = spare
            call_turn(turn, (source, classes, tile + b * register, 1))

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
        turn = pointer(job[LAYOUTS], 1)[TO_ROWS]
        direct = t.is_direct(job, slot)
        if direct & (size == width):
            target = job[slot] + row * classes * itemsize
            call_turn(turn, (target, classes, tile, width // lanes))
            return
        for b in range((size + lanes - 1) // lanes):
            start, count = row + b * lanes, min(size - b * lanes, lanes)
            if direct & (count == lanes):
                target = job[slot] + start * classes * itemsize
                call_turn(turn, (target, classes, tile + b * register, 1))
            else:
                call_turn(turn, (spare, classes, tile + b * register, 1))
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
        """Maxima of the rows of a tile, to the address ``top``."""
        prefer_wide_vectors()
        for k in range(0, width, block):
            place = tile + k * itemsize
            found = vectors.load(place, zero, block)
            for c in range(1, classes):
                x = vectors.load(place + c * step, zero, block)
                found = select(x > found, x, found)
            vectors.store(top + k * itemsize, found)

    return namespace(locals())
