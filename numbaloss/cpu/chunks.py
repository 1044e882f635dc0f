"""The loop over the blocks of a chunk, which knows no loss: see `blocks`.

It brings arrays of any dtype and layout in and out of contiguous memory, sums the values, and sees
to what few calls need: masks, targets that are recoded or a rounding beyond their domain, sums that
overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from ..formulas.catching import ONCE
from ..structures.recoding import share
from .blocks import LIMITS, MASK, POS_WEIGHT, RECODING
from .compile import Code, c_function
from .intrinsics import caller, pointer, stack_memory
from .sums import tools
from .threads import (
    CHUNK,
    GRADIENT,
    HESSIAN,
    KERNEL,
    LAYOUTS,
    PARAMETERS,
    PREDICTION,
    SIZE,
    TARGET,
    VALUE,
    WEIGHT,
)

# Bytes of one array of a block: six of them fit into a first-level cache of 48 KiB.
BLOCK_BYTES = 8192
SCRATCH_BYTES = 7 * BLOCK_BYTES
# Kernels take multiples of so many elements, a few registers: what LLVM leaves of a loop to
# scalars could round a sum of two products otherwise than the vectors do.
STEP = 64

_inner = {"forceinline": True, "error_model": "numpy"}


@cache
def chunk(real: str) -> Code:
    """The machine code of the loop over the blocks of a chunk, for one compute dtype."""
    signature = types.void(types.CPointer(types.int64), types.float64, types.int64, types.int64)
    name = f"elementwise chunk {real}"
    return c_function(lambda: _chunk(real), signature, name, error_model="numpy")


def _chunk(real: str) -> Callable:
    cast = np.dtype(real).type
    zero = cast(0)
    itemsize = np.dtype(real).itemsize
    block = BLOCK_BYTES // itemsize
    call_kernel = caller(types.void, *[types.int64] * 9, getattr(types, real), types.int64)
    call_mover = caller(types.void, *[types.int64] * 5)
    block_sum, weighted_sum = tools(real)
    narrow = real == "float32"
    share_ = njit(**_inner)(share)

    @njit(**_inner)
    def copy(source, target, size):
        for i in range(size):
            target[i] = source[i]

    @njit(**_inner)
    def say_present(weights, target, size):
        for i in range(size):
            target[i] = zero if weights[i] == zero else cast(1)

    @njit(**_inner)
    def fill_up(place, size, scratch):
        """A few numbers in scratch, with the last once more up to a whole step."""
        source, target = pointer(place, zero), pointer(scratch, zero)
        if place != scratch:
            copy(source, target, size)
        for i in range(size, STEP):
            target[i] = target[size - 1]
        return scratch

    @njit(**_inner)
    def fetch(job, slot, start, size, scratch):
        """Where the block of an input is: in place, or loaded into scratch."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout == 0:
            return job[slot] + start * itemsize
        layout = job[LAYOUTS] + 8 * layout
        call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))
        return scratch

    @njit(**_inner)
    def place(job, slot, start, ragged, scratch):
        """Where the block of an output is computed: in place where its layout allows."""
        if ragged or job[slot] == 0 or pointer(job[LAYOUTS], 1)[slot] != 0:
            return scratch
        return job[slot] + start * itemsize

    @njit(**_inner)
    def deliver(job, slot, start, size, ragged, scratch):
        layout = pointer(job[LAYOUTS], 1)[slot]
        if ragged and job[slot] != 0 and layout == 0:
            copy(pointer(scratch, zero), pointer(job[slot] + start * itemsize, zero), size)
        if job[slot] != 0 and layout != 0:
            layout = job[LAYOUTS] + 8 * layout
            call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))

    @njit(**_inner)
    def rounded(limits, target, size):
        """Whether some target of a block is a rounding beyond its domain."""
        low, high = cast(limits[0]), cast(limits[1])
        near_low, near_high = cast(limits[2]), cast(limits[3])
        count = zero
        for i in range(size):
            t = target[i]
            near = ((t < low) & (t >= near_low)) | ((t > high) & (t <= near_high))
            count += cast(1) if near else zero
        return count > zero

    @njit(**_inner)
    def bring_inside(limits, source, target, size):
        """Take targets a rounding beyond their domain for its bound; leave those farther out."""
        low, high = cast(limits[0]), cast(limits[1])
        near_low, near_high = cast(limits[2]), cast(limits[3])
        for i in range(size):
            t = source[i]
            t = low if (t < low) & (t >= near_low) else t
            target[i] = high if (t > high) & (t <= near_high) else t

    @njit(**_inner)
    def masked(job, weight, start, size, scratch, spare):
        """Weights, 0 where the mask says that an element does not count."""
        layout = job[LAYOUTS] + 8 * pointer(job[LAYOUTS], 1)[MASK]
        described = pointer(layout, 1)
        call_mover(described[1], (described[0], layout + 8, start, size, spare))
        weights, counts, found = pointer(weight, zero), pointer(spare, zero), pointer(scratch, zero)
        for i in range(size):
            found[i] = weights[i] if counts[i] != zero else zero
        return scratch

    @njit(**_inner)
    def recoded(recoding, source, target, size):
        """Targets between 0 and 1, of others."""
        gain, summand = cast(recoding[0]), cast(recoding[1])
        for i in range(size):
            target[i] = source[i] * gain + summand

    @njit(**_inner)
    def fill(target, size):
        for i in range(size):
            target[i] = cast(1)

    @njit(**_inner)
    def paired(job, recoding, target, weight, start, size, spare):
        """Targets and weights as losses with a weight of positives a label see them."""
        layout = job[LAYOUTS] + 8 * pointer(job[LAYOUTS], 1)[POS_WEIGHT]
        described = pointer(layout, 1)
        call_mover(described[1], (described[0], layout + 8, start, size, spare))
        numbers, targets = pointer(spare, zero), pointer(target, zero)
        weights = pointer(weight, zero)
        bounds = cast(recoding[2]), cast(recoding[3])
        smoothing, outside = (cast(recoding[4]), cast(recoding[5])), cast(recoding[6])
        units = zero, cast(0.5), cast(1)
        for i in range(size):
            targets[i], weights[i] = share_(
                targets[i], weights[i], numbers[i], bounds, smoothing, outside, units
            )

    @njit(**_inner)
    def prepared(job, target, weight, start, size, scratch):
        """Where targets and weights are once they are what the loss is to see."""
        where, fields = pointer(job[LAYOUTS], 1)[RECODING], pointer(job[LAYOUTS], 1)
        if where != 0:
            recoding = pointer(job[LAYOUTS] + 8 * where, 1.0)
            inside = scratch + BLOCK_BYTES
            recoded(recoding, pointer(target, zero), pointer(inside, zero), size)
            target = inside
            if fields[POS_WEIGHT] != 0:
                own = scratch + 2 * BLOCK_BYTES
                if job[WEIGHT] == 0:
                    fill(pointer(own, zero), size)
                elif weight != own:
                    copy(pointer(weight, zero), pointer(own, zero), size)
                weight = own
                paired(job, recoding, target, weight, start, size, scratch + 3 * BLOCK_BYTES)
        return target, weight

    def elementwise_chunk(job, scale, index, result):
        start = index * job[CHUNK]
        with_mask = pointer(job[LAYOUTS], 1)[MASK] != 0
        limits = pointer(job[LAYOUTS], 1)[LIMITS]
        limited = limits != 0
        bounds = pointer(job[LAYOUTS] + 8 * limits, 1.0)
        eager = limited and bounds[4] != 0.0
        once = pointer(job[PARAMETERS], 1.0)[ONCE] != 0.0
        weighted = (job[WEIGHT] != 0) | (pointer(job[LAYOUTS], 1)[POS_WEIGHT] != 0)
        stop = min(start + job[CHUNK], job[SIZE])
        scratch = stack_memory(SCRATCH_BYTES)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        while start < stop:
            size = min(block, stop - start)
            # Whole steps, and what is left filled up to one.
            ragged = size < STEP and not once
            size = size if ragged or once else size // STEP * STEP
            count = STEP if ragged else size
            p = fetch(job, PREDICTION, start, size, scratch)
            t = fetch(job, TARGET, start, size, scratch + BLOCK_BYTES)
            w = fetch(job, WEIGHT, start, size, scratch + 2 * BLOCK_BYTES)
            if with_mask:
                w = masked(
                    job, w, start, size, scratch + 2 * BLOCK_BYTES, scratch + 3 * BLOCK_BYTES
                )
            t, w = prepared(job, t, w, start, size, scratch)
            v = place(job, VALUE, start, ragged, scratch + 3 * BLOCK_BYTES)
            g = place(job, GRADIENT, start, ragged, scratch + 4 * BLOCK_BYTES)
            h = place(job, HESSIAN, start, ragged, scratch + 5 * BLOCK_BYTES)
            inside = scratch + BLOCK_BYTES
            if ragged:
                p, t = fill_up(p, size, scratch), fill_up(t, size, scratch + BLOCK_BYTES)
                if weighted:
                    w = fill_up(w, size, scratch + 2 * BLOCK_BYTES)
            if eager:
                bring_inside(bounds, pointer(t, zero), pointer(inside, zero), count)
                t = inside
            if p == g:  # in place: kernels are promised that their arrays are apart
                copy(pointer(p, zero), pointer(scratch, zero), size)
                p = scratch
            offenders = sums[1]
            call_kernel(
                job[KERNEL],
                (0, job[PARAMETERS], p, t, w, v, g, h, count, cast(scale), result),
            )
            if sums[1] != offenders and limited and not eager:
                # Kernels do not tell a rounding from an error; few calls have either. Where
                # there was a rounding there will be more: targets are looked at beforehand.
                eager = rounded(bounds, pointer(t, zero), size)
                if eager:
                    sums[1] = offenders
                    bring_inside(bounds, pointer(t, zero), pointer(inside, zero), count)
                    t = inside
                    call_kernel(
                        job[KERNEL],
                        (0, job[PARAMETERS], p, t, w, v, g, h, count, cast(scale), result),
                    )
            total, offenders = block_sum(pointer(v, zero), size), sums[1]
            if narrow and weighted and math.isfinite(sums[0]) and not math.isfinite(total):
                # Values times weights may overflow where their mean does not.
                ones = scratch + 6 * BLOCK_BYTES
                say_present(pointer(w, zero), pointer(ones, zero), count)
                call_kernel(
                    job[KERNEL],
                    (0, job[PARAMETERS], p, t, ones, v, g, h, count, cast(scale), result),
                )
                total = weighted_sum(pointer(v, zero), pointer(w, zero), size)
                call_kernel(
                    job[KERNEL],
                    (0, job[PARAMETERS], p, t, w, v, g, h, count, cast(scale), result),
                )
                sums[1] = offenders
            sums[0] += total
            deliver(job, VALUE, start, size, ragged, v)
            deliver(job, GRADIENT, start, size, ragged, g)
            deliver(job, HESSIAN, start, size, ragged, h)
            start += size

    return elementwise_chunk
