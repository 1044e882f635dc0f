"""Sums over the threads of a group, of a block and of the grid, always in one order.

Within a warp numbers travel by shuffles, between warps through shared memory, between blocks
through the GPU's memory: the block that finishes last adds what all have left, in the order of
the blocks, in float64. No atomic addition is involved, so a sum is the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from . import backend
from .backend import cuda, device_function
from .memory import fresh_reader, ticket, writer

WARP = 32
ALL_LANES = 0xFFFFFFFF
# Numbers of shared memory that a reduction takes: one a warp; one a thread without shuffles.
SCRATCH = 256 if backend.SIMULATED else 32

# The last argument of every kernel: how the value is made of the total, the addresses of records of
# earlier launches, and of what this one leaves.
TAIL = types.Tuple(
    (
        types.float64,  # divisor; 0: the total of `earlier`
        types.int64,  # earlier: the record that says how much to scale by
        types.int64,  # guard: the record that says whether to write at all
        types.int64,  # before: the record of a part of the same sum, to go on from
        types.float64,  # numerator
        types.int64,  # partials
        types.int64,  # counter
        types.int64,  # result
    )
)

# Positions of float64 numbers in the record that a launch leaves.
VALUE, TOTAL, OFFENDERS, SCALE = range(4)
RECORD = 4


@device_function
def wait_for_warp():
    """Let no thread of a warp go on before all have made their reads and writes."""
    if backend.SIMULATED:
        cuda.syncthreads()
    else:
        cuda.syncwarp()


def _groups(combine: Callable[[Any, Any], Any]) -> Callable:
    """``reduce(number, width, thread, scratch)`` over groups of ``width`` threads of a warp.

    The width is a power of two. Every thread of the block must call it; each gets the result of
    its group. ``scratch`` has room for a number a thread; GPUs do not touch it.
    """
    if backend.SIMULATED:  # which has no shuffles

        @device_function
        def by_memory(number, width, thread, scratch):
            scratch[thread] = number
            cuda.syncthreads()
            first = thread // width * width
            found = scratch[first]
            for i in range(1, width):
                found = combine(found, scratch[first + i])
            cuda.syncthreads()
            return found

        return by_memory

    combined = device_function(combine)

    @device_function
    def by_shuffles(number, width, thread, scratch):
        offset = np.int32(width >> 1)
        while offset > 0:
            number = combined(number, cuda.shfl_xor_sync(ALL_LANES, number, offset))
            offset = np.int32(offset >> 1)
        return number

    return by_shuffles


def _add(a: Any, b: Any) -> Any:
    return a + b


def _larger(a: Any, b: Any) -> Any:
    return a if a > b else b


group_sum = _groups(_add)
group_max = _groups(_larger)


def _blocks(group: Callable) -> Callable:
    """``reduce(number, thread, scratch)`` over all threads of a block, a power of two of warps."""
    if backend.SIMULATED:  # whose blocks are one warp
        return device_function(lambda number, thread, scratch: group(number, WARP, thread, scratch))

    @device_function
    def over_block(number, thread, scratch):
        number = group(number, WARP, thread, scratch)
        if thread % WARP == 0:
            scratch[thread // WARP] = number
        cuda.syncthreads()
        warps = cuda.blockDim.x // WARP
        # Every warp adds up what all have left: one more barrier would cost more.
        found = group(scratch[thread & (warps - 1)], warps, thread, scratch)
        cuda.syncthreads()
        return found

    return over_block


block_sum = _blocks(group_sum)
block_max = _blocks(group_max)


@cache
def begin(computed: str) -> Callable:
    """``begin(tail, scale, size)``: what to scale derivatives by, and how many units to compute."""
    read, real = fresh_reader(), np.dtype(computed).type

    @device_function
    def begin_(tail, scale, size):
        _, earlier, guard, _, _, _, _, _ = tail
        if earlier != 0:
            scale = real(read(earlier, SCALE))
        if guard != 0 and read(guard, OFFENDERS) > 0.0:
            size = 0  # an error leaves everything as it was
        return scale, size

    return begin_


@cache
def leave() -> Callable:
    """``leave(total, offenders, thread, scratch, tail)``: the end of every kernel.

    To be called once by every thread: the last block fills the record. The value is the total over
    the divisor, NaN where something was out of place, here or before. ``SCALE`` is the numerator
    over the total, for kernels that follow.
    """
    write, read, take = writer("float64"), fresh_reader(), ticket()
    nan = np.nan

    @device_function
    def leave_(total, offenders, thread, scratch, tail):
        divisor, earlier, guard, before, numerator, partials, counter, result = tail
        doubles = cuda.shared.array(SCRATCH, np.float64)
        flag = cuda.shared.array(1, np.int32)
        # Totals come in float64: those of float32 lose digits, and overflow where means do not.
        total = block_sum(np.float64(total), thread, doubles)
        offenders = block_sum(offenders, thread, scratch)
        blocks = cuda.gridDim.x
        if thread == 0:
            write(partials, 2 * cuda.blockIdx.x, np.float64(total))
            write(partials, 2 * cuda.blockIdx.x + 1, np.float64(offenders))
            cuda.threadfence()
            flag[0] = take(counter, blocks - 1) == blocks - 1
        cuda.syncthreads()
        if flag[0] == 0:
            return
        cuda.threadfence()
        whole, wrong = 0.0, 0.0
        for i in range(thread, blocks, cuda.blockDim.x):
            whole += read(partials, 2 * i)
            wrong += read(partials, 2 * i + 1)
        whole = block_sum(whole, thread, doubles)
        wrong = block_sum(wrong, thread, doubles)
        if thread == 0:
            if earlier != 0 and divisor == 0.0:
                divisor = read(earlier, TOTAL)
            if before != 0:
                whole += read(before, TOTAL)
                wrong += read(before, OFFENDERS)
            elif earlier != 0:
                wrong += read(earlier, OFFENDERS)
            if guard != 0 and guard != earlier:
                wrong += read(guard, OFFENDERS)
            bad = (wrong > 0.0) | (divisor == 0.0)
            write(result, VALUE, nan if bad else whole / divisor)
            write(result, TOTAL, whole)
            write(result, OFFENDERS, wrong)
            write(result, SCALE, 0.0 if whole == 0.0 else numerator / whole)

    return leave_
