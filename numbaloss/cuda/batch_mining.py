"""The farthest positive and the nearest negative of each row, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..all_pairs import EQUAL_ULPS
from ..formulas.points import point
from ..jobs.cuda_batch import BatchFlags
from ..vmath import sqrt
from .backend import cuda, device_function
from .batch_kernels import of_loss, plain
from .dtypes import compute_type
from .memory import integer_writer, raw_reader, reader, writer
from .reduce import SCRATCH, WARP, WARP_LOG2, block_max, block_sum

_flag = BatchFlags.bit


@plain
def mine_rows(kind: str) -> Callable:
    """Farthest positives and nearest negatives of rows, a stretch further."""
    real = compute_type(kind)
    lowest, two = real(-np.inf), real(2)
    load, store, integer, put = reader(kind), writer(kind), raw_reader("int64"), integer_writer()

    @device_function
    def keep(x, j, best, sign, thread, scratch, places, addresses, i):
        """The best of all threads, the first of equals; keep it if it is better than before."""
        top = block_max(x, thread, scratch)
        place = j if x == top and j >= 0 else 1 << 62
        place = -block_max(-place, thread, places)
        if thread == 0 and top > best and place < 1 << 62:
            store(addresses[0], i, top * sign)
            put(addresses[1], i, place)

    def embedding_mine_rows(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        places = cuda.shared.array(SCRATCH, np.int64)
        thread, width, first = cuda.threadIdx.x, job.width, job.column
        r = cuda.blockIdx.x
        while r < job.height:
            i = job.row + r
            low, high = integer(job.starts, i), integer(job.ends, i)
            far, near = lowest, lowest
            of_far, of_near = -1, -1
            j = first + thread
            while j < first + width:
                x = load(job.squares, j) - two * load(job.block, r * width + j - first)
                if j >= low and j < high:
                    if j != i and x > far:
                        far, of_far = x, j
                elif -x > near:
                    near, of_near = -x, j
                j += cuda.blockDim.x
            best = load(job.farthest, i)
            addresses = job.farthest, job.farthest_place
            keep(far, of_far, best, real(1), thread, scratch, places, addresses, i)
            best = -load(job.nearest, i)
            addresses = job.nearest, job.nearest_place
            keep(near, of_near, best, real(-1), thread, scratch, places, addresses, i)
            r += cuda.gridDim.x

    return embedding_mine_rows


@plain
def mine_columns(kind: str) -> Callable:
    """Farthest positives and nearest negatives of columns, some rows further."""
    real = compute_type(kind)
    two = real(2)
    load, store, integer, put = reader(kind), writer(kind), raw_reader("int64"), integer_writer()

    def embedding_mine_columns(job, numbers):
        shared = cuda.shared.array(256, real)
        places = cuda.shared.array(256, np.int64)
        thread, width = cuda.threadIdx.x, job.width
        lane, warp, warps = thread & (WARP - 1), thread >> WARP_LOG2, cuda.blockDim.x >> WARP_LOG2
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            j = job.column + c
            present = c < width
            far = load(job.farthest, j) if present else real(0)
            near = load(job.nearest, j) if present else real(0)
            of_far, of_near = -1, -1
            r = warp
            while r < job.height:
                i = job.row + r
                if present:
                    x = load(job.squares, i) - two * load(job.block, r * width + c)
                    if j >= integer(job.starts, i) and j < integer(job.ends, i):
                        if x > far:
                            far, of_far = x, i
                    elif x < near:
                        near, of_near = x, i
                r += warps
            for side in range(2):
                best, of_best = (far, of_far) if side == 0 else (-near, of_near)
                shared[thread] = best
                places[thread] = of_best
                cuda.syncthreads()
                if warp == 0 and present:
                    for w in range(warps):
                        x, of_x = shared[w * WARP + lane], places[w * WARP + lane]
                        # Of equals the first.
                        better = of_best < 0 or x > best or (x == best and of_x < of_best)
                        if of_x >= 0 and better:
                            best, of_best = x, of_x
                    if of_best >= 0:
                        if side == 0:
                            store(job.farthest, j, best)
                            put(job.farthest_place, j, of_best)
                        else:
                            store(job.nearest, j, -best)
                            put(job.nearest_place, j, of_best)
                cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_mine_columns


@cache
def slope_of_distance(kind: str) -> Callable:
    """``slope(distance, flags, unit)``: of a distance, by a difference in the vectors' unit."""
    real = compute_type(kind)

    @device_function
    def slope(distance, flags, unit):
        if flags & _flag.squared:
            return real(2) * unit
        return unit / distance if distance > real(0) else real(0)

    return slope


