"""Tables of leaves that live on a GPU: what :class:`.passes.Table` is on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..cuda import backend
from ..cuda.backend import Place
from ..cuda.dtypes import VECTOR_BYTES, itemsize
from ..cuda.fields import new
from ..cuda.kernel import Kernel
from ..cuda.results import MOST_BLOCKS
from ..cuda.simulated_arrays import accessible
from . import cuda_kernels
from .cpu_steps import real_of
from .jobs import WATCHED, Leaf, Numbers, Pass
from .passes import GRADIENT, PARAMETER, Table
from .rules import Rule

# Blocks for each multiprocessor, at most.
_BLOCKS_EACH = 16
address = backend.address


def upload(array: np.ndarray, device: int) -> Any:
    """A copy of an array of the host on a GPU."""
    with backend.on_device(device):
        return backend.upload(np.ascontiguousarray(array).reshape(-1))


def download(array: Any, device: int) -> np.ndarray:
    """A copy on the host of what :func:`upload` has made, once all launches are done."""
    backend.synchronize_all(device)
    with backend.on_device(device):
        return np.asarray(backend.download(array, Place(device)))


class CudaTable(Table):
    """The leaves of passes on one GPU. Sums come to the host, which waits for them."""

    def __init__(self, sizes: Sequence[int], units: Sequence[int] | None, device: int) -> None:
        super().__init__(sizes, units, cuda_kernels.PIECE)
        self.sizes, self.place, self.waits = list(sizes), Place(device), False
        with backend.on_device(device):
            self._pieces = backend.upload(np.append(self.layout.pieces.ravel(), 0))
            self._sums = backend.empty((max(1, self.sums.size),), np.float64)
        self._leaves: Any = None
        self._known = b""

    def on_stream(self, stream: int, waits: bool) -> None:
        """Take the stream of the arrays' library, or wait where that knows of none."""
        self.place, self.waits = Place(self.place.device, stream), waits

    def _launch(self, kernel: Kernel, kind: str, column: int = GRADIENT) -> None:
        """Start a kernel over all pieces."""
        if not self.job.count:
            return
        known = self.rows.tobytes()
        if known != self._known:
            backend.refuse_capture(self.place)
            with backend.on_device(self.place.device):
                self._leaves = backend.upload(self.rows.ravel())
            self._known = known
        job, given = new(Pass), new(Numbers)
        job.leaves, job.pieces = address(self._leaves), address(self._pieces)
        job.sums, job.count, job.column = address(self._sums), self.job.count, column
        job.vectors = int(not np.any(self.rows % VECTOR_BYTES))
        for name, number in zip(Numbers.memory.place, self.numbers.tolist()):
            setattr(given, name, number)
        blocks = min(self.job.count, MOST_BLOCKS)
        with backend.on_device(self.place.device), self._accessible(kind):
            blocks = min(blocks, _BLOCKS_EACH * backend.processors(self.place.device))
            kernel.launch(self.place, blocks, (job, given))
        if self.waits:
            backend.synchronize(self.place)

    def _accessible(self, kind: str) -> Any:
        """Simulated memory that a kernel may touch."""
        if not backend.SIMULATED:
            return nullcontext()
        each = [itemsize(kind)] * 2 + [itemsize(real_of(kind))] * (Leaf.count - 2)
        extents = [
            (int(start), int(start) + size * bytes_)
            for row, size in zip(self.rows, self.sizes)
            for start, bytes_ in zip(row, each)
            if start
        ]
        own = [self._pieces, self._sums, self._leaves]
        return accessible(*extents, *((address(one), address(one) + one.nbytes) for one in own))

    def _fetch(self, count: int) -> None:
        """Bring numbers that a kernel has left to the host."""
        if self.job.count:
            with backend.on_device(self.place.device):
                found = np.asarray(backend.download(self._sums, self.place))
            self.sums.ravel()[:count] = found[:count]

    def prepare(self, rule: Rule, kind: str) -> None:
        cuda_kernels.step(rule.name, kind, False)

    def step(self, rule: Rule, kind: str, watched: bool) -> None:
        self._launch(cuda_kernels.step(rule.name, kind, watched), kind)
        if watched:
            self._fetch(WATCHED * len(self.sums))

    def count_bad(self, kind: str) -> int:
        self._launch(cuda_kernels.finite(kind), kind)
        self._fetch(len(self.sums))
        return int(self.factors().sum())

    def square(self, kind: str, column: int, scale: float) -> None:
        assert column in (PARAMETER, GRADIENT)
        self.numbers[0] = scale
        self._launch(cuda_kernels.squares(kind), kind, column)
        self._fetch(len(self.sums))

    def clip(self, kind: str, low: float, high: float) -> None:
        if not self.job.count:
            return
        self.put((low, high))
        with backend.on_device(self.place.device):
            self._sums = backend.upload(self.sums.ravel())
        self._launch(cuda_kernels.clipping(kind), kind)

    def add(self, kind: str) -> None:
        raise TypeError("sums of gradients are kept on the CPU")

    divide = add
