"""Maxima and sums of exponentials over blocks of similarities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..jobs.cuda_batch import BatchFlags
from ..vmath import log
from .backend import cuda
from .batch_kernels import apart, plain
from .dtypes import compute_type
from .memory import reader, writer
from .reduce import SCRATCH, WARP, WARP_LOG2, block_max, block_sum
from .rows import decay

_flag = BatchFlags.bit


@plain
def measure_rows(kind: str) -> Callable:
    """Maxima and sums of exponentials of rows, a stretch further."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store, falling, left_out = reader(kind), writer(kind), decay(kind), apart()

    def embedding_measure_rows(job, numbers):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, width, first = cuda.threadIdx.x, job.width, job.column
        scale = numbers.scale
        r = cuda.blockIdx.x
        while r < job.height:
            i = job.row + r
            low, high = left_out(job, i)
            low, high = low - first, high - first
            top, any_ = lowest, zero
            j = thread
            while j < width:
                if j < low or j >= high:
                    x = load(job.block, r * width + j)
                    top = x if x > top else top
                    any_ = real(1)
                j += cuda.blockDim.x
            any_ = block_max(any_, thread, scratch)
            former = load(job.maximum, i)
            top = block_max(top if top > former else former, thread, scratch)
            total = zero
            j = thread
            while j < width:
                if j < low or j >= high:
                    total += falling((load(job.block, r * width + j) - top) * scale)
                j += cuda.blockDim.x
            total = block_sum(total, thread, scratch)
            if thread == 0 and any_ != zero:
                seen = load(job.exponential_sum, i)
                if seen != zero:  # NaN stays, though no maximum knows it
                    total += seen * falling((top - former) * scale)
                store(job.maximum, i, top)
                store(job.exponential_sum, i, total)
            r += cuda.gridDim.x

    return embedding_measure_rows


@plain
def measure_columns(kind: str) -> Callable:
    """Maxima and sums of exponentials of columns, some rows further."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store, falling, left_out = reader(kind), writer(kind), decay(kind), apart()

    def embedding_measure_columns(job, numbers):
        shared = cuda.shared.array(256, real)
        thread, width = cuda.threadIdx.x, job.width
        lane, warp, warps = thread & (WARP - 1), thread >> WARP_LOG2, cuda.blockDim.x >> WARP_LOG2
        scale = numbers.scale
        begin = cuda.blockIdx.x * WARP
        while begin < width:
            c = begin + lane
            j = job.column + c
            former = load(job.column_maximum, j) if c < width else lowest
            top = former
            r = warp
            while r < job.height:
                low, high = left_out(job, job.row + r)
                if c < width and (j < low or j >= high):
                    x = load(job.block, r * width + c)
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
            while r < job.height:
                low, high = left_out(job, job.row + r)
                if c < width and (j < low or j >= high):
                    total += falling((load(job.block, r * width + c) - top) * scale)
                r += warps
            shared[thread] = total
            cuda.syncthreads()
            if warp == 0 and c < width:
                total = zero
                for w in range(warps):
                    total += shared[w * WARP + lane]
                seen = load(job.column_exponential_sum, j)
                if seen != zero:
                    total += seen * falling((top - former) * scale)
                store(job.column_maximum, j, top)
                store(job.column_exponential_sum, j, total)
            cuda.syncthreads()
            begin += cuda.gridDim.x * WARP

    return embedding_measure_columns


@plain
def close(kind: str) -> Callable:
    """From maxima and sums to the logs of sums, with the temperature and the bias."""
    real = compute_type(kind)
    zero, lowest = real(0), real(-np.inf)
    load, store = reader(kind), writer(kind)

    def embedding_close(job, numbers):
        r = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while r < job.height:
            i = job.row + r
            total = load(job.exponential_sum, i)
            found = lowest
            if total != zero:
                found = load(job.maximum, i) * numbers.scale + numbers.shift + real(log(total))
            store(job.log_sum, i, found)
            r += cuda.gridDim.x * cuda.blockDim.x

    return embedding_close
