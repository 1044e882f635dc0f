"""Steps of a rule on CPU threads: one pass over parameters, gradients and states, in place.

All that is written has been read: its lines are in the cache when they are stored, so that stores
past the cache would save nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

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
from ..cpu.movers import decoder, encoder
from ..cpu.options import inner
from ..cpu.records import at
from ..cpu.sums import add_in_lanes
from ..cpu.threads import CHUNK_SIGNATURE, call_at, data_of, sums_at
from .jobs import WATCHED, Leaf, Pass, Piece
from .rules import NUMBERS, Rule

pass_at = at(Pass)
_leaf, _piece = Leaf.column, Piece.column
LEAF_BYTES, PIECE_BYTES = 8 * Leaf.count, 8 * Piece.count


@cache
def code(rule: Rule, kind: str, watched: bool, keep: bool = True) -> Code:
    """Machine code of a rule for parameters of a dtype; halves are computed in float32.

    ``watched``: it leaves sums of squares too, see :data:`.jobs.WATCHED`. ``keep``: on disk.
    """
    return c_function(
        lambda: _step(rule, kind, watched),
        CHUNK_SIGNATURE,
        f"step {rule.name} {kind} {watched}",
        keep,
        error_model="numpy",
    )


def real_of(kind: str) -> str:
    """The dtype that a leaf is computed in, and its states have."""
    return "float64" if kind == "float64" else "float32"


def element_of(kind: str) -> tuple[Any, int, Callable, Callable]:
    """Of a dtype: one number as it is stored, its bytes, what reads it and what writes it."""
    real = real_of(kind)
    if kind == real:
        zero = np.dtype(real).type(0)
        same = njit(**inner)(lambda number: number)
        return zero, zero.itemsize, same, same
    return np.uint16(0), 2, decoder(kind, np.float32), encoder(kind, "float32")


@cache
def _numbers(real: str) -> Callable:
    cast = np.dtype(real).type
    assert NUMBERS == 10

    @njit(**inner)
    def numbers(address):
        n = pointer(address, 1.0)
        return (
            cast(n[0]), cast(n[1]), cast(n[2]), cast(n[3]), cast(n[4]),
            cast(n[5]), cast(n[6]), cast(n[7]), cast(n[8]), cast(n[9]),
        )  # fmt: skip

    return numbers


def _states(count: int) -> tuple[Callable, Callable]:
    """``read(a, b, c, i)`` and ``write(a, b, c, i, s)`` of so many states."""
    if count == 0:
        return (
            njit(**inner)(lambda a, b, c, i: ()),
            njit(**inner)(lambda a, b, c, i, s: None),
        )
    if count == 1:

        @njit(**inner)
        def write_one(a, b, c, i, s):
            a[i] = s[0]

        return njit(**inner)(lambda a, b, c, i: (a[i],)), write_one
    if count == 2:

        @njit(**inner)
        def write_two(a, b, c, i, s):
            a[i], b[i] = s

        return njit(**inner)(lambda a, b, c, i: (a[i], b[i])), write_two

    @njit(**inner)
    def write_three(a, b, c, i, s):
        a[i], b[i], c[i] = s

    return njit(**inner)(lambda a, b, c, i: (a[i], b[i], c[i])), write_three


def _parameters(kind: str) -> tuple[Callable, Callable]:
    """``read(p, master, i)`` and ``write(p, master, i, number)`` of a parameter."""
    if kind == real_of(kind):

        @njit(**inner)
        def write_plain(p, master, i, number):
            p[i] = number

        return njit(**inner)(lambda p, master, i: p[i]), write_plain
    _, _, decode, encode = element_of(kind)

    @njit(**inner)
    def read_half(p, master, i):
        # Somebody may have written parameters: the copy counts where it rounds to them.
        bits, full = p[i], master[i]
        return full if encode(full) == bits else decode(bits)

    @njit(**inner)
    def write_half(p, master, i, number):
        master[i] = number
        p[i] = encode(number)

    return read_half, write_half


def _halves(rule: Rule, kind: str) -> Callable:
    """``loop(p, g, a, b, c, master, size, k)`` over a piece of numbers as they are stored.

    Both halves of the piece at a time: of twice as many streams a processor fetches more ahead
    (SGD took 18 % less time, Adam 3 to 10 %).
    """
    point, zero = njit(**inner)(rule.point), np.dtype(kind).type(0)
    itemsize = zero.itemsize
    read, write = _states(len(rule.slots))

    @njit(**inner)
    def both(p, g, a, b, c, q, h, d, e, f, size, k):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            p[i], s = point(p[i], g[i], read(a, b, c, i), k)
            write(a, b, c, i, s)
            q[i], s = point(q[i], h[i], read(d, e, f, i), k)
            write(d, e, f, i, s)

    @njit(**inner)
    def arrays(p, g, a, b, c, start):
        return (
            pointer(p + start, zero),
            pointer(g + start, zero),
            pointer(a + start, zero),
            pointer(b + start, zero),
            pointer(c + start, zero),
        )

    @njit(**inner)
    def loop(p, g, a, b, c, master, size, k):
        half = size // 2
        first, second = arrays(p, g, a, b, c, 0), arrays(p, g, a, b, c, half * itemsize)
        both(*first, *second, half, k)
        if size > 2 * half:
            p, g, a, b, c = first
            p[size - 1], s = point(p[size - 1], g[size - 1], read(a, b, c, size - 1), k)
            write(a, b, c, size - 1, s)
        return 0.0, 0.0, 0.0

    return loop


def _loop(rule: Rule, kind: str, watched: bool) -> Callable:
    """The same of any dtype, which returns the sums of :data:`.jobs.WATCHED`, or zeros."""
    if kind == real_of(kind) and not watched:
        return _halves(rule, kind)
    zero = np.dtype(real_of(kind)).type(0)
    element, _, decode, _ = element_of(kind)
    point = njit(**inner)(rule.point)
    read_states, write_states = _states(len(rule.slots))
    read, write = _parameters(kind)

    @njit(**inner)
    def over(p, g, a, b, c, master, size, k):
        prefer_wide_vectors()
        no_alias()
        steep, large, moved = 0.0, 0.0, 0.0
        for i in range(size):
            was, slope = read(p, master, i), decode(g[i])
            now, s = point(was, slope, read_states(a, b, c, i), k)
            write_states(a, b, c, i, s)
            write(p, master, i, now)
            if watched:
                one, two, three = np.float64(slope), np.float64(was), np.float64(now - was)
                steep = add_in_lanes(steep, one * one)
                large = add_in_lanes(large, two * two)
                moved = add_in_lanes(moved, three * three)
        return steep, large, moved

    @njit(**inner)
    def loop(p, g, a, b, c, master, size, k):
        stored = pointer(p, element), pointer(g, element)
        kept = pointer(a, zero), pointer(b, zero), pointer(c, zero), pointer(master, zero)
        return over(*stored, *kept, size, k)

    return loop


def _step(rule: Rule, kind: str, watched: bool) -> Callable:
    real = real_of(kind)
    loop, numbers = _loop(rule, kind, watched), _numbers(real)
    stored, computed = element_of(kind)[1], np.dtype(real).itemsize

    # On AArch64 the mode takes small halves, which are denormal numbers on their way, for 0.
    flushing = kind == real

    def step(address, scale, index, result):
        mode = flush_denormals() if flushing else 0
        call, sums = call_at(address), sums_at(result)
        job = pass_at(call.description)
        tasks = pointer(job.tasks, 1)
        k = numbers(job.numbers)
        for place in range(tasks[index], tasks[index + 1]):
            piece = pointer(job.pieces + PIECE_BYTES * place, 1)
            leaf = pointer(job.leaves + LEAF_BYTES * piece[_piece.leaf], 1)
            start = piece[_piece.start]
            steep, large, moved = loop(
                data_of(leaf[_leaf.parameter]) + stored * start,
                data_of(leaf[_leaf.gradient]) + stored * start,
                leaf[_leaf.first] + computed * start,
                leaf[_leaf.second] + computed * start,
                leaf[_leaf.third] + computed * start,
                leaf[_leaf.master] + computed * start,
                piece[_piece.size],
                k,
            )
            if watched:
                found = pointer(job.sums + 8 * WATCHED * place, 1.0)
                found[0], found[1], found[2] = steep, large, moved
        sums.value = sums.out_of_range = 0.0
        if flushing:
            restore_denormals(mode)

    return step
