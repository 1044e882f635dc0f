"""Kernels over blocks of similarities: what happens to all pairs between two products.

As on the CPU, a row's positives stand side by side, so that no kernel looks at labels. A block of
threads takes a row at a time; where columns are looked at, each warp takes some rows of 32
columns, and the warps then compare. Arithmetic is in the compute type; sums run in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ..all_pairs import CANCELLED, EQUAL_ULPS
from ..formulas.points import point
from ..formulas.structure import Structure
from ..vmath import log, sqrt
from ..vmath.overloads import install as install_vmath
from . import reduce
from .backend import Kernel, cuda, device_function
from .memory import atomic, bits, compute_type, integer_writer, raw_reader, reader, writer
from .reduce import SCRATCH, WARP, block_max, block_sum
from .rows import decay

# Integers that describe a launch, all of them int64.
(
    ROWS,  # of the whole side
    LENGTH,  # of a vector
    SOURCE,  # addresses: of somebody's array,
    ROW_STEP,  # whose elements lie so far apart,
    STEP,
    ORDER,  # where rows came from; 0: from their own place
    VECTORS,  # and, here and below, of contiguous arrays in the batch's order
    INVERSE,  # of the lengths
    SQUARES,
    MEAN,
    SUMS,
    PULLS,
    BLOCK,
    ROW,  # the first of the block, in the batch
    COLUMN,
    HEIGHT,
    WIDTH,
    STARTS,
    ENDS,
    FACTOR,
    COLUMN_FACTOR,
    SHARE,
    WEIGHT,
    VALUES,
    TOP,
    TOTAL,
    LOG_SUM,
    SLOPE,
    COLUMN_TOP,
    COLUMN_TOTAL,
    COLUMN_LOG_SUM,
    COLUMN_SLOPE,
    FARTHEST,
    NEAREST,
    OF_FARTHEST,
    OF_NEAREST,
    TO_FARTHEST,
    TO_NEAREST,
    TAINT,  # one number: not 0 where a vector is not finite
    SPACE,  # for the positives of the rows that blocks are at
    MOST,  # of these positives, a power of two
    UNIT,  # of the vectors of triplets; behind it the largest element of each row
    FLAGS,
) = range(43)
INTEGERS = 43
NORMALIZE, LABELLED, NEGATIVES_ALONE, BOTH, SQUARED, ALL_TRIPLETS = (1 << bit for bit in range(6))
# Numbers, in the compute type.
SCALE, SHIFT, MARGIN = range(3)
REALS = 3

# Bytes of space for each positive of a row: its distance and place, and two more numbers.
SPACE_BYTES = 32

_JOB = types.UniTuple(types.int64, INTEGERS)


def _plain(make: Callable[[str], Callable]) -> Callable[[str], Kernel]:
    """A kernel that knows no loss, one a dtype."""

    @cache
    def kernel(kind: str) -> Kernel:
        install_vmath()
        real = getattr(types, np.dtype(compute_type(kind)).name)
        return Kernel(make(kind), (_JOB, types.UniTuple(real, REALS)))

    return kernel


def _of_loss(make: Callable[[str], Callable]) -> Callable[[Structure, str], Kernel]:
    """A kernel that calls the map of a loss, one a loss and compute type."""

    @cache
    def kernel(structure: Structure, kind: str) -> Kernel:
        install_vmath()
        real = getattr(types, kind)
        arguments = structure.numba_type(real), _JOB, types.UniTuple(real, REALS)
        return Kernel(make(kind), arguments, structure)

    return kernel


@cache
def _integer() -> Callable:
    """``read(address, index)`` of an int64."""
    return raw_reader("int64")


@cache
def _apart() -> Callable:
    """``apart(job, i)``: the columns that row i is not summed over, from low to high."""
    read = _integer()

    @device_function
    def apart(job, i):
        low = high = -1
        if job[FLAGS] & NEGATIVES_ALONE:
            low, high = read(job[STARTS], i), read(job[ENDS], i)
        elif job[FLAGS] & LABELLED:
            low, high = i, i + 1
        return low, high

    return apart


@_plain
def prepare(kind: str) -> Callable:
    """Copies of vectors, in order, normalised where they are to be."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one, infinite, highest = real(0), real(1), real(np.inf), np.finfo(real).max
    load, store, integer = reader(kind), writer(computed), _integer()
    # Squares below are too small to be exact; and what brings numbers between them and infinity.
    least, exponent = (real(1e-30), 100) if computed == "float32" else (real(1e-200), 700)
    up, down = real(2.0**exponent), real(2.0**-exponent)

    @device_function
    def square(job, at, unit, thread, scratch):
        total = zero
        k = thread
        while k < job[LENGTH]:
            x = load(job[SOURCE], at + k * job[STEP]) * unit
            total += x * x
            k += cuda.blockDim.x
        return block_sum(total, thread, scratch)

    def embedding_prepare(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job[LENGTH]
        i = cuda.blockIdx.x
        while i < job[ROWS]:
            source = integer(job[ORDER], i) if job[ORDER] != 0 else i
            at = source * job[ROW_STEP]
            inverse = unit = one
            if job[FLAGS] & NORMALIZE:
                total = square(job, at, unit, thread, scratch)
                if not (total >= least and total < infinite):
                    unit = up if total < least else down
                    total = square(job, at, unit, thread, scratch)
                length = real(sqrt(total))
                # A zero vector stays: it has no direction, and gets no gradient.
                inverse = zero if length == zero else one / length
                if thread == 0:
                    store(job[INVERSE], i, min(inverse * unit, highest))
            # Of vectors that are not normalised: see `choose_unit`.
            wanted = job[UNIT] != 0 and not job[FLAGS] & NORMALIZE
            largest = zero
            k = thread
            while k < size:
                x = load(job[SOURCE], at + k * job[STEP])
                store(job[VECTORS], i * size + k, x * unit * inverse)
                largest = max(largest, abs(x))
                k += cuda.blockDim.x
            if wanted:
                largest = block_max(largest, thread, scratch)
                if thread == 0:
                    store(job[UNIT], 1 + i, largest)
            i += cuda.gridDim.x

    return embedding_prepare


@_plain
def choose_unit(kind: str) -> Callable:
    """A power of two of about the largest element of all; one block of threads."""
    real = compute_type(kind)
    zero, one, two, half = real(0), real(1), real(2), real(0.5)
    infinite = real(np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_choose_unit(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        largest = zero
        i = thread
        while i < job[ROWS]:
            largest = max(largest, load(job[UNIT], 1 + i))
            i += cuda.blockDim.x
        largest = block_max(largest, thread, scratch)
        if thread == 0:
            unit = one
            if largest > zero and largest < infinite:
                while unit * half > largest:
                    unit *= half
                while unit < largest * half:
                    unit *= two
            store(job[UNIT], 0, unit)

    return embedding_choose_unit


@_plain
def rescale(kind: str) -> Callable:
    """Vectors in their unit, so that squares neither overflow nor vanish."""
    load, store = reader(kind), writer(kind)

    def embedding_rescale(job, reals):
        unit, size = load(job[UNIT], 0), job[ROWS] * job[LENGTH]
        k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while k < size:
            store(job[VECTORS], k, load(job[VECTORS], k) / unit)
            k += cuda.gridDim.x * cuda.blockDim.x

    return embedding_rescale


@_plain
def center(kind: str) -> Callable:
    """Vectors less their mean, and their squared lengths; notes those that are not finite."""
    real = compute_type(kind)
    zero, one, infinite = real(0), real(1), real(np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_center(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job[LENGTH]
        i = cuda.blockIdx.x
        while i < job[ROWS]:
            total = zero
            k = thread
            while k < size:
                x = load(job[VECTORS], i * size + k)
                if job[MEAN] != 0:
                    x -= load(job[MEAN], k) * reals[SCALE]
                    store(job[VECTORS], i * size + k, x)
                total += x * x
                k += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0:
                store(job[SQUARES], i, total)
                if not total < infinite:
                    store(job[TAINT], 0, one)  # whoever comes last: they write the same
            i += cuda.gridDim.x

    return embedding_center


@_plain
def measure_rows(kind: str) -> Callable:
    """Maxima and sums of exponentials of rows, a stretch further."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store, falling, apart = reader(kind), writer(kind), decay(kind), _apart()

    def embedding_measure_rows(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job[WIDTH], job[COLUMN]
        scale = reals[SCALE]
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            low, high = apart(job, i)
            low, high = low - first, high - first
            top, any_ = lowest, zero
            j = thread
            while j < width:
                if j < low or j >= high:
                    x = load(job[BLOCK], r * width + j)
                    top = x if x > top else top
                    any_ = real(1)
                j += cuda.blockDim.x
            any_ = block_max(any_, thread, scratch)
            former = load(job[TOP], i)
            top = block_max(top if top > former else former, thread, scratch)
            total = zero
            j = thread
            while j < width:
                if j < low or j >= high:
                    total += falling((load(job[BLOCK], r * width + j) - top) * scale)
                j += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0 and any_ != zero:
                seen = load(job[TOTAL], i)
                if seen != zero:  # NaN stays, though no maximum knows it
                    total += seen * falling((top - former) * scale)
                store(job[TOP], i, top)
                store(job[TOTAL], i, total)
            r += cuda.gridDim.x

    return embedding_measure_rows


@_plain
def measure_columns(kind: str) -> Callable:
    """Maxima and sums of exponentials of columns, some rows further."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store, falling, apart = reader(kind), writer(kind), decay(kind), _apart()

    def embedding_measure_columns(job, reals):
        shared = cuda.shared.array(256, real)
        thread, width = cuda.threadIdx.x, job[WIDTH]
        lane, warp, warps = thread % WARP, thread // WARP, cuda.blockDim.x // WARP
        scale = reals[SCALE]
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            j = job[COLUMN] + c
            former = load(job[COLUMN_TOP], j) if c < width else lowest
            top = former
            r = warp
            while r < job[HEIGHT]:
                low, high = apart(job, job[ROW] + r)
                if c < width and (j < low or j >= high):
                    x = load(job[BLOCK], r * width + c)
                    top = x if x > top else top
                r += warps
            shared[thread] = top
            cuda.syncthreads()
            for w in range(warps):
                x = shared[w * WARP + lane]
                top = x if x > top else top
            cuda.syncthreads()
            total = zero
            r = warp
            while r < job[HEIGHT]:
                low, high = apart(job, job[ROW] + r)
                if c < width and (j < low or j >= high):
                    total += falling((load(job[BLOCK], r * width + c) - top) * scale)
                r += warps
            shared[thread] = total
            cuda.syncthreads()
            if warp == 0 and c < width:
                total = zero
                for w in range(warps):
                    total += shared[w * WARP + lane]
                seen = load(job[COLUMN_TOTAL], j)
                if seen != zero:
                    total += seen * falling((top - former) * scale)
                store(job[COLUMN_TOP], j, top)
                store(job[COLUMN_TOTAL], j, total)
            cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_measure_columns


@_plain
def close(kind: str) -> Callable:
    """From maxima and sums to the logs of sums, with the temperature and the bias."""
    install_vmath()
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_close(job, reals):
        r = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            total = load(job[TOTAL], i)
            found = lowest
            if total != zero:
                found = load(job[TOP], i) * reals[SCALE] + reals[SHIFT] + real(log(total))
            store(job[LOG_SUM], i, found)
            r += cuda.gridDim.x * cuda.blockDim.x

    return embedding_close


@_of_loss
def positives(kind: str) -> Callable:
    """Values of rows from their positives, and the slope by the log of their sum."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), _integer()

    def embedding_positives(loss, job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job[WIDTH], job[COLUMN]
        labelled = job[FLAGS] & LABELLED
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            low = max(integer(job[STARTS], i) - first, 0)
            high = min(integer(job[ENDS], i) - first, width)
            log_sum = load(job[LOG_SUM], i)
            value, slope = zero, zero
            j = low + thread
            while j < high:
                # A row of labels is not its own positive.
                if not labelled or j + first != i:
                    x = load(job[BLOCK], r * width + j) * reals[SCALE] + reals[SHIFT]
                    v, _, s = point(loss, x, log_sum)
                    lost = x + log_sum
                    value += lost if lost != lost else real(v)
                    slope += lost if lost != lost else real(s)
                j += cuda.blockDim.x
            value = block_sum(value, thread, scratch)
            slope = block_sum(slope, thread, scratch)
            if thread == 0:
                value = load(job[VALUES], i) + value * load(job[SHARE], i)
                store(job[VALUES], i, value)
                # Over the sum of exponentials: what an exponential has to be multiplied by.
                total = load(job[TOTAL], i)
                if total != zero:
                    slope = load(job[SLOPE], i) + slope * load(job[FACTOR], i) / total
                    store(job[SLOPE], i, slope)
            r += cuda.gridDim.x

    return embedding_positives


@_of_loss
def emit(kind: str) -> Callable:
    """Slopes by similarities in their place, for losses of positives against a sum."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer, falling = reader(kind), writer(kind), _integer(), decay(kind)

    def embedding_emit(loss, job, reals):
        thread, width, first = cuda.threadIdx.x, job[WIDTH], job[COLUMN]
        flags, scale, shift = job[FLAGS], reals[SCALE], reals[SHIFT]
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            low, high = integer(job[STARTS], i) - first, integer(job[ENDS], i) - first
            log_sum, slope = load(job[LOG_SUM], i), load(job[SLOPE], i)
            top, factor = load(job[TOP], i), load(job[FACTOR], i)
            j = thread
            while j < width:
                s = load(job[BLOCK], r * width + j)
                x = s * scale + shift
                inside = j >= low and j < high
                found = zero
                if not (inside and flags & NEGATIVES_ALONE):
                    found = slope * falling((s - top) * scale)
                    if flags & BOTH:
                        theirs = (s - load(job[COLUMN_TOP], j + first)) * scale
                        found += load(job[COLUMN_SLOPE], j + first) * falling(theirs)
                if inside:
                    _, own, _ = point(loss, x, log_sum)
                    found += factor * real(own)
                    if flags & BOTH:
                        _, own, _ = point(loss, x, load(job[COLUMN_LOG_SUM], j + first))
                        found += load(job[COLUMN_FACTOR], j + first) * real(own)
                    if flags & LABELLED and j + first == i:
                        found = zero
                store(job[BLOCK], r * width + j, found)
                j += cuda.blockDim.x
            r += cuda.gridDim.x

    return embedding_emit


@_of_loss
def emit_pairs(kind: str) -> Callable:
    """Values of rows, and slopes by similarities in their place, for losses of pairs."""
    real = compute_type(kind)
    zero, one = real(0), real(1)
    load, store, integer = reader(kind), writer(kind), _integer()

    def embedding_emit_pairs(loss, job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job[WIDTH], job[COLUMN]
        flags = job[FLAGS]
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            low, high = integer(job[STARTS], i) - first, integer(job[ENDS], i) - first
            factor = load(job[FACTOR], i)
            total = zero
            j = thread
            while j < width:
                x = load(job[BLOCK], r * width + j) * reals[SCALE] + reals[SHIFT]
                v, s = point(loss, x, one if j >= low and j < high else zero)
                v = x if x != x else real(v)
                both = factor
                if flags & BOTH:
                    both += load(job[COLUMN_FACTOR], j + first)
                g = v if v != v else both * real(s)
                if flags & LABELLED and j + first == i:  # the row itself is no pair
                    v = g = zero
                store(job[BLOCK], r * width + j, g)
                total += v
                j += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0:
                store(job[VALUES], i, load(job[VALUES], i) + total)
            r += cuda.gridDim.x

    return embedding_emit_pairs


@_plain
def mine_rows(kind: str) -> Callable:
    """Farthest positives and nearest negatives of rows, a stretch further."""
    real = compute_type(kind)
    lowest, two = real(-np.inf), real(2)
    load, store, integer, put = reader(kind), writer(kind), _integer(), integer_writer()

    @device_function
    def keep(x, j, best, sign, thread, scratch, places, addresses, i):
        """The best of all threads, the first of equals; keep it if it is better than before."""
        top = block_max(x, thread, scratch)
        place = j if x == top and j >= 0 else 1 << 62
        place = -block_max(-place, thread, places)
        if thread == 0 and top > best and place < 1 << 62:
            store(addresses[0], i, top * sign)
            put(addresses[1], i, place)

    def embedding_mine_rows(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        places = cuda.shared.array(SCRATCH, np.int64)
        thread, width, first = cuda.threadIdx.x, job[WIDTH], job[COLUMN]
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i = job[ROW] + r
            low, high = integer(job[STARTS], i), integer(job[ENDS], i)
            far, near = lowest, lowest
            of_far, of_near = -1, -1
            j = first + thread
            while j < first + width:
                x = load(job[SQUARES], j) - two * load(job[BLOCK], r * width + j - first)
                if j >= low and j < high:
                    if j != i and x > far:
                        far, of_far = x, j
                elif -x > near:
                    near, of_near = -x, j
                j += cuda.blockDim.x
            best = load(job[FARTHEST], i)
            addresses = job[FARTHEST], job[OF_FARTHEST]
            keep(far, of_far, best, real(1), thread, scratch, places, addresses, i)
            best = -load(job[NEAREST], i)
            addresses = job[NEAREST], job[OF_NEAREST]
            keep(near, of_near, best, real(-1), thread, scratch, places, addresses, i)
            r += cuda.gridDim.x

    return embedding_mine_rows


@_plain
def mine_columns(kind: str) -> Callable:
    """Farthest positives and nearest negatives of columns, some rows further."""
    real = compute_type(kind)
    two = real(2)
    load, store, integer, put = reader(kind), writer(kind), _integer(), integer_writer()

    def embedding_mine_columns(job, reals):
        shared = cuda.shared.array(256, real)
        places = cuda.shared.array(256, np.int64)
        thread, width = cuda.threadIdx.x, job[WIDTH]
        lane, warp, warps = thread % WARP, thread // WARP, cuda.blockDim.x // WARP
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            j = job[COLUMN] + c
            present = c < width
            far = load(job[FARTHEST], j) if present else real(0)
            near = load(job[NEAREST], j) if present else real(0)
            of_far, of_near = -1, -1
            r = warp
            while r < job[HEIGHT]:
                i = job[ROW] + r
                if present:
                    x = load(job[SQUARES], i) - two * load(job[BLOCK], r * width + c)
                    if j >= integer(job[STARTS], i) and j < integer(job[ENDS], i):
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
                            store(job[FARTHEST], j, best)
                            put(job[OF_FARTHEST], j, of_best)
                        else:
                            store(job[NEAREST], j, -best)
                            put(job[OF_NEAREST], j, of_best)
                cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_mine_columns


@cache
def _slope(kind: str) -> Callable:
    """``slope(distance, flags, unit)``: of a distance, by a difference in the vectors' unit."""
    real = compute_type(kind)

    @device_function
    def slope(distance, flags, unit):
        if flags & SQUARED:
            return real(2) * unit
        return unit / distance if distance > real(0) else real(0)

    return slope


@_of_loss
def settle(kind: str) -> Callable:
    """Values of anchors, each with its farthest positive and nearest negative."""
    real = compute_type(kind)
    zero, nan = real(0), real(np.nan)
    load, store, integer, slope = reader(kind), writer(kind), _integer(), _slope(kind)
    rounding = real((EQUAL_ULPS * float(np.finfo(kind).eps)) ** 2)

    def embedding_settle(loss, job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job[LENGTH]
        tainted, unit = load(job[TAINT], 0) != zero, load(job[UNIT], 0)
        i = cuda.blockIdx.x
        while i < job[ROWS]:
            far, near = integer(job[OF_FARTHEST], i), integer(job[OF_NEAREST], i)
            value, pull, push = zero, zero, zero
            if far >= 0 and near >= 0:
                positive, negative = zero, zero
                k = thread
                while k < size:
                    x = load(job[VECTORS], i * size + k)
                    p = x - load(job[VECTORS], far * size + k)
                    n = x - load(job[VECTORS], near * size + k)
                    positive += p * p
                    negative += n * n
                    k += cuda.blockDim.x
                positive = block_sum(positive, thread, scratch)
                negative = block_sum(negative, thread, scratch)
                own = load(job[SQUARES], i)
                if positive <= rounding * (own + load(job[SQUARES], far)):
                    positive = zero
                if negative <= rounding * (own + load(job[SQUARES], near)):
                    negative = zero
                if job[FLAGS] & SQUARED:
                    positive, negative = positive * unit * unit, negative * unit * unit
                else:
                    positive, negative = real(sqrt(positive)) * unit, real(sqrt(negative)) * unit
                value, pull, push = point(loss, positive, negative)
                factor = load(job[FACTOR], i)
                pull = factor * real(pull) * slope(positive, job[FLAGS], unit)
                push = factor * real(push) * slope(negative, job[FLAGS], unit)
            if thread == 0:
                terms = integer(job[ENDS], i) - integer(job[STARTS], i)
                if tainted and terms > 1 and terms < job[ROWS]:
                    value = nan
                store(job[VALUES], i, real(value))
                store(job[TO_FARTHEST], i, nan if tainted else real(pull))
                store(job[TO_NEAREST], i, nan if tainted else real(push))
            i += cuda.gridDim.x

    return embedding_settle


@_plain
def gather(kind: str) -> Callable:
    """Sums of differences to other vectors: a row's own two, and all that name it.

    A block looks through the choices of all anchors, as many at a time as it has threads; what
    it adds comes in the order of the anchors.
    """
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), _integer()

    @device_function
    def add(job, i, other, factor, thread):
        size = job[LENGTH]
        k = thread
        while k < size:
            x = load(job[VECTORS], i * size + k) - load(job[VECTORS], other * size + k)
            store(job[SUMS], i * size + k, load(job[SUMS], i * size + k) + factor * x)
            k += cuda.blockDim.x

    def embedding_gather(job, reals):
        chosen = cuda.shared.array(256, np.int64)
        counts = cuda.shared.array(SCRATCH, np.int64)
        thread, size = cuda.threadIdx.x, job[LENGTH]
        tainted = load(job[TAINT], 0)
        i = cuda.blockIdx.x
        while i < job[ROWS]:
            k = thread
            while k < size:
                store(job[SUMS], i * size + k, zero if tainted == zero else real(np.nan))
                k += cuda.blockDim.x
            for side in range(2):
                places = job[OF_FARTHEST] if side == 0 else job[OF_NEAREST]
                factors = job[TO_FARTHEST] if side == 0 else job[TO_NEAREST]
                factor = load(factors, i)
                if factor != zero and integer(places, i) >= 0:
                    add(job, i, integer(places, i), factor, thread)
                first = 0
                while first < job[ROWS]:
                    a = first + thread
                    named = 0
                    if a < job[ROWS] and integer(places, a) == i and load(factors, a) != zero:
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


@_of_loss
def emit_triplets(kind: str) -> Callable:
    """Values of anchors; similarities become slopes over distances, as `all_pairs` says.

    As on the CPU: positives are sorted, each negative finds its place among them. Which negative
    is the nearest, and how many there are, is settled by atomic operations on integers.
    """
    real = compute_type(kind)
    zero, two, lowest, highest = real(0), real(2), real(-np.inf), real(np.inf)
    load, store, integer, put = reader(kind), writer(kind), _integer(), integer_writer()
    add, least, bits_, slope = atomic("add"), atomic("min"), bits(kind), _slope(kind)
    cancelled = real(CANCELLED)
    rounding = real((EQUAL_ULPS * float(np.finfo(kind).eps)) ** 2)
    far_away = (1 << 63) - 1  # more than the bits of any number

    @device_function
    def distance_of(job, i, j, similarity):
        """The distance of two vectors, or its square; by their difference where digits are lost."""
        own, other = load(job[SQUARES], i), load(job[SQUARES], j)
        found = own + other - two * similarity
        if not found > cancelled * (own + other):  # nor NaN, of squares that overflow
            found = zero
            k = 0
            while k < job[LENGTH]:
                x = load(job[VECTORS], i * job[LENGTH] + k)
                x -= load(job[VECTORS], j * job[LENGTH] + k)
                found += x * x
                k += 1
            if found <= rounding * (own + other):
                found = zero
        unit = load(job[UNIT], 0)
        return found * unit * unit if job[FLAGS] & SQUARED else real(sqrt(found)) * unit

    @device_function
    def sort(keys, places, count, thread):
        """Bitonic sort of a power of two of keys, and places with them."""
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

    @device_function
    def below(keys, size, distance, margin, equal):
        """How many of the sorted keys, with a margin, are below a distance, or equal to it."""
        low, high = 0, size
        while low < high:
            middle = (low + high) >> 1
            key = load(keys, middle) + margin
            if key < distance or (equal and key == distance):
                low = middle + 1
            else:
                high = middle
        return low

    def embedding_emit_triplets(loss, job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        whole = cuda.shared.array(SCRATCH, np.int64)
        thread, width, flags = cuda.threadIdx.x, job[WIDTH], job[FLAGS]
        most = job[MOST]
        keys = job[SPACE] + cuda.blockIdx.x * SPACE_BYTES * (most + 1)
        places, counts = keys + 8 * (most + 1), keys + 16 * (most + 1)
        chosen = keys + 24 * (most + 1)
        every, margin = flags & ALL_TRIPLETS != 0, reals[MARGIN]
        tainted, unit = load(job[TAINT], 0) != zero, load(job[UNIT], 0)
        r = cuda.blockIdx.x
        while r < job[HEIGHT]:
            i, row = job[ROW] + r, r * width
            low, high = integer(job[STARTS], i), integer(job[ENDS], i)
            size = high - low - 1
            terms = size > 0 and high - low < width
            some = terms and not tainted  # no place is found by NaN
            total, sum_ = zero, zero
            factor = load(job[FACTOR], i)
            j = thread
            while j < width:
                found = zero
                if some:
                    found = distance_of(job, i, j, load(job[BLOCK], row + j))
                store(job[BLOCK], row + j, found)
                j += cuda.blockDim.x
            cuda.syncthreads()
            k = thread
            while k <= most:
                j = low + k if low + k < i else low + k + 1
                if k < most:
                    store(keys, k, load(job[BLOCK], row + j) if k < size else highest)
                put(places, k, j)
                put(counts, k, 0 if every else far_away)
                put(chosen, k, far_away)
                k += cuda.blockDim.x
            cuda.syncthreads()
            sort(keys, places, most, thread)
            if some and every:
                j = thread
                while j < width:
                    if j < low or j >= high:
                        distance = load(job[BLOCK], row + j)
                        closed = below(keys, size, distance, margin, True)
                        add(counts, closed, 1)
                        still = real(size - closed)
                        total += still * (margin - distance)
                        found = -still * factor * slope(distance, flags, unit)
                        store(job[BLOCK], row + j, found)
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
                    found = seen_ * factor * slope(key, flags, unit)
                    store(job[BLOCK], row + integer(places, k), found)
                    sum_ += found
                    k += cuda.blockDim.x
            elif some:
                last, of_last = lowest, -1
                j = thread
                while j < width:
                    if j < low or j >= high:
                        distance = load(job[BLOCK], row + j)
                        least(counts, below(keys, size, distance, zero, False), bits_(distance))
                        if distance > last:
                            last, of_last = distance, j
                    j += cuda.blockDim.x
                best = block_max(last, thread, scratch)
                of_last = of_last if last == best and of_last >= 0 else far_away
                of_last = -block_max(-of_last, thread, whole)
                cuda.syncthreads()
                j = thread
                while j < width:
                    if j < low or j >= high:
                        distance = load(job[BLOCK], row + j)
                        k = below(keys, size, distance, zero, False)
                        if integer(counts, k) == bits_(distance):
                            least(chosen, k, j)
                    j += cuda.blockDim.x
                cuda.syncthreads()
                if thread == 0:
                    # The nearest beyond a positive is the first that is beyond any behind it.
                    kept, k = of_last, size - 1
                    while k >= 0:
                        kept = integer(chosen, k + 1) if integer(chosen, k + 1) < far_away else kept
                        put(counts, k, kept)
                        k -= 1
                cuda.syncthreads()
                k = thread
                while k < size:
                    key, other = load(keys, k), integer(counts, k)
                    distance = load(job[BLOCK], row + other)
                    value, pull, push = point(loss, key, distance)
                    total += real(value)
                    pull = factor * real(pull) * slope(key, flags, unit)
                    push = factor * real(push) * slope(distance, flags, unit)
                    store(job[BLOCK], row + integer(places, k), pull)
                    store(keys, k, push)
                    sum_ += pull + push
                    k += cuda.blockDim.x
                cuda.syncthreads()
                j = thread
                while j < width:
                    if j < low or j >= high:
                        store(job[BLOCK], row + j, zero)
                    j += cuda.blockDim.x
                cuda.syncthreads()
                if thread == 0:
                    # One negative may be the choice of several: in order.
                    k = 0
                    while k < size:
                        at = row + integer(counts, k)
                        store(job[BLOCK], at, load(job[BLOCK], at) + load(keys, k))
                        k += 1
            cuda.syncthreads()
            total = block_sum(total, thread, scratch)
            sum_ = block_sum(sum_, thread, scratch)
            if tainted:
                j = thread
                while j < width:
                    store(job[BLOCK], row + j, highest - highest)
                    j += cuda.blockDim.x
                total = sum_ = (highest - highest) if terms else zero
            if thread == 0:
                if not tainted:
                    store(job[BLOCK], row + i, zero)
                store(job[VALUES], i, total)
                store(job[PULLS], i, load(job[PULLS], i) + sum_)
            cuda.syncthreads()
            r += cuda.gridDim.x

    return embedding_emit_triplets


@_plain
def add_columns(kind: str) -> Callable:
    """Sums of the columns of a block of slopes, which changes its sign meanwhile."""
    real = compute_type(kind)
    zero = real(0)
    load, store = reader(kind), writer(kind)

    def embedding_add_columns(job, reals):
        shared = cuda.shared.array(256, real)
        thread, width = cuda.threadIdx.x, job[WIDTH]
        lane, warp, warps = thread % WARP, thread // WARP, cuda.blockDim.x // WARP
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            total = zero
            r = warp
            while r < job[HEIGHT]:
                if c < width:
                    x = load(job[BLOCK], r * width + c)
                    store(job[BLOCK], r * width + c, -x)
                    total += x
                r += warps
            shared[thread] = total
            cuda.syncthreads()
            if warp == 0 and c < width:
                total = load(job[PULLS], c)
                for w in range(warps):
                    total += shared[w * WARP + lane]
                store(job[PULLS], c, total)
            cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_add_columns


@_plain
def finish(kind: str) -> Callable:
    """From sums to gradients: through the lengths, to where vectors came from."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one = real(0), real(1)
    load, store, integer = reader(computed), writer(kind), _integer()

    def embedding_finish(job, reals):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job[LENGTH]
        i = cuda.blockIdx.x
        while i < job[ROWS]:
            target = integer(job[ORDER], i) if job[ORDER] != 0 else i
            along = load(job[PULLS], i) if job[PULLS] != 0 else zero
            factor = one
            if job[FLAGS] & NORMALIZE:
                # What lies along a vector is lost when it is normalised.
                across, square = zero, zero
                k = thread
                while k < size:
                    x = load(job[VECTORS], i * size + k)
                    across += load(job[SUMS], i * size + k) * x
                    square += x * x
                    k += cuda.blockDim.x
                across = block_sum(across, thread, scratch)
                square = block_sum(square, thread, scratch)
                factor = load(job[INVERSE], i)
                along = (along - across - along * square) * factor
            k = thread
            while k < size:
                found = factor * load(job[SUMS], i * size + k)
                found += along * load(job[VECTORS], i * size + k)
                store(job[SOURCE], target * job[ROW_STEP] + k * job[STEP], found * reals[SCALE])
                k += cuda.blockDim.x
            i += cuda.gridDim.x

    return embedding_finish


@cache
def total(kind: str) -> Kernel:
    """The sum of the values of the rows, weighted; and the values where they belong."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), _integer()
    leave = reduce.leave()

    def embedding_total(job, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        sum_ = zero
        i = cuda.blockIdx.x * cuda.blockDim.x + thread
        while i < job[ROWS]:
            value = load(job[VALUES], i)
            if job[WEIGHT] != 0:
                weight = load(job[WEIGHT], i)
                value = zero if weight == zero else value * weight
            if job[SOURCE] != 0:
                target = integer(job[ORDER], i) if job[ORDER] != 0 else i
                store(job[SOURCE], target * job[STEP], value)
            sum_ += value
            i += cuda.gridDim.x * cuda.blockDim.x
        leave(sum_, zero, thread, scratch, tail)

    return Kernel(embedding_total, (_JOB, reduce.TAIL))
