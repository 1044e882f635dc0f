"""Steps of a rule on CPU threads: one pass over parameters, gradients and states, in place.

Everything that is read is written, but for the gradient: lines are in the cache when they are
stored, so that stores past the cache would save nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from ..cpu.compile import Code, c_function
from ..cpu.intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
)
from ..cpu.movers import _decoder, _encoder
from ..cpu.options import inner
from ..cpu.records import at
from ..cpu.threads import CHUNK_SIGNATURE, call_at, sums_at
from ..cpu.threads import _data as data_of
from .jobs import Leaf, Pass, Piece
from .rules import NUMBERS, Rule

pass_at = at(Pass)
_leaf, _piece = Leaf.column, Piece.column
LEAF_BYTES, PIECE_BYTES = 8 * Leaf.count, 8 * Piece.count


@cache
def code(rule: Rule, kind: str) -> Code:
    """Machine code of a rule for parameters of a dtype; halves are computed in float32."""
    return c_function(
        lambda: _step(rule, kind), CHUNK_SIGNATURE, f"step {rule.name} {kind}", error_model="numpy"
    )


def real_of(kind: str) -> str:
    """The dtype that a leaf is computed in, and its states have."""
    return "float64" if kind == "float64" else "float32"


@cache
def _numbers(real: str) -> Callable:
    cast = np.dtype(real).type
    count = NUMBERS
    assert count == 10

    @njit(**inner)
    def numbers(address):
        n = pointer(address, 1.0)
        return (
            cast(n[0]), cast(n[1]), cast(n[2]), cast(n[3]), cast(n[4]),
            cast(n[5]), cast(n[6]), cast(n[7]), cast(n[8]), cast(n[9]),
        )  # fmt: skip

    return numbers


def _loop(rule: Rule, kind: str) -> Callable:
    """``loop(p, g, a, b, c, master, size, k)`` over a piece, given the addresses of its arrays."""
    real = real_of(kind)
    point, slots = njit(**inner)(rule.point), len(rule.slots)
    zero = np.dtype(real).type(0)
    if slots == 0:

        @njit(**inner)
        def states(a, b, c, i):
            return ()

        @njit(**inner)
        def keep(a, b, c, i, s):
            pass

    elif slots == 1:

        @njit(**inner)
        def states(a, b, c, i):
            return (a[i],)

        @njit(**inner)
        def keep(a, b, c, i, s):
            a[i] = s[0]

    elif slots == 2:

        @njit(**inner)
        def states(a, b, c, i):
            return a[i], b[i]

        @njit(**inner)
        def keep(a, b, c, i, s):
            a[i], b[i] = s

    else:

        @njit(**inner)
        def states(a, b, c, i):
            return a[i], b[i], c[i]

        @njit(**inner)
        def keep(a, b, c, i, s):
            a[i], b[i], c[i] = s

    if kind == real:

        @njit(**inner)
        def over(p, g, a, b, c, master, size, k):
            prefer_wide_vectors()
            no_alias()
            for i in range(size):
                p[i], s = point(p[i], g[i], states(a, b, c, i), k)
                keep(a, b, c, i, s)

        element = zero
    else:
        decode, encode = _decoder(kind, np.float32), _encoder(kind, "float32")

        @njit(**inner)
        def over(p, g, a, b, c, master, size, k):
            prefer_wide_vectors()
            no_alias()
            for i in range(size):
                bits, full = p[i], master[i]
                # Somebody may have written parameters: the copy counts where it rounds to them.
                now = full if encode(full) == bits else decode(bits)
                now, s = point(now, decode(g[i]), states(a, b, c, i), k)
                keep(a, b, c, i, s)
                master[i] = now
                p[i] = encode(now)

        element = np.uint16(0)

    @njit(**inner)
    def loop(p, g, a, b, c, master, size, k):
        over(
            pointer(p, element),
            pointer(g, element),
            pointer(a, zero),
            pointer(b, zero),
            pointer(c, zero),
            pointer(master, zero),
            size,
            k,
        )

    return loop


def _step(rule: Rule, kind: str) -> Callable:
    real = real_of(kind)
    loop, numbers = _loop(rule, kind), _numbers(real)
    size_of, real_size = (
        (8 if real == "float64" else 4 if kind == real else 2),
        np.dtype(real).itemsize,
    )

    def step(address, scale, index, result):
        mode = flush_denormals()
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks = pointer(job.tasks, 1)
        k = numbers(job.numbers)
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            start, size = piece[_piece.start], piece[_piece.size]
            loop(
                data_of(leaf[_leaf.parameter]) + size_of * start,
                data_of(leaf[_leaf.gradient]) + size_of * start,
                leaf[_leaf.first] + real_size * start,
                leaf[_leaf.second] + real_size * start,
                leaf[_leaf.third] + real_size * start,
                leaf[_leaf.master] + real_size * start,
                size,
                k,
            )
        sums.value = sums.out_of_range = 0.0
        restore_denormals(mode)

    return step
