"""What launches leave behind: their sums, and values that are still on the way.

A stream runs its launches one after another, so all calls on a stream share one workspace for the
sums of blocks. Sums of launches outlive their call, since a value may be read much later; the
memory of those that nobody holds any more is used again, on the same stream.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..jobs.launch import BlockSums, LaunchSums
from . import backend
from .backend import Place

# Blocks of a launch, at most.
MOST_BLOCKS = 1 << 14
_SLAB = 256


class Workspace:
    """Memory of one stream: partial sums, the counter of finished blocks, sums."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lock = threading.Lock()
        # For launches that must follow one another: what one leaves in scratch, the next reads.
        self.alone = threading.Lock()
        with backend.on_device(place.device):
            self._partials = backend.empty((BlockSums.memory.words * MOST_BLOCKS,), np.float64)
            self._counter = backend.upload(np.zeros(2, np.uint32))
        self.partials = backend.address(self._partials)
        self.counter = backend.address(self._counter)
        self._slabs: list[Any] = []
        self._scratch: Any = None
        self._free: list[tuple[Any, int, int]] = []

    def scratch(self, size: int) -> Any:
        """An array of that many bytes at least, which all calls on the stream share."""
        with self._lock:
            if self._scratch is None or self._scratch.nbytes < size:
                backend.refuse_capture(self.place)
                with backend.on_device(self.place.device):
                    self._scratch = backend.empty((max(size, 1 << 16),), np.uint8)
            return self._scratch

    def sums(self) -> DeviceSums:
        """Memory for what one launch leaves.

        A graph that is captured now will write there whenever it runs: that memory is never used
        again.
        """
        captured = self.place.stream != 0 and backend.is_capturing(self.place)
        try:
            return DeviceSums(self, captured, *self._free.pop())
        except IndexError:
            self.prepare()
            return DeviceSums(self, captured, *self._free.pop())

    def prepare(self) -> None:
        """Have memory for sums."""
        with self._lock:
            if not self._free:
                backend.refuse_capture(self.place)
                with backend.on_device(self.place.device):
                    slab = backend.empty((_SLAB, LaunchSums.memory.words), np.float64)
                self._slabs.append(slab)
                first, each = backend.address(slab), LaunchSums.memory.bytes
                self._free += [(slab, row, first + each * row) for row in range(_SLAB)]

    def release(self, slab: Any, row: int, address: int) -> None:
        """Take such memory back."""
        self._free.append((slab, row, address))  # atomic: called by the garbage collector too

    def extents(self) -> list[tuple[int, int]]:
        """Stretches of memory that simulated kernels may touch."""
        arrays = [self._partials, self._counter, *self._slabs]
        return [(backend.address(array), backend.address(array) + array.nbytes) for array in arrays]


class DeviceSums:
    """:class:`LaunchSums` on the GPU, which a launch leaves there."""

    def __init__(
        self, workspace: Workspace, captured: bool, slab: Any, row: int, address: int
    ) -> None:
        self.workspace, self.captured = workspace, captured
        self._slab, self._row, self.address = slab, row, address

    def read(self) -> LaunchSums:
        """A copy on the host, once the GPU has computed it."""
        place = self.workspace.place
        if self.captured:
            backend.refuse_capture(place)
            backend.synchronize_all(place.device)  # graphs run on any stream
        with backend.on_device(place.device):
            numbers = backend.read_words(self.address, LaunchSums.memory.words, place)
            if numbers is None:  # Numba says what is wrong
                numbers = backend.download(self._slab[self._row], place).view(np.int64)
        return LaunchSums(numbers)

    def wait(self) -> None:
        """Wait until the GPU is done."""
        backend.synchronize(self.workspace.place)

    def __del__(self) -> None:
        if self.captured:
            return
        self.workspace.release(self._slab, self._row, self.address)


_workspaces: dict[tuple[int, int], Workspace] = {}
# Some a device for streams that are first seen while they are captured, when no memory can be had.
_spare: dict[int, list[Workspace]] = {}
_SPARE = 2
_making = threading.Lock()
_KEPT = 64


def workspace(place: Place) -> Workspace:
    """The workspace of a stream."""
    key = place.device, place.stream
    found = _workspaces.get(key)
    if found is None:
        with _making:
            if len(_workspaces) >= _KEPT:  # streams come and go
                _workspaces.pop(next(iter(_workspaces)))
            found = _workspaces.setdefault(key, _made(place))
    return found


def _made(place: Place) -> Workspace:
    """A workspace for a stream; of one that is captured, that which was laid by."""
    if backend.is_capturing(place):
        laid_by = _spare.get(place.device)
        if laid_by:
            found = laid_by.pop()
            found.place = place
            return found
        backend.refuse_capture(place)
    laid_by = _spare.setdefault(place.device, [])
    while not backend.SIMULATED and len(laid_by) < _SPARE:
        one = Workspace(Place(place.device))
        one.prepare()
        one.scratch(1)
        laid_by.append(one)
    return Workspace(place)
