"""From the operands of a call to launches on its stream."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..arrays import Operand, operand
from ..arrays.layouts import walk
from ..jobs.launch import Tail
from . import backend, repeats
from .backend import Place
from .dtypes import CODES, VECTOR_BYTES
from .fields import new
from .kernel import Kernel
from .results import MOST_BLOCKS, DeviceSums, workspace
from .simulated_arrays import accessible

Operands = Sequence[Operand | None]


class Call:
    """The launches of one call: where they run, and which memory they may touch."""

    def __init__(self, place: Place, operands: Operands) -> None:
        self.place, self.workspace = place, workspace(place)
        self._touched: list[np.ndarray] = []
        if backend.SIMULATED:
            self._touched = [one.array for one in operands if one is not None]
        self._kept: list[Any] = []
        self._lent: list[Any] = []

    def keep(self, array: Any) -> int:
        """Address of an array of Numba's that launches read; it lives until the call is over."""
        self._kept.append(array)
        return backend.address(array)

    def scratch(self, size: int) -> int:
        """Address of so many bytes for one launch to leave and the next to read."""
        return self.keep(self.workspace.scratch(size))

    def launch(
        self,
        kernel: Kernel,
        blocks: int,
        arguments: tuple[Any, ...],
        *,
        divisor: float = 1.0,
        earlier: DeviceSums | None = None,
        guard: DeviceSums | None = None,
        before: DeviceSums | None = None,
        numerator: float = 1.0,
        shared: int = 0,
        threads: int | None = None,
        cluster: int = 1,
    ) -> DeviceSums:
        """Run a kernel, whose last argument is a :class:`Tail`."""
        sums, tail = self.workspace.sums(), new(Tail)
        tail.divisor, tail.numerator = divisor, numerator
        tail.earlier = earlier.address if earlier else 0
        tail.guard = guard.address if guard else 0
        tail.before = before.address if before else 0
        tail.partials, tail.counter = self.workspace.partials, self.workspace.counter
        tail.result = sums.address
        with backend.on_device(self.place.device), self._accessible():
            most, whole = min(blocks, MOST_BLOCKS), (*arguments, tail)
            started = kernel.launch(self.place, most, whole, shared, threads, cluster)
        recorder = repeats.recorder()
        if recorder is not None:
            kept = [*map(backend.address, self._kept), tail.partials, tail.counter]
            recorder.add(started, whole, sums, kept, (self.workspace, self._kept))
        return sums

    def run(self, kernel: Kernel, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Run a kernel that leaves no sums."""
        with backend.on_device(self.place.device), self._accessible():
            kernel.launch(self.place, min(blocks, MOST_BLOCKS), arguments)
        recorder = repeats.recorder()
        if recorder is not None:
            recorder.refuse()

    def touch(self, array: Any) -> int:
        """Address of an array of another library's that launches may touch; it lives as long."""
        view = operand(array, "array")[0].array
        self._lent.append(array)
        if backend.SIMULATED:
            self._touched.append(view)
        return view.ctypes.data

    def _accessible(self) -> Any:
        if not backend.SIMULATED:
            return nullcontext()
        extents = [np.lib.array_utils.byte_bounds(array) for array in self._touched if array.size]
        for array in self._kept:
            extents.append((backend.address(array), backend.address(array) + array.nbytes))
        return accessible(*extents, *self.workspace.extents())

    def upload(self, numbers: np.ndarray) -> int:
        """Address of a copy of a few numbers, which is kept for calls that need the same."""
        key = self.place.device, numbers.dtype.str, numbers.tobytes()
        found = _uploaded.get(key)
        if found is None:
            backend.refuse_capture(self.place)
            with backend.on_device(self.place.device):
                found = _uploaded[key] = backend.upload(numbers)
            while len(_uploaded) > 128:
                _uploaded.popitem(last=False)
        return self.keep(found)

    def resident(self, array: np.ndarray) -> int:
        """Address of a copy of an array that does not change."""
        key = self.place.device, id(array)
        found = _resident.get(key)
        if found is None:
            backend.refuse_capture(self.place)
            with backend.on_device(self.place.device):
                # With the array itself: the identity of one that is gone may return.
                found = _resident[key] = backend.upload(array), array
            while len(_resident) > 32:
                _resident.popitem(last=False)
        return self.keep(found[0])


_resident: OrderedDict[Any, Any] = OrderedDict()
_uploaded: OrderedDict[Any, Any] = OrderedDict()


def address(operand: Operand | None) -> int:
    """Address of the first element, 0 for an array that is not there."""
    return 0 if operand is None else operand.array.ctypes.data


def code(operand: Operand | None) -> int:
    """The number of a dtype, for kernels that tell dtypes apart as they run."""
    return 0 if operand is None else CODES[operand.kind]


def blocks_for(units: int, device: int, each: int) -> int:
    """Blocks for so many units of work of a block: ``each`` a multiprocessor at most."""
    return max(1, min(units, each * backend.processors(device)))


def in_vectors(kind: str, operands: Operands, values: Operand | None) -> bool:
    """Whether arrays are contiguous, of one dtype, and begin where a vector may."""
    present = [one for one in operands if one is not None]
    if any(one.kind != kind for one in present):
        return False
    present += [values] if values is not None else []
    if any(address(one) % VECTOR_BYTES for one in present):
        return False
    if all(one.array.flags.c_contiguous for one in present):
        return True
    lengths, strides = walk(present[0].array.shape, present)
    return len(lengths) == 1 and all(
        own[0] == one.array.itemsize for own, one in zip(strides, present)
    )


def layout(shape: tuple[int, ...], operands: Operands) -> np.ndarray:
    """How to walk through arrays: number of axes; of each, its length and strides in elements.

    The axis whose neighbours are closest in memory comes first. Arrays that are not there have
    strides of 0.
    """
    present = [one for one in operands if one is not None]
    lengths, strides = walk(shape, present)
    rows = []
    for axis in reversed(range(len(lengths))):
        found = iter(strides)
        row = [lengths[axis]]
        for one in operands:
            row.append(0 if one is None else next(found)[axis] // one.array.itemsize)
        rows.append(row)
    return np.array([len(lengths), *(number for row in rows for number in row)], np.int64)
