"""Loops over a row with a label, or over a *piece* of one that fits into the first-level cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..jobs.rows import LabelRow
from ..vmath import vectors
from ..vmath.bits import select
from ..vmath.vectors import register_bytes
from .intrinsics import no_alias, pointer, prefer_wide_vectors, prefetch_to_read, prefetch_to_write
from .movers import layout
from .options import block_size, exact, inner, namespace
from .rows import statistic, tools
from .stretches import tools as stretches
from .sums import tools as sums_of

of_row = LabelRow.column
ROW_BYTES = 8 * LabelRow.count

PIECE_BYTES = 16384
GROUP = 32
# How far ahead of a stream of stores its memory is asked for.
AHEAD_BYTES = 2048


def piece_size(real: str) -> int:
    """Elements of a piece."""
    return PIECE_BYTES // np.dtype(real).itemsize


@cache
def loops(real: str) -> Any:
    """Loops over one row, or a piece of one, in scratch memory.

    A few registers at a time, then one at a time; the last one of a row overlaps the one before
    it, or is filled up, for a loop that LLVM leaves to scalars would take longer than the rest of
    a row of a few hundred numbers.
    """
    return namespace(_stretches(real), _exponentials(real))


def _stretches(real: str) -> Any:
    """Where stretches of rows are, and their maxima."""
    t = tools(real, GROUP)
    zero, lowest, itemsize = t.zero, t.lowest, t.itemsize
    lanes = register_bytes() // itemsize
    maximum = stretches(real).maximum_of_row

    @njit(**inner)
    def padded(size):
        """Numbers of a row in scratch memory: whole registers."""
        return (size + lanes - 1) // lanes * lanes

    @njit(**inner)
    def locate(array, start, size, scratch):
        """Address of a stretch of a row: its own, or that of a copy.

        A register's worth can be read there; -inf follows numbers that are fewer.
        """
        address, of_array = array
        if of_array == 0 and size >= lanes:
            return address + start * itemsize
        t.load(array, start, size, scratch)
        for j in range(size, lanes):
            pointer(scratch, zero)[j] = lowest
        return scratch

    @njit(**inner)
    def stage(array, start, size, scratch):
        """A stretch of a row into scratch, filled up to a whole register with -inf.

        Returns its maximum; ``padded(size)`` numbers are in place.
        """
        t.load(array, start, size, scratch)
        for j in range(size, padded(size)):
            pointer(scratch, zero)[j] = lowest
        return maximum(scratch, padded(size))

    return namespace(locals())


def _exponentials(real: str) -> Any:
    """Exponentials of rows, and sums over rows."""
    t = tools(real, GROUP)
    zero, itemsize, decay, integer = t.zero, t.itemsize, t.decay, t.integer
    slim = integer(0)
    lanes, block = register_bytes() // itemsize, block_size(real)
    register, block_bytes, sums = lanes * itemsize, block * itemsize, 256 // itemsize

    @njit(**inner)
    def fetch(following, ahead, j, size):
        """Ask for memory that is read, and written, next: the exponentials leave it idle."""
        prefetch_to_read(following + j, size)
        if ahead != 0:
            prefetch_to_write(ahead + j, size)

    @njit(**exact)
    def exponentials(source, target, size, top, inverse, following, ahead):
        """Exponentials of a row no shorter than a register.

        To memory of their own, for the last registers may overlap. What lies at ``following``, to
        be read next, and at ``ahead``, to be written, is fetched meanwhile.
        """
        prefer_wide_vectors()
        whole, end = size // block * block_bytes, (size - lanes) * itemsize
        for j in range(0, whole, block_bytes):
            fetch(following, ahead, j, block_bytes)
            x = vectors.load(source + j, zero, block)
            vectors.store(target + j, decay((x - top) * inverse))
        if whole < size * itemsize:
            for place in range(whole, end + register, register):
                fetch(following, ahead, place, register)
                j = min(place, end)
                x = vectors.load(source + j, zero, lanes)
                vectors.store(target + j, decay((x - top) * inverse))

    @njit(**inner)
    def own_lanes(size):
        """Which lanes of the last register of a row are no other's."""
        return vectors.lane_numbers(slim, lanes) >= integer((lanes - size % lanes) % lanes)

    @njit(**inner)
    def total(place, size):
        """Sum of a row no shorter than a register.

        In as many partial sums as 256 bytes hold: each rounds less often.
        """
        prefer_wide_vectors()
        running = vectors.splat(zero, sums)
        whole, end = size // sums * sums * itemsize, (size - lanes) * itemsize
        for j in range(0, whole, sums * itemsize):
            running = running + vectors.load(place + j, zero, sums)
        total_ = vectors.sum_lanes(running)
        if whole < size * itemsize:
            rest = select(own_lanes(size), vectors.load(place + end, zero, lanes), zero)
            for j in range(whole, end, register):
                rest = rest + vectors.load(place + j, zero, lanes)
            total_ += vectors.sum_lanes(rest)
        return total_

    @njit(**exact)
    def weighted_distance(place, weights, size, top, inverse):
        """Sum of class weights times scaled logits; an excluded class of weight 0 counts not."""
        prefer_wide_vectors()
        running, end = vectors.splat(zero, lanes), (size - lanes) * itemsize
        for j in range(0, end + register, register):
            at = min(j, end)
            w = vectors.load(weights + at, zero, lanes)
            w = select(own_lanes(size), w, zero) if at < j else w
            d = (vectors.load(place + at, zero, lanes) - top) * inverse
            running = running + select(w == zero, zero, w * d)
        return vectors.sum_lanes(running)

    plain_sum, _ = sums_of(real)

    return namespace(locals())


