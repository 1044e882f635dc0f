"""Passes over leaves on a GPU: a block takes a piece at a time.

The rules are those of :mod:`.rules`, as on the CPU. Where all arrays begin at whole vectors, and
are of full precision, a thread reads and writes 16 bytes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..cuda.backend import cuda, device_function
from ..cuda.dtypes import compute_type, lanes
from ..cuda.fields import kernel_type
from ..cuda.kernel import Kernel, kept_on_disk
from ..cuda.memory import raw_reader, reader, writer
from ..cuda.reduce import SCRATCH, block_sum
from ..cuda.vector_memory import vector_reader, vector_writer
from .jobs import WATCHED, Leaf, Numbers, Pass, Piece
from .rules import RULES, Rule

# Elements of a piece, at most: 16 for each thread.
PIECE = 4096
_leaf, _piece = Leaf.column, Piece.column
_LEAF, _PIECE, _WATCHED = np.int64(Leaf.count), np.int64(Piece.count), np.int64(WATCHED)
_BY_NAME = {rule.name: rule for rule in RULES}


def _signature(kind: str) -> tuple:
    return kernel_type(Pass), kernel_type(Numbers, np.dtype(compute_type(kind)).name)


@cache
def _locator() -> Callable:
    """``locate(job, place, column)``: address of an array of a piece's leaf, and its elements."""
    number = raw_reader("int64")

    @device_function
    def locate(job, place, column):
        leaf = number(job.pieces, _PIECE * place + _piece.leaf)
        start = number(job.pieces, _PIECE * place + _piece.start)
        size = number(job.pieces, _PIECE * place + _piece.size)
        return number(job.leaves, _LEAF * leaf + column), start, start + size

    return locate


def _states(count: int, read: Callable, write: Callable) -> tuple[Callable, Callable]:
    """``load(a, b, c, i)`` and ``store(a, b, c, i, s)`` of so many states, each by one access."""
    if count == 0:
        return device_function(lambda a, b, c, i: ()), device_function(lambda a, b, c, i, s: None)
    if count == 1:

        @device_function
        def store_one(a, b, c, i, s):
            write(a, i, s[0])

        return device_function(lambda a, b, c, i: (read(a, i),)), store_one
    if count == 2:

        @device_function
        def store_two(a, b, c, i, s):
            write(a, i, s[0])
            write(b, i, s[1])

        return device_function(lambda a, b, c, i: (read(a, i), read(b, i))), store_two

    @device_function
    def store_three(a, b, c, i, s):
        write(a, i, s[0])
        write(b, i, s[1])
        write(c, i, s[2])

    return device_function(lambda a, b, c, i: (read(a, i), read(b, i), read(c, i))), store_three


def _turned(count: int, width: int) -> tuple[Callable, Callable]:
    """``lane(s, j)``: the states of one element, out of vectors; ``vectors(...)``: and back."""
    if count == 0:
        lane = device_function(lambda s, j: ())
        back = device_function(lambda all_: ())
    elif count == 1:
        lane = device_function(lambda s, j: (s[0][j],))
        if width == 2:
            back = device_function(lambda e: ((e[0][0], e[1][0]),))
        else:
            back = device_function(lambda e: ((e[0][0], e[1][0], e[2][0], e[3][0]),))
    elif count == 2:
        lane = device_function(lambda s, j: (s[0][j], s[1][j]))
        if width == 2:
            back = device_function(lambda e: ((e[0][0], e[1][0]), (e[0][1], e[1][1])))
        else:
            back = device_function(
                lambda e: (
                    (e[0][0], e[1][0], e[2][0], e[3][0]),
                    (e[0][1], e[1][1], e[2][1], e[3][1]),
                )
            )
    else:
        lane = device_function(lambda s, j: (s[0][j], s[1][j], s[2][j]))
        if width == 2:
            back = device_function(
                lambda e: ((e[0][0], e[1][0]), (e[0][1], e[1][1]), (e[0][2], e[1][2]))
            )
        else:
            back = device_function(
                lambda e: (
                    (e[0][0], e[1][0], e[2][0], e[3][0]),
                    (e[0][1], e[1][1], e[2][1], e[3][1]),
                    (e[0][2], e[1][2], e[2][2], e[3][2]),
                )
            )
    return lane, back


def _vectors(rule: Rule, kind: str) -> Callable:
    """``update(p, g, s, k)`` of vectors of parameters, gradients and states."""
    point, width = device_function(rule.point), lanes(kind)
    lane, back = _turned(len(rule.slots), width)
    if width == 2:

        @device_function
        def update_two(p, g, s, k):
            a, x = point(p[0], g[0], lane(s, 0), k)
            b, y = point(p[1], g[1], lane(s, 1), k)
            return (a, b), back((x, y))

        return update_two

    @device_function
    def update_four(p, g, s, k):
        a, x = point(p[0], g[0], lane(s, 0), k)
        b, y = point(p[1], g[1], lane(s, 1), k)
        c, z = point(p[2], g[2], lane(s, 2), k)
        d, w = point(p[3], g[3], lane(s, 3), k)
        return (a, b, c, d), back((x, y, z, w))

    return update_four


