"""Calls without a GPU: which kernels they would launch.

Everything runs as usual up to the launch, on arrays that have no memory. So kernels can be compiled
for a GPU that is elsewhere, and it is the calls themselves that say which.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import numpy as np

from . import backend, calls, results
from .kernel import Kernel

# What every GPU has less of, or as much: kernels depend on it where there are few rows.
PROCESSORS = 132
_addresses = count(1 << 40, 1 << 33)  # of memory that is not there
_one_at_a_time = threading.Lock()


class Nowhere:
    """An array of a shape and a dtype, by name, without memory."""

    def __init__(self, shape: tuple[int, ...], kind: str) -> None:
        self.shape, self.dtype = shape, kind
        self._stored = np.dtype(np.uint16 if kind == "bfloat16" else kind)
        self.nbytes = int(np.prod(shape)) * self._stored.itemsize
        self._address = next(_addresses)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self._stored.str,
            "data": (self._address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }


@contextmanager
def rehearsal() -> Iterator[dict[Kernel, None]]:
    """Launch nothing meanwhile; the kernels that calls on arrays of :class:`Nowhere` ask for."""
    found: dict[Kernel, None] = {}

    def launch(kernel: Kernel, *_: Any, **__: Any) -> None:
        found[kernel] = None

    def empty(shape: tuple[int, ...], dtype: Any) -> Nowhere:
        return Nowhere(shape, np.dtype(dtype).name)

    stand_ins: dict[tuple[Any, str], Any] = {
        (backend, "require"): lambda: None,
        (backend, "device_count"): lambda: 1,
        (backend, "on_device"): lambda device: nullcontext(),
        (backend, "processors"): lambda device: PROCESSORS,
        (backend, "free_memory"): lambda device: 1 << 34,
        (backend, "empty"): empty,
        (backend, "upload"): lambda array: empty(array.shape, array.dtype),
        (calls, "_resident"): OrderedDict(),
        (calls, "_uploaded"): OrderedDict(),
        (results, "_workspaces"): {},
        (results, "_spare"): {},
        (Kernel, "launch"): launch,
    }
    with _one_at_a_time:
        usual = {place: getattr(*place) for place in stand_ins}
        try:
            for place, stand_in in stand_ins.items():
                setattr(*place, stand_in)
            yield found
        finally:
            for place, was in usual.items():
                setattr(*place, was)
