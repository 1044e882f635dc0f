"""Memory for arrays that ends, on either side, at a page that nobody may touch."""

from __future__ import annotations

import ctypes
import mmap
from typing import NamedTuple

import numpy as np

PAGE = mmap.PAGESIZE
# What lies beside the elements of an array: NaN as a float, -1 as a label.
GUARD = 0xFF


def fence(address: int, size: int) -> None:
    """Take away all access to some pages."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if library.mprotect(address, size, 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


class Room:
    """Whole pages between two pages without access."""

    def __init__(self, size: int) -> None:
        self.mapping = mmap.mmap(-1, size + 2 * PAGE)
        whole = np.frombuffer(self.mapping, np.uint8)
        for place in (0, PAGE + size):
            fence(whole.ctypes.data + place, PAGE)
        self.bytes = whole[PAGE : PAGE + size]


class Piece(NamedTuple):
    """Bytes at one end of a room, and all bytes of the room."""

    bytes: np.ndarray
    room: np.ndarray


class Arena:
    """Rooms of all sizes, used again from call to call: a mapping costs more than a call."""

    def __init__(self) -> None:
        self._rooms: dict[int, list[Room]] = {}
        self._used: dict[int, int] = {}

    def reset(self) -> None:
        """Take all pieces back."""
        self._used.clear()

    def take(self, size: int, side: str) -> Piece:
        """Bytes that begin, or end, where a room does; the whole room holds the guard."""
        pages = max(1, -(-size // PAGE))
        pages = 1 << (pages - 1).bit_length()
        rooms = self._rooms.setdefault(pages, [])
        number = self._used.get(pages, 0)
        self._used[pages] = number + 1
        if number == len(rooms):
            rooms.append(Room(pages * PAGE))
        room = rooms[number].bytes
        room.fill(GUARD)
        start = 0 if side == "start" else len(room) - size
        return Piece(room[start : start + size], room)


class Layout(NamedTuple):
    """A way to lay an array of any shape out in memory."""

    order: tuple[int, ...]  # axes from the slowest to the fastest
    steps: tuple[int, ...]  # one an axis: -2 takes every other element, backwards; 0 repeats one
    shift: int = 0  # bytes between the array and the fence
    side: str = "end"
    read_only: bool = False


def plain(dimensions: int, side: str = "end") -> Layout:
    return Layout(tuple(range(dimensions)), (1,) * dimensions, 0, side)


class Placed(NamedTuple):
    """An array, and all of the memory it lies in."""

    array: np.ndarray
    room: np.ndarray
    before: np.ndarray  # a copy of the room as it was handed out

    def original(self) -> np.ndarray:
        """The array as it was handed out, whatever was written to it since."""
        offset = self.array.ctypes.data - self.room.ctypes.data
        return np.ndarray(
            self.array.shape, self.array.dtype, self.before.data, offset, self.array.strides
        )

    def unchanged(self) -> bool:
        """Whether no byte of the room has changed."""
        return np.array_equal(self.room, self.before)

    def only_elements_written(self) -> bool:
        """Whether no byte beside the elements has changed; overwrites the elements."""
        self.array[...] = np.full(self.array.dtype.itemsize, GUARD, np.uint8).view(
            self.array.dtype
        )[0]
        return bool((self.room == GUARD).all())


def place(arena: Arena, contents: np.ndarray, layout: Layout) -> Placed:
    """The contents, laid out like that beside a fence. Repeated axes hold their first element."""
    item = contents.dtype.itemsize
    strides = [0] * contents.ndim
    stride = item
    extent, start = item, 0
    for axis in reversed(layout.order):
        length, step = contents.shape[axis], layout.steps[axis]
        strides[axis] = stride * step
        reach = (length - 1) * stride * abs(step)
        if contents.size:
            extent += reach
            start += reach if step < 0 else 0
        stride *= max(1, length * abs(step))
    if not contents.size:
        extent = 0
    piece = arena.take(extent + layout.shift, layout.side)
    offset = start + (layout.shift if layout.side == "start" else 0)
    array = np.ndarray(contents.shape, contents.dtype, piece.bytes.data, offset, tuple(strides))
    array[...] = contents
    if layout.read_only:
        array.flags.writeable = False
    return Placed(array, piece.room, piece.room.copy())
