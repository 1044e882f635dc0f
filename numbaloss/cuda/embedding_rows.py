"""Losses of two or three vectors that belong together, on a GPU: from arrays to a launch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.recoding import Recoding
from ..core.reductions import batch_length
from ..core.request import Request
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.structure import Structure, parameters_of
from ..jobs.cuda_vectors import CudaVectorRows, VectorAxis, VectorFlags, VectorNumbers
from . import backend, reduce
from .backend import Place
from .calls import Call, address, blocks_for, code, layout
from .dtypes import VECTOR_BYTES, itemsize, lanes
from .elementwise import sum_of
from .embedding_kernels import kernel
from .fields import new
from .results import DeviceSums

_flag = VectorFlags.bit
# The arrays in the order of :class:`VectorAxis`, and those that are vectors.
NAMES = tuple(VectorAxis.__annotations__)[1:]
VECTORS = ("first", "second", "third", "first_gradient", "second_gradient", "third_gradient")
# Of each array, the fields for its address and strides; neighbours in a row are those of vectors.
FIELDS = [
    (name, f"{name}_row_stride", f"{name}_stride" if name in VECTORS else "") for name in NAMES
]
# Blocks for each multiprocessor.
BLOCKS_EACH = 16
# A warp takes a row of up to so many elements, if there are rows enough; then the block takes one.
WARP_LENGTH = 1024
# Accesses of a thread to each array, where a row needs less than a warp of them.
VECTORS_EACH, ELEMENTS_EACH = 2, 4


class Plan(NamedTuple):
    """What a loss brings to the kernels of one compute type; kept with the loss."""

    structure: Structure
    parameters: Any
    check: int  # the flag of what targets are held against
    recoding: Recoding
    swap: int


def plan(loss: Any, real: str) -> Plan:
    """The plan of a loss for a compute type."""
    plans = plans_of(loss, "_gpu_plans")
    if real not in plans:
        lowered, dtype = lower_for(loss, real), np.dtype(real)
        of_target = domain(loss.target_domain)
        check = _flag.check_binary if of_target.binary else _flag.check_target
        plans[real] = Plan(
            Structure.of(lowered),
            parameters_of(lowered, dtype.type),
            0 if of_target.everything else check,
            Recoding.of(loss) or Recoding(),
            _flag.swap if getattr(loss, "swap", False) else 0,
        )
    return plans[real]


def run(request: Request, place: Place) -> DeviceSums | None:
    """Ask the GPU for the value; value and gradients will receive what they are for.

    Nothing waits for the GPU. The record tells how many numbers were out of range; None for no
    rows at all.
    """
    loss, check, reduction = request.loss, request.check, request.reduction
    each, gradient_scale = loss.contract.vectors, request.gradient_scale
    vectors: Any = request.inputs[:each]
    target, weight, mask = request.inputs[each:]
    value, *gradients = request.outputs
    *shape, length = vectors[0].array.shape
    kind, real, count = vectors[0].kind, vectors[0].compute, math.prod(shape)
    if not count:
        return None
    found = plan(loss, real)
    absent = [None] * (3 - len(vectors))
    operands = [*vectors, *absent, target, weight, mask, value, *gradients]
    operands += [None] * (len(NAMES) - len(operands))
    call = Call(place, operands)
    earlier, divisor, scale = None, 1.0, gradient_scale
    if reduction == "weighted_mean" and weight is not None:
        earlier, divisor = sum_of(call, weight, mask, gradient_scale), 0.0
    elif reduction in ("mean", "weighted_mean") and mask is not None:
        earlier, divisor = sum_of(call, mask, None, gradient_scale), 0.0
    elif reduction != "sum" and reduction != "none":
        divisor = batch_length(tuple(shape)) if reduction == "batchmean" else float(count)
        scale = gradient_scale / divisor
    job, traversed = _job(call, operands, tuple(shape), length)
    job.target_code, job.weight_code = code(target), code(weight)
    job.flags = found.swap | (found.check if check and target is not None else 0)
    job.flags |= _flag.check_weight if check and weight is not None else 0
    job.flags |= _flag.signed if found.recoding.signed else 0
    if not traversed and _in_vectors(job, kind):
        job.flags |= _flag.in_vectors
    _share(job, kind, place.device)
    numbers = new(VectorNumbers)
    numbers.scale = scale
    numbers.low, numbers.high, numbers.near_low, numbers.near_high = found.recoding.limits(
        domain(loss.target_domain), np.dtype(real), target.kind if target else real
    )
    arguments = found.parameters, job, numbers
    units = -(-count // (backend.THREADS >> job.row_threads_log2))
    return call.launch(
        kernel(found.structure, kind, request.derivatives, traversed),
        blocks_for(units, place.device, BLOCKS_EACH),
        arguments,
        divisor=divisor,
        earlier=earlier,
    )


def _job(
    call: Call, operands: Sequence[Operand | None], shape: tuple[int, ...], length: int
) -> tuple[CudaVectorRows, bool]:
    """The arguments of a launch, and whether rows lie along several axes."""
    job = new(CudaVectorRows)
    job.rows, job.length = math.prod(shape), length
    contiguous = all(one is None or one.array.flags.c_contiguous for one in operands)
    for (name, row_stride, stride), one in zip(FIELDS, operands):
        if one is None:
            continue
        setattr(job, name, address(one))
        if contiguous:
            # What follows would come to the same.
            setattr(job, row_stride, length if stride else 1)
            if stride:
                setattr(job, stride, 1)
    if contiguous:
        return job, False
    of_rows: list[Operand | None] = []
    for (_, _, stride), one in zip(FIELDS, operands):
        if one is not None and stride:
            setattr(job, stride, one.array.strides[-1] // one.array.itemsize)
            one = one._replace(array=one.array[..., 0]) if length else None
        of_rows.append(one)
    axes = layout(shape, of_rows)
    traversed = int(axes[0]) > 1
    if traversed:
        job.layout = call.upload(axes)
    for (_, row_stride, _), step in zip(FIELDS, axes[2:].tolist()):
        setattr(job, row_stride, step)
    return job, traversed


def _in_vectors(job: CudaVectorRows, kind: str) -> bool:
    """Whether every row of every array begins and ends where a vector may."""
    size = itemsize(kind)
    return job.length % lanes(kind) == 0 and all(
        getattr(job, name) % VECTOR_BYTES == 0
        and getattr(job, row_stride) * size % VECTOR_BYTES == 0
        and getattr(job, stride) == 1
        for name, row_stride, stride in FIELDS
        if stride and getattr(job, name) != 0
    )


def _share(job: CudaVectorRows, kind: str, device: int) -> None:
    """How many threads take a row: as many as have something to do, in powers of two."""
    threads, length = backend.THREADS, job.length
    # Elements of a thread's share, for which it is worth its place.
    each = VECTORS_EACH * lanes(kind) if job.flags & _flag.in_vectors else ELEMENTS_EACH
    width = 1
    while width < min(threads, reduce.WARP) and width * each < length:
        width *= 2
    few = job.rows * width < threads * backend.processors(device)
    if length > WARP_LENGTH or (few and length > each * reduce.WARP):
        width = threads
    job.row_threads, job.row_threads_log2 = width, width.bit_length() - 1
