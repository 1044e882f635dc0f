"""Maxima and sums over stretches of a row, in registers from the first number to the last.

Four registers go side by side, then one at a time; what is left of a stretch goes through a
register's worth of memory. No register is stored under a mask, which takes 12 cycles and more on
AVX2.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..vmath import float32, float64
from ..vmath.bits import select
from ..vmath.overloads import install as install_vmath
from ..vmath.vectors import load, max_lanes, register_bytes, splat, store, sum_lanes
from .intrinsics import pointer, prefer_wide_vectors, stack_memory
from .options import block_size, exact, inner, namespace

REGISTER_BYTES = 64  # at most


@cache
def tools(real: str) -> Any:
    """The functions over stretches of one compute type."""
    install_vmath()
    return namespace(_maxima(real), _sums(real))


def _padding(real: str) -> Any:
    cast = np.dtype(real).type
    zero, lowest = cast(0), cast(-np.inf)
    few = register_bytes() // zero.itemsize

    @njit(**inner)
    def padded(source, size, memory):
        """The last numbers of a stretch, and -inf behind them: they count for nothing."""
        store(memory, splat(lowest, few))
        given, target = pointer(source, zero), pointer(memory, zero)
        for i in range(size):
            target[i] = given[i]
        return load(memory, zero, few)

    return padded


def _maxima(real: str) -> Any:
    """The largest numbers; NaN is passed over."""
    cast = np.dtype(real).type
    zero, lowest, two = cast(0), cast(-np.inf), cast(2)
    itemsize, padded = zero.itemsize, _padding(real)
    few, lanes = register_bytes() // itemsize, block_size(real)
    few_bytes, lanes_bytes = few * itemsize, lanes * itemsize

    @njit(**inner)
    def larger(x, y):
        return select(x > y, x, y)

    @njit(**inner)
    def raised(source, size, wide, slim, memory):
        """The maxima of lanes, after a stretch more."""
        whole, even = size // lanes * lanes, size // few * few
        for k in range(0, whole, lanes):
            wide = larger(load(source + k * itemsize, zero, lanes), wide)
        for k in range(whole, even, few):
            slim = larger(load(source + k * itemsize, zero, few), slim)
        if even < size:
            slim = larger(padded(source + even * itemsize, size - even, memory), slim)
        return wide, slim

    @njit(**inner)
    def maximum(first, size, second, rest):
        """The largest of two stretches."""
        prefer_wide_vectors()
        memory = stack_memory(REGISTER_BYTES)
        wide, slim = raised(first, size, splat(lowest, lanes), splat(lowest, few), memory)
        wide, slim = raised(second, rest, wide, slim, memory)
        of_wide, of_slim = max_lanes(wide), max_lanes(slim)
        return of_wide if of_wide > of_slim else of_slim

    @njit(**inner)
    def maximum_of_row(place, size):
        """The largest of one stretch, no shorter than a register.

        The last register overlaps the one before it.
        """
        prefer_wide_vectors()
        wide = splat(lowest, lanes)
        whole, end = size // lanes * lanes_bytes, (size - few) * itemsize
        for j in range(0, whole, lanes_bytes):
            wide = larger(load(place + j, zero, lanes), wide)
        top = max_lanes(wide)
        if whole < size * itemsize:
            slim = load(place + end, zero, few)
            for j in range(whole, end, few_bytes):
                slim = larger(load(place + j, zero, few), slim)
            other = max_lanes(slim)
            top = other if other > top else top
        return top

    @njit(**inner)
    def farthest(row, squares, size, sign):
        """The largest of ``sign`` times a square less twice the number of the row."""
        prefer_wide_vectors()
        wide, slim, largest = splat(lowest, lanes), splat(lowest, few), lowest
        whole, even = size // lanes * lanes, size // few * few
        for k in range(0, whole, lanes):
            at = k * itemsize
            x = sign * (load(squares + at, zero, lanes) - two * load(row + at, zero, lanes))
            wide = larger(x, wide)
        for k in range(whole, even, few):
            at = k * itemsize
            y = sign * (load(squares + at, zero, few) - two * load(row + at, zero, few))
            slim = larger(y, slim)
        here, there = pointer(row, zero), pointer(squares, zero)
        for k in range(even, size):
            z = sign * (there[k] - two * here[k])
            largest = z if z > largest else largest
        of_wide, of_slim = max_lanes(wide), max_lanes(slim)
        largest = of_wide if of_wide > largest else largest
        return of_slim if of_slim > largest else largest

    return namespace(locals())


def _sums(real: str) -> Any:
    """Sums of exponentials."""
    zero = np.dtype(real).type(0)
    itemsize, padded = zero.itemsize, _padding(real)
    few, lanes = register_bytes() // itemsize, block_size(real)
    decay = (float32 if real == "float32" else float64).decay

    @njit(**exact)
    def added(source, size, top, scale, wide, slim, memory):
        """The sums of lanes, after the exponentials of a stretch more."""
        whole, even = size // lanes * lanes, size // few * few
        for k in range(0, whole, lanes):
            wide = wide + decay((load(source + k * itemsize, zero, lanes) - top) * scale)
        for k in range(whole, even, few):
            slim = slim + decay((load(source + k * itemsize, zero, few) - top) * scale)
        if even < size:
            slim = slim + decay(
                (padded(source + even * itemsize, size - even, memory) - top) * scale
            )
        return wide, slim

    @njit(**inner)
    def exponentials(first, size, second, rest, top, scale):
        """The sum of the exponentials of two stretches."""
        prefer_wide_vectors()
        memory = stack_memory(REGISTER_BYTES)
        wide, slim = splat(zero, lanes), splat(zero, few)
        wide, slim = added(first, size, top, scale, wide, slim, memory)
        wide, slim = added(second, rest, top, scale, wide, slim, memory)
        return sum_lanes(wide) + sum_lanes(slim)

    return namespace(locals())
