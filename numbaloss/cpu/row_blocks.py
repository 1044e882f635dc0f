"""Wide rows whose classes are far apart: a block of rows at a time is transposed, used, and
transposed back.

The loops over wide rows want a row's classes behind one another. A block goes through memory that
stays in the second-level cache, a register's worth at a time; the gradient takes the place of
the logits there. The rows, their groups and the chunks that sums are made of are those of rows
that lie so anyway, so that the results are too, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit

from ..jobs.call import Call, Sums
from ..jobs.rows import BlockCall, RowCall
from ..vmath.vectors import register_bytes
from .columns import call_columns, class_stride, row_place
from .compile import Code, c_function
from .intrinsics import pointer, prefer_wide_vectors, prefetch, stack_memory
from .movers import layout
from .options import inner
from .records import at
from .rows import rows_at
from .threads import CALL_BYTES, CHUNK_SIGNATURE, SUMS_BYTES, call_at, call_chunk, sums_at
from .transposes import columns_to_rows, part_size, rows_to_columns

# A block has so many bytes, but runs of rows of at least so many, and at most so many bytes.
BLOCK_BYTES, RUN_BYTES, MOST_BYTES = 144 << 10, 256, 1 << 20
# Some classes of a block on their way, in columns.
TILE_BYTES = 16 << 10

blocks_at = at(BlockCall)


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
    rows: RowCall,
    count: int,
    chunk: int,
    unit: int,
    over: Callable[..., Any],
) -> tuple[float, float]:
    """Run a loop over rows some of whose arrays have a layout of columns, block by block.

    ``over`` launches a function, with a description in the place of a kernel, over rows.
    """
    itemsize = np.dtype(real).itemsize
    block, span = sizes(real, count, rows.classes, chunk, unit)
    spans = -(-count // span)
    parts = min(spans, numba.get_num_threads())
    own = -(-spans // parts) * span
    parts = -(-count // own)
    lanes = register_bytes() // itemsize
    sums = np.zeros((-(-count // chunk), Sums.memory.words))
    part = -(-block // lanes) * lanes * rows.classes * itemsize
    part = (part + 127) // 64 * 64
    call = BlockCall()
    if rows.prediction_columns:
        call.space_bytes += part
    if rows.target_columns:
        call.target_place = call.space_bytes
        call.space_bytes += part
    # In the place of the prediction where that has one.
    if rows.gradient_columns and not rows.prediction_columns:
        call.gradient_place = call.space_bytes
        call.space_bytes += part
    if rows.hessian_columns:
        call.hessian_place = call.space_bytes
        call.space_bytes += part
    space = np.empty(parts * call.space_bytes + 64, np.uint8)
    call.loop, call.space = loop, -(-space.ctypes.data // 64) * 64
    call.block, call.span = block, span
    call.sum_rows, call.sums = chunk, sums.ctypes.data
    over(chunk_code(real).address, size=count, chunk=own, description=call.address)
    total, out_of_range = np.add.accumulate(sums)[-1].tolist()
    return total, out_of_range


@cache
def chunk_code(real: str) -> Code:
    """Machine code of the loop over blocks."""
    return c_function(
        lambda: _chunk(real), CHUNK_SIGNATURE, f"softmax blocks {real}", error_model="numpy"
    )


def _transposer(real: str) -> Callable:
    zero = np.dtype(real).type(0)
    itemsize = zero.itemsize
    lanes, part = register_bytes() // itemsize, part_size(itemsize)

    @njit(**inner)
    def between(tile, step, space, stride, group, whole, ahead, apart, loads):
        """Some classes of a block from columns to rows, or back; ``ahead`` is fetched meanwhile."""
        for c in range(0, group, part):
            for k in range(0, whole, lanes):
                # Memory is asked for what is read, or written, next.
                for i in range(part):
                    if loads:
                        prefetch(ahead + (c + i) * apart + k * itemsize, 0)
                    else:
                        prefetch(ahead + (c + i) * apart + k * itemsize, 1)
                column = tile + c * step + k * itemsize
                place = space + k * stride + c * itemsize
                if loads:
                    columns_to_rows(column, step, place, stride, zero)
                else:
                    rows_to_columns(place, stride, column, step, zero)

    @njit(**inner)
    def transpose(array, columns, classes, row, size, space, loads):
        """A block of rows of an array into memory where classes are together, or back."""
        prefer_wide_vectors()
        whole = (size + lanes - 1) // lanes * lanes
        # No power of two: columns would fall on the same places of the cache.
        step, stride = (whole + lanes) * itemsize, classes * itemsize
        tile = stack_memory(TILE_BYTES)
        group = min(TILE_BYTES // step, classes) // lanes * lanes
        place_of_row, _ = row_place(columns, row)
        apart = class_stride(columns)
        base = array + place_of_row
        start = 0
        while start < classes:
            # The last group overlaps the one before it.
            first = min(start, classes - group)
            move = (array, columns, row, size, first, group, tile, step)
            ahead = base + first * apart
            if loads:
                call_columns(pointer(columns, 1)[0], move)
                if first + group < classes:
                    ahead = base + min(first + group, classes - group) * apart
                else:
                    ahead = base + size * itemsize
            place = space + first * itemsize
            between(tile, step, place, stride, group, whole, ahead, apart, loads)
            if not loads:
                call_columns(pointer(columns, 1)[0], move)
            start += group

    return transpose


def _chunk(real: str) -> Callable:
    itemsize, words = np.dtype(real).itemsize, Call.memory.words
    transpose = _transposer(real)

    @njit(**inner)
    def load(call, array, word, rows, row, size, space):
        transpose(array, layout(call, word), rows.classes, row, size, space, True)

    @njit(**inner)
    def store(call, array, word, rows, row, size, space):
        transpose(array, layout(call, word), rows.classes, row, size, space, False)

    @njit(**inner)
    def load_block(call, own, rows, blocks, row, size, space):
        """Give a loop the arrays of a block; it counts from the first row of all."""
        offset = row * rows.classes * itemsize
        if rows.prediction_columns != 0:
            place = space + blocks.prediction_place
            own.prediction = place - offset
            load(call, call.prediction, rows.prediction_columns, rows, row, size, place)
        if rows.target_columns != 0:
            place = space + blocks.target_place
            own.target = place - offset
            load(call, call.target, rows.target_columns, rows, row, size, place)
        if rows.gradient_columns != 0:
            own.gradient = space + blocks.gradient_place - offset
        if rows.hessian_columns != 0:
            own.hessian = space + blocks.hessian_place - offset

    @njit(**inner)
    def store_block(call, rows, blocks, row, size, space):
        if rows.gradient_columns != 0:
            place = space + blocks.gradient_place
            store(call, call.gradient, rows.gradient_columns, rows, row, size, place)
        if rows.hessian_columns != 0:
            place = space + blocks.hessian_place
            store(call, call.hessian, rows.hessian_columns, rows, row, size, place)

    def rows_in_blocks(address, scale, index, result):
        prefer_wide_vectors()
        call, rows_sums = call_at(address), sums_at(result)
        rows, blocks = rows_at(call.description), blocks_at(call.kernel)
        space = blocks.space + index * blocks.space_bytes
        own_place, sums_place = stack_memory(CALL_BYTES), stack_memory(SUMS_BYTES)
        for i in range(words):
            pointer(own_place, 1)[i] = pointer(address, 1)[i]
        own, of_loop = call_at(own_place), sums_at(sums_place)
        row, end = index * call.chunk, min((index + 1) * call.chunk, call.size)
        while row < end:
            of_span = min((row // blocks.span + 1) * blocks.span, end)
            stop = min(row + blocks.block, of_span)
            load_block(call, own, rows, blocks, row, stop - row, space)
            start = row
            while start < stop:
                which = start // blocks.sum_rows
                own.size = min((which + 1) * blocks.sum_rows, stop)
                # One chunk that starts here: the second of this size, or the first of all.
                own.chunk = start if start > 0 else own.size
                call_chunk(blocks.loop, (own_place, scale, min(start, 1), sums_place))
                sums = sums_at(blocks.sums + SUMS_BYTES * which)
                sums.value += of_loop.value
                sums.out_of_range += of_loop.out_of_range
                start = own.size
            store_block(call, rows, blocks, row, stop - row, space)
            row = stop
        rows_sums.value = rows_sums.out_of_range = 0.0

    return rows_in_blocks
