"""What a thread does with its vectors of a row: loads, exponentials, sums, stores.

Numbers stay in tuples, and so in registers: every function calls itself on halves, down to one
vector or one number. Classes are counted in 32 bits, since indexes of 64 take two registers each.
Some rows begin and end between vectors of memory: elements of their first and last vector go one
by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import intrinsic as _intrinsic

from .backend import device_function
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .memory import reader, writer
from .powers import larger, power
from .vector_memory import vector_reader, vector_writer

intrinsic: Any = _intrinsic
int32 = np.int32


@cache
def elements_before(kind: str) -> Callable:
    """``before(address, at)``: elements from the beginning of a vector of memory to this one."""
    size = itemsize(kind)
    return device_function(lambda address, at: ((address + at * size) & (VECTOR_BYTES - 1)) // size)


@cache
def combined(real: str, count: int, largest: bool = False) -> Callable:
    """The sum or the largest of a tuple of numbers, by halves."""
    if count == 1:
        return device_function(lambda numbers: numbers[0])
    half = count // 2
    part, rest = combined(real, half, largest), combined(real, count - half, largest)
    if largest:
        choose = larger(real)
        return device_function(lambda numbers: choose(part(numbers[:half]), rest(numbers[half:])))
    return device_function(lambda numbers: part(numbers[:half]) + rest(numbers[half:]))


@cache
def load_some(kind: str, count: int, missing: float) -> Callable:
    """``load(address, at, j, classes)``: a vector of which some elements lie outside of the row."""
    load, nothing = reader(kind), compute_type(kind)(missing)
    if count == 1:

        @device_function
        def single(address, at, j, classes):
            return (load(address, at + j) if j >= 0 and j < classes else nothing,)

        return single
    half = count // 2
    part = load_some(kind, half, missing)

    @device_function
    def some(address, at, j, classes):
        return part(address, at, j, classes) + part(address, at, int32(j + half), classes)

    return some


@cache
def loader(kind: str, vectors: int, whole: bool, missing: float = -np.inf) -> Callable:
    """``load(address, at, j, step, classes)``: a thread's logits; -inf where the row has none.

    ``j`` is the class of the first element, ``step`` leads from vector to vector.
    """
    count = lanes(kind)
    loads, some = vector_reader(kind), load_some(kind, count, missing)
    nothing = (compute_type(kind)(missing),) * count
    if vectors == 1:

        @device_function
        def one(address, at, j, step, classes):
            if j >= classes:
                return nothing
            if whole or (j >= 0 and j + count <= classes):
                return loads(address, at + j)
            return some(address, at, j, classes)

        return one
    half = vectors // 2
    part = loader(kind, half, whole, missing)

    @device_function
    def several(address, at, j, step, classes):
        first = part(address, at, j, step, classes)
        return first + part(address, at, int32(j + half * step), step, classes)

    return several


@cache
def powers(kind: str, count: int, first: int = 0) -> Callable:
    """``powers(x, base, high, low, label)``: exponentials of neighbours, 0 for the label's.

    ``label`` is how far it lies behind the first of them.
    """
    zero, power_of, own = compute_type(kind)(0), power(kind), int32(first)
    if count == 1:

        @device_function
        def one(x, base, high, low, label):
            e = power_of(x[0] - base, high, low)
            return (zero if label == own else e,)

        return one
    half = count // 2
    part, rest = powers(kind, half, first), powers(kind, count - half, first + half)

    @device_function
    def several(x, base, high, low, label):
        found = part(x[:half], base, high, low, label)
        return found + rest(x[half:], base, high, low, label)

    return several


@cache
def over_vectors(one: Callable, count: int, vectors: int) -> Callable:
    """``all_(numbers, j, step, job)``: what ``one`` makes of each vector, put together by ``+``.

    ``one(numbers, j, job)`` takes ``count`` numbers, the first of which is of class j; the next
    vector is ``step`` classes further.
    """
    if vectors == 1:
        return device_function(lambda numbers, j, step, job: one(numbers, j, job))
    half = vectors // 2
    middle = half * count
    part, rest = over_vectors(one, count, half), over_vectors(one, count, vectors - half)

    @device_function
    def several(numbers, j, step, job):
        first = part(numbers[:middle], j, step, job)
        return first + rest(numbers[middle:], int32(j + half * step), step, job)

    return several


@cache
def powers_of_vectors(kind: str, vectors: int) -> Callable:
    """``powers(x, j, step, job)`` of vectors; the job is base, high, low and the label."""
    count = lanes(kind)
    of_vector = powers(kind, count)

    @device_function
    def one(x, j, job):
        base, high, low, label = job
        return of_vector(x, base, high, low, int32(label - j))

    return over_vectors(one, count, vectors)


@cache
def scaled(count: int) -> Callable:
    """Each number of a tuple times a factor."""
    if count == 1:
        return device_function(lambda numbers, factor: (numbers[0] * factor,))
    half = count // 2
    part, rest = scaled(half), scaled(count - half)

    @device_function
    def both(numbers, factor):
        return part(numbers[:half], factor) + rest(numbers[half:], factor)

    return both


@cache
def put_some(kind: str, count: int) -> Callable:
    """What :func:`load_some` is for loads."""
    store = writer(kind)
    if count == 1:

        @device_function
        def single(address, at, j, classes, numbers):
            if j >= 0 and j < classes:
                store(address, at + j, numbers[0])

        return single
    half = count // 2
    part = put_some(kind, half)

    @device_function
    def some(address, at, j, classes, numbers):
        part(address, at, j, classes, numbers[:half])
        part(address, at, int32(j + half), classes, numbers[half:])

    return some


@cache
def storer(kind: str, vectors: int, whole: bool) -> Callable:
    """``store(address, at, j, step, classes, numbers, factor, label, at_label)``."""
    count = lanes(kind)
    store, stores, some = writer(kind), vector_writer(kind), put_some(kind, count)
    times = scaled(count)
    if vectors == 1:

        @device_function
        def one(address, at, j, step, classes, numbers, factor, label, at_label):
            if j >= classes:
                return
            found = times(numbers, factor)
            if whole or (j >= 0 and j + count <= classes):
                stores(address, at + j, found)
            else:
                some(address, at, j, classes, found)
            # By the same thread, so that it comes after what the vector had in this place.
            if label >= j and label < j + count:
                store(address, at + label, at_label)

        return one
    half = vectors // 2
    middle = half * count
    part = storer(kind, half, whole)

    @device_function
    def several(address, at, j, step, classes, numbers, factor, label, at_label):
        part(address, at, j, step, classes, numbers[:middle], factor, label, at_label)
        further = int32(j + half * step)
        part(address, at, further, step, classes, numbers[middle:], factor, label, at_label)

    return several


@cache
def _hessians(count: int) -> Callable:
    """Hessians p (p square + linear) of exponentials; r is one over their sum."""
    if count == 1:

        @device_function
        def single(e, r, square, linear):
            p = e[0] * r
            return (p * (p * square + linear),)

        return single
    half = count // 2
    part, rest = _hessians(half), _hessians(count - half)

    @device_function
    def several(e, r, square, linear):
        return part(e[:half], r, square, linear) + rest(e[half:], r, square, linear)

    return several


@cache
def hessian_emitter(kind: str, vectors: int, whole: bool) -> Callable:
    """``emit(address, at, j, step, classes, e, of_p, label, at_label)``: a vector at a time."""
    count, one_ = lanes(kind), compute_type(kind)(1)
    store, hessians = storer(kind, 1, whole), _hessians(count)
    if vectors == 1:

        @device_function
        def one(address, at, j, step, classes, e, of_p, label, at_label):
            r, square, linear = of_p
            h = hessians(e, r, square, linear)
            store(address, at, j, step, classes, h, one_, label, at_label)

        return one
    half = vectors // 2
    middle = half * count
    part = hessian_emitter(kind, half, whole)

    @device_function
    def several(address, at, j, step, classes, e, of_p, label, at_label):
        part(address, at, j, step, classes, e[:middle], of_p, label, at_label)
        further = int32(j + half * step)
        part(address, at, further, step, classes, e[middle:], of_p, label, at_label)

    return several


@cache
def _class_weight(kind: str, whole: bool) -> Callable:
    """``weight(weights, j, classes)``: the weight of class j; 0 for one that is not there."""
    real = compute_type(kind)
    load, zero = reader(np.dtype(real).name), real(0)

    @device_function
    def weight(weights, j, classes):
        return load(weights, j) if (whole or j >= 0) and j < classes else zero

    return weight


@cache
def _over_numbers(one: Callable, count: int) -> Callable:
    """``all_(numbers, j, job)``: what ``one`` makes of each number, put together by ``+``."""
    if count == 1:
        return one
    half = count // 2
    part, rest = _over_numbers(one, half), _over_numbers(one, count - half)

    @device_function
    def several(numbers, j, job):
        first = part(numbers[:half], j, job)
        return first + rest(numbers[half:], int32(j + half), job)

    return several


@cache
def weighted_sum(kind: str, count: int, whole: bool) -> Callable:
    """``total(x, j, job)``: the sum of the classes' weights times distances, for smoothed labels.

    The job is the base, the address of the weights, and how many classes there are.
    """
    zero, weight_of = compute_type(kind)(0), _class_weight(kind, whole)

    @device_function
    def one(x, j, job):
        base, weights, classes = job
        w = weight_of(weights, j, classes)
        return zero if w == zero else w * (x[0] - base)

    return _over_numbers(one, count)


@cache
def shifted(kind: str, count: int, whole: bool) -> Callable:
    """``shift(numbers, j, job)``: numbers times a factor, and a shift times their classes' weights.

    The job is factor and shift, the address of the weights, and how many classes there are.
    """
    weight_of = _class_weight(kind, whole)

    @device_function
    def one(numbers, j, job):
        factor, shift, weights, classes = job
        return (numbers[0] * factor + shift * weight_of(weights, j, classes),)

    return _over_numbers(one, count)
