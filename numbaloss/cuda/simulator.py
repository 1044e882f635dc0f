"""Mends of numba-cuda's simulator, which runs kernels on threads of Python."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_making = threading.Lock()


def share_safely() -> None:
    """Let all threads of a block get one shared array, and get it soon.

    The simulator's own makes the array without a lock, so that two threads now and then get two;
    and it finds the line of the caller by a whole stack of source lines, most of its time.
    """
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    def array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
        dtype = np.dtype(dtype)
        if shape == 0:
            count = self._dynshared_size // dtype.itemsize
            return np.frombuffer(self._dynshared.data, dtype, count)
        frame = sys._getframe(1)
        key = frame.f_code, frame.f_lineno
        with _making:
            if key not in self._allocations:
                self._allocations[key] = np.empty(shape, dtype)
            return self._allocations[key]

    FakeCUDAShared.array = array


def wait_at_barriers() -> None:
    """Let the threads of a block wait for each other at a barrier.

    The simulator's own main thread asks all others, over and over, whether they wait, and holds
    Python's lock meanwhile: 10 times slower. Every thread of a kernel has to pass the same
    barriers; on a GPU it had to as well.
    """
    from numba.cuda.simulator.kernel import BlockManager, BlockThread

    def run(self: Any, grid_point: Any, *args: Any) -> None:
        places = list(np.ndindex(*self._block_dim))
        barrier = threading.Barrier(len(places))
        failures: list[BaseException] = []

        def make(place: Any) -> Any:
            thread = BlockThread(_guarded(self._f, args, barrier, failures), self, grid_point,
                                 place, self._debug)  # fmt: skip
            thread.syncthreads = barrier.wait
            return thread

        threads = [make(place) for place in places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    BlockManager.run = run


def _guarded(
    function: Callable, args: tuple[Any, ...], barrier: threading.Barrier, failures: list[Any]
) -> Callable[[], None]:
    def call() -> None:
        try:
            with np.errstate(all="ignore"):  # a GPU does not warn
                function(*args)
        except threading.BrokenBarrierError:  # another thread has failed
            pass
        except BaseException as failure:
            failures.append(failure)
            barrier.abort()

    return call
