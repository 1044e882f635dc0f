"""Blocks of any array, in or out of contiguous scratch memory of the compute type.

An array that is contiguous, aligned and of the compute type is used where it lies. Any
other (strided, transposed, broadcast, of another dtype or byte order, unaligned) is moved
block by block through scratch memory in the first-level cache; no array is ever copied as
a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numba import njit, types

from ..arrays import NO_LABEL, Operand
from ..arrays.layouts import walk
from ..jobs.elementwise import ElementwiseDescription
from .compile import Code, c_function
from .intrinsics import caller, load_integer, pointer, store_integer, swap_bytes
from .options import inner

# A mover moves elements of an array from (array, layout, start, size) to scratch, or back.
MOVER_SIGNATURE = types.void(*[types.int64] * 5)
_call_mover = caller(types.void, *MOVER_SIGNATURE.args)


@njit(**inner)
def layout(call, word):
    """Address of a layout, from the field of a call's description that holds it; 0: none."""
    return call.description + 8 * word if word != 0 else 0


@njit(**inner)
def move(array, layout, start, size, scratch):
    """Elements of an array that has a layout, in C order, to scratch memory or back."""
    _call_mover(pointer(layout, 1)[0], (array, layout, start, size, scratch))


def describe(operand: Operand | None, real: str, direction: str) -> list[int]:
    """Descriptor of one array walked in C order, as :func:`arrange` makes them for several.

    Empty where the array can be used as it lies.
    """
    if operand is None:
        return []
    array = operand.array
    if array.flags.c_contiguous and operand.direct(real):
        return []
    lengths, strides = steps_of(array)
    code = mover(direction, operand.kind, operand.swapped, real)
    return [code.address, len(lengths), *lengths, *strides]


def steps_of(array: np.ndarray) -> tuple[list[int], list[int]]:
    """Lengths and strides of the axes of an array walked in C order, as few as it can be."""
    lengths: list[int] = []
    strides: list[int] = []
    for length, stride in zip(array.shape, array.strides):
        if length == 1:
            continue
        if lengths and strides[-1] == stride * length:
            lengths[-1] *= length
            strides[-1] = stride
        else:
            lengths.append(length)
            strides.append(stride)
    return lengths or [1], strides or [array.itemsize]


# The description of arrays that kernels use as they are.
AS_THEY_LIE = ElementwiseDescription().words
AS_THEY_LIE.flags.writeable = False
_ARRAYS = ("prediction", "target", "weight", "value", "gradient", "hessian")


def arrange(
    shape: tuple[int, ...],
    operands: Sequence[Operand | None],
    real: str,
    mask: Operand | None = None,
    pos_weight: Operand | None = None,
) -> tuple[np.ndarray, int]:
    """The description of the arrays of a call, and the number of elements.

    All arrays are walked in one order, the memory order of the first; axes that lie
    behind one another in every array count as one.
    """
    present = [operand for operand in [*operands, mask, pos_weight] if operand is not None]
    plain = (
        mask is None
        and pos_weight is None
        and all(one.array.flags.c_contiguous and one.direct(real) for one in present)
    )
    if plain:
        return AS_THEY_LIE, present[0].array.size
    lengths, strides = walk(shape, present)
    parts: dict[str, list[int]] = {}
    for name, operand in zip(_ARRAYS, operands):
        if operand is None:
            continue
        own = strides.pop(0)
        if len(lengths) == 1 and own[0] == operand.array.itemsize and operand.direct(real):
            continue
        direction = "load" if name in _ARRAYS[:3] else "store"
        code = mover(direction, operand.kind, operand.swapped, real)
        parts[f"{name}_layout"] = [code.address, len(lengths), *lengths, *own]
    for name, one in (("mask", mask), ("pos_weight", pos_weight)):
        if one is not None:
            code = mover("load", one.kind, one.swapped, real)
            parts[name] = [one.array.ctypes.data, code.address]
            parts[name] += [len(lengths), *lengths, *strides.pop(0)]
    return followed_by(AS_THEY_LIE, parts), math.prod(shape)


def flat_layout(kind: str, real: str) -> list[int]:
    """The layout of contiguous numbers of another dtype, however many they are."""
    # One axis, as long as any array.
    return [mover("load", kind, False, real).address, 1, 1 << 62, np.dtype(kind).itemsize]


def followed_by(words: np.ndarray, parts: dict[str, Any]) -> np.ndarray:
    """The words of a description of elements, with what some of its fields refer to behind them."""
    return ElementwiseDescription(words).followed_by(parts).words


def with_asides(
    words: np.ndarray, limits: np.ndarray | None, recoding: np.ndarray | None
) -> np.ndarray:
    """A description whose targets have such limits, and are recoded so: see `jobs.elementwise`."""
    asides = {"limits": limits, "recoding": recoding}
    parts = {name: one.view(np.int64) for name, one in asides.items() if one is not None}
    return followed_by(words, parts) if parts else words


@cache
def mover(direction: str, kind: str, swapped: bool, real: str) -> Code:
    """The machine code that loads or stores blocks of arrays of one dtype."""
    name = f"{direction} {kind} {'swapped' if swapped else 'native'} {real}"
    make = partial(_mover, direction, kind, swapped, real)
    return c_function(make, MOVER_SIGNATURE, name, error_model="numpy")


