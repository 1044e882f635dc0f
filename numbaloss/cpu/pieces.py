"""Loops over a row with a label, or over a *piece* of one that fits into the first-level cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..vmath import vectors
from ..vmath.bits import select
from ..vmath.vectors import register_bytes
from .intrinsics import (
    no_alias,
    pointer,
    prefer_wide_vectors,
    prefetch,
)
from .rows import (
    AT_LABEL,
    CLASS_WEIGHT,
    DERIVATIVES,
    FACTOR,
    GRADIENT,
    HESSIAN,
    HESSIAN_AT_LABEL,
    HESSIAN_LINEAR,
    HESSIAN_SQUARE,
    INVERSE,
    MAXIMUM,
    SHIFT,
    SMOOTH,
    block_size,
    exact,
    inner,
    namespace,
    tools,
)
from .sums import tools as sums_of
from .threads import LAYOUTS

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
    t = tools(real, GROUP)
    zero, lowest, itemsize = t.zero, t.lowest, t.itemsize
    decay, integer = t.decay, t.integer
    slim = integer(0)
    lanes, block = register_bytes() // itemsize, block_size(real)
    register, block_bytes, sums = lanes * itemsize, block * itemsize, 256 // itemsize

    @njit(**inner)
    def padded(size):
        """Numbers of a row in scratch memory: whole registers."""
        return (size + lanes - 1) // lanes * lanes

    @njit(**inner)
    def larger(x, y):
        return select(x > y, x, y)

    @njit(**inner)
    def maximum(place, size):
        """Maximum of a row no shorter than a register. NaN shows in the sum."""
        prefer_wide_vectors()
        running = vectors.splat(lowest, block)
        whole, end = size // block * block_bytes, (size - lanes) * itemsize
        for j in range(0, whole, block_bytes):
            running = larger(vectors.load(place + j, zero, block), running)
        top = vectors.max_lanes(running)
        if whole < size * itemsize:
            rest = vectors.load(place + end, zero, lanes)
            for j in range(whole, end, register):
                rest = larger(vectors.load(place + j, zero, lanes), rest)
            other = vectors.max_lanes(rest)
            top = other if other > top else top
        return top

    @njit(**inner)
    def locate(job, slot, start, size, scratch):
        """Address of a stretch of a row: its own, or that of a copy.

        A register's worth can be read there; -inf follows numbers that are fewer.
        """
        if t.is_direct(job, slot) and size >= lanes:
            return job[slot] + start * itemsize
        t.load(job, slot, start, size, scratch)
        for j in range(size, lanes):
            pointer(scratch, zero)[j] = lowest
        return scratch

    @njit(**inner)
    def stage(job, slot, start, size, scratch):
        """A stretch of a row into scratch, filled up to a whole register with -inf.

        Returns its maximum; ``padded(size)`` numbers are in place.
        """
        t.load(job, slot, start, size, scratch)
        for j in range(size, padded(size)):
            pointer(scratch, zero)[j] = lowest
        return maximum(scratch, padded(size))

    @njit(**inner)
    def fetch(following, ahead, j, size):
        """Ask for memory that is read, and written, next: the exponentials leave it idle."""
        for line in range(0, size, 64):
            prefetch(following + j + line, 0)
        if ahead != 0:
            for line in range(0, size, 64):
                prefetch(ahead + j + line, 1)

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
        found = vectors.sum_lanes(running)
        if whole < size * itemsize:
            rest = select(own_lanes(size), vectors.load(place + end, zero, lanes), zero)
            for j in range(whole, end, register):
                rest = rest + vectors.load(place + j, zero, lanes)
            found += vectors.sum_lanes(rest)
        return found

    @njit(**exact)
    def weighted_distance(place, weights, size, top, inverse):
        """Sum of class weights times scaled logits; an excluded class of weight 0 counts not."""
        prefer_wide_vectors()
        found, end = vectors.splat(zero, lanes), (size - lanes) * itemsize
        for j in range(0, end + register, register):
            at = min(j, end)
            w = vectors.load(weights + at, zero, lanes)
            w = select(own_lanes(size), w, zero) if at < j else w
            d = (vectors.load(place + at, zero, lanes) - top) * inverse
            found = found + select(w == zero, zero, w * d)
        return vectors.sum_lanes(found)

    plain_sum, _ = sums_of(real)

    return namespace(locals())


@cache
def writer(real: str) -> Any:
    """The function that writes a stretch of gradient and hessian from exponentials."""
    t = tools(real, GROUP)
    zero, itemsize, piece = t.zero, t.itemsize, piece_size(real)
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

    @njit(**inner)
    def write(job, start, offset, size, source, spare, numbers, relative, label):
        """Gradient and hessian of elements start to start + size, classes offset and on.

        ``source`` is the address of their exponentials, ``spare`` of scratch memory;
        ``relative`` is what the exponentials are off by. ``label`` is that of the row.
        """
        fields = pointer(job[LAYOUTS], 1)
        with_hessian = fields[DERIVATIVES] > 1
        at = label - offset
        within = (at >= 0) & (at < size)
        if with_hessian:
            direct = t.is_direct(job, HESSIAN)
            place = job[HESSIAN] + start * itemsize if direct else spare
            inverse = numbers[INVERSE] * relative
            square, linear = numbers[HESSIAN_SQUARE], numbers[HESSIAN_LINEAR]
            write_hessian(source, place, size, inverse, square, linear)
            if within:
                pointer(place, zero)[at] = numbers[HESSIAN_AT_LABEL]
            if not direct:
                t.store(job, HESSIAN, start, size, spare)
        factor, shift = numbers[FACTOR] * relative, numbers[SHIFT]
        direct = t.is_direct(job, GRADIENT)
        place = job[GRADIENT] + start * itemsize if direct else spare
        gradient = pointer(place, zero)
        weights = 0
        if fields[SMOOTH] != 0:
            weights = fields[CLASS_WEIGHT] + offset * itemsize
        if place != source:
            write_gradient(source, place, size, factor, shift, weights)
        elif weights == 0:
            multiply(gradient, size, factor)
        else:
            multiply_smooth(gradient, pointer(weights, zero), size, factor, shift)
        if within:
            gradient[at] = numbers[AT_LABEL]
        if not direct:
            t.store(job, GRADIENT, start, size, spare)

    @njit(**inner)
    def write_zeros(job, start, size, spare):
        """Gradient and hessian of a row that does not count."""
        prefer_wide_vectors()
        fields = pointer(job[LAYOUTS], 1)
        done = 0
        while done < size:
            count = min(piece, size - done)
            for slot in range(GRADIENT, GRADIENT + fields[DERIVATIVES]):
                if t.is_direct(job, slot):
                    t.fill(pointer(job[slot] + (start + done) * itemsize, zero), count, zero)
                else:
                    t.fill(pointer(spare, zero), count, zero)
                    t.store(job, slot, start + done, count, spare)
            done += count

    return write, write_zeros


@cache
def numbers_of(real: str) -> Any:
    """Copies the results of one row of a group to where the writer looks for them."""
    t = tools(real, GROUP)

    @njit(**inner)
    def gather_numbers(statistics, which, numbers):
        numbers[FACTOR] = t.column(statistics, FACTOR)[which]
        numbers[SHIFT] = t.column(statistics, SHIFT)[which]
        numbers[AT_LABEL] = t.column(statistics, AT_LABEL)[which]
        numbers[MAXIMUM] = t.column(statistics, MAXIMUM)[which]
        numbers[INVERSE] = t.column(statistics, INVERSE)[which]
        numbers[HESSIAN_SQUARE] = t.column(statistics, HESSIAN_SQUARE)[which]
        numbers[HESSIAN_LINEAR] = t.column(statistics, HESSIAN_LINEAR)[which]
        numbers[HESSIAN_AT_LABEL] = t.column(statistics, HESSIAN_AT_LABEL)[which]

    return gather_numbers
