"""Memory that several blocks of threads change: see :mod:`.memory`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from . import backend
from .simulated_arrays import simulated_cell
from .simulated_memory import simulated_read

intrinsic: Any = _intrinsic


@cache
def atomic(operation: str) -> Callable:
    """``change(address, index, number)`` of an int64 >= 0 that others change too: add, or min.

    Of integers, so that the result does not depend on who comes first.
    """
    if backend.SIMULATED:  # whose threads take turns
        combine: Any = {"add": lambda a, b: a + b, "min": min}[operation]

        def change_simulated(address: int, index: int, number: int) -> None:
            cell = simulated_cell(int(address) + 8 * int(index), np.int64)
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
            cell = simulated_cell(address, np.uint32)
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
def fresh_reader() -> Callable:
    """``read(address, index)`` of float64 that another block may have written meanwhile."""
    if backend.SIMULATED:
        return lambda address, index: simulated_read(address, index, "float64", np.float64)

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
