"""The loop over the blocks of a chunk, which depends on no loss: see `blocks`.

It brings arrays of any dtype and layout in and out of contiguous memory, sums the values, and sees
to what few calls need: masks, targets that are recoded or a rounding beyond their domain, sums that
overflow.

Outputs go through the caches, larger than these as they may be. Stores past them, of blocks
computed in scratch memory, were tried: losses without an exponential took 0.8 to 1.0 of the time
with 64-byte registers, as long with 32-byte ones, and as long in new arrays; those with one took
1.0 to 1.1, for they wait for their own steps, not for memory. Asking for the first lines of the
next pages beforehand gained 0 to 7 %, asking for whole blocks cost 10 to 40 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..core.recoding import share
from ..jobs.elementwise import ElementwiseDescription, LossHeader, TargetLimits, TargetRecoding
from .compile import Code, c_function
from .intrinsics import caller, pointer, stack_memory
from .movers import layout, move
from .options import inner, namespace
from .records import at
from .sums import tools
from .threads import CHUNK_SIGNATURE, call_at, sums_at

description_at, header_at = at(ElementwiseDescription), at(LossHeader)
limits_at, recoding_at = at(TargetLimits), at(TargetRecoding)

# Bytes of one array of a block: six of them fit into a first-level cache of 48 KiB.
BLOCK_BYTES = 8192
SCRATCH_BYTES = 7 * BLOCK_BYTES
# Kernels take multiples of so many elements, a few registers: what LLVM leaves of a loop to
# scalars could round a sum of two products otherwise than the vectors do.
STEP = 64


@cache
def chunk(real: str) -> Code:
    """The machine code of the loop over the blocks of a chunk, for one compute dtype."""
    name = f"elementwise chunk {real}"
    return c_function(lambda: _chunk(real), CHUNK_SIGNATURE, name, error_model="numpy")


def _moves(real: str) -> Any:
    """Functions that bring blocks in and out of contiguous memory."""
    cast = np.dtype(real).type
    zero, one, itemsize = cast(0), cast(1), np.dtype(real).itemsize

    @njit(**inner)
    def copy(source, target, size):
        for i in range(size):
            target[i] = source[i]

    @njit(**inner)
    def fill(target, size):
        for i in range(size):
            target[i] = one

    @njit(**inner)
    def fill_up(place, size, scratch):
        """A few numbers in scratch, with the last once more up to a whole step."""
        source, target = pointer(place, zero), pointer(scratch, zero)
        if place != scratch:
            copy(source, target, size)
        for i in range(size, STEP):
            target[i] = target[size - 1]
        return scratch

    @njit(**inner)
    def fetch(array, layout, start, size, scratch):
        """Where the block of an input is: in place, or loaded into scratch."""
        if layout == 0:
            return array + start * itemsize
        move(array, layout, start, size, scratch)
        return scratch

    @njit(**inner)
    def place(array, layout, start, ragged, scratch):
        """Where the block of an output is computed: in place where its layout allows."""
        if ragged or array == 0 or layout != 0:
            return scratch
        return array + start * itemsize

    @njit(**inner)
    def deliver(array, layout, start, size, ragged, scratch):
        if ragged and array != 0 and layout == 0:
            copy(pointer(scratch, zero), pointer(array + start * itemsize, zero), size)
        if array != 0 and layout != 0:
            move(array, layout, start, size, scratch)

    @njit(**inner)
    def load_described(place, start, size, scratch):
        """A block of an array whose address stands in front of its layout."""
        move(pointer(place, 1)[0], place + 8, start, size, scratch)

    return namespace(locals())


def _limits(real: str) -> Any:
    """Functions for targets that a rounding leads beyond their domain."""
    cast = np.dtype(real).type
    zero = cast(0)

    @njit(**inner)
    def rounded(limits, target, size):
        """Whether some target of a block is a rounding beyond its domain."""
        low, high = cast(limits.low), cast(limits.high)
        near_low, near_high = cast(limits.near_low), cast(limits.near_high)
        count = zero
        for i in range(size):
            t = target[i]
            near = ((t < low) & (t >= near_low)) | ((t > high) & (t <= near_high))
            count += cast(1) if near else zero
        return count > zero

    @njit(**inner)
    def bring_inside(limits, source, target, size):
        """Take targets a rounding beyond their domain for its bound; leave those farther out."""
        low, high = cast(limits.low), cast(limits.high)
        near_low, near_high = cast(limits.near_low), cast(limits.near_high)
        for i in range(size):
            t = source[i]
            t = low if (t < low) & (t >= near_low) else t
            target[i] = high if (t > high) & (t <= near_high) else t

    return namespace(locals())


def _preparations(real: str) -> Any:
    """Functions that make of targets and weights what a loss is to see."""
    cast, m = np.dtype(real).type, _moves(real)
    zero, share_ = cast(0), njit(**inner)(share)

    @njit(**inner)
    def recoded(recoding, source, target, size):
        """Targets between 0 and 1, of others."""
        gain, summand = cast(recoding.gain), cast(recoding.summand)
        for i in range(size):
            target[i] = source[i] * gain + summand

    @njit(**inner)
    def paired(pos_weight, recoding, target, weight, start, size, spare):
        """Targets and weights as losses with a weight of positives a label see them."""
        m.load_described(pos_weight, start, size, spare)
        numbers, targets = pointer(spare, zero), pointer(target, zero)
        weights = pointer(weight, zero)
        bounds = cast(recoding.low), cast(recoding.high)
        smoothing = cast(recoding.smoothing_on), cast(recoding.smoothing_off)
        units, outside = (zero, cast(0.5), cast(1)), cast(recoding.out_of_range)
        for i in range(size):
            targets[i], weights[i] = share_(
                targets[i], weights[i], numbers[i], bounds, smoothing, outside, units
            )

    @njit(**inner)
    def prepared(call, description, target, weight, start, size, scratch):
        """Where targets and weights are once they are what the loss is to see."""
        if description.recoding != 0:
            recoding = recoding_at(call.description + 8 * description.recoding)
            inside = scratch + BLOCK_BYTES
            recoded(recoding, pointer(target, zero), pointer(inside, zero), size)
            target = inside
            if description.pos_weight != 0:
                own = scratch + 2 * BLOCK_BYTES
                if call.weight == 0:
                    m.fill(pointer(own, zero), size)
                elif weight != own:
                    m.copy(pointer(weight, zero), pointer(own, zero), size)
                weight = own
                pos_weight, spare = call.description + 8 * description.pos_weight, 3 * BLOCK_BYTES
                paired(pos_weight, recoding, target, weight, start, size, scratch + spare)
        return target, weight

    @njit(**inner)
    def mark_present(weights, target, size):
        for i in range(size):
            target[i] = zero if weights[i] == zero else cast(1)

    @njit(**inner)
    def masked(mask, weight, start, size, scratch, spare):
        """Weights, 0 where the mask leaves an element out."""
        m.load_described(mask, start, size, spare)
        weights, counts, own = pointer(weight, zero), pointer(spare, zero), pointer(scratch, zero)
        for i in range(size):
            own[i] = weights[i] if counts[i] != zero else zero
        return scratch

    return namespace(locals())


def _runner(real: str) -> Any:
    """Function that runs the loop of the loss over a block."""
    cast = np.dtype(real).type
    call_kernel = caller(types.void, *[types.int64] * 9, getattr(types, real), types.int64)

    @njit(**inner)
    def run(call, p, t, w, v, g, h, count, scale, result):
        given = (0, call.parameters, p, t, w, v, g, h, count, cast(scale), result)
        call_kernel(call.kernel, given)

    return run


def _chunk(real: str) -> Callable:
    zero, block = np.dtype(real).type(0), BLOCK_BYTES // np.dtype(real).itemsize
    (block_sum, weighted_sum), narrow = tools(real), real == "float32"
    makers = _runner, _moves, _preparations, _limits
    run, m, prepare, rounding = (make(real) for make in makers)

    def elementwise_chunk(address, scale, index, result):
        call = call_at(address)
        description = description_at(call.description)
        start = index * call.chunk
        with_mask = description.mask != 0
        limited = description.limits != 0
        limits = limits_at(call.description + 8 * description.limits)
        eager = limited and limits.eager != 0.0
        once = header_at(call.parameters).once != 0.0
        weighted = (call.weight != 0) | (description.pos_weight != 0)
        of_prediction = layout(call, description.prediction_layout)
        of_target = layout(call, description.target_layout)
        of_weight = layout(call, description.weight_layout)
        of_value = layout(call, description.value_layout)
        of_gradient = layout(call, description.gradient_layout)
        of_hessian = layout(call, description.hessian_layout)
        stop = min(start + call.chunk, call.size)
        scratch = stack_memory(SCRATCH_BYTES)
        sums = sums_at(result)
        sums.value = sums.out_of_range = 0.0
        while start < stop:
            size = min(block, stop - start)
            # Whole steps, and what is left filled up to one.
            ragged = size < STEP and not once
            size = size if ragged or once else size // STEP * STEP
            count = STEP if ragged else size
            p = m.fetch(call.prediction, of_prediction, start, size, scratch)
            t = m.fetch(call.target, of_target, start, size, scratch + BLOCK_BYTES)
            w = m.fetch(call.weight, of_weight, start, size, scratch + 2 * BLOCK_BYTES)
            if with_mask:
                mask, own = call.description + 8 * description.mask, scratch + 2 * BLOCK_BYTES
                w = prepare.masked(mask, w, start, size, own, scratch + 3 * BLOCK_BYTES)
            t, w = prepare.prepared(call, description, t, w, start, size, scratch)
            v = m.place(call.value, of_value, start, ragged, scratch + 3 * BLOCK_BYTES)
            g = m.place(call.gradient, of_gradient, start, ragged, scratch + 4 * BLOCK_BYTES)
            h = m.place(call.hessian, of_hessian, start, ragged, scratch + 5 * BLOCK_BYTES)
            inside = scratch + BLOCK_BYTES
            if ragged:
                p, t = m.fill_up(p, size, scratch), m.fill_up(t, size, scratch + BLOCK_BYTES)
                if weighted:
                    w = m.fill_up(w, size, scratch + 2 * BLOCK_BYTES)
            if eager:
                rounding.bring_inside(limits, pointer(t, zero), pointer(inside, zero), count)
                t = inside
            if p == g:  # in place: kernels are promised that their arrays are apart
                m.copy(pointer(p, zero), pointer(scratch, zero), size)
                p = scratch
            out_of_range = sums.out_of_range
            run(call, p, t, w, v, g, h, count, scale, result)
            if sums.out_of_range != out_of_range and limited and not eager:
                # Kernels do not tell a rounding from an error; few calls have either. Where
                # there was a rounding there will be more: targets are checked beforehand.
                eager = rounding.rounded(limits, pointer(t, zero), size)
                if eager:
                    sums.out_of_range = out_of_range
                    rounding.bring_inside(limits, pointer(t, zero), pointer(inside, zero), count)
                    t = inside
                    run(call, p, t, w, v, g, h, count, scale, result)
            total, out_of_range = block_sum(pointer(v, zero), size), sums.out_of_range
            if narrow and weighted and math.isfinite(sums.value) and not math.isfinite(total):
                # Values times weights may overflow where their mean does not.
                ones = scratch + 6 * BLOCK_BYTES
                prepare.mark_present(pointer(w, zero), pointer(ones, zero), count)
                run(call, p, t, ones, v, g, h, count, scale, result)
                total = weighted_sum(pointer(v, zero), pointer(w, zero), size)
                run(call, p, t, w, v, g, h, count, scale, result)
                sums.out_of_range = out_of_range
            sums.value += total
            m.deliver(call.value, of_value, start, size, ragged, v)
            m.deliver(call.gradient, of_gradient, start, size, ragged, g)
            m.deliver(call.hessian, of_hessian, start, size, ragged, h)
            start += size

    return elementwise_chunk