@of_loss
def finish_mined(kind: str) -> Callable:
    """Values of anchors, each with its farthest positive and nearest negative."""
    real = compute_type(kind)
    zero, nan = real(0), real(np.nan)
    load, store, integer, slope = (
        reader(kind),
        writer(kind),
        raw_reader("int64"),
        slope_of_distance(kind),
    )
    rounding = real((EQUAL_ULPS * float(np.finfo(kind).eps)) ** 2)

    def embedding_finish_mined(loss, job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job.length
        not_finite, unit = load(job.not_finite, 0) != zero, load(job.unit, 0)
        i = cuda.blockIdx.x
        while i < job.rows:
            far, near = integer(job.farthest_place, i), integer(job.nearest_place, i)
            value, pull, push = zero, zero, zero
            if far >= 0 and near >= 0:
                positive, negative = zero, zero
                k = thread
                while k < size:
                    x = load(job.vectors, i * size + k)
                    p = x - load(job.vectors, far * size + k)
                    n = x - load(job.vectors, near * size + k)
                    positive += p * p
                    negative += n * n
                    k += cuda.blockDim.x
                positive = block_sum(positive, thread, scratch)
                negative = block_sum(negative, thread, scratch)
                own = load(job.squares, i)
                if positive <= rounding * (own + load(job.squares, far)):
                    positive = zero
                if negative <= rounding * (own + load(job.squares, near)):
                    negative = zero
                if job.flags & _flag.squared:
                    positive, negative = positive * unit * unit, negative * unit * unit
                else:
                    positive, negative = real(sqrt(positive)) * unit, real(sqrt(negative)) * unit
                value, pull, push = point(loss, positive, negative)
                factor = load(job.factor, i)
                pull = factor * real(pull) * slope(positive, job.flags, unit)
                push = factor * real(push) * slope(negative, job.flags, unit)
            if thread == 0:
                terms = integer(job.ends, i) - integer(job.starts, i)
                if not_finite and terms > 1 and terms < job.rows:
                    value = nan
                store(job.values, i, real(value))
                store(job.farthest_slope, i, nan if not_finite else real(pull))
                store(job.nearest_slope, i, nan if not_finite else real(push))
            i += cuda.gridDim.x

    return embedding_finish_mined


@plain
def gather(kind: str) -> Callable:
    """Sums of differences to other vectors: a row's own two, and all that name it.

    A block reads the choices of all anchors, as many at a time as it has threads; what
    it adds comes in the order of the anchors.
    """
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), raw_reader("int64")

    @device_function
    def add(job, i, other, factor, thread):
        size = job.length
        k = thread
        while k < size:
            x = load(job.vectors, i * size + k) - load(job.vectors, other * size + k)
            store(job.sums, i * size + k, load(job.sums, i * size + k) + factor * x)
            k += cuda.blockDim.x

    def embedding_gather(job, numbers):
        chosen = cuda.shared.array(256, np.int64)
        counts = cuda.shared.array(SCRATCH, np.int64)
        thread, size = cuda.threadIdx.x, job.length
        not_finite = load(job.not_finite, 0)
        i = cuda.blockIdx.x
        while i < job.rows:
            k = thread
            while k < size:
                store(job.sums, i * size + k, zero if not_finite == zero else real(np.nan))
                k += cuda.blockDim.x
            for side in range(2):
                places = job.farthest_place if side == 0 else job.nearest_place
                factors = job.farthest_slope if side == 0 else job.nearest_slope
                factor = load(factors, i)
                if factor != zero and integer(places, i) >= 0:
                    add(job, i, integer(places, i), factor, thread)
                first = 0
                while first < job.rows:
                    a = first + thread
                    named = 0
                    if a < job.rows and integer(places, a) == i and load(factors, a) != zero:
                        named = 1
                    chosen[thread] = named
                    some = block_sum(named, thread, counts)
                    if some > 0:
                        for w in range(cuda.blockDim.x):
                            if chosen[w] != 0:
                                add(job, i, first + w, load(factors, first + w), thread)
                    cuda.syncthreads()
                    first += cuda.blockDim.x
            i += cuda.gridDim.x

    return embedding_gather
