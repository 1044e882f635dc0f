"""Numbers as GPUs compute them: what functions of basic blocks call.

Floats that hold float32 numbers make exact sums' and products' roundings the same as those of the
exact results: 53 bits are 2 * 24 and more. Names begin with an underscore, as no register's does.
"""

from __future__ import annotations

import ctypes
import math
import struct
from ctypes.util import find_library
from fractions import Fraction

import numpy as np


def _bits32(x: float) -> int:
    return ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value


def _bits64(x: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def _float32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def _float64(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def _float16(bits: int) -> float:
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def _bits16(x: float) -> int:
    try:
        return struct.unpack("<H", struct.pack("<e", x))[0]
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def _upper(x: float) -> int:
    """The bits of a bfloat16."""
    bits = _bits32(x)
    return 0x7FFF if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def _divide(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    return math.nan if a == 0.0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _root(a: float) -> float:
    return math.sqrt(a) if a >= 0.0 else math.nan


def _off(x: float, steps: int) -> float:
    """A result of the special function unit: as many steps off as PTX allows, up or down."""
    if not 2.0**-126 <= abs(x) < math.inf or math.frexp(x)[0] == 0.5:
        return x
    steps = steps if hash(x) & 64 else -steps
    return x + steps * 2.0 ** (math.frexp(x)[1] - 24)


def _flushed(x: float) -> float:
    """Without denormal numbers."""
    return math.copysign(0.0, x) if abs(x) < 2.0**-126 else x


def _exp2(a: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float32(_off(float(np.exp2(np.float64(a))), 2)))


def _inverse(a: float) -> float:
    return ctypes.c_float(_off(_divide(1.0, a), 1)).value


def _fma_downwards(a: float, b: float, c: float) -> float:
    """a * b + c rounded down to a float32, by its neighbours."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    found = np.float32(float(exact))
    return float(found if Fraction(float(found)) <= exact else np.nextafter(found, -np.inf))


def _in_unit(a: float) -> float:
    return min(max(a, 0.0), 1.0) if a == a else 0.0


def _whole(a: float, how: str) -> float:
    """Rounded to an integer, as a float."""
    if not math.isfinite(a):
        return a
    rounded = {"rzi": math.trunc, "rni": round, "rmi": math.floor, "rpi": math.ceil}[how](a)
    return math.copysign(float(rounded), a)


def _integer(a: float, how: str, low: int, high: int) -> int:
    if a != a:
        return 0
    return int(max(low, min(_whole(a, how), high)))


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _larger(a: float, b: float) -> float:
    if a == b == 0.0:
        return a + b
    return a if a > b or b != b else b


def _smaller(a: float, b: float) -> float:
    return -_larger(-a, -b)


def _inserted(a: int, b: int, at: int, length: int) -> int:
    mask = (1 << length) - 1 << at
    return b & ~mask | a << at & mask


_libm = ctypes.CDLL(find_library("m"))
_fma32, _fma64 = _libm.fmaf, _libm.fma
_fma32.argtypes, _fma32.restype = [ctypes.c_float] * 3, ctypes.c_float
_fma64.argtypes, _fma64.restype = [ctypes.c_double] * 3, ctypes.c_double

_CELLS = {
    "u8": ctypes.c_uint8, "s8": ctypes.c_int8, "u16": ctypes.c_uint16, "s16": ctypes.c_int16,
    "u32": ctypes.c_uint32, "s32": ctypes.c_int32, "u64": ctypes.c_uint64, "s64": ctypes.c_int64,
    "f32": ctypes.c_float, "f64": ctypes.c_double,
}  # fmt: skip
_FORMATS = dict(zip(_CELLS, "BbHhIiQqfd"))
