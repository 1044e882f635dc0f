"""Kernels of losses of two or three vectors that belong together, row by row.

As many threads share a row as it has work for: part of a warp, a warp, or the whole block. They
read it twice, the second time from the caches: its total or its products first, then, once the
loss has said what they come to, the gradients. Where all rows begin and end at addresses of whole
vectors, 16 bytes go in one access. How many threads share a row is no part of the code.

Numbers are those of the compute type: unlike on CPUs, squares of float32 numbers beyond 1e19
overflow, and those of numbers below 1e-23 vanish.

Loops are written with `while`: a range with a step costs a division of 64 bits, and registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ..formulas.structure import Structure
from ..jobs.cuda_vectors import CudaVectorRows, VectorAxis, VectorFlags, VectorNumbers
from . import reduce
from .backend import cuda, device_function
from .dtypes import compute_type, lanes
from .embedding_maths import finisher, form_of, slopes, sums
from .fields import kernel_type
from .kernel import Kernel, kept_on_disk
from .memory import any_reader, raw_reader, reader, writer
from .reduce import SCRATCH
from .rows import group
from .strides import beginnings
from .vector_memory import vector_reader, vector_writer

_flag, _axis = VectorFlags.bit, VectorAxis.column


def signature(structure: Structure, real: str) -> tuple[Any, ...]:
    """Types of a kernel's arguments: loss, arrays, numbers, tail."""
    return (
        structure.numba_type(getattr(types, real)),
        kernel_type(CudaVectorRows),
        kernel_type(VectorNumbers, real),
        reduce.TAIL,
    )


@kept_on_disk
def kernel(structure: Structure, kind: str, derivatives: int, traversed: bool = False) -> Kernel:
    """The kernel of a loss for one dtype, and for rows along one axis or along several ones."""
    real = compute_type(kind)
    computed, form = np.dtype(real).name, form_of(structure)
    zero, store_value = real(0), writer(computed)
    find, (total_of, _, _) = beginnings(traversed, VectorAxis.count), group()
    cosine, with_gradient = form == "cosine", derivatives > 0
    several = form != "distance"
    describe, measure = _describer(form, kind, traversed), _measurer(form, kind)
    finish, emit = finisher(form, kind), _emitter(form, kind, traversed)
    begin, leave = reduce.begin(computed), reduce.leave()

    def embedding_rows(loss, job, numbers, tail):
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        width, flags = job.row_threads, job.flags
        scale, rows = begin(tail, numbers.scale, job.rows)
        at_once = cuda.blockDim.x >> job.row_threads_log2
        mine, lane = thread >> job.row_threads_log2, thread & (width - 1)
        total, bad = 0.0, zero
        first = cuda.blockIdx.x * at_once
        while first < rows:
            row = first + mine
            present = row < rows
            target, weight, wrong, at = describe(job, numbers, row, present)
            # Rows that do not count are not read.
            size = job.length if present and weight != zero else 0
            s, t, u = measure(loss, job, at, size, lane)
            s = total_of(s, width, thread, scratch)
            if several:
                t = total_of(t, width, thread, scratch)
                if cosine or flags & _flag.swap:
                    u = total_of(u, width, thread, scratch)
            if present:
                value, live, swapped, factors = finish(
                    loss, flags, scale, (s, t, u), target, weight
                )
                if lane == 0:
                    total += np.float64(value)
                    bad += wrong
                    if job.value != 0:
                        place = find(job.layout, row, job.value_row_stride, _axis.value)
                        store_value(job.value, place, value)
                if with_gradient:
                    emit(loss, job, row, at, lane, live, swapped, factors)
            first += at_once * cuda.gridDim.x
        leave(total, bad, thread, scratch, tail)

    return Kernel(embedding_rows, signature(structure, computed), structure)


