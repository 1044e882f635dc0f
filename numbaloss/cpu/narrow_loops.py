"""Loops over the numbers of a tile, of any softmax loss and any targets."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from .. import vmath
from .intrinsics import no_alias, prefer_wide_vectors
from .options import exact, fast, inner, namespace
from .rows import tools
from .tiles import BRANCH


@cache
def general_loops(real: str, width: int) -> Any:
    return namespace(
        _probabilities(real, width), _class_loops(real, width), _derivatives(real, width)
    )


def _probabilities(real: str, width: int) -> Any:
    """From the numbers of a tile to probabilities and their logarithms."""
    t = tools(real, width)
    zero, one, decay, log = t.zero, t.one, t.decay, vmath.log

    @njit(**exact)
    def sums_of_exponentials(tile, classes, top, total, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = zero
        for c in range(classes):
            for k in range(width):
                total[k] += decay((tile[c * width + k] - top[k]) * inverse)

    @njit(**exact)
    def log_probabilities(tile, classes, top, log_sum, inverse):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                tile[c * width + k] = (tile[c * width + k] - top[k]) * inverse - log_sum[k]

    @njit(**exact)
    def soften(tile, classes, top, total, inverse):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = one / total[k]
        for c in range(classes):
            for k in range(width):
                tile[c * width + k] = decay((tile[c * width + k] - top[k]) * inverse) * total[k]

    @njit(**exact)
    def logarithms(values, top, inverse, sums):
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            values[k] = log(values[k])
            sums[k] = top[k] * inverse + values[k]

    return namespace(locals())


def _class_loops(real: str, width: int) -> Any:
    """What is done to the numbers of all classes of a tile, targets and φ."""
    t = tools(real, width)
    zero, one = t.zero, t.one

    @njit(**fast)
    def bring_inside(tile, classes, weight, low, high, near_low, near_high):
        """Take numbers a rounding beyond their domain for its bound; how many are farther out."""
        prefer_wide_vectors()
        no_alias()
        count = zero
        for c in range(classes):
            for k in range(width):
                x = tile[c * width + k]
                bad = ((x < near_low) | (x > near_high)) & (weight[k] != zero)
                count += one if bad else zero
                x = low if x < low else x
                tile[c * width + k] = high if x > high else x
        return count

    @njit(**exact)
    def smoothen(tile, size, on, off):
        prefer_wide_vectors()
        for j in range(size):
            tile[j] = tile[j] * on + off

    @njit(**exact)
    def weigh(tile, classes, of_class):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            w = of_class[c]
            # A class that does not count contributes 0, even where its loss is infinite.
            for k in range(width):
                v = tile[c * width + k]
                tile[c * width + k] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def weigh_rows(tile, classes, of_label):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                v, w = tile[c * width + k], of_label[k]
                tile[c * width + k] = zero if (w == zero) & (v == v) else v * w

    @njit(**exact)
    def add(tile, classes, total, part):
        """Sums over classes; in two steps, as those of exponentials."""
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            total[k] = tile[k]
        for c in range(1, min(classes, BRANCH)):
            for k in range(width):
                total[k] += tile[c * width + k]
        for start in range(BRANCH, classes, BRANCH):
            for k in range(width):
                part[k] = tile[start * width + k]
            for c in range(start + 1, min(start + BRANCH, classes)):
                for k in range(width):
                    part[k] += tile[c * width + k]
            for k in range(width):
                total[k] += part[k]

    return namespace(locals())


def _derivatives(real: str, width: int) -> Any:
    """From the sums of φ to values, gradients and hessians."""
    t = tools(real, width)
    zero, one, exp = t.zero, t.one, vmath.exp

    @njit(**exact)
    def finish_rows(
        weighted, value, term, log_sum, weight, slope, term_slope, second, term_second, share
    ):
        """Values, with and without weights; in the place of the sums what multiplies p and p²."""
        prefer_wide_vectors()
        no_alias()
        for k in range(width):
            v = value[k] + term[k]
            v = (log_sum[k] if log_sum[k] != log_sum[k] else v) * share
            value[k] = v
            weighted[k] = zero if weight[k] == zero else v * weight[k]
            slope[k] = term_slope[k] - slope[k]
            second[k] = term_second[k] + second[k]

    @njit(**exact)
    def gradients(tile, slopes, classes, slope_difference, weight, scale, softmax):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                p = tile[c * width + k]
                p = exp(p) if softmax else p
                g = (slopes[c * width + k] + p * slope_difference[k]) * (weight[k] * scale)
                slopes[c * width + k] = zero if weight[k] == zero else g

    @njit(**inner)
    def hessians(tile, seconds, classes, slope_difference, second, weight, scale, softmax):
        prefer_wide_vectors()
        no_alias()
        for c in range(classes):
            for k in range(width):
                p = tile[c * width + k]
                p = exp(p) if softmax else p
                own = seconds[c * width + k] * (one - (p + p)) + p * p * second[k]
                own = own + p * (one - p) * slope_difference[k] if softmax else own
                h = own * (weight[k] * scale)
                seconds[c * width + k] = zero if weight[k] == zero else h

    return namespace(locals())
