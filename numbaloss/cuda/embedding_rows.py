"""Losses of two or three vectors that belong together, on a GPU, row by row.

As many threads share a row as it has work for: part of a warp, a warp, or the whole block. They
read it twice, the second time from the caches: its total or its products first, then, once the
loss has said what they come to, the gradients. Where all rows begin and end at addresses of whole
vectors, 16 bytes go in one access. How many threads share a row is no part of the code.

Numbers are those of the compute type: unlike on CPUs, squares of float32 numbers beyond 1e19
overflow, and those of numbers below 1e-23 vanish.

Loops are written with `while`: a range with a step costs a division of 64 bits, and registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types

from .. import vmath
from ..arrays import Operand
from ..core.loss import domain
from ..core.recoding import Recoding
from ..core.reductions import batch_length
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.points import point, root, term
from ..formulas.structure import Structure, parameters_of
from ..vmath.overloads import install as install_vmath
from . import backend, reduce
from .backend import Kernel, Place, cuda, device_function
from .calls import Call, address, blocks_for, code, layout
from .elementwise import sum_of
from .memory import (
    VECTOR_BYTES,
    any_reader,
    compute_type,
    itemsize,
    lanes,
    raw_reader,
    reader,
    vector_reader,
    vector_writer,
    writer,
)
from .reduce import SCRATCH
from .results import Record
from .rows import beginnings, group

__all__ = ["Place", "evaluate"]

# Integers that describe a call, all of them int64. Those of the arrays, first their addresses,
# come in one order.
FIRST, SECOND, THIRD, TARGET, WEIGHT, MASK, VALUES, OF_FIRST, OF_SECOND, OF_THIRD = range(10)
ARRAYS = 10
# Elements from row to row, and between neighbours in a row.
(
    ROW_FIRST, ROW_SECOND, ROW_THIRD, ROW_TARGET, ROW_WEIGHT, ROW_MASK, ROW_VALUES,
    ROW_OF_FIRST, ROW_OF_SECOND, ROW_OF_THIRD,
) = range(ARRAYS, 2 * ARRAYS)  # fmt: skip
(
    STEP_FIRST, STEP_SECOND, STEP_THIRD, _, _, _, _, STEP_OF_FIRST, STEP_OF_SECOND, STEP_OF_THIRD,
) = range(2 * ARRAYS, 3 * ARRAYS)  # fmt: skip
(
    ROWS,
    LENGTH,
    TARGET_CODE,  # dtypes
    WEIGHT_CODE,
    LAYOUT,  # address of the layout of rows along several axes
    WIDTH,  # threads that share a row, a power of two
    SHIFT,  # which one
    FLAGS,
) = range(3 * ARRAYS, 3 * ARRAYS + 8)
INTEGERS = 3 * ARRAYS + 8
# Of FLAGS.
CHECK_TARGET, CHECK_BINARY, SWAP, DIRECT, CHECK_WEIGHT, SIGNED = (1 << bit for bit in range(6))
# Numbers that describe a call, in the compute type.
SCALE, LOW, HIGH, NEAR_LOW, NEAR_HIGH = range(5)
REALS = 5

# Blocks for each multiprocessor.
BLOCKS_EACH = 16
# A warp takes a row of up to so many elements, if there are rows enough; then the block takes one.
WARP_LENGTH = 1024
# Accesses of a thread to each array, where a row needs less than a warp of them.
VECTORS_EACH, ELEMENTS_EACH = 2, 4


def form_of(structure: Structure) -> str:
    """What the kernel of a loss computes: "distance" or "cosine" of pairs, or "triplet"."""
    cls: Any
    (cls,) = structure.classes
    if cls.contract.vectors == 3:
        return "triplet"
    if cls.metric not in ("distance", "cosine"):
        raise ValueError(
            f"{cls.__name__}.metric must be 'distance' or 'cosine', not {cls.metric!r}"
        )
    return str(cls.metric)


@cache
def _sums(cosine: bool, count: int) -> Callable:
    """``add(loss, x, y)``: the total of ``count`` pairs of elements, or their products' sum."""
    if count > 1:
        half = count // 2
        part = _sums(cosine, half)

        @device_function
        def both(loss, x, y):
            return part(loss, x[:half], y[:half]) + part(loss, x[half:], y[half:])

        return both
    if cosine:
        return device_function(lambda loss, x, y: x[0] * y[0])

    @device_function
    def single(loss, x, y):
        difference = x[0] - y[0]
        value, _ = term(loss, difference, difference)
        return value

    return single


