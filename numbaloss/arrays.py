"""Arrays of every kind that callers bring: recognised, checked, and made for results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import misuse

FLOATS = ("float16", "bfloat16", "float32", "float64")
NUMBERS = frozenset(
    (*FLOATS, "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)


# What an unsigned label beyond int64 is read as: no class has it, and nobody ignores it.
NO_LABEL = -(2**63) + 1


class Operand(NamedTuple):
    """A NumPy view of somebody's array.

    ``kind`` names the dtype. NumPy has no bfloat16 of its own; such arrays come as uint16.
    """

    array: np.ndarray
    kind: str
    # The dimensions it came with, where it was spread over more.
    dimensions: int | None = None
    # The number of the GPU it lives on. ``array`` then tells shape, strides and addresses, and
    # must not be read: its memory is the GPU's.
    device: int | None = None
    # Where the last axis, that of the classes, was in the caller's array, if elsewhere.
    axis: int | None = None

    @property
    def place(self) -> str:
        """Where it lives, for messages."""
        return "the CPU" if self.device is None else f"cuda:{self.device}"

    @property
    def swapped(self) -> bool:
        """Whether the bytes of an element are in the other machine's order."""
        return not self.array.dtype.isnative

    @property
    def compute(self) -> str:
        """The type that kernels compute in: half precisions are widened."""
        return "float64" if self.kind == "float64" else "float32"

    def direct(self, real: str) -> bool:
        """Whether elements can be used where they lie by code that computes in ``real``."""
        return self.kind == real and not self.swapped and self.array.flags.aligned


def numbers(operand: Operand, elements: np.ndarray) -> np.ndarray:
    """Elements of an operand as numbers of a NumPy dtype."""
    if operand.kind == "bfloat16":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements


class Family(NamedTuple):
    """The library an array came from: how to make another one of it."""

    name: str
    # Makes an uninitialised array like a given one, with another dtype where named.
    empty_like: Callable[[Any, str | None], Any]
    # Makes one of a shape and a dtype.
    empty: Callable[[tuple[int, ...], str], Any]
    # Turns what was computed into a NumPy array into what the caller gets.
    finish: Callable[[Any, np.ndarray], Any]
    # Of arrays on a GPU: the stream that its owner works on, and a copy of one on the host.
    stream: Callable[[Any], int] = lambda given: 0
    to_host: Callable[[Any], np.ndarray] = np.asarray
    # Whether its owner does not know of streams: results must be there when they are handed out.
    waits: bool = False


def operand(given: Any, name: str) -> tuple[Operand, Family]:
    """View ``given`` as a NumPy array, without a copy where it is an array already.

    Raises
    ------
    TypeError
        For what is not an array of real numbers.
    RuntimeError
        For an array on a device that is neither the CPU nor a CUDA GPU, or on several.
    """
    if isinstance(given, np.ndarray):
        if isinstance(given, np.ma.MaskedArray):
            raise misuse.masked(name)
        return _numpy_operand(np.asarray(given), name), NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        if given.device.type == "cuda":
            return _torch_gpu_operand(given, name)
        return _torch_operand(given, name), TORCH
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(given, jax.Array):
        misuse.refuse_tracer(given, name)
        devices = list(given.devices())
        if [device.platform for device in devices] == ["gpu"]:
            return _jax_gpu_operand(given, name, devices[0].local_hardware_id)
        platforms = {device.platform for device in devices}
        if platforms != {"cpu"}:
            raise _elsewhere(name, f"{len(devices)} devices ({', '.join(sorted(platforms))})")
        return _numpy_operand(np.asarray(given), name), JAX
    if hasattr(given, "__cuda_array_interface__"):
        return _described_operand(given, name)
    if hasattr(given, "__dlpack_device__") and not hasattr(given, "__array__"):
        kind, device = given.__dlpack_device__()
        if kind == 2:  # CUDA's own memory
            return _exchanged_operand(given, name, device)
        if kind not in (1, 3):  # plain and pinned host memory
            raise _elsewhere(name, "another device")
        family = DLPACK if hasattr(given, "__array_namespace__") else NUMPY
        return _numpy_operand(np.from_dlpack(given), name), family
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise TypeError(f"{name} cannot be made an array: {error}") from None
    if array.dtype.kind in "iub" and not hasattr(given, "__array__"):
        array = array.astype(np.float64)
    return _numpy_operand(array, name), NUMPY


def on_host(given: Any) -> Any:
    """A copy in NumPy of an array on a GPU; anything else as it is."""
    if given is None:
        return None
    view, family = operand(given, "array")
    return given if view.device is None else family.to_host(given)


