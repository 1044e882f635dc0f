"""How loops over a batch are compiled, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ...all_pairs import EQUAL_ULPS
from ...formulas.structure import Structure
from ...jobs.batch import CpuBatchBlock, CpuBatchSide
from ...vmath import float32, float64
from ...vmath.overloads import install as install_vmath
from ..compile import Code, c_function
from ..intrinsics import pointer, prefer_wide_vectors
from ..options import fast, inner, namespace
from ..records import at
from ..threads import CHUNK_SIGNATURE
from ..vectors.loops import compile_for_loss

side_at, block_at = at(CpuBatchSide), at(CpuBatchBlock)

# Columns of a strip.
STRIP = 256
# Elements that go through scratch memory at a time.
PIECE = 1024


def loop(make: Callable[[str], Callable]) -> Callable[[str], Code]:
    """A loop that depends on no loss, compiled once a compute type: it does a chunk of a call."""

    @cache
    def code(real: str) -> Code:
        name = f"embedding {make.__name__} {real}"
        return c_function(lambda: make(real), CHUNK_SIGNATURE, name, error_model="numpy")

    return code


def of_loss(make: Callable[[str], Callable], kind: str | None = "float64") -> Callable:
    """A loop over some rows that calls the loss, in ``kind`` or else in the compute type."""

    @cache
    def code(structure: Structure, real: str) -> Code:
        what = f"embedding {make.__name__} {real}"
        return compile_for_loss(structure, kind or real, lambda: make(real), what)

    return code


@njit(**inner)
def chunk_rows(call, index):
    """The rows of a chunk: the first, and the one behind the last."""
    return index * call.chunk, min((index + 1) * call.chunk, call.size)


@njit(**inner)
def summed_apart(block, i, first, last):
    """The columns between first and last that row i is not summed over."""
    if block.negatives_alone != 0:
        low, high = pointer(block.starts, 1)[i], pointer(block.ends, 1)[i]
    elif block.labelled != 0:
        low, high = i, i + 1
    else:
        low, high = last, last
    low = min(max(low, first), last)
    return low, min(max(high, low), last)


@njit(**inner)
def positives_within(block, i, first, last):
    """The columns between first and last that are positives of row i, of labels i itself too."""
    low = min(max(pointer(block.starts, 1)[i], first), last)
    return low, min(max(pointer(block.ends, 1)[i], low), last)


@njit(**fast)
def _squared_difference(a, b, size):
    prefer_wide_vectors()
    total = 0.0
    for k in range(size):
        r = np.float64(a[k]) - np.float64(b[k])
        total += r * r
    return total


@cache
def tools(real: str) -> Any:
    """What is made for a compute type."""
    install_vmath()
    cast = np.dtype(real).type
    zero, lowest, highest = cast(0), cast(-np.inf), cast(np.inf)
    itemsize = np.dtype(real).itemsize
    decay = (float32 if real == "float32" else float64).decay
    rounding = (EQUAL_ULPS * float(np.finfo(real).eps)) ** 2

    @njit(**inner)
    def numbers(address, first):
        """Numbers of the compute type, from one of them on."""
        return pointer(address + first * itemsize, zero)

    @njit(**inner)
    def fill(target, size, value):
        for i in range(size):
            target[i] = value

    @njit(**inner)
    def squared_distance(block, i, j):
        """The squared distance of two vectors of the rows, by their difference."""
        size, squares = block.length, pointer(block.squares, zero)
        here, there = numbers(block.vectors, i * size), numbers(block.vectors, j * size)
        square = _squared_difference(here, there, size)
        scale = np.float64(squares[i]) + np.float64(squares[j])
        return 0.0 if square <= rounding * scale else square

    return namespace(locals())
