"""The process that makes the calls: it may crash, and says before each call which one it is."""

from __future__ import annotations

import ctypes
import json
import mmap
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from .accepted import explanation
from .families import Stretch, stretch
from .memory import Arena
from .promises import Finding, examine

LENGTH = 1000  # calls of a stretch


class Progress:
    """The present call, how many were made, and when; in a file that outlives a crash."""

    BYTES = 24

    def __init__(self, path: Path, create: bool = False) -> None:
        if create:
            path.write_bytes(struct.pack("<qqd", -1, 0, time.monotonic()))
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), self.BYTES)
        # Number by number: struct.pack_into clears all of them first, and who reads that
        # moment sees a call that has been under way since the machine was started.
        self._integers = memoryview(memory)[:16].cast("q")
        self._since = memoryview(memory)[16:].cast("d")

    def set(self, number: int, made: int) -> None:
        self._integers[0], self._integers[1] = number, made
        self._since[0] = time.monotonic()

    def get(self) -> tuple[int, int, float]:
        return self._integers[0], self._integers[1], self._since[0]


def one_call(seed: int, number: int, of: Stretch, arena: Arena) -> dict[str, Any] | None:
    """Run one call; what is to be said of it, if anything is."""
    call = None
    try:
        call, found = examine(seed, number, of, arena)
    except Exception:
        lines = traceback.format_exc().strip().splitlines()
        found = Finding("fault of the campaign", " | ".join(lines[-4:]))
    if found is None:
        return None
    return {
        "seed": seed,
        "number": number,
        "kind": found.kind,
        "text": found.text,
        "loss": type(call.loss).__name__ if call is not None else of.structure,
        "real": of.real,
        "call": "" if call is None else call.describe(),
        "accepted": explanation(call, found.kind, found.text),
    }


def trespass(arena: Arena) -> None:
    """Write where nobody may: what a campaign reports as a crash."""
    piece = arena.take(100, "end")
    ctypes.memset(piece.bytes.ctypes.data, 0, piece.bytes.size + 1)


def work(
    seed: int,
    first: int,
    stop: int,
    share: tuple[int, int],
    length: int,
    heavy: bool,
    trespass_at: int,
    progress: Path,
) -> None:
    """Make the calls from ``first`` to ``stop`` of the stretches that are this process's share."""
    said = Progress(progress)
    arena = Arena()
    number = first
    made = 0
    while number < stop:
        which = number // length
        if which % share[1] != share[0]:
            number = (which + 1) * length
            continue
        of = stretch(seed, which, heavy)
        end = min(stop, (which + 1) * length)
        while number < end:
            said.set(number, made)
            if number == trespass_at:
                trespass(arena)
            found = one_call(seed, number, of, arena)
            if found is not None:
                print(json.dumps(found), flush=True)
            number += 1
            made += 1
        said.set(number, made)
        print(json.dumps({"at": number}), flush=True)
    print(json.dumps({"done": True}), flush=True)


if __name__ == "__main__":
    seed, first, stop, index, count, length, heavy, wild = map(int, sys.argv[1:9])
    work(seed, first, stop, (index, count), length, bool(heavy), wild, Path(sys.argv[9]))
