"""What an optimiser keeps of a leaf from step to step, where the leaf lives."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Operand

ALIGNED = 64


def filled(shape: tuple[int, ...], number: float, real: str) -> np.ndarray:
    """An array of one number, which begins with a line of the cache."""
    size = int(np.prod(shape, dtype=np.int64))
    itemsize = np.dtype(real).itemsize
    room = np.empty(size * itemsize + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    found = room[start : start + size * itemsize].view(real).reshape(shape)
    found[...] = number
    return found


class LeafState:
    """The states of a leaf, by PyTorch's names for them; on a GPU, arrays of Numba's."""

    __slots__ = ("arrays", "device", "kind", "shape", "step")

    def __init__(self, kind: str, shape: tuple[int, ...], step: int = 0) -> None:
        self.kind, self.shape, self.step = kind, shape, step
        self.device: int | None = None
        self.arrays: dict[str, Any] = {}

    def fits(self, view: Operand) -> bool:
        """Whether it belongs to a leaf of this shape and dtype."""
        return self.shape == view.array.shape and self.kind == view.kind

    def copies(self) -> dict[str, np.ndarray]:
        """Copies of all arrays on the host."""
        if self.device is None:
            return {slot: array.copy() for slot, array in self.arrays.items()}
        from .cuda_passes import download

        return {
            slot: download(array, self.device).reshape(self.shape)
            for slot, array in self.arrays.items()
        }

    def move(self, device: int | None) -> None:
        """Bring all arrays to where their leaf lives now."""
        if device == self.device:
            return
        arrays: dict[str, Any] = self.copies()
        if device is not None:
            from .cuda_passes import upload

            arrays = {slot: upload(one, device) for slot, one in arrays.items()}
        self.arrays, self.device = arrays, device

    def addresses(self, slots: tuple[str, ...]) -> list[int]:
        """Where the arrays of a rule lie; 0 for what is not there."""
        if self.device is None:
            return [self.arrays[one].ctypes.data if one in self.arrays else 0 for one in slots]
        from .cuda_passes import address

        return [address(self.arrays[one]) if one in self.arrays else 0 for one in slots]