def runner(direction: str, kind: str, swapped: bool, real: str) -> Callable:
    """Function that moves elements at (place, stride), so many, to or from scratch memory."""
    itemsize = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
    integer = np.dtype(kind if kind[0] in "iu" else f"uint{8 * itemsize}").type
    element, scalar = integer(0), np.dtype(real).type(0)

    if direction == "load":
        decode = decoder(kind, np.dtype(real).type)

        @njit(**inner)
        def move(place, scratch):
            bits = load_integer(place, element)
            if swapped:
                bits = swap_bytes(bits)
            scratch[0] = decode(bits)

    else:
        encode = encoder(kind, real)

        @njit(**inner)
        def move(place, scratch):
            bits = encode(scratch[0])
            if swapped:
                bits = swap_bytes(bits)
            store_integer(place, bits)

    scalar_size = np.dtype(real).itemsize

    @njit(**inner)
    def run(place, stride, size, scratch):
        if stride == itemsize:  # a constant step, so that LLVM vectorises
            for i in range(size):
                move(place + i * itemsize, pointer(scratch + i * scalar_size, scalar))
        else:
            for i in range(size):
                move(place + i * stride, pointer(scratch + i * scalar_size, scalar))

    return run


def _mover(direction: str, kind: str, swapped: bool, real: str) -> Callable:
    run = runner(direction, kind, swapped, real)
    scalar_size = np.dtype(real).itemsize

    def move_block(base, layout, start, size, scratch):
        description = pointer(layout, 1)
        axes = description[1]
        length, stride = description[1 + axes], description[1 + 2 * axes]
        row = start // length
        column = start - row * length
        done = 0
        while done < size:
            place = base + column * stride
            rest = row
            for axis in range(axes - 2, -1, -1):
                above = rest // description[2 + axis]
                place += (rest - above * description[2 + axis]) * description[2 + axes + axis]
                rest = above
            count = min(length - column, size - done)
            run(place, stride, count, scratch + done * scalar_size)
            done += count
            row += 1
            column = 0

    return move_block


def decoder(kind: str, real: Any) -> Callable:
    """Function from the bits of an element to a number of the compute type."""
    if kind == "float16":
        scale = np.float32(2.0**112)

        @njit(**inner)
        def decode(bits):
            # Numba widens the results of integer operators to 64 bits; the outer casts undo it.
            sign = np.int32((np.int32(bits) & 0x8000) << 16)
            rest = np.int32((np.int32(bits) & 0x7FFF) << 13)
            # The exponent is off by 112; a product also settles denormal numbers.
            scaled = np.int32(rest).view(np.float32) * scale
            special = np.int32(rest | 0x7F800000)
            finite = np.int32(bits) & 0x7C00 != 0x7C00
            magnitude = np.float32(scaled).view(np.int32) if finite else special
            return real(np.int32(magnitude | sign).view(np.float32))

    elif kind == "bfloat16":

        @njit(**inner)
        def decode(bits):
            return real(np.int32(np.int32(bits) << 16).view(np.float32))

    elif kind in ("float32", "float64"):
        own = np.dtype(kind).type
        integer = np.dtype(f"uint{8 * np.dtype(kind).itemsize}").type

        @njit(**inner)
        def decode(bits):
            return real(integer(bits).view(own))

    elif kind == "bool":

        @njit(**inner)
        def decode(bits):
            return real(bits != 0)

    else:

        @njit(**inner)
        def decode(bits):
            return real(bits)

    if real is np.int64 and kind == "uint64":

        @njit(**inner)
        def decode(bits):
            found = np.int64(bits)
            return found if found >= 0 else NO_LABEL

    return decode


def _narrowed(real: str) -> Callable:
    """Function from a number to a float32 that rounds to the same half as the number itself.

    What float32 cannot hold is rounded to odd: the last bit marks that something was cut off.
    """
    if real == "float32":

        @njit(**inner)
        def narrow(number):
            return np.float32(number)

        return narrow

    @njit(**inner)
    def narrow_to_odd(number):
        near = np.float32(number)
        bits = np.float32(near).view(np.int32)
        exact = (np.float64(near) == number) | (number != number)
        bits = np.int32(bits - 1) if abs(np.float64(near)) > abs(number) else bits
        return near if exact else np.int32(bits | 1).view(np.float32)

    return narrow_to_odd


def encoder(kind: str, real: str) -> Callable:
    """Function from a number of the compute type to the bits of an element, rounded to even."""
    narrow = _narrowed(real)
    if kind == "float16":
        half = np.float32(0.5)

        @njit(**inner)
        def encode(number):
            bits = np.float32(narrow(number)).view(np.int32)
            sign = np.int32((bits >> 16) & 0x8000)
            rest = np.int32(bits & 0x7FFFFFFF)
            odd = np.int32((rest >> 13) & 1)
            # 112 << 23 is the difference of the exponents, 0xFFF + odd rounds half to even.
            normal = np.int32((rest + 0xFFF + odd - (112 << 23)) >> 13)
            # Below 2**-14 one unit is 2**-24: what adding 0.5 rounds a float32 to.
            small = np.int32(
                np.float32(np.int32(rest).view(np.float32) + half).view(np.int32) - 0x3F000000
            )
            result = small if rest < 0x38800000 else normal
            if rest >= 0x477FF000:  # 65520 and above round to infinity
                result = np.int32(0x7C00)
            if rest > 0x7F800000:
                result = np.int32(0x7E00)
            return np.uint16(result | sign)

    elif kind == "bfloat16":

        @njit(**inner)
        def encode(number):
            bits = np.float32(narrow(number)).view(np.int32)
            rounded = np.int32((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
            quiet = np.int32((bits >> 16) | 0x40)
            return np.uint16(quiet if number != number else rounded)

    else:
        own = np.dtype(kind).type
        integer = np.dtype(f"uint{8 * np.dtype(kind).itemsize}").type

        @njit(**inner)
        def encode(number):
            return own(number).view(integer)

    return encode
