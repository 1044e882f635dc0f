"""Forks that wait until no other thread compiles.

A forked child has no thread but the one that forked, and every lock as it was then. If another
thread was compiling, the child would wait for ever for Numba's lock, or find its tables half
written. So a fork takes the locks first, and both processes give them back after it. It waits for
them no longer than ``WAIT`` seconds: then the fork goes on, and a child that wants to compile, or
to load code, gets an error in the place of a hang.

What cannot be helped: a fork while another thread imports Numba for the first time, and forks by
code in C that does not tell Python.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

WAIT = 10.0

_locks: list[Any] = []
_mine = threading.local()
_torn = False


def protected(lock: Any, first: bool = False) -> Any:
    """The lock, which forks take from now on: in the order in which threads take several."""
    _locks.insert(0 if first else len(_locks), lock)
    return lock


def check() -> None:
    """Raise where this process was forked while another thread was compiling."""
    if _torn:
        raise RuntimeError(
            f"this process was forked while another thread of its parent compiled for more than "
            f"{WAIT:g} seconds, and cannot compile any more: call each loss once before the fork, "
            f"run `numbaloss warmup`, or start processes by 'spawn' or 'forkserver'"
        )


def _before() -> None:
    until = time.monotonic() + WAIT
    _mine.held = [
        lock for lock in _locks if lock.acquire(timeout=max(0.0, until - time.monotonic()))
    ]
    _mine.all = len(_mine.held) == len(_locks)


def _release() -> None:
    for lock in reversed(_mine.held):
        lock.release()
    _mine.held = []


def _in_child() -> None:
    global _torn
    _torn = _torn or not _mine.all
    _release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_release, after_in_child=_in_child)

__all__ = ["WAIT", "check", "protected"]
