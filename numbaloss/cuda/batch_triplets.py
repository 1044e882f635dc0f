"""Triplets of blocks of similarities: all of them, or the nearest negatives beyond positives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..all_pairs import CANCELLED, EQUAL_ULPS
from ..formulas.points import point
from ..jobs.cuda_batch import BatchFlags, BlockPositives
from ..vmath import sqrt
from .atomics import atomic, bits
from .backend import cuda, device_function
from .batch_kernels import of_loss, plain
from .batch_mining import slope_of_distance
from .dtypes import compute_type
from .memory import integer_writer, raw_reader, reader, writer
from .reduce import SCRATCH, WARP, WARP_LOG2, block_max, block_sum

_flag, _column = BatchFlags.bit, BlockPositives.column
_POSITIVES = BlockPositives.count  # columns of what is known of the positives of a row
FAR_AWAY = (1 << 63) - 1  # more than the bits of any number, and no column


@of_loss
def emit_triplets(kind: str) -> Callable:
    """Values of anchors; similarities become slopes over distances, see `all_pairs`.

    As on the CPU: positives are sorted, each negative finds its place among them. Which negative
    is the nearest, and how many there are, is found by atomic operations on integers.
    """
    real = compute_type(kind)
    zero, highest = real(0), real(np.inf)
    load, store, integer, sort = reader(kind), writer(kind), raw_reader("int64"), _sorter(kind)
    fill, all_negatives, nearest_negatives = _filler(kind), _all(kind), _semi_hard(kind)

    def embedding_emit_triplets(loss, job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        whole = cuda.shared.array(SCRATCH, np.int64)
        thread, width, most = cuda.threadIdx.x, job.width, job.most_positives
        column = 8 * (most + 1)  # bytes of a column of what is known of positives
        space = job.positives + cuda.blockIdx.x * _POSITIVES * column
        not_finite, unit = load(job.not_finite, 0) != zero, load(job.unit, 0)
        r = cuda.blockIdx.x
        while r < job.height:
            i, row = job.row + r, r * width
            low, high = integer(job.starts, i), integer(job.ends, i)
            terms = high - low > 1 and high - low < width
            some = terms and not not_finite  # no place is found by NaN
            fill(job, i, row, low, high, some, space, column, thread)
            sort(space, column, most, thread)
            total, sum_ = zero, zero
            place = i, row, low, high, unit
            if some and job.flags & _flag.all_triplets:
                total, sum_ = all_negatives(job, numbers, place, space, column, thread)
            elif some:
                total, sum_ = nearest_negatives(
                    loss, job, place, space, column, thread, scratch, whole
                )
            cuda.syncthreads()
            total = block_sum(total, thread, scratch)
            sum_ = block_sum(sum_, thread, scratch)
            if not_finite:
                j = thread
                while j < width:
                    store(job.block, row + j, highest - highest)
                    j += cuda.blockDim.x
                total = sum_ = (highest - highest) if terms else zero
            if thread == 0:
                if not not_finite:
                    store(job.block, row + i, zero)
                store(job.values, i, total)
                store(job.slope_sum, i, load(job.slope_sum, i) + sum_)
            cuda.syncthreads()
            r += cuda.gridDim.x

    return embedding_emit_triplets


@cache
def _distances(kind: str) -> Callable:
    """``distance_of(job, i, j, similarity)``: of two vectors, or its square; by their difference
    where digits are lost."""
    real = compute_type(kind)
    zero, two, load = real(0), real(2), reader(kind)
    cancelled = real(CANCELLED)
    rounding = real((EQUAL_ULPS * float(np.finfo(kind).eps)) ** 2)

    @device_function
    def distance_of(job, i, j, similarity):
        own, other = load(job.squares, i), load(job.squares, j)
        found = own + other - two * similarity
        if not found > cancelled * (own + other):  # nor NaN, of squares that overflow
            found = zero
            k = 0
            while k < job.length:
                x = load(job.vectors, i * job.length + k)
                x -= load(job.vectors, j * job.length + k)
                found += x * x
                k += 1
            if found <= rounding * (own + other):
                found = zero
        unit = load(job.unit, 0)
        if job.flags & _flag.squared:
            return found * unit * unit
        return real(sqrt(found)) * unit

    return distance_of


@cache
def _filler(kind: str) -> Callable:
    """Distances in the place of a row's similarities, and those of its positives in the space."""
    real = compute_type(kind)
    zero, highest = real(0), real(np.inf)
    load, store, put, distance_of = reader(kind), writer(kind), integer_writer(), _distances(kind)

    @device_function
    def fill(job, i, row, low, high, some, space, column, thread):
        most, size = job.most_positives, high - low - 1
        unknown = 0 if job.flags & _flag.all_triplets else FAR_AWAY
        j = thread
        while j < job.width:
            found = zero
            if some:
                found = distance_of(job, i, j, load(job.block, row + j))
            store(job.block, row + j, found)
            j += cuda.blockDim.x
        cuda.syncthreads()
        k = thread
        while k <= most:
            j = low + k if low + k < i else low + k + 1
            if k < most:
                distance = load(job.block, row + j) if k < size else highest
                store(space + _column.distance * column, k, distance)
            put(space + _column.place * column, k, j)
            put(space + _column.negatives * column, k, unknown)
            put(space + _column.nearest * column, k, FAR_AWAY)
            k += cuda.blockDim.x
        cuda.syncthreads()

    return fill


