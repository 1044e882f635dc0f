"""Arrays on GPUs: viewed where they lie, and made for results.

Their libraries are never imported here: who brings an array has one.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np

from .. import engines, misuse
from .operands import NUMBERS, Family, Operand, gpu_view, numbers


def _as_it_is(given: Any, result: Any) -> Any:
    """What was computed is what the caller gets."""
    return result


def of_torch(tensor: Any, name: str) -> tuple[Operand, Family]:
    """View of a tensor of PyTorch."""
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is a {tensor.layout} tensor; expected a dense one")
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    size, device = tensor.element_size(), tensor.device.index
    view = gpu_view(
        tensor.data_ptr(),
        tuple(tensor.shape),
        tuple(size * step for step in tensor.stride()),
        torch_name(tensor.dtype),
        False,
        device,
        name,
    )
    return view, torch_gpu(device)


torch_name = lru_cache(lambda dtype: str(dtype).removeprefix("torch."))


def torch_empty(like: Any, dtype: str | None) -> Any:
    """An uninitialised tensor like another, wherever that is."""
    torch = sys.modules["torch"]
    return torch.empty_like(like.detach(), dtype=getattr(torch, dtype) if dtype else None)


@lru_cache
def torch_gpu(device: int) -> Family:
    """Tensors of PyTorch on a GPU."""
    torch = sys.modules["torch"]

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.empty(shape, dtype=getattr(torch, dtype), device=f"cuda:{device}")

    return Family(
        "torch",
        torch_empty,
        empty,
        _as_it_is,
        lambda _: int(torch.cuda.current_stream(device).cuda_stream),
        _torch_to_host,
    )


def _torch_to_host(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    # NumPy has no bfloat16, whose numbers are float32 numbers too.
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).cpu().numpy()


text_of = lru_cache(str)  # as slow as dtype.name


def kind_of(given: Any, interface: dict[str, Any]) -> str:
    """The dtype of an array with ``__cuda_array_interface__``, by its name.

    Types that are none of NumPy's have no string of their own there: bfloat16 is two bytes, as
    ``ml_dtypes`` and PyTorch have it.
    """
    kind = text_of(getattr(given, "dtype", ""))
    return kind if kind in NUMBERS else _kind_of_text(interface["typestr"])


@lru_cache
def _kind_of_text(typestr: str) -> str:
    if typestr[-2:] == "V2":
        return "bfloat16"
    dtype = np.dtype(typestr)
    return dtype.name if dtype.isnative else typestr


def described(given: Any, name: str) -> tuple[Operand, Family]:
    """View of an array with ``__cuda_array_interface__``."""
    interface = given.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise misuse.masked(name, valid=True)
    address, read_only = interface["data"]
    kind = kind_of(given, interface)
    if kind not in NUMBERS and not np.dtype(interface["typestr"]).isnative:
        raise TypeError(f"{name} is not in the byte order of the machine; convert it")
    library = type(given).__module__.partition(".")[0]
    if library == "cupy":
        device, family = given.device.id, cupy_gpu(given.device.id)
    else:
        device = device_of(address or 0)
        family = numba_gpu(device)
    strides = interface.get("strides")
    shape = tuple(interface["shape"])
    return gpu_view(address, shape, strides, kind, read_only, device, name), family


@lru_cache
def cupy_gpu(device: int) -> Family:
    """Arrays of CuPy on a GPU."""
    cupy = sys.modules["cupy"]

    def empty_like(like: Any, dtype: str | None) -> Any:
        with cupy.cuda.Device(device):
            return cupy.empty_like(like, dtype=dtype)

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        with cupy.cuda.Device(device):
            return cupy.empty(shape, dtype)

    return Family(
        "cupy",
        empty_like,
        empty,
        _as_it_is,
        lambda _: int(cupy.cuda.get_current_stream(device).ptr),
        lambda given: given.get(),
    )


@lru_cache
def numba_gpu(device: int) -> Family:
    """Arrays of Numba; and of whatever else has the interface: its results are Numba's."""
    backend = _backend()

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        with backend.on_device(device):
            return backend.empty(shape, np.dtype(np.uint16 if dtype == "bfloat16" else dtype))

    def empty_like(like: Any, dtype: str | None) -> Any:
        interface = like.__cuda_array_interface__
        return empty(tuple(interface["shape"]), dtype or kind_of(like, interface))

    def stream(given: Any) -> int:
        own = given.__cuda_array_interface__.get("stream")
        return 0 if own in (None, 1) else int(own)  # 1 stands for the default stream

    def to_host(given: Any) -> np.ndarray:
        return _numbers_on_host(described(given, "array")[0], given)

    return Family("numba", empty_like, empty, _as_it_is, stream, to_host)


