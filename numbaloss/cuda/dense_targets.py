"""Dense targets of rows in registers, and numbers that have a domain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .backend import device_function
from .dtypes import compute_type, itemsize, lanes
from .memory import reader
from .powers import larger, smaller
from .row_vectors import int32
from .vector_memory import vector_reader


@cache
def target_loader(of_logits: str, kind: str, vectors: int, whole: bool, missing: float) -> Callable:
    """``load(address, at, j, step, classes)``: targets of the classes of as many vectors of logits.

    ``missing`` where the row has none.
    """
    count = lanes(of_logits)
    real: Any = compute_type(of_logits)
    several = _some_targets(kind, real, count, missing)
    loads = _whole_targets(kind, real, count, 0)
    nothing = (real(missing),) * count

    @device_function
    def one(address, at, j, step, classes):
        if j >= classes:
            return nothing
        if whole or (j >= 0 and j + count <= classes):
            return loads(address, at + j)
        return several(address, at, j, classes)

    return _over_loads(one, vectors)


def _over_loads(one: Callable, vectors: int) -> Callable:
    if vectors == 1:
        return one
    half = vectors // 2
    part = _over_loads(one, half)

    @device_function
    def several(address, at, j, step, classes):
        first = part(address, at, j, step, classes)
        return first + part(address, at, int32(j + half * step), step, classes)

    return several


@cache
def _cast(real: Any, count: int) -> Callable:
    if count == 1:
        return device_function(lambda numbers: (real(numbers[0]),))
    half = count // 2
    part = _cast(real, half)
    return device_function(lambda numbers: part(numbers[:half]) + part(numbers[half:]))


@cache
def _whole_targets(kind: str, real: Any, count: int, first: int) -> Callable:
    """So many neighbours, in whole vectors."""
    each = lanes(kind)
    if count == each:
        loads, cast = vector_reader(kind), _cast(real, count)
        return device_function(lambda address, at: cast(loads(address, at + first)))
    half = count // 2
    part = _whole_targets(kind, real, half, first)
    rest = _whole_targets(kind, real, half, first + half)
    return device_function(lambda address, at: part(address, at) + rest(address, at))


@cache
def _some_targets(kind: str, real: Any, count: int, missing: float) -> Callable:
    load, nothing = reader(kind), real(missing)
    if count == 1:

        @device_function
        def single(address, at, j, classes):
            return (real(load(address, at + j)) if j >= 0 and j < classes else nothing,)

        return single
    half = count // 2
    part = _some_targets(kind, real, half, missing)

    @device_function
    def some(address, at, j, classes):
        return part(address, at, j, classes) + part(address, at, int32(j + half), classes)

    return some


def fits(kind: str, of_targets: str) -> bool:
    """Whether targets of a dtype come in vectors beside predictions of another one."""
    floats = "float32", "float64", "float16", "bfloat16"
    return of_targets in floats and itemsize(of_targets) >= itemsize(kind)


@cache
def outside(real: str, count: int) -> tuple[Callable, Callable]:
    """``strays(numbers, domain)``: how many are out of range; and the same within their domain.

    The domain is its closed bounds, and what passes for them since it was rounded. NaN passes, and
    stays what it is. Most threads have no number beyond the bounds, and are told by two
    instructions a number.
    """
    lowest, highest = _extreme(real, count, smaller(real)), _extreme(real, count, larger(real))
    counted, within = _strays(real, count), _clamped(real, count)
    zero = np.dtype(real).type(0)

    @device_function
    def strays(numbers, domain):
        low, high, near_low, near_high = domain
        if lowest(numbers) < low or highest(numbers) > high:
            return counted(numbers, near_low, near_high)
        return zero

    @device_function
    def clamped(numbers, domain):
        low, high, _, _ = domain
        if lowest(numbers) < low or highest(numbers) > high:
            return within(numbers, low, high)
        return numbers

    return strays, clamped


@cache
def _extreme(real: str, count: int, choose: Callable) -> Callable:
    if count == 1:
        return device_function(lambda numbers: numbers[0])
    half = count // 2
    part = _extreme(real, half, choose)
    return device_function(lambda numbers: choose(part(numbers[:half]), part(numbers[half:])))


@cache
def _strays(real: str, count: int) -> Callable:
    zero, one = np.dtype(real).type(0), np.dtype(real).type(1)
    if count == 1:
        return device_function(
            lambda numbers, low, high: one if numbers[0] < low or numbers[0] > high else zero
        )
    half = count // 2
    part = _strays(real, half)

    @device_function
    def several(numbers, low, high):
        return part(numbers[:half], low, high) + part(numbers[half:], low, high)

    return several


@cache
def _clamped(real: str, count: int) -> Callable:
    if count == 1:

        @device_function
        def single(numbers, low, high):
            x = numbers[0]
            x = low if x < low else x
            x = high if x > high else x
            return (x,)

        return single
    half = count // 2
    part = _clamped(real, half)

    @device_function
    def several(numbers, low, high):
        return part(numbers[:half], low, high) + part(numbers[half:], low, high)

    return several
