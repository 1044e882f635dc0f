"""Contiguous arrays on a GPU, described in a microsecond: those of calls that are repeated.

What is anything else is None here, and looked at with care by :mod:`.gpu`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from . import gpu
from .operands import NUMBERS, Family

# Bytes of a number.
SIZES = {kind: 2 if kind == "bfloat16" else np.dtype(kind).itemsize for kind in NUMBERS}
# Address, shape, kind, device, whether it is read-only, stream; -1: that of its library. A tuple
# of names would take 0.2 us longer.
Plain: TypeAlias = tuple[int, tuple[int, ...], str, int, bool, int]


def plain(given: Any) -> Plain | None:
    """What a contiguous array on a GPU is; None for anything else."""
    try:
        read = _readers[type(given)]
    except KeyError:
        read = _readers[type(given)] = _reader_of(type(given))
    return None if read is None else read(given)


_readers: dict[type, Callable[[Any], Plain | None] | None] = {np.ndarray: None}


def _reader_of(cls: type) -> Callable[[Any], Plain | None] | None:
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and issubclass(cls, torch.Tensor):
        return _of_torch if cls in (torch.Tensor, torch.nn.Parameter) else None
    if cupy is not None and cls is cupy.ndarray:
        return _of_cupy
    if cls.__module__.partition(".")[0] in ("cupy", "jax", "jaxlib", "numpy"):
        return None
    return _described if hasattr(cls, "__cuda_array_interface__") else None


def _of_torch(tensor: Any) -> Plain | None:
    if not tensor.is_cuda or tensor.layout is not sys.modules["torch"].strided:
        return None
    if tensor.is_neg() or not tensor.is_contiguous():
        return None
    kind = gpu.torch_name(tensor.dtype)
    if kind not in NUMBERS:
        return None
    return tensor.data_ptr(), tensor.shape, kind, tensor.get_device(), False, -1


def _of_cupy(array: Any) -> Plain | None:
    kind = gpu.text_of(array.dtype)
    if kind not in NUMBERS or not array.flags.c_contiguous:
        return None
    return array.data.ptr, array.shape, kind, array.device.id, False, -1


def _described(given: Any) -> Plain | None:
    interface = given.__cuda_array_interface__
    if interface.get("mask") is not None:
        return None
    kind = gpu.kind_of(given, interface)
    if kind not in NUMBERS:
        return None
    shape, strides = tuple(interface["shape"]), interface.get("strides")
    if strides is not None and not _contiguous(shape, strides, SIZES[kind]):
        return None
    address, read_only = interface["data"]
    own = interface.get("stream")
    stream = 0 if own in (None, 1) else int(own)  # 1 stands for the default stream
    device = gpu.device_of(address or 0)
    return address, shape, kind, device, read_only, stream


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...], step: int) -> bool:
    for length, stride in zip(reversed(shape), reversed(strides)):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def family(given: Any, device: int) -> Family:
    """The library of such an array."""
    read = _readers[type(given)]
    if read is _of_torch:
        return gpu.torch_gpu(device)
    return gpu.cupy_gpu(device) if read is _of_cupy else gpu.numba_gpu(device)