@cache
def _sorter(kind: str) -> Callable:
    """Bitonic sort of a power of two of positives by their distances, by all threads of a block."""
    load, store, integer, put = reader(kind), writer(kind), raw_reader("int64"), integer_writer()

    @device_function
    def sort(space, column, count, thread):
        keys, places = space + _column.distance * column, space + _column.place * column
        span = 2
        while span <= count:
            step = span >> 1
            while step > 0:
                a = thread
                while a < count:
                    b = a ^ step
                    if b > a:
                        x, y = load(keys, a), load(keys, b)
                        of_x, of_y = integer(places, a), integer(places, b)
                        # What fills up to a power of two is behind all, infinite ones too.
                        later = x > y or (x == y and of_x > of_y)
                        if later == ((a & span) == 0):
                            store(keys, a, y)
                            store(keys, b, x)
                            put(places, a, of_y)
                            put(places, b, of_x)
                    a += cuda.blockDim.x
                cuda.syncthreads()
                step >>= 1
            span <<= 1

    return sort


@cache
def _below(kind: str) -> Callable:
    """``below(keys, size, distance, margin, equal)``: how many of the sorted keys, with a margin,
    are below a distance, or equal to it."""
    load = reader(kind)

    @device_function
    def below(keys, size, distance, margin, equal):
        low, high = 0, size
        while low < high:
            middle = (low + high) >> 1
            key = load(keys, middle) + margin
            if key < distance or (equal and key == distance):
                low = middle + 1
            else:
                high = middle
        return low

    return below


@cache
def _all(kind: str) -> Callable:
    """A thread's share of the value of a row, and of the sum of its slopes, of all triplets."""
    real = compute_type(kind)
    zero, load, store = real(0), reader(kind), writer(kind)
    integer, put, add = raw_reader("int64"), integer_writer(), atomic("add")
    below, slope = _below(kind), slope_of_distance(kind)

    @device_function
    def all_negatives(job, numbers, place, space, column, thread):
        i, row, low, high, unit = place
        keys, places = space + _column.distance * column, space + _column.place * column
        counts, size = space + _column.negatives * column, high - low - 1
        factor, margin = load(job.factor, i), numbers.margin
        total, sum_ = zero, zero
        j = thread
        while j < job.width:
            if j < low or j >= high:
                distance = load(job.block, row + j)
                closed = below(keys, size, distance, margin, True)
                add(counts, closed, 1)
                still = real(size - closed)
                total += still * (margin - distance)
                found = -still * factor * slope(distance, job.flags, unit)
                store(job.block, row + j, found)
                sum_ += found
            j += cuda.blockDim.x
        cuda.syncthreads()
        if thread == 0:
            seen, k = 0, 0
            while k < size:
                seen += integer(counts, k)
                put(counts, k, seen)
                k += 1
        cuda.syncthreads()
        k = thread
        while k < size:
            key, seen_ = load(keys, k), real(integer(counts, k))
            total += seen_ * key
            found = seen_ * factor * slope(key, job.flags, unit)
            store(job.block, row + integer(places, k), found)
            sum_ += found
            k += cuda.blockDim.x
        return total, sum_

    return all_negatives


