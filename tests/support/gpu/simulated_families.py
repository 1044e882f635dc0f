"""Arrays in the simulator that pass for those of JAX, and for ones that know nothing but DLPack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from tests.support.gpu.checks.common import Library

KINDS = ("float32", "float64", "float16", "bfloat16")


def _named(dtype: Any) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if str(dtype) == "bfloat16" else dtype)


class OfJax:
    """What the library asks of an array of JAX on a GPU."""

    def __init__(self, array: np.ndarray, device: Any) -> None:
        self._array, self._device = array, device
        self.shape, self.dtype = array.shape, array.dtype

    def devices(self) -> set[Any]:
        return {self._device}

    def block_until_ready(self) -> OfJax:
        return self

    def unsafe_buffer_pointer(self) -> int:
        return self._array.ctypes.data

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array.copy()


class _Few(Library):
    """Arrays that a simulated kernel takes."""

    sizes = (1, 33)
    thorough = False
    products_of = ("float32", "float64", "float16")

    def number(self, value: Any) -> float:
        described = mock.Mock(__array_interface__=dict(value.__cuda_array_interface__))
        return float(np.asarray(described))


class Jax(_Few):
    """Arrays that pass for JAX's."""

    def __init__(self) -> None:
        self.device = _Device()

    def put(self, array: np.ndarray) -> Any:
        return OfJax(array.copy(order="C"), self.device)

    def get(self, given: Any, kind: str) -> np.ndarray:
        return given._array.copy()

    def is_result(self, given: Any, kind: str) -> bool:
        return type(given) is OfJax and given.dtype == _named(kind)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """With a module ``jax``, whose zeros are NaN until somebody writes to them."""

        def zeros(shape: tuple[int, ...], dtype: str, device: Any) -> OfJax:
            return OfJax(np.full(shape, np.nan, _named(dtype)), device)

        module = SimpleNamespace(
            Array=OfJax,
            core=SimpleNamespace(Tracer=type("Tracer", (), {})),
            numpy=SimpleNamespace(zeros=zeros),
        )
        sys.modules["jax"] = module  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules["jax"]


class _Device:
    platform, local_hardware_id = "gpu", 0


class Exchanged:
    """An array that knows nothing but DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        raise AssertionError("the simulator has no DLPack")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class OfNamespace(Exchanged):
    """The same of a library of the array API standard."""

    device = "gpu"

    def __array_namespace__(self) -> Any:
        def empty(shape: tuple[int, ...], *, dtype: Any, device: str) -> OfNamespace:
            assert device == "gpu"
            return OfNamespace(np.empty(shape, dtype))

        def empty_like(like: OfNamespace, *, dtype: Any = None) -> OfNamespace:
            return OfNamespace(np.empty_like(like.array, dtype=dtype))

        dtypes = {kind: _named(kind) for kind in KINDS}
        return SimpleNamespace(empty=empty, empty_like=empty_like, **dtypes)


class DLPack(_Few):
    """Arrays that are exchanged, with a namespace of their own or without."""

    def __init__(self, kind: type[Exchanged]) -> None:
        self.kind = kind

    def put(self, array: np.ndarray) -> Any:
        return self.kind(array.copy())

    def get(self, given: Any, kind: str) -> np.ndarray:
        return given.array.view(_named(kind)).copy()

    def is_result(self, given: Any, kind: str) -> bool:
        from numbaloss.cuda.simulated_arrays import SimulatedArray

        if self.kind is OfNamespace:
            return type(given) is OfNamespace and given.array.dtype == _named(kind)
        dtype = "uint16" if kind == "bfloat16" else kind
        return type(given) is SimulatedArray and given.dtype == dtype

    @contextmanager
    def installed(self) -> Iterator[None]:
        """With what reads them."""
        from numbaloss.cuda import backend

        def exchanged(given: Exchanged) -> Any:
            array = given.array
            steps = tuple(step // array.itemsize for step in array.strides)
            return SimpleNamespace(
                ptr=array.ctypes.data,
                shape=array.shape,
                strides=None if array.flags.c_contiguous else steps,
                dtype=array.dtype,
                readonly=False,
            )

        with mock.patch.object(backend, "exchanged", exchanged):
            yield
