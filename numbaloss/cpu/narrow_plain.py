"""Cross-entropy of rows of few classes with integer labels and nothing else, in registers.

What most calls are: no weights, no mask, no smoothing. The same arithmetic as in `narrow`, to the
bit, but for a block of rows at a time from its logits to its gradient, so that nothing about a
row but its exponentials travels through memory. Up to twice as fast: two classes take less time
than the general way takes to describe a row. Labels are found by comparing, whatever the number
of classes: 0.2 operations a number, where an exponential takes 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..jobs.rows import RowCall
from ..vmath import float32, float64, vectors
from ..vmath.bits import select
from ..vmath.vectors import register_bytes
from .compile import Code, c_function
from .intrinsics import (
    flush_denormals,
    pointer,
    prefer_wide_vectors,
    prefetch,
    prefetch_to_read,
    prefetch_to_write,
    restore_denormals,
    stack_memory,
)
from .narrow import MOST_BY_LABEL
from .options import block_size, exact, inner, namespace
from .rows import numbers, rows_at
from .threads import CHUNK_SIGNATURE, call_at, sums_at
from .tiles import BRANCH, FEW, tile_width, transposes
from .transposes import part_size


def takes(real: str, rows: RowCall) -> bool:
    """Whether the ignored label, if any, is what is compared here: 32 bits of float32 rows."""
    return real == "float64" or not rows.ignores or -(2**31) <= rows.ignored_label < 2**31


@cache
def chunk(real: str) -> Code:
    """Machine code of the loop over blocks of rows."""
    return c_function(
        lambda: _plain(real), CHUNK_SIGNATURE, f"softmax plain {real}", error_model="numpy"
    )


def _transposes(real: str) -> Any:
    """Between blocks of rows and tiles, for any number of classes."""
    itemsize = np.dtype(real).itemsize
    step = block_size(real) * itemsize
    groups, part = step // register_bytes(), part_size(itemsize)
    several = part > 2  # rows of two classes are shorter too

    def of_any(way: int) -> Any:
        one, two, three, many = (transposes(real, classes, step)[way] for classes in (1, 2, 3, 0))

        @njit(**inner)
        def transpose(rows, classes, tile):
            if classes >= part:
                many(rows, classes, tile, groups)
            elif classes == 1:
                one(rows, classes, tile, groups)
            elif several:
                if classes == 2:
                    two(rows, classes, tile, groups)
                else:
                    three(rows, classes, tile, groups)

        return transpose

    return namespace({"to_columns": of_any(0), "to_rows": of_any(1)})


@cache
def _steps(real: str) -> Any:
    """From the logits of a tile to its gradients."""
    block, t = block_size(real), numbers(real)
    zero, one, itemsize, integer = t.zero, t.one, t.itemsize, t.integer
    wide, slim = np.int64(0), integer(0)
    decay, log1p = t.decay, {"float32": float32, "float64": float64}[real].log1p
    step = block * itemsize

    @njit(**inner)
    def clear(tile, classes, labels, ignored):
        """Zeros in the rows that do not count, so that nothing they hold spreads.

        Number by number: whole registers would become stores under a mask. The prefetch keeps
        LLVM from making them of this loop.
        """
        for k in range(block):
            if pointer(labels, 1)[k] == ignored:
                for c in range(classes):
                    prefetch(tile + c * step, 1)
                    pointer(tile + c * step, zero)[k] = zero

    @njit(**exact)
    def columns(tile, classes, labels, ignored, inverse, scale, gradient, following, ahead):
        """The values of the rows of a tile; their gradients take the place of their logits."""
        prefer_wide_vectors()
        label = vectors.cast(vectors.load(labels, wide, block), slim)
        out = label == integer(ignored)
        if vectors.sum_lanes(select(out, integer(1), integer(0))) != 0:
            clear(tile, classes, labels, ignored)
        top = vectors.load(tile, zero, block)
        for c in range(1, classes):
            x = vectors.load(tile + c * step, zero, block)
            top = select(x > top, x, top)
        others = distance = own = vectors.splat(zero, block)
        for start in range(0, classes, BRANCH):
            part = vectors.splat(zero, block)
            for c in range(start, min(start + BRANCH, classes)):
                prefetch_to_read(following + c * step, step)
                prefetch_to_write(ahead + c * step, step)
                d = (vectors.load(tile + c * step, zero, block) - top) * inverse
                e = decay(d)
                vectors.store(tile + c * step, e)
                here = label == integer(c)
                distance = select(here, d, distance)
                own = select(here, e, own)
                part = part + select(here, zero, e)
            others = others + part
        value = log1p(others + (own - one)) - distance
        if gradient:
            r = one / (others + own)
            factor = select(out, zero, r * scale)
            at_label = select(out, zero, (zero - others * r) * scale)
            for c in range(classes):
                g = vectors.load(tile + c * step, zero, block) * factor
                vectors.store(tile + c * step, select(label == integer(c), at_label, g))
        return select(out, zero, value)

    return namespace(locals())


def _plain(real: str) -> Callable:
    o, ways, t = _steps(real), _transposes(real), numbers(real)
    zero, itemsize, cast, copy = t.zero, t.itemsize, t.cast, t.copy
    block, step = o.block, o.step
    tile_bytes, labels_bytes = MOST_BY_LABEL[real] * step, 8 * block
    few = FEW[real]
    few_width, many_width = tile_width(real, few - 1), tile_width(real, few)
    lanes_bytes = 8 * few_width

    @njit(**inner)
    def pad(source, labels, count, classes, ignored, rows, padded):
        """Copy the last rows, and labels that are ignored after theirs."""
        copy(pointer(source, zero), pointer(rows, zero), count * classes)
        for j in range(count * classes, block * classes):
            pointer(rows, zero)[j] = zero
        for k in range(block):
            pointer(padded, 1)[k] = pointer(labels, 1)[k] if k < count else ignored

    def plain_rows(address, scale_, index, result):
        prefer_wide_vectors()
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        rows = rows_at(call.description)
        classes, with_gradient = rows.classes, rows.derivatives > 0
        inverse, scale = cast(rows.inverse_temperature), cast(rows.scale)
        # Labels have been tested: none is -1.
        ignored = rows.ignored_label if rows.ignores != 0 else -1
        prediction, target, gradient = call.prediction, call.target, call.gradient
        tile, spare = stack_memory(tile_bytes), stack_memory(tile_bytes)
        padded = stack_memory(labels_bytes)
        # As `rows.add_values` has them: a sum is the same whichever way rows take.
        width = few_width if classes < few else many_width
        lanes = stack_memory(lanes_bytes)
        for k in range(width):
            pointer(lanes, 1.0)[k] = 0.0
        first = row = index * call.chunk
        stop = min((index + 1) * call.chunk, call.size)
        while row < stop:
            count = min(block, stop - row)
            offset = row * classes * itemsize
            source, labels = prediction + offset, target + 8 * row
            place = gradient + offset
            following, ahead = source + classes * step, place
            if count < block:
                pad(source, labels, count, classes, ignored, spare, padded)
                source = place = following = ahead = spare
                labels = padded
            ways.to_columns(source, classes, tile)
            value = o.columns(
                tile, classes, labels, ignored, inverse, scale, with_gradient, following, ahead
            )
            lane = lanes + 8 * ((row - first) % width)
            vectors.store(lane, vectors.load(lane, 0.0, block) + vectors.cast(value, 0.0))
            if with_gradient:
                ways.to_rows(place, classes, tile)
                if count < block:
                    last = pointer(gradient + offset, zero)
                    copy(pointer(spare, zero), last, count * classes)
            row += count
        sums.value = sums.out_of_range = 0.0
        for k in range(width):
            sums.value += pointer(lanes, 1.0)[k]
        restore_denormals(mode)

    return plain_rows
