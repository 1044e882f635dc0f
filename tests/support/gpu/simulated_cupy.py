"""Arrays in the simulator that pass for CuPy's.

They do what CuPy documents: NumPy's functions work on them as CuPy's own, on one GPU; what would
copy to the host unseen, `np.asarray` and a mix with arrays of NumPy, is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

# Functions of NumPy that CuPy has under the same name, of those that trees need.
FUNCTIONS = {np.empty_like, np.zeros_like, np.full_like, np.where, np.clip}


class ndarray(NDArrayOperatorsMixin):
    """An array of NumPy that nobody may take for one."""

    __module__ = "cupy"

    def __init__(self, array: np.ndarray) -> None:
        self.here = array
        self.shape, self.dtype, self.ndim, self.size = (
            array.shape, array.dtype, array.ndim, array.size,
        )  # fmt: skip
        self.flags = SimpleNamespace(c_contiguous=array.flags.c_contiguous)
        self.device = SimpleNamespace(id=0)
        self.data = SimpleNamespace(ptr=array.ctypes.data)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = dict(self.here.__array_interface__)
        return {**described, "strides": self.here.strides, "version": 3, "stream": 1}

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(
        self, ufunc: Any, method: str, *given: Any, out: Any = (), **more: Any
    ) -> Any:
        if method != "__call__":
            return NotImplemented
        found = getattr(ufunc, method)(
            *map(_here, given), **more, **({"out": tuple(map(_here, out))} if out else {})
        )
        return out[0] if out else ndarray(np.asarray(found))

    def __array_function__(self, function: Any, _: Any, given: Any, more: Any) -> Any:
        if function not in FUNCTIONS:
            raise TypeError(f"{function.__name__} is not among what trees need of CuPy")
        return ndarray(np.asarray(function(*map(_here, given), **more)))

    def __len__(self) -> int:
        return len(self.here)

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(np.asarray(self.here[_here(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.here[_here(index)] = _here(value)

    def __float__(self) -> float:
        return float(self.here)

    def __bool__(self) -> bool:
        return bool(self.here)

    def get(self) -> np.ndarray:
        return self.here.copy()

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return self if not copy and self.dtype == dtype else ndarray(self.here.astype(dtype))

    def fill(self, value: float) -> None:
        self.here.fill(value)


def _method(name: str) -> Any:
    def method(self: ndarray, *given: Any, **more: Any) -> ndarray:
        return ndarray(np.asarray(getattr(self.here, name)(*given, **more)))

    return method


for _name in ("all", "any", "max", "mean", "ravel", "reshape", "sum"):
    setattr(ndarray, _name, _method(_name))


def _here(given: Any) -> Any:
    if isinstance(given, np.ndarray):
        raise TypeError(f"Unsupported type {type(given)}")  # CuPy mixes with none of NumPy's
    if isinstance(given, tuple):
        return tuple(map(_here, given))
    return given.here if isinstance(given, ndarray) else given


@contextmanager
def installed() -> Iterator[Any]:
    """Let ``import cupy`` find this; its arrays."""
    cupy: Any = ModuleType("cupy")
    cupy.ndarray = ndarray
    cupy.asarray = lambda given: (
        given if isinstance(given, ndarray) else ndarray(np.array(given, order="C"))
    )
    cupy.empty = lambda shape, dtype: ndarray(np.empty(shape, dtype))
    cupy.empty_like = lambda like, dtype=None: ndarray(np.empty_like(like.here, dtype))
    cupy.cuda = SimpleNamespace(
        Device=lambda _: nullcontext(), get_current_stream=lambda _=0: SimpleNamespace(ptr=0)
    )
    assert "cupy" not in sys.modules
    sys.modules["cupy"] = cupy
    try:
        yield cupy
    finally:
        del sys.modules["cupy"]