def _multiples(real: str) -> Any:
    """Gradients and hessians of stretches, from exponentials."""
    zero = np.dtype(real).type(0)
    itemsize = zero.itemsize
    lanes, block = register_bytes() // itemsize, block_size(real)
    register, block_bytes = lanes * itemsize, block * itemsize

    @njit(**exact)
    def emit_plain(source, target, size, factor):
        prefer_wide_vectors()
        whole, end = size // block * block_bytes, (size - lanes) * itemsize
        for j in range(0, whole, block_bytes):
            vectors.store(target + j, vectors.load(source + j, zero, block) * factor)
        for j in range(whole, end, register):
            vectors.store(target + j, vectors.load(source + j, zero, lanes) * factor)
        vectors.store(target + end, vectors.load(source + end, zero, lanes) * factor)

    @njit(**inner)
    def emit_smooth(source, target, weights, size, factor, shift):
        prefer_wide_vectors()
        end = (size - lanes) * itemsize
        for place in range(0, end + register, register):
            j = min(place, end)
            w = vectors.load(weights + j, zero, lanes)
            vectors.store(target + j, vectors.load(source + j, zero, lanes) * factor + w * shift)

    @njit(**exact)
    def emit_hessian(source, target, size, inverse, square, linear):
        prefer_wide_vectors()
        end = (size - lanes) * itemsize
        for place in range(0, end + register, register):
            j = min(place, end)
            p = vectors.load(source + j, zero, lanes) * inverse
            vectors.store(target + j, p * (p * square + linear))

    @njit(**exact)
    def multiply(row, size, factor):
        prefer_wide_vectors()
        for j in range(size):
            row[j] = row[j] * factor

    @njit(**inner)
    def multiply_smooth(row, of_class, size, factor, shift):
        prefer_wide_vectors()
        no_alias()
        for j in range(size):
            row[j] = row[j] * factor + shift * of_class[j]

    @njit(**inner)
    def write_hessian(source, target, size, inverse, square, linear):
        if size >= lanes:
            emit_hessian(source, target, size, inverse, square, linear)
        else:
            for j in range(size):
                p = pointer(source, zero)[j] * inverse
                pointer(target, zero)[j] = p * (p * square + linear)

    @njit(**inner)
    def write_gradient(source, target, size, factor, shift, weights):
        """Multiples of exponentials plus those of class weights, where there are some.

        ``source`` is not ``target``: the last registers overlap.
        """
        if size < lanes:
            for j in range(size):
                w = zero if weights == 0 else pointer(weights, zero)[j]
                pointer(target, zero)[j] = pointer(source, zero)[j] * factor + shift * w
        elif weights == 0:
            emit_plain(source, target, size, factor)
        else:
            emit_smooth(source, target, weights, size, factor, shift)

    return namespace(locals())


