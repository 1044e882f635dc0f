"""The only door to Numba's CUDA target: its import, devices, streams, arrays.

Kernels are compiled and launched in :mod:`.kernel`. All else in this folder defines what a kernel
does, so that a successor of numba-cuda needs two new files.

With ``NUMBA_ENABLE_CUDASIM=1`` the kernels run as plain Python on simulated threads, and addresses
are those of host memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from . import availability, numpy_functions
from .simulated_arrays import SimulatedArray, simulated_view
from .target import SIMULATED, cuda

# Threads of a block. The simulator starts a Python thread for each.
THREADS = 32 if SIMULATED else 256


@cache
def require() -> None:
    """Raise where no GPU can be used; see :mod:`.availability`."""
    if not SIMULATED:
        availability.require()


@cache
def learn_functions() -> None:
    """Let formulas call NumPy's functions and ours: before the first compilation.

    Code from disk does without, and without the imports, which take 0.2 s.
    """
    from ..vmath.overloads import install

    install()
    from numba.cuda import ufuncs
    from numba.cuda.np import arraymath, ufunc_db

    numpy_functions.teach(ufuncs.ufunc_db(), ufunc_db, arraymath)


@cache
def learn_jets() -> None:
    """Make the type of losses that give their value alone known to numba-cuda's own registries."""
    from numba.cuda.core.imputils import lower_builtin, lower_cast
    from numba.cuda.models import register_model

    from ..jets.compiled import install

    install(register_model, lower_cast, lower_builtin)


def device_function(function: Callable) -> Any:
    """A function that kernels call: compiled into them."""
    if SIMULATED:
        return cuda.jit(device=True)(function)
    return cuda.jit(device=True, forceinline=True)(function)


class Place:
    """Where a call runs: a device and one of its streams."""

    __slots__ = ("device", "stream")

    def __init__(self, device: int, stream: int = 0) -> None:
        self.device, self.stream = device, stream


_streams: dict[tuple[int, int], Any] = {}
_handles: dict[tuple[int, int], Any] = {}


def stream_of(place: Place) -> Any:
    """Numba's object for a stream; 0 is the default one."""
    if SIMULATED or place.stream == 0:
        return 0
    key = place.device, place.stream
    if key not in _streams:
        _streams[key] = cuda.external_stream(place.stream)
    return _streams[key]


def stream_handle(place: Place) -> Any:
    """What the driver calls a stream."""
    key = place.device, place.stream
    if key not in _handles:
        _handles[key] = (stream_of(place) or cuda.default_stream()).handle
    return _handles[key]


def capability() -> tuple[int, int]:
    """The compute capability of the current device."""
    major, minor = cuda.get_current_device().compute_capability
    return int(major), int(minor)


class _Stand:
    """What compilations ask a GPU for."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self.compute_capability = capability


@contextmanager
def compiling_for(capability: tuple[int, int]) -> Iterator[None]:
    """Compile for a compute capability, of a GPU that need not be there.

    Functions that kernels call are compiled for that of the current device.
    """
    from numba.cuda import api, dispatcher

    was = api.get_current_device, dispatcher.get_current_device
    api.get_current_device = dispatcher.get_current_device = lambda: _Stand(capability)
    try:
        yield
    finally:
        api.get_current_device, dispatcher.get_current_device = was


def capabilities() -> list[tuple[int, int]]:
    """What the compiler that is installed compiles for."""
    from numba.cuda.cudadrv.nvrtc import get_supported_ccs

    return sorted(get_supported_ccs())


def on_device(device: int) -> Any:
    """A context in which allocations and launches go to a device."""
    require()
    if SIMULATED:
        return nullcontext()
    if device_count() > 1:
        return cuda.gpus[device]
    cuda.current_context()  # a thread that is new to the GPU has none yet
    return nullcontext()


@cache
def device_count() -> int:
    """GPUs that this process sees."""
    return 1 if SIMULATED else len(cuda.gpus)


@cache
def processors(device: int) -> int:
    """Multiprocessors of a device; grids are multiples of it."""
    if SIMULATED:
        return 1
    with on_device(device):
        return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def current_device() -> int:
    """The GPU that this thread works on: the first, unless another was selected in Numba."""
    return 0 if device_count() == 1 else int(cuda.get_current_device().id)


def free_memory(device: int) -> int:
    """Bytes that are left on a device."""
    if SIMULATED:
        return 1 << 30
    with on_device(device):
        return int(cuda.current_context().get_memory_info()[0])


def synchronize(place: Place) -> None:
    """Wait for all that was asked of a stream."""
    if SIMULATED:
        return
    with on_device(place.device):
        stream = stream_of(place)
        (stream or cuda.default_stream()).synchronize()


class OwnStream(Place):
    """A stream of one's own, which ends with this object."""

    __slots__ = ("_own",)

    def __init__(self, device: int) -> None:
        if SIMULATED:
            super().__init__(device)
            return
        with on_device(device):
            self._own = cuda.stream()
        handle = self._own.handle
        super().__init__(device, int(getattr(handle, "value", handle)))


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An uninitialised array of Numba's own kind, on the current device."""
    if SIMULATED:
        return SimulatedArray(np.empty(shape, dtype))
    return cuda.device_array(shape, dtype)


