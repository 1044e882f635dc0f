"""Kernels of losses of numbers.

A loss brings two kernels a dtype and number of derivatives. One is for arrays that are contiguous,
of one dtype and at addresses of whole vectors: each thread reads and writes 16 bytes at a time.
The other takes any strides, and targets and weights of any dtype, element by element. What else a
call may ask for (weights, domains, values apart) is decided by numbers that all threads share, so
that it costs an instruction and no compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ..core.recoding import share
from ..formulas.structure import Structure
from ..jobs.cuda_elementwise import (
    ElementwiseAxis,
    ElementwiseFlags,
    ElementwiseLaunch,
    ElementwiseNumbers,
    SumAxis,
    SumLaunch,
)
from ..jobs.elementwise import TargetRecoding
from . import reduce
from .backend import cuda, device_function
from .dtypes import compute_type, lanes
from .fields import kernel_type
from .kernel import Kernel, kept_on_disk
from .memory import any_reader, of_halves, raw_reader, reader, unforeseen, writer
from .points import recoded, several, unusual, weighed, with_questions
from .reduce import SCRATCH
from .vector_memory import vector_reader, vector_words, vector_writer

_flag, _axis, _sum_axis = ElementwiseFlags.bit, ElementwiseAxis.column, SumAxis.column
_AXIS, _SUM_AXIS = ElementwiseAxis.count, SumAxis.count  # numbers of an axis


def _signature(structure: Structure, real: str) -> tuple[Any, ...]:
    """Types of a kernel's arguments: loss, arrays, numbers, recoding, tail."""
    return (
        structure.numba_type(getattr(types, real)),
        kernel_type(ElementwiseLaunch),
        kernel_type(ElementwiseNumbers, real),
        kernel_type(TargetRecoding, real),
        reduce.TAIL,
    )


