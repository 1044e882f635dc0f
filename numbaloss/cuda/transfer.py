"""Lanes between the host and a GPU: a stream, and memory at both ends of its copies.

Memory that the GPU copies from by itself is slow to get: pages are locked one by one. So lanes are
kept for the calls that follow, at most as many as one call takes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import backend
from .backend import Place

# Lanes of a call: one is filled or emptied by the host while the GPU copies and computes in the
# others.
LANES = 3


class Buffer:
    """Bytes on the host, pinned, and as many on the GPU."""

    def __init__(self) -> None:
        self.host = np.empty(0, np.uint8)
        self.address = 0
        self._gpu: Any = None

    def reserve(self, size: int) -> None:
        """Get more memory where there is not enough; what it held is lost."""
        if size <= self.host.size:
            return
        rounded = 1 << (size - 1).bit_length()
        self.host, self._gpu = np.empty(0, np.uint8), None  # given back before more is asked for
        self._gpu = backend.empty((rounded,), np.uint8)
        self.host = backend.pinned(rounded, np.uint8)
        self.address = backend.address(self._gpu)

    def copy_in(self, size: int, place: Place) -> None:
        """Ask for a copy of so many bytes to the GPU."""
        if size:
            backend.copy_in(self.host[:size], self._gpu, place)

    def copy_out(self, size: int, place: Place) -> None:
        """Ask for a copy of so many bytes from the GPU."""
        if size:
            backend.copy_out(self._gpu, self.host[:size], place)


class Lane:
    """What one piece of a call passes through at a time."""

    def __init__(self, device: int) -> None:
        self.place = backend.OwnStream(device)
        self.incoming, self.outgoing = Buffer(), Buffer()


_idle: dict[int, list[Lane]] = {}
_sharing = threading.Lock()


def room(device: int, most: int) -> int:
    """Bytes that each end of a lane may have, up to ``most``."""
    with _sharing:
        kept = _idle.get(device, ())
        if any(min(lane.incoming.host.size, lane.outgoing.host.size) >= most for lane in kept):
            return most
    # Half of what is free: results and other programs need some too.
    return min(most, backend.free_memory(device) // (4 * LANES))


@contextmanager
def borrow(device: int, pieces: int, incoming: int, outgoing: int) -> Iterator[list[Lane]]:
    """Lanes for so many pieces, with room for so many bytes in and out, on the current device.

    They are the caller's alone until the context ends; copies are over by then.
    """
    wanted = min(pieces, LANES)
    with _sharing:
        kept = _idle.setdefault(device, [])
        lanes = [kept.pop() for _ in range(min(wanted, len(kept)))]
    lanes += [Lane(device) for _ in range(wanted - len(lanes))]
    for lane in lanes:
        lane.incoming.reserve(incoming)
        lane.outgoing.reserve(outgoing)
    try:
        yield lanes
    finally:
        for lane in lanes:
            backend.synchronize(lane.place)
        with _sharing:
            kept.extend(lanes[: LANES - len(kept)])
