"""A launch with all its parameters in one block of memory, straight to the driver.

A kernel takes some 50 numbers. Handed to Numba or to ``cuda.core`` one by one, each becomes an
object of its own: 15 to 50 us a launch. Packed into the bytes that the kernel's parameters are,
they take 1.5 us, and the driver copies them as they are.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numba
import numpy as np

from .fields import Fields, is_record

# What the driver calls CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE and
# CU_LAUNCH_PARAM_END.
_POINTER, _SIZE, _END = 1, 2, 0

Put = Callable[[Any, list[Any]], None]


class Packing:
    """How the arguments of a kernel lie in memory: each at a multiple of its size, as in C."""

    def __init__(self, kinds: Sequence[Any]) -> None:
        self._put = [_flattener(kind) for kind in kinds]
        self.codes = "".join(map(_codes, kinds))
        self._block = struct.Struct(f"@{self.codes}")
        self.size = self._block.size

    def flat(self, arguments: Sequence[Any]) -> list[Any]:
        """All numbers of the arguments, one behind the other."""
        found: list[Any] = []
        for value, put in zip(arguments, self._put, strict=True):
            put(value, found)
        return found

    def pack_into(self, block: Any, arguments: Sequence[Any]) -> None:
        """Write the arguments into memory of ``size`` bytes."""
        numbers = self.flat(arguments)
        try:
            self._block.pack_into(block, 0, *numbers)
        except OverflowError:  # of float32: infinite, as in a kernel
            with np.errstate(over="ignore"):
                numbers = [
                    np.float32(number) if code == "f" else number
                    for code, number in zip(self.codes, numbers, strict=True)
                ]
            self._block.pack_into(block, 0, *numbers)

    def addresses(self, arguments: Sequence[Any]) -> list[bool]:
        """Which of the numbers are addresses of memory: fields that say so."""
        found: list[bool] = []
        for value, put in zip(arguments, self._put, strict=True):
            if isinstance(value, Fields):
                memory = value.of.memory
                found += [name in memory.addresses for name in memory.place]
                continue
            numbers: list[Any] = []
            put(value, numbers)
            found += [False] * len(numbers)
        return found

    def places(self) -> list[tuple[int, int]]:
        """Offset and size of each parameter in bytes."""
        sizes = [struct.calcsize(f"@{code}") for code in self.codes]
        ends = [struct.calcsize(f"@{self.codes[: i + 1]}") for i in range(len(sizes))]
        return [(end - size, size) for end, size in zip(ends, sizes)]


class Launch:
    """One kernel in one configuration; called with its arguments, it starts the kernel."""

    def __init__(
        self,
        driver: Any,
        handle: Any,
        packing: Packing,
        stream: Any,
        grid: tuple[int, int, int],
        cluster: int = 1,
    ) -> None:
        self._driver, self._handle, self.packing, self._stream = driver, handle, packing, stream
        self._blocks, self._threads, self._shared = grid
        # Of a launch in clusters of so many blocks, all in one.
        self._whole = None if cluster == 1 else _in_clusters(driver, stream, grid, cluster)
        # A block for each thread: the driver has copied it when the launch returns.
        self._own = threading.local()

    def __call__(self, *arguments: Any) -> None:
        block, extra = self._memory()[:2]
        self.packing.pack_into(block, arguments)
        self._start(extra)

    def repeat(
        self, numbers: bytes, moves: Sequence[tuple[int, int]], addresses: Sequence[int]
    ) -> None:
        """Start the kernel with parameters that are packed already, but for some addresses.

        ``moves``: which word of the block is which of the addresses.
        """
        _, extra, content, words, _ = self._memory()
        content[:] = numbers
        for place, which in moves:
            words[place] = addresses[which]
        self._start(extra)

    def _memory(self) -> tuple[Any, ...]:
        try:
            found: tuple[Any, ...] = self._own.block
        except AttributeError:
            found = self._own.block = _described_block(self.packing.size)
        return found

    def _start(self, extra: int) -> None:
        if self._whole is not None:
            (status,) = self._driver.cuLaunchKernelEx(self._whole, self._handle, 0, extra)
            self._refused(status)
            return
        (status,) = self._driver.cuLaunchKernel(
            self._handle, self._blocks, 1, 1, self._threads, 1, 1, self._shared, self._stream,
            0, extra,
        )  # fmt: skip
        self._refused(status)

    def _refused(self, status: Any) -> None:
        if status:
            raise RuntimeError(f"the GPU's driver refused to start a kernel: {status!r}")


def _in_clusters(driver: Any, stream: Any, grid: tuple[int, int, int], cluster: int) -> Any:
    """A launch whose blocks come in clusters, as the driver takes it."""
    attribute, whole = driver.CUlaunchAttribute(), driver.CUlaunchConfig()
    attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    size = attribute.value.clusterDim
    size.x, size.y, size.z = cluster, 1, 1
    whole.gridDimX, whole.blockDimX, whole.sharedMemBytes = grid
    whole.gridDimY = whole.gridDimZ = whole.blockDimY = whole.blockDimZ = 1
    whole.hStream = stream
    whole.attrs, whole.numAttrs = [attribute], 1
    return whole


def _described_block(size: int) -> tuple[Any, ...]:
    """Memory for parameters; the address of what the driver reads to find it; its bytes and its
    words of eight; what must live as long."""
    block, length = ctypes.create_string_buffer(-(-size // 8) * 8), ctypes.c_size_t(size)
    addresses = _POINTER, ctypes.addressof(block), _SIZE, ctypes.addressof(length), _END
    extra = (ctypes.c_void_p * len(addresses))(*addresses)
    whole = memoryview(block).cast("B")
    return block, ctypes.addressof(extra), whole[:size], whole.cast("q"), (extra, length)


def places_of(driver: Any, handle: Any) -> list[tuple[int, int]]:
    """Offset and size of each parameter of a kernel, as its driver has them."""
    found: list[tuple[int, int]] = []
    for parameter in count():
        status, *place = driver.cuKernelGetParamInfo(handle, parameter)
        if int(status) != 0:  # there is no such parameter
            return found
        offset, size = place
        found.append((int(offset), int(size)))
    raise AssertionError("no kernel has endless parameters")


_CODES = {
    numba.types.int64: "q",
    numba.types.float32: "f",
    numba.types.float64: "d",
    numba.types.boolean: "?",
}


def _codes(kind: Any) -> str:
    """The numbers that an argument of a type is made of, in the words of :mod:`struct`."""
    if isinstance(kind, numba.types.BaseTuple):
        return "".join(map(_codes, kind))
    return _CODES[kind]


def _flattener(kind: Any) -> Put:
    """What puts the numbers of an argument of a type into a list."""
    if is_record(kind):
        return _put_fields
    if isinstance(kind, numba.types.BaseTuple):
        parts = [_flattener(part) for part in kind]

        def put_each(value: Any, flat: list[Any]) -> None:
            for one, put in zip(value, parts, strict=True):
                put(one, flat)

        return put_each
    return _put_number


def _put_fields(fields: Fields, flat: list[Any]) -> None:
    flat.extend(fields.get(fields))


def _put_number(number: Any, flat: list[Any]) -> None:
    flat.append(number)
