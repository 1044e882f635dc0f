"""Products of matrices through BLAS, and moves between its types and everybody's.

NumPy's ``matmul`` overwrites its result. A gradient that is summed over blocks of rows needs
one that adds to it, ``gemm`` with β = 1: it costs no more than the product (a product made
into a temporary tile and added took 1.2 to 1.3 times as long).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ..arrays import Operand
from ..jobs.products import Transfer
from .compile import Code, c_function
from .movers import describe, move
from .records import at
from .threads import CHUNK_SIGNATURE, call_at, chunk_size, launch_described, sums_at

transfer_at = at(Transfer)

# As BLAS numbers the orders of a matrix.
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
# Temporary memory of a product that cannot be added where it belongs.
TILE_BYTES = 4 << 20


def usable(array: np.ndarray) -> bool:
    """Whether BLAS takes a matrix of native floats as it lies."""
    return array.flags.aligned and array.dtype.isnative and layout_of(array) is not None


def layout_of(array: np.ndarray) -> tuple[int, int] | None:
    """Whether rows or columns are contiguous, and the step between them in elements."""
    (rows, columns), size = array.shape, array.itemsize
    down, along = array.strides
    if down % size or along % size:
        return None
    if (columns == 1 or along == size) and (rows == 1 or down >= columns * size):
        return PLAIN, columns if rows == 1 else down // size
    if (rows == 1 or down == size) and (columns == 1 or along >= rows * size):
        return TRANSPOSED, rows if columns == 1 else along // size
    return None


def multiply(left: np.ndarray, right: np.ndarray, into: np.ndarray, add: bool = False) -> None:
    """``into = left @ right``, or ``+=``; ``into`` is usable by BLAS."""
    if 0 in into.shape:
        return
    if left.shape[1] == 0:
        if not add:
            into[...] = 0
        return
    with np.errstate(all="ignore"):  # NaN and infinity are results like others
        if not add:
            np.matmul(left, right, out=into)
        elif not _add_by_gemm(left, right, into):
            _add_by_tiles(left, right, into)


def _add_by_tiles(left: np.ndarray, right: np.ndarray, into: np.ndarray) -> None:
    rows, columns = into.shape
    if rows > columns:
        _add_by_tiles(right.T, left.T, into.T)
        return
    width = max(1, min(columns, TILE_BYTES // (rows * into.itemsize)))
    tile = np.empty(rows * width, into.dtype)
    for start in range(0, columns, width):
        part = into[:, start : start + width]
        product = tile[: part.size].reshape(part.shape)
        np.matmul(left, right[:, start : start + width], out=product)
        np.add(part, product, out=part)


def _add_by_gemm(left: np.ndarray, right: np.ndarray, into: np.ndarray) -> bool:
    layouts = [layout_of(one) for one in (left, right, into)]
    gemm = _gemm(into.dtype.name)
    if gemm is None or None in layouts:
        return False
    (of_left, step_left), (of_right, step_right), (of_into, step_into) = layouts  # type: ignore
    if of_into == TRANSPOSED:
        return _add_by_gemm(right.T, left.T, into.T)
    rows, columns = into.shape
    gemm(
        ROW_MAJOR,
        of_left,
        of_right,
        rows,
        columns,
        left.shape[1],
        1.0,
        left.ctypes.data,
        step_left,
        right.ctypes.data,
        step_right,
        1.0,
        into.ctypes.data,
        step_into,
    )
    return True


@cache
def _library() -> Any:
    """The BLAS that NumPy multiplies with; None where it hides.

    Symbols are searched for in the libraries that it was linked to as well.
    """
    try:
        return ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None


@cache
def _gemm(real: str) -> Any:
    """``cblas_?gemm`` of the very BLAS that NumPy multiplies with; None where it hides.

    NumPy's wheels name the symbols of their own OpenBLAS apart; other builds link to the
    standard names.
    """
    letter = "s" if real == "float32" else "d"
    names = [f"scipy_cblas_{letter}gemm64_", f"cblas_{letter}gemm64_"]
    if sys.platform.startswith("linux"):
        # With 32-bit integers, or 64: where each argument fills a register or eight bytes
        # of the stack, and numbers are small and positive, the two are called alike.
        names += [f"scipy_cblas_{letter}gemm", f"cblas_{letter}gemm"]
    integer, number, place = ctypes.c_int64, np.ctypeslib.as_ctypes_type(real), ctypes.c_void_p
    for name in names:
        gemm = getattr(_library(), name, None)
        if gemm is not None:
            gemm.restype = None
            gemm.argtypes = [
                *[ctypes.c_int] * 3,
                *[integer] * 3,
                *[number, place, integer, place, integer, number, place, integer],
            ]
            return gemm
    return None


def address_of_gemm(real: str) -> int:
    """Where compiled code finds ``cblas_?gemm``; 0 where it does not, or may not call it.

    It may where the threads of BLAS can be held back: see :func:`one_thread_each`.
    """
    gemm = _gemm(real)
    if gemm is None or _threads_of_blas() is None:
        return 0
    return ctypes.cast(gemm, ctypes.c_void_p).value or 0


@cache
def _threads_of_blas() -> tuple[Any, Any] | None:
    """What tells, and what sets, the number of threads of OpenBLAS."""
    for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
        names = ("get_num_threads", "set_num_threads", "get_parallel")
        functions: list[Any] = [
            getattr(_library(), f"{prefix}openblas_{one}{suffix}", None) for one in names
        ]
        # 2 is OpenMP, which counts threads for each that calls by itself.
        if None not in functions and functions[2]() != 2:
            return functions[0], functions[1]
    return None


_limit = threading.Lock()
_limited = 0
_unlimited = 1


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every thread that calls BLAS do its product alone, until all who asked are done.

    Products of Numba's threads, side by side, instead of those of BLAS's own: two pools of
    threads that take turns hold each other up, each spinning while it waits for work, by 2 ms a
    turn on two cores. Products elsewhere in the process meanwhile take one thread too.
    """
    global _limited, _unlimited
    functions = _threads_of_blas()
    if functions is None:
        yield
        return
    get, set_ = functions
    counted = False
    try:
        with _limit:
            if _limited == 0:
                _unlimited = get()
            _limited, counted = _limited + 1, True
            set_(1)
        yield
    finally:
        with _limit:
            _limited -= counted
            if _limited == 0 and counted:
                set_(_unlimited)


