"""Rows of few classes, of losses that read the label's log-probability alone: a thread a row.

Warps fetch stretches of 32 rows and multiples, 16 bytes a thread, and hand them round through
shared memory: each thread then has a row in registers, and no sum crosses threads. They go through
shared memory 16 bytes at a time, and rows in pieces as large as their number of classes allows, so
laid out that no two of a warp's accesses meet in a bank. A warp has its own part of shared memory,
and waits for nobody else.

The number of classes is part of the code, as registers have no index.

Not for hessians and rows that are no single stretch: see :mod:`.staged`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np

from ..formulas.structure import Structure
from ..jobs.cuda_rows import RowFlags
from . import backend, reduce
from .backend import cuda, device_function
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import power
from .reduce import SCRATCH, WARP, WARP_LOG2
from .row_vectors import combined, int32, powers, scaled, shifted, weighted_sum
from .rows import (
    describer,
    finisher,
    signature,
)
from .shared_rows import Layout, layout, places, shared_pieces
from .vector_memory import vector_reader, vector_writer

_flag = RowFlags.bit
# Rows of more classes take too many registers; fewer where stretches of several rows are needed for
# whole vectors.
MOST_CLASSES, MOST_IN_VECTORS = 24, 32
# Bytes that a thread has on their way at least, and what a block may have of shared memory.
LEAST_BYTES, SHARED_BYTES = 64, 47 * 1024
# Vectors of a thread that are on their way at the same time.
VECTORS_AT_ONCE = 6
# Threads of a block, of which registers allow so many at a time: fewer where rows are longer.
LEAST_THREADS, MOST_THREADS = 64, 256
AT_ONCE, AT_ONCE_OF_LONG, LONG = 4, 2, 20


class Shape(NamedTuple):
    """How rows are shared out."""

    rows: int  # of each thread
    threads: int  # of a block
    shared: int  # bytes of shared memory


def shape(kind: str, classes: int) -> Shape | None:
    """How rows are shared out; None for too many classes."""
    each, size = lanes(kind), itemsize(kind)
    if classes > (MOST_CLASSES if classes % each else MOST_IN_VECTORS):
        return None
    rows = each // gcd(classes, each)
    while rows * classes * size < LEAST_BYTES:
        rows *= 2
    computed = _computed(kind)
    warp = layout(computed, classes).room(rows * WARP) * itemsize(computed)
    threads = backend.THREADS
    while threads > LEAST_THREADS and threads // WARP * warp > SHARED_BYTES:
        threads //= 2
    shared = threads // WARP * warp
    return Shape(rows, threads, shared) if shared <= SHARED_BYTES else None


@cache
def _fetcher(kind: str, first: int, count: int) -> Callable:
    """``fetch(address, at)``: every 32nd vector, as one tuple of numbers."""
    loads = vector_reader(kind)
    if count == 1:
        ahead = first * WARP * lanes(kind)
        return device_function(lambda address, at: loads(address, at + ahead))
    half = count // 2
    part, rest = _fetcher(kind, first, half), _fetcher(kind, first + half, count - half)
    return device_function(lambda address, at: part(address, at) + rest(address, at))


@cache
def _placer(kind: str, own: Layout, first: int, count: int) -> Callable:
    """``place(numbers, shared, base, lane)``: vectors into shared memory, from number ``first``."""
    each = lanes(kind)
    if count == 1:
        return _unit_placer(kind, own, first, 0, each // own.each)
    half = count // 2
    part, middle = _placer(kind, own, first, half), half * each
    rest = _placer(kind, own, first + half, count - half)

    @device_function
    def several(numbers, shared, base, lane):
        part(numbers[:middle], shared, base, lane)
        rest(numbers[middle:], shared, base, lane)

    return several


@cache
def _unit_placer(kind: str, own: Layout, vector: int, unit: int, count: int) -> Callable:
    """The units of 16 bytes in shared memory that one vector of elements makes."""
    units, each = lanes(kind) // own.each, own.each
    if count == 1:
        (of_unit, _, _), (_, put) = places(own), shared_pieces(_computed(kind), each)
        first = vector * WARP * units + unit

        @device_function
        def one(numbers, shared, base, lane):
            put(shared, int32(base + of_unit(int32(lane * units + first))), numbers)

        return one
    half = count // 2
    part = _unit_placer(kind, own, vector, unit, half)
    rest, middle = _unit_placer(kind, own, vector, unit + half, half), half * each

    @device_function
    def both(numbers, shared, base, lane):
        part(numbers[:middle], shared, base, lane)
        rest(numbers[middle:], shared, base, lane)

    return both


@cache
def _collector(kind: str, own: Layout, vector: int, unit: int, count: int) -> Callable:
    """``collect(shared, base, lane)``: the numbers of one vector, from shared memory."""
    units = lanes(kind) // own.each
    if count == 1:
        (of_unit, _, _), (get, _) = places(own), shared_pieces(_computed(kind), own.each)
        first = vector * WARP * units + unit
        return device_function(
            lambda shared, base, lane: get(
                shared, int32(base + of_unit(int32(lane * units + first)))
            )
        )
    half = count // 2
    part = _collector(kind, own, vector, unit, half)
    rest = _collector(kind, own, vector, unit + half, half)
    return device_function(
        lambda shared, base, lane: part(shared, base, lane) + rest(shared, base, lane)
    )


def _computed(kind: str) -> str:
    return np.dtype(compute_type(kind)).name


@cache
def movers(kind: str, own: Layout, vectors: int) -> tuple[Callable, Callable]:
    """``fetch(address, start, lane, shared, base)`` and ``send``: a warp's whole stretch."""
    return _fetch_vectors(kind, own, 0, vectors), _send_vectors(kind, own, 0, vectors)


