"""A pass over labels and weights: how many rows count, how many are out of range.

Its sums are what the gradient of a mean is scaled by; kernels that follow on the stream read it
there, and the host does not wait.
"""

from __future__ import annotations

import numpy as np

from ..jobs.cuda_rows import CudaRows, RowAxis, RowFlags
from . import reduce
from .backend import cuda, device_function
from .fields import kernel_type
from .kernel import Kernel, kept_on_disk
from .memory import any_reader
from .reduce import SCRATCH
from .rows import (
    describer,
    label_reader,
)
from .strides import beginnings

_flag, _axis = RowFlags.bit, RowAxis.column


@kept_on_disk
def kernel(traversed: bool) -> Kernel:
    """The kernel that counts rows, or sums their weights; a thread takes a row at a time.

    All class weights are in float64. Where these weigh dense targets, a row has the weight
    Σ w_j t_j.
    """
    describe, find = describer("float64", traversed), beginnings(traversed, RowAxis.count)
    load_any = any_reader("float64")
    leave, label_of = reduce.leave(), label_reader(traversed)

    @device_function
    def inspect(job, row):
        """Whether a row counts by its label, and whether that is out of range."""
        _, ignored, outside = label_of(job, row)
        return int(not ignored), int(outside and not ignored)

    def softmax_scan(job, tail):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread = cuda.threadIdx.x
        total, bad = 0.0, 0.0
        flags = job.flags
        threads = cuda.gridDim.x * cuda.blockDim.x
        row = cuda.blockIdx.x * cuda.blockDim.x + thread
        if (
            flags & _flag.labelled
            and job.weight == 0
            and job.mask == 0
            and not flags & _flag.weighted
        ):
            # Several loads on their way, and whole numbers.
            counted, wrong_ones = 0, 0
            while row + 3 * threads < job.rows:
                a, b = inspect(job, row), inspect(job, row + threads)
                c, d = inspect(job, row + 2 * threads), inspect(job, row + 3 * threads)
                counted += a[0] + b[0] + c[0] + d[0]
                wrong_ones += a[1] + b[1] + c[1] + d[1]
                row += 4 * threads
            total, bad = np.float64(counted), np.float64(wrong_ones)
        while row < job.rows:
            weight, _, own, wrong, counts = describe(job, row)
            bad += wrong
            share = 1.0 if counts else 0.0
            if flags & _flag.weighted and counts:
                share = 0.0 if weight == 0.0 or own == 0.0 else weight * own
                if job.class_weight != 0 and not flags & _flag.labelled:
                    at = find(job.layout, row, job.target_row_stride, _axis.target)
                    mass, j = 0.0, 0
                    while j < job.classes:
                        w = load_any(job.class_weight, 1, j)
                        t = load_any(job.target, job.target_code, at + j * job.target_class_stride)
                        mass += 0.0 if w == 0.0 else w * t
                        j += 1
                    share = 0.0 if weight == 0.0 else weight * mass
            total += share
            row += threads
        leave(total, bad, thread, scratch, tail)

    return Kernel(softmax_scan, (kernel_type(CudaRows), reduce.TAIL))
