"""Rows whose classes lie farther apart than the rows themselves: images of shape (N, C, H, W).

The numbers of one class of consecutive rows then lie behind one another. That is how tiles hold
them too: what moves is a run of rows of a class at a time, and nothing has to be transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numba import njit, types

from ..arrays import Operand
from ..vmath.vectors import load, store
from .compile import Code, c_function
from .intrinsics import caller, pointer, prefer_wide_vectors
from .movers import runner, steps_of
from .options import inner

# Shorter runs of rows are not worth it.
LEAST_RUN = 4

# Calls (base, layout, row, size, first class, classes, tile, bytes from class to class of it).
COLUMNS_SIGNATURE = types.void(*[types.int64] * 8)
call_columns = caller(types.void, *COLUMNS_SIGNATURE.args)


def describe(operand: Operand | None, real: str, direction: str) -> list[int]:
    """Descriptor of an array as :func:`.movers.describe` makes it, its last axis the classes.

    Empty where rows are no columns.
    """
    if operand is None or operand.array.shape[-1] < 2 or operand.array.flags.c_contiguous:
        return []
    lengths, strides = steps_of(operand.array)
    if len(lengths) < 2 or lengths[-2] < LEAST_RUN or abs(strides[-2]) >= abs(strides[-1]):
        return []
    code = mover(direction, operand.kind, operand.swapped, real)
    return [code.address, len(lengths), *lengths, *strides]


@njit(**inner)
def row_place(layout, row):
    """Where a row is, in bytes from the first one; and its position along the axis of runs."""
    description = pointer(layout, 1)
    axes = description[1]
    place, rest, position = 0, row, row
    for axis in range(axes - 2, 0, -1):
        length = description[2 + axis]
        above = rest // length
        at = rest - above * length
        position = at if axis == axes - 2 else position
        place += at * description[2 + axes + axis]
        rest = above
    return place + rest * description[2 + axes], position


@njit(**inner)
def class_stride(layout):
    """Bytes from one class of a row to the next."""
    description = pointer(layout, 1)
    return description[1 + 2 * description[1]]


@cache
def mover(direction: str, kind: str, swapped: bool, real: str) -> Code:
    """The machine code that moves some classes of some rows to columns, or back."""
    name = f"columns {direction} {kind} {'swapped' if swapped else 'native'} {real}"
    make = partial(_mover, direction, kind, swapped, real)
    return c_function(make, COLUMNS_SIGNATURE, name, error_model="numpy")


def _mover(direction: str, kind: str, swapped: bool, real: str) -> Callable:
    run = runner(direction, kind, swapped, real)
    zero = np.dtype(real).type(0)
    scalar_size = zero.itemsize
    lanes = 64 // scalar_size
    half, quarter = lanes // 2, lanes // 4
    plain, loads = kind == real and not swapped, direction == "load"

    @njit(**inner)
    def copy(source, target, size):
        # In registers: what LLVM would leave of a run of rows to scalars takes longer than that.
        # The last one overlaps the one before it; a short run is two halves of a register, or two
        # quarters. (Stores under a mask are slow on AVX2.)
        if size >= lanes:
            for k in range(0, size - lanes, lanes):
                at = k * scalar_size
                store(target + at, load(source + at, zero, lanes))
            at = (size - lanes) * scalar_size
            store(target + at, load(source + at, zero, lanes))
        elif size >= half:
            at = (size - half) * scalar_size
            first, last = load(source, zero, half), load(source + at, zero, half)
            store(target, first)
            store(target + at, last)
        elif size >= quarter:
            at = (size - quarter) * scalar_size
            first_, last_ = load(source, zero, quarter), load(source + at, zero, quarter)
            store(target, first_)
            store(target + at, last_)
        else:
            given, copied = pointer(source, zero), pointer(target, zero)
            for k in range(size):
                copied[k] = given[k]

    @njit(**inner)
    def copy_columns(place, apart, tile, step, classes, size):
        prefer_wide_vectors()
        for c in range(classes):
            if loads:
                copy(place + c * apart, tile + c * step, size)
            else:
                copy(tile + c * step, place + c * apart, size)

    def move_columns(base, layout, row, size, first, classes, tile, step):
        prefer_wide_vectors()
        description = pointer(layout, 1)
        axes = description[1]
        length, stride = description[axes], description[2 * axes]
        apart = class_stride(layout)
        done = 0
        while done < size:
            place, position = row_place(layout, row + done)
            place += base + first * apart
            target = tile + done * scalar_size
            count = min(length - position, size - done)
            if plain and stride == scalar_size and (place | apart) % scalar_size == 0:
                copy_columns(place, apart, target, step, classes, count)
            else:
                for c in range(classes):
                    run(place + c * apart, stride, count, target + c * step)
            done += count

    return move_columns
