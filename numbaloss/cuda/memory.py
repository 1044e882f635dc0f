"""Reads and writes of a kernel: by address, for every dtype, up to 16 bytes at a time.

Kernels get addresses as integers: an array would cost a launch five numbers and more each, and
its dtype and strides a compilation. Reads go to the global address space straight away, and the
two halves of a half precision, or the 16 bytes of a vector, are one instruction.

Each function here has two faces. On a GPU it is an intrinsic; in the simulator plain Python, which
checks that the address belongs to an array of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from ..arrays import NO_LABEL
from ..vmath.gpu_bits import say_for_halves
from . import backend
from .backend import device_function

intrinsic: Any = _intrinsic

VECTOR_BYTES = 16
GLOBAL = 1  # address space

# Codes of dtypes that are known only when a kernel runs.
CODES = {
    name: code
    for code, name in enumerate(
        ("float32", "float64", "float16", "bfloat16", "bool", "int64", "int32", "uint8",
         "int8", "int16", "uint16", "uint32", "uint64")
    )
}  # fmt: skip
_SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "bool": 1} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def itemsize(kind: str) -> int:
    """Bytes of an element."""
    return _SIZES[kind]


def compute_type(kind: str) -> type[np.floating]:
    """The NumPy type that numbers of a dtype are computed in."""
    return np.float64 if kind == "float64" else np.float32


_WORDS = {
    "float16": ir.IntType(16),
    "bfloat16": ir.IntType(16),
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bool": ir.IntType(8),
} | {f"{sign}int{bits}": ir.IntType(bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}


def _pointer(builder: Any, kind: str, address: Any, index: Any, target: Any = None) -> Any:
    size = ir.Constant(ir.IntType(64), itemsize(kind))
    place = builder.add(address, builder.mul(index, size))
    return builder.inttoptr(place, ir.PointerType(target or _WORDS[kind], GLOBAL))


def _vector_pointer(builder: Any, kind: str, address: Any, index: Any) -> Any:
    word = _WORDS[kind] if itemsize(kind) >= 4 else ir.IntType(32)
    count = VECTOR_BYTES // max(itemsize(kind), 4)
    return _pointer(builder, kind, address, index, ir.VectorType(word, count))


# Halves come and go two in a word of 32 bits, by shifts: of a vector of 16-bit words the GPU's
# compiler makes two accesses.


def _unpacked(builder: Any, vector: Any, kind: str) -> list[Any]:
    word = ir.IntType(32)
    found = [builder.extract_element(vector, word(i)) for i in range(vector.type.count)]
    return _halves(builder, found, kind)


def _halves(builder: Any, words: list[Any], kind: str) -> list[Any]:
    """The elements in the words of a vector."""
    if itemsize(kind) >= 4:
        return words
    word, short = ir.IntType(32), ir.IntType(16)
    pairs = [(one, builder.lshr(one, word(16))) for one in words]
    return [builder.trunc(one, short) for pair in pairs for one in pair]


def _rounded_pairs(builder: Any, numbers: list[Any], kind: str) -> list[Any]:
    """Computed floats as they are stored, two halves in a word."""
    if itemsize(kind) >= 4:
        return numbers
    old = _in_pairs(builder, [_narrow(builder, number, kind) for number in numbers])
    if "nvptx" not in builder.module.triple:
        return old
    # GPUs before the A100 have no instruction for pairs. The compiler knows its GPU, and drops
    # what is not for it.
    word, text = ir.IntType(32), ir.PointerType(ir.IntType(8))
    reflect = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(word, [text]), "__nvvm_reflect"
    )
    asked = bytearray(b"__CUDA_ARCH\0")
    asked = ir.Constant(ir.ArrayType(ir.IntType(8), len(asked)), asked)
    name = cgutils.global_constant(builder.module, "numbaloss_arch", asked)
    arch = builder.call(reflect, [builder.bitcast(name, text)])
    has_pairs = builder.icmp_signed(">=", arch, word(800))
    short = "f16" if kind == "float16" else "bf16"
    real = ir.FloatType()
    assembly = ir.InlineAsm(
        ir.FunctionType(word, [real, real]),
        f"cvt.rn.{short}x2.f32 $0, $2, $1;",
        "=r,f,f",
        side_effect=False,
    )
    found = []
    for low, high, words in zip(numbers[::2], numbers[1::2], old):
        pair = builder.call(assembly, [low, high])
        found.append(builder.select(has_pairs, pair, words))
    return found


def _in_pairs(builder: Any, words: list[Any]) -> list[Any]:
    word = ir.IntType(32)
    wide = [builder.zext(one, word) for one in words]
    return [
        builder.or_(low, builder.shl(high, word(16))) for low, high in zip(wide[::2], wide[1::2])
    ]


def _packed(builder: Any, words: list[Any], kind: str) -> Any:
    word = ir.IntType(32)
    vector = ir.Constant(ir.VectorType(words[0].type, len(words)), ir.Undefined)
    for i, one in enumerate(words):
        vector = builder.insert_element(vector, one, word(i))
    return vector


def _widen(builder: Any, word: Any, kind: str) -> Any:
    """A stored float in the type of the computation."""
    if kind == "float16":
        return builder.fpext(builder.bitcast(word, ir.HalfType()), ir.FloatType())
    if kind == "bfloat16":
        bits = builder.zext(word, ir.IntType(32))
        bits = builder.shl(bits, ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())
    return word


def _narrow(builder: Any, number: Any, kind: str) -> Any:
    """A computed float as it is stored, rounded to the nearest, ties to even."""
    if kind == "float16":
        return builder.bitcast(builder.fptrunc(number, ir.HalfType()), ir.IntType(16))
    if kind == "bfloat16":
        # In integers, as GPUs before the A100 have no instruction for it.
        word = ir.IntType(32)
        bits = builder.bitcast(number, word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        rounded = builder.lshr(builder.add(bits, builder.add(odd, word(0x7FFF))), word(16))
        is_nan = builder.fcmp_unordered("uno", number, number)
        return builder.trunc(builder.select(is_nan, word(0x7FC0), rounded), ir.IntType(16))
    return number


@cache
def reader(kind: str) -> Callable:
    """``read(address, index)``: an element in the type of the computation."""
    real = compute_type(kind)
    if backend.SIMULATED:
        return lambda address, index: _simulated_read(address, index, kind, real)
    result = types.float64 if kind == "float64" else types.float32

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = _pointer(builder, kind, *arguments)
            return _widen(builder, builder.load(place), kind)

        return result(types.int64, types.int64), generate

    return read


@cache
def writer(kind: str) -> Callable:
    """``write(address, index, number)``: an element, rounded to its dtype."""
    if backend.SIMULATED:
        return lambda address, index, number: _simulated_write(address, index, number, kind)

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = _pointer(builder, kind, *arguments[:2])
            builder.store(_narrow(builder, arguments[2], kind), place)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, _of_compute(kind)), generate

    return write


def _of_compute(kind: str) -> Any:
    return types.float64 if kind == "float64" else types.float32


def lanes(kind: str) -> int:
    """Elements of a vector."""
    return VECTOR_BYTES // itemsize(kind)


@cache
def vector_reader(kind: str) -> Callable:
    """``read(address, index)``: a tuple of the :func:`lanes` elements from ``index`` on."""
    count, real = lanes(kind), compute_type(kind)
    if backend.SIMULATED:
        return lambda address, index: tuple(
            _simulated_read(address, index + i, kind, real) for i in range(count)
        )
    result = types.UniTuple(_of_compute(kind), count)

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = builder.load(_vector_pointer(builder, kind, *arguments), align=VECTOR_BYTES)
            words = _unpacked(builder, vector, kind)
            numbers = [_widen(builder, word, kind) for word in words]
            return context.make_tuple(builder, result, numbers)

        return result(types.int64, types.int64), generate

    return read


@cache
def vector_words(kind: str) -> tuple[Callable, Callable, Callable]:
    """``words(address, index)``, ``numbers(words)``, ``nothing()``: a vector in two steps.

    As words, a vector waits for its use in 4 registers. The last gives words nobody looks at.
    """
    if backend.SIMULATED:
        return vector_reader(kind), lambda words: words, lambda: None
    stored = {"float32": types.float32, "float64": types.float64}.get(kind, types.int32)
    given = types.UniTuple(stored, VECTOR_BYTES // max(itemsize(kind), 4))
    result = types.UniTuple(_of_compute(kind), lanes(kind))

    @intrinsic
    def words(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = builder.load(_vector_pointer(builder, kind, *arguments), align=VECTOR_BYTES)
            word = ir.IntType(32)
            found = [builder.extract_element(vector, word(i)) for i in range(len(given))]
            return context.make_tuple(builder, given, found)

        return given(types.int64, types.int64), generate

    @intrinsic
    def numbers(typing_context: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = [builder.extract_value(arguments[0], i) for i in range(len(given))]
            found = [_widen(builder, one, kind) for one in _halves(builder, found, kind)]
            return context.make_tuple(builder, result, found)

        return result(given), generate

    @intrinsic
    def nothing(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return ir.Constant(context.get_value_type(given), ir.Undefined)

        return given(), generate

    return words, numbers, nothing


@cache
def unforeseen() -> Callable:
    """``same(number)``: the same integer, of which the compiler knows nothing.

    In a loop that is seldom entered it keeps the compiler from making several copies of it, one
    for each flag or several turns at a time.
    """
    if backend.SIMULATED:
        return lambda number: number

    @intrinsic
    def same(typing_context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            long = ir.IntType(64)
            kind = ir.FunctionType(long, [long])
            assembly = ir.InlineAsm(kind, "mov.b64 $0, $1;", "=l,l", side_effect=True)
            return builder.call(assembly, arguments, attrs=("convergent",))

        return types.int64(types.int64), generate

    return same


@cache
def vector_writer(kind: str) -> Callable:
    """``write(address, index, numbers)``: what :func:`vector_reader` reads."""
    count = lanes(kind)
    if backend.SIMULATED:

        def write_each(address: int, index: int, numbers: Any) -> None:
            for i in range(count):
                _simulated_write(address, index + i, numbers[i], kind)

        return write_each
    given = types.UniTuple(_of_compute(kind), count)

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = _vector_pointer(builder, kind, *arguments[:2])
            numbers = [builder.extract_value(arguments[2], i) for i in range(count)]
            words = _rounded_pairs(builder, numbers, kind)
            builder.store(_packed(builder, words, kind), place, align=VECTOR_BYTES)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, given), generate

    return write


@cache
def shared_reader(real: str, count: int) -> Callable:
    """``take(shared, i)``: ``count`` numbers from place i on, at an address of whole vectors.

    Element by element a warp's accesses would meet in every fourth bank.
    """
    if backend.SIMULATED:
        return lambda shared, i: tuple(shared[i + k] for k in range(count))
    each = VECTOR_BYTES // itemsize(real)
    result = types.UniTuple(getattr(types, real), count)

    @intrinsic
    def take(typing_context: Any, shared: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            numbers: list[Any] = []
            for place in _shared_places(context, builder, signature, arguments, real, count):
                vector = builder.load(place, align=VECTOR_BYTES)
                word = ir.IntType(32)
                numbers += [builder.extract_element(vector, word(k)) for k in range(each)]
            return context.make_tuple(builder, result, numbers)

        return result(shared, types.int64), generate

    return take


@cache
def shared_writer(real: str, count: int) -> Callable:
    """``put(shared, i, numbers)``: what :func:`shared_reader` takes."""
    if backend.SIMULATED:

        def put_each(shared: Any, i: int, numbers: Any) -> None:
            for k in range(count):
                shared[i + k] = numbers[k]

        return put_each
    each = VECTOR_BYTES // itemsize(real)
    given = types.UniTuple(getattr(types, real), count)

    @intrinsic
    def put(typing_context: Any, shared: Any, i: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            places = _shared_places(context, builder, signature, arguments, real, count)
            values = [builder.extract_value(arguments[2], k) for k in range(count)]
            for k, place in enumerate(places):
                vector = _packed(builder, values[each * k : each * (k + 1)], real)
                builder.store(vector, place, align=VECTOR_BYTES)
            return context.get_dummy_value()

        return types.void(shared, types.int64, given), generate

    return put


def _shared_places(
    context: Any, builder: Any, signature: Any, arguments: Any, real: str, count: int
) -> list[Any]:
    """Pointers to the vectors that so many numbers of a shared array make."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    each, long = VECTOR_BYTES // itemsize(real), ir.IntType(64)
    places = []
    for k in range(count // each):
        place = builder.gep(array.data, [builder.add(arguments[1], long(each * k))])
        places.append(builder.bitcast(place, ir.PointerType(ir.VectorType(_WORDS[real], each))))
    return places


@cache
def any_reader(real: str) -> Callable:
    """``read(address, code, index)``: an element of whatever dtype the code says."""
    cast = np.dtype(real).type
    f32, f64, f16, bf16, b1 = (raw_reader(kind) for kind in list(CODES)[:5])
    integer = integer_reader(real)

    @device_function
    def read_any(address, code, index):
        if code == 0:
            return cast(f32(address, index))
        if code == 1:
            return cast(f64(address, index))
        if code == 2:
            return cast(f16(address, index))
        if code == 3:
            return cast(bf16(address, index))
        if code == 4:
            return cast(b1(address, index))
        return integer(address, code, index)

    return read_any


@cache
def integer_reader(result: str) -> Callable:
    """``read(address, code, index)``: an integer of whatever dtype the code says."""
    cast = np.dtype(result).type
    i64, i32, u8, i8, i16, u16, u32, u64 = (raw_reader(kind) for kind in list(CODES)[5:])
    labels = result == "int64"

    @device_function
    def last(whole):
        if labels and whole >= np.uint64(2**63):
            return cast(NO_LABEL)
        return cast(whole)

    @device_function
    def read_integer(address, code, index):
        if code == 5:
            return cast(i64(address, index))
        if code == 6:
            return cast(i32(address, index))
        if code == 7:
            return cast(u8(address, index))
        if code == 8:
            return cast(i8(address, index))
        if code == 9:
            return cast(i16(address, index))
        if code == 10:
            return cast(u16(address, index))
        if code == 11:
            return cast(u32(address, index))
        return last(u64(address, index))

    return read_integer


@cache
def raw_reader(kind: str) -> Callable:
    """``read(address, index)``: a float in the compute type, or an integer as it is stored."""
    if kind in ("float16", "bfloat16", "float32", "float64"):
        return reader(kind)
    stored = "uint8" if kind == "bool" else kind
    if backend.SIMULATED:
        return lambda address, index: _simulated_read(address, index, stored, np.dtype(stored).type)
    result = getattr(types, stored)

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(_pointer(builder, stored, *arguments))

        return result(types.int64, types.int64), generate

    return read


@cache
def integer_writer() -> Callable:
    """``write(address, index, number)`` of an int64."""
    if backend.SIMULATED:

        def write_simulated(address: int, index: int, number: int) -> None:
            backend.simulated_cell(int(address) + 8 * int(index), np.int64).value = int(number)

        return write_simulated

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[2], _pointer(builder, "int64", *arguments[:2]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return write


@cache
def atomic(operation: str) -> Callable:
    """``change(address, index, number)`` of an int64 >= 0 that others change too: add, or min.

    Of integers, so that the result does not depend on who comes first.
    """
    if backend.SIMULATED:  # whose threads take turns
        combine: Any = {"add": lambda a, b: a + b, "min": min}[operation]

        def change_simulated(address: int, index: int, number: int) -> None:
            cell = backend.simulated_cell(int(address) + 8 * int(index), np.int64)
            cell.value = combine(cell.value, int(number))

        return change_simulated

    @intrinsic
    def change(typing_context: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            long = ir.IntType(64)
            place = builder.add(arguments[0], builder.mul(arguments[1], long(8)))
            assembly = ir.InlineAsm(
                ir.FunctionType(long, [long, long]),
                f"atom.global.{operation}.u64 $0, [$1], $2;",
                "=l,l,l",
                side_effect=True,
            )
            builder.call(assembly, [place, arguments[2]])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return change


@cache
def bits(real: str) -> Callable:
    """``bits_(number)`` of a number >= 0, as an int64: the larger number has the larger ones."""
    if backend.SIMULATED:
        whole = np.uint32 if real == "float32" else np.uint64
        return lambda number: int(np.dtype(real).type(number).view(whole))
    word = ir.IntType(32 if real == "float32" else 64)

    @intrinsic
    def bits_(typing_context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.bitcast(arguments[0], word)
            return builder.zext(found, ir.IntType(64)) if word.width < 64 else found

        return types.int64(getattr(types, real)), generate

    return bits_


@cache
def ticket() -> Callable:
    """``take(address, limit)``: numbers from 0 to limit, and round again; one a caller."""
    if backend.SIMULATED:

        def take_simulated(address: int, limit: int) -> int:
            cell = backend.simulated_cell(address, np.uint32)
            found = cell.value  # blocks of the simulator follow one another
            cell.value = 0 if found >= limit else found + 1
            return found

        return take_simulated

    @intrinsic
    def take(typing_context: Any, address: Any, limit: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word = ir.IntType(32)
            # atom.inc counts to its limit and then starts again: nothing has to be reset.
            assembly = ir.InlineAsm(
                ir.FunctionType(word, [ir.IntType(64), word]),
                "atom.global.inc.u32 $0, [$1], $2;",
                "=r,l,r",
                side_effect=True,
            )
            old = builder.call(assembly, [arguments[0], builder.trunc(arguments[1], word)])
            return builder.zext(old, ir.IntType(64))

        return types.int64(types.int64, types.int64), generate

    return take


@cache
def of_halves() -> Callable:
    """``tell()``: makes do with functions as exact as halves are, in all of a kernel."""
    return (lambda: None) if backend.SIMULATED else say_for_halves


@cache
def fresh_reader() -> Callable:
    """``read(address, index)`` of float64 that another block may have written meanwhile."""
    if backend.SIMULATED:
        return lambda address, index: _simulated_read(address, index, "float64", np.float64)

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            long, double = ir.IntType(64), ir.DoubleType()
            place = builder.add(arguments[0], builder.mul(arguments[1], long(8)))
            assembly = ir.InlineAsm(
                ir.FunctionType(double, [long]),
                "ld.volatile.global.f64 $0, [$1];",
                "=d,l",
                side_effect=True,
            )
            return builder.call(assembly, [place])

        return types.float64(types.int64, types.int64), generate

    return read


def _simulated_read(address: int, index: int, kind: str, result: Any) -> Any:
    if kind in ("float16", "bfloat16"):
        bits = backend.simulated_cell(int(address) + int(index) * 2, np.uint16).value
        if kind == "float16":
            return np.float32(np.uint16(bits).view(np.float16))
        return np.uint32(bits << 16).view(np.float32)
    size = itemsize(kind)
    return result(backend.simulated_cell(int(address) + int(index) * size, kind).value)


def _simulated_write(address: int, index: int, number: Any, kind: str) -> None:
    where = int(address) + int(index) * itemsize(kind)
    if kind == "float16":
        with np.errstate(over="ignore"):
            bits = np.float16(number).view(np.uint16)
        backend.simulated_cell(where, np.uint16).value = int(bits)
    elif kind == "bfloat16":
        backend.simulated_cell(where, np.uint16).value = _bfloat16_bits(number)
    else:
        cell = backend.simulated_cell(where, kind)
        cell.value = int(number) if kind == "int64" else float(number)


def _bfloat16_bits(number: Any) -> int:
    bits = int(np.float32(number).view(np.uint32))
    if number != number:
        return 0x7FC0
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


__all__ = [
    "CODES",
    "any_reader",
    "atomic",
    "bits",
    "compute_type",
    "fresh_reader",
    "integer_reader",
    "integer_writer",
    "itemsize",
    "lanes",
    "of_halves",
    "raw_reader",
    "reader",
    "shared_reader",
    "shared_writer",
    "ticket",
    "unforeseen",
    "vector_reader",
    "vector_words",
    "vector_writer",
    "writer",
]
