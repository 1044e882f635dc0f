"""How much memory a call takes at its peak, over what the process has already."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def can_measure() -> bool:
    """Only Linux lets a process reset its own high-water mark."""
    return STATUS.exists() and CLEAR.exists()


def extra_bytes(call: Callable[[], Any]) -> int:
    """Peak of resident memory while ``call`` runs, minus what was resident before."""
    gc.collect()
    give_back_freed_memory()
    CLEAR.write_text("5")  # the high-water mark becomes the present size
    before = _status("VmRSS")
    result = call()
    peak = _status("VmHWM")
    del result
    return max(0, peak - before)


def give_back_freed_memory() -> None:
    """Return what is freed to the system, or the next call would hide in it."""
    library = ctypes.util.find_library("c")
    if library is not None:
        trim = getattr(ctypes.CDLL(library), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _status(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}")
