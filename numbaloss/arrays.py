"""Arrays of every kind that callers bring: recognised, checked, and made for results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
NUMBERS = frozenset(
    (*FLOATS, "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)


class Operand(NamedTuple):
    """A NumPy view of somebody's array.

    ``kind`` names the dtype. NumPy has no bfloat16 of its own; such arrays come as uint16.
    """

    array: np.ndarray
    kind: str
    # The dimensions it came with, where it was spread over more.
    dimensions: int | None = None

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


def operand(given: Any, name: str) -> tuple[Operand, Family]:
    """View ``given`` as a NumPy array, without a copy where it is an array already.

    Raises
    ------
    TypeError
        For what is not an array of real numbers.
    RuntimeError
        For an array on a GPU.
    """
    if isinstance(given, np.ndarray):
        if isinstance(given, np.ma.MaskedArray):
            raise TypeError(
                f"{name} is a masked array; pass a plain one, and the mask as sample_weight"
            )
        return _numpy_operand(np.asarray(given), name), NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _torch_operand(given, name), TORCH
    if hasattr(given, "__cuda_array_interface__"):
        raise _on_gpu(name, "GPU")
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(given, jax.Array):
        platforms = {device.platform for device in given.devices()}
        if platforms != {"cpu"}:
            raise _on_gpu(name, ", ".join(sorted(platforms)))
        return _numpy_operand(np.asarray(given), name), JAX
    if hasattr(given, "__dlpack_device__") and not hasattr(given, "__array__"):
        if given.__dlpack_device__()[0] not in (1, 3):  # plain and pinned host memory
            raise _on_gpu(name, "another device")
        family = DLPACK if hasattr(given, "__array_namespace__") else NUMPY
        return _numpy_operand(np.from_dlpack(given), name), family
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise TypeError(f"{name} cannot be made an array: {error}") from None
    if array.dtype.kind in "iub" and not hasattr(given, "__array__"):
        array = array.astype(np.float64)
    return _numpy_operand(array, name), NUMPY


def output(given: Any, name: str) -> Operand:
    """View an array that results are written to.

    Raises
    ------
    TypeError
        For what cannot be written to: a list, a NumPy scalar, an array of JAX.
    """
    view, family = operand(given, name)
    if family is JAX or (family is NUMPY and not isinstance(given, np.ndarray)):
        raise TypeError(f"{name} must be an array that can be written to, not {type(given)}")
    return view


def _on_gpu(name: str, place: str) -> RuntimeError:
    return RuntimeError(
        f"{name} lives on a {place}; this version of numbaloss has CPU kernels only. "
        f"Copy it to the host first"
    )


_NATIVE_BITS = np.dtype(np.uint16)
_name_of = lru_cache(lambda dtype: dtype.name)  # dtype.name takes 1 us, a look-up 0.1


def _numpy_operand(array: np.ndarray, name: str) -> Operand:
    kind = _name_of(array.dtype)
    if kind == "bfloat16":
        bits = _NATIVE_BITS if array.dtype.isnative else _NATIVE_BITS.newbyteorder()
        return Operand(array.view(bits), kind)
    if kind not in NUMBERS:
        raise TypeError(f"{name} has dtype {array.dtype}; expected real numbers up to float64")
    return Operand(array, kind)


def _torch_operand(tensor: Any, name: str) -> Operand:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise _on_gpu(name, tensor.device.type)
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


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays share memory; arrays too intricate to tell count as sharing."""
    if not np.may_share_memory(one, other):
        return False
    try:
        return bool(np.shares_memory(one, other, max_work=10_000))  # type: ignore[arg-type]
    except (ValueError, RuntimeError):  # numpy.exceptions.TooHardError is a RuntimeError
        return True


def same_memory(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are one: same place, same layout, same size of elements."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.shape == other.shape
        and one.strides == other.strides
        and one.itemsize == other.itemsize
    )
