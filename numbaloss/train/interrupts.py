"""Ctrl-C: the first ends the run after its step, the second at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """A block in which Ctrl-C sets ``asked``, where it would raise KeyboardInterrupt.

    So that no step is left half done: optimisers change parameters one after the other. Programs
    that have a handler of their own, and threads, keep theirs.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
