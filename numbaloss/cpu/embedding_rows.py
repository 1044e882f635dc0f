"""Losses of two or three vectors that belong together, on CPU threads: a row after the other.

A row is read twice, the second time from the first-level cache: its total or its products
first, then, once the loss has said what they come to, the gradients. Both run in float64 over
vectors of any type: with four arrays to move, memory leaves the time for it, lengths and
distances neither overflow nor cancel, and gradients are rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..arrays import Operand, numbers
from ..core.loss import domain
from ..core.out_of_range import raise_first_number
from ..core.recoding import Recoding
from ..formulas.catching import HEADER
from ..formulas.fitting import lower_for
from ..formulas.messages import FAULTS, complaint
from ..formulas.points import point, root, term
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..formulas.structure import Structure, parameter_values
from ..vmath.overloads import install as install_vmath
from . import threads
from .asking import raises
from .blocks import LossType, unpack
from .compile import Code, c_function
from .elementwise import sum_of_weights
from .intrinsics import caller, no_alias, pointer, prefer_wide_vectors, prefetch, stack_memory
from .movers import describe, with_layouts
from .rows import CHUNK_SIGNATURE, call_mover, fast, inner, namespace
from .threads import CHUNK, KERNEL, LAYOUTS, PARAMETERS, SIZE

__all__ = ["evaluate", "sum_of_weights"]

# The description of a call: positions of the layouts of its arrays, then their addresses.
FIRST, SECOND, THIRD, TARGET, WEIGHT, VALUE, OF_FIRST, OF_SECOND, OF_THIRD = map(np.int64, range(9))
ARRAYS = 9
LENGTH, DERIVATIVES, SWAP, CHECKED, BINARY, SIGNED = range(2 * ARRAYS, 2 * ARRAYS + 6)
SCALE, LOW, HIGH, NEAR_LOW, NEAR_HIGH = range(LENGTH + 6, LENGTH + 11)  # float64
FIELDS = LENGTH + 11

# Elements of a vector that go through scratch memory at a time, where they must.
PIECE = 1024
# Elements that are measured at a time.
STEP = 256
SCRATCH_BYTES = 6 * PIECE * 8
# Rows whose targets, weights and values are moved together.
GROUP = 128
GROUP_BYTES = 3 * GROUP * 8
# Elements of a chunk of rows.
CHUNK_ELEMENTS = 32_768

call_rows = caller(types.void, *[types.int64] * 6)


def evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    target: Operand | None,
    weight: Operand | None,
    mask: Operand | None,
    value: Operand | None,
    gradients: Sequence[Operand] | None,
    scale: float,
    check: bool,
) -> float:
    """Sum of the values of the rows; value and gradients receive what they are for.

    Raises
    ------
    ValueError
        For a target outside its domain, a negative or NaN weight.
    """
    given = target, weight, mask
    if weight is None:
        weight = mask  # True is a weight of 1
    elif mask is not None:
        # A copy, small beside the vectors: 0 for rows that do not count.
        counting = np.where(mask.array, numbers(weight, weight.array), 0).astype(np.float64)
        weight = Operand(counting, "float64", weight.dimensions)
    try:
        total, offenders = _evaluate(loss, vectors, target, weight, value, gradients, scale, check)
    except Raised as raised:
        error = _exception(loss, raised, vectors, [None, *given], weight, check)
    else:
        if offenders and check:
            raise_first_number(loss, [None, *given], check)
        return total
    raise error


def _exception(
    loss: Any,
    raised: Raised,
    vectors: Sequence[Operand],
    given: Sequence[Operand | None],
    weight: Operand | None,
    check: bool,
) -> BaseException:
    """What a formula raised, for the first row that it raises for."""
    raise_first_number(loss, given, check)
    *shape, length = vectors[0].array.shape
    flat = [one._replace(array=one.array.reshape(-1, length)) for one in vectors]
    of_rows = [one and one._replace(array=one.array.reshape(-1)) for one in (given[1], weight)]

    def run(start: int, stop: int) -> None:
        some = [one._replace(array=one.array[start:stop]) for one in flat]
        target, weights = [one and one._replace(array=one.array[start:stop]) for one in of_rows]
        _evaluate(loss, some, target, weights, None, None, 1.0, check)

    first, raised = first_that_raises(math.prod(shape), run, raised)
    place = place_of(first, shape, " at row")
    return exception_of(loss, raised, "float64", place)


def _evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    target: Operand | None,
    weight: Operand | None,
    value: Operand | None,
    gradients: Sequence[Operand] | None,
    scale: float,
    check: bool,
) -> tuple[float, float]:
    """Sum of the values of the rows, and how many numbers are out of range."""
    real = vectors[0].compute
    *shape, length = vectors[0].array.shape
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return 0.0, 0.0
    lowered = lower_for(loss, "float64")
    code = kernel(Structure.of(lowered), real)
    places: list[Operand | None] = [*vectors, *[None] * (3 - len(vectors)), target, weight, value]
    places += [*(gradients or ()), *[None] * (3 - len(gradients or ()))]
    fields = np.zeros(FIELDS, np.int64)
    reals = fields.view(np.float64)
    described = []
    for slot, one in enumerate(places):
        by_row = slot in (TARGET, WEIGHT, VALUE)
        direction = "load" if slot < VALUE else "store"
        described.append(describe(one, "float64" if by_row else real, direction))
        fields[ARRAYS + slot] = 0 if one is None else one.array.ctypes.data
    of_target = domain(loss.target_domain)
    fields[LENGTH], fields[DERIVATIVES] = length, gradients is not None
    fields[SWAP] = bool(getattr(loss, "swap", False))
    fields[CHECKED] = check and target is not None and not of_target.everything
    recoding = Recoding.of(loss) or Recoding()
    fields[BINARY], fields[SIGNED] = of_target.binary, recoding.signed
    reals[SCALE] = scale
    kind = "float64" if target is None else target.kind
    reals[LOW : NEAR_HIGH + 1] = recoding.limits(of_target, np.dtype(np.float64), kind)
    fields = with_layouts(fields, described)
    memory = np.array([0.0] * HEADER + parameter_values(lowered))
    chunk = max(1, CHUNK_ELEMENTS // max(length, 1))
    total, offenders = threads.launch_chunks(
        (
            chunk_code().address, code.address, threads.handle(memory), count, chunk,
            threads.handle(fields), 1.0, *[0] * 6,
        ),
        -(-count // chunk) if count * length >= threads.PARALLEL_SIZE else 1,
    )  # fmt: skip
    Raised.check(memory)
    return total, offenders


@cache
def chunk_code() -> Code:
    """The loop that hands a chunk of rows to the kernel of a loss."""
    return c_function(_chunk, CHUNK_SIGNATURE, "embedding chunk", error_model="numpy")


def _chunk() -> Callable:
    def embedding_chunk(job, scale, index, result):
        start = index * job[CHUNK]
        size = min(job[CHUNK], job[SIZE] - start)
        call_rows(job[KERNEL], (0, job[PARAMETERS], job[LAYOUTS], start, size, result))

    return embedding_chunk


# Parameters, address of the fields, first row, number of rows, sums.
_doubles = types.CPointer(types.float64)
KERNEL_ARGUMENTS = (_doubles, types.int64, types.int64, types.int64, _doubles)


def compile_for_loss(
    structure: Structure, kind: str, make: Callable[[], Callable], what: str
) -> Code:
    """Compile a loop over rows that calls the methods of one loss, in numbers of ``kind``."""
    try:
        loss = LossType(structure, getattr(types, kind), can_any_raise(structure, kind))
        return c_function(
            make,
            types.void(loss, *KERNEL_ARGUMENTS),
            f"{what} {loss.name}",
            cacheable=structure.cacheable,
            error_model="numpy",
        )
    except FAULTS as error:
        gives = structure.classes[0].point_gives()  # type: ignore[attr-defined]
        raise TypeError(complaint(structure, error, "point", gives)) from error


def can_any_raise(structure: Structure, kind: str) -> bool:
    """Whether one of the methods of a loss can end in an exception."""
    (cls,) = structure.classes
    methods = [name for name in ("point", "term", "root") if hasattr(cls, name)]
    return any(raises(structure, kind, name) for name in methods)


@cache
def kernel(structure: Structure, real: str) -> Code:
    """Machine code of the rows of one loss."""
    cls: Any
    (cls,) = structure.classes
    _check_results(cls)
    if cls.contract.vectors == 3:
        make: Callable = _triplets
    elif cls.metric == "cosine":
        make = _cosines
    elif cls.metric == "distance":
        make = _pairs
    else:
        raise ValueError(
            f"{cls.__name__}.metric must be 'distance' or 'cosine', not {cls.metric!r}"
        )
    what = f"embedding {make.__name__} {real}"
    return compile_for_loss(structure, "float64", lambda: make(real), what)


def _check_results(cls: type) -> None:
    """Say what is missing of a distance that comes without its slope: Numba has many words."""
    loss: Any = object.__new__(cls)
    for parameter in cls.parameters():  # type: ignore[attr-defined]
        loss.__dict__[parameter.name] = 1.0 if parameter.required else parameter.default
    for name in ("term", "root"):
        try:
            found = getattr(loss, name)(0.5)
        except Exception:  # what works in compiled code alone
            continue
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"{cls.__qualname__}.{name} must return two numbers: a result, and its slope"
            )


@cache
def _tools(real: str) -> Any:
    """What moves pieces of vectors, and the numbers of rows; it knows no loss."""
    install_vmath()
    cast = np.dtype(real).type
    zero = cast(0)
    itemsize = np.dtype(real).itemsize

    @njit(**inner)
    def clear(target, size):
        for i in range(size):
            target[i] = zero

    @njit(**inner)
    def fetch(place, slot, start, size, scratch):
        """Where a stretch of an input is: in place, or loaded into scratch."""
        fields = pointer(place, 1)
        address = fields[ARRAYS + slot]
        if fields[slot] == 0:
            return pointer(address + start * itemsize, zero)
        layout = place + 8 * fields[slot]
        call_mover(pointer(layout, 1)[0], (address, layout, start, size, scratch))
        return pointer(scratch, zero)

    @njit(**inner)
    def room(place, slot, start, scratch):
        """Where a stretch of an output is computed."""
        fields = pointer(place, 1)
        if fields[slot] == 0:
            return pointer(fields[ARRAYS + slot] + start * itemsize, zero)
        return pointer(scratch, zero)

    @njit(**inner)
    def claim(place, slot, start, size):
        """Ask for the memory of a stretch of an output while its row is still being measured.

        Stores that wait for memory hold up the loads of the next row wherever both have the same
        last 12 bits: rows of 4 KiB took 1.4 times as long as a copy, rows of 4000 bytes 1.07.
        """
        fields = pointer(place, 1)
        if (fields[DERIVATIVES] != 0) & (fields[slot] == 0):
            first = fields[ARRAYS + slot] + start * itemsize
            for line in range(0, size * itemsize, 64):
                prefetch(first + line, 1)

    @njit(**inner)
    def deliver(place, slot, start, size, scratch):
        fields = pointer(place, 1)
        if fields[slot] != 0:
            layout = place + 8 * fields[slot]
            call_mover(pointer(layout, 1)[0], (fields[ARRAYS + slot], layout, start, size, scratch))

    @njit(**inner)
    def move_numbers(place, slot, start, size, scratch):
        """Numbers of rows, float64, between their array and scratch, whichever way it goes."""
        fields = pointer(place, 1)
        address = fields[ARRAYS + slot]
        if fields[slot] != 0:
            layout = place + 8 * fields[slot]
            call_mover(pointer(layout, 1)[0], (address, layout, start, size, scratch))
            return
        here, there = pointer(scratch, 1.0), pointer(address + 8 * start, 1.0)
        if slot == VALUE:
            here, there = there, here
        for i in range(size):
            here[i] = there[i]

    @njit(**inner)
    def begin(place, row, size, scratch):
        """Targets and weights of a group of rows into scratch; how many are out of range."""
        fields, reals = pointer(place, 1), pointer(place, 1.0)
        targets, weights = pointer(scratch, 1.0), pointer(scratch + 8 * GROUP, 1.0)
        low, high, near_low, near_high = reals[LOW], reals[HIGH], reals[NEAR_LOW], reals[NEAR_HIGH]
        bad = 0.0
        for k in range(size):
            targets[k], weights[k] = 0.0, 1.0
        if fields[ARRAYS + WEIGHT] != 0:
            move_numbers(place, WEIGHT, row, size, scratch + 8 * GROUP)
            for k in range(size):
                bad += 0.0 if weights[k] >= 0.0 else 1.0
        if fields[ARRAYS + TARGET] != 0:
            move_numbers(place, TARGET, row, size, scratch)
            if fields[SIGNED] != 0:
                for k in range(size):
                    targets[k] = 0.5 * targets[k] + 0.5
            if fields[CHECKED] != 0:
                for k in range(size):
                    t = targets[k]
                    out = (t < near_low) | (t > near_high)
                    if fields[BINARY] != 0:
                        out = (t == t) & (t != low) & (t != high)
                    else:
                        t = low if t < low else t
                        targets[k] = high if t > high else t
                    bad += 1.0 if out & (weights[k] != 0.0) else 0.0
        return bad

    @njit(**inner)
    def end(place, row, size, scratch):
        """Values of a group of rows to where they are wanted; their sum."""
        values = pointer(scratch + 16 * GROUP, 1.0)
        if pointer(place, 1)[ARRAYS + VALUE] != 0:
            move_numbers(place, VALUE, row, size, scratch + 16 * GROUP)
        total = 0.0
        for k in range(size):
            total += values[k]
        return total

    return namespace(locals())


def _groups(real: str, of_row: Callable) -> Callable:
    """The loop over groups of rows, and over the rows of each."""
    t = _tools(real)
    begin, end = t.begin, t.end

    def groups(loss, parameters, place, start, size, result):
        self = unpack(loss, parameters)
        numbers, scratch = stack_memory(GROUP_BYTES), stack_memory(SCRATCH_BYTES)
        targets, weights = pointer(numbers, 1.0), pointer(numbers + 8 * GROUP, 1.0)
        values = pointer(numbers + 16 * GROUP, 1.0)
        scale = pointer(place, 1.0)[SCALE]
        derivatives = pointer(place, 1)[DERIVATIVES]
        total = offenders = 0.0
        done = 0
        while done < size:
            count = min(GROUP, size - done)
            offenders += begin(place, start + done, count, numbers)
            for k in range(count):
                values[k] = of_row(
                    self, place, start + done + k, targets[k], weights[k], scale, derivatives,
                    scratch,
                )  # fmt: skip
            total += end(place, start + done, count, numbers)
            done += count
        result[0] = total
        result[1] = offenders

    return groups


@njit(**fast)
def total_of(self, a, b, size):
    """The terms of two stretches, added up."""
    prefer_wide_vectors()
    total = 0.0
    for i in range(size):
        total += term(self, np.float64(a[i]) - np.float64(b[i]), 0.0)[0]
    return total


def _pairs(real: str) -> Callable:
    """Rows of pairs of vectors, compared by their distance."""
    t = _tools(real)
    fetch, room, deliver, itemsize, cast = t.fetch, t.room, t.deliver, t.itemsize, t.cast
    clear, claim = t.clear, t.claim

    @njit(**inner)
    def slopes_of(self, a, b, of_a, of_b, size, factor):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            slope = factor * term(self, np.float64(a[i]) - np.float64(b[i]), 0.0)[1]
            of_a[i] = cast(slope)
            of_b[i] = cast(-slope)

    @njit(**inner)
    def of_row(self, place, row, target, weight, scale, derivatives, scratch):
        length = pointer(place, 1)[LENGTH]
        other, first = scratch + PIECE * itemsize, row * length
        total = 0.0
        read = length if weight != 0.0 else 0  # rows that do not count are not looked at
        for start in range(0, read, STEP):
            size = min(STEP, length - start)
            claim(place, OF_FIRST, first + start, size)
            claim(place, OF_SECOND, first + start, size)
            a = fetch(place, FIRST, first + start, size, scratch)
            b = fetch(place, SECOND, first + start, size, other)
            total += total_of(self, a, b, size)
        value = factor = 0.0
        if weight != 0.0:
            distance, of_total = root(self, total, 0.0)
            value, slope = point(self, distance, target)
            # NaN is settled here rather than in every loss: min, max and comparisons lose it.
            if (total != total) | (target != target):
                value = slope = total + target
            factor = slope * of_total * weight * scale
        if derivatives != 0:
            third = scratch + 2 * PIECE * itemsize
            for start in range(0, length, PIECE):
                size = min(PIECE, length - start)
                at = first + start
                a = fetch(place, FIRST, at, size, scratch)
                b = fetch(place, SECOND, at, size, other)
                of_a = room(place, OF_FIRST, at, third)
                of_b = room(place, OF_SECOND, at, third + PIECE * itemsize)
                if weight == 0.0:
                    clear(of_a, size)
                    clear(of_b, size)
                else:
                    slopes_of(self, a, b, of_a, of_b, size, factor)
                deliver(place, OF_FIRST, at, size, third)
                deliver(place, OF_SECOND, at, size, third + PIECE * itemsize)
        return value if weight == 0.0 else value * weight

    return _groups(real, of_row)


def _cosines(real: str) -> Callable:
    """Rows of pairs of vectors, compared by the cosine of their angle."""
    t = _tools(real)
    fetch, room, deliver, itemsize, cast = t.fetch, t.room, t.deliver, t.itemsize, t.cast
    clear, claim = t.clear, t.claim

    @njit(**fast)
    def products_of(a, b, size):
        prefer_wide_vectors()
        both = of_a = of_b = 0.0
        for i in range(size):
            x, y = np.float64(a[i]), np.float64(b[i])
            both += x * y
            of_a += x * x
            of_b += y * y
        return both, of_a, of_b

    @njit(**inner)
    def slopes_of(a, b, of_a, of_b, size, across, along_a, along_b):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            x, y = np.float64(a[i]), np.float64(b[i])
            of_a[i] = cast(across * y - along_a * x)
            of_b[i] = cast(across * x - along_b * y)

    @njit(**inner)
    def of_row(self, place, row, target, weight, scale, derivatives, scratch):
        length = pointer(place, 1)[LENGTH]
        other, first = scratch + PIECE * itemsize, row * length
        both = square_a = square_b = 0.0
        read = length if weight != 0.0 else 0  # rows that do not count are not looked at
        for start in range(0, read, STEP):
            size = min(STEP, length - start)
            claim(place, OF_FIRST, first + start, size)
            claim(place, OF_SECOND, first + start, size)
            a = fetch(place, FIRST, first + start, size, scratch)
            b = fetch(place, SECOND, first + start, size, other)
            more = products_of(a, b, size)
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
        factor = slope * weight * scale
        if derivatives != 0:
            across = factor / lengths
            along_a, along_b = factor * cosine / square_a, factor * cosine / square_b
            third = scratch + 2 * PIECE * itemsize
            for start in range(0, length, PIECE):
                size = min(PIECE, length - start)
                at = first + start
                a = fetch(place, FIRST, at, size, scratch)
                b = fetch(place, SECOND, at, size, other)
                of_a = room(place, OF_FIRST, at, third)
                of_b = room(place, OF_SECOND, at, third + PIECE * itemsize)
                if (weight == 0.0) | (nothing & (lost == lost)):
                    clear(of_a, size)
                    clear(of_b, size)
                else:
                    slopes_of(a, b, of_a, of_b, size, across, along_a, along_b)
                deliver(place, OF_FIRST, at, size, third)
                deliver(place, OF_SECOND, at, size, third + PIECE * itemsize)
        return value if weight == 0.0 else value * weight

    return _groups(real, of_row)


def _triplets(real: str) -> Callable:
    """Rows of anchor, positive and negative."""
    t = _tools(real)
    fetch, room, deliver, itemsize, cast = t.fetch, t.room, t.deliver, t.itemsize, t.cast
    clear, claim = t.clear, t.claim
    step = PIECE * itemsize

    @njit(**fast)
    def totals_of(self, a, p, n, size):
        prefer_wide_vectors()
        near = far = 0.0
        for i in range(size):
            x = np.float64(a[i])
            near += term(self, x - np.float64(p[i]), 0.0)[0]
            far += term(self, x - np.float64(n[i]), 0.0)[0]
        return near, far

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

    @njit(**inner)
    def of_row(self, place, row, target, weight, scale, derivatives, scratch):
        fields = pointer(place, 1)
        length, first = fields[LENGTH], row * fields[LENGTH]
        near = far = across = 0.0
        read = length if weight != 0.0 else 0  # rows that do not count are not looked at
        for start in range(0, read, STEP):
            size = min(STEP, length - start)
            claim(place, OF_FIRST, first + start, size)
            claim(place, OF_SECOND, first + start, size)
            claim(place, OF_THIRD, first + start, size)
            a = fetch(place, FIRST, first + start, size, scratch)
            p = fetch(place, SECOND, first + start, size, scratch + step)
            n = fetch(place, THIRD, first + start, size, scratch + 2 * step)
            more = totals_of(self, a, p, n, size)
            near, far = near + more[0], far + more[1]
            if fields[SWAP] != 0:
                across += total_of(self, p, n, size)
        value = near_slope = far_slope = 0.0
        swapped = False
        if weight != 0.0:
            positive, of_near = root(self, near, 0.0)
            negative, of_far = root(self, far, 0.0)
            if fields[SWAP] != 0:
                other, of_across = root(self, across, 0.0)
                swapped = other < negative
                if swapped:
                    negative, of_far = other, of_across
            value, pull, push = point(self, positive, negative)
            lost = near + far + across
            if lost != lost:
                value = pull = push = lost
            near_slope = pull * of_near * weight * scale
            far_slope = push * of_far * weight * scale
        if derivatives != 0:
            for start in range(0, length, PIECE):
                size = min(PIECE, length - start)
                at = first + start
                a = fetch(place, FIRST, at, size, scratch)
                p = fetch(place, SECOND, at, size, scratch + step)
                n = fetch(place, THIRD, at, size, scratch + 2 * step)
                of_a = room(place, OF_FIRST, at, scratch + 3 * step)
                of_p = room(place, OF_SECOND, at, scratch + 4 * step)
                of_n = room(place, OF_THIRD, at, scratch + 5 * step)
                if weight == 0.0:
                    clear(of_a, size)
                    clear(of_p, size)
                    clear(of_n, size)
                else:
                    slopes_of(self, a, p, n, of_a, of_p, of_n, size, near_slope, far_slope, swapped)
                deliver(place, OF_FIRST, at, size, scratch + 3 * step)
                deliver(place, OF_SECOND, at, size, scratch + 4 * step)
                deliver(place, OF_THIRD, at, size, scratch + 5 * step)
        return value if weight == 0.0 else value * weight

    return _groups(real, of_row)