def _parameters(kind: str) -> tuple[Callable, Callable]:
    """``get(p, master, i)`` and ``put(p, master, i, number)`` of a parameter."""
    read, write, full, keep = reader(kind), writer(kind), reader("float32"), writer("float32")
    if kind in ("float32", "float64"):

        @device_function
        def put_plain(p, master, i, number):
            write(p, i, number)

        return device_function(lambda p, master, i: read(p, i)), put_plain

    @device_function
    def get_half(p, master, i):
        # The copy counts where it rounds to the parameter, which somebody may have written: by
        # rounding it in place of the parameter, which is read before and is the same then.
        stored, copy = read(p, i), full(master, i)
        write(p, i, copy)
        return copy if read(p, i) == stored else stored

    @device_function
    def put_half(p, master, i, number):
        keep(master, i, number)
        write(p, i, number)

    return get_half, put_half


@kept_on_disk
def step(name: str, kind: str, watched: bool) -> Kernel:
    """The kernel of a rule for parameters of a dtype; ``watched``: it leaves sums of squares."""
    rule, real = _BY_NAME[name], np.dtype(compute_type(kind)).name
    locate, number, point = _locator(), raw_reader("int64"), device_function(rule.point)
    gradient, leave = reader(kind), writer("float64")
    get, put = _parameters(kind)
    load, store = _states(len(rule.slots), reader(real), writer(real))
    full = kind == real
    width = lanes(kind) if full else 1
    by_vectors = full and not watched
    if by_vectors:
        reads, writes = vector_reader(kind), vector_writer(kind)
        loads, stores = _states(len(rule.slots), reads, writes)
        update = _vectors(rule, kind)

    def step_pass(job, numbers):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        k = (
            numbers.n0, numbers.n1, numbers.n2, numbers.n3, numbers.n4,
            numbers.n5, numbers.n6, numbers.n7, numbers.n8, numbers.n9,
        )  # fmt: skip
        place = cuda.blockIdx.x
        while place < job.count:
            p, i, stop = locate(job, place, _leaf.parameter)
            row = _LEAF * number(job.pieces, _PIECE * place + _piece.leaf)
            g = number(job.leaves, row + _leaf.gradient)
            a, b = number(job.leaves, row + _leaf.first), number(job.leaves, row + _leaf.second)
            c = number(job.leaves, row + _leaf.third)
            master = number(job.leaves, row + _leaf.master)
            steep, large, moved = 0.0, 0.0, 0.0
            if by_vectors and job.vectors != 0:
                whole = i + (stop - i) // width * width
                j = i + width * thread
                while j < whole:
                    new, s = update(reads(p, j), reads(g, j), loads(a, b, c, j), k)
                    writes(p, j, new)
                    stores(a, b, c, j, s)
                    j += width * threads
                i = whole
            i += thread
            while i < stop:
                was, slope = get(p, master, i), gradient(g, i)
                now, s = point(was, slope, load(a, b, c, i), k)
                put(p, master, i, now)
                store(a, b, c, i, s)
                if watched:
                    change = np.float64(now - was)
                    steep += np.float64(slope) * np.float64(slope)
                    large += np.float64(was) * np.float64(was)
                    moved += change * change
                i += threads
            if watched:
                steep = block_sum(steep, thread, scratch)
                large = block_sum(large, thread, scratch)
                moved = block_sum(moved, thread, scratch)
                if thread == 0:
                    leave(job.sums, _WATCHED * place, steep)
                    leave(job.sums, _WATCHED * place + 1, large)
                    leave(job.sums, _WATCHED * place + 2, moved)
            place += cuda.gridDim.x

    return Kernel(step_pass, _signature(kind))


@kept_on_disk
def squares(kind: str) -> Kernel:
    """The kernel of sums of squares of numbers times ``n0``, one a piece, in float64."""
    locate, read, leave = _locator(), reader(kind), writer("float64")

    def squares_pass(job, numbers):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread, place = cuda.threadIdx.x, cuda.blockIdx.x
        scale = np.float64(numbers.n0)
        while place < job.count:
            array, i, stop = locate(job, place, job.column)
            i += thread
            total = 0.0
            while i < stop:
                x = np.float64(read(array, i)) * scale
                total += x * x
                i += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0:
                leave(job.sums, place, total)
            place += cuda.gridDim.x

    return Kernel(squares_pass, _signature("float64"))


@kept_on_disk
def finite(kind: str) -> Kernel:
    """The kernel that counts, piece by piece, what is NaN or infinite."""
    locate, read, leave = _locator(), reader(kind), writer("float64")

    def finite_pass(job, numbers):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread, place = cuda.threadIdx.x, cuda.blockIdx.x
        while place < job.count:
            array, i, stop = locate(job, place, job.column)
            i += thread
            bad = 0
            while i < stop:
                x = read(array, i)
                none = x - x
                bad += 0 if none == none else 1
                i += cuda.blockDim.x
            found = block_sum(np.float64(bad), thread, scratch)
            if thread == 0:
                leave(job.sums, place, found)
            place += cuda.gridDim.x

    return Kernel(finite_pass, _signature(kind))


@kept_on_disk
def clipping(kind: str) -> Kernel:
    """The kernel that multiplies by the number of a piece, and bounds by ``n0`` and ``n1``."""
    locate, read, write, factors = _locator(), reader(kind), writer(kind), reader("float64")
    real = compute_type(kind)

    def clipping_pass(job, numbers):
        place = cuda.blockIdx.x
        low, high = numbers.n0, numbers.n1
        while place < job.count:
            array, i, stop = locate(job, place, job.column)
            factor = real(factors(job.sums, place))
            i += cuda.threadIdx.x
            while i < stop:
                x = read(array, i) * factor
                x = low if x < low else x
                write(array, i, high if x > high else x)
                i += cuda.blockDim.x
            place += cuda.gridDim.x

    return Kernel(clipping_pass, _signature(kind))
