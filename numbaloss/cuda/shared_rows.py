"""Shared memory of a warp, and where rows and vectors lie there without meeting in few banks.

Indexes have 32 bits and are 0 or more: Numba would test every access for those below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import gcd, lcm
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from . import backend
from .backend import device_function
from .dtypes import VECTOR_BYTES, itemsize
from .words import WORDS, packed

intrinsic: Any = _intrinsic
int32 = np.int32
# Of 16 bytes, that shared memory gives at a time.
_UNITS = 8


class Layout(NamedTuple):
    """Rows of some classes one behind the other, with a free unit of 16 bytes now and then.

    Threads read a row each, in pieces of ``width`` numbers. Those of an odd number of pieces meet
    in no bank. Others would, and come by ``rows`` without a gap: a unit is left free after that
    many, which are ``units`` of 16 bytes.
    """

    classes: int
    each: int  # numbers of a unit
    width: int
    rows: int  # 0: there are no gaps
    units: int

    def room(self, rows: int) -> int:
        """Numbers that so many rows take, which are whole units."""
        units = rows * self.classes // self.each
        return self.each * (units + (units // self.units if self.units else 0))


@cache
def layout(real: str, classes: int) -> Layout:
    """That of rows of a number of classes."""
    each = VECTOR_BYTES // itemsize(real)
    width = gcd(classes, each)
    of_row = classes // each if width == each else 1
    if of_row % 2:
        return Layout(classes, each, width, 0, 0)
    units = lcm(of_row, _UNITS)
    return Layout(classes, each, width, units // of_row, units)


@cache
def places(own: Layout) -> tuple[Callable, Callable, Callable]:
    """``of_unit(u)``, ``of_row(r)`` and ``of_number(k)``: where they are, in numbers."""
    each, classes = own.each, own.classes
    log2 = each.bit_length() - 1
    if own.units == 0:
        return (
            device_function(lambda u: int32(u * each)),
            device_function(lambda r: int32(r * classes)),
            device_function(lambda k: int32(k)),
        )
    gaps = _quotient(own.units)
    rows_log2 = own.rows.bit_length() - 1

    @device_function
    def of_unit(u):
        return int32((u + gaps(u)) * each)

    @device_function
    def of_row(r):
        return int32(r * classes + (r >> rows_log2) * each)

    @device_function
    def of_number(k):
        return int32(k + gaps(k >> log2) * each)

    return of_unit, of_row, of_number


# Units of a warp are fewer.
_MOST_UNITS = 4096


def _quotient(divisor: int) -> Callable:
    """``quotient(u)`` of a number of units of a warp."""
    if divisor & (divisor - 1) == 0:
        log2 = divisor.bit_length() - 1
        return device_function(lambda u: u >> log2)
    factor = (1 << 18) // divisor + 1
    assert all(u * factor >> 18 == u // divisor for u in range(_MOST_UNITS))
    return device_function(lambda u: u * factor >> 18)


@cache
def shared_pieces(real: str, width: int) -> tuple[Callable, Callable]:
    """``get(shared, i)`` and ``put(shared, i, numbers)`` of ``width`` numbers at once, as a tuple.

    They lie at an address of their size.
    """
    if backend.SIMULATED:

        def put_simulated(shared: Any, i: int, numbers: Any) -> None:
            for k in range(width):
                shared[i + k] = numbers[k]

        return lambda shared, i: tuple(shared[i + k] for k in range(width)), put_simulated
    result = types.UniTuple(getattr(types, real), width)
    word, align = ir.IntType(32), width * itemsize(real)
    vector = ir.VectorType(WORDS[real], width)

    def place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        first = builder.gep(array.data, [arguments[1]])
        return builder.bitcast(first, ir.PointerType(vector)) if width > 1 else first

    @intrinsic
    def get(typing_context: Any, shared: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.load(place(context, builder, signature, arguments), align=align)
            numbers = [found]
            if width > 1:
                numbers = [builder.extract_element(found, word(k)) for k in range(width)]
            return context.make_tuple(builder, result, numbers)

        return result(shared, types.int32), generate

    @intrinsic
    def put(typing_context: Any, shared: Any, i: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = [builder.extract_value(arguments[2], k) for k in range(width)]
            number = packed(builder, values, real) if width > 1 else values[0]
            builder.store(number, place(context, builder, signature, arguments), align=align)
            return context.get_dummy_value()

        return types.void(shared, types.int32, result), generate

    return get, put
