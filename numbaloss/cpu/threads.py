"""Chunks of work on one thread or on all of Numba's."""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import prange, types

from ..jobs.call import Call, Sums
from ..jobs.record import Record
from .compile import python_function
from .intrinsics import caller, pointer, stack_memory
from .records import at

call_at, sums_at = at(Call), at(Sums)
CALL_BYTES, SUMS_BYTES = Call.memory.bytes, Sums.memory.bytes

# What does a chunk takes the address of a `Call`, a scale, which chunk it is, and where `Sums` go.
CHUNK_SIGNATURE = types.void(types.int64, types.float64, types.int64, types.int64)

# Elements of a chunk, at least; it is a multiple of the blocks of every dtype.
CHUNK_ELEMENTS = 8192
# Chunks of a call, at most: enough to balance the load of some hundred threads.
MAX_CHUNKS = 1024


def chunk_size(size: int) -> int:
    """Elements of each chunk of an array of ``size``: a function of the size alone."""
    return max(CHUNK_ELEMENTS, -(-size // (CHUNK_ELEMENTS * MAX_CHUNKS)) * CHUNK_ELEMENTS)


def _data_offset() -> int:
    """Where a NumPy array object keeps the pointer to its data, or -1 if it is not there.

    Asking an array in Python (`array.ctypes.data`) takes 0.8 us, four times a call.
    Compiled code reads the pointer where NumPy's C macros have always read it: it is the
    first field of the public `PyArrayObject_fields`, right behind the object header.
    """
    offset = object.__basicsize__
    probe = np.zeros(3)
    found = ctypes.c_void_p.from_address(id(probe) + offset).value
    return offset if found == probe.ctypes.data else -1


DATA_OFFSET = _data_offset()


def _address(array: np.ndarray) -> int:
    return array.ctypes.data


# What a launch takes for an array: the identity of the object, or the address of its data.
handle: Any = id if DATA_OFFSET >= 0 else _address


def address(array: np.ndarray) -> int:
    """The address of the data of an array."""
    if DATA_OFFSET < 0:
        return _address(array)
    # A third of the time that `array.ctypes.data` takes.
    return ctypes.c_void_p.from_address(id(array) + DATA_OFFSET).value or 0


call_chunk = caller(types.void, *CHUNK_SIGNATURE.args)


@numba.njit(forceinline=True)
def data_of(array):
    """Address of the data of an array, given by its handle; 0 for none."""
    if array == 0 or DATA_OFFSET < 0:
        return array
    return pointer(array + DATA_OFFSET, 1)[0]


@numba.njit(forceinline=True)
def _fill(place, kernel, parameters, size, chunk, description, p, t, w, v, g, h):
    call = call_at(place)
    call.prediction, call.target, call.weight = data_of(p), data_of(t), data_of(w)
    call.value, call.gradient, call.hessian = data_of(v), data_of(g), data_of(h)
    call.kernel, call.parameters = kernel, data_of(parameters)
    call.size, call.chunk, call.description = size, chunk, data_of(description)


def launch_serial(function, kernel, parameters, size, chunk, description, scale, p, t, w, v, g, h):
    place = stack_memory(CALL_BYTES)
    _fill(place, kernel, parameters, size, chunk, description, p, t, w, v, g, h)
    partial = stack_memory(SUMS_BYTES)
    sums = sums_at(partial)
    total, out_of_range = 0.0, 0.0
    for index in range((size + chunk - 1) // chunk):
        call_chunk(function, (place, scale, index, partial))
        total += sums.value
        out_of_range += sums.out_of_range
    return total, out_of_range


def launch_parallel(
    function, kernel, parameters, size, chunk, description, scale, p, t, w, v, g, h, partials
):
    place = stack_memory(CALL_BYTES)
    _fill(place, kernel, parameters, size, chunk, description, p, t, w, v, g, h)
    # The caller's memory: an array made here would need Numba's runtime, whose
    # initialisation takes ten times as long as loading this function from disk.
    results = data_of(partials)
    chunks = (size + chunk - 1) // chunk
    for index in prange(chunks):
        call_chunk(function, (place, scale, index, results + SUMS_BYTES * index))
    # In order: the sum is the same whichever thread did what, and the same as serially.
    total, out_of_range = 0.0, 0.0
    for index in range(chunks):
        sums = sums_at(results + SUMS_BYTES * index)
        total += sums.value
        out_of_range += sums.out_of_range
    return total, out_of_range


_arguments = [*[types.int64] * 6, types.float64, *[types.int64] * 6]
_sums = types.UniTuple(types.float64, 2)


@cache
def serial() -> Any:
    """The launcher for one thread, which takes what `launch_serial` does."""
    signature = _sums(*_arguments)
    return python_function(launch_serial, signature, nogil=True, error_model="numpy")


@cache
def _parallel() -> Any:
    signature = _sums(*_arguments, types.int64)
    options = {"nogil": True, "error_model": "numpy", "parallel": True}
    return python_function(launch_parallel, signature, **options)


def prepare() -> None:
    """Compile both launchers, or load them from disk."""
    serial()
    _parallel()


# A parallel launch takes 2 to 8 us; below this size one thread is done sooner.
PARALLEL_SIZE = 32_768

_turn = threading.Lock()
_forked = False


def _after_fork() -> None:
    # GNU OpenMP ends a forked child at its first parallel region, so that a child of a
    # process that ran one stays serial. The lock may have been held by another thread.
    global _forked, _turn
    _forked = True
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def launch(
    function: int,
    kernel: int,
    parameters: int,
    size: int,
    description: int,
    scale: float,
    *arrays: int,
) -> tuple[float, float]:
    """Run the chunks of a call: sum of the values, number of inputs outside their domains.

    Functions come as addresses, arrays as handles: parameters, the words of the description, then
    prediction, target, weight, value, gradient and hessian.
    """
    chunk = chunk_size(size)
    arguments = function, kernel, parameters, size, chunk, description, scale, *arrays
    if size < PARALLEL_SIZE:
        return serial()(*arguments)
    return launch_chunks(arguments, -(-size // chunk))


def launch_chunks(arguments: tuple[Any, ...], chunks: int) -> tuple[float, float]:
    """Run so many chunks on all threads, or on one where several are not to be had."""
    if chunks < 2 or _forked or numba.get_num_threads() == 1:
        return serial()(*arguments)
    partials = np.empty((chunks, Sums.memory.words))
    if _bears_several_callers():
        return _parallel()(*arguments, handle(partials))
    # One parallel launch at a time; who finds another under way takes the serial path.
    # Numba's `workqueue` layer aborts the process when two threads enter it. The results
    # of both paths are the same to the last bit, so that nobody can tell.
    if not _turn.acquire(blocking=False):
        return serial()(*arguments)
    try:
        return _parallel()(*arguments, handle(partials))
    finally:
        _turn.release()


def launch_described(
    function: int,
    description: Record,
    count: int,
    chunk: int,
    kernel: int = 0,
    parameters: int = 0,
    serial: bool = False,
) -> tuple[float, float]:
    """Run the chunks of a call that has no arrays but those of its description."""
    words = handle(description.words)
    arguments = function, kernel, parameters, count, chunk, words, 1.0, *[0] * 6
    return launch_chunks(arguments, 1 if serial else -(-count // chunk))


_safe = False


def _bears_several_callers() -> bool:
    """Whether the threading layer in use is known to bear several callers at once."""
    global _safe
    if not _safe:
        try:
            _safe = numba.threading_layer() in ("tbb", "omp")
        except ValueError:  # none in use yet: the first parallel launch picks one
            return False
    return _safe
