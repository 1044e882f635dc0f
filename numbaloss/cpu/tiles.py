"""Tiles: some rows, transposed so that the rows lie along vector registers.

Rows of few classes fill no register, and their sums and maxima run across lanes. A tile holds
the numbers of one class of ``width`` rows behind one another; every loop then runs over the
rows, with full registers, whatever the number of classes. A transpose costs a quarter of a shuffle
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
from .movers import layout
from .options import block_size, exact, fast, inner, namespace
from .rows import tools
from .transposes import columns_to_rows, join_columns, part_size, rows_to_columns, split_rows

# Of (rows, classes, tile, groups of as many rows as a register has lanes).
TRANSPOSE_SIGNATURE = types.void(*[types.int64] * 4)
call_transpose = caller(types.void, *TRANSPOSE_SIGNATURE.args)


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
def transpose(real: str, classes: int, width: int, back: bool) -> Code:
    """Machine code that transposes rows into a tile, or back.

    Made for any number of classes, but for those of rows shorter than a part.
    """
    short = classes if classes < part_size(np.dtype(real).itemsize) else 0
    return _transpose(real, short, width, back)


@cache
def _transpose(real: str, short: int, width: int, back: bool) -> Code:
    def make() -> Callable:
        to_columns, to_rows = transposes(real, short, width * np.dtype(real).itemsize)
        return to_rows.py_func if back else to_columns.py_func

    return c_function(
        make,
        TRANSPOSE_SIGNATURE,
        f"softmax transpose {back} {short} {width} {real}",
        error_model="numpy",
    )


@cache
def transposes(real: str, short: int, step: int) -> tuple[Any, Any]:
    """Functions that transpose rows into a tile whose classes are ``step`` bytes apart, and back.

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
                    rows_to_columns(rows + c * itemsize, stride, tile + c * step, step, zero)
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
                    columns_to_rows(tile + c * step, step, rows + c * itemsize, stride, zero)
            rows += lanes * stride
            tile += register

    return to_columns, to_rows


@cache
def tiling(real: str, width: int) -> Any:
    """Functions that move rows between arrays and tiles, and those over tiles of all losses.

    An array is its address, its layout and its layout of columns; of the two one at least is 0.
    """
    return namespace(_moves(real, width), _passes(real, width))


@njit(**inner)
def in_tiles(call, array, layout_word, columns_word):
    """An array as functions over tiles take it, from the fields of a `RowCall` that describe it."""
    return array, layout(call, layout_word), layout(call, columns_word)


def _moves(real: str, width: int) -> Any:
    t = tools(real, width)
    zero, itemsize, register = t.zero, t.itemsize, register_bytes()
    lanes, step = register // itemsize, width * itemsize

    @njit(**inner)
    def move_columns(array, row, size, classes, tile):
        address, _, columns = array
        move = (address, columns, row, size, 0, classes, tile, step)
        call_columns(pointer(columns, 1)[0], move)

    @njit(**inner)
    def gather_tile(array, transpose, row, size, classes, tile, spare):
        """Rows into a tile, a register's worth at a time; those it lacks are zeros."""
        address, of_array, columns = array
        if columns != 0:
            move_columns(array, row, size, classes, tile)
            if size < width:
                for c in range(classes):
                    rest = pointer(tile + c * step, zero)
                    for k in range(size, width):
                        rest[k] = zero
            return
        direct = of_array == 0
        if direct & (size == width):
            source = address + row * classes * itemsize
            call_transpose(transpose, (source, classes, tile, width // lanes))
            return
        for b in range(width // lanes):
            start, count = row + b * lanes, min(max(size - b * lanes, 0), lanes)
            if direct & (count == lanes):
                source = address + start * classes * itemsize
            else:
                t.load((address, of_array), start * classes, count * classes, spare)
                rest = pointer(spare, zero)
                for j in range(count * classes, lanes * classes):
                    rest[j] = zero
                source = spare
            call_transpose(transpose, (source, classes, tile + b * register, 1))

    @njit(**inner)
    def spread_tile(array, transpose, row, size, classes, tile, spare):
        """A tile to the rows of an output."""
        address, of_array, columns = array
        if columns != 0:
            move_columns(array, row, size, classes, tile)
            return
        direct = of_array == 0
        if direct & (size == width):
            target = address + row * classes * itemsize
            call_transpose(transpose, (target, classes, tile, width // lanes))
            return
        for b in range((size + lanes - 1) // lanes):
            start, count = row + b * lanes, min(size - b * lanes, lanes)
            if direct & (count == lanes):
                target = address + start * classes * itemsize
                call_transpose(transpose, (target, classes, tile + b * register, 1))
            else:
                call_transpose(transpose, (spare, classes, tile + b * register, 1))
                t.store((address, of_array), start * classes, count * classes, spare)

    @njit(**inner)
    def share_of(array, row, classes, tile):
        """Where the rows of a tile lie, and how far its classes are apart: what to fetch.

        Rows that lie behind one another are divided into as many shares as there are classes;
        in the place of rows that are converted stands a tile, which is at hand.
        """
        address, of_array, columns = array
        place, apart = address + row * classes * itemsize, step
        if of_array != 0:
            place, apart = tile, 0
        elif columns != 0:
            offset, _ = row_place(columns, row)
            place, apart = address + offset, class_stride(columns)
        return place, apart

    return namespace(locals())


def _passes(real: str, width: int) -> Any:
    t = tools(real, width)
    zero, itemsize = t.zero, t.itemsize
    step, block = width * itemsize, block_size(real)

    @njit(**fast)
    def count_zeros(values):
        prefer_wide_vectors()
        count = zero
        for k in range(width):
            count += t.one if values[k] == zero else zero
        return count

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
            largest = vectors.load(place, zero, block)
            for c in range(1, classes):
                x = vectors.load(place + c * step, zero, block)
                largest = select(x > largest, x, largest)
            vectors.store(top + k * itemsize, largest)

    return namespace(locals())