def _after_fork() -> None:
    # The thread that would lift the limit did not come along.
    global _limit, _limited
    _limit = threading.Lock()
    if _limited:
        _limited = 0
        functions = _threads_of_blas()
        if functions is not None:
            functions[1](_unlimited)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def widen(source: Operand, target: np.ndarray) -> None:
    """Copy an array of any dtype and strides into a contiguous one of the compute type."""
    _transfer(source, target, "load")


def narrow(source: np.ndarray, target: Operand) -> None:
    """Round a contiguous array of the compute type into one of any dtype and strides."""
    _transfer(target, source, "store")


def _transfer(other: Operand, own: np.ndarray, direction: str) -> None:
    """Between an operand and a contiguous array of the compute type, on all threads."""
    described = describe(other, own.dtype.name, direction)
    if not described:
        source, target = (other.array, own) if direction == "load" else (own, other.array)
        np.copyto(target, source)
        return
    size = own.size
    if size == 0:
        return
    transfer = Transfer()
    transfer.array, transfer.contiguous = other.array.ctypes.data, own.ctypes.data
    transfer.itemsize = own.itemsize
    transfer = transfer.followed_by({"layout": described})
    launch_described(_transfer_code().address, transfer, size, chunk_size(size))


@cache
def _transfer_code() -> Code:
    return c_function(_transfer_chunk, CHUNK_SIGNATURE, "transfer", error_model="numpy")


def _transfer_chunk() -> Callable:
    def transfer_chunk(address, scale, index, result):
        call = call_at(address)
        transfer = transfer_at(call.description)
        start = index * call.chunk
        size = min(call.chunk, call.size - start)
        layout = call.description + 8 * transfer.layout
        place = transfer.contiguous + start * transfer.itemsize
        move(transfer.array, layout, start, size, place)
        sums = sums_at(result)
        sums.value = sums.out_of_range = 0.0

    return transfer_chunk
