"""Sums of the values of a block, the same whatever is computed beside them.

A float32 sum of many terms loses digits, to one side where the terms are alike, and overflows
where their mean does not. Here sixteen neighbours in the compute type, as a tree, become one
number of float64: as fast as sums in lanes, exact for equal terms, and the order of additions
depends on the size alone.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .intrinsics import no_alias, pointer, prefer_wide_vectors, stack_memory
from .options import inner

# Numbers that become one before they are widened.
TERMS = 16
# Memory for what sums of up to 16 KiB leave.
PARTS_BYTES = 16384 // TERMS


@intrinsic
def add_in_lanes(typingctx, total, number):
    """The sum of two numbers, as a step of a sum whose terms may be taken in any order.

    A flag of this addition alone: given to a whole function, it would let LLVM write products
    anew, in vectors otherwise than in what is left of a loop.
    """
    if not isinstance(total, types.Float) or total != number:
        return None

    def codegen(context, builder, signature, args):
        return builder.fadd(*args, flags=("reassoc", "nsz"))

    return total(total, number), codegen


@cache
def tools(real: str) -> Any:
    """``block_sum(values, size)`` and ``weighted_sum(values, weights, size)`` of one compute type.

    Of up to 16 KiB of numbers.
    """
    zero = np.dtype(real).type(0)
    narrow = real == "float32"

    @njit(**inner)
    def add_neighbours(values, parts, count):
        prefer_wide_vectors()
        no_alias()
        for i in range(count):
            a = (values[i] + values[i + count]) + (values[i + 2 * count] + values[i + 3 * count])
            b = values[i + 4 * count] + values[i + 5 * count]
            c = values[i + 6 * count] + values[i + 7 * count]
            d = values[i + 8 * count] + values[i + 9 * count]
            e = values[i + 10 * count] + values[i + 11 * count]
            f = values[i + 12 * count] + values[i + 13 * count]
            g = values[i + 14 * count] + values[i + 15 * count]
            parts[i] = (a + (b + c)) + ((d + e) + (f + g))

    @njit(**inner)
    def widened_sum(values, size):
        prefer_wide_vectors()
        total = 0.0
        for i in range(size):
            total = add_in_lanes(total, np.float64(values[i]))
        return total

    @njit(**inner)
    def block_sum(values, size):
        parts = pointer(stack_memory(PARTS_BYTES), zero)
        count = size // TERMS
        add_neighbours(values, parts, count)
        total = widened_sum(parts, count)
        for i in range(TERMS * count, size):
            total += np.float64(values[i])
        if narrow and not math.isfinite(total):
            total = widened_sum(values, size)  # sixteen may overflow where all are in range
        return total

    @njit(**inner)
    def weighted_sum(values, weights, size):
        """Products in float64; a weight of 0 removes even what is not finite."""
        total = 0.0
        for i in range(size):
            w = np.float64(weights[i])
            total += 0.0 if w == 0.0 else w * np.float64(values[i])
        return total

    return block_sum, weighted_sum
