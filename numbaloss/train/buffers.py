"""Arrays that are used again from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np


class Buffers:
    """Memory by name: it grows to the largest shape that was asked for, and stays.

    Copies and pickles of what holds them hold none.
    """

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A contiguous array of this shape, with whatever is in it."""
        size = 1
        for length in shape:
            size *= length
        found = self._memory.get(name)
        if found is None or found.size < size or found.dtype != dtype:
            found = self._memory[name] = np.empty(size, dtype)
        return found[:size].reshape(shape)

    def __reduce__(self) -> Any:
        return Buffers, ()