@cache
def _fetch_vectors(kind: str, own: Layout, first: int, count: int) -> Callable:
    each = lanes(kind)
    if count <= VECTORS_AT_ONCE:
        fetch, place = _fetcher(kind, first, count), _placer(kind, own, first, count)

        @device_function
        def some(address, start, lane, shared, base):
            place(fetch(address, start + lane * each), shared, base, lane)

        return some
    part = _fetch_vectors(kind, own, first, VECTORS_AT_ONCE)
    rest = _fetch_vectors(kind, own, first + VECTORS_AT_ONCE, count - VECTORS_AT_ONCE)

    @device_function
    def several(address, start, lane, shared, base):
        part(address, start, lane, shared, base)
        rest(address, start, lane, shared, base)

    return several


@cache
def _send_vectors(kind: str, own: Layout, first: int, count: int) -> Callable:
    each, stores = lanes(kind), vector_writer(kind)
    if count == 1:
        collect, ahead = _collector(kind, own, first, 0, each // own.each), first * WARP * each

        @device_function
        def one(address, start, lane, shared, base):
            stores(address, start + ahead + lane * each, collect(shared, base, lane))

        return one
    half = count // 2
    part = _send_vectors(kind, own, first, half)
    rest = _send_vectors(kind, own, first + half, count - half)

    @device_function
    def several(address, start, lane, shared, base):
        part(address, start, lane, shared, base)
        rest(address, start, lane, shared, base)

    return several


@cache
def _taker(real: str, count: int, width: int, first: int = 0) -> tuple[Callable, Callable]:
    """``take(shared, at)``: the numbers of a row; ``put(shared, at, numbers)`` writes them."""
    if count == width:
        get_piece, put_piece = shared_pieces(real, width)

        @device_function
        def take(shared, at):
            return get_piece(shared, int32(at + first))

        @device_function
        def put(shared, at, numbers):
            put_piece(shared, int32(at + first), numbers)

        return take, put
    half = count // width // 2 * width
    take_part, put_part = _taker(real, half, width, first)
    take_rest, put_rest = _taker(real, count - half, width, first + half)

    @device_function
    def take_several(shared, at):
        return take_part(shared, at) + take_rest(shared, at)

    @device_function
    def put_several(shared, at, numbers):
        put_part(shared, at, numbers[:half])
        put_rest(shared, at, numbers[half:])

    return take_several, put_several


@kept_on_disk
def kernel(
    structure: Structure, kind: str, derivatives: int, classes: int, each: int, smooth: bool = False
) -> Kernel:
    """The kernel of a loss for one dtype and one number of classes; threads take ``each`` rows."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    of_logits = np.dtype(real) if backend.SIMULATED else real  # which takes no classes
    load, store = reader(kind), writer(kind)
    own = layout(computed, classes)
    fetch, send = movers(kind, own, each * classes // lanes(kind))
    of_row = _row(structure, kind, derivatives, classes, smooth)
    (get, put), (_, place_of_row, place_of) = shared_pieces(computed, 1), places(own)
    zero, with_gradient = real(0), derivatives > 0
    begin, leave, wait = reduce.begin(computed), reduce.leave(), reduce.wait_for_warp
    of_warp = WARP * each
    stretch, room = of_warp * classes, own.room(of_warp)

    def softmax_narrow(loss, job, numbers, tail):
        shared = cuda.shared.array(0, of_logits, VECTOR_BYTES)
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        lane, warp = int32(thread & (WARP - 1)), int32(thread >> WARP_LOG2)
        scale, rows = begin(tail, numbers.scale, job.rows)
        base = int32(warp * room)
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * cuda.blockDim.x * each
        while first < rows:
            row = first + warp * of_warp
            here = int32(min(of_warp, rows - row))
            start, size = row * classes, int32(here * classes)
            whole = size == stretch
            if whole and job.flags & _flag.vectors_in:
                fetch(job.prediction, start, lane, shared, base)
            else:
                k = lane
                while k < size:
                    put(shared, int32(base + place_of(k)), (load(job.prediction, start + k),))
                    k = int32(k + WARP)
            wait()
            k = lane
            while k < here:
                value, wrong = of_row(
                    loss, job, numbers, scale, row + k, shared, int32(base + place_of_row(k))
                )
                total += np.float64(value)
                bad += wrong
                k = int32(k + WARP)
            wait()
            if with_gradient:
                if whole and job.flags & _flag.vectors_out:
                    send(job.gradient, start, lane, shared, base)
                else:
                    k = lane
                    while k < size:
                        number = get(shared, int32(base + place_of(k)))
                        store(job.gradient, start + k, number[0])
                        k = int32(k + WARP)
                wait()
            first += cuda.blockDim.x * cuda.gridDim.x * each
        leave(total, bad, thread, scratch, tail)

    at_once = AT_ONCE_OF_LONG if computed == "float64" or classes > LONG else AT_ONCE
    bounds = MOST_THREADS, at_once
    return Kernel(softmax_narrow, signature(structure, computed), structure, bounds)


@cache
def _row(structure: Structure, kind: str, derivatives: int, classes: int, smooth: bool) -> Callable:
    """A thread's row: its value, and its gradient in the place of its logits."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, lowest, nothing = real(0), real(-np.inf), (real(0),) * classes
    (take, put), store_value = (
        _taker(computed, classes, layout(computed, classes).width), writer(computed),
    )  # fmt: skip
    get_cell, put_cell = shared_pieces(computed, 1)
    powers_of, power_of, times = powers(kind, classes), power(kind), scaled(classes)
    largest, total_of = combined(computed, classes, True), combined(computed, classes)
    describe, finish = describer(kind, False), finisher(structure, kind, derivatives)
    weighted = weighted_sum(kind, classes, True)
    shift_row = shifted(kind, classes, True)
    with_gradient, start, size = derivatives > 0, int32(0), int32(classes)

    @device_function
    def of_row(loss, job, numbers, scale, row, shared, at):
        weight, label, own_weight, wrong, _ = describe(job, row)
        high, low = numbers.power_high, numbers.power_low
        spread = value = factor = shift = at_label = zero
        e = nothing
        # Rows that do not count: whatever they hold, it is not read.
        if weight != zero:
            x = take(shared, at)
            chosen = get_cell(shared, int32(at + label))[0]
            top = largest(x)
            top = zero if top == lowest else top
            e = powers_of(x, top, high, low, int32(label))
            distance = chosen - top
            if smooth:
                spread = weighted(x, start, (top, job.class_weight, size))
                spread *= numbers.inverse_temperature
            value, factor, shift, at_label, _, _, _, _ = finish(
                loss, numbers, job.flags, scale,
                (top, total_of(e), distance * numbers.inverse_temperature,
                 power_of(distance, high, low), spread, weight, own_weight),
            )  # fmt: skip
        if with_gradient:
            if smooth:
                e = shift_row(e, start, (factor, shift, job.class_weight, size))
            else:
                e = times(e, factor)
            put(shared, at, e)
            put_cell(shared, int32(at + label), (at_label,))
        if job.value != 0:
            store_value(job.value, row * job.value_row_stride, value)
        return value, wrong if job.flags & _flag.count_errors else zero

    return of_row