@cache
def _slopes(form: str, kind: str, count: int) -> Callable:
    """``slopes(loss, swapped, factors, a, b, c)``: the gradients by ``count`` elements of each."""
    if count > 1:
        half = count // 2
        part = _slopes(form, kind, half)

        @device_function
        def both(loss, swapped, factors, a, b, c):
            x = part(loss, swapped, factors, a[:half], b[:half], c[:half])
            y = part(loss, swapped, factors, a[half:], b[half:], c[half:])
            return x[0] + y[0], x[1] + y[1], x[2] + y[2]

        return both
    real = compute_type(kind)
    zero = real(0)

    @device_function
    def of_distance(loss, swapped, factors, a, b, c):
        difference = a[0] - b[0]
        _, slope = term(loss, difference, difference)
        g = factors[0] * real(slope)
        return (g,), (-g,), (zero,)

    @device_function
    def of_cosine(loss, swapped, factors, a, b, c):
        across, along_a, along_b = factors
        return (across * b[0] - along_a * a[0],), (across * a[0] - along_b * b[0],), (zero,)

    @device_function
    def of_triplet(loss, swapped, factors, a, b, c):
        near = a[0] - b[0]
        far = (b[0] if swapped else a[0]) - c[0]
        _, of_near = term(loss, near, near)
        _, of_far = term(loss, far, far)
        pull, push = factors[0] * real(of_near), factors[1] * real(of_far)
        if swapped:
            return (pull,), (push - pull,), (-push,)
        return (pull + push,), (-pull,), (-push,)

    return {"distance": of_distance, "cosine": of_cosine, "triplet": of_triplet}[form]


@cache
def _judge(form: str, kind: str) -> Callable:
    """From the totals of a row to its value, and what its gradients are made of.

    ``judge(loss, flags, scale, sums, target, weight)``: the value, whether there is a gradient,
    whether the negative is compared with the positive, and the factors of the slopes.
    """
    install_vmath()
    real = compute_type(kind)
    zero, one = real(0), real(1)
    sqrt = vmath.sqrt

    @device_function
    def of_distance(loss, flags, scale, sums, target, weight):
        total = sums[0]
        distance, of_total = root(loss, total, total)
        value_, slope_ = point(loss, real(distance), target)
        value, slope = real(value_), real(slope_)
        # NaN is settled here rather than in every loss: min, max and comparisons lose it.
        if (total != total) or (target != target):
            value = slope = total + target
        live = weight != zero
        # Not a product alone: 0 * NaN is NaN.
        value = value * weight if live else zero
        return value, live, False, (slope * real(of_total) * weight * scale, zero, zero)

    @device_function
    def of_cosine(loss, flags, scale, sums, target, weight):
        both, square_a, square_b = sums
        lengths = real(sqrt(square_a)) * real(sqrt(square_b))
        nothing = (square_a == zero) or (square_b == zero)
        cosine = zero if nothing else both / lengths
        cosine = one if cosine > one else cosine
        cosine = -one if cosine < -one else cosine
        value_, slope_ = point(loss, cosine, target)
        value, slope = real(value_), real(slope_)
        lost = both + square_a + square_b + target
        if lost != lost:
            value = slope = lost
            nothing = False
        live = (weight != zero) and not nothing
        value = value * weight if weight != zero else zero
        factor = slope * weight * scale
        across = along_a = along_b = zero
        if live:
            across = factor / lengths
            along_a, along_b = factor * cosine / square_a, factor * cosine / square_b
        return value, live, False, (across, along_a, along_b)

    @device_function
    def of_triplet(loss, flags, scale, sums, target, weight):
        near, far, across = sums
        positive_, of_near_ = root(loss, near, near)
        negative_, of_far_ = root(loss, far, far)
        negative, of_far = real(negative_), real(of_far_)
        swapped = False
        if flags & SWAP:
            other_, of_across = root(loss, across, across)
            other = real(other_)
            if other < negative:
                swapped, negative, of_far = True, other, real(of_across)
        value_, pull_, push_ = point(loss, real(positive_), negative)
        value, pull, push = real(value_), real(pull_), real(push_)
        lost = near + far + across
        if lost != lost:
            value = pull = push = lost
        live = weight != zero
        value = value * weight if live else zero
        share = weight * scale
        return value, live, swapped, (pull * real(of_near_) * share, push * of_far * share, zero)

    return {"distance": of_distance, "cosine": of_cosine, "triplet": of_triplet}[form]


