"""The only door to Numba's CUDA target: compiling, launching, streams, memory.

All else in this folder says what a kernel does; how it gets onto a GPU is said here, so that a
successor of numba-cuda needs one new file.

With ``NUMBA_ENABLE_CUDASIM=1`` the kernels run as plain Python on simulated threads, and addresses
are those of host memory.
"""

from __future__ import annotations

import ctypes
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numba
import numpy as np

from ..formulas.messages import complaint
from ..formulas.refusals import refuse_exceptions
from ..formulas.structure import Structure
from . import availability, numpy_functions
from .target import SIMULATED, cuda

# Threads of a block. The simulator starts a Python thread for each.
THREADS = 32 if SIMULATED else 256


@cache
def require() -> None:
    """Raise where no GPU can be used; see :mod:`.availability`."""
    if not SIMULATED:
        availability.require()


def _learn_functions() -> None:
    from numba.cuda import ufuncs
    from numba.cuda.np import arraymath, ufunc_db

    numpy_functions.teach(ufuncs.ufunc_db(), ufunc_db, arraymath)


if not SIMULATED:
    _learn_functions()


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


class Kernel:
    """A function for the GPU, compiled for one list of argument types at its first launch."""

    def __init__(
        self,
        function: Callable,
        arguments: tuple[Any, ...],
        of: Structure | None = None,
        bounds: int | tuple[int, int] = 0,
    ) -> None:
        # Blocks of so many threads must find registers, or so many blocks of so many threads at
        # a time; 0: the compiler takes what it likes.
        self.function, self.arguments, self.of = function, arguments, of
        self.bounds = bounds
        self._compiled: dict[tuple[int, int], Any] = {}
        self._ready: OrderedDict[Any, Any] = OrderedDict()

    def ptx(self, capability: tuple[int, int]) -> str:
        """The kernel in PTX, for a compute capability; needs no GPU."""
        self._refuse()
        with self._blamed():
            text, _ = cuda.compile_ptx(
                self.function, self.arguments, cc=capability, **self._bounds()
            )
        return text

    def _bounds(self) -> dict[str, Any]:
        return {"launch_bounds": self.bounds} if self.bounds else {}

    def _refuse(self) -> None:
        """Raise for a formula that can raise: on a GPU nobody would hear of it."""
        if self.of is not None:
            refuse_exceptions(self.of)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Say of a loss that does not compile what its author can do about it."""
        try:
            yield
        except Exception as error:
            # numba-cuda has exceptions of its own beside Numba's.
            kinds = {cls.__name__ for cls in type(error).__mro__}
            unknown = numpy_functions.unknown(error)
            if self.of is None or ("NumbaError" not in kinds and unknown is None):
                raise
            raise TypeError(complaint(self.of, unknown or error, where=" for a GPU")) from error

    def launch(
        self,
        place: Place,
        blocks: int,
        arguments: tuple[Any, ...],
        shared: int = 0,
        threads: int | None = None,
    ) -> None:
        """Run so many blocks on a stream, with so many bytes of shared memory each."""
        if threads is None:
            threads = THREADS
        if SIMULATED:
            cuda.jit(self.function)[blocks, threads, 0, shared](*arguments)
            return
        key = place.device, place.stream, blocks, shared, threads
        ready = self._ready.get(key)
        if ready is None:
            ready = self._configure(place, blocks, shared, threads)
            self._ready[key] = ready
            while len(self._ready) > 256:
                self._ready.popitem(last=False)
        ready(*arguments)

    def _configure(
        self, place: Place, blocks: int, shared: int, threads: int
    ) -> Callable[..., None]:
        self._refuse()
        capability = tuple(cuda.get_current_device().compute_capability)
        compiled = self._compiled.get(capability)
        if compiled is None:
            with self._blamed():
                signature = numba.types.void(*self.arguments)
                compiled = cuda.jit(signature, **self._bounds())(self.function)
            self._compiled[capability] = compiled
        with warnings.catch_warnings():
            # Small arrays make small grids: nothing to warn of.
            warnings.simplefilter("ignore")
            configured = compiled[blocks, threads, stream_of(place), shared]
        return self._short_road(compiled, configured, blocks, shared, threads) or configured

    def _short_road(
        self, compiled: Any, configured: Any, blocks: int, shared: int, threads: int
    ) -> Callable[..., None] | None:
        """A launch without Numba's look at each of some 50 arguments, most of the time of a launch.

        It leans on what numba-cuda 0.30 does itself in ``_Kernel.launch``; None where that is not
        as expected.
        """
        try:
            from cuda.core import LaunchConfig, launch

            (kernel,) = compiled.overloads.values()
            handle, stream = kernel._codelibrary.get_cufunc().kernel, configured.stream
            config = LaunchConfig(grid=(blocks, 1, 1), block=(threads, 1, 1), shmem_size=shared)
        except (ImportError, AttributeError, TypeError, ValueError):
            return None
        flatten = [_flattener(kind) for kind in self.arguments]

        def run(*arguments: Any) -> None:
            flat: list[Any] = []
            for value, put in zip(arguments, flatten):
                put(value, flat)
            launch(stream, config, handle, *flat)

        return run


def _flattener(kind: Any) -> Callable[[Any, list[Any]], None]:
    """What puts an argument of a type into the list of plain numbers that a launch takes."""
    types = numba.types
    if isinstance(kind, types.UniTuple) and kind.dtype == types.int64:
        return lambda value, flat: flat.extend(value)
    if isinstance(kind, types.BaseTuple):
        parts = [_flattener(part) for part in kind]

        def put_each(value: Any, flat: list[Any]) -> None:
            for one, put in zip(value, parts):
                put(one, flat)

        return put_each
    if kind == types.float32:
        return lambda value, flat: flat.append(ctypes.c_float(value))
    if kind == types.float64:
        return lambda value, flat: flat.append(ctypes.c_double(value))
    if kind == types.int64:
        return lambda value, flat: flat.append(int(value))
    return lambda value, flat: flat.append(bool(value))


class Place:
    """Where a call runs: a device and one of its streams."""

    __slots__ = ("device", "stream")

    def __init__(self, device: int, stream: int = 0) -> None:
        self.device, self.stream = device, stream


_streams: dict[tuple[int, int], Any] = {}


def stream_of(place: Place) -> Any:
    """Numba's object for a stream; 0 is the default one."""
    if SIMULATED or place.stream == 0:
        return 0
    key = place.device, place.stream
    if key not in _streams:
        _streams[key] = cuda.external_stream(place.stream)
    return _streams[key]


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
    """The GPU that this thread works on: the first, unless Numba was told of another."""
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


