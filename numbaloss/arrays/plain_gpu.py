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
# Address, shape, kind, device, whether it is read-only, stream. A tuple of names would take 0.2 us
# longer.
Plain: TypeAlias = tuple[int, tuple[int, ...], str, int, bool, int]
# Streams: the one that the array's library works on now; the default one, of a library that knows
# of none, so that results must be there when it gets them.
OF_ITS_LIBRARY, NO_STREAM = -1, -2


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
    jax = sys.modules.get("jax")
    if jax is not None and issubclass(cls, jax.Array):
        return None if issubclass(cls, jax.core.Tracer) else _of_jax
    if cls.__module__.partition(".")[0] in ("cupy", "jax", "jaxlib", "numpy"):
        return None
    if hasattr(cls, "__cuda_array_interface__"):
        return _described
    if hasattr(cls, "__dlpack_device__") and not hasattr(cls, "__array__"):
        return _exchanged
    return None


def _of_torch(tensor: Any) -> Plain | None:
    if not tensor.is_cuda or tensor.layout is not sys.modules["torch"].strided:
        return None
    if tensor.is_neg() or not tensor.is_contiguous():
        return None
    kind = gpu.torch_name(tensor.dtype)
    if kind not in NUMBERS:
        return None
    return tensor.data_ptr(), tensor.shape, kind, tensor.get_device(), False, OF_ITS_LIBRARY


def _of_cupy(array: Any) -> Plain | None:
    kind = gpu.text_of(array.dtype)
    if kind not in NUMBERS or not array.flags.c_contiguous:
        return None
    return array.data.ptr, array.shape, kind, array.device.id, False, OF_ITS_LIBRARY


def _of_jax(array: Any) -> Plain | None:
    """Those of JAX are for reading, but for results that the library has just made."""
    devices = array.devices()
    if len(devices) != 1:
        return None
    (device,) = devices
    kind = gpu.text_of(array.dtype)
    if device.platform != "gpu" or kind not in NUMBERS:
        return None
    array.block_until_ready()  # JAX's streams are its own
    where = array.unsafe_buffer_pointer()
    return where, array.shape, kind, device.local_hardware_id, True, NO_STREAM


def _exchanged(given: Any) -> Plain | None:
    kind, device = given.__dlpack_device__()
    if kind not in (2, 13):  # see `arrays.operand`
        return None
    view = gpu.view_of(given)
    shape, name = tuple(view.shape), gpu.text_of(view.dtype)
    if name not in NUMBERS or not (view.strides is None or _contiguous(shape, view.strides, 1)):
        return None
    return view.ptr, shape, name, device, view.readonly, NO_STREAM


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
    if read is _of_jax:
        (owner,) = given.devices()
        return gpu.jax_gpu(owner)
    if read is _exchanged:
        return gpu.of_exchanged(given, device)
    return gpu.cupy_gpu(device) if read is _of_cupy else gpu.numba_gpu(device)
