"""Rows of pairs of vectors, compared by their distance or by the cosine of their angle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...formulas.points import point, root, term
from ..intrinsics import no_alias, prefer_wide_vectors
from ..options import fast, inner
from .pieces import PIECE, STEP, groups, layout, movers


@njit(**fast)
def total_of(self, a, b, size):
    """The terms of two stretches, added up."""
    prefer_wide_vectors()
    total = 0.0
    for i in range(size):
        total += term(self, np.float64(a[i]) - np.float64(b[i]), 0.0)[0]
    return total


@njit(**fast)
def _products_of(a, b, size):
    """The product of two stretches, and their squared lengths."""
    prefer_wide_vectors()
    both = of_a = of_b = 0.0
    for i in range(size):
        x, y = np.float64(a[i]), np.float64(b[i])
        both += x * y
        of_a += x * x
        of_b += y * y
    return both, of_a, of_b


def _write(real: str, slopes_of: Callable) -> Callable:
    """Function that writes the gradients of a row; 0 where it does not count."""
    t, step = movers(real), PIECE * np.dtype(real).itemsize
    clear, fetch, room, deliver = t.clear, t.fetch, t.room, t.deliver

    @njit(**inner)
    def write(self, rows, address, first, factors, counts, scratch):
        length = rows.length
        of_first = layout(address, rows.first_layout)
        of_second = layout(address, rows.second_layout)
        to_first = layout(address, rows.first_gradient_layout)
        to_second = layout(address, rows.second_gradient_layout)
        third, fourth = scratch + 2 * step, scratch + 3 * step
        for start in range(0, length, PIECE):
            size = min(PIECE, length - start)
            at = first + start
            a = fetch(rows.first, of_first, at, size, scratch)
            b = fetch(rows.second, of_second, at, size, scratch + step)
            of_a = room(rows.first_gradient, to_first, at, third)
            of_b = room(rows.second_gradient, to_second, at, fourth)
            if counts:
                slopes_of(self, a, b, of_a, of_b, size, factors)
            else:
                clear(of_a, size)
                clear(of_b, size)
            deliver(rows.first_gradient, to_first, at, size, third)
            deliver(rows.second_gradient, to_second, at, size, fourth)

    return write


def _read(real: str) -> Callable:
    """Function that finds a stretch of both vectors, and asks for the memory of gradients."""
    t, step = movers(real), PIECE * np.dtype(real).itemsize
    fetch, claim = t.fetch, t.claim

    @njit(**inner)
    def read(rows, address, at, size, scratch):
        to_first = layout(address, rows.first_gradient_layout)
        to_second = layout(address, rows.second_gradient_layout)
        claim(rows, rows.first_gradient, to_first, at, size)
        claim(rows, rows.second_gradient, to_second, at, size)
        a = fetch(rows.first, layout(address, rows.first_layout), at, size, scratch)
        b = fetch(rows.second, layout(address, rows.second_layout), at, size, scratch + step)
        return a, b

    return read


def distances(real: str) -> Callable:
    """Rows of pairs of vectors, compared by their distance."""
    cast = np.dtype(real).type

    @njit(**inner)
    def slopes_of(self, a, b, of_a, of_b, size, factor):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            slope = factor * term(self, np.float64(a[i]) - np.float64(b[i]), 0.0)[1]
            of_a[i] = cast(slope)
            of_b[i] = cast(-slope)

    read, write = _read(real), _write(real, slopes_of)

    @njit(**inner)
    def of_row(self, rows, address, row, target, weight, scratch):
        length = rows.length
        first = row * length
        total = 0.0
        end = length if weight != 0.0 else 0  # rows that do not count are not read
        for start in range(0, end, STEP):
            size = min(STEP, length - start)
            a, b = read(rows, address, first + start, size, scratch)
            total += total_of(self, a, b, size)
        value = factor = 0.0
        if weight != 0.0:
            distance, of_total = root(self, total, 0.0)
            value, slope = point(self, distance, target)
            # NaN is passed on here rather than in every loss: min, max and comparisons lose it.
            if (total != total) | (target != target):
                value = slope = total + target
            factor = slope * of_total * weight * rows.scale
        if rows.derivatives != 0:
            write(self, rows, address, first, factor, weight != 0.0, scratch)
        return value if weight == 0.0 else value * weight

    return groups(of_row)


def cosines(real: str) -> Callable:
    """Rows of pairs of vectors, compared by the cosine of their angle."""
    cast = np.dtype(real).type

    @njit(**inner)
    def slopes_of(self, a, b, of_a, of_b, size, factors):
        prefer_wide_vectors()
        no_alias()
        across, along_a, along_b = factors
        for i in range(size):
            x, y = np.float64(a[i]), np.float64(b[i])
            of_a[i] = cast(across * y - along_a * x)
            of_b[i] = cast(across * x - along_b * y)

    read, write = _read(real), _write(real, slopes_of)

    @njit(**inner)
    def of_row(self, rows, address, row, target, weight, scratch):
        length = rows.length
        first = row * length
        both = square_a = square_b = 0.0
        end = length if weight != 0.0 else 0  # rows that do not count are not read
        for start in range(0, end, STEP):
            size = min(STEP, length - start)
            a, b = read(rows, address, first + start, size, scratch)
            more = _products_of(a, b, size)
            both, square_a, square_b = both + more[0], square_a + more[1], square_b + more[2]
        lengths = np.sqrt(square_a) * np.sqrt(square_b)
        nothing = (square_a == 0.0) | (square_b == 0.0)
        cosine = 0.0 if nothing else min(max(both / lengths, -1.0), 1.0)
        value = slope = 0.0
        if weight != 0.0:
            value, slope = point(self, cosine, target)
        lost = both + square_a + square_b + target
        if lost != lost:
            value = slope = lost
        factor = slope * weight * rows.scale
        if rows.derivatives != 0:
            # A vector of length 0 has no direction, and gets no gradient.
            counts = (weight != 0.0) & ((lost != lost) | (not nothing))
            along_a, along_b = factor * cosine / square_a, factor * cosine / square_b
            factors = (factor / lengths, along_a, along_b)
            write(self, rows, address, first, factors, counts, scratch)
        return value if weight == 0.0 else value * weight

    return groups(of_row)
