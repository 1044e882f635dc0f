"""Libraries that bring arrays to a real GPU: PyTorch, CuPy, Numba, JAX, and what has DLPack."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tests.support.gpu.checks.common import INTEGERS, Library


class Torch(Library):
    """Tensors of PyTorch."""

    reverses = False

    def __init__(self, device: str = "cuda") -> None:
        import torch

        self.torch, self.device = torch, device
        self.integers = tuple(kind for kind in INTEGERS if hasattr(torch, kind))

    def put(self, array: np.ndarray) -> Any:
        array = array.copy(order="C")
        if array.dtype.name == "bfloat16":
            bits = self.torch.from_numpy(array.view(np.int16))
            return bits.to(self.device).view(self.torch.bfloat16)
        return self.torch.from_numpy(array).to(self.device)

    def get(self, given: Any, kind: str) -> np.ndarray:
        if kind == "bfloat16":
            bits = given.contiguous().view(self.torch.int16).cpu().numpy()
            return bits.view(ml_dtypes.bfloat16)
        return given.cpu().numpy()

    def is_result(self, given: Any, kind: str) -> bool:
        expected = getattr(self.torch, kind)
        return (type(given), given.dtype, given.device.type) == (
            self.torch.Tensor,
            expected,
            self.device,
        )

    def transpose(self, given: Any, axes: tuple[int, ...]) -> Any:
        return given.permute(*axes)

    def number(self, value: Any) -> float:
        return float(self.torch.as_tensor(value, device=self.device))


class CuPy(Library):
    """Arrays of CuPy, which has no bfloat16."""

    kinds = ("float32", "float64", "float16")
    products_of = kinds

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy

    def put(self, array: np.ndarray) -> Any:
        return self.cupy.array(array, order="C")

    def get(self, given: Any, kind: str) -> np.ndarray:
        return given.get()

    def is_result(self, given: Any, kind: str) -> bool:
        return type(given) is self.cupy.ndarray and given.dtype == kind

    def number(self, value: Any) -> float:
        return float(self.cupy.asarray(value))


class Described:
    """An array that says where it lies on the GPU, and is no more than that.

    What it is a view of is told by an array on the host with the same shape and strides.
    """

    def __init__(self, owner: Any, start: int, host: np.ndarray, view: np.ndarray) -> None:
        self.owner, self.start, self.host, self.view = owner, start, host, view
        self.dtype = "bfloat16" if view.dtype.name == "bfloat16" else view.dtype

    def __getitem__(self, index: Any) -> Described:
        return Described(self.owner, self.start, self.host, self.view[index])

    def transpose(self, *axes: int) -> Described:
        return Described(self.owner, self.start, self.host, self.view.transpose(axes))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        offset = self.view.ctypes.data - self.host.ctypes.data if self.view.size else 0
        bits = self.view.dtype.name == "bfloat16"
        return {
            "data": (self.start + offset if self.view.size else 0, False),
            "shape": self.view.shape,
            "strides": self.view.strides,
            "typestr": "<u2" if bits else self.view.dtype.str,
            "version": 3,
            "stream": None,
        }


class Numba(Library):
    """Arrays that have Numba's interface, and results that are Numba's."""

    def put(self, array: np.ndarray) -> Any:
        from numbaloss.cuda import backend

        host = array.copy(order="C")
        if not host.size:
            return Described(None, 0, host, host)
        owner = backend.upload(host.reshape(-1).view(np.uint8))
        return Described(owner, backend.address(owner), host, host)

    def get(self, given: Any, kind: str) -> np.ndarray:
        from numbaloss.cuda import backend

        array = backend.host_copy(given)
        return array.view(ml_dtypes.bfloat16) if kind == "bfloat16" else array

    def is_result(self, given: Any, kind: str) -> bool:
        from numbaloss.cuda import backend

        made = type(backend.empty((1,), np.float32))
        return type(given) is made and given.dtype == ("uint16" if kind == "bfloat16" else kind)

    def number(self, value: Any) -> float:
        from numbaloss.cuda import backend

        return float(backend.host_copy(value))


class Exchanged:
    """An array that knows nothing but DLPack."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class DLPack(Torch):
    """Tensors of PyTorch that hide what they are; results are Numba's."""

    def put(self, array: np.ndarray) -> Any:
        return Exchanged(super().put(array))

    get, is_result = Numba.get, Numba.is_result


class Jax(Library):
    """Arrays of JAX, which are for reading: float64 only where JAX was told so."""

    kinds = ("float32", "float16", "bfloat16")
    products_of = kinds

    def __init__(self) -> None:
        import jax

        self.jax = jax

    def put(self, array: np.ndarray) -> Any:
        return self.jax.device_put(array)

    def get(self, given: Any, kind: str) -> np.ndarray:
        return np.array(given)

    def is_result(self, given: Any, kind: str) -> bool:
        return isinstance(given, self.jax.Array) and str(given.dtype) == kind

    def number(self, value: Any) -> float:
        return Numba.number(self, value)  # type: ignore[arg-type]