def signature(structure: Structure, real: str) -> tuple[Any, ...]:
    """Types of a kernel's arguments: loss, integers, numbers, tail."""
    dtype = getattr(types, real)
    return (
        structure.numba_type(dtype),
        types.UniTuple(types.int64, INTEGERS),
        types.UniTuple(dtype, REALS),
        reduce.TAIL,
    )


@cache
def kernel(structure: Structure, kind: str, derivatives: int, walked: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or ``walked`` ones."""
    install_vmath()
    real, count = compute_type(kind), lanes(kind)
    computed, form = np.dtype(real).name, form_of(structure)
    zero, unit, half = real(0), real(1), real(0.5)
    nothing, nothings = (zero,), (zero,) * count
    load, loads, store, stores = (
        reader(kind), vector_reader(kind), writer(kind), vector_writer(kind),
    )  # fmt: skip
    load_any, store_value = any_reader(computed), writer(computed)
    load_byte = raw_reader("bool")
    find, (total_of, _) = beginnings(walked, LAYOUT, ARRAYS), group()
    cosine, triplet, with_gradient = form == "cosine", form == "triplet", derivatives > 0
    with_target, several = form != "triplet", form != "distance"
    # Two vectors of each array at a time, so that enough reads are under way; three arrays of
    # halves are as much at once.
    doubled = not (triplet and count > 4)
    add, adds, adds_two = (_sums(cosine, n) for n in (1, count, 2 * count))
    slopes, many_slopes = _slopes(form, kind, 1), _slopes(form, kind, count)
    judge = _judge(form, kind)
    begin, leave = reduce.begin(computed), reduce.leave()

    def embedding_rows(loss, job, reals, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        length, width, flags = job[LENGTH], job[WIDTH], job[FLAGS]
        scale, rows = begin(tail, reals[SCALE], job[ROWS])
        at_once = cuda.blockDim.x >> job[SHIFT]
        mine, lane = thread >> job[SHIFT], thread & (width - 1)
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            present = row < rows
            target, weight, wrong = zero, unit, zero
            at_a, at_b, at_c = 0, 0, 0
            if present:
                at_a = find(job, row, job[ROW_FIRST], 1 + FIRST)
                at_b = find(job, row, job[ROW_SECOND], 1 + SECOND)
                if triplet:
                    at_c = find(job, row, job[ROW_THIRD], 1 + THIRD)
                if job[WEIGHT] != 0:
                    at = find(job, row, job[ROW_WEIGHT], 1 + WEIGHT)
                    weight = load_any(job[WEIGHT], job[WEIGHT_CODE], at)
                    if flags & CHECK_WEIGHT:
                        wrong += zero if weight >= zero else unit
                if job[MASK] != 0:
                    at = find(job, row, job[ROW_MASK], 1 + MASK)
                    counts = load_byte(job[MASK], at) != 0
                    weight, wrong = (weight, wrong) if counts else (zero, zero)
                if with_target:
                    if job[TARGET] != 0:
                        at = find(job, row, job[ROW_TARGET], 1 + TARGET)
                        target = load_any(job[TARGET], job[TARGET_CODE], at)
                    if flags & SIGNED:
                        target = target * half + half
                    if flags & CHECK_TARGET and weight != zero:
                        off = (target < reals[NEAR_LOW]) or (target > reals[NEAR_HIGH])
                        wrong += unit if off else zero
                        # A rounding beyond the domain: the bound is meant.
                        target = reals[LOW] if target < reals[LOW] else target
                        target = reals[HIGH] if target > reals[HIGH] else target
                    if flags & CHECK_BINARY and weight != zero:
                        off = (target == target) and target != reals[LOW] and target != reals[HIGH]
                        wrong += unit if off else zero
            # Rows that do not count are not looked at.
            size = length if present and weight != zero else 0
            s, t, u = zero, zero, zero
            if flags & DIRECT:
                j, step = lane * count, width * count
                if doubled:
                    while j + step < size:
                        a = loads(job[FIRST], at_a + j) + loads(job[FIRST], at_a + j + step)
                        b = loads(job[SECOND], at_b + j) + loads(job[SECOND], at_b + j + step)
                        if triplet:
                            c = loads(job[THIRD], at_c + j) + loads(job[THIRD], at_c + j + step)
                            t += adds_two(loss, a, c)
                            if flags & SWAP:
                                u += adds_two(loss, b, c)
                        s += adds_two(loss, a, b)
                        if cosine:
                            t += adds_two(loss, a, a)
                            u += adds_two(loss, b, b)
                        j += 2 * step
                while j < size:
                    p, q = loads(job[FIRST], at_a + j), loads(job[SECOND], at_b + j)
                    s += adds(loss, p, q)
                    if cosine:
                        t += adds(loss, p, p)
                        u += adds(loss, q, q)
                    if triplet:
                        r = loads(job[THIRD], at_c + j)
                        t += adds(loss, p, r)
                        if flags & SWAP:
                            u += adds(loss, q, r)
                    j += step
            else:
                j = lane
                while j < size:
                    x = (load(job[FIRST], at_a + j * job[STEP_FIRST]),)
                    y = (load(job[SECOND], at_b + j * job[STEP_SECOND]),)
                    s += add(loss, x, y)
                    if cosine:
                        t += add(loss, x, x)
                        u += add(loss, y, y)
                    if triplet:
                        z = (load(job[THIRD], at_c + j * job[STEP_THIRD]),)
                        t += add(loss, x, z)
                        if flags & SWAP:
                            u += add(loss, y, z)
                    j += width
            s = total_of(s, width, thread, scratch)
            if several:
                t = total_of(t, width, thread, scratch)
                if cosine or flags & SWAP:
                    u = total_of(u, width, thread, scratch)
            if present:
                value, live, swapped, factors = judge(loss, flags, scale, (s, t, u), target, weight)
                if lane == 0:
                    total += np.float64(value)
                    bad += wrong
                    if job[VALUES] != 0:
                        at = find(job, row, job[ROW_VALUES], 1 + VALUES)
                        store_value(job[VALUES], at, value)
                if with_gradient:
                    to_a = find(job, row, job[ROW_OF_FIRST], 1 + OF_FIRST)
                    to_b = find(job, row, job[ROW_OF_SECOND], 1 + OF_SECOND)
                    to_c = 0
                    if triplet:
                        to_c = find(job, row, job[ROW_OF_THIRD], 1 + OF_THIRD)
                    if flags & DIRECT:
                        j = lane * count
                        while j < length:
                            gs, hs, ks = nothings, nothings, nothings
                            if live:
                                a, b = loads(job[FIRST], at_a + j), loads(job[SECOND], at_b + j)
                                c = nothings
                                if triplet:
                                    c = loads(job[THIRD], at_c + j)
                                gs, hs, ks = many_slopes(loss, swapped, factors, a, b, c)
                            stores(job[OF_FIRST], to_a + j, gs)
                            stores(job[OF_SECOND], to_b + j, hs)
                            if triplet:
                                stores(job[OF_THIRD], to_c + j, ks)
                            j += width * count
                    else:
                        j = lane
                        while j < length:
                            g, h, k = nothing, nothing, nothing
                            if live:
                                x = (load(job[FIRST], at_a + j * job[STEP_FIRST]),)
                                y = (load(job[SECOND], at_b + j * job[STEP_SECOND]),)
                                z = nothing
                                if triplet:
                                    z = (load(job[THIRD], at_c + j * job[STEP_THIRD]),)
                                g, h, k = slopes(loss, swapped, factors, x, y, z)
                            store(job[OF_FIRST], to_a + j * job[STEP_OF_FIRST], g[0])
                            store(job[OF_SECOND], to_b + j * job[STEP_OF_SECOND], h[0])
                            if triplet:
                                store(job[OF_THIRD], to_c + j * job[STEP_OF_THIRD], k[0])
                            j += width
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(embedding_rows, signature(structure, computed), structure)


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
        check = CHECK_BINARY if of_target.binary else CHECK_TARGET
        plans[real] = Plan(
            Structure.of(lowered),
            parameters_of(lowered, dtype.type),
            0 if of_target.everything else check,
            Recoding.of(loss) or Recoding(),
            SWAP if getattr(loss, "swap", False) else 0,
        )
    return plans[real]


def evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    target: Operand | None,
    weight: Operand | None,
    mask: Operand | None,
    value: Operand | None,
    gradients: Sequence[Operand] | None,
    reduction: str,
    gradient_scale: float,
    check: bool,
    place: Place,
) -> Record:
    """Ask the GPU for the value; value and gradients will receive what they are for.

    Nothing waits for the GPU. The record tells how many numbers were out of range.
    """
    *shape, length = vectors[0].array.shape
    kind, real, count = vectors[0].kind, vectors[0].compute, math.prod(shape)
    found = plan(loss, real)
    operands: list[Operand | None] = [*vectors, *[None] * (3 - len(vectors))]
    operands += [target, weight, mask, value, *(gradients or ())]
    operands += [None] * (ARRAYS - len(operands))
    call = Call(place, operands)
    earlier, divisor, scale = None, 1.0, gradient_scale
    if reduction == "weighted_mean" and weight is not None:
        earlier, divisor = sum_of(call, weight, mask, gradient_scale), 0.0
    elif reduction in ("mean", "weighted_mean") and mask is not None:
        earlier, divisor = sum_of(call, mask, None, gradient_scale), 0.0
    elif reduction != "sum" and reduction != "none":
        divisor = batch_length(tuple(shape)) if reduction == "batchmean" else float(count)
        scale = gradient_scale / divisor
    job, walked = _job(call, operands, tuple(shape), length)
    job[FLAGS] = found.swap | (found.check if check and target is not None else 0)
    if check and weight is not None:
        job[FLAGS] |= CHECK_WEIGHT
    if not walked and _in_vectors(job, kind):
        job[FLAGS] |= DIRECT
    _share(job, kind, place.device)
    cast = np.dtype(real).type
    of_targets = found.recoding.limits(
        domain(loss.target_domain), np.dtype(real), target.kind if target else real
    )
    job[FLAGS] |= SIGNED if found.recoding.signed else 0
    numbers = cast(scale), *map(cast, of_targets)
    arguments = found.parameters, tuple(job), numbers
    units = -(-count // (backend.THREADS >> job[SHIFT]))
    return call.launch(
        kernel(found.structure, kind, 0 if gradients is None else 1, walked),
        blocks_for(units, place.device, BLOCKS_EACH),
        arguments,
        divisor=divisor,
        earlier=earlier,
    )


def _job(
    call: Call, operands: Sequence[Operand | None], shape: tuple[int, ...], length: int
) -> tuple[list[int], bool]:
    """The integers that describe a launch, and whether rows lie along several axes."""
    by_row = TARGET, WEIGHT, MASK, VALUES
    job = [0] * INTEGERS
    job[:ARRAYS] = map(address, operands)
    job[ROWS], job[LENGTH] = math.prod(shape), length
    job[TARGET_CODE], job[WEIGHT_CODE] = code(operands[TARGET]), code(operands[WEIGHT])
    if all(one is None or one.array.flags.c_contiguous for one in operands):
        # What follows would come to the same.
        for slot, one in enumerate(operands):
            if one is not None:
                job[ARRAYS + slot] = 1 if slot in by_row else length
                job[2 * ARRAYS + slot] = 0 if slot in by_row else 1
        return job, False
    of_rows: list[Operand | None] = []
    for slot, one in enumerate(operands):
        if one is not None and slot not in by_row:
            job[2 * ARRAYS + slot] = one.array.strides[-1] // one.array.itemsize
            one = one._replace(array=one.array[..., 0]) if length else None
        of_rows.append(one)
    walk = layout(shape, of_rows)
    walked = int(walk[0]) > 1
    if walked:
        job[LAYOUT] = call.upload(walk)
    job[ARRAYS : 2 * ARRAYS] = walk[2 : 2 + ARRAYS].tolist()
    return job, walked


def _in_vectors(job: list[int], kind: str) -> bool:
    """Whether every row of every array begins and ends where a vector may."""
    vectors = [
        slot for slot in (FIRST, SECOND, THIRD, OF_FIRST, OF_SECOND, OF_THIRD) if job[slot] != 0
    ]
    return job[LENGTH] % lanes(kind) == 0 and all(
        job[slot] % VECTOR_BYTES == 0
        and job[ARRAYS + slot] * itemsize(kind) % VECTOR_BYTES == 0
        and job[2 * ARRAYS + slot] == 1
        for slot in vectors
    )


def _share(job: list[int], kind: str, device: int) -> None:
    """How many threads take a row: as many as have something to do, in powers of two."""
    threads, length = backend.THREADS, job[LENGTH]
    # Elements of a thread's share, for which it is worth its place.
    each = VECTORS_EACH * lanes(kind) if job[FLAGS] & DIRECT else ELEMENTS_EACH
    width = 1
    while width < min(threads, reduce.WARP) and width * each < length:
        width *= 2
    few = job[ROWS] * width < threads * backend.processors(device)
    if length > WARP_LENGTH or (few and length > each * reduce.WARP):
        width = threads
    job[WIDTH], job[SHIFT] = width, width.bit_length() - 1
