"""Sorted positives of a row, and where other numbers stand among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from ...vmath.vectors import register_bytes
from ..intrinsics import no_alias, prefer_wide_vectors
from ..options import inner


@njit(**inner)
def _sift_down(keys, places, root, size):
    while True:
        child = 2 * root + 1
        if child >= size:
            return
        if child + 1 < size and keys[child] < keys[child + 1]:
            child += 1
        if keys[root] >= keys[child]:
            return
        keys[root], keys[child] = keys[child], keys[root]
        places[root], places[child] = places[child], places[root]
        root = child


@njit(**inner)
def sort(keys, places, size):
    """Heapsort: no memory, and no bad case."""
    for root in range(size // 2 - 1, -1, -1):
        _sift_down(keys, places, root, size)
    for last in range(size - 1, 0, -1):
        keys[0], keys[last] = keys[last], keys[0]
        places[0], places[last] = places[last], places[0]
        _sift_down(keys, places, 0, last)


@cache
def locate() -> Callable:
    """Function that counts, for each number of a row, the sorted limits below it."""
    if register_bytes() == 64:

        @njit(**inner)
        def moved(here, there, hop, goes):
            return there if goes else here

    else:
        none = np.int32(0)

        @njit(**inner)
        def moved(here, there, hop, goes):
            # Not a choice of what is there already, of which LLVM makes a store under a mask.
            return np.int32(here + (hop if goes else none))

    @njit(**inner)
    def locate(row, size, limits, count, span, ranks, equal):
        """How many of the sorted limits are below each number of a row, or equal to it.

        ``span`` is a power of two beyond their number; behind the last limit they are infinite.
        A step of all searches at a time has no branches, and runs in whole registers: three
        times as fast as a search after the other.
        """
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            ranks[k] = 0
        most = np.int32(count)
        step = span // 2
        while step > 0:
            hop = np.int32(step)
            if equal:
                for k in range(size):
                    rank = np.int32(ranks[k] + hop)
                    ranks[k] = moved(ranks[k], rank, hop, limits[rank - 1] <= row[k])
            else:
                for k in range(size):
                    rank = np.int32(ranks[k] + hop)
                    ranks[k] = moved(ranks[k], rank, hop, limits[rank - 1] < row[k])
            step //= 2
        for k in range(size):  # an infinite distance is beyond what stands behind the last limit
            ranks[k] = min(ranks[k], most)

    return locate
