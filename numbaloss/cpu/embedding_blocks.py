"""Loops over blocks of similarities: what happens to all pairs between two products.

Rows are cut into stretches of columns that are treated alike: a row's positives stand side by
side, so that no loop looks at labels. Rows go to threads several at a time, columns in strips;
who does what does not change the results.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..all_pairs import CANCELLED, EQUAL_ULPS
from ..formulas.points import point
from ..formulas.structure import Structure
from ..vmath import float32, float64
from ..vmath.overloads import install as install_vmath
from ..vmath.vectors import register_bytes
from .blocks import unpack
from .compile import Code, c_function
from .embedding_rows import compile_for_loss
from .intrinsics import (
    flush_denormals,
    no_alias,
    pointer,
    prefer_wide_vectors,
    restore_denormals,
    stack_memory,
)
from .rows import CHUNK_SIGNATURE, call_mover, exact, fast, inner, namespace
from .stretches import tools as tools_of_stretches
from .threads import CHUNK, LAYOUTS, SIZE

# The description of a call. The first is the position of the layout of the array at SOURCE.
(
    _LAYOUT,
    SOURCE,
    VECTORS,  # addresses, here and below, of contiguous arrays in the batch's order
    LENGTH,
    ORDER,  # where rows came from; 0: from their own place
    INVERSE,  # of the lengths, float64
    NORMALIZE,
    MEAN,
    SQUARES,  # squared lengths
    SUMS,
    PULLS,
    BLOCK,
    ROW,  # the first of the block, in the batch
    COLUMN,
    HEIGHT,
    WIDTH,
    STARTS,
    ENDS,
    LABELLED,
    NEGATIVES_ALONE,
    BOTH,  # whether slopes are those by rows and columns together
    FACTOR,
    COLUMN_FACTOR,
    SHARE,
    VALUES,
    ACTIVE,
    TOP,
    TOTAL,
    LOG_SUM,
    SLOPE,
    COLUMN_TOP,
    COLUMN_TOTAL,
    COLUMN_LOG_SUM,
    COLUMN_SLOPE,
    SQUARED,
    FARTHEST,
    NEAREST,
    OF_FARTHEST,
    OF_NEAREST,
    TO_FARTHEST,
    TO_NEAREST,
    FIRST,
    OTHERS,
    SIZES,
    SCRATCH,
    SCRATCH_EACH,
    ALL_TRIPLETS,
    CHUNK_ROWS,
    SCALE,  # float64
    SHIFT,
    MARGIN,
    UNIT,  # of the vectors of triplets: a power of two
) = range(52)
FIELDS = 52

# Columns of a strip.
STRIP = 256
# Elements that go through scratch memory at a time.
PIECE = 1024


def _loop(make: Callable[[str], Callable]) -> Callable[[str], Code]:
    """A loop that knows no loss, compiled once a compute type."""

    @cache
    def code(real: str) -> Code:
        name = f"embedding {make.__name__} {real}"
        return c_function(lambda: make(real), CHUNK_SIGNATURE, name, error_model="numpy")

    return code


def _map(make: Callable[[str], Callable], kind: str | None = "float64") -> Callable:
    """A loop that calls the map of a loss, in ``kind`` or else in the compute type."""

    @cache
    def code(structure: Structure, real: str) -> Code:
        what = f"embedding {make.__name__} {real}"
        return compile_for_loss(structure, kind or real, lambda: make(real), what)

    return code


@cache
def _tools(real: str) -> Any:
    install_vmath()
    cast = np.dtype(real).type
    zero, lowest, highest = cast(0), cast(-np.inf), cast(np.inf)
    itemsize = np.dtype(real).itemsize
    decay = (float32 if real == "float32" else float64).decay
    rounding = (EQUAL_ULPS * float(np.finfo(real).eps)) ** 2

    @njit(**inner)
    def array(place, which):
        return pointer(pointer(place, 1)[which], zero)

    @njit(**inner)
    def integers(place, which):
        return pointer(pointer(place, 1)[which], 1)

    @njit(**inner)
    def apart(place, i, first, last):
        """The columns of a block, from first to last, that row i is not summed over."""
        fields = pointer(place, 1)
        if fields[NEGATIVES_ALONE] != 0:
            low, high = integers(place, STARTS)[i], integers(place, ENDS)[i]
        elif fields[LABELLED] != 0:
            low, high = i, i + 1
        else:
            low, high = last, last
        low = min(max(low, first), last)
        return low, min(max(high, low), last)

    @njit(**inner)
    def fill(target, size, value):
        for i in range(size):
            target[i] = value

    @njit(**inner)
    def shifted(source, offset):
        return pointer(source + offset * itemsize, zero)

    @njit(**fast)
    def distance_squared(a, b, size):
        prefer_wide_vectors()
        total = 0.0
        for k in range(size):
            r = np.float64(a[k]) - np.float64(b[k])
            total += r * r
        return total

    @njit(**inner)
    def apart_squared(place, i, j):
        """The squared distance of two vectors, by their difference."""
        fields = pointer(place, 1)
        size, squares = fields[LENGTH], array(place, SQUARES)
        here = pointer(fields[VECTORS] + i * size * itemsize, zero)
        there = pointer(fields[VECTORS] + j * size * itemsize, zero)
        found = distance_squared(here, there, size)
        scale = np.float64(squares[i]) + np.float64(squares[j])
        return 0.0 if found <= rounding * scale else found

    return namespace(locals())


@_loop
def prepare(real: str) -> Callable:
    """Copies of vectors, in order, normalised where they are to be."""
    t = _tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**fast)
    def square_of(row, size):
        prefer_wide_vectors()
        total = 0.0
        for k in range(size):
            x = np.float64(row[k])
            total += x * x
        return total

    @njit(**inner)
    def copy(source, target, size):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            target[k] = source[k]

    @njit(**inner)
    def scale(row, size, factor):
        prefer_wide_vectors()
        for k in range(size):
            row[k] = cast(np.float64(row[k]) * factor)

    @njit(**inner)
    def largest(row, size):
        found = 0.0
        for k in range(size):
            x = abs(np.float64(row[k]))
            found = x if x > found else found
        return found

    def prepare_rows(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        size, layout = fields[LENGTH], place + 8 * fields[_LAYOUT]
        for i in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            source = i if fields[ORDER] == 0 else t.integers(place, ORDER)[i]
            target = fields[VECTORS] + i * size * itemsize
            row = pointer(target, zero)
            if fields[_LAYOUT] == 0:
                copy(pointer(fields[SOURCE] + source * size * itemsize, zero), row, size)
            else:
                call_mover(
                    pointer(layout, 1)[0], (fields[SOURCE], layout, source * size, size, target)
                )
            if fields[NORMALIZE] != 0:
                square, unit = square_of(row, size), 1.0
                if (square < 1e-290) | (square == np.inf):
                    # Too short or too long for squares of float64.
                    unit = largest(row, size)
                    unit = max(unit, 1e-300) if (unit > 0.0) & (unit < np.inf) else 1.0
                    scale(row, size, 1.0 / unit)
                    square = square_of(row, size)
                length = np.sqrt(square)
                # A zero vector stays: it has no direction, and gets no gradient.
                inverse = 0.0 if length == 0.0 else 1.0 / length
                pointer(fields[INVERSE], 1.0)[i] = inverse / unit
                scale(row, size, inverse)

    return prepare_rows


@_loop
def center(real: str) -> Callable:
    """Vectors less their mean, in a unit of about the largest, and their squared lengths."""
    t = _tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**fast)
    def move(row, mean, size, inverse):
        prefer_wide_vectors()
        no_alias()
        total = 0.0
        for k in range(size):
            x = cast((np.float64(row[k]) - np.float64(mean[k])) * inverse)
            row[k] = x
            total += np.float64(x) * np.float64(x)
        return total

    def center_rows(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        size, squares = fields[LENGTH], t.array(place, SQUARES)
        unit = pointer(place, 1.0)[UNIT]
        for i in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            row = pointer(fields[VECTORS] + i * size * itemsize, zero)
            squares[i] = cast(move(row, t.array(place, MEAN), size, 1.0 / unit))

    return center_rows


@_loop
def measure_rows(real: str) -> Callable:
    """Maxima and sums of exponentials of rows, a stretch further."""
    t, of_stretches = _tools(real), tools_of_stretches(real)
    zero, cast, decay, itemsize = t.zero, t.cast, t.decay, t.itemsize
    maximum, exponentials = of_stretches.maximum, of_stretches.exponentials

    def measure(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        mode = flush_denormals()
        width, first = fields[WIDTH], fields[COLUMN]
        top, total = t.array(place, TOP), t.array(place, TOTAL)
        scale = cast(pointer(place, 1.0)[SCALE])
        for r in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            i = fields[ROW] + r
            low, high = t.apart(place, i, first, first + width)
            row = fields[BLOCK] + r * width * itemsize
            size, rest = low - first, first + width - high
            after = row + (high - first) * itemsize
            if size + rest > 0:
                new = maximum(row, size, after, rest)
                new = new if new > top[i] else top[i]
                more = exponentials(row, size, after, rest, new, scale)
                # NaN stays, though no maximum knows it.
                before = zero if total[i] == zero else total[i] * decay((new - top[i]) * scale)
                top[i], total[i] = new, before + more
        restore_denormals(mode)

    return measure


@_loop
def measure_columns(real: str) -> Callable:
    """Maxima and sums of exponentials of columns, some rows further."""
    t = _tools(real)
    zero, lowest, cast, decay, itemsize = t.zero, t.lowest, t.cast, t.decay, t.itemsize
    strip_bytes = STRIP * itemsize
    copies_bytes = 4 * strip_bytes

    @njit(**inner)
    def highest(first, second, third, fourth, size, tops):
        # Rows four at a time: of one alone LLVM would make stores under a mask, which are slow.
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = first[k] if first[k] > tops[k] else tops[k]
            x = second[k] if second[k] > x else x
            x = third[k] if third[k] > x else x
            tops[k] = fourth[k] if fourth[k] > x else x

    @njit(**exact)
    def add(row, size, tops, sums, scale):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            sums[k] += decay((row[k] - tops[k]) * scale)

    @njit(**exact)
    def merge(top, total, tops, size, scale):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            before = total[k] * decay((tops[k] - top[k]) * scale)
            total[k] = zero if total[k] == zero else before
            top[k] = tops[k]

    @njit(**inner)
    def counted(place, r, start, size, memory):
        """Where the numbers of a row are; those that do not count are -inf, in a copy."""
        fields = pointer(place, 1)
        first = fields[COLUMN] + start
        low, high = t.apart(place, fields[ROW] + r, first, first + size)
        row = fields[BLOCK] + (r * fields[WIDTH] + start) * itemsize
        if low == high:
            return pointer(row, zero)
        copy, given = pointer(memory, zero), pointer(row, zero)
        for k in range(size):
            copy[k] = given[k]
        t.fill(t.shifted(memory, low - first), high - low, lowest)
        return copy

    @njit(**inner)
    def raise_tops(place, start, size, tops):
        height = pointer(place, 1)[HEIGHT]
        memory = stack_memory(copies_bytes)
        for r in range(0, height, 4):
            # Of a maximum the last row may be asked again.
            second, third, fourth = min(r + 1, height - 1), min(r + 2, height - 1), r + 3
            highest(
                counted(place, r, start, size, memory),
                counted(place, second, start, size, memory + strip_bytes),
                counted(place, third, start, size, memory + 2 * strip_bytes),
                counted(place, min(fourth, height - 1), start, size, memory + 3 * strip_bytes),
                size, tops,
            )  # fmt: skip

    def measure(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        mode = flush_denormals()
        width = fields[WIDTH]
        start = index * STRIP
        size = min(STRIP, width - start)
        first = fields[COLUMN] + start
        memory = stack_memory(strip_bytes)
        tops = pointer(memory, zero)
        scale = cast(pointer(place, 1.0)[SCALE])
        top = t.shifted(fields[COLUMN_TOP], first)
        for k in range(size):
            tops[k] = top[k]
        raise_tops(place, start, size, tops)
        merge(top, t.shifted(fields[COLUMN_TOTAL], first), tops, size, scale)
        for r in range(fields[HEIGHT]):
            low, high = t.apart(place, fields[ROW] + r, first, first + size)
            row = fields[BLOCK] + (r * width + start) * itemsize
            for part in range(2):
                # Left of what is not summed, and right of it.
                begin = 0 if part == 0 else high - first
                count = low - first if part == 0 else first + size - high
                if count > 0:
                    here = pointer(row + begin * itemsize, zero)
                    there = pointer(memory + begin * itemsize, zero)
                    add(here, count, there, t.shifted(fields[COLUMN_TOTAL], first + begin), scale)
        restore_denormals(mode)

    return measure


def positives_(real: str) -> Callable:
    """Values of rows from their positives, and the slope by the log of their sum."""
    t = _tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize

    @njit(**fast)
    def add(self, row, size, scale, shift, log_sum):
        prefer_wide_vectors()
        value = slope = 0.0
        for k in range(size):
            x = np.float64(row[k]) * scale + shift
            v, _, s = point(self, x, log_sum)
            lost = x + log_sum
            value += lost if lost != lost else v
            slope += lost if lost != lost else s
        return value, slope

    def positives(loss, parameters, place, start, count, result):
        self = unpack(loss, parameters)
        fields, reals = pointer(place, 1), pointer(place, 1.0)
        width, first = fields[WIDTH], fields[COLUMN]
        # In float64: the log of a sum is near its largest term, and the difference small.
        log_sums, slopes = pointer(fields[LOG_SUM], 1.0), t.array(place, SLOPE)
        totals = t.array(place, TOTAL)
        factors, shares = t.array(place, FACTOR), pointer(fields[SHARE], 1.0)
        values = pointer(fields[VALUES], 1.0)
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        scale, shift = reals[SCALE], reals[SHIFT]
        for r in range(start, start + count):
            i = fields[ROW] + r
            low, high = max(starts[i], first), min(ends[i], first + width)
            row = fields[BLOCK] + (r * width - first) * itemsize
            value = slope = 0.0
            # A row of labels is not its own positive.
            middle = i if (fields[LABELLED] != 0) & (low <= i) & (i < high) else high
            for part in range(2):
                begin = low if part == 0 else middle + 1
                size = (middle if part == 0 else high) - begin
                if size > 0:
                    here = pointer(row + begin * itemsize, zero)
                    more = add(self, here, size, scale, shift, log_sums[i])
                    value, slope = value + more[0], slope + more[1]
            values[i] += value * shares[i]
            # Over the sum of exponentials: what an exponential has to be multiplied by.
            if totals[i] != zero:
                slopes[i] += cast(slope * factors[i] / totals[i])

    return positives


positives = _map(positives_)


def emit_(real: str) -> Callable:
    """Slopes by similarities in their place, for losses of positives against a sum."""
    t = _tools(real)
    zero, cast, decay, itemsize = t.zero, t.cast, t.decay, t.itemsize
    kept_bytes = 2 * PIECE * itemsize

    @njit(**exact)
    def by_row(row, size, scale, top, slope):
        prefer_wide_vectors()
        for k in range(size):
            row[k] = slope * decay((row[k] - top) * scale)

    @njit(**exact)
    def by_both(row, size, scale, top, slope, tops, slopes):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = row[k]
            there = slopes[k] * decay((x - tops[k]) * scale)
            row[k] = slope * decay((x - top) * scale) + there

    @njit(**inner)
    def of_positives(self, row, size, scale, shift, log_sum, factor):
        """Slopes by positives themselves, beside those by way of the sums."""
        for k in range(size):
            x = np.float64(row[k]) * scale + shift
            _, s, _ = point(self, x, log_sum)
            row[k] = cast(factor * s)

    def emit(loss, parameters, place, start, count, result):
        self = unpack(loss, parameters)
        mode = flush_denormals()
        fields, reals = pointer(place, 1), pointer(place, 1.0)
        width, first = fields[WIDTH], fields[COLUMN]
        log_sums, slopes = pointer(fields[LOG_SUM], 1.0), t.array(place, SLOPE)
        tops, factors = t.array(place, TOP), t.array(place, FACTOR)
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        wide_scale, wide_shift = reals[SCALE], reals[SHIFT]
        scale = cast(wide_scale)
        both, labelled = fields[BOTH] != 0, fields[LABELLED] != 0
        alone = fields[NEGATIVES_ALONE] != 0
        # Positives are kept while the loop over the whole row runs over them.
        memory = stack_memory(kept_bytes)
        kept, other = pointer(memory, zero), pointer(memory + PIECE * itemsize, zero)
        for r in range(start, start + count):
            i = fields[ROW] + r
            low = min(max(starts[i], first), first + width)
            high = min(max(ends[i], low), first + width)
            row = fields[BLOCK] + (r * width - first) * itemsize
            at = first
            while at < first + width:
                # Up to the positives, the positives piece by piece, what is behind them.
                inside = (low <= at) & (at < high)
                stop = low if at < low else first + width
                stop = min(high, at + PIECE) if inside else stop
                size = stop - at
                here = pointer(row + at * itemsize, zero)
                if inside:
                    for k in range(size):
                        kept[k] = other[k] = here[k]
                if inside & alone:
                    t.fill(here, size, zero)
                elif both:
                    by_both(
                        here, size, scale, tops[i], slopes[i],
                        t.shifted(fields[COLUMN_TOP], at), t.shifted(fields[COLUMN_SLOPE], at),
                    )  # fmt: skip
                else:
                    by_row(here, size, scale, tops[i], slopes[i])
                if inside:
                    log_sum = log_sums[i]
                    of_positives(self, kept, size, wide_scale, wide_shift, log_sum, factors[i])
                    for k in range(size):
                        here[k] += kept[k]
                    if both:
                        theirs = pointer(fields[COLUMN_LOG_SUM] + 8 * at, 1.0)
                        factor = t.shifted(fields[COLUMN_FACTOR], at)
                        for k in range(size):
                            x = np.float64(other[k]) * wide_scale + wide_shift
                            _, s, _ = point(self, x, theirs[k])
                            here[k] += cast(np.float64(factor[k]) * s)
                    if labelled & (at <= i) & (i < stop):
                        here[i - at] = zero
                at = stop
        restore_denormals(mode)

    return emit


emit = _map(emit_)


def emit_pairs_(real: str) -> Callable:
    """Values of rows, and slopes by similarities in their place, for losses of pairs."""
    t = _tools(real)
    zero, one, cast, itemsize = t.zero, t.cast(1), t.cast, t.itemsize

    @njit(**fast)
    def by_row(self, row, size, scale, shift, positive, factor):
        prefer_wide_vectors()
        total = zero
        for k in range(size):
            x = row[k] * scale + shift
            v, s = point(self, x, positive)
            v = x if x != x else cast(v)
            row[k] = v if v != v else factor * cast(s)
            total += v
        return np.float64(total)

    @njit(**fast)
    def by_both(self, row, size, scale, shift, positive, factor, factors):
        prefer_wide_vectors()
        no_alias()
        total = zero
        for k in range(size):
            x = row[k] * scale + shift
            v, s = point(self, x, positive)
            v = x if x != x else cast(v)
            row[k] = v if v != v else (factor + factors[k]) * cast(s)
            total += v
        return np.float64(total)

    def emit_pairs(loss, parameters, place, start, count, result):
        self = unpack(loss, parameters)
        fields, reals = pointer(place, 1), pointer(place, 1.0)
        width, first = fields[WIDTH], fields[COLUMN]
        factors, values = t.array(place, FACTOR), pointer(fields[VALUES], 1.0)
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        scale, shift = cast(reals[SCALE]), cast(reals[SHIFT])
        both, labelled = fields[BOTH] != 0, fields[LABELLED] != 0
        for r in range(start, start + count):
            i = fields[ROW] + r
            low = min(max(starts[i], first), first + width)
            high = min(max(ends[i], low), first + width)
            row = fields[BLOCK] + (r * width - first) * itemsize
            at = first
            while at < first + width:
                inside = (low <= at) & (at < high)
                # Sums in the compute type are short.
                stop = min(low if at < low else high if inside else first + width, at + PIECE)
                if labelled & inside:
                    # The row itself is no pair: it stands alone.
                    stop = i + 1 if at == i else min(stop, i) if at < i else stop
                here, size = pointer(row + at * itemsize, zero), stop - at
                positive = one if inside else zero
                if labelled & (at == i):
                    here[0] = zero
                elif both:
                    theirs = t.shifted(fields[COLUMN_FACTOR], at)
                    values[i] += by_both(
                        self, here, size, scale, shift, positive, factors[i], theirs
                    )
                else:
                    values[i] += by_row(self, here, size, scale, shift, positive, factors[i])
                at = stop

    return emit_pairs


emit_pairs = _map(emit_pairs_, None)


@_loop
def mine_rows(real: str) -> Callable:
    """Farthest positives and nearest negatives of rows, a stretch further."""
    t = _tools(real)
    zero, two, itemsize = t.zero, t.cast(2), t.itemsize
    largest = tools_of_stretches(real).farthest

    @njit(**inner)
    def search(row, squares, size, sign, wanted):
        """The first place of a number that is there."""
        for k in range(size):
            if sign * (squares[k] - two * row[k]) >= wanted:
                return k
        return 0

    @njit(**inner)
    def farthest(row, first, low, high, squares, sign, best, of_best):
        """Look through the columns from low to high of a row that begins at column first."""
        if low < high:
            here, there = row + (low - first) * itemsize, squares + low * itemsize
            found = largest(here, there, high - low, sign)
            if found > best:
                own, other = pointer(here, zero), pointer(there, zero)
                return found, low + search(own, other, high - low, sign, found)
        return best, np.int64(of_best)

    def mine(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        width, first = fields[WIDTH], fields[COLUMN]
        far, near = t.array(place, FARTHEST), t.array(place, NEAREST)
        of_far = pointer(fields[OF_FARTHEST], np.int32(0))
        of_near = pointer(fields[OF_NEAREST], np.int32(0))
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        squares, one = fields[SQUARES], two / two
        for r in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            i = fields[ROW] + r
            last = first + width
            low = min(max(starts[i], first), last)
            high = min(max(ends[i], low), last)
            middle = i if (low <= i) & (i < high) else high
            row = fields[BLOCK] + r * width * itemsize
            best, of_best = farthest(row, first, low, middle, squares, one, far[i], of_far[i])
            best, of_best = farthest(
                row, first, middle + 1, high, squares, one, best, np.int32(of_best)
            )
            far[i], of_far[i] = best, np.int32(of_best)
            best, of_best = farthest(row, first, first, low, squares, -one, -near[i], of_near[i])
            best, of_best = farthest(row, first, high, last, squares, -one, best, np.int32(of_best))
            near[i], of_near[i] = -best, np.int32(of_best)

    return mine


@_loop
def mine_columns(real: str) -> Callable:
    """Farthest positives and nearest negatives of columns, some rows further."""
    t = _tools(real)
    zero, two, itemsize = t.zero, t.cast(2), t.itemsize

    @njit(**inner)
    def farther(row, size, square, i, best, of_best):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = square - two * row[k]
            better = x > best[k]
            best[k] = x if better else best[k]
            of_best[k] = i if better else of_best[k]

    @njit(**inner)
    def nearer(row, size, square, i, best, of_best):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            x = square - two * row[k]
            better = x < best[k]
            best[k] = x if better else best[k]
            of_best[k] = i if better else of_best[k]

    def mine(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        width = fields[WIDTH]
        start = index * STRIP
        first = fields[COLUMN] + start
        last = first + min(STRIP, width - start)
        squares = t.array(place, SQUARES)
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        whole = np.int32(0)
        for r in range(fields[HEIGHT]):
            i = fields[ROW] + r
            low = min(max(starts[i], first), last)
            high = min(max(ends[i], low), last)
            row = fields[BLOCK] + (r * width + start - first) * itemsize
            if low < high:
                farther(
                    pointer(row + low * itemsize, zero), high - low, squares[i], np.int32(i),
                    t.shifted(fields[FARTHEST], low),
                    pointer(fields[OF_FARTHEST] + 4 * low, whole),
                )  # fmt: skip
            for part in range(2):
                begin = first if part == 0 else high
                end = low if part == 0 else last
                if begin < end:
                    nearer(
                        pointer(row + begin * itemsize, zero), end - begin, squares[i],
                        np.int32(i), t.shifted(fields[NEAREST], begin),
                        pointer(fields[OF_NEAREST] + 4 * begin, whole),
                    )  # fmt: skip

    return mine


def settle_(real: str) -> Callable:
    """Values of anchors, each with its farthest positive and nearest negative."""
    t = _tools(real)
    cast = t.cast

    def settle(loss, parameters, place, start, count, result):
        self = unpack(loss, parameters)
        fields = pointer(place, 1)
        of_far = pointer(fields[OF_FARTHEST], np.int32(0))
        of_near = pointer(fields[OF_NEAREST], np.int32(0))
        to_far, to_near = t.array(place, TO_FARTHEST), t.array(place, TO_NEAREST)
        factors, values = t.array(place, FACTOR), pointer(fields[VALUES], 1.0)
        active, unit = t.integers(place, ACTIVE), pointer(place, 1.0)[UNIT]
        for i in range(start, start + count):
            if (of_far[i] >= 0) & (of_near[i] >= 0):
                positive = t.apart_squared(place, i, np.int64(of_far[i]))
                negative = t.apart_squared(place, i, np.int64(of_near[i]))
                pull = push = 2.0
                if fields[SQUARED] == 0:
                    positive, negative = np.sqrt(positive), np.sqrt(negative)
                    pull = 1.0 / positive if positive > 0.0 else 0.0
                    push = 1.0 / negative if negative > 0.0 else 0.0
                    positive, negative = positive * unit, negative * unit
                else:
                    positive, negative = positive * unit * unit, negative * unit * unit
                    pull = push = 2.0 * unit
                value, of_positive, of_negative = point(self, positive, negative)
                values[i] = value
                active[i] = 1 if value > 0.0 else 0
                to_far[i] = cast(factors[i] * of_positive * pull)
                to_near[i] = cast(factors[i] * of_negative * push)

    return settle


settle = _map(settle_)


@_loop
def gather(real: str) -> Callable:
    """Sums of differences to other vectors, each with its size."""
    t = _tools(real)
    zero, itemsize = t.zero, t.itemsize

    @njit(**exact)
    def add(target, here, there, size, factor):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            target[k] += factor * (here[k] - there[k])

    def gather_rows(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        size = fields[LENGTH]
        step = size * itemsize
        first, others = t.integers(place, FIRST), t.integers(place, OTHERS)
        sizes = t.array(place, SIZES)
        for i in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            target = pointer(fields[SUMS] + i * step, zero)
            here = pointer(fields[VECTORS] + i * step, zero)
            t.fill(target, size, zero)
            for e in range(first[i], first[i + 1]):
                add(target, here, pointer(fields[VECTORS] + others[e] * step, zero), size, sizes[e])

    return gather_rows


def scratch_bytes(most: int) -> int:
    """What a row with so many positives needs: six numbers each, and some to spare."""
    return 8 * 6 * (most + 2)


def emit_triplets_(real: str) -> Callable:
    """Values of anchors; similarities become slopes over distances, as `all_pairs` says.

    The positives are sorted by distance. Each negative then finds its place among them in
    log n steps, and that is all there is to know: which positives are nearer, and which
    hinges are open.
    """
    t = _tools(real)
    zero, two, cast, itemsize = t.zero, t.cast(2), t.cast, t.itemsize
    cancelled = cast(CANCELLED)
    ranks_bytes = 4 * PIECE

    @njit(**inner)
    def squares_of(row, size, own, squares):
        prefer_wide_vectors()
        no_alias()
        few = 0
        for k in range(size):
            x = own + squares[k] - two * row[k]
            few += 1 if x <= cancelled * (own + squares[k]) else 0
            row[k] = x
        return few

    @njit(**inner)
    def distances_of(row, size, unit, squared):
        prefer_wide_vectors()
        if squared:
            for k in range(size):
                row[k] = row[k] * unit * unit
        else:
            for k in range(size):
                row[k] = np.sqrt(row[k]) * unit

    @njit(**inner)
    def mend(place, row, i):
        """Distances that have lost their digits, from the vectors."""
        squares = t.array(place, SQUARES)
        for j in range(pointer(place, 1)[WIDTH]):
            if row[j] <= cancelled * (squares[i] + squares[j]):
                row[j] = cast(t.apart_squared(place, i, j))

    @njit(**inner)
    def sink(keys, places, root, size):
        while True:
            child = 2 * root + 1
            if child >= size:
                return
            if child + 1 < size and keys[child] < keys[child + 1]:
                child += 1
            if keys[root] >= keys[child]:
                return
            keys[root], keys[child] = keys[child], keys[root]
            places[root], places[child] = places[child], places[root]
            root = child

    @njit(**inner)
    def sort(keys, places, size):
        """Heapsort: no memory, and no bad case."""
        for root in range(size // 2 - 1, -1, -1):
            sink(keys, places, root, size)
        for last in range(size - 1, 0, -1):
            keys[0], keys[last] = keys[last], keys[0]
            places[0], places[last] = places[last], places[0]
            sink(keys, places, 0, last)

    if register_bytes() == 64:

        @njit(**inner)
        def moved(here, there, hop, goes):
            return there if goes else here

    else:
        none = np.int32(0)

        @njit(**inner)
        def moved(here, there, hop, goes):
            # Not a choice of what is there already, of which LLVM makes a store under a mask.
            return np.int32(here + (hop if goes else none))

    @njit(**inner)
    def locate(row, size, limits, count, span, ranks, equal):
        """How many of the sorted limits are below each number of a row, or equal to it.

        ``span`` is a power of two beyond their number; behind the last limit they are infinite.
        A step of all searches at a time has no branches, and runs in whole registers: three
        times as fast as a search after the other.
        """
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            ranks[k] = 0
        most = np.int32(count)
        step = span // 2
        while step > 0:
            hop = np.int32(step)
            if equal:
                for k in range(size):
                    rank = np.int32(ranks[k] + hop)
                    ranks[k] = moved(ranks[k], rank, hop, limits[rank - 1] <= row[k])
            else:
                for k in range(size):
                    rank = np.int32(ranks[k] + hop)
                    ranks[k] = moved(ranks[k], rank, hop, limits[rank - 1] < row[k])
            step //= 2
        for k in range(size):  # an infinite distance is beyond what stands behind the last limit
            ranks[k] = min(ranks[k], most)

    @njit(**inner)
    def slope_of(distance, squared, unit):
        """Of a distance, by the difference of two vectors in their unit."""
        if squared:
            return 2.0 * unit
        return unit / distance if distance > 0.0 else 0.0

    @njit(**fast)
    def open_hinges(row, ranks, size, count, margin, factor, squared, unit):
        """Slopes by the negatives, and what they add to the values of the open hinges."""
        prefer_wide_vectors()
        no_alias()
        total, is_open = 0.0, 0
        wide = np.float64(count)
        for k in range(size):
            distance = np.float64(row[k])
            still = wide - np.float64(ranks[k])
            total += still * (margin - distance)
            is_open += count - ranks[k]
            one = 2.0 * unit if squared else (unit / distance if distance > 0.0 else 0.0)
            row[k] = cast(-factor * still * one)
        return total, is_open

    @njit(**inner)
    def hinges(row, width, low, high, keys, places, limits, span, counts, size, margin, factor,
               squared, unit):  # fmt: skip
        """All triplets of an anchor: its value, and how many hinges are open."""
        ranks = pointer(stack_memory(ranks_bytes), np.int32(0))
        total, is_open = 0.0, 0
        for q in range(size + 1):
            counts[q] = 0
        for side in range(2):
            at = 0 if side == 0 else high
            last = low if side == 0 else width
            while at < last:
                count = min(PIECE, last - at)
                here = pointer(row + at * itemsize, zero)
                locate(here, count, limits, size, span, ranks, True)
                for k in range(count):
                    counts[ranks[k]] += 1
                more = open_hinges(here, ranks, count, size, margin, factor, squared, unit)
                total, is_open = total + more[0], is_open + more[1]
                at += count
        seen = 0
        own = pointer(row, zero)
        for q in range(size):
            seen += counts[q]
            total += seen * keys[q]
            own[places[q]] = cast(seen * factor * slope_of(keys[q], squared, unit))
        return total, is_open

    @njit(**inner)
    def nearest(self, row, width, low, high, keys, places, limits, span, best, of_best, size,
                factor, squared, unit):  # fmt: skip
        """Each positive with the nearest negative beyond it: the value, and how many are open.

        Negatives between two neighbours among the positives are beyond the same ones: the
        nearest of them is kept. For a positive that is the first kept behind it; where there is
        none, the farthest of all negatives.
        """
        ranks = pointer(stack_memory(ranks_bytes), np.int32(0))
        for q in range(size + 1):
            best[q], of_best[q] = np.inf, -1
        farthest, of_farthest = -1.0, np.int64(0) if low > 0 else high
        for side in range(2):
            at = 0 if side == 0 else high
            last = low if side == 0 else width
            while at < last:
                count = min(PIECE, last - at)
                here = pointer(row + at * itemsize, zero)
                locate(here, count, limits, size, span, ranks, False)
                for k in range(count):
                    distance, q = np.float64(here[k]), ranks[k]
                    if distance < best[q]:
                        best[q], of_best[q] = distance, at + k
                    if distance > farthest:
                        farthest, of_farthest = distance, at + k
                t.fill(here, count, zero)
                at += count
        total, is_open = 0.0, 0
        negative, of_negative = farthest, of_farthest
        own = pointer(row, zero)
        for q in range(size - 1, -1, -1):
            if of_best[q + 1] >= 0:
                negative, of_negative = best[q + 1], of_best[q + 1]
            value, pull, push = point(self, keys[q], negative)
            total += value
            is_open += 1 if value > 0.0 else 0
            own[places[q]] = cast(factor * pull * slope_of(keys[q], squared, unit))
            own[of_negative] += cast(factor * push * slope_of(negative, squared, unit))
        return total, is_open

    @njit(**fast)
    def sum_of(row, size):
        prefer_wide_vectors()
        total = 0.0
        for k in range(size):
            total += np.float64(row[k])
        return total

    def emit_triplets(loss, parameters, place, start, count, result):
        self = unpack(loss, parameters)
        fields = pointer(place, 1)
        width, squared = fields[WIDTH], fields[SQUARED] != 0
        squares, factors = t.array(place, SQUARES), t.array(place, FACTOR)
        values, active = pointer(fields[VALUES], 1.0), t.integers(place, ACTIVE)
        pulls = t.array(place, PULLS)
        starts, ends = t.integers(place, STARTS), t.integers(place, ENDS)
        margin, unit = pointer(place, 1.0)[MARGIN], pointer(place, 1.0)[UNIT]
        each = fields[SCRATCH_EACH]
        scratch = fields[SCRATCH] + start // fields[CHUNK_ROWS] * each
        part = each // 6
        keys, places = pointer(scratch, 1.0), pointer(scratch + part, 1)
        numbers, counts = pointer(scratch + 2 * part, 1.0), pointer(scratch + 3 * part, 1)
        limits = pointer(scratch + 4 * part, zero)
        every = fields[ALL_TRIPLETS] != 0
        for r in range(start, start + count):
            i = fields[ROW] + r
            low, high = starts[i], ends[i]
            place_ = fields[BLOCK] + r * width * itemsize
            row = pointer(place_, zero)
            size = high - low - 1
            if (size == 0) | (high - low == width):
                t.fill(row, width, zero)
                pulls[r] = zero
                continue
            if squares_of(row, width, squares[i], squares) > 0:
                mend(place, row, i)
            distances_of(row, width, cast(unit), squared)
            q = 0
            for j in range(low, high):
                if j != i:
                    keys[q], places[q] = np.float64(row[j]), j
                    q += 1
            sort(keys, places, size)
            span = 1
            while span <= size:
                span *= 2
            for q in range(span):
                limits[q] = cast(keys[q] + (margin if every else 0.0)) if q < size else t.highest
            factor = np.float64(factors[i])
            if every:
                values[i], active[i] = hinges(
                    place_, width, low, high, keys, places, limits, span, counts, size, margin,
                    factor, squared, unit,
                )  # fmt: skip
            else:
                values[i], active[i] = nearest(
                    self, place_, width, low, high, keys, places, limits, span, numbers, counts,
                    size, factor, squared, unit,
                )  # fmt: skip
            row[i] = zero
            pulls[r] = cast(sum_of(row, width))

    return emit_triplets


emit_triplets = _map(emit_triplets_)


@_loop
def finish(real: str) -> Callable:
    """From sums to gradients: through the lengths, to where vectors came from."""
    t = _tools(real)
    zero, cast, itemsize = t.zero, t.cast, t.itemsize
    piece_bytes = PIECE * itemsize

    @njit(**fast)
    def product_of(a, b, size):
        prefer_wide_vectors()
        total = 0.0
        for k in range(size):
            total += np.float64(a[k]) * np.float64(b[k])
        return total

    @njit(**exact)
    def combine(sums, vectors, target, size, factor, along):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            target[k] = cast(factor * np.float64(sums[k]) + along * np.float64(vectors[k]))

    def finish_rows(job, _, index, result):
        place = job[LAYOUTS]
        fields = pointer(place, 1)
        size, layout = fields[LENGTH], place + 8 * fields[_LAYOUT]
        scale = pointer(place, 1.0)[SCALE]
        memory = stack_memory(piece_bytes)
        scratch = pointer(memory, zero)
        for i in range(index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])):
            target = i if fields[ORDER] == 0 else t.integers(place, ORDER)[i]
            offset = i * size * itemsize
            sums, vectors = fields[SUMS] + offset, fields[VECTORS] + offset
            along = 0.0 if fields[PULLS] == 0 else pointer(fields[PULLS], 1.0)[i]
            factor = 1.0
            if fields[NORMALIZE] != 0:
                # What lies along a vector is lost when it is normalised.
                here, there = pointer(sums, zero), pointer(vectors, zero)
                factor = pointer(fields[INVERSE], 1.0)[i]
                along -= product_of(here, there, size) + along * product_of(there, there, size)
                along = along * factor + 0.0
            factor, along = factor * scale, along * scale
            for start in range(0, size, PIECE):
                count = min(PIECE, size - start)
                combine(
                    pointer(sums + start * itemsize, zero),
                    pointer(vectors + start * itemsize, zero),
                    scratch, count, factor, along,
                )  # fmt: skip
                first = target * size + start
                if fields[_LAYOUT] == 0:
                    place_ = pointer(fields[SOURCE] + first * itemsize, zero)
                    for k in range(count):
                        place_[k] = scratch[k]
                else:
                    call_mover(
                        pointer(layout, 1)[0], (fields[SOURCE], layout, first, count, memory)
                    )

    return finish_rows
