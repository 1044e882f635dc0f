"""Reads and writes of 16 bytes at a time, which are one instruction: see :mod:`.memory`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from . import backend
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .simulated_memory import simulated_read, simulated_write
from .words import WORDS, halves, of_compute, packed, rounded_pairs, unpacked, vector_pointer, widen

intrinsic: Any = _intrinsic


@cache
def vector_reader(kind: str) -> Callable:
    """``read(address, index)``: a tuple of the :func:`lanes` elements from ``index`` on."""
    count, real = lanes(kind), compute_type(kind)
    if backend.SIMULATED:
        return lambda address, index: tuple(
            simulated_read(address, index + i, kind, real) for i in range(count)
        )
    result = types.UniTuple(of_compute(kind), count)

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = builder.load(vector_pointer(builder, kind, *arguments), align=VECTOR_BYTES)
            words = unpacked(builder, vector, kind)
            numbers = [widen(builder, word, kind) for word in words]
            return context.make_tuple(builder, result, numbers)

        return result(types.int64, types.int64), generate

    return read


@cache
def vector_words(kind: str) -> tuple[Callable, Callable, Callable]:
    """``words(address, index)``, ``numbers(words)``, ``nothing()``: a vector in two steps.

    As words, a vector waits for its use in 4 registers. The last gives words that are not used.
    """
    if backend.SIMULATED:
        return vector_reader(kind), lambda words: words, lambda: None
    stored = {"float32": types.float32, "float64": types.float64}.get(kind, types.int32)
    given = types.UniTuple(stored, VECTOR_BYTES // max(itemsize(kind), 4))
    result = types.UniTuple(of_compute(kind), lanes(kind))

    @intrinsic
    def words(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = builder.load(vector_pointer(builder, kind, *arguments), align=VECTOR_BYTES)
            word = ir.IntType(32)
            found = [builder.extract_element(vector, word(i)) for i in range(len(given))]
            return context.make_tuple(builder, given, found)

        return given(types.int64, types.int64), generate

    @intrinsic
    def numbers(typing_context: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = [builder.extract_value(arguments[0], i) for i in range(len(given))]
            found = [widen(builder, one, kind) for one in halves(builder, found, kind)]
            return context.make_tuple(builder, result, found)

        return result(given), generate

    @intrinsic
    def nothing(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return ir.Constant(context.get_value_type(given), ir.Undefined)

        return given(), generate

    return words, numbers, nothing


@cache
def vector_writer(kind: str) -> Callable:
    """``write(address, index, numbers)``: what :func:`vector_reader` reads."""
    count = lanes(kind)
    if backend.SIMULATED:

        def write_each(address: int, index: int, numbers: Any) -> None:
            for i in range(count):
                simulated_write(address, index + i, numbers[i], kind)

        return write_each
    given = types.UniTuple(of_compute(kind), count)

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = vector_pointer(builder, kind, *arguments[:2])
            numbers = [builder.extract_value(arguments[2], i) for i in range(count)]
            words = rounded_pairs(builder, numbers, kind)
            builder.store(packed(builder, words, kind), place, align=VECTOR_BYTES)
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
                vector = packed(builder, values[each * k : each * (k + 1)], real)
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
        places.append(builder.bitcast(place, ir.PointerType(ir.VectorType(WORDS[real], each))))
    return places
