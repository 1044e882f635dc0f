"""Seconds that a call takes on the device, apart from what it takes on the host.

Calls queue up behind copies that keep the device busy, each between two events: so the
device goes from one call to the next without waiting for Python, and events hold no host time.
The copies also sweep the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np

from .libraries import Library

# Does the work on one of several sets of arrays: the number says which.
Step = Callable[[int], Any]

FEWEST, MOST = 20, 300
BATCH = 10
# Whatever a contestant does, it is not waited for longer.
PATIENCE = 4.0


@dataclass
class Times:
    """Seconds a call: the median, a quarter below, a quarter above."""

    median: float
    low: float
    high: float
    count: int
    # Whether the device had to wait for the host: then the figure is too high.
    host_bound: bool = False

    @classmethod
    def of(cls, seconds: list[float], host_bound: bool = False) -> Times:
        low, median, high = np.percentile(seconds, [25, 50, 75])
        return cls(float(median), float(low), float(high), len(seconds), host_bound)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class EventClock:
    """Times by CUDA events, on the current stream of the library."""

    def __init__(self, library: Library, seconds: float, block: int = 2**26) -> None:
        self.library = library
        self.seconds = seconds
        self.blocks = [library.empty((block,), "float32") for _ in range(2)]
        for array in self.blocks:
            library.fill(array, 1.0)
        self.copy_seconds = 0.0
        self.copy_seconds = self.time(lambda _: self._copy(), 1).median

    def time(self, step: Step, sets: int) -> Times:
        """Median of many calls, which take turns on so many sets of arrays."""
        for index in range(max(3, sets)):
            step(index % sets)
        host = self._host_seconds(step, sets)
        times: list[float] = []
        late, patience = 0, 3
        end = perf_counter() + PATIENCE
        while self._goes_on(times) and perf_counter() < end:
            found, was_late = self._batch(step, len(times), sets, host)
            if was_late and patience:
                # Not busy for long enough: once more, with longer copies.
                patience -= 1
                host *= 2.0
                continue
            late += len(found) if was_late else 0
            times += found
        return Times.of(times, host_bound=late > len(times) // 2)

    def _goes_on(self, times: list[float]) -> bool:
        return len(times) < FEWEST or (len(times) < MOST and sum(times) < self.seconds)

    def _copy(self) -> None:
        self.library.copy(*self.blocks)

    def _host_seconds(self, step: Step, sets: int) -> float:
        """What queueing one call takes on the host."""
        self.library.synchronize()
        start = perf_counter()
        for index in range(4):
            step(index % sets)
        host = (perf_counter() - start) / 4
        self.library.synchronize()
        return host + 20e-6  # the events

    def _batch(self, step: Step, first: int, sets: int, host: float) -> tuple[list[float], bool]:
        """Some calls behind one stretch of copies, and whether it was over too soon."""
        library = self.library
        pairs = [(library.event(), library.event()) for _ in range(BATCH)]
        busy = library.event()
        copies = 1
        if self.copy_seconds:
            copies = 1 + min(500, ceil(1.5 * BATCH * host / self.copy_seconds))
        for _ in range(copies):
            self._copy()
        library.record(busy)
        for index, (start, end) in enumerate(pairs, first):
            library.record(start)
            step(index % sets)
            library.record(end)
        late = bool(self.copy_seconds) and library.is_over(busy)
        library.synchronize()
        return [library.seconds(start, end) for start, end in pairs], late


class HostClock:
    """Times by the clock of the host, for a run without a GPU."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def time(self, step: Step, sets: int) -> Times:
        times: list[float] = []
        for index in range(3 + sets):
            start = perf_counter()
            step(index % sets)
            times.append(perf_counter() - start)
        return Times.of(times)


Clock = EventClock | HostClock


def copy_bandwidth(library: Library, clock: Clock, size: int) -> dict[str, Any]:
    """Bytes a second of a copy from device to device: those read and those written."""
    arrays = [library.empty((size,), "float32") for _ in range(2)]
    arrays[1][...] = library.normal((size,), "float32")
    times = clock.time(lambda _: library.copy(*arrays), 1)
    moved = 2 * 4 * size
    return {"bytes": moved, "seconds": times.plain(), "bytes_per_second": moved / times.median}