@cache
def _describer(form: str, kind: str, traversed: bool) -> Callable:
    """``describe(job, numbers, row, present)``: target, weight, 1 if something is wrong, and where
    the row begins in each of the vectors' arrays."""
    real = compute_type(kind)
    computed = np.dtype(real).name
    zero, unit, half = real(0), real(1), real(0.5)
    load_any, load_byte = any_reader(computed), raw_reader("bool")
    find = beginnings(traversed, VectorAxis.count)
    triplet, with_target = form == "triplet", form != "triplet"

    @device_function
    def target_of(job, numbers, row, weight):
        target, wrong = zero, zero
        if job.target != 0:
            at = find(job.layout, row, job.target_row_stride, _axis.target)
            target = load_any(job.target, job.target_code, at)
        if job.flags & _flag.signed:
            target = target * half + half
        if job.flags & _flag.check_target and weight != zero:
            off = (target < numbers.near_low) or (target > numbers.near_high)
            wrong += unit if off else zero
            # A rounding beyond the domain: the bound is meant.
            target = numbers.low if target < numbers.low else target
            target = numbers.high if target > numbers.high else target
        if job.flags & _flag.check_binary and weight != zero:
            off = (target == target) and target != numbers.low and target != numbers.high
            wrong += unit if off else zero
        return target, wrong

    @device_function
    def describe(job, numbers, row, present):
        target, weight, wrong = zero, unit, zero
        at_a, at_b, at_c = 0, 0, 0
        if present:
            at_a = find(job.layout, row, job.first_row_stride, _axis.first)
            at_b = find(job.layout, row, job.second_row_stride, _axis.second)
            if triplet:
                at_c = find(job.layout, row, job.third_row_stride, _axis.third)
            if job.weight != 0:
                at = find(job.layout, row, job.weight_row_stride, _axis.weight)
                weight = load_any(job.weight, job.weight_code, at)
                if job.flags & _flag.check_weight:
                    wrong += zero if weight >= zero else unit
            if job.mask != 0:
                at = find(job.layout, row, job.mask_row_stride, _axis.mask)
                counts = load_byte(job.mask, at) != 0
                weight, wrong = (weight, wrong) if counts else (zero, zero)
            if with_target:
                target, off_target = target_of(job, numbers, row, weight)
                wrong += off_target
        return target, weight, wrong, (at_a, at_b, at_c)

    return describe


@cache
def _measurer(form: str, kind: str) -> Callable:
    """``measure(loss, job, at, size, lane)``: a thread's share of the totals of a row."""
    real, count = compute_type(kind), lanes(kind)
    zero, load = real(0), reader(kind)
    cosine, triplet = form == "cosine", form == "triplet"
    add, in_vectors = sums(cosine, 1), _measurer_of_vectors(form, kind)

    @device_function
    def measure(loss, job, at, size, lane):
        s, t, u = zero, zero, zero
        if job.flags & _flag.in_vectors:
            s, t, u = in_vectors(loss, job, at, size, lane * count)
        else:
            j = lane
            while j < size:
                x = (load(job.first, at[0] + j * job.first_stride),)
                y = (load(job.second, at[1] + j * job.second_stride),)
                s += add(loss, x, y)
                if cosine:
                    t += add(loss, x, x)
                    u += add(loss, y, y)
                if triplet:
                    z = (load(job.third, at[2] + j * job.third_stride),)
                    t += add(loss, x, z)
                    if job.flags & _flag.swap:
                        u += add(loss, y, z)
                j += job.row_threads
        return s, t, u

    return measure


