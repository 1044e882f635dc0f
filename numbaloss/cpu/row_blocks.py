"""Wide rows whose classes are far apart: a block of rows at a time is turned, used, turned back.

The loops over wide rows want a row's classes behind one another. A block goes through memory that
stays in the second-level cache, a register's worth at a time; the gradient takes the place of
the logits there. The rows, their groups and the chunks that sums are made of are those of rows
that lie so anyway, so that the results are too, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit, types

from ..vmath.vectors import register_bytes
from .columns import call_columns, class_stride, row_place
from .compile import Code, c_function
from .intrinsics import caller, pointer, prefer_wide_vectors, prefetch, stack_memory
from .rows import CHUNK_SIGNATURE, CLASSES, inner
from .threads import (
    CHUNK,
    GRADIENT,
    HESSIAN,
    JOB_BYTES,
    KERNEL,
    LAYOUTS,
    PREDICTION,
    SIZE,
    SLOTS,
    TARGET,
)
from .transposes import part_size, turn_columns, turn_rows

# A block has so many bytes, but runs of rows of at least so many, and at most so many bytes.
BLOCK_BYTES, RUN_BYTES, MOST_BYTES = 144 << 10, 256, 1 << 20
# Some classes of a block on their way, in columns.
TILE_BYTES = 16 << 10

# The description of a call, at the job's KERNEL: positions of its numbers. Those of the arrays
# follow: where the descriptor of each is, or 0, then which part of the space is its.
LOOP, SPACE, BLOCK, SPAN, OF_SUMS, SUMS, PART, LAYOUT, PLACE = 0, 1, 2, 3, 4, 5, 6, 7, 13
NUMBERS = 19

_call_chunk = caller(types.void, types.int64, types.float64, types.int64, types.int64)


class Sizes(NamedTuple):
    """How many rows go together."""

    block: int
    span: int  # after so many rows blocks start anew


def sizes(real: str, count: int, classes: int, chunk: int, unit: int) -> Sizes:
    """Blocks for rows of so many classes, in sums over ``chunk`` rows, ``unit`` of them at once."""
    itemsize = np.dtype(real).itemsize
    row = classes * itemsize
    block = max(BLOCK_BYTES // row, RUN_BYTES // itemsize)
    # A tile holds a register's worth of classes of them.
    most = min(MOST_BYTES // row, TILE_BYTES // 64 - 2 * (64 // itemsize))
    block = max(min(block, most, count), 1)
    if block >= chunk:
        block = block // chunk * chunk
        return Sizes(block, block)
    # Blocks of a chunk that are about alike.
    block = -(-chunk // -(-chunk // block))
    return Sizes(max(min(-(-block // unit) * unit, most // unit * unit), unit), chunk)


def launch(
    real: str,
    loop: int,
    layouts: Sequence[int],
    count: int,
    classes: int,
    chunk: int,
    unit: int,
    over: Callable[..., Any],
) -> tuple[float, float]:
    """Run a loop over rows of some width, block by block.

    ``layouts`` holds where the descriptor of each array of a job is, 0 for those that the loop
    takes as they are; ``over`` launches a function, with a description, over rows.
    """
    block, span = sizes(real, count, classes, chunk, unit)
    spans = -(-count // span)
    parts = min(spans, numba.get_num_threads())
    own = -(-spans // parts) * span
    parts = -(-count // own)
    lanes = register_bytes() // np.dtype(real).itemsize
    sums = np.zeros((-(-count // chunk), 2))
    places = [int(layout != 0) for layout in layouts]
    if layouts[GRADIENT] and layouts[PREDICTION]:
        places[GRADIENT] = 0
    used = sum(places)
    part = -(-block // lanes) * lanes * classes * np.dtype(real).itemsize
    part = (part + 127) // 64 * 64
    space = np.empty(parts * used * part + 64, np.uint8)
    description = np.zeros(NUMBERS, np.int64)
    start = -(-space.ctypes.data // 64) * 64
    description[:LAYOUT] = loop, start, block, span, chunk, sums.ctypes.data, used * part
    description[LAYOUT : LAYOUT + 6] = layouts
    description[PLACE : PLACE + 6] = [part * sum(places[:slot]) for slot in range(6)]
    if layouts[GRADIENT] and layouts[PREDICTION]:
        description[PLACE + GRADIENT] = description[PLACE + PREDICTION]
    address = description.ctypes.data
    over(chunk_code(real).address, size=count, chunk=own, description=address)
    total, offenders = np.add.accumulate(sums)[-1].tolist()
    return total, offenders


@cache
def chunk_code(real: str) -> Code:
    """Machine code of the loop over blocks."""
    return c_function(
        lambda: _chunk(real), CHUNK_SIGNATURE, f"softmax blocks {real}", error_model="numpy"
    )


def _chunk(real: str) -> Callable:
    zero = np.dtype(real).type(0)
    itemsize = zero.itemsize
    lanes, part = register_bytes() // itemsize, part_size(itemsize)

    @njit(**inner)
    def turn(job, slot, layout, row, size, space, loads):
        """A block of rows of an array into memory where classes are together, or back."""
        prefer_wide_vectors()
        classes = pointer(job[LAYOUTS], 1)[CLASSES]
        layout = job[LAYOUTS] + 8 * layout
        whole = (size + lanes - 1) // lanes * lanes
        # No power of two: columns would fall on the same places of the cache.
        step, stride = (whole + lanes) * itemsize, classes * itemsize
        tile = stack_memory(TILE_BYTES)
        group = min(TILE_BYTES // step, classes) // lanes * lanes
        place_of_row, _ = row_place(layout, row)
        apart = class_stride(layout)
        base = job[slot] + place_of_row
        start = 0
        while start < classes:
            # The last group overlaps the one before it.
            first = min(start, classes - group)
            move = (job[slot], layout, row, size, first, group, tile, step)
            ahead = base + first * apart
            if loads:
                call_columns(pointer(layout, 1)[0], move)
                if first + group < classes:
                    ahead = base + min(first + group, classes - group) * apart
                else:
                    ahead = base + size * itemsize
            for c in range(0, group, part):
                for k in range(0, whole, lanes):
                    # Memory is asked for what is read, or written, next.
                    for i in range(part):
                        if loads:
                            prefetch(ahead + (c + i) * apart + k * itemsize, 0)
                        else:
                            prefetch(ahead + (c + i) * apart + k * itemsize, 1)
                    column = tile + c * step + k * itemsize
                    place = space + k * stride + (first + c) * itemsize
                    if loads:
                        turn_columns(column, step, place, stride, zero)
                    else:
                        turn_rows(place, stride, column, step, zero)
            if not loads:
                call_columns(pointer(layout, 1)[0], move)
            start += group

    @njit(**inner)
    def load(job, slot, layout, row, size, space):
        turn(job, slot, layout, row, size, space, True)

    @njit(**inner)
    def store(job, slot, layout, row, size, space):
        turn(job, slot, layout, row, size, space, False)

    def rows_in_blocks(job, scale, index, result):
        prefer_wide_vectors()
        description = pointer(job[KERNEL], 1)
        stride = pointer(job[LAYOUTS], 1)[CLASSES] * itemsize
        space = description[SPACE] + index * description[PART]
        own_place, found_place = stack_memory(JOB_BYTES), stack_memory(64)
        own, found = pointer(own_place, 1), pointer(found_place, 1.0)
        for i in range(SLOTS):
            own[i] = job[i]
        chunk, sums = description[OF_SUMS], pointer(description[SUMS], 1.0)
        row, end = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        while row < end:
            of_span = min((row // description[SPAN] + 1) * description[SPAN], end)
            stop = min(row + description[BLOCK], of_span)
            for slot in range(6):
                layout, place = description[LAYOUT + slot], space + description[PLACE + slot]
                if layout != 0:
                    # The loop counts from the first row of all.
                    own[slot] = place - row * stride
                    if slot in (PREDICTION, TARGET):
                        load(job, slot, layout, row, stop - row, place)
            start = row
            while start < stop:
                which = start // chunk
                own[SIZE] = min((which + 1) * chunk, stop)
                # One chunk that starts here: the second of this size, or the first of all.
                own[CHUNK] = start if start > 0 else own[SIZE]
                _call_chunk(description[LOOP], (own_place, scale, min(start, 1), found_place))
                sums[2 * which] += found[0]
                sums[2 * which + 1] += found[1]
                start = own[SIZE]
            for slot in range(GRADIENT, HESSIAN + 1):
                layout, place = description[LAYOUT + slot], space + description[PLACE + slot]
                if layout != 0:
                    store(job, slot, layout, row, stop - row, place)
            row = stop
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0

    return rows_in_blocks
