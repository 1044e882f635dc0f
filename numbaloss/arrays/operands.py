"""What the library knows of an array: an operand; and of the library it came from: a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

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
    # The number of the GPU it lives on. ``array`` then has shape, strides and addresses, and
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
