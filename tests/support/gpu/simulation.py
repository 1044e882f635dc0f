"""Numba's simulator of a GPU, with the threads of a block taking turns.

The simulator lets all threads of a block run at once and checks, all the time, whether they have
come to a barrier. Here one thread runs at a time, to its next barrier; then the next one does, up
and down the block by turns. That is 8 times faster, the same in every run, and stricter: what a
barrier should have kept apart, or memory should have held, is not right by chance.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numbaloss.arrays import Operand


class Simulated:
    """What simulated kernels take for an array on a GPU: any array of NumPy.

    Halves that NumPy does not know come as their bits, with the name of what they are.
    """

    def __init__(self, array: Any, dtype: str | None = None) -> None:
        self.array = np.asarray(array)
        self.dtype = dtype or self.array.dtype

    def __getitem__(self, index: Any) -> Simulated:
        kind = self.dtype if isinstance(self.dtype, str) else None
        return Simulated(self.array[index], kind)

    def transpose(self, *axes: int) -> Simulated:
        kind = self.dtype if isinstance(self.dtype, str) else None
        return Simulated(self.array.transpose(axes), kind)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = dict(self.array.__array_interface__)
        return {**described, "strides": self.array.strides, "version": 3, "stream": None}


def _closed() -> Any:
    """What waits until somebody releases it; a lock is much faster than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Thread(threading.Thread):
    """A thread of a block, as the simulator's functions want it; it serves many blocks."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        from numba.cuda.simulator.kernelapi import Dim3

        self.threadIdx, self.thread_id, self.blockIdx = Dim3(number, 0, 0), number, None
        self.turn = _closed()
        self.block: Any = None
        self.at: Any = None  # the barrier that it waits at
        self.start()

    def run(self) -> None:
        np.seterr(all="ignore")  # NaN and infinity are daily bread
        while True:
            self.turn.acquire()
            try:
                self.block.work()
            except BaseException as error:
                self.block.failed(self, error)
            self.block.over(self)

    def syncthreads(self) -> None:
        frame, lines = sys._getframe(2), []
        while frame is not None and frame.f_code is not _Thread.run.__code__:
            lines.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            frame = frame.f_back
        self.at = lines
        self.block.hand_on()
        self.turn.acquire()
        if self.block.error is not None:
            raise SystemExit


class _Block:
    """The threads of one block, which take turns."""

    def __init__(self, threads: list[_Thread], work: Any) -> None:
        self.work, self.alive, self.left = work, threads, False
        self.error: BaseException | None = None
        self.ended = _closed()
        self.upwards = True
        self.waiting: list[_Thread] = []
        for thread in threads:
            thread.block, thread.at = self, None
        self._begin()

    def _begin(self) -> None:
        """Let everyone run to the next barrier."""
        self.waiting = self.alive[::-1] if self.upwards else self.alive[:]
        self.upwards = not self.upwards
        self.waiting.pop().turn.release()

    def hand_on(self) -> None:
        if self.waiting:
            self.waiting.pop().turn.release()
        elif self.alive:
            one, *others = [thread.at for thread in self.alive]
            if self.left:
                self._fail(RuntimeError(f"some threads of a block never reach the barrier {one}"))
            elif any(other != one for other in others):
                self._fail(RuntimeError(f"threads of a block are not all at the barrier {one}"))
            self._begin()
        else:
            self.ended.release()

    def over(self, thread: _Thread) -> None:
        self.alive, self.left = [one for one in self.alive if one is not thread], True
        self.hand_on()

    def failed(self, thread: _Thread, error: BaseException) -> None:
        told = type(error)(f"thread {thread.thread_id}: {error}")
        told.__cause__ = error
        self._fail(told)

    def _fail(self, error: BaseException) -> None:
        self.error = self.error or error


_threads: list[_Thread] = []


def _run_block(self: Any, place: Any, *arguments: Any) -> None:
    from numba.cuda.simulator.kernelapi import Dim3

    count = math.prod(self._block_dim)
    while len(_threads) < count:
        _threads.append(_Thread(len(_threads)))
    for thread in _threads[:count]:
        thread.blockIdx = Dim3(*place)
    block = _Block(_threads[:count], lambda: self._f(*arguments))
    block.ended.acquire()
    if block.error is not None:
        raise block.error


@contextmanager
def _swapped(function: Any, of_kernel: Any) -> Iterator[None]:
    """Give all modules with kernels the simulator's functions, once a launch."""
    from numba import cuda

    changed = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("numbaloss.cuda.", "numbaloss.train.cuda_"))
        and getattr(module, "cuda", None) is cuda
    ]
    for module in changed:
        module.cuda = of_kernel  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in changed:
            module.cuda = cuda  # type: ignore[attr-defined]


def _rubbish(shape: Any, dtype: Any) -> np.ndarray:
    """Memory that nobody has written to: NaN, or -1."""
    dtype = np.dtype(dtype)
    return (
        np.full(dtype.itemsize * math.prod(np.atleast_1d(shape)), 0xFF, np.uint8)
        .view(dtype)
        .reshape(shape)
    )


def _shared_array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
    dtype = np.dtype(dtype)
    if shape == 0:
        count = self._dynshared_size // dtype.itemsize
        return np.frombuffer(self._dynshared.data, dtype, count)
    frame = sys._getframe(1)
    key = frame.f_code, frame.f_lineno
    if key not in self._allocations:
        self._allocations[key] = _rubbish(shape, dtype)
    return self._allocations[key]


def _operands(given: Any) -> Iterator[Operand]:
    if isinstance(given, Operand):
        yield given
    elif isinstance(given, (tuple, list)):
        for one in given:
            yield from _operands(one)


def _for_the_host_alone(module: Any, name: str) -> None:
    """Let a function of the CPU refuse memory of a GPU, which would be the end of a process."""
    function = getattr(module, name)

    def guarded(*arguments: Any, **options: Any) -> Any:
        for one in _operands(arguments):
            if one.device is not None and one.array.size:
                raise SystemError(f"{module.__name__}.{name} touches memory of a GPU")
        return function(*arguments, **options)

    setattr(module, name, guarded)


def install() -> None:
    """Make the simulator of this process a fast and strict one."""
    from numba.cuda.simulator import kernel, kernelapi

    from numbaloss.cpu import elementwise, embedding_batch, embedding_rows, linear, softmax
    from numbaloss.cuda import backend, simulated_arrays

    assert backend.SIMULATED
    for module in (elementwise, softmax, linear, embedding_rows, embedding_batch):
        for name in ("run", "evaluate", "divisor", "check_inputs", "check_targets"):
            if hasattr(module, name):
                _for_the_host_alone(module, name)
    launch = kernel.FakeCUDAKernel.__call__

    def call(self: Any, *arguments: Any) -> Any:
        if self._device or kernel._kernel_context:
            return self.fn(*arguments)
        return launch(self, *arguments)

    def make_dynamic(self: Any, size: int) -> None:
        self._allocations, self._dynshared_size = {}, size
        self._dynshared = _rubbish(size, np.uint8)

    kernel.BlockManager.run = _run_block
    kernel.FakeCUDAKernel.__call__ = call
    kernel.swapped_cuda_module = _swapped
    kernelapi.FakeCUDAShared.__init__ = make_dynamic
    kernelapi.FakeCUDAShared.array = _shared_array
    backend.empty = lambda shape, dtype: simulated_arrays.SimulatedArray(  # type: ignore[assignment]
        _rubbish(shape, dtype)
    )