def output(given: Any, name: str) -> Operand:
    """View an array that results are written to.

    Raises
    ------
    TypeError
        For what cannot be written to: a list, a NumPy scalar, an array of JAX.
    """
    view, family = operand(given, name)
    if family.name == "jax" or (family is NUMPY and not isinstance(given, np.ndarray)):
        raise TypeError(f"{name} must be an array that can be written to, not {type(given)}")
    return view


def _elsewhere(name: str, place: str) -> RuntimeError:
    return RuntimeError(
        f"{name} lives on {place}; numbaloss computes on the CPU and on CUDA GPUs. Copy it there"
    )


_NATIVE_BITS = np.dtype(np.uint16)
_name_of = lru_cache(lambda dtype: dtype.name)  # dtype.name takes 1 us, a look-up 0.1


def _numpy_operand(array: np.ndarray, name: str) -> Operand:
    kind = _name_of(array.dtype)
    if kind == "bfloat16":
        bits = _NATIVE_BITS if array.dtype.isnative else _NATIVE_BITS.newbyteorder()
        return Operand(array.view(bits), kind)
    if kind not in NUMBERS:
        raise misuse.no_numbers(array, name)
    return Operand(array, kind)


def _torch_operand(tensor: Any, name: str) -> Operand:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise _elsewhere(name, tensor.device.type)
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is a {tensor.layout} tensor; expected a dense one")
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return Operand(tensor.view(torch.int16).numpy().view(np.uint16), "bfloat16")
    return _numpy_operand(tensor.resolve_neg().numpy(), name)


def _numpy_empty(like: np.ndarray, dtype: str | None) -> np.ndarray:
    return np.empty_like(like, dtype=dtype, subok=False)


def _torch_empty(like: Any, dtype: str | None) -> Any:
    torch = sys.modules["torch"]
    return torch.empty_like(like.detach(), dtype=getattr(torch, dtype) if dtype else None)


def _torch_of(shape: tuple[int, ...], dtype: str) -> Any:
    torch = sys.modules["torch"]
    return torch.empty(shape, dtype=getattr(torch, dtype))


def _jax_finish(like: Any, array: np.ndarray) -> Any:
    return sys.modules["jax"].numpy.asarray(array)


def _dlpack_finish(like: Any, array: np.ndarray) -> Any:
    return like.__array_namespace__().from_dlpack(array)


NUMPY = Family(
    "numpy", lambda like, dtype: _numpy_empty(np.asarray(like), dtype), np.empty, lambda _, a: a
)
TORCH = Family("torch", _torch_empty, _torch_of, lambda _, result: result)
JAX = Family("jax", NUMPY.empty_like, NUMPY.empty, _jax_finish)
DLPACK = Family(
    "dlpack",
    lambda like, dtype: _numpy_empty(np.from_dlpack(like), dtype),
    NUMPY.empty,
    _dlpack_finish,
)


# Arrays on GPUs. Their libraries are never imported here: who brings an array has one.


class _Interface:
    """What NumPy asks to make a view: an address, which it does not touch."""

    __array_interface__: dict[str, Any]


def gpu_view(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    kind: str,
    read_only: bool,
    device: int,
    name: str,
) -> Operand:
    """View of memory of a GPU as an array, C contiguous where there are no strides."""
    dtype = _GPU_DTYPES.get(kind)
    if dtype is None:
        raise TypeError(f"{name} has dtype {kind}; expected real numbers up to float64")
    if 0 in shape:
        return Operand(np.empty(shape, dtype), kind, device=device)
    described = _Interface()
    described.__array_interface__ = {
        "data": (address, read_only),
        "shape": shape,
        "strides": strides,
        "typestr": dtype.str,
        "version": 3,
    }
    view = np.asarray(described)
    size = dtype.itemsize
    if address % size or (strides is not None and any(step % size for step in strides)):
        raise ValueError(f"{name} is not aligned, which GPUs cannot read; copy it")
    return Operand(view, kind, None, device)


_GPU_DTYPES = {
    kind: np.dtype(np.uint16 if kind == "bfloat16" else kind) for kind in sorted(NUMBERS)
}


def _torch_gpu_operand(tensor: Any, name: str) -> tuple[Operand, Family]:
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
        _torch_name(tensor.dtype),
        False,
        device,
        name,
    )
    return view, _torch_gpu(device)


_torch_name = lru_cache(lambda dtype: str(dtype).removeprefix("torch."))


@lru_cache
def _torch_gpu(device: int) -> Family:
    torch = sys.modules["torch"]

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.empty(shape, dtype=getattr(torch, dtype), device=f"cuda:{device}")

    return Family(
        "torch",
        _torch_empty,
        empty,
        lambda _, result: result,
        lambda _: int(torch.cuda.current_stream(device).cuda_stream),
        _torch_to_host,
    )


