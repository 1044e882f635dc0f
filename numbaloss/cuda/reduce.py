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

from ..jobs.launch import BlockSums, LaunchSums, Tail
from . import backend
from .atomics import fresh_reader, ticket
from .backend import cuda, device_function
from .fields import kernel_type, positions
from .memory import writer

WARP = 32
# Kernels divide by a warp with shifts and masks: Python's // and % of signed numbers take ten
# instructions each, and registers that long rows have not got.
WARP_LOG2 = 5
ALL_LANES = 0xFFFFFFFF
# Numbers of shared memory that a reduction takes: one a warp; one a thread without shuffles.
SCRATCH = 256 if backend.SIMULATED else 32
PAIRS = 2 * SCRATCH  # of two sums at a time

TAIL = kernel_type(Tail)  # of every kernel's last argument
_SUMS, _BLOCK = positions(LaunchSums), positions(BlockSums)
_WORDS = BlockSums.memory.words


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
        if thread & (WARP - 1) == 0:
            scratch[thread >> WARP_LOG2] = number
        cuda.syncthreads()
        warps = cuda.blockDim.x >> WARP_LOG2
        # Every warp adds up what all have left: one more barrier would cost more.
        found = group(scratch[thread & (warps - 1)], warps, thread, scratch)
        cuda.syncthreads()
        return found

    return over_block


block_sum = _blocks(group_sum)
block_max = _blocks(group_max)


@device_function
def block_sums(one, other, thread, scratch):
    """Two sums over all threads of a block, by the same barriers; ``scratch`` holds two numbers a
    warp."""
    if backend.SIMULATED:
        one = block_sum(one, thread, scratch)
        return one, block_sum(other, thread, scratch)
    one = group_sum(one, WARP, thread, scratch)
    other = group_sum(other, WARP, thread, scratch)
    if thread & (WARP - 1) == 0:
        scratch[thread >> WARP_LOG2] = one
        scratch[SCRATCH + (thread >> WARP_LOG2)] = other
    cuda.syncthreads()
    warps = cuda.blockDim.x >> WARP_LOG2
    place = thread & (warps - 1)
    one = group_sum(scratch[place], warps, thread, scratch)
    other = group_sum(scratch[SCRATCH + place], warps, thread, scratch)
    cuda.syncthreads()
    return one, other


@cache
def begin(computed: str) -> Callable:
    """``begin(tail, scale, size)``: what to scale derivatives by, and how many units to compute."""
    read, real = fresh_reader(), np.dtype(computed).type

    @device_function
    def begin_(tail, scale, size):
        if tail.earlier != 0:
            scale = real(read(tail.earlier, _SUMS.scale))
        if tail.guard != 0 and read(tail.guard, _SUMS.out_of_range) > 0.0:
            size = 0  # an error leaves everything as it was
        return scale, size

    return begin_


@cache
def leave() -> Callable:
    """``leave(total, out_of_range, thread, scratch, tail)``: the end of every kernel.

    To be called once by every thread: the last block fills in :class:`LaunchSums`.
    """
    write, read, take = writer("float64"), fresh_reader(), ticket()
    write_sums = _sums_writer()

    @device_function
    def leave_(total, out_of_range, thread, scratch, tail):
        doubles = cuda.shared.array(SCRATCH, np.float64)
        flag = cuda.shared.array(1, np.int32)
        # Totals come in float64: those of float32 lose digits, and overflow where means do not.
        total = block_sum(np.float64(total), thread, doubles)
        out_of_range = block_sum(out_of_range, thread, scratch)
        blocks = cuda.gridDim.x
        if thread == 0:
            place = _WORDS * cuda.blockIdx.x
            write(tail.partials, place + _BLOCK.total, np.float64(total))
            write(tail.partials, place + _BLOCK.out_of_range, np.float64(out_of_range))
            cuda.threadfence()
            flag[0] = take(tail.counter, blocks - 1) == blocks - 1
        cuda.syncthreads()
        if flag[0] == 0:
            return
        cuda.threadfence()
        whole, wrong = 0.0, 0.0
        for i in range(thread, blocks, cuda.blockDim.x):
            whole += read(tail.partials, _WORDS * i + _BLOCK.total)
            wrong += read(tail.partials, _WORDS * i + _BLOCK.out_of_range)
        whole = block_sum(whole, thread, doubles)
        wrong = block_sum(wrong, thread, doubles)
        if thread == 0:
            write_sums(whole, wrong, tail)

    return leave_


@cache
def _sums_writer() -> Callable:
    """``write_sums(whole, wrong, tail)``: what a launch leaves, with what launches before left."""
    write, read = writer("float64"), fresh_reader()
    nan = np.nan

    @device_function
    def write_sums(whole, wrong, tail):
        divisor = tail.divisor
        if tail.earlier != 0 and divisor == 0.0:
            divisor = read(tail.earlier, _SUMS.total)
        if tail.before != 0:
            whole += read(tail.before, _SUMS.total)
            wrong += read(tail.before, _SUMS.out_of_range)
        elif tail.earlier != 0:
            wrong += read(tail.earlier, _SUMS.out_of_range)
        if tail.guard != 0 and tail.guard != tail.earlier:
            wrong += read(tail.guard, _SUMS.out_of_range)
        bad = (wrong > 0.0) | (divisor == 0.0)
        write(tail.result, _SUMS.value, nan if bad else whole / divisor)
        write(tail.result, _SUMS.total, whole)
        write(tail.result, _SUMS.out_of_range, wrong)
        write(tail.result, _SUMS.scale, 0.0 if whole == 0.0 else tail.numerator / whole)

    return write_sums
