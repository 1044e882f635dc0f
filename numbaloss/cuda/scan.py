"""A look at labels and weights: how many rows count, which are bad.

Its record is what the gradient of a mean is scaled by; kernels that follow on the stream read it
there, and the host does not wait.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from . import reduce
from .backend import Kernel, cuda
from .memory import any_reader
from .reduce import SCRATCH
from .rows import (
    CLASS_TARGET,
    CLASS_WEIGHT,
    CLASSES,
    FLAGS,
    INTEGERS,
    LABELLED,
    OF_TARGET,
    ROW_TARGET,
    ROWS,
    TARGET,
    TARGET_CODE,
    WEIGHTED,
    beginnings,
    describer,
)


@cache
def kernel(walked: bool) -> Kernel:
    """The kernel that counts rows, or sums their weights; a thread takes a row at a time.

    All class weights are in float64. Where these weigh dense targets, a row has the weight
    Σ w_j t_j.
    """
    describe, find = describer("float64", walked), beginnings(walked)
    load_any = any_reader("float64")
    leave = reduce.leave()

    def softmax_scan(job, tail):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread = cuda.threadIdx.x
        total, bad = 0.0, 0.0
        flags = job[FLAGS]
        row = cuda.blockIdx.x * cuda.blockDim.x + thread
        while row < job[ROWS]:
            weight, _, own, wrong, counts = describe(job, row)
            bad += wrong
            share = 1.0 if counts else 0.0
            if flags & WEIGHTED and counts:
                share = 0.0 if weight == 0.0 or own == 0.0 else weight * own
                if job[CLASS_WEIGHT] != 0 and not flags & LABELLED:
                    at = find(job, row, job[ROW_TARGET], OF_TARGET)
                    mass, j = 0.0, 0
                    while j < job[CLASSES]:
                        w = load_any(job[CLASS_WEIGHT], 1, j)
                        t = load_any(job[TARGET], job[TARGET_CODE], at + j * job[CLASS_TARGET])
                        mass += 0.0 if w == 0.0 else w * t
                        j += 1
                    share = 0.0 if weight == 0.0 else weight * mass
            total += share
            row += cuda.gridDim.x * cuda.blockDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_scan, (types.UniTuple(types.int64, INTEGERS), reduce.TAIL))