def upload(array: np.ndarray) -> Any:
    """A copy of a host array on the current device, which is there when this returns."""
    if SIMULATED:
        return SimulatedArray(array.copy())
    found = cuda.to_device(array)
    # Such a copy may return while the last of it is under way, in the order of the default stream
    # alone: other streams need not wait for that one.
    cuda.default_stream().synchronize()
    return found


def download(array: Any, place: Place) -> np.ndarray:
    """A copy of a device array of Numba's on the host; waits for the stream."""
    stream = stream_of(place)
    found = array.copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    return found


def read_words(address: int, count: int, place: Place) -> np.ndarray | None:
    """So many words of eight bytes at an address, once all is done that was asked of the stream.

    Straight from the driver: Numba's arrays take 30 us for it. None where that fails, in the
    simulator too.
    """
    if SIMULATED:
        return None
    calls, stream = driver(), stream_handle(place)
    found = np.empty(count, np.int64)
    (status,) = calls.cuMemcpyDtoHAsync(found.ctypes.data, address, found.nbytes, stream)
    if not status:
        (status,) = calls.cuStreamSynchronize(stream)
    return None if status else found


def pinned(size: int, dtype: Any) -> np.ndarray:
    """A host array that copies to and from the GPU do not wait for."""
    return np.empty(size, dtype) if SIMULATED else cuda.pinned_array(size, dtype)


def copy_in(host: np.ndarray, device_array: Any, place: Place) -> None:
    """Ask for a copy of a contiguous host array to the beginning of a device array."""
    device_array[: host.size].copy_to_device(host, stream=stream_of(place))


def copy_out(device_array: Any, host: np.ndarray, place: Place) -> None:
    """Ask for a copy of the beginning of a device array to a contiguous host array."""
    device_array[: host.size].copy_to_host(host, stream=stream_of(place))


def address(array: Any) -> int:
    """Address of the first element of an array of Numba's own."""
    return int(array.__cuda_array_interface__["data"][0])


def is_capturing(place: Place) -> bool:
    """Whether what is asked of a stream becomes part of a CUDA graph, and does not run now."""
    if SIMULATED or place.stream == 0:  # the default stream is never captured
        return False
    status, state = driver().cuStreamIsCapturing(place.stream)
    return int(status) == 0 and int(state) != 0


def refuse_capture(place: Place) -> None:
    """Raise where memory or code would be asked for while a graph is captured."""
    if is_capturing(place):
        raise RuntimeError(
            "a CUDA graph is being captured, and this call needs memory or code of the GPU that it "
            "has not got yet: make the same call, with as large arrays, before the capture"
        )


def synchronize_all(device: int) -> None:
    """Wait for all that was asked of a device."""
    if not SIMULATED:
        with on_device(device):
            cuda.synchronize()


@cache
def driver() -> Any:
    """The driver's functions, by the names that it gives them."""
    from cuda.bindings import driver

    return driver


def versions() -> tuple[str, ...]:
    """Those of what compiles and links, by their own word: 10 ms less than by their packages'."""
    import cuda.bindings
    import cuda.core
    import numba_cuda

    return tuple(str(one.__version__) for one in (numba_cuda, cuda.core, cuda.bindings))


def settings() -> tuple[str, ...]:
    """Numba's settings that machine code depends on."""
    from numba.cuda import config

    switches = "OPT", "CUDA_DEBUGINFO_DEFAULT", "CUDA_ENABLE_NRT", "FORCE_CUDA_CC"
    return tuple(str(getattr(config, switch, None)) for switch in switches)


def device_of(address: int) -> int:
    """The number of the GPU that an address belongs to."""
    require()
    if SIMULATED or device_count() == 1:
        return 0
    from cuda.bindings import driver

    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    status, found = driver.cuPointerGetAttribute(attribute, address)
    return int(found) if int(status) == 0 else 0


def exchanged(given: Any) -> Any:
    """View of an array on a GPU by DLPack: address, shape, strides in elements, dtype."""
    from cuda.core.utils import StridedMemoryView

    # Its owner's work so far comes before ours on the default stream, 1 in this protocol.
    return StridedMemoryView.from_dlpack(given, stream_ptr=1)


def host_copy(given: Any) -> np.ndarray:
    """A copy on the host of any array that shows ``__cuda_array_interface__``."""
    if SIMULATED:
        return simulated_view(given).copy()
    return cuda.as_cuda_array(given).copy_to_host()
