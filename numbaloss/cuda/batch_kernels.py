"""How kernels over blocks of similarities are made: what happens to pairs between two products.

As on the CPU, a row's positives stand side by side, so that no kernel reads labels. A block of
threads takes a row at a time; where columns are read, each warp takes some rows of 32
columns, and the warps then compare. Arithmetic is in the compute type; sums run in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps

import numpy as np
from numba import types

from ..formulas.structure import Structure
from ..jobs.cuda_batch import BatchFlags, BatchNumbers, CudaBatchBlock
from .backend import device_function
from .dtypes import compute_type
from .fields import kernel_type
from .kernel import Kernel, kept_on_disk
from .memory import raw_reader

_flag = BatchFlags.bit


def plain(make: Callable[[str], Callable]) -> Callable[[str], Kernel]:
    """A kernel that depends on no loss, one a dtype."""

    @kept_on_disk
    @wraps(make)
    def kernel(kind: str) -> Kernel:
        real = np.dtype(compute_type(kind)).name
        arguments = kernel_type(CudaBatchBlock), kernel_type(BatchNumbers, real)
        return Kernel(make(kind), arguments)

    return kernel


def of_loss(make: Callable[[str], Callable]) -> Callable[[Structure, str], Kernel]:
    """A kernel that calls the map of a loss, one a loss and compute type."""

    @kept_on_disk
    @wraps(make)
    def kernel(structure: Structure, kind: str) -> Kernel:
        arguments = kernel_type(CudaBatchBlock), kernel_type(BatchNumbers, kind)
        loss = structure.numba_type(getattr(types, kind))
        return Kernel(make(kind), (loss, *arguments), structure)

    return kernel


@cache
def apart() -> Callable:
    """``apart(job, i)``: the columns that row i is not summed over, from low to high."""
    read = raw_reader("int64")

    @device_function
    def apart(job, i):
        low = high = -1
        if job.flags & _flag.negatives_alone:
            low, high = read(job.starts, i), read(job.ends, i)
        elif job.flags & _flag.labelled:
            low, high = i, i + 1
        return low, high

    return apart
