"""Reading in the background while the losses are computed."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


def ahead(items: Iterator[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The same items, made by another thread that is up to ``depth`` of them ahead.

    Close the generator to stop the thread early. What the thread raises is raised here.
    """
    queue: Queue[Any] = Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="numbaloss reader", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while not queue.empty():
            try:
                queue.get_nowait()
            except Empty:
                break
        # Not for ever: a read from a dead network drive may never return.
        thread.join(timeout=5)