@kept_on_disk
def vectors(structure: Structure, kind: str, derivatives: int, signed: bool = False) -> Kernel:
    """The kernel for contiguous arrays of one dtype, at addresses of whole vectors.

    Targets that are ``signed`` are asked for when it is compiled: of all that a call may ask for,
    they alone would cost every element an instruction.
    """
    real, count = compute_type(kind), lanes(kind)
    some, one_by_one = several(kind, derivatives, count), _one_by_one(kind, derivatives)
    is_unusual, weigh, recode = unusual(count), weighed(kind, count), recoded(kind, count)
    loads, stores = vector_reader(kind), vector_writer(kind)
    words, numbers_of, nothing = vector_words(kind)
    computed = np.dtype(real).name
    store_values, each = vector_writer(computed), lanes(computed)
    rest, halves, tell_halves = count - each, kind in ("float16", "bfloat16"), of_halves()
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def elementwise_vectors(loss, job, numbers, recoding, tail):
        if halves:
            tell_halves()
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        first = cuda.blockIdx.x * cuda.blockDim.x + thread
        threads = cuda.gridDim.x * cuda.blockDim.x
        scale, stop = begin(tail, numbers.scale, job.size)
        total, bad = 0.0, real(0)
        # By `while`, as elsewhere, this loop takes 12 registers more.
        for k in range(first, (stop + (count - 1)) // count, threads):
            i = k * count
            slow = i + count > stop
            if not slow:
                ws = nothing()
                if job.flags & _flag.weighted:
                    ws = words(job.weight, i)
                ps, ts = loads(job.prediction, i), loads(job.target, i)
                if signed:
                    ts = recode(ts)
                slow = is_unusual(ps, ts, numbers, job.flags)
                vs, gs, hs, part = some(loss, ps, ts, scale)
                if job.flags & _flag.weighted:
                    vs, gs, hs, part, negative = weigh(vs, gs, hs, numbers_of(ws))
                    slow = slow | negative
                # NaN of a formula is NaN of the derivatives too.
                slow = slow | (part != part)
                if not slow:
                    total += np.float64(part)
                    if job.value != 0:
                        store_values(job.value, i, vs[:each])
                        if rest > 0:
                            store_values(job.value, i + each, vs[rest:])
                    if with_gradient and not (with_hessian and job.gradient == 0):
                        stores(job.gradient, i, gs)
                    if with_hessian:
                        stores(job.hessian, i, hs)
            if slow:
                total, bad = one_by_one(
                    loss, job, numbers, scale, i, min(i + count, stop), total, bad
                )
        leave(total, bad, thread, scratch, tail)

    return Kernel(elementwise_vectors, _signature(structure, computed), structure)


@cache
def _one_by_one(kind: str, derivatives: int) -> Callable:
    """``compute(loss, job, numbers, scale, j, stop, total, bad)``: elements with all questions.

    Returns the total and the count of what is out of range with theirs.
    """
    one, same = with_questions(kind, derivatives), unforeseen()
    load, store, store_value = reader(kind), writer(kind), writer(np.dtype(compute_type(kind)).name)
    unit = compute_type(kind)(1)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1

    @device_function
    def compute(loss, job, numbers, scale, j, stop, total, bad):
        while j < stop:
            flags = same(job.flags)
            x = unit
            if flags & _flag.weighted:
                x = load(job.weight, j)
            p, t = load(job.prediction, j), load(job.target, j)
            value, gradient, hessian, wrong = one(loss, p, t, x, scale, numbers, flags)
            total += np.float64(value)
            bad += wrong
            if job.value != 0:
                store_value(job.value, j, value)
            if with_gradient and not (with_hessian and job.gradient == 0):
                store(job.gradient, j, gradient)
            if with_hessian:
                store(job.hessian, j, hessian)
            j = same(j + 1)
        return total, bad

    return compute


@kept_on_disk
def strided(structure: Structure, kind: str, derivatives: int) -> Kernel:
    """The kernel for any arrays: targets and weights of any dtype, all of any strides."""
    real = compute_type(kind)
    one, locate, target_of = with_questions(kind, derivatives), _locator(), _pairer(kind)
    computed = np.dtype(real).name
    load, store, store_value = reader(kind), writer(kind), writer(computed)
    load_any, byte = any_reader(computed), raw_reader("bool")
    unit, zero = real(1), real(0)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def elementwise_strided(loss, job, numbers, recoding, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread, flags = cuda.threadIdx.x, job.flags
        scale, stop = begin(tail, numbers.scale, job.size)
        total, bad = 0.0, zero
        i = cuda.blockIdx.x * cuda.blockDim.x + thread
        threads = cuda.gridDim.x * cuda.blockDim.x
        while i < stop:
            at_p, at_t, at_w, at_v, at_g, at_h, at_m, at_x = locate(job.layout, i)
            x = unit
            if job.weight != 0:
                x = load_any(job.weight, job.weight_code, at_w)
            if flags & _flag.masked:
                x = x if byte(job.mask, at_m) else zero
            y = load_any(job.target, job.target_code, at_t)
            if flags & _flag.paired:
                y, x = target_of(job, recoding, y, x, at_x)
            p = load(job.prediction, at_p)
            value, gradient, hessian, wrong = one(loss, p, y, x, scale, numbers, flags)
            total += np.float64(value)
            bad += wrong
            if job.value != 0:
                store_value(job.value, at_v, value)
            if with_gradient and not (with_hessian and job.gradient == 0):
                store(job.gradient, at_g, gradient)
            if with_hessian:
                store(job.hessian, at_h, hessian)
            i += threads
        leave(total, bad, thread, scratch, tail)

    return Kernel(elementwise_strided, _signature(structure, computed), structure)


@cache
def _locator() -> Callable:
    """``locate(layout, i)``: where element i lies in each of the arrays, in elements."""
    number = raw_reader("int64")

    @device_function
    def locate(layout, i):
        axes = number(layout, 0)
        # Positions in the arrays, which share the index.
        left, at_p, at_t, at_w, at_v, at_g, at_h = i, 0, 0, 0, 0, 0, 0
        at_m, at_x = 0, 0
        place, axis = 1, 0
        while axis < axes:
            index = left
            if axis + 1 < axes:  # the division costs more than all else
                length = number(layout, place + _axis.length)
                left = index // length
                index = index - left * length
            at_p += index * number(layout, place + _axis.prediction)
            at_t += index * number(layout, place + _axis.target)
            at_w += index * number(layout, place + _axis.weight)
            at_v += index * number(layout, place + _axis.value)
            at_g += index * number(layout, place + _axis.gradient)
            at_h += index * number(layout, place + _axis.hessian)
            at_m += index * number(layout, place + _axis.mask)
            at_x += index * number(layout, place + _axis.pos_weight)
            place += _AXIS
            axis += 1
        return at_p, at_t, at_w, at_v, at_g, at_h, at_m, at_x

    return locate


@cache
def _pairer(kind: str) -> Callable:
    """``target_of(job, recoding, y, x, at)``: target and weight, with a weight of positives."""
    real = compute_type(kind)
    double, share_, units = reader("float64"), device_function(share), (real(0), real(0.5), real(1))

    @device_function
    def target_of(job, recoding, y, x, at):
        bounds = recoding.low, recoding.high
        smoothing = recoding.smoothing_on, recoding.smoothing_off
        z = real(double(job.pos_weight, at))
        t = y * recoding.gain + recoding.summand
        return share_(t, x, z, bounds, smoothing, recoding.out_of_range, units)

    return target_of


@kept_on_disk
def sum_kernel() -> Kernel:
    """The kernel that sums what counts of an array of any dtype and strides, in float64."""
    load_any, number, byte = any_reader("float64"), raw_reader("int64"), raw_reader("bool")
    leave = reduce.leave()

    def sum_numbers(job, tail):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread = cuda.threadIdx.x
        first = cuda.blockIdx.x * cuda.blockDim.x + thread
        axes = number(job.layout, 0)
        total = 0.0
        i = first
        while i < job.size:
            left, at, at_m, place, axis = i, 0, 0, 1, 0
            while axis < axes:
                index = left
                if axis + 1 < axes:
                    length = number(job.layout, place + _sum_axis.length)
                    left = index // length
                    index = index - left * length
                at += index * number(job.layout, place + _sum_axis.array)
                at_m += index * number(job.layout, place + _sum_axis.mask)
                place += _SUM_AXIS
                axis += 1
            counts = True
            if job.mask != 0:
                counts = byte(job.mask, at_m) != 0
            if counts:
                total += load_any(job.array, job.code, at)
            i += cuda.gridDim.x * cuda.blockDim.x
        leave(total, 0.0, thread, scratch, tail)

    return Kernel(sum_numbers, (kernel_type(SumLaunch), reduce.TAIL))
