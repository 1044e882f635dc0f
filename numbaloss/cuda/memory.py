"""Reads and writes of a kernel: by address, for every dtype.

Kernels get addresses as integers: an array would cost a launch five numbers and more each, and
its dtype and strides a compilation. Reads go to the global address space straight away.

Each function here has two faces. On a GPU it is an intrinsic; in the simulator plain Python, which
checks that the address belongs to an array of the call. So have those of :mod:`.vector_memory` and
:mod:`.atomics`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from ..arrays import NO_LABEL
from ..vmath.gpu_bits import say_for_halves
from . import backend
from .backend import device_function
from .dtypes import CODES, compute_type
from .simulated_arrays import simulated_cell
from .simulated_memory import simulated_read, simulated_write
from .words import narrow, of_compute, pointer, widen

intrinsic: Any = _intrinsic


@cache
def reader(kind: str) -> Callable:
    """``read(address, index)``: an element in the type of the computation."""
    real = compute_type(kind)
    if backend.SIMULATED:
        return lambda address, index: simulated_read(address, index, kind, real)
    result = types.float64 if kind == "float64" else types.float32

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = pointer(builder, kind, *arguments)
            return widen(builder, builder.load(place), kind)

        return result(types.int64, types.int64), generate

    return read


@cache
def writer(kind: str) -> Callable:
    """``write(address, index, number)``: an element, rounded to its dtype."""
    if backend.SIMULATED:
        return lambda address, index, number: simulated_write(address, index, number, kind)

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = pointer(builder, kind, *arguments[:2])
            builder.store(narrow(builder, arguments[2], kind), place)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, of_compute(kind)), generate

    return write


@cache
def any_reader(real: str) -> Callable:
    """``read(address, code, index)``: an element of whatever dtype the code stands for."""
    cast = np.dtype(real).type
    kinds = "float32", "float64", "float16", "bfloat16", "bool"
    f32, f64, f16, bf16, b1 = (raw_reader(kind) for kind in kinds)
    of_f32, of_f64, of_f16, of_bf16, of_b1 = (CODES[kind] for kind in kinds)
    integer = integer_reader(real)

    @device_function
    def read_any(address, code, index):
        if code == of_f32:
            return cast(f32(address, index))
        if code == of_f64:
            return cast(f64(address, index))
        if code == of_f16:
            return cast(f16(address, index))
        if code == of_bf16:
            return cast(bf16(address, index))
        if code == of_b1:
            return cast(b1(address, index))
        return integer(address, code, index)

    return read_any


@cache
def integer_reader(result: str) -> Callable:
    """``read(address, code, index)``: an integer of whatever dtype the code stands for."""
    cast = np.dtype(result).type
    kinds = "int64", "int32", "uint8", "int8", "int16", "uint16", "uint32", "uint64"
    i64, i32, u8, i8, i16, u16, u32, u64 = (raw_reader(kind) for kind in kinds)
    of_i64, of_i32, of_u8, of_i8, of_i16, of_u16, of_u32 = (CODES[kind] for kind in kinds[:-1])
    labels = result == "int64"

    @device_function
    def last(whole):
        if labels and whole >= np.uint64(2**63):
            return cast(NO_LABEL)
        return cast(whole)

    @device_function
    def read_integer(address, code, index):
        if code == of_i64:
            return cast(i64(address, index))
        if code == of_i32:
            return cast(i32(address, index))
        if code == of_u8:
            return cast(u8(address, index))
        if code == of_i8:
            return cast(i8(address, index))
        if code == of_i16:
            return cast(i16(address, index))
        if code == of_u16:
            return cast(u16(address, index))
        if code == of_u32:
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
        return lambda address, index: simulated_read(address, index, stored, np.dtype(stored).type)
    result = getattr(types, stored)

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(pointer(builder, stored, *arguments))

        return result(types.int64, types.int64), generate

    return read


@cache
def integer_writer() -> Callable:
    """``write(address, index, number)`` of an int64."""
    if backend.SIMULATED:

        def write_simulated(address: int, index: int, number: int) -> None:
            simulated_cell(int(address) + 8 * int(index), np.int64).value = int(number)

        return write_simulated

    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[2], pointer(builder, "int64", *arguments[:2]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return write


@cache
def of_halves() -> Callable:
    """``tell()``: makes do with functions as exact as halves are, in all of a kernel."""
    return (lambda: None) if backend.SIMULATED else say_for_halves


@cache
def unforeseen() -> Callable:
    """``same(number)``: the same integer, which the compiler cannot trace.

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
