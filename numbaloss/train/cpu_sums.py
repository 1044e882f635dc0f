"""Sums of gradients of several batches, as pairs of float64 numbers, on CPU threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from ..cpu.compile import Code, c_function
from ..cpu.intrinsics import no_alias, pointer, prefer_wide_vectors
from ..cpu.options import inner
from ..cpu.threads import CHUNK_SIGNATURE, call_at, data_of, sums_at
from ..vmath.bits import fma
from .cpu_steps import LEAF_BYTES, PIECE_BYTES, element_of, pass_at, real_of
from .jobs import Leaf, Piece

_leaf, _piece = Leaf.column, Piece.column


@cache
def adding(kind: str) -> Code:
    """Machine code: adds ``numbers[0]`` times gradients to sums, states 1 and 2 of their leaves.

    Of a pair the first is the sum, rounded, the second what rounding has taken from it (D. Knuth,
    *The art of computer programming* 2, 4.2.2; T. Dekker, 1971, for products).
    """
    return c_function(
        lambda: _kernel(kind, _adding(kind)), CHUNK_SIGNATURE, f"adding {kind}", error_model="numpy"
    )


@cache
def dividing(kind: str) -> Code:
    """Machine code: sums over ``numbers[0]`` to gradients, rounded to their dtype."""
    return c_function(
        lambda: _kernel(kind, _dividing(kind)),
        CHUNK_SIGNATURE,
        f"dividing {kind}",
        error_model="numpy",
    )


def _adding(kind: str) -> Callable:
    decode = element_of(kind)[2]

    @njit(**inner)
    def add(g, total, rest, size, factor):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            number, before = np.float64(decode(g[i])), total[i]
            term = number * factor
            after = before + term
            share = after - before
            lost = (before - (after - share)) + (term - share)
            total[i] = after
            rest[i] += lost + fma(number, factor, -term)

    return add


def _dividing(kind: str) -> Callable:
    encode, cast = element_of(kind)[3], np.dtype(real_of(kind)).type

    @njit(**inner)
    def divide(g, total, rest, size, divisor):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            near = total[i] / divisor
            left = fma(-near, divisor, total[i]) + rest[i]
            g[i] = encode(cast(near + left / divisor))

    return divide


def _kernel(kind: str, each: Callable) -> Callable:
    element, itemsize = element_of(kind)[:2]

    def over_pieces(address, unused, index, result):
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks, number = pointer(job.tasks, 1), pointer(job.numbers, 1.0)[0]
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            start = piece[_piece.start]
            each(
                pointer(data_of(leaf[_leaf.gradient]) + itemsize * start, element),
                pointer(leaf[_leaf.first] + 8 * start, 1.0),
                pointer(leaf[_leaf.second] + 8 * start, 1.0),
                piece[_piece.size],
                number,
            )
        sums.value = sums.out_of_range = 0.0

    return over_pieces