@cache
def writer(real: str) -> Any:
    """Functions that write a stretch of gradient and hessian, from exponentials and of zeros."""
    t, o = tools(real, GROUP), _multiples(real)
    zero, itemsize, piece = t.zero, t.itemsize, piece_size(real)

    @njit(**inner)
    def write_hessian(call, rows, start, size, source, spare, numbers, relative, at):
        direct = rows.hessian_layout == 0
        place = call.hessian + start * itemsize if direct else spare
        inverse = numbers[of_row.inverse] * relative
        square, linear = numbers[of_row.hessian_square], numbers[of_row.hessian_linear]
        o.write_hessian(source, place, size, inverse, square, linear)
        if (at >= 0) & (at < size):
            pointer(place, zero)[at] = numbers[of_row.hessian_at_label]
        if not direct:
            t.store((call.hessian, layout(call, rows.hessian_layout)), start, size, spare)

    @njit(**inner)
    def write(call, rows, start, offset, size, source, spare, numbers, relative, label):
        """Gradient and hessian of elements start to start + size, classes offset and on.

        ``source`` is the address of their exponentials, ``spare`` of scratch memory;
        ``relative`` is what the exponentials are off by. ``label`` is that of the row.
        """
        at = label - offset
        if rows.derivatives > 1:
            write_hessian(call, rows, start, size, source, spare, numbers, relative, at)
        factor, shift = numbers[of_row.factor] * relative, numbers[of_row.shift]
        direct = rows.gradient_layout == 0
        place = call.gradient + start * itemsize if direct else spare
        gradient = pointer(place, zero)
        weights = 0
        if rows.smooth != 0:
            weights = rows.class_weight + offset * itemsize
        if place != source:
            o.write_gradient(source, place, size, factor, shift, weights)
        elif weights == 0:
            o.multiply(gradient, size, factor)
        else:
            o.multiply_smooth(gradient, pointer(weights, zero), size, factor, shift)
        if (at >= 0) & (at < size):
            gradient[at] = numbers[of_row.at_label]
        if not direct:
            t.store((call.gradient, layout(call, rows.gradient_layout)), start, size, spare)

    @njit(**inner)
    def write_zeros_to(array, word, call, start, size, spare):
        if word == 0:
            t.fill(pointer(array + start * itemsize, zero), size, zero)
        else:
            t.fill(pointer(spare, zero), size, zero)
            t.store((array, layout(call, word)), start, size, spare)

    @njit(**inner)
    def write_zeros(call, rows, start, size, spare):
        """Gradient and hessian of a row that does not count."""
        prefer_wide_vectors()
        done = 0
        while done < size:
            count = min(piece, size - done)
            arrays = call.gradient, call.hessian
            words = rows.gradient_layout, rows.hessian_layout
            for d in range(rows.derivatives):
                write_zeros_to(arrays[d], words[d], call, start + done, count, spare)
            done += count

    return write, write_zeros


@cache
def numbers_of(real: str) -> Any:
    """Copies the results of one row of a group to where the writer reads them."""
    column = tools(real, GROUP).column

    @njit(**inner)
    def gather_numbers(statistics, which, numbers):
        numbers[of_row.maximum] = column(statistics, statistic.maximum)[which]
        numbers[of_row.factor] = column(statistics, statistic.factor)[which]
        numbers[of_row.shift] = column(statistics, statistic.shift)[which]
        numbers[of_row.at_label] = column(statistics, statistic.at_label)[which]
        numbers[of_row.inverse] = column(statistics, statistic.inverse)[which]
        numbers[of_row.hessian_square] = column(statistics, statistic.hessian_square)[which]
        numbers[of_row.hessian_linear] = column(statistics, statistic.hessian_linear)[which]
        numbers[of_row.hessian_at_label] = column(statistics, statistic.hessian_at_label)[which]

    return gather_numbers
