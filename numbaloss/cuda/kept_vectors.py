"""Vectors of rows that are kept in shared memory as they are stored.

A thread reads what it wrote itself: no barrier is needed. What comes before the first whole vector
of a row and after the last, a few threads keep in a register each. As in :mod:`.row_vectors`,
vectors stay in tuples, and functions call themselves on halves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .backend import device_function
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .row_vectors import elements_before, int32
from .vector_memory import shared_reader, shared_writer, vector_words


def stored_as(kind: str) -> str:
    """What vectors are kept as: halves two in a word."""
    return kind if itemsize(kind) >= 4 else "int32"


def words_of(kind: str) -> int:
    return VECTOR_BYTES // max(itemsize(kind), 4)


# -inf and NaN, twice, as halves.
_BITS = {
    "bfloat16": {True: 0xFF80FF80, False: 0x7FC07FC0},
    "float16": {True: 0xFC00FC00, False: 0x7E007E00},
}


def _nothing(kind: str, lowest: bool) -> tuple[Any, ...]:
    """A vector that is not there, as words: -inf, or NaN."""
    word = compute_type(kind)(-np.inf if lowest else np.nan)
    if itemsize(kind) < 4:
        word = np.uint32(_BITS[kind][lowest]).view(np.int32)
    return (word,) * words_of(kind)


@cache
def _place(kind: str) -> Callable:
    """Where a class is kept, in words."""
    if itemsize(kind) < 4:
        return device_function(lambda j: np.int64(j >> 1))
    return device_function(lambda j: np.int64(j))


@cache
def fetcher(kind: str, vectors: int, lowest: bool = True) -> Callable:
    """``fetch(address, at, j, step, size)``: vectors as words, -inf where there are no classes, or
    NaN."""
    (words, _, _), nothing = vector_words(kind), _nothing(kind, lowest)
    if vectors == 1:
        return device_function(
            lambda address, at, j, step, size: words(address, at + j) if j < size else nothing
        )
    half = vectors // 2
    part = fetcher(kind, half, lowest)

    @device_function
    def several(address, at, j, step, size):
        first = part(address, at, j, step, size)
        return first + part(address, at, int32(j + half * step), step, size)

    return several


@cache
def keeper(kind: str, vectors: int) -> Callable:
    """``keep(words, shared, first, j, step, kept)``: as many of the vectors as there is room for,
    from place ``first`` on, in elements."""
    count = words_of(kind)
    if vectors == 1:
        put, place = shared_writer(stored_as(kind), count), _place(kind)

        @device_function
        def one(words, shared, first, j, step, kept):
            if j < kept:
                put(shared, place(first + j), words)

        return one
    half = vectors // 2
    part, middle = keeper(kind, half), half * count

    @device_function
    def several(words, shared, first, j, step, kept):
        part(words[:middle], shared, first, j, step, kept)
        part(words[middle:], shared, first, int32(j + half * step), step, kept)

    return several


@cache
def taker(kind: str, vectors: int, lowest: bool = True) -> Callable:
    """``take(address, at, shared, first, j, step, size, kept)``: words, from where they are."""
    if vectors == 1:
        words, _, _ = vector_words(kind)
        take, place = shared_reader(stored_as(kind), words_of(kind)), _place(kind)
        nothing = _nothing(kind, lowest)

        @device_function
        def one(address, at, shared, first, j, step, size, kept):
            if j >= size:
                return nothing
            if j < kept:
                return take(shared, place(first + j))
            return words(address, at + j)

        return one
    half = vectors // 2
    part = taker(kind, half, lowest)

    @device_function
    def several(address, at, shared, first, j, step, size, kept):
        found = part(address, at, shared, first, j, step, size, kept)
        further = int32(j + half * step)
        return found + part(address, at, shared, first, further, step, size, kept)

    return several


@cache
def numbers_of(kind: str, vectors: int) -> Callable:
    """Vectors of words as numbers."""
    _, numbers, _ = vector_words(kind)
    if vectors == 1:
        return device_function(lambda words: numbers(words))
    middle = vectors // 2 * words_of(kind)
    part = numbers_of(kind, vectors // 2)
    return device_function(lambda words: part(words[:middle]) + part(words[middle:]))


@cache
def divider(kind: str, whole: bool) -> Callable:
    """``divide(address, at, classes, thread)``: classes before the first vector, those in vectors,
    and the one outside of them that is this thread's; -1 for none."""
    count, before = lanes(kind), elements_before(kind)

    @device_function
    def divide(address, at, classes, thread):
        if whole:
            return int32(0), classes, int32(-1)
        head = int32(min(classes, (count - before(address, at)) & (count - 1)))
        size = int32((classes - head) & -count)
        edge = int32(thread if thread < head else thread + size)
        return head, size, edge if edge < classes else int32(-1)

    return divide