def _numbers_on_host(view: Operand, given: Any) -> np.ndarray:
    """A copy on the host of an array with the interface, of which there is a view."""
    found = _backend().host_copy(given) if view.array.size else view.array
    # NumPy has no bfloat16, whose numbers are float32 numbers too.
    return numbers(view, found.view(np.uint16) if view.kind == "bfloat16" else found)


def of_jax(given: Any, name: str, device: Any) -> tuple[Operand, Family]:
    """View of an array of JAX on one of its devices."""
    given.block_until_ready()  # JAX's streams are its own
    address, number = given.unsafe_buffer_pointer(), device.local_hardware_id
    view = gpu_view(address, tuple(given.shape), None, str(given.dtype), False, number, name)
    return view, jax_gpu(device)


@lru_cache
def jax_gpu(device: Any) -> Family:
    numpy = sys.modules["jax"].numpy

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        # An array that nobody else has seen yet: it may be written to.
        found = numpy.zeros(shape, dtype, device=device).block_until_ready()
        if str(found.dtype) != dtype:  # a smaller one, which a kernel would write beyond
            raise TypeError(f"JAX makes no arrays of {dtype} where jax_enable_x64 is off")
        return found

    def empty_like(like: Any, dtype: str | None) -> Any:
        return empty(tuple(like.shape), dtype or str(like.dtype))

    return Family("jax", empty_like, empty, _as_it_is, to_host=np.asarray, waits=True)


def view_of(given: Any) -> Any:
    """What DLPack says of an array: address, shape, strides in elements, dtype."""
    return _backend().exchanged(given)


def exchanged(given: Any, name: str, device: int) -> tuple[Operand, Family]:
    """View of an array that has nothing but DLPack."""
    view = view_of(given)
    item = view.dtype.itemsize
    strides = None if view.strides is None else tuple(item * step for step in view.strides)
    kind, shape = str(view.dtype), tuple(view.shape)
    found = gpu_view(view.ptr, shape, strides, kind, view.readonly, device, name)
    return found, of_exchanged(given, device)


def of_exchanged(given: Any, device: int) -> Family:
    """The library of an array that has nothing but DLPack."""
    if hasattr(given, "__array_namespace__"):
        return _of_namespace(given.__array_namespace__(), given.device)
    return _exchanged_gpu(device)


@lru_cache
def _exchanged_gpu(device: int) -> Family:
    """Arrays that do not tell how to make others: results are Numba's."""
    empty = numba_gpu(device).empty

    def empty_like(like: Any, dtype: str | None) -> Any:
        view, _ = exchanged(like, "array", device)
        return empty(view.array.shape, dtype or view.kind)

    # Nobody knows which stream the results will be read on: they are there when a call returns.
    return Family("numba", empty_like, empty, _as_it_is, to_host=_exchanged_to_host, waits=True)


def _of_namespace(namespace: Any, device: Any) -> Family:
    """Arrays of a library of the array API standard, whose functions make the results."""

    def empty_like(like: Any, dtype: str | None) -> Any:
        return namespace.empty_like(like, dtype=getattr(namespace, dtype) if dtype else None)

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return namespace.empty(shape, dtype=getattr(namespace, dtype), device=device)

    return Family("dlpack", empty_like, empty, _as_it_is, to_host=_exchanged_to_host, waits=True)


def _exchanged_to_host(given: Any) -> np.ndarray:
    view, _ = exchanged(given, "array", given.__dlpack_device__()[1])
    return _numbers_on_host(view, Described(view, given))


class Described:
    """An array on a GPU by the interface that its libraries read.

    Halves that NumPy does not know are shown as their bits.
    """

    def __init__(self, view: Operand, owner: Any) -> None:
        self.owner = owner
        array = view.array
        # An array without elements has no address of the GPU's.
        address = array.ctypes.data if array.size else 0
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": array.shape,
            "strides": array.strides,
            "typestr": "<i2" if view.kind == "bfloat16" else array.dtype.str,
            "version": 3,
            "stream": None,
        }


def device_of(address: int) -> int:
    """The number of the GPU that an address belongs to."""
    return int(_backend().device_of(address))


def _backend() -> Any:
    return engines.module("cuda", "backend")  # which imports Numba's CUDA target
