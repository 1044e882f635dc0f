"""Passes over one array of each leaf on CPU threads: norms, what is not finite, clipping.

A sum of squares is that of float64 numbers, piece by piece, and the pieces' sums are added exactly:
its bits are the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..cpu.compile import Code, c_function
from ..cpu.intrinsics import no_alias, pointer, prefer_wide_vectors
from ..cpu.options import inner
from ..cpu.sums import add_in_lanes
from ..cpu.threads import CHUNK_SIGNATURE, call_at, data_of, sums_at
from .cpu_steps import LEAF_BYTES, PIECE_BYTES, element_of, pass_at, real_of
from .jobs import Piece

_piece = Piece.column
# A piece is read at so many places at a time: of one stream a processor fetches less ahead.
STREAMS = 4
# Bits of a number but for its sign, and those of an infinity.
_BITS: dict[str, tuple[Any, int, int]] = {
    "float64": (np.int64, (1 << 63) - 1, 0x7FF << 52),
    "float32": (np.int32, (1 << 31) - 1, 0xFF << 23),
    "float16": (np.int16, 0x7FFF, 0x7C00),
    "bfloat16": (np.int16, 0x7FFF, 0x7F80),
}


def _pass(kind: str, each: Callable) -> Callable:
    """A kernel that does ``each(address, size, numbers, sum)`` with all pieces of its task.

    ``numbers`` are those of the pass, ``sum`` is where a piece's number lies; what it returns is
    added up.
    """
    itemsize = element_of(kind)[1]

    def over_pieces(address, unused, index, result):
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks, numbers = pointer(job.tasks, 1), pointer(job.numbers, 1.0)
        total = 0.0
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            array = data_of(leaf[job.column]) + itemsize * piece[_piece.start]
            total += each(array, piece[_piece.size], numbers, pointer(job.sums + 8 * place, 1.0))
        sums.value, sums.out_of_range = total, 0.0

    return over_pieces


@cache
def finite(kind: str) -> Code:
    """Machine code: 1 for each piece that holds NaN or an infinity, 0 for others; their number."""
    return c_function(
        lambda: _pass(kind, _finite(kind)), CHUNK_SIGNATURE, f"finite {kind}", error_model="numpy"
    )


@cache
def squares(kind: str) -> Code:
    """Machine code: sums of squares of numbers times ``numbers[0]``, one a piece."""
    return c_function(
        lambda: _pass(kind, _squares(kind)), CHUNK_SIGNATURE, f"squares {kind}", error_model="numpy"
    )


@cache
def clipping(kind: str) -> Code:
    """Machine code: numbers times that of their piece, then from ``numbers[0]`` to ``numbers[1]``.

    NaN stays NaN.
    """
    return c_function(
        lambda: _pass(kind, _clipping(kind)),
        CHUNK_SIGNATURE,
        f"clipping {kind}",
        error_model="numpy",
    )


def _finite(kind: str) -> Callable:
    integer, bits_but_sign, infinite = _BITS[kind]
    zero, mask = integer(0), integer(bits_but_sign)

    @njit(**inner)
    def largest(bits, size):
        prefer_wide_vectors()
        found = zero
        quarter = size // STREAMS
        for i in range(quarter):
            a, b = integer(bits[i] & mask), integer(bits[i + quarter] & mask)
            c = integer(bits[i + 2 * quarter] & mask)
            d = integer(bits[i + 3 * quarter] & mask)
            a, c = a if a > b else b, c if c > d else d
            a = a if a > c else c
            found = a if a > found else found
        for i in range(STREAMS * quarter, size):
            one = integer(bits[i] & mask)
            found = one if one > found else found
        return found

    @njit(**inner)
    def each(address, size, numbers, place):
        bad = 1.0 if np.int64(largest(pointer(address, zero), size)) >= infinite else 0.0
        place[0] = bad
        return bad

    return each


def _squares(kind: str) -> Callable:
    element, _, decode, _ = element_of(kind)

    @njit(**inner)
    def of_piece(array, size, scale):
        prefer_wide_vectors()
        total = 0.0
        quarter = size // STREAMS
        for i in range(quarter):
            a = np.float64(decode(array[i])) * scale
            b = np.float64(decode(array[i + quarter])) * scale
            c = np.float64(decode(array[i + 2 * quarter])) * scale
            d = np.float64(decode(array[i + 3 * quarter])) * scale
            total = add_in_lanes(total, (a * a + b * b) + (c * c + d * d))
        for i in range(STREAMS * quarter, size):
            number = np.float64(decode(array[i])) * scale
            total = add_in_lanes(total, number * number)
        return total

    @njit(**inner)
    def each(address, size, numbers, place):
        total = of_piece(pointer(address, element), size, numbers[0])
        place[0] = total
        return total

    return each


def _clipping(kind: str) -> Callable:
    element, _, decode, encode = element_of(kind)
    cast = np.dtype(real_of(kind)).type

    @njit(**inner)
    def clip(array, size, factor, low, high):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            number = decode(array[i]) * factor
            number = low if number < low else number
            array[i] = encode(high if number > high else number)

    @njit(**inner)
    def each(address, size, numbers, place):
        low, high = cast(numbers[0]), cast(numbers[1])
        clip(pointer(address, element), size, cast(place[0]), low, high)
        return 0.0

    return each
