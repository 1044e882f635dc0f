"""Sums of squares of leaves, and scaling them, on CPU threads.

A sum is that of float64 squares, piece by piece, and the pieces' sums are added in their order: its
bits are the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from ..cpu.compile import Code, c_function
from ..cpu.intrinsics import no_alias, pointer, prefer_wide_vectors
from ..cpu.movers import _decoder, _encoder
from ..cpu.options import inner
from ..cpu.sums import add_in_lanes
from ..cpu.threads import CHUNK_SIGNATURE, call_at, sums_at
from ..cpu.threads import _data as data_of
from .cpu_steps import LEAF_BYTES, PIECE_BYTES, pass_at, real_of
from .jobs import Leaf, Piece

_leaf, _piece = Leaf.column, Piece.column


def _element(kind: str) -> tuple:
    """Of a dtype: one number as it is stored, its bytes, what reads it and what writes it."""
    real = real_of(kind)
    if kind == real:
        zero = np.dtype(real).type(0)
        same = njit(**inner)(lambda number: number)
        return zero, zero.itemsize, same, same
    return np.uint16(0), 2, _decoder(kind, np.float32), _encoder(kind, "float32")


@cache
def squares(kind: str) -> Code:
    """Machine code: sums of squares of gradients times ``numbers[0]``, a number a piece."""
    return c_function(
        lambda: _squares(kind), CHUNK_SIGNATURE, f"squares {kind}", error_model="numpy"
    )


@cache
def scaling(kind: str) -> Code:
    """Machine code: gradients times ``numbers[0]``, rounded in their dtype."""
    return c_function(
        lambda: _scaling(kind), CHUNK_SIGNATURE, f"scaling {kind}", error_model="numpy"
    )


def _squares(kind: str) -> Callable:
    element, itemsize, decode, _ = _element(kind)

    @njit(**inner)
    def of_piece(g, size, scale):
        prefer_wide_vectors()
        total = 0.0
        for i in range(size):
            number = np.float64(decode(g[i])) * scale
            total = add_in_lanes(total, number * number)
        return total

    def sums_of_squares(address, unused, index, result):
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks, found = pointer(job.tasks, 1), pointer(job.sums, 1.0)
        scale = pointer(job.numbers, 1.0)[0]
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            g = data_of(leaf[_leaf.gradient]) + itemsize * piece[_piece.start]
            found[place] = of_piece(pointer(g, element), piece[_piece.size], scale)
        sums.value = sums.out_of_range = 0.0

    return sums_of_squares


def _scaling(kind: str) -> Callable:
    element, itemsize, decode, encode = _element(kind)
    cast = np.dtype(real_of(kind)).type

    @njit(**inner)
    def scale_piece(g, size, factor):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            g[i] = encode(decode(g[i]) * factor)

    def scale(address, unused, index, result):
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks = pointer(job.tasks, 1)
        factor = cast(pointer(job.numbers, 1.0)[0])
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            g = data_of(leaf[_leaf.gradient]) + itemsize * piece[_piece.start]
            scale_piece(pointer(g, element), piece[_piece.size], factor)
        sums.value = sums.out_of_range = 0.0

    return scale
