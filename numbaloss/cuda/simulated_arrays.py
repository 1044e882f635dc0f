"""Memory in the simulator of a GPU, which is the host's: arrays, and what kernels may touch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class SimulatedArray:
    """What the simulator has in the place of an array on a GPU."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype, self.nbytes = array, array.dtype, array.nbytes

    def __getitem__(self, where: Any) -> SimulatedArray:
        return SimulatedArray(self.array[where])

    def __setitem__(self, where: Any, value: Any) -> None:
        self.array[where] = value

    def copy_to_host(self, target: np.ndarray | None = None, stream: Any = 0) -> np.ndarray:
        """A copy in NumPy."""
        if target is None:
            return self.array.copy()
        target[...] = self.array
        return target

    def copy_to_device(self, source: np.ndarray, stream: Any = 0) -> None:
        """Fill the array."""
        self.array[...] = source

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = dict(self.array.__array_interface__)
        return {**described, "strides": self.array.strides, "version": 3, "stream": None}


def simulated_view(given: Any) -> np.ndarray:
    """What the simulator's arrays are made of."""
    return np.asarray(_Described(given.__cuda_array_interface__))


class _Described:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


# What kernels may touch, so that an access out of bounds is an error.
_allowed: list[tuple[int, int]] = []


@contextmanager
def accessible(*extents: tuple[int, int]) -> Iterator[None]:
    """Let simulated kernels touch these stretches of memory, from address to address."""
    _allowed.extend(extents)
    try:
        yield
    finally:
        del _allowed[len(_allowed) - len(extents) :]


_CTYPES: dict[np.dtype, Any] = {
    np.dtype(name): getattr(ctypes, f"c_{short}")
    for name, short in (
        *(
            (f"{sign}int{bits}", f"{sign}int{bits}")
            for sign in ("", "u")
            for bits in (8, 16, 32, 64)
        ),
        ("float32", "float"),
        ("float64", "double"),
    )
}


def simulated_cell(where: int, dtype: Any) -> Any:
    """The number at an address of simulated memory."""
    dtype = np.dtype(dtype)
    end = where + dtype.itemsize
    if not any(low <= where and end <= high for low, high in _allowed):
        raise IndexError(f"a kernel reaches out of bounds: {dtype} at {where:#x}")
    return _CTYPES[dtype].from_address(where)
