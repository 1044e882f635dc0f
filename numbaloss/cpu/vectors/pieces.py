"""What moves pieces of vectors, and the numbers of rows; it depends on no loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ...jobs.vectors import CpuVectorRows, GroupNumbers
from ...vmath.overloads import install as install_vmath
from ..blocks import unpack
from ..intrinsics import pointer, prefetch, stack_memory
from ..movers import move
from ..options import inner, namespace
from ..records import at
from ..threads import sums_at

rows_at = at(CpuVectorRows)
column = GroupNumbers.column

# Elements of a vector that go through scratch memory at a time, where they must.
PIECE = 1024
# Elements that are measured at a time.
STEP = 256
SCRATCH_BYTES = 6 * PIECE * 8
# Rows whose targets, weights and values are moved together.
GROUP = 128
COLUMN_BYTES = 8 * GROUP
GROUP_BYTES = GroupNumbers.count * COLUMN_BYTES


@njit(**inner)
def layout(address, word):
    """Address of a layout of a description, or 0."""
    return address + 8 * word if word != 0 else 0


@cache
def movers(real: str) -> Any:
    """Functions that move stretches of vectors: an array is its address and its layout's."""
    install_vmath()
    zero = np.dtype(real).type(0)
    itemsize = np.dtype(real).itemsize

    @njit(**inner)
    def clear(target, size):
        for i in range(size):
            target[i] = zero

    @njit(**inner)
    def fetch(array, of_array, start, size, scratch):
        """Where a stretch of an input is: in place, or loaded into scratch."""
        if of_array == 0:
            return pointer(array + start * itemsize, zero)
        move(array, of_array, start, size, scratch)
        return pointer(scratch, zero)

    @njit(**inner)
    def room(array, of_array, start, scratch):
        """Where a stretch of an output is computed."""
        if of_array == 0:
            return pointer(array + start * itemsize, zero)
        return pointer(scratch, zero)

    @njit(**inner)
    def claim(rows, array, of_array, start, size):
        """Ask for the memory of a stretch of a gradient while its row is still being measured.

        Stores that wait for memory hold up the loads of the next row wherever both have the same
        last 12 bits: rows of 4 KiB took 1.4 times as long as a copy, rows of 4000 bytes 1.07.
        """
        if (rows.derivatives != 0) & (of_array == 0):
            first = array + start * itemsize
            for line in range(0, size * itemsize, 64):
                prefetch(first + line, 1)

    @njit(**inner)
    def deliver(array, of_array, start, size, scratch):
        if of_array != 0:
            move(array, of_array, start, size, scratch)

    return namespace(locals())


@njit(**inner)
def _load(array, of_array, start, size, scratch):
    """Numbers of rows, float64, from their array."""
    if of_array != 0:
        move(array, of_array, start, size, scratch)
        return
    here, there = pointer(scratch, 1.0), pointer(array + 8 * start, 1.0)
    for i in range(size):
        here[i] = there[i]


@njit(**inner)
def _store(array, of_array, start, size, scratch):
    """Numbers of rows, float64, to their array."""
    if of_array != 0:
        move(array, of_array, start, size, scratch)
        return
    here, there = pointer(scratch, 1.0), pointer(array + 8 * start, 1.0)
    for i in range(size):
        there[i] = here[i]


@njit(**inner)
def _begin(rows, address, row, size, numbers):
    """Targets and weights of a group of rows; how many of them are out of range."""
    of_targets = numbers + COLUMN_BYTES * column.target
    of_weights = numbers + COLUMN_BYTES * column.weight
    targets, weights = pointer(of_targets, 1.0), pointer(of_weights, 1.0)
    low, high, near_low, near_high = rows.low, rows.high, rows.near_low, rows.near_high
    bad = 0.0
    for k in range(size):
        targets[k], weights[k] = 0.0, 1.0
    if rows.weight != 0:
        _load(rows.weight, layout(address, rows.weight_layout), row, size, of_weights)
        for k in range(size):
            bad += 0.0 if weights[k] >= 0.0 else 1.0
    if rows.target != 0:
        _load(rows.target, layout(address, rows.target_layout), row, size, of_targets)
        if rows.signed != 0:
            for k in range(size):
                targets[k] = 0.5 * targets[k] + 0.5
        if rows.checked != 0:
            for k in range(size):
                t = targets[k]
                out = (t < near_low) | (t > near_high)
                if rows.binary != 0:
                    out = (t == t) & (t != low) & (t != high)
                else:
                    t = low if t < low else t
                    targets[k] = high if t > high else t
                bad += 1.0 if out & (weights[k] != 0.0) else 0.0
    return bad


@njit(**inner)
def _end(rows, address, row, size, numbers):
    """Values of a group of rows to where they are wanted; their sum."""
    of_values = numbers + COLUMN_BYTES * column.value
    values = pointer(of_values, 1.0)
    if rows.value != 0:
        _store(rows.value, layout(address, rows.value_layout), row, size, of_values)
    total = 0.0
    for k in range(size):
        total += values[k]
    return total


def groups(of_row: Callable) -> Callable:
    """The loop over groups of rows, and over the rows of each.

    ``of_row(self, rows, address, row, target, weight, scratch)`` is the value of a row.
    """

    def groups(loss, parameters, address, start, size, result):
        self, rows = unpack(loss, parameters), rows_at(address)
        numbers, scratch = stack_memory(GROUP_BYTES), stack_memory(SCRATCH_BYTES)
        targets = pointer(numbers + COLUMN_BYTES * column.target, 1.0)
        weights = pointer(numbers + COLUMN_BYTES * column.weight, 1.0)
        values = pointer(numbers + COLUMN_BYTES * column.value, 1.0)
        total = out_of_range = 0.0
        done = 0
        while done < size:
            count = min(GROUP, size - done)
            out_of_range += _begin(rows, address, start + done, count, numbers)
            for k in range(count):
                values[k] = of_row(
                    self, rows, address, start + done + k, targets[k], weights[k], scratch
                )
            total += _end(rows, address, start + done, count, numbers)
            done += count
        sums = sums_at(result)
        sums.value, sums.out_of_range = total, out_of_range

    return groups