class SimulatedArray:
    """What the simulator has in the place of an array on a GPU."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype, self.nbytes = array, array.dtype, array.nbytes

    def __getitem__(self, where: Any) -> SimulatedArray:
        return SimulatedArray(self.array[where])

    def __setitem__(self, where: Any, value: Any) -> None:
        self.array[where] = value

    def copy_to_host(self, target: np.ndarray | None = None, stream: Any = 0) -> np.ndarray:
        """A copy in NumPy."""
        if target is None:
            return self.array.copy()
        target[...] = self.array
        return target

    def copy_to_device(self, source: np.ndarray, stream: Any = 0) -> None:
        """Fill the array."""
        self.array[...] = source

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = dict(self.array.__array_interface__)
        return {**described, "strides": self.array.strides, "version": 3, "stream": None}


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


def simulated_view(given: Any) -> np.ndarray:
    """What the simulator's arrays are made of."""
    return np.asarray(_Described(given.__cuda_array_interface__))


def host_copy(given: Any) -> np.ndarray:
    """A copy on the host of any array that shows ``__cuda_array_interface__``."""
    if SIMULATED:
        return simulated_view(given).copy()
    return cuda.as_cuda_array(given).copy_to_host()


class _Described:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


# Simulated memory: what kernels may touch, so that an access out of bounds is an error.

_allowed: list[tuple[int, int]] = []


@contextmanager
def accessible(*extents: tuple[int, int]) -> Iterator[None]:
    """Let simulated kernels touch these stretches of memory, from address to address."""
    _allowed.extend(extents)
    try:
        yield
    finally:
        del _allowed[len(_allowed) - len(extents) :]


_CTYPES: dict[np.dtype, Any] = {
    np.dtype(name): getattr(ctypes, f"c_{short}")
    for name, short in (
        *(
            (f"{sign}int{bits}", f"{sign}int{bits}")
            for sign in ("", "u")
            for bits in (8, 16, 32, 64)
        ),
        ("float32", "float"),
        ("float64", "double"),
    )
}


def simulated_cell(where: int, dtype: Any) -> Any:
    """The number at an address of simulated memory."""
    dtype = np.dtype(dtype)
    end = where + dtype.itemsize
    if not any(low <= where and end <= high for low, high in _allowed):
        raise IndexError(f"a kernel reaches out of bounds: {dtype} at {where:#x}")
    return _CTYPES[dtype].from_address(where)
