"""Vectors of a batch: from somebody's array to copies, and from sums to gradients and a total."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..jobs.cuda_batch import BatchFlags, CudaBatchBlock
from ..vmath import sqrt
from . import reduce
from .backend import cuda, device_function
from .batch_kernels import plain
from .dtypes import compute_type
from .fields import kernel_type
from .kernel import Kernel, kept_on_disk
from .memory import raw_reader, reader, writer
from .reduce import SCRATCH, block_max, block_sum

_flag = BatchFlags.bit


@plain
def prepare(kind: str) -> Callable:
    """Copies of vectors, in order, normalised where they are to be."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one, infinite, highest = real(0), real(1), real(np.inf), np.finfo(real).max
    load, store, integer = reader(kind), writer(computed), raw_reader("int64")
    # Squares below are too small to be exact; and what brings numbers between them and infinity.
    least, exponent = (real(1e-30), 100) if computed == "float32" else (real(1e-200), 700)
    up, down = real(2.0**exponent), real(2.0**-exponent)

    @device_function
    def square(job, at, unit, thread, scratch):
        total = zero
        k = thread
        while k < job.length:
            x = load(job.source, at + k * job.source_stride) * unit
            total += x * x
            k += cuda.blockDim.x
        return block_sum(total, thread, scratch)

    def embedding_prepare(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job.length
        i = cuda.blockIdx.x
        while i < job.rows:
            source = integer(job.order, i) if job.order != 0 else i
            at = source * job.source_row_stride
            inverse = unit = one
            if job.flags & _flag.normalize:
                total = square(job, at, unit, thread, scratch)
                if not (total >= least and total < infinite):
                    unit = up if total < least else down
                    total = square(job, at, unit, thread, scratch)
                length = real(sqrt(total))
                # A zero vector stays: it has no direction, and gets no gradient.
                inverse = zero if length == zero else one / length
                if thread == 0:
                    store(job.inverse, i, min(inverse * unit, highest))
            # Of vectors that are not normalised: see `choose_unit`.
            wanted = job.unit != 0 and not job.flags & _flag.normalize
            largest = zero
            k = thread
            while k < size:
                x = load(job.source, at + k * job.source_stride)
                store(job.vectors, i * size + k, x * unit * inverse)
                largest = max(largest, abs(x))
                k += cuda.blockDim.x
            if wanted:
                largest = block_max(largest, thread, scratch)
                if thread == 0:
                    store(job.unit, 1 + i, largest)
            i += cuda.gridDim.x

    return embedding_prepare


@plain
def choose_unit(kind: str) -> Callable:
    """A power of two of about the largest element of all; one block of threads."""
    real = compute_type(kind)
    zero, one, two, half = real(0), real(1), real(2), real(0.5)
    infinite = real(np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_choose_unit(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        largest = zero
        i = thread
        while i < job.rows:
            largest = max(largest, load(job.unit, 1 + i))
            i += cuda.blockDim.x
        largest = block_max(largest, thread, scratch)
        if thread == 0:
            unit = one
            if largest > zero and largest < infinite:
                while unit * half > largest:
                    unit *= half
                while unit < largest * half:
                    unit *= two
            store(job.unit, 0, unit)

    return embedding_choose_unit


@plain
def rescale(kind: str) -> Callable:
    """Vectors in their unit, so that squares neither overflow nor vanish."""
    load, store = reader(kind), writer(kind)

    def embedding_rescale(job, numbers):
        unit, size = load(job.unit, 0), job.rows * job.length
        k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while k < size:
            store(job.vectors, k, load(job.vectors, k) / unit)
            k += cuda.gridDim.x * cuda.blockDim.x

    return embedding_rescale


@plain
def center(kind: str) -> Callable:
    """Vectors less their mean, and their squared lengths; notes those that are not finite."""
    real = compute_type(kind)
    zero, one, infinite = real(0), real(1), real(np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_center(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job.length
        i = cuda.blockIdx.x
        while i < job.rows:
            total = zero
            k = thread
            while k < size:
                x = load(job.vectors, i * size + k)
                if job.mean != 0:
                    x -= load(job.mean, k) * numbers.scale
                    store(job.vectors, i * size + k, x)
                total += x * x
                k += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0:
                store(job.squares, i, total)
                if not total < infinite:
                    store(job.not_finite, 0, one)  # whoever comes last: they write the same
            i += cuda.gridDim.x

    return embedding_center


@plain
def finish(kind: str) -> Callable:
    """From sums to gradients: through the lengths, to where vectors came from."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, one = real(0), real(1)
    load, store, integer = reader(computed), writer(kind), raw_reader("int64")

    def embedding_finish(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, size = cuda.threadIdx.x, job.length
        i = cuda.blockIdx.x
        while i < job.rows:
            target = integer(job.order, i) if job.order != 0 else i
            along = load(job.slope_sum, i) if job.slope_sum != 0 else zero
            factor = one
            if job.flags & _flag.normalize:
                # What lies along a vector is lost when it is normalised.
                across, square = zero, zero
                k = thread
                while k < size:
                    x = load(job.vectors, i * size + k)
                    across += load(job.sums, i * size + k) * x
                    square += x * x
                    k += cuda.blockDim.x
                across = block_sum(across, thread, scratch)
                square = block_sum(square, thread, scratch)
                factor = load(job.inverse, i)
                along = (along - across - along * square) * factor
            k = thread
            while k < size:
                found = factor * load(job.sums, i * size + k)
                found += along * load(job.vectors, i * size + k)
                store(
                    job.source,
                    target * job.source_row_stride + k * job.source_stride,
                    found * numbers.scale,
                )
                k += cuda.blockDim.x
            i += cuda.gridDim.x

    return embedding_finish


@kept_on_disk
def total(kind: str) -> Kernel:
    """The sum of the values of the rows, weighted; and the values where they belong."""
    real = compute_type(kind)
    zero = real(0)
    load, store, integer = reader(kind), writer(kind), raw_reader("int64")
    leave = reduce.leave()

    def embedding_total(job, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        sum_ = zero
        i = cuda.blockIdx.x * cuda.blockDim.x + thread
        while i < job.rows:
            value = load(job.values, i)
            if job.weight != 0:
                weight = load(job.weight, i)
                value = zero if weight == zero else value * weight
            if job.source != 0:
                target = integer(job.order, i) if job.order != 0 else i
                store(job.source, target * job.source_stride, value)
            sum_ += value
            i += cuda.gridDim.x * cuda.blockDim.x
        leave(sum_, zero, thread, scratch, tail)

    return Kernel(embedding_total, (kernel_type(CudaBatchBlock), reduce.TAIL))