def _torch_to_host(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    # NumPy has no bfloat16, whose numbers are float32 numbers too.
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).cpu().numpy()


_text_of = lru_cache(str)  # as slow as dtype.name


def _described_operand(given: Any, name: str) -> tuple[Operand, Family]:
    """View of an array that says where it is by ``__cuda_array_interface__``."""
    described = given.__cuda_array_interface__
    if described.get("mask") is not None:
        raise misuse.masked(name, valid=True)
    address, read_only = described["data"]
    # Types that are none of NumPy's, such as bfloat16, have no string of their own there.
    kind = _text_of(getattr(given, "dtype", ""))
    if kind not in NUMBERS:
        dtype = np.dtype(described["typestr"])
        if not dtype.isnative:
            raise TypeError(f"{name} is not in the byte order of the machine; convert it")
        kind = dtype.name
    library = type(given).__module__.partition(".")[0]
    if library == "cupy":
        device, family = given.device.id, _cupy_gpu(given.device.id)
    else:
        device = _backend().device_of(address or 0)
        family = _numba_gpu(device)
    strides = described.get("strides")
    shape = tuple(described["shape"])
    return gpu_view(address, shape, strides, kind, read_only, device, name), family


@lru_cache
def _cupy_gpu(device: int) -> Family:
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
        lambda _, result: result,
        lambda _: int(cupy.cuda.get_current_stream(device).ptr),
        lambda given: given.get(),
    )


@lru_cache
def _numba_gpu(device: int) -> Family:
    """Arrays of Numba; and of whatever else has the interface: its results are Numba's."""
    backend = _backend()

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        with backend.on_device(device):
            return backend.empty(shape, np.dtype(np.uint16 if dtype == "bfloat16" else dtype))

    def empty_like(like: Any, dtype: str | None) -> Any:
        described = like.__cuda_array_interface__
        kind = dtype or _text_of(getattr(like, "dtype", ""))
        kind = kind if kind in NUMBERS else np.dtype(described["typestr"]).name
        return empty(tuple(described["shape"]), kind)

    def stream(given: Any) -> int:
        own = given.__cuda_array_interface__.get("stream")
        return 0 if own in (None, 1) else int(own)  # 1 stands for the default stream

    return Family("numba", empty_like, empty, lambda _, result: result, stream, backend.host_copy)


def _jax_gpu_operand(given: Any, name: str, device: int) -> tuple[Operand, Family]:
    given.block_until_ready()  # JAX's streams are its own
    address = given.unsafe_buffer_pointer()
    view = gpu_view(address, tuple(given.shape), None, str(given.dtype), False, device, name)
    return view, JAX_GPU


def _jax_gpu_empty_like(like: Any, dtype: str | None) -> Any:
    # An array that nobody else has seen yet: it may be written to.
    jax = sys.modules["jax"]
    return jax.numpy.zeros_like(like, dtype=dtype).block_until_ready()


def _jax_gpu_empty(shape: tuple[int, ...], dtype: str) -> Any:
    return sys.modules["jax"].numpy.zeros(shape, dtype).block_until_ready()


def _exchanged_operand(given: Any, name: str, device: int) -> tuple[Operand, Family]:
    """View of an array that knows nothing but DLPack."""
    view = _backend().exchanged(given)
    item = view.dtype.itemsize
    strides = None if view.strides is None else tuple(item * step for step in view.strides)
    kind = str(view.dtype)
    operand_ = gpu_view(view.ptr, tuple(view.shape), strides, kind, view.readonly, device, name)
    if not hasattr(given, "__array_namespace__"):
        return operand_, _numba_gpu(device)
    namespace = given.__array_namespace__()

    def empty_like(like: Any, dtype: str | None) -> Any:
        return namespace.empty_like(like, dtype=getattr(namespace, dtype) if dtype else None)

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return namespace.empty(shape, dtype=getattr(namespace, dtype), device=given.device)

    def to_host(one: Any) -> np.ndarray:
        return _backend().host_copy(_Owned(one))

    return operand_, Family("dlpack", empty_like, empty, lambda _, a: a, lambda _: 0, to_host, True)


class _Owned:
    """An array of DLPack with the interface that Numba reads."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        view = _exchanged_operand(owner, "array", owner.__dlpack_device__()[1])[0].array
        self.__cuda_array_interface__ = {**view.__array_interface__, "stream": None}


@lru_cache
def _backend() -> Any:
    from .cuda import backend  # which imports Numba's CUDA target

    return backend


JAX_GPU = Family(
    "jax",
    _jax_gpu_empty_like,
    _jax_gpu_empty,
    lambda _, result: result,
    to_host=np.asarray,
    waits=True,
)