@cache
def _nearest(kind: str) -> Callable:
    """For each positive of a row, in the column of negatives: the nearest beyond it, else the
    farthest of all."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, integer, put = reader(kind), raw_reader("int64"), integer_writer()
    least, bits_, below = atomic("min"), bits(kind), _below(kind)

    @device_function
    def farthest(job, place, keys, counts, thread, scratch, whole):
        """The farthest negative of all; meanwhile, the smallest distance beyond each positive."""
        _, row, low, high, _ = place
        size, last, of_last = high - low - 1, lowest, -1
        j = thread
        while j < job.width:
            if j < low or j >= high:
                distance = load(job.block, row + j)
                least(counts, below(keys, size, distance, zero, False), bits_(distance))
                if distance > last:
                    last, of_last = distance, j
            j += cuda.blockDim.x
        best = block_max(last, thread, scratch)
        of_last = of_last if last == best and of_last >= 0 else FAR_AWAY
        return -block_max(-of_last, thread, whole)

    @device_function
    def nearest(job, place, space, column, thread, scratch, whole):
        _, row, low, high, _ = place
        keys, counts = space + _column.distance * column, space + _column.negatives * column
        chosen, size = space + _column.nearest * column, high - low - 1
        of_last = farthest(job, place, keys, counts, thread, scratch, whole)
        cuda.syncthreads()
        j = thread
        while j < job.width:
            if j < low or j >= high:
                distance = load(job.block, row + j)
                k = below(keys, size, distance, zero, False)
                if integer(counts, k) == bits_(distance):
                    least(chosen, k, j)
            j += cuda.blockDim.x
        cuda.syncthreads()
        if thread == 0:
            # The nearest beyond a positive is the first that is beyond any behind it.
            kept, k = of_last, size - 1
            while k >= 0:
                kept = integer(chosen, k + 1) if integer(chosen, k + 1) < FAR_AWAY else kept
                put(counts, k, kept)
                k -= 1
        cuda.syncthreads()

    return nearest


@cache
def _semi_hard(kind: str) -> Callable:
    """A thread's share of the value of a row, and of the sum of its slopes, of each positive with
    the nearest negative beyond it."""
    real = compute_type(kind)
    zero, load, store, integer = real(0), reader(kind), writer(kind), raw_reader("int64")
    nearest, slope = _nearest(kind), slope_of_distance(kind)

    @device_function
    def nearest_negatives(loss, job, place, space, column, thread, scratch, whole):
        i, row, low, high, unit = place
        keys, places = space + _column.distance * column, space + _column.place * column
        counts, size = space + _column.negatives * column, high - low - 1
        factor, total, sum_ = load(job.factor, i), zero, zero
        nearest(job, place, space, column, thread, scratch, whole)
        k = thread
        while k < size:
            key, other = load(keys, k), integer(counts, k)
            distance = load(job.block, row + other)
            value, pull, push = point(loss, key, distance)
            total += real(value)
            pull = factor * real(pull) * slope(key, job.flags, unit)
            push = factor * real(push) * slope(distance, job.flags, unit)
            store(job.block, row + integer(places, k), pull)
            store(keys, k, push)
            sum_ += pull + push
            k += cuda.blockDim.x
        cuda.syncthreads()
        j = thread
        while j < job.width:
            if j < low or j >= high:
                store(job.block, row + j, zero)
            j += cuda.blockDim.x
        cuda.syncthreads()
        if thread == 0:
            # One negative may be the choice of several: in order.
            k = 0
            while k < size:
                at = row + integer(counts, k)
                store(job.block, at, load(job.block, at) + load(keys, k))
                k += 1
        return total, sum_

    return nearest_negatives


@plain
def add_columns(kind: str) -> Callable:
    """Sums of the columns of a block of slopes, which changes its sign meanwhile."""
    real = compute_type(kind)
    zero = real(0)
    load, store = reader(kind), writer(kind)

    def embedding_add_columns(job, numbers):
        shared = cuda.shared.array(256, real)
        thread, width = cuda.threadIdx.x, job.width
        lane, warp, warps = thread & (WARP - 1), thread >> WARP_LOG2, cuda.blockDim.x >> WARP_LOG2
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            total = zero
            r = warp
            while r < job.height:
                if c < width:
                    x = load(job.block, r * width + c)
                    store(job.block, r * width + c, -x)
                    total += x
                r += warps
            shared[thread] = total
            cuda.syncthreads()
            if warp == 0 and c < width:
                total = load(job.slope_sum, c)
                for w in range(warps):
                    total += shared[w * WARP + lane]
                store(job.slope_sum, c, total)
            cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_add_columns