@cache
def _measurer_of_vectors(form: str, kind: str) -> Callable:
    """``measure(loss, job, at, size, j)``: the same, from element j on, in whole vectors."""
    real, count = compute_type(kind), lanes(kind)
    zero, loads = real(0), vector_reader(kind)
    cosine, triplet = form == "cosine", form == "triplet"
    # Two vectors of each array at a time, so that enough reads are under way; three arrays of
    # halves are as much at once.
    doubled = not (triplet and count > 4)
    adds, adds_two = sums(cosine, count), sums(cosine, 2 * count)

    @device_function
    def measure(loss, job, at, size, j):
        s, t, u = zero, zero, zero
        step = job.row_threads * count
        if doubled:
            while j + step < size:
                a = loads(job.first, at[0] + j) + loads(job.first, at[0] + j + step)
                b = loads(job.second, at[1] + j) + loads(job.second, at[1] + j + step)
                if triplet:
                    c = loads(job.third, at[2] + j) + loads(job.third, at[2] + j + step)
                    t += adds_two(loss, a, c)
                    if job.flags & _flag.swap:
                        u += adds_two(loss, b, c)
                s += adds_two(loss, a, b)
                if cosine:
                    t += adds_two(loss, a, a)
                    u += adds_two(loss, b, b)
                j += 2 * step
        while j < size:
            p, q = loads(job.first, at[0] + j), loads(job.second, at[1] + j)
            s += adds(loss, p, q)
            if cosine:
                t += adds(loss, p, p)
                u += adds(loss, q, q)
            if triplet:
                r = loads(job.third, at[2] + j)
                t += adds(loss, p, r)
                if job.flags & _flag.swap:
                    u += adds(loss, q, r)
            j += step
        return s, t, u

    return measure


@cache
def _emitter(form: str, kind: str, traversed: bool) -> Callable:
    """``emit(loss, job, row, at, lane, live, swapped, factors)``: a thread's gradients of a row."""
    real, count = compute_type(kind), lanes(kind)
    nothing, nothings = (real(0),), (real(0),) * count
    load, loads, store, stores = (
        reader(kind), vector_reader(kind), writer(kind), vector_writer(kind),
    )  # fmt: skip
    find, triplet = beginnings(traversed, VectorAxis.count), form == "triplet"
    slope, many_slopes = slopes(form, kind, 1), slopes(form, kind, count)

    @device_function
    def in_vectors(loss, job, at, to, j, live, swapped, factors):
        while j < job.length:
            gs, hs, ks = nothings, nothings, nothings
            if live:
                a, b = loads(job.first, at[0] + j), loads(job.second, at[1] + j)
                c = nothings
                if triplet:
                    c = loads(job.third, at[2] + j)
                gs, hs, ks = many_slopes(loss, swapped, factors, a, b, c)
            stores(job.first_gradient, to[0] + j, gs)
            stores(job.second_gradient, to[1] + j, hs)
            if triplet:
                stores(job.third_gradient, to[2] + j, ks)
            j += job.row_threads * count

    @device_function
    def by_element(loss, job, at, to, j, live, swapped, factors):
        while j < job.length:
            g, h, k = nothing, nothing, nothing
            if live:
                x = (load(job.first, at[0] + j * job.first_stride),)
                y = (load(job.second, at[1] + j * job.second_stride),)
                z = nothing
                if triplet:
                    z = (load(job.third, at[2] + j * job.third_stride),)
                g, h, k = slope(loss, swapped, factors, x, y, z)
            store(job.first_gradient, to[0] + j * job.first_gradient_stride, g[0])
            store(job.second_gradient, to[1] + j * job.second_gradient_stride, h[0])
            if triplet:
                store(job.third_gradient, to[2] + j * job.third_gradient_stride, k[0])
            j += job.row_threads

    @device_function
    def emit(loss, job, row, at, lane, live, swapped, factors):
        to_a = find(job.layout, row, job.first_gradient_row_stride, _axis.first_gradient)
        to_b = find(job.layout, row, job.second_gradient_row_stride, _axis.second_gradient)
        to_c = 0
        if triplet:
            to_c = find(job.layout, row, job.third_gradient_row_stride, _axis.third_gradient)
        to = to_a, to_b, to_c
        if job.flags & _flag.in_vectors:
            in_vectors(loss, job, at, to, lane * count, live, swapped, factors)
        else:
            by_element(loss, job, at, to, lane, live, swapped, factors)

    return emit
