"""Arrays of every kind that callers bring: recognised, checked, and made for results."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np

from .. import misuse
from . import gpu
from .operands import FLOATS, NO_LABEL, NUMBERS, Family, Operand, gpu_view, numbers

__all__ = [
    "FLOATS", "NO_LABEL", "NUMBERS", "Family", "Operand", "gpu_view", "host_view", "numbers",
    "on_host", "operand", "output",
]  # fmt: skip


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
            return gpu.of_torch(given, name)
        return _torch_operand(given, name), TORCH
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(given, jax.Array):
        misuse.refuse_tracer(given, name)
        devices = list(given.devices())
        if [device.platform for device in devices] == ["gpu"]:
            return gpu.of_jax(given, name, devices[0])
        platforms = {device.platform for device in devices}
        if platforms != {"cpu"}:
            raise _elsewhere(name, f"{len(devices)} devices ({', '.join(sorted(platforms))})")
        return _numpy_operand(np.asarray(given), name), JAX
    if hasattr(given, "__cuda_array_interface__"):
        return gpu.described(given, name)
    if hasattr(given, "__dlpack_device__") and not hasattr(given, "__array__"):
        kind, device = given.__dlpack_device__()
        if kind in (2, 13):  # CUDA's own memory, and what it moves to and fro itself
            return gpu.exchanged(given, name, device)
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


def host_view(given: Any, whole: bool = False) -> tuple[np.ndarray, Family] | None:
    """An array of the host as NumPy's, and whose it is; None where :func:`operand` has to ask more.

    Of arrays as they come most often, in 0.2 to 2 us where :func:`operand` takes up to 10.
    ``whole`` says that integers of lists stay integers.
    """
    kind = type(given)
    if kind is np.ndarray:
        return given, NUMPY
    if kind is list or kind is tuple:
        try:
            array = np.asarray(given)
        except ValueError:
            return None
        return array if whole or array.dtype.kind not in "iub" else array.astype(np.float64), NUMPY
    modules = sys.modules
    torch = modules.get("torch")
    if torch is not None and (kind is torch.Tensor or kind is torch.nn.Parameter):
        strided = given.layout is torch.strided and given.dtype in _known_to_numpy(torch)
        if not strided or not given.is_cpu or given.is_neg() or _traced(torch):
            return None
        return (given.detach() if given.requires_grad else given).numpy(), TORCH
    pandas = modules.get("pandas")
    if pandas is not None and (kind is pandas.Series or kind is pandas.DataFrame):
        return given.to_numpy(), NUMPY  # by `np.asarray` it takes 8 us longer
    jax = modules.get("jax")
    if jax is not None and isinstance(given, jax.Array) and not isinstance(given, jax.core.Tracer):
        if any(device.platform != "cpu" for device in given.devices()):
            return None
        return np.asarray(given), JAX
    return None


# The dtypes of tensors that become NumPy's.
TORCH_NUMBERS = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool",
)  # fmt: skip


@lru_cache
def _known_to_numpy(torch: Any) -> frozenset[Any]:
    return frozenset(getattr(torch, name) for name in TORCH_NUMBERS)


def _traced(torch: Any) -> bool:
    """Whether PyTorch hands what is done to tensors to somebody else."""
    return bool(torch._C._len_torch_dispatch_stack())


def on_host(given: Any) -> Any:
    """A copy in NumPy of an array on a GPU; anything else as it is."""
    if given is None:
        return None
    view, family = operand(given, "array")
    return given if view.device is None else family.to_host(given)


def output(given: Any, name: str, made: bool = False) -> Operand:
    """View an array that results are written to.

    ``made`` says that the library has just made it: an array of JAX, which is for reading, may be
    written to as long as nobody else has seen it.

    Raises
    ------
    TypeError
        For what cannot be written to: a list, a NumPy scalar, a caller's array of JAX.
    """
    view, family = operand(given, name)
    if (family.name == "jax" and not made) or (
        family is NUMPY and not isinstance(given, np.ndarray)
    ):
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


# From so many bytes on NumPy asks for pages of 2 MiB.
_LARGE = 1 << 22


def _torch_empty(like: Any, dtype: str | None) -> Any:
    """An uninitialised tensor like another on the CPU.

    Large ones lie in memory of NumPy's: PyTorch's comes in pages of 4 KiB, which take three times
    as long to arrive as a gradient takes to be computed.
    """
    if like.numel() * 4 < _LARGE:
        return gpu.torch_empty(like, dtype)
    torch = sys.modules["torch"]
    view, half = _torch_operand(like, "array").array, dtype is None and like.dtype == torch.bfloat16
    made = torch.from_numpy(np.empty_like(view, np.int16 if half else dtype, subok=False))
    return made.view(torch.bfloat16) if half else made


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
