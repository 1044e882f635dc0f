"""From similarities to values of rows, and to slopes by similarities in their place."""

from __future__ import annotations

from collections.abc import Callable

from ..formulas.points import point
from ..jobs.cuda_batch import BatchFlags
from .backend import cuda
from .batch_kernels import of_loss
from .dtypes import compute_type
from .memory import raw_reader, reader, writer
from .reduce import SCRATCH, block_sum
from .rows import decay

_flag = BatchFlags.bit


@of_loss
def positives(kind: str) -> Callable:
    """Values of rows from their positives, and the slope by the log of their sum."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), raw_reader("int64")

    def embedding_positives(loss, job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job.width, job.column
        labelled = job.flags & _flag.labelled
        r = cuda.blockIdx.x
        while r < job.height:
            i = job.row + r
            low = max(integer(job.starts, i) - first, 0)
            high = min(integer(job.ends, i) - first, width)
            log_sum = load(job.log_sum, i)
            value, slope = zero, zero
            j = low + thread
            while j < high:
                # A row of labels is not its own positive.
                if not labelled or j + first != i:
                    x = load(job.block, r * width + j) * numbers.scale + numbers.shift
                    v, _, s = point(loss, x, log_sum)
                    lost = x + log_sum
                    value += lost if lost != lost else real(v)
                    slope += lost if lost != lost else real(s)
                j += cuda.blockDim.x
            value = block_sum(value, thread, scratch)
            slope = block_sum(slope, thread, scratch)
            if thread == 0:
                value = load(job.values, i) + value * load(job.share, i)
                store(job.values, i, value)
                # Over the sum of exponentials: what an exponential has to be multiplied by.
                total = load(job.exponential_sum, i)
                if total != zero:
                    slope = load(job.exponential_factor, i) + slope * load(job.factor, i) / total
                    store(job.exponential_factor, i, slope)
            r += cuda.gridDim.x

    return embedding_positives


@of_loss
def emit(kind: str) -> Callable:
    """Slopes by similarities in their place, for losses of positives against a sum."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer, falling = reader(kind), writer(kind), raw_reader("int64"), decay(kind)

    def embedding_emit(loss, job, numbers):
        thread, width, first = cuda.threadIdx.x, job.width, job.column
        flags, scale, shift = job.flags, numbers.scale, numbers.shift
        r = cuda.blockIdx.x
        while r < job.height:
            i = job.row + r
            low, high = integer(job.starts, i) - first, integer(job.ends, i) - first
            log_sum, slope = load(job.log_sum, i), load(job.exponential_factor, i)
            top, factor = load(job.maximum, i), load(job.factor, i)
            j = thread
            while j < width:
                s = load(job.block, r * width + j)
                x = s * scale + shift
                inside = j >= low and j < high
                found = zero
                if not (inside and flags & _flag.negatives_alone):
                    found = slope * falling((s - top) * scale)
                    if flags & _flag.both:
                        theirs = (s - load(job.column_maximum, j + first)) * scale
                        found += load(job.column_exponential_factor, j + first) * falling(theirs)
                if inside:
                    _, own, _ = point(loss, x, log_sum)
                    found += factor * real(own)
                    if flags & _flag.both:
                        _, own, _ = point(loss, x, load(job.column_log_sum, j + first))
                        found += load(job.column_factor, j + first) * real(own)
                    if flags & _flag.labelled and j + first == i:
                        found = zero
                store(job.block, r * width + j, found)
                j += cuda.blockDim.x
            r += cuda.gridDim.x

    return embedding_emit


@of_loss
def emit_pairs(kind: str) -> Callable:
    """Values of rows, and slopes by similarities in their place, for losses of pairs."""
    real = compute_type(kind)
    zero, one = real(0), real(1)
    load, store, integer = reader(kind), writer(kind), raw_reader("int64")

    def embedding_emit_pairs(loss, job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job.width, job.column
        flags = job.flags
        r = cuda.blockIdx.x
        while r < job.height:
            i = job.row + r
            low, high = integer(job.starts, i) - first, integer(job.ends, i) - first
            factor = load(job.factor, i)
            total = zero
            j = thread
            while j < width:
                x = load(job.block, r * width + j) * numbers.scale + numbers.shift
                v, s = point(loss, x, one if j >= low and j < high else zero)
                v = x if x != x else real(v)
                both = factor
                if flags & _flag.both:
                    both += load(job.column_factor, j + first)
                g = v if v != v else both * real(s)
                if flags & _flag.labelled and j + first == i:  # the row itself is no pair
                    v = g = zero
                store(job.block, r * width + j, g)
                total += v
                j += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0:
                store(job.values, i, load(job.values, i) + total)
            r += cuda.gridDim.x

    return embedding_emit_pairs
