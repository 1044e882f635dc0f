"""Memory that kernels may touch, and who of a block touched it since the last barrier."""

from __future__ import annotations

import bisect
import math
import weakref
from typing import Any

import numpy as np

WARP = 32


class Memory:
    """Arrays that kernels may touch, 256 bytes apart, with nothing in between."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.gone: list[int] = []  # starts of arrays that nobody holds any more

    def array(self, shape: Any, dtype: Any, offset: int = 0) -> np.ndarray:
        """A new array, so many elements behind a multiple of 256 bytes; NaN or -1 at first."""
        dtype = np.dtype(dtype)
        count = math.prod(np.atleast_1d(shape))
        room = np.full(count * dtype.itemsize + 1024, 0xFF, np.uint8)
        while self.gone:  # whose memory the new one may have
            place = self.starts.index(self.gone.pop())
            del self.starts[place], self.ends[place]
        start = 256 + -room.ctypes.data % 256 + offset * dtype.itemsize
        found = room[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
        if found.nbytes:
            low = found.ctypes.data
            place = bisect.bisect(self.starts, low)
            self.starts.insert(place, low)
            self.ends.insert(place, low + found.nbytes)
            weakref.finalize(room, self.gone.append, low)
        return found

    def check(self, address: int, size: int) -> None:
        """Raise unless so many bytes may be accessed at once."""
        place = bisect.bisect(self.starts, address) - 1
        if place < 0 or address + size > self.ends[place]:
            raise IndexError(f"{size} bytes at {address:#x} are not an array's")
        if address % size:
            raise ValueError(f"{size} bytes at {address:#x} are not aligned")


def _warp_of(thread: int) -> range:
    """The threads of a thread's warp."""
    first = thread // WARP * WARP
    return range(first, first + WARP)


def _several(thread: int) -> int:
    """What stands for several threads of a thread's warp, and no others."""
    return -3 - thread // WARP


class Watch:
    """Who of a block was where in a memory since the last barrier."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step  # bytes that are accessed at once, at least
        self.barrier()

    def barrier(self) -> None:
        self.writers: dict[int, int] = {}
        self.readers: dict[int, int] = {}

    def warp_barrier(self, thread: int) -> None:
        """A barrier of the warp of a thread alone."""
        gone = {_several(thread), *_warp_of(thread)}
        for threads in (self.writers, self.readers):
            for place in [place for place, one in threads.items() if one in gone]:
                del threads[place]

    def note(self, address: int, size: int, thread: int, writes: bool) -> None:
        for place in range(address, address + size, self.step):
            clash = self.writers.get(place, thread) != thread
            if writes:
                clash |= self.readers.get(place, thread) != thread
                self.writers[place] = thread
            elif (earlier := self.readers.setdefault(place, thread)) != thread:
                own = earlier in (_several(thread), *_warp_of(thread))
                self.readers[place] = _several(thread) if own else -1
            if clash:
                raise RuntimeError(f"threads race for byte {place} of {self.name} memory")


ATOMIC = -2  # the thread that all atomic operations are noted for: they may meet each other


class Shared:
    """The shared memory of a block; what it knows of races is of global memory too."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(b"\xff" * size)
        self.own, self.everywhere = Watch("shared", 4), Watch("global", 2)

    def barrier(self) -> None:
        self.own.barrier()
        self.everywhere.barrier()

    def warp_barrier(self, thread: int) -> None:
        self.own.warp_barrier(thread)
        self.everywhere.warp_barrier(thread)

    def check(self, address: int, size: int, thread: int, writes: bool) -> None:
        if not 0 <= address <= len(self.bytes) - size:
            raise IndexError(f"{size} bytes at {address} of {len(self.bytes)} in shared memory")
        if address % size:
            raise ValueError(f"{size} bytes at {address} of shared memory are not aligned")
        self.own.note(address, size, thread, writes)
