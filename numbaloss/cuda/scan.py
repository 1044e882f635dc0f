"""A look at labels and weights: how many rows count, which are bad.

Its record is what the gradient of a mean is scaled by; kernels that follow on the stream read it
there, and the host does not wait.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from . import reduce
from .backend import Kernel, cuda, device_function
from .memory import any_reader
from .reduce import SCRATCH
from .rows import (
    CLASS_TARGET,
    CLASS_WEIGHT,
    CLASSES,
    FLAGS,
    INTEGERS,
    LABELLED,
    MASK,
    OF_TARGET,
    ROW_TARGET,
    ROWS,
    TARGET,
    TARGET_CODE,
    WEIGHT,
    WEIGHTED,
    beginnings,
    describer,
    label_reader,
)


@cache
def kernel(walked: bool) -> Kernel:
    """The kernel that counts rows, or sums their weights; a thread takes a row at a time.

    All class weights are in float64. Where these weigh dense targets, a row has the weight
    Σ w_j t_j.
    """
    describe, find = describer("float64", walked), beginnings(walked)
    load_any = any_reader("float64")
    leave, label_of = reduce.leave(), label_reader(walked)

    @device_function
    def judge(job, row):
        """Whether a row counts by its label, and whether that is out of range."""
        _, ignored, outside = label_of(job, row)
        return int(not ignored), int(outside and not ignored)

    def softmax_scan(job, tail):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread = cuda.threadIdx.x
        total, bad = 0.0, 0.0
        flags = job[FLAGS]
        threads = cuda.gridDim.x * cuda.blockDim.x
        row = cuda.blockIdx.x * cuda.blockDim.x + thread
        if flags & LABELLED and job[WEIGHT] == 0 and job[MASK] == 0 and not flags & WEIGHTED:
            # Several loads on their way, and whole numbers.
            counted, wrong_ones = 0, 0
            while row + 3 * threads < job[ROWS]:
                a, b = judge(job, row), judge(job, row + threads)
                c, d = judge(job, row + 2 * threads), judge(job, row + 3 * threads)
                counted += a[0] + b[0] + c[0] + d[0]
                wrong_ones += a[1] + b[1] + c[1] + d[1]
                row += 4 * threads
            total, bad = np.float64(counted), np.float64(wrong_ones)
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
            row += threads
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_scan, (types.UniTuple(types.int64, INTEGERS), reduce.TAIL))
