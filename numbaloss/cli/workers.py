"""Work on a stream by several threads, with the results in the order of the stream.

Not the parallel kernels of the library: a batch takes one thread less time than it takes to
wake the others, and where the decoder or another program holds a core, OpenMP's threads
wait for each other at every launch (measured on a busy machine: 7 ms, not 30 us, a batch).
Threads that each do a batch of their own never wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More do not help, the decoder has long become the slower side; each holds batches in memory.
MOST = 8


def default_threads() -> int:
    """As many as Numba would use, which minds the limits of the process, up to a few."""
    from ..numba_settings import check

    check()
    import numba

    return min(numba.get_num_threads(), MOST)


def in_order(
    work: Callable[[Item], Result], items: Iterator[Item], threads: int
) -> Generator[Result, None, None]:
    """``map(work, items)`` on several threads; few items are in hand at any time."""
    pool = ThreadPoolExecutor(threads, "numbaloss worker", initializer=_one_thread)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in islice(items, threads):
            waiting.append(pool.submit(work, item))
        while waiting:
            result = waiting.popleft().result()
            for item in islice(items, 1):
                waiting.append(pool.submit(work, item))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import numba

    numba.set_num_threads(1)  # of this thread; others keep theirs
