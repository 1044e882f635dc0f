"""Rows of anchor, positive and negative."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ...formulas.points import point, root, term
from ..intrinsics import no_alias, prefer_wide_vectors
from ..options import fast, inner
from .pairs import total_of
from .pieces import PIECE, STEP, groups, layout, movers


@njit(**fast)
def _totals_of(self, a, p, n, size):
    """The terms of the anchor with the positive, and of it with the negative, added up."""
    prefer_wide_vectors()
    near = far = 0.0
    for i in range(size):
        x = np.float64(a[i])
        near += term(self, x - np.float64(p[i]), 0.0)[0]
        far += term(self, x - np.float64(n[i]), 0.0)[0]
    return near, far


def _slopes_of(real: str) -> Callable:
    """Function that computes the gradients of a stretch."""
    cast = np.dtype(real).type

    @njit(**inner)
    def slopes_of(self, a, p, n, of_a, of_p, of_n, size, near, far, swapped):
        prefer_wide_vectors()
        no_alias()
        if swapped:
            for i in range(size):
                y = np.float64(p[i])
                pull = near * term(self, np.float64(a[i]) - y, 0.0)[1]
                push = far * term(self, y - np.float64(n[i]), 0.0)[1]
                of_a[i] = cast(pull)
                of_p[i] = cast(push - pull)
                of_n[i] = cast(-push)
        else:
            for i in range(size):
                x = np.float64(a[i])
                pull = near * term(self, x - np.float64(p[i]), 0.0)[1]
                push = far * term(self, x - np.float64(n[i]), 0.0)[1]
                of_a[i] = cast(pull + push)
                of_p[i] = cast(-pull)
                of_n[i] = cast(-push)

    return slopes_of


def _read(real: str) -> Callable:
    """Function that finds a stretch of all three vectors."""
    fetch, step = movers(real).fetch, PIECE * np.dtype(real).itemsize

    @njit(**inner)
    def read(rows, address, at, size, scratch):
        of_first = layout(address, rows.first_layout)
        of_second = layout(address, rows.second_layout)
        of_third = layout(address, rows.third_layout)
        return (
            fetch(rows.first, of_first, at, size, scratch),
            fetch(rows.second, of_second, at, size, scratch + step),
            fetch(rows.third, of_third, at, size, scratch + 2 * step),
        )

    return read


def _write(real: str) -> Callable:
    """Function that writes the gradients of a row; 0 where it does not count."""
    t, step = movers(real), PIECE * np.dtype(real).itemsize
    clear, room, deliver = t.clear, t.room, t.deliver
    read, slopes_of = _read(real), _slopes_of(real)

    @njit(**inner)
    def write(self, rows, address, first, near, far, swapped, counts, scratch):
        length = rows.length
        to_first = layout(address, rows.first_gradient_layout)
        to_second = layout(address, rows.second_gradient_layout)
        to_third = layout(address, rows.third_gradient_layout)
        fourth, fifth, sixth = scratch + 3 * step, scratch + 4 * step, scratch + 5 * step
        for start in range(0, length, PIECE):
            size = min(PIECE, length - start)
            at = first + start
            a, p, n = read(rows, address, at, size, scratch)
            of_a = room(rows.first_gradient, to_first, at, fourth)
            of_p = room(rows.second_gradient, to_second, at, fifth)
            of_n = room(rows.third_gradient, to_third, at, sixth)
            if counts:
                slopes_of(self, a, p, n, of_a, of_p, of_n, size, near, far, swapped)
            else:
                clear(of_a, size)
                clear(of_p, size)
                clear(of_n, size)
            deliver(rows.first_gradient, to_first, at, size, fourth)
            deliver(rows.second_gradient, to_second, at, size, fifth)
            deliver(rows.third_gradient, to_third, at, size, sixth)

    return write


def triplets(real: str) -> Callable:
    """Rows of anchor, positive and negative, compared by two distances."""
    claim, read, write = movers(real).claim, _read(real), _write(real)

    @njit(**inner)
    def measure(self, rows, address, first, weight, scratch):
        """Totals of anchor and positive, of anchor and negative, of positive and negative."""
        length = rows.length
        to_first = layout(address, rows.first_gradient_layout)
        to_second = layout(address, rows.second_gradient_layout)
        to_third = layout(address, rows.third_gradient_layout)
        near = far = across = 0.0
        end = length if weight != 0.0 else 0  # rows that do not count are not read
        for start in range(0, end, STEP):
            size = min(STEP, length - start)
            claim(rows, rows.first_gradient, to_first, first + start, size)
            claim(rows, rows.second_gradient, to_second, first + start, size)
            claim(rows, rows.third_gradient, to_third, first + start, size)
            a, p, n = read(rows, address, first + start, size, scratch)
            more = _totals_of(self, a, p, n, size)
            near, far = near + more[0], far + more[1]
            if rows.swap != 0:
                across += total_of(self, p, n, size)
        return near, far, across

    @njit(**inner)
    def of_row(self, rows, address, row, target, weight, scratch):
        first = row * rows.length
        near, far, across = measure(self, rows, address, first, weight, scratch)
        value = near_slope = far_slope = 0.0
        swapped = False
        if weight != 0.0:
            positive, of_near = root(self, near, 0.0)
            negative, of_far = root(self, far, 0.0)
            if rows.swap != 0:
                other, of_across = root(self, across, 0.0)
                swapped = other < negative
                if swapped:
                    negative, of_far = other, of_across
            value, pull, push = point(self, positive, negative)
            lost = near + far + across
            if lost != lost:
                value = pull = push = lost
            near_slope = pull * of_near * weight * rows.scale
            far_slope = push * of_far * weight * rows.scale
        if rows.derivatives != 0:
            counts = weight != 0.0
            write(self, rows, address, first, near_slope, far_slope, swapped, counts, scratch)
        return value if weight == 0.0 else value * weight

    return groups(of_row)
