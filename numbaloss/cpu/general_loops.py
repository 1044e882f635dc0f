"""Loops over the numbers of a piece of a row, of any softmax loss and any targets."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .. import vmath
from ..vmath import vectors
from ..vmath.vectors import register_bytes
from .intrinsics import no_alias, prefer_wide_vectors
from .options import exact, fast, inner, namespace
from .pieces import GROUP
from .rows import tools


@cache
def elements(real: str) -> Any:
    """Loops over the numbers of a piece, before the formula of the loss sees them."""
    t = tools(real, GROUP)
    zero, one, itemsize, decay = t.zero, t.one, t.itemsize, t.decay
    register, lanes = register_bytes(), register_bytes() // itemsize

    @njit(**exact)
    def log_probabilities(row, size, top, inverse, log_sum):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            x = vectors.load(row + j, zero, lanes)
            vectors.store(row + j, (x - top) * inverse - log_sum)

    @njit(**exact)
    def soften(row, size, top, inverse, factor):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            x = vectors.load(row + j, zero, lanes)
            vectors.store(row + j, decay((x - top) * inverse) * factor)

    @njit(**fast)
    def bring_inside(row, size, low, high, near_low, near_high):
        """Take numbers a rounding beyond their domain for its bound; how many are farther out."""
        prefer_wide_vectors()
        count = zero
        for j in range(size):
            x = row[j]
            count += one if (x < near_low) | (x > near_high) else zero
            x = low if x < low else x
            row[j] = high if x > high else x
        return count

    @njit(**exact)
    def smoothen(row, size, on, off):
        prefer_wide_vectors()
        for j in range(0, size * itemsize, register):
            vectors.store(row + j, vectors.load(row + j, zero, lanes) * on + off)

    @njit(**exact)
    def multiply(values, of_class, size):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            # A class that does not count contributes 0, even where its loss is infinite.
            v, w = values[j], of_class[j]
            values[j] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def multiply_all(values, w, size):
        prefer_wide_vectors()
        for j in range(size):
            v = values[j]
            values[j] = zero if (w == zero) & (v == v) else v * w

    return namespace(locals())


@cache
def derivatives(real: str) -> Any:
    """Loops over the numbers of a piece, to its gradient and hessian."""
    one, exp = np.dtype(real).type(1), vmath.exp

    @njit(**exact)
    def gradients(logs, slopes, place, size, slope_difference, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            place[j] = (slopes[j] + exp(logs[j]) * slope_difference) * factor

    @njit(**inner)
    def hessians(logs, seconds, place, size, slope_difference, second, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            p = exp(logs[j])
            own = seconds[j] * (one - (p + p)) + p * p * second
            place[j] = (own + p * (one - p) * slope_difference) * factor

    @njit(**exact)
    def margin_gradients(targets, slopes, place, size, slope_difference, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            place[j] = (slopes[j] + targets[j] * slope_difference) * factor

    @njit(**inner)
    def margin_hessians(targets, seconds, place, size, second, factor):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            p = targets[j]
            place[j] = (seconds[j] * (one - (p + p)) + p * second) * factor

    return namespace(locals())
